"""Readers of what servers answer and of what people type."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
from families import tokenizer

from assay import cli
from assay.api.flags import converted
from assay.cli import VERBS, config
from assay.cli.parsing import parse
from assay.data.http import JsonClient
from assay.data.http_exchange import Exchange
from assay.data.http_faults import Refused, Unavailable
from assay.errors import InputError
from assay.models.samplers.engine import Request, SamplingParams
from assay.models.samplers.openai import Server
from assay.models.tokenizer import Tokens
from assay.rewards.http import HttpFunction
from assay.rewards.returned import numbers
from assay.watch.labelers.chat_judge import ChatJudge
from assay.watch.labelers.function import FunctionLabeler
from assay.watch.labelers.questions import Question, parse_label
from fuzz.harness import Target

ADDRESS = "http://127.0.0.1:1/v1"


class _Body(httpx2.AsyncByteStream):
    """A body that comes in one piece."""

    def __init__(self, body: bytes):
        self.body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.body


def _answering(client: JsonClient, data: bytes) -> None:
    """Let a client hear one reply and no other; nothing is connected to.

    The bytes are a body, or a JSON object of a status, headers and a body.
    """
    status, heads, body = 200, {}, data
    with contextlib.suppress(ValueError, RecursionError):
        said = json.loads(data)
        if isinstance(said, dict) and "status" in said:
            status, heads = said["status"], said.get("headers")
            body = json.dumps(said.get("body")).encode()
    code = status if type(status) is int and 200 <= status < 600 else 200
    pairs = heads.items() if isinstance(heads, dict) else ()
    sent = [
        (k.encode("utf-8", "replace"), str(v).encode("utf-8", "replace")) for k, v in pairs if k
    ]

    def reply(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(code, headers=sent, stream=_Body(body))

    client.pause, client.tries = 0.0, 1
    client._http = Exchange({}, direct=True)
    client._http._client = httpx2.AsyncClient(transport=httpx2.MockTransport(reply), timeout=None)


def _replies(*bodies: Any) -> Callable[[], list[bytes]]:
    """Bodies as they are, and in whole replies."""
    found = [json.dumps(b).encode() for b in bodies]
    whole = [
        {"status": status, "headers": {"Retry-After": "1", "content-type": "text/plain"}, "body": b}
        for status, b in zip((200, 429, 404, 500, 301, 422), bodies * 6)
    ]
    return lambda: [*found, *(json.dumps(w).encode() for w in whole)]


def _rewarded(data: bytes, folder: Path) -> None:
    function = HttpFunction(ADDRESS, "rewards")
    _answering(function.client, data)
    numbers(function(["a", "b"], ["c", "d"], answer=["1", "2"]), 2, function.name)


_REWARDS = _replies(
    {"scores": [1.5, None]},
    {"rewards": [1.5, 2], "extra": {"a": 1}},
    [{"score": 1.5, "index": 1}, {"score": 0.5, "index": 0}],
    {"data": [{"probs": [1.5]}, {"probs": [0.1]}]},
    {"data": [{"embedding": [1.5]}, {"data": [0.1]}]},
    [[{"label": "LABEL_0", "score": 1.5}], [{"label": "LABEL_0", "score": 0.2}]],
)


def _returned(data: bytes, folder: Path) -> None:
    """What a reward function or a labeling function returned, as far as JSON can say it."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as why:
        raise InputError("no value") from why
    with contextlib.suppress(InputError):
        parse_label(found, "label 1")
    with contextlib.suppress(InputError):
        label = FunctionLabeler(lambda prompts, first, second: found, "mine.py:label")
        list(label([Question("watch mine", 1, (0, 0), "p", "a", "b")]))
    numbers(found, 2, "mine")


_PARAMS = SamplingParams(1.0, 0, 1.0, 0, 8, (), (1,), (), True)
_CHOICE = {"text": " a", "finish_reason": "stop", "token_ids": [5, 6], "stop_reason": None}
_USED = {"prompt_tokens": 3, "completion_tokens": 2}


def _sampled(data: bytes, folder: Path) -> None:
    server = Server(ADDRESS, "m", Tokens(tokenizer(), size=307), tries=1)
    _answering(server.client, data)
    server.generate([Request((3, 4, 5), 1, 7)], _PARAMS)


_SAMPLED = _replies(
    {"choices": [{**_CHOICE, "logprobs": {"token_logprobs": [-0.5, -1.0]}}], "usage": _USED},
    {"choices": [_CHOICE, _CHOICE], "usage": None},
    {"error": {"message": "maximum context length is 8", "type": "BadRequestError"}},
    {"detail": "Unexpected fields in the request: ['top_k']"},
)


def _judged(data: bytes, folder: Path) -> None:
    judge = ChatJudge(ADDRESS, "m", tries=1)
    _answering(judge.client, data)
    for label in judge([Question("watch m", 1, (0, 0), "p", "a", "b")]):
        json.dumps(label.line(judge.name), allow_nan=False)


