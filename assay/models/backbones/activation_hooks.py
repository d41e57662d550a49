"""What a transformers model's pass shows besides its last hidden states, read by forward hooks.

Which tensor is which is found by where it goes, not by a family's names: the tensor that attention
takes is its normed input, a norm that takes what attention returned makes what is added to the
residual stream, and the sum after attention is what the norm before the feed-forward block takes.
So families that norm before, after or on both sides of a block are read alike. Where both blocks
take the layer's input (GPT-NeoX, Cohere), there is no sum between them. Only the projections within
a block are known by name (`_NAMES`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from assay.errors import InputError
from assay.models.backbones.activations import Notes, Show
from assay.models.backbones.completion_passes import by_group, row_by_row
from assay.models.backbones.in_step import uneven_passes
from assay.models.backbones.layer_progress import layers_of
from assay.models.backbones.packed_groups import PackedGroups

_NAMES = {
    "attention": ("self_attn", "attn", "attention", "self_attention"),
    "feed-forward block": ("mlp", "feed_forward"),
    "output projection": ("o_proj", "c_proj", "out_proj", "dense"),
    "down projection": ("down_proj", "c_proj", "dense_4h_to_h", "fc2", "w2", "fc_out"),
    "query projection": ("q_proj", "c_attn", "qkv_proj", "query_key_value"),
}


def activations(
    body: Any,
    show: Show,
    prompt: Int[Tensor, "B P"],
    prompt_keep: Bool[Tensor, "B P"],
    completion: Int[Tensor, "B N T"],
    keep: Bool[Tensor, "B N T"],
) -> tuple[Float[Tensor, "n X"], Int[Tensor, "B N T1"], list[int]]:
    """Compute the same as `activations.own_activations` of a transformers model.

    Args:
        body: A Body.
        show: "layers" or "activations".
        prompt: See Backbone.hidden_states.
        prompt_keep: Likewise.
        completion: Likewise.
        keep: Likewise.

    Returns:
        See `own_activations`.

    Raises:
        InputError: The model's layers have parts that are not known by name.
    """
    shown, how = _Shown(body, show), row_by_row if body.plain_because else by_group
    compiled, body.compiled = body.compiled, False  # compiled layers call no hooks
    try:
        with torch.no_grad(), uneven_passes(body):
            packed, before = how(shown, prompt, prompt_keep, completion, keep)
    finally:
        body.compiled = compiled
    return packed, before, shown.sizes


class _Shown:
    """Stands in for a body in `row_by_row` and `by_group`: its hidden states are wider.

    Args:
        body: The body that computes.
        show: What is shown beside its hidden states.

    Attributes:
        sizes: Widths of the parts, from the last pass.
    """

    def __init__(self, body: Any, show: Show):
        self.body, self.show = body, show
        self.width, self.like, self.sizes = body.width, body.like, [int(body.width)]

    def rows(self, tokens: Int[Tensor, "R S"], keep: Bool[Tensor, "R S"]) -> Tensor:
        """Compute rows that are padded on the right, see Body."""
        return self._noted(lambda: self.body.rows(tokens, keep))

    def groups(self, tokens: Int[Tensor, "n"], groups: PackedGroups) -> Tensor:
        """Compute packed groups, see Body."""
        return self._noted(lambda: self.body.groups(tokens, groups))

    def _noted(self, compute: Callable[[], Tensor]) -> Tensor:
        with noted(self.body.model, self.show) as notes:
            last = compute()
        if self.show == "layers":
            notes.states.pop()  # the last layer's: the last norm's output stands for it
        notes.mean("residual", "last_norm", last)
        wide, self.sizes = notes.beside(last)
        return wide


@contextmanager
def noted(model: Any, show: Show) -> Iterator[Notes]:
    """Note what the layers of one pass show, in this block.

    Args:
        model: A transformers model.
        show: "layers" or "activations".
    """
    notes, hooks = Notes(show), list[Any]()
    try:
        for i, layer in enumerate(layers_of(model)):
            if show == "layers":
                hooks.append(
                    layer.register_forward_hook(lambda m, x, out: notes.states.append(_one(out)))
                )
            else:
                hooks += _Layer(notes, i, layer, model.config.get_text_config()).hooks
        yield notes
    finally:
        for hook in hooks:
            hook.remove()


def _one(out: Any) -> Tensor:
    """The tensor of what a module takes or returns."""
    found: Tensor = out[0] if isinstance(out, tuple) else out
    return found


class _Layer:
    """Notes the means of one layer. What it needs to tell them apart is held for one pass of it."""

    def __init__(self, notes: Notes, i: int, layer: nn.Module, config: Any):
        self.notes, self.at, self.config = notes, f"{i}.", config
        self.held: dict[str, Tensor] = {}
        self.others: list[tuple[Tensor, Tensor]] = []  # norms' inputs and outputs, in their order
        self.hooks: list[Any] = []
        attention, block = self._part(layer, "attention"), self._part(layer, "feed-forward block")
        out, down = (
            self._part(attention, "output projection"),
            self._part(block, "down projection"),
        )
        self._before(layer, lambda x: self.held.update(input=x))
        self._before(attention, lambda x: self.held.update(attention_in=x))
        self._before(block, lambda x: self.held.update(block_in=x))
        self._before(out, lambda x: notes.mean("attention", self.at + "heads", x))
        self._before(down, lambda x: notes.mean("feed-forward", self.at + "inner", x))
        self._after(attention, lambda x, y: self.held.update(attention_out=y))
        self._after(block, lambda x, y: self.held.update(block_out=y))
        for child in layer.children():
            if child is not attention and child is not block:
                self._after(child, lambda x, y: self.others.append((x, y)))
        self._projections(attention)
        self._after(layer, self._layer_done)

    def _part(self, within: nn.Module, what: str) -> nn.Module:
        for name in _NAMES[what]:
            if isinstance(found := getattr(within, name, None), nn.Module):
                return found
        raise InputError(
            f"a {self.config.model_type} model's {type(within).__name__} has no {what} that is "
            f"known by name ({', '.join(_NAMES[what])}), so that its activations cannot be told "
            "apart; use --masks shared"
        )

    def _before(self, module: nn.Module, note: Callable[[Tensor], object]) -> None:
        def hook(_: nn.Module, given: Any, named: Any) -> None:
            note(_given(given, named))

        self.hooks.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def _after(self, module: nn.Module, note: Callable[[Tensor, Tensor], object]) -> None:
        def hook(_: nn.Module, given: Any, named: Any, out: Any) -> None:
            note(_given(given, named), _one(out))

        self.hooks.append(module.register_forward_hook(hook, with_kwargs=True))

    def _projections(self, attention: nn.Module) -> None:
        """Note queries, keys and values, from projections of their own or from a joint one."""
        if hasattr(attention, "q_proj"):
            for name in "qkv":
                self._after(
                    attention.get_submodule(f"{name}_proj"),
                    lambda x, y, name=name: self.notes.mean("attention", self.at + name, y),  # type: ignore[misc]
                )
            return
        joint = self._part(attention, "query projection")
        by_head = hasattr(attention, "query_key_value")  # each head's three side by side

        def note(x: Tensor, y: Tensor) -> None:
            heads = self.config.num_attention_heads
            keys = getattr(self.config, "num_key_value_heads", None) or heads
            each = y.unflatten(-1, (heads if by_head else 1, -1))
            d = each.shape[-1] // (3 if by_head else heads + 2 * keys)
            sizes = [d] * 3 if by_head else [heads * d, keys * d, keys * d]
            for name, part in zip("qkv", each.split(sizes, -1), strict=True):
                self.notes.mean("attention", self.at + name, part.flatten(-2))

        self._after(joint, note)

    def _layer_done(self, _: Tensor, out: Tensor) -> None:
        x, took, gave = (self.held[k] for k in ("input", "attention_in", "attention_out"))
        block_took, block_gave = self.held["block_in"], self.held["block_out"]
        found = {} if self.notes.means["residual"] else {"embedding": x}
        own = {"attention": gave, "feed_forward": block_gave}
        for name, y in own.items():  # a norm after the block, if there is one
            own[name] = next((b for a, b in self.others if a is y), y)
        middle = next((a for a, b in self.others if b is block_took), block_took)
        for name, y in (("normed", took), ("normed_middle", block_took)):
            if y is not x and y is not middle and not any(y is z for z in found.values()):
                found[self.at + name] = y
        if middle is not x and middle is not took:
            found[self.at + "middle"] = middle
        found |= {self.at + name: y for name, y in own.items()} | {self.at + "output": out}
        for name, y in found.items():
            self.notes.mean("residual", name, y)
        self.held.clear()
        self.others.clear()


def _given(given: Any, named: Any) -> Tensor:
    found: Tensor = given[0] if given else named["hidden_states"]
    return found
