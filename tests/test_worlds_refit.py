"""A world's judges fitted anew by a paper's file, and worlds that are a file of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from assay import cli
from assay.core import Standardised
from assay.errors import InputError, Missing
from assay.records.runs import Run
from assay.registry import catalogue
from assay.worlds import table
from assay.worlds.refit import refitted

SMALL = {"testbed": "bandit", "prompts": 8, "responses": 24, "pairs": 200, "members": 3}
MINE = '''
from assay.worlds import table
def world(*, seed: int = 0, pairs: int = 50):
    """A world of my own."""
    return table.world(seed=seed, testbed="bandit", prompts=4, responses=24, pairs=pairs, members=2)
'''


def test_only_the_reward_models_are_new() -> None:
    world = table.world(seed=1, **SMALL)
    other = refitted(world, "bradley_terry", {"max_steps": 20})
    assert (
        other.task.reference is world.task.reference
        and other.gold is world.gold
        and other.task.pairs is world.task.pairs
    )
    x = world.task.reference.sample(world.held_out, 4, world.task.rng("look"))
    before, after = world.task.rewards(x), other.task.rewards(x)
    assert after.shape[0] == 3 and not torch.allclose(before[:, :, :], after)
    assert other.facts is not None and set(other.facts(world.task.reference)) == {
        "gold",
        "kl",
    }  # the old judges' are left out


@pytest.mark.full
def test_fitting_longer_fits_better_and_twice_is_the_same() -> None:
    """The arguments reach the fit: its Loop's fields and its constants."""
    world = table.world(seed=1, **SMALL)

    def accuracy(**arguments: float) -> float:
        scores = refitted(world, "bradley_terry", arguments).task.rewards(world.task.pairs)
        return float((scores[:, :, 0] > scores[:, :, 1]).float().mean())

    assert (
        accuracy(max_steps=1, learning_rate=1e-6)
        < accuracy(max_steps=200)
        == accuracy(max_steps=200)
    )
    x = world.task.pairs
    flat, held = (
        refitted(world, "bradley_terry", {"max_steps": 30, "smoothing": s}).task.rewards(x)
        for s in (0.0, 0.3)
    )
    assert not torch.equal(flat, held)


def test_standardised_has_mean_zero_and_deviation_one_and_keeps_them_for_some_members() -> None:
    world = table.world(seed=1, **SMALL)
    x = world.task.reference.sample(world.held_out, 8, world.task.rng("look"))
    scaled = Standardised(world.task.rewards.reward, x)
    scores = scaled(x)
    assert (
        scores.mean((1, 2)).abs().max() < 1e-5
        and (scores.std((1, 2), correction=0) - 1).abs().max() < 1e-5
    )
    assert torch.equal(scaled.only([2])(x)[0], scores[2])


def test_what_cannot_be_refitted_is_said() -> None:
    world = table.world(seed=1, **SMALL)
    with pytest.raises(InputError, match="--fit is 'dpo', a recipe"):
        refitted(world, "dpo", {})
    world.refit = None
    with pytest.raises(Missing, match="no reward models to fit anew"):
        refitted(world, "bradley_terry", {})


def test_run_with_a_fit_is_recorded_resumed_and_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        "--world",
        "table",
        "--world.testbed",
        "bandit",
        "--world.responses",
        "24",
        "--world.pairs",
        "60",
        "--max-steps",
        "2",
    ]
    fit = ["--fit", "bradley_terry", "--fit.smoothing", "0.1", "--fit.max-steps", "5"]
    assert cli.main(["run", "leave_one_out", *flags, *fit, "--out", str(tmp_path / "a")]) == 0
    about = json.loads((tmp_path / "a" / "run.json").read_text())
    assert about["fit"] == {
        "name": "bradley_terry",
        "smoothing": 0.1,
        "centre": 0.01,
        "bootstrap": False,
        "max_steps": 5,
    }
    assert cli.main(["run", "--from", str(tmp_path / "a"), "--out", str(tmp_path / "b")]) == 0
    a, b = (Run.open(tmp_path / f).readings() for f in "ab")
    assert [{**r, "seconds": 0} for r in a] == [{**r, "seconds": 0} for r in b]
    assert cli.main(["run", "leave_one_out", *flags, "--out", str(tmp_path / "c")]) == 0
    plain = Run.open(tmp_path / "c").readings()
    assert plain[1]["gold"] != a[1]["gold"]
    capsys.readouterr()
    assert (
        cli.main(
            ["run", "leave_one_out", *flags, "--fit", "bradly_terry", "--out", str(tmp_path / "d")]
        )
        == 2
    )
    assert "did you mean bradley_terry?" in capsys.readouterr().err
    assert (
        cli.main(
            ["run", "leave_one_out", *flags, "--fit.smoothing", "0.1", "--out", str(tmp_path / "d")]
        )
        == 2
    )
    assert "no --fit.smoothing" in capsys.readouterr().err


@pytest.mark.full
def test_a_world_of_the_user_s_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(MINE, encoding="utf-8")
    assert catalogue.load_world(str(mine))(seed=2).arguments["pairs"] == 50
    flags = [
        "--world",
        str(mine),
        "--world.pairs",
        "60",
        "--max-steps",
        "1",
        "--out",
        str(tmp_path / "run"),
    ]
    assert cli.main(["run", "leave_one_out", *flags]) == 0
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (
        about["world"] == {"name": str(mine), "seed": 0, "pairs": 60}
        and str(mine) in about["inputs"]
    )
    assert (
        cli.main(
            [
                "claims",
                "--run",
                "kl_in_reward",
                "--world",
                str(mine),
                "--seeds",
                "100..101",
                "--max-steps",
                "2",
                "--results",
                str(tmp_path / "claims"),
            ]
        )
        == 0
    )
    made = sorted(p.relative_to(tmp_path) for p in (tmp_path / "claims").rglob("*.json"))
    assert [p.as_posix() for p in made] == [
        "claims/kl_in_reward.mine.json",
        "claims/pilots/kl_in_reward.mine.json",
    ]
    capsys.readouterr()
    for text, said in (
        ("x = 1", "no function named world"),
        ("import nothing_like_it", "cannot be imported"),
    ):
        mine.write_text(text, encoding="utf-8")
        assert (
            cli.main(["run", "leave_one_out", "--world", str(mine), "--out", str(tmp_path / "no")])
            == 2
        )
        assert said in capsys.readouterr().err
    assert (
        cli.main(
            [
                "run",
                "leave_one_out",
                "--world",
                str(tmp_path / "none.py"),
                "--out",
                str(tmp_path / "no"),
            ]
        )
        == 2
    )
    assert "there is no file" in capsys.readouterr().err


@pytest.mark.full
def test_networks_learn_what_they_read_and_linear_models_do_not() -> None:
    """--world.hidden: the contrastive term and MetaRM have a representation to change."""
    world = table.world(seed=1, members=3, hidden=8)
    pairs = world.task.pairs
    plain = refitted(world, "preference_strength", {"repair": "none", "max_steps": 30})
    contrast = refitted(
        world, "preference_strength", {"repair": "none", "max_steps": 30, "contrast": 0.3}
    )
    scores = plain.task.rewards(pairs)
    assert scores.shape == (3, len(pairs), 2)
    assert float((scores[..., 0] > scores[..., 1]).float().mean()) > 0.6
    assert not torch.allclose(scores, contrast.task.rewards(pairs))
    with pytest.raises(InputError, match="fixed features"):
        refitted(table.world(seed=1, **SMALL), "preference_strength", {"contrast": 0.3})
