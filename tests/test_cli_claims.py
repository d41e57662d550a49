"""The rule of judgement: the interval, each verdict, and a claim run from end to end on a world of
seconds.
"""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest

from assay import cli
from assay.errors import InputError
from assay.evidence import claims
from assay.registry import catalogue
from assay.stats.intervals import bounds, student

SMALL = [
    "--world",
    "table",
    "--world.pairs",
    "40",
    "--world.members",
    "2",
    "--world.prompts",
    "4",
    "--world.vocabulary",
    "24",
    "--max-steps",
    "6",
    "--batch-size",
    "4",
    "--num-generations",
    "4",
]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_student_is_the_closed_form_where_there_is_one() -> None:
    """One degree of freedom is Cauchy, two have an algebraic quantile; many are normal."""
    for level in (0.5, 0.9, 0.95, 0.99):
        assert student(1, level=level) == pytest.approx(math.tan(math.pi / 2 * level), rel=1e-9)
        assert student(2, level=level) == pytest.approx(
            level * math.sqrt(2 / (1 - level**2)), rel=1e-9
        )
        normal = statistics.NormalDist().inv_cdf((1 + level) / 2)
        assert student(4000, level=level) == pytest.approx(normal, rel=1e-3)
        assert student(4001, level=level) == pytest.approx(normal, rel=1e-3)
    bounds = [student(df) for df in range(1, 30)]
    assert bounds == sorted(bounds, reverse=True)


def test_an_interval_covers_as_often_as_it_says() -> None:
    """95 % of the intervals of five normal numbers hold their mean: here of 2000 sets, within four
    standard errors.
    """
    import torch

    draws = torch.randn(2000, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inside = sum(low < 0 < high for _, low, high in (bounds(d.tolist()) for d in draws))
    assert abs(inside / 2000 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 2000)
    assert bounds([]) == (None, None, None)
    assert bounds([2.0]) == (2.0, None, None)


RUN = ["claims", "--run", "kl_in_loss", "--run", "kl_in_reward", *SMALL]


def test_a_claim_is_run_kept_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*RUN, "--seeds", "100..101"]) == 0
    capsys.readouterr()
    kept = json.loads(Path("claims/kl_in_loss.table.json").read_text())
    assert kept["seeds"] == [100, 101] and kept["numbered"] == list(range(100, 120))
    assert len(kept["effects"]) == len(kept["drops"]) == 2
    assert kept["effects"][0] != kept["effects"][1]
    assert kept["world"]["pairs"] == 40
    assert kept["loops"]["mine"]["max_steps"] == 6
    assert {"assay", "commit", "versions", "machine", "made", "seconds"} <= set(kept)
    assert set(kept["spent"]) == {"mine", "single", "k1"}, "the arms that the effect reads"
    assert kept["spent"]["mine"]["generated"] == kept["spent"]["single"]["generated"]
    assert kept["spent"]["mine"]["pairs"] == [40, 40], "what the reward models are fitted to"
    other = json.loads(Path("claims/kl_in_reward.table.json").read_text())
    assert kept["drops"] == other["drops"], "one arm of two claims is run once"

    assert cli.main(["claims", "--json", "--write", "--results", "claims"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {r["name"] for r in rows} == {e.name for e in catalogue.entries() if e.statement}
    for row in rows:
        assert {"name", "title", "verdict", "effect", "low", "high", "seeds", "world"} <= set(row)
        assert row["verdict"] == (
            "no verdict" if row["name"] in ("kl_in_loss", "kl_in_reward") else "not run"
        )
        assert (row["effect"] is None) == (row["verdict"] == "not run"), (
            "what was not measured is null"
        )
    told = Path("CLAIMS.md").read_text()
    assert all(f"**{r['name']}** — {r['statement']}" in told for r in rows)
    assert "18 of its 20 numbered seeds were not run, such as 102" in told

    Path("claims/kl_in_loss.table.json").write_text("{}")
    assert cli.main(["claims"]) == 1, "the others are listed all the same"
    listed = capsys.readouterr()
    assert "claims/kl_in_loss.table.json is damaged" in listed.err
    assert "kl_in_reward" in listed.out and "18 of its" not in listed.err
    assert cli.main(["claims", "--write"]) == 2, "a page without that verdict is not written"
    assert Path("CLAIMS.md").read_text() == told


@pytest.mark.full
def test_the_pilot_chooses_constants_and_is_run_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sides have as many settings; the control takes what the mechanism chose; the seeds that
    judge come from the claim's file and are none of the pilot's.
    """
    assert cli.main([*RUN, "--pilot"]) == 0
    said = capsys.readouterr().out
    assert "kl_in_reward, seeds 0 to 4" in said and "seen above δ from, by seeds, 5: " in said
    assert not list(Path("claims").glob("*.json")), "a pilot is no result"
    path = Path("claims/pilots/kl_in_reward.table.json")
    pilot = json.loads(path.read_text())
    assert pilot["chosen"]["shuffled"] == pilot["chosen"]["mine"]
    for arm in ("mine", "single"):
        table = pilot["table"][arm]
        assert len(table) == 4
        best = max(table, key=lambda s: s["mean"])
        assert pilot["chosen"][arm] == best["constants"]
    monkeypatch.setattr(catalogue.load(catalogue.find("kl_in_reward")).claim, "seeds", "100..104")
    before = path.read_bytes()
    one = ["claims", "--run", "kl_in_reward", *SMALL]
    assert cli.main(one) == 0
    assert path.read_bytes() == before
    result = json.loads(Path("claims/kl_in_reward.table.json").read_text())
    assert result["seeds"] == result["numbered"] == list(range(100, 105))
    assert result["arms"]["mine"][1]["beta"] == pilot["chosen"]["mine"]["beta"]
    assert claims.judged(result)["verdict"] != "no verdict"
    assert cli.main([*one, "--seeds", "100..105"]) == 0
    longer = claims.judged(json.loads(Path("claims/kl_in_reward.table.json").read_text()))
    assert longer["extended"] and longer["seeds"] == 6
    capsys.readouterr()

    path.write_text('{"key": 1}')
    assert cli.main(one) == 2
    assert "pilots/kl_in_reward.table.json is damaged" in capsys.readouterr().err


def test_results_that_came_with_assay_are_listed_where_a_folder_has_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In an empty folder the verdicts are those of CLAIMS.md; a folder that is named is read as it
    is.
    """
    assert cli.main(["claims", "--json"]) == 0
    came = json.loads(capsys.readouterr().out)
    assert {"holds here", "does not hold here"} < {r["verdict"] for r in came}
    assert cli.main(["claims", "--json", "--results", "mine"]) == 0
    assert {r["verdict"] for r in json.loads(capsys.readouterr().out)} == {"not run"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--run", "worst_cas"], "there is no recipe 'worst_cas'; did you mean worst_case?"),
        (["--run", "dpo", "--seeds", "a"], "--seeds is 'a', and a whole number was expected"),
        (["--run", "dpo", "--world.noize", "1"], "did you mean --world.noise?"),
        (["--run", "dpo", "--seed", "1"], "has no --seed"),
        (["--run", "dpo", "--seeds", "4..9"], "seeds 0 to 4 are the pilot's"),
        (["--max-steps", "4"], "assay claims without --run has no --max-steps"),
        (["dpo"], "assay claims --run dpo runs one"),
    ],
)
def test_wrong_words_are_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["claims", *words]) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert not Path("claims").exists()


