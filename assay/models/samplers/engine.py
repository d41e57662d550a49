"""What an engine outside of this library is asked for, and what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class SamplingParams:
    """A policy's settings, by vLLM's names.

    Attributes:
        temperature: Above 0.
        top_k: 0 for all tokens.
        top_p: In (0, 1].
        min_tokens: Tokens before a completion may end.
        max_tokens: Tokens of a completion, at most.
        stop: Strings that end a completion.
        ends: Token ids that end a completion.
        barred: Token ids of probability 0.
        logprobs: Whether the engine returns each token's log-probability, after temperature, bars
            and truncation where it can.
    """

    temperature: float
    top_k: int
    top_p: float
    min_tokens: int
    max_tokens: int
    stop: tuple[str, ...]
    ends: tuple[int, ...]
    barred: tuple[int, ...]
    logprobs: bool = False


@dataclass(frozen=True)
class Request:
    """A request for completions of one prompt.

    Attributes:
        ids: The prompt's tokens.
        n: Completions.
        seed: Of 31 bits.
    """

    ids: tuple[int, ...]
    n: int
    seed: int


@dataclass(frozen=True)
class Completion:
    """A completion as an engine returns it.

    Attributes:
        text: As the engine decoded it.
        ids: Its tokens; None where the engine returns text alone.
        full: It was cut at max_tokens.
        by: The stop string that ended it, where the engine says so.
        tokens: How many there were, where the engine says so.
        logprobs: Each token's log-probability, where the engine says so.
    """

    text: str
    ids: tuple[int, ...] | None
    full: bool
    by: str | None = None
    tokens: int | None = None
    logprobs: tuple[float, ...] | None = None


@runtime_checkable
class Engine(Protocol):
    """Generates completions outside of this library's own decoding.

    Attributes:
        name: For messages.
    """

    name: str

    def generate(
        self, requests: Sequence[Request], params: SamplingParams
    ) -> list[list[Completion]]:
        """Generate n completions for each request, in their order.

        Raises:
            InputError: The engine cannot; the message says what to do.
        """
        ...


@dataclass(frozen=True)
class Weights:
    """Weights that an engine is to generate with.

    Attributes:
        version: Another one for every set, never used twice.
        folder: Where they lie, as `save_pretrained` writes them; None for those that the engine was
            opened with, without an adapter.
        adapter: They are peft's, for the weights that the engine was opened with.
    """

    version: str
    folder: Path | None
    adapter: bool = False


@runtime_checkable
class Updatable(Engine, Protocol):
    """An engine whose weights can be replaced while it runs."""

    def prepare(self) -> None:
        """Check that it can be done, before a run trains.

        Raises:
            InputError: It cannot; the message says what to do.
        """
        ...

    def update(self, weights: Weights) -> None:
        """Replace the weights, and forget what was computed with the old ones.

        Raises:
            InputError: It failed. Which weights the engine holds is then unknown.
        """
        ...
