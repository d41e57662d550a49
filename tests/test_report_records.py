"""What the report makes of records: methods and seeds, pooled curves, matched KL, the summary."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from pages import built, make, several

from assay import report
from assay.errors import InputError
from assay.records.methods import grounds
from assay.records.runs import Run
from assay.report.lines import above, line
from assay.report.matched import matched, pressures
from assay.report.table import Cell, Table


def said(found: Table | str) -> str:
    """What a table says, cell by cell."""
    if isinstance(found, str):
        return found
    cells = [c for row in found.rows for c in row]
    return " ".join(f"{c.text} {c.small}" if isinstance(c, Cell) else c for c in cells)


def test_seeds_are_one_method_and_settings_are_not(tmp_path: Path) -> None:
    folders = [
        make(tmp_path / f"{beta}-{seed}", seed=seed, arguments={"beta": beta})
        for beta in (None, 0.1)
        for seed in (0, 1)
    ]
    (ground,) = grounds(folders)
    assert [(m.label, len(m.tracks)) for m in ground.methods] == [
        ("plain", 2),
        ("plain beta=0.1", 2),
    ]
    assert [s["seeds"] for s in report.summary(folders)] == [2, 2]
    assert len(grounds([tmp_path, *folders])[0].tracks) == 4, (
        "a folder of runs is its runs, and each counts once"
    )


def test_a_family_of_policies_is_several_curves_and_best_of_n_is_one(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "family", {"recipe": "front", "world": {"name": "toy"}})
    run.append({"step": 0, "tag": "reference", "kl": 0.0, "gold": 1.0})
    for step in (1, 2):
        for tag in ("last", "average"):
            run.append({"step": step, "tag": tag, "kl": float(step), "gold": 2.0})
    bon = Run.create(tmp_path / "bon", {"recipe": "bon", "world": {"name": "toy"}})
    bon.append({"step": 0, "tag": "reference", "kl": 0.0, "gold": 1.0})
    for n in (1, 2, 4):
        bon.append(
            {
                "step": 1,
                "tag": f"n={n}",
                "kl": math.log(n) - (n - 1) / n,
                "kl_kind": "upper",
                "gold": 1.0 + 0.1 * n,
            }
        )
    (ground,) = grounds([tmp_path / "family", tmp_path / "bon"])
    assert [(m.label, len(m.tracks[0].readings), m.best_of_n) for m in ground.methods] == [
        ("front tag=last", 3, False),
        ("front tag=average", 3, False),
        ("bon", 4, True),
    ]


def test_pooled_curves_stay_where_every_seed_has_been(tmp_path: Path) -> None:
    folders = [make(tmp_path / str(far), seed=i, far=far) for i, far in enumerate((2.0, 3.0, 5.0))]
    (ground,) = grounds(folders)
    pooled = line(ground.methods[0], above("gold"))
    assert (
        pooled is not None
        and pooled.seeds == 3
        and pooled.low is not None
        and pooled.x[0] == 0
        and pooled.x[-1] == 2.0
    )
    assert pooled.y[0] == 0 and set(pooled.kinds) == {"sampled"}
    begun = line(
        grounds([*folders, make(tmp_path / "begun", seed=3, count=1)])[0].methods[0], above("gold")
    )
    assert begun is not None and begun.seeds == 3 and begun.x[-1] == 2.0
    strange = Run.create(
        tmp_path / "strange",
        {"recipe": "plain", "loop": {"max_steps": 80}, "world": {"name": "toy"}},
    )
    strange.append({"step": 0, "kl": 0.0, "gold": 0.0, "kl_kind": "rumour"})
    found = line(grounds([strange.folder])[0].methods[0], above("gold"))
    assert found is not None and found.kinds == ["unknown"], (
        "a kind that nobody recorded is not exact"
    )
    ks, who = pressures(ground)
    assert who == "2.0" and max(ks) <= 4.0 and len(ks) == 5


def test_matched_kl_pairs_by_seed(tmp_path: Path) -> None:
    folders = several(tmp_path, {"plain": 1.0, "careful": 1.25}, 4)
    text = said(matched(grounds(folders)[0], "plain"))
    # gold differs by 0.25·d at every reading and between them, so by 0.25 at KL 1 and 0.25·√5 at KL
    # 5; seeds shift both alike
    assert "+0.25 ± 0.00" in text and "+0.56 ± 0.00" in text
    alone = said(matched(grounds([folders[0], folders[4]])[0], "plain"))
    assert "(one seed)" in alone
    unpaired = said(matched(grounds([folders[0], folders[5]])[0], "plain"))
    assert "(one seed)" not in unpaired and "+0." not in unpaired, "another seed is no pair"
    short = make(tmp_path / "short", "short", far=0.05)
    assert "short ends before any KL" in said(matched(grounds([*folders, short])[0]))
    with pytest.raises(InputError, match="--baseline is 'nobody'.*careful, plain"):
        built(folders, tmp_path, baseline="nobody")


def test_the_summary_says_where_its_peak_is_from(tmp_path: Path) -> None:
    runs = several(tmp_path, {"plain": 1.0, "careful": 1.3}, 3)
    plain, careful = report.summary(runs)
    assert (plain["method"], careful["method"], plain["peak_source"], plain["seeds"]) == (
        "plain",
        "careful",
        "re-read",
        3,
    )
    assert plain["reference_gold"] == pytest.approx(1.1) and plain["cost"] == {
        "generated": 1.0,
        "scored": 0.0,
    }
    assert plain["drop"] == pytest.approx(plain["peak_gold"] - plain["final_gold"])
    unfinished = [make(tmp_path / f"u{s}", seed=s, done=False) for s in range(2)]
    assert report.summary(unfinished)[0]["peak_source"] == "peak of the mean curve"
    assert report.summary(unfinished[:1])[0]["peak_source"] == "highest reading"


def test_a_repeat_of_a_run_is_no_further_seed(tmp_path: Path) -> None:
    once = [make(tmp_path / f"{seed}", seed=seed) for seed in (0, 1, 2)]
    twice = [*once, make(tmp_path / "again", seed=0), make(tmp_path / "and-again", seed=0)]
    (first,), (second,) = report.summary(once), report.summary(twice)
    assert second["runs"] == first["runs"] == ["0", "1", "2"]
    assert second["final_gold_half"] == first["final_gold_half"]


def test_readings_that_the_run_did_not_write_are_drawn_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A digit that was changed drew another curve, and only `assay verify` said so."""
    run = make(tmp_path / "run")
    Run.open(run).finish()
    grounds([run])
    assert not caplog.messages
    path = tmp_path / "run" / "readings.jsonl"
    path.write_text(path.read_text().replace('"gold": ', '"gold": 1', 1))
    grounds([run])
    assert f"{path} was changed after it was written" in caplog.text
    record = tmp_path / "run" / "run.json"
    record.write_text(record.read_text().replace('"recipe": "plain"', '"recipe": "other"'))
    grounds([run])
    assert f"{record} was edited after assay wrote it" in caplog.text
