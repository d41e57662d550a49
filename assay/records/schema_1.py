"""Records of schema 1, the only place that knows their names: what each key is called today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RECORD = {"judges": "rewards", "chosen": "best_step"}
LOOP = {
    "steps": "max_steps",
    "batch": "batch_size",
    "n": "num_generations",
    "minibatch": "mini_batch_size",
    "lr": "learning_rate",
    "warmup": "warmup_steps",
}
RUN = {
    "every": "eval_steps",
    "save": "save_steps",
    "answers": "eval_generations",
    "keep": "log_completions",
    "micro": "micro_batch_size",
    "strict": "stop_on_nonfinite",
}
COST = {"drawn": "generated", "judged": "scored"}
LINE = {
    **COST,
    "judges": "rewards",
    "judges_err": "rewards_err",
    "price": "cost",
    "answer": "completion",
}
CURE = "it can be read and not written to: run again into another folder"


def record(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run.json of schema 1 under today's names; its schema stays 1."""
    names = {"loop": LOOP, "run": RUN, "fit": LOOP}
    return {k: _named(v, names[k]) if k in names else v for k, v in _named(about, RECORD).items()}


def line(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line of readings.jsonl or samples.jsonl under today's names."""
    new: dict[str, Any] = _named(row, LINE)
    if "cost" in new:
        new["cost"] = _named(new["cost"], COST)
    return {**new, "tag": "best"} if new.get("tag") == "chosen" else new


def _named(value: Any, names: Mapping[str, str]) -> Any:
    return {names.get(k, k): v for k, v in value.items()} if isinstance(value, dict) else value
