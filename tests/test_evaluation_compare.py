"""compare: paired differences, tuning on other seeds, what is missing, and what is refused; on
records written by hand.
"""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import torch
from pages import Page
from test_cli_run import SMALL, _elsewhere, refused  # noqa: F401  (a fixture)

from assay import cli
from assay.core.rng import Rng
from assay.errors import InputError
from assay.evaluation.compare import LEAST, compare
from assay.records.runs import Run
from assay.report import summary
from assay.report.comparison import markdown
from assay.stats.intervals import student

READING = {
    "kl_kind": "exact",
    "scored": 10,
    "labels": 0,
    "updates": 4,
    "seconds": 1.0,
    "proxy": 0.0,
}


def run(
    folder: Path,
    recipe: str,
    seed: int,
    *,
    peak: float,
    end: float,
    drawn: int = 100,
    every: int = 2,
    state: str = "done",
    scale: float = 1.0,
    world: str = "table",
    again: float = 0.0,
    **arguments: float,
) -> None:
    """A finished run whose gold rises from 0 to `peak` at √KL = scale and ends at `end` at √KL =
    2·scale. On fresh completions all of its gold is `again` higher.
    """
    where = folder / recipe / f"{arguments}{seed}{world}"
    r = Run.create(
        where,
        {
            "recipe": recipe,
            "arguments": arguments,
            "loop": {"seed": seed, "max_steps": 4},
            "seed": seed,
            "world": {"name": world, "seed": seed},
            "run": {"eval_steps": every, "eval_generations": 8},
            "golds": ["gold"],
            "gold_kind": "exact",
        },
    )
    for step, d, gold in ((0, 0.0, 0.0), (2, scale, peak), (4, 2 * scale, end)):
        r.append(
            {
                **READING,
                "step": step,
                "tag": "reference" if step == 0 else "",
                "kl": d * d,
                "gold": gold,
                "generated": drawn * step // 4,
                "stats": {},
            }
        )
    if state == "done":
        r.append(
            {
                **READING,
                "step": 2,
                "tag": "best",
                "kl": scale**2,
                "gold": peak + again,
                "generated": drawn,
                "stats": {"fresh/gold_reference": again, "fresh/gold_last": end + again},
            }
        )
        r.finish()
    else:
        r.note({"state": state, "error": "RuntimeError: too much"})


