"""Hostile text stays text, whoever writes it into a page; nothing in it stays hidden."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from pages import Page

from assay.data.escape import link, marked, safe
from assay.report.render import templates
from assay.safe_text import visible

MARKED = templates().from_string('{% from "macros.html" import marked %}{{ marked(text) }}')


def squeezed(text: str) -> str:
    return re.sub("[ \\n]", "", text)


@given(text=st.text(st.characters(codec=None), max_size=60))
def test_escaping_leaves_nothing_to_run_and_nothing_hidden(text: str) -> None:
    for made in (safe(text), marked(text), MARKED.render(text=text)):
        page = Page(made)
        assert {t for t, _ in page.tags} <= {"span"}
        assert squeezed(page.text) == squeezed(visible(text))
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


def test_a_template_prints_nothing_unescaped_or_hidden() -> None:
    template = templates().from_string('<b title="{{ x }}">{{ x }}</b>')
    made = template.render(x="</b>\"'\u202e\x07")
    assert made.count("<") == 2 and "&#34;" in made
    assert made.count("⟨U+202E⟩⟨U+0007⟩") == 2
