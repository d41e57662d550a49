"""Operations that a training step needs, counted by formula: 2 for a multiplication with its sum.

A pass of n tokens that see c_1 … c_n tokens each, themselves included, through L layers of width d
with h query heads and k key heads of size a and a gated inner width f:

    L · (2 n (2 d h a + 2 d k a + 3 d f) + 4 h a Σ c_i) + 2 d V m

where m positions are read off a vocabulary of V. A backward pass costs as much again for the
activations, and as much again for the weights where these are trained: adapters' own products,
a few in a hundred, are left out. A prompt is counted once for all its completions, whoever computes
it more often; so the share of the card's rate is of what the step needs, and the same number of
operations stands under both sides' seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.real.cases import Case


def forward(shape: Mapping[str, int], tokens: int, seen: int, read: int) -> int:
    """Operations of a forward pass.

    Args:
        shape: See `cases.shape_of`.
        tokens: Tokens that are computed.
        seen: The sum of how many tokens each of them sees.
        read: Positions whose next token is asked for.
    """
    d, h, k, a = shape["width"], shape["heads"], shape["kv_heads"], shape["head"]
    layer = 2 * tokens * (2 * d * h * a + 2 * d * k * a + 3 * d * shape["inner"])
    return shape["layers"] * (layer + 4 * h * a * seen) + 2 * d * shape["vocabulary"] * read


def group(prompt: int, completions: Sequence[int]) -> tuple[int, int, int]:
    """Tokens, what they see, and positions read, of a prompt and its completions."""
    seen = prompt * (prompt + 1) // 2 + sum(prompt * n + n * (n + 1) // 2 for n in completions)
    return prompt + sum(completions), seen, sum(completions)


def step(c: Case, shape: Mapping[str, int], lengths: Sequence[Sequence[int]]) -> int:
    """Operations of one step of a case.

    GRPO draws (one pass), reads the reference (one), and computes the policy with its gradient.
    DPO does the same without drawing.

    Args:
        c: The case.
        shape: See `cases.shape_of`.
        lengths: For each prompt, its completions' lengths.
    """
    backward = 1 if c.lora else 2
    once = sum(forward(shape, *group(c.prompt, some)) for some in lengths)
    return once * ((1 if c.kind == "grpo" else 0) + 1 + (1 + backward))
