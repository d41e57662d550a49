"""What is timed on a real checkpoint, and the texts that both sides are given: single words of its
own tokenizer, so that both have the same tokens. Standard library only: the peer's side runs in an
environment of its own.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """One step that both sides take, or for `generate` one batch of completions.

    `lora` is a rank, 0 for all weights. Lengths are tokens; a completion's count its end token.
    `peer_passes` divides the peer's batch, where the whole of it takes more than 24 GiB; `compiled`
    lets both sides compute by torch.compile.
    """

    name: str
    kind: str  # grpo, dpo, reward or generate
    lora: int
    prompts: int
    completions: int
    prompt: int
    least: int
    most: int
    rounds: int = 3
    peer_passes: int = 1
    goal: float = 0.0
    compiled: bool = False
    alone: bool = False  # ours only: what one machine suffices for


COMPILED = "grpo, LoRA, prompts of 64, torch.compile"
CASES = (
    Case("grpo, LoRA, prompts of 64", "grpo", 16, 8, 8, 64, 32, 32, peer_passes=2, goal=4.0),
    Case("grpo, all weights, prompts of 64", "grpo", 0, 8, 8, 64, 32, 32, 2, peer_passes=2),
    Case(COMPILED, "grpo", 16, 8, 8, 64, 32, 32, peer_passes=2, compiled=True),
    Case("grpo, LoRA, completions of 256", "grpo", 16, 8, 8, 64, 256, 256, 1, alone=True),
    Case("dpo, LoRA", "dpo", 16, 8, 2, 128, 96, 384, peer_passes=2, goal=2.2),
    Case("reward model, LoRA", "reward", 16, 8, 2, 128, 96, 384, peer_passes=2, goal=2.0),
    Case("generation, prompts of 64", "generate", 0, 8, 8, 64, 32, 32, goal=1.5),
    Case("generation, prompts of 512", "generate", 0, 8, 8, 512, 32, 32, goal=1.5),
    Case("grpo, LoRA, prompts of 512", "grpo", 16, 8, 8, 512, 32, 32, 2, peer_passes=8, goal=6.0),
)


def case(name: str) -> Case:
    """The case of that name."""
    return next(c for c in CASES if c.name == name)


def words(tokenizer: Any) -> list[int]:
    """Tokens that are a space and one plain word, and that are read back as themselves."""
    known = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    plain = [(t[1:], i) for t, i in known if t[:1] == "Ġ" and t[1:].isascii() and t[1:].isalpha()]
    some = [(w, i) for w, i in plain if 3 <= len(w) <= 8][:2000]
    return [i for w, i in some if tokenizer(f" {w}", add_special_tokens=False)["input_ids"] == [i]]


def prompts(c: Case, known: list[int], n: int, seed: int = 0) -> list[list[int]]:
    """n prompts as token ids."""
    draw = random.Random(seed)
    return [draw.choices(known, k=c.prompt) for _ in range(n)]


def pairs(c: Case, known: list[int], n: int, seed: int = 0) -> list[tuple[list[int], ...]]:
    """(prompt, chosen, rejected) as token ids, without the end token, which both sides add.

    A chosen completion holds more of the first word: there is something to learn.
    """
    draw = random.Random(seed + 1)

    def own(share: float) -> list[int]:
        k = draw.randint(c.least, c.most) - 1
        return [known[0] if draw.random() < share else t for t in draw.choices(known, k=k)]

    return [(ask, own(0.2), own(0.0)) for ask in prompts(c, known, n, seed)]


def head(width: int) -> list[float]:
    """A reward head that both sides are given where their losses are compared."""
    draw = random.Random(7)
    return [draw.gauss(0.0, width**-0.5) for _ in range(width)]
