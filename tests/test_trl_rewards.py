"""Reward stacks as TRL calls them: aggregates and shapes by their formulas, groups by prompt, None,
messages, two processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from test_watch_trl import PROMPTS, tiny, tokenizer

from assay.errors import InputError
from assay.formulas import aggregate, shaping
from assay.interop.trl import reward_function
from assay.rewards.load import open_reward

PROMPT = ["p"] * 3 + ["q"] * 2
SAID = ["a b c", "a b", "a b c d", "a", ""]
USER = [{"role": "user", "content": "p"}]


def long(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    return [float(len(c.split())) for c in completions]


def offset(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    """Twice the length, and a constant a prompt that means nothing."""
    return [
        2.0 * len(c.split()) + (100 if p == "p" else 0)
        for p, c in zip(prompts, completions, strict=True)
    ]


def some(completions: list[str], prompts: list[str], ok: list[bool]) -> list[float | None]:
    return [1.0 if keep else None for keep in ok]


def scores() -> torch.Tensor:
    return torch.tensor([long(PROMPT, SAID), offset(PROMPT, SAID)], dtype=torch.float64)


def test_an_open_reward_is_taken_as_it_is_and_reads_the_columns() -> None:
    reward = reward_function(open_reward("match:answer", "rewards"))
    assert reward(["p", "q"], ["four", "five"], answer=["four", "six"]) == [1.0, 0.0]
    assert reward.__name__ == "match answer"


@pytest.mark.parametrize(
    ("words", "formula"),
    [
        ("mean", aggregate.mean),
        ("worst", aggregate.worst),
        ("quantile:0.25", lambda r: aggregate.quantile(r, q=0.25)),
        ("uncertainty:0.5", lambda r: aggregate.uncertainty_weighted(r, lam=0.5)),
    ],
)
@pytest.mark.parametrize("centre", [False, True])
def test_aggregates(words: str, formula: Any, centre: bool) -> None:
    given = scores()
    if centre:
        given = torch.cat(
            [part - part.mean(1, keepdim=True) for part in (given[:, :3], given[:, 3:])], 1
        )
    found = reward_function(long, offset, aggregate=words, centre=centre)(
        prompts=PROMPT, completions=SAID
    )
    assert found == pytest.approx(formula(given[:, None])[0].tolist())


def test_a_shape_compares_with_the_prompt_s_other_answers_or_with_a_column() -> None:
    par = reward_function(long, shape="par", references="group")
    mixed = [0, 3, 1, 4, 2]  # not one prompt after another: groups are the prompts'
    found = par(prompts=[PROMPT[i] for i in mixed], completions=[SAID[i] for i in mixed])
    s = torch.sigmoid
    of = dict(zip(mixed, found, strict=True))
    assert of[0] == pytest.approx(float((s(torch.tensor(1.0)) + s(torch.tensor(-1.0))) / 2))
    assert of[3] == pytest.approx(float(s(torch.tensor(1.0)))) and of[4] == pytest.approx(
        float(s(torch.tensor(-1.0)))
    )
    refs = [["a", "a b"]] * 3 + [["a b c"]] * 2
    by_text = reward_function(long, shape="par", references="drafts")(
        prompts=PROMPT, completions=SAID, drafts=refs
    )
    by_score = reward_function(long, shape="par", references="drafts")(
        prompts=PROMPT, completions=SAID, drafts=[[1.0, 2.0]] * 3 + [[3.0]] * 2
    )
    expected = shaping.preference(
        scores()[:1, :3], torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    )[0].tolist()
    assert by_text[:3] == pytest.approx(expected) and by_score == pytest.approx(by_text)
    centred = reward_function(long, offset, shape="centre", centre=True, references="drafts")
    assert centred(prompts=PROMPT, completions=SAID, drafts=refs)[0] == pytest.approx(
        (1.5 + 3.0) / 2
    )


def test_references_are_scored_once_a_prompt() -> None:
    asked: list[str] = []

    def counted(prompts: list[str], completions: list[str]) -> list[float]:
        asked.extend(completions)
        return [0.0] * len(completions)

    stack = reward_function(counted, shape="par", references="drafts")
    for _ in range(3):
        stack(prompts=["p", "p"], completions=["x", "y"], drafts=[["one", "two"]] * 2)
    assert asked.count("one") == 1 and asked.count("x") == 3


def test_none_passes_through_and_has_no_say() -> None:
    stack = reward_function(long, some, centre=True)
    found = stack(
        prompts=PROMPT,
        completions=SAID,
        ok=[True, True, False, True, False],
        trainer_state=object(),
    )
    assert found == [
        pytest.approx(0.0),
        pytest.approx(-0.5),
        None,
        pytest.approx(0.5 * (1 - 0.5)),
        None,
    ]
    alone = reward_function(some, shape="par", references="group")
    assert alone(prompts=PROMPT, completions=SAID, ok=[True, False, False, True, True]) == [
        None,
        None,
        None,
        0.5,
        0.5,
    ]


def test_conversations_reach_the_judge_as_messages_and_are_grouped() -> None:
    seen: list[Any] = []

    def judge(prompts: list[Any], completions: list[Any]) -> list[float]:
        seen.append((prompts, completions))
        return [float(len(c[0]["content"])) for c in completions]

    said = [[{"role": "assistant", "content": "abc"}], [{"role": "assistant", "content": "a"}]]
    other = [{"role": "system", "content": "s"}, *USER]
    found = reward_function(judge, centre=True)(prompts=[USER, other], completions=said)
    assert found == [0.0, 0.0], "the system's word makes it another prompt"
    assert seen[0] == ([USER, other], said)
    tools = [
        {"role": "assistant", "content": None},
        {"role": "tool", "content": "42"},
        {"role": "assistant", "content": "so 42"},
    ]
    assert reward_function(judge)(prompts=[USER], completions=[tools]) == [5.0]


def test_names_and_logs() -> None:
    logged: dict[str, float] = {}
    stack = reward_function(long, offset, aggregate="uncertainty:0.5", shape="tanh", slope=0.1)
    assert stack.__name__ == "uncertainty_0.5_tanh" and reward_function(long).__name__ == "long"
    assert reward_function(long, name="mine").__name__ == "mine"
    stack(prompts=PROMPT, completions=SAID, log_metric=logged.__setitem__)
    assert logged["uncertainty_0.5_tanh/spread"] == pytest.approx(
        float(scores().std(0, correction=0).mean())
    )
    assert set(logged) == {"uncertainty_0.5_tanh/spread", "uncertainty_0.5_tanh/raw"}


def test_a_list_of_rewards_counts_as_its_members() -> None:
    said = {"prompts": ["p", "p"], "completions": ["a", "four"]}
    assert reward_function([long, long])(**said) == reward_function(long, long)(**said)


def test_what_cannot_be_is_said() -> None:
    for arguments, said in (
        ({"shape": "par"}, "compares with references: give references="),
        ({"shape": "paar"}, "it is one of"),
        ({"references": "group"}, "compares with nothing"),
        ({"aggregate": "best"}, "--aggregate is 'best'"),
    ):
        with pytest.raises(InputError, match=said):
            reward_function(long, **arguments)
    for nothing in ((), ([],)):
        with pytest.raises(InputError, match="needs a reward"):
            reward_function(*nothing)
    with pytest.raises(InputError, match="column 'drafts', and the data have ok: add it"):
        reward_function(long, shape="par", references="drafts")(
            prompts=["p"], completions=["a"], ok=[True]
        )
    with pytest.raises(InputError, match="it must be a list of completions"):
        reward_function(long, shape="par", references="drafts")(
            prompts=["p"], completions=["a"], drafts=["text"]
        )


TWO = """
import json, sys
import torch.distributed as dist
from assay.interop.stack import reward_function
def long(prompts, completions, **columns):
    return [float(len(c.split())) for c in completions]
