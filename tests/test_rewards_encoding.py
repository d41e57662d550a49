"""Text to tokens: one BOS, one EOS, truncation that is told, and heads from an address."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from test_rewards_fit_models import base, pairs

from assay.core import Rng
from assay.errors import InputError
from assay.models.text_encoder import TextEncoder
from assay.rewards.encoding import open_tokenizer
from assay.rewards.fit_file import fit
from assay.rewards.row_passes import forward
from assay.rewards.row_tokens import encode

transformers = pytest.importorskip("transformers")


def test_one_bos_and_one_eos(tmp_path: Path) -> None:
    from assay.rewards.encoding import template_for

    made = open_tokenizer(base(tmp_path / "base", "llama"))
    config = transformers.AutoConfig.from_pretrained(tmp_path / "base")
    row = encode(TextEncoder(made), template_for(made, config, 64), "what is 1", "good 1")
    assert row.ids.count(made.bos_token_id) == 1 == row.ids.count(made.eos_token_id)
    assert row.ids[0] == made.bos_token_id and row.ids[-1] == made.eos_token_id
    assert made.convert_ids_to_tokens(list(row.ids[row.start :])) == ["good", "1", "</s>"]
    made.chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ m['role'] }} {{ m['content'] }} </s>{% endfor %}"
        "{% if add_generation_prompt %}assistant {% endif %}"
    )
    chat = encode(TextEncoder(made), template_for(made, config, 64), "what is 1", "good 1")
    assert chat.ids.count(made.bos_token_id) == 1
    assert made.convert_ids_to_tokens(list(chat.ids[chat.start :])) == ["good", "1", "</s>"]


def test_what_is_too_long_loses_its_prompt_s_beginning_first(tmp_path: Path) -> None:
    from assay.rewards.encoding import template_for

    for kind in ("bert", "llama"):
        made = open_tokenizer(base(tmp_path / kind, kind))
        config = transformers.AutoConfig.from_pretrained(tmp_path / kind)
        row = encode(
            TextEncoder(made), template_for(made, config, 8), "what is the answer " * 5, "good 1 2"
        )
        words = made.convert_ids_to_tokens(list(row.ids))
        assert len(words) == 8 and row.cut > 0 and words[0] in ("[CLS]", "<s>")
        assert words[row.start :][:3] == ["good", "1", "2"]


def test_texts_longer_than_the_limit_are_counted_and_all_of_them_is_an_error(
    tmp_path: Path,
) -> None:
    model = str(base(tmp_path / "base", "bert"))
    file = tmp_path / "p.jsonl"
    rows = [json.loads(line) for line in pairs(file).read_text().splitlines()]
    for r in rows[::2]:
        r["chosen"] = "good " * 60
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    found = fit(file, base=model, out=tmp_path / "R", members=1, folds=0, epochs=1, max_length=32)
    assert any("12 of 48 texts are longer than 32 tokens" in n for n in found["notes"])
    with pytest.raises(InputError, match="all 48 texts are longer than the limit of 4 tokens"):
        fit(file, base=model, out=tmp_path / "R2", members=1, folds=0, max_length=4)


def test_a_fresh_head_comes_from_an_address(tmp_path: Path) -> None:
    from assay.rewards.encoder import Member
    from assay.rewards.encoding import template_for

    folder = base(tmp_path / "base", "bert")
    made = open_tokenizer(folder)
    template = template_for(made, transformers.AutoConfig.from_pretrained(folder), 32)
    torch.manual_seed(1)
    a = Member(str(folder), made, template, Rng(0))
    torch.manual_seed(2)
    b, c = Member(str(folder), made, template, Rng(0)), Member(str(folder), made, template, Rng(1))
    assert a.fresh and "classifier.weight" in a.fresh
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.model.classifier.weight, c.model.classifier.weight)
    row = encode(TextEncoder(made), template, "why", "good")
    assert forward(a.model, [row], made.pad_token_id, segments=True)[0].logits.shape == (1, 1)
