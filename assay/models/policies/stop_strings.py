"""Stop strings: a completion ends with the token that completes one of them.

In sampling, in scoring and in the text that rewards read. That token is the policy's own last
decision, its probability counts as any other's, and no end token follows: so the log-probability of
a completion is that of its decisions, whether they are drawn or scored. The completion's text ends
before the stop string; ids and masks keep it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Int
from torch import Tensor

from assay.core import Prompts, Rng, Samples
from assay.errors import InputError
from assay.models.backbones.backbone import checked
from assay.models.policies.causal import Causal
from assay.models.samplers.decoding import CausalDecoding
from assay.models.text_encoder import PromptText
from assay.models.tokenizer import Tokens

# tokens before a stop string that are decoded with it, so that how a text begins has no part in the
# finding
MARGIN = 8


class Stops(Tokens):
    """Tokens with stop strings.

    `decode` leaves out of a completion's text the stop string that its last token completes, and
    what that token says after it. Prompts that were encoded here are known by their ids and decoded
    whole: a template may well end in a stop string.

    Args:
        tokenizer: See Tokens.
        size: See Tokens.
        ends: See Tokens.
        stop: The stop strings.

    Raises:
        InputError: A stop string is empty.
    """

    def __init__(
        self, tokenizer: Any, *, size: int, ends: Sequence[int] = (), stop: Sequence[str] = ()
    ):
        super().__init__(tokenizer, size=size, ends=ends)
        if any(not s for s in stop):
            raise InputError("a stop string is empty, and every text contains that; leave it out")
        self.stop = tuple(dict.fromkeys(stop))
        self._tail = MARGIN + max(
            (len(s.encode()) for s in self.stop), default=0
        )  # a token that is seen is a byte at least
        self._asked: set[int] = set()

    def encode(self, ask: PromptText) -> list[int]:
        """Encode a prompt, see Tokens, and remember it."""
        ids = super().encode(ask)
        if self.stop:
            self._asked.add(hash(tuple(ids)))
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Decode without special tokens, and a completion without the stop string that ended it."""
        text = super().decode(ids)
        if not self.stop or hash(tuple(ids)) in self._asked:
            return text
        at = self._found(ids, text)
        return text if at is None else text[:at]

    def stopped(self, ids: Sequence[int]) -> bool:
        """Say whether the last of these ids completes a stop string."""
        tail = super().decode(ids[-self._tail :])
        return (
            any(s in tail for s in self.stop) and self._found(ids, super().decode(ids)) is not None
        )

    def _found(self, ids: Sequence[int], text: str) -> int | None:
        """Return where the first stop string that the last id completes begins.

        A character that is not whole yet is decoded to a mark that its last byte takes away. So
        what the texts with and without that id have in common is compared.
        """
        known = _alike(super().decode(ids[:-1]), text)
        at = [text.find(s, max(0, known - len(s) + 1)) for s in self.stop]
        return min((i for i in at if i >= 0), default=None)


def _alike(a: str, b: str) -> int:
    """Count how many characters two texts begin with alike."""
    return next(
        (i for i, (one, other) in enumerate(zip(a, b)) if one != other), min(len(a), len(b))
    )


class StopDecoding(CausalDecoding):
    """Decoding that a stop string ends as well, after `min_tokens` tokens."""

    def _put(self, tokens: Int[Tensor, "R"], into: Tensor) -> None:
        rows = self.live[self.going]
        super()._put(tokens, into)
        rows = rows[~self.ended[rows] & (self.place[rows] > self.policy.min_tokens)]
        said = zip(
            rows.tolist(), self.action[rows].tolist(), self.place[rows].tolist(), strict=True
        )
        vocabulary: Any = self.policy.vocabulary
        done = [r for r, ids, n in said if vocabulary.stopped(ids[:n])]
        if not done:
            return
        self.ended[done] = True
        self._open[done] = False
        self.going = self._open[self.live]
        stay = self._staying()
        if stay is not None:
            self._keep(stay)


class Stopping(Causal):
    """A Causal whose vocabulary has stop strings."""

    vocabulary: Stops

    def copy(self, **changed: Any) -> Causal:
        """See Causal."""
        plain = super().copy(**changed)
        mine = {
            k: getattr(plain, k)
            for k in ("temperature", "top_k", "top_p", "max_tokens", "min_tokens")
        }
        return Stopping(plain.backbone, self.vocabulary, **mine).requires_grad_(True)

    def decoding(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> CausalDecoding:
        """See Causal."""
        return StopDecoding(self, checked(prompts), n, rng, start)
