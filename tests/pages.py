"""Made-up runs, and a page taken apart: what several tests of the report share."""

from __future__ import annotations

import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from assay import report
from assay.records.runs import Run
from assay.report.library import library

HOSTILE = (
    "<script>alert(1)</script></svg></style><img src=x onerror=alert(2)> \"q\" 's' &amp; "
    "\u202egnorw\u202c \x07\u200b\ud800"
)
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
        if self.open[-1:] not in (["style"], ["script"]):
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


def several(folder: Path, slopes: dict[str, float], seeds: int) -> list[Path]:
    """Runs of methods that differ in how fast gold rises."""
    return [
        make(folder / f"{name}{seed}", name, seed, slope=slope)
        for name, slope in slopes.items()
        for seed in range(seeds)
    ]


def built(folders: list[Path], tmp_path: Path, **options: Any) -> tuple[str, Page]:
    """The page without the chart library, which says much of its own, and what is on it."""
    text = report.build(folders, tmp_path / "out" / "report.html", **options).read_text("utf-8")
    assert text.count(library()) == 1
    return text.replace(library(), ""), Page(text)
