"""fit, evaluate, score, bon: your own files. Each is a function of the library, whose signature has
the flags.
"""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from assay.api import flags
from assay.api.flags import Flag
from assay.api.values import shown, value
from assay.cli.grammar import Grammar, Words
from assay.cli.verbs import ALSO, Seen
from assay.engine import progress
from assay.engine.plural import counted
from assay.engine.quiet import quiet_libraries
from assay.errors import InputError
from assay.registry.catalogue import HOME
from assay.registry.docstrings import clause, first_sentence
from assay.registry.parameters import REQUIRED, Parameter, from_text, parameters
from assay.safe_text import json_text

FUNCTIONS = {  # verb → module and function of the library
    "check": ("api.checking", "check"),
    "fit": ("rewards.fit_file", "fit"),
    "evaluate": ("rewards.evaluate", "evaluate"),
    "score": ("rewards.score_file", "score"),
    "bon": ("evaluation.best_of_n_curve", "bon"),
}
SHOWN = {  # positional parameters: what help calls them, and what they are
    "path": (
        "file",
        "A data file: JSON lines (gzipped too), Parquet, CSV, a datasets folder or a hub name.",
    ),
    "scores": ("file", "A scored file."),
    "rewards": (
        "reward",
        "A folder of assay fit, a sequence classifier, FILE.py:name, or the address of a server.",
    ),
    "out": ("out", "The file to write."),
}
UNSHOWN = ("check", "bon")  # their functions do not announce all that they do
FURTHER = {"fit": {"path": ("--pairs",)}}  # other names of the positional parameters as flags


def grammar(base: Grammar, seen: Seen) -> Grammar:
    """The verb with the flags of its function."""
    given = _parameters(base.verb)
    places = [p for p in given.values() if p.kind == "POSITIONAL_OR_KEYWORD"]
    own = {
        p.name: Flag(
            name=p.name,
            type=p.type,
            help=first_sentence(p.help or SHOWN[p.name][1]),
            also=(*ALSO.get(p.name, ()), *FURTHER.get(base.verb, {}).get(p.name, ())),
            default=REQUIRED if p.name == "out" else None,
            group="Options" if p.name == "out" else "Hidden",
        )
        for p in places
    }
    found = {k: replace(f, also=ALSO.get(k, ())) for k, f in flags.of(given).items()}
    words = tuple(
        Words(SHOWN[p.name][0], help=p.help or SHOWN[p.name][1]) for p in places if p.name != "out"
    )
    return replace(base, flags={**own, **found, **base.flags}, words=words)


def _parameters(verb: str) -> dict[str, Parameter]:
    module, name = FUNCTIONS[verb]
    path = HOME.joinpath(*module.split(".")).with_suffix(".py")
    return from_text(path, name, positional=True) or parameters(_function(verb))


def _function(verb: str) -> Callable[..., Any]:
    module, name = FUNCTIONS[verb]
    found: Callable[..., Any] = getattr(importlib.import_module(f"assay.{module}"), name)
    return found


def called(verb: str, words: Sequence[str], settings: dict[str, Any]) -> Any:
    """Call the verb's function.

    Args:
        verb: As it is typed.
        words: Its positional parameters, as far as they are typed as words.
        settings: Its flags by name.

    Raises:
        InputError: A parameter without a default is missing, or what the function raises.
    """
    given, rest = _parameters(verb), list(words)
    for p in given.values():
        if p.kind == "POSITIONAL_OR_KEYWORD" and p.name not in settings and rest:
            settings[p.name] = value(rest.pop(0), p.type, p.name)
        if p.default is REQUIRED and p.name not in settings:
            word = p.name in SHOWN and p.name != "out"
            name = SHOWN[p.name][0].upper() if word else f"--{p.name.replace('_', '-')}"
            placed = p.kind == "POSITIONAL_OR_KEYWORD"
            about = clause(p.help or (SHOWN[p.name][1] if placed else ""))
            raise InputError(f"assay {verb} needs {name}" + (f": {about}" if about else ""))
    with progress.stage("starting"):
        function = _function(verb)
    with (
        progress.stage(f"assay {verb}") if verb in UNSHOWN else nullcontext(),
        quiet_libraries(models=_opens_models(verb, settings)),
    ):
        return function(**settings)


def _opens_models(verb: str, settings: Mapping[str, Any]) -> bool:
    """Whether the verb may open a model of transformers, as far as can be seen before it starts."""
    if verb == "fit":
        return settings.get("base", "words") != "words"
    if verb == "check":
        return bool(settings.get("model"))
    reward = str(settings.get("rewards", ""))
    return verb in ("evaluate", "score") and not reward.startswith("http") and ".py" not in reward


def tell(found: Any, as_json: bool, lines: list[str]) -> None:
    """One JSON object, or lines for a person."""
    print(json_text(found) if as_json else "\n".join(lines))


def again(settings: Mapping[str, Any], names: Sequence[str]) -> str:
    """Flags that were given, as they are typed for another command on the same file.

    Args:
        settings: What was given.
        names: The flags that the other command has too.
    """
    given = {k: settings[k] for k in names if settings.get(k) not in (None, "", {})}
    return "".join(f" --{k.replace('_', '-')} {shlex.quote(shown(v))}" for k, v in given.items())


