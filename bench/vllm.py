"""Generation by vLLM beside our own, from one folder: equality first, then seconds by turns.

    .venv-vllm/bin/python -m bench.vllm FOLDER

8 prompts of 64 tokens, 8 completions each of exactly 32 tokens, float32 on a CPU. Every turn has
other prompts and other seeds, so that no prefix is known from the turn before.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from assay.core import Prompts, Rng
from assay.models.backbones.pretrained import Pretrained
from assay.models.policies.served import Served
from assay.models.policies.stop_strings import Stopping, Stops
from assay.models.samplers.engine import Request
from assay.models.samplers.vllm import InProcess

PROMPTS, COMPLETIONS, PROMPT, LENGTH = 8, 8, 64, 32


def prompts(turn: int, size: int, vocabulary: Stops) -> Prompts:
    """Random tokens: what is generated does not depend on sense."""
    rng = torch.Generator().manual_seed(turn)
    ids = torch.randint(100, size - 100, (PROMPTS, PROMPT), generator=rng)
    mask = torch.ones_like(ids, dtype=torch.bool)
    return Prompts(ids, mask, torch.arange(PROMPTS), decode=vocabulary.decode)


def main() -> None:
    """Measure, and print one line for each side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32).eval()
    size = model.get_output_embeddings().weight.shape[0]
    words = Stops(AutoTokenizer.from_pretrained(given.model), size=size)
    body = Pretrained(model)
    how: dict[str, int] = {"max_tokens": LENGTH, "min_tokens": LENGTH}
    began = time.perf_counter()
    engine = InProcess(given.model, dtype="float32", longest=PROMPT + LENGTH)
    print(f"opening vLLM: {time.perf_counter() - began:.1f} s", flush=True)
    ours = Stopping(body, words, **how).frozen()
    theirs = Served(body, words, engine, **how)
    theirs.requires_grad_(False)
    apart = theirs.differences(prompts(99, size, words))
    print(f"log-probabilities: {float(apart.mean()):.1e} apart, at most {float(apart.max()):.1e}")
    seconds: dict[str, list[float]] = {"ours": [], "vLLM": [], "vLLM, and scored here": []}
    for turn in range(given.turns + 1):  # the first one is warm-up
        for k, name in enumerate(seconds):
            asked = prompts(len(seconds) * turn + k, size, words)
            began = time.perf_counter()
            if name == "vLLM":
                rows = [Request(tuple(t.tolist()), COMPLETIONS, turn) for t in asked.tokens]
                made = engine.generate(rows, theirs.sampling_params())
                assert all(c.tokens == LENGTH for row in made for c in row)
            else:
                policy = ours if name == "ours" else theirs
                x = policy.sample(asked, COMPLETIONS, Rng(turn))
                assert x.lengths.eq(LENGTH).all() and x.present.all()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    engine.close()
    many = PROMPTS * COMPLETIONS * LENGTH
    for name, found in seconds.items():
        middle = statistics.median(found)
        print(
            f"{name}: {middle:.2f} s (from {min(found):.2f} to {max(found):.2f}), "
            f"{many / middle:.0f} tokens/s"
        )


if __name__ == "__main__":
    main()
