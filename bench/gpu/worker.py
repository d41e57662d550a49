"""One thing in a process of its own; the last line of its output is JSON.

python -m bench.gpu.worker rate
python -m bench.gpu.worker make FOLDER MODEL SCRATCH dry|real
python -m bench.gpu.worker step FOLDER NAME dry|real
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.gpu import cases
from bench.gpu.cases import MODELS, Measured
from bench.real import cases as texts
from bench.real.cases import Case


def main(argv: list[str]) -> int:
    """Do one thing and print what came of it."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes with the errors
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if argv[0] == "rate":
        found = rate(device)
    elif argv[0] == "make":
        found = make(Path(argv[1]), argv[2], Path(argv[3]), dry=argv[4] == "dry")
    else:
        found = step(Path(argv[1]), cases.named(argv[2], argv[3] == "dry"), device)
    out.write(json.dumps(found) + "\n")
    return 0


def rate(device: torch.device, seconds: float = 2.0) -> dict[str, Any]:
    """Operations a second of the best bfloat16 product of two square matrices, and the card."""
    n = 8192 if device.type == "cuda" else 512
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    best, until = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        _wait(device)
        began = time.perf_counter()
        a @ b
        _wait(device)
        best = max(best, 2 * n**3 / (time.perf_counter() - began))
    about: dict[str, Any] = {"rate": best, "torch": torch.__version__, "device": device.type}
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        about |= {"card": card.name, "memory_bytes": card.total_memory}
    return about


def make(given: Path, model: str, scratch: Path, *, dry: bool) -> dict[str, Any]:
    """The folder of a model: the one that was given, or one of random weights, and its shape."""
    folder = given
    if model == MODELS[1] or dry:
        folder = scratch / model.replace(" ", "-")
        _random(folder, cases.TINY if dry else cases.QWEN3, qwen=model == MODELS[1])
    config = json.loads((folder / "config.json").read_text())
    return {"folder": str(folder), "shape": cases.shape_of(config)}


def _random(folder: Path, sizes: dict[str, Any], *, qwen: bool) -> None:
    """A checkpoint of random weights with a tokenizer of as many words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        AutoModelForCausalLM,
        LlamaConfig,
        PreTrainedTokenizerFast,
        Qwen3Config,
    )

    ids = {"<pad>": 0, "<eos>": 1}
    ids |= {w: i + 2 for i, w in enumerate(cases.words(sizes["vocab_size"] - 2))}
    inner = Tokenizer(models.WordLevel(ids, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>"
    )
    made = Qwen3Config if qwen else LlamaConfig
    config = made(**sizes, eos_token_id=1, pad_token_id=0, bos_token_id=None)
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def step(folder: Path, m: Measured, device: torch.device) -> dict[str, Any]:
    """Steps of one side, a first one not counted, and the most memory that it held."""
    found: dict[str, Any] = {}
    if m.side.startswith("ours"):
        from bench.gpu import ours

        if m.case.kind == "dpo" and m.side == "ours":
            found["apart"] = ours.apart(m.case, folder, device)
            _forget(device)
        take = ours.stepper(m.case, folder, device, sharded=m.side == "ours, sharded")
        seconds = []
        for _ in range(m.case.rounds + 1):
            _wait(device)
            began = time.perf_counter()
            take()
            _wait(device)
            seconds.append(time.perf_counter() - began)
    else:
        import trl

        from bench.gpu import peer

        vllm = m.side == "TRL with vLLM"
        with tempfile.TemporaryDirectory() as scratch:
            wait = lambda: _wait(device)
            given = (m.case, folder, device, Path(scratch), wait)
            seconds, found["pieces"] = _in_pieces(
                lambda pieces: peer.seconds(*given, vllm=vllm, pieces=pieces), m.case, device
            )
        found["trl"] = trl.__version__
    return {**found, "seconds": seconds[1:], "peak_bytes": _peak(device), "lengths": lengths(m)}


def _in_pieces(
    attempt: Callable[[int], list[float]], c: Case, device: torch.device
) -> tuple[list[float], int]:
    """The seconds with the batch in as few pieces as the card has memory for."""
    pieces = 1
    while True:
        try:
            return attempt(pieces), pieces
        except torch.OutOfMemoryError:
            if pieces == c.prompts:
                raise
        _forget(device)
        pieces *= 2


def lengths(m: Measured) -> list[list[int]]:
    """The lengths of completions to each prompt, end tokens included: of all steps together, since
    either side takes pairs in an order of its own.
    """
    c, n = m.case, m.case.prompts * (m.case.rounds + 1)
    if c.kind == "grpo":
        return [[c.most] * c.completions] * n
    rows = texts.pairs(c, list(range(10)), n)
    return [[len(own) + 1 for own in both] for _, *both in rows]


def _forget(device: torch.device) -> None:
    """Leave the comparison's memory out of the step's."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _peak(device: torch.device) -> int:
    """The most bytes: what torch reserved of the card, vLLM's share in this process included."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