_JUDGED = _replies(
    {"choices": [{"message": {"content": "<think>x</think>\nA"}}], "usage": _USED},
    {"choices": [{"message": {"content": None}}]},
    {"error": "no such model"},
)


def _asked(data: bytes, folder: Path) -> None:
    """A request whose reply nothing of ours reads."""
    client = JsonClient(ADDRESS, "sampler")
    _answering(client, data)
    client.request({"a": 1}, "a prompt", strict=True)


def _words(data: bytes) -> list[str]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as why:
        raise InputError("no words") from why
    if not isinstance(found, list) or not all(isinstance(w, str) for w in found):
        raise InputError("no words")
    return [w.replace("\0", "") for w in found]  # as no operating system passes NUL


def _typed(data: bytes, folder: Path) -> None:
    """The words of any verb, up to the values of its flags; nothing is run."""
    verb, *tokens = _words(data) or [""]
    if verb not in VERBS:
        raise InputError("no verb")
    grammar = VERBS[verb].grammar(tokens)
    _, given = parse(tokens, grammar)
    converted(given, grammar.flags, grammar.mistyped)


def _said(data: bytes, folder: Path) -> None:
    """Whole command lines of verbs that read and print: never a traceback."""
    words = _words(data)
    if not words or words[0] not in ("list", "show", "cite", "claims", "check", "watch", "version"):
        raise InputError("another verb")
    if {"--run", "--write", "--out", "-o", "--fix"} & {w.partition("=")[0] for w in words}:
        raise InputError("a verb that writes")
    words = [w.replace("ROWS", str(folder / "rows.jsonl")) for w in words]
    (folder / "rows.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        cli.main(words)
    if "Traceback" in err.getvalue():
        raise RuntimeError(err.getvalue().strip().splitlines()[-1])


_LINES = [
    ["run", "grpo", "--model", "m", "--prompts", "p.jsonl", "--rewards", "a.py:f,http://x/y"],
    ["run", "ppo", "--world", "table", "--world.noise", "0.1", "--max-steps", "5", "--lr=1e-3"],
    ["run", "grpo", "--watch", "csv", "--watch.budget", "100", "--out", "runs/x", "--no-resume"],
    ["fit", "p.jsonl", "--columns", "prompt=q,chosen=a", "--label-map", "1=first,0=second"],
    ["score", "rewards/x", "p.jsonl", "-o", "out.jsonl", "--lam", "0.5", "--drop"],
    ["check", "p.jsonl", "--split", "train", "--limit", "99"],
    ["sweep", "grpo", "ppo", "--seeds", "0,1", "--world", "table"],
    ["watch page", "runs/x", "--port", "0", "--twice", "0.5"],
]
_SPOKEN = [
    ["list", "--json"],
    ["show", "grpo"],
    ["cite", "grpo", "ppo"],
    ["check", "ROWS", "--columns", "prompt=prompt", "--json"],
    ["watch", "status", "runs/none"],
    ["claims", "--json"],
]


def _configured(ending: str) -> Callable[[bytes, Path], None]:
    def call(data: bytes, folder: Path) -> None:
        path = folder / f"x{ending}"
        path.write_bytes(data)
        found = config.read(path)
        grammar = VERBS["run"].grammar(["grpo"], found)
        config.toml(config.settled(found, {}, grammar, path))

    return call


_SETTINGS: dict[str, Any] = {
    "max_steps": 5,
    "learning_rate": 0.001,
    "world": {"name": "table", "noise": 0.1},
    "watch": {"by": "csv", "budget": 100},
}
_TOML = b'max_steps = 5\n[world]\nname = "table"\nnoise = 0.1\n[watch]\nby = "csv"\n'
_YAML = b"max_steps: &a 5\nworld:\n  name: table\n  noise: 0.1\nwatch: {by: csv, budget: *a}\n"


def _json(values: list[Any]) -> Callable[[], list[bytes]]:
    return lambda: [json.dumps(v).encode() for v in values]


WIRE = [
    Target("replies of reward servers", "json", _REWARDS, _rewarded, 0.5),
    Target("what functions return", "json", _REWARDS, _returned, 2),
    Target("replies of samplers", "json", _SAMPLED, _sampled, 0.5),
    Target("replies of judges", "json", _JUDGED, _judged, 0.5, (Refused, Unavailable)),
    Target("replies of any server", "json", _JUDGED, _asked, 1, (Refused, Unavailable)),
    Target("words of any verb", "json", _json(_LINES), _typed, 0.05),
    Target("command lines", "json", _json(_SPOKEN), _said, 0.05),
    Target("settings in TOML", "text", lambda: [_TOML], _configured(".toml"), 0.1),
    Target("settings in YAML", "text", lambda: [_YAML], _configured(".yaml"), 0.1),
    Target("settings in JSON", "json", _json([_SETTINGS]), _configured(".json"), 0.1),
]
