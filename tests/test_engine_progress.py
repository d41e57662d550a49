"""Stages: what library code announces, who sees it, and that it changes no number."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from families import checkpoint
from test_worlds_hub import files, small  # noqa: F401  (a fixture)

from assay.core import Loop, World
from assay.engine import progress
from assay.engine.progress import Stage
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.models.backbones.pretrained import Pretrained
from assay.recipes import dpo, grpo


class Fake:
    """A display that remembers."""

    def __init__(self) -> None:
        self.open: list[Stage] = []
        self.seen: list[Stage] = []
        self.most: dict[Stage, float] = {}
        self.parts: dict[Stage, set[float]] = {}

    def opened(self, stage: Stage) -> None:
        assert stage.parent is (self.open[-1] if self.open else None)
        self.open.append(stage)
        self.seen.append(stage)

    def moved(self, stage: Stage) -> None:
        assert stage in self.open
        self.parts.setdefault(stage, set()).add(stage.reached)

    def closed(self, stage: Stage) -> None:
        assert self.open.pop() is stage, "stages close in the order in which they were opened"

    def named(self, start: str) -> list[Stage]:
        return [s for s in self.seen if s.name.startswith(start)]


LOOP = Loop(max_steps=3, batch_size=3, num_generations=2, learning_rate=1e-3)


def readings(world: World, **more: Any) -> list[dict[str, Any]]:
    config = MeasureConfig(eval_steps=2, eval_generations=2, **more)
    found = measure(grpo.recipe, world, loop=LOOP, config=config, name="grpo")
    return [{k: v for k, v in r.items() if k != "seconds"} for r in found]


def test_every_stage_is_closed_and_complete_and_changes_nothing(
    files: dict[str, str],
) -> None:
    alone = readings(small(files), micro_batch_size=2)
    fake = Fake()
    with progress.shown_by(fake):
        shown = readings(small(files), micro_batch_size=2)
    assert shown == alone
    assert fake.open == []
    short = [(s.name, s.done, s.total) for s in fake.seen if s.total and s.done != s.total]
    assert short == []
    (run,) = fake.named("grpo")
    assert (run.done, run.unit, run.parent) == (3, "steps", None)
    for start in ("loading", "tokenizing", "reading", "scoring", "learning", "generating", "KL"):
        assert fake.named(start), start
    step = [s for s in fake.named("generating 6 ") if s.parent is run]
    assert len(step) == LOOP.max_steps
    assert all(len(fake.parts[s]) >= 8 for s in step), "a bar moves at every token"
    learning = fake.named("learning")
    assert [s.total for s in learning] == [6] * 3, "six completions a step"
    inside = [sorted(fake.parts[s]) for s in learning]
    assert all(len(p) > 6 / 2 for p in inside), "and within a micro-batch, layer by layer"
    nested = [s for s in fake.seen if s.parent is not None and s.parent.name.startswith("reading")]
    assert {s.name.split()[0] for s in nested} >= {"generating", "scoring", "KL"}


def test_layers_move_a_stage_forward_and_back(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint(tmp_path / "m", "llama"))
    backbone, fake = Pretrained(model), Fake()
    tokens = torch.arange(8)[None]
    ask, keep = tokens[:, :4], torch.ones(1, 4, dtype=torch.bool)
    with progress.shown_by(fake), progress.stage("learning", 1, "completions") as stage:
        hidden, _ = backbone.hidden_states(ask, keep, tokens[:, None, 4:], keep[:, None])
        there = stage.reached
        hidden.sum().backward()
    assert 0 < there < 0.5 < stage.reached <= 1
    assert not any(m._forward_hooks for m in model.modules()), "no hook stays"


def test_a_recipe_of_pairs_is_announced(files: dict[str, str], tmp_path: Path) -> None:
    import json

    asks = [f"what of {i}" for i in range(6)]
    rows = [{"prompt": a, "chosen": "the mill", "rejected": "a pond"} for a in asks]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    world = small(files, pairs=str(tmp_path / "pairs.jsonl"))
    fake, config = Fake(), MeasureConfig(eval_steps=5, eval_generations=1)
    with progress.shown_by(fake):
        list(measure(dpo.recipe, world, loop=LOOP, config=config))
    assert len(fake.named("learning")) == 3 and fake.open == []


def test_without_a_display_nothing_is_made() -> None:
    with progress.stage("a", 3) as first, progress.stage("b", 5) as second:
        first.advance(2)
        first.upcoming(1)
        first.within(0.5)
        assert first is second and progress.current() is None
    assert (first.done, first.total, first.name) == (0, None, "")


def test_other_processes_and_threads_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake()
    with progress.shown_by(fake):
        thread = threading.Thread(target=lambda: list(progress.over([1], "elsewhere")))
        thread.start()
        thread.join()
    monkeypatch.setenv("RANK", "1")
    with progress.shown_by(fake):
        list(progress.over([1, 2], "second process"))
    assert fake.seen == []


def test_a_stage_that_was_given_up_is_left_behind() -> None:
    """A generator that nobody finishes closes its stage late, and hides no later one."""

    class Lax(Fake):
        def closed(self, stage: Stage) -> None:
            if stage in self.open:
                del self.open[self.open.index(stage) :]

    lax = Lax()
    with progress.shown_by(lax):
        with progress.stage("outer"):
            going = progress.over([1, 2], "inner")
            next(going)
        assert progress.current() is None and lax.open == []
        with progress.stage("later") as later:
            going.close()
            assert progress.current() is later
    assert lax.open == []


def test_a_resumed_run_counts_its_rate_from_where_it_began() -> None:
    with progress.shown_by(Fake()), progress.stage("run", 10, "steps") as run:
        run.begin_at(6)
        run.advance()
        run.upcoming(2)
        run.within(0.5)
        run.within(0.2)
        assert (run.first, run.done, run.reached) == (6, 7, 8.0)
