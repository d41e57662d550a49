"""What is compared: methods, the world, budgets, rates and seeds, written before the seeds ran.

Every method has its paper's constants as its recipe has them and one that is tuned, the learning
rate, on a grid that all share. Every step draws 128 completions and makes four updates, whatever a
recipe's own default is; a method that draws more for a step (DAPO) ends when it has drawn as many
as the others.
"""

from __future__ import annotations

from typing import Any

WORLD: dict[str, Any] = {
    "task": "modular",
    "least": 2,
    "most": 3,
    "width": 32,
    "layers": 1,
    "pass_rate": 0.3,
    "sft_steps": 320,
    "sft_lr": 0.01,
    "pairs": 16,
    "prompts": 96,
    "held_out": 128,
    "taught": 3000,
    "rewards": "outcome",
}
STEPS, PROMPTS, COMPLETIONS, UPDATES = 20, 16, 8, 4
BUDGET = STEPS * PROMPTS * COMPLETIONS
RATES = (1e-4, 3e-4, 1e-3, 3e-3)
TUNED_ON, JUDGED_ON, TIMED_ON = range(5), range(500, 512), range(3)
READ = 8  # completions of each of the held-out problems

BASELINE = "GRPO"
# Name in the table: recipe, its constants where they are not the default's.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    BASELINE: ("grpo", {"beta": 0.0}),
    "RLOO": ("leave_one_out", {}),
    "PPO": ("ppo", {}),
    "REINFORCE++": ("reinforce_pp", {}),
    "Dr. GRPO": ("dr_grpo", {"max_length": 28}),
    "DAPO": ("dapo", {}),
    "GSPO": ("gspo", {}),
    "CISPO": ("cispo", {}),
    "SAPO": ("sapo", {}),
    "GMPO": ("gmpo", {}),
    "MDPO": ("mdpo", {}),
    "REC, one-sided": ("rec", {}),
    "BNPO": ("bnpo", {}),
    "RiskPO": ("risk_po", {}),
    "DRPO": ("drpo", {}),
    "Knapsack": ("knapsack", {}),
    "D3S": ("d3s", {}),
    "Clip-Cov": ("entropy_mechanism", {"method": "clip"}),
    "KL-Cov": ("entropy_mechanism", {"method": "kl"}),
    "Lp-Reg": ("lp_reg", {}),
    "GRPO-CARE": ("grpo_care", {}),
}
# These read more than rewards.
HELPED: dict[str, tuple[str, dict[str, Any]]] = {
    "CHORD (demonstrations)": ("chord", {}),
    "KDRL (a stronger policy)": ("kdrl", {}),
}
