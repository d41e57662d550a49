"""The wheel and the archive of sources: built, looked into, and used from an empty folder, where
assay is there as the wheel alone.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from source_tree import PACKAGE, ROOT
from test_package import copied

import assay

pytestmark = [pytest.mark.package, pytest.mark.slow]
# a few seconds each: pure functions, the rules of the sources, files beside the package
FROM_SOURCES = ("core_rng", "formulas_advantage", "source_rules", "evidence_manual", "package")
TYPED = """from __future__ import annotations

from pathlib import Path

import assay
from assay.records.runs import Run

folder: Path = Run.open("runs/a").folder
wrong: int = assay.__version__
"""


@dataclass(frozen=True)
class Built:
    wheel: Path
    sources: Path


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, which finds assay's dependencies in this one."""

    bin: Path
    empty: Path

    def run(self, *words: str, code: int = 0) -> str:
        return ran([str(self.bin / words[0]), *words[1:]], self.empty, code)


def ran(words: list[str], where: Path, code: int = 0) -> str:
    """What a command writes, run in a folder and without a path to this checkout."""
    given = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV", "PYTEST"))}
    given |= {"ASSAY_CACHE": str(where / "cache"), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    done = subprocess.run(words, cwd=where, env=given, capture_output=True, text=True, timeout=600)
    assert done.returncode == code, f"{words} ended with {done.returncode}\n{done.stderr[-3000:]}"
    return done.stdout


def build(what: list[str], source: Path, out: Path) -> None:
    ran(
        [sys.executable, "-m", "build", "--no-isolation", *what, "--outdir", str(out), str(source)],
        out.parent,
    )


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as z:
        return {name: z.read(name) for name in z.namelist()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """`python -m build`: the archive of sources, and the wheel out of the archive."""
    out = tmp_path_factory.mktemp("build") / "dist"
    build([], ROOT, out)
    (wheel,), (sources,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return Built(wheel, sources)


@pytest.fixture(scope="module")
def unpacked(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sources")
    with tarfile.open(built.sources) as f:
        f.extractall(out, filter="data")
    (folder,) = out.iterdir()
    return folder


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """pip sees an empty environment. Only afterwards are this one's packages added to its path, by
    a file of paths, which does not follow the file that leads to this checkout.
    """
    home, empty = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("empty")
    ran([sys.executable, "-m", "venv", "--without-pip", str(home)], empty)
    places = Installed(home / ("Scripts" if os.name == "nt" else "bin"), empty)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(home)]
    ran([*pip, "install", "--quiet", "--no-deps", "--no-index", str(built.wheel)], empty)
    site = places.run("python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    ours = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(site.strip()) / "tested.pth").write_text("\n".join(sorted(ours)) + "\n", encoding="utf-8")
    ran([*pip, "check"], empty)
    return places


def test_the_wheel_holds_the_package_and_nothing_else(built: Built) -> None:
    packed = {n for n in contents(built.wheel) if ".dist-info/" not in n}
    here = {
        p.relative_to(ROOT).as_posix()
        for p in PACKAGE.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    claims = ROOT / "claims"
    results = {
        f"assay/evidence/found/{p.relative_to(claims).as_posix()}" for p in claims.rglob("*.json")
    }
    assert len(results) > 40 and packed == here | results
    assert {
        "assay/py.typed",
        "assay/report/templates/report.html",
        "assay/report/templates/style.css",
        "assay/watch/labelers/page.js",
        "assay/evidence/templates/claims.md",
    } <= packed
    assert built.wheel.name == f"assay-{assay.__version__}-py3-none-any.whl"
    ran([sys.executable, "-m", "check_wheel_contents", str(built.wheel)], built.wheel.parent)


def test_the_wheel_of_the_checkout_is_the_wheel_of_the_archive(
    built: Built, unpacked: Path, tmp_path: Path
) -> None:
    for name, source in (("checkout", ROOT), ("archive", unpacked)):
        build(["--wheel"], source, tmp_path / name)
        (wheel,) = (tmp_path / name).glob("*.whl")
        assert contents(wheel) == contents(built.wheel)


@pytest.mark.full
def test_wheel_and_archive_are_the_same_bytes_wherever_they_are_built() -> None:
    """Other folders, umasks, times, time zones and hash seeds."""
    told = ran([sys.executable, str(ROOT / "supply" / "reproducible.py")], ROOT)
    names = [line.split()[1] for line in told.splitlines()]
    version = assay.__version__
    assert names == [f"assay-{version}-py3-none-any.whl", f"assay-{version}.tar.gz"]


def test_what_the_image_copies_makes_the_same_wheel(built: Built, tmp_path: Path) -> None:
    """The first stage of the Dockerfile, without Docker."""
    source = tmp_path / "src"
    source.mkdir()
    for name in set(copied()):
        whole = (ROOT / name).is_dir()
        (shutil.copytree if whole else shutil.copy)(ROOT / name, source / name)
    build(["--wheel"], source, tmp_path / "dist")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert contents(wheel) == contents(built.wheel)


@pytest.mark.full
def test_the_archive_runs_its_own_tests(unpacked: Path) -> None:
    where = [f"tests/test_{name}.py" for name in FROM_SOURCES]
    told = ran([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rN", *where], unpacked)
    assert "100%" in told
    asked = "import assay; print(assay.__file__)"
    assert ran([sys.executable, "-c", asked], unpacked).startswith(str(unpacked))


def test_assay_is_there_as_the_wheel_alone(installed: Installed) -> None:
    where = installed.run("python", "-c", "import assay; print(assay.__file__)")
    assert Path(where.strip()).is_relative_to(installed.bin.parent)
    assert installed.run("assay", "--version") == f"{assay.__version__}\n"
    extras = "from assay.registry.extras import extras; print(*(e.name for e in extras()))"
    assert {"hub", "lora"} <= set(installed.run("python", "-c", extras).split())


@pytest.mark.full
def test_recipes_worlds_and_verdicts_are_found(installed: Installed) -> None:
    told = json.loads(installed.run("assay", "list", "--json"))
    here = {p.stem for p in (PACKAGE / "recipes").glob("*.py") if not p.stem.startswith("_")}
    assert here == {Path(e["path"]).stem for e in told if "/recipes/" in e["path"]}
    rows = json.loads(installed.run("assay", "claims", "--json"))
    assert sum(r["verdict"] == "not run" for r in rows) < len(rows) / 4


def test_a_run_and_its_report_from_an_empty_folder(installed: Installed) -> None:
    words = ("leave_one_out", "--world", "table", "--world.pairs", "40", "--max-steps", "2")
    installed.run("assay", "run", *words, "--out", "runs/a")
    steps = [
        json.loads(line)["step"]
        for line in (installed.empty / "runs/a/readings.jsonl").read_text("utf-8").splitlines()
    ]
    assert steps[0] == 0 and max(steps) == 2
    installed.run("assay", "report", "runs/a", "-o", "report.html")
    page = (installed.empty / "report.html").read_text("utf-8")
    assert "leave_one_out" in page and "<style" in page and page.rstrip().endswith("</html>")


@pytest.mark.full
def test_a_user_s_file_is_checked_against_assay_s_types(installed: Installed) -> None:
    """py.typed is found: mypy sees the one wrong line, and takes nothing for Any."""
    (installed.empty / "mine.py").write_text(TYPED, encoding="utf-8")
    there = ["--python-executable", str(installed.bin / "python"), "--cache-dir", "mypy-cache"]
    told = ran([sys.executable, "-m", "mypy", "--strict", *there, "mine.py"], installed.empty, 1)
    errors = [line for line in told.splitlines() if ": error:" in line]
    assert len(errors) == 1 and errors[0].startswith("mine.py:9: error: Incompatible types")
