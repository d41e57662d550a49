"""Items as the rows that rewards of text read, and rows scored one reward at a time.

A row that a reward cannot score gets an error of its own: the rows are halved until it stands
alone, so that no item fails because of the items that happen to share its batch.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.data.given import given_texts
from assay.data.turns import Turns
from assay.errors import InputError
from assay.models.text_encoder import Templated
from assay.rewards.function import FunctionReward
from assay.rewards.http import HttpFunction
from assay.rewards.text_scorer import TextReward
from assay.serve.item import Item

log = logging.getLogger("assay.serve")
RESERVED = ("prompts", "completions", "messages")  # parameters of reward functions
UNTOLD = "reward {} could not score this item; the server's log says why"


@dataclass(frozen=True)
class Row:
    """One item as texts.

    Attributes:
        prompt: The prompt.
        completion: The completion.
        turns: The prompt's conversation, or None where it is plain text.
        columns: The item's other fields.
        whole: The item as one text that a chat template wrote; empty where it is none.
        decoded: The item as one text that a chat template may have written.
    """

    prompt: str
    completion: str
    turns: Turns | None
    columns: Mapping[str, Any]
    whole: str = ""
    decoded: str = ""

    def templated(self, reward: TextReward) -> str:
        """The item as one text that a chat template wrote, for a reward that reads tokens."""
        encoder = getattr(reward, "encoder", None)
        if self.whole or not self.decoded or encoder is None:
            return self.whole
        return "" if encoder.marks.first(self.prompt) is None else self.decoded


def row_of(item: Item) -> Row:
    """Read an item.

    Raises:
        InputError: Prompt or completion is neither text nor messages, or a column has a name that
            reward functions need for something else.

    Example:
        >>> row_of(Item([{"role": "user", "content": "Hi"}], "Hello!")).prompt
        'Hi'
    """
    for name in RESERVED:
        if name in item.columns:
            raise InputError(f"a column is named '{name}', which is no name of a column; rename it")
    if item.text and not item.prompt and not item.completion:
        return Row("", item.text, None, item.columns, item.text)
    prompts, completions, turns = given_texts([item.prompt], [item.completion])
    return Row(prompts[0], completions[0], turns[0], item.columns, item.text, item.decoded)


@dataclass(frozen=True)
class Scored:
    """What one reward gave to some rows.

    Attributes:
        scores: Every member's score of every row, NaN where it has none.
        errors: Why a row has none, by row.
        cut: The rows of which only a part was read.
    """

    scores: Float[Tensor, "M R"]
    errors: dict[int, str]
    cut: frozenset[int]


def score_rows(reward: TextReward, rows: Sequence[Row]) -> Scored:
    """Score rows by one reward.

    Args:
        reward: An open reward.
        rows: The rows, in any order; each is scored as it is alone.

    Returns:
        Its scores.
    """
    scores = torch.full((len(reward.names), len(rows)), torch.nan, dtype=torch.float64)
    errors, cut = dict[int, str](), set[int]()
    for some in _alike(reward, rows, errors):
        _halving(reward, rows, some, scores, errors, cut)
    if not reward.partial:
        for i in (~torch.isfinite(scores)).any(0).nonzero()[:, 0].tolist():
            errors.setdefault(i, f"reward {reward.names[0]} gave a score that is not finite")
    return Scored(scores, errors, frozenset(cut))


def _alike(reward: TextReward, rows: Sequence[Row], errors: dict[int, str]) -> list[list[int]]:
    """Part rows by the columns that the reward gets of them, so that a call has whole columns."""
    found = dict[frozenset[str], list[int]]()
    needs = getattr(reward, "needs", None) or {c for c in [getattr(reward, "column", "")] if c}
    for i, row in enumerate(rows):
        lacking = sorted(needs - row.columns.keys())
        if lacking:
            errors[i] = f"reward {reward.names[0]} needs a column '{lacking[0]}'"
        else:
            found.setdefault(frozenset(_columns(reward, row)), []).append(i)
    return list(found.values())


def _columns(reward: TextReward, row: Row) -> Mapping[str, Any]:
    if not isinstance(reward, FunctionReward):
        return {}
    return {k: v for k, v in row.columns.items() if reward.open or k in reward.takes}


def _halving(
    reward: TextReward,
    rows: Sequence[Row],
    at: list[int],
    scores: Tensor,
    errors: dict[int, str],
    cut: set[int],
) -> None:
    """Score the rows at some places; where that fails, each half of them."""
    some = [rows[i] for i in at]
    try:
        found, short = _called(reward, some)
    except Exception as why:  # a user's function and a tokenizer may raise anything
        if len(at) > 1 and not isinstance(getattr(reward, "function", None), HttpFunction):
            for half in (at[: len(at) // 2], at[len(at) // 2 :]):
                _halving(reward, rows, half, scores, errors, cut)
            return
        told = isinstance(why, InputError) and not isinstance(reward, FunctionReward)
        said = str(why) if isinstance(why, InputError) else f"{type(why).__name__}: {why}"
        log.warning(
            "not scored",
            exc_info=None if isinstance(why, InputError) else why,
            extra={"fields": {"reward": reward.names[0], "items": len(at), "why": said}},
        )
        errors |= dict.fromkeys(at, said if told else UNTOLD.format(reward.names[0]))
        return
    scores[:, at] = found
    cut |= {at[k] for k in short}


def _called(reward: TextReward, rows: Sequence[Row]) -> tuple[Tensor, list[int]]:
    """Call a reward; return (its scores, the places of rows of which it read only a part)."""
    tokens = hasattr(reward, "scores_at")
    wholes = [row.templated(reward) if tokens else "" for row in rows]
    asks, said = list[str](), list[str]()
    for row, whole in zip(rows, wholes, strict=True):
        begins = _begins(reward, whole)
        asks.append(Templated(begins) if whole else row.prompt)
        said.append(Templated(whole.removeprefix(begins)) if whole else row.completion)
    turns = [None if whole else row.turns for row, whole in zip(rows, wholes, strict=True)]
    columns = {k: [row.columns[k] for row in rows] for k in _columns(reward, rows[0])}
    found = reward.scores(asks, said, turns, columns).detach().double().cpu()
    encoded = getattr(reward, "scored_rows", ())
    return found, [k for k, row in enumerate(encoded) if row.cut]


def _begins(reward: TextReward, whole: str) -> str:
    """The BOS that a whole text begins with: a prompt gets one, and there must not be two."""
    bos = getattr(getattr(reward, "tokenizer", None), "bos_token", None) or ""
    return bos if whole.startswith(bos) else ""
