"""One policy for many weightings: θ(c) = θ_shared + Σᵢ cᵢ·Δᵢ.

The condition c of a row is its `prompts.extra["condition"]`. Rows with the same condition are
computed together, so a batch should hold few different ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call

from assay.core import Policy, Prompts, Samples, cat
from assay.core.rng import Rng
from assay.errors import InputError

PARTS = ("full", "logits")


class Conditioned(nn.Module):
    """A policy whose weights depend on a condition; all Δ start at 0, where θ(c) = θ_shared.

    `at(c)` is a plain policy; `sample` and `logp` read each row's own condition.

    Args:
        policy: Its copy is θ_shared.
        conditions: Length of c.
        parts: "full" gives every weight its Δ, "logits" only the one that makes logits.
        shared: Whether θ_shared is trained.

    Raises:
        InputError: `parts` is neither.
    """

    def __init__(self, policy: Any, conditions: int, *, parts: str = "full", shared: bool = True):
        super().__init__()
        if parts not in PARTS:
            raise InputError(f"parts is '{parts}'; it is one of {', '.join(PARTS)}")
        self.base: Any = policy.copy()
        named = dict(self.base.named_parameters())
        self.names = list(named) if parts == "full" else [output(named)]
        like = [named[k].new_zeros(conditions, *named[k].shape) for k in self.names]
        self.delta = nn.ParameterList([nn.Parameter(zero) for zero in like])
        self.called = _Called(self.base)
        if not shared:
            self.base.requires_grad_(False)

    def weights(self, condition: Float[Tensor, "D"]) -> dict[str, Tensor]:
        """Return the parameters under one condition, differentiable."""
        named = dict(self.base.named_parameters())
        moved = {
            k: named[k] + torch.tensordot(condition.to(d), d, dims=1)
            for k, d in zip(self.names, self.delta, strict=True)
        }
        return {**named, **moved}

    @torch.no_grad()
    def at(self, condition: Float[Tensor, "D"]) -> Policy:
        """Return a plain policy with this condition built in."""
        plain: Any = self.base.copy()
        plain.load_state_dict({**plain.state_dict(), **self.weights(condition)})
        return plain.requires_grad_(False)  # type: ignore[no-any-return]

    def sample(self, prompts: Prompts, n: int, rng: Rng) -> Samples:
        """Draw n completions a prompt under its own condition.

        A row keeps its addresses whatever stands beside it.

        Args:
            prompts: B prompts with `extra["condition"]`.
            n: Completions a prompt.
            rng: The address of the draws.

        Returns:
            The completions, in the order of the prompts.
        """
        parts, order = [], []
        for condition, rows in _groups(prompts):
            parts.append(self.at(condition).sample(prompts[rows], n, rng[rows]))
            order.append(rows)
        return cat(parts)[torch.cat(order).argsort()]

    def logp(self, samples: Samples) -> Float[Tensor, "B N T"]:
        """Compute log π under each row's condition, differentiable in θ_shared and Δ."""
        out, order = [], []
        for condition, rows in _groups(samples.prompts):
            named = {f"policy.{k}": v for k, v in self.weights(condition).items()}
            out.append(functional_call(self.called, named, (samples[rows],)))
            order.append(rows)
        return torch.cat(out)[torch.cat(order).argsort()]


def output(names: Iterable[str]) -> str:
    """Name the weight that makes logits.

    A language model's head, its embedding where the two are one, else the last weight there is.
    """
    names = list(names)
    heads = [
        k for end in ("lm_head.weight", "embed_tokens.weight") for k in names if k.endswith(end)
    ]
    return (heads or names[-1:])[0]


class _Called(nn.Module):
    """`logp` as a forward pass, which can be called with other parameters.

    The policy is not registered twice.
    """

    def __init__(self, policy: nn.Module):
        super().__init__()
        self.policy = policy

    def forward(self, samples: Samples) -> Tensor:
        return self.policy.logp(samples)  # type: ignore[operator]


def _groups(prompts: Prompts) -> Iterator[tuple[Float[Tensor, "D"], Int[Tensor, "rows"]]]:
    if "condition" not in prompts.extra:
        raise InputError(
            "these prompts carry no condition: prompts.extra['condition'] holds one weighting a row"
        )
    different, which = torch.unique(prompts.extra["condition"], dim=0, return_inverse=True)
    for g, condition in enumerate(different):
        yield condition, (which == g).nonzero()[:, 0]
