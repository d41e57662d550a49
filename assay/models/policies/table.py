"""A policy whose every probability is a number in a table: T independent decisions.

There is one softmax row a prompt. With T = 1 it is a contextual bandit; with one row and T > 1 it
draws bags of tokens. Whatever other policies estimate (KL, the KL-regularised optimum, best-of-n)
is exact here, so a theorem about them is a test.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import one_hot

from assay.core import Compared, Policy, Prompts, Samples
from assay.core.policy import Shown
from assay.core.rng import Rng
from assay.engine.parallel import sampling
from assay.errors import InputError
from assay.formulas.divergence import best_of_n_pmf, kl_full
from assay.formulas.sparse import forward_kl
from assay.models.samplers.table_decoding import TableDecoding


@dataclass(frozen=True)
class Words:
    """The names of tokens and contexts.

    Attributes:
        tokens: Of the V tokens.
        contexts: Of the R contexts; ids V … V+R−1 are prompts.
    """

    tokens: tuple[str, ...]
    contexts: tuple[str, ...]

    def __call__(self, ids: list[int]) -> str:
        return " ".join((*self.tokens, *self.contexts)[i] for i in ids)


class TablePolicy(nn.Module):
    """π(y|x) = Π_t softmax(logits[x])[y_t], t = 1 … length.

    Args:
        logits: R = 1 is one table for all prompts.
        length: Decisions of every completion.
        words: Names, which make completions readable and `encode` possible.

    Raises:
        InputError: The names do not fit the table.
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
        """Make a trainable copy."""
        return TablePolicy(self.logits, length=self.length, words=self.words)

    def prompts(self, rows: Int[Tensor, "B"]) -> Prompts:
        """Return prompts of these rows, one token each: the context's name."""
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
        """Compute log π of one decision, every token."""
        return self.logits.log_softmax(-1)[self._rows(prompts.row)]

    # ---- drawing

    @sampling
    def sample(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> Samples:
        """Draw by the inverse distribution function at u(row, completion, decision).

        See Sampler.sample. The decisions of `start` are kept, as its own or as given, and drawing
        goes on after them.
        """
        state = self.decoding(prompts, n, rng, start)
        with torch.no_grad():
            u = state.uniform(torch.arange(self.length, device=prompts.row.device))
            flat = torch.searchsorted(state.cdf, u.flatten(1), right=True).clamp(
                max=state.cdf.shape[1] - 1
            )
            return state.filled(flat.reshape(u.shape))

    def decoding(
        self, prompts: Prompts, n: int | Tensor, rng: Rng, start: Samples | None = None
    ) -> TableDecoding:
        """Begin completions.

        See Decodes.decoding.
        """
        with torch.no_grad():
            table = self.log_probs(prompts)
        return TableDecoding(table, self.length, prompts, n, rng, start)

    # ---- probabilities

    def logp(self, samples: Samples) -> Float[Tensor, "B N T"]:
        """Compute log π of each own decision, see Policy."""
        table = self.log_probs(samples.prompts)
        B, N, T = samples.action.shape
        each = table.gather(1, samples.action.reshape(B, N * T)).reshape(B, N, T)
        return torch.where(samples.mask, each, each.new_zeros(()))

    @torch.no_grad()
    def kl(self, reference: Policy, samples: Samples) -> Float[Tensor, "B N"]:
        """Compute the exact KL(π‖reference) of own decisions in nats: their number times one
        decision's KL.

        Raises:
            InputError: The reference is no table.
        """
        if not isinstance(reference, TablePolicy):
            raise InputError(
                f"the exact KL of a table is to another table, not to a {type(reference).__name__}"
            )
        return samples.lengths * self.kl_per_decision(reference, samples.prompts)[:, None]

    def kl_per_decision(self, reference: TablePolicy, prompts: Prompts) -> Float[Tensor, "B"]:
        """Compute the KL of one decision, differentiable."""
        return kl_full(self.log_probs(prompts), reference.log_probs(prompts))

    def compared(self, reference: Policy, samples: Samples, show: Shown = "last") -> Compared:
        """Compare decisions with the reference's, see ComparesTokens.

        A table has one layer, whose states are the counts of the tokens before each decision, and
        its place. Of activations it shows one kind: their mean.

        Raises:
            InputError: The reference is no table.
        """
        if not isinstance(reference, TablePolicy):
            raise InputError(
                f"a table is compared with another table, not with a {type(reference).__name__}"
            )
        with torch.no_grad():
            theirs, ref_logp = reference.log_probs(samples.prompts), reference.logp(samples)
            V, T = theirs.shape[1], samples.mask.shape[2]
            held = (samples.mask | samples.given)[..., None]
            each = torch.where(held, one_hot(samples.action, V), 0).to(theirs.dtype)
            place = torch.eye(T, dtype=theirs.dtype, device=theirs.device)
            states = torch.cat([each.cumsum(2) - each, place.expand(*each.shape[:3], T)], -1)
        shown = states.mean(-1, keepdim=True) if show == "activations" else states
        mine = self.log_probs(samples.prompts)
        kl, own_kl = (
            torch.where(samples.mask, each[:, None, None], each.new_zeros(()))
            for each in (forward_kl(mine, theirs), kl_full(mine, theirs))
        )
        return Compared(self.logp(samples), ref_logp, kl, (shown,), own_kl)

    # ---- exact optima

    @torch.no_grad()
    def tilted(self, score: Float[Tensor, "#R V"], *, beta: float) -> TablePolicy:
        """Return the Gibbs policy π(y) e^{r(y)/β} / Z: it maximises E r − β·KL(·‖π).

        An additive reward r(y) = Σ_t score[y_t] tilts every decision by itself, so the optimum is
        again a table. Its value is β·log Z, see `log_partition`.

        Args:
            score: Of each token.
            beta: Above 0.
        """
        return TablePolicy(
            self.logits.log_softmax(-1) + score / beta, length=self.length, words=self.words
        )

    @torch.no_grad()
    def log_partition(self, score: Float[Tensor, "#R V"], *, beta: float) -> Float[Tensor, "R"]:
        """Compute log Z = length · log Σ_v π(v) e^{score(v)/β}."""
        return self.length * (self.logits.log_softmax(-1) + score / beta).logsumexp(-1)

    @torch.no_grad()
    def best_of_n(self, score: Float[Tensor, "#R V"], n: int) -> TablePolicy:
        """Return the distribution of the best of n draws of one decision.

        Raises:
            InputError: Completions have more than one decision.
        """
        if self.length != 1:
            raise InputError(
                "the exact best-of-n of a table needs completions of one decision, these have "
                f"{self.length}"
            )
        p = self.logits.double().softmax(-1)
        won = best_of_n_pmf(p, score.double().expand_as(p), n)
        return TablePolicy(won.log().to(self.logits.dtype), length=1, words=self.words)

    # ---- the rest of a policy

    def value_head(self, k: int, rng: Rng) -> TableValueHead:
        """Make a fresh linear value on running counts, see HasValueHead."""
        return TableValueHead(
            k, self.logits.shape[0], self.logits.shape[1], self.length, rng, self.logits.dtype
        )

    def encode(self, prompts: list[str], texts: list[list[str]]) -> Samples:
        """Turn text into Samples, see EncodesText.

        Args:
            prompts: Contexts' names.
            texts: Completions: `length` token names with blanks between them.

        Raises:
            InputError: A name is unknown, or a completion has another length.
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
                        f"row {b}, completion {n}: '{answer}' is not {self.length} of this table's "
                        f"tokens ('{self.words.tokens[0]}' … '{self.words.tokens[-1]}')"
                    )
                action[b, n], mask[b, n] = torch.tensor(ids), True
        rows = torch.tensor([context[p] for p in prompts])
        logp = torch.zeros(action.shape, dtype=self.logits.dtype).masked_fill(mask, float("nan"))
        return Samples(self.prompts(rows), action, mask, torch.zeros_like(mask), logp, mask.any(-1))


class TableValueHead(nn.Module):
    """v_t = bias[x,t] + Σ_{s<t} weight[x,y_s]: a linear value on running counts.

    k outputs, entry t before decision t.
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
