"""The offline family against TRL's own trainer: one batch, the same tiny model, equal losses,
gradients and what is said of pairs. Runs where trl is installed; it is no dependency of ours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from assay.core import Carry, Loop, Pairs, Prompts, Samples, Task
from assay.formulas.f_divergence import f_dpo
from assay.loops import log_ratios, paired
from assay.recipes import direct_alignment, dpo, regularised_preference, robust_dpo

trl = pytest.importorskip("trl")
WORDS = ["<pad>", "<eos>", "<unk>", *(f"w{i}" for i in range(20))]
ROWS = [
    {"prompt": "w1 w2 w3", "chosen": " w4 w5 w6 w7 w8", "rejected": " w9 w10"},
    {"prompt": "w3", "chosen": " w2", "rejected": " w5 w6 w1"},
    {"prompt": "w1 w1", "chosen": " w11 w12", "rejected": " w13 w14 w15 w16"},
]


def model(seed: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
            initializer_range=0.3,
        )
        return LlamaForCausalLM(config).eval()


def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


class Foreign(nn.Module):
    """A transformers model as a Policy, as far as an offline recipe asks: log-probabilities and a
    copy, which is another model, because at the reference itself every log-ratio is 0.
    """

    kl_kind = "sampled"

    def __init__(self, net: Any, other: Any = None):
        super().__init__()
        self.net = net
        self.others = [other]  # in a list, so that its parameters are not this module's

    def copy(self) -> Foreign:
        return Foreign(self.others[0])

    def _not_asked(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("an offline recipe draws nothing")

    kl = sample = walk = scorer = encode = _not_asked

    def logp(self, samples: Samples) -> Tensor:
        B, N, T = samples.action.shape
        out = torch.zeros(B, N, T)
        for b in range(B):
            prompt = samples.prompts.tokens[b][samples.prompts.mask[b]]
            rows = []
            for n in range(N):
                answer = samples.action[b, n][samples.mask[b, n]]
                logits = self.net(torch.cat([prompt, answer])[None]).logits[0, len(prompt) - 1 : -1]
                each = logits.log_softmax(-1).gather(-1, answer[:, None])[:, 0]
                rows.append(torch.nn.functional.pad(each, (0, T - len(each))))
            out[b] = torch.stack(rows)
        return out


def theirs(
    tmp_path: Any, beta: float, kinds: list[str], weights: list[float], **more: Any
) -> tuple[float, list[Tensor], Any, Any]:
    """TRL's loss, gradients, batch and metrics."""
    from datasets import Dataset

    net = model(1)
    args = trl.DPOConfig(
        output_dir=str(tmp_path),
        beta=beta,
        loss_type=kinds,
        loss_weights=weights,
        report_to=[],
        use_cpu=True,
        per_device_train_batch_size=len(ROWS),
        bf16=False,
        gradient_checkpointing=False,
        **more,
    )
    trainer = trl.DPOTrainer(
        net,
        ref_model=model(2),
        args=args,
        train_dataset=Dataset.from_list(ROWS),
        processing_class=tokenizer(),
    )
    batch = next(iter(trainer.get_train_dataloader()))
    net.eval()
    loss = trainer.compute_loss(net, dict(batch))
    loss.backward()
    metrics = {k: v[-1] for k, v in next(m for m in trainer._metrics.values() if m).items()}
    return loss.item(), [p.grad for p in net.parameters()], batch, metrics


def pairs_of(batch: Any) -> Pairs:
    """The trainer's batch as Pairs: what it took for prompt and completion."""
    ids, keep, mine = (
        batch["input_ids"],
        batch["attention_mask"].bool(),
        batch["completion_mask"].bool(),
    )
    B, L = ids.shape[0] // 2, ids.shape[1]
    action, mask = torch.zeros(B, 2, L, dtype=torch.int64), torch.zeros(B, 2, L, dtype=torch.bool)
    prompt, there = torch.zeros(B, L, dtype=torch.int64), torch.zeros(B, L, dtype=torch.bool)
    for row in range(2 * B):
        b, n = row % B, row // B
        answer, before = ids[row][mine[row]], ids[row][keep[row] & ~mine[row]]
        action[b, n, : len(answer)], mask[b, n, : len(answer)] = answer, True
        prompt[b, L - len(before) :], there[b, L - len(before) :] = before, True
    prompts = Prompts(prompt, there, torch.arange(B))
    zeros = torch.zeros(B, 2, L)
    return Pairs(
        prompts,
        action,
        mask,
        torch.zeros_like(mask),
        zeros,
        mask.any(-1),
        p=torch.ones(B),
        margin=torch.zeros(B),
    )


