"""The commands that tests kill, what lies there before, and how each is given again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from assay.records.lines import write_lines
from assay.watch.labelers import sheet
from assay.watch.labelers.questions import Question

WORLD = [
    *("--world", "table", "--world.pairs", "20", "--world.prompts", "2", "--world.members", "1"),
    *("--world.vocabulary", "24", "--batch-size", "2", "--max-steps", "2"),
]
LOOP = [*WORLD, "--eval-generations", "2", "--eval-steps", "1"]
RUN = ["run", "leave_one_out", *LOOP, "--save-steps", "1", "--out", "a"]
JUDGE = """import os

def better(prompts, first, second):
    with open(os.environ["PAID"], "a") as f:
        f.write(f"{len(first)}\\n")
    return [1.0 if len(a) > len(b) else 0.0 for a, b in zip(first, second)]

def worth(prompts, completions):
    return [float(len(c)) for c in completions]
"""


def nothing(root: Path) -> None:
    """No files before the command."""


def rows(root: Path) -> None:
    """Files of pairs and of responses, and functions that score them."""
    (root / "judge.py").write_text(JUDGE)
    pairs = [{"prompt": f"q{i}", "chosen": f"a {i} good b", "rejected": f"c {i}"} for i in range(8)]
    texts = [{"prompt": f"q{i}", "response": f"a {i}", "gold": i % 3} for i in range(6)]
    several = [
        {**x, "prompt": f"q{i // 3}", "length": len(x["response"]) + i % 2}
        for i, x in enumerate(texts)
    ]
    for name, lines in (("pairs", pairs), ("texts", texts), ("several", several)):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    (root / "odd.csv").write_text("prompt;chosen;rejected\n2+2;4;5\n1+1;2;2\n")


def empty_folder(root: Path) -> None:
    """As `rows`, and the output's folder is there."""
    rows(root)
    (root / "reward").mkdir()


def questions(root: Path) -> None:
    """A run that waits for people, and a sheet that was filled in."""
    (root / "a").mkdir()
    asked = [Question("watch people", 5, (i, 0), f"prompt {i}", "x", "y") for i in range(4)]
    write_lines(root / "a" / "questions.jsonl", [q.line() for q in asked])
    sheet.export(root / "a", root / "filled.csv", twice=0)
    filled = (root / "filled.csv").read_text().replace("x,y,", "x,y,1")
    (root / "filled.csv").write_text(filled)


def model(root: Path) -> None:
    """A model of a few hundred weights, prompts for it, and a function that scores its answers."""
    from families import checkpoint

    rows(root)
    checkpoint(root / "base", "llama")
    (root / "prompts.jsonl").write_text(
        "".join(f'{{"prompt": "what is {i}?"}}\n' for i in range(6))
    )


def started(root: Path, words: tuple[str, ...]) -> tuple[str, ...]:
    """How a run goes on."""
    there = (root / "a" / "run.json").exists()
    return ("run", "--resume", "--out", "a") if there else words


def same(root: Path, words: tuple[str, ...]) -> tuple[str, ...]:
    """The same command again."""
    return words


@dataclass(frozen=True)
class Case:
    """A command, what lies there before, and where it is killed in `make test`.

    Attributes:
        words: The command without "assay".
        files: Writes what it needs.
        before: A command that is run first.
        again: The command that is given after a death.
        sample: The shares of its operations after which `make test` kills it.
        code: Its exit code.
    """

    words: tuple[str, ...]
    files: Callable[[Path], None] = nothing
    before: tuple[str, ...] = ()
    again: Callable[[Path, tuple[str, ...]], tuple[str, ...]] = same
    sample: tuple[float, ...] = ()
    code: int = 0


HUB = (
    *("run", "leave_one_out", "--model", "base", "--prompts", "prompts.jsonl", "--held-out", "2"),
    *("--rewards", "judge.py:worth", "--max-tokens", "4", "--batch-size", "2", "--max-steps", "1"),
    *("--num-generations", "2", "--eval-generations", "2", "--learning-rate", "0.01"),
    *("--out", "a"),
)
WATCH = ("watch", "a", "--by", "judge.py:better", "--budget", "24", "--at-once", "3")
CASES = {
    "run": Case(tuple(RUN), again=started, sample=(0.5, 0.97)),
    "sweep": Case(
        ("sweep", "leave_one_out", *LOOP, "--seeds", "0..1", "--out", "s"), sample=(0.9,)
    ),
    "fit": Case(
        (
            *("fit", "pairs.jsonl", "--members", "2", "--folds", "2", "--out", "reward"),
            *("--out-of-fold", "scored.jsonl"),
        ),
        rows,
        sample=(0.4, 0.97),
    ),
    "fit into an empty folder": Case(
        ("fit", "pairs.jsonl", "--members", "1", "--folds", "0", "--out", "reward"),
        empty_folder,
        sample=(0.6,),
    ),
    "score": Case(
        ("score", "judge.py:worth", "texts.jsonl", "--out", "new/scored.jsonl"), rows, sample=(0.5,)
    ),
    "check": Case(("check", "odd.csv", "--fix", "mended.jsonl"), rows, sample=(0.5,)),
    "bon": Case(
        (
            *("bon", "several.jsonl", "--gold", "gold", "--proxy", "length", "--draws", "10"),
            *("-o", "curve.json", "--page", "curve.html"),
        ),
        rows,
        sample=(0.97,),
    ),
    "claims": Case(("claims", "--run", "worst_case", *WORLD, "--seeds", "100"), sample=(0.5,)),
    "watch": Case(WATCH, rows, before=(*RUN, "--policies"), sample=(0.5,)),
    "export": Case(("export", "a", "--last", "--out", "model"), model, before=HUB, sample=(0.7,)),
    "export of a sheet": Case(
        ("watch", "export", "a", "sheet.csv", "--twice", "0"), questions, sample=(0.5,)
    ),
    "import of a sheet": Case(("watch", "import", "a", "filled.csv"), questions, sample=(0.6,)),
}
