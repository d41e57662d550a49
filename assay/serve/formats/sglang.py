"""SGLang's reward models: POST /v1/embeddings, which verl's reward loop sends too.

`{"model", "input": "text" or ["text"]}` is answered by `{"data": [{"object": "embedding",
"index", "embedding": [score]}], …}`. `input` is prompt and completion in one, as a chat template
wrote them.

Source: verl/experimental/reward_loop/reward_loop.py, 0.9.1, which reads `data[-1].embedding[-1]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.serve.formats.fields import fields, model_of, numbers, whole
from assay.serve.item import BadRequest, Item, Score

FORM = '{"input": "a text"}'


class SGLang:
    """The format of SGLang's `/v1/embeddings` with a reward model."""

    path = "/v1/embeddings"

    def read(self, body: Any) -> list[Item]:
        """Read a request.

        Example:
            >>> [item.text for item in SGLang().read({"input": ["a", "b"]})]
            ['a', 'b']
        """
        given = fields(body, FORM)
        model_of(given)
        if "input" not in given:
            raise BadRequest(f"the body has no 'input'; send {FORM}")
        return whole(given["input"], "input", FORM, "verl's reward loop")

    def write(self, scores: Sequence[Score], body: Any) -> Any:
        """Return each score as an embedding of one number."""
        data = [
            {"object": "embedding", "index": i, "embedding": [value]}
            for i, value in enumerate(numbers(scores))
        ]
        usage = {"prompt_tokens": 0, "total_tokens": 0}  # texts were sent
        return {"object": "list", "data": data, "model": model_of(body), "usage": usage}
