"""What the worlds with exact probabilities share: held-out prompts, demonstrations and the fit.

The table world's bags and bandits and its decision processes build their tasks from these parts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from assay.core import Loop, Prompts, Rng, Sampler, Samples

LEAST_HELD_OUT = 64
# Reward models fitted anew end near the optimum, as the world's own do.
FIT: dict[str, Any] = {"max_steps": 200, "batch_size": 64, "learning_rate": 0.03}


def fit_loop(seed: int) -> Loop:
    """The loop with which a linear reward model of these worlds is fitted anew."""
    return Loop(**FIT, seed=seed)


def held_out_rows(n: int) -> Int[Tensor, "rows"]:
    """Every one of n prompts equally often, `LEAST_HELD_OUT` rows at least.

    A table cannot generalise: it is evaluated on the task's own prompts, weighted as `facts` does.
    """
    return torch.arange(-(-LEAST_HELD_OUT // n) * n) % n


def best_of_four(
    policy: Sampler, prompts: Prompts, gold: Callable[[Samples], Tensor], rng: Rng
) -> Samples:
    """Demonstrations: for each prompt the completion of highest gold among four of the policy's.

    Args:
        policy: What samples.
        prompts: B prompts.
        gold: Scores completions, `[1,B,N]`.
        rng: The policy's choices.
    """
    completions = policy.sample(prompts, 4, rng)
    return completions.pick(gold(completions)[0].argmax(-1, keepdim=True))
