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
# # For engineers
#
# A preference file, a reward ensemble, its audit, and a run that the watch stops.
# Everything runs in under a minute on a CPU and needs neither model nor network.

# %%
import random

import assay

# %% [markdown]
# ## A preference file
#
# Good answers explain; bad ones flatter, repeat or evade. One label in ten is wrong,
# as in real files.

# %%
draw = random.Random(0)
TASKS = [
    f"How do I {verb} a {thing}?"
    for verb in ("clean", "fix", "paint", "move", "sell")
    for thing in ("bike", "table", "boat", "lamp", "fence", "roof", "stove", "shirt")
]
STEPS = [
    "First remove the loose parts.",
    "Work from the top down.",
    "Let it dry for a day.",
    "Keep the screws in a jar.",
    "Test each joint before you go on.",
    "Measure twice and cut once.",
    "Use a clamp so that nothing slips.",
    "Ask for two prices before you agree.",
]
FILLER = [
    "Great question!",
    "I am so happy to help!",
    "It depends.",
    "There are many ways, many ways.",
    "You can do it any way you like.",
    "As I said, it depends.",
]


def answer(steps):
    """An answer with so many useful steps; filler makes up for the others."""
    said = draw.sample(STEPS, steps) + draw.sample(FILLER, 4 - steps)
    draw.shuffle(said)
    return " ".join(said)


def pair(prompt):
    """Two answers, the better one chosen, one label in ten wrong."""
    a, b = draw.sample(range(5), 2)
    better, worse = answer(max(a, b)), answer(min(a, b))
    if draw.random() < 0.1:
        better, worse = worse, better
    return {"prompt": prompt, "chosen": better, "rejected": worse}


pairs = [pair(prompt) for prompt in TASKS[:30] for _ in range(4)]
held_out = [pair(prompt) for prompt in TASKS[30:] for _ in range(8)]
pairs[0]

# %% [markdown]
# ## Fit and evaluate
#
# Without `base`, the members are linear models on counted words. `held_out` has
# prompts that no member saw.

# %%
rm = assay.fit_reward(pairs, members=5)
rm.evaluate(held_out)

# %% [markdown]
# One label in ten is wrong, so that a perfect reward would show about 0.9 here.
# `score` gives every member's score:

# %%
asked = ["How do I fix a kite?"] * 2
answers = ["Great question! It depends.", "Measure twice and cut once. Let it dry for a day."]
rm.score(asked, answers).round(2)

# %% [markdown]
# ## Audit: the best-of-n curve
#
# Sixteen answers a prompt, with their true quality (the share of useful steps). What
# happens to it as the reward chooses among more and more of them?

# %%
rows = []
for prompt in TASKS[30:]:
    for _ in range(16):
        steps = draw.randrange(5)
        rows.append({"prompt": prompt, "completion": answer(steps), "gold": steps / 4})
for row, score in zip(
    rows, rm.score([r["prompt"] for r in rows], [r["completion"] for r in rows]).mean(0)
):
    row["proxy"] = float(score)

curve = assay.best_of_n_curve(rows, proxy=["proxy", "length"])
curve

# %% [markdown]
# The reward ranks these answers nearly as the truth does (the oracle), and length
# ranks them worse. On answers of *this* kind the reward can be trusted.
#
# ## Train, with a watch
#
# The embedded world `table` has five reward models that are right where they were
# fitted, and a gold that no method sees. Here the watch buys labels from gold; for
# your model you pass a function, an address or people as the labeler.

# %%
run = assay.train(
    "leave_one_out",
    world="table",
    max_steps=60,
    watch=assay.Watch(labeler="gold", budget=550),
    quiet=True,
)
run

# %%
run.to_pandas()[
    ["step", "kl", "gold", "gold_err", "proxy", "proxy_err", "labels"]
].round(3)

# %% [markdown]
# The proxy rises to the end. Gold turns on the way, and the watch sees it from its
# labels. `run.policy` is the best policy, with the reason why it is that one:

# %%
run.policy
