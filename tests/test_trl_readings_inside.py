"""Our readings inside TRL itself: GRPO on a tiny model, killed and gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_trl_readings import HELD, goods
from test_watch_trl import PROMPTS, tiny, tokenizer

from assay.interop.trl import ReadingsCallback
from assay.records.runs import Run


@pytest.mark.filterwarnings("default")
def test_inside_trl(tmp_path: Path) -> None:
    """GRPO on a tiny model, killed and gone on with: the readings of the whole run, once each,
    beside what TRL logs.
    """
    trl = pytest.importorskip("trl", reason="TRL is not installed here")
    datasets = pytest.importorskip("datasets")

    def reward(completions: list[str], **_: Any) -> list[float]:
        return [float(c.count("good")) for c in completions]

    data = datasets.Dataset.from_dict({"prompt": PROMPTS[64:128]})
    tiny().save_pretrained(
        tmp_path / "model"
    )  # with a price on KL, TRL opens its reference by the model's name

    def trained(name: str, steps: int, resume: bool = False) -> list[dict[str, Any]]:
        args = trl.GRPOConfig(
            output_dir=str(tmp_path / name),
            per_device_train_batch_size=16,
            num_generations=8,
            max_steps=6,
            max_completion_length=6,
            learning_rate=1e-2,
            logging_steps=2,
            report_to="none",
            use_cpu=True,
            save_strategy="steps",
            save_steps=2,
            beta=0.1,
            seed=0,
            disable_tqdm=True,
            lr_scheduler_type="constant",
        )
        reads = ReadingsCallback(
            HELD, gold=goods, folder=tmp_path / f"{name}-run", eval_generations=4
        )
        trainer = trl.GRPOTrainer(
            model=str(tmp_path / "model"),
            reward_funcs=reward,
            args=args,
            processing_class=tokenizer(),
            callbacks=[reads],
            train_dataset=data,
        )
        if steps < 6:
            trainer.add_callback(_Kill(steps))
        try:
            trainer.train(
                resume_from_checkpoint=str(tmp_path / name / "checkpoint-2") if resume else None
            )
        except KeyboardInterrupt:
            assert steps < 6
        return Run.open(tmp_path / f"{name}-run").readings()

    whole = trained("whole", 6)
    assert (
        [r["step"] for r in whole] == [0, 2, 4, 6]
        and whole[0]["kl"] == pytest.approx(0, abs=1e-6)  # drawing rounds otherwise than reading
        and whole[-1]["kl"] > 1e-4
    )
    assert whole[-1]["gold"] > whole[0]["gold"] and whole[-1]["proxy"] is not None
    assert whole[-1]["stats"]["trl/kl"] != pytest.approx(whole[-1]["kl"], rel=0.05), (
        "theirs is another quantity"
    )
    assert [r["step"] for r in trained("cut", 5)] == [0, 2, 4]
    again = trained("cut", 6, resume=True)
    assert [r["step"] for r in again] == [0, 2, 4, 6]
    for a, b in zip(whole[:2], again[:2], strict=True):
        assert a["kl"] == pytest.approx(b["kl"], rel=1e-4) and a["gold"] == b["gold"]


def _Kill(step: int) -> Any:
    from transformers import TrainerCallback

    class Kill(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
            if state.global_step == step:
                raise KeyboardInterrupt

    return Kill()
