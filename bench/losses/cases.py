"""What is compared: losses, conditions, constants and seeds, written down before the seeds ran."""

from __future__ import annotations

from typing import Any

TUNED_ON, JUDGED_ON = range(5), range(400, 420)
RATES = (0.03, 0.1, 0.3)
BETAS = (0.02, 0.1, 0.5)
STEPS = {"max_steps": 100, "batch_size": 16}  # of every loss of pairs alike: 1,600 pairs are read

# Name: recipe, its constants, and the constant that is tuned beside the learning rate. ε of cDPO
# and of rDPO is the true share of flips, which in life has to be estimated.
PAIRS: dict[str, tuple[str, dict[str, Any], str, tuple[float, ...]]] = {
    "DPO": ("dpo", {}, "beta", BETAS),
    "cDPO": ("dpo", {"smoothing": "noise"}, "beta", BETAS),
    "rDPO": ("robust_dpo", {"flip": "noise"}, "beta", BETAS),
    "IPO": ("direct_alignment", {"loss": "ipo"}, "beta", BETAS),
    "hinge on log-ratios": ("direct_alignment", {"loss": "slic"}, "beta", BETAS),
    "SLiC-HF": ("slic", {}, "margin", (1.0, 4.0, 16.0)),
    "RPO": ("regularised_preference", {}, "beta", BETAS),
    "KTO": ("kto", {}, "beta", BETAS),
}
BASE = {"pairs": 400, "noise": 0.2}
CONDITIONS: dict[str, dict[str, Any]] = {
    "no label flipped": {**BASE, "noise": 0.0},
    "a fifth flipped": BASE,
    "two fifths flipped": {**BASE, "noise": 0.4},
    "100 pairs": {**BASE, "pairs": 100},
    "2,000 pairs": {**BASE, "pairs": 2000},
    # labelers like rare tokens, which gold does not: what a taste for length is to text
    "labelers with a taste": {**BASE, "bias": 1.0},
}

# Lists: as many labelled completions a step whatever the list's size, one reward model labels.
LISTED, SIZES = 128, (2, 4, 8, 16)
LISTS = ("lambda", "all_pairs", "best_worst", "softmax", "plackett_luce")
LIST_RATES, LIST_BETAS = (0.03, 0.1), (0.05, 0.2)
LIST_STEPS = {"max_steps": 60}
LIST_WORLD = {"pairs": 2000, "noise": 0.2}
