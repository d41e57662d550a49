"""slime's remote reward model: POST /slime.

`{"prompt", "response", "label"}` of one sample is answered by a bare number. `prompt` is a text or
a list of messages, and `response` is decoded with its end-of-turn marker, which is cut off.

Source: slime/rollout/rm_hub/__init__.py, commit 0b420f1e, which uses the answer as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.serve.formats.fields import fields, kind, numbers, without_end
from assay.serve.item import BadRequest, Item, Score

FORM = '{"prompt": "…", "response": "…", "label": null}'


class Slime:
    """The format of slime's `--rm-type remote_rm`."""

    path = "/slime"

    def read(self, body: Any) -> list[Item]:
        """Read a request.

        Example:
            >>> Slime().read({"prompt": "2+2?", "response": "4<|im_end|>"})[0].completion
            '4'
        """
        given = fields(body, FORM)
        response = given.get("response")
        prompt: Any = given.get("prompt")
        if not isinstance(response, str):
            raise BadRequest(f"'response' is {kind(response)}; send {FORM}")
        columns = {"label": given["label"]} if "label" in given else {}
        said = without_end(response)
        if isinstance(prompt, str):
            return [Item(prompt, said, columns, decoded=prompt + said)]
        messages = isinstance(prompt, list) and bool(prompt)
        if not messages or not all(isinstance(m, dict) for m in prompt or ()):
            raise BadRequest(f"'prompt' is {kind(prompt)}; send a text or a list of messages")
        return [Item(prompt, said, columns)]

    def write(self, scores: Sequence[Score], body: Any) -> Any:
        """Return the one score."""
        (value,) = numbers(scores)
        return value
