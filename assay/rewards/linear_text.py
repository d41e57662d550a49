"""A reward on text that needs no model: M linear members on counted words, layout and style.

scikit-learn counts and weighs; `linear_solvers` fits. A member's score of a completion depends on
that (prompt, completion) alone, not on its neighbours, a batch size or padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.data.turns import Turns
from assay.rewards.features import BITS, STYLE, Features, features
from assay.rewards.folder import read_reward, write_reward
from assay.rewards.linear_solvers import bradley_terry_optimum, linear_scores, ridge_within_prompts
from assay.rewards.text_scorer import OnSamples
from assay.rewards.tfidf import Block, Settings, Weighing

KIND = "linear text"
_AT_ONCE = 4096  # rows that are counted and scored at a time


class LinearTextReward(OnSamples):
    """M fitted members as one Reward, on texts (`scores`) or on Samples (`__call__`).

    Attributes:
        weighing: What turns counts into features.
        weight: The members' weights `[W, M]`.
        offset: The members' constants `[M]`.
        names: The members' names.
    """

    kind, partial = KIND, False

    def __init__(
        self,
        weighing: Weighing,
        weight: Float[Tensor, "W M"],
        offset: Float[Tensor, "M"],
        names: Sequence[str] = (),
    ):
        self.weighing, self.weight, self.offset = weighing, weight, offset
        self.names = tuple(names) or tuple(f"judge{m}" for m in range(weight.shape[1]))

    def scores(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        turns: Sequence[Turns | None] | None = None,
        columns: Mapping[str, Sequence[Any]] | None = None,
    ) -> Float[Tensor, "M R"]:
        """See `TextReward.scores`; `turns` and `columns` do not matter to words."""
        at = [slice(i, i + _AT_ONCE) for i in range(0, len(prompts), _AT_ONCE)]
        parts = [self.counted(features(prompts[i], responses[i])) for i in at]
        return torch.cat(parts, 1) if parts else torch.zeros(len(self.names), 0)

    def counted(self, rows: Features) -> Float[Tensor, "M R"]:
        """Score texts that are counted already."""
        return (linear_scores(self.weighing.design(rows), self.weight) + self.offset).T

    def to(self, device: torch.device) -> LinearTextReward:
        """Return itself: words are counted by the processor."""
        return self

    def save(self, folder: Path | str) -> None:
        """Write the folder that `load_reward` reads."""
        w = self.weighing
        tensors = {
            "weight": self.weight,
            "offset": self.offset,
            "middle": w.middle,
            "spread": w.spread,
        }
        for name, block in (("words", w.words), ("layout", w.layout)):
            tensors[f"{name}.columns"] = torch.from_numpy(block.columns)
            tensors[f"{name}.idf"] = torch.from_numpy(block.idf)
        write_reward(
            folder,
            KIND,
            self.names,
            tensors,
            {
                "settings": asdict(w.settings),
                "typical": [w.words.typical, w.layout.typical],
                "bits": BITS,
                "style": list(STYLE),
            },
        )

    @classmethod
    def load(cls, folder: Path | str) -> LinearTextReward:
        """Read what `save` wrote.

        Raises:
            InputError: A file is missing, foreign or damaged; the sentence names it.
        """
        return read_reward(folder, KIND, cls._made)

    @classmethod
    def _made(cls, about: dict[str, Any], t: dict[str, Tensor]) -> LinearTextReward:
        if about["bits"] != BITS or about["style"] != list(STYLE):
            raise ValueError("another version of assay counted these features")
        words, layout = (
            Block(t[f"{n}.columns"].numpy(), t[f"{n}.idf"].numpy(), typical)
            for n, typical in zip(("words", "layout"), about["typical"], strict=True)
        )
        settings = Settings(**about["settings"])
        weighing = Weighing(words, layout, t["middle"], t["spread"], settings)
        return cls(weighing, t["weight"], t["offset"], about["names"])


def fit_scored(
    rows: Features,
    score: Float[Tensor, "R"],
    group: Int[Tensor, "R"],
    *,
    counts: Float[Tensor, "G M"],
    ridge: float,
    settings: Settings = Settings(),
) -> LinearTextReward:
    """Fit members to scored responses: score differences within a prompt, all pairs at once.

    Args:
        rows: The counted responses.
        score: Their scores.
        group: Their prompts, from 0 to G−1.
        counts: How often prompt g counts for member m.
        ridge: The weight of the penalty.
        settings: How counts become features.

    Returns:
        The members; their mean over these texts is the mean score.
    """
    weighing = Weighing.fit(rows, settings)
    x = weighing.design(rows)
    w = ridge_within_prompts(x, score, group, ridge=ridge, counts=counts)
    return LinearTextReward(weighing, w, score.mean() - linear_scores(x, w).mean(0))


def fit_pairs(
    rows: Features,
    pairs: Int[Tensor, "B 2"],
    p: Float[Tensor, "B"],
    margin: Float[Tensor, "B"],
    *,
    counts: Float[Tensor, "B M"],
    ridge: float,
    smoothing: float,
    centre: float,
    settings: Settings = Settings(),
) -> LinearTextReward:
    """Fit members to pairs by Bradley–Terry.

    Args:
        rows: The counted responses.
        pairs: The rows of each pair, chosen first.
        p: The probability that the chosen one is preferred.
        margin: What the score difference must exceed.
        counts: How often pair b counts for member m.
        ridge: The weight of the penalty.
        smoothing: The share of labels taken as wrong.
        centre: The weight of (chosen + rejected)².
        settings: How counts become features.

    Returns:
        The members; their mean over these texts is 0.
    """
    weighing = Weighing.fit(rows, settings)
    x = weighing.design(rows)
    w = bradley_terry_optimum(
        x, pairs, p=p, margin=margin, ridge=ridge, counts=counts, smoothing=smoothing, centre=centre
    )
    return LinearTextReward(weighing, w, -linear_scores(x, w).mean(0))
