"""What a reward function may return, and how it is read as one number a completion.

- A list or tuple of n entries, or anything with `tolist`: a NumPy array, a torch tensor or a pandas
  Series of shape `[n]` or `[n, 1]`, of any numeric type and on any device.
- An entry is a number, a bool, None ("does not apply"), or holds one number: a NumPy scalar, an
  array or a tensor of one element. verl's `{"score": number, …}` is read as its score.
- A dict that holds such a list under `rewards`, `scores` or `score`, as OpenRLHF's reward functions
  return it. The first key that is there counts, and the others are not read.

Everything else is an error. NaN is an error too, because it is mostly an accident: None is how a
function says that it does not apply.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from numbers import Real
from typing import Any

from assay.engine.nonfinite import nonfinite
from assay.engine.plural import counted
from assay.errors import InputError

SCORES = ("rewards", "scores", "score")  # the first that is there counts
LARGEST = 3.4028234663852886e38  # of float32, in which rewards are held
NUMBERS = (Real, Decimal)  # Real has Python's and NumPy's, bool among them


class NotFiniteReward(InputError):
    """A reward returned NaN or infinity; a run may leave such completions out."""


def numbers(found: Any, n: int, who: str) -> list[float]:
    """Read what a reward returned.

    Args:
        found: What it returned.
        n: Completions that it was given.
        who: The reward's name, for the message.

    Returns:
        n numbers, NaN where the reward does not apply. While a run is under way, infinity where
        the reward is not finite: its caller names the sample.

    Raises:
        InputError: It is no list of n finite numbers and None.

    Example:
        >>> numbers({"rewards": [[1], [True], [None]]}, 3, "score")
        [1.0, 1.0, nan]
    """
    held, under = found, ""
    if isinstance(found, Mapping):
        key = next((k for k in SCORES if k in found), None)
        if key is None:
            shown = ", ".join(map(str, found)) or "nothing"
            raise _refused(who, f"a dict of {one_line(shown)}", n)
        held, under = found[key], f" under '{key}'"
    whole = _listed(held)
    if not isinstance(whole, (list, tuple)):
        raise _refused(who, f"{_kind(held)}{under}", n)
    if len(whole) != n:
        shape = getattr(held, "shape", ())
        what = f"shape {list(shape)}" if len(shape) > 1 else counted(len(whole), "value")
        raise _refused(who, f"{what}{under}", n)
    return [_number(i, value, n, who) for i, value in enumerate(whole)]


def expected(n: int) -> str:
    """Say what n completions are to be given.

    Example:
        >>> expected(8)
        'a list of 8 numbers, one per completion, None where it does not apply'
    """
    return f"a list of {counted(n, 'number')}, one per completion, None where it does not apply"


def one_line(value: str, most: int = 60) -> str:
    """Return the beginning of a text on one line, without control characters."""
    line = " ".join(value.split())
    line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _number(i: int, value: Any, n: int, who: str) -> float:
    held = value["score"] if isinstance(value, Mapping) and "score" in value else value
    while isinstance(held, (list, tuple)) and len(held) == 1:
        held = held[0]
    if hasattr(held, "item"):  # numpy's, torch's and JAX's
        try:
            held = held.item()
        except Exception:  # it has several elements, no data, or is an object of somebody's own
            held = value
    if held is None or type(held).__name__ == "NAType":  # pandas' word for None
        return math.nan
    if nonfinite.passes and isinstance(held, float) and not math.isfinite(held):
        return math.inf  # NaN would say that the reward does not apply
    # the bound also refuses an int too large for a float, and NaN; rewards are float32
    if not isinstance(held, NUMBERS) or not _within(held):
        number = isinstance(held, float) and not math.isfinite(held)
        raise (NotFiniteReward if number else InputError)(
            f"reward {who} returned {_shown(value)} for completion {i}; return a finite "
            f"number: {expected(n)}"
        )
    return float(held)


def _within(value: Any) -> bool:
    if isinstance(value, Decimal) and not value.is_finite():
        return False
    return bool(abs(value) <= LARGEST)


def _listed(held: Any) -> Any:
    """An array as a list; sparse tensors, and those without data, are left as they are."""
    try:
        return held.tolist() if hasattr(held, "tolist") else held
    except Exception:  # of any type, by library
        return held


def _shown(value: Any) -> str:
    try:
        return one_line(repr(value))
    except Exception:  # an object of somebody's own
        return f"a {type(value).__name__}"


def _kind(value: Any) -> str:
    """A value in words, by its type.

    Example:
        >>> _kind(1.0), _kind(None), _kind(iter([]))
        ('a float', 'None', 'a list_iterator')
    """
    return "None" if value is None else f"a {type(value).__name__}"


def _refused(who: str, what: str, n: int) -> InputError:
    return InputError(
        f"reward {who} returned {what} for {counted(n, 'completion')}; return {expected(n)}"
    )
