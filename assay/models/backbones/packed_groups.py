"""Prompts with their completions as one packed row, each prompt computed once.

The packed row holds the kept tokens of B prompts, then those of their B·N completions, and nothing
else: what is linear in tokens (projections, norms, MLPs) is spent on no padding and on no prompt
twice. Attention alone has to know who sees whom. A prompt's tokens see the prompt up to themselves;
a completion's see their whole prompt and their own completion up to themselves.

Queries and keys are put back into rows for it. Where completions are short beside their prompts a
row is a whole group: N·T queries over P + N·T keys, with the other completions masked, so that no
prompt's key is held twice. Else a row is a completion, with its prompt's keys laid beside its own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor


class PackedGroups:
    """Who sees whom in a packed row, and where each token of it belongs.

    Args:
        prompt: The kept tokens of prompts, padded on any side.
        completion: The kept tokens of completions.

    Attributes:
        places: `[n]`, the position of each packed token in its row of prompt and completion.
        before: `[B,N,T+1]`, the packed token that a completion's decision t = 0 … T follows; after
            a completion's end, its last token.
    """

    def __init__(self, prompt: Bool[Tensor, "B P"], completion: Bool[Tensor, "B N T"]):
        (B, N, T), P = completion.shape, prompt.shape[1]
        self.shape = B, N, T, P
        self.at = prompt.flatten().nonzero()[:, 0], completion.flatten().nonzero()[:, 0]
        length, done = prompt.long().sum(-1), F.pad(completion.long().cumsum(-1), (1, 0))
        count = done[..., -1]
        first = len(self.at[0]) + count.flatten().cumsum(0).view(B, N) - count
        last = (length.cumsum(0) - 1)[:, None, None]
        self.before = torch.where(done > 0, first[..., None] + done - 1, last)
        own = (prompt.long().cumsum(-1) - 1).clamp(min=0), length[:, None, None] + done[..., :-1]
        self.places = torch.cat([own[0][prompt], own[1][completion]])
        longest = int((length[:, None] + count).max()) if count.numel() else 1
        self._places = own[0], own[1].clamp(max=longest - 1)
        self._keep = prompt, completion
        self.together = N if N * T <= P + T else 1  # completions of one row of queries
        self._masks: dict[tuple[int | None, torch.dtype], tuple[Tensor, Tensor | None]] = {}

    def packed(
        self, prompt: Int[Tensor, "B P"], completion: Int[Tensor, "B N T"]
    ) -> Int[Tensor, "n"]:
        """Return the kept tokens in their order."""
        grids = (prompt.flatten(), completion.flatten())
        return torch.cat([t.index_select(0, at) for t, at in zip(grids, self.at, strict=True)])

    def __call__(
        self,
        q: Float[Tensor, "n H d"],
        k: Float[Tensor, "n K d"],
        v: Float[Tensor, "n K e"],
        *,
        scale: float,
        window: int | None = None,
        softcap: float | None = None,
    ) -> Float[Tensor, "n H e"]:
        """Compute attention over the packed row.

        Args:
            q: Queries.
            k: Keys; each serves H/K query heads.
            v: Values.
            scale: Multiplies the scores.
            window: A token sees itself and the window − 1 tokens before it; None for all.
            softcap: Scores become softcap·tanh(score/softcap); None for as they are.
        """
        (B, N, T, _), per, p = self.shape, self.together, len(self.at[0])
        of_prompts, of_completions = self._masked(window, q.dtype)
        kp, vp = self.prompts(k), self.prompts(v)
        out = _attend(self.prompts(q), kp, vp, of_prompts, scale=scale, softcap=softcap)
        asked = out.flatten(0, 1).index_select(0, self.at[0])
        if of_completions is None:
            return asked
        R = B * N // per
        qa, ka, va = (self._grid(t[p:], 1).view(R, per * T, *t.shape[1:]) for t in (q, k, v))
        ka, va = (torch.cat([beside(t, R), o], 1) for t, o in ((kp, ka), (vp, va)))
        out = _attend(qa, ka, va, of_completions, scale=scale, softcap=softcap)
        return torch.cat([asked, out.flatten(0, 1).index_select(0, self.at[1])])

    def prompts(self, t: Float[Tensor, "n K d"]) -> Float[Tensor, "B P K d"]:
        """Lay the prompts' part of something packed out in rows, zeros for padding."""
        return self._grid(t[: len(self.at[0])], 0)

    def _grid(self, t: Float[Tensor, "m K d"], i: int) -> Float[Tensor, "R S K d"]:
        """Lay packed tokens out, zeros for padding."""
        rows = self._keep[i].flatten(0, -2).shape
        if len(self.at[i]) < rows.numel():
            t = t.new_zeros(rows.numel(), *t.shape[1:]).index_copy(0, self.at[i], t)
        return t.view(*rows, *t.shape[1:])

    def _masked(self, window: int | None, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """What is added to scores of prompts `[B,1,P,P]` and of completions `[R,1,S,L]`, if any."""
        if (window, dtype) not in self._masks:
            (_, _, T, P), per = self.shape, self.together
            (asked, answered), (ask, answer) = self._places, self._keep
            see = _sees(asked, asked, ask, window)
            of_prompts, of_completions = _added(see, 0, dtype), None
            if len(self.at[1]):
                row = torch.arange(per, device=ask.device).repeat_interleave(T)  # whose a query is
                at, kept = (t.reshape(-1, per * T) for t in (answered, answer))
                own = _sees(at, at, kept, window) & (row[:, None] == row)
                prior = _sees(at, beside(asked, len(at)), beside(ask, len(at)), window)
                of_completions = _added(torch.cat([prior, own], -1), P, dtype)
            self._masks[window, dtype] = of_prompts, of_completions
        return self._masks[window, dtype]


def beside(t: Shaped[Tensor, "B P *d"], rows: int) -> Shaped[Tensor, "R P *d"]:
    """Repeat what belongs to each prompt, once for each of its rows of completions."""
    return t[:, None].expand(-1, rows // len(t), *t.shape[1:]).flatten(0, 1)


def _sees(
    query: Int[Tensor, "R S"],
    key: Int[Tensor, "R L"],
    kept: Bool[Tensor, "R L"],
    window: int | None,
) -> Bool[Tensor, "R S L"]:
    """Whether a query sees a key, by their positions."""
    away = query[:, :, None] - key[:, None]
    near = away >= 0 if window is None else (away >= 0) & (away < window)
    return near & kept[:, None]


def _added(see: Bool[Tensor, "R S L"], first: int, dtype: torch.dtype) -> Float[Tensor, "R 1 S L"]:
    """What a mask adds to scores. Each query sees its own key, padding too: no softmax is empty."""
    S = torch.arange(see.shape[1], device=see.device)
    see[:, S, first + S] = True
    zero = torch.zeros(see.shape, dtype=dtype, device=see.device)
    return zero.masked_fill_(~see, -torch.inf)[:, None]


def _attend(
    q: Float[Tensor, "R S H d"],
    k: Float[Tensor, "R L K d"],
    v: Float[Tensor, "R L K e"],
    mask: Float[Tensor, "R 1 S L"],
    *,
    scale: float,
    softcap: float | None,
) -> Float[Tensor, "R S H e"]:
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    if not softcap:
        grouped = q.shape[1] != k.shape[1]
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, scale=scale, enable_gqa=grouped
        )
        return out.transpose(1, 2)
    k, v = (t.repeat_interleave(q.shape[1] // k.shape[1], 1) for t in (k, v))
    scores = torch.tanh(q @ k.mT * (scale / softcap)) * softcap + mask
    # in float32 at least, as the families that cap compute it
    wide = torch.promote_types(scores.dtype, torch.float32)
    return (scores.softmax(-1, dtype=wide).to(q.dtype) @ v).transpose(1, 2)
