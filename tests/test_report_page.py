"""The page: it stands alone, hostile text stays text, nothing unmeasured becomes a number, and
unlike things stay apart.
"""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay import report
from assay.data.escape import count, link, marked, number, safe, spread, visible
from assay.errors import InputError
from assay.records.methods import grounds
from assay.records.runs import Run
from assay.report.lines import above, line
from assay.report.tables import matched, pressures

HOSTILE = "<script>alert(1)</script></svg></style><img src=x onerror=alert(2)> \"q\" 's' &amp; \u202egnorw\u202c \x07\u200b\ud800"
PAPER = {
    "title": "A & B: 100% of {it}",
    "authors": "Coste et al.",
    "year": 2023,
    "url": "arXiv:2310.02743",
}
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Collects tags and attributes, and checks that every element is closed."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.said: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.said.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.said)


def make(
    folder: Path,
    recipe: str = "plain",
    seed: int = 0,
    *,
    slope: float = 1.0,
    curve: float = 0.4,
    far: float = 4.0,
    count: int = 9,
    gold: bool = True,
    kl: bool = True,
    done: bool = True,
    **about: Any,
) -> Path:
    """A made-up run whose gold above the reference is d(slope − curve·log d), proxy 2d."""
    run = Run.create(
        folder,
        {
            "recipe": recipe,
            "arguments": {},
            "loop": {"max_steps": 80, "seed": seed},
            "world": {"name": "toy"},
            "golds": ["gold"],
            "gold_kind": "written",
            "rewards": ["one", "two"],
            "seed": seed,
            "paper": PAPER,
        }
        | about,
    )
    best = None
    for i in range(count):
        d = far * i / max(1, count - 1)
        g = 1.0 + 0.1 * seed + (d * (slope - curve * math.log(d)) if d else 0.0)
        line = {
            "step": 10 * i,
            "tag": "" if i else "reference",
            "kl": d * d if kl else None,
            "kl_kind": "sampled" if kl else None,
            "gold": g if gold else None,
            "gold_err": 0.05 if gold else None,
            "rewards": [2 * d, d],
            "rewards_err": [0.1, 0.1],
            "proxy": 2 * d,
            "proxy_err": 0.1,
            "n": 64,
            "cost": {"generated": 1, "scored": 0},
        }
        run.append(line)
        run.keep(
            [
                {
                    "step": 10 * i,
                    "tag": line["tag"],
                    "place": [b, 0],
                    "prompt": f"prompt {b}",
                    "completion": HOSTILE + f" {i}",
                    "gold": line["gold"],
                    "rewards": [1.0, 2.0],
                }
                for b in range(2)
            ]
        )
        best = line if gold and (best is None or g > best["gold"]) else best
    if done and best:
        run.append({**best, "tag": "best", "gold": best["gold"] - 0.01})
    if done:
        run.finish()
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [
        make(tmp_path / f"{name}{seed}", name, seed, slope=slope)
        for name, slope in (("plain", 1.0), ("careful", 1.3))
        for seed in range(3)
    ]


def built(folders: list[Path], tmp_path: Path, **options: Any) -> tuple[str, Page]:
    text = report.build(folders, tmp_path / "out" / "report.html", **options).read_text("utf-8")
    return text, Page(text)


def test_the_page_stands_alone(runs: list[Path], tmp_path: Path) -> None:
    text, page = built(runs, tmp_path)
    for tag, attrs in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "img", "base", "form"), (
            tag
        )
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
        if "arxiv.org/abs/" not in u and u != "http://www.w3.org/2000/svg"
    ]
    assert (
        outside == []
        and "@import" not in text
        and "url(" not in re.sub(r"url\(#[\w-]+\)", "", text)
    )
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["report.html"]


