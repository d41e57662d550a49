"""What a sampler's server says wrong: one sentence names it, and nothing is left worse."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from engines_in_memory import InMemory
from families import checkpoint
from vllm_models import ASKS

from assay.core import InputError
from assay.models.backbones.pretrained import Pretrained
from assay.models.policies.served import Served
from assay.models.policies.stop_strings import Stops
from assay.models.samplers.engine import Completion, Request, SamplingParams, Weights
from assay.models.samplers.openai import WIDE, Server
from assay.models.samplers.vllm_server import VllmServer

PARAMS = SamplingParams(1.0, 0, 1.0, 0, 4, (), (1,), (), True)
ASK = [Request((5, 6), 1, 1)]
GOOD = {"text": "a", "token_ids": [5], "finish_reason": "length", "logprobs": None}
Reply = tuple[int, Any]  # a status, and what is sent as JSON; bytes as they are; None hangs up
WORDS: Any = object()  # a server that reads ids needs no tokenizer


@contextmanager
def there(answer: Callable[[str, int], Reply]) -> Iterator[tuple[str, list[str]]]:
    """A server that answers the k-th call of a path by a rule; its address and the paths called."""
    called: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer()

        def _answer(self) -> None:
            path = self.path.split("?")[0]
            called.append(path)
            code, said = answer(path, called.count(path))
            if said is None:
                return
            raw = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", called
    finally:
        server.shutdown()
        server.server_close()


def choice(**changed: Any) -> dict[str, Any]:
    return {"choices": [{**GOOD, **changed}]}


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (choice(logprobs={"token_logprobs": [-(10**400)]}), "another shape"),
        (choice(logprobs={"token_logprobs": ["much"]}), "could not convert"),
        (choice(token_ids=[10**300]), "token ids that are no token's"),
        (choice(token_ids=[-1]), "token ids that are no token's"),
        (choice(token_ids=[True]), "token ids that are no token's"),
        (choice(token_ids=None, text=None), "neither token ids nor a text"),
        (choice(token_ids=None, text="a\ud800"), "neither token ids nor a text"),
        (choice(finish_reason="abort"), "a completion ended by 'abort'"),
        ({"choices": []}, "an empty list of them"),
        (b"<html>\x1b[2Jwelcome", "no JSON; it begins '<html> \\[2Jwelcome'"),
        (b'{"choices": [{"te', "no JSON"),
    ],
)
def test_a_reply_that_is_none_is_said_with_what_is_wrong_in_it(reply: Any, said: str) -> None:
    with there(lambda path, k: (200, reply)) as (url, called):
        engine = Server(url, "tiny", WORDS, tries=2, pause=0.001)
        with pytest.raises(InputError, match=f"answers with no completions .*{said}") as found:
            engine.generate(ASK, PARAMS)
    assert len(called) == 2, "garbled once is bad luck"
    assert len(str(found.value)) < 400 and "start the server" not in str(found.value)


@pytest.mark.parametrize("bad", [(503, {}), (200, None), (200, b'{"choi')])
def test_what_fails_once_is_asked_again(bad: Reply) -> None:
    with there(lambda path, k: bad if k == 1 else (200, choice())) as (url, _):
        ((one,),) = Server(url, "tiny", WORDS, pause=0.001).generate(ASK, PARAMS)
    assert one.ids == (5,)


def test_a_message_shows_a_part_of_what_a_server_serves() -> None:
    names = [{"id": f"\x1b[2J{'x' * 400}{i}"} for i in range(5000)]

    def answer(path: str, k: int) -> Reply:
        return (200, {"data": names}) if path == "/v1/models" else (404, {"error": "no such model"})

    with there(answer) as (url, _), pytest.raises(InputError, match="and 4980 more") as found:
        Server(url, "tiny", WORDS).generate(ASK, PARAMS)
    assert len(str(found.value)) < 25 * WIDE and "\x1b" not in str(found.value)


class Control:
    """A control plane as vLLM's, with the calls that go wrong."""

    def __init__(self, **wrong: Reply):
        self.wrong, self.paused, self.version = wrong, False, "first"

    def __call__(self, path: str, k: int) -> Reply:
        name = path.rsplit("/", 1)[1]
        if name in ("pause", "resume") and (name == "pause" or name not in self.wrong):
            self.paused = name == "pause"
        if f"{name}_{k}" in self.wrong or name in self.wrong:
            return self.wrong.get(f"{name}_{k}") or self.wrong[name]
        if name == "finish_weight_update":
            self.version = "v1"
        said = {
            "is_paused": {"is_paused": False},
            "weight_info": {"weight_version": self.version},
            "reset_prefix_cache": {"success": True},
            "completions": choice(),
        }
        return 200, said.get(name, {})


