"""What is timed: sizes of models and batches, and the texts that both sides are given. Standard
library only, because the peer's side runs in an environment of its own.
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """A Llama's sizes. `vocabulary` counts padding, begin and end."""

    name: str
    width: int
    layers: int
    heads: int
    inner: int
    vocabulary: int

    @property
    def matrices(self) -> int:
        """Weights that every token is multiplied by, the output head left out."""
        return self.layers * (4 * self.width**2 + 3 * self.width * self.inner)


@dataclass(frozen=True)
class Case:
    """One step that both sides take. `answers` a prompt for GRPO, always two for pairs; lengths
    count the end token.
    """

    name: str
    kind: str  # grpo, dpo or reward
    size: Size
    prompts: int
    answers: int
    prompt: int
    least: int
    most: int
    rounds: int = 7

    def lengths(self, seed: int = 0) -> list[int]:
        """How long answer r is to be: all at most, or spread evenly from least to most in random
        order.
        """
        n = self.prompts * self.answers
        spread = self.most - self.least + 1
        out = [self.least + (i * spread) // n for i in range(n)]
        random.Random(seed).shuffle(out)
        return out

    @property
    def turn(self) -> int:
        """Steps a turn. Where a step is short, what the other side left in the caches is a part of
        the first one of a turn, which is then not counted: training does not take turns.
        """
        return 5 if self.size.matrices < 10**6 else 2 if self.size.matrices < 10**7 else 1

    def tokens(self) -> int:
        """Real tokens a step, prompts counted once for each answer, as a trainer without shared
        prompts computes them.
        """
        return sum(self.lengths()) + self.prompts * self.answers * self.prompt


SMALL = Size("0.35M", 96, 3, 4, 256, 90)
MIDDLE = Size("5M", 256, 6, 8, 704, 1024)
LARGE = Size("25M", 512, 8, 8, 1408, 1024)

CASES = (
    Case("grpo varied 0.35M", "grpo", SMALL, 32, 8, 8, 6, 24),
    Case("grpo full 0.35M", "grpo", SMALL, 32, 8, 8, 24, 24),
    Case("dpo 0.35M", "dpo", SMALL, 128, 2, 8, 6, 24),
    Case("reward 0.35M", "reward", SMALL, 128, 2, 8, 6, 24),
    Case("grpo varied 5M", "grpo", MIDDLE, 16, 8, 16, 14, 56, 4),
    Case("grpo full 5M", "grpo", MIDDLE, 16, 8, 16, 56, 56, 4),
    Case("dpo 5M", "dpo", MIDDLE, 64, 2, 16, 14, 56, 4),
    Case("reward 5M", "reward", MIDDLE, 64, 2, 16, 14, 56, 4),
    Case("grpo varied 25M", "grpo", LARGE, 8, 8, 16, 28, 112, 3),
    Case("grpo full 25M", "grpo", LARGE, 8, 8, 16, 112, 112, 3),
    Case("dpo 25M", "dpo", LARGE, 32, 2, 16, 28, 112, 3),
    Case("reward 25M", "reward", LARGE, 32, 2, 16, 28, 112, 3),
)


def case(name: str) -> Case:
    """The case of that name."""
    return next(c for c in CASES if c.name == name)


def words(size: Size) -> list[str]:
    """The vocabulary without its three special tokens."""
    return [f"w{i}" for i in range(size.vocabulary - 3)]


def head(size: Size) -> list[float]:
    """A reward head that both sides are given where their losses are compared."""
    draw = random.Random(7)
    return [draw.gauss(0.0, size.width**-0.5) for _ in range(size.width)]


def prompts(c: Case, n: int, seed: int = 0) -> list[str]:
    """n prompts of `prompt` tokens, the begin token among them."""
    draw = random.Random(seed)
    known = words(c.size)
    return [" ".join(draw.choices(known, k=c.prompt - 1)) for _ in range(n)]


def pairs(c: Case, n: int, seed: int = 0) -> list[tuple[str, str, str]]:
    """(prompt, chosen, rejected); both sides add the end token. A chosen answer says w0 more often:
    there is something to learn.
    """
    draw = random.Random(seed + 1)
    known, spread = words(c.size), c.most - c.least + 1

    def text(k: int, share: float) -> str:
        return " ".join("w0" if draw.random() < share else w for w in draw.choices(known, k=k))

    return [
        (
            p,
            text(c.least + draw.randrange(spread) - 1, 0.2),
            text(c.least + draw.randrange(spread) - 1, 0.0),
        )
        for p in prompts(c, n, seed)
    ]
