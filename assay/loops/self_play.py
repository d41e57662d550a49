"""What recipes that learn from a preference model share: opponents, and whole games of tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Prompts, Rng, Samples, Task
from assay.errors import InputError
from assay.loops.own_logp import rounds_apart, scored
from assay.models.policies.table import TablePolicy


def win_rates(task: Task, x: Samples, opponents: Samples) -> Float[Tensor, "B N"]:
    """Each completion's mean of P(it beats an opponent) − ½ over the prompt's present opponents.

    Args:
        task: Gives the preference model.
        x: Completions, N a prompt.
        opponents: Completions of the same prompts.

    Raises:
        InputError: A prompt has no opponent.
    """
    here = opponents.present.to(x.logp)
    if not bool((here.sum(-1) > 0).all()):
        raise InputError(
            "a prompt has no completion to be compared with; ask for at least one opponent"
        )
    found = task.preference(x, opponents).to(x.logp)
    return (found * here[:, None, :]).sum(-1) / here.sum(-1, keepdim=True)


def reference_win_rate(task: Task, n: int = 8) -> Callable[[Samples], Tensor]:
    """Return the proxy of such recipes: `score(samples) → [B,N]`, the win rate over the reference.

    Args:
        task: Gives the preference model, and the reference whose completions are the opponents.
        n: Opponents of a prompt, the same at every call with the same prompts.
    """

    def score(x: Samples) -> Tensor:
        return 0.5 + win_rates(task, x, task.reference.sample(x.prompts, n, task.rng("rivals")))

    return score


def sampled(policy: Any, prompts: Prompts, n: int, rng: Rng) -> Samples:
    """Draw completions whose `logp` is what scoring says, also where half precision rounds apart.

    Args:
        policy: The policy.
        prompts: B prompts.
        n: Completions a prompt.
        rng: The address of the draws.
    """
    x: Samples = policy.sample(prompts, n, rng)
    return scored(policy, x) if rounds_apart(policy) else x


def every_completion(policy: Any, by: str = "this") -> Samples:
    """Return each of a table's completions once, in order, `[R,A,1]`.

    Args:
        policy: A table of one decision.
        by: Who needs it, for the message.

    Raises:
        InputError: The policy is no table of one decision.
    """
    if not isinstance(policy, TablePolicy) or policy.length != 1:
        raise InputError(
            f"{by} with --exact or --average needs a policy that is a table of one decision, as in "
            f"--world table --world.testbed game; this one is a {type(policy).__name__}"
        )
    logp = policy.logits.detach().log_softmax(-1)
    R, A = logp.shape
    action = torch.arange(A, device=logp.device).expand(R, A)[..., None]
    whole = torch.ones_like(action, dtype=torch.bool)
    prompts = policy.prompts(torch.arange(R, device=logp.device))
    return Samples(prompts, action, whole, ~whole, logp[..., None], whole[..., 0])


class TabularGame:
    """The whole game of a table policy with one decision: every response, exactly.

    Each call of `against` asks the preference model about every pair of responses, one *query* in
    the papers' sense, and all of its comparisons are counted.

    Args:
        task: Gives the reference and the preference model.
        by: Who needs it, for the message.

    Attributes:
        policy: A trainable copy of the reference; `set` writes its logits.
        queries: Calls of `against` so far.
        log_mu: log-probabilities of the reference `[R,A]`.

    Raises:
        InputError: The policy is no table of one decision.
    """

    def __init__(self, task: Task, by: str):
        self.every = every_completion(task.reference, by)
        self.task, self.queries = task, 0
        policy: Any = task.reference.copy()
        self.policy: TablePolicy = policy
        self.log_mu = policy.logits.detach().double().log_softmax(-1)

    @property
    def logp(self) -> Float[Tensor, "R A"]:
        """log π of every response, in float64."""
        return self.policy.logits.detach().double().log_softmax(-1)

    def against(self, logp: Float[Tensor, "R A"]) -> Float[Tensor, "R A"]:
        """P(y beats π) − ½ of every response y: one query.

        Args:
            logp: log π.
        """
        self.queries += 1
        found = self.task.preference(self.every, self.every).to(logp)
        return (found @ logp.exp()[..., None])[..., 0]

    def set(self, logp: Float[Tensor, "R A"]) -> None:
        """Make these the policy's log-probabilities."""
        with torch.no_grad():
            self.policy.logits.copy_(logp)

    def stats(self, before: Float[Tensor, "R A"]) -> dict[str, float]:
        """What a step of an exact recipe records: its move in nats, and queries so far.

        Args:
            before: log π before the step `[R,A]`.
        """
        now = self.logp
        moved = (now.exp() * (now - before)).sum(-1).mean()
        return {"queries": float(self.queries), "moved": float(moved)}
