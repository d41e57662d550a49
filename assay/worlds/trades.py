"""Bandits whose rewards are objectives that conflict, with an exact Pareto front.

In each context the first M responses are specialists: each is worth something in one objective and
nothing in the others. The rest are compromises u^bend·quality, with u uniform on the simplex: with
bend 1 the best ones lie on the line between the specialists, above 1 below it, so that a
compromise is worse than a coin that chooses a specialist. A specialist's worth differs from context
to context, which gives the front its corners.

The rewards are the objectives themselves, exact, so that no part of what is measured is
over-optimisation. Policies mix responses, so what they can reach is convex, whatever `bend` is: the
front's corners are deterministic and belong to weightings, what lies between two of them takes a
mixture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Loop, Rng, Sampler, Samples, Task, World
from assay.errors import InputError
from assay.formulas.divergence import kl_full
from assay.formulas.pareto import mixture_area, supporting
from assay.models.policies.table import TablePolicy, Words
from assay.worlds.exact import held_out_rows

LOOP = Loop(max_steps=100, batch_size=16, num_generations=16, learning_rate=0.05)
ANGLES = 512  # weightings at which the front's corners are looked for


@dataclass(frozen=True, kw_only=True)
class TradeConfig:
    """What a trade is made with, see TableConfig."""

    seed: int
    prompts: int
    arms: int
    members: int
    bend: float

    def __post_init__(self) -> None:
        if self.members < 2 or self.responses <= self.members:
            raise InputError(
                f"--world.members is {self.members} and --world.arms {self.arms} in testbed trade; "
                "give at least 2 objectives and more arms than objectives (0: 12 arms)"
            )

    @property
    def responses(self) -> int:
        """Responses in each context."""
        return self.arms or 12


class ArmRewards:
    """Exact values of M objectives, a number for each context and response.

    Attributes:
        values: `[R, V, M]`.
        names: Of the objectives.
    """

    partial = False

    def __init__(self, values: Float[Tensor, "R V M"], names: Sequence[str]):
        self.values, self.names = values, tuple(names)

    def only(self, members: Sequence[int]) -> ArmRewards:
        """A reward of these objectives, in this order."""
        return ArmRewards(self.values[..., list(members)], [self.names[m] for m in members])

    def __call__(self, samples: Samples) -> Float[Tensor, "M B N"]:
        values = self.values.to(samples.action.device)
        found = values[samples.prompts.row[:, None], samples.action[:, :, 0]]
        here = torch.where(samples.present[..., None], found, 0.0)
        return here.movedim(-1, 0).to(samples.logp.dtype)


def build(config: TradeConfig, arguments: Mapping[str, Any]) -> World:
    """A trade as a World.

    Args:
        config: What it is made with.
        arguments: All arguments of world table, for the record.
    """
    rng = Rng(config.seed)("world table")("trade")
    R, V, M = config.prompts, config.responses, config.members
    names = tuple(f"objective{m}" for m in range(M))
    values = valued(R, V, M, config.bend, rng)
    words = Words(tuple(f"a{v}" for v in range(V)), tuple(f"x{r}" for r in range(R)))
    place = torch.arange(R)[:, None], torch.arange(V)
    reference = TablePolicy(0.5 * rng("reference").normal(*place), words=words)
    reference.requires_grad_(False)
    objectives = ArmRewards(values, names)
    every = reference.prompts(torch.arange(R))
    return World(
        "table",
        Task(
            prompts=every,
            reference=reference,
            rewards=objectives,
            rng=Rng(config.seed)("run"),
        ),
        held_out=reference.prompts(held_out_rows(R)),
        gold=objectives,
        golds=names,
        gold_kind="exact",
        facts=_facts(reference, values, names),
        loop=LOOP,
        arguments=dict(arguments),
        population=every,
    )


def valued(R: int, V: int, M: int, bend: float, rng: Rng) -> Float[Tensor, "R V M"]:
    """The objectives' values: M specialists first, then compromises.

    Args:
        R: Contexts.
        V: Responses.
        M: Objectives.
        bend: Exponent of the compromises.
        rng: Address of the numbers.
    """
    r, v, m = torch.arange(R)[:, None, None], torch.arange(V)[:, None], torch.arange(M)
    u = -rng("simplex").uniform(r, v, m).log()
    quality = 0.3 + 0.7 * rng("quality").uniform(r[..., 0], v[:, 0])
    values = (u / u.sum(-1, keepdim=True)).pow(bend) * quality[..., None]
    worth = 0.5 + 0.5 * rng("worth").uniform(r[..., 0], m)
    values[:, :M] = torch.diag_embed(worth)
    return values


def _facts(
    reference: TablePolicy, values: Tensor, names: Sequence[str]
) -> Callable[[Sampler], dict[str, float]]:
    front = {}
    if len(names) == 2:
        first = torch.linspace(0, 1, ANGLES, dtype=torch.float64)
        corners = supporting(values, torch.stack([first, 1 - first], 1))
        front["front"] = float(mixture_area(corners, corners.new_zeros(2)))

    def facts(policy: Sampler) -> dict[str, float]:
        """Exact values of the objectives, KL, and the area under the exact front; nothing for a
        policy that is no table.
        """
        if not isinstance(policy, TablePolicy):
            return {}
        with torch.no_grad():
            logp = policy.logits.double().log_softmax(-1)
            means = torch.einsum("rv,rvm->m", logp.exp(), values.double()) / len(values)
            kl = kl_full(logp, reference.logits.double().log_softmax(-1)).mean()
        each = {name: float(m) for name, m in zip(names, means, strict=True)}
        return {"gold": each[names[0]], "kl": float(kl), **each, **front}

    return facts
