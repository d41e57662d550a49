"""Real models and real files: a policy of transformers, judges of text, prompts that people wrote. Gold where there is any.

The policy is any causal language model (a folder or a name on the hub); rewards are folders of `assay fit`, classifiers of
transformers, or Python functions, scored through text; prompts are a file of texts or conversations, whose other columns
go to the functions. Nothing here is exact: KL is sampled, gold costs what it costs, and there may be none.
"""
from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assay import data
from assay.core import Loop, Missing, Prompts, Rng, Samples, Task, World
from assay.data.scored import text_of
from assay.errors import InputError
from assay.policies.causal import Causal
from assay.policies.tokens import Tokens
from assay.rewards.encoding import open_tokenizer
from assay.rewards.opening import Told, open_reward
from assay.trunks.pretrained import Pretrained

log = logging.getLogger("assay")
Turns = tuple[tuple[str, str], ...]


def world(*, policy: str, prompts: str, rewards: tuple[str, ...] = (), gold: str = "", held_out: int = 64,
          columns: Mapping[str, str] = {}, split: str = "", chat: bool = True, max_prompt: int = 512, max_tokens: int = 128,
          min_tokens: int = 0, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, truncated: float | None = None,
          dtype: str = "float32", lora: int = 0, peft: str = "", bits: int = 0, seed: int = 0) -> World:
    """A world of a model, its judges and a file of prompts.

    policy: folder or hub name of a causal model. prompts: a file (assay check says what it is); its column is found or
    named by columns prompt=NAME. rewards: judges, each FILE.py:name, http://host:port/path, a folder of assay fit, or a
    classifier's folder or name. gold: one of the same, asked when reading only. held_out: prompts that no recipe sees. chat: put conversations,
    and texts where the tokenizer has a template, into the chat template. max_prompt: tokens; longer prompts are left out.
    max_tokens, min_tokens, temperature, top_k, top_p: of answers, in drawing and scoring alike. truncated: what every
    judge gives an answer that did not end, null for its score as it stands. dtype: float32, bfloat16 or float64. lora: the
    rank of LoRA adapters on every linear layer, 0 to train all weights; with adapters the reference is the base with them
    off, one model in memory. peft: a file or folder with an adapter_config.json of your own, instead of lora. bits: 4 or 8
    to hold the base in so many, where bitsandbytes is installed.
    """
    arguments = {**locals(), "rewards": list(rewards), "columns": dict(columns)}
    if dtype not in ("float32", "bfloat16", "float64"):
        raise InputError(f"--world.dtype is '{dtype}'; it is float32, bfloat16 or float64")
    texts, turns, others = _read(prompts, columns, split)
    tokenizer = open_tokenizer(policy)
    model = _open(policy, getattr(torch, dtype), bits)
    vocabulary = Tokens(tokenizer, size=model.get_output_embeddings().weight.shape[0], ends=_ends(model))
    template = chat and bool(getattr(tokenizer, "chat_template", None))
    asks = [t if t is not None and chat else (("user", p),) if template else p for p, t in zip(texts, turns, strict=True)]
    asked = vocabulary.prompts(asks)
    short = (asked.mask.sum(-1) <= max_prompt).nonzero()[:, 0]
    if len(short) <= held_out:
        raise InputError(f"{prompts} has {len(texts)} prompts, {len(short)} of them of at most {max_prompt} tokens, and "
                         f"{held_out} are held out: give more prompts, a larger --world.max-prompt, or a smaller "
                         "--world.held-out")
    if len(short) < len(texts):
        log.warning("%s: %d of %d prompts are longer than %d tokens and left out", prompts, len(texts) - len(short), len(texts),
                    max_prompt)
    wide = int(asked.mask[short].sum(-1).max())
    room = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if room and wide + max_tokens > room:
        raise InputError(f"{policy} has {room} positions, and prompts of up to {wide} tokens with answers of up to {max_tokens} "
                         f"need {wide + max_tokens}: lower --world.max-tokens or --world.max-prompt")
    mixed = short[Rng(seed)("held out").permutation(len(short))]
    unseen, seen = (_narrow(asked[some], wide) for some in (mixed[:held_out], mixed[held_out:]))
    reference = Causal(_trunk(model, lora, peft, Rng(seed)("adapters")), vocabulary, temperature=temperature, top_k=top_k,
                       top_p=top_p, max_tokens=max_tokens, min_tokens=min_tokens).frozen()

    def told(specs: Sequence[str], flag: str) -> Told:
        return Told([open_reward(s, flag) for s in specs], texts, turns, others, truncated=truncated)

    judges = told(rewards, "world.rewards") if rewards else None
    best = told((gold,), "world.gold") if gold else None
    kind = "" if best is None else "function" if best.partial else "held-out model"
    task = Task(prompts=seen, reference=reference, rewards=judges, rng=Rng(seed)("run"))
    golds = () if best is None else best.names
    return World("hub", task, held_out=unseen, gold=None if best is None else _gold(best), golds=golds, gold_kind=kind,
                 loop=Loop(steps=100, batch=16, n=8, lr=1e-6), arguments=arguments)


def _read(path: str, columns: Mapping[str, str], split: str) -> tuple[list[str], list[Turns | None], dict[str, list[Any]]]:
    """Every row's prompt as text and turns, and its other columns. All faults are told."""
    source = data.open_source(path, split=split or None)
    faults = data.Faults(source.name, source.line)
    rows = list(source.rows(faults))
    if not rows:
        faults.stop()
        raise InputError(f"{source.name} holds no rows; give a file with at least one prompt")
    found = data.layout([r for _, r in rows[:100]], source.name, columns=columns or None)
    if "prompt" not in found.parts:
        raise InputError(f"{source.name} has the columns {', '.join(found.columns)}, and none of them holds prompts; name one by "
                         "--world.columns prompt=NAME")
    column = found.parts["prompt"]
    texts: list[str] = []
    turns: list[Turns | None] = []
    for i, row in rows:
        cell = text_of(i, row, column, faults)
        if cell is not None and not cell[0].strip():
            faults.error("empty text", i, column, "an empty prompt", "repair the row")
        elif cell is not None:
            texts.append(cell[0])
            turns.append(cell[1])
    faults.stop()
    names = dict.fromkeys(k for _, row in rows for k in row if k != column)
    return texts, turns, {k: [row.get(k) for _, row in rows] for k in names}


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


def _narrow(asked: Prompts, wide: int) -> Prompts:
    """Prompts without the columns that only longer ones needed."""
    return replace(asked, tokens=asked.tokens[:, -wide:], mask=asked.mask[:, -wide:])


def _gold(best: Told) -> Callable[[Samples], Float[Tensor, "K B N"]]:
    def gold(x: Samples) -> Float[Tensor, "K B N"]:
        """The held-out judge's scores of answers; where it does not apply, it is an error: a mean over some rows is another
        quantity."""
        return best(x)

    return gold
