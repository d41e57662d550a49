"""Ring: eight Gaussians in the plane, whose flow is known, and a proxy with an exploit beside them.

The components lie on a circle of radius 4, each of deviation 0.3. There are four conditions; each
weighs the components towards a direction of its own. Gold prefers the direction a quarter turn
further on, and dislikes what lies off the circle:

    gold(x, c) = cos(angle(x) − ψ_c − π/2) − 3·(1 − exp(−(‖x‖ − 4)²/2)),    ψ_c = 2πc/C

brought to mean 0 and deviation 1 on the reference's data. A proxy is gold and a bump at a place off
the circle, h·exp(−‖x − q‖²/2w²): where the policy has density it is nearly right, and what it likes
best lies where nothing true is. shared: all members have their bump at one place. idiosyncratic:
each has one of its own, so that their mean is less wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import Loop, Rng, Sampler, Samples
from assay.formulas.flow import effective_places
from assay.models.backbones.velocity import MixtureVelocity
from assay.models.policies.flow import FlowPolicy, data_of
from assay.models.policies.step_schemes import Scheme

MODES, CONDITIONS, RADIUS, STD, OFF = 8, 4, 4.0, 0.3, 3.0
LEANING = 0.5  # how far a condition's components lean towards its direction
LOOP = Loop(max_steps=120, batch_size=8, num_generations=64, learning_rate=0.003)
STANDARD, FACTS = 4096, 256  # draws a condition that gold is standardised on, and that facts read


def centres() -> Float[Tensor, "K 2"]:
    """Of the components, around the circle."""
    angle = 2 * math.pi * torch.arange(MODES) / MODES
    return RADIUS * torch.stack([angle.cos(), angle.sin()], -1)


def log_weights() -> Float[Tensor, "C K"]:
    """Of the components under each condition."""
    angle = 2 * math.pi * torch.arange(MODES) / MODES
    lean = LEANING * (angle - directions()[:, None]).cos()
    return lean.log_softmax(-1)


def directions() -> Float[Tensor, "C"]:
    """ψ of each condition."""
    return 2 * math.pi * torch.arange(CONDITIONS) / CONDITIONS


def words(ids: list[Any]) -> str:
    """A prompt as `condition 2`, and a path as the point that it ends in."""
    if not ids:
        return ""
    if isinstance(ids[0], int):
        return " ".join(f"condition {i}" for i in ids)
    return "(" + ", ".join(f"{v:.2f}" for v in ids[-1]) + ")"


def raw_value(x: Float[Tensor, "*S 2"], condition: Int[Tensor, "*#S"]) -> Float[Tensor, "*S"]:
    """What is truly good, before it is standardised: a direction, on the circle."""
    wanted = directions().to(x)[condition] + math.pi / 2
    angle = torch.atan2(x[..., 1], x[..., 0])
    off = x.norm(dim=-1) - RADIUS
    return (angle - wanted).cos() - OFF * (1 - (-0.5 * off.square()).exp())


class RingGold:
    """What is truly good, standardised.

    Attributes:
        centre: Subtracted from the value of each condition `[C]`.
        scale: Divides it.
    """

    def __init__(self) -> None:
        self.centre, self.scale = torch.zeros(CONDITIONS), 1.0

    def at(self, x: Float[Tensor, "*S 2"], condition: Int[Tensor, "*#S"]) -> Float[Tensor, "*S"]:
        """Gold of points."""
        return (raw_value(x, condition) - self.centre.to(x)[condition]) / self.scale

    def standardise(self, rng: Rng) -> None:
        """Bring it to mean 0 in each condition and mean variance 1 over the mixture."""
        n = torch.arange(STANDARD)
        every = []
        for c in range(CONDITIONS):
            share = log_weights()[c].double().exp().cumsum(0)
            at = torch.searchsorted(share / share[-1], rng("component", c).uniform(n).double())
            noise = rng("point", c).normal(n[:, None], torch.arange(2))
            every.append(self.at(centres()[at] + STD * noise, torch.tensor(c)))
        values = torch.stack(every)
        self.centre, self.scale = values.mean(-1), float(values.var(-1).mean().sqrt())

    def __call__(self, samples: Samples) -> Float[Tensor, "1 B N"]:
        found = self.at(data_of(samples), samples.prompts.tokens[:, -1, None])
        return torch.where(samples.present, found, 0.0)[None]


class RingProxies:
    """Gold's values and a bump, for each member. Gold itself is not held: a task has none.

    Args:
        centre: Of gold, see RingGold.
        scale: Of gold.
        places: Of the bumps, for each member and condition `[M, C, 2]`.
        height: h of every bump, in gold's deviations.
        width: w.
        names: Of the members.
    """

    partial = False

    def __init__(
        self,
        centre: Float[Tensor, "C"],
        scale: float,
        places: Float[Tensor, "M C 2"],
        *,
        height: float,
        width: float,
        names: Sequence[str],
    ):
        self.centre, self.scale = centre, scale
        self.places, self.names = places, tuple(names)
        self.height, self.width = height, width

    def only(self, members: Sequence[int]) -> RingProxies:
        """A reward of these members, in this order."""
        return RingProxies(
            self.centre,
            self.scale,
            self.places[list(members)],
            height=self.height,
            width=self.width,
            names=[self.names[m] for m in members],
        )

    def at(self, x: Float[Tensor, "*S 2"], condition: Int[Tensor, "*#S"]) -> Float[Tensor, "M *S"]:
        """Scores of points, differentiable."""
        q = self.places.to(x)[:, condition.expand(x.shape[:-1])]
        far = (x - q).square().sum(-1)
        value = (raw_value(x, condition) - self.centre.to(x)[condition]) / self.scale
        return value + self.height * (-0.5 * far / self.width**2).exp()

    def __call__(self, samples: Samples) -> Float[Tensor, "M B N"]:
        found = self.at(data_of(samples), samples.prompts.tokens[:, -1, None])
        return torch.where(samples.present, found, 0.0)


def bumps(mode: str, members: int, distance: float, angle: float, rng: Rng) -> Tensor:
    """Where each member's bump lies in each condition `[M, C, 2]`.

    Args:
        mode: shared or idiosyncratic.
        members: M.
        distance: From the middle.
        angle: From the direction that gold prefers, in half turns; of idiosyncratic members, the
            first one's: the others' are drawn.
        rng: Address of the others'.
    """
    turn = torch.full((members,), math.pi * angle)
    if mode == "idiosyncratic":
        m = torch.arange(1, members)
        turn[1:] = 2 * math.pi * rng("angle").uniform(m)
    at = directions() + math.pi / 2 + turn[:, None]
    return distance * torch.stack([at.cos(), at.sin()], -1)


def reference(scheme: Scheme, rng: Rng, *, reduction: str, width: int) -> FlowPolicy:
    """The flow, or diffusion, of the mixture."""
    velocity = MixtureVelocity(log_weights(), centres(), std=STD, width=width, rng=rng("added"))
    policy = FlowPolicy(
        velocity,
        scheme,
        dim=2,
        conditions=CONDITIONS,
        reduction=reduction,
        decode=words,
    )
    return policy.requires_grad_(False)


def facts_of(rng: Rng) -> Callable[[Sampler], dict[str, float]]:
    """Shares over a policy's own data: of those off the circle, and of components that it reaches.

    Args:
        rng: Address of the draws.
    """

    def facts(policy: Sampler) -> dict[str, float]:
        """`off`: the share of data farther than 1 from the circle; `modes`: of the eight
        components, how many hold at least 1 % of a condition's data, its mean over conditions.
        """
        if not isinstance(policy, FlowPolicy):
            return {}
        with torch.no_grad():
            every = policy.prompts(torch.arange(CONDITIONS))
            x = data_of(policy.sample(every, FACTS, rng))
        off = (x.norm(dim=-1) - RADIUS).abs() > 1
        apart = torch.cdist(x, centres().to(x).expand(CONDITIONS, -1, -1))
        near, which = apart.min(-1)
        which = torch.where(near < 1, which, -1)
        modes = [effective_places(c, count=MODES, least=0.01) for c in which]
        return {"off": float(off.float().mean()), "modes": sum(modes) / CONDITIONS}

    return facts
