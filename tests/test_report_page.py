"""The page: it stands alone, hostile text stays text, nothing unmeasured becomes a number, and
unlike things stay apart.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from pages import HOSTILE, PAPER, Page, built, make, several

from assay import report
from assay.data.escape import count, number, spread
from assay.errors import InputError
from assay.records.methods import grounds
from assay.report.figure import headline
from assay.report.vega import SCHEMA

SVG = "http://www.w3.org/2000/svg"

# named in the licence of a bundled script
LICENCE = "http://www.apache.org/licenses/LICENSE-2.0"


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return several(tmp_path, {"plain": 1.0, "careful": 1.3}, 3)


def test_the_page_stands_alone(runs: list[Path], tmp_path: Path) -> None:
    text, page = built(runs, tmp_path)
    for tag, attrs in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "img", "base", "form"), tag
        assert tag != "script" or not attrs or attrs["type"] == "application/json"
        assert not [a for a in attrs if a.startswith("on")]
        assert "src" not in attrs and "srcset" not in attrs
        href = attrs.get("href")
        assert (
            href is None
            or href.startswith("#")
            or (tag == "a" and href.startswith("https://arxiv.org/abs/"))
        )
    outside = [
        u
        for u in re.findall(r"https?://[^\s\"<&}]+", text)
        if "arxiv.org/abs/" not in u and u not in (SVG, SCHEMA, LICENCE)
    ]
    assert (
        outside == []
        and "@import" not in text
        and "url(" not in re.sub(r"url\(#[\w-]+\)", "", text)
    )
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["report.html"]


def test_the_page_runs_its_own_scripts_and_no_other(runs: list[Path], tmp_path: Path) -> None:
    whole = report.build(runs, tmp_path / "report.html").read_text("utf-8")
    name = "Content-Security-Policy"
    (policy,) = (str(a["content"]) for _, a in Page(whole).tags if a.get("http-equiv") == name)
    ours = re.findall("<script>(.*?)</script>", whole, flags=re.DOTALL)
    sums = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in ours]
    allowed = policy.split("script-src ")[1].split(";")[0]
    assert len(ours) == 2 and allowed == " ".join(f"'sha256-{s}'" for s in sums)
    assert "default-src 'none'" in policy and "unsafe-eval" not in policy


def specs(text: str) -> list[dict[str, Any]]:
    """What the charts of a page are drawn from."""
    pattern = '<script type="application/json"[^>]*>(.*?)</script>'
    return [json.loads(s) for s in re.findall(pattern, text, flags=re.DOTALL)]


def test_each_chart_has_a_still_values_and_switches(runs: list[Path], tmp_path: Path) -> None:
    text, page = built(runs, tmp_path)
    found = specs(text)
    assert sum(t == "svg" for t, _ in page.tags) == len(found) > 4
    methods = {row["m"] for spec in found for row in spec["data"]["values"]}
    boxes = {a["value"] for t, a in page.tags if t == "input"}
    assert boxes == {"plain", "careful"} and methods <= boxes | {""}, "a switch has what to switch"
    told = [row for row in found[0]["data"]["values"] if row["l"] == "hover"]
    assert {row["m"] for row in told} == boxes
    assert all(row["at"].startswith("√KL ") and "nats" in row["at"] for row in told)
    assert {row["v"].split(" ")[0] for row in told} == {"gold", "proxy"}, "a pointer reads both"
    assert any("(95 %: " in row["v"] for row in told)


def test_a_setting_that_was_left_open_is_not_said(tmp_path: Path) -> None:
    world = {
        "name": "hub",
        "policy": "small model",
        "demos": "",
        "peft": None,
        "truncated": None,
        "max_tokens": 128,
        "held_out": 8,
        "chat": False,
        "rewards": ["a", "b"],
    }
    _, page = built([make(tmp_path / "a", world=world)], tmp_path)
    settings = "--world hub --model 'small model' --rewards a,b --held-out 8 --no-chat"
    assert " ".join(page.text.split()).count(settings) == 2, "beside the gold and in the command"
    for left_open in ("--demos", "world.peft", "truncated None", "max-tokens", "world.truncated"):
        assert left_open not in page.text


def test_it_can_be_read_by_everybody(runs: list[Path], tmp_path: Path) -> None:
    text, page = built(runs, tmp_path)
    charts = [a for t, a in page.tags if t == "svg"]
    assert charts and all(a["role"] == "img" and a["aria-labelledby"] for a in charts)
    names = {a["id"] for t, a in page.tags if t in ("title", "desc") and "id" in a}
    assert all(set(str(a["aria-labelledby"]).split()) <= names for a in charts)
    tables = sum(t == "table" for t, _ in page.tags)
    assert tables == sum(t == "caption" for t, _ in page.tags) > 3
    assert all("scope" in a for t, a in page.tags if t == "th")
    for needed in (
        "prefers-color-scheme: dark",
        "@media print",
        'name="viewport"',
        '<html lang="en">',
    ):
        assert needed in text


def test_hostile_text_stays_text(runs: list[Path], tmp_path: Path) -> None:
    about = {
        "world": {"name": HOSTILE, HOSTILE.replace("\ud800", ""): HOSTILE},
        "golds": [HOSTILE, HOSTILE + "2"],
        "rewards": [HOSTILE],
        "gold_kind": HOSTILE,
        "arguments": {HOSTILE: HOSTILE},
        "error": HOSTILE,
        "state": "failed",
        "paper": {**PAPER, "title": HOSTILE, "url": 'javascript:alert(1)//"'},
    }
    bad = make(tmp_path / "x<b>", HOSTILE, done=False, **about)
    text, page = built([*runs, bad], tmp_path, title=HOSTILE)
    assert "img" not in {t for t, _ in page.tags} and "onerror=alert(2)>" not in text
    assert "<script>alert" not in text and text.count("<script>") == 2, "ours alone"
    assert all(a["type"] == "application/json" for t, a in page.tags if t == "script" and a)
    assert not [a for _, attrs in page.tags for a in attrs if a.startswith("on")]
    assert "javascript:alert" in page.text and not any(
        "javascript" in (a.get("href") or "") for _, a in page.tags
    )
    for c in "\u202e\u202c\x07\u200b\ud800":
        assert c not in text and f"⟨U+{ord(c):04X}⟩" in page.text
    ET.fromstring(report.svg([bad]))


def test_unmeasured_is_a_dash(tmp_path: Path) -> None:
    assert (number(None), number(math.nan), count(None), spread(None, 1.0)) == ("–",) * 4
    assert (number(0.0), number(-0.0001), count(0), spread(0.0, None)) == (
        "0",
        "0.000",
        "0",
        "0.00",
    )
    assert spread(1.0, 0.0) == "1.00 ± 0.00"
    _, page = built([make(tmp_path / "a", gold=False)], tmp_path)
    assert "No gold was read here" in page.text
    (s,) = report.summary([tmp_path / "a"])
    assert [
        s[k]
        for k in ("reference_gold", "peak_gold", "peak_source", "peak_kl", "final_gold", "drop")
    ] == [None] * 6
    json.dumps(s, allow_nan=False)
    cells = [c.strip() for c in page.said if c.strip()]
    row = cells[
        cells.index("What each method reached, toy", cells.index("proxy, first → last") - 30) :
    ]
    row = row[row.index("plain") :][:9]
    assert row.count("–") >= 6 and "0" not in row


@pytest.mark.parametrize(
    "options",
    [
        {"count": 1},
        {"count": 2},
        {"count": 0},
        {"gold": False, "count": 1},
        {"kl": False},
        {"kl": False, "gold": False},
        {"far": 0.0},
        {"count": 3},
        {"rewards": []},
    ],
)
def test_a_run_in_any_state_makes_a_page(tmp_path: Path, options: dict[str, Any]) -> None:
    text, page = built(
        [make(tmp_path / "a", **{"done": False, **options}), make(tmp_path / "b", seed=1)], tmp_path
    )
    assert "nan" not in re.findall(r"[a-z]+", text.lower()) and "None" not in page.text
    if options.get("count") == 0:
        assert "a stopped without a word before its first reading" in page.text


def test_a_torn_line_does_not_stop_a_report_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    a = make(tmp_path / "a")
    with open(a / "readings.jsonl", "ab") as f:
        f.write(b'{"step": 99, "go')
    before = (a / "readings.jsonl").read_bytes()
    built([a], tmp_path)
    assert (a / "readings.jsonl").read_bytes() == before
    (a / "readings.jsonl").write_bytes(b"{}\n" + before)
    with pytest.raises(InputError, match=r"readings\.jsonl, line 1"):
        built([a], tmp_path)
    with pytest.raises(InputError, match="is not a run"):
        built([tmp_path / "out"], tmp_path)
    with pytest.raises(InputError, match="name at least one"):
        built([], tmp_path)


def test_different_worlds_share_no_axis_and_no_table(tmp_path: Path) -> None:
    a, b = (
        make(tmp_path / "a", world={"name": "toy", "noise": 0.1}),
        make(tmp_path / "b", world={"name": "toy", "noise": 0.2}),
    )
    c = make(tmp_path / "c", world={"name": "toy", "noise": 0.2, "seed": 7}, seed=7)
    found = grounds([a, b, c])
    assert [[t.name for t in g.tracks] for g in found] == [["a"], ["b", "c"]]
    assert [g.title for g in found] == ["toy (noise=0.1)", "toy (noise=0.2)"]
    _, page = built([a, b, c], tmp_path)
    assert sum(1 for t, at in page.tags if t == "section" and at.get("class") == "world") == 2
    judged = make(tmp_path / "d", world={"name": "toy", "noise": 0.1}, gold_kind="held-out model")
    assert [g.gold_name for g in grounds([a, judged])] == ["gold", "held-out model"]


def test_a_held_out_model_is_never_called_gold(tmp_path: Path) -> None:
    a = make(tmp_path / "a", gold_kind="held-out model", golds=["big judge"])
    _, page = built([a], tmp_path)
    said = re.sub(
        "How much gold is in this reward|is not called gold|gold labels|gold_kind|golds|held-out "
        "model",
        "",
        page.text,
    )
    assert "gold" not in said.lower()


def test_the_figure_stands_alone_as_a_file(runs: list[Path], tmp_path: Path) -> None:
    root = ET.fromstring(report.svg(runs))
    assert (
        root.tag.endswith("svg")
        and root.find("{*}title") is not None
        and root.find("{*}style") is not None
    )
    drawn = [e for e in root.iter() if e.tag.endswith(("path", "line"))]
    assert {e.get("stroke-dasharray") for e in drawn} >= {"7,5", "1,3"}, "the proxy, the reference"
    words = [e.text for e in root.iter() if e.tag.endswith("text")]
    assert {"plain", "careful", "gold", "proxy", "KL sampled", "reference"} <= set(words)
    assert any(str(w).startswith("peak +") for w in words)
    spec = headline(grounds(runs)[0], "x").wide.spec  # type: ignore[union-attr]
    assert {"band", "gold", "proxy", "seed", "point", "ring", "star", "bar"} <= {
        row["l"] for row in spec["data"]["values"]
    }
    with pytest.raises(InputError, match="nothing to draw"):
        report.svg([make(tmp_path / "none", count=0)])


def test_only_the_papers_used_are_cited(tmp_path: Path) -> None:
    _, page = built([make(tmp_path / "a", count=3)], tmp_path)
    assert "Scaling Laws" not in page.text and page.text.count("@article") == 1
    _, page = built([make(tmp_path / "b", count=12)], tmp_path)
    assert (
        "Scaling Laws for Reward Model Overoptimization" in page.text
        and page.text.count("@article") == 2
    )
