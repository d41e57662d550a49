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
from assay.engine.shards import is_shard
from assay.errors import InputError

PARTS = ("full", "attention", "logits", "prompt")
ATTENTION = (".self_attn.", ".attention.", ".attn.")  # what models call the weights of attention


class Conditioned(nn.Module):
    """A policy whose weights depend on a condition; all Δ start at 0, where θ(c) = θ_shared.

    `at(c)` is a plain policy; `sample` and `logp` read each row's own condition.

    Args:
        policy: Its copy is θ_shared.
        conditions: Length of c.
        parts: Which weights get a Δ: "full" all, "attention" those of the attention, "logits" the
            one that makes logits, "prompt" the embedding of the token that every prompt begins
            with, so that the policy reads the condition as a first word.
        shared: Whether θ_shared is trained.
        first: That token's id, from `first_token`; only with "prompt".

    Raises:
        InputError: `parts` is none of these, or the policy has no such weights.
    """

    def __init__(
        self,
        policy: Any,
        conditions: int,
        *,
        parts: str = "full",
        shared: bool = True,
        first: int | None = None,
    ):
        super().__init__()
        if parts not in PARTS:
            raise InputError(f"parts is '{parts}'; it is one of {', '.join(PARTS)}")
        self.base: Any = policy.copy()
        named = dict(self.base.named_parameters())
        if any(is_shard(w) for w in named.values()):
            raise InputError(
                "this recipe computes with exchanged weights, and weights that are divided over "
                "processes cannot follow it; leave out --fsdp"
            )
        self.names = moved(named, parts)
        self.first = first if parts == "prompt" else None
        if parts == "prompt" and first is None:
            raise InputError("parts is 'prompt', and no token that prompts begin with is given")
        shapes = [named[k].shape if self.first is None else named[k].shape[1:] for k in self.names]
        like = [named[k] for k in self.names]
        self.delta = nn.ParameterList(
            [
                nn.Parameter(w.new_zeros(conditions, *shape))
                for w, shape in zip(like, shapes, strict=True)
            ]
        )
        self.called = _Called(self.base)
        if not shared:
            self.base.requires_grad_(False)

    def weights(self, condition: Float[Tensor, "D"]) -> dict[str, Tensor]:
        """Return the parameters under one condition, differentiable."""
        named = dict(self.base.named_parameters())
        out = dict(named)
        for k, d in zip(self.names, self.delta, strict=True):
            change = torch.tensordot(condition.to(d), d, dims=1)
            if self.first is not None:  # the one row of the embedding
                row = torch.tensor([self.first], device=d.device)
                out[k] = named[k].index_add(0, row, change[None])
            else:
                out[k] = named[k] + change
        return out

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


def moved(names: Iterable[str], parts: str) -> list[str]:
    """Name the weights that a condition moves.

    Args:
        names: The names of the policy's weights.
        parts: One of PARTS.

    Raises:
        InputError: The policy has no such weights.
    """
    names = list(names)
    if parts == "full":
        return names
    if parts == "logits":
        return [output(names)]
    if parts == "attention":
        found = [k for k in names if any(part in k for part in ATTENTION)]
    else:
        found = [k for k in names if k.endswith("embed_tokens.weight")]
    if not found:
        what = "attention" if parts == "attention" else "embedding of prompt tokens"
        raise InputError(f"parts is '{parts}', and this policy has no {what}; use full or logits")
    return found


def first_token(prompts: Prompts) -> int:
    """The token that all prompts begin with.

    Raises:
        InputError: They begin with different ones, so that none can carry a condition.
    """
    place = prompts.mask.long().argmax(-1, keepdim=True)
    found = torch.unique(prompts.tokens.gather(1, place))
    if len(found) != 1:
        raise InputError(
            f"the prompts begin with {len(found)} different tokens, so that none of them can carry "
            "a condition; use parts full, attention or logits"
        )
    return int(found[0])


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
