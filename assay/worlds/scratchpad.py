"""Check scratch work line by line: which tokens make a step, and which steps are formed and right.

Everything is a function of the text. The rules stand in arithmetic.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from assay.core import Prompts, Samples
from assay.worlds.arithmetic import ANSWER, SIGNS, STEP, VOCABULARY, Problem, read

_WORDS, _STEP, _END, _ANSWER = (
    VOCABULARY.words,
    VOCABULARY.ids[STEP],
    VOCABULARY.eos,
    VOCABULARY.ids[ANSWER],
)
_EQUALS = VOCABULARY.ids["="]
_NUMBER = [int(w) if w.isdigit() else None for w in _WORDS]


@dataclass(frozen=True)
class Line:
    """One step of a completion.

    Attributes:
        end: The place after its last token.
        is_answer: Whether it is the answer's line.
        formed: Whether it is formed.
        right: Whether it is right.
    """

    end: int
    is_answer: bool
    formed: bool
    right: bool


@dataclass(frozen=True)
class Checked:
    """A checked completion.

    Attributes:
        lines: Its steps.
        correct: Whether its answer is right.
    """

    lines: tuple[Line, ...]
    correct: bool

    @property
    def formed(self) -> bool:
        """Whether every line is formed and the last one is the answer's."""
        return bool(self.lines) and all(x.formed for x in self.lines) and self.lines[-1].is_answer

    @property
    def answered(self) -> bool:
        """Whether it ends with a formed answer's line."""
        return bool(self.lines) and self.lines[-1].is_answer and self.lines[-1].formed

    @property
    def n_work(self) -> int:
        """Lines of scratch work, formed or not: all but the answer's."""
        return sum(not x.is_answer for x in self.lines)


@lru_cache(maxsize=1 << 16)
def check(problem: Problem, ids: tuple[int, ...]) -> Checked:
    """Check a completion of a problem.

    Args:
        problem: The problem.
        ids: The completion's tokens, with the end token if it ended.
    """
    lines: list[Line] = []
    total: int | None = None if problem.target is not None else problem.numbers[0]
    left, done, sound, said = list(problem.numbers), 0, True, None
    start, before = 0, tuple[int, ...]()
    for end in [i + 1 for i, t in enumerate(ids) if t in (_STEP, _END)]:
        own, line = ids[start:end], _line(problem, ids[start:end], end, total, left, done)
        repeated = line.formed and not line.right and own == before
        lines.append(line)
        start, before = end, own
        if repeated:
            continue
        sound = sound and line.right
        if line.is_answer:
            said = _NUMBER[own[1]] if line.formed else None
        elif line.formed:
            a, b, c = (_NUMBER[own[i]] for i in (0, 2, 4))
            for number in (a, b) if done == 0 else (b,):
                if number in left:
                    left.remove(number)
            total, done = c, done + 1
    if start < len(ids):  # cut in the middle of a line
        lines.append(Line(len(ids), _ANSWER in ids[start:], False, False))
        sound, said = False, None
    return Checked(
        tuple(lines),
        said is not None and said == problem.value and (sound or problem.target is None),
    )


def _line(
    problem: Problem, ids: tuple[int, ...], end: int, total: int | None, left: list[int], done: int
) -> Line:
    """Check one line.

    Args:
        problem: The problem.
        ids: The line's tokens, its closing token included.
        end: The place after its last token.
        total: The result of the line before; None before a countdown's first.
        left: Numbers of the problem that are still unused.
        done: Lines before it.
    """
    if ids and ids[0] == _ANSWER:
        formed = len(ids) == 3 and _NUMBER[ids[1]] is not None and ids[2] == _END
        finished = done == problem.steps if problem.target is None else total == problem.target
        return Line(
            end, True, formed, formed and done > 0 and finished and _NUMBER[ids[1]] == total
        )
    formed = (
        len(ids) == 6
        and ids[3] == _EQUALS
        and ids[5] == _STEP
        and _WORDS[ids[1]] in SIGNS
        and all(_NUMBER[ids[i]] is not None for i in (0, 2, 4))
    )
    if not formed:
        return Line(end, False, False, False)
    a, b, c = (_NUMBER[ids[i]] for i in (0, 2, 4))
    sign = _WORDS[ids[1]]
    assert a is not None and b is not None
    if problem.target is None:
        follows = (
            done < problem.steps
            and a == total
            and (sign, b) == (problem.signs[done], problem.numbers[done + 1])
        )
    else:
        rest = list(left)
        if done == 0 and a in rest:
            rest.remove(a)
            follows = b in rest
        else:
            follows = done > 0 and a == total and b in rest
    return Line(end, False, True, follows and problem.result(a, sign, b) == c)


