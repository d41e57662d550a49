"""Inside another trainer: the watch says what its labels can find, and labelers read whole rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from test_watch_trl import CALM, PROMPTS, ByHand, callback

from assay.interop.trl import WatchCallback
from assay.records.runs import Run
from assay.watch.config import WatchConfig


def test_it_says_what_its_labels_can_find_and_a_small_budget_lasts(tmp_path: Path) -> None:
    """A budget of 60 went at the first look; now every look has a label."""
    said: list[str] = []
    small = WatchConfig(budget=60, reference=0)
    hand = ByHand(callback(tmp_path / "run", config=small, say=said.append))
    hand.begin()
    assert "60 labels for 15 looks: 2 a look, and 30 in reserve" in said[0]
    assert "by simulation, falls" in said[1]
    hand.train(lambda t: 0.0)
    looks = [r["watch"] for r in Run.open(tmp_path / "run").readings()]
    assert len(looks) == 15 and all(w["bought"] >= 2 for w in looks)
    assert looks[-1]["labels"] <= 60


def test_rows_and_conversations_reach_the_labeler(tmp_path: Path) -> None:
    """Text by default, messages if asked for, and every column of the row."""
    seen: list[Any] = []

    def judge(prompt: str, first: str, second: str, answer: int, messages: Any) -> str:
        seen.append((prompt, answer, messages))
        return "tie"

    talk = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "w1"}]
    rows = [{"prompt": talk, "answer": 0}, *({"prompt": p, "answer": 1} for p in PROMPTS)]
    hand = ByHand(
        WatchCallback(
            rows,
            by=judge,
            folder=tmp_path / "run",
            eval_steps=2,
            max_tokens=4,
            config=CALM,
            say=lambda text: None,
        ),
        steps=2,
    )
    hand.begin()
    assert seen[0] == ("System: be brief\n\nHuman: w1", 0, talk)
    hand.train(lambda t: 0.0)
    assert len(seen) == 9 and all(
        answer == 1 and messages == [{"role": "user", "content": prompt}]
        for prompt, answer, messages in seen[1:]
    )
