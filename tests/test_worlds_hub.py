"""World hub: recipes unchanged on transformers' models, judges through text, prompts and columns
from a file.
"""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from families import checkpoint, tokenizer

from assay import cli
from assay.core import InputError, Samples, World
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.recipes import leave_one_out, uncertainty_weighted
from assay.records.runs import Run
from assay.worlds import hub

THINGS = ("mill", "gate", "pond", "river", "day")
ASKS = [f"please tell me about the {a} {b}" for a in ("old", "new", "grey", "wet") for b in THINGS]
JUDGES = """
import asyncio
def words(prompts, completions, **columns):
    return [float(len(c.split())) for c in completions]
def target(prompts, completions, want, **columns):
    return [float(w in c) if w else None for c, w in zip(completions, want)]
async def slow(prompts, completions):
    await asyncio.sleep(0)
    return [float(c.count("e")) for c in completions]
def seen(prompts, completions, **columns):
    SEEN.append((prompts, completions, columns)); return [0.0] * len(prompts)
SEEN = []
def wrong(prompts, completions):
    return [1.0]
def nan(prompts, completions):
    return [float("nan")] * len(prompts)
"""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    rows = [{"prompt": a, "want": "e" if i % 2 else "", "other": i} for i, a in enumerate(ASKS)]
    (tmp_path / "asks.jsonl").write_text("\n".join(json.dumps(r) for r in rows), encoding="utf-8")
    (tmp_path / "judges.py").write_text(JUDGES, encoding="utf-8")
    return {
        "policy": str(checkpoint(tmp_path / "model", "llama")),
        "prompts": str(tmp_path / "asks.jsonl"),
        "judges": str(tmp_path / "judges.py"),
    }


def small(files: dict[str, str], **more: Any) -> World:
    two = (f"{files['judges']}:words", f"{files['judges']}:slow")
    return hub.world(
        **{
            "policy": files["policy"],
            "prompts": files["prompts"],
            "held_out": 4,
            "max_tokens": 8,
            "rewards": two,
            "gold": two[1],
            **more,
        }
    )


