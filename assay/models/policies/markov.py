"""A policy in a small Markov decision process: one softmax row a state.

A completion is an episode: its decisions are actions, `extra["state"] [B,N,T+1]` are the states it
passed through, and its prompt is the state it starts in. What the world does is drawn from
addresses too, so an episode is a function of its place. Transition probabilities cancel from every
ratio of policies, so KL is exact by enumeration.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from assay.core import Policy, Prompts, Samples
from assay.core.rng import Rng
from assay.engine.parallel import sampling
from assay.errors import InputError
from assay.formulas.divergence import kl_full
from assay.formulas.occupancy import occupancy, state_laws
from assay.models.process import Process, states
from assay.models.samplers.markov_decoding import MarkovDecoding


class MarkovPolicy(nn.Module):
    """π(a|s) = softmax(logits[s])_a.

    Args:
        logits: Of every action in every state.
        process: What the policy acts in.

    Raises:
        InputError: The logits do not fit the process.
    """

    kl_kind = "exact"

    def __init__(self, logits: Float[Tensor, "S A"], process: Process):
        super().__init__()
        if logits.shape != process.P.shape[:2]:
            raise InputError(
                f"logits of shape {list(logits.shape)} do not fit {process.P.shape[0]} states and "
                f"{process.P.shape[1]} actions"
            )
        self.logits = nn.Parameter(logits.detach().clone())
        self.process = process

    def copy(self) -> MarkovPolicy:
        """Make a trainable copy."""
        return MarkovPolicy(self.logits, self.process)

    def probs(self) -> Float[Tensor, "S A"]:
        """Return π in float64, differentiable."""
        return self.logits.double().softmax(-1)

    def occupancy(self) -> Float[Tensor, "S A"]:
        """Compute the exact occupancy μ from the process's own starts, differentiable.

        Discounted as the process's return is.
        """
        p = self.process
        return occupancy(self.probs(), p.P, p.start, horizon=p.horizon, gamma=p.gamma)

    @sampling
    def sample(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> Samples:
        """Draw actions and the world's moves by inverse distribution functions.

        See Sampler.sample. Each is drawn at its own u(row, completion, decision).
        """
        with torch.no_grad():
            state = self.decoding(prompts, n, rng, start)
            while bool(state.open.any()):
                state.append(state.draw())
            return state.samples()

    def decoding(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> MarkovDecoding:
        """Begin episodes.

        See Decodes.decoding.
        """
        table = self.logits.detach().log_softmax(-1)
        return MarkovDecoding(table, self.process, prompts, n, rng, start)

    def logp(self, samples: Samples) -> Float[Tensor, "B N T"]:
        """Compute log π(a_t|s_t), see Policy."""
        each = self.logits.log_softmax(-1)[states(samples)[..., :-1], samples.action]
        return torch.where(samples.mask, each, each.new_zeros(()))

    @torch.no_grad()
    def kl(self, reference: Policy, samples: Samples) -> Float[Tensor, "B N"]:
        """Compute the exact KL of whole episodes from each prompt's state, in nats.

        Σ_t E[KL(π(·|s_t)‖π₀(·|s_t))] until they end.

        Raises:
            InputError: The reference is no Markov policy.
        """
        if not isinstance(reference, MarkovPolicy):
            raise InputError(
                "the exact KL of a Markov policy is to another one, not to a "
                f"{type(reference).__name__}"
            )
        return (
            self.kl_from(reference, self.process.first(samples.prompts))[:, None]
            .expand(samples.mask.shape[:2])
            .clone()
        )

    def kl_from(self, reference: MarkovPolicy, first: Int[Tensor, "B"]) -> Float[Tensor, "B"]:
        """Compute the KL of an episode that begins in these states, differentiable."""
        p = self.process
        each = kl_full(self.logits.double(), reference.logits.double())
        each = torch.where(p.terminal, each.new_zeros(()), each)
        laws = state_laws(
            self.probs(),
            p.P,
            torch.eye(len(p.states), dtype=torch.float64)[first],
            horizon=p.horizon,
        )
        return (laws[:-1].sum(0) @ each).to(self.logits.dtype)

    def value_head(self, k: int, rng: Rng) -> MarkovValueHead:
        """Make a fresh value of state and time, see HasValueHead."""
        return MarkovValueHead(k, self.process, rng, self.logits.dtype)


def acting(policy: Policy) -> MarkovPolicy:
    """Return the policy, if it acts in a decision process.

    Raises:
        InputError: It does not.
    """
    if not isinstance(policy, MarkovPolicy):
        raise InputError(
            "this needs a decision process, such as --world table --world.testbed tomato, and "
            f"the policy is a {type(policy).__name__}"
        )
    return policy


class MarkovValueHead(nn.Module):
    """v_t = weight[s_t] + bias[t], k outputs, entry t before decision t."""

    def __init__(self, k: int, process: Process, rng: Rng, dtype: torch.dtype):
        super().__init__()
        s, t, j = (
            torch.arange(len(process.states)),
            torch.arange(process.horizon + 1),
            torch.arange(k),
        )
        self.weight = nn.Parameter(0.01 * rng("weight").normal(s[:, None], j, dtype=dtype))
        self.bias = nn.Parameter(0.01 * rng("bias").normal(t[:, None], j, dtype=dtype))

    def forward(self, samples: Samples) -> Float[Tensor, "B N T1 k"]:
        at = states(samples)
        return self.weight[at] + self.bias[: at.shape[2]]
