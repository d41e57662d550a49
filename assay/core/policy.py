"""What can be sampled and trained: Sampler, Policy, and what some policies can do besides.

A recipe asks for a capability by `require(policy, Decodes, "its name")`; a policy that lacks it has
no method that raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.core.rng import Rng
from assay.core.samples import Prompts, Samples
from assay.errors import InputError

C = TypeVar("C")


@runtime_checkable
class Sampler(Protocol):
    """Draws completions.

    A Sampler that knows its divergence also has `kl(reference, samples) → [B,N]` and `kl_kind`, see
    Policy. It may have `cost = {"generated": …, "scored": …}`: what one returned completion costs
    (1 and 0 where it is absent).
    """

    def sample(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> Samples:
        """Draw completions.

        Args:
            prompts: B prompts.
            n: Completions a prompt, one number or `[B]`.
            rng: The address of the draws: a completion is a function of it and of its place.
            start: Completions to continue, N a prompt or one that all continue.

        Returns:
            The completions, with their log-probabilities under this sampler.
        """
        ...


@runtime_checkable
class Policy(Sampler, Protocol):
    """A Sampler with probabilities and parameters: all that a plain recipe needs.

    Temperature and truncation belong to the policy, in `sample` and `logp` alike.

    Attributes:
        kl_kind: "exact", "sampled" or "upper", see `kl`.
    """

    kl_kind: str

    def logp(self, samples: Samples) -> Float[Tensor, "B N T"]:
        """Compute log π(action_t | what came before), differentiable.

        Args:
            samples: Completions of any policy.

        Returns:
            0 where `samples.mask` is False.
        """
        ...

    def kl(self, reference: Policy, samples: Samples) -> Float[Tensor, "B N"]:
        """Estimate KL(π‖reference) of whole completions in nats, without gradient.

        The mean over the policy's own samples is the sequence KL. The kind says how it is known:
        "sampled": the full distributions' KL summed over a completion's own decisions, so never
        negative; "exact": the true value, the same for all of a prompt's completions; "upper": a
        bound.

        Args:
            reference: A policy over the same actions.
            samples: The policy's own completions.
        """
        ...

    def copy(self) -> Policy:
        """Make a trainable copy. The reference itself does not require a gradient."""
        ...

    def parameters(self) -> Iterator[Tensor]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> Any: ...


@runtime_checkable
class Decoding(Protocol):
    """Completions in the making, one decision at a time: the state of token-by-token decoding.

    A completion that is absent or complete ignores what it is given.
    """

    @property
    def open(self) -> Bool[Tensor, "B N"]:
        """Completions that are wanted and have a decision left."""
        ...

    def next_logprobs(self) -> Float[Tensor, "B N V"]:
        """Compute the log-probabilities of the next decision."""
        ...

    def draw(self) -> Int[Tensor, "B N"]:
        """Draw the actions that `sample` would take next, without taking them."""
        ...

    def append(self, tokens: Int[Tensor, "B N"]) -> None:
        """Add one decision of the policy's own to each open completion."""
        ...

    def force(self, tokens: Int[Tensor, "B N"]) -> None:
        """Add one action that is not the policy's choice to each open completion."""
        ...

    def select(self, index: Int[Tensor, "B K"]) -> None:
        """Continue K of each prompt's completions, by their place in N; addresses follow the new
        places.
        """
        ...

    def samples(self) -> Samples:
        """Return the completions so far."""
        ...


