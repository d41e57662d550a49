"""Our readings during somebody else's training run: gold on held-out prompts, the KL of the whole
answer, the proxy.

    from assay.interop.trl import ReadingsCallback trainer = GRPOTrainer(…,
    callbacks=[ReadingsCallback(held_out, gold="judge.py:score", folder="runs/theirs")])

The KL is this house's: on answers drawn afresh from the model as it is, the full distributions' KL
summed over an answer's tokens, a mean over prompts with its error. What TRL logs as `kl` is a mean
over tokens of one draw's estimate on the answers it trains on, another quantity; it is in the
stats, as everything that the trainer logs. Answers are drawn by address: the trainer's random
stream is not touched, readings of one run differ by the policy alone, and a run that goes on from a
checkpoint makes the readings that the whole run would have made.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from assay.core import Step, Task, World
from assay.core.rng import Rng
from assay.data.turns import written
from assay.engine import checkpoint as disk
from assay.engine import parallel
from assay.errors import InputError, Missing
from assay.evaluation.reading import Reader
from assay.interop.stack import turned
from assay.loops.online import judge
from assay.models.backbones.pretrained import Pretrained
from assay.models.policies.causal import Causal
from assay.models.tokenizer import Tokens
from assay.records.runs import Run, plain
from assay.rewards.function import FunctionReward
from assay.rewards.load import Told, open_reward

Judge = str | Callable[..., Any]
# of all weights: where fewer are trained, the reference is these put back, and else a second model
FEW = 0.2


class Earlier(nn.Module):
    """A backbone as it was: its trained weights are those of then while it reads, and are put back
    after.
    """

    def __init__(self, backbone: Pretrained, then: Mapping[str, Tensor]):
        super().__init__()
        self.width, self.like, self.then = backbone.width, backbone.like, dict(then)
        self.backbones = [backbone]  # in a list: its weights are not this module's

    @contextmanager
    def _then(self) -> Iterator[Pretrained]:
        (backbone,) = self.backbones
        now = weights(backbone.model)
        put(backbone.model, self.then)
        try:
            yield backbone
        finally:
            put(backbone.model, now)

    def reading(
        self, prompt: Tensor, prompt_keep: Tensor, answer: Tensor, keep: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Hidden states of then."""
        with self._then() as backbone:
            return backbone.reading(prompt, prompt_keep, answer, keep)

    def logits(self, hidden: Tensor) -> Tensor:
        """By the head of then."""
        with self._then() as backbone:
            return backbone.logits(hidden)


class ReadingsCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """prompts: held-out ones, texts or messages, or a dataset's rows with a prompt and other
    columns; or `world`, one of assay's (hub, of the same tokenizer), whose held-out prompts, gold,
    judges and reference are taken. gold, proxy, judges: each a function of TRL's signature or what
    `--world.rewards` takes; without a proxy it is the trainer's own logged reward. every: steps; 0
    for the trainer's evaluations, or its logs where it makes none. answers: to each prompt.
    max_tokens, temperature: the trainer's own where nothing is said. reference: a model; without
    it, the model as it was when the folder was made, of which its trained weights are kept there.
    """

    def __init__(
        self,
        prompts: Sequence[Any] = (),
        *,
        folder: Path | str,
        gold: Judge | None = None,
        proxy: Judge | None = None,
        judges: Sequence[Judge] = (),
        world: World | None = None,
        reference: Any = None,
        every: int = 0,
        answers: int = 4,
        keep: int = 8,
        max_tokens: int = 0,
        temperature: float = 0.0,
        seed: int = 0,
    ):
        if (world is None) == (len(prompts) == 0):
            raise InputError(
                "readings are of held-out prompts: give prompts, or a world that has them, and one "
                "of the two"
            )
        if world is not None and (gold or proxy or judges or reference is not None):
            raise InputError(
                "a world brings its own gold, judges and reference: give the world or those"
            )
        self.prompts, self.folder, self.world, self.reference = (
            list(prompts),
            Path(folder),
            world,
            reference,
        )
        self.gold, self.proxy, self.judges = gold, proxy, list(judges)
        self.every, self.answers, self.keep, self.seed = every, answers, keep, seed
        self.max_tokens, self.temperature = max_tokens, temperature
        self.run: Run | None = None
        self.done: set[int] = set()

    def on_train_begin(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """The folder, made or gone on with; the reference; a reading of it before the first step."""
        if getattr(args, "deepspeed", None) or getattr(args, "fsdp", None):
            raise InputError(
                "this trainer divides the model's weights among processes, and readings need "
                "them whole: leave out ReadingsCallback, or read the saved checkpoints"
            )
        model, tokenizer = parts["model"], parts["processing_class"]
        self.model = model.get_base_model() if hasattr(model, "get_base_model") else model
        size = self.model.get_output_embeddings().weight.shape[0]
        self.vocabulary = Tokens(
            tokenizer, size=size, ends=[e for e in ends_of(self.model, tokenizer) if e >= 0]
        )
        self.temperature = self.temperature or float(getattr(args, "temperature", 1.0))
        self.max_tokens = self.max_tokens or int(getattr(args, "max_completion_length", 0) or 64)
        self.when = "step" if self.every else "evaluate" if evaluates(args) else "log"
        kept = self.folder / "reference.safetensors"
        again = (self.folder / "run.json").exists()
        if not again and parallel.rank() == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
        then = disk.load(kept) if again and kept.exists() else weights(self.model)
        self.reader, self.step_reward = self._reader(then)
        if parallel.rank() == 0:
            self._record(args, state, again)
            if not kept.exists() and self.world is None and self.reference is None:
                disk.save(kept, then)
        parallel.barrier()
        self.run = Run.open(self.folder)
        self.done = {int(r["step"]) for r in self.run.readings()}
        if int(state.global_step) == 0:
            self._read(state, "reference")

    def on_log(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """A reading where the trainer logs, if it makes no evaluations."""
        if self.when == "log":
            self._read(state)

    def on_evaluate(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """A reading at every evaluation."""
        if self.when == "evaluate":
            self._read(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """A reading every `every` steps."""
        if self.when == "step" and state.global_step % self.every == 0:
            self._read(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """The last policy, if it was not read, and the record closed."""
        if not getattr(args, "load_best_model_at_end", False):
            self._read(state)
        if self.run is not None and parallel.rank() == 0:
            self.run.finish()

    def _read(self, state: Any, tag: str = "") -> None:
        step = int(state.global_step)
        if step in self.done or self.run is None:
            return
        self.done.add(step)
        with still(self.model):
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
        """What reads, and the proxy if we compute it."""
        if self.world is not None:
            reference: Any = self.world.task.reference
            if reference.vocabulary != self.vocabulary:
                raise InputError(
                    "the world's policy has another tokenizer than the model that is trained"
                )
            self.vocabulary = reference.vocabulary
            try:
                first: Callable[..., Tensor] | None = judge(self.world.task)
            except Missing:
                first = None
            return Reader(self.world, self.world.task, answers=self.answers, keep=self.keep), first
        rows = [p if isinstance(p, Mapping) else {"prompt": p} for p in self.prompts]
        bad = next((i for i, r in enumerate(rows) if "prompt" not in r), None)
        if bad is not None:
            raise InputError(
                f"row {bad} of the readings' prompts has no prompt, but {', '.join(rows[bad])}"
            )
        asks = [turned(r["prompt"]) for r in rows]
        texts = [a if isinstance(a, str) else written(a) for a in asks]
        turns = [None if isinstance(a, str) else a for a in asks]
        names = dict.fromkeys(k for r in rows for k in r if k != "prompt")
        columns = {k: [r.get(k) for r in rows] for k in names}
        held_out = self.vocabulary.prompts(asks).to(next(self.model.parameters()).device)
        proxies = [*([] if self.proxy is None else [self.proxy]), *self.judges]
        told, best = (
            Told([opened(j) for j in some], texts, turns, columns) if some else None
            for some in (proxies, [] if self.gold is None else [self.gold])
        )
        task = Task(prompts=held_out, reference=self._reference(then), rewards=told)
        kind = "" if best is None else "function" if best.partial else "held-out model"
        world = World(
            "trl",
            task,
            held_out,
            gold=best,
            golds=() if best is None else best.names,
            gold_kind=kind,
        )
        return Reader(
            world, task, answers=self.answers, keep=self.keep
        ), None if self.proxy is None else judge(task)

    def _reference(self, then: Mapping[str, Tensor]) -> Causal:
        """The model that the KL is against."""
        with still(self.model):
            if self.reference is not None:
                backbone: nn.Module = Pretrained(self.reference)
            elif sum(p.numel() for p in then.values()) < FEW * sum(
                p.numel() for p in self.model.parameters()
            ):
                backbone = Earlier(Pretrained(self.model), then)
            else:
                twin = copy.deepcopy(self.model)
                put(twin, then)
                backbone = Pretrained(twin.requires_grad_(False))
        return self._policy(backbone)

    def _policy(self, backbone: nn.Module) -> Causal:
        return Causal(
            backbone, self.vocabulary, temperature=self.temperature, max_tokens=self.max_tokens
        )

    def _record(self, args: Any, state: Any, again: bool) -> None:
        """The run's folder, made anew or gone on with: readings later than the checkpoint are made
        again.
        """
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
        world = self.reader.world
        name = str(getattr(self.model.config, "_name_or_path", "") or type(self.model).__name__)
        loop = {
            k: plain(v)
            for k in (
                "learning_rate",
                "beta",
                "num_generations",
                "temperature",
                "max_steps",
                "loss_type",
            )
            if isinstance(v := getattr(args, k, None), (int, float, str))
        }
        try:
            judges = list(self.reader.task.rewards.names)
        except Missing:
            judges = []
        Run.create(
            self.folder,
            {
                "recipe": type(args).__name__.removesuffix("Config"),
                "verb": "trl",
                "arguments": {},
                "loop": loop,
                "seed": int(getattr(args, "seed", 0)),
                "world": {"name": name},
                "run": {
                    "temperature": self.temperature,
                    "max_tokens": self.max_tokens,
                    "answers": self.answers,
                },
                "golds": list(world.golds) if world.gold is not None else [],
                "rewards": judges,
                "gold_kind": world.gold_kind if world.gold is not None else None,
            },
        )


def opened(spec: Judge) -> Any:
    """A judge of text from a function or its name."""
    return (
        open_reward(spec, "rewards")
        if isinstance(spec, str)
        else FunctionReward(spec, getattr(spec, "__name__", "function"))
    )


@contextmanager
def still(model: nn.Module) -> Iterator[None]:
    """Within, the model computes as its weights are, without the autocast that accelerate lays
    around its forward pass, and may be set to evaluation; every module is then put back as it was.
    """
    wrapped = model.__dict__.pop("forward", None)
    modes = [(m, m.training) for m in model.modules()]
    drops = [(m, m.p) for m in model.modules() if isinstance(m, nn.Dropout)]
    try:
        yield
    finally:
        if wrapped is not None:
            model.forward = wrapped
        for m, training in modes:
            m.training = training
        for d, p in drops:
            d.p = p


def weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of every parameter that is trained."""
    return {k: p.detach().clone() for k, p in model.named_parameters() if p.requires_grad}


def put(model: nn.Module, kept: Mapping[str, Tensor]) -> None:
    """Set these parameters."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name in kept:
                p.copy_(kept[name])


def evaluates(args: Any) -> bool:
    """Whether a trainer of these arguments makes evaluations."""
    when = getattr(args, "eval_strategy", "no")
    return str(getattr(when, "value", when)) != "no"


def logged(history: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The last value of every number that the trainer has logged."""
    out: dict[str, float] = {}
    for line in history:
        out |= {
            k: float(v)
            for k, v in line.items()
            if isinstance(v, (int, float)) and k not in ("step", "epoch")
        }
    return out


def ends_of(model: Any, tok: Any) -> list[int]:
    """Tokens that end an answer."""
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ends = tok.eos_token_id if ends is None else ends
    return [-1] if ends is None else list(ends) if isinstance(ends, (list, tuple)) else [int(ends)]
