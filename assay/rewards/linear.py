"""Linear preference rewards in training, and their exact fit.

Fitted by Bradley–Terry this is logistic regression on differences of counts. It is convex, so
`maximum_likelihood` finds the one optimum, and it is exact where the policy is a table.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.core import Pairs, Samples
from assay.core.rng import Rng
from assay.formulas.pairwise import bradley_terry
from assay.rewards.linear_reward import LinearReward, additive

__all__ = ["LinearModel", "LinearReward", "additive", "bootstrap", "maximum_likelihood"]


class LinearModel(nn.Module):
    """M trainable members: `model(samples) → [M,B,N]`, or a list with each member's own Samples.

    With `features` a token's score is its features times a member's weights; without, each (prompt,
    token) has a weight.

    Args:
        members: The number of members M.
        vocabulary: The number of tokens V.
        rows: The number of prompts R that differ; 1 where prompts do not matter.
        features: The features of each token `[R,V,D]`.
        rng: The address of the members' first weights. Without it they start at 0: the fit is
            convex.
        dtype: The dtype of the weights.
    """

    def __init__(
        self,
        members: int,
        *,
        vocabulary: int,
        rows: int = 1,
        features: Float[Tensor, "R V D"] | None = None,
        rng: Rng | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__()
        self.members = members
        self.features: Tensor | None
        self.register_buffer("features", None if features is None else features.to(dtype))
        shape = (members, rows, vocabulary) if features is None else (members, features.shape[-1])
        start = torch.zeros(shape, dtype=dtype)
        if (
            rng is not None
        ):  # a head of its own for every member; without rng the fit is convex and starts at 0
            place = torch.arange(start[0].numel())
            start = 0.01 * rng("head").normal(
                torch.arange(members)[:, None], place, dtype=dtype
            ).reshape(shape)
        self.weight = nn.Parameter(start)

    def table(self) -> Float[Tensor, "M R V"]:
        """Return the members' scores of each token."""
        return (
            self.weight
            if self.features is None
            else torch.einsum("rvd,md->mrv", self.features, self.weight)
        )

    def forward(self, samples: Samples | list[Samples]) -> Float[Tensor, "M B N"]:
        table = self.table()
        if isinstance(samples, list):
            return torch.cat([additive(table[m : m + 1], x) for m, x in enumerate(samples)])
        return additive(table, samples)

    def counts(self, samples: Samples) -> Float[Tensor, "B N D"]:
        """Return what weights multiply: counted tokens, or the completion's summed features."""
        held, tokens = samples.mask | samples.given, samples.action
        row = samples.prompts.row[:, None, None]
        if self.features is not None:
            each = self.features[row if len(self.features) > 1 else torch.zeros_like(row), tokens]
            return torch.where(held[..., None], each, each.new_zeros(())).sum(2)
        rows, vocabulary = self.weight.shape[1:]
        place = tokens if rows == 1 else tokens + vocabulary * row
        return self.weight.new_zeros(*tokens.shape[:2], rows * vocabulary).scatter_add(
            2, place, held.to(self.weight.dtype)
        )

    def hidden(self, samples: Samples | list[Samples]) -> Float[Tensor, "M B N D"]:
        """Return what heads read: `counts`, the same for members with the same completions."""
        each = samples if isinstance(samples, list) else [samples]
        return torch.stack([self.counts(x) for x in each]).expand(self.members, -1, -1, -1)

    def heads(self) -> Float[Tensor, "M D"]:
        """Return the members' weights: score = hidden · head."""
        return self.weight.flatten(1)

    def freeze(self, names: tuple[str, ...]) -> LinearReward:
        """Return these members as a reward."""
        return LinearReward(self.table().detach().clone(), names)


def bootstrap(pairs: int, members: int, rng: Rng) -> Float[Tensor, "M B"]:
    """Return how often each pair is in each member's resample.

    Args:
        pairs: The number of pairs B, and of draws with replacement.
        members: The number of members M.
        rng: The address of the draws.

    Returns:
        The counts.
    """
    drawn = rng.integers(pairs, torch.arange(members)[:, None], torch.arange(pairs))
    return torch.zeros(members, pairs).scatter_add(1, drawn, torch.ones(members, pairs))


def maximum_likelihood(
    model: LinearModel,
    pairs: Pairs,
    *,
    counts: Float[Tensor, "M B"] | None = None,
    ridge: float = 0.05,
) -> LinearModel:
    """Fit all members in place.

    min_w Σ_b counts[m,b]·[−p log σ(d) − (1−p) log σ(−d)] + ½·ridge·‖w_m‖², d = score gap

    It is strictly convex for ridge > 0 (a Gaussian prior of variance 1/ridge), so that the optimum
    does not depend on the start: Newton's method with halved steps, in float64, to a gradient below
    1e-8. SciPy's minimisers stop at 1e-6 to 1e-5 here, because they compare losses, which round
    earlier; the numbers of the table world need the last digits.

    Args:
        model: The members.
        pairs: The pairs, chosen first.
        counts: How often each pair counts for each member; once by default.
        ridge: The weight of the penalty.

    Returns:
        The model.

    Source:
        Bradley and Terry, 1952.
    """
    gaps = (
        model.counts(pairs).double().diff(dim=1).neg()[:, 0]
    )  # what the first completion has more of [B,D]
    p = pairs.p.double()
    each = p.new_ones(model.members, len(pairs)) if counts is None else counts.double()
    with torch.no_grad():
        for m in range(model.members):
            model.weight[m] = _newton(gaps, p, each[m], ridge).reshape(model.weight[m].shape)
    return model


def fitted_gaps(pairs: Pairs, rows: int, vocabulary: int) -> Float[Tensor, "B"]:
    """Score gaps, first minus second completion, of the linear model that fits the pairs best.

    A table policy's log-ratio to its reference is linear in counts, so that these are β times the
    gaps of DPO's optimum among such policies, on the pairs it is trained on.

    Args:
        pairs: The pairs.
        rows: The number of prompts that differ.
        vocabulary: The number of tokens.
    """
    model = LinearModel(1, vocabulary=vocabulary, rows=rows, dtype=torch.float64)
    with torch.no_grad():
        scores: Tensor = maximum_likelihood(model, pairs, ridge=1e-3)(pairs)
    return scores[0, :, 0] - scores[0, :, 1]


def _newton(
    gaps: Float[Tensor, "B D"], p: Float[Tensor, "B"], count: Float[Tensor, "B"], ridge: float
) -> Float[Tensor, "D"]:
    def objective(w: Tensor) -> Tensor:
        d = gaps @ w
        return (
            count * bradley_terry(d, torch.zeros_like(d), p=p)
        ).sum() + 0.5 * ridge * w.square().sum()

    w = gaps.new_zeros(gaps.shape[1])
    prior = ridge * torch.eye(len(w), dtype=w.dtype)
    for _ in range(100):
        won = torch.sigmoid(gaps @ w)
        gradient = gaps.T @ (count * (won - p)) + ridge * w
        if float(gradient.abs().max()) < 1e-8:
            break
        step = torch.linalg.solve((gaps.T * (count * won * (1 - won))) @ gaps + prior, gradient)
        size, here = 1.0, objective(w)
        while size > 1e-9 and bool(
            objective(w - size * step) > here - 1e-4 * size * (gradient @ step)
        ):
            size /= 2
        w = w - size * step
    return w
