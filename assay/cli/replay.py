"""A finished run looked at again: its world and its kept policies, in the order in which they were
read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assay.api import execution, inputs, orders
from assay.core import Rng
from assay.engine.atomic import write_bytes
from assay.engine.folder_lock import is_held, only_writer
from assay.engine.leftovers import forget_below
from assay.engine.owner import held_by
from assay.engine.progress import over
from assay.errors import InputError
from assay.records.runs import Run, plain
from assay.records.states import load_state
from assay.watch.config import WatchConfig
from assay.watch.ledger import Ledger
from assay.watch.setup import open_watch


def looks(
    folder: Path, asked: WatchConfig, say: Callable[[str], None], *, trust: bool = False
) -> Iterator[dict[str, Any]]:
    """The verdict at each kept policy, until the watch says stop; after each, all of them are in
    the run's watch.json.

    Args:
        folder: The run's folder.
        asked: How to watch.
        say: Is told at the beginning what the labels can find.
        trust: Whether code that comes with the run's models may run.
    """
    run = Run.open(folder)
    if is_held(folder):
        raise _busy(folder)
    kept = {int(p.stem): p for p in (folder / "policies").glob("*.safetensors") if p.stem.isdigit()}
    read = [r for r in run.readings() if r["step"] > 0 and r["tag"] != "best"]
    lacking = [r["step"] for r in read if r["step"] not in kept]
    if lacking or not read:
        held = f"no policy of step {lacking[0]}" if lacking else "no reading but the reference's"
        raise InputError(
            f"{folder} holds {held}, and the watch samples fresh completions from every policy "
            f"that was read: run it again with --policies (assay run --from {folder} --policies)"
        )
    inputs.same_policy(run.about, str(folder))
    world = execution.Worlds()(orders.of_record(run.about, str(folder), trust=trust))
    seed = run.about["seed"]
    if seed is None:
        raise InputError(f"{folder / 'run.json'} has no seed; restore it, or run again")
    task = world.task.replaced(rng=Rng(seed)("run"))
    again = (
        "assay watch "
        + str(folder)
        + "".join(
            f" --{k.replace('_', '-')} {v}"
            for k, v in asdict(asked).items()
            if v != getattr(WatchConfig(), k)
        )
    )
    with only_writer(folder) as mine:
        if not mine:
            raise _busy(folder)
        forget_below(folder)
        watch, comparisons = open_watch(
            asked,
            task,
            population=world.population,
            held_out=world.held_out,
            gold=world.gold,
            ledger=Ledger(folder, None),  # read once no other process can buy labels
            seed=seed,
            looks=len(read),
            folder=folder,
            again=again,
            own=False,
        )
        for sentence in watch.outlook.sentences:
            say(sentence)
        said = []
        for reading in over(read, "watching", "readings"):
            policy: Any = task.reference.copy()
            step = reading["step"]
            policy.load_state_dict(load_state(folder, kept[step], step=step))
            comparisons.begin(policy)
            said.append(watch.look(reading))
            _write(folder / "watch.json", {"watch": asdict(asked), "looks": said})
            yield said[-1]
            if watch.stopped:
                return


def _busy(folder: Path) -> InputError:
    """What is said where another process writes to the run."""
    return InputError(
        f"{held_by(folder)} is writing to {folder}: wait until it has ended, and watch the run then"
    )


def _write(path: Path, value: Any) -> None:
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False)
    write_bytes(path, text.encode("utf-8", "backslashreplace"))
