"""Writes a reward's folder, loads it back, and compares scores before the folder gets its name.

Whole models are loaded by plain transformers; linear heads have no class there, and are loaded by
`load_reward`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from assay.data.model_trust import trusting
from assay.data.opening import opening
from assay.data.turns import Turns
from assay.engine.quiet import quiet_libraries
from assay.engine.whole_folder import whole_folder
from assay.errors import InputError
from assay.records.loaded_back import runs_own_code
from assay.rewards import fitted_preference
from assay.rewards.encoder import KIND, ModelReward
from assay.rewards.folder import describe
from assay.rewards.load import load_reward
from assay.rewards.pool import Pool

# prompt, response, conversation
Rows = Sequence[tuple[str, str, Turns | None]]
PLAIN_ROWS: Rows = (
    ("What is the capital of France?", "Paris.", None),
    ("What is the capital of France?", "I would rather not say, sorry.", None),
    (
        "Write a line of verse.",
        "The river keeps what rain has lent, and lends it to the sea.",
        None,
    ),
    ("2 + 2?", "", None),
)


@dataclass(frozen=True)
class ScoreAgreement:
    """How close a saved reward is to the one in memory.

    Attributes:
        worst: The largest difference of a score.
        rows: Rows that were scored.
        by: What loaded the folder.
    """

    worst: float
    rows: int
    by: str

    def __str__(self) -> str:
        return (
            f"loaded by {self.by}, its scores of {self.rows} rows differ by at most "
            f"{self.worst:.2g} from those in memory"
        )


def save_reward(
    reward: Any,
    out: Path | str,
    rows: Rows = PLAIN_ROWS,
    more: Callable[[Path], None] = lambda folder: None,
) -> ScoreAgreement:
    """Write a reward to a folder, and compare what the folder gives with what is in memory.

    Args:
        reward: A reward of texts with `save`.
        out: A name that is free, or an empty folder.
        rows: What is scored.
        more: Writes further files to the folder.

    Returns:
        How close they are.

    Raises:
        InputError: The folder gives other scores; it is not left behind.
    """
    out = Path(out)
    asks, texts, turns = ([row[i] for row in rows] for i in range(3))
    with whole_folder(out) as folder:
        reward.save(folder)
        mine = reward.scores(asks, texts, turns).double().cpu()
        whole = describe(folder)["kind"] == KIND
        try:
            # code that made the reward in this process is trusted already
            with quiet_libraries(models=True), trusting(_own_code(reward)):
                theirs = _plainly(reward, folder) if whole else [_loaded(folder)]
                found = [one.scores(asks, texts, turns).double().cpu() for one in theirs]
        except Exception as why:  # transformers raises many types for one thing
            said = " ".join(str(why).split())[:200].replace(str(folder), str(out))
            raise InputError(
                f"{out} was not written: it could not be loaded back ({type(why).__name__}: {said})"
            ) from why
        close = _compared(mine, torch.cat(list(found)), _near(reward), out, whole=whole)
        more(folder)
    return close


def _loaded(folder: Path) -> Any:
    """What a folder holds: a reward, or a model that compares."""
    if describe(folder)["kind"] == fitted_preference.KIND:
        return fitted_preference.FittedPreference.load(folder)
    return load_reward(folder)


def _plainly(reward: Any, folder: Path) -> Any:
    """Yield each member as transformers loads it, one in memory at a time."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    device = next(reward.models[0].parameters()).device
    for name in reward.names:
        at = str(folder / name)
        with opening(at, f"the member is '{at}'") as how:
            more: Any = {"dtype": "auto", "use_safetensors": True}
            model = AutoModelForSequenceClassification.from_pretrained(at, **more, **how)
            tokenizer = AutoTokenizer.from_pretrained(at, **how)
        yield ModelReward([model.to(device).eval()], tokenizer, reward.template, [name])


def _own_code(reward: Any) -> bool:
    """Whether a model of a reward was made by code that came with it."""
    inner = getattr(reward, "embedding", reward)  # of a general preference model
    embedder = getattr(getattr(inner, "embedder", None), "model", None)
    return any(runs_own_code(m) for m in (*getattr(reward, "models", ()), embedder))


def _near(reward: Any) -> float:
    """The difference that rounding explains, of scores of about 1."""
    weights = [p for m in getattr(reward, "models", ()) for p in m.parameters()]
    rounded = any(p.dtype in (torch.bfloat16, torch.float16) for p in weights)
    return 5e-2 if rounded else 1e-4


def _compared(
    mine: Tensor, theirs: Tensor, near: float, out: Path, *, whole: bool
) -> ScoreAgreement:
    by = "plain transformers" if whole else "assay"
    apart = (mine - theirs).abs()
    close = ScoreAgreement(float(apart.max()), mine.shape[1], by)
    if not close.worst <= near * max(1.0, float(mine.abs().max())):
        raise InputError(
            f"{out} was not written, because it would be another reward than the one that was "
            f"fitted: {close}; fit all weights, without --lora, and report this"
        )
    return close


def rows_of(pool: Pool, most: int = 8) -> Rows:
    """Return a few rows to compare scores on, evenly spread.

    Args:
        pool: The texts of a fit.
        most: The number of rows.
    """
    at = sorted({i * (len(pool) - 1) // max(1, most - 1) for i in range(most)})
    return [(pool.prompts[i], pool.responses[i], pool.turns[i]) for i in at]
