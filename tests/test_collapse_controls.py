"""The negative control: healthy runs of every recipe raise no warning that training has died."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small import small_world
from test_contract import RECIPES, drive, each, loop_of

from assay.records.runs import Run

LONG = 12  # steps: longer than a sign has to last


@pytest.mark.full
@each(RECIPES)
def test_a_healthy_run_raises_no_warning(module: Any, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {})
    loop = replace(loop_of(module), max_steps=LONG)
    drive(module, small_world(module), loop=loop, run=run, eval_steps=6)
    assert [w["what"] for w in Run.open(run.folder).about["warnings"]] == []
