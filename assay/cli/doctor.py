"""doctor: what this machine has, what is missing, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from assay.cli import screen
from assay.safe_text import json_text, visible


def doctor_(*, hub: bool = True, model: str = "", json_: bool = False) -> int:
    """Show versions, devices, extras and environment variables, and what is wrong with them.

    With --model, also how that model's passes are computed and what memory training it takes in
    float32: "training" is weights, reference, gradients and Adam's moments; a "peak" adds
    activations with --checkpointing of 4,096 tokens and the keys and values of 32,768 generated
    tokens. The exit code is 1 where assay cannot run here, and 0 otherwise. Keys and tokens are
    never shown, only that they are set.

    Args:
        hub: Ask the hub whether it can be reached, which may take five seconds.
        model: A causal language model to examine, a folder or a model id; it is opened in float32.

    Example:
        assay doctor
        assay doctor --no-hub --json
        assay doctor --model SmolLM2-135M-Instruct
    """
    from assay.cli import machine

    found = machine.examined(hub=hub)
    if model:
        from assay.cli import model_facts

        found["model"] = model_facts.facts(model)
    print(json_text(found) if json_ else text(found))
    return 0 if found["runs"] else 1


def text(found: Mapping[str, Any]) -> str:
    """What was found, for a person."""
    versions = [(v["name"], v["version"] or "–", v["about"]) for v in found["versions"]]
    devices = [
        (d["name"], d["about"], f"{size(d['free'])} free of {size(d['total'])}")
        for d in found["devices"]
    ]
    disks = [(d["place"], d["path"], f"{size(d['free'])} free") for d in found["disks"]]
    extras = [
        (e["name"], "installed" if e["installed"] else e["install"], e["gives"])
        for e in found["extras"]
    ]
    variables = [
        (v["name"], "–" if v["value"] is None else v["value"] or '""', v["about"])
        for v in found["environment"]
    ]
    parts = [
        *([model_text(found["model"])] if "model" in found else []),
        screen.table(("versions", "", ""), versions),
        screen.table(("devices", "", "memory"), devices),
        screen.table(("disks", "", ""), disks),
        *([screen.table(("hub", ""), [(found["hub"]["address"], found["hub"]["says"])])]
          if found["hub"] else []),
        screen.table(("extras", "in a checkout", "gives"), extras),
        screen.table(("environment", "now", ""), variables),
    ]  # fmt: skip
    problems = [f"{i}. {p}" for i, p in enumerate(found["problems"], 1)]
    last = ["problems", *problems] if problems else ["No problem found."]
    return "\n\n".join([*parts, "\n".join(last)])


def model_text(m: Mapping[str, Any]) -> str:
    """What was found of a model, for a person."""
    again = "yes (--checkpointing)" if m["recomputed"] else "no"
    rows = [
        ("family", m["family"]),
        ("parameters", f"{m['parameters']:,}; LoRA of rank 16 trains {m['adapted']:,}"),
        ("prompts are computed", m["prompts"]),
        ("layers can be computed again", again),
        *((f"float32: {what}", size(n)) for what, n in m["bytes"].items()),
        *(
            (f"peak of {kind}, 1, 2, 4, 8 processes (--fsdp)", ", ".join(map(size, peaks.values())))
            for kind, peaks in m["divided"].items()
        ),
    ]
    return screen.table((f"model {visible(m['name'])}", ""), rows)


def size(n: float) -> str:
    """Bytes as a person says them.

    Example:
        >>> size(3_500_000_000)
        '3.3 GiB'
    """
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    power = min(int(math.log(max(n, 1), 1024)), len(units) - 1)
    scaled = n / 1024**power
    return (
        f"{scaled:.0f} {units[power]}"
        if scaled >= 100 or power == 0
        else (f"{scaled:.1f} {units[power]}")
    )
