"""Which id may be meant where no server has the one that was given."""

from __future__ import annotations

import pytest

from node_ipc.config.neighbours import nearest


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("Tcalpha", "tcalpha"),
        ("tcalpha ", "tcalpha"),
        ("tcalhpa", "tcalpha"),
        ("tcalp", "tcalph"),
        ("my-tcalph", "tcalph"),
        ("something", None),
    ],
)
def test_the_nearest_id_is_the_same_in_other_case_first(wrong: str, meant: str | None) -> None:
    assert nearest(wrong, ["tcalph", "tcalpha"]) == meant
