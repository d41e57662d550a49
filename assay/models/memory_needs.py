"""What training a language model takes of each process's memory, by arithmetic.

Two moments are the largest. While a pass is learned from, its activations are there beside weights,
gradients and Adam's moments. While completions are generated, their keys and values are there, and
no gradient. Weights that are divided over processes are gathered for a pass: what is in no layer
(embedding and head) for all of it, two layers at a time, and for generation the whole model where
it fits. Activations stay in the process whose rows they are of.
"""

from __future__ import annotations

from dataclasses import dataclass

_FLOAT, _ADAM = 4, 8  # bytes of a trained number and of its gradient, and of Adam's two moments
_CHUNK = 1 << 26  # bytes of logits that are held at once
KINDS = ("all weights", "LoRA")


@dataclass(frozen=True)
class Shape:
    """A model's size, in numbers.

    Attributes:
        parameters: All of them; tied weights count once.
        ends: Of these, those in no layer.
        layers: Layers.
        adapted: Weights of LoRA adapters.
        hidden: Width of the hidden states.
        keys: Keys and values of a token, in all layers.
        saved: Bytes that a token's pass saves for the backward pass, in all layers, in float32 and
            in bfloat16, where all weights are trained.
        adapted_saved: Likewise, where LoRA adapters alone are.
    """

    parameters: int
    ends: int
    layers: int
    adapted: int
    hidden: int
    keys: int
    saved: tuple[int, int]
    adapted_saved: tuple[int, int]

    @property
    def layer(self) -> int:
        """Parameters of one layer."""
        return (self.parameters - self.ends) // self.layers


def llama(
    *,
    hidden: int,
    intermediate: int,
    layers: int,
    heads: int,
    kv_heads: int,
    head: int,
    vocabulary: int,
    tied: bool,
    rank: int = 16,
) -> Shape:
    """The shape of a model of Llama's family.

    What a token's pass saves is, in each layer and as counted by `engine.passes.saved_bytes`,
    24·hidden + 16·intermediate + 12·queries + 16·keys + 5·heads bytes in float32. In bfloat16 it is
    16, 8, 6, 8 and 5: norms compute in float32. With LoRA and a frozen base the norms' results are
    not saved: 16·hidden in float32. In bfloat16 peft gives each adapter a float32 copy of its
    layer's input, and both of its products are saved: 28·hidden + 10·intermediate + 8·queries +
    8·keys + 5·heads + 28·rank.

    Args:
        hidden: Width of the hidden states.
        intermediate: Width within an MLP.
        layers: Layers.
        heads: Heads of queries.
        kv_heads: Heads of keys and values.
        head: Width of a head.
        vocabulary: Tokens.
        tied: Whether the head is the embedding.
        rank: Of LoRA adapters on every linear layer but the head.
    """
    q, k = heads * head, kv_heads * head
    linear = 2 * hidden * q + 2 * hidden * k + 3 * hidden * intermediate
    sides = 2 * (hidden + q) + 2 * (hidden + k) + 3 * (hidden + intermediate)
    ends = vocabulary * hidden * (1 if tied else 2) + hidden
    saved = (
        24 * hidden + 16 * intermediate + 12 * q + 16 * k + 5 * heads,
        16 * hidden + 8 * intermediate + 6 * q + 8 * k + 5 * heads,
    )
    adapted_saved = (
        saved[0] - 8 * hidden,
        28 * hidden + 10 * intermediate + 8 * q + 8 * k + 5 * heads + 28 * rank,
    )
    return Shape(
        parameters=layers * (linear + 2 * hidden) + ends,
        ends=ends,
        layers=layers,
        adapted=layers * rank * sides,
        hidden=hidden,
        keys=2 * layers * k,
        saved=(layers * saved[0], layers * saved[1]),
        adapted_saved=(layers * adapted_saved[0], layers * adapted_saved[1]),
    )


@dataclass(frozen=True)
class Plan:
    """How a model is trained.

    Attributes:
        processes: Processes that weights are divided over; 1 for none.
        kind: "all weights" or "LoRA".
        half: Whether the model computes in bfloat16; trained weights are float32 all the same.
        recomputed: Whether layers are computed again in the backward pass (`--checkpointing`).
        learned: Tokens of a training pass.
        generated: Tokens of all completions that are generated at once, prompts counted once.
        gathered: Whether the whole model is gathered for generation; else layer by layer.
    """

    processes: int = 1
    kind: str = "all weights"
    half: bool = False
    recomputed: bool = False
    learned: int = 4096
    generated: int = 32768
    gathered: bool = True


@dataclass(frozen=True)
class Needs:
    """Bytes of one process.

    Attributes:
        weights: What is trained, its rounded copy, the reference or the base, and adapters.
        gradients: Of what is trained.
        moments: Adam's.
        gathered: Weights and gradients that are whole while a pass is learned from.
        activations: Of a pass that is learned from, with a chunk of logits.
        whole: Weights that are whole while completions are generated.
        keys: Keys and values of what is generated.
    """

    weights: int
    gradients: int
    moments: int
    gathered: int
    activations: int
    whole: int
    keys: int

    @property
    def state(self) -> int:
        """What is there between passes, once a gradient is."""
        return self.weights + self.gradients + self.moments

    @property
    def learning(self) -> int:
        """While a pass is learned from."""
        return self.state + self.gathered + self.activations

    @property
    def generating(self) -> int:
        """While completions are generated."""
        return self.weights + self.moments + self.whole + self.keys

    @property
    def peak(self) -> int:
        """The larger of the two."""
        return max(self.learning, self.generating)


def needs(shape: Shape, plan: Plan) -> Needs:
    """Count what a process needs.

    Args:
        shape: The model.
        plan: How it is trained.

    Example:
        >>> one = llama(hidden=64, intermediate=128, layers=2, heads=4, kv_heads=2, head=16,
        ...     vocabulary=300, tied=True)
        >>> needs(one, Plan()).state / one.parameters  # with the reference's four bytes
        20.0
    """
    size, W = 2 if plan.half else 4, plan.processes
    part = -(-shape.parameters // W)
    if plan.kind == "LoRA":
        trained, weights = shape.adapted, size * part + _FLOAT * shape.adapted
    else:
        trained, weights = part, (_FLOAT + size) * part
        if plan.half and W == 1:  # a rounded copy, and the float32 weights
            weights += size * part
    gathered = whole = 0
    if W > 1:
        slopes = size * (shape.ends + shape.layer) if plan.kind != "LoRA" else 0
        gathered = size * (shape.ends + 2 * shape.layer) + slopes
        whole = size * shape.parameters if plan.gathered else size * (shape.ends + 2 * shape.layer)
    saved = shape.adapted_saved if plan.kind == "LoRA" else shape.saved
    a_token = saved[1 if plan.half else 0]
    if plan.recomputed:
        a_token = size * shape.layers * shape.hidden + a_token // shape.layers
    return Needs(
        weights=weights,
        gradients=_FLOAT * trained,
        moments=_ADAM * trained,
        gathered=gathered,
        activations=a_token * plan.learned + _CHUNK,
        whole=whole,
        keys=size * shape.keys * plan.generated,
    )
