"""POLAR: learn a reward without preferences, by telling policies apart.

The reward is r(x, reference, candidate): how much the candidate looks as if it came from the policy
that wrote the reference completion.

Pretraining: of policies A ≠ B, two completions y₁, y₂ of A and one y₃ of B to one prompt, with loss
−log σ(r(x, y₁, y₂) − r(x, y₁, y₃)). y₁ is never y₂: a pair that showed the candidate as its own
reference would teach copying. Fine-tuning: the same loss on (reference, chosen, rejected). In RL a
prompt's references say what is wanted, and the reward is their mean. The idea: the best policy
under a KL penalty is π₀·e^{r/β}/Z, so log π_target/π₀ *is* a reward, and likeness to the target's
completions estimates it.

Policies here are random tilts of a table's reference: π_k ∝ π₀·e^{w_k}, w_k normal in the space of
a few random directions (`styles`), so that policies have habits in common, as those trained on
similar data do. With `styles=0` every token is a direction of its own, and nothing can be learnt
from some policies about others but how to weigh shared words. The lines:

- "policies": accuracy on pairs of policies never seen, after pretraining on so many (`numbers`).
  Beside it stands what needs no training: `overlap` (shared tokens of reference and candidate),
  `perplexity` (whose log π₀ is nearer to the reference's), and length (all completions of a table
  are of one length: ½). `oracle` knows A and B and takes the likelier one. What is missing to 1 is
  in no reward's reach, since two samples of A may differ more than a sample of A from one of B.
- "labels": accuracy on pairs ordered by gold, with a demonstration to the same prompt as reference:
  without labels, and after fine-tuning on 50 and on all of the world's pairs (noisy ones), against
  the same network from scratch on those labels, which sees the same references.

The claim is the first: beyond overlap, or pretraining has learnt nothing that counting does not
say. `styles` was brought in after free tilts had failed to pass overlap at up to 256 policies; the
claim asks for both: policies with habits in common, and policies without.

Here: with few styles, accuracy on unseen policies grows with the number of pretraining policies,
past overlap and far below the oracle; with `styles=0` (the arm `free`) it does not pass overlap. On
gold's own order pretraining brings nothing that the same labels do not bring from scratch: the
tilts know nothing of gold, where a language model's policies know of quality.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from assay.core import (
    Claim,
    InputError,
    Loop,
    Missing,
    Pairs,
    Paper,
    Policy,
    Rng,
    Samples,
    World,
    cat,
)
from assay.formulas.pairwise import bradley_terry
from assay.rewards.discriminator import Discriminator, Imitation, beside, triples
from assay.rewards.fit import fitted

paper = Paper(
    "Pre-Trained Policy Discriminators are General Reward Models",
    "Dou et al.",
    2025,
    "arXiv:2507.05197",
)
reduces = {}


def study(
    world: World,
    *,
    numbers: tuple[int, ...] = (4, 32, 256),
    unseen: int = 32,
    styles: int = 6,
    strength: float = 1.0,
    width: int = 64,
    triples_each: int = 8000,
    updates: int = 300,
    rate: float = 2e-3,
) -> Iterator[dict[str, Any]]:
    """Yield one line for each number of policies and each number of labels.

    Args:
        numbers: Numbers of pretraining policies, each at least 2.
        unseen: Policies of the test, at least 2.
        styles: Directions in which policies differ; 0 for a direction a token.
        strength: Largest standard deviation of a tilt.
        width: Width of the network.
        triples_each: Comparisons of a pretraining and of a test.
        updates: Updates of a fit, each on 64 comparisons.
        rate: Learning rate of a fit.
    """
    reference: Any = world.task.reference
    if not hasattr(reference, "tilted"):
        raise Missing(
            f"the policies of world {world.name} cannot be tilted token by token; use --world table"
        )
    if world.gold is None or min(numbers, default=0) < 2 or unseen < 2:
        raise InputError(
            f"--numbers is {list(numbers)} and --unseen {unseen}; each needs at least 2 policies, "
            "and the world a gold"
        )
    rng, V = world.task.rng("policy discriminator"), reference.logits.shape[-1]
    many = tilts(reference, max(numbers) + unseen, rng("tilts"), styles=styles, strength=strength)
    new, oracle = compared(many[:unseen], world.task.prompts, triples_each, rng("test"))
    loop = Loop(max_steps=updates, batch_size=64, learning_rate=rate, warmup_steps=10)
    base = {
        "overlap": right(_overlap(new)),
        "perplexity": right(_perplexity(new, reference)),
        "length": 0.5,
        "oracle": oracle,
    }
    model = Discriminator(V, width, rng("network"))
    for K in numbers:
        shown, _ = compared(
            many[unseen : unseen + K], world.task.prompts, triples_each, rng("train", K)
        )
        model = Discriminator(V, width, rng("network"))
        reward = _fit(model, shown, loop)
        yield {
            "kind": "policies",
            "policies": K,
            "accuracy": right(reward(new)[0]),
            "seen": right(reward(shown)[0]),
            **base,
        }

    demos, labeled, held = _by_prompt(world.task.demos), world.task.pairs, world.task.prompts
    completions = world.task.reference.sample(held, 64, rng("answers"))
    gold = world.gold(completions)[0]
    start = {k: v.detach().clone() for k, v in model.state_dict().items()}
    for labels in (0, 50, len(labeled)):
        line: dict[str, Any] = {"kind": "labels", "labels": labels}
        for name in ("pretrained", "scratch"):
            net = Discriminator(V, width, rng("network"))
            if name == "pretrained":
                net.load_state_dict(start)
            reward = net.freeze((name,))
            if labels:
                reward = _fit(
                    net,
                    _referred(labeled[:labels], demos),
                    Loop(max_steps=max(1, updates // 4), batch_size=64, learning_rate=rate),
                )
            score = reward.against(demos)(completions)[0]
            line[name] = None if name == "scratch" and not labels else _ordered(score, gold)
        yield line


def tilts(reference: Any, count: int, rng: Rng, *, styles: int, strength: float) -> list[Policy]:
    """Make policies π_k ∝ π₀·e^{w_k} with random w_k.

    w_k is normal, with a standard deviation of its own from a third of `strength` to all of it; in
    the space of `styles` random directions, or in all.
    """
    V = reference.logits.shape[-1]
    w = rng("direction").normal(torch.arange(count)[:, None], torch.arange(styles or V))
    if styles:
        w = w @ rng("style").normal(torch.arange(styles)[:, None], torch.arange(V)) / styles**0.5
    deviation = strength * (1 + 2 * rng("strength").uniform(torch.arange(count))) / 3
    return [reference.tilted((deviation[k] * w[k])[None], beta=1.0) for k in range(count)]


def compared(policies: list[Policy], prompts: Any, count: int, rng: Rng) -> tuple[Pairs, float]:
    """Make triples of random A ≠ B: y₁ of A as reference, y₂ of A chosen, y₃ of B rejected.

    Returns:
        The triples, and how often knowing A and B tells y₂ from y₃.
    """
    K, i = len(policies), torch.arange(count)
    asked = prompts[rng("prompt").integers(len(prompts), i)]
    a = rng("A").integers(K, i)
    b = (a + 1 + rng("B").integers(K - 1, i)) % K

    def each(k: Tensor, f: Callable[[Policy, Tensor], Samples]) -> Samples:
        """What `f` makes of a policy and its rows, put back in the rows' order."""
        rows = [(k == j).nonzero().flatten() for j in range(K)]
        made = cat([f(policies[j], r) for j, r in enumerate(rows) if len(r)])
        return made[torch.argsort(torch.cat(rows))]

    first = each(a, lambda p, r: p.sample(asked[r], 2, rng("of A")[r]))
    other = each(b, lambda p, r: p.sample(asked[r], 1, rng("of B")[r]))
    y1, y2 = (first.pick(torch.full((count, 1), n)) for n in range(2))
    made = triples(y1, y2, other)

    def likelier(x: Pairs) -> Tensor:
        """log π_A/π_B of the two candidates: what someone who knows both would go by."""
        of = [each(k, lambda p, r: replace(x[r], logp=p.logp(x[r]))).logp.sum(-1) for k in (a, b)]
        return of[0] - of[1]

    with torch.no_grad():
        return made, right(likelier(made))


