"""Value augmented sampling: a frozen policy whose next token is tilted by values of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Decodes, Policy, Prompts, Rng, Samples, require
from assay.engine.parallel import sampling
from assay.errors import InputError
from assay.formulas.divergence import kl_full
from assay.formulas.value_decoding import value_tilted
from assay.models.samplers.categorical import inverse_cdf
from assay.models.samplers.value_ahead import looking_ahead


class ValueAugmented:
    """A Sampler of π(v|s) ∝ π₀(v|s)·exp(strength·Σ_m w_m·V_m(s,v)).

    π₀ is asked for nothing but its next token's log-probabilities. The values may stand on another
    model of the same tokens. Strength and weights may change at any time, without training.

    Args:
        policy: π₀, which decodes token by token.
        head: Values `[B,N,T+1,k]` of what is written so far.
        strength: Nats per unit of reward.
        weights: w, one for each of the head's k outputs.
        top_k: How many of the likeliest tokens are valued; 0 for all.
        cut: Give the others no probability, as with a server that names no more tokens than these.

    Raises:
        InputError: The policy does not decode token by token.
    """

    kl_kind = "sampled"

    def __init__(
        self,
        policy: Any,
        head: Any,
        *,
        strength: float,
        weights: Sequence[float] = (1.0,),
        top_k: int = 0,
        cut: bool = False,
    ):
        self.policy: Any = require(policy, Decodes, "value augmented sampling")
        self.head, self.strength, self.weights = head, strength, tuple(weights)
        self.top_k, self.cut = top_k, cut

    def tilted(self, logp: Tensor, ahead: Any) -> Tensor:
        """The tilted log-probabilities of the next token.

        Args:
            logp: log π₀ `[B,N,V]`.
            ahead: What looks ahead.
        """
        some = 0 < self.top_k < logp.shape[-1]
        index = logp.topk(self.top_k, -1).indices if some else _all(logp)
        values = ahead.values(index)
        if values.shape[-1] != len(self.weights):
            raise InputError(
                f"there are {len(self.weights)} weights and {values.shape[-1]} values; give one "
                "each"
            )
        worth = values @ values.new_tensor(self.weights)
        return value_tilted(logp, worth, index, strength=self.strength, cut=self.cut)

    @sampling
    def sample(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> Samples:
        """Draw by the inverse distribution function at u(row, completion, decision).

        See Sampler.sample; `logp` is the tilted policy's.
        """
        return self._drawn(prompts, n, rng, start)[0]

    def sample_and_kl(
        self, reference: Policy, prompts: Prompts, n: int, rng: Rng
    ) -> tuple[Samples, Float[Tensor, "B N"]]:
        """Draw completions with their KL, which drawing knows where the reference is π₀ itself.

        Args:
            reference: As for `kl`.
            prompts: As for `sample`, like the others.
            n: Completions a prompt.
            rng: The address of the draws.
        """
        if reference is self.policy:
            return self._drawn(prompts, n, rng)
        x = self.sample(prompts, n, rng)
        return x, self.kl(reference, x)

    @torch.no_grad()
    def _drawn(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> tuple[Samples, Tensor]:
        state = self.policy.decoding(prompts, n, rng, start)
        ahead = looking_ahead(self.head, state)
        places: list[tuple[Tensor, Tensor, Tensor]] = []
        before = state.samples()
        place = (before.mask | before.given).sum(-1)
        total = before.logp.new_zeros(place.shape)
        b, k = (torch.arange(size, device=place.device) for size in place.shape)
        while bool((going := state.open.clone()).any()):  # a view that appending changes
            base = state.next_logprobs()
            logp = self.tilted(base, ahead)
            total = torch.where(going, total + kl_full(logp, base).to(total), total)
            u = rng.uniform(b[:, None], k[None, :], place, dtype=torch.float64)
            token = inverse_cdf(logp, u)
            places.append((going, place, logp.gather(-1, token[..., None])[..., 0]))
            state.append(token)
            ahead.append(token, going)
            place = place + going
        x = state.samples()
        for going, at, found in places:
            i, j = going.nonzero(as_tuple=True)
            x.logp[i, j, at[i, j]] = found[i, j].to(x.logp)
        return x, total

    @torch.no_grad()
    def kl(self, reference: Policy, samples: Samples) -> Float[Tensor, "B N"]:
        """Sum the full distributions' KL(π‖reference) over own decisions, in nats.

        Args:
            reference: A policy over the same tokens that decodes token by token.
            samples: Completions without given parts.

        Raises:
            InputError: A completion holds what it did not choose.
        """
        if bool(samples.given.any()):
            raise InputError(
                "value augmented sampling reads its KL from completions of one turn, and these "
                "hold text that it did not write"
            )
        N, total = samples.mask.shape[1], samples.logp.new_zeros(samples.mask.shape[:2])
        other = require(reference, Decodes, "the KL of value augmented sampling")
        states = [p.decoding(samples.prompts, N, Rng(0)) for p in (self.policy, other)]
        ahead = looking_ahead(self.head, states[0])
        for t in range(samples.mask.shape[2]):
            here = samples.mask[..., t]
            if not bool(here.any()):
                break
            logp, theirs = (s.next_logprobs() for s in states)
            each = kl_full(self.tilted(logp, ahead), theirs)
            total = torch.where(here, total + each.to(total), total)
            token = torch.where(here, samples.action[..., t], 0)
            for s in states:
                s.append(token)
            ahead.append(token, here)
        return total

    def copy(self) -> ValueAugmented:
        """Make another one of the same policy and head."""
        same: dict[str, Any] = {"strength": self.strength, "weights": self.weights}
        return ValueAugmented(self.policy, self.head, top_k=self.top_k, cut=self.cut, **same)

    def state_dict(self) -> dict[str, Any]:
        """Return the head's weights, and how they are used."""
        return {
            "head": dict(self.head.state_dict()),
            "strength": self.strength,
            "weights": list(self.weights),
            "top_k": self.top_k,
            "cut": self.cut,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, into a head of its own."""
        self.head = deepcopy(self.head)
        self.head.load_state_dict(state["head"])
        self.strength, self.weights = state["strength"], tuple(state["weights"])
        self.top_k, self.cut = state["top_k"], state["cut"]


def _all(logp: Tensor) -> Tensor:
    """Every token, in order."""
    return torch.arange(logp.shape[-1], device=logp.device).expand(logp.shape)
