"""A pretrained language model over-optimised, caught by the watch, and shown on one page.

python -m demos.real_model                     half an hour on two cores; make demo-real does it
python -m demos.real_model --out runs/other --seed 1

What happens: SmolLM2-135M-Instruct answers 100 questions four times; pairs of its answers are
labelled by gold with a quarter of the labels wrong; an ensemble of reward models that count words
is fitted to them; a policy gradient trains the model against the ensemble; gold is read apart; and
the watch buys labels, and stops the run where they say that it has turned. Every part is kept in
--out and goes on where it was stopped. LOG.md says what is known of the constants.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from pathlib import Path

PREFERENCES, TRAINED_ON = 100, 400  # questions; the watch asks about the others
WRONG = 0.25
TRAINING = {
    "learning_rate": 1e-3,
    "lora": 16,
    "batch_size": 4,
    "num_generations": 8,
    "max_steps": 40,
    "eval_steps": 4,
    "eval_generations": 1,
    "held_out": 64,
}


def main(argv: list[str]) -> int:
    """Run the demo; return the exit code."""
    ask = argparse.ArgumentParser(prog="python -m demos.real_model", description=__doc__)
    ask.add_argument("--models", type=Path, default=Path("models"), help="where models are kept")
    ask.add_argument("--out", type=Path, default=Path("runs") / "demo-real")
    ask.add_argument("--seed", type=int, default=0)
    args = ask.parse_args(argv)
    os.environ["ASSAY_REAL_MODELS"] = str(args.models.resolve())

    import assay
    from demos.real_model import judges, models, shown
    from demos.real_model.gold import told_apart
    from demos.real_model.prompts import prompts

    began = time.monotonic()
    smollm2, _ = models.make(args.models)
    asked = prompts()
    answered = judges.answers(smollm2, asked[:PREFERENCES], args.out / "answers.jsonl")
    pairs = judges.preferences(
        answered, args.out / "pairs.jsonl", wrong=WRONG, draw=random.Random(args.seed)
    )
    reward = judges.fitted(pairs, args.out / "reward", members=5, seed=args.seed)
    fresh = args.out / "fresh.jsonl"
    judges.write(fresh, [{"prompt": p} for p in asked[PREFERENCES + TRAINED_ON :]])
    run = assay.train(
        "leave_one_out",
        model=str(smollm2),
        prompts=asked[PREFERENCES : PREFERENCES + TRAINED_ON],
        rewards=reward,
        gold=told_apart,
        watch=assay.Watch(labeler="gold", budget=550, prompts=str(fresh)),
        max_tokens=judges.MOST_TOKENS,
        temperature=judges.TEMPERATURE,
        seed=args.seed,
        out=args.out / "leave_one_out",
        resume=(args.out / "leave_one_out").exists(),
        **TRAINING,
    )
    page = run.report(args.out / "report.html", title="SmolLM2 against five counts of words")
    print(shown.before_and_after(run))
    print(f"\n{time.monotonic() - began:.0f} s; open {page} in a browser")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
