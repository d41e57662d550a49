"""Real models and real files: a policy of transformers, judges of text, prompts that people wrote. Gold where there is any.

The policy is any causal language model (a folder or a name on the hub); rewards are folders of `assay fit`, classifiers of
transformers, or Python functions, scored through text; prompts are a file of texts or conversations, whose other columns
go to the functions. Nothing here is exact: KL is sampled, gold costs what it costs, and there may be none.
"""
from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay.core import Loop, Missing, Rng, Samples, Task, World
from assay.errors import InputError
from assay.policies.causal import Causal
from assay.policies.stopping import Stopping, Stops
from assay.rewards.encoding import open_tokenizer
from assay.rewards.opening import Told, open_reward
from assay.trunks.pretrained import Pretrained
from assay.worlds.asking import Room, closing, read_all, taken


def world(*, policy: str, prompts: str = "", pairs: str = "", demos: str = "", rewards: tuple[str, ...] = (), gold: str = "",
          held_out: int = 64, columns: Mapping[str, str] = {}, split: str = "", chat: bool = True, max_prompt: int = 512,
          max_tokens: int = 128, min_tokens: int = 0, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0,
          stop: tuple[str, ...] = (), truncated: float | None = None, dtype: str = "float32", lora: int = 0, peft: str = "",
          bits: int = 0, seed: int = 0) -> World:
    """A world of a model, its judges and a file of prompts.

    policy: folder or hub name of a causal model. prompts: a file (assay check says what it is); its column is found or
    named by columns prompt=NAME; without it, the prompts of the pairs or demos. pairs, demos: files of comparisons and of
    answers to imitate; those of held-out prompts are left out. rewards: judges, each FILE.py:name, http://host:port/path, a
    folder of assay fit, or a classifier's folder or name. gold: one of the same, asked when reading only. held_out: prompts
    that no recipe sees. chat: put conversations, and texts where the tokenizer has a template, into the chat template.
    max_prompt: tokens; longer prompts are left out, as are pairs and demos with answers of more than max_tokens.
    max_tokens, min_tokens, temperature, top_k, top_p: of answers, in drawing and scoring alike. stop: texts that end an
    answer, '["\\n\\n","###"]'; what judges read of it ends before them. truncated: what every judge gives an answer that did
    not end, null for its score as it stands. dtype: float32, bfloat16 or float64. lora: the rank of LoRA adapters on every
    linear layer, 0 to train all weights; with adapters the reference is the base with them off, one model in memory. peft: a
    file or folder with an adapter_config.json of your own, instead of lora. bits: 4 or 8 to hold the base in so many, where
    bitsandbytes is installed.
    """
    arguments = {**locals(), "rewards": list(rewards), "columns": dict(columns), "stop": list(stop)}
    if dtype not in ("float32", "bfloat16", "float64"):
        raise InputError(f"--world.dtype is '{dtype}'; it is float32, bfloat16 or float64")
    judges, gauge = [open_reward(r, "world.rewards") for r in rewards], [open_reward(gold, "world.gold")] if gold else []
    asked, compared, shown = read_all(prompts, pairs, demos, columns, split, taken([*judges, *gauge]))
    tokenizer = open_tokenizer(policy)
    model = _open(policy, getattr(torch, dtype), bits)
    ends = closing(tokenizer, _ends(model), chat=chat and bool(getattr(tokenizer, "chat_template", None)))
    vocabulary = Stops(tokenizer, size=model.get_output_embeddings().weight.shape[0], ends=ends, stop=stop)
    desk = Room(vocabulary, asked, chat=chat, max_prompt=max_prompt, max_tokens=max_tokens, dtype=getattr(torch, dtype))
    unseen, seen = desk.divided(held_out, Rng(seed)("held out"), prompts or pairs or demos)
    comparisons = desk.pairs(pairs, compared, unseen) if pairs else None
    imitated = desk.demos(demos, shown, unseen) if demos else None
    room, wide = getattr(model.config.get_text_config(), "max_position_embeddings", None), desk.wide
    if room and wide + max_tokens > room:
        raise InputError(f"{policy} has {room} positions, and prompts of up to {wide} tokens with answers of up to {max_tokens} "
                         f"need {wide + max_tokens}: lower --world.max-tokens or --world.max-prompt")
    settings: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "max_tokens": max_tokens,
                                "min_tokens": min_tokens}
    trunk = _trunk(model, lora, peft, Rng(seed)("adapters"))
    reference = (Stopping if stop else Causal)(trunk, vocabulary, **settings).frozen()

    def told(judges: Sequence[Any]) -> Told:
        return Told(judges, asked.texts, asked.turns, asked.columns, truncated=truncated)

    best = told(gauge) if gauge else None
    kind = "" if best is None else "function" if best.partial else "held-out model"
    task = Task(prompts=desk.prompts(seen), reference=reference, rewards=told(judges) if judges else None, pairs=comparisons,
                demos=imitated, rng=Rng(seed)("run"))
    golds = () if best is None else best.names
    return World("hub", task, held_out=desk.prompts(unseen), gold=None if best is None else _gold(best), golds=golds,
                 gold_kind=kind, loop=Loop(steps=100, batch=16, n=8, lr=1e-6), arguments=arguments)


