"""Evaluate a reward on labels: scores of a pool's texts, or a reward and a file."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from assay import data
from assay.data.model_trust import trusting
from assay.errors import InputError, NotFinite
from assay.records.lines import decode
from assay.records.runs import digest
from assay.rewards.evaluation import Evaluation, MemberEvaluation
from assay.rewards.fit_labels import labels, other_columns
from assay.rewards.http import TIMEOUT
from assay.rewards.load import open_reward
from assay.rewards.pool import Pool, compared
from assay.rewards.pool_tokens import marks_of, same_rows, same_tokens
from assay.rewards.text_scorer import TextReward
from assay.stats.calibration import calibration
from assay.stats.margins import agreement, by_length, by_margin, disagreement
from assay.stats.proportions import clustered_share

log = logging.getLogger("assay")


def evaluated(
    pool: Pool, scores: Float[Tensor, "M R"], names: Sequence[str], on: str
) -> Evaluation | None:
    """Evaluate scores of a pool's texts.

    Args:
        pool: Pairs or scored responses; responses of equal score are not compared.
        scores: Every member's score of every text; NaN where the reward does not apply.
        names: The members' names.
        on: What the pool is, in words.

    Returns:
        The evaluation; None where no two texts can be compared.
    """
    at, p, weight, undecided = compared(pool)
    each = scores.double().numpy()
    margins = each[:, at[:, 0]] - each[:, at[:, 1]]
    here = np.isfinite(margins).all(0)
    if not here.any():
        return None
    margins, at, p, weight = margins[:, here], at[here], p[here], weight[here]
    group = pool.group.numpy()[at[:, 0]]
    size = np.array([len(t) for t in pool.responses])
    parts = max(1, min(4, len(at) // 10))  # accuracy of fewer pairs says nothing
    whole = _one("ensemble", margins.mean(0), p, weight, group)
    return Evaluation(
        on=on,
        pairs=len(at),
        prompts=len(np.unique(group)),
        accuracy=whole.accuracy,
        ties=whole.ties,
        calibration=whole.calibration,
        length=by_length(margins.mean(0), size[at[:, 0]] - size[at[:, 1]], group, weight),
        by_margin=by_margin(margins.mean(0), group, weight, parts),
        members=tuple(_one(n, m, p, weight, group) for n, m in zip(names, margins, strict=True)),
        disagreement=disagreement(margins),
        undecided=undecided,
        unscored=int((~here).sum()),
    )


def _one(name: str, margin: Any, p: Any, weight: Any, group: Any) -> MemberEvaluation:
    share = clustered_share(agreement(margin), group, weight)
    assert share is not None
    ties = int((margin == 0).sum())
    return MemberEvaluation(name, share, ties, calibration(margin, p, weight))


def scores_of(reward: TextReward, pool: Pool, columns: Any = None) -> Float[Tensor, "M R"]:
    """Score a pool's texts; a reward that reads tokens names the row that it cannot read.

    Args:
        reward: A reward of texts.
        pool: The texts.
        columns: The file's other columns, one value a text.

    Raises:
        NotFinite: A score is not finite, and the reward does not say that NaN means "does not
            apply".
    """
    at = getattr(reward, "scores_at", None)
    if at is None:
        return finite(reward, reward.scores(pool.prompts, pool.responses, pool.turns, columns))
    for note in marks_of(pool, reward.encoder):  # type: ignore[attr-defined]
        log.warning("assay: %s: %s", pool.file, note)
    rows = pool.prompts, pool.responses, pool.turns, pool.replies, pool.places()
    return finite(reward, at(*rows))


def apart(reward: TextReward, pool: Pool, scores: Float[Tensor, "M R"]) -> tuple[Pool, Tensor]:
    """Leave out pairs whose completions are the same tokens to a reward, and warn about them.

    Args:
        reward: A reward of texts.
        pool: The texts that it scored last.
        scores: Its scores.

    Returns:
        (the other pairs, their scores).

    Raises:
        InputError: No pair is left.
    """
    rows = getattr(reward, "scored_rows", ())
    same = same_rows(pool, rows) if rows else None
    if same is None:
        return pool, scores
    said = same_tokens(pool, same, rows)
    log.warning("assay: %s: %s", pool.file, said)
    return pool.without(same), scores[:, pool.kept(same)]


def finite(reward: TextReward, scores: Float[Tensor, "M R"]) -> Float[Tensor, "M R"]:
    """Return the scores of a reward, and raise NotFinite where one should be a number and is none.

    Args:
        reward: The reward; if it is partial, NaN means "does not apply".
        scores: Its scores.
    """
    bad = ~torch.isfinite(scores) & ~(torch.isnan(scores) & reward.partial)
    if bool(bad.any()):
        m, i = (int(x) for x in bad.nonzero()[0])
        raise NotFinite(
            f"member '{reward.names[m]}' scored text {i + 1} of {scores.shape[1]} as "
            f"{float(scores[m, i])} ({int(bad.sum())} scores are not finite): its weights are "
            "damaged; fit the reward again"
        )
    return scores


def evaluate_on(
    reward: TextReward,
    source: str | Path | data.Source,
    *,
    columns: Mapping[str, str] | None = None,
    label_map: Mapping[Any, Any] | None = None,
    split: str | None = None,
    score: str | None = None,
    limit: int | None = None,
    drop: bool = False,
    templated: Sequence[str] = (),
) -> Evaluation:
    """Evaluate a reward on labels.

    Args:
        reward: A reward of texts.
        source: Pairs or scored responses: a file, a hub name, or rows in memory.
        columns: The file's column for each part, such as {"prompt": "question"}.
        label_map: What the label column's values stand for, such as {"1": "first", "0": "second"}.
        split: Which part of a dataset with several.
        score: The column of scored responses.
        limit: Most characters of prompt plus completion.
        drop: Leave rows with faults out and count them.
        templated: Parts of the rows that a chat template wrote already, such as prompt.

    Returns:
        The evaluation.

    Raises:
        InputError: The labels cannot be used, or the reward applies to none of them.
    """
    found = labels(
        source,
        columns=columns,
        label_map=label_map,
        split=split,
        score=score,
        limit=limit,
        drop=drop,
    )
    name = found.source.name
    pool, _ = Pool.of(found, templated).comparable(name, found.layout.parts.get("score", ""))
    others = other_columns(found, pool.row.tolist())
    pool, scores = apart(reward, pool, scores_of(reward, pool, others))
    evaluation = evaluated(pool, scores, reward.names, name)
    if evaluation is None:
        raise InputError(
            f"{name} has no pair that can be compared: every label prefers neither, or "
            f"{', '.join(reward.names)} applies to none; give other pairs"
        )
    if evaluation.ties == evaluation.pairs:
        log.warning("assay: %s", _all_ties(reward, pool, evaluation.pairs))
    return evaluation


def _all_ties(reward: TextReward, pool: Pool, pairs: int) -> str:
    """A sentence on a reward that tells no pair's texts apart."""
    what = f"{', '.join(reward.names)} gives both texts of all {pairs} pairs the same score"
    if getattr(reward, "kind", "") == "function" and any(t is not None for t in pool.turns):
        what += (
            "; the file holds conversations, so a function gets prompts and completions as lists "
            "of messages (with a parameter `messages`, completions are texts)"
        )
    return what


