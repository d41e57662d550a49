"""Answers of a real server in a process of its own, drawn by transformers' generate and scored
here.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from engines import ASKS, policy, served

from assay.core import InputError, Missing, Rng, Samples
from assay.models.policies.open_engine import open_engine, verified
from assay.models.policies.stop_strings import Stopping
from assay.models.samplers.engine import Completion


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with served(tmp_path_factory.mktemp("engine")) as found:
        yield found


def calls(there: dict[str, Any], since: int = 0) -> list[dict[str, Any]]:
    path: Path = there["log"]
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()][since:]
        if path.exists()
        else []
    )


def drawn(of: Any, n: Any = 6, key: int = 1) -> Samples:
    return of.sample(of.vocabulary.prompts(ASKS), n, Rng(key))


def ids(x: Samples, b: int, n: int) -> list[int]:
    return x.action[b, n][x.mask[b, n]].tolist()


@pytest.mark.parametrize(
    "settings",
    [{}, {"temperature": 0.7, "top_p": 0.9}, {"top_k": 20, "min_tokens": 4}, {"max_tokens": 3}],
)
def test_what_is_scored_is_what_was_drawn(there: dict[str, Any], settings: dict[str, Any]) -> None:
    of = policy(there, **settings)
    x = drawn(of, 8)
    assert x.mask.shape[:2] == (3, 8) and bool(x.present.all()) and x.logp.isfinite().all()
    assert torch.allclose(of.logp(x), x.logp, atol=1e-4) and not x.given.any()
    last = x.action.gather(2, (x.lengths - 1)[..., None])[..., 0]
    assert (
        torch.equal(x.ended, last == of.vocabulary.eos)
        and int(x.lengths[~x.ended].min()) == of.max_tokens
    )
    assert int(x.lengths.min()) > settings.get("min_tokens", 0) or of.max_tokens == int(
        x.lengths.min()
    )
    local = Stopping.sample(of, x.prompts, 8, Rng(1), x)
    assert torch.equal(local.action, x.action), (
        "an answer of the server can be gone on from, and these are complete"
    )


def test_the_frequencies_are_this_policy_s_own_law(there: dict[str, Any]) -> None:
    """Another engine's draws of a first token against the exact probabilities here: 600 of them,
    eight likely tokens.
    """
    of = policy(there, temperature=1.3, top_k=8, max_tokens=1)
    asked = of.vocabulary.prompts(ASKS[:1])
    x = of.sample(asked, 600, Rng(4))
    p = of.decoding(asked, 1, Rng(0)).next_logprobs().exp()[0, 0]
    seen = Counter(x.action[0, :, 0].tolist())
    assert set(seen) <= set(p.nonzero()[:, 0].tolist()) and len(seen) > 4
    far = (
        sum((seen[i] / 600 - float(p[i])) ** 2 / float(p[i]) for i in p.nonzero()[:, 0].tolist())
        * 600
    )
    assert far < 24.3, "chi-square with 7 degrees of freedom: one in a thousand"


def test_settings_are_sent_whole_and_seeds_by_address(
    there: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_SAMPLER_KEY", "s3cret")
    of, before = (
        policy(there, temperature=0.5, top_p=0.8, stop=("zz",), min_tokens=2),
        len(calls(there)),
    )
    x, y = drawn(of, torch.tensor([3, 0, 1])), drawn(of, torch.tensor([3, 0, 1]))
    assert x.present.tolist() == [[True] * 3, [False] * 3, [True, False, False]] and torch.equal(
        x.action, y.action
    )
    sent = calls(there, before)
    assert {c["key"] for c in sent} == {"Bearer s3cret"} and {c["path"] for c in sent} == {
        "/v1/completions"
    }
    asked = {tuple(c["prompt"]): c for c in sent}
    assert (
        len(asked) == 2
        and len({c["seed"] for c in asked.values()}) == 2
        and {c["n"] for c in sent} == {1, 3}
    )
    one = sent[0]
    want = {
        "temperature": 0.5,
        "top_p": 0.8,
        "top_k": -1,
        "min_tokens": 2,
        "max_tokens": 10,
        "stop": ["zz"],
        "stop_token_ids": [1],
        "repetition_penalty": 1.0,
        "min_p": 0.0,
        "return_token_ids": True,
        "logit_bias": {"0": -100, "2": -100},
    }
    assert {k: one[k] for k in want} == want and "logprobs" not in one


@pytest.mark.parametrize("name", ["tiny", "serve"])
def test_stop_strings(there: dict[str, Any], name: str) -> None:
    stop = ("e", " a", "th")
    of = policy(there, name, stop=stop, min_tokens=2, max_tokens=16)
    x = drawn(of, 10)
    texts, hits = x.text(), 0
    for b in range(3):
        for n in range(10):
            said = ids(x, b, n)
            hit = of.vocabulary.stopped(said)
            hits += hit
            assert bool(x.ended[b, n]) == (hit or said[-1] == 1) and len(said) > 2
            assert not any(of.vocabulary.stopped(said[:k]) for k in range(3, len(said)))
            assert not hit or not any(texts[b][n].endswith(s) for s in stop)
    assert hits > 5 and torch.allclose(of.logp(x), x.logp, atol=1e-4)


def test_an_end_token_that_was_left_out_is_put_back(there: dict[str, Any]) -> None:
    open_, whole = (
        drawn(policy(there, "tiny-open", max_tokens=20), 24),
        drawn(policy(there, max_tokens=20), 24),
    )
    assert (
        torch.equal(open_.action, whole.action)
        and torch.equal(open_.ended, whole.ended)
        and whole.ended.any()
    )


def test_where_an_answer_ends_is_this_policy_s_law_whatever_the_engine_calls_it(
    there: dict[str, Any],
) -> None:
    of = policy(there, stop=("b",), max_tokens=6, min_tokens=2)
    a, b, end = (
        of.vocabulary.tokenizer(t, add_special_tokens=False)["input_ids"][0]
        for t in ("a", "b", "</s>")
    )
    for ids, full, by, want in (
        ((a, a), True, None, ([a, a], False)),
        ((a, a), False, None, ([a, a, end], True)),
        ((a, a), False, "ab", ([a, a], False)),
        ((a, end), True, None, ([a, end], True)),
        ((a, a, b, a), False, None, ([a, a, b], True)),
        ((b, a, b), True, None, ([b, a, b], True)),
        ((a,) * 8, False, None, ([a] * 6, False)),
        ((end, a), True, None, ([end], True)),
    ):
        said = Completion("", ids, full, by)
        assert of._ended(said)[:2] == want, said


@pytest.mark.parametrize("name", ["tiny-text", "serve"])
def test_text_is_encoded_again_and_what_is_not_the_same_is_counted(
    there: dict[str, Any], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A tiny model's answers are broken bytes: what comes back differs, and is said to."""
    of, before = policy(there, name, max_tokens=24), len(calls(there))
    with caplog.at_level(logging.WARNING, "assay"):
        x = drawn(of, 4)
    assert (
        "returns text, and" in caplog.text
        and "of 12 completions are not the tokens that were drawn" in caplog.text
    )
    assert (
        x.present.all()
        and x.logp.isfinite().all()
        and torch.allclose(of.logp(x), x.logp, atol=1e-4)
    )
    sent = calls(there, before)
    if name == "serve":
        config = json.loads(sent[-1]["generation_config"])
        good = [c for c in sent if "generation_config" in c]
        assert (
            config["do_sample"] is True
            and len(good) >= 12
            and len({c["seed"] for c in good}) == len(good)
        )
        assert sum("return_token_ids" in c for c in sent) <= 3, "its dialect is found once"


