"""The papers that the runs on a page stand on, for people and as BibTeX."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from assay.data.escape import link
from assay.safe_text import visible

GAO = {
    "title": "Scaling Laws for Reward Model Overoptimization",
    "authors": "Gao, Schulman, Hilton",
    "year": 2022,
    "url": "arXiv:2210.10760",
}
_TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    **{c: "\\" + c for c in "&%$#_"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def papers(abouts: Iterable[dict[str, Any]], *more: dict[str, Any]) -> list[dict[str, Any]]:
    """Each paper once, in the order of first use."""
    found = {
        str(p.get("title")): p
        for p in (*(a.get("paper") or {} for a in abouts), *more)
        if p.get("title")
    }
    return list(found.values())


def _tex(text: Any) -> str:
    return "".join(_TEX.get(c, c) for c in visible(text).replace("\n", " "))


def _authors(text: str) -> str:
    """ "A, B and C" or "A et al." as BibTeX wants it."""
    others = bool(re.search(r"\bet al\.?", text))
    names = [
        n.strip() for n in re.split(r",|;|&|\band\b", re.sub(r"\bet al\.?", "", text)) if n.strip()
    ]
    return " and ".join([_tex(n) for n in names] + (["others"] if others else []))


def key(paper: dict[str, Any]) -> str:
    """First author, year, first long word of the title: ASCII letters and digits only."""

    def ascii_(text: str) -> str:
        return re.sub(
            r"[^a-z0-9]",
            "",
            unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower(),
        )

    first = re.split(r",|;|&|\band\b|\bet al", str(paper.get("authors") or ""))[0].split()
    word = next((w for w in re.findall(r"\w{4,}", str(paper["title"]))), "paper")
    return (
        f"{ascii_(first[-1]) if first else 'anonymous'}{paper.get('year') or ''}{ascii_(word)}"
        or "paper"
    )


def bibtex(paper: dict[str, Any]) -> str:
    """One @article entry; double braces keep the title's capitals."""
    url = str(paper.get("url") or "")
    arxiv = re.fullmatch(r"arXiv:([0-9A-Za-z.\-/]+)", url)
    fields = [
        ("title", "{" + _tex(paper["title"]) + "}"),
        ("author", _authors(str(paper.get("authors") or ""))),
        ("year", _tex(paper.get("year") or "")),
    ]
    fields += (
        [("eprint", arxiv[1]), ("archivePrefix", "arXiv")]
        if arxiv
        else [("url", _tex(url))]
        if url
        else []
    )
    return (
        f"@article{{{key(paper)},\n" + "".join(f"  {k} = {{{v}}},\n" for k, v in fields if v) + "}"
    )


@dataclass
class Citation:
    """A paper as a page cites it.

    Attributes:
        who: Authors and year.
        title: Its title.
        url: Where it is, as its record says.
        to: The address to link to; None where it is none.
    """

    who: str
    title: str
    url: str
    to: str | None


def citations(found: Iterable[dict[str, Any]]) -> list[Citation]:
    """The papers in the order of first use."""
    out = []
    for p in found:
        url = str(p.get("url") or "")
        who = f"{p.get('authors') or 'no author recorded'} ({p.get('year') or 'no year'})"
        out.append(Citation(who, str(p["title"]), url, link(url)))
    return out
