"""Tiny Llama folders that vLLM's CPU kernels take, and policies that a real vLLM generates for.

The tests of vLLM run in an environment of its own (`make vllm`) and are skipped elsewhere.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from assay.core import Rng

THERE = importlib.util.find_spec("vllm") is not None
needs_vllm = pytest.mark.skipif(not THERE, reason="vLLM is not installed: `make vllm` runs this")
# at least eight tokens each: vLLM 0.32's attention kernel stops at an illegal instruction where a
# prompt of three is the first one of a model as small as these
ASKS = [
    "the old mill by the river is closed",
    "please tell me about the gate and the pond",
    "what is the weather like, and why?",
    "it rains, and then it does not; we walk",
]


def folder(at: Path, *, tied: bool, seed: int = 0) -> Path:
    """A Llama of two layers and heads of 32 with weights large enough for unequal probabilities."""
    from families import tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    words = tokenizer()
    config = LlamaConfig(
        vocab_size=len(words) + 7,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=96,
        max_position_embeddings=256,
        tie_word_embeddings=tied,
        initializer_range=0.15,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(at)
    words.save_pretrained(at)
    return at


def body(at: Path, *, lora: int = 0) -> Any:
    """The folder's backbone, with or without adapters."""
    from transformers import AutoModelForCausalLM

    from assay.worlds.device import backbone

    model = AutoModelForCausalLM.from_pretrained(at, dtype=torch.float32)
    how: Any = {"peft": "", "bits": 0, "checkpointing": False}
    return backbone(model, lora=lora, rng=Rng(0)("adapters"), **how)


def words_of(at: Path, stop: tuple[str, ...] = ()) -> Any:
    """The folder's tokenizer."""
    from transformers import AutoTokenizer

    from assay.models.policies.stop_strings import Stops

    tokenizer = AutoTokenizer.from_pretrained(at)
    return Stops(tokenizer, size=len(tokenizer) + 7, stop=stop)


def policy(at: Path, engine: Any, *, lora: int = 0, sync: Any = None, **settings: Any) -> Any:
    """The reference of world hub over that engine, without the world."""
    from assay.models.policies.served import Served

    words = words_of(at, settings.pop("stop", ()))
    made = Served(body(at, lora=lora), words, engine, sync=sync, **{"max_tokens": 10, **settings})
    return made.frozen()


@torch.no_grad()
def moved(policy: Any, by: float = 0.05, seed: int = 5) -> None:
    """Change a policy's weights, as training would."""
    rng = torch.Generator().manual_seed(seed)
    for p in policy.parameters():
        p.add_(by * torch.randn(p.shape, generator=rng))


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def server(at: Path, *flags: str, mode: str = "processed_logprobs") -> Iterator[str]:
    """A real vLLM server with its control plane, in a process of its own; yields its address."""
    port, log = _free_port(), at.parent / "server.log"
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(at)),
        *("--port", str(port), "--host", "127.0.0.1", "--dtype", "float32", "--enforce-eager"),
        *("--kv-cache-memory-bytes", str(64 << 20), "--max-model-len", "128"),
        *("--block-size", "32", "--served-model-name", "tiny", "--logprobs-mode", mode),
        *flags,
    ]
    more = {
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
        "HF_HUB_OFFLINE": "1",
    }
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env={**os.environ, **more}, start_new_session=True
        )
        try:
            _await(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(url: str, process: Any, log: Path) -> None:
    end = time.monotonic() + 400
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server died: {log.read_text(encoding='utf-8')[-3000:]}")
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                if reply.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise RuntimeError(f"the server did not start: {log.read_text(encoding='utf-8')[-3000:]}")
