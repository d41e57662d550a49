"""Extras: what each brings is read from the metadata, and no message names one that is missing."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
from source_tree import ROOT, files

from assay.errors import Missing
from assay.registry import extras as module
from assay.registry.extras import EXTRAS, Extra, extras, need

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# extras that give a user of the library nothing of their own
FOR_US = {"all", "browser", "dev", "docs", "supply"}
METADATA = """Metadata-Version: 2.4
Name: assay
Version: 9.9
Requires-Dist: numpy>=1
Requires-Dist: peft>=0.18; extra == "lora"
Requires-Dist: datasets>=999; extra == "hub"
Requires-Dist: no-such-package-here; extra == "hub"
Requires-Dist: vllm; (sys_platform == "plan9") and extra == "vllm"
Requires-Dist: pytest; extra == "dev"
Provides-Extra: dev
Provides-Extra: hub
Provides-Extra: lora
Provides-Extra: vllm
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "assay-9.9.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(METADATA, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("installed")
def test_extras_are_read_from_the_metadata_of_what_is_installed() -> None:
    """A wrong version is lacking as a missing package is; a package for another system is not
    asked for.
    """
    hub, lora = extras()
    assert hub == Extra(
        "hub",
        EXTRAS["hub"],
        ("datasets>=999", "no-such-package-here"),
        ("datasets>=999", "no-such-package-here"),
    )
    assert not hub.ready
    assert lora == Extra("lora", EXTRAS["lora"], ("peft>=0.18",), ()) and lora.ready


def test_a_folder_that_was_never_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(Missing, match="pip install -e"):
        extras()


def test_what_lacks_is_named_with_the_extra_that_brings_it() -> None:
    need("json", "lora", "--lora")
    with pytest.raises(Missing) as said:
        need("no_such_module_here", "lora", "--lora", "or leave --lora out")
    assert str(said.value) == (
        "--lora needs no_such_module_here, which is not installed: pip install '.[lora]', in a "
        "checkout of assay; or leave --lora out"
    )


def test_the_project_and_the_table_have_the_same_extras() -> None:
    assert set(PROJECT["optional-dependencies"]) - FOR_US == set(EXTRAS)


def test_all_is_made_of_extras_that_any_machine_can_install() -> None:
    (everything,) = PROJECT["optional-dependencies"]["all"]
    named = set(re.fullmatch(r"assay\[(.*)\]", everything)[1].split(","))  # type: ignore[index]
    assert named == set(EXTRAS) - {"quantization", "vllm"}


def test_every_extra_that_is_named_anywhere_exists() -> None:
    """In messages and in documents: `pip install '.[…]'` and `need(module, extra, …)`."""
    known = set(PROJECT["optional-dependencies"])
    texts = [*files(), ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = {
        (name, path.name)
        for path in texts
        for inside in re.findall(
            r"(?:assay|'\.)\[([a-z][a-z, -]*)\]", path.read_text(encoding="utf-8")
        )
        for name in inside.replace(" ", "").split(",")
    }
    asked = {
        (name, path.name)
        for path in files()
        for name in re.findall(r"\bneed\(\s*\"\w+\",\s*\"(\w+)\"", path.read_text(encoding="utf-8"))
    }
    assert {n for n, _ in named} >= {"tensorboard"} and {n for n, _ in asked} >= {"hub", "lora"}
    assert {(n, where) for n, where in named | asked if n not in known} == set()


def test_the_table_is_the_only_place_that_says_pip_install() -> None:
    """Everything else asks through `need`, so that one name of an extra is one name everywhere."""
    wrong = [
        str(p.relative_to(ROOT))
        for p in files()
        if "which is not installed: pip install" in p.read_text(encoding="utf-8")
    ]
    assert wrong == [str(Path(module.__file__).relative_to(ROOT))]
