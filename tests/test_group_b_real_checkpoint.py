"""Group B's recipes on a checkpoint: losses and readings stay finite, and something is learned.

ASSAY_REAL_MODELS=FOLDER names a folder with `smollm2`, which `python -m demos.real_model` makes;
without it the same runs on a tiny random model, for two steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from families import checkpoint
from real_checkpoint import REAL, brief, checked, even, trained

from assay.registry.catalogue import find

ONE = (
    *("mdpo", "rec", "chord", "bnpo", "risk_po", "drpo", "knapsack", "d3s", "entropy_mechanism"),
    *("lp_reg", "kdrl", "grpo_care", "mcts_dpo", "dr_grpo", "dapo", "gspo", "cispo", "sapo"),
    *("gmpo", "reinforce_pp", "ppo", "grpo", "leave_one_out", "apo", "vl_rethinker", "tw_grpo"),
    *("hl_gauss", "value_augmented_sampling", "mrt", "tl_training", "itool", "reward_ranker"),
    *("soft_grpo", "router_r1", "meds3"),
)
SEVERAL = ("dynamic_weights", "rewriting", "gdpo", "c_morl")
RECIPES = [*ONE, *SEVERAL]


def asked(recipe: str, model: str) -> dict[str, Any]:
    more: dict[str, Any] = {"rewards": [even, brief] if recipe in SEVERAL else even}
    if "others" in find(recipe).needs:
        more["others"] = {"strong": model}
    if recipe == "tl_training":
        more |= {"sound": "", "sft_steps": 2}  # no reward says whether a call ran
    if recipe == "soft_grpo":
        more |= {"think_end": "?", "thoughts": 16}  # a token of both vocabularies
    if recipe == "router_r1":
        more |= {"others": {"small": model, "large": model}, "prices": {"small": 1, "large": 9}}
        more |= {"turns": 2, "reply_tokens": 8, "score": "even"}
        more |= {"formed": "even"}  # untaught, no completion has the right form
    return more


@pytest.mark.full
@pytest.mark.parametrize("recipe", RECIPES)
def test_twenty_steps_on_a_real_checkpoint_stay_finite(recipe: str) -> None:
    if not (REAL / "config.json").is_file():
        pytest.skip("ASSAY_REAL_MODELS names no folder with smollm2 in it")
    run = trained(recipe, str(REAL), steps=20, tokens=32, **asked(recipe, str(REAL)))
    checked(run, recipe)


@pytest.mark.full
@pytest.mark.parametrize("recipe", RECIPES)
def test_two_steps_on_a_random_checkpoint_stay_finite(recipe: str, tmp_path: Path) -> None:
    model = str(checkpoint(tmp_path / "model", "llama"))
    checked(trained(recipe, model, 2, 48, **asked(recipe, model)), recipe)
