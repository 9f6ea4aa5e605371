"""``docs/howto/metrics-and-traces.md`` and the dashboard beside it: their programs run, their metrics are given out."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from node_ipc import telemetry
from node_ipc.testing import pair
from ports import free_port
from processes import Program

HOWTO = Path(__file__).parents[2] / "docs" / "howto"
PAGE = (HOWTO / "metrics-and-traces.md").read_text("utf-8")
DASHBOARD = json.loads((HOWTO / "grafana-dashboard.json").read_text("utf-8"))
METRIC = r"node_ipc_[a-z_]+"


def given_out() -> dict[str, set[str]]:
    """By name, the labels of every metric of an endpoint at work."""
    registry, ends = CollectorRegistry(), pair()
    telemetry.prometheus(ends.server, registry=registry, events=True)
    telemetry.prometheus(ends.client, registry=registry, events=True)
    ends.server.on("order", lambda: 1 / 0)
    ends.server.on("error", lambda error: None)
    ends.server.handle("add", lambda: 1)
    ends.client.emit("order")
    ends.client.request("add")
    ends.driver.run_until_idle()
    ends.socket.pause_reading("outgoing", True)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def test_the_table_names_each_metric_with_its_labels() -> None:
    found = {re.sub("_(bucket|sum|count)$", "", name): labels - {"le"} for name, labels in given_out().items()}
    table = {}
    for names, labels in re.findall(rf"^\| ((?:`{METRIC}`(?:, )?)+) \| (.*?) \|", PAGE, re.M):
        for name in re.findall(METRIC, names):
            table[name] = {"app_name", "broker", "endpoint", *re.findall(r"`(\w+)`", labels)}
    assert table == found


def test_the_dashboard_asks_for_what_is_given_out() -> None:
    found = given_out()
    asked = set()
    for target in (target for panel in DASHBOARD["panels"] for target in panel["targets"]):
        for name in re.findall(METRIC, target["expr"]):
            asked.add(name)
            by = re.findall(r"by \(([\w, ]+)\)", target["expr"])
            assert {label for group in by for label in re.split(", ?", group)} <= found[name], target
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= found[name]
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in asked} == {
        re.sub("_(bucket|sum|count)$", "", name) for name in found
    }
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_its_programs_run() -> None:
    port, metrics = free_port(), free_port()
    server, client = (
        code.replace('"world"', f'"tcp://127.0.0.1:{port}"').replace("9000", str(metrics))
        for code in re.findall(r"```python\n(.*?)```", PAGE, re.S)
    )
    serving = Program.python("-u", "-c", server)
    connected = Program.python("-u", "-c", client)
    try:
        said = "\n".join(connected.ends())
        assert "hello world!" in said and re.findall(r'"name": "([\w ]+)"', said)[0] == "emit message"
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        assert re.search(r'node_ipc_received_messages_total\{app_name="greeter",.*handler="message"\} 1\.0', text)
    finally:
        connected.close()
        serving.process.kill()
        serving.close()
