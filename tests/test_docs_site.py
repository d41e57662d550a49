"""The site builds strictly and asks no other host for anything; the reference is current."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
# what a browser fetches by itself; a link that a person clicks is none of it
FETCHED = re.compile(
    r"<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=[\"']?([^\"'\s>]+)"
    r"|<link\b(?![^>]*rel=[\"']?(?:canonical|next|prev))[^>]*\bhref=[\"']?([^\"'\s>]+)"
    r"|url\(\s*[\"']?(https?:[^\"')]+)|@import\s+[\"']([^\"']+)"
)


def tool(name: str) -> ModuleType:
    """A script of docs/tools."""
    spec = importlib.util.spec_from_file_location(
        f"docs_{name}", ROOT / "docs" / "tools" / f"{name}.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_current() -> None:
    """Flags, recipes and public names stand in docs/reference as the sources have them now."""
    for name, text in tool("reference").pages().items():
        written = (ROOT / "docs" / "reference" / name).read_text("utf-8")
        assert written == text, f"docs/reference/{name} is out of date: run `make docs`"


def test_every_command_and_recipe_is_in_the_reference() -> None:
    from assay.cli import VERBS
    from assay.registry import catalogue

    commands = (ROOT / "docs" / "reference" / "cli.md").read_text("utf-8")
    recipes = (ROOT / "docs" / "reference" / "recipes.md").read_text("utf-8")
    assert [v for v in VERBS if f"## assay {v}\n" not in commands] == []
    assert [e.name for e in catalogue.entries() if f"### {e.name}\n" not in recipes] == []


@pytest.mark.slow
def test_the_site_builds_and_fetches_nothing(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    pytest.importorskip("nbconvert")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 70
    asked = {
        f"{page.name}: {target}"
        for page in [*pages, *(tmp_path / "site").rglob("*.css")]
        for groups in FETCHED.findall(page.read_text("utf-8"))
        for target in groups
        if target.startswith(("http:", "https:", "//"))
    }
    assert asked == set()
    assert 'class="doc doc-object' in (tmp_path / "site/reference/api.html").read_text("utf-8")
