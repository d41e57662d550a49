"""A language model whose completions are interrupted by replies to the calls that it writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.core import Policy, Prompts, Rng, Samples
from assay.engine.parallel import sampling
from assay.errors import InputError
from assay.models.policies.causal import Causal
from assay.models.vocabulary import Vocabulary

# prompts, calls [B,N], address, places [B,N] → one token in reply to each call [B,N]
Replies = Callable[[Prompts, Tensor, Rng, Tensor], Tensor]


class Calling(Vocabulary):
    """A word list of which some words are calls: they end a turn, and are answered.

    Args:
        words: As in Vocabulary.
        calls: Those of the words that are calls.
    """

    def __init__(self, words: list[str], calls: list[str]):
        super().__init__(words)
        self.calls = tuple(self.ids[w] for w in calls)
        self.ends = (self.eos, *self.calls)  # type: ignore[assignment]  # as many as there are


class Replying(Causal):
    """A Causal that is answered: after a call comes one token that is not its choice.

    A reply is *given*: read by the policy, and part of no log-probability, loss or KL. A call past
    the last turn, or at the very end, is not answered, and the completion is cut off there.

    Args:
        backbone: A Backbone.
        vocabulary: Says which tokens are calls.
        replies: Answers them.
        turns: Calls that are answered, at most.
        sampling: See Causal.
    """

    def __init__(
        self,
        backbone: torch.nn.Module,
        vocabulary: Calling,
        *,
        replies: Replies,
        turns: int,
        **sampling: Any,
    ):
        super().__init__(backbone, vocabulary, **sampling)
        self.replies, self.turns = replies, turns
        if turns < 1:
            raise InputError(f"turns is {turns}; a policy that calls has at least 1")

    def copy(self, **changed: Any) -> Replying:
        """Make a trainable copy that shares no storage, and is answered by the same."""
        plain = super().copy(**changed)
        own = {k: getattr(plain, k) for k in ("temperature", "top_k", "top_p")}
        made = Replying(
            plain.backbone,
            self.vocabulary,  # type: ignore[arg-type]  # a Calling, as it was given
            replies=self.replies,
            turns=self.turns,
            max_tokens=plain.max_tokens,
            min_tokens=plain.min_tokens,
            **own,
        )
        return made.requires_grad_(True)

    @sampling
    def sample(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> Samples:
        """Draw turn by turn, see Sampler.sample; calls are answered from the same address."""
        x = self._turn(prompts, n, rng, start)
        for _ in range(self.turns):
            calls, x = self._answered(x, rng)
            if not bool(calls.any()):
                break
            x = self._turn(prompts, n, rng, x)
        return replace(x, ended=x.ended & ~self.waiting(x)[0])

    def sample_and_kl(
        self, reference: Policy, prompts: Prompts, n: int, rng: Rng
    ) -> tuple[Samples, Float[Tensor, "B N"]]:
        """Draw completions with their replies, and compute `kl` of each."""
        x = self.sample(prompts, n, rng)
        return x, self.kl(reference, x)

    def _turn(self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None) -> Samples:
        state = self.decoding(prompts, n, rng, start)
        while state.step():
            pass
        return state.samples()

    def waiting(self, x: Samples) -> tuple[Bool[Tensor, "B N"], Int[Tensor, "B N"], Tensor]:
        """Whether completions end with a call, what their last token is, and tokens of each."""
        count = (x.mask | x.given).sum(-1)
        last = x.action.gather(-1, (count - 1).clamp(min=0)[..., None])[..., 0]
        calls = torch.tensor(self.vocabulary.calls, device=last.device)  # type: ignore[union-attr]
        return torch.isin(last, calls) & (count > 0), last, count

    def _answered(self, x: Samples, rng: Rng) -> tuple[Tensor, Samples]:
        """Which completions wait for a reply that has room, and all of them with their replies."""
        x = x.widened(min(self.max_tokens, x.mask.shape[2] + 1))
        calls, last, count = self.waiting(x)
        calls = calls & (count < x.mask.shape[2])
        token = self.replies(x.prompts, torch.where(calls, last, 0), rng("reply"), count)
        place = torch.arange(x.mask.shape[2], device=count.device)
        here = calls[..., None] & (place == count[..., None])
        x = replace(
            x,
            action=torch.where(here, token[..., None], x.action),
            given=x.given | here,
            ended=x.ended & ~calls,
        )
        return calls, x
