"""assay's own request format, POST /v1/score.

A request is the one that `--rewards http://…` sends, with two keys more, or a list of items:

    {"prompts": ["2 + 2?"], "completions": ["4"], "columns": {"answer": ["4"]}, "ids": ["a"]}
    {"items": [{"id": "a", "prompt": "2 + 2?", "completion": "4", "columns": {"answer": "4"}}]}

Prompts and completions are texts or lists of messages. An item may have `"text"` in their place:
prompt and completion as one text, which a chat template wrote. The answer has one result an item,
in the same order, with the id that came with it:

    {"model": …, "members": ["judge0", "judge1"], "scores": [1.5], "results": [{"index": 0,
     "id": "a", "status": "ok", "score": 1.5, "members": [1.0, 2.0], "spread": 0.5,
     "out_of_distribution": false, "truncated": false, "error": null}]}

`status` is ok, not_applicable (the score is null, because a reward returned None) or error.
`scores` is there where no item has an error: a failure must not be read as "does not apply".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from assay.engine.plural import counted
from assay.serve.formats.fields import kind
from assay.serve.item import BadRequest, Item, Score

FIELDS = ("prompts", "completions", "columns", "ids", "items", "model")
ITEM_KEYS = ("id", "prompt", "completion", "columns", "text")


class ScoreFormat:
    """The format of /v1/score.

    Args:
        about: What is known of the reward when an answer is written: its `id` and `members`.
    """

    path = "/v1/score"
    per_item = True  # a failure is told beside the item, and the answer is HTTP 200

    def __init__(self, about: Callable[[], Mapping[str, Any]]):
        self.about = about

    def read(self, body: Any) -> list[Item]:
        """Read a request.

        Raises:
            BadRequest: It is none of the two forms.

        Example:
            >>> ScoreFormat(dict).read({"prompts": ["p"], "completions": ["c"]})
            [Item(prompt='p', completion='c', columns={}, text='', decoded='')]
        """
        if not isinstance(body, Mapping):
            raise BadRequest(f"the body is {kind(body)}; send an object with {FIELDS[0]}, …")
        wrong = sorted(set(body) - set(FIELDS))
        if wrong:
            raise BadRequest(f"the body has a key '{wrong[0]}'; its keys are {', '.join(FIELDS)}")
        if "items" in body:
            if "prompts" in body or "completions" in body or "columns" in body or "ids" in body:
                raise BadRequest("the body has items and a column form; send one of them")
            return [_item(x, i) for i, x in enumerate(_list(body["items"], "items"))]
        prompts, completions = (_list(body.get(k), k) for k in ("prompts", "completions"))
        if len(prompts) != len(completions):
            raise BadRequest(
                f"there are {counted(len(prompts), 'prompt')} and "
                f"{counted(len(completions), 'completion')}; send one completion for each prompt"
            )
        columns = body.get("columns") or {}
        if not isinstance(columns, Mapping):
            raise BadRequest(f"columns is {kind(columns)}; send an object of lists")
        many = {f"column '{k}'": v for k, v in columns.items()}
        if body.get("ids") is not None:
            many["ids"] = body["ids"]
            _check_ids(_list(body["ids"], "ids"))
        for name, values in many.items():
            if len(_list(values, name)) != len(prompts):
                raise BadRequest(
                    f"{name} has {counted(len(values), 'value')} and there are "
                    f"{counted(len(prompts), 'prompt')}; send one value for each"
                )
        return [
            Item(
                _said(p, f"prompts[{i}]"),
                _said(c, f"completions[{i}]"),
                {k: v[i] for k, v in columns.items()},
            )
            for i, (p, c) in enumerate(zip(prompts, completions, strict=True))
        ]

    def write(self, scores: Sequence[Score], body: Any) -> Any:
        """Write the answer."""
        if "items" in body:
            ids = [x.get("id") for x in body["items"]]
        else:
            ids = body.get("ids") or [None] * len(scores)
        results = [_result(i, id, s) for i, (id, s) in enumerate(zip(ids, scores, strict=True))]
        about = self.about()
        answer: dict[str, Any] = {"model": about["id"], "members": about["members"]}
        if not any(s.error for s in scores):
            answer["scores"] = [s.value for s in scores]
        return {**answer, "results": results}


def status(score: Score) -> str:
    """What became of an item: ok, not_applicable or error."""
    return "error" if score.error else "not_applicable" if score.value is None else "ok"


def _result(index: int, id: Any, score: Score) -> dict[str, Any]:
    return {
        "index": index,
        "id": id,
        "status": status(score),
        "score": score.value,
        "members": list(score.members),
        "spread": score.spread,
        "out_of_distribution": score.out_of_distribution,
        "truncated": score.truncated,
        "error": score.error or None,
    }


def _item(value: Any, i: int) -> Item:
    where = f"items[{i}]"
    if not isinstance(value, Mapping):
        raise BadRequest(f"{where} is {kind(value)}; send an object")
    wrong = sorted(set(value) - set(ITEM_KEYS))
    if wrong:
        raise BadRequest(f"{where} has a key '{wrong[0]}'; its keys are {', '.join(ITEM_KEYS)}")
    columns, text = value.get("columns") or {}, value.get("text") or ""
    _check_ids([value.get("id")])
    if not isinstance(columns, Mapping):
        raise BadRequest(f"{where}.columns is {kind(columns)}; send an object")
    if not isinstance(text, str):
        raise BadRequest(f"{where}.text is {kind(text)}; send text")
    if text and not ("prompt" in value or "completion" in value):
        return Item("", "", columns, text)
    both = [_said(value.get(k), f"{where}.{k}") for k in ("prompt", "completion")]
    return Item(both[0], both[1], columns, text)


def _said(value: Any, where: str) -> Any:
    """A text or a list of messages."""
    messages = isinstance(value, list) and all(isinstance(m, Mapping) for m in value)
    if isinstance(value, str) or (messages and value):
        return value
    raise BadRequest(f"{where} is {kind(value)}; send text, or a list of messages")


def _check_ids(ids: Sequence[Any]) -> None:
    for id in ids:
        if isinstance(id, bool) or not isinstance(id, (str, int, type(None))):
            raise BadRequest(f"an id is {kind(id)}; send text or a whole number")


def _list(value: Any, what: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise BadRequest(f"{what} is {kind(value)}; send a list")
    return value
