"""A Ray cluster of several nodes on this machine, for tests, and recipes that die once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assay.records.lines import read_lines
from assay.records.runs import Run

SMALL: dict[str, Any] = {
    "world": "table",
    "world.pairs": 40,
    "world.members": 2,
    "world.prompts": 4,
    "world.vocabulary": 24,
    "max_steps": 6,
    "batch_size": 4,
    "num_generations": 4,
    "eval_steps": 2,
    "eval_generations": 4,
    "save_steps": 2,
}
WORDS = [w for k, v in SMALL.items() for w in (f"--{k.replace('_', '-')}", str(v))]

SMALL_NODE: dict[str, Any] = {"object_store_memory": 80 << 20, "include_dashboard": False}

# A recipe that does something once: the file `once` says that it has.
ONCE = '''"""A recipe that meets misfortune once."""
import os, signal, time
from pathlib import Path
from assay.core import Loop, Paper
from assay.loops import online, proxy_score
paper = Paper("Once", "Me", 2026, "")

def recipe(task, *, lam: float = 0.5, loop=Loop()):
    once = Path("once")
    for t, step in enumerate(online(task, loop, score=proxy_score(task))):
        if t == {step} and not once.exists():
            once.write_text(str(os.getpid()))
            {act}
        yield step
'''


def write_once(act: str, step: int = 4) -> str:
    """The path of a recipe that does `act` once, before it gives that step, counted from 0."""
    Path("once.py").write_text(ONCE.replace("{act}", act).replace("{step}", str(step)))
    return "./once.py"


@contextmanager
def nodes(*resources: dict[str, float]) -> Iterator[Any]:
    """A cluster with one node for each dict of resources, the head first."""
    import ray
    from ray.cluster_utils import Cluster

    # a busy machine is not this test's matter
    os.environ["RAY_memory_monitor_refresh_ms"] = "0"  # noqa: SIM112
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    first, *others = resources
    made = Cluster(initialize_head=True, head_node_args={**SMALL_NODE, **_args(first)})
    try:
        made.workers = [made.add_node(**SMALL_NODE, **_args(r)) for r in others]
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def _args(resources: dict[str, float]) -> dict[str, Any]:
    return {"num_cpus": resources.get("CPU", 1), "num_gpus": resources.get("GPU", 0)}


def same_runs(here: Path, there: Path) -> int:
    """Check that two sweeps left the same files with the same numbers, times apart; how many runs
    there were.
    """
    from safetensors.torch import load_file

    found = sorted(p.parent.relative_to(here) for p in here.rglob("run.json"))
    assert found == sorted(p.parent.relative_to(there) for p in there.rglob("run.json"))
    for run in found:
        a, b = here / run, there / run
        names = {p.relative_to(a) for p in a.rglob("*") if p.is_file()}
        assert names == {p.relative_to(b) for p in b.rglob("*") if p.is_file()}
        assert _lines(a / "readings.jsonl") == _lines(b / "readings.jsonl")
        assert _lines(a / "samples.jsonl") == _lines(b / "samples.jsonl")
        assert _record(a) == _record(b)
        for name in (n for n in names if n.suffix == ".safetensors"):
            mine, theirs = load_file(a / name), load_file(b / name)
            assert mine.keys() == theirs.keys()
            assert all(bytes(v.numpy().tobytes()) == theirs[k].numpy().tobytes()
                       for k, v in mine.items()), name  # fmt: skip
    return len(found)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_lines(path)]


def _record(folder: Path) -> dict[str, Any]:
    of_its_time = {"started", "finished", "seal", "files"}
    return {k: v for k, v in Run.open(folder).about.items() if k not in of_its_time}


def without_times(outcomes: Any, out: str) -> Any:
    """A sweep's outcomes as JSON without its folder's name and times."""
    text = json.dumps(outcomes).replace(f'"{out}/', '"')

    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: cut(v) for k, v in value.items() if k != "seconds"}
        return [cut(v) for v in value] if isinstance(value, list) else value

    return cut(json.loads(text))
