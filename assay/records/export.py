"""Writes a run's policy as a folder that transformers loads, with a model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from assay.core import World
from assay.data.escape import prose
from assay.engine import checkpoint as disk
from assay.errors import InputError
from assay.records.runs import Run


def export(run: Run, world: World, out: Path, *, which: str = "best") -> Path:
    """Write a policy of a run as a transformers checkpoint.

    Args:
        run: The run.
        world: Its world, which has a policy to load the weights into.
        out: A new or an empty folder.
        which: "best" (what a watch kept, else the best by gold, else the last) or "last".

    Returns:
        The folder.

    Raises:
        InputError: The folder holds anything, the run kept no such policy, or the policies of its
            world are not language models.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is never overwritten; give another --out")
    path, step = find_policy(run, which)
    policy: Any = world.task.reference if path is None else world.task.reference.copy()
    if path is not None:
        state = disk.load(path)
        policy.load_state_dict(kept_policy(state, path))
    whole = plain_model(policy, world.name)
    out.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        whole.save_pretrained(out)
    tokenizer = getattr(policy.vocabulary, "tokenizer", None)
    if tokenizer is not None:
        tokenizer.save_pretrained(out)
    (out / "README.md").write_text(card(run, step), encoding="utf-8")
    return out


def plain_model(policy: Any, world: str) -> Any:
    """Return a policy as a plain transformers model, adapters merged.

    Args:
        policy: A policy.
        world: Its world's name, for the message.

    Raises:
        InputError: Policies of this world are not language models.
    """
    backbone: Any = getattr(policy, "backbone", None)
    whole = (
        backbone.merged() if hasattr(backbone, "merged") else getattr(backbone, "model", backbone)
    )
    if not hasattr(whole, "save_pretrained"):
        raise InputError(
            f"the policies of world {world} are of type {type(policy).__name__}, which "
            "transformers cannot load; only runs in world hub and world grammar can be exported"
        )
    return whole


def find_policy(run: Run, which: str) -> tuple[Path | None, int]:
    """Return where a policy of a run is.

    Args:
        run: The run.
        which: "best" or "last".

    Returns:
        (its file, its step); the file is None for the reference.

    Raises:
        InputError: `which` is neither, or the run has no reading yet.
    """
    if which not in ("best", "last"):
        raise InputError(f"--which is '{which}'; it is best or last")
    read = [r for r in run.readings() if r["tag"] != "best"]
    if not read:
        raise InputError(
            f"{run.folder} has no reading yet; go on with it: assay run --resume --out {run.folder}"
        )
    kept = run.record.result
    if which == "best" and kept and kept["stopped"]:
        return (run.folder / kept["file"] if kept["file"] else None), int(kept["step"])
    if which == "best" and read[0]["gold"] is not None:
        step = run.record.best_step or 0
        return (None, 0) if step == 0 else (run.folder / "best.safetensors", step)
    return (
        (None, 0) if len(read) == 1 else (run.folder / "carry.safetensors", int(read[-1]["step"]))
    )


def kept_policy(state: Any, path: Path) -> Any:
    """Return the state of the policy that a file of a run holds.

    Args:
        state: What the file holds: a policy's state, or what the recipe kept.
        path: The file.

    Raises:
        InputError: The recipe keeps no policy under that name.
    """
    if path.name != "carry.safetensors":
        return state
    try:
        return state["carry"]["kept"]["policy"]
    except (KeyError, TypeError) as why:
        raise InputError(f"{path} holds no policy: this recipe keeps none under that name") from why


def card(run: Run, step: int) -> str:
    """Return the model card: front matter, origin, the measured curve, the settings.

    Args:
        run: The run.
        step: The step of the policy.
    """
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
        f"seed {about.seed}, assay {about.assay}, commit {about.commit or 'unknown'}.",
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
