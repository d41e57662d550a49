"""Weights divided over two processes (gloo, CPU): the run of one process, with half of the weights
in each; killed and resumed, by another number of processes too.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from families import checkpoint, tokenizer
from safetensors.torch import load_file
from test_contract import differences, timeless

from assay import cli
from assay.records.runs import Run

pytest.importorskip("accelerate", reason="accelerate is not installed")
pytestmark = pytest.mark.slow
ASKS = [f"please tell me about the {a} {b}" for a in ("old", "new", "grey") for b in "abcde"]
LORA = ["--lora", "2"] if importlib.util.find_spec("peft") else []
EXACT = ("--dtype", "float64")
JUDGES = """
import os, signal
CALLS = []
def words(prompts, completions, **columns):
    CALLS.append(1)
    at = os.environ.get("TEST_DIES_AT")
    dies = os.environ.get("TEST_DIES_IN", "1")
    if at and os.environ.get("RANK") == dies and len(CALLS) >= int(at):
        os.kill(os.getpid(), signal.SIGKILL)
    return [float(len(c.split())) for c in completions]
def letters(prompts, completions, **columns):
    return [float(c.count("e")) for c in completions]
"""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Small models of three families, prompts, pairs, reward functions and a classifier."""
    home = tmp_path_factory.mktemp("sharded")
    rows = [{"prompt": a} for a in ASKS]
    pairs = [
        {"prompt": a, "chosen": f"{a[-1]} is old and nice", "rejected": "no idea" + "x" * (i % 4)}
        for i, a in enumerate(ASKS)
    ]
    for name, some in (("asks", rows), ("pairs", pairs)):
        text = "\n".join(json.dumps(r) for r in some)
        (home / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (home / "judges.py").write_text(JUDGES, encoding="utf-8")
    return {
        "home": str(home),
        "judge": str(classifier(home / "judge")),
        **{f: str(checkpoint(home / f, f)) for f in ("llama", "qwen2", "gpt2")},
    }


def classifier(folder: Path) -> Path:
    """A decoder with a score of its last token, of three layers."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    words = tokenizer()
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_labels=1,
        pad_token_id=words.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForSequenceClassification(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def words_of(
    given: dict[str, str], kind: str, out: Path, *more: str, judge: str = "", gold: str = ""
) -> list[str]:
    """The words of a run: of grpo on prompts, or of dpo on pairs. Five rows are an uneven share."""
    home = given["home"]
    judge, gold = judge or f"{home}/judges.py:words", gold or f"{home}/judges.py:letters"
    own = {
        "grpo": f"grpo --model {given['llama']} --prompts {home}/asks.jsonl --lr 0.01 -n 3",
        "dpo": f"dpo --model {given['qwen2']} --pairs {home}/pairs.jsonl --lr 0.003",
    }[kind]
    both = (
        f"--rewards {judge} --gold {gold} --held-out 4 "
        "--max-tokens 24 --batch-size 5 --eval-generations 2 --eval-steps 1"
    )
    steps = [] if "--max-steps" in more else ["--max-steps", "3"]
    return [*own.split(), *both.split(), *steps, "--out", str(out), *more]


class Launch:
    """Processes of one launch, each with the work of `sharded_runs`."""

    def __init__(self, out: Path, jobs: dict[str, Any], n: int = 2, **variables: str):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = str(s.getsockname()[1])
        tests = Path(__file__).parent
        base = {
            **os.environ,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "WORLD_SIZE": str(n),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "ASSAY_CACHE": str(out),
            "ASSAY_PROCESS_TIMEOUT": "200",
            **variables,
        }
        self.started = [
            subprocess.Popen(
                [sys.executable, str(tests / "sharded_runs.py"), str(out), json.dumps(jobs)],
                env={**base, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(n)
        ]

    def __enter__(self) -> Launch:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self.started:
            one.kill()
            one.communicate()

    def ended(self) -> list[tuple[int, str]]:
        """The exit codes, and what was said."""
        said = [one.communicate(timeout=500)[1] for one in self.started]
        return [(one.returncode, text) for one, text in zip(self.started, said, strict=True)]

    def well(self) -> None:
        """All have ended without an error."""
        for code, said in self.ended():
            assert code == 0, said[-3000:]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def readings(folder: Path) -> Any:
    return json.loads(json.dumps(timeless(Run.open(folder).readings())))


def same(a: Path, b: Path, *, exact: bool = False) -> None:
    """Two runs have the same readings; in float64 the same last weights, too. Of float32 Adam turns
    the rounding of a gradient near 0 into a step.
    """
    near = 1e-9 if exact else 1e-5
    first, second = readings(a), readings(b)
    assert differences(first, second, near) == [] and first[-2]["kl"] > 1e-3
    weights = [load_file(r / Run.open(r).record.result["last"]["file"]) for r in (a, b)]
    assert [t.shape for t in weights[0].values()] == [t.shape for t in weights[1].values()]
    for one, other in zip(*(w.values() for w in weights), strict=True):
        assert not exact or torch.allclose(one, other, atol=near, rtol=near)


def test_two_processes_with_half_of_the_weights_are_one(
    given: dict[str, str], tmp_path: Path
) -> None:
    """GRPO on all weights, its micro-batches uneven; DPO on adapters; a divided reward model."""
    runs: dict[str, tuple[str, list[str], dict[str, str]]] = {
        "grpo": ("grpo", ["--fsdp-gather", "layer", "--micro-batch-size", "4"], {}),
        "dpo": ("dpo", [*LORA, "--checkpointing", *EXACT], {}),
        "judged": ("grpo", ["--max-steps", "2"], {"judge": given["judge"], "gold": given["judge"]}),
    }

    def words(k: str, processes: int) -> list[str]:
        kind, more, judges = runs[k]
        return words_of(given, kind, tmp_path / f"{k}-{processes}", *more, **judges)

    jobs: dict[str, Any] = {k: [*words(k, 2), "--fsdp"] for k in runs}
    jobs["held"] = {"policy": given["llama"], "prompts": f"{given['home']}/asks.jsonl"}
    with Launch(tmp_path, jobs) as launch:
        for k in runs:
            assert cli.main(["run", *words(k, 1)]) == 0
        launch.well()
    for k in runs:
        same(tmp_path / f"{k}-1", tmp_path / f"{k}-2", exact=k == "dpo")
    a, b = (json.loads((tmp_path / f"held-{r}.json").read_text()) for r in range(2))
    assert a["mine"] + b["mine"] == a["all"] and abs(a["mine"] - b["mine"]) < 0.02 * a["all"]
    assert a["of_reference"] == a["mine"] and all(a["divided"]) and a["apart"] == 0.0
    assert a["logp"] == b["logp"] and a["shapes"].keys() == b["shapes"].keys()


def test_a_process_that_is_killed_ends_the_others_and_one_goes_on_alone(
    given: dict[str, str], tmp_path: Path
) -> None:
    """The state of two processes, Adam's moments included, is loaded by one."""
    saving = "--save-steps", "1"
    whole, cut = (words_of(given, "grpo", tmp_path / k, *EXACT, *saving) for k in "ab")
    with Launch(tmp_path, {"cut": [*cut, "--fsdp"]}, TEST_DIES_AT="6") as launch:
        assert cli.main(["run", *whole]) == 0
        (code, said), (killed, _) = launch.ended()
    assert killed == -signal.SIGKILL and code == 1
    assert "another process of this launch has ended" in said and "--resume" in said
    assert 0 < len(readings(tmp_path / "b")) < len(readings(tmp_path / "a"))
    assert cli.main(["run", "--resume", "--out", str(tmp_path / "b")]) == 0
    same(tmp_path / "a", tmp_path / "b", exact=True)


@pytest.mark.full
@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 2), (2, 3)])
def test_a_run_goes_on_with_any_number_of_processes(
    given: dict[str, str], tmp_path: Path, first: int, then: int
) -> None:
    """Interrupted in any number of processes, it ends as the run that nothing stopped."""
    saving = "--save-steps", "1"
    whole, cut = (words_of(given, "dpo", tmp_path / k, *EXACT, *saving) for k in "ab")
    assert cli.main(["run", *whole]) == 0
    with Launch(
        tmp_path, {"cut": [*cut, "--fsdp"]}, first, TEST_DIES_AT="3", TEST_DIES_IN=str(first - 1)
    ) as launch:
        assert launch.ended()[-1][0] == -signal.SIGKILL
    assert 0 < len(readings(tmp_path / "b")) < len(readings(tmp_path / "a"))
    again = ["--resume", "--out", str(tmp_path / "b")]
    with Launch(tmp_path, {"again": again}, then) as launch:
        launch.well()
    same(tmp_path / "a", tmp_path / "b", exact=True)


@pytest.mark.full
def test_an_export_is_that_of_one_process(given: dict[str, str], tmp_path: Path) -> None:
    words = [words_of(given, "dpo", tmp_path / k, *EXACT) for k in "ab"]
    with Launch(tmp_path, {"b": [*words[1], "--fsdp"]}) as launch:
        assert cli.main(["run", *words[0]]) == 0
        launch.well()
    for k in "ab":
        out = ["--out", str(tmp_path / f"{k}-model"), "--last"]
        assert cli.main(["export", str(tmp_path / k), *out]) == 0
    files = [sorted(p.name for p in (tmp_path / f"{k}-model").iterdir()) for k in "ab"]
    weights = [load_file(tmp_path / f"{k}-model" / "model.safetensors") for k in "ab"]
    assert files[0] == files[1] and weights[0].keys() == weights[1].keys()
    for name, t in weights[0].items():
        assert torch.allclose(t, weights[1][name], atol=1e-9, rtol=1e-9)
