"""Tool use: rewards of calls by the kind of their error, and weights of a call's tokens."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
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


def distinguishing_tokens(
    call: Int[Tensor, "*S T"], names: Int[Tensor, "M L"], lengths: Int[Tensor, "M"]
) -> Bool[Tensor, "*S T"]:
    """Key tokens of a call: its first one, and each that tells its tool from one named alike.

    A tool whose name has the first k > 0 tokens of the call in common, and not more, is told from
    the call's own by token k. The call's own tool is the longest name that the call begins with.

    Args:
        call: Token ids of calls, each beginning with the tool's name `[*S, T]`.
        names: Token ids of all tools' names, padded on the right `[M, L]`.
        lengths: Tokens of each name, at least 1 `[M]`.

    Returns:
        `[*S, T]`.

    Source: Ye et al., "TL-Training", arXiv:2412.15495, 2024, and its released code.
    """
    T, L = call.shape[-1], names.shape[-1]
    first = torch.zeros_like(call, dtype=torch.bool)
    first[..., :1] = True
    if not len(names):
        return first
    place = torch.arange(L, device=call.device)
    begun = call.new_full((*call.shape[:-1], L), -1)  # what a short call has not begun is no token
    begun[..., : min(T, L)] = call[..., :L]
    same = (begun[..., None, :] == names) & (place < lengths[:, None])
    common = same.long().cumprod(-1).sum(-1)  # [*S, M]
    whole = torch.where(common == lengths, lengths, 0)
    own = (whole > 0) & (whole == whole.amax(-1, keepdim=True))
    at = torch.where((common > 0) & ~own & (common < T), common, 0)  # 0 is a key token anyway
    return first | torch.nn.functional.one_hot(at, max(T, 1)).sum(-2)[..., :T].bool()


def key_token_weights(
    key: Bool[Tensor, "*S T"],
    mask: Bool[Tensor, "*S T"],
    *,
    most: float = 9.0,
    apart: Bool[Tensor, "*S T"] | None = None,
) -> Float[Tensor, "*S T"]:
    """Weights of a completion's tokens in imitation, with mean 1 over the completion.

    w = clip(n_other/n_key, 1, most) for key tokens and 1 for others, divided by the mean of w.

    Args:
        key: Which tokens are key tokens `[*S, T]`.
        mask: Which tokens there are `[*S, T]`.
        most: Largest weight of a key token before the division, at least 1.
        apart: Tokens that count neither as key nor as other and weigh 1, as the released code does
            with the last token of an argument `[*S, T]`; None for none.

    Returns:
        `[*S, T]`, 0 where there is no token.

    Raises:
        ValueError: most is below 1.

    Source: Ye et al., "TL-Training", arXiv:2412.15495, 2024, and its released code.
    """
    if not most >= 1:
        raise ValueError(f"most is {most}; a key token weighs at least as much as another: give 1")
    key = key & mask
    other = mask & ~key
    if apart is not None:
        key, other = key & ~apart, other & ~apart
    n_key = key.sum(-1, keepdim=True)
    n_other = other.sum(-1, keepdim=True)
    raised = (n_other / n_key.clamp(min=1)).clamp(1.0, most)
    w = torch.where(key, raised, mask.to(raised.dtype))
    mean = w.sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(mask, w / torch.where(mean > 0, mean, 1.0), 0.0)
