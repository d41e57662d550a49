"""What TRL is given of this house: any reward stack as a reward function (`reward_function`), our
readings during a run (`ReadingsCallback`), and the watch, here: a callback for any transformers
Trainer that trains a causal model.

    from assay.interop.trl import WatchCallback trainer = GRPOTrainer(…,
    callbacks=[WatchCallback(prompts, by="judge.py:better", folder="runs/mine")])

At every evaluation (or every `every` steps) it draws answers to prompts that were never used
before, from the model as it is and from the best one so far, has them judged blind, and stops the
training when the model has turned; the best weights are then put back, so that
`trainer.save_model()` saves them. What it saw is a run's folder, which `assay report` draws.
Answers are drawn here by address: the trainer's random stream is not touched. Weights that do not
require gradients are never copied, so with an adapter only the adapter is kept. One process; with
vLLM as the trainer's sampler, answers still come from the model itself.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from assay.core.rng import Rng
from assay.engine import checkpoint as disk
from assay.errors import InputError, Waiting
from assay.interop.readings import ReadingsCallback, ends_of, evaluates, logged
from assay.interop.stack import reward_function
from assay.records.runs import Run, plain
from assay.watch.labelers.choose import labeler
from assay.watch.labelers.function import Function
from assay.watch.ledger import Ledger
from assay.watch.session import Drawn, Watch, Watching

__all__ = ["ModelDoor", "ReadingsCallback", "WatchCallback", "reward_function"]
Prompt = str | list[dict[str, str]]
BACK = 8  # looks a checkpoint may be older than the last one, for the training to go on from it


class ModelDoor:
    """Answers of one model under its present weights and under those of earlier steps, swapped in
    for the time being.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        folder: Path,
        seed: int,
        max_tokens: int,
        temperature: float,
        batch: int,
    ):
        self.prompts, self.folder, self.rng = list(prompts), folder, Rng(seed)
        self.order = self.rng("watch")("prompts").permutation(len(prompts)).tolist()
        self.max_tokens, self.temperature, self.batch = max_tokens, temperature, batch
        self.model: Any = None
        self.tokenizer: Any = None
        self.nats: list[float] = []

    def left(self, used: int) -> int | None:
        """Prompts that nobody was asked about."""
        return len(self.prompts) - used

    def draw(self, step: int, mine: int, theirs: int, at: int, n: int, used: int) -> list[Drawn]:
        """n comparisons; see assay.watch.session.Door."""
        asked = [self.prompts[i] for i in self.order[used : used + n]]
        places, rng = torch.arange(at, at + n), self.rng("watch", step)
        said, now = [], self.weights()
        try:
            for side, which in (("mine", mine), ("theirs", theirs)):
                if which != step:
                    self.put(self.kept(which))
                said.append(self.answers(asked, rng(side)[places], heard=which == step))
        finally:
            self.put(now)
        return [Drawn(_text(p), a, b) for p, a, b in zip(asked, *said, strict=True)]

    def kept(self, step: int) -> dict[str, Tensor]:
        """The weights of an earlier step."""
        path = self.folder / f"kept-{step}.safetensors"
        if not path.exists():
            raise InputError(
                f"{path} is gone, and the watch compares with the policy of step {step}: train on "
                "from a later checkpoint, or start again in another folder"
            )
        weights: dict[str, Tensor] = disk.load(path)
        return weights

    def forget(self, but: Collection[int]) -> None:
        """Delete the weights of other steps; the reference's stay."""
        for path in set(self.folder.glob("kept-*.safetensors")) - {
            self.folder / f"kept-{s}.safetensors" for s in (0, *but)
        }:
            path.unlink()

    def keep(self, step: int) -> None:
        """The weights as they are, on disk."""
        disk.save(self.folder / f"kept-{step}.safetensors", self.weights())

    def stats(self) -> dict[str, float]:
        """Nats a token of the model's own answers at this look."""
        nats, self.nats = self.nats, []
        return {"entropy": sum(nats) / len(nats)} if nats else {}

    def weights(self) -> dict[str, Tensor]:
        """A copy, on the CPU, of every parameter that is trained."""
        return {
            k: p.detach().to("cpu", copy=True)
            for k, p in self.model.named_parameters()
            if p.requires_grad
        }

    def put(self, weights: dict[str, Tensor]) -> None:
        """Set the trained parameters to these."""
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                if p.requires_grad:
                    p.copy_(weights[name])

    def answers(self, asked: Sequence[Prompt], rng: Rng, heard: bool = False) -> list[str]:
        """One answer to each prompt, drawn by address; whether the model was training or not is put
        back.
        """
        training = self.model.training
        self.model.eval()
        try:
            parts = [(i, min(i + self.batch, len(asked))) for i in range(0, len(asked), self.batch)]
            return [
                text
                for a, b in parts
                for text in self._batch(asked[a:b], rng[torch.arange(a, b)], heard)
            ]
        finally:
            self.model.train(training)

    @torch.no_grad()
    def _batch(self, asked: Sequence[Prompt], rng: Rng, heard: bool) -> list[str]:
        device, tok = next(self.model.parameters()).device, self.tokenizer
        rows = [
            tok.apply_chat_template(p, add_generation_prompt=True, tokenize=True, return_dict=False)
            if isinstance(p, list)
            else tok(p)["input_ids"]
            for p in asked
        ]
        B, P = len(rows), max(map(len, rows))
        ids = torch.tensor(
            [[tok.pad_token_id or 0] * (P - len(r)) + list(r) for r in rows], device=device
        )
        mask = torch.tensor([[0] * (P - len(r)) + [1] * len(r) for r in rows], device=device)
        ends = torch.tensor(ends_of(self.model, tok), device=device)
        out, done = ids[:, :0], torch.zeros(B, dtype=torch.bool, device=device)
        feed, past = ids, None
        for t in range(self.max_tokens):
            places = (mask.cumsum(-1) - 1).clamp(min=0)[:, -feed.shape[1] :]
            said = self.model(
                input_ids=feed,
                attention_mask=mask,
                position_ids=places,
                past_key_values=past,
                use_cache=True,
            )
            past = said.past_key_values
            logp = (said.logits[:, -1].float() / self.temperature).log_softmax(-1)
            noise = rng.gumbel(torch.arange(B)[:, None], t, torch.arange(logp.shape[-1])).to(device)
            token = (logp + noise).argmax(-1)
            if heard:
                self.nats += (-logp.gather(-1, token[:, None])[:, 0])[~done].tolist()
            out = torch.cat([out, torch.where(done, ends[0], token)[:, None]], 1)
            done = done | torch.isin(token, ends)
            feed, mask = out[:, -1:], torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
            if bool(done.all()):
                break
        return [str(text) for text in tok.batch_decode(out, skip_special_tokens=True)]


class WatchCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """prompts: fresh ones, texts or chat messages, each used once. by: a function (prompts, first,
    second) → labels, or what `--watch` takes. every: look every so many steps; 0 for the trainer's
    evaluations. restore: put the best weights back when it stops. A watch that waits for people
    stops the training; label the pairs, and train on from the checkpoint.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        *,
        by: str | Callable[..., Any],
        folder: Path | str,
        settings: Watching | None = None,
        every: int = 0,
        max_tokens: int = 64,
        temperature: float | None = None,
        batch: int = 16,
        seed: int = 0,
        restore: bool = True,
        say: Callable[[str], None] | None = None,
    ):
        if not prompts:
            raise InputError(
                "the watch needs prompts of its own, which the training does not use; it was given "
                "none"
            )
        self.by, self.folder, self.settings, self.every = (
            by,
            Path(folder),
            settings or Watching(),
            every,
        )
        self.restore, self.temperature = restore, temperature
        self.say = say or (lambda text: print(text, file=sys.stderr, flush=True))
        once = list(
            {_text(p): p for p in prompts}.values()
        )  # two labels of one prompt are not two prompts
        self.door = ModelDoor(
            once, self.folder, seed, max_tokens, 1.0 if temperature is None else temperature, batch
        )
        self.seed, self.waiting = seed, False
        self.watch: Watch | None = None
        self.run: Run | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """The folder, the first weights as the reference, and what an earlier sitting knew."""
        model, self.door.tokenizer = parts["model"], parts["processing_class"]
        self.door.model = model
        if self.temperature is None:
            self.door.temperature = float(getattr(args, "temperature", 1.0))
        every = self.every or int(getattr(args, "eval_steps", 0) or 0)
        if not every or (not self.every and not evaluates(args)):
            raise InputError(
                "the watch looks at every evaluation, and this trainer makes none: give "
                "WatchCallback every=…, in steps"
            )
        self._folder(args, model, int(state.global_step))
        again = "trainer.train(resume_from_checkpoint=True)"
        by = (
            Function(self.by, getattr(self.by, "__name__", "a function"), tries=self.settings.tries)
            if callable(self.by)
            else labeler(
                self.by,
                gold=None,
                folder=self.folder,
                again=again,
                model=self.settings.model,
                rate=self.settings.rate,
                timeout=self.settings.timeout,
                tries=self.settings.tries,
                at_once=self.settings.at_once,
            )
        )
        self.watch = Watch(
            self.door,
            Ledger(self.folder, None),
            by,
            Rng(self.seed),
            self.settings,
            -(-state.max_steps // every),
        )
        before = sorted(
            int(p.stem)
            for p in (self.folder / "looks").glob("*.json")
            if int(p.stem) <= state.global_step
        )
        if before:
            self.watch.load(
                json.loads(
                    (self.folder / "looks" / f"{before[-1]}.json").read_text(encoding="utf-8")
                )
            )
        pending = self.folder / "pending.json"
        if (
            pending.exists()
            and json.loads(pending.read_text(encoding="utf-8"))["step"] == state.global_step
        ):
            self._look(state, control)

    def on_evaluate(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """A look at every evaluation, unless `every` says otherwise."""
        if not self.every:
            self._look(state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """A look every `every` steps."""
        if self.every and state.global_step % self.every == 0:
            self._look(state, control)

    def on_train_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
        """On stop the best weights go back into the model; the record says which."""
        if self.watch is None or self.run is None or self.waiting:
            return
        stopped, back = self.watch.stopped, self.watch.back
        if stopped and self.restore:
            self.door.put(self.door.kept(back))
        self.run.finish(
            {
                "result": {
                    "step": back if stopped else state.global_step,
                    "stopped": stopped,
                    "at": state.global_step,
                    "file": f"kept-{back}.safetensors" if stopped else None,
                    "best": self.watch.best,
                    "labels": self.watch.spent,
                }
            }
        )
        self.door.forget({back, self.watch.best})

    def _look(self, state: Any, control: Any) -> None:
        assert self.watch is not None and self.run is not None
        step = int(state.global_step)
        if self.watch.stopped or (self.watch.steps and self.watch.steps[-1] >= step):
            return
        said = logged(state.log_history)
        reading = {
            "step": step,
            "proxy": said.get("reward"),
            "stats": {f"trl/{k}": v for k, v in said.items()},
        }
        try:
            verdict = self.watch.look({**reading, "kl": None, "rewards": None})
        except Waiting as why:
            (self.folder / "pending.json").write_text(json.dumps({"step": step}), encoding="utf-8")
            self.run.note({"state": "waiting"})
            self.say(f"assay: {why}")
            self.waiting = control.should_save = control.should_training_stop = True
            return
        self.run.append({**reading, "tag": "", "labels": self.watch.spent, "watch": verdict})
        place = self.folder / "looks" / f"{step}.json"
        place.parent.mkdir(exist_ok=True)
        place.write_text(json.dumps(self.watch.state()), encoding="utf-8")
        late = sorted(place.parent.glob("*.json"), key=lambda p: int(p.stem))[-BACK:]
        self.door.forget(
            {s for p in late for s in json.loads(p.read_text(encoding="utf-8"))["kept"]}
        )
        self.say(f"assay: step {step}: {verdict['says']}")
        if self.watch.stopped:
            control.should_training_stop = True

    def _folder(self, args: Any, model: Any, step: int) -> None:
        """The run's folder, made anew or gone on with; the reference is the model as it was when
        the folder was made.
        """
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
        name = str(getattr(model.config, "_name_or_path", "") or type(model).__name__)
        by = self.by if isinstance(self.by, str) else getattr(self.by, "__name__", "a function")
        loop = {
            k: plain(getattr(args, k))
            for k in ("learning_rate", "beta", "num_generations", "temperature", "max_steps")
            if isinstance(getattr(args, k, None), (int, float))
        }
        self.run = Run.create(
            self.folder,
            {
                "recipe": type(args).__name__.removesuffix("Config"),
                "verb": "trl",
                "arguments": {},
                "loop": loop,
                "seed": int(getattr(args, "seed", 0)),
                "world": {"name": name},
                "golds": [],
                "gold_kind": None,
                "rewards": [],
                "watch": {"by": by},
            },
        )
        self.door.keep(0)


def _text(prompt: Prompt) -> str:
    return (
        prompt
        if isinstance(prompt, str)
        else "\n\n".join(f"{m['role']}: {m['content']}" for m in prompt)
    )
