"""Every page that assay writes or serves, with a text of the test's choice in each of its fields.

`text` is a function from the name of a field to what stands in it.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pages import PAPER, make
from test_evaluation_compare import run as compared_run
from test_watch_report import RESULT, verdict

import assay
from assay import report
from assay.api.progress import Stack
from assay.api.progress import page as progress_page
from assay.engine.progress import Stage
from assay.records.runs import Run, write_lines
from assay.watch.labelers.page import LabelPage
from assay.watch.labelers.questions import Question

Text = Callable[[str], str]


def plain(field: str) -> str:
    """The text of a page without anything odd."""
    return field


def filename(text: str) -> str:
    """As much of a text as a file's name can hold."""
    kept = text.encode("utf-8", "ignore").decode().replace("/", "∕").replace("\0", "")
    return kept[:60]


def runs(folder: Path, text: Text) -> list[Path]:
    """Runs of every kind that a report shows: seeds, methods, a watched one, a failed one."""
    about: dict[str, Any] = {
        "world": {"name": text("world"), "name of a setting " + text("key"): text("setting")},
        "golds": [text("gold"), text("second gold")],
        "gold_kind": text("kind of gold"),
        "rewards": [text("reward"), text("second reward")],
        "arguments": {text("constant"): text("its value")},
        "title": text("title of the recipe"),
        "paper": {
            **PAPER,
            "title": text("paper"),
            "authors": text("authors"),
            "url": text("url") if text is not plain else PAPER["url"],
        },
        "inputs": {text("input"): "0" * 64},
        "commit": text("commit"),
    }
    name = filename(text("folder"))
    made = [make(folder / f"{i}{name}", text("recipe"), i, **about) for i in range(2)]
    made.append(make(folder / f"3{name}", text("other"), 0, slope=1.4, **about))
    failed = {"state": "failed", "error": text("error"), "gold": True, "done": False}
    made.append(make(folder / f"4{name}", text("failed"), **about, **failed))
    for one in made:
        rows = [json.loads(x) for x in (one / "samples.jsonl").read_text("utf-8").splitlines()]
        told = {"prompt": text("prompt"), "completion": text("completion"), "tag": ""}
        write_lines(one / "samples.jsonl", [{**row, **told} for row in rows])
    return [*made, watched(folder / f"5{name}", text, about)]


def watched(folder: Path, text: Text, about: dict[str, Any]) -> Path:
    """A run with the words of a watch."""
    own = {"loop": {"seed": 0}, "watch": {"by": text("labeler"), "budget": 400}}
    record = Run.create(folder, {**about, **own, "recipe": text("watched"), "seed": 0})
    for step in (0, 10, 20, 30):
        said = {
            **verdict(step, step / 10, "stop" if step == 30 else "go_on", text("labeler")),
            "says": text("verdict"),
            "notes": [text("note")],
            "hints": [{"name": text("hint"), "why": text("why"), "since": 1, "label": text("l")}],
        }
        look = {"watch": said} if step else {}
        line = {"step": step, "kl": 0.1 * step, "gold": 1.0 - (step - 20) ** 2 / 400, **look}
        record.append({**line, "gold_err": 0.1, "proxy": 0.1 * step, "kl_kind": "exact"})
    record.finish({"result": {**RESULT, "best": {**RESULT["best"], "reason": text("reason")}}})
    return folder


def report_page(folder: Path, text: Text) -> str:
    """The address of a report."""
    return report.build(runs(folder, text), folder / "report.html", title=text("title")).as_uri()


def comparison(folder: Path, text: Text) -> assay.api.comparison.Comparison:
    """Two methods, two prices on KL, six seeds each."""
    for seed in range(6):
        compared_run(folder, "leave_one_out", seed, peak=1.0 + seed, end=-1.0)
        compared_run(folder, "kl_in_loss", seed, peak=0.5, end=0.4, beta=0.5)
        compared_run(folder, "0", seed, peak=2.0 + 1.1 * seed, end=0.5)
    for record in folder.glob("*/*/run.json"):
        told = json.loads(record.read_text("utf-8"))
        told["world"] |= {"name": text("world"), "key": text("setting")}
        if told["recipe"] == "0":
            told |= {"recipe": text("recipe"), "arguments": {text("constant"): text("value")}}
        record.write_text(json.dumps(told), encoding="utf-8")
    return assay.compare([folder], baseline="leave_one_out")


def comparison_page(folder: Path, text: Text) -> str:
    """The address of a comparison's page."""
    return (comparison(folder, text).save(folder / "compared") / "compare.html").as_uri()


def scored(text: Text) -> list[dict[str, Any]]:
    """Four completions of each of six prompts, with two proxies and a gold."""
    one, other, gold = text("column"), text("second column"), text("gold column")
    return [
        {"prompt": f"{p} {text('prompt')}", "completion": f"{c} {text('completion')}"}
        | {one: float(c), other: float(-c * p), gold: float(c * (3 - c) + p)}
        for p in range(6)
        for c in range(4)
    ]


def best_of_n(folder: Path, text: Text) -> Any:
    """A curve of a file with odd columns and an odd name."""
    file = folder / f"{filename(text('file'))}.jsonl"
    write_lines(file, scored(text))
    names = (text("column"), text("second column"))
    return assay.best_of_n_curve(str(file), gold=text("gold column"), proxy=names, draws=50)


def best_of_n_page(folder: Path, text: Text) -> str:
    """The address of a best-of-n curve's page."""
    return best_of_n(folder, text).report(folder / "best_of_n.html").as_uri()


def notebook_page(folder: Path, text: Text) -> str:
    """What a notebook shows of a run, a comparison, a curve, an evaluation and work under way, on
    a page without any policy, as notebooks are.
    """
    run = assay.open_run(runs(folder / "runs", text)[0])
    stack = Stack()
    stage = Stage(text("stage"), 2, "steps", stack)
    stage.began = 0.0  # long enough ago to be shown
    stack.opened(stage)
    parts = [
        run._repr_html_(),
        comparison(folder / "compared", text)._repr_html_(),
        best_of_n(folder, text)._repr_html_(),
        progress_page(stack),
    ]
    file = folder / "notebook.html"
    whole = "<!doctype html><meta charset=utf-8><title>notebook</title>" + "<hr>".join(parts)
    file.write_bytes(whole.encode("utf-8", "backslashreplace"))
    return file.as_uri()


FILES = {
    "report": report_page,
    "comparison": comparison_page,
    "best of n": best_of_n_page,
    "notebook": notebook_page,
}


@cache
def written(kind: str, text: Text = plain) -> str:
    """The address of a page, which is made once in a process and stays until its end."""
    folder = tempfile.TemporaryDirectory(prefix="assay-pages-")
    _KEPT.append(folder)
    return FILES[kind](Path(folder.name), text)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []  # they go when the process does


@contextlib.contextmanager
def label_page(folder: Path, text: Text, pairs: int = 3) -> Iterator[LabelPage]:
    """The labeling page of a run with a few pairs, served until the block ends."""
    asked = [
        Question(
            text("asker"),
            5,
            (i, 0),
            text("prompt"),
            f"{i} {text('first')}",
            f"{i} {text('second')}",
            {text("column"): text("cell"), "answer": i},
        )
        for i in range(pairs)
    ]
    lines = [{**q.line(), "who": "watch people"} for q in asked]
    write_lines(folder / "questions.jsonl", lines)
    served = LabelPage(folder, twice=0.0, by=text("labeler"))
    served.start()
    try:
        yield served
    finally:
        served.stop()
