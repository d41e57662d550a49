"""Answers of `transformers serve` itself, a process started here. It needs packages that nothing
else here needs.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from engines import policy
from families import model

from assay.core import InputError, Rng
from assay.models.policies.open_engine import verified

NEEDS = ("fastapi", "uvicorn", "openai")
pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in NEEDS),
    reason="transformers serve is not installed: pip install 'transformers[serving]'",
)
WORDS = [
    "the",
    "old",
    "mill",
    "gate",
    "pond",
    "river",
    "day",
    "is",
    "closed",
    "open",
    "by",
    "rain",
    "and",
    "we",
    "state",
    "home",
]


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A tiny Llama over whole words, so that text comes back as the tokens that were drawn, and its
    server.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("serve") / "words"
    inner = Tokenizer(
        models.WordLevel(
            {w: i for i, w in enumerate(["<s>", "</s>", "<pad>", *WORDS])}, unk_token="<pad>"
        )
    )
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    tokens = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    model("llama", vocabulary=len(tokens)).save_pretrained(folder)
    tokens.save_pretrained(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    main = "import sys; from transformers.cli.transformers import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", main, "serve", str(folder), "--port", str(port), "--device", "cpu"],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait(f"http://localhost:{port}/health", process)
        yield {"url": f"http://localhost:{port}/v1", "model": str(folder)}
    finally:
        process.terminate()
        process.wait()


def wait(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(240):
        assert process.poll() is None, "the server ended before it began"
        try:
            with urllib.request.urlopen(url):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server did not begin in two minutes")


def test_a_real_server_draws_by_this_policy_s_law(
    there: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    of = policy(there, there["model"], temperature=0.8, top_k=6, max_tokens=12, min_tokens=2)
    asked = of.vocabulary.prompts(["the old mill", "rain and", "we state home"])
    with caplog.at_level(logging.WARNING, "assay"):
        x = verified(of, asked).sample(asked, 4, Rng(1))
    assert "not checked that it holds" in caplog.text and "encoded again" not in caplog.text, (
        "every answer came back as it was drawn"
    )
    assert (
        x.present.all()
        and torch.allclose(of.logp(x), x.logp, atol=1e-4)
        and int(x.lengths.min()) > 2
    )
    assert len(set(map(tuple, x.action[0].tolist()))) > 1, "it does not draw greedily"
    assert bool((x.ended | (x.lengths == 12)).all())
    one = policy(there, there["model"], temperature=1.2, top_k=4, max_tokens=1)
    y, p = (
        one.sample(asked[:1], 150, Rng(2)),
        one.decoding(asked[:1], 1, Rng(0)).next_logprobs().exp()[0, 0],
    )
    seen = Counter(y.action[0, :, 0].tolist())
    likely = p.nonzero()[:, 0].tolist()
    assert (
        set(seen) <= set(likely)
        and sum((seen[i] - 150 * float(p[i])) ** 2 / (150 * float(p[i])) for i in likely) < 16.3
    )


def test_stop_strings_and_another_model(there: dict[str, Any]) -> None:
    of = policy(there, there["model"], stop=("day", "by rain"), max_tokens=24)
    x = of.sample(of.vocabulary.prompts(["the old mill", "rain and"]), 5, Rng(3))
    assert x.ended.any() and not any("day" in t or "by rain" in t for row in x.text() for t in row)
    with pytest.raises(InputError, match="--sampler: .* refused a prompt with HTTP 400 .*pinned"):
        policy(there, "another").sample(x.prompts, 1, Rng(1))
