"""The documents as files: every relative link leads to a file, every anchor to a heading."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"^(```+).*?^\1[ \t]*$|`[^`\n]+`", re.M | re.S)


def anchors(page: Path) -> set[str]:
    """The headings' anchors, as code hosts and the site write them."""
    text = CODE.sub(lambda m: m[0] if m[0][:3] != "```" else "", page.read_text("utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for target in LINK.findall(CODE.sub("", page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        if not found.exists():
            wrong.append(f"{target}: there is no {found}")
        elif anchor and found.suffix == ".md" and anchor not in anchors(found):
            wrong.append(f"{target}: {found.name} has no such heading")
    assert wrong == []


def test_every_page_is_reached() -> None:
    """A page of the manual that nothing links to, and that the site's menu lacks, is lost."""
    menu = (ROOT / "mkdocs.yml").read_text("utf-8")
    docs = [p for p in PAGES if p.is_relative_to(ROOT / "docs")]
    linked = {
        (p.parent / t.partition("#")[0]).resolve()
        for p in PAGES
        for t in LINK.findall(CODE.sub("", p.read_text("utf-8")))
    }
    lost = [
        p.name
        for p in docs
        if p.relative_to(ROOT / "docs").as_posix() not in menu and p.resolve() not in linked
    ]
    assert lost == []
