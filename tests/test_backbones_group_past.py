"""A cache that holds a prompt once says what whole rows say, whatever was kept and chosen."""

from __future__ import annotations

import pytest
import torch
from families import FAMILIES, MORE, model, never_rounded

from assay.core import Rng
from assay.models.backbones.completion_passes import row_by_row
from assay.models.backbones.group_past import GroupPast
from assay.models.backbones.pretrained import Pretrained


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    never_rounded(monkeypatch)


def prompts() -> tuple[torch.Tensor, torch.Tensor]:
    """Of 6, 2 and 4 tokens, padded on the left."""
    tokens = torch.randint(3, 300, (3, 6), generator=torch.Generator().manual_seed(1))
    return tokens, torch.arange(6) >= torch.tensor([[0], [4], [2]])


class Rows:
    """What each row of a cache holds, kept beside it as plain lists."""

    def __init__(self, tokens: torch.Tensor, keep: torch.Tensor, owner: list[int]):
        self.rows = [tokens[b][keep[b]].tolist() for b in owner]

    def hidden(self, of: Pretrained) -> torch.Tensor:
        """The last hidden state of each row, computed alone and whole."""
        out = []
        for row in self.rows:
            t = torch.tensor(row)[None]
            none = torch.zeros(1, 1, 0, dtype=torch.long)
            with torch.no_grad():
                packed, at = row_by_row(of, t, torch.ones_like(t).bool(), none, none.bool())
            out.append(packed[at[0, 0, -1]])
        return torch.stack(out)


@pytest.mark.parametrize("family", [*FAMILIES, *MORE])
def test_each_token_sees_what_its_whole_row_says(family: str) -> None:
    """Rows come and go, take several columns at once, and leave some of them out."""
    of, (tokens, keep) = Pretrained(model(family, dtype=torch.float64)), prompts()
    assert of.plain_because == ""
    owner = [0, 0, 1, 2, 2, 2, 1]
    held, rng = Rows(tokens, keep, owner), Rng(4)
    first, past = of.prefill(tokens, keep, torch.tensor(owner), 4)
    assert isinstance(past, GroupPast)
    assert (first[torch.tensor(owner)] - held.hidden(of)).abs().max() < 1e-11
    for t in range(14):
        if t in (3, 7):  # a row is taken twice, a prompt loses all of its rows, order changes
            rows = torch.tensor([4, 1, 1, 5, 3, 0] if t == 3 else [3, 0, 4])
            past.select(rows)
            held.rows = [list(held.rows[r]) for r in rows.tolist()]
        R, S = len(held.rows), 1 + (t % 3 == 2) * 2
        r, s = torch.arange(R)[:, None], torch.arange(S)
        new = rng("token", t).integers(290, r, s) + 3
        kept = rng("keep", t).uniform(r, s) < 0.7
        hidden = of.extend(past, new, kept)
        for j in range(S):
            for i in range(R):
                if kept[i, j]:
                    held.rows[i].append(int(new[i, j]))
            right, here = held.hidden(of), kept[:, j]
            if here.any():
                assert (hidden[:, j] - right)[here].abs().max() < 1e-11


def test_a_cache_holds_a_prompt_once_and_lets_it_go_with_its_last_row() -> None:
    of, (tokens, keep) = Pretrained(model("llama")), prompts()
    _, past = of.prefill(tokens, keep, torch.arange(3).repeat_interleave(50), 64)
    assert isinstance(past, GroupPast)
    assert [k.shape[0] for k, _ in past.prompts] == [3, 3]
    past.select(torch.arange(60, 70))
    assert [k.shape[0] for k, _ in past.prompts] == [1, 1] and past.owner.tolist() == [0] * 10
    past.select(torch.arange(0))
    assert len(past.owner) == 0


def test_half_precision_takes_its_softmax_in_float32() -> None:
    """As torch's own attention does, so that drawing and scoring round alike."""
    of, (tokens, keep) = Pretrained(model("llama", dtype=torch.bfloat16)), prompts()
    owner = torch.tensor([0, 1, 2])
    _, past = of.prefill(tokens, keep, owner, 4)
    new = torch.tensor([[5, 9, 11, 30, 17]]).expand(3, 5)
    kept = torch.ones_like(new).bool()
    hidden = of.extend(past, new, kept)
    with torch.no_grad():
        packed, at = row_by_row(of, tokens, keep, new[:, None], kept[:, None])
    whole = packed[at[:, 0, 1:]]
    assert (hidden - whole).abs().max() < 0.05 * float(whole.abs().max())


@pytest.mark.parametrize("owner", [[1], [1, 1], [0, 2], [2, 2, 1]])
def test_prompts_that_no_row_follows_change_nothing(owner: list[int]) -> None:
    """Some prompts are asked for no completion, or all of theirs have ended before."""
    of, (tokens, keep) = Pretrained(model("llama", dtype=torch.float64)), prompts()
    held = Rows(tokens, keep, owner)
    _, past = of.prefill(tokens, keep, torch.tensor(owner), 4)
    new = torch.arange(5, 5 + len(owner))[:, None]
    hidden = of.extend(past, new, torch.ones_like(new).bool())
    for row, token in zip(held.rows, new[:, 0].tolist(), strict=True):
        row.append(token)
    assert (hidden[:, 0] - held.hidden(of)).abs().max() < 1e-11
