"""The audit's page: whole, without scripts, and no text of a file becomes markup."""

from __future__ import annotations

from pathlib import Path

import hackable_rewards as made
import pytest
from pages import HOSTILE, Page
from test_cli_files import write

import assay
from assay import cli
from assay.errors import InputError

JUDGE = str(Path(__file__).resolve().parent / "hackable_rewards.py")
TEXT = HOSTILE.replace("\ud800", "")  # half a character is refused when a file is read
SUBSET = "<b onclick=alert(3)>subset</b>"


def test_a_page_shows_every_number_and_the_completions_behind_it(tmp_path: Path) -> None:
    rows = made.completions(12, 4)
    found = assay.audit([made.exact, made.flattery], scored=rows, gold="right")
    path = found.page(tmp_path / "new" / "audit.html")
    page = Page(path.read_text(encoding="utf-8"))
    for p in found.result["probes"]:
        change = p["change"]
        assert f"{change['mean']:+.2f} [{change['low']:+.2f}, {change['high']:+.2f}]" in page.text
    for sentence in found.failed:
        assert sentence in page.text
    example = next(
        p for p in found.result["probes"] if p["probe"] == "flattering" and p["examples"]
    )
    assert example["examples"][0]["prompt"] in page.text
    assert "On gold" in page.text and "scored again" in page.text
    assert found.page(path) == path, "an audit's page is written over"


def test_nothing_on_the_page_is_live(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"{TEXT} {b}", "response": f"{TEXT} " + "word " * n, "true": n}
        for b in range(9)
        for n in range(4)
    ]
    pairs = [
        {"prompt": f"{TEXT} {i}", "chosen": "long " * 4, "rejected": TEXT, "subset": SUBSET}
        for i in range(4)
    ]

    def length(prompts: list[str], completions: list[str]) -> list[int]:
        return [len(c) for c in completions]

    found = assay.audit({TEXT: length}, scored=rows, pairs=pairs, gold="true", fitted_on=pairs)
    text = found.page(tmp_path / "a.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "img", "iframe"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    policy = " ".join(attrs.get("content") or "" for tag, attrs in page.tags if tag == "meta")
    assert "script-src 'none'" in policy and "\u202e" not in text and "⟨U+202E⟩" in text
    assert SUBSET in page.text, "it is there as text"


def test_a_file_that_is_no_page_of_assay_s_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.html").write_text("mine")
    words = ["audit", f"{JUDGE}:exact", "--scored", write("c.jsonl", made.completions(9, 3))]
    assert cli.main([*words, "--probes", "padded", "-o", "mine.html"]) == 2
    assert "is no report of assay's" in capsys.readouterr().err
    assert Path("mine.html").read_text() == "mine"
    assert cli.main([*words, "--probes", "padded", "-o", "a.html"]) == 0
    assert "open a.html in a browser" in capsys.readouterr().err
    assert "· assay</title>" in Path("a.html").read_text(encoding="utf-8")
    with pytest.raises(InputError, match="is no report"):
        assay.audit(made.form, scored="c.jsonl", probes=("list",)).page("mine.html")
