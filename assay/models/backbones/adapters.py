"""A transformers model with peft adapters as backbones: one base in memory for all of them.

The reference is the base with every adapter off. A backbone of this kind is a name: None for the
base, else an adapter of its own, whose weights are all that it owns, trains, saves and loads. Every
peft configuration that injects layers works (LoRA, DoRA, …).
"""

from __future__ import annotations

import copy
import functools
import itertools
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn

from assay.core.rng import Rng
from assay.engine.quiet import quiet_libraries
from assay.errors import InputError
from assay.models.backbones.adapter_check import check, few_logps
from assay.models.backbones.adapter_config import drawn_anew, fits, trainable
from assay.models.backbones.adapter_merge import merged
from assay.models.backbones.lean_lora import lean, with_change
from assay.models.backbones.lora import draw_by_address
from assay.models.backbones.mixed_precision import compute_rounded
from assay.models.backbones.pretrained import Cache, Pretrained

_UNUSED = "unused"  # peft injects its layers with an adapter, and none is ours


class Base:
    """The model that all adapters share, and the switch between them.

    Args:
        model: A transformers causal model, or one as a Pretrained; its weights no longer require a
            gradient.
        config: peft's configuration.
        rng: The address of adapters' first weights.
        checkpointing: See Pretrained.
        compiled: See Pretrained.

    Raises:
        InputError: The configuration injects no layers.
    """

    def __init__(
        self,
        model: nn.Module,
        config: Any,
        rng: Rng,
        *,
        checkpointing: bool = False,
        compiled: bool = False,
    ):
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils.other import AuxiliaryTrainingWrapper

        self.plain = (
            model
            if isinstance(model, Pretrained)
            else Pretrained(model, checkpointing=checkpointing)
        )  # checked before anything is injected
        model = self.plain.model
        for p in model.parameters():
            p.requires_grad_(False)
        self.config, self.rng, self.count = trainable(config), rng, itertools.count()
        fits(config, model)
        self._dropped: list[str] = []
        before = few_logps(self.plain)
        self.peft = self._injected(model)
        name = getattr(model, "name_or_path", None) or None
        self.config.base_model_name_or_path = name  # what a saved adapter is loaded on
        switched = (BaseTunerLayer, AuxiliaryTrainingWrapper)
        self.layers: list[Any] = [m for m in self.peft.modules() if isinstance(m, switched)]
        if not self.layers:
            raise InputError(
                f"the adapter configuration {config.peft_type} injects no layers into this model, "
                "and an adapter that is not in its layers cannot be switched off; use LoRA or "
                "one of its kin"
            )
        self.saved = [m for m in self.layers if hasattr(m, "modules_to_save")]
        for wrapper in self.saved:  # copies of whole modules that nothing will train
            wrapper.delete_adapter(_UNUSED, None)
        self.switch(None)
        check(self, before)
        self.plain.compiled = compiled or self.plain.compiled

    def _injected(self, model: nn.Module) -> Any:
        """Put peft's layers into the model, with an adapter that is never used."""
        from peft import get_peft_model

        with _told_by_peft(), torch.random.fork_rng(), quiet_libraries():
            # peft draws first weights from torch's stream; they are drawn again by address
            return get_peft_model(model, copy.deepcopy(self.config), adapter_name=_UNUSED)

    def fresh(self) -> tuple[str, dict[str, nn.Parameter]]:
        """Make a new adapter, first values by address; return its name and its weights."""
        self.drop(self._dropped)
        name = f"adapter{next(self.count)}"
        trained = [(p, p.requires_grad) for p in self.peft.parameters()]
        with (
            _told_by_peft(),
            torch.random.fork_rng(),
            quiet_libraries(),
        ):  # from a fixed state: the scale of peft's draw is used below, and must be the same again
            torch.set_rng_state(self.rng("scale").generator().get_state())
            self.peft.add_adapter(name, copy.deepcopy(self.config))
        for p, wanted in trained:  # peft leaves a gradient to its active adapter alone
            p.requires_grad_(wanted)
        self.peft.eval()  # an adapter's own dropout is off too
        for layer in self.layers:
            for part in layer.adapter_layer_names:
                held = getattr(layer, part, None)
                if isinstance(held, nn.Module):
                    held.to(self.plain.like.device)
        found = {n: p for n, p in self.peft.named_parameters() if name in n.split(".")}
        own = self.plain.like.dtype  # peft makes adapters in float32, of a finer base too
        rounded = next(self.plain.parameters()).dtype
        for p in found.values():
            p.data = p.data.to(own)
        for wrapper in self.saved:
            if own != rounded and name in wrapper.modules_to_save:
                compute_rounded(wrapper.modules_to_save[name], rounded)
        if drawn_anew(self.config):
            matrices = ((n, p) for n, p in found.items() if ".lora_" in n and "magnitude" not in n)
            draw_by_address(((n.replace(name, "adapter"), p) for n, p in matrices), self.rng)
        return name, found

    def drop(self, names: list[str]) -> None:
        """Remove adapters; the list is empty afterwards."""
        while names:
            with quiet_libraries():
                self.peft.delete_adapter(names.pop())

    def forget(self, name: str) -> None:
        """Remove this adapter before the next one is made: it may still be on."""
        self._dropped.append(name)

    def switch(self, name: str | None, added: Mapping[Any, Tensor] | None = None) -> None:
        """Turn on this adapter alone, or none.

        Only flags change: which weights require a gradient is for the backbones to say.

        Args:
            name: The adapter.
            added: Weights with its change added, see `lean_lora`.
        """
        # a layer computed again must find what it was computed with
        self.plain.recall = functools.partial(self.switch, name, added)
        self.plain.lean = functools.partial(lean, self.layers, name, added)
        for layer in self.layers:
            layer._disable_adapters = name is None
            layer._active_adapter = [] if name is None else [name]


