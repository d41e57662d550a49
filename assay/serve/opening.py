"""Rewards opened for a server, what /v1/models tells of them, and the limit of their spread."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from assay import data
from assay.core.prompt_texts import messages
from assay.data.model_trust import trusting
from assay.engine import progress
from assay.errors import InputError
from assay.records.input_digests import digests
from assay.rewards.fit_labels import other_columns
from assay.rewards.load import open_reward
from assay.rewards.pool import Pool
from assay.rewards.score_file import wanted
from assay.rewards.text_scorer import TextReward
from assay.serve.config import ServeConfig
from assay.serve.core import Scorer
from assay.serve.item import Item, Score

_AT_ONCE = 256  # items of a calibration file that are scored at a time


def opened(
    specs: Sequence[Any], config: ServeConfig
) -> tuple[Callable[[Sequence[Item]], list[Score]], dict[str, Any]]:
    """Open rewards.

    Args:
        specs: What `--rewards` takes, or open rewards.
        config: How their scores become one number.

    Returns:
        (what scores items, what /v1/models tells).

    Raises:
        InputError: One cannot be opened.
    """
    with trusting(config.trust_remote_code):
        rewards = [open_reward(s, "rewards") for s in specs]
    scorer = Scorer(rewards, config.stacking)
    if len(scorer.names) < 2 and (config.spread_limit is not None or config.calibrate):
        raise InputError(
            f"{scorer.names[0]} is one member, which has no spread, so that nothing can be called "
            "out of distribution; leave out --spread-limit and --calibrate, or give several rewards"
        )
    told = [_told(s, r) for s, r in zip(specs, rewards, strict=True)]
    known = [str(t["digest"]) for t in told if t["digest"]]
    whole = hashlib.sha256("\n".join(known).encode()).hexdigest() if known else None
    about = {
        "id": config.name or "+".join(t["name"] for t in told),
        "object": "model",
        "owned_by": "assay",
        "digest": (known[0] if len(known) == 1 else whole) if len(known) == len(told) else None,
        "members": list(scorer.names),
        "aggregate": config.aggregate,
        "shape": config.shape,
        "spread_limit": config.spread_limit,
        "rewards": told,
    }
    return scorer.score, about


def _told(spec: Any, reward: TextReward) -> dict[str, Any]:
    """What is known of one reward."""
    text = spec if isinstance(spec, str) else ""
    path = text.rpartition(":")[0] if ".py:" in text else text
    remote = text.startswith(("http://", "https://", "match:", "answer:"))
    found = {} if remote or not path else digests(path)
    template = getattr(reward, "template", None)
    tokenizer = getattr(reward, "tokenizer", None)
    chat = getattr(tokenizer, "chat_template", None)
    return {
        "name": Path(text).name if text else reward.names[0],
        "kind": reward.kind,
        "members": list(reward.names),
        "digest": found.get(path),
        "template": None if template is None else template.form,
        "chat_template_sha256": hashlib.sha256(chat.encode()).hexdigest()
        if isinstance(chat, str)
        else None,
        "max_length": None if template is None else template.max_length,
        "truncation": None
        if template is None
        else "the prompt from its beginning, then the completion from its end",
        "activation": None,
    }


def calibrated(
    score: Callable[[Sequence[Item]], list[Score]], config: ServeConfig
) -> tuple[ServeConfig, dict[str, Any]]:
    """Set the spread limit to a quantile of the spreads on a file.

    Args:
        score: What scores items.
        config: It names the file and the quantile.

    Returns:
        (the configuration with the limit, how it was found).

    Raises:
        InputError: The file cannot be read, or no row of it has a spread.
    """
    path = config.calibrate
    with progress.stage(f"reading {path}"):
        found = data.scan_file(path, drop=True, keep=True, want=wanted(path, None, None))
    pool = Pool.of(found)
    columns = other_columns(found, pool.row.tolist())
    items = [
        Item(p if t is None else messages(p, t), c, {k: v[i] for k, v in columns.items()})
        for i, (p, c, t) in enumerate(zip(pool.prompts, pool.responses, pool.turns, strict=True))
    ]
    spreads = list[float]()
    with progress.stage(f"calibrating on {path}", len(items), "completions") as going:
        for i in range(0, len(items), _AT_ONCE):
            some = items[i : i + _AT_ONCE]
            spreads += [s.spread for s in score(some) if s.spread is not None]
            going.advance(len(some))
    if not spreads:
        raise InputError(
            f"--calibrate is {path}, and none of its {len(items):,} completions is scored by all "
            "members; give a file like the one that the reward was fitted to"
        )
    limit = float(np.quantile(spreads, config.calibrate_quantile))
    how = {"file": path, "quantile": config.calibrate_quantile, "completions": len(spreads)}
    return replace(config, spread_limit=limit, calibrate=""), how
