"""Curves of gold for the claims of recipes: arm → gold at each reading, at KL 0, 1, 2, … nats.

TRUE are worlds in which a claim's paper is right, FALSE worlds in which it is wrong.
"""

from __future__ import annotations

Curves = dict[str, dict[str, list[float]]]

UP, FALLS = [0.0, 1.0, 2.0, 2.5], [0.0, 1.0, 1.0, -1.0]
SOME, FLAT = [0.0, 1.0, 1.5, 0.0], [0.0, 0.02, 0.02, 0.02]
DISTILLED = {"one": SOME, "bare mean": FLAT, "dpo": SOME, "plain": FALLS}


def ensemble(mine: list[float], rival: list[float], name: str) -> dict[str, list[float]]:
    """The arms of an ensemble's claim: policies, best-of-n and penalised policies.

    Args:
        mine: Of the ensemble.
        rival: Of the controls, such as the members' mean.
        name: The first control.
    """
    others = dict.fromkeys((name, "shuffled", f"{name}, best of n"), rival)
    single = ("", ", best of n", ", penalised", ", penalised as mine")
    return {
        **others,
        **{f"single{k}": FALLS for k in single},
        **{f"mine{k}": mine for k in single[:3]},
    }


TRUE: Curves = {
    "worst_case": ensemble(UP, SOME, "mean"),
    "uncertainty_weighted": ensemble(UP, SOME, "mean"),
    "mean_ensemble": ensemble(UP, SOME, "member"),
    "kl_in_loss": {"mine": UP, "single": SOME, "k1": FALLS, "plain": FALLS},
    "kl_in_reward": {"mine": UP, "single": SOME, "shuffled": FALLS, "plain": FALLS},
    "leave_one_out": {"single": FALLS, "sound": UP},
    "grpo": {"grpo": FALLS, "sound": UP},
    "ppo": {"ppo": FALLS, "sound": UP},
    "flow_grpo": {"exploit": FALLS, "sound": UP},
    "ddpo": {"exploit": FALLS, "sound": UP},
    "grpo_guard": {"guard": UP, "plain": SOME, "kl": SOME, "reweighed": FLAT},
    "best_of_n": {"single": FALLS, "sound": UP},
    "dpo": {"dpo": UP, "coins": FLAT},
    "bradley_terry": {"bon": UP, "coins": FLAT},
    "sft": {"sft": UP, "coins": FLAT},
    "preference_as_reward": {
        "mine": UP,
        "one_reference": UP,
        "raw": FALLS,
        "bounded": SOME,
        "lsc": SOME,
    },
    "correlated_proxies": {
        "single": FALLS,
        "chi2 occupancy": UP,
        "kl action": SOME,
        "chi2 action": SOME,
        "kl occupancy": SOME,
    },
    "regularised_preference": {
        "mine": UP,
        "dpo": SOME,
        "sft": FLAT,
        "plain": FALLS,
        "turning": FALLS,
    },
    "reward_distillation": {**DISTILLED, "mine": UP, "forward dpo": SOME, "mean": SOME},
    "merging": {"mine": UP, "penalised": SOME, "single": FALLS, "unmerged": SOME},
    "gated_rewards": {
        "gated": UP,
        "plain": SOME,
        "outcome": SOME,
        "gated, large": UP,
        "plain, large": FALLS,
        "permuted, large": FALLS,
    },
    "gspo": {"mine": UP, "grpo": SOME, "open": FLAT},
    "cispo": {"mine": UP, "grpo": SOME, "wide": FLAT},
    "sapo": {"mine": UP, "grpo": SOME, "open": FLAT},
    "gmpo": {"mine": UP, "grpo": SOME, "open": FLAT},
    "dapo": {"mine": UP, "grpo": SOME, "lower": FLAT},
    "reinforce_pp": {"mine": UP, "grpo": UP, "bare": FLAT},
    "gdpo": {"mine": UP, "grpo": SOME, "coins": FLAT},
    "entropy_mechanism": {"mine": UP, "none": SOME, "random": FLAT},
    "bnpo": {"mine": UP, "grpo": SOME, "flat": FLAT},
    "mdpo": {"mine": UP, "one": SOME, "clip": SOME, "open": FLAT},
    "rec": {"mine": UP, "weighted": UP, "bare": FLAT, "both": SOME},
    "rso": {"mine": UP, "random": SOME, "best": UP, "direct": FLAT},
    "robust_dpo": {"mine": UP, "dpo": SOME, "cdpo": SOME, "smaller": SOME},
    "f_dpo": {"mine": UP, "dpo": UP, "coins": FLAT},
    "lipo": {"mine": UP, "pairs": SOME, "two": SOME, "shuffled": SOME},
    "kto": {"kto": UP, "dpo": UP, "coins": FLAT},
    "slic": {"slic": UP, "coins": FLAT},
}
FALSE: Curves = {
    # better than the single model by all parts, and worse than the members' mean
    "worst_case": ensemble(SOME, UP, "mean"),
    "uncertainty_weighted": ensemble(SOME, UP, "mean"),
    "mean_ensemble": ensemble(FALLS, FALLS, "member"),
    "kl_in_loss": {"mine": SOME, "single": UP, "k1": FALLS, "plain": FALLS},
    "kl_in_reward": {"mine": SOME, "single": UP, "shuffled": FALLS, "plain": FALLS},
    "leave_one_out": {"single": UP, "sound": UP},
    "grpo": {"grpo": UP, "sound": UP},
    "ppo": {"ppo": UP, "sound": UP},
    "flow_grpo": {"exploit": UP, "sound": UP},
    "ddpo": {"exploit": UP, "sound": UP},
    "grpo_guard": {"guard": SOME, "plain": SOME, "kl": UP, "reweighed": SOME},
    "best_of_n": {"single": UP, "sound": UP},
    "dpo": {"dpo": FLAT, "coins": FLAT},
    "bradley_terry": {"bon": FLAT, "coins": FLAT},
    "sft": {"sft": FLAT, "coins": FLAT},
    "preference_as_reward": {
        "mine": FALLS,
        "one_reference": FALLS,
        "raw": FALLS,
        "bounded": FALLS,
        "lsc": FALLS,
    },
    "correlated_proxies": {
        "single": FALLS,
        "chi2 occupancy": SOME,
        "kl action": SOME,
        "chi2 action": SOME,
        "kl occupancy": SOME,
    },
    "regularised_preference": {
        "mine": FALLS,
        "dpo": SOME,
        "sft": FLAT,
        "plain": FALLS,
        "turning": FALLS,
    },
    "reward_distillation": {**DISTILLED, "mine": UP, "forward dpo": UP, "mean": SOME},
    "merging": {"mine": FALLS, "penalised": SOME, "single": FALLS, "unmerged": SOME},
    "gated_rewards": {  # farming harms, and a small weight or none does what the gate does
        "gated": UP,
        "plain": UP,
        "outcome": UP,
        "gated, large": UP,
        "plain, large": FALLS,
        "permuted, large": FALLS,
    },
    "gspo": {"mine": SOME, "grpo": UP, "open": FLAT},
    "cispo": {"mine": SOME, "grpo": UP, "wide": FLAT},
    "sapo": {"mine": SOME, "grpo": UP, "open": FLAT},
    "gmpo": {"mine": SOME, "grpo": UP, "open": FLAT},
    "dapo": {"mine": SOME, "grpo": UP, "lower": FLAT},
    "reinforce_pp": {"mine": FLAT, "grpo": UP, "bare": FLAT},
    "gdpo": {"mine": SOME, "grpo": UP, "coins": FLAT},
    "entropy_mechanism": {"mine": SOME, "none": UP, "random": FLAT},
    "bnpo": {"mine": SOME, "grpo": UP, "flat": UP},
    "mdpo": {"mine": SOME, "one": UP, "clip": UP, "open": FLAT},
    "rec": {"mine": SOME, "weighted": UP, "bare": FLAT, "both": FLAT},
    "rso": {"mine": SOME, "random": UP, "best": UP, "direct": FLAT},
    "robust_dpo": {"mine": SOME, "dpo": UP, "cdpo": SOME, "smaller": SOME},
    "f_dpo": {"mine": SOME, "dpo": UP, "coins": FLAT},
    "lipo": {"mine": SOME, "pairs": UP, "two": SOME, "shuffled": SOME},
    "kto": {"kto": FLAT, "dpo": UP, "coins": FLAT},
    "slic": {"slic": FLAT, "coins": FLAT},
}
