"""A policy whose every probability is a number in a table: T independent decisions, one softmax row
a prompt.

With T = 1 it is a contextual bandit; with one row and T > 1 it draws bags of tokens. Whatever other
policies estimate (KL, the KL-regularised optimum, best-of-n) is exact here, so a theorem about them
is a test.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from assay.core import Policy, Prompts, Samples
from assay.core.rng import Rng
from assay.engine.parallel import sampling
from assay.errors import InputError
from assay.formulas.divergence import best_of_n_pmf, kl_full


@dataclass(frozen=True)
class Words:
    """Names of the V tokens, then of the R contexts: ids V … V+R−1 are prompts."""

    tokens: tuple[str, ...]
    contexts: tuple[str, ...]

    def __call__(self, ids: list[int]) -> str:
        return " ".join((*self.tokens, *self.contexts)[i] for i in ids)


class TablePolicy(nn.Module):
    """π(y|x) = Π_t softmax(logits[x])[y_t], t = 1 … length. `logits [R,V]`; R = 1 is one table for
    all prompts.

    Answers have exactly `length` decisions. `words` makes answers readable and `encode` possible.
    """

    kl_kind = "exact"

    def __init__(
        self, logits: Float[Tensor, "R V"], *, length: int = 1, words: Words | None = None
    ):
        super().__init__()
        R, V = logits.shape
        self.logits = nn.Parameter(logits.detach().clone())
        self.length = length
        self.words = words or Words(
            tuple(f"a{v}" for v in range(V)), tuple(f"x{r}" for r in range(R))
        )
        if (len(self.words.tokens), len(self.words.contexts)) != (V, R):
            raise InputError(
                f"a table of {R} rows and {V} columns needs {R} context names and {V} token "
                f"names, got {len(self.words.contexts)} and {len(self.words.tokens)}"
            )

    def copy(self) -> TablePolicy:
        """A trainable copy."""
        return TablePolicy(self.logits, length=self.length, words=self.words)

    def prompts(self, rows: Int[Tensor, "B"]) -> Prompts:
        """Prompts of these rows, one token each: the context's name."""
        tokens = (len(self.words.tokens) + self._rows(rows))[:, None]
        return Prompts(
            tokens=tokens,
            mask=torch.ones_like(tokens, dtype=torch.bool),
            row=rows,
            decode=self.words,
        )

    def _rows(self, row: Int[Tensor, "B"]) -> Int[Tensor, "B"]:
        R = self.logits.shape[0]
        if R == 1:
            return torch.zeros_like(row)
        if int(row.max()) >= R:
            raise InputError(
                f"prompt {int(row.max())} has no row in a table of {R} contexts: a table cannot "
                "generalise"
            )
        return row

    def log_probs(self, prompts: Prompts) -> Float[Tensor, "B V"]:
        """log π of one decision, every token."""
        return self.logits.log_softmax(-1)[self._rows(prompts.row)]

    # ---- drawing

    @sampling
    def sample(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> Samples:
        """Inverse distribution function at u(row, answer, decision): answers are functions of their
        addresses alone.

        `start` (N answers, or one that all go on from): its decisions are kept, as its own or as
        given, and decisions begin after them.
        """
        walk = self.walk(prompts, n, rng, start)
        with torch.no_grad():
            u = walk.uniform(torch.arange(self.length, device=prompts.row.device))
            flat = torch.searchsorted(walk.cdf, u.flatten(1), right=True).clamp(
                max=walk.cdf.shape[1] - 1
            )
            return walk.filled(flat.reshape(u.shape))

    def walk(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> TableWalk:
        """Answers in the making; drawing every decision by `draw` gives `sample`, bit for bit."""
        return TableWalk(self, prompts, n, rng, start)

    # ---- probabilities

    def logp(self, samples: Samples) -> Float[Tensor, "B N T"]:
        """log π of each own decision, differentiable; 0 where there is none."""
        table = self.log_probs(samples.prompts)
        B, N, T = samples.action.shape
        each = table.gather(1, samples.action.reshape(B, N * T)).reshape(B, N, T)
        return torch.where(samples.mask, each, each.new_zeros(()))

    @torch.no_grad()
    def kl(self, reference: Policy, samples: Samples) -> Float[Tensor, "B N"]:
        """Exact KL(π‖reference) in nats of an answer's own decisions: their number times one
        decision's KL.
        """
        if not isinstance(reference, TablePolicy):
            raise InputError(
                f"the exact KL of a table is to another table, not to a {type(reference).__name__}"
            )
        return samples.lengths * self.kl_per_decision(reference, samples.prompts)[:, None]

    def kl_per_decision(self, reference: TablePolicy, prompts: Prompts) -> Float[Tensor, "B"]:
        """KL of one decision, differentiable."""
        return kl_full(self.log_probs(prompts), reference.log_probs(prompts))

    # ---- exact optima

    @torch.no_grad()
    def tilted(self, score: Float[Tensor, "#R V"], *, beta: float) -> TablePolicy:
        """The Gibbs policy π(y) e^{r(y)/β} / Z of a reward r(y) = Σ_t score[y_t]: it maximises E r
        − β·KL(·‖π).

        An additive reward tilts every decision by itself, so the optimum is again a table. Its
        value is β·log Z, see `log_partition`.
        """
        return TablePolicy(
            self.logits.log_softmax(-1) + score / beta, length=self.length, words=self.words
        )

    @torch.no_grad()
    def log_partition(self, score: Float[Tensor, "#R V"], *, beta: float) -> Float[Tensor, "R"]:
        """log Z = length · log Σ_v π(v) e^{score(v)/β}."""
        return self.length * (self.logits.log_softmax(-1) + score / beta).logsumexp(-1)

    @torch.no_grad()
    def best_of_n(self, score: Float[Tensor, "#R V"], n: int) -> TablePolicy:
        """The law of the best of n draws of one decision, see formulas.divergence.best_of_n_pmf."""
        if self.length != 1:
            raise InputError(
                "the exact best-of-n of a table needs answers of one decision, these have "
                f"{self.length}"
            )
        p = self.logits.double().softmax(-1)
        won = best_of_n_pmf(p, score.double().expand_as(p), n)
        return TablePolicy(won.log().to(self.logits.dtype), length=1, words=self.words)

    # ---- the rest of a policy

    def scorer(self, k: int, rng: Rng) -> TableScorer:
        """A fresh linear value on running counts, see TableScorer."""
        return TableScorer(
            k, self.logits.shape[0], self.logits.shape[1], self.length, rng, self.logits.dtype
        )

    def encode(self, prompts: list[str], texts: list[list[str]]) -> Samples:
        """Text as Samples: a prompt is a context's name, an answer `length` token names with spaces
        between.
        """
        context = {name: r for r, name in enumerate(self.words.contexts)}
        token = {name: v for v, name in enumerate(self.words.tokens)}
        N = max(len(t) for t in texts)
        action = torch.zeros(len(prompts), N, self.length, dtype=torch.int64)
        mask = torch.zeros_like(action, dtype=torch.bool)
        for b, (prompt, answers) in enumerate(zip(prompts, texts, strict=True)):
            if prompt not in context:
                raise InputError(
                    f"row {b}, prompt: '{prompt}' is no context of this table (it has "
                    f"'{self.words.contexts[0]}' …)"
                )
            for n, answer in enumerate(answers):
                ids = [token.get(word, -1) for word in answer.split()]
                if len(ids) != self.length or -1 in ids:
                    raise InputError(
                        f"row {b}, answer {n}: '{answer}' is not {self.length} of this table's "
                        f"tokens ('{self.words.tokens[0]}' … '{self.words.tokens[-1]}')"
                    )
                action[b, n], mask[b, n] = torch.tensor(ids), True
        rows = torch.tensor([context[p] for p in prompts])
        logp = torch.zeros(action.shape, dtype=self.logits.dtype).masked_fill(mask, float("nan"))
        return Samples(self.prompts(rows), action, mask, torch.zeros_like(mask), logp, mask.any(-1))


class TableWalk:
    """Answers in the making: `dist` the next decision, `take` or `give` a token to each, `pick`
    particles, `samples`.

    `draw` is the address's own choice. An answer that is absent or complete ignores what it is
    handed.
    """

    def __init__(
        self,
        policy: TablePolicy,
        prompts: Prompts,
        n: int | Tensor,
        rng: Rng,
        start: Samples | None,
    ):
        self.policy, self.prompts, self.rng = policy, prompts, rng
        B, T, device = len(prompts), policy.length, prompts.row.device
        N = int(n.max()) if isinstance(n, Tensor) else n
        with torch.no_grad():
            self.table = policy.log_probs(prompts)
            cumulated = self.table.double().exp().cumsum(-1)
            self.cdf = cumulated / cumulated[:, -1:]  # the last entry is exactly 1, and u < 1
        limit = (
            n.to(device)[:, None] if isinstance(n, Tensor) else torch.full((B, 1), N, device=device)
        )
        self.wanted = torch.arange(N, device=device) < limit  # [B,N]
        self.action = torch.zeros(B, N, T, dtype=torch.int64, device=device)
        self.mask, self.given = (
            torch.zeros(B, N, T, dtype=torch.bool, device=device) for _ in range(2)
        )
        self.logp = torch.zeros(B, N, T, dtype=self.table.dtype, device=device)
        if start is not None:
            had = start.mask.shape[2]
            if had > T or start.mask.shape[1] not in (1, N):
                raise InputError(
                    f"answers to go on from have shape {list(start.mask.shape)}, not [B, 1 or {N}, "
                    f"at most {T}]"
                )
            here = self.wanted[:, :, None]
            self.action[:, :, :had] = start.action * here
            self.mask[:, :, :had], self.given[:, :, :had] = start.mask & here, start.given & here
            self.logp[:, :, :had] = torch.where(here, start.logp, start.logp.new_zeros(()))
        self.place = (self.mask | self.given).sum(-1)  # next decision of each answer [B,N]

    @property
    def open(self) -> Tensor:
        """Answers that are wanted and have a decision left `[B,N]`."""
        return self.wanted & (self.place < self.policy.length)

    def uniform(self, t: Tensor) -> Tensor:
        """u(row, answer, t) `[B,N,T]`, float64: a rare token's probability may lie below float32's
        grain.
        """
        B, N = self.wanted.shape
        device = self.wanted.device
        b, n = (
            torch.arange(B, device=device)[:, None, None],
            torch.arange(N, device=device)[None, :, None],
        )
        return self.rng.uniform(b, n, t, dtype=torch.float64)

    def dist(self) -> Float[Tensor, "B N V"]:
        """Probabilities of the next decision."""
        return self.table.exp()[:, None].expand(-1, self.wanted.shape[1], -1)

    def draw(self) -> Int[Tensor, "B N"]:
        """The tokens that `sample` would take next."""
        u = self.uniform(self.place[:, :, None].clamp(max=self.policy.length - 1))[:, :, 0]
        return torch.searchsorted(self.cdf, u, right=True).clamp(max=self.cdf.shape[1] - 1)

    def take(self, tokens: Int[Tensor, "B N"]) -> None:
        """One own decision a still open answer."""
        b, n, at = self._put(tokens, self.mask)
        self.logp[b, n, at] = self.table[b, tokens[b, n]]

    def give(self, tokens: Int[Tensor, "B N"]) -> None:
        """One token a still open answer that is not the policy's choice."""
        self._put(tokens, self.given)

    def _put(self, tokens: Tensor, into: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        b, n = self.open.nonzero(as_tuple=True)
        at = self.place[b, n]
        self.action[b, n, at], into[b, n, at] = tokens[b, n], True
        self.place[b, n] += 1
        return b, n, at

    def pick(self, index: Int[Tensor, "B K"]) -> None:
        """K of each prompt's answers go on, by their place in N; addresses follow the new places."""
        wide = index[:, :, None].expand(-1, -1, self.policy.length)
        self.action, self.mask = self.action.gather(1, wide), self.mask.gather(1, wide)
        self.given, self.logp = self.given.gather(1, wide), self.logp.gather(1, wide)
        self.place, self.wanted = self.place.gather(1, index), self.wanted.gather(1, index)

    def filled(self, tokens: Int[Tensor, "B N T"]) -> Samples:
        """Every decision that is left, at once."""
        t = torch.arange(self.policy.length, device=tokens.device)
        own = self.wanted[:, :, None] & (t >= self.place[:, :, None])
        each = self.table.gather(1, tokens.flatten(1)).reshape(tokens.shape)
        self.action, self.logp = (
            torch.where(own, tokens, self.action),
            torch.where(own, each, self.logp),
        )
        self.mask = self.mask | own
        self.place = (self.mask | self.given).sum(-1)
        return self.samples()

    def samples(self) -> Samples:
        """The answers so far; one is ended when it has all its decisions."""
        return Samples(
            self.prompts,
            self.action.clone(),
            self.mask.clone(),
            self.given.clone(),
            self.logp.clone(),
            self.wanted & (self.place == self.policy.length),
        )


class TableScorer(nn.Module):
    """v_t = bias[x,t] + Σ_{s<t} weight[x,y_s]: a linear value on running counts, k outputs, entry t
    before decision t.
    """

    def __init__(
        self, k: int, rows: int, vocabulary: int, length: int, rng: Rng, dtype: torch.dtype
    ):
        super().__init__()
        r, v, t, j = (torch.arange(size) for size in (rows, vocabulary, length + 1, k))
        self.weight = nn.Parameter(
            0.01 * rng("weight").normal(r[:, None, None], v[:, None], j, dtype=dtype)
        )
        self.bias = nn.Parameter(
            0.01 * rng("bias").normal(r[:, None, None], t[:, None], j, dtype=dtype)
        )

    def forward(self, samples: Samples) -> Float[Tensor, "B N T1 k"]:
        R = self.weight.shape[0]
        row = samples.prompts.row if R > 1 else torch.zeros_like(samples.prompts.row)
        held = (samples.mask | samples.given)[..., None]
        each = self.weight[row[:, None, None], samples.action]
        each = torch.where(held, each, each.new_zeros(()))
        running = torch.cat([each.new_zeros(*each.shape[:2], 1, each.shape[3]), each.cumsum(2)], 2)
        return running + self.bias[row][:, None, : running.shape[2]]
