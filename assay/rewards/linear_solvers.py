"""The optimum of linear reward models: ridge within prompts, and Bradley–Terry. SciPy solves.

Both problems are strictly convex, so M members differ only by how often each prompt or pair counts
for them. Features are a SciPy sparse array or a dense tensor, both of float32.

scikit-learn's `Ridge` has no intercept per prompt: with one column a prompt added for it, it takes
more than twice the time of the operator below. `LogisticRegression` has no margin and no penalty on
the sum of a pair's scores. See docs/architecture.md for the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

RESAMPLE = ("leave-out", "bootstrap", "none")
_FLAT = 1e-9  # a gradient of this times the ridge is at most so far from the optimum, in weights
Array = NDArray[Any]
Rows = Any  # a SciPy sparse array or a dense tensor, of float32


def counted_rows(columns: Int[Tensor, "R L"], width: int) -> sparse.csr_array:
    """Count columns row by row.

    Args:
        columns: The columns that each row uses, from 0 to `width` − 1; −1 where there is none.
        width: The number of columns.

    Returns:
        The counts `[R, width]`.
    """
    row, place = (columns >= 0).nonzero(as_tuple=True)
    ones = np.ones(len(row), np.float32)
    at = (row.numpy(), columns[row, place].numpy())
    return sparse.csr_array((ones, at), shape=(len(columns), width))


def linear_scores(x: Rows, w: Float[Tensor, "W M"]) -> Float[Tensor, "R M"]:
    """Multiply features and weights."""
    return x @ w if isinstance(x, Tensor) else torch.from_numpy(x @ w.numpy())


def ridge_within_prompts(
    x: Rows,
    score: Float[Tensor, "R"],
    group: Int[Tensor, "R"],
    *,
    ridge: float,
    counts: Float[Tensor, "G M"],
    tolerance: float = 1e-3,
) -> Float[Tensor, "W M"]:
    """Ridge regression of scores on features, both centred within each prompt.

    min_w Σ_g counts[g]·Σ_{i∈g} ((xᵢ−x̄_g)·w − (sᵢ−s̄_g))² + ridge·‖w‖²

    The inner sum is (1/n_g)·Σ_{i<j} ((xᵢ−xⱼ)·w − (sᵢ−sⱼ))²: all pairs of a prompt, each with its
    margin, at the cost of its rows. Nothing is compared across prompts.

    Args:
        x: Features `[R, W]`.
        score: The score of each row.
        group: The prompt of each row, from 0 to G−1.
        ridge: The weight of the penalty, above 0.
        counts: How often prompt g counts for member m.
        tolerance: The residual of the normal equations at which the solver stops, relative.

    Returns:
        Each member's weights.
    """
    from scipy.sparse.linalg import LinearOperator, cg

    rows, of = _numpy(x), group.numpy()
    size = np.maximum(np.bincount(of, minlength=len(counts)), 1)

    def centred(v: Array) -> Array:
        mean = np.bincount(of, weights=v, minlength=len(counts)) / size
        return np.asarray(v - mean[of], np.float32)

    target, out = centred(score.numpy()), []
    for own in counts.numpy().T:
        weight = own[of].astype(np.float32)

        def normal(w: Array, weight: Array = weight) -> Array:
            back = rows.T @ (weight * centred(rows @ w.astype(np.float32)))
            return np.asarray(back + np.float32(ridge) * w, np.float32)

        operator = LinearOperator((x.shape[1],) * 2, matvec=normal, dtype=np.float32)
        out.append(cg(operator, rows.T @ (weight * target), rtol=tolerance)[0])
    return torch.from_numpy(np.stack(out, 1)).float()


def bradley_terry_optimum(
    x: Rows,
    pairs: Int[Tensor, "B 2"],
    *,
    p: Float[Tensor, "B"],
    margin: Float[Tensor, "B"],
    ridge: float,
    counts: Float[Tensor, "B M"],
    smoothing: float = 0.0,
    centre: float = 0.0,
    tolerance: float = 1e-3,
) -> Float[Tensor, "W M"]:
    """Fit linear Bradley–Terry models to pairs.

    min_w Σ_b counts[b]·(−q·log σ(u_b) − (1−q)·log σ(−u_b) + centre·v_b²) + ½·ridge·‖w‖²

    with u = (score of first) − (score of second) − margin, v their sum, and
    q = smoothing + (1 − 2·smoothing)·p.

    Args:
        x: Features `[R, W]`.
        pairs: The rows of each pair, chosen first.
        p: The probability that the first is preferred.
        margin: What the score difference must exceed.
        ridge: The weight of the penalty, above 0.
        counts: How often pair b counts for member m.
        smoothing: The share of labels taken as wrong.
        centre: The weight of (chosen + rejected)².
        tolerance: The gradient at which the solver stops, relative to the first one.

    Returns:
        Each member's weights.
    """
    from scipy.optimize import minimize

    rows, (first, second) = _numpy(x).astype(np.float64), pairs.numpy().T
    label = smoothing + (1 - 2 * smoothing) * p.double().numpy()
    out = []
    for own in counts.double().numpy().T:
        loss = _Loss(rows, first, second, label, margin.double().numpy(), ridge, own, centre)
        start = np.zeros(x.shape[1])
        slope = float(np.linalg.norm(loss(start)[1]))
        if slope <= _FLAT * ridge:  # the optimum already; SciPy would divide by the gradient
            out.append(start)
            continue
        found = minimize(
            loss,
            start,
            jac=True,
            hessp=loss.curvature,
            method="trust-ncg",
            options={"gtol": tolerance * slope},
        )
        out.append(found.x)
    return torch.from_numpy(np.stack(out, 1)).float()


def _numpy(x: Rows) -> Any:
    return x.numpy() if isinstance(x, Tensor) else x


def validated_bradley_terry(
    x: Rows,
    pairs: Int[Tensor, "B 2"],
    *,
    p: Float[Tensor, "B"],
    margin: Float[Tensor, "B"],
    ridges: Sequence[float],
    share: float = 0.2,
) -> tuple[Float[Tensor, "W"], float]:
    """Fit one linear Bradley–Terry model, with the ridge that does best on a part of the pairs.

    Each ridge is fitted to the last pairs and tested on the first ones, by loss; the best one is
    then fitted to all pairs. A model whose labels say nothing so takes the largest ridge, and does
    not fit their noise.

    Args:
        x: Features `[R, W]`.
        pairs: The rows of each pair, chosen first.
        p: The probability that the first is preferred.
        margin: What the score difference must exceed.
        ridges: The ridges to try.
        share: The share of pairs that tests, counted from the first; at least one pair.

    Returns:
        (the weights, the ridge that was chosen).
    """
    n = max(1, round(share * len(pairs)))

    def fit(rows: slice, ridge: float) -> Tensor:
        ones = torch.ones(len(pairs[rows]), 1)
        return bradley_terry_optimum(
            x, pairs[rows], p=p[rows], margin=margin[rows], ridge=ridge, counts=ones
        )[:, 0]

    def loss(w: Tensor) -> float:
        s = linear_scores(x, w[:, None])[:, 0].double()
        u, label = s[pairs[:n, 0]] - s[pairs[:n, 1]] - margin[:n], p[:n].double()
        each = torch.nn.functional.logsigmoid
        return float(-(label * each(u) + (1 - label) * each(-u)).mean())

    chosen = min(ridges, key=lambda ridge: (loss(fit(slice(n, None), ridge)), -ridge))
    return fit(slice(None), chosen), chosen


class _Loss:
    """One member's loss with its gradient, and its Hessian times a vector."""

    def __init__(
        self,
        x: Any,
        first: Array,
        second: Array,
        label: Array,
        margin: Array,
        ridge: float,
        counts: Array,
        centre: float,
    ):
        self.x, self.first, self.second, self.label, self.margin = x, first, second, label, margin
        self.ridge, self.counts, self.penalty = ridge, counts, 2 * centre * counts
        self.at, self.bend = np.full(x.shape[1], np.nan), np.zeros(len(first))

    def __call__(self, w: Array) -> tuple[float, Array]:
        """Return the loss and its gradient at w."""
        from scipy.special import expit, log_expit

        u, v = self._pairs(w)
        u = u - self.margin
        chance = expit(u)
        self.at, self.bend = w.copy(), self.counts * chance * (1 - chance)
        each = -self.label * log_expit(u) - (1 - self.label) * log_expit(-u)
        loss = self.counts @ each + 0.5 * (self.penalty @ v**2 + self.ridge * w @ w)
        slope = self._rows(self.counts * (chance - self.label), self.penalty * v)
        return float(loss), slope + self.ridge * w

    def curvature(self, w: Array, d: Array) -> Array:
        """Return the Hessian at w, times d."""
        if not np.array_equal(w, self.at):
            self(w)
        u, v = self._pairs(d)
        return self._rows(self.bend * u, self.penalty * v) + self.ridge * d

    def _pairs(self, w: Array) -> tuple[Array, Array]:
        """Return each pair's difference and sum of scores."""
        s = self.x @ w
        return s[self.first] - s[self.second], s[self.first] + s[self.second]

    def _rows(self, u: Array, v: Array) -> Array:
        """The transpose of `_pairs`."""
        rows = self.x.shape[0]
        each = np.bincount(self.first, v + u, rows) + np.bincount(self.second, v - u, rows)
        return np.asarray(self.x.T @ each)


def resampled(groups: int, members: int, how: str, rng: torch.Generator) -> Float[Tensor, "G M"]:
    """Return how often each prompt counts for each member.

    Args:
        groups: The number of prompts G.
        members: The number of members M.
        how: "leave-out" (member m leaves out every M-th prompt of a random order), "bootstrap" (a
            draw with replacement), or "none" (all prompts, so that convex members are the same).
        rng: The source of the order or of the draw.

    Returns:
        The counts.
    """
    if how == "none" or (members == 1 and how == "leave-out"):
        return torch.ones(groups, members)
    if how == "leave-out":
        turn = torch.randperm(groups, generator=rng) % members
        return (turn[:, None] != torch.arange(members)).float()
    drawn = torch.randint(groups, (groups, members), generator=rng)
    return torch.zeros(groups, members).scatter_add(0, drawn, torch.ones(groups, members))
