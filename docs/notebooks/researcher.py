# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # For researchers
#
# A mitigation as a recipe, a sweep over seeds beside its baselines, and the
# comparison. Everything runs in under a minute on a CPU.

# %%
import tempfile

import assay
from assay.core import Loop
from assay.loops import member_scores, online

# %% [markdown]
# ## The recipe
#
# A recipe is a generator: it gets a task, trains, and yields a step after every step.
# It never sees gold. The proxy here is the mean of the reward models minus their
# standard deviation.


# %%
def mean_minus_std(task, *, weight: float = 1.0, loop=Loop()):
    """Train against the reward models' mean minus their standard deviation."""
    members = member_scores(task)

    def score(x):
        scores = members(x)  # [M, B, N]
        return scores.mean(0) - weight * scores.std(0)

    yield from online(task, loop, score=score)


# %% [markdown]
# ## One run on a small language model
#
# World `grammar` trains a small Llama on a toy language, fits reward models to noisy
# preferences, and has a written gold. These arguments make it smaller still.

# %%
SMALL = {
    "world": "grammar",
    "world__demos": 1000,
    "world__pairs": 500,
    "world__sft_steps": 100,
    "world__reward_steps": 40,
    "world__members": 3,
    "world__held_out": 16,
}
run = assay.train(mean_minus_std, **SMALL, max_steps=10, eval_steps=5, quiet=True)
run

# %% [markdown]
# What does the policy write?

# %%
for row in run.completions[-2:]:
    print(f"{row['prompt']!r}: {row['completion']!r}  gold {row['gold']:.2f}")

# %% [markdown]
# ## The sweep
#
# On `table` a run takes a second, so that several seeds are cheap. The baselines: the
# plain policy gradient, and the same with three prices on KL.

# %%
folder = tempfile.mkdtemp()
runs = assay.sweep(
    {mean_minus_std: {}, "leave_one_out": {}, "kl_in_loss": {"beta": [0.03, 0.1, 0.3]}},
    world="table",
    max_steps=60,
    eval_steps=10,
    seeds=range(3),
    out=folder,
    quiet=True,
)
len(runs), {run.state for run in runs}

# %% [markdown]
# ## The comparison
#
# Differences are paired by seed. The tuned price on KL was chosen on the other seeds;
# "plain's peak" is the plain method stopped at its best.

# %%
assay.compare(runs, baseline="leave_one_out", tuned="kl_in_loss")

# %% [markdown]
# Three seeds tell only large differences: look at the intervals. `assay.sweep` with
# `seeds=range(10)` into the same folder adds the seven that are missing.