def right(score: Tensor) -> float:
    """Share of rows `[B,2]` whose first is the higher; a tie is half."""
    return float(((torch.sign(score[:, 0] - score[:, 1]) + 1) / 2).double().mean())


def _overlap(new: Pairs) -> Tensor:
    """Tokens that reference and candidate share, each as often as both have it `[B,2]`."""
    V = int(max(new.action.max(), new.prompts.extra["reference"].max())) + 1
    own, ref = (
        torch.zeros(*t.shape[:2], V).scatter_add(2, t, torch.ones(t.shape))
        for t in (new.action, new.prompts.extra["reference"])
    )
    return torch.minimum(own, ref).sum(-1)


def _perplexity(new: Pairs, reference: Policy) -> Tensor:
    """Minus how far a candidate's log π₀ is from the reference completion's `[B,2]`."""
    with torch.no_grad():
        shown = Samples(
            new.prompts,
            new.prompts.extra["reference"],
            new.mask[:, :1],
            new.given[:, :1],
            new.logp[:, :1],
            new.ended[:, :1],
        )
        return -(reference.logp(new).sum(-1) - reference.logp(shown).sum(-1)).abs()


def _fit(model: Discriminator, shown: Pairs, loop: Loop) -> Imitation:
    def loss(chosen: Tensor, rejected: Tensor, p: Tensor, margin: Tensor) -> Tensor:
        return bradley_terry(chosen, rejected, p=p, margin=margin)

    reward = fitted(model, shown, loss=loss, loop=loop)
    assert isinstance(reward, Imitation)
    return reward