def _fitted_on(rewards: str, path: str | Path) -> bool:
    """Whether a folder of assay fit was fitted to this very file."""
    about, file = Path(rewards) / "fit.json", Path(path)
    if not about.is_file() or not file.is_file():
        return False
    inputs = decode(about.read_bytes(), str(about), "fit the reward again").get("inputs")
    return isinstance(inputs, dict) and digest(file) in inputs.values()


def evaluate(
    rewards: str,
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    label_map: Mapping[str, str] | None = None,
    split: str | None = None,
    score: str | None = None,
    limit: int | None = None,
    drop: bool = False,
    templated: tuple[str, ...] = (),
    reward_timeout: float = TIMEOUT,
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Evaluate a reward on a file of pairs or scored responses.

    Args:
        rewards: A folder of assay fit, a sequence classifier (folder or hub name), FILE.py:name or
            a URL.
        path: The file of pairs or scored responses.
        columns: The file's column for each part, such as prompt=question.
        label_map: What the label column's values stand for, such as 1=first,0=second: first,
            second, tie, drop, or the probability that the first one is better; for scores numbers.
        split: Which part of a dataset with several.
        score: The column of scored responses; they are compared within prompts only.
        limit: Most characters of prompt plus completion.
        drop: Leave rows with faults out and count them.
        templated: Parts of the rows that a chat template wrote already, such as prompt.
        reward_timeout: Seconds that one call of a reward server may take. A call that fails is
            repeated for 300 seconds at most, or for two timeouts where those are longer.
        trust_remote_code: Run Python code that comes with the reward's model (auto_map) and kernels
            that its settings name.

    Returns:
        The evaluation as JSON can hold it, and its lines under `says`.

    Raises:
        InputError: The reward or the file cannot be used.
    """
    with trusting(trust_remote_code):
        reward = open_reward(rewards, "rewards", timeout=reward_timeout)
    if _fitted_on(rewards, path):
        log.warning(
            "assay: %s was fitted to these pairs, so the evaluation is too good; give pairs that "
            "it never saw, or see the evaluation of assay fit",
            rewards,
        )
    found = evaluate_on(
        reward,
        path,
        columns=columns,
        label_map=label_map,
        split=split,
        score=score,
        limit=limit,
        drop=drop,
        templated=templated,
    )
    return {"rewards": rewards, "file": str(path), **found.plain()}
