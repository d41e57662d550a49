"""Group C's recipes for twenty steps on a checkpoint: losses and readings stay finite.

ASSAY_REAL_MODELS=FOLDER names a folder with `smollm2`, which `python -m demos.real_model` makes;
without it the same runs on a tiny random model, for two steps.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from families import checkpoint
from real_checkpoint import REAL, checked, trained

PAIRS = ("dpo", "f_dpo", "slic", "kto", "robust_dpo", "regularised_preference")
OWN_PAIRS = ("rso", "lipo", "sparse_po", "implicit_reward")
GAMES = ("nash_md", "nash_mp", "inpo", "spo", "dno", "magnetic_mirror_descent")
RECIPES = [*PAIRS, *OWN_PAIRS, *GAMES]


@pytest.mark.full
@pytest.mark.parametrize("recipe", RECIPES)
def test_twenty_steps_on_a_real_checkpoint_stay_finite(recipe: str) -> None:
    if not (REAL / "config.json").is_file():
        pytest.skip("ASSAY_REAL_MODELS names no folder with smollm2 in it")
    checked(trained(recipe, str(REAL), steps=20, tokens=32), recipe)


@pytest.mark.full
@pytest.mark.parametrize("recipe", RECIPES)
def test_two_steps_on_a_random_checkpoint_stay_finite(recipe: str, tmp_path: Path) -> None:
    checked(trained(recipe, str(checkpoint(tmp_path / "model", "llama")), 2, 48), recipe)
