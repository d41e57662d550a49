"""The page for users of TRL names every argument and metric that TRL has."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

pytest.importorskip("trl")

PAGE = Path(__file__).resolve().parents[1] / "docs" / "coming-from-trl.md"
CONFIGS = ("GRPOConfig", "RLOOConfig", "DPOConfig", "RewardConfig")
TRAINERS = ("GRPOTrainer", "RLOOTrainer", "DPOTrainer", "RewardTrainer")


@pytest.mark.parametrize("name", CONFIGS)
def test_every_argument_is_named(name: str) -> None:
    import transformers
    import trl

    theirs = {f.name for f in dataclasses.fields(getattr(trl, name))}
    common = {f.name for f in dataclasses.fields(transformers.TrainingArguments)}
    named = set(re.findall(r"\w+", PAGE.read_text("utf-8")))
    assert sorted(theirs - common - named) == []


@pytest.mark.parametrize("name", TRAINERS)
def test_every_metric_is_named(name: str) -> None:
    import trl

    source = inspect.getsource(inspect.getmodule(getattr(trl, name)))  # type: ignore[arg-type]
    text = PAGE.read_text("utf-8")
    for metric in set(re.findall(r'_metrics\[mode\]\["([\w/]+)"\]', source)):
        families = (f"{metric.split('/')[0]}/…", f"{metric.rpartition('/')[0]}/…")
        assert f"`{metric}`" in text or any(f"`{f}`" in text for f in families), metric
