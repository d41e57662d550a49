"""World hub with what compares two completions, a function or a judge behind an address: asked in
both orders, and trained on.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from answering import servers
from test_worlds_hub import files, small

import assay
from assay.core import InputError, Loop, Rng
from assay.engine.parallel import meter
from assay.models.samplers.geometric_mixture import GeometricMixture
from assay.recipes import nash_md, nash_mp
from assay.watch.text_preference import TextPreference

__all__ = ["files"]

COMPARES = """
CALLS = []
def shorter(prompts, first, second, other, **columns):
    CALLS.append(list(zip(prompts, first, second, other)))
    # a judge that favours what it reads first
    return [min(1.0, 0.2 + (len(a) < len(b)) * 0.6 + (len(a) == len(b)) * 0.3)
            for a, b in zip(first, second)]
def silent(prompts, first, second):
    return ["none"] * len(prompts)
"""


@pytest.fixture
def compares(tmp_path: Path) -> str:
    (tmp_path / "compares.py").write_text(COMPARES, encoding="utf-8")
    return str(tmp_path / "compares.py")


def test_a_function_that_compares_is_a_preference_model(
    files: dict[str, str], compares: str
) -> None:
    world = small(files, preference=f"{compares}:shorter")
    task = world.task
    x = task.reference.sample(task.prompts[torch.arange(3)], 4, Rng(0)("x"))
    before = dict(meter.counts)
    found = task.preference(x, x)
    assert meter.counts["compared"] - before["compared"] == 3 * 6
    torch.testing.assert_close(found, -found.mT)
    texts = x.text()
    for b in range(3):
        for i in range(4):
            for j in range(4):
                gap = (len(texts[b][i]) < len(texts[b][j])) - (len(texts[b][i]) > len(texts[b][j]))
                assert float(found[b, i, j]) == pytest.approx(0.3 * gap, abs=1e-6)


def test_nash_recipes_train_a_language_model_on_it(files: dict[str, str], compares: str) -> None:
    loop = Loop(max_steps=2, batch_size=2, num_generations=2, learning_rate=1e-3)
    for recipe, own in (
        (nash_md.recipe, {"mixture": 0.25}),
        (nash_mp.recipe, {}),
        (nash_mp.recipe, {"form": "steps", "inner": 1}),
    ):
        task = small(files, preference=f"{compares}:shorter").task
        *_, last = recipe(task, loop=loop, **own)  # type: ignore[operator]
        moved = [
            float((p - q).detach().abs().max())
            for p, q in zip(last.policy.parameters(), task.reference.parameters(), strict=True)
        ]
        assert max(moved) > 0


def test_the_mixture_of_a_model_with_itself_draws_what_it_draws(files: dict[str, str]) -> None:
    reference = small(files).task.reference
    prompts = small(files).task.prompts[torch.arange(3)]
    alone = reference.sample(prompts, 3, Rng(0)("x"))
    mixed = GeometricMixture(reference, reference, weight=0.4).sample(prompts, 3, Rng(0)("x"))
    assert torch.equal(alone.action, mixed.action) and torch.equal(alone.ended, mixed.ended)
    torch.testing.assert_close(alone.logp, mixed.logp, rtol=1e-5, atol=1e-5)


def test_a_judge_behind_an_address_is_a_preference_model(
    files: dict[str, str], tmp_path: Path
) -> None:
    with servers("judge_server.py", tmp_path / "log") as begin:
        url = f"{begin('plain')}/v1"
        task = small(files, preference=url, preference_model="judge-1").task
        x = task.reference.sample(task.prompts[torch.arange(2)], 3, Rng(0)("x"))
        found, texts = task.preference(x, x), x.text()
        calls = (tmp_path / "log").read_text().splitlines()
    pairs = sum(texts[b][i] != texts[b][j] for b in range(2) for i in range(3) for j in range(i))
    assert pairs and len(calls) == 2 * pairs  # each pair in each order, once
    for b in range(2):
        for i in range(3):
            for j in range(3):
                gap = len(texts[b][i]) - len(texts[b][j])
                assert float(found[b, i, j]) == 0.5 * ((gap > 0) - (gap < 0))


def test_a_judge_that_mostly_says_nothing_ends_the_run(
    files: dict[str, str], tmp_path: Path
) -> None:
    with servers("judge_server.py", tmp_path / "log") as begin:
        url = f"{begin('words')}/v1"
        task = small(files, preference=url, preference_model="judge-1").task
        x = task.reference.sample(task.prompts[torch.arange(2)], 3, Rng(0)("x"))
        with pytest.raises(InputError, match=r"pairs got no verdict .*ends with A, B or TIE"):
            task.preference(x, x)


def test_a_few_pairs_without_a_verdict_are_ties_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said = TextPreference._say
    with caplog.at_level(logging.WARNING, logger="assay"):
        said([], 10)
        assert not caplog.records
        said(["unreadable reply: 'hm'"], 10)
    assert "1 of 10 pairs got no verdict" in caplog.text and "count as ties" in caplog.text
    with pytest.raises(InputError):
        said(["no reply"] * 3, 10)


def test_python_gives_a_function(files: dict[str, str], tmp_path: Path) -> None:
    def longer(prompts, first, second):  # type: ignore[no-untyped-def]
        return [0.5 + 0.5 * ((len(a) > len(b)) - (len(a) < len(b))) for a, b in zip(first, second)]

    settings = {
        "prompts": ["Hi", "Hello", "Hey", "Good day"],
        "model": files["policy"],
        "held_out": 1,
        "max_tokens": 4,
        "max_steps": 2,
        "quiet": True,
    }
    run = assay.train("spo", preference=longer, out=tmp_path / "run", **settings)
    assert run.state == "done" and run.readings[-1]["compared"] > 0
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["world"]["preference"] == "python:longer"
    with pytest.raises(InputError, match="preference is a int"):
        assay.train("spo", preference=3, **settings)


def test_what_is_no_comparison_is_refused_before_a_model_is_loaded(
    files: dict[str, str], compares: str
) -> None:
    with pytest.raises(InputError, match=r"give FILE\.py:name"):
        small(files, preference="judge")
    with pytest.raises(InputError, match="--preference-model is not given"):
        small(files, preference="http://127.0.0.1:9/v1")
    with pytest.raises(InputError):
        small(files, preference=f"{compares}:silent")
    with pytest.raises(InputError, match="pass --preference"):
        _ = small(files).task.preference


def test_a_recipe_that_compares_says_so_before_a_model_is_loaded(files: dict[str, str]) -> None:
    for recipe in ("nash_md", "nash_mp", "inpo", "spo", "dno", "magnetic_mirror_descent"):
        with pytest.raises(InputError, match="preference is required: "):
            assay.train(recipe, model=files["policy"], prompts=files["prompts"], quiet=True)
