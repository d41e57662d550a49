"""What a language model says of every step in the rooms of world table, zero-shot.

python -m bench.answers FOLDER                    asks, keeps the answers, shows how right they are
python -m bench.answers FOLDER --out mine.json    keeps them in a file of your own
python -m bench.answers --show                    shows how right the kept answers are

FOLDER holds an instruct model in transformers' format. 1,200 questions take a model of 135 million
weights some ten minutes of one core.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from assay.models.process import Process
from assay.rewards.recorded_answers import SMOLLM2, RecordedAnswers, write
from assay.rewards.transitions import Transitions, of_episodes, possible
from assay.rewards.yes_no import ModelEvaluator
from assay.worlds import table


def main(argv: list[str]) -> int:
    """Run what is asked for."""
    ask = argparse.ArgumentParser(prog="python -m bench.answers")
    ask.add_argument("folder", nargs="?", default="")
    ask.add_argument(
        "--name", default="", help="of the model, for the file; the folder's otherwise"
    )
    ask.add_argument("--out", type=Path, default=SMOLLM2)
    ask.add_argument("--show", action="store_true")
    args = ask.parse_args(argv)
    t = asked()
    texts, _ = t.questions()
    if not args.show:
        odds = ModelEvaluator(args.folder).log_odds(texts)
        answers = dict(zip(texts, odds, strict=True))
        write(args.out, args.name or Path(args.folder).name, answers)
    for line in told(RecordedAnswers(args.out), t):
        print(line)
    return 0


def asked() -> Transitions:
    """Every transition that can happen in the rooms, with the three subgoals."""
    place: Process = table.world(testbed="grid").task.reference.process  # type: ignore[attr-defined]
    return of_episodes(possible(place), place, tuple(place.subgoals))


def told(evaluator: RecordedAnswers, t: Transitions) -> list[str]:
    """A line for each subgoal and one for all: how often it is reached, AUC, recall, false
    positives, F1, and the F1 of saying yes to all.
    """
    from sklearn.metrics import f1_score, roc_auc_score

    assert t.truth is not None
    texts, index = t.questions()
    p = torch.tensor(evaluator(texts))[index]
    out = []
    for g in (*range(len(t.subgoals)), slice(None)):
        truth, said = t.truth[..., g].flatten().numpy(), p[..., g].flatten().numpy()
        yes, base = said > 0.5, truth.mean()
        name = "all" if isinstance(g, slice) else t.subgoals[g]
        out.append(
            f"{name}: reached {truth.sum()} of {len(truth)}, AUC {roc_auc_score(truth, said):.3f}, "
            f"recall {yes[truth].mean():.3f}, false positives {yes[~truth].mean():.3f}, "
            f"F1 {f1_score(truth, yes):.3f} (yes to all {2 * base / (1 + base):.3f})"
        )
    return out


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
