"""Linear preference rewards: a score a token (and prompt, where it matters), summed over the
answer. M members at once.

Fitted by Bradley–Terry this is logistic regression on differences of counts: convex, so
`maximum_likelihood` finds the one optimum, and exact wherever the policy is a table.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from assay.core import Pairs, Samples
from assay.core.rng import Rng
from assay.errors import InputError
from assay.formulas.pairwise import bradley_terry


def additive(table: Float[Tensor, "M R V"], samples: Samples) -> Float[Tensor, "M B N"]:
    """Σ_t table[m, x, y_t] over everything in the answer; R = 1: the same for all prompts."""
    row = samples.prompts.row if table.shape[1] > 1 else torch.zeros_like(samples.prompts.row)
    each = table.to(row.device)[:, row[:, None, None], samples.action]
    return torch.where(samples.mask | samples.given, each, each.new_zeros(())).sum(-1)


class LinearModel(nn.Module):
    """M trainable members. With `features [R,V,D]` a token's score is its features times a member's
    weights; without, every (prompt, token) has a weight of its own. `rows` = 1: prompts do not
    matter.

    `model(samples) → [M,B,N]`; a list of M Samples gives each member its own rows.
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
        """The members' scores of one token."""
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
        """What a member's weights multiply: an answer's tokens counted, or its features summed."""
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
        """What the members' heads read: `counts`, the same for all members of the same answers."""
        each = samples if isinstance(samples, list) else [samples]
        return torch.stack([self.counts(x) for x in each]).expand(self.members, -1, -1, -1)

    def heads(self) -> Float[Tensor, "M D"]:
        """The members' weights: score = hidden · head."""
        return self.weight.flatten(1)

    def freeze(self, names: tuple[str, ...]) -> LinearReward:
        """These members as a reward."""
        return LinearReward(self.table().detach().clone(), names)


class LinearReward:
    """(Σ_t table[m, x, y_t] − centre[m]) / scale[m], without gradient."""

    partial = False

    def __init__(
        self,
        table: Float[Tensor, "M R V"],
        names: tuple[str, ...],
        *,
        centre: Float[Tensor, "M"] | None = None,
        scale: Float[Tensor, "M"] | None = None,
    ):
        if len(names) != table.shape[0]:
            raise InputError(
                f"{table.shape[0]} members need as many names, got {len(names)}: {', '.join(names)}"
            )
        self.table, self.names = table, tuple(names)
        self.centre = table.new_zeros(len(names)) if centre is None else centre
        self.scale = table.new_ones(len(names)) if scale is None else scale

    def __call__(self, samples: Samples) -> Float[Tensor, "M B N"]:
        with torch.no_grad():
            score = additive(self.table, samples)
            return (score - self.centre.to(score.device)[:, None, None]) / self.scale.to(
                score.device
            )[:, None, None]

    def only(self, members: Sequence[int]) -> LinearReward:
        """These members alone."""
        m = list(members)
        return LinearReward(
            self.table[m],
            tuple(self.names[i] for i in m),
            centre=self.centre[m],
            scale=self.scale[m],
        )

    def standardised(self, probs: Float[Tensor, "#R V"], length: int) -> LinearReward:
        """This reward with mean 0 and variance 1 over the answers of a table policy with these
        probabilities.

        Exact, as if on an endless bank of its draws: the mean of `length` independent decisions,
        the variance within prompts plus that between them. A member that is constant keeps scale 1.
        """
        mean, variance = self.moments(probs, length)
        spread = (variance.mean(-1) + mean.var(-1, correction=0)).sqrt()
        return LinearReward(
            self.table,
            self.names,
            centre=self.centre + self.scale * mean.mean(-1),
            scale=self.scale * torch.where(spread > 0, spread, spread.new_ones(())),
        )

    def moments(
        self, probs: Float[Tensor, "#R V"], length: int
    ) -> tuple[Float[Tensor, "M R"], Float[Tensor, "M R"]]:
        """Exact mean and variance of a whole answer's score, a member and context."""
        first = (self.table * probs).sum(-1)
        second = (self.table.square() * probs).sum(-1)
        mean = (length * first - self.centre[:, None]) / self.scale[:, None]
        return mean, length * (second - first.square()).clamp(min=0) / self.scale[:, None].square()

    def per_decision(self) -> Float[Tensor, "M R V"]:
        """Each token's share of the score, constants left out: what tilts a table policy."""
        return self.table / self.scale[:, None, None]

    def save(self, folder: Path) -> None:
        """weights.safetensors and reward.json."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {"table": self.table, "centre": self.centre, "scale": self.scale}
        save_file(
            {k: v.contiguous() for k, v in tensors.items()}, str(folder / "weights.safetensors")
        )
        about = {"kind": "linear", "names": list(self.names), "partial": self.partial}
        (folder / "reward.json").write_text(json.dumps(about, indent=1) + "\n")

    @staticmethod
    def load(folder: Path) -> LinearReward:
        """What `save` wrote. Raises InputError, naming the file, where it is missing or damaged."""
        try:
            about = json.loads((folder / "reward.json").read_text())
            tensors = load_file(str(folder / "weights.safetensors"))
            if about["kind"] != "linear":
                raise InputError(
                    f"{folder / 'reward.json'} holds a reward of kind '{about['kind']}', not "
                    "'linear'"
                )
            return LinearReward(
                tensors["table"],
                tuple(about["names"]),
                centre=tensors["centre"],
                scale=tensors["scale"],
            )
        except (OSError, KeyError, TypeError, SafetensorError, json.JSONDecodeError) as why:
            raise InputError(
                f"{folder} holds no readable linear reward ({type(why).__name__}: {str(why)[:80]})"
            ) from why


def bootstrap(pairs: int, members: int, rng: Rng) -> Float[Tensor, "M B"]:
    """How often each pair is in each member's resample: `pairs` draws with replacement, a member
    its own.
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
    """Fit all members in place: min_w Σ_b counts[m,b]·[−p log σ(d) − (1−p) log σ(−d)] +
    ½·ridge·‖w_m‖², d = score gap.

    Strictly convex for ridge > 0 (a Gaussian prior of variance 1/ridge), so the one optimum does
    not depend on where one starts: Newton's method with halved steps, float64, to a gradient below
    1e-8. Bradley and Terry 1952. `counts`: see `bootstrap`.
    """
    gaps = (
        model.counts(pairs).double().diff(dim=1).neg()[:, 0]
    )  # what the first answer has more of [B,D]
    p = pairs.p.double()
    each = p.new_ones(model.members, len(pairs)) if counts is None else counts.double()
    with torch.no_grad():
        for m in range(model.members):
            model.weight[m] = _newton(gaps, p, each[m], ridge).reshape(model.weight[m].shape)
    return model


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
