"""What a run reads of pairs whose labels leave something open."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from families import checkpoint

from assay.errors import InputError
from assay.worlds import hub

ASKS = [f"question {i}" for i in range(12)]


def test_pairs_with_an_open_label_need_a_map(tmp_path: Path) -> None:
    """A column of 0 and 1 is asked for before the model is opened, and a map says what it means."""
    path = tmp_path / "open.jsonl"
    some = [
        {"prompt": a, "response_a": "we walk home", "response_b": "it rains", "label": i % 2}
        for i, a in enumerate(ASKS)
    ]
    path.write_text("\n".join(json.dumps(r) for r in some), encoding="utf-8")
    with pytest.raises(InputError, match="--label-map 1=first,0=second"):
        hub.world(policy="nowhere/at-all", pairs=str(path), held_out=-1)
    policy = str(checkpoint(tmp_path / "model", "llama"))
    one, other = (
        hub.world(policy=policy, pairs=str(path), held_out=-1, max_tokens=24, label_map=given)
        for given in ({"1": "first", "0": "second"}, {"0": "first", "1": "second"})
    )
    chosen = [list(x) for x in one.task.pairs.text()]
    assert [list(x) for x in other.task.pairs.text()] == [[b, a] for a, b in chosen]
