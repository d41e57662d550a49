"""KTO from files of single labelled completions: they teach what unrolled pairs teach, the loss is
TRL's, a killed run resumes to the same policy, and files that cannot teach are refused by name.
"""

from __future__ import annotations

import gc
import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from families import checkpoint
from test_recipes_offline_laws import table, task_of

import assay
from assay import cli
from assay.core import DESIRABLE, Carry, InputError, Loop, Samples, Task
from assay.evaluation.config import MeasureConfig
from assay.evaluation.measure import measure
from assay.recipes import kto, sft
from assay.records.runs import Run
from assay.worlds import hub

THINGS = ("mill", "gate", "pond", "day")
ASKS = [f"please tell me about the {a} {b}" for a in ("old", "new") for b in THINGS]
GOOD, BAD = "the river", "a gate at the pond"
ROWS = [
    {"prompt": a, "completion": c, "label": c == GOOD} for a in ASKS for c in (GOOD, BAD)
]  # TRL's columns
RUN: dict[str, Any] = {
    "max_steps": 4, "batch_size": 12, "max_tokens": 24, "held_out": 2, "learning_rate": 3e-3,
    "eval_steps": 1, "eval_generations": 2, "quiet": True,
}  # fmt: skip


def lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(path)


def unrolled(task: Task) -> Samples:
    """The completions of a task's pairs as rows of their own, each pair's two after one another."""
    x = kto.labelled(task, unpaired=False)
    rows = torch.arange(len(x)).repeat_interleave(2)
    place = torch.arange(2).repeat(len(x))[:, None]
    return x[rows].pick(place)


def single(task: Task, rows: Samples) -> Task:
    return Task(prompts=task.prompts, reference=task.reference, demos=rows, rng=task.rng)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(checkpoint(tmp_path_factory.mktemp("kto") / "model", "llama"))


def last_of(task: Task, rows: int, n: int = 5) -> Any:
    loop = Loop(max_steps=n, batch_size=rows, learning_rate=0.1)
    *_, last = kto.recipe(task.replaced(carry=Carry()), beta=0.5, loop=loop)
    return last


def test_rows_unrolled_from_pairs_teach_what_the_pairs_teach() -> None:
    """With the whole file in a batch: as many pairs a prompt, so that groups move alike."""
    torch.manual_seed(1)  # of a reference at which the point is not clamped
    pairs = task_of(table(R=2), n=24)
    rows = unrolled(pairs)
    assert rows.extra[DESIRABLE][:4, 0].tolist() == [1, 0, 1, 0]
    a, b = last_of(pairs, 24), last_of(single(pairs, rows), 48)
    for name in ("loss", "kto/reference_point", "kto/mismatched"):
        assert b.stats[name] == pytest.approx(a.stats[name], rel=1e-9), name
    assert a.stats["kto/reference_point"] > 0, "the point has to say something"
    torch.testing.assert_close(a.policy.logits, b.policy.logits, rtol=1e-7, atol=1e-9)


def test_labels_the_other_way_round_teach_the_opposite() -> None:
    task = task_of(table(R=4), n=24)
    rows = unrolled(task)
    turned = replace(rows, extra={DESIRABLE: 1 - rows.extra[DESIRABLE]})
    good = rows[rows.extra[DESIRABLE][:, 0] > 0.5]
    gain = [
        float((last_of(single(task, x), 48).policy.logp(good) - good.logp).sum().detach())
        for x in (rows, turned)
    ]
    assert gain[0] > 0 > gain[1]


