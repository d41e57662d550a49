"""Readings during another trainer's run: gold on held-out prompts, KL, the proxy.

    from assay.interop.trl import ReadingsCallback

    readings = ReadingsCallback(held_out, gold="judge.py:score", folder="runs/theirs")
    trainer = GRPOTrainer(…, callbacks=[readings])

The KL is assay's: completions are sampled from the present model, the KL of the full distributions
is summed over a completion's tokens, and the mean over prompts has its error. What TRL logs as `kl`
is another quantity, a mean over tokens of one sample's estimate on the completions it trains on; it
is in the stats, like everything that the trainer logs. Completions are sampled by address: the
trainer's random stream is not touched, readings of one run differ by the policy alone, and a run
that goes on from a checkpoint makes the readings that the whole run would have made.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import TrainerCallback

from assay.core import Step, Task, World
from assay.core.rng import Rng
from assay.data.turns import written
from assay.engine import checkpoint, parallel
from assay.errors import InputError, Missing
from assay.evaluation.reading import Reader, described
from assay.interop.messages import turns_of
from assay.interop.model_state import (
    PastBackbone,
    base_model,
    set_weights,
    trained_weights,
    undisturbed,
)
from assay.interop.stack import RewardSpec
from assay.interop.trainer import (
    end_tokens,
    evaluates,
    hold_folder,
    logged,
    model_name,
    recipe_name,
    release_folder,
    settings_of,
)
from assay.loops import proxy_score
from assay.models.backbones.pretrained import Pretrained
from assay.models.policies.causal import Causal
from assay.models.tokenizer import Tokens
from assay.records.runs import Run, RunRecord
from assay.rewards.load import TextRewards, entries, open_reward

# Where a smaller share of the weights is trained, the reference is these swapped in; else a copy.
SWAPPED_BELOW = 0.2
RECORDED = ("learning_rate", "beta", "num_generations", "temperature", "max_steps", "loss_type")


class ReadingsCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Reads the trained model on held-out prompts and writes a run's folder.

    Args:
        prompts: Held-out prompts, texts or messages, or a dataset's rows with a column `prompt`.
        folder: The run's folder; a folder of an earlier start is gone on with.
        gold: True quality: a function with TRL's signature, or what `--rewards` takes.
        proxy: The reward that is optimised; without it, what the trainer logs as `reward`.
        rewards: Further rewards to report.
        world: In place of these, a world of assay's (hub, with the model's tokenizer): its held-out
            prompts, gold, rewards and reference.
        reference: The model that KL is measured against; without it, the model as it was when the
            folder was made, whose trained weights are kept there.
        eval_steps: Steps between readings; 0 for the trainer's evaluations, or its logs where it
            makes none.
        eval_generations: Completions for each prompt.
        log_completions: Prompts whose completions are kept in the record.
        max_tokens: Tokens of a completion at most; 0 for the trainer's own limit.
        temperature: Of sampling; 0 for the trainer's own.
        seed: Of sampling.

    Raises:
        InputError: There are no prompts, or both prompts and a world.
    """

    def __init__(
        self,
        prompts: Sequence[Any] = (),
        *,
        folder: Path | str,
        gold: RewardSpec | None = None,
        proxy: RewardSpec | None = None,
        rewards: RewardSpec | Sequence[RewardSpec] = (),
        world: World | None = None,
        reference: Any = None,
        eval_steps: int = 0,
        eval_generations: int = 4,
        log_completions: int = 8,
        max_tokens: int = 0,
        temperature: float = 0.0,
        seed: int = 0,
    ):
        if isinstance(prompts, str):
            raise InputError(f"prompts is the text {prompts[:40]!r}; give a list of prompts")
        if (world is None) == (len(prompts) == 0):
            raise InputError(
                "readings are of held-out prompts: give prompts, or a world that has them, and one "
                "of the two"
            )
        self.rewards = entries(rewards, "rewards")
        if world is not None and (gold or proxy or self.rewards or reference is not None):
            raise InputError(
                "a world brings its own gold, rewards and reference: give the world or those"
            )
        self.prompts, self.folder = list(prompts), Path(folder)
        self.gold, self.proxy = gold, proxy
        self.world, self.reference = world, reference
        self.eval_steps, self.seed = eval_steps, seed
        self.eval_generations, self.log_completions = eval_generations, log_completions
        self.max_tokens, self.temperature = max_tokens, temperature
        self.run: Run | None = None
        self.done: set[int] = set()

    def on_train_begin(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """See `TrainerCallback.on_train_begin`: open the folder, take and read the reference."""
        if getattr(args, "deepspeed", None) or getattr(args, "fsdp", None):
            raise InputError(
                "this trainer divides the model's weights among processes, and readings need "
                "them whole: leave out ReadingsCallback, or read the saved checkpoints"
            )
        tokenizer = parts["processing_class"]
        self.model = base_model(parts["model"])
        size = self.model.get_output_embeddings().weight.shape[0]
        self.vocabulary = Tokens(tokenizer, size=size, ends=end_tokens(self.model, tokenizer))
        self.temperature = self.temperature or float(getattr(args, "temperature", 1.0))
        self.max_tokens = self.max_tokens or int(getattr(args, "max_completion_length", 0) or 64)
        self.when = "step" if self.eval_steps else "evaluate" if evaluates(args) else "log"
        kept = self.folder / "reference.safetensors"
        again = (self.folder / "run.json").exists()
        if parallel.rank() == 0:
            hold_folder(self.folder)
        then = checkpoint.load(kept) if again and kept.exists() else trained_weights(self.model)
        self.reader, self.step_reward = self._reader(then)
        if parallel.rank() == 0:
            self._record(args, state, again)
            if not kept.exists() and self.world is None and self.reference is None:
                checkpoint.save(kept, then)
        parallel.barrier()
        self.run = Run.open(self.folder)
        self.done = {int(r["step"]) for r in self.run.readings()}
        if int(state.global_step) == 0:
            self._read(state, "reference")

    def on_log(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """See `TrainerCallback.on_log`: read here if the trainer makes no evaluations."""
        if self.when == "log":
            self._read(state)

    def on_evaluate(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """See `TrainerCallback.on_evaluate`: read at every evaluation."""
        if self.when == "evaluate":
            self._read(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """See `TrainerCallback.on_step_end`: read every `eval_steps` steps."""
        if self.when == "step" and state.global_step % self.eval_steps == 0:
            self._read(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """See `TrainerCallback.on_train_end`: read the last policy, and close the record."""
        if not getattr(args, "load_best_model_at_end", False):
            self._read(state)
        if self.run is not None and parallel.rank() == 0:
            self.run.finish()
            release_folder(self.folder)

    def _read(self, state: Any, tag: str = "") -> None:
        step = int(state.global_step)
        if step in self.done or self.run is None:
            return
        self.done.add(step)
        with undisturbed(self.model):
            policy = self._policy(Pretrained(self.model))
            line, rows = self.reader(
                Step(policy, reward=self.step_reward), Rng(self.seed)("read")("same")
            )
        said = logged(state.log_history)
        if self.step_reward is None:
            line["proxy"] = said.get("reward")
        line["stats"] |= {f"trl/{k}": v for k, v in said.items()}
        if parallel.rank() == 0:
            self.run.keep([{"step": step, "tag": tag, **row} for row in rows])
            self.run.append({"step": step, "tag": tag, **line, "updates": step})

    def _reader(self, then: Mapping[str, Tensor]) -> tuple[Reader, Callable[..., Tensor] | None]:
        """What reads, and the proxy if it is computed here."""
        if self.world is not None:
            return self._reader_of_world(self.world)
        rows = [p if isinstance(p, Mapping) else {"prompt": p} for p in self.prompts]
        bad = next((i for i, r in enumerate(rows) if "prompt" not in r), None)
        if bad is not None:
            raise InputError(
                f"row {bad} of the readings' prompts has no prompt, but {', '.join(rows[bad])}"
            )
        asks = [turns_of(r["prompt"]) for r in rows]
        texts = [a if isinstance(a, str) else written(a) for a in asks]
        turns = [None if isinstance(a, str) else a for a in asks]
        names = dict.fromkeys(k for r in rows for k in r if k != "prompt")
        columns = {k: [r.get(k) for r in rows] for k in names}
        held_out = self.vocabulary.prompts(asks).to(next(self.model.parameters()).device)
        proxies = [*([] if self.proxy is None else [self.proxy]), *self.rewards]
        rewards, gold = (
            TextRewards([open_reward(spec, "rewards") for spec in some], texts, turns, columns)
            if some
            else None
            for some in (proxies, [] if self.gold is None else [self.gold])
        )
        task = Task(prompts=held_out, reference=self._reference(then), rewards=rewards)
        kind = "" if gold is None else "function" if gold.partial else "held-out model"
        golds = () if gold is None else gold.names
        world = World("trl", task, held_out, gold=gold, golds=golds, gold_kind=kind)
        return self._read_by(world), None if self.proxy is None else proxy_score(task)

    def _reader_of_world(self, world: World) -> tuple[Reader, Callable[..., Tensor] | None]:
        """The same for a world of assay's."""
        reference: Any = world.task.reference
        if reference.vocabulary != self.vocabulary:
            raise InputError(
                "the world's policy has another tokenizer than the model that is trained; give "
                "a world of the model's own tokenizer"
            )
        self.vocabulary = reference.vocabulary
        try:
            proxy: Callable[..., Tensor] | None = proxy_score(world.task)
        except Missing:
            proxy = None
        return self._read_by(world), proxy

    def _read_by(self, world: World) -> Reader:
        return Reader(
            world,
            world.task,
            eval_generations=self.eval_generations,
            log_completions=self.log_completions,
        )

    def _reference(self, then: Mapping[str, Tensor]) -> Causal:
        """The model that KL is measured against."""
        trained = sum(p.numel() for p in then.values())
        with undisturbed(self.model):
            if self.reference is not None:
                backbone: nn.Module = Pretrained(self.reference)
            elif trained < SWAPPED_BELOW * sum(p.numel() for p in self.model.parameters()):
                backbone = PastBackbone(Pretrained(self.model), then)
            else:
                twin = copy.deepcopy(self.model)
                set_weights(twin, then)
                backbone = Pretrained(twin.requires_grad_(False))
        return self._policy(backbone)

    def _policy(self, backbone: nn.Module) -> Causal:
        return Causal(
            backbone, self.vocabulary, temperature=self.temperature, max_tokens=self.max_tokens
        )

    def _record(self, args: Any, state: Any, again: bool) -> None:
        """Make the run's folder, or go on with it: later readings are made again."""
        if again:
            run = Run.open(self.folder)
            if run.about["verb"] != "trl" or run.about.get("watch"):
                raise InputError(
                    f"{self.folder} holds another kind of run: give ReadingsCallback a folder of "
                    "its own"
                )
            run.cut(int(state.global_step))
            run.note({"state": "running", "finished": None})
            return
        Run.create(
            self.folder,
            RunRecord(
                recipe=recipe_name(args),
                verb="trl",
                loop=settings_of(args, RECORDED),
                seed=int(getattr(args, "seed", 0)),
                world={"name": model_name(self.model)},
                run={
                    "temperature": self.temperature,
                    "max_tokens": self.max_tokens,
                    "eval_generations": self.eval_generations,
                },
                **described(self.reader.world),
            ),
        )
