"""A policy whose completions another engine generates: a server, or vLLM in this process.

Completions come back as token ids; where an engine returns text alone it is encoded again, and
completions that change by this are counted. Log-probabilities are computed here, because an engine
computes in another precision and order. A completion that this policy could not have generated
(outside top_k or top_p, by rounding) is generated again.

A copy that trains needs an engine whose weights follow its own, see `weight_sync`; any other engine
is refused: completions of old weights that are learnt from as if they were the new ones' are
off-policy, and nothing would show it. In training the engine's log-probabilities come back too, and
the completions carry the importance weights that correct for what differs.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from assay.core import Prompts, Rng, Samples
from assay.engine.parallel import sampling
from assay.errors import InputError
from assay.models.backbones.mixed_precision import optimiser_steps
from assay.models.padding import padded_completions
from assay.models.policies.causal import Causal
from assay.models.policies.engine_replies import Drawn, check_known, encoded
from assay.models.policies.stop_strings import Stopping, Stops
from assay.models.policies.weight_sync import WeightSync
from assay.models.samplers.engine import Completion, Engine, Request, SamplingParams
from assay.models.tokenizer import Tokens

log = logging.getLogger("assay")
ROUNDS = 4  # how often completions that this policy cannot generate are generated again
TOKENS = 1 << 16  # scored in one pass, at least those of one prompt's completions
MOST_BARS = 1024  # biases of a request, as vLLM takes them on a GPU
PROBES, PROBE_TOKENS = 4, 8  # prompts and tokens by which an engine is compared with this model


_serials = itertools.count()  # of policies: two never have the same weights by chance


class Served(Stopping):
    """A policy that asks an engine for whole completions.

    Completions that continue others, and token-by-token decoding, are computed here, from the same
    weights.

    Args:
        backbone: See Causal.
        vocabulary: See Causal.
        engine: Where completions are generated.
        sync: Of the same engine, shared with the copies; one of its own by default.
        settings: Sampling parameters, see Causal.
    """

    replayable = False  # no engine promises the same completion twice

    def __init__(
        self,
        backbone: Any,
        vocabulary: Stops,
        engine: Engine,
        *,
        sync: WeightSync | None = None,
        **settings: Any,
    ):
        super().__init__(backbone, vocabulary, **settings)
        self.engine, self.sync = engine, sync or WeightSync(engine)
        self.serial = next(_serials)
        self._before_training = self._versions()

    def _versions(self) -> int:
        """Count the changes of weights in place."""
        return sum(p._version for p in self.parameters())

    def changes(self) -> int:
        """Count the changes of weights, and the steps of any optimiser while these train: a fused
        step leaves no other trace.
        """
        training = any(p.requires_grad for p in self.parameters())
        return self._versions() + (optimiser_steps() if training else 0)

    def copy(self, **changed: Any) -> Causal:
        """See Causal. The engine's weights follow the copy's from now on.

        Raises:
            InputError: The engine cannot follow.
        """
        self.sync.admit(self.backbone)
        plain = super().copy(**changed)
        mine: dict[str, Any] = {
            k: getattr(plain, k)
            for k in ("temperature", "top_k", "top_p", "max_tokens", "min_tokens")
        }
        made = Served(plain.backbone, self.vocabulary, self.engine, sync=self.sync, **mine)
        return made.requires_grad_(True)

    def sampling_params(self) -> SamplingParams:
        """Return this policy's settings as an engine is told them."""
        own = self.vocabulary
        # ids beyond the tokenizer are hardly ever drawn, and a server may not know them; in
        # training their share of the probability would be missing from the ratio
        all_of_them = self.sync.active and len(own.barred) <= MOST_BARS
        known = len(own) if all_of_them else len(own.tokenizer)
        return SamplingParams(
            self.temperature,
            self.top_k,
            self.top_p,
            self.min_tokens,
            self.max_tokens,
            own.stop,
            own.ends,
            tuple(i for i in own.barred if i < known),
            self.sync.active,
        )

    @sampling
    def sample(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> Samples:
        """Generate completions by the engine, in the order in which it returns them.

        See Sampler.sample. Completions of `start` are continued by this policy, not the engine.

        Raises:
            InputError: The engine cannot, or holds other weights or settings than this policy.
        """
        if self.sync.active:
            self.sync.bring(self, prompts)
        elif self._versions() != self._before_training:
            raise InputError(
                f"{self.engine.name} holds other weights than this policy has now: draw from a "
                "policy that is not trained, or leave --sampler out"
            )
        if start is not None:
            state = self.decoding(prompts, n, rng, start)
            while state.step():
                pass
            x = state.samples()
            return self._marked(x, x.logp) if self.sync.active else x
        wanted = n.tolist() if isinstance(n, Tensor) else [n] * len(prompts)
        got: list[list[tuple[Drawn, Tensor]]] = [[] for _ in wanted]
        ids = [tuple(t[m].tolist()) for t, m in zip(prompts.tokens, prompts.mask, strict=True)]
        outside = 0
        for turn in range(ROUNDS):
            rows = [b for b, k in enumerate(wanted) if len(got[b]) < k]
            if not rows:
                break
            seeds = (rng.bits(torch.tensor(rows), turn) & 0x7FFFFFFF).tolist()
            requests = [
                Request(ids[b], wanted[b] - len(got[b]), seed)
                for b, seed in zip(rows, seeds, strict=True)
            ]
            fresh = self._read(self.engine.generate(requests, self.sampling_params()))
            y = self._scored(self._samples(prompts[torch.tensor(rows)], fresh))
            possible = (y.present & torch.isfinite(y.logp).all(-1)).tolist()
            for b, some, ok, worth in zip(rows, fresh, possible, y.logp, strict=True):
                got[b] += [(a, w) for a, good, w in zip(some, ok, worth) if good]
                outside += len(some) - sum(ok[: len(some)])
        if (short := sum(k - len(g) for k, g in zip(wanted, got, strict=True))) > 0:
            raise InputError(
                f"{self.engine.name} drew {outside} completions that this policy cannot give "
                f"(outside its top_k, top_p or vocabulary), and after {ROUNDS} rounds {short} of "
                f"{sum(wanted)} are missing: it serves another model, or does not know these "
                "settings, or returns text that is other tokens once encoded again"
            )
        if outside:
            log.info(
                "%s: %d completions drawn again, which this policy cannot give",
                self.engine.name,
                outside,
            )
        x = self._samples(prompts, [[a for a, _ in row] for row in got])
        logp = x.logp.to(next((w.dtype for row in got for _, w in row), x.logp.dtype))
        theirs = torch.zeros_like(logp)
        for b, row in enumerate(got):
            for k, (said, w) in enumerate(row):
                logp[b, k, : len(said.ids)] = w[: len(said.ids)]
                if self.sync.active:
                    theirs[b, k, : len(said.ids)] = torch.tensor(self._reported(said))
        x = replace(x, logp=logp)
        if not self.sync.active:
            return x
        self.sync.check((logp - theirs).abs()[x.mask].double(), "in a batch", self)
        return self._marked(x, theirs)

    def _marked(self, x: Samples, theirs: Tensor) -> Samples:
        """Completions with an engine's log-probabilities, and what corrects for them."""
        return replace(x, extra={**x.extra, **self.sync.corrected(x, theirs)})

    def _reported(self, said: Drawn) -> tuple[float, ...]:
        """The engine's log-probabilities of a completion's tokens."""
        if said.logps is None or len(said.logps) != len(said.ids):
            raise InputError(
                f"{self.engine.name} returned {len(said.logps or ())} log-probabilities for a "
                f"completion of {len(said.ids)} tokens, and training needs one a token; use vLLM"
            )
        return said.logps

    @torch.no_grad()
    def differences(self, prompts: Prompts, *, engine: float = 1.0, own: float = 1.0) -> Tensor:
        """Absolute differences in log-probability of some tokens between the engine and this model.

        Of plain sampling, without truncation, bars and stop strings: any engine can do it.

        Args:
            prompts: Of the longest ones, PROBES are continued by PROBE_TOKENS tokens.
            engine: The engine's temperature.
            own: This model's.

        Returns:
            Nats a token; empty where the engine returns no log-probabilities.
        """
        longest = prompts.mask.sum(-1).argsort(descending=True, stable=True)[:PROBES]
        asked = prompts[longest.sort().values]
        rows = [tuple(t[m].tolist()) for t, m in zip(asked.tokens, asked.mask, strict=True)]
        most = min(PROBE_TOKENS, self.max_tokens)
        plain = SamplingParams(engine, 0, 1.0, 0, most, (), (), (), True)
        said = [one for one, *_ in self.engine.generate([Request(i, 1, 1) for i in rows], plain)]
        worth = [w for one in said for w in (one.logprobs or ())[:most]]
        if not worth or any(len(one.ids or ()) != len(one.logprobs or ()) for one in said):
            return torch.zeros(0, dtype=torch.float64)
        ids = [list((one.ids or ())[:most]) for one in said]  # a model has so many positions
        for some in ids:
            check_known(some, self.vocabulary, self.engine.name)
        x = self._samples(asked, [[Drawn(some, True)] for some in ids])
        hidden, _ = self.states(x)
        taken = x.action[x.mask][:, None]
        mine = (self.backbone.logits(hidden) / own).log_softmax(-1).gather(1, taken)[:, 0]
        return (mine.double().cpu() - torch.tensor(worth, dtype=torch.float64)).abs()

    # ---- from what an engine says to Samples

    def _read(self, said: Sequence[Sequence[Completion]]) -> list[list[Drawn]]:
        """Return every completion as its ids, and whether it ended by itself."""
        back = [[encoded(s, self.vocabulary, self.engine.name) for s in some] for some in said]
        drifted = sum(not exact for some in back for _, exact in some)
        if drifted:
            log.warning(
                "%s returns text, and %d of %d completions are not the tokens that were drawn once "
                "they are encoded again",
                self.engine.name,
                drifted,
                sum(map(len, back)),
            )
        return [[self._ended(s) for s, _ in some] for some in back]

    def _ended(self, said: Completion) -> Drawn:
        """Return the ids up to the token that ends them by this policy's own settings, and whether
        one does. An end token that the engine left out is put back.
        """
        own, ids, logps = self.vocabulary, list(said.ids or ()), said.logprobs
        text = Tokens.decode(own, ids)
        watched = any(s in text for s in own.stop)
        for k, i in enumerate(ids[: self.max_tokens], 1):
            if i in own.ends or (watched and k > self.min_tokens and own.stopped(ids[:k])):
                return Drawn(ids[:k], True, logps and logps[:k])
        if said.full or said.by is not None or len(ids) >= self.max_tokens:
            return Drawn(ids[: self.max_tokens], False, logps and logps[: self.max_tokens])
        return Drawn([*ids, own.eos], True, logps)

    def _samples(self, prompts: Prompts, rows: Sequence[Sequence[Drawn]]) -> Samples:
        """Completions as Samples, their log-probabilities not yet known."""
        ids = [[some.ids for some in row] for row in rows]
        x = padded_completions(prompts, ids, pad=self.vocabulary.pad, dtype=self.like.dtype)
        ended = torch.zeros_like(x.ended)
        for b, row in enumerate(rows):
            ended[b, : len(row)] = torch.tensor([some.ended for some in row], dtype=torch.bool)
        return replace(x, logp=torch.zeros_like(x.logp), ended=ended)

    @torch.no_grad()
    def _scored(self, x: Samples) -> Samples:
        """Add this policy's log-probabilities, some prompts at a time: the hidden states of a large
        pool are many.
        """
        each = max(
            1, TOKENS // max(1, x.mask.shape[1] * (x.mask.shape[2] + x.prompts.mask.shape[1]))
        )
        return replace(
            x, logp=torch.cat([self.logp(x[i : i + each]) for i in range(0, len(x), each)])
        )
