"""A policy whose answers another engine draws: a server, or vLLM in this process. They are scored
here.

What comes back is token ids; only where an engine returns text alone is it encoded again, and those
answers that do not come back as they were are counted. Log-probabilities are this policy's own: an
engine computes in another precision and order, and says what a token is worth before temperature
and truncation, so its numbers are of another distribution. An answer that this policy could not
have given (outside top_k or top_p, by rounding) is drawn again.

The engine holds the weights it was started with. So a copy, which is there to be trained, is
refused: answers drawn from the old weights and learnt from as if they were the new ones' are
off-policy, and nothing would show it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from assay.core import Prompts, Rng, Samples
from assay.engine.parallel import sampling
from assay.errors import InputError
from assay.models.policies.causal import Causal
from assay.models.policies.stop_strings import Stopping, Stops
from assay.models.samplers.openai import Ask, Engine, Law, Said, Server
from assay.models.samplers.vllm import InProcess
from assay.models.tokenizer import Tokens

log = logging.getLogger("assay")
ROUNDS = 4  # how often what this policy could not have said is drawn again
TOKENS = 1 << 16  # scored in one go, at least those of one prompt's answers
# nats a token between what two engines say of one answer: above it they do not hold the same
# weights
APART = 0.5


Drawn = tuple[list[int], bool]  # an answer's ids, and whether it ended by itself


class Served(Stopping):
    """A policy that asks an engine for whole answers. Answers to go on from, and walks, are drawn
    here, from the same weights.
    """

    replayable = False  # no engine promises the same answer twice

    def __init__(self, backbone: Any, vocabulary: Stops, engine: Engine, **settings: Any):
        super().__init__(backbone, vocabulary, **settings)
        self.engine = engine
        self._before_training = self._changes()

    def _changes(self) -> int:
        """Goes up with every change of a weight in place."""
        return sum(p._version for p in self.parameters())

    def copy(self, **changed: Any) -> Causal:
        """Refused: see above."""
        raise InputError(
            f"--world.sampler draws from {self.engine.name}, which holds the weights it was "
            "started with, and this recipe trains a copy: its answers would be the old weights'; "
            "leave --world.sampler out, or take a recipe that draws from the reference alone, "
            "such as best_of_n"
        )

    def law(self) -> Law:
        """This policy's settings as an engine is told them."""
        own = self.vocabulary
        return Law(
            self.temperature,
            self.top_k,
            self.top_p,
            self.min_tokens,
            self.max_tokens,
            own.stop,
            own.ends,
            tuple(i for i in own.barred if i < len(own.tokenizer)),
        )

    @sampling
    def sample(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> Samples:
        """n answers a prompt (`n [B]`: answers beyond n[b] are absent), in the order in which the
        engine gave them.
        """
        if self._changes() != self._before_training:
            raise InputError(
                f"{self.engine.name} holds other weights than this policy has now: draw from a "
                "policy that is not trained, or leave --world.sampler out"
            )
        if start is not None:
            walk = self.walk(prompts, n, rng, start)
            while walk.step():
                pass
            return walk.samples()
        wanted = n.tolist() if isinstance(n, Tensor) else [n] * len(prompts)
        got: list[list[tuple[Drawn, Tensor]]] = [[] for _ in wanted]
        ids = [tuple(t[m].tolist()) for t, m in zip(prompts.tokens, prompts.mask, strict=True)]
        outside = 0
        for turn in range(ROUNDS):
            rows = [b for b, k in enumerate(wanted) if len(got[b]) < k]
            if not rows:
                break
            seeds = (rng.bits(torch.tensor(rows), turn) & 0x7FFFFFFF).tolist()
            asks = [
                Ask(ids[b], wanted[b] - len(got[b]), seed)
                for b, seed in zip(rows, seeds, strict=True)
            ]
            fresh = self._read(self.engine.draw(asks, self.law()))
            y = self._scored(self._samples(prompts[torch.tensor(rows)], fresh))
            possible = (y.present & torch.isfinite(y.logp).all(-1)).tolist()
            for b, some, ok, worth in zip(rows, fresh, possible, y.logp, strict=True):
                got[b] += [(a, w) for a, good, w in zip(some, ok, worth) if good]
                outside += len(some) - sum(ok[: len(some)])
        if (short := sum(k - len(g) for k, g in zip(wanted, got, strict=True))) > 0:
            raise InputError(
                f"{self.engine.name} drew {outside} answers that this policy cannot give (outside "
                f"its top_k, top_p or vocabulary), and after {ROUNDS} rounds {short} of "
                f"{sum(wanted)} are missing: it serves another model, or does not know these "
                "settings, or returns text that is other tokens once encoded again"
            )
        if outside:
            log.info(
                "%s: %d answers drawn again, which this policy cannot give",
                self.engine.name,
                outside,
            )
        x = self._samples(prompts, [[a for a, _ in row] for row in got])
        logp = x.logp.to(next((w.dtype for row in got for _, w in row), x.logp.dtype))
        for b, row in enumerate(got):
            for k, ((said, _), w) in enumerate(row):
                logp[b, k, : len(said)] = w[: len(said)]
        return replace(x, logp=logp)

    @torch.no_grad()
    def apart(self, one: Prompts, ids: Sequence[int], worth: Sequence[float]) -> float:
        """Mean absolute difference, in nats a token, between what an engine says that an answer to
        one prompt is worth, before temperature and truncation, and what the model here says.
        """
        self._known(ids)
        x = self._samples(one, [[(list(ids), True)]])
        hidden, _ = self._before(x)
        mine = (
            self.backbone.logits(hidden).log_softmax(-1).gather(1, x.action[x.mask][:, None])[:, 0]
        )
        return float((mine.double().cpu() - torch.tensor(worth, dtype=torch.float64)).abs().mean())

    # ---- from what an engine says to Samples

    def _known(self, ids: Sequence[int]) -> None:
        if max(ids, default=0) >= len(self.vocabulary):
            raise InputError(
                f"{self.engine.name} drew the token {max(ids)}, and this model knows "
                f"{len(self.vocabulary)}: its tokenizer is another; serve the model that "
                "--world.policy names"
            )

    def _read(self, said: Sequence[Sequence[Said]]) -> list[list[Drawn]]:
        """Every answer as its ids, and whether it ended by itself."""
        back = [[self._encoded(s) for s in some] for some in said]
        drifted = sum(not exact for some in back for _, exact in some)
        if drifted:
            log.warning(
                "%s returns text, and %d of %d answers are not the tokens that were drawn once "
                "they are encoded again",
                self.engine.name,
                drifted,
                sum(map(len, back)),
            )
        return [[self._ended(s) for s, _ in some] for some in back]

    def _encoded(self, said: Said) -> tuple[Said, bool]:
        """An answer with its ids, and whether they are those that were drawn, as far as anybody can
        tell: as text they are the same, as many as were told, and no mark stands for bytes that
        made no character.
        """
        if said.ids is not None:
            self._known(said.ids)
            return said, True
        ids = tuple(
            self.vocabulary.tokenizer(said.text, add_special_tokens=False, verbose=False)[
                "input_ids"
            ]
        )
        full = (
            said.full and said.tokens != len(ids) + 1
        )  # an end token that was the last one allowed is called cut by some
        many = said.tokens is None or said.tokens in (len(ids), len(ids) + (not full))
        return replace(said, ids=ids, full=full), many and "\ufffd" not in said.text and (
            Tokens.decode(self.vocabulary, ids) == said.text
        )

    def _ended(self, said: Said) -> Drawn:
        """The ids up to the token that ends them by this policy's own law, and whether one does. An
        end token that the engine left out is put back.
        """
        own, ids = self.vocabulary, list(said.ids or ())
        text = Tokens.decode(own, ids)
        watched = any(s in text for s in own.stop)
        for k, i in enumerate(ids[: self.max_tokens], 1):
            if i in own.ends or (watched and k > self.min_tokens and own.stopped(ids[:k])):
                return ids[:k], True
        if said.full or said.by is not None or len(ids) >= self.max_tokens:
            return ids[: self.max_tokens], False
        return [*ids, own.eos], True

    def _samples(self, prompts: Prompts, rows: Sequence[Sequence[Drawn]]) -> Samples:
        """Answers as Samples, their log-probabilities not yet known."""
        device, N = prompts.tokens.device, max((len(r) for r in rows), default=0)
        T = max((len(ids) for r in rows for ids, _ in r), default=1) or 1
        action = torch.full((len(rows), N, T), self.vocabulary.pad, device=device)
        mask = torch.zeros(len(rows), N, T, dtype=torch.bool, device=device)
        ended = torch.zeros(len(rows), N, dtype=torch.bool, device=device)
        for b, some in enumerate(rows):
            for n, (ids, done) in enumerate(some):
                action[b, n, : len(ids)] = torch.tensor(ids, dtype=torch.int64, device=device)
                mask[b, n, : len(ids)], ended[b, n] = True, done
        nothing = torch.zeros(mask.shape, dtype=self.like.dtype, device=device)
        return Samples(prompts, action, mask, torch.zeros_like(mask), nothing, ended)

    @torch.no_grad()
    def _scored(self, x: Samples) -> Samples:
        """The same with this policy's log-probabilities, some prompts at a time: a large pool's
        hidden states are many.
        """
        each = max(
            1, TOKENS // max(1, x.mask.shape[1] * (x.mask.shape[2] + x.prompts.mask.shape[1]))
        )
        return replace(
            x, logp=torch.cat([self.logp(x[i : i + each]) for i in range(0, len(x), each)])
        )


def greeted(policy: Served, prompts: Prompts) -> Served:
    """The policy, once its engine has answered the longest of these prompts: what is wrong is said
    before anything is begun. Where the engine says what its tokens are worth, they are compared.
    Raises InputError where the two do not hold the same weights.
    """
    one, engine = prompts[prompts.mask.sum(-1).argmax()[None]], policy.engine
    ask = Ask(tuple(one.tokens[0][one.mask[0]].tolist()), 1, 1)
    engine.draw([ask], policy.law())
    plain = replace(
        policy.law(),
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        min_tokens=0,
        stop=(),
        barred=(),
        logprobs=True,
    )
    said = engine.draw([ask], plain)[0][0]
    if (
        said.ids is None
        or said.logprobs is None
        or not said.ids
        or len(said.ids) != len(said.logprobs)
    ):
        log.warning(
            "%s does not say what its tokens are worth: nobody checks that it holds the weights of "
            "--world.policy",
            engine.name,
        )
        return policy
    apart = policy.apart(one, said.ids, said.logprobs)
    if not apart <= APART:
        raise InputError(
            f"{engine.name} and --world.policy are {apart:.2f} nats a token apart on one answer: "
            "they do not hold the same weights; serve the model that --world.policy names"
        )
    log.info("%s and this process agree to %.4f nats a token", engine.name, apart)
    return policy


def engine_at(said: str, model: str, vocabulary: Stops, *, at_once: int) -> Engine:
    """The engine that --world.sampler names: an address, or vllm for one in this process."""
    if said == "vllm":
        return InProcess(model)
    if at_once < 1:
        raise InputError(
            f"--world.sampler-at-once is {at_once}; it is how many prompts are in flight at a "
            "time, 1 or more"
        )
    return Server(said, model, vocabulary, at_once=at_once)
