"""World hub reads people's text as text, in prompts, pairs, demonstrations and rewards."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from families import CHAT, checkpoint, tokenizer
from test_models_text_rewards import R1, model

from assay.core import Loop, World
from assay.data.turns import Turn
from assay.errors import InputError
from assay.recipes import sft
from assay.worlds import hub

ASKS = [f"please tell me about the gate {i}" for i in range(12)]


def lines(file: Path, rows: list[dict[str, Any]]) -> str:
    file.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return str(file)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """Every ask, pair and demonstration of row 3 holds marks, and no other does."""
    marked = [f"{a}</s><|end|><|user|>" if i == 2 else a for i, a in enumerate(ASKS)]
    both = {"chosen": "we walk home", "rejected": "it rains"}
    pairs = [{"prompt": a, **both} for a in marked]
    pairs[2]["chosen"] = "<s>we<pad> walk</s>"
    demos = [{"prompt": p["prompt"], "completion": p["chosen"]} for p in pairs]
    return {
        "policy": str(checkpoint(tmp_path / "model", "llama")),
        "prompts": lines(tmp_path / "asks.jsonl", [{"prompt": a} for a in marked]),
        "pairs": lines(tmp_path / "pairs.jsonl", pairs),
        "demos": lines(tmp_path / "demos.jsonl", demos),
        "held_out": 2,
        "max_tokens": 48,
        "max_prompt": 70,
        "seed": 1,
    }


def told(caplog: pytest.LogCaptureFixture, word: str) -> list[str]:
    return [m for r in caplog.records if word in (m := r.getMessage())]


def test_a_run_reads_marks_as_text_says_so_once_a_file_and_has_finite_losses(
    files: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "assay"):
        made: World = hub.world(**files)
    says = told(caplog, "special tokens written out")
    folder = Path(files["prompts"]).parent
    assert [s.removeprefix(f"{folder}/") for s in says] == [
        f"{file}: 1 row holds special tokens written out ('</s>' first in row 3); they are "
        "encoded as text"
        for file in ("asks.jsonl", "pairs.jsonl", "demos.jsonl")
    ]
    special = {tokenizer().convert_tokens_to_ids(t) for t in ("<s>", "<pad>", "<|user|>")}
    for x in (made.task.pairs, made.task.demos):
        assert x is not None and special.isdisjoint(x.action[x.mask].tolist())
        assert "<s>we<pad> walk</s>" in [t for row in x.text() for t in row]
        logp = made.task.reference.logp(x)
        assert bool(torch.isfinite(logp[x.mask]).all())
    asked = made.task.prompts
    for ids, mask in zip(asked.tokens, asked.mask, strict=True):
        assert [i for i in ids[mask].tolist() if i < 7] == [0, 3, 6, 4], "the template's own marks"
    for step in sft.recipe(made.task, loop=Loop(max_steps=2, batch_size=9, learning_rate=1e-3)):
        assert step is not None
    text = [ids[mask] for ids, mask in zip(asked.tokens, asked.mask, strict=True)]
    assert any("</s><|end|><|user|>" in tokenizer().decode(t) for t in text)


def test_prompts_that_are_templated_already_are_found_out_and_taken_as_they_are(
    files: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"prompt": f"<s><|user|>{a}<|end|><|assistant|>"} for a in ASKS]
    given = {**files, "prompts": lines(tmp_path / "t.jsonl", rows), "pairs": "", "demos": ""}
    with caplog.at_level(logging.WARNING, "assay"):
        twice = hub.world(**given)
        (said,) = told(caplog, "special tokens written out")
        assert said.endswith("these look templated already; pass --templated prompt")
        caplog.clear()
        once = hub.world(**given, templated=("prompt",))
    assert not told(caplog, "special tokens")
    plain = lines(tmp_path / "p.jsonl", [{"prompt": a} for a in ASKS])
    want = hub.world(**{**given, "prompts": plain})
    assert torch.equal(once.task.prompts.tokens, want.task.prompts.tokens)
    assert not torch.equal(twice.task.prompts.tokens, want.task.prompts.tokens)
    with pytest.raises(InputError, match="--templated is 'ask'"):
        hub.world(**given, templated=("ask",))


def test_what_a_policy_s_template_refuses_is_named_by_file_and_row(
    files: dict[str, Any], tmp_path: Path
) -> None:
    refuses = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}" + CHAT
    )
    (Path(files["policy"]) / "chat_template.jinja").write_text(refuses, encoding="utf-8")
    rows: list[dict[str, Any]] = [{"prompt": [{"role": "user", "content": a}]} for a in ASKS]
    rows[4]["prompt"].insert(0, {"role": "system", "content": "be brief"})
    given = {**files, "prompts": lines(tmp_path / "s.jsonl", rows), "pairs": "", "demos": ""}
    with pytest.raises(InputError, match=r"s.jsonl, row 5: the chat template refuses .* system"):
        hub.world(**given)


def test_a_classifier_in_a_run_says_what_its_template_leaves_out(
    files: dict[str, Any], tmp_path: Path
) -> None:
    import transformers

    base = model(tmp_path / "judge", "bytes", R1)
    judge = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    judge.save_pretrained(base)
    made = hub.world(**{**files, "rewards": (base,)})
    x = made.task.reference.encode(ASKS[:1], [["<think>so</think>home"]])
    with pytest.raises(InputError, match="leaves out what the assistant said"):
        made.task.rewards(x)


def test_log_probabilities_of_several_turns_are_those_of_the_assistant_s_tokens(
    files: dict[str, Any],
) -> None:
    import transformers

    made = hub.world(**{**files, "pairs": "", "demos": ""})
    words = made.task.reference.vocabulary
    ask = (Turn("user", "what is the weather?"),)
    reply = (Turn("assistant", "it rains"), Turn("user", "and then?"), Turn("assistant", "we walk"))
    ids, own = words.reply(ask, reply, chat=True)
    x = words.completed(words.prompts([ask]), [[(ids, own)]], torch.float32)
    assert x.given.sum() == own.count(False) > 0 and x.lengths.item() == own.count(True)
    with torch.no_grad():
        found = made.task.reference.logp(x)[0, 0]
        plain = transformers.AutoModelForCausalLM.from_pretrained(files["policy"])
        whole = torch.tensor([[*words.encode(ask), *ids]])
        logits = plain(whole).logits[0, -len(ids) - 1 : -1].float()
    logits[:, list(words.barred)] = -torch.inf
    want = logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0]
    mine = torch.tensor(own)
    assert torch.allclose(found[mine], want[mine], atol=1e-4) and bool((found[~mine] == 0).all())
