"""What a report cites, as BibTeX."""

from __future__ import annotations

from assay.report.bibliography import bibtex, key

PAPER = {
    "title": "A & B: 100% of {it}",
    "authors": "Coste et al.",
    "year": 2023,
    "url": "arXiv:2310.02743",
}


def test_bibtex_is_bibtex() -> None:
    entry = bibtex(PAPER)
    assert entry.startswith("@article{coste2023paper,\n") and entry.endswith("\n}")
    assert (
        "title = {{A \\& B: 100\\% of \\{it\\}}}" in entry
        and "author = {Coste and others}" in entry
    )
    assert "eprint = {2310.02743}" in entry and "archivePrefix = {arXiv}" in entry
    assert (
        key({"title": "The Ω of x", "authors": "Łukasz Müller, B", "year": 2020})
        == "muller2020paper"
    )
