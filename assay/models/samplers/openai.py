"""Completions from a server that speaks OpenAI's completions protocol and holds the same weights.

Two dialects are supported. vLLM's takes a prompt as token ids, all settings by name, and returns
token ids. That of `transformers serve` takes a prompt as text and settings as a
`generation_config`, without which it decodes greedily whatever the temperature, and returns text.
The first call finds out which one a server speaks. Settings are always sent whole: a server
silently fills what is left out from the model's own generation_config.json.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from assay.data.http import JsonClient
from assay.data.http_faults import Garbled, Refused, Unavailable, on_one_line
from assay.engine import progress
from assay.errors import InputError
from assay.models.samplers.engine import Completion, Request, SamplingParams
from assay.models.tokenizer import Tokens
from assay.registry.catalogue import nearest

MANY = 64  # completions in one call: a call that fails is repeated, and costs as much again
NAMED, WIDE = 20, 120  # models that a message names, and characters of a server's word in it
KEYS = (
    "ASSAY_SAMPLER_KEY",
    "OPENAI_API_KEY",
)  # the first that is set in the environment; a key is never an argument


class Server:
    """Posts to {url}/completions; a call that fails is repeated, see JsonClient."""

    def __init__(
        self,
        url: str,
        model: str,
        vocabulary: Tokens,
        *,
        at_once: int = 16,
        tries: int = 6,
        timeout: float = 600.0,
        pause: float = 0.5,
    ):
        self.client = JsonClient(
            url,
            "sampler",
            keys=KEYS,
            tries=tries,
            timeout=timeout,
            pause=pause,
            max_bytes=1 << 26,
        )
        self.base, self.model, self.vocabulary = (
            url.rstrip("/").removesuffix("/completions"),
            model,
            vocabulary,
        )
        self.name, self.at_once, self.body = f"the server at {self.client.host}", at_once, _ids_body

    def generate(
        self, requests: Sequence[Request], params: SamplingParams
    ) -> list[list[Completion]]:
        """See Engine."""
        with ThreadPoolExecutor(max(1, min(self.at_once, len(requests)))) as pool:
            made = pool.map(lambda request: self._all(request, params), requests)
            return list(progress.over(made, f"generating by {self.name}", "prompts", len(requests)))

    def _all(self, request: Request, params: SamplingParams) -> list[Completion]:
        """Generate n completions; a server that returns fewer is asked again, with another seed."""
        out: list[Completion] = []
        while len(out) < request.n:
            more = self._some(
                replace(
                    request,
                    n=min(MANY, request.n - len(out)),
                    seed=(request.seed + 7919 * len(out)) & 0x7FFFFFFF,
                ),
                params,
            )
            if params.stop and self.body is _ids_body and any(said.ids is None for said in more):
                raise InputError(
                    f"--sampler: {self.base} returns no token ids, and its text does not "
                    "say whether a stop string ended a completion; leave --stop out, or use "
                    "a server such as vLLM's"
                )
            out += more
        return out[: request.n]

    def _some(self, request: Request, params: SamplingParams) -> list[Completion]:
        body = self.body  # another thread may find the other dialect meanwhile
        try:
            out, read = self.client.request(
                body(self.model, request, params, self.vocabulary),
                "a prompt",
                _choices,
                url=f"{self.base}/completions",
            )
        except Refused as why:
            if (
                body is _ids_body and why.code == 422 and "Unexpected fields" in why.said
            ):  # the words of transformers serve
                self.body = _text_body
                return self._some(request, params)
            raise self._sentence(why) from why
        except Garbled as why:
            raise InputError(
                f"--sampler: {self.base} answers with no completions ({why.shape or 'no JSON'}; it "
                f"begins {why.said[:60]!r}); give the address of a server of OpenAI's completions, "
                "such as vLLM's"
            ) from why
        except Unavailable as why:
            raise InputError(
                f"--sampler: {self.base} drew no completions in {self.client.tries} tries "
                f"({why}); start the server there, or give the address it answers at"
            ) from why
        if read is not None and read != len(request.ids):
            raise InputError(
                f"--sampler: {self.base} read a prompt of {len(request.ids)} tokens as "
                f"{read}: its tokenizer is another; serve the model that --model names"
            )
        return list(out)

    def _sentence(self, why: Refused) -> InputError:
        """Say what to do about a refusal."""
        said = why.said.lower()
        known = self._models() if why.code == 404 else []
        if known and self.model not in known:
            more = f" and {len(known) - NAMED} more" if len(known) > NAMED else ""
            return InputError(
                f"--sampler: {self.base} does not know the model '{self.model}', it serves "
                f"{', '.join(known[:NAMED])}{more}{nearest(self.model, known)}; name one by "
                "--sampler-model"
            )
        if "context" in said or "max_model_len" in said:
            return InputError(
                f"--sampler: {self.base} has no room for prompt and completion "
                f"({why.said[:160]}); lower --max-prompt or --max-tokens, or serve "
                "the model with more"
            )
        return InputError(f"--sampler: {why}")

    def _models(self) -> list[str]:
        """List the models that are served, as far as the server says."""
        try:
            names: list[str] = self.client.request(
                None,
                "which models",
                lambda said: [shown(m["id"]) for m in said["data"]],
                url=f"{self.base}/models",
            )
        except (Unavailable, Refused):
            return []
        return names


def shown(word: Any) -> str:
    """A server's word as a message shows it.

    Args:
        word: A value of its reply.

    Returns:
        On one line, without control characters, and not longer than WIDE.
    """
    return on_one_line(str(word).encode("utf-8", "replace"))[:WIDE]


def _ids_body(
    model: str, request: Request, params: SamplingParams, vocabulary: Tokens
) -> dict[str, Any]:
    """Write a request as vLLM reads it."""
    return {
        "model": model,
        "prompt": list(request.ids),
        "n": request.n,
        "seed": request.seed,
        "max_tokens": params.max_tokens,
        "min_tokens": params.min_tokens,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "top_k": params.top_k or -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "stop": list(params.stop),
        "stop_token_ids": list(params.ends),
        "skip_special_tokens": True,
        "return_token_ids": True,
        **({"logit_bias": {str(i): -100 for i in params.barred}} if params.barred else {}),
        **({"logprobs": 1} if params.logprobs else {}),
    }


def _text_body(
    model: str, request: Request, params: SamplingParams, vocabulary: Tokens
) -> dict[str, Any]:
    """Write a request as `transformers serve` reads it: one completion a call, no stop strings.

    Raises:
        InputError: The prompt's tokens do not come back from its text.
    """
    own, ids = vocabulary.tokenizer, list(request.ids)
    whole = str(own.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
    texts = (whole, whole.removeprefix(own.bos_token or ""))
    text = next((t for t in texts if list(own(t, verbose=False)["input_ids"]) == ids), None)
    if text is None:
        raise InputError(
            f"--sampler takes prompts as text there, and the tokens of {whole[-60:]!r} do "
            "not come back from text as they were; use a server that takes token ids, such as "
            "vLLM's"
        )
    config = {
        "do_sample": True,
        "num_beams": 1,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "top_k": params.top_k,
        "min_new_tokens": params.min_tokens,
        "max_new_tokens": params.max_tokens,
        "eos_token_id": list(params.ends),
        "pad_token_id": vocabulary.pad,
        "repetition_penalty": 1.0,
        **({"suppress_tokens": list(params.barred)} if params.barred else {}),
    }
    return {
        "model": model,
        "prompt": text,
        "seed": request.seed,
        "generation_config": json.dumps(config),
    }


def _choices(said: Any) -> tuple[list[Completion], int | None]:
    """Read a reply: its completions, and the prompt's tokens where the server counts them.

    Raises:
        ValueError: The reply is garbled (as do other errors that JsonClient takes for that).
    """
    used = {k: v for k, v in (said.get("usage") or {}).items() if type(v) is int}
    out = []
    for c in said["choices"]:
        ids, by, worth = (
            c.get("token_ids"),
            c.get("stop_reason"),
            (c.get("logprobs") or {}).get("token_logprobs"),
        )
        if c["finish_reason"] not in ("stop", "length"):
            raise ValueError(f"a completion ended by {c['finish_reason']!r}")
        if ids is not None and not all(type(i) is int and 0 <= i < 1 << 31 for i in ids):
            raise ValueError("token ids that are no token's")
        if ids is None and not _is_text(c["text"]):
            raise ValueError("neither token ids nor a text")
        out.append(
            Completion(
                str(c["text"]),
                None if ids is None else tuple(ids),
                c["finish_reason"] == "length",
                by if isinstance(by, str) else None,
                used.get("completion_tokens") if len(said["choices"]) == 1 else None,
                None if not worth or None in worth else tuple(float(w) for w in worth),
            )
        )
    if not out:
        raise ValueError("an empty list of them")
    return out, used.get("prompt_tokens")


def _is_text(said: Any) -> bool:
    """Whether it is a text that can be encoded: half of a surrogate pair cannot."""
    return isinstance(said, str) and not any("\ud800" <= c <= "\udfff" for c in said)
