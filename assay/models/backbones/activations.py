"""What a pass shows besides its last hidden states: every layer's state, or means of activations.

    layers        the residual stream after each layer, the last one after the last norm, as
                  `output_hidden_states` of transformers has them without the embedding
    activations   the mean over the width of each activation, by kind (`KINDS`)

A mean is taken as soon as an activation is made, so that a token costs one number an activation.
They are, in each layer: the input of the down projection (feed-forward); queries, keys, values and
the input of the output projection (attention); both normed inputs, what attention and the
feed-forward block add, and the sums after them (residual); and once the embedding and the last norm
(residual). Our own Llama shows queries and keys after their rotation, too. In a transformers model
they exist inside of the attention function alone, which differs between the two ways in which rows
are computed, so there they are left out.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.models.backbones.attention import backbone, rope
from assay.models.backbones.shared_prompts import Shared

Show = Literal["layers", "activations"]
KINDS = ("feed-forward", "attention", "residual")


class Notes:
    """What one pass shows, in the order in which it is computed.

    Args:
        show: What is noted.

    Attributes:
        states: The layers' states `[…,W]`, without the last one.
        means: For each kind the means by name, each `[…]`.
    """

    def __init__(self, show: Show):
        self.show = show
        self.states: list[Tensor] = []
        self.means: dict[str, dict[str, Tensor]] = {kind: {} for kind in KINDS}

    def mean(self, kind: str, name: str, x: Float[Tensor, "*n W"]) -> None:
        """Note the mean of an activation over its width, in float32 at least."""
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        self.means[kind][name] = x.detach().mean(-1, dtype=wide)

    def beside(self, last: Float[Tensor, "*n W"]) -> tuple[Float[Tensor, "*n X"], list[int]]:
        """Lay what was noted before the last hidden states, along their width.

        Args:
            last: The last norm's output.

        Returns:
            `[…,X]`, and the widths of its parts: one a layer, the last layer's being `last`; or one
            a kind and, after these, `last`.
        """
        rows = last.shape[:-1]
        if self.show == "layers":
            parts = [*(x.to(last.dtype).reshape(*rows, -1) for x in self.states), last]
        else:
            kinds = ([x.reshape(rows) for x in self.means[kind].values()] for kind in KINDS)
            parts = [*(torch.stack(each, -1).to(last.dtype) for each in kinds), last]
        return torch.cat(parts, -1), [x.shape[-1] for x in parts]


class _Own(Notes):
    """Notes of a pass of our own Llama, called by `attention.backbone`.

    Its layers have the norms' weights and the scores' scale in their matrices: the first are put
    back here, and the second is a factor of all queries.
    """

    def __init__(self, show: Show, weights: dict[str, Tensor], layers: int, heads: int):
        super().__init__(show)
        self.weights, self.layers, self.heads = weights, layers, heads

    def __call__(self, i: int, name: str, x: Tensor) -> None:
        if self.show == "layers":
            if name == "input" and 0 < i < self.layers:
                self.states.append(x)
            return
        at = f"{i}.{name}"
        if name == "input" and i:
            at = f"{i - 1}.output"
            self.mean("residual", at, x)
            self._added(f"{i - 1}.feed_forward", f"{i - 1}.middle", at)
        elif name == "input":
            self.mean("residual", "embedding", x)
        elif name == "middle":
            self.mean("residual", at, x)
            self._added(f"{i}.attention", f"{i - 1}.output" if i else "embedding", at)
        elif name in ("normed", "normed_middle"):
            norm = "input" if name == "normed" else "post_attention"
            self.mean("residual", at, x * self.weights[f"model.layers.{i}.{norm}_layernorm.weight"])
        elif name == "inner":
            self.mean("feed-forward", at, x)
        elif name in ("qk", "rotated_qk"):
            turned = name.removesuffix("qk")
            self.mean("attention", f"{i}.{turned}q", x[:, : self.heads].flatten(1))
            self.mean("attention", f"{i}.{turned}k", x[:, self.heads :].flatten(1))
        else:
            self.mean("attention", at, x.flatten(1))

    def _added(self, name: str, before: str, after: str) -> None:
        """Note the mean of what was added: the mean is linear."""
        known = self.means["residual"]
        known[name] = known[after] - known[before]


@torch.no_grad()
def own_activations(
    llama: Any,
    show: Show,
    prompt: Int[Tensor, "B P"],
    prompt_keep: Bool[Tensor, "B P"],
    completion: Int[Tensor, "B N T"],
    keep: Bool[Tensor, "B N T"],
) -> tuple[Float[Tensor, "n X"], Int[Tensor, "B N T1"], list[int]]:
    """Compute hidden states with what else a pass shows beside them, without gradient.

    Args:
        llama: A Llama.
        show: "layers" or "activations".
        prompt: See Backbone.hidden_states.
        prompt_keep: Likewise.
        completion: Likewise.
        keep: Likewise.

    Returns:
        Backbone.hidden_states, with what is shown before each hidden state along its width, and the
        widths of the parts, see `Notes.beside`.
    """
    c, (embed, stack, final) = llama.config, llama._laid_out()
    plan, notes = (
        Shared(prompt_keep, keep, embed.dtype),
        _Own(show, llama.weights(), llama.config.layers, llama.config.heads),
    )
    x = F.embedding(plan.packed(prompt, completion), embed)
    last = backbone(x, stack, final, c, rope(plan.places, c, embed.dtype), plan, notes)
    notes.mean("residual", "last_norm", last)
    packed, sizes = notes.beside(last)
    return packed, plan.before, sizes