def test_every_claim_of_this_catalogue_can_be_read() -> None:
    """Its arms are recipes that take these arguments, and its turning arm is one of them."""
    from assay.api import flags, settings

    for entry in catalogue.entries():
        if entry.statement is None:
            continue
        claim = claims.claim_of(entry)
        assert claim.statement == entry.statement
        for recipe, arguments in claim.arms.values():
            other = catalogue.find(recipe)
            own = set(flags.of(getattr(catalogue.load(other), other.verb)))
            own |= set(settings.loop()) - {"seed"}
            assert {
                a for a in arguments if a != "fit" and not a.startswith(("world.", "fit."))
            } <= own


MINE = """from assay.core import Claim, Paper
paper = Paper("T", "A", 2020, "")
def recipe(task): ...
@Claim("S", arms={"a": ("dpo", {}), "b": ("dpo", {})}, %s)
def claim(arms): return 1.0
"""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ('turns="c"', "mine's claim says that 'c' turns, and its arms are a, b"),
        ('tuned={"c": {"beta": (1.0,)}}', "a claim tunes 'c', and its arms are a, b"),
        ('tuned={"b": "a"}', "arm 'b' takes what 'a' chose, which has no grid"),
        (
            'tuned={"a": {"beta": (0.1, 1.0)}, "b": {"beta": (0.1,)}}',
            r"grids differ in size \(a 2, b 1\)",
        ),
        ('seeds="3..9"', "judged on seed 3, and seeds 0 to 4 are those that constants"),
        ('differs={"time": "x"}', "differs names 'time'; it is one of generated, scored"),
    ],
)
def test_a_claim_that_is_not_well_made_is_refused(
    tmp_path: Path, words: str, sentence: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(MINE % words)
    with pytest.raises(InputError, match=sentence):
        claims.claim_of(catalogue.find(str(path)))


def test_an_arm_that_was_not_tuned_is_not_compared_with_one_that_was() -> None:
    from assay.core import Claim
    from assay.evidence import tuning

    arms: Any = {"mine": ("dpo", {}), "rival": ("dpo", {}), "control": ("dpo", {})}
    claim = Claim("S", arms=arms, tuned={"mine": {"beta": (0.1, 1.0)}, "control": "mine"})
    tuning.check_even(claim, {"mine", "control"})
    with pytest.raises(InputError, match="its effect reads 'rival', which has no grid"):
        tuning.check_even(claim, {"mine", "rival"})


def test_a_file_without_a_claim_is_named(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        'from assay.core import Loop, Paper, Step\npaper = Paper("T", "A", 2026, "u")\nreduces = '
        "{}\n"
        "def recipe(task, *, loop=Loop()):\n    yield Step(task.reference)\n"
    )
    with pytest.raises(InputError, match="mine makes no claim"):
        claims.claim_of(catalogue.find(str(mine)))
