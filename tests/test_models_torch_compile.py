"""Layers by torch.compile: values and gradients of the plain ones; what they cost is said."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from families import exact, model, tokenizer
from test_adapters_configurations import LLAMA, files, ran

from assay import cli
from assay.core import Rng
from assay.engine.compiling import check_compiles, compiling_cost
from assay.errors import InputError, Missing
from assay.models.backbones.pretrained import Pretrained
from assay.models.policies.causal import Causal
from assay.models.tokenizer import Tokens
from assay.records.runs import Run
from assay.worlds.device import check_torch_compile

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"),
    # the compiler looks at every attribute of a tensor, and at what was deprecated
    pytest.mark.filterwarnings("ignore"),
]


@pytest.mark.full
@pytest.mark.parametrize(
    ("family", "checkpointing"),
    [("llama", False), ("gpt2", True), ("gemma3_text", True), ("qwen3", False), ("gemma2", False)],
)
def test_values_and_gradients_are_those_of_the_plain_layers(
    family: str, checkpointing: bool
) -> None:
    """In packed groups and in rows, of two batches of other sizes, whatever is compiled before."""
    dtype, near = exact(family)
    if family != "gpt2":  # norms of the other families round to float32, here and there
        near = 3e-5
    tokens = tokenizer()
    found = []
    for compiled in (False, True):
        made = model(family, vocabulary=len(tokens), dtype=dtype)
        body = Pretrained(made, checkpointing=checkpointing, compiled=compiled)
        policy = Causal(body, Tokens(tokens, size=len(tokens)), max_tokens=8)
        values = []
        for asks in (["the old mill"], ["a gate and a pond", "please tell me about the weather"]):
            x = policy.sample(policy.vocabulary.prompts(asks), 3, Rng(1))
            for why in ("", "to compare"):
                body.plain_because = why
                values += [policy.logp(x), policy.logp(x).detach()]
        sum(v.square().sum() for v in values).backward()  # type: ignore[union-attr]
        with torch.no_grad():
            values.append(policy.logp(x))
        grads = [p.grad for p in made.parameters() if p.grad is not None]
        found.append([v.detach() for v in values] + grads)
    assert compiling_cost()["compile/graphs"] > 0 and len(found[0]) > 20
    for plain, fast in zip(*found, strict=True):
        assert (plain - fast).abs().max() <= near * max(1.0, float(plain.abs().max()))


@pytest.mark.full
def test_two_adapters_are_switched_under_compiled_layers() -> None:
    """The other one is on when the first one's backward pass computes its layers again."""
    peft = pytest.importorskip("peft", reason="the lora extra is not installed")
    from assay.models.backbones.adapters import Adapted, Base

    tokens, found = tokenizer(), []
    for compiled in (False, True):
        base = Base(
            model("llama", vocabulary=len(tokens)),
            peft.LoraConfig(r=4, target_modules="all-linear"),
            Rng(3),
            checkpointing=True,
            compiled=compiled,
        )
        policy = Causal(Adapted(base), Tokens(tokens, size=len(tokens)), max_tokens=8).frozen()
        x = policy.sample(policy.vocabulary.prompts(["the old mill", "a gate"]), 3, Rng(1))
        both = [policy.copy(), policy.copy()]
        with torch.no_grad():
            for k, one in enumerate(both):
                for i, p in enumerate(one.parameters()):
                    p.add_(0.1 * Rng(k)("move", i).normal(torch.arange(p.numel())).view_as(p))
        values = [one.logp(x) for one in both]
        sum(v.square().sum() for v in values).backward()  # type: ignore[union-attr]
        with torch.no_grad():
            values.append(policy.logp(x))
        found.append(
            [v.detach() for v in values] + [p.grad for one in both for p in one.parameters()]
        )
    assert compiling_cost()["compile/seconds"] > 0
    for plain, fast in zip(*found, strict=True):
        assert (plain - fast).abs().max() < 2e-4 * max(1.0, float(plain.abs().max()))
    assert (found[1][0] - found[1][1]).abs().max() > 1e-3


@pytest.mark.full
def test_a_second_batch_is_not_compiled_again() -> None:
    tokens = tokenizer()
    body = Pretrained(model("llama", vocabulary=len(tokens)), compiled=True)
    policy = Causal(body, Tokens(tokens, size=len(tokens)), max_tokens=8)
    compiling_cost()
    graphs = []
    for asks, n in ((["the old mill", "a gate"], 3), (["it rains"] * 3, 4), (["a pond"] * 5, 2)):
        policy.logp(policy.sample(policy.vocabulary.prompts(asks), n, Rng(n))).sum().backward()
        graphs.append(compiling_cost().get("compile/graphs", 0.0))
    assert graphs[1:] == [0.0, 0.0]


@pytest.mark.full
def test_a_run_says_what_compiling_took_and_goes_on_where_it_was_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft", reason="the lora extra is not installed")
    given = files(tmp_path, "llama", LLAMA, tied=True)
    whole = Run.open(ran(given, tmp_path / "whole", "--torch-compile", steps=3)).readings()
    assert sum(r["stats"].get("compile/seconds", 0.0) for r in whole) > 0
    plain = Run.open(ran(given, tmp_path / "plain", steps=3)).readings()
    assert whole[-1]["kl"] == pytest.approx(plain[-1]["kl"], rel=1e-3)
    assert not any("compile/seconds" in r["stats"] for r in plain)
    real, cut = Run.append, tmp_path / "cut"

    def stops(self: Run, reading: Any) -> None:
        real(self, reading)
        if reading["step"] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "append", stops)
        ran(given, cut, "--torch-compile", steps=3, code=130)
    assert cli.main(["run", "--resume", "--out", str(cut)]) == 0

    def timeless(readings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {k: v for k, v in r.items() if k not in ("seconds", "stats")}
            | {k: v for k, v in r["stats"].items() if not k.startswith("compile/")}
            for r in readings
        ]

    assert timeless(Run.open(cut).readings()) == timeless(whole)


def test_what_was_never_tried_or_does_not_work_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu = torch.device("cpu")
    for bits, divided, flag in ((4, False, "--bits"), (0, True, "--fsdp")):
        with pytest.raises(InputError, match=f"--torch-compile and {flag} were never tried"):
            check_torch_compile(True, bits, cpu, divided=divided)
        check_torch_compile(False, bits, cpu, divided=divided)
    check_compiles(cpu)

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no C++ compiler\nat all")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(Missing, match=r"no C\+\+ compiler at all\).*leave --torch-compile out"):
        check_torch_compile(True, 0, cpu, divided=False)
