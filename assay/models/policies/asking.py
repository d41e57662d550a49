"""A policy of text that asks other models by name, and reads what they answer.

It writes `<search> NAME : query </search>`; the model of that name answers the query, and
`<information>…</information>` with the answer stands next in the context, before the policy goes
on. These tokens are *given*: read by the policy, and part of no log-probability, loss or KL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assay.core import Policy, Prompts, Rng, Samples
from assay.data.turns import Turn
from assay.engine.parallel import sampling
from assay.errors import InputError
from assay.models.policies.causal import Causal
from assay.models.policies.stop_strings import Stopping, Stops
from assay.models.tokenizer import Tokens

CLOSE = "</search>"
CALL = re.compile(r"<search>((?:(?!<search>).)*?)</search>", re.S)
_TAGS = re.compile(r"</?(?:search|information|answer|think)>")


@dataclass(frozen=True)
class Solver:
    """A frozen model that answers queries with its likeliest tokens.

    Attributes:
        policy: A Causal that keeps the likeliest token alone, with a tokenizer of its own.
        price: Of a thousand tokens of its answers.
        chat: Whether queries go through its chat template.
    """

    policy: Causal
    price: float
    chat: bool

    def answers(self, queries: list[str]) -> list[str]:
        """Answer queries; the tags of calls and answers are taken out of what it says."""
        asks: Any = [(Turn("user", q),) if self.chat else q for q in queries]
        prompts = self.policy.vocabulary.prompts(asks).to(self.policy.like.device)
        with torch.no_grad():
            said = self.policy.sample(prompts, 1, Rng(0)).text()
        return [_TAGS.sub("", row[0]).strip() for row in said]

    def tokens(self, text: str) -> int:
        """Count the tokens of an answer."""
        vocabulary: Any = self.policy.vocabulary
        return len(vocabulary.text.content(text)) if text else 0


def called(inner: str) -> tuple[str, str]:
    """Return the name and the query of what stands in a call; an empty name where it has no colon.

    Example:
        >>> called(" small : Who wrote Emma? ")
        ('small', 'Who wrote Emma?')
    """
    name, colon, query = inner.partition(":")
    return (name.strip(), query.strip()) if colon else ("", inner.strip())


class Asking(Stopping):
    """A Stopping whose calls are answered.

    A call to no known model is answered by the names that there are. A call past the last turn, or
    at the very end, is not answered, and the completion is cut off there. An answer that has no
    room is cut.

    Args:
        backbone: See Causal.
        vocabulary: Has `</search>` among its stop strings.
        solvers: The models by name.
        turns: Calls that are answered, at most.
        settings: Sampling parameters, see Causal. `max_tokens` counts answers too.

    Raises:
        InputError: No call would end a turn.
    """

    def __init__(
        self,
        backbone: torch.nn.Module,
        vocabulary: Stops,
        *,
        solvers: Mapping[str, Solver],
        turns: int,
        **settings: Any,
    ):
        super().__init__(backbone, vocabulary, **settings)
        # in a tuple: their weights are none of this policy's
        self._solvers, self.turns = (dict(solvers),), turns
        if turns < 1 or CLOSE not in vocabulary.stop:
            raise InputError(f"a policy that asks has at least 1 turn and the stop string {CLOSE}")

    @property
    def solvers(self) -> dict[str, Solver]:
        """The models by name."""
        return self._solvers[0]

    def copy(self, **changed: Any) -> Asking:
        """Make a trainable copy that shares no storage, and asks the same models."""
        plain = super().copy(**changed)
        names = ("temperature", "top_k", "top_p", "max_tokens", "min_tokens")
        mine = {k: getattr(plain, k) for k in names}
        made = Asking(
            plain.backbone, self.vocabulary, solvers=self.solvers, turns=self.turns, **mine
        )
        return made.requires_grad_(True)

    @sampling
    def sample(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> Samples:
        """Draw turn by turn, see Sampler.sample."""
        x = self._turn(prompts, n, rng, start)
        for _ in range(self.turns):
            waits = self.waiting(x)
            if not bool(waits.any()):
                break
            x = self._turn(prompts, n, rng, self._answered(x, waits))
        return replace(x, ended=x.ended & ~self.waiting(x))

    def sample_and_kl(
        self, reference: Policy, prompts: Prompts, n: int, rng: Rng
    ) -> tuple[Samples, Float[Tensor, "B N"]]:
        """Draw completions with their answers, and compute `kl` of each."""
        x = self.sample(prompts, n, rng)
        return x, self.kl(reference, x)

    def _turn(self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None) -> Samples:
        state = self.decoding(prompts, n, rng, start)
        while state.step():
            pass
        return state.samples()

    def waiting(self, x: Samples) -> Bool[Tensor, "B N"]:
        """Say which completions end with a call that has room for an answer or lacks it."""
        out = torch.zeros_like(x.ended)
        for b, n in (x.ended & x.present).nonzero().tolist():
            ids = x.action[b, n][x.mask[b, n] | x.given[b, n]].tolist()
            at = self.vocabulary._found(ids, text := Tokens.decode(self.vocabulary, ids))
            out[b, n] = at is not None and text[at:].startswith(CLOSE)
        return out

    def _answered(self, x: Samples, waits: Bool[Tensor, "B N"]) -> Samples:
        """Write answers after the calls of these completions, where there is room."""
        where, asked = waits.nonzero().tolist(), []
        for b, n in where:
            ids = x.action[b, n][x.mask[b, n] | x.given[b, n]].tolist()
            calls = CALL.findall(Tokens.decode(self.vocabulary, ids))
            asked.append(called(calls[-1]) if calls else ("", ""))
        said = self.answers(asked)
        x = x.widened(self.max_tokens)
        action, given, ended = x.action.clone(), x.given.clone(), x.ended.clone()
        for (b, n), text in zip(where, said, strict=True):
            count = int((x.mask[b, n] | x.given[b, n]).sum())
            ids = self.vocabulary.text.joined(f"\n<information>{text}</information>\n")
            ids = ids[: self.max_tokens - count]
            if ids:
                action[b, n, count : count + len(ids)] = torch.tensor(ids, device=action.device)
                given[b, n, count : count + len(ids)] = True
                ended[b, n] = False
        return replace(x, action=action, given=given, ended=ended)

    def answers(self, asked: list[tuple[str, str]]) -> list[str]:
        """Answer calls, each model those that name it, together."""
        out = [f"Name one of these models: {', '.join(self.solvers)}."] * len(asked)
        for name, solver in self.solvers.items():
            mine = [i for i, (who, query) in enumerate(asked) if who == name and query]
            if mine:
                for i, text in zip(mine, solver.answers([asked[i][1] for i in mine]), strict=True):
                    out[i] = text
        return out
