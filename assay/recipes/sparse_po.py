"""SparsePO and MaPO: DPO by tokens, with a weight on each token's reward and on each token's KL.

    u = Σ_t m^u_t·(log π − log π₀)(y_t)        d = −Σ_t m^d_t·KL(π₀(·|y_<t)‖π(·|y_<t))
    L = −log σ(β·[(u_w − u_l) − (d_w − d_l)]) + λ_u·Σ‖m^u‖₁ + λ_d·Σ‖m^d‖₁

Not every token of a completion earned its label, and not every token has to stay near the
reference. `masks` says where the weights come from:

    shared       one learned weight for both (SparsePO, the released code's default)
    separate     a learned weight for each of u and d
    activations  the reference's mean activations, rescaled to [0, 1] in each completion (MaPO)
    random       uniform numbers, drawn anew at each step: the paper's ablation
    ones         all 1: TDPO₁; with kl_weight 0 it is DPO, step for step

and `layers` what the learned ones read of the *reference* before token t, so that a weight knows
what was written and not the token that it weighs:

    all   m = ReLU(Σ_l a_l·ReLU(w_l·LN(h_l,t) + b_l)), one norm LN for all layers (the default)
    last  m = ReLU(w·h_L,t + b)

Both are trained by the policy's own optimiser; their matrices shrink by `decay`, and `dropout` of
what a ReLU gives is set to 0. MaPO averages over layers and activations of a kind, then over the
kinds: feed-forward, attention, residual stream (`formulas.sparse.activation_mask`). Constants are
the released code's, with the paper's λ of .001, where the code has 0 unless it is given one.

Differs from `dpo` in both weights and in d, and from `token_reward` in that no token is given a
sign from outside: a weight only scales what the pair says.

Traps. KL(π₀‖π) is the *forward* one and d is minus it, so that L rewards a chosen completion along
which the policy has left the reference. m^d_t = 0 frees token t from that, m = 0 throughout makes L
log 2, and ReLU has no way back from there: the statistics `masks/reward_sparsity`, `…_mass` and the
same of `kl` show it. L1 is a sum over tokens, so λ means more where completions are long; a shared
weight pays λ_u and λ_d. MaPO's z-normalisation changes nothing, since rescaling follows it. All
layers' states are held in float32, 4·L·W bytes a token. Top-k and top-p are refused: there the
forward KL is infinite.

`shuffled` puts the learned weights at random places of their own completion: sparsity and mass stay
and what they know of tokens goes. It is the control, since any sparse weights make steps smaller.

Here: a table has one layer, its h_t are counts of the tokens so far, and the claim is run on
grammar, whose completions are 20 tokens. The paper's gains are of models a thousand times as large.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from assay.core import (
    Claim,
    ComparesTokens,
    InputError,
    Loop,
    Optimiser,
    Pairs,
    Paper,
    Step,
    Task,
    order,
    require,
)
from assay.core.policy import Shown
from assay.engine.gauge import gauge
from assay.engine.nonfinite import nonfinite
from assay.engine.parallel import sum_
from assay.formulas.reduce import per_pair
from assay.formulas.sparse import (
    activation_mask,
    at_other_places,
    kl_part,
    mass,
    reward_part,
    sparse_po,
)
from assay.loops import Margins, update
from assay.loops.token_masks import TokenMask, numbers
from assay.stats.effects import Reading, gold_over, matched_gain

paper = Paper(
    "SparsePO: Controlling Preference Alignment of LLMs via Sparse Token Masks",
    "Christopoulou et al.",
    2024,
    "arXiv:2410.05102",
)
reduces = {"dpo": ({"masks": "ones", "kl_weight": 0.0}, {})}
LEARNED = {"shared": 1, "separate": 2}  # learned weights of a token
MASKS = (*LEARNED, "activations", "random", "ones")
LAYERS = ("all", "last")


def recipe(
    task: Task,
    *,
    beta: float = 0.1,
    masks: str = "shared",
    layers: str = "all",
    kl_weight: float = 1.0,
    l1_reward: float = 0.001,
    l1_kl: float = 0.001,
    decay: float = 0.01,
    dropout: float = 0.01,
    shuffled: bool = False,
    loop: Loop = Loop(),
) -> Iterator[Step]:
    """Train on the task's pairs and yield the policy after each step.

    Args:
        beta: Strength β of the implicit KL penalty, per nat.
        masks: Where weights come from: shared, separate, activations, random or ones.
        layers: Layers whose states the learned weights read: all or last.
        kl_weight: Weight of the KL part d; 1 is the paper's.
        l1_reward: λ_u of the learned weights of the reward part, a token.
        l1_kl: λ_d of the learned weights of the KL part, a token.
        decay: Weight decay of the matrices that learn the weights.
        dropout: Share of the learned weights, and of each layer's part in them, that is set to 0.
        shuffled: Put the weights at random places of their own completion: the control.
    """
    for name, value, allowed in (("masks", masks, MASKS), ("layers", layers, LAYERS)):
        if value not in allowed:
            raise InputError(f"--{name} is '{value}'; it is one of {', '.join(allowed)}")
    if not 0 <= dropout < 1:
        raise InputError(f"--dropout is {dropout}; it is a share from 0 to below 1")
    pairs, policy, learned = task.pairs, task.reference.copy(), masks in LEARNED
    compared = require(policy, ComparesTokens, "sparse_po").compared
    show: Shown = "layers" if learned and layers == "all" else "last"
    show = "activations" if masks == "activations" else show
    own_heads: list[TokenMask] = []
    if learned:
        with torch.no_grad():
            states = compared(task.reference, pairs[:1], show).states
        each = (task.rng("heads", k) for k in range(LEARNED[masks]))
        own_heads = [TokenMask(states, r, mixed=layers == "all", dropout=dropout) for r in each]
    heads = nn.ModuleList(own_heads)
    opt = Optimiser(
        [p for p in (*policy.parameters(), *heads.parameters()) if p.requires_grad],
        lr=loop.learning_rate,
        warmup=loop.warmup_steps,
        decayed=[p for head in own_heads for p in head.decayed()],
        weight_decay=decay,
    )

    def weights(
        states: tuple[Tensor, ...], part: Pairs, own: Tensor, t: int
    ) -> tuple[Tensor, Tensor]:
        """m^u and m^d `[b,2,T]` of pairs that stand at these rows of the data."""

        def drawn(purpose: str, step: tuple[int, ...], n: int) -> Tensor:
            return numbers(task.rng(purpose, *step), own, part.mask, n).to(states[-1])

        u = drawn("places", (t,), 1)[..., 0]
        if learned:
            both = [
                head(states, functools.partial(drawn, "dropout", (t, k)))
                for k, head in enumerate(own_heads)
            ]
        elif masks == "activations":
            both = [activation_mask(states, part.mask)]
        else:
            both = [u if masks == "random" else torch.ones_like(u)]
        if shuffled:
            both = [at_other_places(m, part.mask, u) for m in both]
        return both[0], both[-1]

    for t in task.carry.keep(policy=policy, heads=heads, opt=opt).steps(loop.max_steps):
        rows = order(len(pairs), loop.batch_size, t, task.rng)
        x, seen = pairs[rows], Seen(beta)

        def loss(
            part: Pairs, i: Tensor, rows: Tensor = rows, seen: Seen = seen, t: int = t
        ) -> Tensor:
            found = compared(task.reference, part, show)
            logp = nonfinite.logps("policy", part, found.logp)
            reference = nonfinite.logps("reference", part, found.reference_logp)
            on_reward, on_kl = weights(found.states, part, rows[i.cpu()], t)
            seen.look(part, logp, reference, on_reward, on_kl, found.kl)
            rewards = reward_part(logp, reference, on_reward, part.mask).unbind(1)
            kls = kl_part(found.kl, on_kl, part.mask).unbind(1)
            out = sparse_po(*rewards, *kls, beta=beta, kl_weight=kl_weight, p=part.p.to(logp))
            if learned:
                out = out + l1_reward * mass(on_reward, part.mask).sum(1)
                out = out + l1_kl * mass(on_kl, part.mask).sum(1)
            return out

        stats = update(opt, loss, x, loop, task.rng("minibatch", t), reduce=per_pair)
        yield Step(policy, stats={**stats, **seen.means()})


class Seen(Margins):
    """Statistics of a step's pairs, and of the weights and the KL of their tokens.

    Args:
        beta: Scale β of the implicit reward.
    """

    TOKENS = (
        "masks/reward_sparsity",
        "masks/reward_mass",
        "masks/kl_sparsity",
        "masks/kl_mass",
        "kl/forward",
    )

    def __init__(self, beta: float):
        super().__init__(beta)
        self.tokens = torch.zeros(len(self.TOKENS) + 1, dtype=torch.float64)

    def look(
        self,
        pairs: Pairs,
        logp: Tensor,
        reference: Tensor,
        on_reward: Tensor,
        on_kl: Tensor,
        kl: Tensor,
    ) -> None:
        """Count some pairs: share of tokens of weight 0, mean weight and mean KL(π₀‖π) a token."""
        self.add(pairs, logp, reference)
        if gauge.muted:
            return
        own = [m.detach()[pairs.mask].double().cpu() for m in (on_reward, on_kl, kl)]
        each = [x for m in own[:2] for x in ((m == 0).double(), m)]
        self.tokens += torch.stack([*(x.sum() for x in (*each, own[2])), pairs.mask.sum().cpu()])

    def means(self) -> dict[str, float]:
        """Means by name; all processes have to call it together."""
        total = sum_(self.tokens).tolist()
        found = {k: v / total[-1] for k, v in zip(self.TOKENS, total, strict=False) if total[-1]}
        return {**super().means(), **found}


_RUN = {"max_steps": 40, "batch_size": 16}
_RATES = {"learning_rate": (1e-4, 3e-4)}
_REACH = 1.0  # √KL of one nat from the reference


def reached(readings: list[Reading]) -> float:
    """Mean gold up to √KL = 1, by which constants are chosen."""
    return gold_over(readings, _REACH)


@Claim(
    "Learned sparse weights on the reward and the KL of tokens lie higher in gold at equal KL than "
    "DPO, than the same loss with all weights 1, and than the same weights at random places.",
    arms={
        "mine": ("sparse_po", _RUN),
        "dpo": ("dpo", _RUN),
        "ones": ("sparse_po", {**_RUN, "masks": "ones"}),
        "shuffled": ("sparse_po", {**_RUN, "shuffled": True}),
    },
    worlds=("grammar",),
    on={
        "grammar": {
            "pairs": 200,
            "held_out": 48,
            "width": 32,
            "layers": 2,
            "demos": 3000,
            "sft_steps": 300,
            "members": 1,
            "reward_width": 16,
            "reward_layers": 1,
            "reward_steps": 1,
        }
    },
    tuned={
        "mine": {"beta": (0.1, 0.4, 1.0), **_RATES},
        "dpo": {"beta": (0.1, 0.4, 1.0), **_RATES},
        "ones": {"beta": (0.1, 0.4, 1.0), **_RATES},
        "shuffled": "mine",
    },
    by=reached,
    # as for token_reward, whose world differs in its writers alone
    least={"over DPO": 0.05, "over all weights 1": 0.05},
    seeds="100..119",
    control=("over weights at random places",),
    broken="the learned weights at random places of their own completion",
    differs={"seconds": "the reference's whole distributions are computed, too"},
)
def claim(arms: dict[str, list[Reading]]) -> dict[str, float]:
    """Mean difference in gold at equal √KL, over the range that both runs measured."""
    rivals = {"over DPO": "dpo", "over all weights 1": "ones"}
    rivals["over weights at random places"] = "shuffled"
    return {name: matched_gain(arms["mine"], arms[rival]) for name, rival in rivals.items()}
