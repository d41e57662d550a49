"""A policy that draws points or pictures by the stochastic steps of a flow or a diffusion.

A completion is a path from noise to data: its decisions are the states that its T steps lead to,
`action [B,N,T,D]`, the last of them the data; `extra["noise"] [B,N,D]` is where it began. Each step
is a Gaussian around a mean that the velocity gives, so that it has a log-probability, and noise is
added at the last step too, so that the KL of paths is finite. That KL is an upper bound on the KL
of the data.

The prompt is a condition, one token.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.core import Policy, Prompts, Samples
from assay.core.policy import Steps
from assay.core.rng import Rng
from assay.engine.parallel import sampling
from assay.errors import InputError
from assay.formulas.flow import gaussian_kl, gaussian_logp
from assay.models.backbones.velocity import ConditionedNetwork
from assay.models.policies.step_schemes import Scheme

NOISE = "noise"  # where a path began, `[B,N,D]` in `extra`


def data_of(samples: Samples) -> Float[Tensor, "B N D"]:
    """The data that paths end in: the last state that is theirs or given.

    Args:
        samples: Completions of a flow.
    """
    last = (samples.mask | samples.given).sum(-1).clamp(min=1) - 1
    index = last[..., None, None].expand(*last.shape, 1, samples.action.shape[-1])
    return samples.action.gather(2, index)[:, :, 0]


class FlowPolicy(nn.Module):
    """Draws by T Gaussian steps.

    Args:
        velocity: `velocity(x [M,D], t [M], condition [M]) → [M,D]`.
        scheme: The steps.
        dim: D.
        conditions: C: how many prompts there are.
        reduction: What a step's log-probability is, sum or mean over the coordinates; only the sum
            is one.
        decode: Words for prompts and completions.

    Raises:
        InputError: `reduction` is neither.
    """

    kl_kind = "upper"

    def __init__(
        self,
        velocity: nn.Module,
        scheme: Scheme,
        *,
        dim: int,
        conditions: int,
        reduction: str = "sum",
        decode: Callable[[list[Any]], str] | None = None,
    ):
        super().__init__()
        if reduction not in ("sum", "mean"):
            raise InputError(f"reduction is '{reduction}'; it is sum or mean")
        self.velocity, self.scheme, self.reduction = velocity, scheme, reduction
        self.dim, self.conditions, self.decode = dim, conditions, decode
        # the last rows that were scored, and their log-probabilities, which carry the pass
        self._last: tuple[Any, Any, tuple[int, ...]] | None = None

    def copy(self) -> FlowPolicy:
        """Make a trainable copy."""
        return self.with_velocity(copy.deepcopy(self.velocity)).requires_grad_(True)

    def with_velocity(self, velocity: nn.Module) -> FlowPolicy:
        """The same sampler of another velocity."""
        return FlowPolicy(
            velocity,
            self.scheme,
            dim=self.dim,
            conditions=self.conditions,
            reduction=self.reduction,
            decode=self.decode,
        )

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights, and of all that it draws."""
        return next(self.parameters()).dtype

    @property
    def steps(self) -> int:
        """T, decisions of a completion."""
        return len(self.scheme.std)

    def prompts(self, conditions: Tensor) -> Prompts:
        """Return prompts of these conditions `[B]`, one token each."""
        tokens = conditions[:, None]
        mask = torch.ones_like(tokens, dtype=torch.bool)
        return Prompts(tokens=tokens, mask=mask, row=conditions, decode=self.decode)

    # ---- drawing

    @sampling
    def sample(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> Samples:
        """Draw each coordinate of each step at its own normal(row, completion, step, coordinate).

        See Sampler.sample. Paths in `start` go on where they are; paths without a step share their
        first noise.

        Raises:
            InputError: `start` has another shape.
        """
        with torch.no_grad():
            return self._sampled(prompts, n, rng, start)

    def _sampled(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None
    ) -> Samples:
        B, T, D, device = len(prompts), self.steps, self.dim, prompts.row.device
        N = int(n.max()) if isinstance(n, Tensor) else n
        limit = n.to(device)[:, None] if isinstance(n, Tensor) else N
        wanted = (torch.arange(N, device=device) < limit).expand(B, N)
        b, k = torch.arange(B, device=device)[:, None, None], torch.arange(N, device=device)
        d = torch.arange(D, device=device)
        place = b, k[None, :, None]
        x = rng("noise").normal(*place, d, dtype=self.dtype)
        action = x.new_zeros(B, N, T, D)
        mask, given = (torch.zeros(B, N, T, dtype=torch.bool, device=device) for _ in range(2))
        logp = x.new_zeros(B, N, T)
        had = 0
        if start is not None:
            had = start.mask.shape[2]
            if had > T or start.mask.shape[1] not in (1, N):
                raise InputError(
                    f"paths to continue have shape {list(start.mask.shape)}, not [{B}, 1 or {N}, "
                    f"at most {T}]"
                )
            x = start.extra[NOISE].expand(B, N, D).clone()
            here = wanted[:, :, None]
            action[:, :, :had] = start.action
            mask[:, :, :had], given[:, :, :had] = start.mask & here, start.given & here
            logp[:, :, :had] = start.logp
        begun = x
        condition = prompts.tokens[:, -1, None].expand(B, N).reshape(-1)
        std = x.new_tensor(self.scheme.std)
        for step in range(T):
            held = (mask | given)[:, :, step]
            at = torch.full_like(condition, step)
            mean = self.scheme.mean(self.velocity, x.reshape(-1, D), at, condition)
            mean = mean.reshape(B, N, D)
            z = rng("step", step).normal(*place, d, dtype=x.dtype)
            drawn = mean + std[step] * z
            x = torch.where(held[..., None], action[:, :, step], drawn)
            own = wanted & ~held
            action[:, :, step] = torch.where(wanted[..., None], x, x.new_zeros(()))
            mask[:, :, step] |= own
            new = gaussian_logp(drawn, mean, std[step].expand(B, N), reduction=self.reduction)
            logp[:, :, step] = torch.where(own, new, logp[:, :, step])
        logp = torch.where(mask, logp, logp.new_zeros(()))
        return Samples(prompts, action, mask, given, logp, wanted.clone(), extra={NOISE: begun})

    # ---- probabilities

    def gaussian_steps(self, samples: Samples) -> Steps:
        """The steps that led from state to state, all in one pass.

        A loss that was given log-probabilities of its rows asks for their means and KL too: while
        it holds these log-probabilities, the pass that made them serves.
        """
        if self._last is not None:
            action, made, weights = self._last
            held = made()
            if held is not None and action() is samples.action and weights == self._versions():
                found: Steps = held.steps
                return found
        return self._steps(samples)

    def _versions(self) -> tuple[int, ...]:
        """What changes with every update of the weights."""
        return tuple(p._version for p in self.parameters())

    def _steps(self, samples: Samples) -> Steps:
        x = samples.action
        B, N, T, D = x.shape
        before = torch.cat([samples.extra[NOISE][:, :, None], x[:, :, :-1]], 2)
        condition = samples.prompts.tokens[:, -1, None].expand(B, N * T).reshape(-1)
        step = torch.arange(T, device=x.device).expand(B, N, T).reshape(-1)
        mean = self.scheme.mean(self.velocity, before.reshape(-1, D), step, condition)
        std, times = x.new_tensor(self.scheme.std[:T]), x.new_tensor(self.scheme.times[: T + 1])
        return Steps(before, mean.reshape(B, N, T, D), std, times)

    def predicted(self, samples: Samples) -> Float[Tensor, "B N T D"]:
        """x̂₀, the data expected before each step; differentiable."""
        x = samples.action
        B, N, T, D = x.shape
        before = torch.cat([samples.extra[NOISE][:, :, None], x[:, :, :-1]], 2)
        condition = samples.prompts.tokens[:, -1, None].expand(B, N * T).reshape(-1)
        step = torch.arange(T, device=x.device).expand(B, N, T).reshape(-1)
        found = self.scheme.predicted(self.velocity, before.reshape(-1, D), step, condition)
        return found.reshape(B, N, T, D)

    def logp(self, samples: Samples) -> Float[Tensor, "B N T"]:
        """Compute the log-density of each own step, see Policy; sum or mean over coordinates."""
        s = self._steps(samples)
        each = gaussian_logp(
            samples.action, s.mean, s.std.expand(samples.mask.shape), reduction=self.reduction
        )
        logp = torch.where(samples.mask, each, each.new_zeros(()))
        if torch.is_grad_enabled():
            logp.steps = s  # type: ignore[attr-defined]  # and goes with it
            self._last = (weakref.ref(samples.action), weakref.ref(logp), self._versions())
        return logp

    def step_kl(self, reference: Policy, samples: Samples) -> Float[Tensor, "B N T"]:
        """Compute KL(π‖reference) of each own step in nats, differentiable in this policy alone.

        Raises:
            InputError: The reference is another sampler.
        """
        self._check(reference)
        mine = self.gaussian_steps(samples)
        with torch.no_grad():
            theirs = reference.gaussian_steps(samples)  # type: ignore[attr-defined]
        each = gaussian_kl(mine.mean, theirs.mean, mine.std.expand(samples.mask.shape))
        return torch.where(samples.mask, each, each.new_zeros(()))

    @torch.no_grad()
    def kl(self, reference: Policy, samples: Samples) -> Float[Tensor, "B N"]:
        """Compute the KL of whole paths, an upper bound on that of the data, see Policy."""
        return self.step_kl(reference, samples).sum(-1)

    def _check(self, reference: Policy) -> None:
        if not isinstance(reference, FlowPolicy) or reference.scheme != self.scheme:
            raise InputError(
                "the KL of paths is between two policies that take the same steps with the same "
                f"noise; the reference is a {type(reference).__name__}"
            )

    def value_head(self, k: int, rng: Rng) -> FlowValueHead:
        """Make a fresh network of k outputs on states and times, see HasValueHead."""
        return FlowValueHead(self, k, rng)


class FlowValueHead(nn.Module):
    """k values of each state of a path, entry t before step t.

    Args:
        policy: Whose paths it reads.
        k: Outputs.
        rng: Address of the weights.
        width: Of the hidden layers.
    """

    def __init__(self, policy: FlowPolicy, k: int, rng: Rng, width: int = 64):
        super().__init__()
        self.times = policy.scheme.times
        self.network = ConditionedNetwork(policy.dim, policy.conditions, width, k, rng).to(
            policy.dtype
        )

    def forward(self, samples: Samples) -> Float[Tensor, "B N T1 k"]:
        x = torch.cat([samples.extra[NOISE][:, :, None], samples.action], 2)
        B, N, T1, D = x.shape
        t = x.new_tensor(self.times[:T1]).expand(B, N, T1)
        condition = samples.prompts.tokens[:, -1, None].expand(B, N * T1).reshape(-1)
        flat = self.network(x.reshape(-1, D), t.reshape(-1), condition)
        return flat.reshape(B, N, T1, -1)
