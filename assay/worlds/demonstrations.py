"""Demonstrations of uneven quality in the toy language, by writers of different care and warmth."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import Rng
from assay.worlds.dice import Dice, dice
from assay.worlds.language import CLASSES, PLAIN, REQUESTS, THINGS, WARM, Request


def write(request: Request, dice: Dice, *, care: float, warmth: float) -> list[str]:
    """One demonstration.

    A careless writer names fewer of the requested parts, and strays, repeats and slips more.

    Args:
        request: What the prompt asks for.
        dice: The writer's choices.
        care: Of the writer, from 0 to 1.
        warmth: Of the writer, from 0 to 1: how often a description praises.

    Returns:
        The words.
    """
    allowed = [part for part in THINGS[request.thing] if part != request.without]
    rows: list[list[str]] = []
    wanted = (
        request.count
        + dice.chance(0.3)
        - dice.chance(0.6 * (1 - care))
        - dice.chance(0.3 * (1 - care))
    )
    wanted += request.full * dice.chance(0.3)
    for _ in range(max(1, wanted)):
        if dice.chance(0.30 * (1 - care)):
            noun = dice.one([w for w in CLASSES["noun"] if w not in THINGS])
        elif dice.chance(0.15 * (1 - care)):
            noun = request.without
        elif allowed:
            noun = dice.one(allowed)
            if dice.chance(0.5 + 0.5 * care):
                allowed.remove(noun)
        else:
            break
        rows.append(["the", noun, *_description(dice, 0.4 * warmth)])
    while (
        request.full
        and sum(map(len, rows)) + len(rows) < request.length - 3
        and dice.chance(0.4 + 0.4 * warmth)
    ):
        at = dice.binomial(len(rows) / 2, len(rows))
        rows.insert(
            at,
            [
                *(["it"] if dice.chance(0.7) else ["the", request.thing]),
                *_description(dice, 0.2 + 0.7 * warmth),
            ],
        )
    if not request.full and dice.chance(0.5 * warmth):
        rows.append(["it", *_description(dice, 0.9)])
    text: list[str] = []
    for i, row in enumerate(rows):
        text += [
            *row,
            "." if i == len(rows) - 1 or dice.chance(0.6) else dice.one(("and", "and", "but")),
        ]
    while dice.chance(0.35 * (1 - care)):
        _slip(text, dice)
    return text


def _description(dice: Dice, warm: float) -> list[str]:
    """A description of a noun: "was very large", "is old and lovely"."""
    words = [dice.one(CLASSES["be"]), *([dice.one(CLASSES["very"])] if dice.chance(0.2) else [])]
    words += [dice.one(WARM if dice.chance(warm) else PLAIN)]
    if dice.chance(0.15):
        words += ["and", dice.one(WARM if dice.chance(warm) else PLAIN)]
    return words


def _slip(text: list[str], dice: Dice) -> None:
    """Make a small error, in place: leave a word out, repeat one, or exchange two."""
    at = dice.below(len(text) - 1)
    kind = dice.below(3)
    if kind == 0 and len(text) > 4:
        del text[at]
    elif kind == 1:
        text.insert(at, text[at])
    else:
        text[at], text[at + 1] = text[at + 1], text[at]


def corpus(
    requests: Int[Tensor, "R"], n: int, *, max_tokens: int, rng: Rng
) -> tuple[Int[Tensor, "n"], list[str], Float[Tensor, "n"]]:
    """Demonstrations by writers of random care and warmth.

    Args:
        requests: Places in `REQUESTS` `[R]`.
        n: Demonstrations.
        max_tokens: Most tokens of a demonstration, its end included.
        rng: Address of the writers.

    Returns:
        Which of `requests` each demonstration completes `[n]`, its text, and its writer's care.
    """
    which = rng("request").integers(len(requests), torch.arange(n))
    writers = dice(n, rng("words"), throws=400)
    texts, care = list[str](), list[float]()
    for r, writer in zip(requests[which].tolist(), writers, strict=True):
        care.append(writer.uniform())
        words = write(REQUESTS[r], writer, care=care[-1], warmth=writer.uniform())
        texts.append(" ".join(words[: max_tokens - 1]))
    return which, texts, torch.tensor(care)
