"""What vLLM in this process cannot do, in one sentence each; and an engine that dies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from vllm_models import ASKS, folder, needs_vllm, policy

from assay.core import InputError, Rng
from assay.models.samplers import vllm as in_process

pytestmark = [needs_vllm, pytest.mark.filterwarnings("ignore")]


def test_raw_log_probabilities_are_refused_and_a_dead_engine_is_one_sentence(
    tmp_path: Path, monkeypatch: Any
) -> None:
    at = folder(tmp_path / "tiny", tied=True)
    monkeypatch.setattr(in_process, "LOGPROBS", "raw_logprobs")
    state = torch.random.get_rng_state()
    engine = in_process.InProcess(str(at), dtype="float32", longest=128)
    assert torch.equal(state, torch.random.get_rng_state())
    try:
        of = policy(at, engine, temperature=0.7).copy()
        asked = of.vocabulary.prompts(ASKS)
        with pytest.raises(InputError, match="--logprobs-mode processed_logprobs"):
            of.sample(asked, 2, Rng(0))
        cores = [p for p in psutil.Process().children(recursive=True) if "VLLM" in p.name()]
        assert cores
        for p in cores:
            p.kill()
        with pytest.raises(InputError, match="has died; the run goes on from its last save"):
            of.sample(asked, 2, Rng(0))
    finally:
        engine.close()


def test_a_folder_that_vllm_does_not_open_is_one_sentence(tmp_path: Path) -> None:
    at = folder(tmp_path / "tiny", tied=True)
    with pytest.raises(InputError, match="--sampler is vllm, and it does not open"):
        in_process.InProcess(str(at), dtype="float32", longest=100_000)


def test_an_adapter_of_too_high_a_rank_is_refused(tmp_path: Path) -> None:
    at = folder(tmp_path / "tiny", tied=True)
    with pytest.raises(InputError, match="rank 600, and vLLM takes at most 512"):
        in_process.InProcess(str(at), dtype="float32", rank=600, longest=128)
