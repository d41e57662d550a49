"""Real models and real files: a policy of transformers, judges of text, prompts that people wrote.
Gold where there is any.

The policy is any causal language model (a folder or a name on the hub); rewards are folders of
`assay fit`, classifiers of transformers, or Python functions, scored through text; prompts are a
file of texts or conversations, whose other columns go to the functions. Nothing here is exact: KL
is sampled, gold costs what it costs, and there may be none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from assay.core import Loop, Rng, Samples, Task, World
from assay.errors import InputError
from assay.models.policies.causal import Causal
from assay.models.policies.served import Served, engine_at, greeted
from assay.models.policies.stop_strings import Stopping, Stops
from assay.rewards.encoding import open_tokenizer
from assay.rewards.function import FunctionReward
from assay.rewards.load import Told, open_reward
from assay.worlds.device import backbone, device_named, dtype_named, opened
from assay.worlds.prompts import Room, closing, opening, read_all, taken


def world(
    *,
    policy: str,
    prompts: str = "",
    pairs: str = "",
    demos: str = "",
    rewards: tuple[str, ...] = (),
    gold: str = "",
    held_out: int = 64,
    columns: Mapping[str, str] = {},
    split: str = "",
    chat: bool = True,
    max_prompt: int = 512,
    max_tokens: int = 128,
    min_tokens: int = 0,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    stop: tuple[str, ...] = (),
    truncated: float | None = None,
    dtype: str = "float32",
    lora: int = 0,
    peft: str = "",
    bits: int = 0,
    checkpointing: bool = False,
    sampler: str = "",
    sampler_model: str = "",
    sampler_at_once: int = 16,
    seed: int = 0,
    device: str = "cpu",
) -> World:
    """A world of a model, its judges and a file of prompts.

    policy: folder or hub name of a causal model. prompts: a file (assay check says what it is); its
    column is found or named by columns prompt=NAME; without it, the prompts of the pairs or demos.
    pairs, demos: files of comparisons and of answers to imitate; those of held-out prompts are left
    out. rewards: judges, each FILE.py:name, http://host:port/path, a folder of assay fit, or a
    classifier's folder or name. gold: one of the same, or match:COLUMN for the right answers of the
    prompts' file, asked when reading only. held_out: prompts that no recipe sees. chat: put
    conversations, and texts where the tokenizer has a template, into the chat template. max_prompt:
    tokens; longer prompts are left out, as are pairs and demos with answers of more than
    max_tokens. max_tokens, min_tokens, temperature, top_k, top_p: of answers, in drawing and
    scoring alike. stop: texts that end an answer, '["\\n\\n","###"]'; what judges read of it ends
    before them. truncated: what every judge gives an answer that did not end, null for its score as
    it stands. dtype (--dtype): what the model computes in, float32, bfloat16 or float64; weights
    that are trained, log-probabilities and judges are float32 at least. lora: the rank of LoRA
    adapters on every linear layer, 0 to train all weights; with adapters the reference is the base
    with them off, one model in memory. peft: a file or folder with an adapter_config.json of your
    own, instead of lora. bits: 4 or 8 to hold the base in so many, where bitsandbytes is installed.
    checkpointing: compute layers twice and keep less. device (--device): where all of it lives.
    sampler: where whole answers are drawn, for recipes that draw from the reference alone:
    http://host:port/v1 of a server of the same weights that speaks OpenAI's completions protocol,
    or vllm for one in this process; they are scored here. sampler_model: the server's name for it,
    the policy's own where none is given. sampler_at_once: prompts it is asked about at a time.
    """
    arguments = {**locals(), "rewards": list(rewards), "columns": dict(columns), "stop": list(stop)}
    del arguments["device"]  # the same world, wherever it is computed
    where, (narrow, wide_enough) = device_named(device), dtype_named(dtype)
    judges, gauge = (
        [open_reward(r, f).to(where) for r in some]
        for some, f in ((rewards, "world.rewards"), ((gold,) if gold else (), "world.gold"))
    )
    asked, compared, shown = read_all(
        prompts, pairs, demos, columns, split, taken([*judges, *gauge])
    )
    for judge, flag in (
        (j, f) for some, f in ((judges, "world.rewards"), (gauge, "world.gold")) for j in some
    ):
        if isinstance(judge, FunctionReward):
            judge.possible(asked.columns, asked.own, flag, prompts or pairs or demos)
    tokenizer = open_tokenizer(policy)
    model = opened(policy, narrow, bits, where)
    ends = closing(
        tokenizer, _ends(model), chat=chat and bool(getattr(tokenizer, "chat_template", None))
    )
    if chat and getattr(tokenizer, "chat_template", None):
        opening(tokenizer)
    vocabulary = Stops(
        tokenizer, size=model.get_output_embeddings().weight.shape[0], ends=ends, stop=stop
    )
    vocabulary.device = where
    desk = Room(
        vocabulary,
        asked,
        chat=chat,
        max_prompt=max_prompt,
        max_tokens=max_tokens,
        dtype=wide_enough,
    )
    unseen, seen = desk.divided(held_out, Rng(seed)("held out"), prompts or pairs or demos)
    comparisons = desk.pairs(pairs, compared, unseen) if pairs else None
    imitated = desk.demos(demos, shown, unseen) if demos else None
    room, wide = getattr(model.config.get_text_config(), "max_position_embeddings", None), desk.wide
    if room and wide + max_tokens > room:
        raise InputError(
            f"{policy} has {room} positions, and prompts of up to {wide} tokens with answers of "
            f"up to {max_tokens} need {wide + max_tokens}: lower --world.max-tokens or "
            "--world.max-prompt"
        )
    settings: dict[str, Any] = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "max_tokens": max_tokens,
        "min_tokens": min_tokens,
    }
    body = backbone(
        model,
        lora=lora,
        peft=peft,
        bits=bits,
        checkpointing=checkpointing,
        rng=Rng(seed)("adapters"),
    )
    mine = desk.prompts(seen)
    if sampler:
        engine = engine_at(sampler, sampler_model or policy, vocabulary, at_once=sampler_at_once)
        reference = greeted(Served(body, vocabulary, engine, **settings), mine).frozen()
    else:
        reference = (Stopping if stop else Causal)(body, vocabulary, **settings).frozen()

    def told(judges: Sequence[Any]) -> Told:
        return Told(judges, asked.texts, asked.turns, asked.columns, truncated=truncated)

    best = told(gauge) if gauge else None
    kind = (
        ""
        if best is None
        else gauge[0].kind
        if isinstance(gauge[0], FunctionReward)
        else "held-out model"
    )
    task = Task(
        prompts=mine,
        reference=reference,
        rewards=told(judges) if judges else None,
        pairs=comparisons,
        demos=imitated,
        rng=Rng(seed)("run"),
    )
    golds = () if best is None else best.names
    return World(
        "hub",
        task,
        held_out=desk.prompts(unseen),
        gold=None if best is None else _gold(best),
        golds=golds,
        gold_kind=kind,
        loop=Loop(max_steps=100, batch_size=16, num_generations=8, learning_rate=1e-6),
        arguments=arguments,
    )


def _ends(model: Any) -> list[int]:
    """The tokens that end an answer, as the model's own settings for generation have them."""
    own = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    own = getattr(model.config, "eos_token_id", None) if own is None else own
    return [] if own is None else list(own) if isinstance(own, (list, tuple)) else [own]


def _gold(best: Told) -> Callable[[Samples], Float[Tensor, "K B N"]]:
    def gold(x: Samples) -> Float[Tensor, "K B N"]:
        """The held-out judge's scores of answers; where it does not apply, it is an error: a mean
        over some rows is another quantity.
        """
        return best(x)

    return gold
