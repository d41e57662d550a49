"""What the manual's code blocks hold: commands parse, and the files that pages show run."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from assay.cli import VERBS, main
from assay.cli.parsing import parse

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(
    p
    for p in [
        *DOCS.glob("*.md"),
        *(DOCS / "how-to").glob("*.md"),
        *(DOCS / "concepts").glob("*.md"),
    ]
)
FILES = re.compile(r'```python title="([\w.]+)"\n(.*?)```', re.S)
LEFT = ("…", "...")  # "and what else you need"
PLACES = {  # flags that a page leaves to the reader, filled in where `…` stands
    "run": ["--model", "MODEL", "--prompts", "prompts.jsonl", "--rewards", "judge.py:score"]
}


def shown(folder: Path) -> dict[str, str]:
    """The files that pages show, written into a folder."""
    found = {n: t for p in PAGES for n, t in FILES.findall(p.read_text("utf-8"))}
    for name, text in found.items():
        (folder / name).write_text(text, encoding="utf-8")
    return found


def commands(page: Path) -> list[str]:
    """The lines of a page's shell blocks that call assay."""
    blocks = re.findall(r"^```(\w*)[^\n]*\n(.*?)^```$", page.read_text("utf-8"), re.S | re.M)
    shell = [text.replace("\\\n", " ") for kind, text in blocks if kind in ("", "sh")]
    lines = [re.sub(r"\s+#.*", "", line).strip() for text in shell for line in text.split("\n")]
    called = [re.search(r"(?:^|/|-m )(assay -?[a-z].*)$", line) for line in lines]
    return [c[1] for c in called if c is not None]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(DOCS).as_posix())
def test_commands_have_the_flags_that_they_name(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown(tmp_path)
    lines = commands(page)
    if any("--resume" in line or "--from" in line for line in lines):  # they read the run's record
        said = ["--world", "table", "--max-steps", "1", "--out", "runs/x", "--quiet"]
        assert main(["run", "grpo", *said]) == 0
    for line in lines:
        words = shlex.split(line)[1:]
        name = " ".join(words[:2]) if " ".join(words[:2]) in VERBS else words[0]
        rest = [w for w in words[len(name.split()) :] if w != "--help"]
        if any(w in LEFT for w in rest):
            rest = [w for w in rest if w not in LEFT]
            rest += [] if {"--model", "--world"} & set(rest) else PLACES.get(name, [])
        assert name in VERBS, line
        parse(rest, VERBS[name].grammar(rest))


def test_the_researchers_recipe_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown(tmp_path)
    said = ["--world", "table", "--max-steps", "2", "--weight", "0.5", "--out", "r", "--quiet"]
    assert main(["run", "./mean_minus_std.py", *said]) == 0


def module(folder: Path, name: str) -> ModuleType:
    """A file that a page shows, imported."""
    import importlib.util

    shown(folder)
    spec = importlib.util.spec_from_file_location(f"shown_{name[:-3]}", folder / name)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_engineers_judge_judges(tmp_path: Path) -> None:
    judge = module(tmp_path, "judge.py")
    asked, first, second = ["p"], ["Great question!"], ["First clean it, then dry it."]
    assert judge.score(asked, first, source=["x"]) < judge.score(asked, second)
    assert judge.better(asked, first, second) == [0.0]
    assert judge.better(asked, first, first) == [0.5]


@pytest.fixture
def fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `reward`, as `assay fit` writes it, in the folder that the pages' files run in."""
    monkeypatch.chdir(tmp_path)
    rows: list[dict[str, Any]] = [
        {"prompt": f"q{i}", "chosen": "a good and clear answer", "rejected": "no"}
        for i in range(12)
    ]
    Path("pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert main(["fit", "pairs.jsonl", "-o", "reward", "--members", "2", "--quiet"]) == 0
    return tmp_path


def test_the_files_for_other_trainers_score_as_they_are_called(fitted: Path) -> None:
    """OpenRLHF calls with whole texts and wants tensors; verl calls with one completion."""
    openrlhf = module(fitted, "reward_func.py")
    queries = ["q1 a good and clear answer", "q1 no"]
    found = openrlhf.reward_func(queries, ["q1 ", "q1 "], ["", ""])
    better, worse = found["rewards"].tolist()
    assert better > worse and found["scores"].shape == (2,)
    verl = module(fitted, "verl_reward.py")
    one = verl.compute_score("data", "a good and clear answer", "", {"prompt": "q1 "})
    assert one == pytest.approx(better, abs=1e-5)


def test_the_example_file_is_what_the_quickstart_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(DOCS / "examples")
    assert main(["check", "pairs.jsonl"]) == 0
    assert f"```text\n{capsys.readouterr().out}```" in (DOCS / "quickstart-engineer.md").read_text(
        "utf-8"
    )


def test_the_page_on_serving_shows_what_the_example_files_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line of the spread limit, and the answer to the request, digit for digit as far as the
    page has them.
    """
    import httpx2

    import assay
    from assay.cli.serve import lines, ready

    monkeypatch.chdir(tmp_path)
    page = (DOCS / "how-to" / "reward-server.md").read_text("utf-8")
    pairs = (DOCS / "examples" / "pairs.jsonl").read_bytes()
    Path("pairs.jsonl").write_bytes(pairs)
    assert main(["fit", "pairs.jsonl", "--out", "reward", "--quiet"]) == 0
    asked = re.search(r"-d '(\{.*\"ids\".*\})'", page)
    answer = re.search(r"```json\n(\{\"model.*?\})\n```", page, re.S)
    assert asked and answer
    with assay.RewardServer("reward", calibrate="pairs.jsonl", log_requests=False) as server:
        said = [line.replace(server.url, "http://127.0.0.1:8765") for line in lines(ready(server))]
        found = httpx2.post(server.url, json=json.loads(asked[1]), trust_env=False).json()
    assert "\n".join(["```text", *said, "```"]) in page
    assert _cut(found) == json.loads(answer[1])


def _cut(found: Any) -> Any:
    """Numbers with three decimals, as the page has them."""
    if isinstance(found, dict):
        return {k: _cut(v) for k, v in found.items()}
    if isinstance(found, list):
        return [_cut(v) for v in found]
    return round(found, 3) if isinstance(found, float) else found


def test_the_server_serves_a_reward(tmp_path: Path) -> None:
    from starlette.testclient import TestClient

    asked = {"prompts": ["p", "p"], "completions": ["a b", "a"], "columns": {}}
    reply = TestClient(module(tmp_path, "server.py").app).post("/score", json=asked)
    assert reply.json() == {"scores": [2.0, 1.0]}
