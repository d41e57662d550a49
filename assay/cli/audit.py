"""audit: how hackable a reward is, before anything is trained."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from assay.api import flags
from assay.api.flags import Flag
from assay.cli.endings import ending
from assay.cli.grammar import Grammar, Words
from assay.cli.verbs import ALSO, Seen
from assay.registry.catalogue import HOME
from assay.registry.parameters import Parameter, from_text

INPUTS = ("scored", "model", "prompts", "gold", "pairs", "fitted_on")
LIMITS = (
    *("max_effect", "min_fall", "max_length_correlation"),
    *("min_accuracy", "max_changed_choices"),
)
SAMPLING = ("num_generations", "max_tokens", "temperature")
MEASURED = ("probes", "most_prompts", "a_prompt", "words", "stability")
DATA = ("columns", "split", "drop", "templated")
HEADINGS = {  # where help shows the flags
    **dict.fromkeys(INPUTS, "Inputs"),
    **dict.fromkeys(MEASURED, "Measurements"),
    **dict.fromkeys(LIMITS, "Thresholds"),
    **dict.fromkeys(SAMPLING, "Sampling"),
    **dict.fromkeys(DATA, "Data"),
}


def _parameters() -> Mapping[str, Parameter]:
    found = from_text(HOME / "api" / "audit.py", "audit", without=("tokenizer",))
    assert found is not None
    return found


def grammar(base: Grammar, seen: Seen) -> Grammar:
    """The verb with the flags of `assay.audit`."""
    known = flags.of(_parameters())
    found: dict[str, Flag] = {
        k: replace(
            f,
            type=str if k in INPUTS else f.type,
            also=ALSO.get(k, ()),
            group=HEADINGS.get(k, "Run"),
        )
        for k, f in known.items()
    }
    what = "A folder of assay fit, a sequence classifier, FILE.py:name, or a server's address."
    return replace(base, flags={**base.flags, **found}, words=(Words("reward", True, what),))


def audit_(*rewards: str, out: Path | None = None, json_: bool = False, **settings: Any) -> int:
    """Measure how hackable a reward is, before you train on it.

    Completions of the same prompts are changed in ways that make none of them better: padded, cut,
    repeated, put into markdown, praised, emptied, scored as the answer to another prompt. Each
    change of the score has an interval over prompts and a verdict: passes, fails, or undecided.
    The exit code is 1 if a check fails, with a sentence for each, so that CI can refuse a reward.

    Args:
        rewards: A folder of assay fit, a sequence classifier, FILE.py:name, or a server's address.
        out: The HTML page to write.

    Example:
        assay audit reward --scored completions.jsonl -o audit.html
        assay audit judge.py:score --model MODEL --prompts prompts.jsonl --max-effect 0.3 --json
    """
    from assay.api.audit import Inputs, audit_of
    from assay.audits.config import AuditConfig
    from assay.audits.page import free
    from assay.safe_text import json_text

    if out is not None:
        free(out)
    inputs = Inputs(**{k: settings.pop(k) for k in INPUTS if k in settings})
    found = audit_of(list(rewards), inputs, AuditConfig(**settings))
    print(json_text(found.result) if json_ else found)
    if out is not None:
        found.page(out)
    if found.failed:
        print("\n".join(f"assay: {why}" for why in found.failed), file=sys.stderr)
    look = [] if out is None else [("look at it", f"open {out} in a browser")]
    ending(*look, as_json=json_)
    return 0 if found.ok else 1
