"""Which questions will go wrong? A text encoder that reads a question alone, and what comes of it.

A question q is asked in n + 1 ways (itself and n rewrites), each answered once, by a member of a
panel of models; the share of wrong answers is the label p̂(q) = k/(n+1), and the share of answers
that agree with the most frequent one is a second. A text encoder with two heads is fitted to these
labels. Before anything is generated it then says which questions are risky, to abstain or to route
them, and which of several rewrites of a question to ask: the one with the least predicted risk. So
a cheap proxy of the *query* is optimised, and it over-optimises like any other proxy: the least of
many noisy predictions is one of the most wrong (`formulas.curves`).

With six draws a label has a standard deviation of up to 0.2, and what is known of it is binomial.
So the encoder is fitted by

    max Σ_q k·log σ(z(q)) + (n+1−k)·log(1 − σ(z(q)))

and not to labels that are cut at a half, which is kept as the arm `cut`. A rewrite that fails as a
paraphrase counts as wrong wherever its answer is not that of the question: true risk is always
that of the *original* question.

The study makes its own world of facts (`loops.fact_questions`): a panel of small Llamas of `widths`
at the steps `at` learns to answer questions about things, some of which it seldom reads of, in ways
some of which it seldom reads. An imperfect rewriter changes way and name, and with chance `slip`
the thing as well. Questions that the encoder is tested on have no label; the same facts, put
otherwise, may have one. Beside it stand `length`, a fit to a question's words alone, and
`shuffled`, the negative control: the same encoder on labels that are exchanged between questions.

Lines: how well held-out risk is predicted (log score above the best possible, in nats; calibration
error; the risk of the safer half of the questions), and by the second head the consensus of six
fresh answers; then for each n = 1, 2, 4 … `most` rewrites the
predicted and the true risk of the choice, without and with a penalty on words that are not the
question's, exact over subsets of one pool. With `answers=FILE`, JSON lines with question, wrong and
draws, the same encoders are fitted to your labels and tested on every fifth question in turn.

Here: the encoder foretells risk, by 0.026 nats an answer more than length or shuffled labels do (40
seeds); and choosing among rewrites harms, by 0.08 at eight: the predicted risk falls with n and the
true one rises from the first rewrite on. There was room: the truly best of eight rewrites and the
question itself takes the risk from 0.513 to 0.478 and from 0.472 to 0.400 (seeds 0 and 1; a rewrite
at random has 0.559 and 0.527). But labels are means over wordings, so
that the encoder learns the question and not the wording: its logit and the true risk correlate by
0.64 and 0.54 over questions, and by −0.08 and −0.005 over one question's rewrites (without slips by
0.25 and 0.14). The claim asks for both and does not hold. More questions may do better.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import Claim, InputError, Loop, Paper, Prompts, Rng, World
from assay.formulas.curves import best_of_n
from assay.formulas.pairwise import bradley_terry
from assay.loops import fact_questions as made
from assay.models.vocabulary import Vocabulary
from assay.rewards.risk_encoder import Labelled, RiskEncoder, fitted, of_length, read, told
from assay.stats.calibration import calibration

paper = Paper(
    "Is There No Such Thing as a Bad Question? H4R: HalluciBot For Ratiocination, Rewriting, Ranking, and Routing",  # noqa: E501  # a title stands letter for letter, on one line
    "Watson et al.",
    2024,
    "arXiv:2404.12535",
)
reduces = {}
ARMS = ("encoder", "cut", "length", "shuffled")


def study(
    world: World,
    *,
    answers: str = "",
    questions: int = 1200,
    rewrites: int = 5,
    slip: float = 0.05,
    widths: tuple[int, ...] = (16, 24),
    at: tuple[int, ...] = (75, 150),
    asked: int = 150,
    most: int = 16,
    penalty: float = 2.0,
    width: int = 24,
    steps: int = 100,
    lr: float = 1e-2,
) -> Iterator[dict[str, Any]]:
    """Yield one line for each encoder, then one for each n with and without the penalty.

    Args:
        answers: File of your own labels; empty for the study's world.
        questions: Labelled questions.
        rewrites: Rewrites of a question that are answered beside it, at least 1.
        slip: Chance that a rewrite is about another thing.
        widths: Widths of the panel's models.
        at: Steps at which each of them joins the panel.
        asked: Questions that are held out and rewritten.
        most: Rewrites in a pool; n doubles from 1 up to it.
        penalty: Logits that a share of foreign words costs, in the second arm.
        width: Of the encoder.
        steps: Of its fit.
        lr: Learning rate of its fit.
    """
    loop = Loop(max_steps=steps, batch_size=64, learning_rate=lr, warmup_steps=10)
    rng = world.task.rng("questions")
    if answers:
        yield from of_file(Path(answers), width, loop, rng)
        return
    if rewrites < 1 or not 0 <= slip <= 1 or questions < 10 or asked < 10:
        raise InputError(
            f"--rewrites is {rewrites}, --slip {slip}, --questions {questions}, --asked {asked}; a "
            "question needs a rewrite, a slip is a chance, and ten questions are the fewest"
        )
    facts = made.facts(rng("facts"))
    said, updates = made.panel(facts, rng("panel"), widths=widths, at=sorted(at), batch=64, lr=1e-2)
    train, test = divided(questions, asked, rng)
    ways = torch.cat(
        [train[:, None], made.rewritten(train, rewrites, rng("rewrites"), slip=slip)], 1
    )
    answer = made.drawn(said, ways, rng("answers"))
    wrong = (answer != facts.right(train)[:, None]).double().mean(1)
    shares = torch.stack([wrong, agreeing(answer)], 1)
    words, size = facts.prompts(train), len(facts.vocabulary)
    models = encoders(words, shares, size, width, loop, rng)
    fresh = facts.prompts(test)
    around = made.rewritten(test, 64, rng("around"), slip=slip)
    truth = made.risk(facts, said, around, test[:, None]).mean(1)
    asked_so = torch.cat([test[:, None], around[:, :rewrites]], 1)  # as a labelled question is
    consensus = agreeing(made.drawn(said, asked_so, rng("answers to held out")))
    for name, model in models.items():
        line = {"fit": name, **predicted(logits(model, fresh), truth)}
        if not isinstance(model, Tensor):
            agree = told(model, fresh)[:, 1]
            line["agreement_log_score"] = score(agree, consensus)
            line["agreement_knowing_nothing"] = knowing_nothing(consensus)
        yield line
    pool = made.rewritten(test, 2 * most, rng("pool"), slip=slip)
    flat = pool.flatten(0, 1)
    away = 1 - made.words_kept(facts.prompts(flat), fresh, (asked, 2 * most))
    true = made.risk(facts, said, pool, test[:, None])
    as_asked = made.risk(facts, said, test, test)
    for name in ("encoder", "shuffled"):
        of = logits(models[name], facts.prompts(flat)).view(asked, 2 * most)
        own = logits(models[name], fresh)
        for price in (0.0, penalty):
            yield from chosen(name, of, true, away, price, most, own, as_asked)
    spent = {"labels": questions * (1 + rewrites), "generated": questions * (1 + rewrites)}
    yield {"panel_updates": updates}
    yield from ({"kind": "spent", "arm": name, **spent} for name in ARMS)


def divided(questions: int, asked: int, rng: Rng) -> tuple[Int[Tensor, "Q 4"], Int[Tensor, "T 4"]]:
    """Questions about all things alike; of those that are asked, none has a label."""
    every = len(made.every())
    held = torch.zeros(every, dtype=torch.bool)
    held[rng("held out").permutation(every)[: every // 4]] = True
    many = made.asked(8 * max(questions, asked), rng("asked"), evenly=True)
    out = held[made.place(many)]
    train, test = many[~out][:questions], many[out][:asked]
    if len(test) < asked or len(train) < questions:
        raise InputError(f"--questions {questions} and --asked {asked} are more than there are")
    return train, test


def encoders(
    words: Prompts,
    shares: Float[Tensor, "B H"],
    size: int,
    width: int,
    loop: Loop,
    rng: Rng,
) -> dict[str, RiskEncoder | Float[Tensor, "2"]]:
    """Fit the encoder, its two companions on other labels, and the fit to a question's length."""
    other = rng("shuffled").permutation(len(shares))
    labels = {"encoder": shares, "cut": (shares > 0.5).double(), "shuffled": shares[other]}
    out: dict[str, RiskEncoder | Tensor] = {}
    for name in ARMS:
        if name == "length":
            out[name] = of_length(words.mask.sum(1).double(), shares[:, 0])
            continue
        data = Labelled(words.tokens, words.mask, labels[name])
        out[name] = fitted(data, size, rng("fit"), width=width, loop=loop)
    return out


