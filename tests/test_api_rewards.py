"""fit_reward, load_reward and RewardEnsemble as a notebook uses them, with models in memory too."""

from __future__ import annotations

import copy
import dataclasses
import doctest
import importlib
import inspect
import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_rewards_fit_models import ASKS, TEXTS, base, pairs

from assay.api.rewards import RewardEnsemble, fit_reward, load_reward
from assay.errors import InputError, NotFinite
from assay.rewards.fit_config import FitConfig
from assay.rewards.fit_file import fit
from assay.rewards.load import entries, open_reward
from assay.rewards.text_scorer import TextReward

transformers = pytest.importorskip("transformers")
ROWS = [
    {
        "prompt": f"Question {i}",
        "chosen": f"a good answer {'so ' * (i % 3)}",
        "rejected": f"a bad answer {i}",
    }
    for i in range(24)
]


def longer(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
    """A reward that likes length."""
    return [float(len(c)) for c in completions]


@pytest.mark.parametrize(
    "name", ["api.rewards", "api.reward_ensemble", "data.memory", "data.given"]
)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"assay.{name}")).failed == 0


def test_arguments_are_the_flags_of_fit_with_their_words_and_defaults() -> None:
    mine, theirs = (inspect.signature(f).parameters for f in (fit_reward, fit))
    elsewhere = {"preference_dim"}  # it is `fit_preference` here
    assert set(theirs) - {"path"} - elsewhere < set(mine) and mine.keys() - theirs.keys() == {
        "pairs",
        "tokenizer",
    }

    def told(text: str | None) -> dict[str, str]:
        part = (text or "").split("Args:\n")[1].split("\n\n")[0]
        whole = re.split(r"\n(?= *\w+: )", part)
        return {e.split(":")[0].strip(): " ".join(e.split()) for e in whole}

    mine_told = told(fit_reward.__doc__)
    config = told((FitConfig.__doc__ or "").replace("Attributes:\n", "Args:\n"))
    for field in dataclasses.fields(FitConfig):
        assert mine[field.name].default == field.default, field.name
        if field.name != "base":
            assert mine_told[field.name] == config[field.name]


def test_rows_may_be_a_file_a_list_a_dataset_or_a_frame(tmp_path: Path) -> None:
    datasets, pandas = pytest.importorskip("datasets"), pytest.importorskip("pandas")
    file = tmp_path / "p.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in ROWS))
    made = datasets.Dataset.from_list(ROWS)
    forms = [
        str(file),
        file,
        ROWS,
        (r for r in ROWS),
        made,
        datasets.DatasetDict({"train": made}),
        pandas.DataFrame(ROWS),
    ]
    asks, said = ["Question 1", "Question 99"], ["a good answer", "a bad answer"]
    scores = [fit_reward(f, members=2, folds=0).score(asks, said) for f in forms]
    assert scores[0].shape == (2, 2) and isinstance(scores[0], np.ndarray)
    assert all(np.array_equal(s, scores[0]) for s in scores)
    both = datasets.DatasetDict({"train": made, "test": made})
    with pytest.raises(InputError, match="pairs has several splits; choose one.*train, test"):
        fit_reward(both)
    assert np.array_equal(
        fit_reward(both, split="test", members=2, folds=0).score(asks, said), scores[0]
    )
    with pytest.raises(InputError, match="pairs, row 2, column 'chosen': null"):
        fit_reward([ROWS[0], {**ROWS[1], "chosen": None}])
    with pytest.raises(InputError, match="pairs is one dict of prompt, .*; give a list of dicts"):
        fit_reward(ROWS[0])
    with pytest.raises(InputError, match="pairs is a int; give a file"):
        fit_reward(3)
    with pytest.raises(InputError, match="pairs, row 1: a str where a dict"):
        fit_reward(["Question 1"])


def test_conversations_score_as_their_texts_do() -> None:
    talk = [
        {
            "prompt": [{"role": "user", "content": r["prompt"]}],
            "chosen": [{"role": "assistant", "content": r["chosen"]}],
            "rejected": [{"role": "assistant", "content": r["rejected"]}],
        }
        for r in ROWS
    ]
    rm = fit_reward(talk, members=1)
    texts = rm.score([r["prompt"] for r in ROWS], [r["chosen"] for r in ROWS])
    assert np.array_equal(rm.score([t["prompt"] for t in talk], [t["chosen"] for t in talk]), texts)
    assert np.array_equal(fit_reward(ROWS, members=1).score(ASKS, TEXTS), rm.score(ASKS, TEXTS))
    with pytest.raises(InputError, match="24 prompts and 1 completions"):
        rm.score([r["prompt"] for r in ROWS], ["one"])
    with pytest.raises(InputError, match=r"prompts is a str; give a list"):
        rm.score("one", ["one"])
    with pytest.raises(InputError, match=r"completions\[0\]: int where text or a list"):
        rm.score(["one"], [1])


