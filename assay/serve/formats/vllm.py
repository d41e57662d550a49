"""vLLM's classification: POST /classify, which verl's reward loop sends too.

`{"model", "input": "text" or ["text"], "use_activation": false}`, or `"messages"` in place of
`"input"`, is answered by `{"data": [{"index", "label", "probs": [score], "num_classes": 1}], …}`.
`input` is prompt and completion in one, as a chat template wrote them.

Source: vllm/entrypoints/pooling/classify, 0.32; verl/experimental/reward_loop/reward_loop.py,
0.9.1, which reads `data[-1].probs[-1]`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import Any

from assay.serve.formats.fields import fields, kind, model_of, numbers, whole
from assay.serve.item import BadRequest, Item, Score

FORM = '{"input": "a text"} or {"messages": [{"role": "user", "content": "…"}, …]}'
UNCOUNTED = {"prompt_tokens": 0, "total_tokens": 0, "completion_tokens": 0}  # texts were sent


class VLLM:
    """The format of vLLM's `/classify`."""

    path = "/classify"

    def read(self, body: Any) -> list[Item]:
        """Read a request.

        Example:
            >>> VLLM().read({"input": "Human: 2+2?\\n\\nAssistant: 4"})[0].text
            'Human: 2+2?\\n\\nAssistant: 4'
        """
        given = fields(body, FORM)
        model_of(given)
        if given.get("use_activation") or given.get("activation"):
            raise BadRequest(
                "'use_activation' is true, and scores are served without an activation; send "
                "false, and start the server with a shape to bound them"
            )
        if given.get("truncate_prompt_tokens") is not None:
            raise BadRequest("'truncate_prompt_tokens' is not read here; leave it out")
        if ("input" in given) == ("messages" in given):
            raise BadRequest(f"the body needs either 'input' or 'messages'; send {FORM}")
        if "input" in given:
            return whole(given["input"], "input", FORM, "verl's reward loop")
        return [dialogue(given["messages"])]

    def write(self, scores: Sequence[Score], body: Any) -> Any:
        """Return each score as the one probability of one class."""
        data = [
            {"index": i, "label": "reward", "probs": [value], "num_classes": 1}
            for i, value in enumerate(numbers(scores))
        ]
        return {
            "id": f"classify-{secrets.token_hex(16)}",
            "object": "list",
            "created": int(time.time()),
            "model": model_of(body),
            "data": data,
            "usage": UNCOUNTED,
        }


def dialogue(messages: Any) -> Item:
    """Read a dialogue: the prompt ends with the user's last turn.

    Raises:
        BadRequest: It is no list of messages, or nothing follows the user's last turn.
    """
    if not isinstance(messages, list) or not messages:
        raise BadRequest(f"'messages' is {kind(messages)} without messages; send {FORM}")
    for i, one in enumerate(messages):
        good = isinstance(one, dict) and isinstance(one.get("role"), str)
        if not good or not isinstance(one.get("content"), str | None):
            raise BadRequest(
                f"'messages', entry {i}, is no message with role and text; send {FORM}"
            )
    last = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=-1)
    if last < 0 or last + 1 == len(messages):
        raise BadRequest(
            "'messages' needs a user's turn and the assistant's after it, which is what is scored"
        )
    return Item(messages[: last + 1], messages[last + 1 :])
