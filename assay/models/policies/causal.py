"""A language model as a Policy: a causal backbone, a vocabulary, and sampling parameters."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from assay.core import Policy, Prompts, Rng, Samples
from assay.engine import passes, progress
from assay.engine.parallel import by_rows, sampling
from assay.errors import InputError
from assay.formulas.token_logps import LogitTransform
from assay.models.backbones.backbone import checked, like, read, tokens_read
from assay.models.backbones.copies import trainable_copy
from assay.models.backbones.in_step import let_go, uneven_passes
from assay.models.backbones.matmul import roomy
from assay.models.policies.saved import saved_bytes
from assay.models.policies.token_kl import sample_and_kl, token_kl
from assay.models.policies.token_terms import compared
from assay.models.policies.value_head import ValueHead
from assay.models.samplers.categorical import truncated
from assay.models.samplers.decoding import CausalDecoding
from assay.models.tokenizer import Tokens
from assay.models.vocabulary import Vocabulary

_CHUNK = 1 << 24  # logits held at once: 64 MiB in float32
# Tokens of a pass without gradient: a layer's intermediate results take about 100 bytes a token and
# unit of width, and are kept to 1 GiB; no fewer than what fills a device.
_PASS, _TOKEN_BYTES, _LEAST = 1 << 30, 100, 1 << 14


class Causal(nn.Module):
    """π(token | what came before) = softmax(logits / temperature), cut to `top_k` and `top_p`.

    In `sample` and `logp` alike. What the vocabulary bars (padding, the begin token) has
    probability 0, and so has an end token before `min_tokens`; a completion of `max_tokens` is
    truncated, not ended. `kl` is infinite where the reference cuts off what this policy may
    generate.

    Args:
        backbone: A Backbone.
        vocabulary: Of the same tokens.
        temperature: Above 0.
        top_k: The likeliest tokens to keep; 0 for all.
        top_p: The probability to keep, in (0, 1].
        max_tokens: Tokens of a completion, at most.
        min_tokens: Tokens before a completion may end.

    Raises:
        InputError: A parameter is out of its range.
    """

    kl_kind = "sampled"

    def __init__(
        self,
        backbone: nn.Module,
        vocabulary: Vocabulary | Tokens,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        max_tokens: int = 64,
        min_tokens: int = 0,
    ):
        super().__init__()
        for name, value, right in (
            ("temperature", temperature, temperature > 0),
            ("top_k", top_k, top_k >= 0),
            ("top_p", top_p, 0 < top_p <= 1),
            ("max_tokens", max_tokens, max_tokens >= 1),
            ("min_tokens", min_tokens, 0 <= min_tokens <= max_tokens),
        ):
            if not right:
                raise InputError(
                    f"{name} is {value}; a temperature is above 0, top_k at least 0, 0 < top_p ≤ "
                    "1, and 0 ≤ min_tokens ≤ max_tokens, which is at least 1"
                )
        self.backbone: Any = backbone
        self.vocabulary = vocabulary
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        self.max_tokens, self.min_tokens = max_tokens, min_tokens
        self.keeps_states = False

    def copy(self, **changed: Any) -> Causal:
        """Make a trainable copy that shares no storage.

        Args:
            changed: Other sampling parameters (temperature=…, top_p=…).
        """
        mine = {
            k: getattr(self, k)
            for k in ("temperature", "top_k", "top_p", "max_tokens", "min_tokens")
        }
        return Causal(
            trainable_copy(self.backbone), self.vocabulary, **{**mine, **changed}
        ).requires_grad_(True)

    @property
    def like(self) -> Tensor:
        """A tensor of the dtype and on the device of what is computed."""
        return like(self.backbone)

    def frozen(self) -> Causal:
        """Return this policy, no longer trainable: a reference."""
        return self.requires_grad_(False)

    # ---- the distribution

    def log_probs(
        self, hidden: Float[Tensor, "n W"], place: Int[Tensor, "n"]
    ) -> Float[Tensor, "n V"]:
        """Compute log π of every token.

        Args:
            hidden: The hidden states that the tokens follow.
            place: Tokens of the completion that came before.
        """
        logits = self.backbone.logits(hidden)
        barred = _bars(self.vocabulary.barred, logits.shape[-1], logits.device)
        if self.min_tokens:
            end = _bars(self.vocabulary.ends, logits.shape[-1], logits.device)
            barred = barred | (end & (place < self.min_tokens)[:, None])
        return truncated(
            logits.masked_fill(barred, -torch.inf),
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
        )

    def states(self, samples: Samples, size: int = 0) -> tuple[Tensor, Tensor]:
        """Return the hidden state that each own decision follows `[n,W]`, and the decision's place
        `[n]`.

        Args:
            samples: The completions.
            size: Above n, rows of padding are appended up to it.
        """
        hidden, before = read(self.backbone, samples, tokens_read(samples))
        at, place = before[..., :-1][samples.mask], samples.mask.nonzero()[:, 2]
        more = (0, max(0, size - len(at)))
        return hidden.index_select(0, F.pad(at, more)), F.pad(place, more)

    def pieces(self, n: int) -> Iterator[slice]:
        """Divide n decisions so that few logits are held at once."""
        step = max(1, _CHUNK // len(self.vocabulary))
        return (slice(i, i + step) for i in range(0, n, step))

    def logp(self, samples: Samples) -> Float[Tensor, "B N T"]:
        """Compute log π(action_t | what came before), see Policy."""
        return self._in_passes(self._logp, samples, "log-probabilities")

    def _in_passes(
        self, compute: Callable[[Samples], Tensor], samples: Samples, what: str
    ) -> Tensor:
        """Compute something of each completion `[B,N,…]`, without gradient in bounded passes."""
        if torch.is_grad_enabled():
            return compute(samples)
        T, P = samples.mask.shape[2], samples.prompts.mask.shape[1]
        size = max(1, max(_LEAST, _PASS // (_TOKEN_BYTES * self.backbone.width)) // (P + T))
        out = passes.in_passes(compute, samples, size, what)
        let_go(self.backbone)
        return out

    def _logp(self, samples: Samples) -> Float[Tensor, "B N T"]:
        taken = samples.action[samples.mask]
        n = len(taken)
        hidden, place = self.states(samples, roomy(n))
        taken = F.pad(taken, (0, len(place) - n))[:, None]

        def piece(hidden: Tensor, place: Tensor, taken: Tensor) -> Tensor:
            return self.log_probs(hidden, place).gather(1, taken)[:, 0]

        def again(*given: Tensor) -> Tensor:  # computed again in the backward pass, not held
            return checkpoint(piece, *given, use_reentrant=False, preserve_rng_state=False)

        pieces, each = list(self.pieces(len(taken))), None
        if not self.top_k and self.top_p == 1 and hasattr(self.backbone, "token_logps"):
            own = self.vocabulary
            transform = LogitTransform(
                temperature=self.temperature, suppressed=own.barred, suppressed_early=own.ends
            )
            each = self.backbone.token_logps(
                hidden, taken[:, 0], transform, place < self.min_tokens
            )
        if each is None and len(pieces) > 1:
            each = torch.cat([again(hidden[s], place[s], taken[s]) for s in pieces])
        elif each is None:
            each = piece(hidden, place, taken)
        return hidden.new_zeros(samples.mask.shape).masked_scatter(samples.mask, each[:n])

    @torch.no_grad()
    def kl(self, reference: Policy, samples: Samples) -> Float[Tensor, "B N"]:
        """Compute Σ_t KL(π(·|y_<t) ‖ reference(·|y_<t)) over own decisions, in nats.

        Raises:
            InputError: The reference is no language model over the same vocabulary.
        """
        if not isinstance(reference, Causal) or reference.vocabulary != self.vocabulary:
            raise InputError(
                f"KL to a {type(reference).__name__} cannot be read off token by token: it is no "
                "language model over the same vocabulary"
            )
        if reference is self:
            return samples.logp.new_zeros(samples.mask.shape[:2])
        each = functools.partial(token_kl, self, reference)
        return by_rows(lambda rows: self._in_passes(each, rows, "KL to the reference"), samples)

    def sample_and_kl(
        self, reference: Policy, prompts: Prompts, n: int, rng: Rng
    ) -> tuple[Samples, Float[Tensor, "B N"]]:
        """Draw completions, and compute `kl` of each; see `token_kl.sample_and_kl`."""
        return sample_and_kl(self, reference, prompts, n, rng)

    # ---- drawing

    @sampling
    def sample(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> Samples:
        """Draw each token by the inverse distribution function at u(row, completion, place).

        See Sampler.sample. With `n [B]`, completions beyond n[b] are absent. What `start` holds is
        kept as it is; what ended stays ended.
        """
        many = int(n.sum()) if isinstance(n, Tensor) else n * len(prompts)
        what = f"generating {many:,} completions"
        with (
            progress.stage(what, self.max_tokens, "tokens") as going,
            uneven_passes(self.backbone, gather=True),
        ):
            state = self.decoding(prompts, n, rng, start)
            while state.step():
                going.advance()
            going.at(self.max_tokens)  # all have ended, if sooner than they might
            return state.samples()

    def decoding(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> CausalDecoding:
        """Begin completions.

        See Decodes.decoding.
        """
        return CausalDecoding(self, checked(prompts), n, rng, start)

    # ---- capabilities

    compared = compared  # see ComparesTokens

    def value_head(self, k: int, rng: Rng) -> ValueHead:
        """Put a fresh head on a copy of the backbone, see HasValueHead."""
        return ValueHead(trainable_copy(self.backbone).requires_grad_(True), k, rng)

    def encode(self, prompts: list[str], texts: list[list[str]]) -> Samples:
        """Turn text into Samples, see EncodesText."""
        return self.vocabulary.completions(self.vocabulary.prompts(prompts), texts, self.like.dtype)

    saved_bytes = saved_bytes  # see EstimatesMemory


@functools.lru_cache(maxsize=16)
def _bars(tokens: tuple[int, ...], V: int, device: torch.device) -> Bool[Tensor, "V"]:
    """Return a mask that is True at these tokens.

    It is cached, since every step of every completion asks for the same: never write into it.
    """
    with torch.inference_mode(False):  # what is kept must serve in every mode
        out = torch.zeros(V, dtype=torch.bool)
        out[list(tokens)] = True
        return out.to(device)
