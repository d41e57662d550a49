"""A run's policy for plain transformers: the same log-probabilities, adapters merged, a card with
the measured curve.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from families import checkpoint
from test_worlds_hub import files  # noqa: F401  # a fixture

from assay import cli
from assay.engine import checkpoint as disk
from assay.models.as_transformers import pretrained_model, tokenizer_of
from assay.records.best import best, last
from assay.records.export import load_policy
from assay.records.runs import Run


def ran(given: dict[str, str], folder: Path, *more: str) -> Path:
    flags = [
        "--world",
        "hub",
        "--world.policy",
        given["policy"],
        "--world.prompts",
        given["prompts"],
        "--held-out",
        "4",
        "--world.rewards",
        f"{given['judges']}:words",
        "--max-tokens",
        "6",
        "--max-steps",
        "3",
        "--batch-size",
        "3",
        "--num-generations",
        "3",
        "--eval-generations",
        "2",
        "--eval-steps",
        "1",
        "--learning-rate",
        "0.01",
        *more,
    ]
    assert cli.main(["run", "leave_one_out", *flags, "--out", str(folder)]) == 0
    return folder


def theirs(folder: Path, tokens: torch.Tensor) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    with torch.no_grad():
        logits: torch.Tensor = AutoModelForCausalLM.from_pretrained(folder)(input_ids=tokens).logits
    return logits


@pytest.mark.parametrize(("family", "lora"), [("llama", "0"), ("gpt2", "0"), ("qwen2", "3")])
def test_the_exported_model_is_the_policy(
    files: dict[str, str], tmp_path: Path, family: str, lora: str
) -> None:
    if lora != "0":
        pytest.importorskip("peft", reason="the lora extra is not installed")
    given = {**files, "policy": str(checkpoint(tmp_path / family, family))}
    run = ran(given, tmp_path / "run", "--lora", lora)
    assert cli.main(["export", str(run), "--out", str(tmp_path / "out"), "--last"]) == 0
    from assay.worlds import hub

    world = hub.world(
        policy=given["policy"], prompts=given["prompts"], held_out=4, max_tokens=6, lora=int(lora)
    )
    policy: Any = world.task.reference.copy()
    start = policy.sample(policy.vocabulary.prompts(["what is the gate?"]), 4, disk_rng())
    before = policy.logp(start).detach()
    policy.load_state_dict(disk.load(run / str(last(Run.open(run))["file"])))
    mine = policy.logp(start).detach()
    assert (mine - before).abs().max() > 1e-3, "the run moved it"
    from transformers import AutoTokenizer

    assert (
        AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab()
        == policy.vocabulary.tokenizer.get_vocab()
    )
    ask = start.prompts.tokens[0][start.prompts.mask[0]]
    for n in range(4):
        taken = start.action[0, n][start.mask[0, n]]
        logits = theirs(tmp_path / "out", torch.cat([ask, taken])[None])[0, len(ask) - 1 : -1]
        logits[:, list(policy.vocabulary.barred)] = -torch.inf
        assert (
            logits.log_softmax(-1).gather(1, taken[:, None])[:, 0] - mine[0, n][start.mask[0, n]]
        ).abs().max() < 1e-5


def disk_rng() -> Any:
    from assay.core import Rng

    return Rng(5)


def test_the_card_holds_the_curve_and_nothing_is_overwritten(
    files: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = ran(files, tmp_path / "run", "--world.gold", f"{files['judges']}:slow")
    assert cli.main(["export", str(run), "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    top = best(Run.open(run))
    assert top.step == Run.open(run).about["best_step"] and top.chosen_by == "gold"
    told = capsys.readouterr()
    out = told.out.splitlines()
    assert re.search(f"best: +{re.escape(top.name)}: {re.escape(top.reason)}", told.err)
    assert out[-3] == f"{tmp_path / 'out'}: {top.name} of {run}: {top.reason}"
    assert out[-1] == f'load it: AutoModelForCausalLM.from_pretrained("{tmp_path / "out"}")'
    assert (
        "← this model" in text
        and f"# leave\\_one\\_out, step {top.step}" in text
        and "gold (function)" in text
    )
    assert text.startswith("---\nlibrary_name: transformers\n") and '"temperature": 1.0' in text
    capsys.readouterr()
    for words, said in (
        (["export", str(run), "--out", str(tmp_path / "out")], "never overwritten"),
        (
            ["export", str(run), "--out", str(tmp_path / "o"), "--step", "77"],
            "did not keep the policy of step 77; it kept",
        ),
        (
            ["export", str(run), "--out", str(tmp_path / "o"), "--step", "3", "--last"],
            "--step and --last name two policies",
        ),
        (
            ["export", str(run), "--out", str(tmp_path / "o"), "--adapter"],
            "this policy has no adapter",
        ),
        (["export", str(run)], "--out is required: the folder to write"),
        (["export", "--out", "x"], "RUN is required: the folder of one run"),
    ):
        assert cli.main(words) == 2
        assert said in capsys.readouterr().err


def test_a_world_without_language_models_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        cli.main(
            [
                "run",
                "leave_one_out",
                "--world",
                "table",
                "--max-steps",
                "1",
                "--out",
                str(tmp_path / "run"),
            ]
        )
        == 0
    )
    assert (
        cli.main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "out"), "--last"]) == 2
    )
    assert (
        "which transformers cannot load" in capsys.readouterr().err
        and not (tmp_path / "out").exists()
    )


def test_an_adapter_alone_is_exported_and_kept(files: dict[str, str], tmp_path: Path) -> None:
    """peft loads it on the base as the policy that was trained, and the run kept nothing else."""
    peft = pytest.importorskip("peft", reason="the lora extra is not installed")
    from transformers import AutoModelForCausalLM

    from assay.worlds import hub

    given = {**files, "policy": str(checkpoint(tmp_path / "qwen2", "qwen2"))}
    folder, out = ran(given, tmp_path / "run", "--lora", "3"), tmp_path / "out"
    assert cli.main(["export", str(folder), "--out", str(out), "--adapter", "--json"]) == 0
    run = Run.open(folder)
    found = best(run)
    assert found.file is not None
    state = disk.load(found.file)
    assert all("lora" in k for k in state) and not (folder / "carry.safetensors").exists()
    world = hub.world(
        policy=given["policy"], prompts=given["prompts"], held_out=4, max_tokens=6, lora=3
    )
    policy = load_policy(run, world, found)
    base = AutoModelForCausalLM.from_pretrained(given["policy"])
    tokens = torch.tensor([[0, 20, 30, 40, 50]])
    with torch.no_grad():
        plain = base(input_ids=tokens).logits
        loaded = peft.PeftModel.from_pretrained(base, out)
        theirs = loaded(input_ids=tokens).logits
        mine = pretrained_model(policy)(input_ids=tokens).logits
    assert (mine - plain).abs().max() > 1e-3, "the run moved it"
    assert (mine - theirs).abs().max() < 1e-5
    assert tokenizer_of(policy).get_vocab() == tokenizer_of(world.task.reference).get_vocab()


def test_the_model_in_memory_is_a_copy_that_scores_and_samples_as_the_policy(
    files: dict[str, str],
) -> None:
    from assay.worlds import hub

    world = hub.world(
        policy=files["policy"], prompts=files["prompts"], held_out=4, max_tokens=6, temperature=0.7
    )
    policy: Any = world.task.reference.copy()
    model = pretrained_model(policy)
    start = policy.sample(policy.vocabulary.prompts(["what is the gate?"]), 1, disk_rng())
    ask, taken = (
        start.prompts.tokens[0][start.prompts.mask[0]],
        start.action[0, 0][start.mask[0, 0]],
    )
    with torch.no_grad():
        logits = model(input_ids=torch.cat([ask, taken])[None]).logits[0, len(ask) - 1 : -1] / 0.7
    logits[:, list(policy.vocabulary.barred)] = -torch.inf
    theirs = logits.log_softmax(-1).gather(1, taken[:, None])[:, 0]
    assert (theirs - policy.logp(start).detach()[0, 0][start.mask[0, 0]]).abs().max() < 1e-5
    settings = model.generation_config
    assert (settings.temperature, settings.max_new_tokens, settings.top_k) == (0.7, 6, 0)
    assert settings.suppress_tokens == list(policy.vocabulary.barred) != []
    before = policy.logp(start).detach().clone()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert torch.equal(policy.logp(start).detach(), before), "its storage is its own"


def test_tied_weights_are_kept_once_and_rounded_ones_at_half_the_size(
    files: dict[str, str], tmp_path: Path
) -> None:
    given = {**files, "policy": str(checkpoint(tmp_path / "gpt2", "gpt2"))}
    sizes = {}
    for dtype in ("float32", "bfloat16"):
        run = Run.open(ran(given, tmp_path / dtype, "--dtype", dtype))
        file = best(run).file
        assert file is not None and best(run).chosen_by == "last"
        assert [*run.folder.rglob("*.safetensors")] == [file]
        sizes[dtype] = file.stat().st_size
    weights = (Path(given["policy"]) / "model.safetensors").stat().st_size
    assert sizes["float32"] < weights + 12_000, "the head is the embedding, and is there once"
    assert sizes["bfloat16"] < weights / 2 + 12_000


@pytest.mark.parametrize("dtype", ["bfloat16"])
def test_rounded_weights_are_the_same_function(files: dict[str, str], dtype: str) -> None:
    from assay.models.backbones.copies import state_to_keep
    from assay.worlds import hub

    world = hub.world(
        policy=files["policy"], prompts=files["prompts"], held_out=4, max_tokens=6, dtype=dtype
    )
    trained, again = (world.task.reference.copy() for _ in range(2))
    x = trained.sample(world.held_out[:2], 2, disk_rng())
    with torch.no_grad():
        for p in trained.parameters():
            p.add_(0.003 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    again.load_state_dict(state_to_keep(trained))
    assert torch.equal(trained.logp(x), again.logp(x))
