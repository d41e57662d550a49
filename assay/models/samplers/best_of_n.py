"""Best-of-n as a Sampler: of n completions, the one that the score likes best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Policy, Prompts, Rng, Samples
from assay.errors import InputError
from assay.formulas.curves import best_of_n_shares
from assay.formulas.divergence import best_of_n_bound


class Pool:
    """N completions a prompt and their scores, drawn once and shared by all n ≤ N.

    Args:
        source: Draws the completions.
        score: samples → `[B,N]`.
        size: N.
    """

    def __init__(self, source: Policy, score: Callable[[Samples], Tensor], size: int):
        self.source, self.score, self.size = source, score, size
        self._key: tuple[int, int] | None = None
        self._last: tuple[Prompts, Samples, Tensor] | None = None

    def draw(self, prompts: Prompts, rng: Rng) -> tuple[Samples, Float[Tensor, "B N"]]:
        """Return the pool of these prompts at this address; the last request is remembered."""
        known = (
            self._last is not None
            and self._last[0] is prompts
            and self._key == (rng.key, self.size)
        )
        if not known:
            samples = self.source.sample(prompts, self.size, rng)
            self._last, self._key = (prompts, samples, self.score(samples)), (rng.key, self.size)
        assert self._last is not None
        return self._last[1], self._last[2]


class BestOfN:
    """Draws n completions and keeps the best by the pool's score.

    Instead of n completions for each one returned, `sample` returns the whole pool with
    `extra["weight"]`: the exact probability, over all subsets of size n, that a completion of the
    pool is the best of its subset. A weighted mean is then the unbiased best-of-n estimate, with
    far less noise. Ties share, so that neither gold nor the order of drawing decides among them. KL
    is the bound log n − (n−1)/n: its kind is "upper".

    Source: Nakano et al., 2021, arXiv:2112.09332, appendix.

    Args:
        pool: Draws the completions.
        n: From 1 to the pool's size.

    Raises:
        InputError: `n` is out of its range.
    """

    kl_kind = "upper"

    def __init__(self, pool: Pool, n: int):
        if not 1 <= n <= pool.size:
            raise InputError(
                f"best of {n} cannot be taken from a pool of {pool.size}; raise the pool or lower n"
            )
        self.pool, self.n = pool, n

    @property
    def cost(self) -> dict[str, int]:
        """What one returned completion costs a user of this sampler."""
        return {"generated": self.n, "scored": self.n}

    def sample(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> Samples:
        """Return the pool of these prompts, weighted.

        Args:
            prompts: B prompts.
            n: Has no effect on a weighted pool.
            rng: The pool's address.
            start: Not supported.

        Raises:
            InputError: `start` was given.
        """
        if start is not None:
            raise InputError("best-of-n draws whole completions; it cannot continue others")
        samples, scores = self.pool.draw(prompts, rng)
        return replace(
            samples,
            extra={
                **samples.extra,
                "weight": best_of_n_shares(scores, self.n).to(samples.logp.dtype),
            },
        )

    def kl(self, reference: Policy, samples: Samples) -> Float[Tensor, "B N"]:
        """Return log n − (n−1)/n nats, an upper bound; reached where no completions tie."""
        return torch.full_like(samples.logp[..., 0], float(best_of_n_bound(self.n)))

    def copy(self) -> BestOfN:
        return BestOfN(self.pool, self.n)

    def state_dict(self) -> dict[str, Any]:
        return {"n": self.n}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.n = state["n"]