def logits(model: RiskEncoder | Tensor, questions: Prompts) -> Float[Tensor, "B"]:
    """Logit of a wrong answer, as a model predicts it."""
    if isinstance(model, Tensor):
        return questions.mask.sum(1).double() / 10 * model[0] + model[1]
    return told(model, questions)[:, 0]


def predicted(logit: Float[Tensor, "B"], truth: Float[Tensor, "B"]) -> dict[str, float]:
    """How near predictions come to risks, or to shares of wrong answers."""
    order = logit.argsort()
    return {
        "log_score": score(logit, truth),
        "excess_log_score": score(logit, truth) - score(truth.clamp(1e-6, 1 - 1e-6).logit(), truth),
        "knowing_nothing": knowing_nothing(truth),
        "calibration_error": calibration(logit.numpy(), truth.numpy()).error,
        "risk": float(truth.mean()),
        "predicted_risk": float(logit.sigmoid().mean()),
        "risk_of_the_safer_half": float(truth[order[: len(order) // 2]].mean()),
    }


def agreeing(answer: Int[Tensor, "B D"]) -> Float[Tensor, "B"]:
    """Share of each question's answers that agree with the most frequent one."""
    return (answer == answer.mode(1).values[:, None]).double().mean(1)


def knowing_nothing(truth: Float[Tensor, "B"]) -> float:
    """The score of one prediction for all questions, their mean."""
    return score(truth.mean().logit().expand_as(truth), truth)


def score(logit: Float[Tensor, "B"], truth: Float[Tensor, "B"]) -> float:
    """Mean −log likelihood, in nats, of answers that are wrong with these chances."""
    return float(bradley_terry(logit, torch.zeros_like(logit), p=truth).mean())


def chosen(
    name: str,
    logit: Float[Tensor, "B N"],
    true: Float[Tensor, "B N"],
    away: Float[Tensor, "B N"],
    price: float,
    most: int,
    own: Float[Tensor, "B"],
    as_asked: Float[Tensor, "B"],
) -> Iterator[dict[str, Any]]:
    """Risks of what is asked: of a question and n = 1, 2, 4 … rewrites, the least predicted one."""
    ns = [1 << i for i in range(most.bit_length()) if 1 << i <= most]
    rank, first = -(logit + price * away), -own[:, None]
    stays = rank <= first  # a rewrite that is predicted no safer leaves the question as it is
    values = [(logit.sigmoid(), own.sigmoid()), (true, as_asked), (away, torch.zeros_like(own))]
    here = torch.ones_like(stays)
    curves = [
        best_of_n(torch.maximum(rank, first), torch.where(stays, b[:, None], a), ns, here).mean(0)
        for a, b in values
    ]
    for n, p, t, d in zip(ns, *curves, strict=True):
        yield {
            "choice": name,
            "penalty": price,
            "n": n,
            "predicted_risk": float(p),
            "true_risk": float(t),
            "as_asked": float(as_asked.mean()),
            "foreign_words": float(d),
        }


def of_file(path: Path, width: int, loop: Loop, rng: Rng) -> Iterator[dict[str, Any]]:
    """Fit the encoders to labels of a file, and test each on questions that it has not seen."""
    texts, share = read(path)
    known = Vocabulary(sorted({w for t in texts for w in t.split()} - {"<pad>", "<bos>", "<eos>"}))
    words = known.prompts(texts)
    fold = rng("folds").permutation(len(texts)) % 5
    found = {name: torch.zeros(len(texts), dtype=torch.float64) for name in ARMS}
    for k in range(5):
        rest, held = (fold != k).nonzero()[:, 0], (fold == k).nonzero()[:, 0]
        models = encoders(words[rest], share[rest, None], len(known), width, loop, rng)
        for name, model in models.items():
            found[name][held] = logits(model, words[held])
    for name in ARMS:
        yield {"fit": name, "questions": len(texts), **predicted(found[name], share)}


@Claim(
    "An encoder that reads a question alone foretells whether answers go wrong, more nearly than "
    "its length does, and of eight rewrites the one whose predicted risk is least is truly safer "
    "than the question as it was asked.",
    arms={"study": ("prompt_risk", {})},
    worlds=("study",),
    least={
        "log score over length": 0.005,
        "log score over shuffled labels": 0.005,
        "rewriting over as asked": 0.02,
        "rewriting over shuffled labels": 0.02,
    },
    seeds="300..339",
    control=("log score over shuffled labels", "rewriting over shuffled labels"),
    broken="the labels are exchanged between questions; encoder and fit are the same",
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Log scores of a rival minus the encoder's, in nats an answer; and true risks as asked, and by
    the choice of the encoder with shuffled labels, minus those by the encoder's choice of eight.
    """
    fit = {x["fit"]: x["log_score"] for x in arms["study"] if "fit" in x}
    line = {
        x["choice"]: x for x in arms["study"] if "choice" in x and x["n"] == 8 and x["penalty"] == 0
    }
    mine = line["encoder"]
    return {
        "log score over length": fit["length"] - fit["encoder"],
        "log score over shuffled labels": fit["shuffled"] - fit["encoder"],
        "rewriting over as asked": mine["as_asked"] - mine["true_risk"],
        "rewriting over shuffled labels": line["shuffled"]["true_risk"] - mine["true_risk"],
    }
