"""The constants of optimisation, and what a recipe yields."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from jaxtyping import Int
from torch import Tensor

from assay.core.policy import Sampler
from assay.core.rng import Rng
from assay.core.samples import Samples
from assay.engine.optimiser import Optimiser
from assay.errors import InputError

C = TypeVar("C")


def _remembers_given(cls: type[C]) -> type[C]:
    """Let a dataclass keep the names of the fields that its constructor was given."""
    init, names = cls.__init__, [f.name for f in fields(cls)]  # type: ignore[arg-type, misc]

    @functools.wraps(init)
    def remembering(self: C, *values: Any, **named: Any) -> None:
        vars(self)["_given"] = frozenset([*names[: len(values)], *named])
        init(self, *values, **named)

    cls.__init__ = remembering  # type: ignore[assignment]
    return cls


@_remembers_given
@dataclass(frozen=True)
class Loop:
    """The constants of optimisation, the same eight for every recipe.

    A recipe's default `loop=Loop(epochs=2)` insists on the fields that it gives (see `given`) and
    leaves the others to the world.

    Attributes:
        max_steps: Steps of the recipe.
        batch_size: Prompts (or pairs) a step.
        num_generations: Completions a prompt.
        epochs: Passes over a step's batch.
        mini_batch_size: Prompts an update; 0 for the whole batch.
        learning_rate: Adam's, after warm-up.
        warmup_steps: Updates over which the learning rate rises linearly.
        seed: Of the run: with the world's arguments it determines every number.
    """

    max_steps: int = 100
    batch_size: int = 32
    num_generations: int = 8
    epochs: int = 1
    mini_batch_size: int = 0
    learning_rate: float = 1e-3
    warmup_steps: int = 0
    seed: int = 0

    @property
    def given(self) -> frozenset[str]:
        """Names of the fields that were given, also where the value is the default.

        Example:
            >>> sorted(Loop(epochs=1, seed=3).given)
            ['epochs', 'seed']
        """
        names: frozenset[str] = vars(self)["_given"]
        return names

    def __post_init__(self) -> None:
        for name, least in (
            ("max_steps", 0),
            ("batch_size", 1),
            ("num_generations", 1),
            ("epochs", 1),
            ("mini_batch_size", 0),
            ("warmup_steps", 0),
        ):
            if getattr(self, name) < least:
                raise InputError(
                    f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be at least "
                    f"{least}"
                )
        if not self.learning_rate > 0:
            raise InputError(f"--learning-rate is {self.learning_rate}; it must be above 0")

    def optimiser(self, module: Any) -> Optimiser:
        """Make Adam with linear warm-up over the parameters that require a gradient.

        Args:
            module: A policy, or anything else with `parameters()`.
        """
        return Optimiser(
            [p for p in module.parameters() if p.requires_grad],
            lr=self.learning_rate,
            warmup=self.warmup_steps,
        )

    def minibatches(self, n: int, rng: Rng) -> Iterator[Int[Tensor, "rows"]]:
        """Yield `epochs` passes over n rows in random order, `mini_batch_size` rows at a time."""
        size = self.mini_batch_size or n
        for e in range(self.epochs):
            yield from rng("minibatch", e).permutation(n).split(size)


@dataclass(frozen=True)
class Step:
    """What a recipe yields after each step.

    Attributes:
        policy: The policy to read; None: save and show progress, measure nothing.
        reward: The proxy that was optimised, samples → `[B,N]`.
        tag: Names one of several policies of a step.
        stats: Numbers of this step, averaged between readings.
    """

    policy: Sampler | None
    reward: Callable[[Samples], Tensor] | None = None
    tag: str = ""
    stats: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ask:
    """A recipe's request for gold labels: `labels = yield Ask(samples)` → `[B,N]`.

    Attributes:
        samples: The completions to label. Each label is counted as a cost of the run.
    """

    samples: Samples