def test_what_is_kept_in_memory_and_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rm = fit_reward(ROWS, members=3, seed=1)
    assert list(tmp_path.iterdir()) == [] and rm.evaluation is not None
    rm.save("mine")
    fit_reward(ROWS, members=3, seed=1, out="theirs")
    one, two = (json.loads((tmp_path / f / "fit.json").read_text()) for f in ("mine", "theirs"))
    assert one == two and one["evaluation"]["pairs"] == 24
    again = load_reward("mine")
    assert repr(again) == repr(rm) == "RewardEnsemble(kind='linear text', members=3, base='words')"
    assert again.names == rm.names and len(again) == 3 and load_reward(again) is again
    assert np.array_equal(again.score(ASKS, TEXTS), rm.score(ASKS, TEXTS))
    assert again.evaluate(ROWS) == rm.evaluate(ROWS)
    with pytest.raises(InputError, match="never overwritten"):
        rm.save("mine")
    with pytest.raises(InputError, match="a reward is a int; give a folder"):
        load_reward(3)
    with pytest.raises(InputError, match="'nothing-here', which does not exist here"):
        load_reward("nothing-here")
    with pytest.raises(InputError, match="no weights to save"):
        load_reward(longer).save("function")


def test_an_ensemble_is_a_reward_wherever_assay_takes_one() -> None:
    rm = fit_reward(ROWS, members=2, folds=0)
    assert isinstance(rm, TextReward) and open_reward(rm, "rewards") is rm
    assert entries(rm, "rewards") == (rm,) and entries([rm, longer], "rewards") == (rm, longer)
    assert torch.equal(rm.scores(ASKS, TEXTS), rm.reward.scores(ASKS, TEXTS))
    assert isinstance(rm.to(torch.device("cpu")), RewardEnsemble)


def test_an_evaluation_of_length_says_so() -> None:
    rows = [{**r, "weight": i} for i, r in enumerate(ROWS)]
    found = load_reward(longer).evaluate(rows)
    right = [(len(r["chosen"]) > len(r["rejected"])) for r in ROWS]
    ties = sum(len(r["chosen"]) == len(r["rejected"]) for r in ROWS)
    assert found.accuracy.mean == pytest.approx((sum(right) + ties / 2) / 24)
    assert found.ties == ties and found.pairs == found.prompts == 24
    assert found.length.correlation == 1 and found.disagreement is None
    assert "accuracy" in str(found) and "<table>" in found._repr_html_()
    json.dumps(found.plain(), allow_nan=False)
    frame = found.to_pandas()
    assert list(frame["reward"]) == ["ensemble", "longer"] and len(frame) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.pairs = 3  # type: ignore[misc]


def test_columns_reach_functions_and_none_is_left_out() -> None:
    def known(prompts: Any, completions: Any, truth: Any) -> list[float | None]:
        return [
            None if t is None else float(t in c) for c, t in zip(completions, truth, strict=True)
        ]

    rows = [{**r, "truth": "good" if i % 2 else None} for i, r in enumerate(ROWS)]
    found = load_reward(known).evaluate(rows)
    assert (found.pairs, found.unscored, found.accuracy.mean) == (12, 12, 1)
    scores = load_reward(known).score(["a", "b"], ["x", "y"], truth=["x", None])
    assert scores[0, 0] == 1 and np.isnan(scores[0, 1])
    with pytest.raises(InputError, match="2 prompts and 1 values of truth"):
        load_reward(known).score(["a", "b"], ["x", "y"], truth=["x"])
    with pytest.raises(InputError, match="has no pair that can be compared"):
        load_reward(known).evaluate([{**r, "truth": None} for r in rows])


def test_held_out_pairs_are_never_those_that_were_fitted_to() -> None:
    rm = fit_reward(ROWS[:16], held_out=ROWS[12:], members=2)
    assert rm.evaluation is not None and rm.evaluation.pairs == 8
    assert "4 of 12 prompts of held_out are among those" in rm.about["notes"][0]
    kept = fit_reward(ROWS, held_out_share=0.25, members=2)
    assert kept.evaluation is not None and kept.evaluation.pairs == 6
    assert "held out before the fit: 6 of 24, 25%" in kept.evaluation.on
    assert (kept.about["prompts"], kept.about["held_out_prompts"]) == (18, 6)
    unseen = fit_reward(ROWS, folds=0)
    assert unseen.evaluation is None and "was not evaluated" in unseen.about["notes"][0]


