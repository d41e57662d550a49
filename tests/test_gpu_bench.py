"""The GPU benchmark where there is no GPU: what it counts, plans, survives and says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

from bench.gpu import __main__ as script
from bench.gpu import cases, operations, worker
from bench.gpu.page import page
from bench.real import cases as texts


@pytest.mark.parametrize("made", [LlamaConfig, Qwen3Config])
def test_operations_are_those_that_torch_counts(made: Any) -> None:
    """torch counts attention to later tokens as well, so each of n tokens sees n."""
    config = made(**cases.TINY)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    n = 12
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        model(input_ids=torch.zeros(1, n, dtype=torch.long), use_cache=False)
    shape = cases.shape_of(config.to_dict())
    assert counted.get_total_flops() == operations.forward(shape, n, n * n, n)


def test_a_prompt_is_counted_once_for_its_completions() -> None:
    tokens, seen, read = operations.group(3, [2, 1])
    assert (tokens, read) == (6, 3)
    assert seen == (1 + 2 + 3) + (4 + 5) + 4


def test_a_step_is_what_its_passes_are() -> None:
    shape = cases.shape_of(cases.TINY)
    c = cases.tiny(cases.GRPO)
    lengths = [[c.most] * c.completions] * c.prompts
    once = sum(operations.forward(shape, *operations.group(c.prompt, n)) for n in lengths)
    assert operations.step(c, shape, lengths) == 4 * once  # drawn, reference, policy and backward
    assert operations.step(cases.tiny(cases.DPO), shape, lengths) == 3 * once


def test_what_matters_most_comes_first_and_every_name_is_one_process() -> None:
    planned = cases.plan(dry=False)
    assert [m.side for m in planned[:2]] == ["ours", "TRL"]
    assert len({m.name for m in planned}) == len(planned)
    assert all(cases.named(m.name, dry=False) == m for m in planned)
    rows = cases.words(3000)
    assert len(set(rows)) == 3000 and all(4 <= len(w) <= 9 for w in rows)


def test_a_failure_and_a_timeout_are_named_and_lose_nothing_else() -> None:
    python = [sys.executable, "-c"]
    assert script.run([*python, "print('{\"a\": 1}')"], 60)["a"] == 1
    found = script.run([*python, "raise SystemExit('out of memory')"], 60)
    assert (found["state"], found["reason"]) == ("failed", "out of memory")
    child = "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    assert script.run([*python, child], 1)["state"] == "timed out"
    m = cases.plan(dry=True)[0]
    made = {"folder": "none", "shape": cases.shape_of(cases.TINY)}
    none_left = script.one(m, made, {"ours": sys.executable}, 3.0, "dry")
    assert (none_left["state"], none_left["reason"]) == ("not run", "the time was up")
    no_model = script.one(m, {"reason": "no disk"}, {}, 300.0, "dry")
    assert no_model["reason"] == "its model: no disk"


def test_a_batch_that_does_not_fit_is_divided() -> None:
    tried = list[int]()

    def attempt(pieces: int) -> list[float]:
        tried.append(pieces)
        if pieces < 4:
            raise torch.OutOfMemoryError("full")
        return [1.0]

    device, c = torch.device("cpu"), cases.GRPO
    assert worker._in_pieces(attempt, c, device) == ([1.0], 4)
    assert tried == [1, 2, 4]
    with pytest.raises(torch.OutOfMemoryError):
        worker._in_pieces(attempt, cases.tiny(c), device)


def test_the_page_is_what_the_results_are() -> None:
    root = Path(__file__).resolve().parents[1]
    written = (root / "docs" / "benchmarks-gpu.md").read_text(encoding="utf-8")
    results = root / "bench" / "results" / "gpu.json"
    found = json.loads(results.read_text(encoding="utf-8")) if results.exists() else None
    assert written == page(found), "python -m bench.gpu --page"
    assert ("has not run on a GPU yet" in written) is (found is None)


def test_the_page_shows_what_was_measured_and_what_was_not() -> None:
    case = {"model": "SmolLM2", "kind": "grpo", "side": "ours"}
    measured = {"median": 2.0, "tokens": 400.0, "operations": 1e12, "peak_bytes": 2**30}
    found = {
        "machine": {"card": "A card", "memory_bytes": 80 * 2**30, "rate": 1e13, "torch": "2"},
        "seconds": 300.0,
        "cases": [
            {**case, **measured, "state": "measured", "trl": "1.16.0", "apart": 0.01, "pieces": 2},
            {**case, "side": "TRL with vLLM", "state": "not run", "reason": "no vLLM"},
        ],
    }
    text = page(found)
    assert "| SmolLM2 | GRPO | ours, in 2 pieces | 2.00 | 200 | 5.0% | 1.0 |" in text
    assert "- SmolLM2, grpo, TRL with vLLM: not run, no vLLM" in text
    assert "has not run" not in text


@pytest.mark.full
def test_one_process_of_a_dry_run_works(tmp_path: Path) -> None:
    """Of the random model, so that no checkpoint is needed."""
    command = [sys.executable, "-m", "bench.gpu.worker"]
    made = script.run([*command, "make", "none", "Qwen3 1.7B", str(tmp_path), "dry"], 120)
    m = cases.named("Qwen3 1.7B/dpo/ours", dry=True)
    found = script.one(m, made, {"ours": sys.executable}, 300.0, "dry")
    assert found["state"] == "measured", found
    assert found["apart"] < 0.02 and len(found["seconds"]) == m.case.rounds
    rows = texts.pairs(m.case, list(range(10)), m.case.prompts * (m.case.rounds + 1))
    tokens = sum(len(own) + 1 for _, *both in rows for own in both) / (m.case.rounds + 1)
    assert found["tokens"] == tokens + m.case.prompts * m.case.prompt
