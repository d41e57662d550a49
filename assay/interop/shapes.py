"""The shapes of a reward function: a number of the score alone, or of the score and references."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from assay.errors import InputError
from assay.formulas import shaping

PLAIN: dict[str, Callable[..., Tensor]] = {
    "none": lambda r, **_: r,
    "sigmoid": lambda r, slope, **_: shaping.sigmoid(r, slope=slope),
    "tanh": lambda r, slope, **_: shaping.tanh(r, slope=slope),
    "polynomial": lambda r, **_: shaping.polynomial(r),
    "ceiling": lambda r, most, **_: shaping.clip(r, high=most),
}
WITH_REFERENCES: dict[str, Callable[..., Tensor]] = {
    "par": lambda r, refs, slope, **_: shaping.preference(slope * r, slope * refs),
    "centre": lambda r, refs, **_: shaping.centre(r, refs),
    "log_sigmoid": lambda r, refs, **_: shaping.log_sigmoid(r, shaping.normal_quantile(refs)),
    "slow_then_fast": lambda r, refs, slope, late, **_: shaping.slow_then_fast(
        r, refs, late=late, slope=slope
    ),
}


def check_shape(shape: str, references: str, centre: bool) -> None:
    """Raise InputError for an unknown shape, or one whose references are missing or not wanted.

    Args:
        shape: The shape's name.
        references: The column of references, "group", or empty.
        centre: Whether scores are centred, which may use references too.
    """
    if shape not in PLAIN and shape not in WITH_REFERENCES:
        names = ", ".join((*PLAIN, *WITH_REFERENCES))
        raise InputError(f"shape is '{shape}'; it is one of {names}")
    if (shape in WITH_REFERENCES) == bool(references) or (references and centre):
        return
    raise InputError(
        f"shape '{shape}' "
        + (
            'compares with references: give references=COLUMN, or references="group"'
            if shape in WITH_REFERENCES
            else "compares with nothing, and references were given"
        )
    )
