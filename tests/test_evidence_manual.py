"""The manual's pages and CLAIMS.md: written from files' text and committed results, and hostile to
nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assay import cli
from assay.evidence import claims, manual, verdicts
from assay.registry import catalogue

MINE = '''"""A method of my own: pay *less* where <judges> disagree.

r = mean_m r_m − λ·Var_m r_m

Choices:

    one     the first   | judge
    two     the second
and so on.
"""
from assay.core import Claim, Loop, Paper
paper = Paper("A <b>title</b> with *stars*", "Nobody", 2024, "arXiv:2401.00001")
reduces = {"leave_one_out": ({"lam": 0.0}, {})}


def recipe(task, *, lam: float = 0.5, kind: str = "a", loop=Loop()):
    """lam: weight_of the variance; kind: which."""
    yield None


@Claim("It helps.", arms={"mine": ("mine", {}), "study": ("seen", {"n": 3})}, worlds=("table",),
       on={"table": {"testbed": "bandit"}})
def claim(arms):
    """The gain."""
    return 1.0
'''


def result(**more: object) -> dict[str, object]:
    seen = {"peak": 1.0, "drop": 0.5, "final": 0.5, "kl": 3.0}
    return {
        "name": "mine",
        "title": "A <b>title</b> with *stars*",
        "statement": "It helps.",
        "world": {"name": "table"},
        "arms": {"mine": ["mine", {}], "study": ["seen", {"n": 3}]},
        "loops": {},
        "turns": "mine",
        "least": {"a_gain": 0.1},
        "numbered": [100, 101, 102, 103, 104],
        "control": ["over <broken>"],
        "broken": "a *shuffled* <thing>",
        "premises": [],
        "differs": {"scored": "five | members"},
        "spent": {"mine": {"generated": [64.0] * 5, "scored": [320.0] * 5}, "b": {"scored": [64]}},
        "pilot": {
            "chosen": {"mine": {"lam": 0.5}},
            "table": {"mine": [{"constants": {"lam": 0.5}, "mean": 1.5}]},
        },
        "seeds": [100, 101, 102, 103, 104],
        "effects": [{"a_gain": e, "over <broken>": e} for e in (1.0, 1.1, 0.9, 1.0, 1.0)],
        "drops": [0.5, 0.6, 0.4, 0.5, 0.5],
        "notes": [],
        "measured": {"mine": [seen, {**seen, "peak": 2.0, "drop": None}], "study": []},
        "lines": {"study": [{"n": 1, "what": "<i>_x_</i>|", "value": 0.123456}]},
        **more,
    }


@pytest.fixture
def found(tmp_path: Path) -> tuple[catalogue.Entry, list[dict[str, object]]]:
    path = tmp_path / "mine.py"
    path.write_text(MINE, encoding="utf-8")
    (tmp_path / "claims").mkdir()
    (tmp_path / "claims" / "mine.table.json").write_text(json.dumps(result()), encoding="utf-8")
    entry = catalogue.read(path)
    assert entry.fault is None
    return entry, claims.rows([entry], tmp_path / "claims")


def test_a_page_says_everything_and_text_stays_text(
    found: tuple[catalogue.Entry, list[dict[str, object]]],
) -> None:
    entry, rows = found
    page = manual.pages([entry], rows)["mine.md"]
    assert "A \\<b\\>title\\</b\\> with \\*stars\\*" in page and "<b>" not in page.replace(
        "\\<b", ""
    )
    assert "`assay run mine --world table --world.testbed bandit --out runs/mine`" in page
    assert (
        "| `--lam` | `0.5` |" in page and "| `--kind` | `'a'` |" in page and "weight\\_of" in page
    )
    assert (
        "```text\none     the first   | judge\ntwo     the second\n```" in page
        and "and so on." in page
    )
    assert "`leave_one_out` at `--lam 0.0`" in page
    assert "**holds here** on table, 5 seeds, effect 1.000" in page
    assert (
        "| mine | `mine`  | 1.500 | 0.500 | 0.500 | 3.000 |" in page
    )  # means of what was measured; a gap is no zero
    assert "| 1 | \\<i\\>\\_x\\_\\</i\\>\\| | 0.1235 |" in page
    assert '"""The gain."""' in page
    assert "| a\\_gain | 1 | 0.889 to 1.11 | 0.1 | " in page, "each part with its δ"
    assert "| over \\<broken\\> (control) | 1 | 0.889 to 1.11 | 0 | " in page
    assert "Negative control: a \\*shuffled\\* \\<thing\\>." in page
    assert "| mine | 64 | 320 | – | – | – | – |" in page, "each claim's budget"
    assert "Scored differ: five \\| members." in page
    assert "| mine | `--lam 0.5` | 1.5 | yes |" in page, "what was tuned, with all settings"


def test_claims_are_told_by_system_with_the_experiment_and_why(
    found: tuple[catalogue.Entry, list[dict[str, object]]],
) -> None:
    text = verdicts.markdown(found[1])
    assert "1 of 1 systems are decided" in text and "1 holds here" in text
    assert "“a_gain” decides: the interval lies above δ = 0.1; the baseline falls by 0.500" in text
    assert "Parts: “a\\_gain” 1 [0.889, 1.11], δ 0.1, sees 0.2" in text
    assert "Negative control: a \\*shuffled\\* \\<thing\\>." in text
    assert "mine `mine`; study `seen --n 3`" in text and "*Effect*: The gain." in text
    none = verdicts.markdown([{**found[1][0], "world": None, "verdict": "not run"}])
    assert "0 of 1 systems are decided" in none and "1 not run" in none


def test_the_manual_is_written_and_nothing_else_is_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pages"
    assert cli.main(["manual", "--out", str(out), "--results", str(tmp_path)]) == 0
    names = {e.name for e in catalogue.entries()}
    assert {p.stem for p in out.glob("*.md")} == names | {"README"}
    (out / "gone.md").write_text("a page of a file that is gone")
    assert (
        cli.main(["manual", "--out", str(out), "--results", str(tmp_path)]) == 0
        and not (out / "gone.md").exists()
    )
    other = tmp_path / "notes"
    other.mkdir()
    (other / "mine.txt").write_text("keep")
    assert (
        cli.main(["manual", "--out", str(other)]) == 2
        and "holds something else" in capsys.readouterr().err
    )
    assert [p.name for p in other.iterdir()] == ["mine.txt"]


def test_the_committed_pages_are_those_of_the_files() -> None:
    """`make docs` writes them; a file or a result that changed asks for it again."""
    root = Path(__file__).resolve().parent.parent
    entries = [e for e in catalogue.entries() if not e.fault]
    rows = claims.rows(entries, root / "claims")
    written = manual.pages(entries, rows)
    there = {
        p.name: p.read_text(encoding="utf-8") for p in (root / "docs" / "systems").glob("*.md")
    }
    stale = sorted(n for n in written.keys() | there.keys() if written.get(n) != there.get(n))
    assert stale == [], "run `make docs`"
    assert verdicts.markdown(rows) == (root / "CLAIMS.md").read_text(encoding="utf-8"), (
        "run `make docs`"
    )