def method(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(m for m in found["worlds"][0]["methods"] if m["method"] == name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six seeds of a baseline that falls, a method that is better by 1 + seed/10, and two prices on
    KL.
    """
    for seed in range(6):
        run(tmp_path, "leave_one_out", seed, peak=1.0 + seed, end=-1.0)
        run(tmp_path, "mine", seed, peak=2.0 + 1.1 * seed, end=0.5)
        run(tmp_path, "kl_in_loss", seed, peak=0.5, end=0.4, beta=0.5, scale=0.25)
        run(tmp_path, "kl_in_loss", seed, peak=0.9, end=5.0 if seed == 3 else 0.2, beta=0.1)
    return tmp_path


def test_differences_are_paired_by_seed(folder: Path) -> None:
    found, _ = compare([folder], baseline="leave_one_out")
    mine = method(found, "mine")
    d = mine["against"]["peak_plain"]
    gaps = [1.0 + 0.1 * s for s in range(6)]
    mean = sum(gaps) / 6
    half = student(5) * math.sqrt(sum((g - mean) ** 2 for g in gaps) / 5 / 6)
    assert d["mean"] == pytest.approx(mean)
    assert d["half"] == pytest.approx(half), "unpaired, the spread of the seeds would be in it"
    assert (d["above"], d["seeds"], d["sure"]) == (6, 6, "above")
    assert mine["against"]["final_stopped"]["mean"] == pytest.approx(0.5 - 3.5), (
        "the end against the baseline at its best"
    )
    assert mine["against"]["matched"]["mean"] > 0
    assert mine["overlap"] == pytest.approx(1.0)
    assert mine["reached"]["drop"]["mean"] == pytest.approx(mine["reached"]["peak"]["mean"] - 0.5)
    assert mine["reached"]["peak_kl"]["mean"] == 1.0
    assert (mine["cost"]["generated"], mine["cost"]["scored"]) == (100, 10)
    assert method(found, "leave_one_out")["against"].keys() == {"peak_tuned", "final_tuned"}


def test_reference_peak_and_end_of_a_report_are_those_of_compare(tmp_path: Path) -> None:
    for seed in range(3):
        run(tmp_path, "leave_one_out", seed, peak=1.0 + seed, end=-1.0, again=0.25)
    (said,) = summary([tmp_path])
    found, _ = compare([tmp_path], baseline="leave_one_out")
    reached = method(found, "leave_one_out")["reached"]
    both = [(said[f"{k}_gold"], reached[k]["mean"]) for k in ("reference", "peak", "final")]
    assert all(a == pytest.approx(b) for a, b in both)
    assert said["drop"] == pytest.approx(reached["drop"]["mean"])
    assert (said["final_gold"], said["final_source"]) == (-0.75, "re-read")


def test_a_price_is_chosen_on_the_other_seeds_alone(folder: Path) -> None:
    found, _ = compare([folder], baseline="leave_one_out")
    end = method(found, "kl_in_loss, tuned for the end")
    # seed 3's lucky 5.0 speaks for beta 0.1 on every seed but its own
    choices = {json.loads(pair)[0]: label for pair, label in end["choices"].items()}
    assert choices == {
        s: "kl_in_loss beta=0.5" if s == 3 else "kl_in_loss beta=0.1" for s in range(6)
    }
    assert end["reached"]["final"]["mean"] == pytest.approx((5 * 0.2 + 0.4) / 6)
    assert end["edge"] == "kl_in_loss beta=0.5", "the largest price tried: the best may lie beyond"
    peak = method(found, "kl_in_loss, tuned for the peak")
    assert set(peak["choices"].values()) == {"leave_one_out"}, "a price of 0 is among the prices"
    assert method(found, "mine")["against"]["final_tuned"]["mean"] == pytest.approx(
        0.5 - (5 * 0.2 + 0.4) / 6
    )
    assert method(found, "kl_in_loss beta=0.5")["overlap"] == pytest.approx(0.25)


def test_what_is_missing_is_said_and_never_counted(folder: Path) -> None:
    run(folder, "late", 0, peak=9.0, end=9.0)
    run(folder, "late", 1, peak=9.0, end=9.0, state="failed")
    found, drawn = compare([folder], baseline="leave_one_out")
    gaps = {
        json.loads(g["seed"])[0]: g["why"]
        for g in found["worlds"][0]["missing"]
        if g["method"] == "late"
    }
    assert gaps[1] == "failed: RuntimeError: too much"
    assert gaps[2] == "there is no run"
    assert len(gaps) == 5
    late = method(found, "late")
    assert late["seeds"] == 1
    assert late["against"]["peak_plain"]["half"] is None
    assert late["against"]["peak_plain"]["sure"] == ""
    text = markdown(found)
    assert "Missing: late on 1 of 6 seeds (failed: RuntimeError: too much)." in text
    assert "Missing: late on 4 of 6 seeds (there is no run)." in text
    assert len(drawn) == 1


def test_unequal_budgets_are_refused_or_set_apart(folder: Path) -> None:
    run(folder, "spendthrift", 0, peak=9.0, end=9.0, drawn=400)
    with pytest.raises(
        InputError,
        match=r"spendthrift in table has another budget \(generated 400 where .* has 100\)",
    ):
        compare([folder], baseline="leave_one_out")
    found, _ = compare([folder], baseline="leave_one_out", apart=True)
    (other,) = found["worlds"][0]["apart"]
    assert (other["method"], other["cost"]["generated"]) == ("spendthrift", 400)
    assert other["against"]["peak_plain"]["mean"] == pytest.approx(8.0)
    text = markdown(found)
    assert "Methods of another budget" in text and "| spendthrift | 1 |" in text
    assert "Methods of another" not in markdown(
        compare([folder / "mine", folder / "leave_one_out"], baseline="leave_one_out")[0]
    )
    assert "spendthrift" not in [m["method"] for m in found["worlds"][0]["methods"]]
    run(folder, "watched", 0, peak=9.0, end=9.0, every=1)  # more looks, a higher best of them
    with pytest.raises(
        InputError, match="--eval-steps 1 where the baseline leave_one_out was read with 2"
    ):
        compare([folder], baseline="leave_one_out", budget="updates")


def test_sure_means_sure_among_all(tmp_path: Path) -> None:
    """Sixty methods without effect and one that has one: Holm keeps the false ones out that single
    intervals let in.
    """
    noise = Rng(0)("noise").normal(torch.arange(60)[:, None], torch.arange(LEAST)[None, :])
    for seed in range(LEAST):
        run(tmp_path, "leave_one_out", seed, peak=1.0, end=0.0)
        run(tmp_path, "real", seed, peak=11.0 + float(noise[0, seed]) / 10, end=0.0)
        for k in range(60):
            run(tmp_path, f"idle{k:02}", seed, peak=1.0 + float(noise[k, seed]), end=0.0)
    found, _ = compare([tmp_path], baseline="leave_one_out")
    alone = [
        m["method"]
        for m in found["worlds"][0]["methods"]
        if (m["against"].get("peak_plain", {}).get("p") or 1) < 0.05
    ]
    sure = [
        m["method"]
        for m in found["worlds"][0]["methods"]
        if m["against"].get("peak_plain", {}).get("sure")
    ]
    assert len(alone) > 1, "sixty single tests at 5 % find something"
    assert sure == ["real"]


def test_wrong_words(folder: Path) -> None:
    with pytest.raises(
        InputError, match="table has no run of the baseline nobody; it has kl_in_loss beta=0.1, "
    ):
        compare([folder], baseline="nobody")
    with pytest.raises(InputError, match="baseline kl_in_loss is there in 2 settings"):
        compare([folder], baseline="kl_in_loss")
    with pytest.raises(InputError, match="no finished run of ppo, whose KL"):
        compare([folder], baseline="leave_one_out", tuned="ppo")
    with pytest.raises(InputError, match="--budget is 'money'"):
        compare([folder], baseline="leave_one_out", budget="money")


def test_worlds_are_compared_apart(folder: Path) -> None:
    for seed in range(2):
        run(folder, "leave_one_out", seed, peak=1.0, end=0.0, world="grammar")
        run(folder, "mine", seed, peak=2.0, end=0.0, world="grammar")
    found, _ = compare([folder], baseline="leave_one_out")
    assert [w["world"] for w in found["worlds"]] == ["table", "grammar"]
    assert found["worlds"][1]["price"] is None


def test_from_a_sweep_to_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "sweep",
        "leave_one_out",
        "mean_ensemble",
        "kl_in_loss",
        *SMALL,
        "--seeds",
        "0..1",
        "--out",
        "s",
    ]
    assert cli.main([*words, "--over", "kl_in_loss.beta=0.1,1"]) == 0
    assert (
        sorted(p.parent.name for p in Path("s/kl_in_loss").rglob("run.json"))[0]
        == "beta=0.1,seed=0"
    )
    about = Run.open("s/mean_ensemble/seed=1").about
    assert (about["seed"], about["world"]["seed"]) == (1, 1), "judges are fitted anew"
    capsys.readouterr()
    assert cli.main(["compare", "s", "--out", "c"]) == 0
    text = capsys.readouterr().out
    assert "| mean_ensemble | 2 |" in text
    assert "kl_in_loss, tuned for the end" in text
    assert Path("c/compare.md").read_text() in text
    assert json.loads(Path("c/compare.json").read_text())["worlds"][0]["seeds"] == 2
    texts = [e.text for e in ET.parse("c/compare.svg").iterfind(".//{*}text")]
    assert texts.count("√KL") == 6, "a panel a method"
    html = Page(Path("c/compare.html").read_text())
    assert sum(tag == "svg" for tag, _ in html.tags) == 6 and "Baseline: leave_one_out" in html.text
    assert sum(tag == "table" for tag, _ in html.tags) == 2
    Path("c/compare1.svg").write_text(Path("c/compare.svg").read_text())
    Path("c/compare2.svg").write_text("<svg>mine</svg>")
    assert cli.main(["compare", "s", "--out", "c", "--json"]) == 0, "written over its like"
    assert not Path("c/compare1.svg").exists(), "the older one had another world"
    assert Path("c/compare2.svg").exists(), "a figure of somebody's own stays"
    assert json.loads(capsys.readouterr().out)["made_by"] == "assay compare"
    Path("c/compare.svg").write_text("mine")
    assert "is no report of assay's" in refused(capsys, "compare", "s", "--out", "c")
    assert "take --seed out" in refused(capsys, *words, "--seed", "3")
    assert "needs the folder of a sweep" in refused(capsys, "compare")