def ours(
    recipe: Any, pairs: Pairs, arguments: dict[str, Any]
) -> tuple[dict[str, float], list[Tensor]]:
    """The first step's stats, and the gradients that its optimiser is given."""
    reference = Foreign(model(2), model(1))
    for p in reference.parameters():
        p.requires_grad_(False)
    task = Task(prompts=pairs.prompts, reference=reference, pairs=pairs, carry=Carry())  # type: ignore[arg-type]
    given: dict[int, Tensor] = {}

    def before(adam: torch.optim.Optimizer, *_: Any) -> None:
        for group in adam.param_groups:
            given.update({id(p): p.grad.clone() for p in group["params"]})

    loop = Loop(max_steps=1, batch_size=len(pairs), learning_rate=1e-9)
    hook = register_optimizer_step_pre_hook(before)  # they are dropped after the step
    try:
        step = next(recipe(task, **arguments, loop=loop))
    finally:
        hook.remove()
    return step.stats, [given[id(p)] for p in step.policy.parameters()]


def f_divergence(name: str) -> Any:
    """A recipe of f-DPO, with α = ½."""

    def recipe(task: Task, *, beta: float, loop: Loop) -> Any:
        def loss(rows: Pairs, logp: Tensor, reference: Tensor) -> Tensor:
            return f_dpo(*log_ratios(logp, reference), beta=beta, divergence=name, p=rows.p)

        yield from paired(task, loop, data=task.pairs, loss=loss, beta=beta)

    return recipe


CASES: dict[str, Any] = {
    "dpo": (dpo.recipe, {"beta": 0.3}, (["sigmoid"], [1.0])),
    "slic is its hinge": (
        direct_alignment.recipe,
        {"loss": "slic", "beta": 0.3},
        (["hinge"], [1.0]),
    ),
    "rdpo is robust": (
        robust_dpo.recipe,
        {"beta": 0.3, "flip": 0.1, "limit": 0.0},
        (["robust"], [1.0]),
        {"label_smoothing": 0.1},
    ),
    "jensen-shannon": (
        f_divergence("jensen_shannon"),
        {"beta": 0.3},
        (["sigmoid"], [1.0]),
        {"f_divergence_type": "js_divergence"},
    ),
    "alpha": (
        f_divergence("alpha"),
        {"beta": 0.3},
        (["sigmoid"], [1.0]),
        {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.5},
    ),
    "ipo, on means": (
        direct_alignment.recipe,
        {"loss": "ipo", "beta": 0.3, "mean": True},
        (["ipo"], [1.0]),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_losses_gradients_and_names(case: str, tmp_path: Any) -> None:
    recipe, arguments, (kinds, weights), *more = CASES[case]
    loss, gradients, batch, metrics = theirs(
        tmp_path, arguments["beta"], kinds, weights, **dict(*more)
    )
    stats, mine = ours(recipe, pairs_of(batch), arguments)
    assert stats["loss"] == pytest.approx(loss, rel=1e-5)
    same_direction(stats, mine, gradients)
    for name in (
        "logps/chosen",
        "logps/rejected",
        "rewards/chosen",
        "rewards/rejected",
        "rewards/margins",
        "rewards/accuracies",
    ):
        assert stats[name] == pytest.approx(metrics[name], rel=1e-4, abs=1e-6), name


def test_the_averaged_rpo_is_sigmoid_and_sft_where_answers_are_equally_long(tmp_path: Any) -> None:
    """TRL's mean is over all chosen tokens of a batch; ours is over each completion's, then all."""
    long = [{**r, "chosen": " w4 w5 w6"} for r in ROWS]
    with pytest.MonkeyPatch.context() as m:
        m.setattr(f"{__name__}.ROWS", long)
        loss, gradients, batch, _ = theirs(tmp_path, 0.3, ["sigmoid", "sft"], [1.0, 0.2])
    arguments = {"beta": 0.3, "eta": 0.2, "average": True}
    stats, mine = ours(regularised_preference.recipe, pairs_of(batch), arguments)
    assert stats["loss"] == pytest.approx(loss, rel=1e-5)
    same_direction(stats, mine, gradients)
    unequal, _, batch, _ = theirs(tmp_path, 0.3, ["sigmoid", "sft"], [1.0, 0.2])
    pairs = pairs_of(batch)
    assert len(set(pairs.lengths[:, 0].tolist())) > 1
    assert ours(regularised_preference.recipe, pairs, arguments)[0]["loss"] != pytest.approx(
        unequal, rel=1e-3
    )
    assert (
        ours(regularised_preference.recipe, replace(pairs, p=torch.zeros(len(pairs))), arguments)[
            0
        ]["loss"]
        != stats["loss"]
    )


def same_direction(stats: dict[str, float], mine: list[Tensor], gradients: list[Tensor]) -> None:
    """Equal gradients: the norm before clipping, and each parameter's share of it (clipping has
    scaled ours).
    """
    a, b = (torch.cat([g.flatten() for g in gs]) for gs in (mine, gradients))
    assert stats["grad_norm"] == pytest.approx(float(b.norm()), rel=1e-4)
    torch.testing.assert_close(a / a.norm(), b / b.norm(), rtol=1e-3, atol=1e-5)
