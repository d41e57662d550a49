"""A language model as a Policy: a causal backbone, a vocabulary, and the law by which its answers
are drawn and scored.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from assay.core import Policy, Prompts, Samples
from assay.core.rng import Rng
from assay.engine.parallel import sampling
from assay.errors import InputError
from assay.formulas.chosen import Law
from assay.models.backbones.matmul import roomy
from assay.models.samplers.categorical import truncated
from assay.models.samplers.decoding import Walk
from assay.models.tokenizer import Tokens
from assay.models.vocabulary import Vocabulary

_CHUNK = 1 << 24  # logits held at once: 64 MiB in float32


@runtime_checkable
class Backbone(Protocol):
    """What a Causal asks of its model, an nn.Module: four calls and the width of its hidden states.
    Llama is one.
    """

    width: int

    def reading(
        self, prompt: Tensor, prompt_keep: Tensor, answer: Tensor, keep: Tensor
    ) -> tuple[Tensor, Tensor]: ...
    def prefill(
        self, prompt: Tensor, keep: Tensor, owner: Tensor, room: int
    ) -> tuple[Tensor, Any]: ...
    def extend(self, cache: Any, tokens: Tensor, keep: Tensor) -> Tensor: ...
    def logits(self, hidden: Tensor) -> Tensor: ...


class Causal(nn.Module):
    """π(token | what came before) = softmax(logits / temperature), cut to `top_k` and `top_p`, in
    sample and logp alike.

    What the vocabulary bars (padding, the begin token) is never drawn, nor an end token before
    `min_tokens`; an answer of `max_tokens` is truncated, not ended. `kl` is infinite where the
    reference cuts off what this policy may say.
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

    def copy(self, **changed: Any) -> Causal:
        """A trainable copy that shares no storage; `changed`: other settings (temperature=…,
        top_p=…).
        """
        mine = {
            k: getattr(self, k)
            for k in ("temperature", "top_k", "top_p", "max_tokens", "min_tokens")
        }
        return Causal(_twin(self.backbone), self.vocabulary, **{**mine, **changed}).requires_grad_(
            True
        )

    @property
    def like(self) -> Tensor:
        """A weight: the dtype and the device of what is computed."""
        return _like(self.backbone)

    def frozen(self) -> Causal:
        """This policy, no longer trainable: a reference."""
        return self.requires_grad_(False)

    def encode(self, prompts: list[str], texts: list[list[str]]) -> Samples:
        """People's text as Samples, every answer ended, `logp` NaN."""
        return self.vocabulary.answers(self.vocabulary.prompts(prompts), texts, self.like.dtype)

    # ---- the distribution

    def log_probs(
        self, hidden: Float[Tensor, "n W"], place: Int[Tensor, "n"]
    ) -> Float[Tensor, "n V"]:
        """log π of every token after these hidden states; `place`: tokens of the answer that came
        before.
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

    def _before(self, samples: Samples, size: int = 0) -> tuple[Tensor, Tensor]:
        """The hidden state that each own decision follows `[n,W]`, and the decision's place `[n]`;
        a `size` above n appends rows that mean nothing.
        """
        later = samples.mask.flip(-1).cummax(-1).values.flip(-1).roll(-1, -1)
        later[..., -1] = False  # what follows the last own decision has no say
        hidden, before = _reading(self.backbone, samples, (samples.mask | samples.given) & later)
        at, place = before[..., :-1][samples.mask], samples.mask.nonzero()[:, 2]
        more = (0, max(0, size - len(at)))
        return hidden.index_select(0, F.pad(at, more)), F.pad(place, more)

    def _pieces(self, n: int) -> Iterator[slice]:
        step = max(1, _CHUNK // len(self.vocabulary))
        return (slice(i, i + step) for i in range(0, n, step))

    def logp(self, samples: Samples) -> Float[Tensor, "B N T"]:
        """log π(action_t | what came before), differentiable, 0 where `samples.mask` is False."""
        taken = samples.action[samples.mask]
        n = len(taken)
        hidden, place = self._before(samples, roomy(n))
        taken = F.pad(taken, (0, len(place) - n))[:, None]

        def piece(hidden: Tensor, place: Tensor, taken: Tensor) -> Tensor:
            return self.log_probs(hidden, place).gather(1, taken)[:, 0]

        pieces, each = list(self._pieces(len(taken))), None
        if (
            not self.top_k and self.top_p == 1 and hasattr(self.backbone, "chosen")
        ):  # None where its head is of no known kind
            law = Law(
                temperature=self.temperature,
                barred=self.vocabulary.barred,
                late=self.vocabulary.ends,
            )
            each = self.backbone.chosen(hidden, taken[:, 0], law, place < self.min_tokens)
        if (
            each is None and len(pieces) > 1
        ):  # log-probabilities that are many are computed again in the backward pass, not held
            each = torch.cat(
                [
                    checkpoint(
                        piece,
                        hidden[s],
                        place[s],
                        taken[s],
                        use_reentrant=False,
                        preserve_rng_state=False,
                    )
                    for s in pieces
                ]
            )
        elif each is None:
            each = piece(hidden, place, taken)
        return hidden.new_zeros(samples.mask.shape).masked_scatter(samples.mask, each[:n])

    @torch.no_grad()
    def kl(self, reference: Policy, samples: Samples) -> Float[Tensor, "B N"]:
        """Σ_t KL(π(·|y_<t) ‖ reference(·|y_<t)) over an answer's own decisions, in nats: never
        negative.
        """
        if not isinstance(reference, Causal) or reference.vocabulary != self.vocabulary:
            raise InputError(
                f"KL to a {type(reference).__name__} cannot be read off token by token: it is no "
                "language model over the same vocabulary"
            )
        (mine, place), (theirs, _) = self._before(samples), reference._before(samples)
        each = [
            torch.where(p > -torch.inf, p.exp() * (p - q), 0.0).sum(-1).clamp(min=0)
            for p, q in (
                (self.log_probs(mine[s], place[s]), reference.log_probs(theirs[s], place[s]))
                for s in self._pieces(len(place))
            )
        ]
        out = mine.new_zeros(samples.mask.shape)
        return (out.masked_scatter(samples.mask, torch.cat(each)) if each else out).sum(-1)

    # ---- drawing

    @sampling
    def sample(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> Samples:
        """n answers a prompt, each token by the inverse distribution function at u(row, answer,
        place).

        `n [B]`: answers beyond n[b] are absent. `start` (N answers, or one that all go on from):
        what they hold is kept as it is; those that ended stay ended.
        """
        walk = self.walk(prompts, n, rng, start)
        while walk.step():
            pass
        return walk.samples()

    def walk(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> Walk:
        """Answers in the making; taking `draw()` until none is open gives `sample`."""
        return Walk(self, _checked(prompts), n, rng, start)

    # ---- scores

    def scorer(self, k: int, rng: Rng) -> Scorer:
        """k values before each decision and after the last, on a copy of the backbone."""
        return Scorer(_twin(self.backbone).requires_grad_(True), k, rng)


class Scorer(nn.Module):
    """A linear head on a backbone: module(samples) → `[B,N,T+1,k]`. Entry t has read what came
    before decision t (0: the prompt, T: all); entries after an answer's end repeat its last one,
    for the reader to mask.
    """

    def __init__(self, backbone: Any, k: int, rng: Rng):
        super().__init__()
        self.backbone: Any = backbone
        like = _like(backbone)
        j, w = torch.arange(k)[:, None], torch.arange(backbone.width)
        self.weight = nn.Parameter(
            (rng("head").normal(j, w) / (backbone.width + 1) ** 0.5).to(like)
        )
        self.bias = nn.Parameter(like.new_zeros(k))

    def forward(self, samples: Samples) -> Float[Tensor, "B N T1 k"]:
        hidden, before = _reading(self.backbone, samples, samples.mask | samples.given)
        return F.embedding(before, F.linear(hidden, self.weight, self.bias))


@functools.lru_cache(maxsize=16)
def _bars(tokens: tuple[int, ...], V: int, device: torch.device) -> Bool[Tensor, "V"]:
    """True at these tokens. Kept: every step of every answer asks for the same. Nobody writes into
    it.
    """
    with torch.inference_mode(False):  # what is kept must serve in every mode
        out = torch.zeros(V, dtype=torch.bool)
        out[list(tokens)] = True
        return out.to(device)


def _twin(backbone: Any) -> Any:
    """A backbone of the same function that can be trained by itself: a copy, or an adapter more on
    a shared base.
    """
    return backbone.twin() if hasattr(backbone, "twin") else copy.deepcopy(backbone)


def _like(backbone: Any) -> Tensor:
    """A weight, for its dtype and device. A base without an adapter has none of its own and says
    whose it computes with.
    """
    like: Tensor = backbone.like if hasattr(backbone, "like") else next(backbone.parameters())
    return like


def _reading(backbone: Any, samples: Samples, keep: Bool[Tensor, "B N T"]) -> tuple[Tensor, Tensor]:
    prompts = _checked(samples.prompts)
    return backbone.reading(prompts.tokens, prompts.mask, samples.action, keep)


def _checked(prompts: Prompts) -> Prompts:
    bad = ~prompts.mask[:, -1]
    if bool(bad.any()):
        raise InputError(
            f"prompt {int(prompts.row[bad][0])} is empty or padded on its right: "
            "a prompt holds a token and is padded on its left"
        )
    return prompts
