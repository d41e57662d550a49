"""The grammar world in miniature: deterministic, cached on disk, gold apart from the task."""

from __future__ import annotations

import gc
import logging
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from assay.core import InputError, Rng, World
from assay.worlds import cache, grammar
from assay.worlds.grammar import world, written
from assay.worlds.language import TERMS

TINY: dict[str, Any] = {
    "pairs": 60,
    "members": 2,
    "held_out": 8,
    "demos": 100,
    "max_tokens": 24,
    "width": 16,
    "layers": 1,
    "sft_steps": 8,
    "reward_width": 16,
    "reward_layers": 1,
    "reward_steps": 4,
}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> World:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_CACHE", str(tmp_path_factory.mktemp("cache")))
        return world(**TINY)


def numbers(w: World) -> list[torch.Tensor]:
    x = w.task.reference.sample(w.held_out, 2, Rng(1))
    assert w.gold is not None
    return [
        x.action,
        x.logp,
        w.task.rewards(x),
        w.gold(x),
        w.task.pairs.action,
        w.task.demos.action,
    ]


def test_same_arguments_same_numbers_cached_or_built(tiny: World, tmp_path: Path) -> None:
    built, read = world(**TINY), world(**TINY)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    for one, two, three in zip(numbers(tiny), numbers(built), numbers(read), strict=True):
        assert torch.equal(one, two)
        assert torch.equal(two, three)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(numbers(world(**{**TINY, "seed": 1})), numbers(built), strict=True)
        if a.shape == b.shape
    )


def test_a_cached_world_is_not_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world(**TINY)
    monkeypatch.setattr(grammar, "fine_tune", lambda *_: pytest.fail("it was built again"))
    world(**TINY)
    with pytest.raises(pytest.fail.Exception):
        world(**{**TINY, "noise": 0.1})


def test_a_damaged_file_is_said_and_built_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = world(**TINY)
    (path,) = (tmp_path / "cache").iterdir()
    path.write_bytes(path.read_bytes()[:1000])
    with caplog.at_level(logging.WARNING, "assay"):
        again = world(**TINY)
    assert f"{path} is damaged (" in caplog.text and "is built again" in caplog.text
    assert all(torch.equal(a, b) for a, b in zip(numbers(first), numbers(again), strict=True))
    assert path.stat().st_size > 1000


def test_a_folder_that_cannot_be_written_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING, "assay"):
        world(**TINY)
    assert "cannot be written" in caplog.text


def test_the_key_is_arguments_and_sources(tmp_path: Path) -> None:
    a = cache.cache_path("w", {"seed": 0}, "assay.worlds.grammar")
    assert a == cache.cache_path("w", {"seed": 0}, "assay.worlds.grammar")
    assert a != cache.cache_path("w", {"seed": 1}, "assay.worlds.grammar")
    assert a != cache.cache_path("w", {"seed": 0}, "assay.worlds.sums")
    assert a.parent == tmp_path / "cache"


@pytest.mark.parametrize("name", ["grammar", "sums"])
def test_a_change_in_any_file_it_depends_on_is_another_key(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are found by reading imports, so none can be forgotten: the world's own is among
    them, and what it trains by.
    """
    home = cache.PACKAGE
    copy = tmp_path / "assay"
    shutil.copytree(home, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(cache, "PACKAGE", copy)
    cache.sources.cache_clear()
    module = f"assay.worlds.{name}"
    files = cache.sources(module)
    names = {f.relative_to(copy).as_posix() for f in files}
    assert {
        f"worlds/{name}.py",
        "engine/descend.py",
        "core/rng.py",
        "models/backbones/llama.py",
        "formulas/reduce.py",
    } <= names
    assert not {n for n in names if n.startswith(("recipes/", "report/", "cli/"))}
    before = cache.cache_path("w", {}, module)
    for file in files:
        text = file.read_bytes()
        file.write_bytes(text + b"# changed\n")
        assert cache.cache_path("w", {}, module) != before, file
        file.write_bytes(text)
    assert cache.cache_path("w", {}, module) == before
    cache.sources.cache_clear()


def test_the_gold_is_its_weighted_terms_and_dies_with_the_world() -> None:
    w = world(**TINY)
    x = w.task.reference.sample(w.held_out, 2, Rng(1))
    assert w.gold is not None
    golds = w.gold(x)
    assert w.golds == ("gold", *TERMS)
    assert torch.allclose(golds[0], golds[1:].sum(0), atol=1e-5)
    dead, task = weakref.ref(w.gold), w.task
    del w
    gc.collect()
    assert dead() is None
    assert torch.isfinite(task.rewards(x)).all()


def test_weights_weigh() -> None:
    w = world(**TINY)
    x = w.task.reference.sample(w.held_out, 2, Rng(1))
    one, two = written(torch.ones(6))(x), written(torch.tensor([2.0, 1, 1, 1, 1, 1]))(x)
    assert torch.allclose(two[0] - one[0], one[1], atol=1e-5)


def test_parts(tiny: World) -> None:
    task = tiny.task
    assert len(tiny.held_out) == 8
    assert len(task.prompts) == 232
    assert not set(tiny.held_out.text()) & set(task.prompts.text())
    assert set(task.pairs.prompts.text()) <= set(task.prompts.text())
    assert set(task.demos.prompts.text()) <= set(task.prompts.text())
    assert task.pairs.mask.shape[:2] == (60, 2)
    assert torch.allclose(task.pairs.logp, task.reference.logp(task.pairs), atol=1e-5)
    assert task.demos.mask.shape[1] == 1
    assert task.rewards.names == ("judge0", "judge1")
    assert not any(p.requires_grad for p in task.reference.parameters())
    assert tiny.arguments["noise"] == 0.25


def test_noise_turns_that_share_of_the_labels() -> None:
    """Without noise and with all noise the same pairs are labeled in opposite orders."""
    clean, turned = (world(**{**TINY, "noise": n}).task.pairs for n in (0.0, 1.0))
    same = clean.pick(torch.tensor([[1, 0]]).expand(60, 2))
    assert torch.equal(same.action, turned.action)


def test_clean_labels_prefer_gold() -> None:
    w = world(**{**TINY, "noise": 0.0, "pairs": 400, "reward_steps": 0})
    assert w.gold is not None
    gap = w.gold(w.task.pairs)[0]
    expected = torch.sigmoid((gap[:, 0] - gap[:, 1]).abs()).mean()
    right = (gap[:, 0] > gap[:, 1]).float() + 0.5 * (gap[:, 0] == gap[:, 1])
    assert float(right.mean()) == pytest.approx(float(expected), abs=0.08)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("noise", 1.5),
        ("noise", -0.1),
        ("held_out", 240),
        ("held_out", 0),
        ("pairs", 0),
        ("members", 0),
        ("demos", 0),
        ("max_tokens", 1),
    ],
)
def test_arguments_out_of_range(name: str, value: float) -> None:
    flag = name.replace("_", "-")
    with pytest.raises(InputError, match=f"--world.{flag} is {value}; it must be"):
        world(**{**TINY, name: value})
