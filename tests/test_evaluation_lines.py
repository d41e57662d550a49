"""The lines of a run: what a reading says of training."""

from __future__ import annotations

from assay.evaluation.lines import reading_line as line

READING = {
    "step": 5,
    "tag": "",
    "kl": 0.25,
    "gold": 1.0,
    "gold_err": 0.1,
    "proxy": None,
    "proxy_err": None,
}


def test_training_stands_on_a_second_line() -> None:
    stats = {
        "loss": 0.01234,
        "grad_norm": 0.812,
        "reward": 1.3199,
        "reward_std": 0.4,
        "entropy": 2.1,
        "completions/mean_length": 84.4,
        "completions/clipped_ratio": 0.12,
        "clip_ratio/region_mean": 0.03,
        "frac_reward_zero_std": 0.0,
        "skipped": 0.0,
        "read/length": 80.0,
    }
    first, second = line({**READING, "stats": stats}).split("\n")
    assert first.startswith("step    5  √KL  0.50")
    assert second == (
        "           loss 0.0123  grad 0.81  reward 1.32 ±0.4  entropy 2.1  length 84  "
        "truncated 12 %  clipped 3 %"
    )


def test_pairs_say_margin_and_accuracy_and_faults_what_they_are() -> None:
    stats = {"loss": 0.69, "rewards/margins": 0.01, "rewards/accuracies": 0.625, "skipped": 1.0}
    said = line({**READING, "stats": {**stats, "frac_reward_zero_std": 0.25}})
    assert said.endswith(
        "\n           loss 0.69  margin 0.01  accuracy 62 %  same reward 25 %  skipped 1"
    )


def test_what_was_not_trained_has_one_line() -> None:
    for stats in (None, {}, {"read/length": 9.0, "fresh/gold_last": 1.0}):
        assert "\n" not in line({**READING, "stats": stats})
