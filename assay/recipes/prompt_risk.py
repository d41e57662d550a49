"""Which questions will go wrong? A text encoder that reads a question alone, and what comes of it.

A question q is asked in n + 1 ways (itself and n rewrites) by each of several routes: alone, with
four choices, or with a sentence that is found for it. Each is answered once, by a member of a panel
of models; the share of wrong answers by a route is the label p̂(q) = k/(n+1), and the share of
answers that agree with the most frequent one is a second. A text encoder with a head for each label
is fitted to them. Before anything is generated it then says

- which questions are risky, so that they can be withheld (ratiocination);
- which of several rewrites of a question to ask: the one with the least predicted risk (rewriting);
- in what order a question's routes should be tried (ranking);
- and by which of them the question is sent, at a price for the words that a model reads (routing).

So a cheap proxy of the *query* is optimised, and it over-optimises like any other proxy: the least
of many noisy predictions is one of the most wrong (`formulas.curves`). With six draws a label
has a standard deviation of up to 0.2, and what is known of it is binomial. So the encoder is fitted
by

    max Σ_q k·log σ(z(q)) + (n+1−k)·log(1 − σ(z(q)))

and not to labels that are cut at a half, which is kept as the arm `cut`. A rewrite that fails as a
paraphrase counts as wrong wherever its answer is not that of the question: true risk is always
that of the *original* question.

The study makes its own world of facts (`loops.fact_questions`): a panel of small Llamas of `widths`
at the steps `at` learns to answer questions about things, some of which it seldom reads of, in ways
some of which it seldom reads, and by all routes. Sentences are stored about two things in three. An
imperfect rewriter changes way and name, and with chance `slip` the thing as well. Questions that
the encoder is tested on have no label; the same facts, put otherwise, may have one. Beside it stand
`length`, a fit to a question's words alone, and `shuffled`, the negative control: the same encoder
on labels that are exchanged between questions, so that it knows the routes and not the questions.

Lines: how well held-out risk is predicted, asked alone (log score above the best possible, in nats;
calibration error; the risk of the safer half of the questions), and the consensus of six fresh
answers; Kendall's τ of a question's routes, beside one order for all questions; the loss of routing
at two prices, with and without withholding, beside the best fixed route; and for each n = 1, 2, 4 …
`most` rewrites the predicted and the true risk of the choice, without and with a penalty on words
that are not the question's, exact over subsets of one pool without slips and of one with them, by
the encoder, by shuffled labels and by `perfect`, which knows every question's mean label.

With `answers=FILE`, JSON lines with question, wrong and draws, the same encoders are fitted to your
labels and tested on every fifth question in turn; rows may say by which route a question was sent,
and how many words were read beside it.

Here (20 seeds): the encoder foretells risk, by 0.058 nats an answer more than length does and 0.060
more than shuffled labels do. Where no answer costs 0.5, the best single action is to withhold all;
to answer what is predicted safe costs 0.064 less, its wrong answers included. τ of its routes is
0.22 above that of one order for all; routing saves 0.022 of 0.082 (open). Of eight rewrites that
keep the meaning, its choice is riskier than the question as asked by 0.030, that by shuffled labels
by 0.063, and a perfect predictor's safer by 0.051. So the label could tell which wording is safer,
and the encoder does not learn it well enough. Where rewrites slip, all three harm (0.080, 0.071 and
0.015 on seed 640), since a question about a commoner thing is safer and answers nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Rng, World
from assay.loops import fact_questions as made
from assay.loops.fact_panel import drawn, expected, panel, risk
from assay.loops.question_rewrites import chosen
from assay.loops.question_routes import Routes, ranked, routed
from assay.models.vocabulary import SPECIAL, Vocabulary
from assay.rewards.risk_encoder import read, told
from assay.rewards.risk_fits import ARMS, fits, logits
from assay.rewards.risk_scores import agreeing, excess, knowing_nothing, score, scores

paper = Paper(
    "Is There No Such Thing as a Bad Question? H4R: HalluciBot For Ratiocination, Rewriting, Ranking, and Routing",  # noqa: E501  # a title stands letter for letter, on one line
    "Watson et al.",
    2024,
    "arXiv:2404.12535",
)
reduces = {}


def study(
    world: World,
    *,
    answers: str = "",
    questions: int = 1200,
    rewrites: int = 5,
    slip: float = 0.05,
    widths: tuple[int, ...] = (16, 24),
    at: tuple[int, ...] = (150, 300),
    stories: float = 0.25,
    asked: int = 300,
    most: int = 16,
    penalty: float = 2.0,
    price: float = 0.01,
    withheld: float = 0.5,
    width: int = 24,
    steps: int = 200,
    lr: float = 1e-2,
) -> Iterator[dict[str, Any]]:
    """Yield lines on risks, ranks and routes of each encoder, then one for each n.

    Args:
        answers: File of your own labels; empty for the study's world.
        questions: Labelled questions.
        rewrites: Rewrites of a question that are answered beside it, at least 1.
        slip: Chance that a rewrite is about another thing, in labels and in one of two pools.
        widths: Widths of the panel's models.
        at: Steps at which each of them joins the panel.
        stories: Share of the panel's text in which the answer stands in the sentence or nowhere.
        asked: Questions that are held out and rewritten.
        most: Rewrites that are chosen from; n doubles from 1 up to it.
        penalty: Logits that a share of foreign words costs, in the second arm.
        price: Wrong answers that a word read beside the question costs; a file's rows say `words`.
        withheld: Wrong answers that a question costs which gets no answer.
        width: Of the encoder.
        steps: Of its fit.
        lr: Learning rate of its fit.
    """
    loop = Loop(max_steps=steps, batch_size=64, learning_rate=lr, warmup_steps=10)
    rng = world.task.rng("questions")
    if answers:
        yield from of_file(Path(answers), width, loop, rng, price, withheld)
        return
    if rewrites < 1 or not 0 <= slip <= 1 or questions < 10 or asked < 10:
        raise InputError(
            f"--rewrites is {rewrites}, --slip {slip}, --questions {questions}, --asked {asked}; a "
            "question needs a rewrite, a slip is a chance, and ten questions are the fewest"
        )
    facts = made.facts(rng("facts"))
    said, updates = panel(
        facts, rng("panel"), widths=widths, at=sorted(at), batch=64, lr=1e-2, stories=stories
    )
    if not (parts := made.divided(questions, asked, rng)):
        raise InputError(f"--questions {questions} and --asked {asked} are more than there are")
    train, test = parts
    ways = torch.cat(
        [train[:, None], made.rewritten(train, rewrites, rng("rewrites"), slip=slip)], 1
    )
    answers_by = [drawn(s, ways, rng("answers", r)) for r, s in enumerate(said)]
    wrong = [(a != facts.right(train)[:, None]).double().mean(1) for a in answers_by]
    shares = torch.stack([*wrong, *map(agreeing, answers_by)], 1)
    R, size = len(made.ROUTES), len(facts.vocabulary)
    models = fits(facts.prompts(train), shares, R, size, width, loop, rng)
    fresh = facts.prompts(test)
    label = expected(facts, said[0], rewrites=rewrites, slip=slip)
    truth = label[made.place(test)]
    around = made.rewritten(test, rewrites, rng("around"), slip=slip)
    asked_so = torch.cat([test[:, None], around], 1)  # as a labelled question is
    consensus = agreeing(drawn(said[0], asked_so, rng("answers to held out")))
    by = torch.stack([risk(facts, s, test, test) for s in said], 1)
    cost = torch.tensor(made.WORDS, dtype=torch.float64)
    routes = Routes(tuple(made.ROUTES), cost, shares[:, :R].mean(0, keepdim=True), by)
    for name, model in models.items():
        logit = logits(model, fresh, R)
        line = {"fit": name, **scores(logit[:, 0], truth), **excess(logit[:, 0], truth)}
        if not isinstance(model, Tensor):
            line["agreement_log_score"] = score(told(model, fresh)[:, R], consensus)
            line["agreement_knowing_nothing"] = knowing_nothing(consensus)
        yield line
        yield {"rank": name, **ranked(logit, routes)}
        for least in (math.inf, withheld):
            for each in (0.0, price):
                yield {"route": name, **routed(logit, routes, price=each, withheld=least)}
    for slips in dict.fromkeys((0.0, slip)):
        pool = made.rewritten(test, 2 * most, rng("pool"), slip=slips)
        texts = facts.prompts(pool.flatten(0, 1))
        away = 1 - made.words_kept(texts, fresh, (asked, 2 * most))
        true = risk(facts, said[0], pool, test[:, None])
        for name in ("encoder", "shuffled", "perfect"):
            if name == "perfect":
                of, own = (label[made.place(q)].logit(eps=1e-9) for q in (pool, test))
            else:
                of = logits(models[name], texts, R)[:, 0].view(asked, 2 * most)
                own = logits(models[name], fresh, R)[:, 0]
            for each in (0.0, penalty):
                lines = chosen(of, true, away, own, by[:, 0], penalty=each, most=most)
                yield from ({"choice": name, "slip": slips, **x} for x in lines)
    spent = questions * (1 + rewrites) * R
    yield {"panel_updates": updates}
    yield from ({"kind": "spent", "arm": n, "labels": spent, "generated": spent} for n in ARMS)


def of_file(
    path: Path, width: int, loop: Loop, rng: Rng, price: float, withheld: float
) -> Iterator[dict[str, Any]]:
    """Fit the encoders to labels of a file, and test each on questions that it has not seen.

    What is known of their risks is a few answers, so nothing is read off the least of them.
    """
    texts, names, share, reads = read(path)
    vocabulary = Vocabulary(sorted({w for t in texts for w in t.split()} - {*SPECIAL}))
    words, R = vocabulary.prompts(texts), len(names)
    fold = rng("folds").permutation(len(texts)) % 5
    found = {name: torch.zeros_like(share) for name in ARMS}
    known = torch.zeros_like(share)
    for k in range(5):
        rest, held = (fold != k).nonzero()[:, 0], (fold == k).nonzero()[:, 0]
        models = fits(words[rest], share[rest], R, len(vocabulary), width, loop, rng)
        known[held] = share[rest].mean(0)
        for name, model in models.items():
            found[name][held] = logits(model, words[held], R)
    routes = Routes(names, reads, known, share, observed=True)
    prices = dict.fromkeys((0.0, price)) if bool(reads.any()) else (0.0,)
    for name, logit in found.items():
        yield {"fit": name, "questions": len(texts), **scores(logit[:, 0], share[:, 0])}
        if R > 1:
            yield {"rank": name, **ranked(logit, routes)}
            for least in (math.inf, withheld):
                for each in prices:
                    yield {"route": name, **routed(logit, routes, price=each, withheld=least)}


@Claim(
    "An encoder that reads a question alone foretells whether answers go wrong, more nearly than "
    "its length does. By what it predicts, questions are answered or withheld, and a question's "
    "routes (alone, with choices, with a sentence found for it) are ranked and one is taken, each "
    "at less loss than by one rule for all questions at the same prices; and of eight rewrites "
    "that keep the meaning, the one whose predicted risk is least is truly safer than the question "
    "as it was asked.",
    arms={"study": ("prompt_risk", {"most": 8})},
    worlds=("study",),
    least={
        "log score over length": 0.005,
        "log score over shuffled labels": 0.005,
        "withholding over the best action": 0.01,
        "withholding over shuffled labels": 0.01,
        "rewriting over as asked": 0.02,
        "rewriting over shuffled labels": 0.02,
        "ranking over one order": 0.03,
        "ranking over shuffled labels": 0.03,
        "routing over the best route": 0.01,
        "routing over shuffled labels": 0.01,
        "room for rewriting": 0.03,
        "room for routing": 0.03,
    },
    seeds="640..659",
    control=(
        "log score over shuffled labels",
        "withholding over shuffled labels",
        "rewriting over shuffled labels",
        "ranking over shuffled labels",
        "routing over shuffled labels",
    ),
    broken="the labels are exchanged between questions; encoder and fit are the same",
    premises=("room for rewriting", "room for routing"),
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Log scores of a rival minus the encoder's, in nats an answer; losses of the best fixed action
    (withholding all is one) and of shuffled labels minus the encoder's, with words at their price;
    Kendall's τ of routes minus that of one order for all and of shuffled labels; and true risks as
    asked, and by the choice with shuffled labels, minus those by the encoder's choice of eight that
    keep the meaning. The room for rewriting is what the same choice saves by a perfect predictor.
    """
    lines = arms["study"]
    fit = {x["fit"]: x["log_score"] for x in lines if "fit" in x}
    rank = {x["rank"]: x for x in lines if "rank" in x}
    sent = {(x["route"], x["withheld"] is None): x for x in lines if x.get("price")}
    eight = [x for x in lines if "choice" in x and x["n"] == 8]
    line = {x["choice"]: x for x in eight if x["penalty"] == x["slip"] == 0}
    mine, by, held = line["encoder"], sent["encoder", True], sent["encoder", False]
    return {
        "log score over length": fit["length"] - fit["encoder"],
        "log score over shuffled labels": fit["shuffled"] - fit["encoder"],
        "withholding over the best action": held["best_fixed"] - held["loss"],
        "withholding over shuffled labels": sent["shuffled", False]["loss"] - held["loss"],
        "rewriting over as asked": mine["as_asked"] - mine["true_risk"],
        "rewriting over shuffled labels": line["shuffled"]["true_risk"] - mine["true_risk"],
        "ranking over one order": rank["encoder"]["kendall"] - rank["encoder"]["fixed_kendall"],
        "ranking over shuffled labels": rank["encoder"]["kendall"] - rank["shuffled"]["kendall"],
        "routing over the best route": by["best_fixed"] - by["loss"],
        "routing over shuffled labels": sent["shuffled", True]["loss"] - by["loss"],
        "room for rewriting": mine["as_asked"] - line["perfect"]["true_risk"],
        "room for routing": by["best_fixed"] - by["least_possible"],
    }
