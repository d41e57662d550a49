"""Arithmetic with scratch work: problems as text, and worked solutions with planted mistakes.

chain: "3 + 5 + 2 :", solved from left to right as "3 + 5 = 8 ; 8 + 2 = 10 ; answer 10". modular:
"3 * 5 + 2 mod 7 :", the same with every result reduced, from left to right without precedence.
countdown: "make 6 from 2 3 5 :", each number used at most once, "5 + 3 = 8 ; 8 - 2 = 6 ; answer 6".
Its targets can be reached by adding and subtracting; multiplying is allowed.

A step ends with its separator ";", and the last one with the end of the completion. scratchpad.py
checks the steps by these rules:

- A line is *formed* if it reads "number sign number = number ;".
- It is *right* if it also continues from the line before (a wrong total that is carried on
  correctly is right), uses the next number of the problem (countdown: an unused one), and its
  result is true.
- A line that repeats the one before word for word is formed and not right; the lines after it are
  read as if it were not there.
- The answer's line is formed if it reads "answer number" and the completion ends there. It is
  right if it states the last line's result and nothing of the problem is left to do.
- A completion is *correct* if its answer is, whatever the lines say; in countdown, where the
  problem states the answer, every line must be right as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from assay.errors import InputError
from assay.models.vocabulary import Vocabulary
from assay.worlds.dice import Dice

TASKS = ("chain", "modular", "countdown")
MOST = 99  # the largest number there is a word for
SIGNS = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}
PLAIN = ("+", "-")  # the signs that countdown is taught with
STEP, ANSWER = ";", "answer"
VOCABULARY = Vocabulary(
    [*map(str, range(MOST + 1)), *SIGNS, "=", STEP, ANSWER, "mod", "make", "from", ":"]
)
MODULUS = 7


@dataclass(frozen=True)
class Problem:
    """A problem: `numbers[0]`, then each of `signs` with the next number.

    Attributes:
        numbers: The numbers, in order.
        signs: Between them; empty for countdown.
        modulus: Every result is reduced by it; 0 for none.
        target: What a countdown is to reach; None for the other tasks.
    """

    numbers: tuple[int, ...]
    signs: tuple[str, ...] = ()
    modulus: int = 0
    target: int | None = None

    def __str__(self) -> str:
        if self.target is not None:
            return f"make {self.target} from {' '.join(map(str, self.numbers))} :"
        sum_ = " ".join(
            [
                str(self.numbers[0]),
                *(f"{s} {n}" for s, n in zip(self.signs, self.numbers[1:], strict=True)),
            ]
        )
        return f"{sum_} mod {self.modulus} :" if self.modulus else f"{sum_} :"

    @property
    def steps(self) -> int:
        """Lines that use every number."""
        return len(self.numbers) - 1

    def result(self, left: int, sign: str, right: int) -> int | None:
        """The result of a line; None if the vocabulary has no word for it.

        Args:
            left: The number before the sign.
            sign: A key of `SIGNS`.
            right: The number after it.
        """
        value = SIGNS[sign](left, right)
        value = value % self.modulus if self.modulus else value
        return value if 0 <= value <= MOST else None

    @property
    def value(self) -> int:
        """The right answer."""
        if self.target is not None:
            return self.target
        total = self.numbers[0]
        for sign, number in zip(self.signs, self.numbers[1:], strict=True):
            found = self.result(total, sign, number)
            assert found is not None  # every total of a problem is in the vocabulary
            total = found
        return total


@lru_cache(maxsize=1 << 16)
def read(text: str) -> Problem:
    """The problem that a prompt states.

    Raises:
        InputError: The prompt states none.
    """
    problem = _stated(text.split())
    if problem is None:
        raise InputError(f"'{text[:60]}' is no problem of world sums; write one like '3 + 5 + 2 :'")
    return problem


def _stated(words: list[str]) -> Problem | None:
    """The problem these words state, or None."""
    try:
        if words[0] == "make" and words[2] == "from" and words[-1] == ":":
            return Problem(tuple(map(int, words[3:-1])), target=int(words[1]))
        modulus = int(words[-2]) if words[-3] == "mod" else 0
        body = words[:-3] if modulus else words[:-1]
        problem = Problem(tuple(map(int, body[::2])), tuple(body[1::2]), modulus)
        if words[-1] == ":" and len(body) % 2 and set(problem.signs) <= set(SIGNS):
            assert problem.value is not None
            return problem
        return None
    except (ValueError, IndexError, AssertionError):
        return None


def pose(task: str, terms: int, dice: Dice) -> Problem:
    """A random problem.

    Args:
        task: chain, modular or countdown.
        terms: How many numbers it has.
        dice: Its random choices.
    """
    if task == "chain":
        return Problem(tuple(1 + dice.below(9) for _ in range(terms)), ("+",) * (terms - 1))
    if task == "modular":
        return Problem(
            tuple(dice.below(MODULUS) for _ in range(terms)),
            tuple(dice.one("+*") for _ in range(terms - 1)),
            MODULUS,
        )
    numbers = tuple(1 + dice.below(9) for _ in range(terms))
    plain = Problem(numbers, target=0)
    return Problem(tuple(sorted(numbers)), target=_path(plain, list(numbers), dice)[-1][3])


def _path(problem: Problem, order: list[int], dice: Dice) -> list[tuple[int, str, int, int]]:
    """Lines that use the numbers in this order, with random signs whose results are in words."""
    total, lines = order[0], []
    for number in order[1:]:
        signs = [s for s in PLAIN if problem.result(total, s, number) is not None]
        sign = dice.one(signs)
        found = problem.result(total, sign, number)
        assert found is not None
        lines.append((total, sign, number, found))
        total = found
    return lines


@lru_cache(maxsize=1 << 16)
def ways(problem: Problem) -> tuple[tuple[tuple[int, str, int, int], ...], ...]:
    """Every way to reach a countdown's target by plus and minus, the shortest first."""
    out = []

    def extend(
        total: int, left: tuple[int, ...], lines: tuple[tuple[int, str, int, int], ...]
    ) -> None:
        if lines and total == problem.target:
            out.append(lines)
        for number in sorted(set(left)):
            rest = list(left)
            rest.remove(number)
            for sign in PLAIN:
                found = problem.result(total, sign, number)
                if found is not None:
                    extend(found, tuple(rest), (*lines, (total, sign, number, found)))

    for first in sorted(set(problem.numbers)):
        rest = list(problem.numbers)
        rest.remove(first)
        extend(first, tuple(rest), ())
    return tuple(sorted(out, key=len))


