"""Which scale the numbers of a verdict column are on, decided from all of a file's values.

What the names and the values leave open is asked for and never guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from assay.data.numbers import plain
from assay.data.verdict_column import side
from assay.data.verdict_words import one_based, zero_based
from assay.errors import InputError

HELPSTEER = ("preference_strength", "overall_preference")
HELPSTEER_PAIRS = (("response1", "response2"), ("response_1", "response_2"))
MOST_SHOWN = 11  # values for which an error shows a map that can be copied
Reading = tuple[Callable[[float], float | None], str]  # (value → p, how it is read in words)


@dataclass
class Column:
    """A verdict column and all its numbers.

    Attributes:
        file: The file's name.
        name: The column.
        first: The column of the first completion.
        second: The column of the second completion.
        numbers: How often each number stands in it.
        truths: Whether all of them are true or false.
    """

    file: str
    name: str
    first: str
    second: str
    numbers: Counter[float] = field(default_factory=Counter)
    truths: bool = False

    @property
    def names(self) -> tuple[str, str]:
        """The columns of the two completions."""
        return self.first, self.second


def known_source(c: Column) -> Reading | None:
    """Read a column whose names alone say which data set it is from.

    Args:
        c: The column; its numbers do not matter.

    Returns:
        How it is read; None for other columns.
    """
    if c.names == ("human_ref_A", "human_ref_B") and c.name == "labels":
        return _table({1.0: 1.0, 0.0: 0.0}), (
            "1 = human_ref_A is better, 0 = human_ref_B, as the columns are those of SHP"
        )
    if c.name in HELPSTEER and c.names in HELPSTEER_PAIRS:
        return (lambda x: 0.5 if x == 0 else float(x < 0) if abs(x) <= 3 else None), (
            f"-3 to -1 = {c.first} is better, 1 to 3 = {c.second}, 0 = tie, as the columns are "
            "those of HelpSteer"
        )
    return None


def scale_of(c: Column) -> Reading:
    """Decide how the numbers of a column are read.

    Args:
        c: The column with all its numbers.

    Returns:
        How it is read.

    Raises:
        InputError: The file leaves it open. The sentence has a map for each reading.
    """
    values = set(c.numbers)
    said = side(c.name, *c.names)
    if said and values <= {0.0, 1.0}:
        yes = float(said == "first")
        better, other = c.names if said == "first" else c.names[::-1]
        words = ("true", "false") if c.truths else ("1", "0")
        return _table({1.0: yes, 0.0: 1 - yes}), (
            f"{words[0]} = {better} is better, {words[1]} = {other}, as the column's name says"
        )
    if zero_based(*c.names) and values <= {0.0, 1.0} and not c.truths:
        return _table({0.0: 1.0, 1.0: 0.0}), f"0 = {c.first} is better, 1 = {c.second}"
    if _alpaca(c, values):
        return (lambda x: 0.5 if x == 0 else 2 - x if 1 <= x <= 2 else None), (
            f"p({c.first} is better) = 2 - {c.name}, 1.5 and 0 = tie, as AlpacaEval defines it"
        )
    counted = one_based(*c.names) or (0.0 not in values and not zero_based(*c.names))
    if values <= {0.0, 1.0, 2.0} and 2.0 in values and counted:
        return _table({0.0: 0.5, 1.0: 1.0, 2.0: 0.0}), (
            f"1 = {c.first} is better, 2 = {c.second}, 0 = tie"
        )
    raise InputError(_asked(c))


def _alpaca(c: Column, values: set[float]) -> bool:
    """Whether these are AlpacaEval's preferences: of its columns, and no 0 and 1 alone, which could
    be an index.
    """
    within = all(x == 0 or 1 <= x <= 2 for x in values)
    names = c.name == "preference" and c.names == ("output_1", "output_2")
    return names and within and values != {0.0, 1.0} and values != {0.0}


def _table(values: dict[float, float]) -> Callable[[float], float | None]:
    return values.get


def _asked(c: Column) -> str:
    """What stands there, how often, and what to give for each reading."""
    values = sorted(c.numbers)
    head = (
        f"{c.file}, column '{c.name}': it holds {_counts(c)} beside {c.first} and {c.second}, and "
    )
    graded = any(x != int(x) for x in values)
    p = f"--columns chosen={c.first},rejected={c.second},p={c.name}"
    if len(values) > MOST_SHOWN:
        within = values[0] >= 0 and values[-1] <= 1
        return (
            f"{head}the file does not say which end of the scale means that {c.first} is better; "
            + (
                f"give {p} if it is the probability of that, or write such a column"
                if within and graded
                else f"write a column with the probability that {c.first} is better, and give "
                f"{p.removesuffix(c.name)}ITS_NAME"
            )
        )
    if len(values) == 1:
        x = values[0]
        values = [0.0, 1.0] if x in (0, 1) else sorted({x, -x if x < 0 else 1.0})
    middle = ((1 if values[0] >= 1 else values[0]) + values[-1]) / 2
    high, low = (_map(c, values, middle, up=up) for up in (True, False))
    ends = _word(c, values[-1]), _word(c, values[0])
    ask = (
        f"the file does not say what they mean; give --label-map {high} if {ends[0]} means that "
        f"{c.first} is better, or --label-map {low} if {ends[1]} does"
    )
    if graded and values[0] >= 0 and values[-1] <= 1:
        ask += f", or {p} if it is a probability"
    if values == [0.0, 1.0, 2.0]:  # LMSYS's outcomes in their order, and PandaLM's
        ask += (
            ", or --label-map 0=first,1=second,2=tie if 2 is a tie, or --label-map "
            "1=first,2=second,0=tie if 0 is one"
        )
    return head + ask


def _map(c: Column, values: list[float], middle: float, *, up: bool) -> str:
    """A map in which the highest or the lowest value prefers the first completion."""
    order = values[::-1] if up or values[0] < 0 else values  # a word after a flag starts with no -

    def meaning(x: float) -> str:
        return "tie" if x == middle else "first" if (x > middle) == up else "second"

    return ",".join(f"{_word(c, x)}={meaning(x)}" for x in order)


def _word(c: Column, x: float) -> str:
    return ("true" if x else "false") if c.truths else plain(x)


def _counts(c: Column) -> str:
    shown = [f"{_word(c, x)} ({n:,} ×)" for x, n in sorted(c.numbers.items())]
    if len(shown) > MOST_SHOWN:
        return (
            f"{len(shown):,} different numbers from {plain(min(c.numbers))} to "
            f"{plain(max(c.numbers))}"
        )
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if shown[1:] else shown)
