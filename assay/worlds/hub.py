"""Real models and people's files: a policy of transformers, rewards of text, prompts and gold.

The policy is any causal language model (a folder or a Hugging Face model id). Rewards are folders
of `assay fit`, classifiers of transformers, Python functions or HTTP endpoints, and they score
text. Prompts are a file of texts or conversations, whose other columns go to the functions. Nothing
here is exact: KL is sampled, gold costs what it costs, and there may be none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from assay.core import Loop, PromptTexts, Rng, Task, World
from assay.data.desirable import unlabelled
from assay.data.model_trust import trusting
from assay.models.size import LARGE
from assay.models.text_notes import parts_templated
from assay.registry.from_config import from_config
from assay.rewards.function import FunctionReward
from assay.rewards.load import TextRewards, entries
from assay.rewards.routed_text import RoutedText
from assay.watch.text_preference import open_preference
from assay.worlds.configuration import arguments
from assay.worlds.device import (
    check_adapter,
    check_positions,
    check_torch_compile,
    device_named,
    dtype_named,
    open_model,
)
from assay.worlds.divided import divides, opened
from assay.worlds.encoder import Encoder
from assay.worlds.hub_gold import gold_of, kind_of
from assay.worlds.hub_others import check_others, others_of, solvers_of
from assay.worlds.hub_reference import check_sampler, reference, vocabulary_of
from assay.worlds.prompts import read_files
from assay.worlds.trial import try_rewards

# Held-out prompts of a large model and of a small one. Readings sample two completions of each, or
# eight: the error is clustered by prompt.
MANY, FEW = 128, 64
# Processes, the device, temporary files and the time that a server has change no number.
# Trust is no property of a run: a record that somebody else wrote must not make code run.
NOT_RECORDED = (
    "fsdp",
    "fsdp_gather",
    "device",
    "reward_timeout",
    "sampler_folder",
    "trust_remote_code",
)


@dataclass(frozen=True, kw_only=True)
class HubConfig:
    """The arguments of world hub.

    Attributes:
        policy: A Hugging Face model id or a local folder of a causal language model.
        prompts: A file of prompts; `assay check` says what it holds. Without it, the prompts of
            pairs or demos are used.
        pairs: A file of preference pairs; those of held-out prompts are left out.
        demos: A file of demonstrations; those of held-out prompts are left out. Recipe kto reads
            completions labelled true or false (prompt, completion, label) from it.
        rewards: Reward models, each FILE.py:name, http://host:port/path, a folder of `assay fit`,
            answer:COLUMN for right final answers, or a classifier's folder or model id.
        preference: FILE.py:name of a function name(prompts, first, second) that returns the
            probability that the first completion is better, asked in both orders; a folder of
            `assay fit --preference-dim`; or the address of an LLM judge (OpenAI-compatible).
        preference_model: The name by which the judge's server knows its model.
        others: Other models that a recipe reads by name and does not train, such as
            strong=FOLDER for the teacher of kdrl; they have the policy's tokens. With turns, those
            that the policy asks, of any tokens.
        turns: Times that a completion asks --others: `<search> NAME : query </search>` is answered
            in the context, and rewards format and cost are added (router_r1); 0 for never.
        prices: Price of a thousand tokens of an answer by name, such as small=1,large=9; billions
            of parameters by default.
        reply_tokens: Most tokens of an answer.
        gold: A reward model, or the right answers in a column of the prompts file: match:COLUMN
            for a whole completion, answer:COLUMN for the final answer of a longer one. It is read
            in evaluations only.
        held_out: Prompts that no recipe sees; 0 to choose by the model's size, at most a quarter of
            the file; -1 for none, where nothing is to be measured.
        columns: Names of columns in your files, such as prompt=question.
        label_map: What the label column of pairs says, such as 1=first,0=second: first, second,
            tie, drop, or the probability that the first completion is better.
        split: The part of the files to read; all by default.
        drop: Leave rows with faults out and count them, instead of refusing the file.
        chat: Put conversations through the chat template, and texts too where the tokenizer has
            one.
        templated: Parts of the rows that a chat template wrote already, such as prompt: their
            special tokens are special tokens, and no template is applied. All else is encoded as
            text.
        max_prompt: Most tokens of a prompt; longer ones are left out.
        max_tokens: Most tokens of a completion; longer ones in your files are left out.
        min_tokens: Fewest tokens of a completion.
        temperature: Of sampling and of log-probabilities alike.
        top_k: Most likely tokens that are kept; 0 for all.
        top_p: Probability mass that is kept; 1 for all.
        stop: Strings that end a completion, such as '["\\n\\n","###"]'; reward models read the
            text before them.
        truncated: The reward of a completion that does not end; null for its score as it is.
        dtype: What the model computes in: float32, bfloat16 or float64. Trained weights,
            log-probabilities and reward models are float32 at least.
        lora: Rank of LoRA adapters on every linear layer; 0 trains all weights. The reference is
            then the model with its adapters off, and one model is in memory.
        peft: A file or folder with an adapter_config.json of your own, instead of lora. What would
            make the reference another model (PiSSA, OLoRA, bias) is refused.
        bits: Load the model in 4 or 8 bits, with bitsandbytes; 0 for the weights as they are.
        checkpointing: Compute each layer a second time in the backward pass, to save memory.
        torch_compile: Compile the policy's layers with torch.compile for scoring and training;
            generation stays uncompiled. The first step takes about a minute more; readings say how
            long.
        fsdp: Divide weights, gradients and optimiser state over the processes of a launch (torch's
            fully_shard), so that none holds the whole model. `accelerate launch --use_fsdp` asks
            for it too.
        fsdp_gather: How divided weights are gathered for generation and scoring: model (once),
            layer (layer by layer), or auto (once where the whole model fits).
        sampler: What generates whole completions: vllm for vLLM in this process, or
            http://host:port/v1 of an OpenAI-compatible server. A recipe that trains sends it new
            weights, and needs vLLM. Log-probabilities are computed here.
        sampler_model: The server's name of the model; the policy's own by default.
        sampler_at_once: Prompts that are sent to the server at a time.
        sampler_correction: How training corrects for an engine that computes in another way:
            importance weights by token_truncate, token_mask, sequence_truncate or sequence_mask;
            none for no correction.
        sampler_clip_min: The smallest importance ratio; a smaller one is truncated or masked.
        sampler_clip_max: The largest importance ratio; a larger one is truncated or masked.
        sampler_tolerance: Nats a token by which the engine's log-probabilities may differ from the
            policy's before the run ends, at most in float32 on a CPU and else on average; 0 for
            0.001 and 0.05.
        sampler_folder: A folder that the engine's machine sees too, where the run writes new
            weights for it; a temporary one by default.
        reward_timeout: Seconds that one call of a reward server may take. A call that fails is
            repeated for 300 seconds at most, or for two timeouts where those are longer.
        trust_remote_code: Run Python code that comes with models (auto_map) and kernels that their
            settings name. Say it again to go on with a run or to export it.
        seed: Of the held-out prompts and of the adapters' first weights.
        device: Where everything is computed (`--device`).
    """

    policy: str
    prompts: str = ""
    pairs: str = ""
    demos: str = ""
    rewards: tuple[str, ...] = ()
    preference: str = ""
    preference_model: str = ""
    others: Mapping[str, str] = field(default_factory=dict)
    turns: int = 0
    prices: Mapping[str, float] = field(default_factory=dict)
    reply_tokens: int = 64
    gold: str = ""
    held_out: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)
    label_map: Mapping[str, str] = field(default_factory=dict)
    split: str = ""
    drop: bool = False
    chat: bool = True
    templated: tuple[str, ...] = ()
    max_prompt: int = 512
    max_tokens: int = 128
    min_tokens: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    truncated: float | None = None
    dtype: str = "float32"
    lora: int = 0
    peft: str = ""
    bits: int = 0
    checkpointing: bool = False
    torch_compile: bool = False
    fsdp: bool = False
    fsdp_gather: str = "auto"
    sampler: str = ""
    sampler_model: str = ""
    sampler_at_once: int = 16
    sampler_correction: str = "sequence_mask"
    sampler_clip_min: float = 0.0
    sampler_clip_max: float = 3.0
    sampler_tolerance: float = 0.0
    sampler_folder: str = ""
    reward_timeout: float = 120.0  # of rewards.http; help reads this file's text alone
    trust_remote_code: bool = False
    seed: int = 0
    device: str = "cpu"

    @property
    def file(self) -> str:
        """The file that the prompts come from."""
        return self.prompts or self.pairs or self.demos

    @property
    def sampling(self) -> dict[str, Any]:
        """The policy's sampling parameters."""
        return {
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "min_tokens": self.min_tokens,
        }


