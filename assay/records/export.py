"""A run's policy as a folder that plain transformers loads, with a model card: what it is, how it
came about, what was measured.
"""

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
    """Write the run's best policy (by gold, else what a watch kept, else the last) or its last one;
    returns the folder.

    Raises InputError where the folder exists, the run kept no such policy, or its world's policies
    are no language models.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists, and nothing is overwritten: give another --out")
    path, step = chosen(run, which)
    policy: Any = world.task.reference if path is None else world.task.reference.copy()
    if path is not None:
        state = disk.load(path)
        policy.load_state_dict(state if path.name != "carry.safetensors" else _kept(state, path))
    backbone: Any = getattr(policy, "backbone", None)
    whole = (
        backbone.merged() if hasattr(backbone, "merged") else getattr(backbone, "model", backbone)
    )
    if not hasattr(whole, "save_pretrained"):
        raise InputError(
            f"the policies of world {world.name} are {type(policy).__name__}s, no language models "
            "that transformers could load; --world hub and --world grammar have such"
        )
    out.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        whole.save_pretrained(out)
    tokenizer = getattr(policy.vocabulary, "tokenizer", None)
    if tokenizer is not None:
        tokenizer.save_pretrained(out)
    (out / "README.md").write_text(card(run, step), encoding="utf-8")
    return out


def chosen(run: Run, which: str) -> tuple[Path | None, int]:
    """The file that holds a policy, None for the reference, and the step it is of."""
    if which not in ("best", "last"):
        raise InputError(f"--which is '{which}'; it is best or last")
    read = [r for r in run.readings() if r["tag"] != "best"]
    if not read:
        raise InputError(
            f"{run.folder} has no reading yet; go on with it by assay run --resume --out "
            f"{run.folder}"
        )
    kept = run.about.get("result")
    if which == "best" and kept and kept["stopped"]:
        return (run.folder / kept["file"] if kept["file"] else None), int(kept["step"])
    if which == "best" and read[0]["gold"] is not None:
        step = int(run.about.get("best_step") or 0)
        return (None, 0) if step == 0 else (run.folder / "best.safetensors", step)
    return (
        (None, 0) if len(read) == 1 else (run.folder / "carry.safetensors", int(read[-1]["step"]))
    )


def _kept(state: Any, path: Path) -> Any:
    """The policy among what a recipe kept."""
    try:
        return state["carry"]["kept"]["policy"]
    except (KeyError, TypeError) as why:
        raise InputError(f"{path} holds no policy: this recipe keeps none under that name") from why


def card(run: Run, step: int) -> str:
    """The model card: front matter, origin, the measured curve, what the numbers are."""
    about = run.about
    base = about["world"].get("policy")
    head = [
        "---",
        "library_name: transformers",
        "tags: [assay, preference-optimisation]",
        *([f"base_model: {json.dumps(base)}"] if base else []),
        "---",
        "",
    ]
    gold = f"gold ({about.get('gold_kind') or 'none'})"
    lines = [
        *head,
        f"# {prose(about['recipe'])}, step {step}",
        "",
        f"Made by `assay run {about['recipe']}` ({prose(about['title'])}), seed {about['seed']}, "
        f"assay {about['assay']}, commit {about.get('commit') or 'unknown'}.",
        "",
        "## Measured",
        "",
        "The KL is of the whole answer, in nats, against the model it started from. "
        f"{gold.capitalize()} is read on prompts that the run did not train on; a dash was not "
        "measured.",
        "",
        f"| step | KL | {gold} | ± | proxy |",
        "|---|---|---|---|---|",
    ]
    for r in run.readings():
        mark = (
            " (chosen, read again)"
            if r["tag"] == "best"
            else " ← this model"
            if r["step"] == step
            else ""
        )
        lines.append(
            "| "
            + " | ".join(
                [f"{r['step']}{mark}", *(cell(r[k]) for k in ("kl", "gold", "gold_err", "proxy"))]
            )
            + " |"
        )
    lines += [
        "",
        "## How it was made",
        "",
        "```json",
        json.dumps(
            {k: about.get(k) for k in ("arguments", "loop", "world", "fit", "inputs", "versions")},
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
