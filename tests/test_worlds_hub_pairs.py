"""World hub with people's comparisons and demonstrations: offline recipes on a real model, and what
they are trained on.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from families import checkpoint, tokenizer
from test_worlds_hub import ASKS, JUDGES

from assay import cli
from assay.core import InputError, Loop, Pairs, World
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.loops import proxy_score
from assay.models.tokenizer import Tokens
from assay.recipes import dpo, sft
from assay.records.runs import Run
from assay.worlds import hub
from assay.worlds.chat_template import end_tokens

EXTRA = "what is the weather?"  # a prompt that only the pairs have


def rows(asks: list[str]) -> list[dict[str, Any]]:
    return [
        {"prompt": a, "chosen": "we walk home", "rejected": f"it rains {i}", "want": "e", "p": 0.9}
        for i, a in enumerate(asks)
    ]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    def lines(name: str, many: list[dict[str, Any]]) -> str:
        (tmp_path / name).write_text("\n".join(json.dumps(r) for r in many), encoding="utf-8")
        return str(tmp_path / name)

    (tmp_path / "judges.py").write_text(JUDGES, encoding="utf-8")
    talk = [
        {
            "messages": [
                {"role": "user", "content": a},
                {"role": "assistant", "content": "a day by the river"},
            ]
        }
        for a in ASKS
    ]
    return {
        "policy": str(checkpoint(tmp_path / "model", "llama")),
        "judges": str(tmp_path / "judges.py"),
        "prompts": lines("asks.jsonl", [{"prompt": a, "want": "x"} for a in ASKS]),
        "pairs": lines("pairs.jsonl", rows([*ASKS, EXTRA])),
        "demos": lines("demos.jsonl", talk),
    }


def small(files: dict[str, str], **more: Any) -> World:
    return hub.world(
        **{
            "policy": files["policy"],
            "prompts": files["prompts"],
            "pairs": files["pairs"],
            "held_out": 4,
            "max_tokens": 24,
            "rewards": (f"{files['judges']}:target",),
            **more,
        }
    )


def texts(x: Any) -> list[list[str]]:
    return [list(ts) for ts in x.text()]


def test_pairs_are_the_templates_prompt_and_the_answers_own_tokens_with_their_end(
    files: dict[str, str],
) -> None:
    made = small(files)
    pairs: Pairs = made.task.pairs
    held = {ASKS[r] for r in made.held_out.row.tolist()}
    kept = [r for r in rows([*ASKS, EXTRA]) if r["prompt"] not in held]
    assert (
        texts(pairs) == [[r["chosen"], r["rejected"]] for r in kept]
        and len(pairs) == len(ASKS) - 4 + 1
    )
    assert (
        (pairs.p == pytest.approx(0.9))
        and bool((pairs.margin == 0).all())
        and bool(pairs.ended.all())
    )
    asked = [
        tokenizer().decode(t[m])
        for t, m in zip(pairs.prompts.tokens, pairs.prompts.mask, strict=True)
    ]
    assert asked == [f"<s><|user|>{r['prompt']}<|end|><|assistant|>" for r in kept]
    ends = pairs.action.gather(2, pairs.lengths[..., None] - 1)
    assert bool((ends == tokenizer().eos_token_id).all()), (
        "an answer closes with the token that ends one"
    )
    assert torch.isnan(pairs.logp[pairs.mask]).all()


def test_a_judge_reads_a_pair_s_own_row(files: dict[str, str]) -> None:
    """A prompt of both files has the prompts' columns, another one the pairs' own."""
    made = small(files)
    score = proxy_score(made.task)(
        made.task.pairs
    )  # 1 where the wanted letter is in the answer: "x", but "e" for the pairs' prompt
    last = made.task.pairs.prompts.row[-1]
    assert (
        int(last) == len(ASKS)
        and score[-1].tolist() == [1.0, 0.0]
        and bool((score[:-1] == 0).all())
    )


def test_held_out_prompts_and_what_has_no_room_are_left_out_and_counted(
    files: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    long = [
        *rows(ASKS),
        {"prompt": "a " * 90, "chosen": "a", "rejected": "b", "p": 1.0},
        {"prompt": "short", "chosen": "word " * 30, "rejected": "b", "p": 1.0},
    ]
    (tmp_path / "long.jsonl").write_text("\n".join(json.dumps(r) for r in long), encoding="utf-8")
    with caplog.at_level(logging.WARNING, logger="assay"):
        made = small(files, pairs=str(tmp_path / "long.jsonl"), max_prompt=60)
    assert len(made.task.pairs) == len(ASKS) - 4
    assert (
        "left out: 4 of held-out prompts, 1 with a prompt of more than 60 tokens, 1 with a "
        "completion of more than 24 tokens" in caplog.text
    )
    with pytest.raises(
        InputError, match=r"22 pairs, and none can be used \(4 of held-out prompts, 1 with a prompt"
    ):
        small(files, pairs=str(tmp_path / "long.jsonl"), max_prompt=60, max_tokens=2)


def test_without_a_prompts_file_the_pairs_prompts_are_asked(files: dict[str, str]) -> None:
    made = small(files, prompts="")
    asked = {*made.task.prompts.row.tolist(), *made.held_out.row.tolist()}
    assert asked == set(range(len(ASKS) + 1)) and len(made.task.pairs) == len(ASKS) + 1 - 4
    assert not set(made.task.pairs.prompts.row.tolist()) & set(made.held_out.row.tolist())
    with pytest.raises(InputError, match=r"--prompts is required"):
        small(files, prompts="", pairs="")


def test_a_prompt_that_stands_twice_is_on_one_side(files: dict[str, str], tmp_path: Path) -> None:
    twice = tmp_path / "twice.jsonl"
    twice.write_text("\n".join(json.dumps({"prompt": a}) for a in ASKS + ASKS), encoding="utf-8")
    made = small(
        files, prompts=str(twice), pairs="", held_out=8, rewards=(f"{files['judges']}:words",)
    )
    unseen, seen = (
        {(ASKS + ASKS)[r] for r in x.row.tolist()} for x in (made.held_out, made.task.prompts)
    )
    assert unseen and seen and not unseen & seen


def test_columns_are_renamed_in_the_file_that_has_them(
    files: dict[str, str], tmp_path: Path
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(
        "\n".join(
            json.dumps({"q": r["prompt"], "good": r["chosen"], "bad": r["rejected"]})
            for r in rows(ASKS)
        )
    )
    names = {"chosen": "good", "rejected": "bad"}
    made = small(files, pairs=str(other), columns={**names, "prompt": "q"})
    assert texts(made.task.pairs)[0][0] == "we walk home"
    with pytest.raises(
        InputError,
        match=r"--columns p=chance: there is no such column in .*asks.jsonl or .*other.jsonl",
    ):
        small(files, pairs=str(other), columns={**names, "prompt": "q", "p": "chance"})


def test_an_answer_closes_as_the_template_closes_it() -> None:
    tokens = tokenizer()
    eos, end = tokens.eos_token_id, tokens.convert_tokens_to_ids("<|end|>")
    assert end_tokens(tokens, [eos, end], chat=True) == [end, eos] and end_tokens(
        tokens, [eos, end], chat=False
    ) == [eos, end]
    assert end_tokens(tokens, [eos], chat=True) == [eos]
    vocabulary = Tokens(tokens, size=len(tokens), ends=end_tokens(tokens, [eos, end], chat=True))
    x = vocabulary.completions(vocabulary.prompts(["a"]), [["we walk"]])
    assert int(x.action[0, 0, -1]) == end


@pytest.mark.parametrize("recipe", ["dpo", "sft"])
def test_killed_and_resumed_it_is_the_same_run(
    files: dict[str, str], tmp_path: Path, recipe: str
) -> None:
    loop = Loop(max_steps=3, batch_size=5, num_generations=2, learning_rate=1e-3)
    function, more = {"dpo": (dpo.recipe, {}), "sft": (sft.recipe, {"imitate": "demos"})}[recipe]

    def run(folder: Run, resume: bool = False) -> Any:
        made = small(files, demos=files["demos"], gold=f"{files['judges']}:words")
        return measure(
            function,
            made,
            loop=loop,
            arguments=more,
            config=MeasureConfig(eval_steps=1, save_steps=1, eval_generations=1),
            run=folder,
            resume=resume,
        )

    whole = list(run(Run.create(tmp_path / "whole", {})))
    cut = run(Run.create(tmp_path / "cut", {}))
    for _ in range(3):
        next(cut)
    cut.close()
    list(run(Run.open(tmp_path / "cut"), resume=True))

    def timeless(name: str) -> list[dict[str, Any]]:
        return [
            {k: v for k, v in r.items() if k != "seconds"}
            for r in Run.open(tmp_path / name).readings()
        ]

    assert timeless("cut") == timeless("whole") and len(whole) == 5 and whole[-2]["kl"] > 1e-4
    assert whole[-2]["stats"]["loss"] < whole[1]["stats"]["loss"], "it learns what it is shown"


def test_dpo_on_the_command_line(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        "--world",
        "hub",
        "--world.policy",
        files["policy"],
        "--world.pairs",
        files["pairs"],
        "--held-out",
        "4",
        "--max-tokens",
        "24",
        "--max-steps",
        "2",
        "--batch-size",
        "3",
        "--eval-generations",
        "2",
        "--eval-steps",
        "2",
    ]
    assert cli.main(["run", "dpo", *flags, "--out", str(tmp_path / "run")]) == 0
    run = Run.open(tmp_path / "run")
    assert (
        files["pairs"] in run.about["inputs"]
        and "rewards/accuracies" in run.readings()[-1]["stats"]
    )
    capsys.readouterr()
    sft_ = ["run", "sft", "--imitate", "demos", *flags, "--out", str(tmp_path / "no")]
    assert cli.main(sft_) == 2
    assert "pass --demos" in capsys.readouterr().err


def test_sft_on_the_command_line_imitates_a_file_of_demonstrations(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--demos takes a file, and no pairs are needed with it."""
    flags = ["--model", files["policy"], "--held-out", "2", "--max-tokens", "24", "--max-steps"]
    flags += ["1", "--batch-size", "2", "--eval-generations", "2", "--eval-steps", "1"]
    out = tmp_path / "run"
    assert cli.main(["run", "sft", "--demos", files["demos"], *flags, "--out", str(out)]) == 0
    assert Run.open(out).about["world"]["demos"] == files["demos"]
    capsys.readouterr()
    assert cli.main(["run", "sft", *flags, "--out", str(tmp_path / "no")]) == 2
    assert "--pairs or --demos is required" in capsys.readouterr().err


def test_a_file_with_faults_is_refused_or_its_rows_are_left_out_and_told(
    files: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    path = Path(files["pairs"])
    faulty = {"prompt": "half \ud83d", "chosen": "a day", "rejected": "a road", "p": 0.9}
    path.write_text(path.read_text(encoding="utf-8") + "\n" + json.dumps(faulty), encoding="utf-8")
    with pytest.raises(InputError, match=r"half of a surrogate pair.*--drop"):
        small(files)
    with caplog.at_level(logging.WARNING, "assay"):
        kept = small(files, drop=True)
    assert len(kept.task.pairs) + 4 <= len(ASKS) + 1
    told = "\n".join(r.getMessage() for r in caplog.records)
    assert f"line {len(ASKS) + 2}, column 'prompt': character 6 is half" in told
    assert "pairs.jsonl: for reward functions alone: column 'want'" in told