def test_a_short_file_holds_out_a_quarter_and_the_record_says_so(
    files: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = small(files, held_out=0)
    assert len(world.held_out) == world.arguments["held_out"] == len(ASKS) // 4
    assert (
        "5 of its 20 prompts are held out, a quarter, where a longer file gives 64" in caplog.text
    )
    words = (
        f"leave_one_out --model {files['policy']} --prompts {files['prompts']} --rewards "
        f"{files['judges']}:words --max-tokens 4 --max-steps 1 --batch-size 2 -n 2"
    ).split()
    out = tmp_path / "run"
    assert cli.main(["run", *words, "--out", str(out)]) == 0
    about = Run.open(out).about
    chosen = (
        about["world"]["held_out"],
        *(about["run"][k] for k in ("eval_steps", "eval_generations")),
    )
    assert chosen == (5, 5, 8)
    again = ["sweep", *words, "--out", str(tmp_path / "sweep")]
    assert cli.main(again) == 0 and cli.main(again) == 0, "what was chosen is no other argument"


@pytest.mark.parametrize(
    ("family", "lora"), [("llama", 0), ("gpt2", 0), ("gpt2", 2), ("gemma2", 4)]
)
def test_a_recipe_runs_and_resumes(
    files: dict[str, str], tmp_path: Path, family: str, lora: int
) -> None:
    """All weights, tied ones among them, or adapters alone: what is saved is enough to go on."""
    if lora:
        pytest.importorskip("peft", reason="the lora extra is not installed")
    loop = leave_one_out.Loop(
        max_steps=4, batch_size=3, num_generations=3, learning_rate=1e-3 if not lora else 3e-2
    )
    files = {**files, "policy": str(checkpoint(tmp_path / family, family))}

    def made() -> World:
        return small(files, lora=lora)

    def run(folder: str) -> Any:
        return measure(
            uncertainty_weighted.recipe,
            made(),
            loop=loop,
            config=MeasureConfig(eval_steps=1, save_steps=2, eval_generations=2),
            run=Run.create(tmp_path / folder, {}),
        )

    whole = list(run("whole"))
    cut = run("cut")
    for _ in range(4):
        next(cut)
    cut.close()
    list(
        measure(
            uncertainty_weighted.recipe,
            made(),
            loop=loop,
            config=MeasureConfig(eval_steps=1, save_steps=2, eval_generations=2),
            run=Run.open(tmp_path / "cut"),
            resume=True,
        )
    )
    assert len(whole) == 6 and whole[-2]["kl"] > 1e-4 and whole[0]["gold"] is not None

    def timeless(name: str) -> list[dict[str, Any]]:
        return [
            {k: v for k, v in r.items() if k != "seconds"}
            for r in Run.open(tmp_path / name).readings()
        ]

    assert timeless("cut") == timeless("whole")


def test_judges_read_what_people_wrote_and_what_was_answered(files: dict[str, str]) -> None:
    """The prompt of the file, not the template's; the answer's text; every column, of the right
    row, whatever the order.
    """
    made = small(files, rewards=(f"{files['judges']}:seen",), gold="")
    from assay.rewards.load import TextRewards

    told = made.task.rewards.reward
    assert isinstance(told, TextRewards)
    x = made.task.reference.sample(
        made.task.prompts[torch.tensor([5, 2])], 2, made.task.rng("look")
    )
    told(x)
    prompts, said, columns = told.rewards[0].function.__globals__["SEEN"][-1]
    rows = x.prompts.row.tolist()
    assert prompts == [ASKS[rows[0]]] * 2 + [ASKS[rows[1]]] * 2 and said == [
        t for ts in x.text() for t in ts
    ]
    assert columns["other"] == [rows[0]] * 2 + [rows[1]] * 2
    assert "<|user|>" in tokenizer().decode(x.prompts.tokens[0][x.prompts.mask[0]]), (
        "the policy saw the chat template"
    )


def test_what_does_not_apply_is_nan_and_a_wrong_return_is_a_sentence(files: dict[str, str]) -> None:
    def x_of(w: World) -> Samples:
        return w.task.reference.sample(w.task.prompts[:6], 2, w.task.rng("look"))

    made = small(files, rewards=(f"{files['judges']}:target",))
    scores = made.task.rewards(x_of(made))
    assert scores.isnan().any() and not scores.isnan().all()
    with pytest.raises(InputError, match="in a trial call, .* returned 1 value for 2 completions"):
        small(files, rewards=(f"{files['judges']}:wrong",))
    with pytest.raises(InputError, match="in a trial call, .* returned nan for completion 0"):
        small(files, rewards=(f"{files['judges']}:nan",))
    for spec, said in (
        (f"{files['judges']}:wrods", "did you mean words"),
        ("nowhere.py:f", "there is no file nowhere.py"),
    ):
        with pytest.raises(InputError, match=said):
            small(files, rewards=(spec,))


def test_where_a_judge_does_not_apply_nothing_is_learnt_and_a_mean_is_over_the_rest(
    files: dict[str, str],
) -> None:
    from assay.evaluation.reading import mean_and_error
    from assay.loops import leave_one_out_advantage, proxy_score

    made = small(files, rewards=(f"{files['judges']}:target",))
    x = made.task.reference.sample(made.task.prompts, 4, made.task.rng("look"))
    raw, filled = made.task.rewards(x)[0], proxy_score(made.task)(x)
    none = raw.isnan().all(1)
    assert none.any() and not none.all() and not filled.isnan().any()
    assert (leave_one_out_advantage(filled, x)[none] == 0).all() and torch.equal(
        filled[~none], raw[~none]
    )
    mean, error = mean_and_error(raw, x.weight)
    assert mean == pytest.approx(float(raw[~none].mean())) and error is not None
    assert mean_and_error(raw[none], x.weight[none]) == (None, None)


def test_truncated_answers_score_what_is_asked(files: dict[str, str]) -> None:
    made = small(files, truncated=-7.0)
    x = made.task.reference.sample(made.task.prompts[:6], 4, made.task.rng("look"))
    scores = made.task.rewards(x)
    cut = x.present & ~x.ended
    assert cut.any() and (scores[:, cut] == -7).all() and (scores[:, x.ended] >= 0).all()


def test_a_task_outlives_its_world_and_the_gold_does_not(files: dict[str, str]) -> None:
    made = small(files)
    task, gold = made.task, weakref.ref(made.gold)
    assert (
        gold() is not None
        and gold()(task.reference.sample(task.prompts[:2], 2, task.rng("look"))).shape[0] == 1
    )
    del made
    gc.collect()
    assert gold() is None
    assert (
        task.rewards(task.reference.sample(task.prompts[:2], 2, task.rng("look"))).isfinite().all()
    )


def test_held_out_prompts_are_no_one_s(files: dict[str, str]) -> None:
    made = small(files)
    assert len(made.held_out) == 4 and not set(made.held_out.row.tolist()) & set(
        made.task.prompts.row.tolist()
    )
    assert sorted(made.held_out.row.tolist() + made.task.prompts.row.tolist()) == list(
        range(len(ASKS))
    )


def test_on_the_command_line(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        "--world",
        "hub",
        "--world.policy",
        files["policy"],
        "--world.prompts",
        files["prompts"],
        "--held-out",
        "4",
        "--world.rewards",
        f"{files['judges']}:words,{files['judges']}:slow",
        "--max-tokens",
        "6",
        "--max-steps",
        "2",
        "--batch-size",
        "2",
        "--num-generations",
        "2",
        "--eval-generations",
        "2",
    ]
    assert cli.main(["run", "uncertainty_weighted", *flags, "--out", str(tmp_path / "run")]) == 0
    readings = Run.open(tmp_path / "run").readings()
    assert (
        readings[0]["gold"] is None
        and len(readings[0]["rewards"]) == 2
        and readings[0]["kl_kind"] == "sampled"
    )
    capsys.readouterr()
    for change, said in (
        (["--world.policy", str(tmp_path)], "was to be a causal language model"),
        (["--max-tokens", "200"], "128 positions"),
        (["--held-out", "99"], "99 are held out"),
    ):
        given = {flags[i]: flags[i + 1] for i in range(0, len(flags), 2)} | {change[0]: change[1]}
        assert (
            cli.main(
                [
                    "run",
                    "leave_one_out",
                    *[w for kv in given.items() for w in kv],
                    "--out",
                    str(tmp_path / "no"),
                ]
            )
            == 2
        )
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert last.startswith("assay: ") and said in last
