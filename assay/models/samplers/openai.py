"""Other engines that draw answers of the same weights: a server that speaks OpenAI's completions
protocol.

Two dialects of it are known. vLLM's takes a prompt as token ids, all settings by name, and returns
token ids. That of `transformers serve` takes a prompt as text and settings as a
`generation_config`, without which it draws greedily whatever the temperature, and returns text.
Which one a server speaks is found by asking. Settings are always sent whole: a server fills what is
left out from the model's own generation_config.json, silently.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from assay.data.http import Again, Refused, Remote
from assay.errors import InputError
from assay.models.tokenizer import Tokens
from assay.registry.catalogue import nearest

MANY = 64  # answers in one call: what fails is asked again, and costs as much again
KEYS = (
    "ASSAY_SAMPLER_KEY",
    "OPENAI_API_KEY",
)  # the first that is set in the environment; a key is never an argument


@dataclass(frozen=True)
class Law:
    """How answers are drawn: a policy's own settings. `barred`: ids that are never drawn;
    `logprobs`: say what they are worth.
    """

    temperature: float
    top_k: int
    top_p: float
    min_tokens: int
    max_tokens: int
    stop: tuple[str, ...]
    ends: tuple[int, ...]
    barred: tuple[int, ...]
    logprobs: bool = False


@dataclass(frozen=True)
class Ask:
    """n answers to one prompt, as ids; `seed` is of 31 bits."""

    ids: tuple[int, ...]
    n: int
    seed: int


@dataclass(frozen=True)
class Said:
    """An answer. `ids`: its tokens as they were drawn, None where the engine returns text alone;
    `full`: it was cut at max_tokens; `by`: the stop string that ended it, `tokens`: how many there
    were, `logprobs`: what they were worth, each where the engine says so.
    """

    text: str
    ids: tuple[int, ...] | None
    full: bool
    by: str | None = None
    tokens: int | None = None
    logprobs: tuple[float, ...] | None = None


@runtime_checkable
class Engine(Protocol):
    """Draws answers. `name` stands in sentences."""

    name: str

    def draw(self, asks: Sequence[Ask], law: Law) -> list[list[Said]]:
        """n answers to each ask, in their order. Raises InputError, in one sentence, where there
        are none to be had.
        """
        ...


class Server:
    """POST {url}/completions. `at_once`: prompts in flight. Whatever fails for a while is asked
    again, see Remote.
    """

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
        self.remote = Remote(
            url, "world.sampler", keys=KEYS, tries=tries, timeout=timeout, pause=pause, most=1 << 26
        )
        self.base, self.model, self.vocabulary = (
            url.rstrip("/").removesuffix("/completions"),
            model,
            vocabulary,
        )
        self.name, self.at_once, self.body = f"the server at {self.remote.host}", at_once, _ids_body

    def draw(self, asks: Sequence[Ask], law: Law) -> list[list[Said]]:
        """See Engine."""
        with ThreadPoolExecutor(max(1, min(self.at_once, len(asks)))) as pool:
            return list(pool.map(lambda ask: self._all(ask, law), asks))

    def _all(self, ask: Ask, law: Law) -> list[Said]:
        """n answers; a server that returns fewer than it was asked for is asked again, with another
        seed.
        """
        out: list[Said] = []
        while len(out) < ask.n:
            more = self._some(
                replace(
                    ask,
                    n=min(MANY, ask.n - len(out)),
                    seed=(ask.seed + 7919 * len(out)) & 0x7FFFFFFF,
                ),
                law,
            )
            if law.stop and self.body is _ids_body and any(said.ids is None for said in more):
                raise InputError(
                    f"--world.sampler: {self.base} returns no token ids, and its text does not "
                    "say whether a stop string ended an answer; leave --world.stop out, or use a "
                    "server such as vLLM's"
                )
            out += more
        return out[: ask.n]

    def _some(self, ask: Ask, law: Law) -> list[Said]:
        body = self.body  # another thread may find the other dialect meanwhile
        try:
            out, read = self.remote.ask(
                body(self.model, ask, law, self.vocabulary),
                "a prompt",
                _choices,
                url=f"{self.base}/completions",
            )
        except Refused as why:
            if (
                body is _ids_body and why.code == 422 and "Unexpected fields" in why.said
            ):  # the words of transformers serve
                self.body = _text_body
                return self._some(ask, law)
            raise self._sentence(why) from why
        except Again as why:
            raise InputError(
                f"--world.sampler: {self.base} drew no answers in {self.remote.tries} tries "
                f"({why}); start the server there, or give the address it answers at"
            ) from why
        if read is not None and read != len(ask.ids):
            raise InputError(
                f"--world.sampler: {self.base} read a prompt of {len(ask.ids)} tokens as {read}: "
                "its tokenizer is another; serve the model that --world.policy names"
            )
        return list(out)

    def _sentence(self, why: Refused) -> InputError:
        """What to do about a refusal."""
        said = why.said.lower()
        known = self._models() if why.code == 404 else []
        if known and self.model not in known:
            return InputError(
                f"--world.sampler: {self.base} does not know the model '{self.model}', it serves "
                f"{', '.join(known)}{nearest(self.model, known)}; name one by "
                "--world.sampler-model"
            )
        if "context" in said or "max_model_len" in said:
            return InputError(
                f"--world.sampler: {self.base} has no room for prompt and answer "
                f"({why.said[:160]}); lower --world.max-prompt or --world.max-tokens, or serve "
                "the model with more"
            )
        return InputError(f"--world.sampler: {why}")

    def _models(self) -> list[str]:
        """The models that are served, as far as the server says."""
        try:
            names: list[str] = self.remote.ask(
                None,
                "which models",
                lambda said: [str(m["id"]) for m in said["data"]],
                url=f"{self.base}/models",
            )
        except (Again, Refused):
            return []
        return names


def _ids_body(model: str, ask: Ask, law: Law, vocabulary: Tokens) -> dict[str, Any]:
    """A request as vLLM reads it."""
    return {
        "model": model,
        "prompt": list(ask.ids),
        "n": ask.n,
        "seed": ask.seed,
        "max_tokens": law.max_tokens,
        "min_tokens": law.min_tokens,
        "temperature": law.temperature,
        "top_p": law.top_p,
        "top_k": law.top_k or -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "stop": list(law.stop),
        "stop_token_ids": list(law.ends),
        "skip_special_tokens": True,
        "return_token_ids": True,
        **({"logit_bias": {str(i): -100 for i in law.barred}} if law.barred else {}),
        **({"logprobs": 1} if law.logprobs else {}),
    }


def _text_body(model: str, ask: Ask, law: Law, vocabulary: Tokens) -> dict[str, Any]:
    """A request as `transformers serve` reads it: one answer a call, and stop strings are ours to
    find. Raises InputError for a prompt that does not come back from text as it was.
    """
    own, ids = vocabulary.tokenizer, list(ask.ids)
    whole = str(own.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
    texts = (whole, whole.removeprefix(own.bos_token or ""))
    text = next((t for t in texts if list(own(t, verbose=False)["input_ids"]) == ids), None)
    if text is None:
        raise InputError(
            f"--world.sampler takes prompts as text there, and the tokens of {whole[-60:]!r} do "
            "not come back from text as they were; use a server that takes token ids, such as "
            "vLLM's"
        )
    config = {
        "do_sample": True,
        "num_beams": 1,
        "temperature": law.temperature,
        "top_p": law.top_p,
        "top_k": law.top_k,
        "min_new_tokens": law.min_tokens,
        "max_new_tokens": law.max_tokens,
        "eos_token_id": list(law.ends),
        "pad_token_id": vocabulary.pad,
        "repetition_penalty": 1.0,
        **({"suppress_tokens": list(law.barred)} if law.barred else {}),
    }
    return {
        "model": model,
        "prompt": text,
        "seed": ask.seed,
        "generation_config": json.dumps(config),
    }


def _choices(said: Any) -> tuple[list[Said], int | None]:
    """The answers of a reply, and how many tokens the prompt had, where it is told. Raises what
    Remote takes for garbled.
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
            raise ValueError(f"an answer ended by {c['finish_reason']!r}")
        if ids is not None and not all(type(i) is int and i >= 0 for i in ids):
            raise ValueError("token ids that are no numbers")
        out.append(
            Said(
                str(c["text"]),
                None if ids is None else tuple(ids),
                c["finish_reason"] == "length",
                by if isinstance(by, str) else None,
                used.get("completion_tokens") if len(said["choices"]) == 1 else None,
                None if not worth or None in worth else tuple(float(w) for w in worth),
            )
        )
    if not out:
        raise ValueError("no answers")
    return out, used.get("prompt_tokens")
