"""What a reward server may answer, and how it is read as one score a completion.

| reply | from |
| --- | --- |
| `{"scores": [1.5, null]}` | assay's own protocol; `assay serve` adds `results` |
| `{"rewards": [1.5, null], …}` | OpenRLHF's remote reward model; the rest is not read |
| `{"score": [1.5, null]}`, or one number for one completion | servers of one's own |
| `[1.5, null]`, `[{"score": 1.5}, …]` | a bare list, verl's dicts |
| `{"data": [{"score": 1.5}, …]}` | vLLM `/score` |
| `{"data": [{"probs": [1.5]}, …]}` | vLLM `/classify`, of a model with one class |
| `{"data": [{"data": [1.5]}, …]}` | vLLM `/pooling`, one number each |
| `{"data": [{"embedding": [1.5]}, …]}` | SGLang `/v1/embeddings` of a reward model |
| `[[{"label": "LABEL_0", "score": 1.5}], …]` | text-embeddings-inference, pipelines |

null says that the reward does not apply. Entries with an `index` are put into its order. Several
numbers a completion are refused: which of several classes is the reward is not to be guessed. For
the same reason, the label of all scores of a server has to be the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assay.engine.plural import counted
from assay.rewards.returned import SCORES

ENTRY = ("score", "probs", "data", "embedding")  # where an entry of a list holds its number


def reply_scores(reply: Any, n: int, labels: set[str] | None = None) -> list[Any]:
    """Return the n scores of a reply, not yet checked one by one.

    Args:
        reply: Parsed JSON.
        n: Completions that were sent.
        labels: Labels that the server's scores had until now; those of this reply are added.

    Raises:
        ValueError: The reply has another shape. The text says which, such as "3 scores".

    Example:
        >>> reply_scores({"rewards": [0.5, None]}, 2)
        [0.5, None]
        >>> reply_scores([[{"label": "LABEL_0", "score": 0.5}]], 1)
        [0.5]
    """
    found, labels = reply, set() if labels is None else labels
    if isinstance(reply, Mapping):
        _no_failure(reply.get("results"))
        key = next((k for k in (*SCORES, "data") if k in reply), None)
        if key is None:
            raise ValueError(f"an object of {', '.join(map(str, reply)) or 'nothing'}")
        found = reply[key]
    if n == 1 and (found is None or isinstance(found, (int, float))):
        return [found]
    if not isinstance(found, list):
        raise ValueError(f"no list of {counted(n, 'score')}")
    if len(found) != n:
        raise ValueError(counted(len(found), "score"))
    scores = [_score(entry, labels) for entry in _ordered(found)]
    if len(labels) > 1:
        raise ValueError(f"scores of different labels, {' and '.join(sorted(labels))}")
    return scores


def _no_failure(results: Any) -> None:
    """Refuse a reply of `assay serve` that says of a completion that it could not be scored."""
    for i, entry in enumerate(results if isinstance(results, list) else []):
        if isinstance(entry, Mapping) and entry.get("error"):
            raise ValueError(f"an error of completion {i}: {entry['error']}")


def _ordered(entries: list[Any]) -> list[Any]:
    """Return entries by their index, if all have one."""
    places = [e.get("index") if isinstance(e, Mapping) else None for e in entries]
    if not entries or any(p is None for p in places):
        return entries
    if sorted(places, key=str) != sorted(range(len(entries)), key=str):
        raise ValueError("indices that do not count the completions")
    by_place = dict(zip(places, entries, strict=True))
    return [by_place[i] for i in range(len(entries))]


def _score(entry: Any, labels: set[str]) -> Any:
    """Return the number of one entry; what is no number is checked, and refused, later."""
    if isinstance(entry, Mapping):
        key = next((k for k in ENTRY if k in entry), None)
        if key is None:
            raise ValueError(f"entries of {', '.join(map(str, entry)) or 'nothing'}")
        if key == "score" and isinstance(entry.get("label"), str):
            labels.add(entry["label"])
        return _score(entry[key], labels)
    if isinstance(entry, list):
        if len(entry) != 1:
            raise ValueError(f"{counted(len(entry), 'number')} for one completion")
        return _score(entry[0], labels)
    return entry
