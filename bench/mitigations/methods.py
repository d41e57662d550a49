"""The methods that are compared, with every constant: written down before the judged seeds ran."""

from __future__ import annotations

from typing import Any

JUDGED = (800, 801, 802)  # no constant was chosen on them
# Of every run alike. A step is 4 prompts, 24 completions and 24 tokens each.
TRAINING: dict[str, Any] = {
    "learning_rate": 1.5e-3,
    "lora": 16,
    "batch_size": 4,
    "num_generations": 6,
    "max_steps": 12,
    "eval_steps": 3,
    "eval_generations": 2,
    "held_out": 24,
    "max_tokens": 24,
    "temperature": 0.7,
}
SINGLE = {"member": [0]}  # one reward model is the proxy; an ensemble is for those that ask for it
ONLINE: dict[str, dict[str, list[Any]]] = {
    "leave_one_out": SINGLE,
    "kl_in_loss": {**SINGLE, "beta": [0.01, 0.03, 0.1]},  # tuned: on each seed by the others
    "mean_ensemble": {},
    "worst_case": {},
    "uncertainty_weighted": {},
    "preference_as_reward": {**SINGLE, "references": [1]},
    "correlated_proxies": {**SINGLE, "of": ["sequence"]},
    # The points are the proxy's mean where gold peaked in the demo. At the multipliers' own rate,
    # .1, they do not move in twelve steps.
    "constrained": {
        "members": [2],
        "baseline": ["group"],
        "points": [[0.23, 0.23]],
        "dual": [10.0],
        "limit": [2.0],
    },
}
# From the pairs that the reward models were fitted to, with as many updates, and without a
# completion of their own; a step is 16 pairs.
OFFLINE: dict[str, dict[str, list[Any]]] = {
    "dpo": {"beta": [0.1]},
    "regularised_preference": {"beta": [0.1], "eta": [0.2], "average": [True]},
}
PAIRS_A_STEP = 16
BEST_OF_N = {"most": 32, "spare": 2, "members": 1}
LABELS = 200  # the watch may buy