def _trunk(model: Any, lora: int, peft: str, rng: Rng) -> torch.nn.Module:
    """The model as a trunk, with adapters where they are asked for."""
    if not lora and not peft:
        return Pretrained(model)
    if lora and peft:
        raise InputError("--world.lora and --world.peft are two ways to say which adapters: give one of them")
    if importlib.util.find_spec("peft") is None:
        raise Missing("adapters need peft: pip install 'assay[lora]'")
    from peft import LoraConfig, PeftConfig

    from assay.trunks.adapted import Adapted, Base
    if peft:
        path = Path(peft)
        try:
            config = PeftConfig.from_pretrained(str(path if path.is_dir() else path.parent))
        except (OSError, ValueError, TypeError, KeyError) as why:
            raise InputError(f"--world.peft is '{peft}', and there is no readable adapter_config.json ({str(why)[:99]})") from why
    else:
        conv = any(type(m).__name__ == "Conv1D" for m in model.modules())  # GPT-2 keeps its weights the other way round
        config = LoraConfig(r=lora, lora_alpha=2 * lora, target_modules="all-linear", fan_in_fan_out=conv)
    return Adapted(Base(model, config, rng))


def _open(name: str, dtype: torch.dtype, bits: int) -> Any:
    """A causal language model, from safetensors only. Code from the folder or the hub is never run."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    more: dict[str, Any] = {}
    if bits not in (0, 4, 8):
        raise InputError(f"--world.bits is {bits}; it is 4 or 8, or 0 for the weights as they are")
    if bits:
        if importlib.util.find_spec("bitsandbytes") is None:
            raise Missing(f"--world.bits {bits} needs bitsandbytes: pip install bitsandbytes")
        more = {"quantization_config": BitsAndBytesConfig(load_in_4bit=bits == 4, load_in_8bit=bits == 8)}
    try:
        return AutoModelForCausalLM.from_pretrained(name, trust_remote_code=False, use_safetensors=True, dtype=dtype, **more)
    except Exception as why:  # transformers and the hub raise whatever they like; to the user it is one thing
        raise InputError(f"--world.policy is '{name}', and it gives no causal language model ({type(why).__name__}: "
                         f"{' '.join(str(why).split())[:120]}); give a folder that save_pretrained wrote, or a name on the "
                         "hub") from why


def _ends(model: Any) -> list[int]:
    """The tokens that end an answer, as the model's own settings for generation have them."""
    own = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    own = getattr(model.config, "eos_token_id", None) if own is None else own
    return [] if own is None else list(own) if isinstance(own, (list, tuple)) else [own]


def _gold(best: Told) -> Callable[[Samples], Float[Tensor, "K B N"]]:
    def gold(x: Samples) -> Float[Tensor, "K B N"]:
        """The held-out judge's scores of answers; where it does not apply, it is an error: a mean over some rows is another
        quantity."""
        return best(x)

    return gold
