"""Linear judges and their one optimum: ridge on scores centred within prompts, Bradley–Terry by
Newton's method.

All M members are solved together, each with its own weights over prompts or pairs. Features may be
sparse, dense, or both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag

from assay.formulas.pairwise import bradley_terry, centring

Operator = Callable[[Tensor], Tensor]


@dataclass
class Design:
    """Feature rows: `D` sparse columns in compressed form, then `F` dense ones. The transpose is
    made at first need.
    """

    index: Int[Tensor, "nnz"]
    value: Float[Tensor, "nnz"]
    start: Int[Tensor, "starts"]
    columns: int
    dense: Float[Tensor, "R F"]
    _back: tuple[Tensor, Tensor, Tensor] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.dense)

    @property
    def width(self) -> int:
        return self.columns + self.dense.shape[1]

    def times(self, w: Float[Tensor, "W M"]) -> Float[Tensor, "R M"]:
        """X·w."""
        out = self.dense @ w[self.columns :]
        if len(self.index) and len(self):
            out = out + embedding_bag(
                self.index,
                w[: self.columns].contiguous(),
                self.start[:-1],
                mode="sum",
                per_sample_weights=self.value,
            )
        return out

    def back(self, v: Float[Tensor, "R M"]) -> Float[Tensor, "W M"]:
        """Xᵀ·v, by the transpose in compressed form: no scattered writes, so the same numbers every
        time.
        """
        if self._back is None:
            order = torch.argsort(self.index, stable=True)
            rows = torch.repeat_interleave(
                torch.arange(len(self), dtype=torch.int32), self.start.diff().long()
            )
            counts = torch.bincount(self.index.long(), minlength=self.columns)
            start = torch.nn.functional.pad(counts.cumsum(0), (1, 0)).to(torch.int32)
            self._back = rows[order], self.value[order], start
        rows, value, start = self._back
        sparse = v.new_zeros(self.columns, v.shape[1])
        if len(rows):
            sparse = embedding_bag(
                rows, v.contiguous(), start[:-1], mode="sum", per_sample_weights=value
            )
        return torch.cat([sparse, self.dense.T @ v])


def conjugate(
    apply: Operator,
    b: Float[Tensor, "W M"],
    *,
    tolerance: float,
    most: int,
    start: Float[Tensor, "W M"] | None = None,
) -> Float[Tensor, "W M"]:
    """Solve A·x = b for M columns at once, A symmetric positive definite and its own for every
    column (Hestenes & Stiefel 1952), until every residual is below `tolerance`·‖b‖. A column that
    is done stays as it is.
    """
    x = torch.zeros_like(b) if start is None else start.clone()
    r = b.clone() if start is None else b - apply(x)
    p, rr, goal = r.clone(), r.square().sum(0), tolerance**2 * b.square().sum(0)
    for _ in range(most):
        open_ = rr > goal
        if not bool(open_.any()):
            break
        q = apply(p)
        step = torch.where(open_, rr / (p * q).sum(0).clamp(min=torch.finfo(b.dtype).tiny), 0.0)
        x, r = x + step * p, r - step * q
        new = r.square().sum(0)
        p = r + torch.where(open_, new / rr.clamp(min=torch.finfo(b.dtype).tiny), 0.0) * p
        rr = torch.where(open_, new, rr)
    return x


def centred_ridge(
    x: Design,
    score: Float[Tensor, "R"],
    group: Int[Tensor, "R"],
    *,
    ridge: float,
    counts: Float[Tensor, "G M"],
    tolerance: float = 1e-3,
    most: int = 200,
) -> Float[Tensor, "W M"]:
    """min_w Σ_g counts[g]·Σ_{i∈g} ((xᵢ−x̄_g)·w − (sᵢ−s̄_g))² + ridge·‖w‖².

    The inner sum is (1/n_g)·Σ_{i<j} ((xᵢ−xⱼ)·w − (sᵢ−sⱼ))²: all pairs of a prompt, each with its
    margin, at the price of its rows. Nothing is compared across prompts.
    """
    size = torch.bincount(group, minlength=len(counts)).clamp(min=1).to(score.dtype)[:, None]
    weight = counts.to(score.dtype)[group]

    def centred(v: Tensor) -> Tensor:
        total = v.new_zeros(len(counts), v.shape[1]).index_add_(0, group, v)
        return v - (total / size)[group]

    target = centred(score[:, None].expand(-1, counts.shape[1])) * weight
    return conjugate(
        lambda w: x.back(centred(x.times(w)) * weight) + ridge * w,
        x.back(target),
        tolerance=tolerance,
        most=most,
    )


def pairwise(
    x: Design,
    pairs: Int[Tensor, "B 2"],
    *,
    p: Float[Tensor, "B"],
    margin: Float[Tensor, "B"],
    ridge: float,
    counts: Float[Tensor, "B M"],
    smoothing: float = 0.0,
    centre: float = 0.0,
    tolerance: float = 1e-3,
    most: int = 30,
) -> Float[Tensor, "W M"]:
    """min_w Σ_b counts[b]·(bradley_terry + centre·centring)(scores of pair b) + ½·ridge·‖w‖²,
    chosen first.

    Newton's method, its steps by conjugate gradients, halved until the loss falls; to a gradient of
    `tolerance` times the first. Convex with one optimum, so members differ by `counts` alone.
    """
    label = (smoothing + (1 - 2 * smoothing) * p)[:, None]

    def lift(u: Tensor, v: Tensor) -> Tensor:  # from (difference, sum) of a pair to its two rows
        rows = u.new_zeros(len(x), u.shape[1])
        return rows.index_add_(0, pairs[:, 0], v + u).index_add_(0, pairs[:, 1], v - u)

    def losses(s: Tensor, w: Tensor) -> Tensor:
        first, second = s[pairs[:, 0]].T, s[pairs[:, 1]].T
        each = bradley_terry(
            first, second, p=p, margin=margin, smoothing=smoothing
        ) + centre * centring(first, second)
        return (counts.T * each).double().sum(1) + 0.5 * ridge * w.double().square().sum(0)

    w = torch.zeros(x.width, counts.shape[1])
    s = x.times(w)
    loss, first_norm = losses(s, w), None
    for _ in range(most):
        a, b = s[pairs[:, 0]], s[pairs[:, 1]]
        chance = torch.sigmoid(a - b - margin[:, None])
        slope = x.back(lift(counts * (chance - label), 2 * centre * counts * (a + b))) + ridge * w
        norm = slope.norm(dim=0)
        first_norm = norm if first_norm is None else first_norm
        if bool((norm <= tolerance * first_norm).all()):
            break

        def curved(d: Tensor, bend: Tensor = counts * chance * (1 - chance)) -> Tensor:
            t = x.times(d)
            u, v = t[pairs[:, 0]], t[pairs[:, 1]]
            return x.back(lift(bend * (u - v), 2 * centre * counts * (u + v))) + ridge * d

        step = conjugate(curved, -slope, tolerance=0.1, most=60)
        size = torch.ones(counts.shape[1])
        for _ in range(20):
            tried = w + size * step
            s_tried = x.times(tried)
            fresh = losses(s_tried, tried)
            worse = fresh > loss + 1e-9 * loss.abs()
            if not bool(worse.any()):
                break
            size = torch.where(worse, size / 2, size)
        keep = ~worse
        w, s, loss = (
            torch.where(keep, tried, w),
            torch.where(keep, s_tried, s),
            torch.where(keep, fresh, loss),
        )
        if not bool(keep.any()):
            break
    return w


def resampled(groups: int, members: int, how: str, rng: torch.Generator) -> Float[Tensor, "G M"]:
    """How often each prompt counts for each member. "leave-out": member m leaves out every M-th
    prompt of a random order; "bootstrap": a draw with replacement; "none": all prompts, so that
    convex members are the same.
    """
    if how == "none" or (members == 1 and how == "leave-out"):
        return torch.ones(groups, members)
    if how == "leave-out":
        turn = torch.randperm(groups, generator=rng) % members
        return (turn[:, None] != torch.arange(members)).float()
    drawn = torch.randint(groups, (groups, members), generator=rng)
    return torch.zeros(groups, members).scatter_add(0, drawn, torch.ones(groups, members))