def fit_(*words: str, json_: bool = False, **settings: Any) -> int:
    """Fit a reward ensemble to preference pairs or scored responses.

    The base is `words` (no model needed), or any encoder or decoder of transformers: the whole
    model, with --lora 16 adapters that are merged at the end, or with --frozen a head on its
    features. Accuracy, calibration and length bias are measured on prompts that no member saw:
    cross-validated, or, for whole models, on a tenth of the prompts, held out before the fit.

    Example:
        assay fit pairs.jsonl --out reward
        assay fit pairs.jsonl --base ./model --lora 16 --members 3 --out reward
        assay fit pairs.jsonl --preference-dim 2 --out preference
    """
    from assay.data.label_lines import label_says

    found = called("fit", words, settings)
    evaluation = found["evaluation"]
    tell(
        found,
        json_,
        [
            f"{found['file']}: {found['kind']}, {found['used']:,} used of "
            f"{counted(found['rows'], 'row')}, {counted(found['prompts'], 'prompt')}",
            *label_says(found["label"]),
            *([] if evaluation is None else evaluation["says"]),
            *(f"note: {note}" for note in found["notes"]),
            f"wrote {found['folder']}: {counted(found['members'], 'member')} on {found['base']}, "
            "and fit.json with all of the above",
            f"checked: {found['agreement']['says']}",
            *(
                _next_preference(found["folder"])
                if found.get("preference_dim")
                else _next(found["folder"], evaluated="held_out" in settings)
            ),
        ],
    )
    return 0


def evaluate_(*words: str, json_: bool = False, **settings: Any) -> int:
    """Measure how well a reward tells chosen from rejected completions.

    Accuracy with an interval that counts each prompt once, calibration of the score difference,
    accuracy by length and by margin, and how far the members differ.

    Example:
        assay evaluate reward held_out.jsonl
        assay evaluate judge.py:score held_out.jsonl --json
    """
    found = called("evaluate", words, settings)
    tell(
        found,
        json_,
        [*found["says"], "wrote nothing (--json prints all)", *_next(found["rewards"])],
    )
    return 0


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _next(reward: str, *, evaluated: bool = True) -> list[str]:
    """What can be done with a reward."""
    return [
        *([] if evaluated else [f"next: assay evaluate {reward} HELD_OUT.jsonl"]),
        f"next: assay score {reward} ROWS.jsonl -o SCORED.jsonl",
        f"next: assay run grpo --model MODEL --prompts PROMPTS.jsonl --rewards {reward}",
    ]


def _next_preference(folder: str) -> list[str]:
    """What can be done with a general preference model."""
    return [
        "next: assay run nash_md --model MODEL --prompts PROMPTS.jsonl "
        f"--preference {shlex.quote(folder)}"
    ]


def score_(*words: str, json_: bool = False, **settings: Any) -> int:
    """Score every row of a file with a reward.

    Writes each member's score, their mean, worst and spread, and mean − lam·variance, as new
    columns.

    Example:
        assay score reward completions.jsonl --out scored.jsonl
        assay score reward pairs.jsonl --out scored.jsonl --lam 0.5
    """
    found = called("score", words, settings)
    right = (
        []
        if found["accuracy"] is None
        else [f"the chosen one scores higher in {found['accuracy']:.1%} of the pairs"]
    )
    tell(
        found,
        json_,
        [
            f"{found['file']}: {counted(found['rows'], 'row')} scored by "
            f"{counted(len(found['members']), 'member')} of {found['rewards']}",
            f"{found['name']}: mean {_number(found['mean'])}, standard deviation "
            f"{_number(found['std'])}, spread of the members {_number(found['spread'])}",
            *(
                [f"note: the reward does not apply to {found['unscored']:,} completions"]
                if found["unscored"]
                else []
            ),
            *right,
            f"wrote {found['out']}: every row with the columns {', '.join(found['columns'])}",
            (
                f"next: assay bon {found['out']} --gold GOLD_COLUMN --proxy {found['columns'][0]}"
                if found["accuracy"] is None
                else f"next: assay evaluate {found['rewards']} {found['file']}"
            )
            + again(
                settings, ("columns", "split") if found["accuracy"] is not None else ("columns",)
            ),
        ],
    )
    return 0


def bon_(*words: str, json_: bool = False, **settings: Any) -> int:
    """Compute the best-of-n curve of a scored file.

    Gold and proxy of the completion that each proxy likes best among n, unbiased over all subsets,
    with intervals over prompts and KL in nats. --page draws them.

    Example:
        assay bon scored.jsonl --gold rating
        assay bon scored.jsonl --gold rating --proxy length --page bon.html
    """
    from assay.evaluation.best_of_n_curve import says

    where = {name: settings.get(name) for name in ("out", "page")}
    found = called("bon", words, settings)
    wrote = [f"wrote {path}" for path in where.values() if path]
    best = max(found["proxies"], key=lambda p: found["curves"][p]["peak"]["gold"])
    n = found["curves"][best]["peak"]["n"]
    then = [
        *(wrote or ["wrote nothing (-o FILE.json keeps the curves, --page FILE.html draws them)"]),
        "next: assay run best_of_n --model MODEL --prompts PROMPTS.jsonl --rewards REWARD "
        f"--most {n}"
        if n > 1
        else "next: assay evaluate REWARD PAIRS.jsonl (no proxy here is better than chance)",
    ]
    tell(found, json_, [*says(found), *then])
    return 0
