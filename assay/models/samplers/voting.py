"""Voting as a Sampler: of n completions, one that gives the answer with the most votes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import Policy, Prompts, Rng, Samples
from assay.errors import InputError
from assay.formulas.divergence import best_of_n_bound
from assay.formulas.votes import elected

Score = Callable[[Any, Samples], Tensor]


class Voting:
    """Draws n completions for each one that it returns: the best one of the elected answer.

    An answer's votes are the sum of its completions' scores. KL to the reference is

        KL(vote‖π) + E_vote log π/π₀ ≤ log n − (n−1)/n + E_vote log π/π₀

    The bound is best-of-n's and holds for every way to choose one of n: nothing puts more mass on
    any set of completions than the best of n of a score that likes that set. The second part is
    the mean over the returned completions. The kind is "upper".

    Args:
        policy: π, draws the completions.
        verifier: What `score` reads them by; None where it reads none.
        votes: n.
        score: (verifier, completions) → votes of each, 0 or above, `[B,N]`.
        answer: completions → number of each one's answer, equal for equal answers of a prompt.

    Raises:
        InputError: `votes` is below 1.
    """

    kl_kind = "upper"

    def __init__(
        self,
        policy: Any,
        verifier: Any,
        votes: int,
        *,
        score: Score,
        answer: Callable[[Samples], Int[Tensor, "B N"]],
    ):
        if votes < 1:
            raise InputError(f"a vote is taken among {votes} completions; give at least 1")
        self.policy, self.verifier, self.votes = policy, verifier, votes
        self.score, self.answer = score, answer

    @property
    def cost(self) -> dict[str, int]:
        """What one returned completion costs a user of this sampler."""
        return {"generated": self.votes, "scored": 0}

    @torch.no_grad()
    def sample(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> Samples:
        """Return the elected one of each `votes` completions.

        Args:
            prompts: B prompts.
            n: Completions that are returned of each.
            rng: The address of all completions.
            start: Not supported.

        Raises:
            InputError: `start` was given.
        """
        if start is not None:
            raise InputError("a vote is taken among whole completions; it cannot continue others")
        x = self.policy.sample(prompts, n * self.votes, rng)
        score, answer = self.score(self.verifier, x), self.answer(x).to(x.action.device)

        def grouped(t: Tensor) -> Tensor:
            return t.unflatten(1, (-1, self.votes))

        place = elected(grouped(score), grouped(answer), grouped(x.present))
        first = torch.arange(place.shape[1], device=place.device) * self.votes
        return x.pick(place + first)

    @torch.no_grad()
    def kl(self, reference: Policy, samples: Samples) -> Float[Tensor, "B N"]:
        """Return the bound plus log π/π₀ of each completion, in nats."""
        ratio = self.policy.logp(samples) - reference.logp(samples)
        own = torch.where(samples.mask, ratio, torch.zeros_like(ratio)).sum(-1)
        bound = float(best_of_n_bound(self.votes))
        return own + bound

    def copy(self) -> Voting:
        """Make another one, of a copy of the policy and of the verifier."""
        return Voting(
            self.policy.copy(),
            deepcopy(self.verifier),
            self.votes,
            score=self.score,
            answer=self.answer,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the weights of the policy and of the verifier."""
        read = None if self.verifier is None else dict(self.verifier.state_dict())
        return {"policy": dict(self.policy.state_dict()), "verifier": read, "votes": self.votes}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.policy.load_state_dict(state["policy"])
        self.votes = state["votes"]
        if self.verifier is not None:
            self.verifier.load_state_dict(state["verifier"])