def state(model: Any) -> tuple[Any, ...]:
    """All that a model in memory could lose."""
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    grads = [p.requires_grad for p in model.parameters()]
    return weights, modes, grads, copy.deepcopy(model.config.to_dict()), model.config


def unchanged(before: tuple[Any, ...], after: tuple[Any, ...]) -> bool:
    same = all(torch.equal(v, after[0][k]) for k, v in before[0].items())
    return same and before[1:4] == after[1:4] and before[4] is after[4]


@pytest.mark.parametrize("frozen", [False, True])
def test_a_base_in_memory_is_fitted_as_its_folder_is_and_left_alone(
    tmp_path: Path, frozen: bool
) -> None:
    folder = base(tmp_path / "base", "llama")
    file = pairs(tmp_path / "p.jsonl", 20)
    how: dict[str, Any] = {"members": 2, "epochs": 2, "batch_size": 4, "learning_rate": 5e-3}
    how |= {"frozen": frozen}
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model.train()
    next(model.parameters()).requires_grad_(False)
    before = state(model)
    rm = fit_reward(file, base=model, tokenizer=tokenizer, **how)
    assert unchanged(before, state(model)) and tokenizer.pad_token is None
    named = fit_reward(file, base=str(folder), **how)
    assert np.allclose(rm.score(ASKS, TEXTS), named.score(ASKS, TEXTS), atol=1e-6)
    assert rm.evaluation is not None and named.evaluation is not None
    assert rm.evaluation.accuracy == named.evaluation.accuracy
    assert ("held out before the fit" in rm.evaluation.on) == (not frozen)
    assert "LlamaForCausalLM in memory" in repr(rm)
    rm.save(tmp_path / "R")
    assert np.array_equal(load_reward(tmp_path / "R").score(ASKS, TEXTS), rm.score(ASKS, TEXTS))
    with pytest.raises(InputError, match="without its tokenizer"):
        fit_reward(file, base=model)
    with pytest.raises(InputError, match="tokenizer goes with a model in memory"):
        fit_reward(file, base="words", tokenizer=tokenizer)


def test_a_classifier_in_memory_scores_without_dropout_and_is_left_alone(tmp_path: Path) -> None:
    folder = base(tmp_path / "base", "llama")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.AutoConfig.from_pretrained(folder, num_labels=1, attention_dropout=0.5)
    model = transformers.AutoModelForSequenceClassification.from_config(config).train()
    before = state(model)
    rm = load_reward(model, tokenizer=tokenizer)
    scores = rm.score(ASKS, TEXTS)
    assert scores.shape == (1, 3) and np.array_equal(scores, rm.score(ASKS, TEXTS))
    assert unchanged(before, state(model)) and model.config.pad_token_id is None
    rm.save(tmp_path / "R")
    assert unchanged(before, state(model))
    assert np.allclose(load_reward(tmp_path / "R").score(ASKS, TEXTS), scores, atol=1e-6)
    model.save_pretrained(tmp_path / "C")
    tokenizer.save_pretrained(tmp_path / "C")
    assert np.allclose(load_reward(tmp_path / "C").score(ASKS, TEXTS), scores, atol=1e-6)
    with pytest.raises(InputError, match="without its tokenizer"):
        load_reward(model)
    with pytest.raises(InputError, match="is no reward: give a sequence classifier"):
        load_reward(transformers.AutoModel.from_pretrained(folder), tokenizer=tokenizer)
    with torch.no_grad():
        model.score.weight.fill_(torch.nan)
    with pytest.raises(NotFinite, match="scores are not finite"):
        rm.score(ASKS, TEXTS)


def test_other_libraries_are_silent_and_a_user_s_function_is_heard(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def loud(prompts: Any, completions: Any) -> list[float]:
        warnings.warn("mine", UserWarning, stacklevel=1)
        return [0.0 for _ in completions]

    folder = base(tmp_path / "base", "bert")
    before = transformers.utils.logging.get_verbosity()
    capfd.readouterr()
    rows = pairs(tmp_path / "p.jsonl", 12)
    rm = fit_reward(rows, base=str(folder), members=1, epochs=0.1, out=tmp_path / "R")
    rm.save(tmp_path / "S")
    assert (
        "".join(capfd.readouterr()) == "" and transformers.utils.logging.get_verbosity() == before
    )
    with pytest.raises(InputError, match="mine"):  # a warning is an error in these tests
        load_reward(loud).score(["a"], ["b"])
