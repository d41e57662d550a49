"""The completions that a reward is audited on, grouped by prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay import data
from assay.core.rng import Rng
from assay.data.turns import Turns
from assay.errors import InputError
from assay.models.text_notes import as_written, parts_templated
from assay.rewards.fit_labels import other_columns

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Completions:
    """R completions of G prompts.

    Attributes:
        prompts: The prompt of each completion.
        responses: The completions.
        turns: The conversation of each prompt, or None where it is plain text.
        columns: The other columns, one value a completion.
        group: The prompt of each completion, from 0 to G−1, `[R]`.
        gold: Its true quality, `[R]`; None where no column of gold is named.
        source: What they are, in words.
        left_out: Completions that are no plain text (calls of tools, several turns) and were left
            out.
    """

    prompts: list[str]
    responses: list[str]
    turns: list[Turns | None]
    columns: Mapping[str, Sequence[Any]]
    group: Ints
    gold: Floats | None
    source: str
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.responses)

    @property
    def groups(self) -> int:
        """The number of prompts G."""
        return int(self.group.max()) + 1 if len(self) else 0

    def wide(self, values: Floats) -> Floats:
        """Return `[M, R]` values as `[M, G, N]`, NaN where a prompt has fewer completions."""
        order = np.argsort(self.group, kind="stable")
        count = np.bincount(self.group, minlength=self.groups)
        place = np.arange(len(order)) - np.repeat(count.cumsum() - count, count)
        out = np.full((len(values), self.groups, int(count.max(initial=0))), np.nan)
        out[:, self.group[order], place] = values[:, order]
        return out

    def rows(self, at: Ints) -> Completions:
        """Return the completions at these places, their groups numbered as before."""
        places = at.tolist()
        return replace(
            self,
            prompts=[self.prompts[i] for i in places],
            responses=[self.responses[i] for i in places],
            turns=[self.turns[i] for i in places],
            columns={k: [v[i] for i in places] for k, v in self.columns.items()},
            group=self.group[at],
            gold=None if self.gold is None else self.gold[at],
        )

    def saying(self, responses: Sequence[str]) -> Completions:
        """Return other completions of the same prompts."""
        return replace(self, responses=list(responses))

    def asked_otherwise(self, of: Completions, seed: int) -> Completions:
        """Return the same completions, each as the answer to another prompt.

        The prompt comes with its conversation and its columns. All completions of a prompt go to
        the same other one.

        Args:
            of: The completions whose prompts are taken; their groups are numbered as here.
            seed: Which prompt goes to which.
        """
        _, first = np.unique(of.group, return_index=True)
        G = len(first)
        order = Rng(seed)("audit prompts").permutation(G).numpy()
        other = np.empty(G, dtype=np.int64)
        other[order] = np.roll(order, 1)
        asked = of.rows(first[other[self.group]])
        return replace(self, prompts=asked.prompts, turns=asked.turns, columns=asked.columns)

    def probed(self, most_prompts: int, a_prompt: int, seed: int) -> Ints:
        """Choose the completions that probes change, by chance and without a look at scores.

        Args:
            most_prompts: Prompts, at most.
            a_prompt: Completions a prompt, at most.
            seed: Of the choice.

        Returns:
            Their places, ascending.
        """
        draw = Rng(seed)("audit probed")
        prompts = draw("prompts").permutation(self.groups).numpy()[:most_prompts]
        order = draw("completions").permutation(len(self)).numpy()
        order = order[np.isin(self.group[order], prompts)]
        order = order[np.argsort(self.group[order], kind="stable")]
        new = np.r_[True, np.diff(self.group[order]) != 0] if len(order) else np.zeros(0, bool)
        starts = np.flatnonzero(new)
        place = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
        return np.sort(order[place < a_prompt])


def grouped(
    prompts: Sequence[str],
    responses: Sequence[str],
    turns: Sequence[Turns | None],
    columns: Mapping[str, Sequence[Any]],
    gold: Floats | None,
    source: str,
    left_out: int = 0,
) -> Completions:
    """Group completions by prompt.

    Args:
        prompts: The prompt of each completion.
        responses: The completions.
        turns: The conversation of each prompt, or None.
        columns: The other columns.
        gold: The true quality of each.
        source: What they are, in words.
        left_out: Completions that were left out.

    Raises:
        InputError: No prompt has two completions.
    """
    group, names = data.within(list(prompts))
    if len(group) == len(names):
        raise InputError(
            f"{source} has one completion a prompt ({len(names):,} prompts), and an audit compares "
            "completions of the same prompt; give several rows with the same prompt"
        )
    at = np.array(group, dtype=np.int64)
    return Completions(
        list(prompts), list(responses), list(turns), columns, at, gold, source, left_out
    )


def read_completions(
    path: str | Path | data.Source,
    *,
    gold: str = "",
    columns: Mapping[str, str] | None = None,
    split: str | None = None,
    drop: bool = False,
    templated: tuple[str, ...] = (),
) -> Completions:
    """Read the completions of a file.

    Args:
        path: A file with a row a completion: prompt, response and perhaps a column of gold.
        gold: That column; "" for none.
        columns: The file's column for each part, such as {"prompt": "question"}.
        split: The split of a dataset that has several.
        drop: Leave faulty rows out and count them.
        templated: Parts of the rows that a chat template wrote already.

    Returns:
        The completions that are plain text; others are counted.

    Raises:
        InputError: The file or a row cannot be used, or no prompt has two completions.
    """
    found = data.scan_file(
        path,
        columns=there(path, columns, split),
        split=split,
        want="scored" if gold else "responses",
        score=gold or None,
        drop=drop,
        keep=True,
    )
    found.faults.stop()
    parts = parts_templated(templated)
    items = [x for x in found.items if x.reply is None]
    numbers = np.array([x.score for x in items], dtype=np.float64) if gold else None
    return grouped(
        [as_written(x.prompt, "prompt", parts) for x in items],
        [as_written(x.response, "completion", parts) for x in items],
        [x.turns for x in items],
        other_columns(found, [x.row for x in items]),
        numbers,
        found.source.name,
        len(found.items) - len(items),
    )


def there(
    path: str | Path | data.Source, columns: Mapping[str, str] | None, split: str | None = None
) -> dict[str, str] | None:
    """Return the names of columns that a file has, of those that are given for several files.

    Args:
        path: The file.
        columns: The column for each part.
        split: The split of a dataset that has several.
    """
    if not columns:
        return None
    source = data.open_source(path, split=split)
    first = islice(source.rows(data.Faults(source.name)), data.PEEK)
    has = {k for _, row in first for k in row}
    return {part: name for part, name in columns.items() if name in has} or None
