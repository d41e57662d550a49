"""What is packed and how: the project's metadata, the citation, the image and the pages about them.

test_package_build.py builds it.
"""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from source_tree import ROOT, files, imports

import assay

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
INSTRUCTIONS = {"FROM", "ARG", "ENV", "COPY", "RUN", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def dockerfile() -> list[tuple[str, str]]:
    """(instruction, what follows) of the Dockerfile; continued lines are one, comments none."""
    lines = [x for x in text("Dockerfile").splitlines() if not x.startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(x.split()[0], x.split(maxsplit=1)[1]) for x in whole.splitlines() if x]


def copied() -> list[str]:
    """What the image takes from this folder."""
    return [word for name, rest in dockerfile() if name == "COPY" for word in rest.split()[:-1]]


def pinned() -> dict[str, str]:
    files = ("constraints.txt", "constraints-trl.txt", "constraints-ray.txt")
    lines = [line for file in files for line in text(file).splitlines()[1:]]
    return {canonicalize_name(n): v for n, _, v in (x.partition("==") for x in lines)}


def test_the_citation_is_of_this_version() -> None:
    said = yaml.safe_load(text("CITATION.cff"))
    assert said["cff-version"] == "1.2.0" and said["type"] == "software"
    assert said["version"] == assay.__version__
    assert said["license"] == PROJECT["license"] == "Apache-2.0"
    assert said["authors"] == PROJECT["authors"] == [{"name": "The assay authors"}]
    assert said["title"] and said["message"]


def test_the_version_is_a_semantic_one_and_the_changelog_has_its_place() -> None:
    """Semantic versioning's three numbers, as Python writes a version."""
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", assay.__version__)
    headings = re.findall(r"^## \[(.+?)\]", text("CHANGELOG.md"), re.M)
    released = [Version(h) for h in headings if h != "Unreleased"]
    assert headings[0] == "Unreleased" and released == sorted(released, reverse=True)
    assert all(v <= Version(assay.__version__) for v in released)


def test_whatever_is_imported_is_declared() -> None:
    """A package that comes with another today may not come with it tomorrow."""
    whose = metadata.packages_distributions()
    imported = {
        canonicalize_name(d)
        for p in files()
        for _, name in imports(p)
        if (top := name.split(".")[0]) not in sys.stdlib_module_names and top != "assay"
        for d in whose.get(top, [])
    }
    wanted = [*PROJECT["dependencies"], *(r for e in EXTRAS.values() for r in e)]
    assert {"torch", "pyyaml", "scikit-learn"} <= imported
    assert imported - {canonicalize_name(Requirement(r).name) for r in wanted} == set()


def test_what_is_pinned_lies_within_what_is_allowed() -> None:
    pins = pinned()
    tested = [
        *PROJECT["dependencies"],
        *(r for n in ("dev", "ray", "trl", "wandb") for r in EXTRAS[n]),
    ]
    for r in map(Requirement, tested):
        assert canonicalize_name(r.name) in pins, f"{r.name} has no pin in constraints.txt"
        assert r.specifier.contains(pins[canonicalize_name(r.name)]), str(r)


def test_python_s_versions_are_told_alike() -> None:
    told = [c.rpartition(" :: ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert PROJECT["requires-python"] == f">={told[0]}" and sys.version_info >= (3, 11)
    page = text("docs/versions.md")
    assert f"Python {told[0]} to {told[-1]}" in page
    torch, transformers = (
        next(r for r in PROJECT["dependencies"] if re.match(rf"{n}\W", r))
        for n in ("torch", "transformers")
    )
    assert f"`{torch}`" in page and f"`{transformers}`" in page
    workflow = yaml.safe_load(text(".github/workflows/ci.yml"))
    rows = workflow["jobs"]["check"]["strategy"]["matrix"]["include"]
    assert {told[0], told[-1]} <= {row["python"] for row in rows}


def test_every_extra_stands_on_the_page_of_platforms() -> None:
    rows = re.findall(r"^\| `([a-z]+)` \|", text("docs/platforms.md"), re.M)
    assert set(rows) == set(EXTRAS) - {"dev", "docs", "browser", "supply"}


def test_the_image_is_made_of_what_is_here() -> None:
    steps = dockerfile()
    assert {name for name, _ in steps} <= INSTRUCTIONS
    assert copied() and all((ROOT / name).exists() for name in copied())
    allowed = {x[1:] for x in text(".dockerignore").splitlines() if x.startswith("!")}
    assert allowed == set(copied()), ".dockerignore sends what is copied, and nothing else"
    settings = dict(rest.split("=", 1) for name, rest in steps if name == "ARG")
    assert settings["TORCH_INDEX"].endswith("/cpu"), "the image computes on the CPU by default"
    assert set(settings["EXTRAS"].split(",")) <= set(EXTRAS)


def test_the_image_runs_assay_as_nobody_special() -> None:
    steps = dockerfile()
    last = max(i for i, (name, _) in enumerate(steps) if name == "FROM")
    final = dict(steps[last:])
    assert final["ENTRYPOINT"] == '["assay"]' and "assay" in PROJECT["scripts"]
    assert final["USER"] == "assay"
    names = [name for name, _ in steps[last:]]
    assert names.index("USER") > max(i for i, n in enumerate(names) if n == "RUN")
    assert any("useradd" in rest and rest.split("&&")[0].endswith("assay ") for _, rest in steps)


def test_the_image_installs_as_the_makefile_does() -> None:
    """The same pins, and a Python that is tested."""
    steps = dockerfile()
    installs = [rest for name, rest in steps if name == "RUN" and "pip install" in rest]
    assert len(installs) == 3 and all("constraints.txt" in x for x in installs)
    bases = {rest.split()[0] for name, rest in steps if name == "FROM"}
    (version,) = {re.fullmatch(r"python:(3\.\d+)-slim-\w+", b)[1] for b in bases}  # type: ignore[index]
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]
    assert any("python -m build --no-isolation" in rest for _, rest in steps)
    assert "python -m build --no-isolation" in text("Makefile")


@pytest.mark.parametrize("page", ["docs/platforms.md", "docs/versions.md"])
def test_pages_about_the_package_name_files_that_exist(page: str) -> None:
    named = re.findall(r"`((?:assay|tests|docs)/[\w/.]+\.\w+)`", text(page))
    links = re.findall(r"\]\(([^)#:]+)\)", text(page))
    assert named + links
    assert [n for n in named if not (ROOT / n).exists()] == []
    assert [x for x in links if not (ROOT / "docs" / x).exists()] == []
