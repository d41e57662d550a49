"""A reward on text that needs no model: M linear judges on counted words, layout and style. Fast,
strong, and plain.

A judge's score of an answer depends on that (prompt, answer) alone: not on its neighbours, a batch
size or padding.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from assay.core import Samples
from assay.errors import InputError
from assay.rewards.features import BITS, STYLE, Counted, Features, features
from assay.rewards.linear_solvers import Design, centred_ridge, pairwise

KIND, ABOUT, WEIGHTS = "words", "reward.json", "weights.safetensors"
_AT_ONCE = 4096  # rows counted and scored at a time


@dataclass(frozen=True)
class Block:
    """What was learnt about one block of n-grams: its columns kept, their inverse document
    frequency, and the usual length.
    """

    columns: Int[Tensor, "D"]  # hashed buckets, ascending
    idf: Float[Tensor, "D"]
    typical: float

    @classmethod
    def of(cls, counted: Counted, least: int) -> Block:
        """Buckets that at least `least` of these rows use, idf = 1 + log((1+R)/(1+df)), the median
        length of a row.
        """
        df = np.bincount(counted.index, minlength=1 << BITS)
        columns = np.nonzero(df >= least)[0]
        idf = 1 + np.log((1 + len(counted)) / (1 + df[columns]))
        half = cls(
            torch.from_numpy(columns.astype(np.int32)),
            torch.from_numpy(idf.astype(np.float32)),
            1.0,
        )
        lengths = half._lengths(*half._weighed(counted))
        some = lengths[lengths > 0]
        return cls(half.columns, half.idf, float(np.median(some)) if len(some) else 1.0)

    def _weighed(
        self, counted: Counted
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
        """(column, (1 + log count)·idf, row starts) of what is kept."""
        place = np.full(1 << BITS, -1, np.int32)
        place[self.columns.numpy()] = np.arange(len(self.columns), dtype=np.int32)
        column = place[counted.index]
        kept = column >= 0
        start = np.concatenate([[0], np.cumsum(kept)])[counted.start].astype(np.int64)
        column = column[kept]
        return (
            column,
            ((1 + np.log(counted.count[kept])) * self.idf.numpy()[column]).astype(np.float32),
            start,
        )

    @staticmethod
    def _lengths(
        column: NDArray[np.int32], value: NDArray[np.float32], start: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        total = np.concatenate([[0.0], np.cumsum(value.astype(np.float64) ** 2)])
        return np.sqrt(np.maximum(total[start[1:]] - total[start[:-1]], 0))

    def rows(
        self, counted: Counted, pivot: float
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
        """Rows divided by length^pivot·typical^(1−pivot): 1 is the cosine's normalisation, 0 none
        (Singhal et al. 1996's question, answered with a power). A row far shorter than usual counts
        as a quarter of the usual length.
        """
        column, value, start = self._weighed(counted)
        length = np.maximum(self._lengths(column, value, start), 0.25 * self.typical)
        scale = (length**-pivot * self.typical ** (pivot - 1)).astype(np.float32)
        return column, value * np.repeat(scale, np.diff(start)), start


@dataclass(frozen=True)
class Settings:
    """What turns counts into features. `pivot`: see Block.rows; `style`: weight of the standardised
    style measures.
    """

    least: int = 5
    pivot: float = 0.7
    style: float = 0.03
    layout: float = 1.0
    words: float = 1.0


class Weighing:
    """Counts to features, as learnt from some rows: idf, usual lengths, the mean and spread of each
    style measure.
    """

    def __init__(
        self, words: Block, layout: Block, middle: Tensor, spread: Tensor, settings: Settings
    ):
        self.words, self.layout, self.middle, self.spread, self.settings = (
            words,
            layout,
            middle,
            spread,
            settings,
        )

    @classmethod
    def of(cls, counted: Features, settings: Settings) -> Weighing:
        """Learn from these rows alone. Few rows keep rarer n-grams."""
        least = settings.least if len(counted) >= 5000 else min(settings.least, 2)
        style = torch.from_numpy(counted.style)
        spread = style.std(0, correction=0) if len(style) else torch.ones(len(STYLE))
        middle = style.mean(0) if len(style) else torch.zeros(len(STYLE))
        return cls(
            Block.of(counted.words, least),
            Block.of(counted.layout, least),
            middle,
            torch.where(spread > 1e-6, spread, torch.ones_like(spread)),
            settings,
        )

    def design(self, counted: Features) -> Design:
        """Feature rows: words, layout, then style held within five spreads of its mean."""
        s = self.settings
        wc, wv, ws = self.words.rows(counted.words, s.pivot)
        lc, lv, ls = self.layout.rows(counted.layout, s.pivot)
        start = ws + ls
        index, value = np.empty(int(start[-1]), np.int32), np.empty(int(start[-1]), np.float32)
        first = np.repeat(ls[:-1], np.diff(ws)) + np.arange(len(wc))
        second = np.repeat(ws[1:], np.diff(ls)) + np.arange(len(lc))
        index[first], value[first] = wc, s.words * wv
        index[second], value[second] = lc + len(self.words.columns), s.layout * lv
        z = ((torch.from_numpy(counted.style) - self.middle) / self.spread).clamp(-5, 5)
        return Design(
            torch.from_numpy(index),
            torch.from_numpy(value),
            torch.from_numpy(start.astype(np.int32)),
            len(self.words.columns) + len(self.layout.columns),
            s.style * z,
        )


class WordsReward:
    """M fitted judges as one Reward, on texts (`scores`) or on Samples that have text (`__call__`)."""

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

    def scores(self, prompts: Sequence[str], responses: Sequence[str]) -> Float[Tensor, "M R"]:
        """Every member's score of every (prompt, response)."""
        at = [slice(i, i + _AT_ONCE) for i in range(0, len(prompts), _AT_ONCE)]
        parts = [self.counted(features(prompts[i], responses[i])) for i in at]
        return torch.cat(parts, 1) if parts else torch.zeros(len(self.names), 0)

    def counted(self, rows: Features) -> Float[Tensor, "M R"]:
        """The same, of texts already counted."""
        return (self.weighing.design(rows).times(self.weight) + self.offset).T

    def __call__(self, samples: Samples) -> Float[Tensor, "M B N"]:
        """Scores of answers; an absent one scores 0."""
        asks, texts = samples.prompts.text(), samples.text()
        B, N = samples.mask.shape[:2]
        flat = self.scores(
            [a for a in asks for _ in range(N)], [t for row in texts for t in row]
        ).view(-1, B, N)
        return torch.where(samples.present, flat.to(samples.logp), samples.logp.new_zeros(()))

    def to(self, device: torch.device) -> WordsReward:
        """Itself: words are counted by the processor."""
        return self

    def save(self, folder: Path | str) -> None:
        """Write weights.safetensors, then reward.json, which holds its digest."""
        folder, w = Path(folder), self.weighing
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            "weight": self.weight,
            "offset": self.offset,
            "middle": w.middle,
            "spread": w.spread,
            "words.columns": w.words.columns,
            "words.idf": w.words.idf,
            "layout.columns": w.layout.columns,
            "layout.idf": w.layout.idf,
        }
        save_file({k: v.contiguous() for k, v in tensors.items()}, str(folder / WEIGHTS))
        about = {
            "kind": KIND,
            "names": list(self.names),
            "partial": False,
            "settings": asdict(w.settings),
            "typical": [w.words.typical, w.layout.typical],
            "bits": BITS,
            "style": list(STYLE),
            WEIGHTS: hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
        }
        (folder / ABOUT).write_text(
            json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )

    @classmethod
    def load(cls, folder: Path | str) -> WordsReward:
        """What `save` wrote. Raises InputError, naming the file, where it is missing, foreign or
        damaged.
        """
        folder = Path(folder)
        try:
            about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            if about["kind"] != KIND or about["bits"] != BITS or about["style"] != list(STYLE):
                raise InputError(
                    f"{folder / ABOUT} describes a reward of another kind or another assay; fit it "
                    "again"
                )
            if hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest() != about[WEIGHTS]:
                raise InputError(
                    f"{folder / WEIGHTS} is not the file that {ABOUT} was written for: it is "
                    "damaged or exchanged; fit again"
                )
            t = load_file(str(folder / WEIGHTS))
            words = Block(t["words.columns"], t["words.idf"], about["typical"][0])
            layout = Block(t["layout.columns"], t["layout.idf"], about["typical"][1])
            weighing = Weighing(
                words, layout, t["middle"], t["spread"], Settings(**about["settings"])
            )
            return cls(weighing, t["weight"], t["offset"], about["names"])
        except (
            OSError,
            UnicodeDecodeError,
            ValueError,
            KeyError,
            TypeError,
            IndexError,
            SafetensorError,
        ) as why:
            if isinstance(why, InputError):
                raise
            raise InputError(
                f"{folder} holds no readable '{KIND}' reward ({type(why).__name__}: "
                f"{str(why)[:80]}); fit it again"
            ) from why


def fit_scored(
    rows: Features,
    score: Float[Tensor, "R"],
    group: Int[Tensor, "R"],
    *,
    counts: Float[Tensor, "G M"],
    ridge: float,
    settings: Settings,
) -> WordsReward:
    """Judges of scored responses: score differences within a prompt, all pairs at once
    (`convex.centred_ridge`).
    """
    weighing = Weighing.of(rows, settings)
    x = weighing.design(rows)
    w = centred_ridge(x, score, group, ridge=ridge, counts=counts)
    return WordsReward(weighing, w, score.mean() - x.times(w).mean(0))


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
    settings: Settings,
) -> WordsReward:
    """Judges of pairs, by Bradley–Terry (`convex.pairwise`); their mean over these texts is 0."""
    weighing = Weighing.of(rows, settings)
    x = weighing.design(rows)
    w = pairwise(
        x, pairs, p=p, margin=margin, ridge=ridge, counts=counts, smoothing=smoothing, centre=centre
    )
    return WordsReward(weighing, w, -x.times(w).mean(0))
