"""OpenRLHF's remote reward model: POST /get_reward.

`{"query": ["prompt and completion"], "prompts": ["prompt"], "labels": [label or null]}` is answered
by `{"rewards": [number], "scores": [number], "extra_logs": {"name": [number]}}`.

Since 0.8 a request holds one query. Before, it held a batch, and before 0.5 no prompts. A client
of several addresses sends empty lists to all but the first (until 0.11.1), and is answered by empty
lists. `query` is decoded with its special tokens, so a completion ends in an end-of-turn marker,
which is cut off. The trainer makes a tensor of every log, and null would stop it.

Source: openrlhf/utils/agent.py and openrlhf/utils/remote_rm_utils.py, 0.4.6 to 0.11.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.serve.formats.fields import fields, numbers, texts, without_end, without_padding
from assay.serve.item import BadRequest, Item, Score

FORM = '{"query": ["prompt and completion"], "prompts": ["prompt"], "labels": [null]}'


class OpenRLHF:
    """The format of OpenRLHF's `--reward.remote_url`."""

    path = "/get_reward"

    def read(self, body: Any) -> list[Item]:
        """Read a request.

        Example:
            >>> body = {"query": ["2+2?4</s>"], "prompts": ["2+2?"], "labels": ["4"]}
            >>> OpenRLHF().read(body)[0].completion
            '4'
        """
        given = fields(body, FORM)
        if "query" not in given:
            named = ", ".join(map(str, list(given)[:8])) or "nothing"
            raise BadRequest(f"the body has no 'query' (it has {named[:80]}); send {FORM}")
        queries = texts(given["query"], "query", FORM)
        prompts: Sequence[str | None] = [None] * len(queries)
        if given.get("prompts") is not None:
            prompts = texts(given["prompts"], "prompts", FORM)
        labels, columns = _labels(given.get("labels"), len(queries)), []
        if len(prompts) != len(queries):
            raise BadRequest(
                f"'prompts' has {len(prompts)} entries for {len(queries)} of 'query'; send as many"
            )
        columns = [{}] * len(queries) if labels is None else [{"label": x} for x in labels]
        return [_item(i, *row) for i, row in enumerate(zip(queries, prompts, columns, strict=True))]

    def write(self, scores: Sequence[Score], body: Any) -> Any:
        """Return rewards, and for the trainer's log each member, the spread and the flag."""
        rewards = numbers(scores)
        logs: dict[str, list[Any]] = {}
        if scores:
            each = zip(*(s.members for s in scores), strict=True)
            logs = {f"assay/member_{m}": list(one) for m, one in enumerate(each)}
            logs["assay/spread"] = [s.spread for s in scores]
            flags = [s.out_of_distribution for s in scores]
            logs["assay/out_of_distribution"] = [None if f is None else float(f) for f in flags]
        full = {name: values for name, values in logs.items() if None not in values}
        return {"rewards": rewards, "scores": rewards, "extra_logs": full}


def _labels(value: Any, n: int) -> list[Any] | None:
    if value is None:
        return None
    labels = value if isinstance(value, list) else [value]
    if len(labels) != n:
        raise BadRequest(f"'labels' has {len(labels)} entries for {n} of 'query'; send as many")
    return labels


def _item(i: int, query: str, prompt: str | None, columns: dict[str, Any]) -> Item:
    if prompt is not None:
        if query.startswith(prompt):
            return _parts(prompt, query[len(prompt) :], columns)
        begun, bare = query.lstrip(), prompt.strip()  # decoding may lose or add a blank
        if bare and begun.startswith(bare):
            return _parts(bare, begun[len(bare) :], columns)
    text = without_padding(query)
    if not text:
        raise BadRequest(f"'query', entry {i}, holds no text; send {FORM}")
    return Item("", "", columns, text)


def _parts(prompt: str, decoded: str, columns: dict[str, Any]) -> Item:
    said = without_end(decoded)
    return Item(prompt, said, columns, decoded=prompt + said)
