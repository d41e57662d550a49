"""World hub on another device, without one: every tensor of a run is made where the model is, or is
refused.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from elsewhere import ELSEWHERE, elsewhere
from families import checkpoint
from test_contract import differences
from test_worlds_hub import files  # noqa: F401  # a fixture

from assay import cli
from assay.core import InputError, Loop
from assay.engine.launchers import divides_weights
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.registry import catalogue
from assay.worlds import device as computing
from assay.worlds import divided, hub


def test_the_trap_is_one() -> None:
    with elsewhere() as there:
        a = torch.arange(3, device=there)
        with pytest.raises(RuntimeError, match="two devices"):
            a + torch.arange(3)
        assert (
            a.device == ELSEWHERE
            and (a * 2).tolist() == [0, 2, 4]
            and a[torch.tensor([2])].tolist() == [2]
        )


@pytest.mark.parametrize(
    ("recipe", "more", "near"),
    [
        ("grpo", {"dtype": "float64", "checkpointing": True}, 1e-9),
        ("uncertainty_weighted", {"lora": 2}, 1e-3),
        ("ppo", {"dtype": "bfloat16", "stop": ("e",)}, 0.0),
    ],
)
def test_a_run_elsewhere_is_the_run_here(
    files: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recipe: str,
    more: dict[str, Any],
    near: float,
) -> None:
    if "lora" in more:
        pytest.importorskip("peft", reason="the lora extra is not installed")
    given = {
        "policy": str(checkpoint(tmp_path / "llama", "llama")),
        "prompts": files["prompts"],
        "held_out": 4,
        "rewards": (f"{files['judges']}:words", f"{files['judges']}:slow"),
        "gold": f"{files['judges']}:slow",
        "max_tokens": 5,
        **more,
    }
    function = catalogue.load(catalogue.find(recipe)).recipe
    loop = Loop(max_steps=2, batch_size=2, num_generations=3, learning_rate=1e-3)

    def readings(device: str) -> list[dict[str, Any]]:
        world = hub.world(**given, device=device)
        found = [
            *measure(
                function, world, loop=loop, config=MeasureConfig(eval_steps=1, eval_generations=2)
            )
        ]
        return [
            {k: r[k] for k in ("step", "kl", "gold", "proxy", "length") if k in r} for r in found
        ]

    here = readings("cpu")
    monkeypatch.setattr(
        hub, "device_named", lambda name: ELSEWHERE if name == "cuda" else torch.device(name)
    )
    with elsewhere():
        there = readings("cuda")
    assert len(here) == len(there) >= 3
    if near:
        assert differences(here, there, near) == [] and here[-2]["kl"] > 1e-5
    else:  # in eight bits, another order of the same sums is another run
        assert here[0]["gold"] == there[0]["gold"]


def test_what_cannot_be_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not torch.cuda.is_available():
        with pytest.raises(
            InputError,
            match="--device is 'cuda', and this torch .* finds no GPU; give --device cpu",
        ):
            computing.device_named("cuda")
        assert computing.device_named("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert (
        computing.device_named("auto") == computing.device_named("cuda") == torch.device("cuda:1")
    )
    assert computing.device_named("cuda:0") == torch.device("cuda:0") and computing.device_named(
        "cpu"
    ) == torch.device("cpu")
    for name, said in (
        ("cuda:2", "GPU 2 was requested of 2"),
        ("gpu", "it is auto, cpu, cuda or"),
        ("cuda:", "it is auto"),
    ):
        with pytest.raises(InputError, match=said):
            computing.device_named(name)
    for flags, said in (
        (["table", "--device", "cuda"], "world table computes on the cpu"),
        (["table", "--dtype", "bfloat16"], "has no --dtype"),
        (["hub", "--world.policy", "x", "--dtype", "int8"], "--dtype is 'int8'"),
        (["hub", "--dtype", "float32", "--world.dtype", "float64"], "--dtype is given twice"),
    ):
        assert cli.main(["run", "leave_one_out", "--world", *flags]) == 2
        assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("variables", "what"),
    [
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "DeepSpeed, and its engine owns the backward pass"),
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, "Megatron-LM"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}, "add --fsdp_version 2"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_OFFLOAD_PARAMS": "true"}, "--fsdp_offload_params"),
        (
            {"ACCELERATE_USE_FSDP": "true", "FSDP_ACTIVATION_CHECKPOINTING": "true"},
            "give assay --checkpointing",
        ),
        ({"ASSAY_PROCESS_TIMEOUT": "soon", "WORLD_SIZE": "2"}, "ASSAY_PROCESS_TIMEOUT is 'soon'"),
    ],
)
def test_what_a_launcher_asks_for_and_is_not_followed_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    variables: dict[str, str],
    what: str,
) -> None:
    """It would be left out in silence, and the run would not be what its user thinks it is."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (
        cli.main(["run", "leave_one_out", "--world", "table", "--out", str(tmp_path / "run")]) == 2
    )
    said = capsys.readouterr().err.splitlines()[-1]
    assert what in said and not (tmp_path / "run").exists()


def test_one_process_says_that_nothing_is_divided(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """FSDP is followed where it can be: what transformers reads of it is turned off."""
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "true")
    assert not divided.divides(False, "auto") and not caplog.records
    assert not divided.divides(True, "auto") and "this is one process" in caplog.text
    assert os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] == "true"
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    assert divides_weights() and os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] == "false"
    with pytest.raises(InputError, match="--fsdp-gather is 'some'; it is auto, model, layer"):
        divided.divides(True, "some")
