"""Readers of what assay itself writes: runs, checkpoints, fitted rewards, results of claims."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pages
import torch

from assay import report
from assay.engine import checkpoint
from assay.errors import InputError
from assay.evidence import result_files
from assay.records.best import best, state_said
from assay.records.checks import LABELS, QUESTIONS
from assay.records.methods import grounds
from assay.records.runs import Run, digest
from assay.registry import entry, parameters
from assay.report.completions import completions
from assay.rewards.folder import ABOUT, WEIGHTS
from assay.rewards.linear_reward import LinearReward
from assay.rewards.load import load_reward
from assay.watch.labelers.people import LabelStore
from assay.watch.labelers.questions import Question
from fuzz.harness import Target

_ASKED = [Question("watch people", 5, (i, 0), f"p {i}", "a", "b", {"x": i}) for i in range(3)]
_GIVEN = [
    {"id": _ASKED[0].id, "who": "watch people", "step": 5, "place": [0, 0], "label": 1.0},
    {"id": _ASKED[1].id, "label": 0.5, "by": "page", "cost": {"calls": 2}},
    {"id": _ASKED[0].id, "undone": True, "by": "page"},
    {"who": "pilaf", "step": 2, "place": [0, 1], "label": 0.25},
]


@functools.cache
def _run() -> dict[str, bytes]:
    """The files of a finished run that asked people."""
    with tempfile.TemporaryDirectory() as folder:
        made = pages.make(Path(folder) / "run", count=3)
        found = {p.name: p.read_bytes() for p in made.iterdir() if p.is_file()}
    asked = "".join(json.dumps(q.line()) + "\n" for q in _ASKED)
    given = "".join(json.dumps(line) + "\n" for line in _GIVEN)
    return {**found, "questions.jsonl": asked.encode(), "labels.jsonl": given.encode()}


def _one(name: str) -> Callable[[], list[bytes]]:
    return lambda: [_run()[name]]


def _with(data: bytes, folder: Path, name: str) -> Path:
    """The run, with one of its files damaged."""
    for other, whole in _run().items():
        (folder / other).write_bytes(data if other == name else whole)
    return folder


def _record(name: str) -> Callable[[bytes, Path], None]:
    """Everything that the command line reads of a run without drawing it."""

    def call(data: bytes, folder: Path) -> None:
        run = Run.open(_with(data, folder, name))
        run.readings(), run.samples()
        state_said(run), best(run)
        QUESTIONS.read(folder), LABELS.read(folder)
        LabelStore(folder).waiting(0.5)

    return call


def _drawn(name: str) -> Callable[[bytes, Path], None]:
    """The numbers and the texts of the report: everything but the drawing of its charts."""

    def call(data: bytes, folder: Path) -> None:
        json.dumps(report.summary([_with(data, folder, name)]))
        for ground in grounds([folder]):
            for track in ground.tracks:
                completions(ground, track)

    return call


@functools.cache
def _state() -> bytes:
    state = {"next": 3, "kept": {"opt": {"m": torch.ones(2, 3)}}, "values": {"x": (1, None, "s")}}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder) / "x", state, {"step": 3})
        return (Path(folder) / "x").read_bytes()


def _loaded(data: bytes, folder: Path) -> None:
    (folder / "x.safetensors").write_bytes(data)
    checkpoint.about(folder / "x.safetensors")
    checkpoint.load(folder / "x.safetensors")


@functools.cache
def _reward() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        LinearReward(torch.ones(2, 1, 4), ("a", "b")).save(folder)
        about = json.loads((Path(folder) / ABOUT).read_text())
        del about["seal"]  # which would refuse every other input, before it is read
        (Path(folder) / ABOUT).write_text(json.dumps(about))
        return {p.name: p.read_bytes() for p in Path(folder).iterdir()}


def _opened(folder: Path) -> None:
    reward = load_reward(folder)
    list(reward.names)


def _described(data: bytes, folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(_reward()[WEIGHTS])
    (folder / ABOUT).write_bytes(data)
    _opened(folder)


def _weighed(data: bytes, folder: Path) -> None:
    """Weights whose digest is right, as somebody who edits both files would leave them."""
    (folder / WEIGHTS).write_bytes(data)
    about = json.loads(_reward()[ABOUT])
    about["files"] = {WEIGHTS: digest(folder / WEIGHTS)}
    (folder / ABOUT).write_text(json.dumps(about))
    _opened(folder)


_CLAIMS = Path(__file__).parents[2] / "claims"


def _claims() -> list[bytes]:
    return [p.read_bytes() for p in sorted(_CLAIMS.glob("*.json"), key=lambda p: p.stat().st_size)][
        :8
    ]


@np.errstate(all="ignore")  # as the report does: what is not finite is shown as a dash
def _claimed(data: bytes, folder: Path) -> None:
    (folder / "x.y.json").write_bytes(data)
    result_files.read(folder / "x.y.json")


_RECIPE = '''"""Mine. A method of my own."""
from assay.core import Claim, Loop, Paper
paper = Paper("Mine", "Me", 2024, "https://example.org/mine")
reduces = {"grpo": ({"beta": 0.0}, {})}
LEAST = 0.5


def recipe(task, *, beta: float = 0.1, name: str | None = None, loop=Loop(max_steps=3)):
    """Train.

    Args:
        beta: The weight of the KL, in nats.
        name: A name.
    """
    for t in task.carry.keep(opt=1).steps(3):
        yield task.reference


@Claim("It holds.", arms={"mine": {"beta": 0.1}}, worlds=["table"])
def claim(mine):
    """The gold at the end."""
    return mine[-1]
'''


def _read_recipe(data: bytes, folder: Path) -> None:
    (folder / "mine.py").write_bytes(data)
    found = entry.read(folder / "mine.py")
    if found.fault:
        raise InputError(found.fault)
    parameters.from_text(folder / "mine.py", found.verb)


RECORDS = [
    Target("run.json", "json", _one("run.json"), _record("run.json"), 2),
    Target("readings.jsonl", "lines", _one("readings.jsonl"), _record("readings.jsonl"), 2),
    Target("samples.jsonl", "lines", _one("samples.jsonl"), _record("samples.jsonl")),
    Target("questions.jsonl", "lines", _one("questions.jsonl"), _record("questions.jsonl")),
    Target("labels.jsonl", "lines", _one("labels.jsonl"), _record("labels.jsonl")),
    Target("report of run.json", "json", _one("run.json"), _drawn("run.json"), 0.5),
    Target("report of readings", "lines", _one("readings.jsonl"), _drawn("readings.jsonl"), 0.5),
    Target("report of samples", "lines", _one("samples.jsonl"), _drawn("samples.jsonl"), 0.5),
    Target("a checkpoint", "tensors", lambda: [_state()], _loaded),
    Target("reward.json", "json", lambda: [_reward()[ABOUT]], _described),
    Target("weights of a reward", "tensors", lambda: [_reward()[WEIGHTS]], _weighed),
    Target("a result of a claim", "json", _claims, _claimed, 0.5),
    Target("a recipe's text", "text", lambda: [_RECIPE.encode()], _read_recipe),
]
