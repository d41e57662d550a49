"""What assay is made of: locks with hashes, licences, and the notices that reports carry."""

from __future__ import annotations

import re
import runpy
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pages import make
from source_tree import ROOT

from assay import report

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = {"runtime": ("hub", "lora"), "development": ("dev", "docs", "browser", "supply")}
LINE = re.compile(
    r"^([\w.-]+)==([^\s;]+)(?: ; (.*?))? \\\n((?:    --hash=sha256:\w{64}(?: \\)?\n)+)", re.M
)
licences = runpy.run_path(str(ROOT / "supply" / "licences.py"))


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def locked(name: str) -> dict[str, str]:
    """Version by package of a lock."""
    found = LINE.findall(text(f"supply/{name}.txt"))
    return {canonicalize_name(n): v for n, v, _, _ in found}


@pytest.mark.parametrize("name", ["runtime", "development", "torch-cpu"])
def test_a_lock_is_packages_with_hashes_and_names_no_index(name: str) -> None:
    lines = [x for x in text(f"supply/{name}.txt").splitlines() if not x.startswith("#")]
    left = LINE.sub("", text(f"supply/{name}.txt"))
    assert len(lines) > 1 and [x for x in left.splitlines() if not x.startswith("#")] == []
    assert not re.search(r"://|--index|--find|-i ", "\n".join(lines)), "mirrors must serve, too"


@pytest.mark.parametrize("name", EXTRAS)
def test_what_is_locked_is_what_was_tested(name: str) -> None:
    """`make lock` has to follow a change of constraints.txt or of pyproject.toml."""
    pins = dict(x.split("==") for x in text("constraints.txt").splitlines()[1:])
    tested = {canonicalize_name(n): v for n, v in pins.items()}
    found = locked(name)
    assert {n: v for n, v in found.items() if tested.get(n) != v} == {}
    asked = [*PROJECT["dependencies"]]
    for extra in dict.fromkeys([*EXTRAS["runtime"], *EXTRAS[name]]):
        asked += [r for r in PROJECT["optional-dependencies"][extra] if not r.startswith("assay[")]
    for wanted in map(Requirement, asked):
        assert wanted.specifier.contains(found[canonicalize_name(wanted.name)]), str(wanted)


def test_no_package_of_the_lock_needs_one_that_is_not_in_it() -> None:
    """The lock is installed with --no-deps."""
    found = locked("runtime")
    for name, version in found.items():
        try:
            there = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # of another system
        if there.version.partition("+")[0] != version:
            continue
        for wanted in map(Requirement, there.requires or []):
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                assert canonicalize_name(wanted.name) in found, f"{name} needs {wanted}"


def test_pytorch_is_locked_as_its_wheel_for_the_cpu_is() -> None:
    (told,) = tomllib.loads(text("supply/uv.toml"))["dependency-metadata"]
    assert told["version"] == locked("runtime")["torch"] == locked("development")["torch"]
    assert locked("torch-cpu")["torch"] == f"{told['version']}+cpu"
    there = metadata.distribution("torch")
    if there.version != f"{told['version']}+cpu":
        pytest.skip(f"PyTorch {there.version} is installed, not the locked wheel for the CPU")
    asked = [r for r in there.requires or [] if "extra ==" not in r]
    assert sorted(map(str, map(Requirement, asked))) == sorted(told["requires-dist"])


def test_every_locked_package_has_an_allowed_licence_on_the_page() -> None:
    """`make licences` has to follow a change of the lock."""
    rows = dict(re.findall(r"^\| (\w[\w.-]*) \| (.+) \|$", text("THIRD_PARTY.md"), re.M))
    assert rows.pop("package") == "licence"
    assert set(rows) == {p.name for p in licences["locked"](text("supply/runtime.txt"))}
    for name, said in rows.items():
        assert licences["refused"](said) == [], name
        try:
            assert licences["licence"](name) == said, f"{name} has changed its licence"
        except metadata.PackageNotFoundError:
            assert sys.platform != "linux", f"{name} is in the lock and not installed"


@pytest.mark.parametrize(
    ("about", "found"),
    [
        ("License-Expression: GPL-3.0-only", ["GPL-3.0-only"]),
        ("License-Expression: MIT AND (Apache-2.0 OR SSPL-1.0)", ["SSPL-1.0"]),
        ("License: GNU General Public License v3", None),
        ("Classifier: License :: OSI Approved :: GNU Affero General Public License v3", None),
        ("Summary: says nothing", None),
        ("License: MIT License\nClassifier: License :: OSI Approved :: MIT License", []),
        ("Classifier: License :: OSI Approved :: BSD License", []),
        ("License: Apache License, Version 2.0", []),
        ("License: MITRE's own terms", None),
    ],
)
def test_a_licence_that_is_not_allowed_or_not_understood_is_seen(
    about: str, found: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "strange_one-1.0.dist-info"
    folder.mkdir()
    head = "Metadata-Version: 2.4\nName: strange-one\nVersion: 1.0\n"
    (folder / "METADATA").write_text(f"{head}{about}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    said = licences["licence"]("strange-one")
    assert (said if said is None else licences["refused"](said)) == found


def test_a_report_carries_the_licences_of_the_programs_in_it(tmp_path: Path) -> None:
    page = report.build([make(tmp_path / "run")], tmp_path / "r.html").read_text("utf-8")
    notices = text("assay/report/templates/vega-licences.txt")
    assert page.count(notices) == 1 and "--" not in notices, "it stands in a comment"
    head = page.partition(notices)[0]
    assert head.rstrip().endswith("<!--") and "University of Washington" in notices
    for licence in ("BSD-3-Clause", "ISC", "MIT", "Apache-2.0"):
        assert re.search(rf"^{licence}\n\n\w", notices, re.M), f"the whole text of {licence}"


def test_the_bill_has_what_the_environment_cannot_say() -> None:
    pytest.importorskip("cyclonedx", reason="cyclonedx-bom is not installed: make sbom")
    sbom: dict[str, Any] = runpy.run_path(str(ROOT / "supply" / "sbom.py"))
    bare = {
        "metadata": {"component": {"name": "assay"}},
        "components": [{"name": "vl-convert-python"}],
    }
    bill = sbom["completed"](bare, "1.2.3", ["6.2.0", "6.4", "7.0.2"])
    assert bill["metadata"]["component"]["purl"] == "pkg:pypi/assay@1.2.3"
    (holder,) = bill["components"]
    assert next(c["purl"] for c in holder["components"]) == "pkg:npm/vega@6.2.0"
