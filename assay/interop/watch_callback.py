"""The watch inside any transformers Trainer of a causal model.

    from assay.interop.trl import WatchCallback

    watch = WatchCallback(prompts, by="judge.py:better", folder="runs/mine")
    trainer = GRPOTrainer(…, callbacks=[watch])

At every evaluation, or every `eval_steps` steps, the callback samples completions of fresh prompts
from the present model and from the best one so far, has them compared blind, and stops the training
when the model has turned. The best weights are then put back, so that `trainer.save_model()` saves
them. The record is a run's folder, which `assay report` draws.

Completions are sampled by address: the trainer's random stream is not touched. Weights that are not
trained are never copied, so with an adapter only the adapter is kept. It works in one process; with
vLLM as the trainer's sampler, completions still come from the model itself.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from assay.core.rng import Rng
from assay.engine.atomic import write_bytes
from assay.errors import InputError, Waiting
from assay.interop.messages import turns_of
from assay.interop.model_comparisons import ModelComparisons, Prompt, row_of
from assay.interop.model_state import set_weights, trained_bytes
from assay.interop.trainer import (
    evaluates,
    hold_folder,
    logged,
    model_name,
    recipe_name,
    release_folder,
    settings_of,
)
from assay.records.result import Kept, Result, Watched, chosen
from assay.records.runs import Run, RunRecord
from assay.safe_text import visible
from assay.watch.config import Watch as WatchSettings
from assay.watch.config import WatchConfig
from assay.watch.labelers.choose import make_labeler
from assay.watch.labelers.function import FunctionLabeler
from assay.watch.labelers.questions import Labeler
from assay.watch.ledger import Ledger
from assay.watch.session import Watch

LAST = 8  # looks that a checkpoint may lie back for the training to go on from it
RECORDED = ("learning_rate", "beta", "num_generations", "temperature", "max_steps")


class WatchCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Stops a trainer when its model has turned, and puts the best weights back.

    A watch that waits for people stops the training; label the pairs, and train on from the
    checkpoint.

    Before the training it says what its labels can and cannot find (`assay.watch.outlook`).

    Args:
        prompts: Fresh prompts, texts or messages, or a dataset's rows with a column `prompt`, which
            the training does not use; each is used once. Labelers get the other columns.
        by: Who labels: a function (see `assay.watch.labelers.function`), or what `--watch` takes.
            A function is called once with stand-in completions before the training.
        folder: The run's folder; a folder of an earlier start is gone on with.
        config: How to watch; its `by` gives way to the argument.
        eval_steps: Steps between looks; 0 for the trainer's evaluations.
        max_tokens: Tokens of a completion at most.
        temperature: Of sampling; None for the trainer's own.
        batch_size: Completions that are sampled together.
        seed: Of sampling.
        restore: Put the best weights back after a stop.
        say: Receives a line at each look; None for standard error.

    Raises:
        InputError: There are no prompts.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt | Mapping[str, Any]],
        *,
        by: str | Callable[..., Any],
        folder: Path | str,
        config: WatchConfig | None = None,
        eval_steps: int = 0,
        max_tokens: int = 64,
        temperature: float | None = None,
        batch_size: int = 16,
        seed: int = 0,
        restore: bool = True,
        say: Callable[[str], None] | None = None,
    ):
        if isinstance(prompts, str):
            raise InputError(f"prompts is the text {prompts[:40]!r}; give a list of prompts")
        if not prompts:
            raise InputError(
                "the watch needs prompts of its own, which the training does not use; it was given "
                "none"
            )
        self.by, self.folder, self.eval_steps = by, Path(folder), eval_steps
        given = {f.name: getattr(config or WatchConfig(), f.name) for f in fields(WatchConfig)}
        self.config = WatchSettings(by, **{k: v for k, v in given.items() if k != "by"})
        self.restore, self.temperature = restore, temperature
        self.say = say or (lambda text: print(visible(text), file=sys.stderr, flush=True))
        # two labels of one prompt are one outcome
        rows = [row_of(p, i) for i, p in enumerate(prompts)]
        unique = list({turns_of(r["prompt"]): r for r in rows}.values())
        self.comparisons = ModelComparisons(
            unique,
            self.folder,
            seed,
            max_tokens,
            1.0 if temperature is None else temperature,
            batch_size,
        )
        self.seed, self.waiting = seed, False
        self.word: str | None = None  # the watch's last
        self.watch: Watch | None = None
        self.run: Run | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """See `TrainerCallback.on_train_begin`: open the folder, and go on where a run was.

        The first weights are kept as the reference.

        Raises:
            InputError: The trainer makes no evaluations, and there is no `eval_steps`.
        """
        model = parts["model"]
        self.comparisons.model, self.comparisons.tokenizer = model, parts["processing_class"]
        if self.temperature is None:
            self.comparisons.temperature = float(getattr(args, "temperature", 1.0))
        every = self.eval_steps or int(getattr(args, "eval_steps", 0) or 0)
        if not every or (not self.eval_steps and not evaluates(args)):
            raise InputError(
                "the watch looks at every evaluation, and this trainer makes none: give "
                "WatchCallback eval_steps=…"
            )
        hold_folder(self.folder)
        self._open(args, model, int(state.global_step))
        self.watch = Watch(
            self.comparisons,
            Ledger(self.folder, None),
            self._labeler(),
            Rng(self.seed),
            self.config,
            -(-state.max_steps // every),
        )
        self.watch.policy_bytes = trained_bytes(model)
        for sentence in self.watch.outlook.sentences:
            self.say(f"assay: {sentence}")
        before = [p for p in self._looks() if int(p.stem) <= state.global_step]
        if before:
            self.watch.load(_read(before[-1]))
        pending = self.folder / "pending.json"
        if pending.exists() and _read(pending)["step"] == state.global_step:
            self._look(state, control)

    def on_evaluate(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """See `TrainerCallback.on_evaluate`: look here unless there is `eval_steps`."""
        if not self.eval_steps:
            self._look(state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """See `TrainerCallback.on_step_end`: look every `eval_steps` steps."""
        if self.eval_steps and state.global_step % self.eval_steps == 0:
            self._look(state, control)

    def on_train_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """See `TrainerCallback.on_train_end`: after a stop, put the best weights back.

        The record says which they are.
        """
        if self.watch is None or self.run is None or self.waiting:
            return
        stopped, back = self.watch.stopped, self.watch.back
        if stopped and self.restore:
            set_weights(self.comparisons.model, self.comparisons.kept(back))
        self.run.finish({"result": self._result(int(state.global_step))})
        self.comparisons.forget({back} if stopped else set())
        release_folder(self.folder)

    def _result(self, step: int) -> Result:
        """What the run came to. The last weights are the trainer's to save."""
        assert self.watch is not None
        watch, back = self.watch, self.watch.back
        last: Kept = {"step": step, "tag": "", "file": None}
        there: Kept = {"step": back, "tag": "", "file": f"kept-{back}.safetensors"}
        found: Watched = {
            "stopped": watch.stopped,
            "word": self.word,
            "at": step,
            "best": watch.best,
            "labels": watch.spent,
        }
        return {"best": chosen(last=last, watch=found, back=there), "last": last, "watch": found}

    def _labeler(self) -> Labeler:
        """Who labels; a function is called once before the training."""
        labeler = make_labeler(
            self.config,
            gold=None,
            folder=self.folder,
            again="trainer.train(resume_from_checkpoint=True)",
        )
        if isinstance(labeler, FunctionLabeler):
            labeler.once(self.comparisons.trial())
        return labeler

    def _look(self, state: Any, control: Any) -> None:
        """Look at the model; stop the trainer if it has turned, or if people have yet to answer."""
        assert self.watch is not None and self.run is not None
        step = int(state.global_step)
        if self.watch.stopped or (self.watch.steps and self.watch.steps[-1] >= step):
            return
        numbers = logged(state.log_history)
        reading = {
            "step": step,
            "proxy": numbers.get("reward"),
            "stats": {f"trl/{k}": v for k, v in numbers.items()},
        }
        try:
            verdict = self.watch.look({**reading, "kl": None, "rewards": None})
        except Waiting as why:
            _write(self.folder / "pending.json", {"step": step})
            self.run.note({"state": "waiting"})
            self.say(f"assay: {why}")
            self.waiting = control.should_save = control.should_training_stop = True
            release_folder(self.folder)
            return
        self.run.append({**reading, "tag": "", "labels": self.watch.spent, "watch": verdict})
        self.word = verdict["word"]
        _write(self.folder / "looks" / f"{step}.json", self.watch.state())
        last = [_read(path) for path in self._looks()[-LAST:]]
        self.comparisons.forget({s for look in last for s in look["kept"]})
        self.say(f"assay: step {step}: {verdict['says']}")
        if self.watch.stopped:
            control.should_training_stop = True

    def _looks(self) -> list[Path]:
        """The saved states, in the order of steps."""
        return sorted((self.folder / "looks").glob("*.json"), key=lambda p: int(p.stem))

    def _open(self, args: Any, model: Any, step: int) -> None:
        """Make the run's folder, or go on with it; the reference is the model as it was first."""
        if (self.folder / "run.json").exists():
            self.run = Run.open(self.folder)
            if self.run.about["state"] == "done":
                raise InputError(
                    f"{self.folder} holds a finished run, and a run is never overwritten: give "
                    "WatchCallback another folder"
                )
            self.run.cut(step)  # looks later than the checkpoint are made again; labels stay
            self.run.note({"state": "running"})
            return
        self.run = Run.create(
            self.folder,
            RunRecord(
                recipe=recipe_name(args),
                verb="trl",
                loop=settings_of(args, RECORDED),
                seed=int(getattr(args, "seed", 0)),
                world={"name": model_name(model)},
                watch=asdict(self.config),
            ),
        )
        self.comparisons.keep(0)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, json.dumps(value).encode())