def test_a_server_that_fails_half_the_time_costs_patience_alone(there: dict[str, Any]) -> None:
    assert torch.equal(
        drawn(policy(there, "tiny-busy", tries=8)).action, drawn(policy(there)).action
    )


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        (
            "tinny",
            {},
            "does not know the model 'tinny', it serves tiny, .* did you mean tiny.* "
            "--sampler-model",
        ),
        (
            "tiny-narrow",
            {"max_tokens": 39},
            "has no room for prompt and completion .*maximum context length is 40.*; lower --max-p",
        ),
        (
            "tiny-deaf",
            {"top_k": 1},
            "drew .* completions that this policy cannot give .* after 4 rounds .* are missing",
        ),
        ("tiny-wild", {}, "drew the token 9999, and this model knows"),
        (
            "tiny-text",
            {"stop": ("e",)},
            "returns no token ids, and its text does not say whether a stop string",
        ),
    ],
)
def test_what_is_wrong_is_one_sentence(
    there: dict[str, Any], name: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        drawn(policy(there, name, **settings))


def test_nobody_there_and_no_address(there: dict[str, Any]) -> None:
    with pytest.raises(
        InputError, match="drew no completions in 2 tries .*; start the server there"
    ):
        drawn(policy({**there, "url": "http://127.0.0.1:9/v1"}, tries=2))
    with pytest.raises(InputError, match="--sampler is 'host:80', and an address such as"):
        policy({**there, "url": "host:80"})


def test_other_weights_are_noticed_at_the_greeting(
    there: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    asked = policy(there).vocabulary.prompts(ASKS)
    with caplog.at_level(logging.INFO, "assay"):
        verified(policy(there, temperature=0.3, top_k=5), asked)
    assert "agree to 0.0000 nats a token" in caplog.text
    with pytest.raises(
        InputError, match="nats a token apart on one completion: they do not hold the same weights"
    ):
        verified(policy(there, "tiny-other"), asked)
    with caplog.at_level(logging.WARNING, "assay"):
        verified(policy(there, "tiny-text"), asked)
    assert "not checked that it holds the weights" in caplog.text


def test_other_weights_than_the_server_s_are_never_drawn_from(there: dict[str, Any]) -> None:
    of = policy(there)
    with pytest.raises(
        InputError, match="this recipe trains a copy: its completions would be the old weights'"
    ):
        of.copy()
    next(iter(of.parameters())).data.add_(0)  # by .data nothing is counted, and nothing changed
    drawn(of, 1)
    with torch.no_grad():
        next(iter(of.parameters())).add_(0.1)
    with pytest.raises(InputError, match="holds other weights than this policy has now"):
        drawn(of, 1)


def test_vllm_in_this_process_is_missing_here_in_one_sentence(there: dict[str, Any]) -> None:
    if importlib.util.find_spec("vllm") is not None:
        pytest.skip("vLLM is installed")
    with pytest.raises(Missing, match=r"--sampler vllm needs vllm.*'\.\[vllm\]'"):
        open_engine("vllm", there["model"], policy(there).vocabulary, at_once=1)
    with pytest.raises(InputError, match="--sampler-at-once is 0"):
        open_engine(there["url"], "tiny", policy(there).vocabulary, at_once=0)
