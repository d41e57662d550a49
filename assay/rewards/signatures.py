"""Reward functions with the signatures of other trainers.

verl's `compute_score(data_source, solution_str, ground_truth, extra_info)` scores one completion.
It is called for each completion with the cells of the columns that it names, as verl does:
`ground_truth` comes from a column of that name, or else from verl's column `reward_model`.

OpenRLHF's `reward_func(queries, prompts, labels)` is refused with a sentence that says how to wrap
it. Its queries are prompt and completion in one text, the chat template's marks included. What a
reward is given here has no such marks, so a function that searches for them would find nothing.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from assay.errors import InputError
from assay.registry.functions import awaited

OWN = ("prompts", "completions", "messages", "columns")


def adapted(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return a function that can be called as `name(prompts, completions, **columns)`.

    Args:
        function: A reward function. One of verl's signature is wrapped, others are returned as
            they are.
        name: Its name, for the message.

    Raises:
        InputError: The function has OpenRLHF's signature, or that of verl's batches.

    Example:
        >>> def compute_score(data_source, solution_str, ground_truth, extra_info=None):
        ...     return float(solution_str == ground_truth)
        >>> score = adapted(compute_score, "compute_score")
        >>> score(["2 + 2?"], ["4"], data_source=["sums"], ground_truth=["4"])
        [1.0]
    """
    try:
        takes = inspect.signature(function).parameters
    except (TypeError, ValueError):  # of a builtin, which is refused by name elsewhere
        return function
    if "completions" in takes:
        return function
    if "queries" in takes and "prompts" in takes:
        labels = ", columns['label']" if "labels" in takes else ""
        raise InputError(
            f"reward {name} has OpenRLHF's signature ({', '.join(takes)}), and assay calls "
            "score(prompts, completions, **columns) on texts without a chat template's marks; wrap "
            f"it: def score(prompts, completions, messages, **columns): return {name}([p + c for "
            f"p, c in zip(prompts, completions)], prompts{labels})"
        )
    if "solution_strs" in takes:
        raise InputError(
            f"reward {name} has the signature of verl's batches ({', '.join(takes)}), and assay "
            "calls score(prompts, completions, **columns); wrap it, or give the function of one "
            "completion: compute_score(data_source, solution_str, ground_truth, extra_info)"
        )
    if "solution_str" in takes and "ground_truth" in takes:
        return _of_each(function, name, takes)
    return function


def _of_each(
    function: Callable[..., Any], name: str, takes: Mapping[str, inspect.Parameter]
) -> Callable[..., Any]:
    """Call verl's function once for each completion."""
    everything = any(p.kind is p.VAR_KEYWORD for p in takes.values())
    columns = [
        p
        for p in takes.values()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        and p.name not in ("solution_str", "ground_truth")
    ]

    def score(
        prompts: Sequence[str], completions: Sequence[str], **cells: Sequence[Any]
    ) -> list[Any]:
        rows = {k: v for k, v in cells.items() if everything or k in takes}
        rows["ground_truth"] = _truths(cells, len(completions), name)
        rows.pop("messages", None)
        calls = [
            function(solution_str=said, **{k: v[i] for k, v in rows.items()})
            for i, said in enumerate(completions)
        ]
        return awaited(_together(calls)) if any(map(inspect.isawaitable, calls)) else calls

    kind = inspect.Parameter.KEYWORD_ONLY
    # a parameter `messages` says that prompts and completions are wanted as texts
    shown = [inspect.Parameter(n, kind) for n in OWN[:3]]
    shown += [inspect.Parameter(p.name, kind, default=p.default) for p in columns]
    shown += [inspect.Parameter(n, kind, default=None) for n in ("ground_truth", "reward_model")]
    if everything:
        shown.append(inspect.Parameter("columns", inspect.Parameter.VAR_KEYWORD))
    score.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    return score


async def _together(calls: Sequence[Any]) -> list[Any]:
    """Await all calls of an `async` function at once."""
    return list(await asyncio.gather(*calls))


def _truths(cells: Mapping[str, Sequence[Any]], n: int, name: str) -> list[Any]:
    """Return the right answer of each row."""
    if "ground_truth" in cells:
        return list(cells["ground_truth"])
    models = cells.get("reward_model", [])
    if len(models) == n and all(isinstance(m, Mapping) and "ground_truth" in m for m in models):
        return [m["ground_truth"] for m in models]
    raise InputError(
        f"reward {name} has verl's signature and needs a column 'ground_truth' (or verl's "
        "'reward_model', an object that holds it); add it to the file, or rename one with --columns"
    )