@from_config(HubConfig)
def world(config: HubConfig) -> World:
    """A world of your model, your reward models and your files."""
    with trusting(config.trust_remote_code):
        return _world(config)


def _world(config: HubConfig) -> World:
    device, (narrow, wide) = device_named(config.device), dtype_named(config.dtype)
    check_adapter(config.peft)
    divided = divides(config.fsdp, config.fsdp_gather)
    check_torch_compile(config.torch_compile, config.bits, device, divided=divided)
    sync = check_sampler(config)
    check_others(config, divided=divided)
    rewards, golds = (
        [opened(r, flag, config, device, divided=divided) for r in some]
        for flag, some in (
            ("rewards", entries(config.rewards, "rewards")),
            ("gold", (config.gold,) if config.gold else ()),
        )
    )
    templated = parts_templated(config.templated)
    table, pairs, demos = read_files(
        config.prompts,
        config.pairs,
        config.demos,
        templated=templated,
        columns=config.columns,
        label_map=config.label_map,
        split=config.split,
        drop=config.drop,
        rewarded=bool(rewards or golds),
    )
    for flag, some in (("rewards", rewards), ("gold", golds)):
        for reward in some:
            if isinstance(reward, FunctionReward):
                reward.possible(table.columns, table.own, flag, config.file)
        try_rewards(
            some, flag, PromptTexts(str, table.texts, table.turns, table.columns), table.own
        )
    judge, parts = config.preference, (table.texts, table.turns, table.columns)
    compares = open_preference(judge, config.preference_model, *parts) if judge else None
    model = open_model(config.policy, narrow, config.bits, device, divided=divided)
    vocabulary = vocabulary_of(config, model)
    vocabulary.device = device
    lengths = config.max_prompt, config.max_tokens
    encoder = Encoder(vocabulary, table, config.chat, *lengths, wide, templated)
    many = MANY if model.num_parameters() >= LARGE else FEW
    held_out = max(0, config.held_out or encoder.quarter(many, config.file))
    order = Rng(config.seed)("held out")
    unseen, seen = encoder.divided(held_out, order, config.file, alone=bool(config.prompts))
    config = replace(config, held_out=held_out)
    preferences = encoder.pairs(config.pairs, pairs, unseen) if config.pairs else None
    demonstrations = encoder.demos(config.demos, demos, unseen) if config.demos else None
    check_positions(config.policy, model, encoder.longest, config.max_tokens)
    prompts = encoder.prompts(seen)
    solvers = solvers_of(config, device)
    routed = [RoutedText(solvers)] if solvers else []

    def told(rewards: Sequence[Any]) -> TextRewards | None:
        if not rewards:
            return None
        return TextRewards(rewards, *parts, truncated=config.truncated)

    gold = told(golds)
    task = Task(
        prompts=prompts,
        reference=reference(
            config, sync, model, vocabulary, prompts, encoder.longest, solvers, divided=divided
        ),
        rewards=told([*rewards, *routed]),
        preference=compares,
        pairs=preferences,
        demos=demonstrations,
        others=others_of(config, vocabulary, device) or None,
        unlabelled=unlabelled(config.demos, [item for _, item in demos]) if config.demos else "",
        rng=Rng(config.seed)("run"),
    )
    return World(
        "hub",
        task,
        held_out=encoder.prompts(unseen),
        gold=None if gold is None else gold_of(gold),
        golds=() if gold is None else gold.names,
        gold_kind=kind_of(golds),
        loop=Loop(max_steps=100, batch_size=16, num_generations=8, learning_rate=1e-6),
        arguments=arguments(config, without=NOT_RECORDED),
    )