def follower(url: str) -> VllmServer:
    return VllmServer(url, "tiny", WORDS, tries=3, pause=0.001)


NEW = Weights("v1", Path("/nowhere"))


@pytest.mark.parametrize("bad", [(503, {}), (200, None)])
def test_a_question_about_the_weights_is_asked_again(bad: Reply) -> None:
    """A busy moment between two steps ends no run: completions are asked for again, too."""
    with there(Control(weight_info_1=bad)) as (url, called):
        engine = follower(url)
        engine.update(NEW)
        engine.generate(ASK, PARAMS)
    assert called.count("/weight_info") == 2


def test_a_call_that_changes_the_server_is_made_once() -> None:
    said = pytest.raises(InputError, match="/update_weights failed .HTTP 503")
    with there(Control(update_weights=(503, {}))) as (url, called), said:
        follower(url).update(NEW)
    assert called.count("/update_weights") == 1


@pytest.mark.parametrize("lost", ["pause", "update_weights", "finish_weight_update"])
def test_a_server_is_resumed_whatever_fails_between(lost: str) -> None:
    control = Control(**{lost: (200, None)})
    with there(control) as (url, _), pytest.raises(InputError, match=f"/{lost}.* failed"):
        follower(url).update(NEW)
    assert not control.paused


def test_what_failed_first_is_what_is_said() -> None:
    control = Control(update_weights=(500, {"error": "full"}), resume=(500, {}))
    said = pytest.raises(InputError, match="/update_weights failed .*full")
    with there(control) as (url, _), said:
        follower(url).update(NEW)


@pytest.mark.parametrize("said", ["\x1b[2J" + "x" * 900_000, None, 7, ["v1"]])
def test_other_weights_are_named_in_a_sentence_that_can_be_read(said: Any) -> None:
    with there(Control(weight_info=(200, {"weight_version": said}))) as (url, _):
        engine = follower(url)
        engine.update(NEW)
        with pytest.raises(InputError, match="was given the weights 'v1' and now holds") as found:
            engine.generate(ASK, PARAMS)
    assert len(str(found.value)) < 400 and "\x1b" not in str(found.value)


class Endless(InMemory):
    """An engine that takes no limit to its completions; the model has 64 positions."""

    def generate(self, requests: Any, params: SamplingParams) -> list[list[Completion]]:
        made = super().generate(requests, params)
        return [
            [
                Completion("", (o.ids or ()) * 50, True, None, None, (o.logprobs or ()) * 50)
                for o in some
            ]
            for some in made
        ]


def test_a_completion_without_end_is_read_as_far_as_it_was_asked_for(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    at = checkpoint(tmp_path / "gpt2", "gpt2")
    model = AutoModelForCausalLM.from_pretrained(at)
    words = Stops(AutoTokenizer.from_pretrained(at), size=model.config.vocab_size)
    of: Any = Served(Pretrained(model), words, Endless(at, words), max_tokens=4).frozen()
    apart = of.differences(of.vocabulary.prompts(ASKS[:2]))
    assert len(apart) and float(apart.max()) < 1e-4
