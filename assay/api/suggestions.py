"""The flag that a user most likely meant: by the field's other names, inside prefixes, and by
spelling.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# What TRL, OpenRLHF and verl call it → what it is called here: the first that the command has.
FIELD_NAMES: dict[str, tuple[str, ...]] = {
    "lr": ("learning_rate",),
    "actor_learning_rate": ("learning_rate",),
    "num_train_epochs": ("epochs",),
    "num_epochs": ("epochs",),
    "max_epochs": ("epochs",),
    "ppo_epochs": ("epochs",),
    "num_ppo_epochs": ("epochs",),
    "num_iterations": ("epochs",),
    "steps": ("max_steps",),
    "total_steps": ("max_steps",),
    "train_steps": ("max_steps",),
    "total_training_steps": ("max_steps",),
    "num_train_steps": ("max_steps",),
    "total_episodes": ("max_steps",),
    "per_device_train_batch_size": ("batch_size", "micro_batch_size"),
    "train_batch_size": ("batch_size",),
    "rollout_batch_size": ("batch_size",),
    "generation_batch_size": ("batch_size",),
    "ppo_mini_batch_size": ("mini_batch_size",),
    "num_mini_batches": ("mini_batch_size",),
    "micro_train_batch_size": ("micro_batch_size",),
    "micro_rollout_batch_size": ("micro_batch_size",),
    "gradient_accumulation_steps": ("micro_batch_size",),
    "per_device_eval_batch_size": ("micro_batch_size",),
    "n": ("num_generations",),
    "answers": ("eval_generations",),
    "n_samples_per_prompt": ("num_generations",),
    "rollout_n": ("num_generations",),
    "num_completions": ("num_generations",),
    "num_samples": ("num_generations",),
    "warmup": ("warmup_steps",),
    "warmup_ratio": ("warmup_steps",),
    "lr_warmup_steps": ("warmup_steps",),
    "kl_coef": ("beta", "kl_coef"),
    "init_kl_coef": ("beta",),
    "init_kl": ("beta",),
    "kl_loss_coef": ("beta",),
    "kl_penalty": ("beta",),
    "kl": ("beta",),
    "clip": ("epsilon", "epsilon_low", "clip"),
    "cliprange": ("epsilon", "epsilon_low", "clip"),
    "clip_range": ("epsilon", "epsilon_low", "clip"),
    "eps_clip": ("epsilon", "epsilon_low", "clip"),
    "epsilon": ("epsilon_low",),
    "eps_clip_low": ("epsilon_low",),
    "eps_clip_high": ("epsilon_high",),
    "clip_ratio": ("epsilon", "epsilon_low", "clip"),
    "clip_ratio_low": ("epsilon_low",),
    "clip_ratio_high": ("epsilon_high",),
    "low": ("epsilon_low",),
    "high": ("epsilon_high",),
    "max_completion_length": ("world.max_tokens",),
    "max_new_tokens": ("world.max_tokens",),
    "response_length": ("world.max_tokens",),
    "generate_max_len": ("world.max_tokens",),
    "max_length": ("world.max_tokens", "max_length"),
    "min_new_tokens": ("world.min_tokens",),
    "max_prompt_length": ("world.max_prompt",),
    "prompt_max_len": ("world.max_prompt",),
    "model": ("world.model", "world.policy"),
    "policy": ("world.model", "world.policy"),
    "model_name": ("model", "world.model", "world.policy"),
    "model_name_or_path": ("model", "world.model", "world.policy"),
    "pretrain": ("model", "world.model", "world.policy"),
    "actor": ("model", "world.model", "world.policy"),
    "sft_model_path": ("model", "world.model", "world.policy"),
    "reward": ("rewards", "world.rewards"),
    "reward_model": ("rewards", "world.rewards"),
    "reward_model_path": ("rewards", "world.rewards"),
    "reward_funcs": ("rewards", "world.rewards"),
    "reward_pretrain": ("rewards", "world.rewards"),
    "remote_rm_url": ("rewards", "world.rewards"),
    "dataset": ("prompts", "world.prompts", "pairs"),
    "dataset_name": ("prompts", "world.prompts", "pairs"),
    "train_dataset": ("prompts", "world.prompts", "pairs"),
    "prompt_data": ("prompts", "world.prompts"),
    "train_files": ("prompts", "world.prompts"),
    "preference_dataset": ("pairs", "world.pairs"),
    "input_key": ("columns", "world.columns"),
    "torch_dtype": ("dtype", "world.dtype"),
    "bf16": ("dtype", "world.dtype"),
    "lora_r": ("lora", "world.lora"),
    "lora_rank": ("lora", "world.lora"),
    "use_peft": ("lora", "world.lora"),
    "load_in_4bit": ("bits", "world.bits"),
    "load_in_8bit": ("bits", "world.bits"),
    "gradient_checkpointing": ("world.checkpointing",),
    "use_fsdp": ("world.fsdp",),
    "fully_shard": ("world.fsdp",),
    "shard": ("world.fsdp",),
    "zero_stage": ("world.fsdp",),
    "deepspeed": ("world.fsdp",),
    "use_vllm": ("world.sampler",),
    "vllm_mode": ("world.sampler",),
    "vllm_server_base_url": ("world.sampler",),
    "vllm_server_host": ("world.sampler",),
    "apply_chat_template": ("world.chat",),
    "output_dir": ("out",),
    "save_path": ("out",),
    "output": ("out",),
    "ckpt_path": ("out",),
    "resume_from_checkpoint": ("resume",),
    "load_checkpoint": ("resume",),
    "report_to": ("track",),
    "logger": ("track",),
    "use_wandb": ("track",),
    "use_tensorboard": ("track",),
    "logging_steps": ("eval_steps",),
    "eval_interval": ("eval_steps",),
    "every": ("eval_steps",),
    "test_freq": ("eval_steps",),
    "save_interval": ("save_steps",),
    "save_freq": ("save_steps",),
    "save": ("save_steps",),
    "num_completions_to_print": ("log_completions",),
    "keep": ("log_completions",),
    "micro": ("micro_batch_size",),
    "strict": ("stop_on_nonfinite",),
    "labels": ("watch.budget",),
    "random_seed": ("seed",),
}

# What others call a command → the command here that does it.
VERB_NAMES = {
    word: verb
    for verb, words in {
        "run": "train rl rlhf optimise optimize finetune fine-tune tune learn start resume launch",
        "fit": "reward rm reward-model train-reward train-rm fit-reward",
        "report": "eval test measure metrics results plot view html page figure dashboard",
        "export": "generate sample infer inference predict chat deploy save push upload",
        "watch page": "label annotate labels labeling people",
        "watch": "stop early-stop early-stopping monitor guard",
        "track": "log wandb tensorboard trackio mlflow",
        "check": "validate lint inspect data prepare",
        "score": "rate rank",
        "verify": "fsck checksum integrity audit-run",
        "bon": "best-of-n bestofn best-of",
        "audit": "probe probes stress stress-test hackable hack attack redteam red-team",
        "sweep": "grid search hpo",
        "compare": "diff benchmark bench",
        "list": "ls recipes papers worlds methods",
        "show": "describe info man",
        "cite": "bibtex citation",
        "claims": "reproduce replicate",
        "demo": "example quickstart tutorial try hello",
        "doctor": "env environment diagnose system setup install",
        "completion": "completions autocomplete",
    }.items()
    for word in words.split()
}


def meant(word: str, known: Iterable[str], *, spelling: bool = True) -> list[str]:
    """The flags that a misspelt one may stand for, the likeliest first.

    Args:
        word: What was typed, without the leading dashes.
        known: The names of the flags there are, in Python's spelling.
        spelling: Also those that are only spelled alike.

    Returns:
        At most two names.
    """
    word, known = word.replace("-", "_").lower(), list(known)
    field = next((k for k in FIELD_NAMES.get(word, ()) if k in known), None)
    if word in FIELD_NAMES and not field:
        return []  # the meaning is known and this command has no such flag: spelling would mislead
    if field:
        pair = field.replace("low", "high")
        return (
            [field, pair]
            if pair != field and pair in known and not word.endswith("low")
            else [field]
        )
    prefix, _, last = word.rpartition(".")
    tails = [k for k in known if k.rpartition(".")[2] == last]
    if tails:  # the right word under another prefix, or under none
        return sorted(tails, key=lambda k: (k.count("."), k))[:2]
    if prefix and prefix not in {k.rpartition(".")[0] for k in known}:
        near = difflib.get_close_matches(
            prefix, {k.rpartition(".")[0] for k in known} - {""}, n=1, cutoff=0.6
        )
        if near:
            return meant(f"{near[0]}.{last}", known, spelling=spelling)
    same = [k for k in known if k.rpartition(".")[0] == prefix]
    for among in (same, known) if spelling else ():
        scored = sorted(
            ((_alike(last, k.rpartition(".")[2]), k) for k in among), key=lambda s: (-s[0], s[1])
        )
        if scored and scored[0][0] >= 0.65:
            return [scored[0][1]]
    return []


def _alike(a: str, b: str) -> float:
    """How alike two names are: their spelling, or the words that they share."""
    ratio = difflib.SequenceMatcher(None, a, b).ratio()
    one, other = set(a.split("_")), set(b.split("_"))
    shared = 0.45 + 0.5 * len(one & other) / len(one | other) if one & other else 0.0
    return max(ratio, shared)
