"""Files that are whole, and stand in another's place; records and folders of other makers."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
import torch

from assay.api import resuming
from assay.engine.folder_lock import is_fresh
from assay.records.seals import seal_of
from assay.worlds.cache import cached


def test_a_cached_world_under_another_s_name_is_built_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = tmp_path / "sums-1.safetensors", tmp_path / "sums-2.safetensors"
    first, _ = cached(one, lambda: {"weights": torch.ones(2)})
    shutil.copy(one, other)
    with caplog.at_level(logging.WARNING, "assay"):
        second, digest = cached(other, lambda: {"weights": torch.zeros(2)})
    assert "holds the parts of another world (sums-1)" in caplog.text
    assert second["weights"].tolist() == [0, 0] != first["weights"].tolist()
    again, same = cached(other, lambda: {"weights": torch.ones(2)})
    assert again["weights"].tolist() == [0, 0] and same == digest, "it was written anew"


def test_an_entry_that_a_later_assay_adds_breaks_no_seal() -> None:
    """A record that is opened has every entry of the schema, new ones with their defaults."""
    before = {"seed": 1, "loop": {"max_steps": 4}}
    assert seal_of({**before, "added": None, "more": {}, "most": []}) == seal_of(before)
    assert seal_of({**before, "added": 0}) != seal_of(before), "a number says something"


def test_what_a_kill_leaves_of_taking_a_folder_stops_no_start(tmp_path: Path) -> None:
    """Where folders cannot be locked, an owner makes small files while it takes one over."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".owner.json.0123").touch()
    assert is_fresh(tmp_path / "a")
    resuming.must_be_free(tmp_path / "a")
