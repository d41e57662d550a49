"""Checks scratch work line by line: which tokens make a step, which steps are formed and right, and
whether the answer is.

Everything is a function of the text. The rules are those of arithmetic.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from assay.core import Prompts, Samples
from assay.worlds.arithmetic import SAY, SIGNS, STEP, VOCABULARY, Problem, read

_WORDS, _STEP, _END, _SAY = (
    VOCABULARY.words,
    VOCABULARY.ids[STEP],
    VOCABULARY.eos,
    VOCABULARY.ids[SAY],
)
_EQUALS = VOCABULARY.ids["="]
_NUMBER = [int(w) if w.isdigit() else None for w in _WORDS]


@dataclass(frozen=True)
class Line:
    """One step of an answer: the places after its own tokens, whether it is an answer's line,
    formed, right.
    """

    end: int
    says: bool
    formed: bool
    right: bool


@dataclass(frozen=True)
class Checked:
    """An answer's lines; `correct`: what it says in the end is right; `formed`: every line is, and
    it says something.
    """

    lines: tuple[Line, ...]
    correct: bool

    @property
    def formed(self) -> bool:
        """Working lines that are formed and one answer's line, which ends it."""
        return bool(self.lines) and all(x.formed for x in self.lines) and self.lines[-1].says

    @property
    def working(self) -> int:
        """Lines before the answer's, formed or not."""
        return sum(not x.says for x in self.lines)


@lru_cache(maxsize=1 << 16)
def check(problem: Problem, ids: tuple[int, ...]) -> Checked:
    """Read an answer's tokens, the end token included where it ended."""
    lines: list[Line] = []
    total: int | None = None if problem.target is not None else problem.numbers[0]
    left, done, sound, said = list(problem.numbers), 0, True, None
    start, before = 0, tuple[int, ...]()
    for end in [i + 1 for i, t in enumerate(ids) if t in (_STEP, _END)]:
        own, line = ids[start:end], _line(problem, ids[start:end], end, total, left, done)
        again = line.formed and not line.right and own == before
        lines.append(line)
        start, before = end, own
        if again:
            continue
        sound = sound and line.right
        if line.says:
            said = _NUMBER[own[1]] if line.formed else None
        elif line.formed:
            a, b, c = (_NUMBER[own[i]] for i in (0, 2, 4))
            for number in (a, b) if done == 0 else (b,):
                if number in left:
                    left.remove(number)
            total, done = c, done + 1
    if start < len(ids):  # cut in the middle of a line
        lines.append(Line(len(ids), _SAY in ids[start:], False, False))
        sound, said = False, None
    return Checked(
        tuple(lines),
        said is not None and said == problem.value and (sound or problem.target is None),
    )


def _line(
    problem: Problem, ids: tuple[int, ...], end: int, total: int | None, left: list[int], done: int
) -> Line:
    """One line, its closing token included, after a line that came to `total`, `done` lines in all,
    with `left` unused.
    """
    if ids and ids[0] == _SAY:
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
    """What was checked, as tensors. `step`: which step a token belongs to, −1 where there is none.
    `last`: the token that ends a step; `formed` and `right` speak of it and are False elsewhere.
    `asked`: lines that use the whole problem, and the answer's. `says`: whether the answer ends by
    saying something; `working`: its lines before that.
    """

    step: Int[Tensor, "B N T"]
    last: Bool[Tensor, "B N T"]
    formed: Bool[Tensor, "B N T"]
    right: Bool[Tensor, "B N T"]
    correct: Bool[Tensor, "B N"]
    well_formed: Bool[Tensor, "B N"]
    says: Bool[Tensor, "B N"]
    working: Int[Tensor, "B N"]
    asked: Int[Tensor, "B"]


def problems(prompts: Prompts) -> list[Problem]:
    """The problem of each prompt, read off its tokens."""
    return [read(VOCABULARY.decode(ids)) for ids in prompts.tokens.tolist()]


def marks(x: Samples) -> Marks:
    """Every step of these answers. Gaps between an answer's tokens are stepped over."""
    B, N, T = x.mask.shape
    step = torch.full((B, N, T), -1)
    last, formed, right = (torch.zeros(B, N, T, dtype=torch.bool) for _ in range(3))
    correct, well, says = (torch.zeros(B, N, dtype=torch.bool) for _ in range(3))
    working = torch.zeros(B, N, dtype=torch.int64)
    keep = (x.mask | x.given).cpu()
    asked = problems(x.prompts)
    tokens, here = x.action.tolist(), keep.tolist()
    for b, problem in enumerate(asked):
        for n in range(N):
            places = [t for t in range(T) if here[b][n][t]]
            found = (
                check(problem, tuple(tokens[b][n][t] for t in places))
                if places
                else Checked((), False)
            )
            start = 0
            for s, line in enumerate(found.lines):
                step[b, n, places[start : line.end]] = s
                at = places[line.end - 1]
                last[b, n, at], formed[b, n, at], right[b, n, at] = True, line.formed, line.right
                start = line.end
            correct[b, n], well[b, n], working[b, n] = found.correct, found.formed, found.working
            says[b, n] = bool(found.lines) and found.lines[-1].says and found.lines[-1].formed
    out = Marks(
        step,
        last,
        formed,
        right,
        correct,
        well,
        says,
        working,
        torch.tensor([p.steps + 1 for p in asked]),
    )
    return Marks(**{k: v.to(x.logp.device) for k, v in vars(out).items()})
