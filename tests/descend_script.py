"""One or two processes train a table for a few steps; the first prints its logits. Run by
test_engine_descend.
"""

from __future__ import annotations

import json

import torch

from assay.core import Checked, Loop, Rng
from assay.engine import parallel
from assay.engine.descend import descend
from assay.formulas.reduce import per_completion
from assay.models.policies.table import TablePolicy
from assay.rewards.linear import LinearReward


def train(rows: int) -> dict[str, list[float]]:
    """Five steps on `rows` prompts: drawing, scoring and descending all pass their doors."""
    parallel.meter.counts = dict.fromkeys(parallel.meter.counts, 0)
    reference = TablePolicy(torch.linspace(-1, 1, 28, dtype=torch.float64).reshape(7, 4), length=3)
    reward = Checked(
        LinearReward(
            torch.linspace(0, 1, 56, dtype=torch.float64).sin().reshape(2, 7, 4), ("a", "b")
        )
    )
    policy = reference.copy()
    opt = Loop(learning_rate=0.1).optimiser(policy)
    losses = []
    for t in range(5):
        x = policy.sample(
            reference.prompts(torch.arange(rows)), torch.arange(rows) % 3 + 2, Rng(0)("sample", t)
        )
        scores = reward(x).mean(0)
        out = descend(
            opt, lambda r, i, s=scores: -policy.logp(r) * s[i][..., None], x, reduce=per_completion
        )
        losses.append(out["loss"])
    return {
        "logits": policy.logits.detach().flatten().tolist(),
        "losses": losses,
        "counts": list(parallel.meter.counts.values()),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    with parallel.group():
        told = [train(7), train(1)]  # uneven shares; fewer rows than processes
        if parallel.rank() == 0:
            print(json.dumps(told))
