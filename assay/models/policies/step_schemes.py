"""How a velocity becomes Gaussian steps from noise to data: a flow's own, or a diffusion's.

A diffusion reads the same velocity: x = √ᾱ·x₀ + √(1 − ᾱ)·ε is a point of the straight path, scaled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from assay.errors import InputError
from assay.formulas.diffusion import cosine_alpha_bars, ddim_std, ddim_step
from assay.formulas.flow import denoised, flow_noise, flow_step, flow_times


@runtime_checkable
class Scheme(Protocol):
    """T Gaussian steps.

    Attributes:
        times: Flow time at the beginning of each step and at the end, falling `[T + 1]`.
        std: Deviation s of each step `[T]`.
    """

    @property
    def times(self) -> tuple[float, ...]: ...
    @property
    def std(self) -> tuple[float, ...]: ...

    def mean(
        self, velocity: Any, x: Float[Tensor, "M D"], step: Int[Tensor, "M"], which: Tensor
    ) -> Float[Tensor, "M D"]:
        """μ of steps that begin at x.

        Args:
            velocity: See `models/backbones/velocity.py`.
            x: Where each begins.
            step: Its number, from 0.
            which: Its condition `[M]`.
        """
        ...

    def predicted(
        self, velocity: Any, x: Float[Tensor, "M D"], step: Int[Tensor, "M"], which: Tensor
    ) -> Float[Tensor, "M D"]:
        """x̂₀, the expected data, of states before a step; after the last the state itself."""
        ...


@dataclass(frozen=True)
class FlowSteps:
    """Stochastic steps with the marginals of the flow, see `formulas/flow.py`.

    Attributes:
        steps: T, at least 2.
        noise: Level a of the noise, above 0.
        shift: Of the times, above 0.

    Raises:
        InputError: A constant is out of range.
    """

    steps: int = 10
    noise: float = 0.7
    shift: float = 1.0
    times: tuple[float, ...] = field(init=False)
    std: tuple[float, ...] = field(init=False)
    sigma: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        if self.steps < 2 or not self.noise > 0 or not self.shift > 0:
            raise InputError(
                f"a flow has {self.steps} steps, noise {self.noise} and shift {self.shift}; give "
                "at least 2 steps, and noise and shift above 0"
            )
        times = flow_times(steps=self.steps, shift=self.shift)
        sigma = flow_noise(times, level=self.noise)
        object.__setattr__(self, "times", tuple(times.tolist()))
        object.__setattr__(self, "sigma", tuple(sigma.tolist()))
        object.__setattr__(self, "std", tuple((sigma * (-times.diff()).sqrt()).tolist()))

    def mean(self, velocity: Any, x: Tensor, step: Tensor, which: Tensor) -> Tensor:
        """See Scheme."""
        times = x.new_tensor(self.times)
        t = times[step]
        return flow_step(
            x, velocity(x, t, which), t, times[step + 1] - t, x.new_tensor(self.sigma)[step]
        )

    def predicted(self, velocity: Any, x: Tensor, step: Tensor, which: Tensor) -> Tensor:
        """See Scheme."""
        t = x.new_tensor(self.times)[step]
        return denoised(x, velocity(x, t, which), t)


@dataclass(frozen=True)
class DiffusionSteps:
    """DDIM's stochastic steps of a diffusion with the cosine schedule.

    Attributes:
        steps: T, at least 1.
        eta: η, above 0 and at most 1, which is DDPM.

    Raises:
        InputError: A constant is out of range.
    """

    steps: int = 20
    eta: float = 1.0
    times: tuple[float, ...] = field(init=False)
    std: tuple[float, ...] = field(init=False)
    bars: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.eta <= 1:
            raise InputError(
                f"a diffusion has {self.steps} steps and η = {self.eta}; give at least 1 step and "
                "η above 0 and at most 1"
            )
        bars = cosine_alpha_bars(steps=self.steps)
        times = (1 - bars).sqrt() / (bars.sqrt() + (1 - bars).sqrt())
        object.__setattr__(self, "bars", tuple(bars.tolist()))
        object.__setattr__(self, "times", tuple(times.tolist()))
        object.__setattr__(self, "std", tuple(ddim_std(bars[:-1], bars[1:], eta=self.eta).tolist()))

    def mean(self, velocity: Any, x: Tensor, step: Tensor, which: Tensor) -> Tensor:
        """See Scheme."""
        data, noise = self._split(velocity, x, step, which)
        after, std = x.new_tensor(self.bars)[step + 1], x.new_tensor(self.std)[step]
        return ddim_step(data, noise, after, std)

    def predicted(self, velocity: Any, x: Tensor, step: Tensor, which: Tensor) -> Tensor:
        """See Scheme."""
        return self._split(velocity, x, step, which)[0]

    def _split(
        self, velocity: Any, x: Tensor, step: Tensor, which: Tensor
    ) -> tuple[Tensor, Tensor]:
        """x̂₀ and ε̂ of x."""
        bar, t = x.new_tensor(self.bars)[step], x.new_tensor(self.times)[step]
        point = x / (bar.sqrt() + (1 - bar).sqrt())[:, None]
        v = velocity(point, t, which)
        data = denoised(point, v, t)
        return data, data + v