def _by_prompt(demos: Samples) -> Samples:
    """Demonstrations gathered by prompt, equally many a prompt."""
    rows = [
        (demos.prompts.row == r).nonzero().flatten()
        for r in range(int(demos.prompts.row.max()) + 1)
    ]
    least = min(len(r) for r in rows)
    if least == 0:
        raise InputError(
            "a prompt of this world has no demonstration to refer to; give more with --world.demos"
        )
    index = torch.stack([r[:least] for r in rows])
    own: dict[str, Any] = {
        f: getattr(demos, f)[index, 0] for f in ("action", "mask", "given", "logp", "ended")
    }
    return Samples(demos.prompts[index[:, 0]], **own)


def _referred(labeled: Pairs, demos: Samples) -> Pairs:
    """Labeled pairs with their prompts' demonstrations beside them."""
    shown = beside(labeled, demos[labeled.prompts.row])
    assert isinstance(shown, Pairs)
    return shown


def _ordered(score: Tensor, gold: Tensor) -> float:
    """Accuracy on neighbouring completions `[B,N]` that differ in gold."""
    s, g = (v[:, 0::2] - v[:, 1::2] for v in (score, gold))
    return float(((torch.sign(s) * torch.sign(g) + 1) / 2)[g != 0].double().mean())


@Claim(
    "Pretrained on enough policies, the discriminator tells unseen policies apart better than "
    "shared tokens or perplexity do, without a label, whether or not the policies have directions "
    "in common.",
    arms={"mine": ("policy_discriminator", {}), "free": ("policy_discriminator", {"styles": 0})},
    worlds=("table",),
    on={"table": {"testbed": "bag"}},
)
def claim(arms: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Accuracy on unseen policies after the most pretraining policies, minus the best of what needs
    no training: of policies that share directions, and of free ones.
    """
    last = [[line for line in lines if line["kind"] == "policies"][-1] for lines in arms.values()]
    least = [
        float(x["accuracy"] - max(x[name] for name in ("overlap", "perplexity", "length")))
        for x in last
    ]
    return dict(zip(("shared directions", "free"), least, strict=True))
