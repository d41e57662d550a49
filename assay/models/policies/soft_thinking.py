"""A language model that thinks in mixtures of tokens, and answers in tokens.

Until its thought ends, a decision mixes the K likeliest tokens by Gumbel noise (see
formulas/soft_thinking.py), and the mixture of their embeddings is read next. A thought ends where
its largest token is `think_end` or ends the completion: that token is then taken as it is, with its
own log-probability, which is exactly how often the noise makes it the largest. All that follows is
drawn as the plain policy draws it.

`action` holds each thought's largest token, so that a thought has a text; the noisy
log-probabilities stand in `extra`, −∞ in slots that hold nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from assay.core import Policy, Prompts, Samples
from assay.core.rng import Rng
from assay.errors import InputError
from assay.formulas.soft_thinking import FORMS, gumbel_logp, soft_mixture
from assay.models.backbones.adapters import Adapted
from assay.models.backbones.backbone import checked, tokens_read
from assay.models.backbones.copies import trainable_copy
from assay.models.backbones.llama import Llama, laid_out, run
from assay.models.backbones.pretrained import Pretrained
from assay.models.backbones.shared_prompts import Shared
from assay.models.backbones.soft_inputs import check_reads, reading
from assay.models.policies.causal import Causal
from assay.models.policies.served import Served
from assay.models.policies.stop_strings import Stopping
from assay.models.samplers.categorical import truncated
from assay.models.samplers.decoding import CausalDecoding
from assay.models.samplers.soft_decoding import IDS, NOISY, SoftDecoding


@dataclass(frozen=True)
class Thoughts:
    """How a policy thinks.

    Attributes:
        most: Soft thoughts of a completion, at most; 0 for none.
        think_end: The token that ends a thought.
        top_k: Tokens that a thought mixes, at most.
        top_p: The probability that they reach together.
        temperature: τ of the mixture.
        form: Of the density: surrogate or joint. With the surrogate, noise is clipped to [−1.5, 3]
            when it is drawn, as in the released code.
    """

    most: int
    think_end: str
    top_k: int = 5
    top_p: float = 0.95
    temperature: float = 0.1
    form: str = "surrogate"

    def __post_init__(self) -> None:
        if self.most < 0 or self.top_k < 2 or not 0 < self.top_p <= 1 or not self.temperature > 0:
            raise InputError(
                f"--thoughts is {self.most}, --top-k {self.top_k}, --top-p {self.top_p} and --tau "
                f"{self.temperature}; a thought mixes at least 2 tokens, top_p is above 0 and at "
                "most 1, and the temperature is above 0"
            )
        if self.form not in FORMS:
            raise InputError(f"--density is '{self.form}'; it is one of {', '.join(FORMS)}")
        if self.form == "surrogate" and self.top_k > 20:
            raise InputError(
                f"--top-k is {self.top_k}; the surrogate counts tokens of probability above e⁻³, "
                "and among more than 20 there may be none: give 20, or --density joint"
            )


class SoftThinking(Causal):
    """A Causal with soft thoughts, of a world's own Llama or of a model of transformers.

    `kl` compares the distributions of the next token given the same thoughts.

    Args:
        backbone: A Llama, Pretrained or Adapted: mixtures are read as embeddings.
        vocabulary: Of the same tokens.
        thoughts: How it thinks.
        more: Sampling parameters of Causal, of what is no thought and of what thoughts are cut
            from.

    Raises:
        InputError: The backbone takes no mixtures, or `think_end` is no token.
    """

    def __init__(self, backbone: nn.Module, vocabulary: Any, *, thoughts: Thoughts, **more: Any):
        super().__init__(backbone, vocabulary, **more)
        self.thoughts = thoughts
        if not thoughts.most:
            self.closing: tuple[int, ...] = ()
            return
        if not isinstance(backbone, Llama | Pretrained | Adapted):
            raise InputError(
                "soft thoughts are read as mixtures of embeddings, which a "
                f"{type(backbone).__name__} does not take; use a world's own model, or --thoughts 0"
            )
        if not isinstance(backbone, Llama):
            _check_once(getattr(backbone, "computes_with", backbone))
        ends = _named(vocabulary, thoughts.think_end)
        if not ends:
            raise InputError(
                f"--think-end is '{thoughts.think_end}', which is no token of this vocabulary; "
                "give the token after which the answer stands"
            )
        self.closing = (*ends, *vocabulary.ends)

    @classmethod
    def of(cls, policy: Any, thoughts: Thoughts) -> SoftThinking:
        """Return a policy with the same weights, shared, that thinks.

        Raises:
            InputError: It is no language model, has stop strings, or an engine draws for it.
        """
        if not isinstance(policy, Causal):
            raise InputError(f"a {type(policy).__name__} is no language model and cannot think")
        if isinstance(policy, Stopping):
            flag = "--sampler" if isinstance(policy, Served) else "--stop"
            raise InputError(
                f"soft thoughts are drawn here, token by token, without {flag}; leave {flag} out"
            )
        return cls(policy.backbone, policy.vocabulary, thoughts=thoughts, **_parameters(policy))

    def copy(self, **changed: Any) -> SoftThinking:
        """Make a trainable copy that shares no storage, see Causal."""
        mine = {**_parameters(self), **changed}
        backbone = trainable_copy(self.backbone)
        return SoftThinking(
            backbone, self.vocabulary, thoughts=self.thoughts, **mine
        ).requires_grad_(True)

    def support(self, logp: Float[Tensor, "n V"]) -> tuple[Int[Tensor, "n K"], Tensor]:
        """Return the tokens that a thought mixes, and log p of each; −∞ in slots without one."""
        t = self.thoughts
        cut = truncated(logp, top_k=t.top_k, top_p=t.top_p)
        found = cut.topk(min(t.top_k, cut.shape[-1]), dim=-1)
        return found.indices, found.values

    # ---- reading thoughts

    def states(self, samples: Samples, size: int = 0) -> tuple[Tensor, Tensor]:
        """See Causal; thoughts are read as their mixtures."""
        if NOISY not in samples.extra:
            return super().states(samples, size)
        T = samples.mask.shape[2]
        ids, noisy = (samples.extra[k][:, :, :T] for k in (IDS, NOISY))
        soft = samples.mask & (noisy > -torch.inf).any(-1)
        if not isinstance(self.backbone, Llama):
            with self.thinking(ids[soft], noisy[soft]) as first:
                named = first + torch.arange(int(soft.sum()), device=soft.device)
                action = samples.action.masked_scatter(soft, named)
                return super().states(replace(samples, action=action), size)
        embed, stack, last = laid_out(self.backbone.weights(), self.backbone.config)
        # a mixture is a further row of the embedding
        rows = self.mixtures(ids[soft], noisy[soft], embed)
        tokens = samples.action.masked_scatter(
            soft, len(embed) + torch.arange(len(rows), device=soft.device)
        )
        prompts, keep = checked(samples.prompts), tokens_read(samples)
        plan = Shared(prompts.mask, keep, embed.dtype)
        packed = plan.packed(prompts.tokens, tokens)
        weights = (torch.cat([embed, rows]), stack, last)
        hidden = run(weights, packed, plan.places, plan, self.backbone.config)
        at, place = plan.before[..., :-1][samples.mask], samples.mask.nonzero()[:, 2]
        more = (0, max(0, size - len(at)))
        at, place = (torch.nn.functional.pad(t, more) for t in (at, place))
        return hidden.index_select(0, at), place

    def mixtures(
        self, ids: Int[Tensor, "m K"], noisy: Float[Tensor, "m K"], embed: Float[Tensor, "V W"]
    ) -> Float[Tensor, "m W"]:
        """Return what m thoughts are read as."""
        return soft_mixture(noisy.to(embed), embed[ids], temperature=self.thoughts.temperature)

    @contextmanager
    def thinking(self, ids: Int[Tensor, "m K"], noisy: Float[Tensor, "m K"]) -> Iterator[int]:
        """Let a model of transformers read m thoughts in this block; yield the first one's name.

        Thoughts are mixed in float32 at least, whatever the model computes in.
        """
        model = getattr(self.backbone, "computes_with", self.backbone).model
        each = self.backbone.embedded(ids)
        wide = torch.promote_types(each.dtype, torch.float32)
        rows = soft_mixture(noisy.to(wide), each.to(wide), temperature=self.thoughts.temperature)
        with reading(model, rows) as first:
            yield first

    def _logp(self, samples: Samples) -> Float[Tensor, "B N T"]:
        if NOISY not in samples.extra:
            return super()._logp(samples)
        hidden, place = self.states(samples)
        T = samples.mask.shape[2]
        ids, noisy = (samples.extra[k][:, :, :T][samples.mask] for k in (IDS, NOISY))
        given = (hidden, place, samples.action[samples.mask], ids, noisy)

        def piece(*of: Tensor) -> Tensor:
            hidden, place, taken, ids, noisy = of
            logp = self.log_probs(hidden, place)
            each = logp.gather(1, taken[:, None])[:, 0]
            soft = (noisy > -torch.inf).any(-1)
            if not bool(soft.any()):
                return each
            return each.masked_scatter(soft, self.density(logp[soft], ids[soft], noisy[soft]))

        pieces = list(self.pieces(len(place)))
        if len(pieces) > 1:  # computed again in the backward pass, not held
            again = partial(checkpoint, piece, use_reentrant=False, preserve_rng_state=False)
            each = torch.cat([again(*(t[s] for t in given)) for s in pieces])
        else:
            each = piece(*given)
        return hidden.new_zeros(samples.mask.shape).masked_scatter(samples.mask, each)

    def density(
        self, logp: Float[Tensor, "m V"], ids: Int[Tensor, "m K"], noisy: Float[Tensor, "m K"]
    ) -> Float[Tensor, "m"]:
        """Return the log-density of m thoughts' noise, by the tokens that each kept when drawn."""
        kept = logp.gather(-1, ids).masked_fill(noisy == -torch.inf, -torch.inf).log_softmax(-1)
        return gumbel_logp(noisy.to(kept), kept, form=self.thoughts.form)

    @torch.no_grad()
    def kl(self, reference: Policy, samples: Samples) -> Float[Tensor, "B N"]:
        """Compute Σ_t KL(π ‖ reference) of the next tokens' distributions, given the same thoughts.

        Args:
            reference: A Causal over the same vocabulary; it reads the thoughts as this one does.
            samples: This policy's completions.
        """
        return super().kl(SoftThinking.of(reference, self.thoughts), samples)

    def sample_and_kl(
        self, reference: Policy, prompts: Prompts, n: int, rng: Rng
    ) -> tuple[Samples, Float[Tensor, "B N"]]:
        """Draw completions, and compute `kl` of each."""
        x = self.sample(prompts, n, rng)
        return x, self.kl(reference, x)

    def decoding(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> CausalDecoding:
        """See Decodes.

        Raises:
            InputError: A completion is to be continued.
        """
        if not self.thoughts.most:
            return super().decoding(prompts, n, rng, start)
        if start is not None:
            raise InputError("a policy that thinks in mixtures does not continue completions")
        return SoftDecoding(self, checked(prompts), n, rng, None)


def _named(vocabulary: Any, text: str) -> tuple[int, ...]:
    """Return the tokens that are this text, alone or after a blank."""
    tokenizer = getattr(vocabulary, "tokenizer", None)
    if tokenizer is None:
        ids = getattr(vocabulary, "ids", {})
        return (ids[text],) if text in ids else ()
    known = tokenizer.get_vocab()
    found = [[known[text]]] if text in known else []
    found += [tokenizer.encode(t, add_special_tokens=False) for t in (text, f" {text}")]
    return tuple(dict.fromkeys(ids[0] for ids in found if len(ids) == 1))


def _check_once(plain: Any) -> None:
    """Check that a backbone reads rows, before its first thought."""
    if not getattr(plain, "reads_rows", False):
        check_reads(plain)
        plain.reads_rows = True


def _parameters(policy: Causal) -> dict[str, Any]:
    names = ("temperature", "top_k", "top_p", "max_tokens", "min_tokens")
    return {k: getattr(policy, k) for k in names}
