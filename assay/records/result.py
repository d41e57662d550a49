"""What a run comes to: one best policy, with its reason and the file that holds it.

The rule, which export, report, summary and the command line's last lines share:

1. A watch that stopped the run has chosen: its labels say which policy is the best.
2. A watch that did not stop it has no evidence that an earlier policy is better, so the last policy
   is the best. The watch's own "best so far" is what newer policies are compared with; it lags, and
   is no choice.
3. Without a watch, the reading with the highest gold, the reference's among them. The highest of
   many readings flatters, so that policy is read again on fresh completions of the same prompts,
   and those are the numbers to quote: what is chance in completions is gone, what these prompts
   prefer is not.
4. With neither, nothing can choose, and the last policy is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, InstanceOf, with_config

# pydantic reads typing's own TypedDict only from Python 3.12 on
from typing_extensions import TypedDict

from assay.engine.plural import counted

Chooser = Literal["watch", "gold", "last"]
# `str` itself would refuse a lone surrogate, and a policy may write one
Text = InstanceOf[str]
Whole = Annotated[int, Field(ge=-(2**64), le=2**64)]  # seeds have 64 bits
_STRICT = ConfigDict(strict=True, extra="allow")


@with_config(_STRICT)
class Kept(TypedDict):
    """A policy of a run.

    Attributes:
        step: Its step; 0 is the reference.
        tag: Its tag, where a step has several policies.
        file: The file of the run's folder that holds its weights; None for the reference, and for a
            policy without weights.
    """

    step: Whole
    tag: Text | None
    file: Text | None


@with_config(_STRICT)
class Best(Kept):
    """The one policy that is exported, reported and restored.

    Attributes:
        chosen_by: watch (its labels), gold (the highest reading), or last (nothing chose).
        reason: Why it is this one, in a sentence.
    """

    chosen_by: Chooser
    reason: Text


@with_config(_STRICT)
class Watched(TypedDict):
    """What the run's watch came to.

    Attributes:
        stopped: Whether it stopped the run.
        word: Its last word: go_on, cannot_tell or stop.
        at: The last step that it looked at.
        best: The step that later ones were compared with at the end.
        labels: Labels that it bought.
    """

    stopped: bool
    word: Text | None
    at: Whole
    best: Whole
    labels: Whole


@with_config(_STRICT)
class Result(TypedDict):
    """What a finished run comes to.

    Attributes:
        best: The policy that is exported, reported and restored.
        last: The last policy.
        watch: What the watch came to; None where nothing was watched.
        unscored: Reward models that applied to no completion of any reading; absent if each did.
        unrewarded: True if no reward applied to any completion of any training step; else absent.
    """

    best: Best
    last: Kept
    watch: Watched | None
    unscored: NotRequired[list[Text]]
    unrewarded: NotRequired[bool]


def chosen(
    *,
    last: Kept,
    watch: Watched | None = None,
    back: Kept | None = None,
    gold: Kept | None = None,
    gold_name: str = "gold",
    readings: int = 0,
    again: str = "",
) -> Best:
    """Choose the best policy by the rule of this module.

    Args:
        last: The last policy.
        watch: What the watch came to.
        back: The policy that a watch chose when it stopped.
        gold: The policy of the highest gold reading.
        gold_name: What gold is called; a held-out model is never called gold.
        readings: Readings that gold chose among.
        again: Its gold on fresh completions, such as "0.49 ± 0.02".

    Example:
        >>> policy = {"step": 40, "tag": "", "file": "policies/40.safetensors"}
        >>> chosen(last=policy)["reason"]
        'nothing chose: there is neither gold nor a watch, so the last policy is taken'
    """
    if watch is not None and watch["stopped"] and back is not None:
        why = (
            f"the watch stopped the run at step {watch['at']}, and by its {watch['labels']} labels "
            f"{named(back)} is the best"
        )
        return {**back, "chosen_by": "watch", "reason": why}
    if watch is not None:
        tell = (
            "could not tell at the end whether the run had turned"
            if watch["word"] == "cannot_tell"
            else "did not stop the run"
        )
        why = (
            f"the watch {tell}, so no labels say that an earlier policy is better than the last "
            f"({counted(watch['labels'], 'label')})"
        )
        return {**last, "chosen_by": "last", "reason": why}
    if gold is not None:
        fresh = f"; on fresh completions of the same prompts it is {again}"
        why = f"its {gold_name} is the highest of {counted(readings, 'reading')}"
        why += fresh if again else ""
        return {**gold, "chosen_by": "gold", "reason": why}
    why = "nothing chose: there is neither gold nor a watch, so the last policy is taken"
    return {**last, "chosen_by": "last", "reason": why}


def without_reward(result: Mapping[str, Any] | None) -> str:
    """Say which rewards of a finished run never applied; "" if each did.

    Example:
        >>> without_reward({"unscored": ["format"]})
        'format applied to no completion of any reading'
    """
    found = result or {}
    names = ", ".join(found.get("unscored") or [])
    said = [f"{names} applied to no completion of any reading"] if names else []
    if found.get("unrewarded"):
        said.append("no training step had a reward, so nothing was learned from one")
    return "; ".join(said)


def named(policy: Mapping[str, Any]) -> str:
    """A policy in words: "step 40", "step 3 (n=8)" or "the reference"."""
    if policy["step"] == 0:
        return "the reference"
    return f"step {policy['step']}" + (f" ({policy['tag']})" if policy.get("tag") else "")


def with_error(value: float | None, error: float | None) -> str:
    """A number with its standard error; "" where there is none."""
    if value is None:
        return ""
    return f"{value:.4g}" if error is None else f"{value:.4g} ± {error:.2g}"


def from_earlier(value: Any) -> Any:
    """Return a watched run's result as it stood in earlier records in today's shape.

    Args:
        value: The entry `result`; what is of today's shape is returned as it is.
    """
    if not isinstance(value, dict) or "stopped" not in value:
        return value
    last: Kept = {
        "step": value["at"],
        "tag": "",
        "file": None if value["stopped"] else value["file"],
    }
    back: Kept = {"step": value["step"], "tag": "", "file": value["file"]}
    watch: Watched = {
        "stopped": value["stopped"],
        "word": "stop" if value["stopped"] else None,
        "at": value["at"],
        "best": value["best"],
        "labels": value["labels"],
    }
    return {"best": chosen(last=last, watch=watch, back=back), "last": last, "watch": watch}
