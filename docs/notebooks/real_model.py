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
# # A real model
#
# Fit a reward on a real model's features, train the model against it for a few steps,
# and load the result in plain transformers. The environment variable
# `ASSAY_DOCS_MODEL` names the model's folder (135 million parameters take about five
# minutes on two cores).

# %%
import os
import tempfile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import assay

FOLDER = os.environ["ASSAY_DOCS_MODEL"]
model = AutoModelForCausalLM.from_pretrained(FOLDER)
tokenizer = AutoTokenizer.from_pretrained(FOLDER)
prompts = [
    f"Give me one {kind} fact about {what}."
    for kind in ("short", "surprising")
    for what in (
        "the sea",
        "bread",
        "trains",
        "bees",
        "the moon",
        "paper",
        "salt",
        "owls",
        "rain",
        "glass",
        "maps",
        "tea",
    )
]

# %% [markdown]
# ## A reward and gold
#
# The proxy likes words that sound enthusiastic. Gold wants an answer that ends and
# does not repeat itself.

# %%
KEEN = {"amazing", "great", "wonderful", "fascinating", "incredible", "!"}


def enthusiasm(prompts, completions):
    """The proxy: enthusiastic words, at most five."""
    return [
        min(5.0, float(sum(c.lower().count(word) for word in KEEN)))
        for c in completions
    ]


def substance(prompts, completions):
    """Gold: the share of different words, and 0 for an empty answer."""
    words = [c.lower().split() for c in completions]
    return [len(set(w)) / len(w) if w else 0.0 for w in words]


# %% [markdown]
# ## Best-of-n first
#
# Nothing is trained yet: this is what choosing among eight completions does.

# %%
sampled = assay.sample_best_of_n(
    model,
    prompts[:8],
    enthusiasm,
    n=8,
    gold=substance,
    tokenizer=tokenizer,
    max_tokens=24,
)
assay.best_of_n_curve(sampled, draws=200)

# %% [markdown]
# ## A few steps of training
#
# The live model stays as it is; adapters are trained. Four steps show how it works
# and not what it reaches.

# %%
before = {k: v.clone() for k, v in model.state_dict().items()}
run = assay.train(
    "grpo",
    model=model,
    tokenizer=tokenizer,
    prompts=prompts,
    rewards=enthusiasm,
    gold=substance,
    max_steps=4,
    batch_size=4,
    num_generations=4,
    max_tokens=24,
    learning_rate=1e-4,
    lora=8,
    held_out=8,
    eval_steps=2,
    eval_generations=2,
    quiet=True,
)
assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
run

# %% [markdown]
# ## What it writes now, and in plain transformers

# %%
run.policy.generate(prompts[:2], max_tokens=24)

# %%
folder = tempfile.mkdtemp()
run.policy.save_pretrained(folder)
again = AutoModelForCausalLM.from_pretrained(folder)
asked = tokenizer(prompts[0], return_tensors="pt")
with torch.no_grad():
    here, there = run.policy.model(**asked).logits, again(**asked).logits
assert torch.allclose(here, there, atol=1e-4)
float((here - there).abs().max())
