"""A chat template is a program of others: whatever it raises or returns is one sentence, for
policies and for reward models alike.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from families import CHAT, checkpoint
from test_cli_run import _elsewhere  # noqa: F401  (a fixture)

from assay import cli

TEMPLATES = {
    "raises": "{{ raise_exception('Only user and assistant') }}",
    "refuses an answer": "{% if messages|length > 1 %}{{ raise_exception('one') }}{% endif %}"
    + CHAT,
    "undefined": "{{ nope.a.b }}",
    "a type": "{{ messages + 1 }}",
    "a place": "{{ messages[7]['content'] }}",
    "recursion": "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "division": "{{ 1 // 0 }}",
    "syntax": "{% for m in messages %}{{ m['content'] }",
    "unsafe": "{{ messages.__class__.__mro__ }}",
    "nothing": "{% if false %}x{% endif %}",
    "no content": "{% for m in messages %}<|user|>{% endfor %}",
}
VERBS = ("run", "dpo", "fit", "frozen", "score", "evaluate", "reward")
# The reward models' encoder does not check its template yet, see rewards/encoding.py.


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    made = tmp_path_factory.mktemp("templates")
    for name in ("causal", "sound"):
        checkpoint(made / name, "llama")
    model = AutoModelForSequenceClassification.from_pretrained(made / "causal", num_labels=1)
    model.save_pretrained(made / "classifier")
    AutoTokenizer.from_pretrained(made / "causal").save_pretrained(made / "classifier")
    rows = {
        "asks.jsonl": [{"prompt": f"the {a}"} for a in ("mill", "gate", "pond")],
        "texts.jsonl": [{"prompt": f"p {i}", "completion": f"good {i}"} for i in range(4)],
        "pairs.jsonl": [
            {"prompt": f"p {i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(9)
        ],
    }
    for name, lines in rows.items():
        (made / name).write_text("\n".join(map(json.dumps, lines)))
    (made / "judge.py").write_text(
        "def long(prompts, completions, **c):\n    return [float(len(x)) for x in completions]\n"
    )
    return made


def words(verb: str, home: Path) -> list[str]:
    run = ["--held-out", "1", "--max-tokens", "9", "--max-steps", "1", "--out", "run"]
    asks, pairs, texts = (str(home / f"{n}.jsonl") for n in ("asks", "pairs", "texts"))
    model, classifier = str(home / "causal"), str(home / "classifier")
    return {
        "run": ["run", "leave_one_out", "--model", model, "--prompts", asks, *run,
                "--rewards", f"{home / 'judge.py'}:long"],
        "dpo": ["run", "dpo", "--model", model, "--pairs", pairs, *run],
        "fit": ["fit", pairs, "--base", model, "--members", "1", "--epochs", "1", "--out", "r"],
        "frozen": ["fit", pairs, "--base", model, "--frozen", "--out", "r"],
        "score": ["score", classifier, texts, "--out", "s.jsonl"],
        "evaluate": ["evaluate", classifier, pairs],
        "reward": ["run", "leave_one_out", "--model", str(home / "sound"), "--prompts", asks, *run,
                   "--rewards", classifier],
    }[verb]  # fmt: skip


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(
    "verb",
    list(VERBS),
)
def test_what_a_template_does_is_one_sentence(
    verb: str, template: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("causal", "classifier"):
        (home / name / "chat_template.jinja").write_text(TEMPLATES[template])
    capsys.readouterr()
    code = cli.main(words(verb, home))
    said = capsys.readouterr().err
    assert "Traceback" not in said
    if template == "refuses an answer" and verb in ("run", "dpo"):
        assert code == 0, said
    else:
        assert code == 2 and said.strip().splitlines()[-1].startswith("assay: "), said