def solve(
    problem: Problem, dice: Dice, *, mistakes: float = 0.0, bare: float = 0.0, again: float = 0.0
) -> str:
    """A worked solution.

    Args:
        problem: The problem.
        dice: The solver's choices.
        mistakes: Probability that a line's result is one to three too large; it is carried on.
        bare: Probability that no line is written; the answer is then mostly a guess within three of
            the truth.
        again: Probability that the last line is repeated, and of a second repetition after the
            first.

    Returns:
        The text.
    """
    if dice.chance(bare):
        return (
            f"{ANSWER} {_off(problem.value, dice, problem) if dice.chance(0.8) else problem.value}"
        )
    total, plan = _plan(problem, dice)
    text = []
    for sign, number in plan:
        true = problem.result(total, sign, number)
        value = total if true is None else true
        if dice.chance(mistakes):
            value = _off(value, dice, problem, up=True)
        text.append(f"{total} {sign} {number} = {value} {STEP}")
        total = value
    while len(text) < len(plan) + 2 and dice.chance(again):
        text.append(text[-1])
    return " ".join([*text, f"{ANSWER} {total}"])


def _plan(problem: Problem, dice: Dice) -> tuple[int, list[tuple[str, int]]]:
    """The first number, and the sign and number of each line; of a countdown one shortest way."""
    if problem.target is None:
        return problem.numbers[0], list(zip(problem.signs, problem.numbers[1:], strict=True))
    found = ways(problem)
    way = dice.one([w for w in found if len(w) == len(found[0])])
    return way[0][0], [(sign, number) for _, sign, number, _ in way]


def _off(value: int, dice: Dice, problem: Problem, *, up: bool = False) -> int:
    """A number one to three away; `up`: above it, so that two mistakes never cancel."""
    away = (1 + dice.below(3)) * (1 if up or dice.chance(0.5) else -1)
    if problem.modulus:
        return (value + away) % problem.modulus
    return value + away if 0 <= value + away <= MOST else value - away