def test_it_can_be_read_by_everybody(runs: list[Path], tmp_path: Path) -> None:
    text, page = built(runs, tmp_path)
    charts = [a for t, a in page.tags if t == "svg"]
    assert charts and all(a["role"] == "img" and a["aria-labeledby"] for a in charts)
    names = {a["id"] for t, a in page.tags if t in ("title", "desc") and "id" in a}
    assert all(set(str(a["aria-labeledby"]).split()) <= names for a in charts)
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
        "world": {"name": HOSTILE, HOSTILE: HOSTILE},
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
    assert (
        not {t for t, _ in page.tags} & {"script", "img"}
        and "<script" not in text
        and "onerror=alert(2)>" not in text
    )
    assert not [a for _, attrs in page.tags for a in attrs if a.startswith("on")]
    assert "javascript:alert" in page.text and not any(
        "javascript" in (a.get("href") or "") for _, a in page.tags
    )
    for c in "\u202e\u202c\x07\u200b\ud800":
        assert c not in text and f"⟨U+{ord(c):04X}⟩" in page.text
    ET.fromstring(report.svg([bad]))


@given(text=st.text(st.characters(codec=None), max_size=60))
def test_escaping_leaves_nothing_to_run_and_nothing_hidden(text: str) -> None:
    for made in (safe(text), marked(text)):
        page = Page(made)
        assert {t for t, _ in page.tags} <= {"span"}
        assert page.text.replace(" ", "") == visible(text).replace(" ", "")
        assert made.encode("utf-8").decode("utf-8") == made
    assert not set(safe(text)) & set("<>\"'")
    assert (
        not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x7f]", visible(text))
        and visible("a\tb\nc") == "a\tb\nc"
    )


def test_only_plain_addresses_become_links() -> None:
    assert link("arXiv:2310.02743") == "https://arxiv.org/abs/2310.02743"
    assert link("https://example.org/x?y=1") == "https://example.org/x?y=1"
    for bad in (
        "javascript:alert(1)",
        "arXiv:1 2",
        "data:text/html,x",
        "https://a b",
        "//x",
        "",
        'arXiv:"onclick',
    ):
        assert link(bad) is None


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
    cells = [c.strip() for c in page.said]
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
        assert "a is running: nothing read yet" in page.text


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
    folders = [
        make(tmp_path / f"{name}{seed}", name, seed, slope=slope)
        for name, slope in (("plain", 1.0), ("careful", 1.25))
        for seed in range(4)
    ]
    text = Page(matched(grounds(folders)[0], "plain")).text
    # gold differs by 0.25·d at every reading and between them, so by 0.25 at KL 1 and 0.25·√5 at KL
    # 5; seeds shift both alike
    assert "+0.25 ± 0.00" in text and "+0.56 ± 0.00" in text
    alone = Page(matched(grounds([folders[0], folders[4]])[0], "plain")).text
    assert "(one seed)" in alone
    unpaired = Page(matched(grounds([folders[0], folders[5]])[0], "plain")).text
    assert "(one seed)" not in unpaired and "+0." not in unpaired, "another seed is no pair"
    short = make(tmp_path / "short", "short", far=0.05)
    assert "short ends before any KL" in Page(matched(grounds([*folders, short])[0])).text
    with pytest.raises(InputError, match="--baseline is 'nobody'.*careful, plain"):
        built(folders, tmp_path, baseline="nobody")


def test_the_summary_says_where_its_peak_is_from(runs: list[Path], tmp_path: Path) -> None:
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


def test_the_figure_stands_alone_as_a_file(runs: list[Path], tmp_path: Path) -> None:
    root = ET.fromstring(report.svg(runs))
    assert (
        root.tag.endswith("svg")
        and root.find("{*}title") is not None
        and root.find("{*}style") is not None
    )
    shapes = {e.get("class") for e in root.iter() if e.get("class")}
    assert {"ring", "star", "m hollow"} <= shapes
    assert any("line gold" in s for s in shapes) and any("line proxy" in s for s in shapes)
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