def offset(prompts, completions, **columns):
    return [2.0 * len(c.split()) + (100 if p == "p" else 0) for p, c in zip(prompts, completions)]
rank, at, prompts, said = json.loads(sys.argv[1])
dist.init_process_group("gloo", init_method="file://" + at, rank=rank, world_size=2)
mine = slice(0, 2) if rank == 0 else slice(2, 5)  # a prompt's answers are torn apart
for stack in (reward_function(long, offset, aggregate="worst", centre=True),
              reward_function(long, shape="par", references="group")):
    print(json.dumps(stack(prompts=prompts[mine], completions=said[mine])), flush=True)
dist.barrier()
dist.destroy_process_group()
"""


def test_a_group_that_two_processes_share_is_one_group(tmp_path: Path) -> None:
    both = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, json.dumps([r, str(tmp_path / "meet"), PROMPT, SAID])],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for r in (0, 1)
    ]
    said = [p.communicate(timeout=170) for p in both]
    assert [p.returncode for p in both] == [0, 0], said[0][1] + said[1][1]
    for k, stack in enumerate(
        (
            reward_function(long, offset, aggregate="worst", centre=True),
            reward_function(long, shape="par", references="group"),
        )
    ):
        parts = [json.loads(out.strip().splitlines()[k]) for out, _ in said]
        assert parts[0] + parts[1] == pytest.approx(stack(prompts=PROMPT, completions=SAID))


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("trainer", ["GRPO", "RLOO"])
def test_inside_trl(tmp_path: Path, trainer: str) -> None:
    """TRL takes it, logs it by its name with its raw mean and spread, and the reward that is
    optimised rises.
    """
    trl = pytest.importorskip("trl", reason="TRL is not installed here")
    datasets = pytest.importorskip("datasets")

    def goods(completions: list[str], **_: Any) -> list[float]:
        return [float(c.count("good")) for c in completions]

    def goods_too(completions: list[str], **_: Any) -> list[float]:
        return [c.count("good") + 0.1 * c.count("bad") for c in completions]

    stack = reward_function(
        goods, goods_too, aggregate="uncertainty:0.5", centre=True, shape="par", references="group"
    )
    args = getattr(trl, f"{trainer}Config")(
        output_dir=str(tmp_path),
        per_device_train_batch_size=16,
        num_generations=8,
        max_steps=8,
        max_completion_length=6,
        learning_rate=2e-2,
        logging_steps=1,
        report_to="none",
        use_cpu=True,
        save_strategy="no",
        beta=0.0,
        seed=0,
        disable_tqdm=True,
    )
    run = getattr(trl, f"{trainer}Trainer")(
        model=tiny(),
        reward_funcs=stack,
        args=args,
        processing_class=tokenizer(),
        train_dataset=datasets.Dataset.from_dict({"prompt": PROMPTS[:64]}),
    )
    run.train()
    lines = [h for h in run.state.log_history if "reward" in h]
    name = "uncertainty_0.5_par"
    assert (
        f"rewards/{name}/mean" in lines[0]
        and f"{name}/raw" in lines[0]
        and f"{name}/spread" in lines[0]
    )
    assert all(abs(h["reward"] - 0.5) < 1e-6 for h in lines), (
        "against its own group every batch is at one half on average"
    )
    assert all(h["reward_std"] > 0 for h in lines[:3])
