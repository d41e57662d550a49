"""The flow world: policies that draw by a flow, and proxies with an exploit where no data are.

Testbed ring is in the plane, and its flow is known: see `ring.py`.

The constants and `World.loop` are fixed so that the baseline over-optimises: leave-one-out against
proxy0 alone, without KL.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from assay.core import Rng, Task, World
from assay.models.policies.step_schemes import DiffusionSteps, FlowSteps, Scheme
from assay.registry.from_config import from_config
from assay.worlds import ring
from assay.worlds.configuration import arguments, check_choice, check_range
from assay.worlds.exact import held_out_rows


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """The arguments of world flow.

    Attributes:
        seed: Of the world's own numbers.
        testbed: ring.
        mode: How the proxies fail: shared or idiosyncratic.
        members: Proxies.
        height: Of a proxy's bump, in deviations of gold under the reference.
        reach: Deviation of the bump.
        distance: Of the bump from the middle; the data lie at 4.
        angle: Of the bump from the direction that gold prefers, in half turns.
        sampler: The steps are those of a flow, or of a diffusion: flow or ddim.
        steps: Steps from noise to data, at least 2.
        noise: Level a of the noise in each step of a flow.
        shift: Above 1, more of a flow's steps are near the noise.
        eta: Noise η of a diffusion's steps, above 0; 1 is DDPM's.
        logp: A step's log-probability is the sum or the mean over its coordinates: sum or mean.
        width: Hidden units of the network that is trained.
    """

    seed: int = 0
    testbed: str = "ring"
    mode: str = "shared"
    members: int = 3
    height: float = 5.0
    reach: float = 1.0
    distance: float = 6.0
    angle: float = 0.2
    sampler: str = "flow"
    steps: int = 10
    noise: float = 0.7
    shift: float = 1.0
    eta: float = 1.0
    logp: str = "sum"
    width: int = 64

    def __post_init__(self) -> None:
        check_choice(self, "testbed", ("ring",))
        check_choice(self, "mode", ("shared", "idiosyncratic"))
        check_choice(self, "sampler", ("flow", "ddim"))
        check_choice(self, "logp", ("sum", "mean"))
        for name in ("members", "width"):
            check_range(self, name, 1)
        check_range(self, "steps", 2)
        check_range(self, "height", 0.0)
        check_range(self, "distance", 0.0)
        for name in ("reach", "noise", "shift"):
            check_range(self, name, 1e-6)
        check_range(self, "eta", 1e-6, 1.0)


@from_config(FlowConfig)
def world(config: FlowConfig) -> World:
    """A world whose policies draw points by a flow."""
    rng = Rng(config.seed)("world flow")
    gold = ring.RingGold()
    gold.standardise(rng("standard"))
    places = ring.bumps(config.mode, config.members, config.distance, config.angle, rng("bumps"))
    proxies = ring.RingProxies(
        gold.centre,
        gold.scale,
        places,
        height=config.height,
        width=config.reach,
        names=[f"proxy{m}" for m in range(config.members)],
    )
    scheme: Scheme = (
        FlowSteps(config.steps, config.noise, config.shift)
        if config.sampler == "flow"
        else DiffusionSteps(config.steps, config.eta)
    )
    reference = ring.reference(scheme, rng("reference"), reduction=config.logp, width=config.width)
    every = reference.prompts(torch.arange(ring.CONDITIONS))
    return World(
        "flow",
        Task(prompts=every, reference=reference, rewards=proxies, rng=Rng(config.seed)("run")),
        held_out=reference.prompts(held_out_rows(ring.CONDITIONS)),
        gold=gold,
        gold_kind="written",
        facts=ring.facts_of(rng("facts")),
        loop=ring.LOOP,
        arguments=arguments(config),
        population=every,
    )
