"""The mitigations on a pretrained language model, each seed with reward models of its own.

python -m bench.mitigations --out runs/mitigations      three hours; the same call goes on
python -m bench.mitigations --keep                      runs nothing, keeps what is finished
python -m bench.mitigations --out runs/pilot --seeds 790 --only leave_one_out,dpo

SmolLM2-135M-Instruct answers 400 questions four times (24 tokens). For each seed 100 of these
questions are drawn, all pairs of their answers are labelled by gold with a quarter of the labels
wrong, and five reward models that count words are fitted to them. Every method of `methods.py` is
run against these, and `assay compare --per-seed` puts them side by side. Gold is the demo's: the
probability, by a sentence encoder that nothing trains here, that an answer is one to its question.

The records and readings of finished runs are kept in bench/results/mitigations: a run that is there
is not run again, and the comparison needs nothing else.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

from assay.records.runs import Run
from bench.mitigations.methods import (
    BEST_OF_N,
    JUDGED,
    LABELS,
    OFFLINE,
    ONLINE,
    PAIRS_A_STEP,
    TRAINING,
)

POOL, TRAINED_ON = 400, 400  # questions
COMPARED = 100  # questions of the pool, for each seed
WRONG = 0.25
PER_SEED = ("rewards", "pairs")
KEPT = Path(__file__).resolve().parents[1] / "results" / "mitigations"
READ = ("run.json", "readings.jsonl")  # all that a comparison reads of a run


def main(argv: list[str]) -> int:
    """Run what is missing and compare what is there; return the exit code."""
    ask = argparse.ArgumentParser(prog="python -m bench.mitigations", description=__doc__)
    ask.add_argument("--models", type=Path, default=Path("models"), help="where models are kept")
    ask.add_argument("--out", type=Path, default=Path("runs") / "mitigations")
    ask.add_argument("--seeds", default=",".join(map(str, JUDGED)))
    ask.add_argument("--only", default="", help="methods, with commas between them")
    ask.add_argument("--page", type=Path, help="a folder for the comparison")
    ask.add_argument("--keep", action="store_true", help="run nothing, keep what is finished")
    args = ask.parse_args(argv)
    if args.keep:
        copied(args.out / "runs", KEPT)
        return 0
    copied(KEPT, args.out / "runs")
    os.environ["ASSAY_REAL_MODELS"] = str(args.models.resolve())

    import assay
    from demos.real_model import judges, models
    from demos.real_model.prompts import prompts

    smollm2, _ = models.make(args.models)
    asked, only = prompts(), set(filter(None, args.only.split(",")))
    most = TRAINING["max_tokens"] - 1  # in a file of pairs an answer has its end as one more
    answers = judges.answers(smollm2, asked[:POOL], args.out / "answers.jsonl", max_tokens=most)
    files = {
        "train": asked[POOL : POOL + TRAINED_ON],
        "fresh": asked[POOL + TRAINED_ON :],  # the watch asks about these
    }
    for name, lines in files.items():
        judges.write(args.out / f"{name}.jsonl", [{"prompt": p} for p in lines])
    for seed in map(int, args.seeds.split(",")):
        _seed(seed, smollm2, answers, args.out, only)
        copied(args.out / "runs", KEPT)
    if only:  # some methods alone are no comparison
        return 0
    found = assay.compare(
        args.out / "runs",
        baseline="leave_one_out",
        tuned="kl_in_loss",
        apart=True,
        per_seed=PER_SEED,
    )
    print(found)
    if args.page:
        found.save(args.page)
    return 0


def copied(source: Path, target: Path) -> None:
    """Copy what a comparison reads of the finished runs in a folder that are not in the other."""
    for file in sorted(source.rglob(READ[0])):
        there = target / file.parent.relative_to(source)
        if there.exists() or Run.open(file.parent).record.state != "done":
            continue
        there.mkdir(parents=True)
        for name in READ:
            shutil.copy(file.with_name(name), there / name)


def _seed(seed: int, model: Path, answers: list[dict[str, Any]], out: Path, only: set[str]) -> None:
    """Fit the reward models of a seed and run every method against them."""
    import assay
    from demos.real_model import judges
    from demos.real_model.gold import told_apart

    own = out / "rewards" / str(seed)
    pairs = out / f"pairs-{seed}.jsonl"
    if not own.exists():
        draw = random.Random(seed)
        judges.preferences(draw.sample(answers, COMPARED), pairs, wrong=WRONG, draw=draw)
        judges.fitted(pairs, own, members=5, seed=seed)
    common = {
        "model": str(model),
        "prompts": str(out / "train.jsonl"),
        "rewards": str(own),
        "gold": told_apart,
        **TRAINING,
    }

    def run(methods: dict[str, Any], out: Path = out / "runs", **more: Any) -> None:
        wanted = {k: v for k, v in methods.items() if not only or k in only}
        if wanted:
            assay.sweep(wanted, out=out, seeds=[seed], **{**common, **more})

    run(ONLINE)
    run(OFFLINE, pairs=str(pairs), batch_size=PAIRS_A_STEP)
    run({"best_of_n": {k: [v] for k, v in BEST_OF_N.items()}}, max_steps=None)
    if not only or "watch" in only:
        watch = assay.Watch(labeler="gold", budget=LABELS, prompts=str(out / "fresh.jsonl"))
        assay.sweep(
            {"leave_one_out": ONLINE["leave_one_out"]},
            out=out / "runs" / "watched",
            seeds=[seed],
            **{**common, "watch": watch},
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
