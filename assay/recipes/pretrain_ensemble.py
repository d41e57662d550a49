"""Whose members err differently? Ensembles over pretraining seeds against fine-tuning seeds.

S small language models are pretrained on the world's text, each with first weights and an order of
texts of its own: S pretraining seeds. From each, S reward models are fine-tuned on the same pairs,
trunk and head alike, with a fresh head and an order of pairs of their own: S fine-tuning seeds. The
S×S reward models of this grid are grouped in two ways:

    pretrain   S models, each from another pretraining seed        S ensembles, a transversal each
    finetune   S models, all from one pretraining seed             S ensembles, a row each
    single     one model                                           S·S of them

Every model is in as many ensembles of one kind as of the other, so members are the same models, of
the same size, fitted to the same pairs: only who stands beside whom differs. Every line is the mean
over a kind's ensembles. Bradley–Terry leaves a constant a prompt free; the fit pins it by
η·(r(chosen) + r(rejected))², and scores are centred on each prompt before they are aggregated:
mean, median, worst (the minimum), or mean minus standard deviation.

`unpretrained` is the negative control: S² reward models of S trunks whose "pretraining seed" drew
first weights and pretrained nothing, grouped as `pretrain` is: random features, no pretraining.

Lines of kind "pretraining" say what each language model learned. "agreement": rank correlation
within prompts (Spearman) of two members of one ensemble, on completions of the reference and on
those that an aligned policy would write (best of 8 by the mean of all models); with gold also the
correlation of their errors, an error being a centred score minus its best multiple of gold.
"siblings": how often the favourite of one model among `most` beats a completion of the reference,
by that model itself, by a sibling of the same pretraining, by one of another, and by gold.
"best_of_n": gold, and how much of `feature` the selected completions have, for n = 1, 2, 4 …; the
ensemble "gold" chooses by gold itself and shows how much of the feature gold would want. "rl": the
same of policies of REINFORCE on the mean of the first ensemble of each kind. "spent": its cost.

The title's second half is `feature`: what *all* members have wrong rises under every ensemble. A
share `bias` of the pairs, the same for all, is labeled by who has more of it; 0 is the control.

The text is the demonstrations where the world has them (`--demos` of hub), else the pairs' own
texts without their labels. With `file`, a file of scored responses, text, pairs and gold are real:
small models of its words are pretrained on the responses to some prompts and fitted to their pairs,
and best-of-n chooses among the responses to the others, whose scores are gold.

    assay study pretrain_ensemble --world study --file judged.jsonl --score p_win

Models that are pretrained elsewhere are compared by `grid`: fit S reward models on each of S bases
that differ in their pretraining seed (`assay fit PAIRS --base BASE --resample none --members S`),
and pass the S folders as the world's rewards, in order.

Traps: bootstrapped pairs are a third kind of diversity, and stronger than fine-tuning seeds, so all
members see all pairs. Accuracy on held-out pairs does not foretell agreement on shifted samples.

Here: language models of 50 thousand weights, the claim's of a toy language; what a corpus of the
world's text teaches beyond them, they cannot show. `unpretrained` is fitted at the rate that was
chosen for pretrained models. One policy a kind is trained, not one an ensemble.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor

from assay.core import Claim, InputError, Loop, Missing, Paper, Reward, World
from assay.formulas.aggregate import centred
from assay.formulas.pairwise import bradley_terry, centring
from assay.loops.ensemble_policies import reinforced
from assay.models.backbones.llama import Config
from assay.rewards.attributes import attributes
from assay.rewards.pretraining import (
    Joined,
    Known,
    as_texts,
    fine_tuned,
    pretrained,
    text_loss,
    texts_of,
)
from assay.rewards.scored_texts import scored_texts
from assay.rewards.seed_grid import (
    ALIGNED,
    agreement,
    biased,
    costs,
    kinds_of,
    selected,
    siblings,
    side,
)
from assay.stats.ensembles import at_most, gold_over_n, policy_gain, policy_growth, policy_rise

paper = Paper(
    "Helping or Herding? Reward Model Ensembles Mitigate but do not Eliminate Reward Hacking",
    "Eisenstein et al.",
    2023,
    "arXiv:2312.09244",
)
reduces = {}


def study(
    world: World,
    *,
    seeds: int = 4,
    most: int = 64,
    prompts: int = 32,
    feature: str = "length",
    bias: float = 0.0,
    text: str = "",
    pretrain_steps: int = 100,
    pretrain_rate: float = 3e-3,
    steps: int = 60,
    rate: float = 1e-3,
    batch: int = 32,
    eta: float = 0.01,
    width: int = 32,
    layers: int = 2,
    rl_steps: int = 0,
    rl_batch: int = 16,
    grid: bool = False,
    unpretrained: bool = True,
    file: str = "",
    score: str = "",
    longest: int = 128,
) -> Iterator[dict[str, Any]]:
    """Yield lines of kind "pretraining", "agreement", "siblings", "best_of_n", "rl" and "spent".

    Args:
        seeds: S, pretraining seeds, fine-tuning seeds of each, and members of an ensemble.
        most: The largest n of best-of-n, at least 2; n doubles from 1.
        prompts: Held-out prompts that are completed.
        feature: What all members may have wrong, such as length or tokens:12-12.
        bias: Share of the labels that go to the completion with more of the feature.
        text: What is pretrained on: demos or pairs; demos by default where the world has them.
        pretrain_steps: Updates of a language model.
        pretrain_rate: Their learning rate.
        steps: Updates of a reward model.
        rate: Their learning rate.
        batch: Texts, or pairs, an update.
        eta: Weight of (chosen + rejected)² in the reward models' loss.
        width: Width of the models; a multiple of 8.
        layers: Their layers.
        rl_steps: Steps of REINFORCE on the mean of one ensemble of each kind; 0 for none.
        rl_batch: Prompts of such a step; the world's loop has the completions of each and the rate.
        grid: Take the world's own reward models as the grid, the models of one pretraining seed
            side by side, instead of training any.
        unpretrained: Whether to train the negative control, too.
        file: A file of scored responses, the source of text, pairs and gold; "" for the world.
        score: The column of its scores.
        longest: Words of a response that are read.
    """
    if most < 2 or seeds < 2:
        raise InputError(
            f"--most is {most} and --seeds is {seeds}; best-of-n and an ensemble need at least 2"
        )
    rng, task = world.task.rng("pretrain ensemble"), world.task
    if file and (grid or rl_steps or text):
        raise InputError(
            "--file brings its own text and no policy: leave --grid, --rl-steps, --text"
        )
    sizes = {"held_out": prompts, "least": most, "longest": longest}
    real = scored_texts(file, score, rng("file"), **sizes) if file else None
    if grid:
        members: Reward = task.rewards
        seeds = side(len(members.names))
        kinds = kinds_of(seeds, unpretrained=False)
        spent = costs(kinds, 0, pretrain=0, fit=0)
    else:
        given = task.pairs if real is None else real.pairs
        pairs = biased(given, feature, bias, rng("bias"))
        found = texts_of(task, text) if real is None else real.pairs
        known = Known.of(found, given)
        texts = as_texts(known(found))
        size = Config(len(known), width, layers, heads=4, kv_heads=4, inner=2 * width)
        fit = Loop(max_steps=steps, batch_size=batch, learning_rate=rate, warmup_steps=steps // 10)
        own = replace(fit, max_steps=pretrain_steps, learning_rate=pretrain_rate)
        own = replace(own, warmup_steps=pretrain_steps // 10)
        tenth = max(1, len(texts) // 10)
        test, train = texts[:tenth], texts[tenth:]
        trunks = [pretrained(size, train, seed=s, loop=own, rng=rng) for s in range(seeds)]
        fresh = [
            pretrained(size, train, seed=seeds + s, loop=replace(own, max_steps=0), rng=rng)
            for s in range(seeds if unpretrained else 0)
        ]
        for s, trunk in enumerate([*trunks, *fresh]):
            yield {
                "kind": "pretraining",
                "seed": s,
                "updates": pretrain_steps if s < seeds else 0,
                "text_loss": text_loss(trunk, test),
            }

        def loss(chosen: Tensor, rejected: Tensor, p: Tensor, margin: Tensor) -> Tensor:
            told = bradley_terry(chosen, rejected, p=p, margin=margin)
            return told + eta * centring(chosen, rejected)

        members = Joined(
            known,
            [
                fine_tuned(some, known(pairs), seeds=seeds, loss=loss, loop=fit, rng=rng(name))
                for some, name in ((trunks, "grid"), (fresh, "unpretrained"))
                if some
            ],
        )
        kinds = kinds_of(seeds, unpretrained=unpretrained)
        spent = costs(kinds, len(pairs), pretrain=pretrain_steps, fit=steps)
    if real is None:
        x = task.reference.sample(world.held_out[:prompts], 2 * most, rng("pool"))
        gold = None if world.gold is None else world.gold(x)[0].double()
    else:
        x, gold = real.pool, real.score.double()
    r = centred(members(x).double(), x.present)
    if not bool(r.isfinite().all()):
        raise Missing("a reward model does not apply to some completions; leave it out")
    yield from agreement(r, gold, kinds, min(ALIGNED, most))
    yield from siblings(r, gold, kinds, most)
    yield from selected(r, gold, attributes(x, feature)[..., 0].double(), kinds, most, feature)
    own = replace(world.loop or Loop(), max_steps=rl_steps, batch_size=rl_batch)
    if rl_steps:
        of = functools.partial(reinforced, members=members, feature=feature, read=world.gold)
        yield from of(task, own, world.held_out, kinds)
    completions = int(x.present.sum()) + rl_steps * rl_batch * own.num_generations
    for kind, (updates, labels, scorers) in spent.items():
        yield {
            "kind": "spent",
            "arm": kind,
            "generated": completions,
            "scored": scorers * completions,
            "labels": labels,
            "updates": updates + rl_steps,
        }


# the rate: 3e-3 gave one reward model 1.64 gold on seed 0, and 1e-3 1.62; all kinds share it
CELL = {"seeds": 3, "most": 16, "pretrain_steps": 80, "steps": 40, "rate": 3e-3}
CELL |= {"width": 64, "layers": 1, "rl_steps": 16}
# no label is flipped at random: one reward model then has more gold than the reference
LANGUAGE = {"pairs": 1500, "noise": 0.0, "members": 1, "reward_steps": 1}
LANGUAGE |= {"width": 64, "layers": 2, "sft_steps": 100}


@Claim(
    "By reward models of several pretraining seeds, best-of-n and policies, at equal KL, have more "
    "gold than by as many of one pretraining seed, and by these more than by one reward model; yet "
    "where labelers like length, completions become longer by either ensemble than gold wants and "
    "than where they do not like it.",
    arms={
        "fair": ("pretrain_ensemble", CELL),
        "liked": ("pretrain_ensemble", {**CELL, "bias": 0.2, "unpretrained": False}),
    },
    worlds=("grammar",),
    on={"grammar": LANGUAGE},
    # a tenth of what one reward model gains on seeds 0 to 4 (best-of-n .41, policies .14), and one
    # token, which over the way of a policy, from none, is half of one on average
    least={
        "pretrain over finetune": 0.04,
        "finetune over single": 0.04,
        "pretrain over unpretrained": 0.04,
        "longer than gold": 1.0,
        "longer by bias": 1.0,
        "policies: pretrain over finetune": 0.014,
        "policies: finetune over single": 0.014,
        "policies: longer by bias": 0.5,
        "policies: gain": 0.0,
    },
    seeds="600..609",
    control=(
        "pretrain over finetune",
        "pretrain over unpretrained",
        "longer by bias",
        "policies: pretrain over finetune",
        "policies: longer by bias",
    ),
    premises=("policies: gain",),
    broken="the pretraining seeds: shared by all members, or none pretrained; and labelers' liking",
    differs={
        "updates": "one pretraining a member, one in all or none: that is what is compared",
        "scored": "an ensemble scores each completion with every member, a single model once",
    },
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Gold where labels are fair, of best-of-n averaged over n and of policies at equal KL. And
    tokens, the smaller number of both kinds of ensemble: the length of what it chooses of the most
    where labelers like length, minus that of gold's choice, and of its own where labels are fair.
    """
    fair, liked, kinds = arms["fair"], arms["liked"], ("finetune", "pretrain")
    short, long = at_most(fair), at_most(liked)
    single, finetune = (gold_over_n(fair, k) for k in ("single", "finetune"))
    pretrain, unpretrained = (gold_over_n(fair, k) for k in ("pretrain", "unpretrained"))
    return {
        "pretrain over finetune": pretrain - finetune,
        "finetune over single": finetune - single,
        "pretrain over unpretrained": pretrain - unpretrained,
        "longer than gold": min(long[k] - long["gold"] for k in kinds),
        "longer by bias": min(long[k] - short[k] for k in kinds),
        "policies: pretrain over finetune": policy_gain(fair, "pretrain", "finetune"),
        "policies: finetune over single": policy_gain(fair, "finetune", "single"),
        "policies: longer by bias": min(policy_growth(liked, fair, k) for k in kinds),
        "policies: gain": policy_rise(fair, "single"),
    }
