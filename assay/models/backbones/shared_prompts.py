"""The plan of B prompts with N completions each: a prompt is computed once for its completions.

Only kept tokens are computed, prompts first. Queries, keys and values are gathered straight into
the padded rows that the products take, by one index each, and the gradients are gathered back. Of n
packed tokens the last rows may be padding (`roomy`): no completion sees them.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.models.backbones.attention import Dense, blind, causal, positions
from assay.models.backbones.matmul import roomy

# A prompt's keys are laid beside every completion's own where prompts are at most so many times as
# long as completions.
_REPEAT = 4


class Shared:
    """The plan.

    Args:
        prompt: The kept tokens of prompts.
        completion: The kept tokens of completions.
        dtype: Of the scores.

    Attributes:
        places: `[n]`, the position of each packed token.
        before: `[B,N,T+1]`, the packed token that a completion's decision t follows; after a
            completion's end, its last token.
    """

    def __init__(
        self, prompt: Bool[Tensor, "B P"], completion: Bool[Tensor, "B N T"], dtype: torch.dtype
    ):
        (B, N, T), P = completion.shape, prompt.shape[1]
        self.shape = B, N, T, P
        self.keep, self.prompt = (prompt, completion.flatten(0, 1)), Dense(prompt, dtype)
        own = blind(causal(self.keep[1]), dtype).view(B, N, T, T)
        self.bias = torch.cat([blind(prompt, dtype).view(B, 1, 1, P).expand(B, N, T, P), own], -1)
        self.at = [keep.flatten().nonzero()[:, 0] for keep in self.keep]
        count, length = completion.long().sum(-1), prompt.long().sum(-1)
        # tokens before decision t
        done = torch.nn.functional.pad(completion.long().cumsum(-1), (1, 0))
        first = len(self.at[0]) + count.flatten().cumsum(0).view(B, N) - count
        last = (length.cumsum(0) - 1)[:, None, None]
        self.before = torch.where(done > 0, first[..., None] + done - 1, last)
        at = (length[:, None, None] + done[..., :-1])[completion]
        self.count = len(self.at[0]) + len(at)
        self.places = torch.cat(
            [positions(prompt)[prompt], at, at.new_zeros(roomy(self.count) - self.count)]
        )
        self._laid: tuple[tuple[int, int], list[_Rows]] | None = None

    def __call__(
        self, _: int, qk: Float[Tensor, "n HK d"], v: Float[Tensor, "n K d"]
    ) -> Float[Tensor, "n Hd"]:
        T, P = self.shape[2:]
        if not self.count:
            return qk.new_zeros(0, (qk.shape[1] - v.shape[1]) * v.shape[2])
        if _REPEAT * max(T, 1) < P:
            return self.plain(qk, v)
        out: Tensor = _Attention.apply(self, qk, v)
        return out

    def packed(
        self, prompt: Int[Tensor, "B P"], completion: Int[Tensor, "B N T"]
    ) -> Int[Tensor, "n"]:
        """Return the kept tokens in their order, then padding."""
        kept = [
            t.flatten().index_select(0, at)
            for t, at in zip((prompt, completion), self.at, strict=True)
        ]
        return torch.cat([*kept, prompt.new_zeros(len(self.places) - self.count)])

    def rows(self, heads: int, kv: int) -> list[_Rows]:
        """Return the prompts' rows and the completions', if any; made once for all layers."""
        if self._laid is None or self._laid[0] != (heads, kv):
            (B, N, T, P), (prompts, completions), n = self.shape, self.at, len(self.places)
            asks = [
                at.new_full((keep.numel(),), -1)
                for at, keep in zip(self.at, self.keep, strict=True)
            ]
            asks[0][prompts] = torch.arange(len(prompts), device=prompts.device)
            asks[1][completions] = torch.arange(len(prompts), self.count, device=prompts.device)
            asked, own = asks[0].view(B, P), asks[1].view(B * N, T)
            sees = torch.cat([asked[:, None].expand(B, N, P).reshape(B * N, P), own], -1)
            found = [_Rows(asked, asked, self.prompt.bias, 0, len(prompts), n, heads, kv)]
            if len(completions):
                found.append(
                    _Rows(
                        own, sees, self.bias.flatten(0, 1), len(prompts), self.count, n, heads, kv
                    )
                )
            self._laid = (heads, kv), found
        return self._laid[1]

    def plain(
        self, qk: Float[Tensor, "n HK d"], v: Float[Tensor, "n K d"]
    ) -> Float[Tensor, "n Hd"]:
        """Compute the same by torch's own operations.

        Differentiable twice, and a prompt's keys are held once however many completions it has,
        which is less memory where prompts are long.
        """
        (B, N, T, P), (_, K, d), p = self.shape, v.shape, len(self.at[0])
        H = qk.shape[1] - K
        own = self._packed(self.prompt(0, self._padded(qk[:p], 0), self._padded(v[:p], 0)), 0)
        rest = own.new_zeros(len(self.places) - self.count, H * d)
        if not len(self.at[1]):
            return torch.cat([own, rest])
        qk, va = qk[: self.count], self._padded(v[p : self.count], 1)
        q, k = self._padded(qk[p:], 1).split([H, K], 1)
        q = q.view(B, N, T, K, H // K, d).permute(0, 3, 1, 4, 2, 5).reshape(B * K, -1, d)
        kp, vp = (
            self._padded(t[:p], 0).view(B, P, K, d).transpose(1, 2).reshape(B * K, P, d)
            for t in (qk[:, H:], v)
        )
        ka, va = (
            t.view(B, N, T, K, d).permute(0, 3, 1, 2, 4).reshape(B * K * N, T, d) for t in (k, va)
        )
        seen = (B, K, N, H // K, T, -1)
        scores = torch.cat(
            [
                torch.bmm(q, kp.mT).view(seen),
                torch.bmm(q.reshape(B * K * N, -1, d), ka.mT).view(seen),
            ],
            -1,
        )
        weight = (scores + self.bias[:, None, :, None]).softmax(-1)
        out = torch.bmm(weight[..., :P].reshape(B * K, -1, P), vp).view(B * K * N, -1, d)
        out = torch.baddbmm(out, weight[..., P:].reshape(B * K * N, -1, T), va)
        answered = (
            out.view(B, K, N, H // K, T, d).permute(0, 2, 4, 1, 3, 5).reshape(B * N * T, H * d)
        )
        return torch.cat([own, self._packed(answered, 1), rest])

    def _padded(self, t: Tensor, i: int) -> Tensor:
        n = self.keep[i].numel()
        return (
            t if len(self.at[i]) == n else t.new_zeros(n, *t.shape[1:]).index_copy(0, self.at[i], t)
        )

    def _packed(self, t: Tensor, i: int) -> Tensor:
        return t if len(self.at[i]) == len(t) else t.index_select(0, self.at[i])


class _Rows:
    """R rows, each of S queries over L keys, and where their packed tokens are.

    `asks [R,S]`: the token of each query, `sees [R,L]`: of each key, −1 for none. A row's own
    tokens are its last S keys, and those from `lo` to `hi` of all n.
    """

    def __init__(
        self,
        asks: Int[Tensor, "R S"],
        sees: Int[Tensor, "R L"],
        bias: Float[Tensor, "R S L"],
        lo: int,
        hi: int,
        n: int,
        H: int,
        K: int,
    ):
        (R, S), L = asks.shape, sees.shape[1]
        self.bias, self.lo, self.hi = bias[:, None], lo, hi
        self.queries, self.keys = (R * K, H // K * S, -1), (R * K, L, -1)
        kv, head = (
            torch.arange(K, device=asks.device)[:, None],
            torch.arange(H, device=asks.device)[:, None],
        )
        token, key = (
            asks[:, None],
            sees.clamp(min=0)[:, None],
        )  # where there is none any will do: no query sees it
        self.q = (token.clamp(min=0) * (H + K) + head).flatten()
        self.o = torch.where(token < 0, n * H, token * H + head).flatten()
        self.k, self.v = (key * (H + K) + H + kv).flatten(), (key * K + kv).flatten()
        here = (asks.flatten() >= 0).nonzero()[:, 0]
        r, s = (here // S)[:, None], (here % S)[:, None]
        self.q_back = ((r * H + head[:, 0]) * S + s).flatten()
        self.k_back = ((r * K + kv[:, 0]) * L + L - S + s).flatten()

    def look(
        self, qk: Float[Tensor, "nHK d"], v: Float[Tensor, "nK d"], out: Float[Tensor, "nH d"]
    ) -> tuple[Tensor, ...]:
        """Write softmax attention into `out`; return what its gradient needs.

        Args:
            qk: All n packed tokens' queries and keys, `[n·(H+K),d]`.
            v: Their values, `[n·K,d]`.
            out: The heads' outputs, `[n·H,d]`; these rows' own tokens are written.

        Returns:
            Padded queries, keys and values, and the attention weights.
        """
        q, k = (
            qk.index_select(0, self.q).view(self.queries),
            qk.index_select(0, self.k).view(self.keys),
        )
        v = v.index_select(0, self.v).view(self.keys)
        scores = torch.bmm(q, k.mT)
        R, S, L = self.bias.shape[0], *self.bias.shape[2:]
        scores.view(R, -1, S, L).add_(self.bias)
        weight = scores.softmax(-1)
        per = len(self.q) // (R * S)  # heads
        out[self.lo * per : self.hi * per] = (
            torch.bmm(weight, v).view(-1, v.shape[-1]).index_select(0, self.q_back)
        )
        return q, k, v, weight

    def slopes(
        self, g: Float[Tensor, "nH1 d"], q: Tensor, k: Tensor, v: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of queries, keys and values.

        Args:
            g: The gradient of the heads' outputs, `[n·H+1,d]`; its last row is zero.
            q: Padded queries, as `look` returned them.
            k: Padded keys, likewise.
            v: Padded values, likewise.
            weight: Attention weights, likewise.
        """
        g = g.index_select(0, self.o).view(self.queries)
        scores = torch._softmax_backward_data(torch.bmm(g, v.mT), weight, -1, weight.dtype)
        return torch.bmm(scores, k), torch.bmm(scores.mT, q), torch.bmm(weight.mT, g)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: Shared, qk: Tensor, v: Tensor) -> Tensor:
        (n, K, d), H = v.shape, qk.shape[1] - v.shape[1]
        out = qk.new_empty(n * H, d)
        out[plan.count * H :] = 0
        seen = [rows.look(qk.reshape(-1, d), v.reshape(-1, d), out) for rows in plan.rows(H, K)]
        ctx.plan, ctx.sizes = plan, (n, H, K, d)
        ctx.save_for_backward(qk, v, *(t for each in seen for t in each))
        return out.view(n, H * d)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[None, Tensor, Tensor]:
        plan, (n, H, K, d) = ctx.plan, ctx.sizes
        qk, v, *seen = ctx.saved_tensors
        if (
            torch.is_grad_enabled()
        ):  # somebody differentiates this: what was kept does not remember where it came from
            qk, v = (t if t.requires_grad else t.detach().requires_grad_() for t in (qk, v))
            g_qk, g_v = torch.autograd.grad(plan.plain(qk, v), (qk, v), g, create_graph=True)
            return None, g_qk, g_v
        rows, g = plan.rows(H, K), torch.cat([g.reshape(-1, d), g.new_zeros(1, d)])
        each = [r.slopes(g, *seen[4 * i : 4 * i + 4]) for i, r in enumerate(rows)]
        if len(each) == 2:  # what completions saw of their prompts
            B, N, T, P = plan.shape
            for of_prompts, of_answers in zip(each[0][1:], each[1][1:], strict=True):
                of_prompts.view(B, K, P, d).add_(
                    of_answers.view(B, N, K, P + T, d)[:, :, :, :P].sum(1)
                )
        g_qk, g_v = g.new_empty(n, H + K, d), g.new_empty(n, K, d)
        g_qk[plan.count :], g_v[plan.count :] = 0, 0
        for r, (q, k, v) in zip(rows, each, strict=True):
            g_qk[r.lo : r.hi, :H] = q.view(-1, d).index_select(0, r.q_back).view(-1, H, d)
            for into, t in ((g_qk[:, H:], k), (g_v, v)):
                into[r.lo : r.hi] = t.view(-1, d).index_select(0, r.k_back).view(-1, K, d)
        return None, g_qk, g_v
