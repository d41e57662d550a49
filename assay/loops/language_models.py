"""Small language models trained from nothing on a real text, character by character."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from assay.core import InputError, Loop, Policy, Rng, Samples, order
from assay.engine import descend
from assay.formulas import reduce
from assay.models.backbones.llama import Config, Llama
from assay.models.padding import padded_completions
from assay.models.policies.causal import Causal
from assay.models.vocabulary import Vocabulary

RARE = "�"  # stands for every character that a vocabulary leaves out
MOST = 200  # characters of a vocabulary


@dataclass(frozen=True)
class Text:
    """A text cut into rows of equal length, shuffled.

    Attributes:
        vocabulary: Its characters as words.
        rows: Token ids `[R, L]`.
    """

    vocabulary: Vocabulary
    rows: Int[Tensor, "R L"]

    def samples(self, rows: Int[Tensor, "R L"]) -> Samples:
        """Make rows completions of an empty prompt."""
        prompts = self.vocabulary.prompts([""] * len(rows))
        return padded_completions(
            prompts, [[r] for r in rows.tolist()], pad=self.vocabulary.pad, dtype=torch.float32
        )


def read(path: str) -> str:
    """Read a text file; "" for the manual that every Python brings along (465,000 characters).

    Args:
        path: UTF-8 text, or "".

    Raises:
        InputError: The file cannot be read as text.
    """
    if not path:
        from pydoc_data.topics import topics

        return "\n".join(topics[k] for k in sorted(topics))
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as why:
        raise InputError(f"--text is '{path}', which cannot be read as UTF-8 text: {why}") from why


def characters(text: str, length: int, rng: Rng) -> Text:
    """Cut a text into rows of `length` characters, in random order.

    Args:
        text: Of `length` characters or more.
        length: Characters a row.
        rng: Address of the order.

    Raises:
        InputError: The text is shorter than one row.
    """
    if len(text) < length:
        raise InputError(f"the text has {len(text)} characters, and a row has {length}")
    counts: dict[str, int] = {}
    for c in text:
        counts[c] = counts.get(c, 0) + 1
    common = sorted(counts, key=lambda c: (-counts[c], c))[:MOST]
    names = {c: c if c.strip() == c != RARE else f"<{ord(c)}>" for c in common}
    vocabulary = Vocabulary([*names.values(), RARE])
    ids = torch.tensor([vocabulary.ids[names.get(c, RARE)] for c in text])
    rows = ids[: len(ids) // length * length].view(-1, length)
    return Text(vocabulary, rows[rng("rows").permutation(len(rows))])


def untrained(text: Text, width: int, rng: Rng, *, layers: int = 1) -> Causal:
    """Make a Llama of this width, with weights of its own address.

    Args:
        text: Gives the vocabulary and the length of a row.
        width: Even; a head for every 16 units where that divides it.
        rng: Address of the first weights.
        layers: Layers.
    """
    heads = max(1, width // 16)
    heads = heads if width % heads == 0 and width // heads % 2 == 0 else 1
    size = Config(len(text.vocabulary), width, layers, heads=heads, kv_heads=heads, inner=2 * width)
    return Causal(Llama(size, rng), text.vocabulary, max_tokens=text.rows.shape[1])


def trained(
    policy: Causal, text: Samples, loop: Loop, rng: Rng, at: Sequence[int]
) -> Iterator[int]:
    """Train in place by the mean over tokens of −log π; yield after each of these steps.

    Args:
        policy: Trained in place.
        text: One completion a row.
        loop: Rows a step, learning rate and warm-up.
        rng: Address of the order of the rows.
        at: Steps, ascending; the model is trained to the last.
    """
    optimiser, wanted = loop.optimiser(policy), set(at)
    for t in range(max(at)):
        batch = text[order(len(text), loop.batch_size, t, rng)]
        descend.descend(
            optimiser, lambda rows, _: -policy.logp(rows), batch, reduce=reduce.per_token
        )
        if t + 1 in wanted:
            yield t + 1


@torch.no_grad()
def nats_per_token(policy: Policy, text: Samples) -> float:
    """Mean −log π of a text's tokens."""
    return float(-(policy.logp(text) * text.mask).sum().double() / text.mask.sum())


def parameters(policy: Causal) -> int:
    """Count a model's parameters without its embedding and its head."""
    return sum(
        p.numel()
        for name, p in policy.backbone.named_parameters()
        if "embed" not in name and "head" not in name
    )
