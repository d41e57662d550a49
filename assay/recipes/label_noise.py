"""Audit a judge by noisy raters alone: find how noisy they are, and correct the audit by it.

The paper wants to audit a model for fairness where the sensitive attribute is missing. A few weak
proxies of it are enough to find their own error rates, and the audit is then corrected by these.
Here the hidden thing is which of two completions is truly better, the proxies are raters, and what
is audited is a reward model's choice between the two: its accuracy, and its disparity (how far its
choice differs between the two truths). With truth y, votes r₁, r₂, r₃ and
dⱼ = P(rⱼ=1|y=1) − P(rⱼ=1|y=0), independence given y makes

    cov(rᵢ, rⱼ) = p(1−p)·dᵢdⱼ          E Π(rⱼ − Erⱼ) = p(1−p)(1−2p)·d₁d₂d₃

These are seven equations in seven unknowns, solved in closed form (`formulas.noise.three_raters`);
for more classes or missing votes, by expectation–maximisation (`dawid_skene`). With the noise
matrix T and the shares of (vote, decision), the shares of (truth, decision) are

    P(truth, f = d) = (T_dᵀ)⁻¹·P(vote, f = d)

with one T for all decisions (`global`) or one for each (`local`), averaged over the raters. Beside
them stand the audit by the votes as they are (`raw`), by the majority's word (`majority`), by the
posterior of expectation–maximisation (`em`), and `exchanged`, in which each rater is corrected by
another rater's matrix. The average over raters hardly suffers by that, because the deviations of
the matrices from one another sum to zero; so the negative control is of single raters
(`other_matrix_error` against `own_matrix_error`).

The study makes items of pairs: the first reward model's favourite of `best_of` samples, and a
single sample; the truth is whether the favourite has more gold, and the last reward model is
audited. The raters are planted: `independent` with the given `rates` (one who seldom errs, one who
misses, and one who passes what is worse, since raters who are alike could be corrected by one
another's matrix); `leaning`, whose errors depend on what the audited model chose, so that only
`local` is right; `copying`, in which the second repeats the first with chance `copies`; `hard`, in
which each votes by Bradley–Terry on gold with its own temperature, so that close pairs are hard for
all, as they are for people. The last two break what the method rests on, and three binary raters
leave no equation over with which to notice it.

Here, mean errors of seeds 300 to 339: independent raters: votes .071, majority .030, one matrix
.008; leaning: votes .062, majority .096, one matrix .187 (worse than the votes on every seed), one
a decision .016; hard: votes .064, majority .036, one matrix .031 (worse than the majority on 14 of
40 seeds), one a decision .080. So the correction helps where errors are known to be independent of
the audited model, one matrix a decision where they are known to lean on it, and on raters of whom
neither is known the wrong one of the two is worse than none.

With `raters=FILE`, JSON lines whose column `raters` holds three votes (0 a tie, 1 the first, 2 the
second), the last lines are of real people: each rater's matrix for three classes, the fit of
independence (the likelihood ratio of the 27 patterns, which three raters and *three* classes do
allow), and, where the file has prompt, response_1 and response_2, the audit of `judge`: any reward
(a folder of assay fit, FILE.py:name, a server), or the length of a response if none is given, with
95 % bootstrap intervals over items. The columns need not be the same three people throughout.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.core import Claim, InputError, Paper, Rng, World
from assay.formulas.noise import Audit, audit, corrected, dawid_skene, three_raters
from assay.loops import votes as real

paper = Paper(
    "Weak Proxies are Sufficient and Preferable for Fairness with Missing Sensitive Attributes",
    "Zhu et al.",
    2023,
    "arXiv:2210.03175",
)
reduces = {}
METHODS = ("raw", "majority", "em", "global", "local", "exchanged")


def study(
    world: World,
    *,
    items: int = 4000,
    rates: tuple[float, ...] = (0.05, 0.1, 0.35, 0.1, 0.15, 0.4),
    lean: float = 0.1,
    copies: float = 0.5,
    best_of: int = 4,
    raters: str = "",
    judge: str = "",
) -> Iterator[dict[str, Any]]:
    """Yield one line for each kind of raters, and lines for a file of real votes.

    Args:
        items: Pairs voted on.
        rates: Two error rates a rater: missing a better favourite, passing a worse one; below 0.5.
        lean: What leaning raters err more where the audited model is wrong, and less where it is
            right.
        copies: How often the second rater repeats the first, from 0 to 1.
        best_of: Samples among which the favourite is chosen.
        raters: File of real votes, JSON lines with a column `raters`; empty for none.
        judge: What is audited on the file: a reward; empty for the length of a response.
    """
    if len(rates) != 6 or not all(0 <= r < 0.5 for r in rates):
        raise InputError(
            f"--rates is {list(rates)}; it is two error rates below 0.5 for each of three raters"
        )
    for name, value in (("copies", copies), ("lean", lean)):
        if not 0 <= value <= 1:
            raise InputError(f"--{name} is {value}; it is a chance, from 0 to 1")
    people = real.read(Path(raters)) if raters else None
    gap, decision = pairs(world, items, best_of)
    truth = (gap > 0).long()
    for name, votes in voted(gap, decision, rates, lean, copies, world.task.rng("raters")).items():
        yield {"raters": name, "items": len(gap), **compared(votes, truth, decision)}
    yield from (
        {"kind": "spent", "arm": name, "labels": 3 * len(gap), "scored": 2 * len(gap)}
        for name in METHODS
    )
    if people is not None:
        yield from real.of_people(people.votes)
        yield from real.audited(people, judge, world.task.rng("people"))


def pairs(world: World, items: int, best_of: int) -> tuple[Float[Tensor, "S"], Int[Tensor, "S"]]:
    """Gold of the first reward model's favourite of `best_of` minus that of one more sample, and
    whether the last reward model prefers the favourite.
    """
    if world.gold is None:
        raise InputError(
            "this study needs to know the truth, and this world has no gold; use --world table"
        )
    rows = torch.arange(items) % len(world.task.prompts)
    x = world.task.reference.sample(world.task.prompts[rows], best_of + 1, world.task.rng("items"))
    scores = world.task.rewards(x)
    favourite = scores[0, :, :best_of].argmax(-1, keepdim=True)
    gold, last = world.gold(x)[0].double(), scores[-1].double()
    gap, liked = (y.gather(-1, favourite)[:, 0] - y[:, best_of] for y in (gold, last))
    clear = gap != 0  # of two equal completions none is better
    return gap[clear], (liked[clear] > 0).long()


def voted(
    gap: Float[Tensor, "S"],
    decision: Int[Tensor, "S"],
    rates: tuple[float, ...],
    lean: float,
    copies: float,
    rng: Rng,
) -> dict[str, Int[Tensor, "S 3"]]:
    """Votes of four kinds of raters; 1 for the favourite."""
    truth, n = (gap > 0).long()[:, None], torch.arange(len(gap))
    u = rng.uniform(n[:, None], torch.arange(3), dtype=torch.float64)
    miss, alarm = torch.tensor(rates, dtype=torch.float64).reshape(3, 2).T
    wrong = torch.where(truth > 0, miss, alarm)  # [S,3]
    own = torch.where(u < wrong, 1 - truth, truth)
    with_it = torch.where(decision[:, None] == truth, -lean, lean)
    leaning = torch.where(u < (wrong + with_it).clamp(0, 1), 1 - truth, truth)
    repeated = rng("copies").uniform(n) < copies
    copying = torch.stack([own[:, 0], torch.where(repeated, own[:, 0], own[:, 1]), own[:, 2]], 1)
    scale = torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64)
    hard = (u < (gap[:, None] / scale).sigmoid()).long()
    return {"independent": own, "leaning": leaning, "copying": copying, "hard": hard}


def table(
    first: Int[Tensor, "S"], decision: Int[Tensor, "S"], weight: Tensor | None = None
) -> Float[Tensor, "2 2"]:
    """Shares of (class, decision)."""
    counts = torch.zeros(4, dtype=torch.float64)
    each = torch.ones(len(first), dtype=torch.float64) if weight is None else weight
    return counts.index_add(0, 2 * first + decision, each).reshape(2, 2) / len(first)


def matrices(votes: Int[Tensor, "S 3"]) -> Float[Tensor, "3 2 2"]:
    """P(vote | truth) of each rater in closed form; NaN where there is no solution."""
    try:
        found = three_raters(votes.double())
    except ValueError:  # no agreement beyond chance, or too few items: the line says so by null
        return torch.full((3, 2, 2), torch.nan, dtype=torch.float64)
    one = torch.stack([found.alarm, found.hit], 1)  # [3,2]: P(vote 1 | truth 0), … | truth 1
    return torch.stack([1 - one, one], -1)


def audits(votes: Int[Tensor, "S 3"], decision: Int[Tensor, "S"]) -> dict[str, tuple[float, float]]:
    """Accuracy and disparity of the decisions by each method, from votes alone."""
    seen = [table(votes[:, r], decision) for r in range(3)]
    T = matrices(votes)
    local = torch.stack([matrices(votes[decision == d]) for d in (0, 1)], 1)  # [3,D,2,2]
    posterior = dawid_skene(votes, classes=2).posterior
    held = [table(torch.full_like(decision, k), decision, posterior[:, k]) for k in (0, 1)]
    found = {
        "raw": torch.stack(seen).mean(0),
        "majority": table((votes.sum(1) > 1).long(), decision),
        "em": held[0] + held[1],
    }
    for name, given in (("global", T), ("local", local), ("exchanged", T.roll(1, 0))):
        if bool(torch.isfinite(given).all()):
            by = [corrected(x, t) for x, t in zip(seen, given, strict=True)]
            found[name] = torch.stack(by).mean(0)
    said = {name: audit(joint) for name, joint in found.items()}
    return {name: (float(a.accuracy), float(a.gap)) for name, a in said.items()}


def compared(
    votes: Int[Tensor, "S 3"], truth: Int[Tensor, "S"], decision: Int[Tensor, "S"]
) -> dict[str, Any]:
    """The true audit, that by each method, and their mean absolute errors; with the errors of the
    six rates by the majority's word and in closed form.
    """
    right, T = audit(table(truth, decision)), matrices(votes)
    out: dict[str, Any] = {"accuracy": float(right.accuracy), "disparity": float(right.gap)}
    said = audits(votes, decision)
    for name in METHODS:
        accuracy, gap = said.get(name, (None, None))
        out[f"{name}_accuracy"], out[f"{name}_disparity"] = accuracy, gap
        out[f"{name}_error"] = (
            None
            if accuracy is None or gap is None
            else (abs(accuracy - out["accuracy"]) + abs(gap - out["disparity"])) / 2
        )

    def rates_given(label: Tensor) -> Tensor:
        y = label.double()[:, None]
        return torch.cat([(votes * y).sum(0) / y.sum(), (votes * (1 - y)).sum(0) / (1 - y).sum()])

    true = rates_given(truth)
    closed = torch.cat([T[:, 1, 1], T[:, 0, 1]])
    majority = rates_given((votes.sum(1) > 1).long())
    return {
        **out,
        "own_matrix_error": of_one_rater(votes, decision, T, right),
        "other_matrix_error": of_one_rater(votes, decision, T.roll(1, 0), right),
        "rates_error_closed": float((closed - true).abs().mean()),
        "rates_error_majority": float((majority - true).abs().mean()),
    }


def of_one_rater(
    votes: Int[Tensor, "S 3"], decision: Int[Tensor, "S"], T: Float[Tensor, "3 2 2"], right: Audit
) -> float | None:
    """Mean over the raters of the error of the audit by one rater's votes alone, corrected.

    Where audits are averaged over the raters, matrices that are exchanged among them err in
    directions that cancel: whose matrix is whose shows on single raters only.
    """
    if not bool(torch.isfinite(T).all()):
        return None
    said = [audit(corrected(table(votes[:, r], decision), T[r])) for r in range(3)]
    errors = [abs(a.accuracy - right.accuracy) + abs(a.gap - right.gap) for a in said]
    return float(sum(errors)) / 6


@Claim(
    "Of raters who are planted with errors independent given the truth, an audit corrected by the "
    "noise matrix that is found from their votes alone is nearer to the truth than by the votes as "
    "they are, by the majority and by the raters' posterior; and where the planted errors lean on "
    "the audited model's decision, one matrix a decision is nearer than one for all.",
    arms={"study": ("label_noise", {})},
    worlds=("table",),
    least=0.005,
    seeds="340..379",
    control=("over exchanged matrices, one rater",),
    broken="each rater is corrected by another rater's matrix; votes and method are the same",
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Errors of accuracy and disparity (their mean) of a rival minus those of the corrected audit:
    one matrix for all with independent raters, one a decision with leaning ones; and of the audit
    by one rater's votes, by another rater's matrix and by their own. Raters who copy, and raters to
    whom close pairs are hard, are in the study's lines and in no part.
    """
    at = {x["raters"]: x for x in arms["study"] if "raw_error" in x}
    rivals = {"over the votes": "raw", "over the majority": "majority", "over the posterior": "em"}
    one, lean = at["independent"], at["leaning"]
    found = {k: (one[f"{v}_error"], one["global_error"]) for k, v in rivals.items()}
    found["over exchanged matrices, one rater"] = one["other_matrix_error"], one["own_matrix_error"]
    found["local over global, raters leaning"] = lean["global_error"], lean["local_error"]
    if any(x is None for pair in found.values() for x in pair):
        raise ValueError("the raters do not agree beyond chance, so no noise matrix was found")
    return {name: rival - mine for name, (rival, mine) in found.items()}
