"""The steps of a text are its lines."""

from __future__ import annotations

import pytest
import torch

from assay.core import Prompts, Samples
from assay.errors import Missing
from assay.rewards.text_steps import lines

WORDS = ["", "a", "b", ".\n", "\n", "\n\n", "x\ny", "  "]  # token 0 ends a completion


def written(*rows: list[int], decode: bool = True) -> Samples:
    T = max(map(len, rows))
    mask = torch.tensor([[t < len(r) for t in range(T)] for r in rows])[None]
    action = torch.tensor([r + [0] * (T - len(r)) for r in rows])[None]
    one = torch.ones(1, 1, dtype=torch.bool)
    prompts = Prompts(
        torch.zeros(1, 1, dtype=torch.int64),
        one,
        torch.zeros(1, dtype=torch.int64),
        decode=(lambda ids: "".join(WORDS[i] for i in ids)) if decode else None,
    )
    return Samples(
        prompts,
        action,
        mask,
        given=torch.zeros_like(mask),
        logp=torch.zeros(mask.shape),
        ended=torch.ones(1, len(rows), dtype=torch.bool),
    )


@pytest.mark.parametrize(
    ("row", "steps"),
    [
        ([1, 2, 3, 1, 0], [0, 0, 0, 1, 1]),  # the token with the break ends its line
        ([1, 4, 4, 2, 0], [0, 0, 0, 1, 1]),  # an empty line is none
        ([1, 5, 7, 2, 0], [0, 0, 0, 1, 1]),  # nor is one of spaces
        ([4, 1, 3, 0], [0, 0, 0, 0]),  # a break before anything is written, and one at the end
        ([6, 1], [0, 1]),
        ([1, 2], [0, 0]),
    ],
)
def test_a_step_is_a_line_that_says_something(row: list[int], steps: list[int]) -> None:
    assert lines(written(row))[0, 0].tolist() == steps


def test_what_is_no_token_has_no_step() -> None:
    x = written([1, 3, 2], [1])
    assert lines(x)[0].tolist() == [[0, 0, 1], [0, -1, -1]]


def test_lines_put_together_are_the_text() -> None:
    row = [1, 2, 3, 5, 1, 7, 2, 4, 1, 0]
    x = written(row)
    step = lines(x)[0, 0].tolist()
    text = "".join(WORDS[i] for i in row)
    said = [
        "".join(WORDS[i] for i, s in zip(row, step, strict=True) if s == k).strip()
        for k in range(max(step) + 1)
    ]
    assert said == [line.strip() for line in text.splitlines() if line.strip()]


def test_completions_without_text_have_no_lines() -> None:
    with pytest.raises(Missing, match="no text"):
        lines(written([1], decode=False))