def test_the_loss_is_trls_where_two_rows_exchange_their_completions() -> None:
    """TRL gives each row of a batch its neighbour's completion for the KL; two rows have one each,
    so that its order and ours are the same. λ differ, and there is one row of each kind.
    """
    task = task_of(table(R=2), n=2)
    rows = unrolled(task)[torch.tensor([0, 3])]  # a desirable one, and another prompt's undesirable
    loop = Loop(max_steps=3, batch_size=2, learning_rate=0.3)
    weights = {"desirable_weight": 1.25, "undesirable_weight": 1.0}
    run = kto.recipe(single(task, rows), beta=0.4, loop=loop, **weights)
    policy = task.reference.copy()
    for step in run:
        with torch.no_grad():
            ratio = (policy.logp(rows) - task.reference.logp(rows)).sum(-1)[:, 0]
            shifted = replace(
                rows,
                **{
                    k: getattr(rows, k)[[1, 0]]
                    for k in ("action", "mask", "given", "logp", "ended")
                },
            )
            kl = (policy.logp(shifted) - task.reference.logp(shifted)).sum(-1).mean().clamp(min=0)
        chosen = 1 - torch.sigmoid(0.4 * (ratio[0] - kl))
        rejected = 1 - torch.sigmoid(0.4 * (kl - ratio[1]))
        expected = float((1.25 * chosen + 1.0 * rejected) / 2)
        assert step.stats["loss"] == pytest.approx(expected, rel=1e-9)
        policy = step.policy.copy()


def test_pairs_and_labelled_rows_together_are_refused() -> None:
    task = task_of(table(R=2), n=4)
    both = task.replaced(demos=unrolled(task))
    with pytest.raises(InputError, match="got both"):
        kto.labelled(both, unpaired=False)
    with pytest.raises(InputError, match="--unpaired parts pairs"):
        kto.labelled(single(task, unrolled(task)), unpaired=True)
    bare = replace(unrolled(task), extra={})
    with pytest.raises(InputError, match="not labelled"):
        kto.labelled(single(task, bare), unpaired=False)


@pytest.mark.parametrize(
    ("good", "bad", "weights", "warned"),
    [(10, 10, {}, ""), (12, 9, {}, ""), (12, 8, {}, "1.5"), (5, 10, {}, "0.5"),
     (5, 10, {"desirable_weight": 2.0}, ""), (5, 10, {"undesirable_weight": 0.4}, ""),
     (3, 12, {"desirable_weight": 5.33}, ""), (3, 12, {"desirable_weight": 3.9}, "0.975")],
)  # fmt: skip
def test_weights_outside_the_papers_interval_are_told_with_those_inside(
    good: int, bad: int, weights: dict[str, float], warned: str, caplog: pytest.LogCaptureFixture
) -> None:
    task = task_of(table(R=2), n=24)
    rows = unrolled(task)
    labels = rows.extra[DESIRABLE][:, 0]
    some = torch.cat([(labels == 1).nonzero()[:good, 0], (labels == 0).nonzero()[:bad, 0]])
    own = {"desirable_weight": 1.0, "undesirable_weight": 1.0, **weights}
    with caplog.at_level(logging.WARNING, "assay"):
        kto.balanced(rows[some], **own)
    assert bool(caplog.records) == bool(warned)
    assert f"a ratio of {warned};" in caplog.text if warned else True


def test_what_a_warning_advises_is_within_the_interval(caplog: pytest.LogCaptureFixture) -> None:
    rows = unrolled(task_of(table(R=2), n=24))
    labels = rows.extra[DESIRABLE][:, 0]
    some = rows[torch.cat([(labels == 1).nonzero()[:6, 0], (labels == 0).nonzero()[:18, 0]])]
    kto.balanced(some, 1.0, 1.0)
    assert "--desirable-weight 3 to 4, or --undesirable-weight 0.25 to 0.333" in caplog.text
    caplog.clear()
    for own in ((3, 1), (4, 1), (1, 0.25), (1, 0.333)):
        kto.balanced(some, *map(float, own))
    assert not caplog.records
    with pytest.raises(InputError, match="are undesirable; kto needs both kinds"):
        kto.balanced(rows[labels == 0], 1.0, 1.0)