@contextmanager
def _told_by_peft() -> Iterator[None]:
    """Say in one sentence what peft raises, in many types, for a configuration that misfits."""
    try:
        yield
    except Exception as why:
        said = " ".join(str(why).split())[:200]
        raise InputError(
            "peft cannot put the adapter configuration into this model "
            f"({type(why).__name__}: {said}); mend adapter_config.json, or use --lora 16"
        ) from why


class Adapted(nn.Module):
    """The base with one adapter on, or with none: a Backbone.

    Args:
        base: Shared by all adapters.
        adapter: Whether to make an adapter of its own.
    """

    def __init__(self, base: Base, *, adapter: bool = False):
        super().__init__()
        # in a tuple: it is no submodule, so that its state and parameters are not this module's
        self._base = (base,)
        self.width = base.plain.width
        self.name: str | None = None
        if adapter:
            self.name, found = base.fresh()
            for n, p in found.items():
                self.register_parameter(n.replace(".", "/").replace(self.name, "adapter"), p)
            weakref.finalize(self, base.forget, self.name).atexit = False
        self._own = tuple(self.parameters())

    @property
    def like(self) -> Tensor:
        """A tensor of the dtype and on the device of what is computed."""
        return self._base[0].plain.like

    @property
    def computes_with(self) -> Pretrained:
        """The base, which computes for all adapters."""
        return self._base[0].plain

    @property
    def config(self) -> Any:
        """peft's configuration of the adapters."""
        return self._base[0].config

    def twin(self) -> Adapted:
        """Return the same base with a new adapter, which begins with this one's weights."""
        other = Adapted(self._base[0], adapter=True)
        if self.name is not None:
            other.load_state_dict(self.state_dict())
        return other

    @contextmanager
    def _on(self, added: Mapping[Any, Tensor] | None = None) -> Iterator[Pretrained]:
        base = self._base[0]
        if any(p is not q for p, q in zip(self.parameters(), self._own, strict=True)):
            raise InputError(
                "this recipe computes with exchanged weights, and an adapter in its base's "
                "layers cannot follow it; train all weights, without --lora"
            )
        base.switch(self.name, added)
        try:
            yield base.plain
        finally:
            if added is not None:  # they are held while completions are drawn, and no longer
                base.switch(self.name)

    def hidden_states(self, *given: Tensor) -> tuple[Tensor, Tensor]:
        """See Pretrained."""
        with self._on() as plain:
            return plain.hidden_states(*given)

    def activations(self, *given: Any) -> tuple[Tensor, Tensor, list[int]]:
        """See Pretrained."""
        with self._on() as plain:
            return plain.activations(*given)

    def prefill(
        self, prompt: Tensor, keep: Tensor, owner: Tensor, room: int
    ) -> tuple[Tensor, Cache]:
        """See Pretrained. The adapter's change is added to copies of the weights, if they fit."""
        added = with_change(self._base[0].layers, self.name)
        with self._on(added) as plain:
            hidden, cache = plain.prefill(prompt, keep, owner, room)
        cache.added = added
        return hidden, cache

    def extend(self, cache: Cache, tokens: Tensor, keep: Tensor) -> Float[Tensor, "R S W"]:
        """See Pretrained."""
        with self._on(cache.added) as plain:
            return plain.extend(cache, tokens, keep)

    def embedded(self, ids: Tensor) -> Tensor:
        """See Pretrained."""
        with self._on() as plain:
            return plain.embedded(ids)

    def token_logps(self, *given: Any, **named: Any) -> Tensor | None:
        """See Pretrained."""
        with self._on() as plain:
            return plain.token_logps(*given, **named)

    def logits(self, hidden: Float[Tensor, "*n W"]) -> Float[Tensor, "*n V"]:
        """See Pretrained."""
        with self._on() as plain:
            return plain.logits(hidden)

    def save_adapter(self, folder: Path) -> str:
        """Write adapter_config.json and adapter_model.safetensors; return the base's name."""
        from peft import get_peft_model_state_dict

        base = self._base[0]
        config = copy.deepcopy(base.peft.peft_config[self.name])
        config.inference_mode = True
        config.save_pretrained(str(folder))
        found = get_peft_model_state_dict(base.peft, adapter_name=str(self.name))
        weights = {k: v.detach().contiguous().clone() for k, v in found.items()}
        save_file(weights, str(folder / "adapter_model.safetensors"), metadata={"format": "pt"})
        return str(config.base_model_name_or_path)

    def merged(self) -> Any:
        """Return a plain transformers model with the adapter's change added to its weights."""
        return merged(self._base[0], self.name)
