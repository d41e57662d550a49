"""DPO on a file of pairs in world hub against TRL's own trainer on the same file: the same tokens,
log-probabilities and loss.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from families import CHAT, checkpoint

from assay.core import Loop
from assay.formulas.pairwise import dpo as formula
from assay.loops import log_ratios
from assay.recipes import dpo
from assay.worlds import hub

trl = pytest.importorskip("trl", reason="TRL is not installed here")
datasets = pytest.importorskip("datasets")
ROWS = [
    {
        "prompt": f"please tell me about the {what}",
        "chosen": f" the {what} is old{' and grey' * (i % 3)}",
        "rejected": f" it {verb}",
    }
    for i, (what, verb) in enumerate(
        (w, v) for w in ("mill", "gate", "pond") for v in ("rains", "is closed today")
    )
]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("chat", [False, True])
def test_the_loss_is_trl_s(tmp_path: Path, chat: bool) -> None:
    """After some steps of ours, so that policy and reference differ. In chat, the template closes
    an answer by the token that ends one, as templates of released models do. Padding, BOS and what
    the tokenizer does not have are never said by our policies and may be by TRL's: for the
    comparison they are let in.
    """
    (tmp_path / "pairs.jsonl").write_text("\n".join(json.dumps(r) for r in ROWS), encoding="utf-8")
    folder = checkpoint(tmp_path / "model", "qwen2")
    if chat:
        (folder / "chat_template.jinja").write_text(
            CHAT.replace(
                "<|end|>{% endfor %}",
                "{% if m['role'] == 'assistant' %}</s>{% else %}<|end|>{% endif %}{% endfor %}",
            ),
            encoding="utf-8",
        )
    made = hub.world(
        policy=str(folder),
        pairs=str(tmp_path / "pairs.jsonl"),
        held_out=1,
        max_tokens=32,
        chat=chat,
    )
    made.task.reference.vocabulary.barred = ()  # type: ignore[attr-defined]
    steps = list(dpo.recipe(made.task, loop=Loop(max_steps=3, batch_size=4, learning_rate=1e-2)))
    policy: Any = steps[-1].policy
    x, reference = made.task.pairs, made.task.reference
    with torch.no_grad():
        mine = policy.logp(x).sum(-1)
        ours = float(
            formula(*log_ratios(policy.logp(x), reference.logp(x)), beta=0.1, p=x.p).mean()
        )

    kept = [ROWS[i] for i in range(len(ROWS)) if ROWS[i]["prompt"] in _asked(made)]
    if chat:
        kept = [
            {
                "prompt": [{"role": "user", "content": r["prompt"]}],
                **{k: [{"role": "assistant", "content": r[k]}] for k in ("chosen", "rejected")},
            }
            for r in kept
        ]
    args = trl.DPOConfig(
        output_dir=str(tmp_path / "trl"),
        beta=0.1,
        report_to=[],
        use_cpu=True,
        bf16=False,
        per_device_train_batch_size=len(kept),
        gradient_checkpointing=False,
        max_length=None,
    )
    tokenizer = made.task.reference.vocabulary.tokenizer
    trainer = trl.DPOTrainer(
        copy.deepcopy(policy.backbone.model),
        ref_model=copy.deepcopy(reference.backbone.model),
        args=args,
        train_dataset=datasets.Dataset.from_list(kept),
        processing_class=copy.deepcopy(tokenizer),
    )
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.eval()
    with torch.no_grad():
        theirs = float(trainer.compute_loss(trainer.model, dict(batch)))
    metrics = {k: v[-1] for k, v in next(m for m in trainer._metrics.values() if m).items()}
    assert abs(ours - 0.6931) > 1e-2, "the policy has moved"
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert float(mine[:, 0].mean()) == pytest.approx(metrics["logps/chosen"], rel=1e-4)
    assert float(mine[:, 1].mean()) == pytest.approx(metrics["logps/rejected"], rel=1e-4)


def _asked(made: Any) -> set[str]:
    """The prompts that the world's pairs are of."""
    texts = [ROWS[i]["prompt"] for i in range(len(ROWS))]
    distinct = list(dict.fromkeys(texts))
    return {distinct[r] for r in made.task.pairs.prompts.row.tolist()}
