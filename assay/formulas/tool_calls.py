"""Tool use: rewards of calls by the kind of their error."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

UNREADABLE, WRONG_TOOL, WRONG_VALUES, RIGHT = -2.0, -1.5, -0.25, 1.0


def error_typed_reward(
    readable: Bool[Tensor, "*S"],
    right_tool: Bool[Tensor, "*S"],
    hallucinated: Bool[Tensor, "*S"],
    redundant: Bool[Tensor, "*S"],
    missing: Bool[Tensor, "*S"],
    right_values: Bool[Tensor, "*S"],
) -> Float[Tensor, "*S"]:
    """Reward of a tool call by the kind of its error.

    −2 if no call can be read or there is no such tool, −1.5 for another tool, then by errors of
    parameters: all three kinds −1.8; hallucinated with one other −1.3; redundant and missing −1;
    hallucinated alone −0.8; redundant or missing alone −0.5; and −0.25 for wrong values, +1 for the
    right call. It is the released ladder, and not monotone: the right tool with all three errors is
    below another tool.

    Args:
        readable: A call of a tool that exists `[*S]`.
        right_tool: It is the tool that was to be called `[*S]`.
        hallucinated: It has a parameter that the tool does not declare `[*S]`.
        redundant: It has a declared parameter that was not to be given `[*S]`.
        missing: It lacks a parameter that was to be given `[*S]`.
        right_values: Its parameters have the right values `[*S]`.

    Returns:
        `[*S]`, from −2 to 1.

    Source: Ye et al., "TL-Training", arXiv:2412.15495, and its released code.
    """
    errors = torch.where(right_values, RIGHT, WRONG_VALUES)
    for error, value in (
        (redundant | missing, -0.5),
        (hallucinated, -0.8),
        (redundant & missing, -1.0),
        (hallucinated & (redundant | missing), -1.3),
        (hallucinated & redundant & missing, -1.8),
        (~right_tool, WRONG_TOOL),
        (~readable, UNREADABLE),
    ):
        errors = torch.where(error, value, errors)
    return errors
