"""A ranker of completions: a head on the policy's backbone, fitted to which ones passed."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assay.core import HasValueHead, Loop, Pairs, Rng, Samples, Task, cat, order, require
from assay.formulas.pairwise import bradley_terry
from assay.formulas.reduce import per_pair
from assay.loops.preference_rounds import paired_up
from assay.loops.updates import update


class Ranker:
    """Scores completions, and learns from pairs of which one passed and the other failed.

    Args:
        task: Its reference says what a head is; its carry keeps the ranker.
        loop: Constants of the optimisation, the policy's own.
        by: The recipe's name, for the message where the policy can have no head.
    """

    def __init__(self, task: Task, loop: Loop, *, by: str):
        policy = require(task.reference, HasValueHead, by)
        self.head = policy.value_head(1, task.rng("ranker"))
        self.optimiser, self.loop = loop.optimiser(self.head), loop
        task.carry.keep(ranker=self.head, ranker_opt=self.optimiser)

    @torch.no_grad()
    def __call__(self, x: Samples) -> Float[Tensor, "B N"]:
        """Score whole completions."""
        scores: Tensor = self.head(x)[..., -1, 0]
        return torch.where(x.present, scores, scores.new_zeros(()))

    def learn(self, pairs: Pairs, steps: int, rng: Rng) -> float:
        """Descend on −log σ(r_w − r_l), `batch_size` pairs an update, and return the last loss."""

        def loss(rows: Pairs, _: Tensor) -> Tensor:
            scores = self.head(rows)[..., -1, 0]
            return bradley_terry(scores[:, 0], scores[:, 1])

        once = Loop(learning_rate=self.loop.learning_rate)
        last = torch.nan
        for t in range(steps):
            rows = pairs[order(len(pairs), self.loop.batch_size, t, rng)]
            made = update(self.optimiser, loss, rows, once, rng("fit", t), reduce=per_pair)
            last = made["loss"]
        return last

    def accuracy(self, x: Samples, passed: Bool[Tensor, "B N"]) -> float:
        """Share of pairs of a prompt, one passed and one failed, that are ranked rightly.

        A tie is half; NaN where there is no pair.
        """
        scores = self(x)
        apart = scores[:, :, None] - scores[:, None, :]
        both = (passed & x.present)[:, :, None] & (~passed & x.present)[:, None, :]
        return float(((torch.sign(apart) + 1) / 2)[both].double().mean())


def mined(
    x: Samples,
    passed: Bool[Tensor, "B N"],
    scores: Float[Tensor, "B N"],
    *,
    per_prompt: int,
    mine: str,
    rng: Rng,
) -> Pairs | None:
    """Pair completions that passed with ones that failed, as many a prompt at most.

    Args:
        x: The completions.
        passed: Which of them passed.
        scores: The ranker's.
        per_prompt: Pairs of a prompt, at most.
        mine: Which failures: hard, those of the highest scores, or random.
        rng: Address of what is random.

    Returns:
        The pairs, the one that passed first; None where no prompt has both kinds.
    """
    b, n = (torch.arange(k, device=scores.device) for k in scores.shape)
    chance = rng("which").uniform(b[:, None], n, dtype=torch.float64).to(scores.device)
    key = scores.double() if mine == "hard" else chance
    bad = key.masked_fill(~(x.present & ~passed), -torch.inf).argsort(-1, descending=True)
    good = chance.masked_fill(~(x.present & passed), -torch.inf).argsort(-1, descending=True)
    many_bad, many_good = ((x.present & k).sum(-1) for k in (~passed, passed))
    many = torch.where(many_good > 0, many_bad.clamp(max=per_prompt), 0)
    row, k = (torch.arange(scores.shape[1], device=scores.device) < many[:, None]).nonzero(
        as_tuple=True
    )
    if not len(row):
        return None
    first = good[row, k % many_good[row]]
    places = torch.stack([first, bad[row, k]], -1)
    return paired_up(x, row, places, margin=torch.zeros(len(row), device=scores.device))


def joined(old: Pairs | None, new: Pairs | None) -> Pairs | None:
    """All pairs of both."""
    if old is None or new is None:
        return new if old is None else old
    both: Pairs = cat([old, new])
    return both