@dataclass(frozen=True)
class Marks:
    """Checked completions as tensors.

    Attributes:
        step: The step that a token belongs to, from 0; −1 where there is no token.
        last: Whether a token ends a step.
        formed: Whether the step that a token ends is formed; False elsewhere.
        right: Whether the step that a token ends is right; False elsewhere.
        correct: Whether the answer is right.
        well_formed: Whether every line is formed and the last one is the answer's.
        answered: Whether the completion ends with a formed answer's line.
        n_work: Lines of scratch work.
        n_required: Lines that use the whole problem, the answer's included.
    """

    step: Int[Tensor, "B N T"]
    last: Bool[Tensor, "B N T"]
    formed: Bool[Tensor, "B N T"]
    right: Bool[Tensor, "B N T"]
    correct: Bool[Tensor, "B N"]
    well_formed: Bool[Tensor, "B N"]
    answered: Bool[Tensor, "B N"]
    n_work: Int[Tensor, "B N"]
    n_required: Int[Tensor, "B"]


def problems(prompts: Prompts) -> list[Problem]:
    """The problem that each prompt states."""
    return [read(VOCABULARY.decode(ids)) for ids in prompts.tokens.tolist()]


def marks(x: Samples) -> Marks:
    """Check every completion; gaps between a completion's tokens are skipped.

    Args:
        x: N completions of each of B problems.
    """
    B, N, T = x.mask.shape
    # filled as lists, because a tensor's single elements are slow to write
    step = [[[-1] * T for _ in range(N)] for _ in range(B)]
    last, formed, right = ([[[False] * T for _ in range(N)] for _ in range(B)] for _ in range(3))
    correct, well_formed, answered, n_work = ([[0] * N for _ in range(B)] for _ in range(4))
    stated = problems(x.prompts)
    tokens, here = x.action.tolist(), (x.mask | x.given).tolist()
    for b, problem in enumerate(stated):
        for n in range(N):
            places = [t for t in range(T) if here[b][n][t]]
            ids = tuple(tokens[b][n][t] for t in places)
            found = check(problem, ids) if ids else Checked((), False)
            start = 0
            for s, line in enumerate(found.lines):
                for t in places[start : line.end]:
                    step[b][n][t] = s
                at = places[line.end - 1]
                last[b][n][at], formed[b][n][at] = True, line.formed
                right[b][n][at], start = line.right, line.end
            correct[b][n], well_formed[b][n] = found.correct, found.formed
            answered[b][n], n_work[b][n] = found.answered, found.n_work

    def made(values: Any, dtype: torch.dtype = torch.bool) -> Tensor:
        return torch.tensor(values, dtype=dtype, device=x.logp.device)

    return Marks(
        step=made(step, torch.int64).reshape(B, N, T),
        last=made(last).reshape(B, N, T),
        formed=made(formed).reshape(B, N, T),
        right=made(right).reshape(B, N, T),
        correct=made(correct).reshape(B, N),
        well_formed=made(well_formed).reshape(B, N),
        answered=made(answered).reshape(B, N),
        n_work=made(n_work, torch.int64).reshape(B, N),
        n_required=made([p.steps + 1 for p in stated], torch.int64),
    )
