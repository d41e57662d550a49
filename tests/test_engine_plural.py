"""Numbers of things."""

from __future__ import annotations

import pytest

from assay.engine.plural import counted


@pytest.mark.parametrize(
    ("n", "said"), [(0, "0 looks"), (1, "1 look"), (2, "2 looks"), (1200, "1,200 looks")]
)
def test_one_thing_has_no_s(n: int, said: str) -> None:
    assert counted(n, "look") == said