def test_it_trains_from_python_and_from_the_command_line_alike(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One file, and the same file's pairs: a run of each face, and one of the pairs."""
    path = lines(tmp_path / "kto.jsonl", ROWS)
    run = assay.train("kto", model=model, demos=ROWS, out=tmp_path / "live", **RUN)
    flags = [
        x for k, v in RUN.items() if k != "quiet" for x in (f"--{k.replace('_', '-')}", str(v))
    ]
    done = [
        "run",
        "kto",
        "--model",
        model,
        "--demos",
        path,
        *flags,
        "--out",
        str(tmp_path / "typed"),
    ]
    assert cli.main(done) == 0
    pairs = [{"prompt": a, "chosen": GOOD, "rejected": BAD} for a in ASKS]
    other = assay.train(
        "kto", model=model, pairs=pairs, out=tmp_path / "pairs", **{**RUN, "batch_size": 6}
    )
    read = [
        [
            json.loads(x)["stats"].get("loss")
            for x in (p / "readings.jsonl").read_text().splitlines()
        ]
        for p in (tmp_path / "live", tmp_path / "typed", tmp_path / "pairs")
    ]
    assert read[0] == read[1]
    assert read[0][1:] == pytest.approx(read[2][1:], rel=1e-4)
    assert run.readings[-1]["stats"]["kto/mismatched"] == 1.0
    assert other.readings[-1]["stats"]["loss"] < other.readings[1]["stats"]["loss"]


def test_a_killed_run_resumes_to_the_same_policy(tmp_path: Path, model: str) -> None:
    path = lines(tmp_path / "kto.jsonl", ROWS)
    loop = Loop(max_steps=4, batch_size=5, learning_rate=3e-3)  # epochs end within batches
    config = MeasureConfig(eval_steps=1, save_steps=1, eval_generations=2)

    def readings(folder: str, resume: bool = False) -> Iterator[dict[str, Any]]:
        world = hub.world(policy=model, demos=path, held_out=2, max_tokens=24)
        out = tmp_path / folder
        run = Run.open(out) if resume else Run.create(out, {})
        return measure(
            kto.recipe, world, arguments={}, loop=loop, config=config, run=run, resume=resume
        )

    whole = [r["stats"].get("loss") for r in readings("whole") if r["tag"] != "best"]
    cut = readings("cut")
    while next(cut)["step"] < 2:
        pass
    cut.close()
    gc.collect()
    rest = [r["stats"].get("loss") for r in readings("cut", resume=True) if r["tag"] != "best"]
    assert 0 < len(rest) < len(whole) == 5
    assert rest == whole[-len(rest) :]


def test_imitation_leaves_undesirable_completions_out_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    task = task_of(table(R=2), n=24)
    rows = unrolled(task)
    good = rows[rows.extra[DESIRABLE][:, 0] > 0.5]
    loop = Loop(max_steps=4, batch_size=10, learning_rate=0.05)
    with caplog.at_level(logging.WARNING, "assay"):
        *_, mixed = sft.recipe(single(task, rows), loop=loop)
    assert "of 48 demonstrations, left out: 24 that are labelled undesirable" in caplog.text
    *_, clean = sft.recipe(single(task, replace(good, extra={})), loop=loop)
    torch.testing.assert_close(mixed.policy.logits, clean.policy.logits, rtol=0, atol=0)
    bad = rows[rows.extra[DESIRABLE][:, 0] < 0.5]
    with pytest.raises(InputError, match="all 24 completions of --demos are labelled undesirable"):
        _ = single(task, bad).demos


def test_a_run_of_a_file_that_cannot_teach_says_which_file_and_column(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = lines(tmp_path / "all.jsonl", [{**r, "label": True} for r in ROWS])
    run = [
        "run",
        "kto",
        "--model",
        model,
        "--held-out",
        "2",
        "--out",
        str(tmp_path / "x"),
        "--max-tokens",
        "24",
    ]
    assert cli.main([*run, "--demos", path]) == 2
    assert "all.jsonl, column 'label': true in every row, 16 in all" in capsys.readouterr().err
    assert cli.main(run) == 2
    assert "--pairs or --demos" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "x", ignore_errors=True)
