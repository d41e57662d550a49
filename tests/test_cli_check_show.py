"""`assay check --fix` and `--show` from the outside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import families
import pytest

from assay import cli
from assay.cli.row_lines import row_lines

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "the gate?"}]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, rows: list[dict[str, Any]]) -> str:
    Path(name).write_text("".join(json.dumps(r) + "\n" for r in rows))
    return name


def pair(**more: Any) -> dict[str, Any]:
    return {"prompt": "the mill?", "chosen": "it is closed", "rejected": "no", **more}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    from transformers import LlamaConfig

    folder = tmp_path_factory.mktemp("model")
    families.tokenizer().save_pretrained(folder)
    LlamaConfig(vocab_size=307, eos_token_id=1, bos_token_id=0).save_pretrained(folder)
    return str(folder)


def test_a_repaired_copy_is_written_counted_and_exits_zero(
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = write("bad.jsonl", [pair(), pair(chosen=None), pair(), pair(prompt="\ud83d")])
    assert cli.main(["check", file]) == 2
    capsys.readouterr()
    assert cli.main(["check", file, "--fix", "good.jsonl"]) == 0
    out, err = capsys.readouterr()
    assert "repaired: 1 × half a character (U+FFFD in its place) (row 4)" in out
    assert "left out: 1 × null cell (row 2)" in out
    assert "left out: 1 × duplicated row (row 3)" in out
    assert "wrote good.jsonl: 2 of 4 rows, pairs" in out
    assert "next: assay fit good.jsonl --out reward" in err and "errors" not in err
    assert cli.main(["check", "good.jsonl", "--fix", "again.jsonl"]) == 0
    assert "nothing had to be repaired" in capsys.readouterr().out
    assert Path("again.jsonl").read_bytes() == Path("good.jsonl").read_bytes()


def test_a_copy_needs_no_column_names_but_the_score(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"q": "a", "response": "b", "score": 1, "help": 2, "system": "s"}]
    how = ["--columns", "prompt=q,system=", "--score", "help"]
    assert cli.main(["check", write("s.jsonl", rows), *how, "--fix", "t.jsonl"]) == 0
    out, err = capsys.readouterr()
    assert "renamed: column 'system' is 'unread_system'" in out
    assert "next: assay fit t.jsonl --out reward --score help\n" in err
    assert cli.main(["check", "t.jsonl", "--score", "help", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parts"]["score"] == "help"


def test_what_cannot_be_repaired_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    file = write("same.jsonl", [pair(chosen="no")])
    assert cli.main(["check", file, "--fix", "out.jsonl"]) == 2
    assert "both completions are the same text in all 1 rows" in capsys.readouterr().err
    assert cli.main(["check", write("good.jsonl", [pair()]), "--fix", "good.jsonl"]) == 2
    assert "good.jsonl exists and is never overwritten" in capsys.readouterr().err
    assert cli.main(["check", "good.jsonl", "--model", "x"]) == 2
    assert "--model is for --show" in capsys.readouterr().err
    assert cli.main(["check", "good.jsonl", "--show", "-1"]) == 2
    assert "--show is -1" in capsys.readouterr().err
    assert not Path("out.jsonl").exists()


def test_rows_are_shown_with_who_says_what(capsys: pytest.CaptureFixture[str]) -> None:
    later = [
        {"role": "assistant", "content": "Which\none?", "reasoning_content": "hm"},
        {"role": "user", "content": "\x1b[31mred\u202e"},
        {"role": "assistant", "content": "closed"},
    ]
    rows = [
        pair(chosen=None),
        pair(prompt=ASKED, chosen=later, rejected="a " * 500),
        {"chosen": "\n\nHuman: Hi\n\nAssistant: Yo", "rejected": "\n\nHuman: Hi\n\nAssistant: No"},
    ]
    cli.main(["check", write("a.jsonl", rows[:2]), "--show", "3"])
    out = capsys.readouterr().out
    shown = out[out.index("line 2:") :]
    assert shown.startswith("line 2: a pair, chosen is better with p = 1\n  prompt\n")
    for line in (
        "    system     Be brief.",
        "    user       the gate?",
        "  chosen",
        "    assistant  Which↵one?",
        "               reasoning_content: hm",
        "    user       ⟨U+001B⟩[31mred⟨U+202E⟩",
        "  rejected",
        "               … 320 more characters (--json prints all)",
    ):
        assert f"\n{line}\n" in shown
    assert max(map(len, shown.splitlines())) <= 100 and "\x1b" not in out
    assert cli.main(["check", write("hh.jsonl", rows[2:]), "--show", "1"]) == 0
    assert "    user       Hi\n  chosen\n    assistant  Yo\n" in capsys.readouterr().out


def test_rows_of_every_kind_are_shown_with_their_labels(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def shown(row: dict[str, Any]) -> str:
        assert cli.main(["check", write("a.jsonl", [row]), "--show", "2"]) == 0
        out = capsys.readouterr().out
        return out[out.index("line 1:") :]

    assert shown(pair(p=0.25, margin=2)).startswith(
        "line 1: a pair, chosen is better with p = 0.75, margin -2\n"
        "  prompt\n    text       the mill?\n  chosen\n    assistant  no\n"
    )
    assert "p = 0.5, a tie" in shown(pair(p=0.5))
    assert shown({"prompt": "a", "response": "", "score": 3}) == (
        "line 1: a response with the score 3\n  prompt\n    text       a\n"
        "  response\n    assistant  (empty)\n"
    )
    assert "line 1: a demonstration\n" in shown({"text": "Once upon a time"})
    assert "line 1: a demonstration\n" in shown({"prompt": "a", "response": "b"})
    assert shown({"prompt": "a"}) == "line 1: a prompt\n  prompt\n    text       a\n"


def test_tokens_say_what_is_given_and_what_is_learned(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = families.tokenizer()
    file = write("a.jsonl", [pair(prompt=ASKED)])
    asked = ["check", file, "--show", "1", "--model", model, "--max-tokens", "2"]
    assert cli.main([*asked, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["show"][0]
    prompt, (chosen, rejected) = row["tokens"]["prompt"], row["tokens"]["completions"]
    text = "<s><|system|>Be brief.<|end|><|user|>the gate?<|end|><|assistant|>"
    assert prompt["text"] == text and not any(prompt["learned"])
    assert prompt["ids"] == tokenizer(text, add_special_tokens=False)["input_ids"]
    said = tokenizer("it is closed", add_special_tokens=False)["input_ids"]
    assert chosen["ids"] == [*said, tokenizer.eos_token_id] and all(chosen["learned"])
    assert "".join(chosen["pieces"]) == "it is closed</s>" and chosen["ends"]
    assert (chosen["name"], chosen["n"], chosen["over"]) == ("chosen", len(said) + 1, True)
    assert rejected["name"] == "rejected" and rejected["pieces"][-1] == "</s>"
    assert cli.main(asked) == 0
    out = capsys.readouterr().out
    assert f"  prompt: {prompt['n']} tokens, given\n    text     {text}\n" in out
    assert f"  chosen: {chosen['n']} tokens, OVER the limit of 2: such rows are left out" in out
    assert "ends with 1 «</s>»" in out and "    learned  " in out
    assert max(map(len, out[out.index("line 1:") :].splitlines())) <= 100


def test_without_the_template_prompts_are_texts(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["check", write("a.jsonl", [pair()]), "--show", "1", "--model", model, "--json"]
    texts = []
    for chat in ("--chat", "--no-chat"):
        assert cli.main([*asked, chat]) == 0
        row = json.loads(capsys.readouterr().out)["show"][0]
        texts.append(row["tokens"]["prompt"]["text"])
    assert texts == ["<s><|user|>the mill?<|end|><|assistant|>", "<s>the mill?"]


def test_a_templated_prompt_is_shown_as_it_is_trained_on(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "<s><|user|>the mill?<|end|><|assistant|>"
    file = write("a.jsonl", [pair(prompt=text)])
    asked = ["check", file, "--show", "1", "--model", model, "--json"]
    ids = []
    for more in ([], ["--templated", "prompt"]):
        assert cli.main([*asked, *more]) == 0
        ids.append(json.loads(capsys.readouterr().out)["show"][0]["tokens"]["prompt"]["ids"])
    assert ids[1] == families.tokenizer()(text, add_special_tokens=False)["input_ids"]
    assert len(ids[0]) > len(ids[1])  # as text, and in a template of its own
    assert cli.main(["check", file, "--fix", "b.jsonl", "--templated", "prompt"]) == 0
    assert "fit b.jsonl --out reward --templated prompt\n" in capsys.readouterr().err
    assert cli.main([*asked, "--templated", "prompts"]) == 2
    assert "--templated is 'prompts'" in capsys.readouterr().err


def test_a_row_that_the_template_refuses_says_why_and_the_others_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import LlamaConfig

    strict = families.tokenizer.__wrapped__()
    strict.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        + families.CHAT
    )
    strict.save_pretrained(tmp_path / "strict")
    LlamaConfig(vocab_size=307, eos_token_id=1).save_pretrained(tmp_path / "strict")
    file = write("a.jsonl", [pair(prompt=ASKED), pair()])
    assert cli.main(["check", file, "--show", "2", "--model", str(tmp_path / "strict")]) == 0
    out = capsys.readouterr().out
    assert "  no tokens  the chat template refuses a conversation of roles system, user" in out
    assert "    text     <s><|user|>the mill?<|end|><|assistant|>" in out


def test_a_folder_without_a_model_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    file = write("a.jsonl", [pair()])
    assert cli.main(["check", file, "--show", "1", "--model", "./empty"]) == 2
    err = capsys.readouterr().err
    assert "empty gives no tokenizer" in err and "Traceback" not in err


def test_what_others_say_in_a_completion_is_marked_as_given() -> None:
    part = {"n": 4, "limit": 9, "over": False, "ids": [5, 6, 7, 8]}
    said = {**part, "name": "chosen", "pieces": ["a", "\n", "b", "</s>"], "ends": True}
    said["learned"] = [True, False, True, True]
    tokens = {"prompt": {**part, "text": "q\n", "pieces": list("q\n  ")}, "completions": [said]}
    row = {"row": 3, "p": 1.0, "margin": 0.0, "tokens": tokens}
    assert row_lines([row], line=False) == [
        "row 3: a pair, chosen is better with p = 1",
        "  prompt: 4 tokens, given",
        "    text     q↵",
        "    tokens   5 «q»  6 «↵»  7 « »  8 « »",
        "  chosen: 4 tokens, 1 of them given, ends with 8 «</s>»",
        "    learned  5 «a»",
        "    given    6 «↵»",
        "    learned  7 «b»  8 «</s>»",
    ]


def test_the_turns_of_others_in_a_completion_are_given(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [("assistant", "which?"), ("user", "the old one"), ("assistant", "closed")]
    later = [{"role": role, "content": text} for role, text in said]
    file = write("a.jsonl", [pair(prompt=ASKED, chosen=later)])
    assert cli.main(["check", file, "--show", "1", "--model", model, "--json"]) == 0
    chosen = json.loads(capsys.readouterr().out)["show"][0]["tokens"]["completions"][0]
    each = list(zip(chosen["learned"], chosen["pieces"], strict=True))
    given = "".join(piece for own, piece in each if not own)
    learned = "".join(piece for own, piece in each if own)
    assert "<|user|>the old one<|end|><|assistant|>" in given
    assert learned.startswith("which?") and learned.endswith("closed</s>")
    assert "the old one" not in learned


def test_what_the_template_leaves_out_is_said_once_for_all_rows(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    called = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f"}}]}
    other = {**called, "tool_calls": [{"function": {"name": "g"}}]}
    rows = [pair(prompt=f"<|user|> {n}") for n in range(3)]
    rows += [pair(prompt=ASKED, chosen=[called], rejected=[other])] * 2
    file = write("a.jsonl", rows)
    assert cli.main(["check", file, "--show", "5", "--model", model]) == 0
    out, err = capsys.readouterr()
    assert err.count("no place for tool_calls") == err.count("written out") == 1
    assert "of the rows shown, the chat template has no place for tool_calls: 2 rows" in err
    assert "of the rows shown, 3 rows hold special tokens written out ('<|user|>' first" in err
    assert out.count("give pairs that differ in what the chat template writes") == 2
    assert "--max-tokens" not in out and "1 pairs" not in out


def test_the_advice_to_pass_templated_is_followed_by_check(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = "<s><|user|>the mill?<|end|><|assistant|>"
    file = write("a.jsonl", [pair(prompt=asked)])
    show = ["check", file, "--show", "1", "--model", model]
    assert cli.main(show) == 0
    assert "pass --templated prompt" in capsys.readouterr().err
    assert cli.main([*show, "--templated", "prompt", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["show"][0]["tokens"]["prompt"]["text"] == asked
    assert "written out" not in err
    assert cli.main([*show, "--templated", "answer"]) == 2
    assert "--templated is 'answer'; give some of prompt" in capsys.readouterr().err