@runtime_checkable
class Decodes(Protocol):
    """Can decode token by token."""

    def decoding(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> Decoding:
        """Begin completions. Appending every `draw()` until none is open gives `sample`.

        Args:
            prompts: B prompts.
            n: Completions a prompt, one number or `[B]`.
            rng: The address of the draws, as in Sampler.sample.
            start: Completions to continue, N a prompt or one that all continue.

        Returns:
            The completions in the making, with what `start` holds.
        """
        ...


@runtime_checkable
class HasValueHead(Protocol):
    """Can put a head on a copy of its backbone: critics, process rewards, reward models."""

    def value_head(self, k: int, rng: Rng) -> torch.nn.Module:
        """Make a fresh head of k outputs on a copy of the backbone.

        Returns:
            A module: `module(samples) → [B,N,T+1,k]`, entry t before decision t.
        """
        ...


Shown = Literal["last", "layers", "activations"]


class Compared(NamedTuple):
    """A policy beside its reference, decision by decision.

    Attributes:
        logp: log π of each decision, differentiable.
        reference_logp: log π₀ of each decision.
        kl: KL(π₀‖π) of the whole distribution at each decision, differentiable; 0 where there is
            none.
        states: What the reference shows before each decision, each `[B,N,T,W]` with a width of its
            own: its last hidden state, the state after each layer, or the means over the width of
            its activations, one tensor a kind.
        own_kl: KL(π‖π₀) of the whole distribution at each decision, differentiable; 0 where there
            is none.
    """

    logp: Float[Tensor, "B N T"]
    reference_logp: Float[Tensor, "B N T"]
    kl: Float[Tensor, "B N T"]
    states: tuple[Tensor, ...]
    own_kl: Float[Tensor, "B N T"]


@runtime_checkable
class ComparesTokens(Protocol):
    """Can compare whole distributions token by token, and show what a decision is made from."""

    def compared(self, reference: Policy, samples: Samples, show: Shown = "last") -> Compared:
        """Compute log-probabilities, both KLs and the reference's states in one pass.

        Args:
            reference: A policy of the same kind; nothing of it has a gradient.
            samples: Completions of any policy.
            show: What is shown of the reference: "last", "layers" or "activations".

        Raises:
            InputError: The reference is of another kind, or a distribution is truncated.
        """
        ...


@runtime_checkable
class EncodesText(Protocol):
    """Can read people's text."""

    def encode(self, prompts: list[str], texts: list[list[str]]) -> Samples:
        """Turn text into Samples, every completion ended, `logp` NaN."""
        ...


@runtime_checkable
class EstimatesMemory(Protocol):
    """Can say what a training pass saves, so that a pass is bounded by memory.

    Attributes:
        max_tokens: Tokens of the longest completion.
    """

    max_tokens: int

    def saved_bytes(self, tokens: int) -> int:
        """Count what a row of so many tokens saves for the backward pass, in bytes."""
        ...


class Steps(NamedTuple):
    """Gaussian steps of paths from noise to data.

    Attributes:
        before: State before each step.
        mean: μ of each step, differentiable.
        std: s of each step.
        times: Time of each step's beginning and of the end; 1 is noise, 0 data.
    """

    before: Float[Tensor, "B N T D"]
    mean: Float[Tensor, "B N T D"]
    std: Float[Tensor, "T"]
    times: Float[Tensor, "T1"]


@runtime_checkable
class DrawsBySteps(Protocol):
    """Draws by Gaussian steps: flows and diffusions. `logp` is a sum or mean over coordinates."""

    reduction: str

    def gaussian_steps(self, samples: Samples) -> Steps:
        """Compute the steps that led from state to state, all in one pass."""
        ...

    def step_kl(self, reference: Policy, samples: Samples) -> Float[Tensor, "B N T"]:
        """Compute KL(π‖reference) of each own step in nats, differentiable in this policy alone."""
        ...

    def predicted(self, samples: Samples) -> Float[Tensor, "B N T D"]:
        """Compute the data expected before each step, differentiable."""
        ...


_NEEDS: dict[type, str] = {
    Decodes: "decodes token by token (`decoding`)",
    HasValueHead: "has a value head (`value_head`)",
    DrawsBySteps: "draws by Gaussian steps (`gaussian_steps`)",
    ComparesTokens: "compares whole distributions token by token (`compared`)",
    EncodesText: "encodes text (`encode`)",
    EstimatesMemory: "estimates its memory (`saved_bytes`)",
}


def require(policy: Any, capability: type[C], by: str) -> C:
    """Return the policy, if it has a capability.

    Args:
        policy: Any policy.
        capability: One of the protocols of this module.
        by: Who needs it, for the message: a recipe's name.

    Raises:
        InputError: The policy lacks the capability.

    Example:
        `require(policy, EncodesText, "spark")`, before `policy.encode` is called.
    """
    if not isinstance(policy, capability):
        raise InputError(
            f"{by} needs a policy that {_NEEDS[capability]}, and a {type(policy).__name__} does "
            "not; use another recipe or another model"
        )
    return policy
