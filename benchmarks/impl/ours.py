"""What both fronts of this library share in a run: addresses, options, and payloads decoded, typed or ``Raw``."""

from __future__ import annotations

from typing import Any

import role

RAW_POOL = 4096
RAW_POOL_BYTES = 1 << 23


def address(plan: role.Plan) -> str:
    if plan.transport == "unix":
        return f"unix:{plan.path}"
    return f"{'udp4' if plan.transport == 'udp' else plan.transport}://{plan.host}:{plan.port}"


def options(plan: role.Plan) -> dict[str, Any]:
    """The profile, and limits that the load itself needs raised: all others stay on at their defaults."""
    chosen: dict[str, Any] = {"parser": plan.profile, "max_connections": 4096, "silent": True, "spin": plan.spin}
    if plan.size > 1 << 23:
        chosen["max_message_size"] = 1 << 26
    if plan.kind == "broadcast" or plan.window >= plan.messages > 1:
        chosen["max_pending_bytes"] = 1 << 28
    if plan.transport == "tls" and plan.role == "server":
        chosen["tls"] = {"private": plan.key, "public": plan.cert}
    elif plan.transport == "tls":
        chosen["tls"] = {"trusted_connections": plan.ca}
    return chosen


def payloads(plan: role.Plan) -> tuple[Any, role.Make, role.Wrong]:
    """The type that handlers ask for (``None``: whatever the JSON holds), and payloads of it."""
    if plan.payload == "raw":
        return _raw(plan)
    if plan.payload == "typed":
        return _typed(plan)
    return None, *role.payloads(plan)


def _typed(plan: role.Plan) -> tuple[Any, role.Make, role.Wrong]:
    import msgspec

    if plan.shape == "records":
        row = msgspec.defstruct(
            "Row", [("key", int), ("name", str), ("value", float), ("active", bool), ("tags", list[str])]
        )
        table = msgspec.defstruct("Table", [("n", int), ("rows", list[row])])
        rows = [row(**values) for values in role.records(plan.size)]
        return table, (lambda n: table(n, rows)), (lambda data, n: data.n != n or len(data.rows) != len(rows))
    message = msgspec.defstruct("Message", [("n", int), ("text", str)], gc=False)
    text = role.filling(plan.size)
    return message, (lambda n: message(n, text)), (lambda data, n: data.n != n or len(data.text) != len(text))


def _raw(plan: role.Plan) -> tuple[Any, role.Make, role.Wrong]:
    """Payloads encoded beforehand, as in a relay; compared byte for byte, and more of them than are in flight."""
    import msgspec

    import node_ipc

    make, _ = role.payloads(plan)
    encoded = [msgspec.json.encode(make(n)) for n in range(max(2, min(RAW_POOL, RAW_POOL_BYTES // plan.size)))]
    pool = [node_ipc.Raw(data) for data in encoded]
    size = len(pool)
    return node_ipc.Raw, (lambda n: pool[n % size]), (lambda data, n: bytes(data) != encoded[n % size])
