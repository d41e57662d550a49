"""Writes a run's policy as a folder that transformers loads, with a model card."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.core import World
from assay.data.escape import prose
from assay.engine.os_errors import must_be_utf8
from assay.engine.whole_folder import whole_folder
from assay.errors import InputError
from assay.models import as_transformers
from assay.records.best import CARRY, BestPolicy, best, last, policies, within
from assay.records.loaded_back import Agreement, agreement
from assay.records.memory import MemoryRun
from assay.records.result import named
from assay.records.runs import Run
from assay.records.seals import check_seal
from assay.records.states import load_state


@dataclass(frozen=True)
class Exported:
    """A folder that was written.

    Attributes:
        folder: The folder.
        agreement: How close its log-probabilities are to the policy's.
    """

    folder: Path
    agreement: Agreement


def export(
    run: Run, world: World, out: Path, found: BestPolicy, *, adapter: bool = False
) -> Exported:
    """Write a policy of a run as a transformers checkpoint.

    It is written beside its place, loaded back by plain transformers, and compared with the policy
    on completions of the record. Only then it gets its name.

    Args:
        run: The run.
        world: Its world, which has a policy to load the weights into.
        out: A new or an empty folder.
        found: The policy; `find_policy` says which there are.
        adapter: Write the adapter alone, for peft, in place of the base with the adapter merged.

    Returns:
        The folder, and how close it is to the policy.

    Raises:
        InputError: The folder holds anything, the policies of its world are not language models,
            or what was written is not the policy.
    """
    must_be_free(out)
    policy = load_policy(run, world, found)
    if not hasattr(getattr(policy, "backbone", None), "hidden_states"):
        raise InputError(
            f"the policies of world {world.name} are of type {type(policy).__name__}, which "
            "transformers cannot load; only runs in world hub and world grammar can be exported"
        )
    with whole_folder(out) as folder:
        if adapter:
            as_transformers.save_adapter(policy, folder)
        else:
            as_transformers.save(policy, folder)
        stored = run.samples() if len(world.held_out) else []
        own = [r for r in stored if (r["step"], r["tag"] or "") == (found.step, found.tag)]
        asked = world.held_out if len(world.held_out) else world.task.prompts
        close = agreement(policy, folder, asked, own or stored, name=out)
        (folder / "README.md").write_text(card(run, found), encoding="utf-8")
    return Exported(out, close)


def must_be_free(out: Path) -> None:
    """Raise InputError where the folder to write exists and holds anything, or its name is not
    UTF-8.
    """
    must_be_utf8(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is never overwritten; give another --out")


def find_policy(run: Run, *, step: int | None = None, end: bool = False) -> BestPolicy:
    """Return a policy of a run: its best, its last, or that of a step.

    Args:
        run: The run.
        step: A step whose policy was kept; 0 for the reference.
        end: The last policy, whatever chose the best.

    Raises:
        InputError: The run has no reading yet, or did not keep the policy of this step.
    """
    if step is not None and end:
        raise InputError("--step and --last name two policies; give one of them")
    top = best(run)
    if step is None and not end:
        return top
    if end:
        kept = last(run)
        tag, name = kept["tag"] or "", kept["file"]
        file = None if name is None else within(run.folder, name)
        return BestPolicy(kept["step"], tag, "it is the last policy", "last", None, file)
    assert step is not None
    if step == 0:
        return BestPolicy(0, "", "it is the reference", "last", None, None)
    there = policies(run)
    if (step, top.tag) in there or (step, "") in there:
        tag = top.tag if (step, top.tag) in there else ""
        return BestPolicy(step, tag, "--step names it", "last", None, there[step, tag])
    names = ", ".join(named({"step": t, "tag": tag}) for t, tag in there) or "none"
    raise InputError(
        f"{run.folder} did not keep the policy of step {step}; it kept {names} and the reference. "
        "A run with --policies keeps every policy that is read"
    )


def load_policy(run: Run, world: World, found: BestPolicy) -> Any:
    """Return a policy of a run with its weights.

    Args:
        run: The run.
        world: Its world.
        found: Which policy.

    Raises:
        InputError: Its weights were not kept.
    """
    if found.step == 0:
        return world.task.reference
    if found.file is None:
        raise InputError(f"{run.folder}: the policy of {found.name} has no weights to load")
    if not found.file.exists():
        raise InputError(f"{found.file} is gone, and it holds the policy of {found.name}")
    check_seal(run.about, run.folder)
    policy: Any = world.task.reference.copy()
    state = load_state(run.folder, found.file, step=found.step)
    kept = _kept(state, found.file) if found.file.name == CARRY else state
    try:
        policy.load_state_dict(kept)
    except RuntimeError as why:  # torch lists every name and shape
        said = " ".join(str(why).split())[:150]
        raise InputError(
            f"{found.file} does not fit the policy of world {world.name} ({said}); the model or "
            "the adapter configuration is another one than when the run began: put it back"
        ) from why
    return policy


def _kept(state: Any, path: Path) -> Any:
    """The state of the policy among what a recipe kept."""
    try:
        return state["carry"]["kept"]["policy"]
    except (KeyError, TypeError) as why:
        raise InputError(f"{path} holds no policy: this recipe keeps none under that name") from why


def card(run: Run | MemoryRun, found: BestPolicy) -> str:
    """Return the model card: front matter, origin, the measured curve, the settings.

    Args:
        run: The run.
        found: The policy.
    """
    step = found.step
    about = run.record
    base = about.world.get("policy") or about.world.get("model")
    head = [
        "---",
        "library_name: transformers",
        "tags: [assay, preference-optimisation]",
        *([f"base_model: {json.dumps(base)}"] if base else []),
        "---",
        "",
    ]
    gold = f"gold ({about.gold_kind or 'none'})"
    lines = [
        *head,
        f"# {prose(about.recipe or 'a run')}, step {step}",
        "",
        f"Made by `assay run {about.recipe}` ({prose(about.title or 'no paper')}), "
        f"seed {about.seed}, assay {about.assay}, commit {about.commit or 'unknown'}. "
        f"Why this step: {prose(found.reason)}.",
        "",
        "## Measured",
        "",
        "The KL is of the whole completion, in nats, against the model it started from. "
        f"{gold.capitalize()} is measured on prompts that the run did not train on; a dash was not "
        "measured.",
        "",
        f"| step | KL | {gold} | ± | proxy |",
        "|---|---|---|---|---|",
    ]
    for r in run.readings():
        mark = (
            " (best, read again)"
            if r["tag"] == "best"
            else " ← this model"
            if r["step"] == step
            else ""
        )
        lines.append(
            "| "
            + " | ".join(
                [
                    f"{r['step']}{mark}",
                    *(cell(x) for x in (r["kl"], r["gold"], r["gold_err"], r["proxy"])),
                ]
            )
            + " |"
        )
    lines += [
        "",
        "## How it was made",
        "",
        "```json",
        json.dumps(
            {
                k: getattr(about, k)
                for k in ("arguments", "loop", "world", "fit", "inputs", "versions")
            },
            indent=1,
            ensure_ascii=False,
        ),
        "```",
        "",
    ]
    return "\n".join(lines)


def cell(value: float | None) -> str:
    """A number in a table, a dash where there is none."""
    return "–" if value is None else f"{value:.4g}"
