"""check, fit, score, bon: real files. Each is a function of assay.files, and its signature is the
configuration here too.
"""

from __future__ import annotations

import inspect
import json
import sys
import typing
from collections.abc import Callable
from typing import Any

from assay.cli import flags
from assay.cli.flags import Flag
from assay.errors import InputError

CALLED = {
    "path": "a FILE",
    "scores": "a FILE",
    "rewards": "a REWARD, the folder of a fitted one",
    "out": "-o, where to write",
}


def called(
    verb: str, argv: list[str], function: Callable[..., Any], *, aliases: tuple[str, ...] = ()
) -> tuple[Any, bool]:
    """Call a function with words for its positional parameters and flags for all of them; and
    whether JSON is wanted.

    `aliases` are other names for the last positional parameter that must be given.
    """
    places = {
        p.name: p
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.POSITIONAL_OR_KEYWORD
    }
    hints = typing.get_type_hints(function)
    known = {
        **{name: Flag(name, hints[name], p.default) for name, p in places.items()},
        **flags.of(function),
        "json": Flag("json", bool, False),
    }
    words, given = flags.split(argv, [name for name, f in known.items() if f.switch])
    last = list(places)[-1]
    values = flags.parse(
        [(last if name in aliases else name, text) for name, text in given], known, f"assay {verb}"
    )
    as_json = values.pop("json", False)
    for name in places:
        if name not in values and words:
            values[name] = flags.value(words.pop(0), hints[name], name)
    if words:
        raise InputError(
            f"assay {verb} has no place for '{words[0]}'; it takes {', '.join(places)}, and the "
            "rest as flags"
        )
    for name, flag in known.items():
        if flag.default is flags.REQUIRED and name not in values:
            raise InputError(
                f"assay {verb} needs {CALLED.get(name, f'--{name}')}; assay {verb} --help tells "
                "how it is called"
            )
    return function(**values), as_json


def tell(found: Any, as_json: bool, lines: list[str]) -> None:
    """One JSON object, or lines for a person."""
    print(json.dumps(found, ensure_ascii=False) if as_json else "\n".join(lines))


def check_(argv: list[str]) -> int:
    """assay check FILE [--columns prompt=question,…] [--score COLUMN] [--limit CHARACTERS]
    [--against FILE,…] [--json]

    Says what FILE is (pairs, chats, transcripts, scored responses, prompts) and every fault with
    row and column: JSON lines (gzipped too), Parquet, CSV, a datasets folder or a hub name. Exit 2
    if there are errors.
    """
    from assay.data.summary import check, says

    found, as_json = called("check", argv, check)
    tell(found, as_json, says(found))
    if not found["ok"]:
        errors = sum(found["errors"].values())
        print(f"assay: {found['file']} has {errors:,} error{'s' * (errors > 1)}", file=sys.stderr)
    return 0 if found["ok"] else 2


def fit_(argv: list[str]) -> int:
    """assay fit FILE -o FOLDER [--base words|MODEL_OR_PATH] [--members 5] [--frozen] [--folds 5]
    [--out-of-fold FILE] [--json] …

    Fits a reward ensemble to pairs (--pairs FILE is FILE) or to scored responses (--score COLUMN).
    --base is words (no model needed), or any transformers encoder or decoder: the whole model, with
    --lora 16 adapters that are merged at the end, or with --frozen a head on its features. Accuracy
    is cross-validated by prompt; --out-of-fold writes every row with scores of judges that never
    saw its prompt. Also: --resample leave-out|bootstrap|none --ridge --smoothing --centre --epochs
    --batch --lr --max-length --pairs-a-prompt --pooling --columns --split --limit --drop --lam
    --seed.
    """
    from assay.rewards.fit_file import fit

    found, as_json = called("fit", argv, fit, aliases=("pairs",))
    accuracy = found["accuracy"]
    tell(
        found,
        as_json,
        [
            f"{found['file']}: {found['kind']}, {found['used']:,} used of {found['rows']:,} rows, "
            f"{found['prompts']:,} prompts",
            *(f"warning: {count:,} × {kind}" for kind, count in found["warnings"].items()),
            *(
                []
                if accuracy is None
                else [
                    f"accuracy on prompts never seen: {accuracy['mean']:.3f} "
                    f"[{accuracy['low']:.3f}, {accuracy['high']:.3f}]"
                ]
            ),
            *(f"note: {note}" for note in found["notes"]),
            f"{found['members']} members on {found['base']}",
            found["folder"],
        ],
    )
    return 0


def score_(argv: list[str]) -> int:
    """assay score REWARD FILE -o OUT [--name proxy] [--lam 0.5] [--columns …] [--split NAME]
    [--drop] [--json]

    Scores every row of FILE with a reward that assay fit wrote: each member, their mean, worst,
    spread and mean − lam·variance, as new columns of OUT.
    """
    from assay.rewards.score_file import score

    found, as_json = called("score", argv, score)
    right = (
        []
        if found["accuracy"] is None
        else [f"the chosen one scores higher in {found['accuracy']:.1%} of the pairs"]
    )
    tell(
        found,
        as_json,
        [
            f"{found['file']}: {found['rows']:,} rows scored by {len(found['members'])} members of "
            f"{found['rewards']}",
            f"{found['name']}: mean {found['mean']:.3f}, standard deviation {found['std']:.3f}, "
            f"spread of the members {found['spread']:.3f}",
            *(f"warning: {count:,} × {kind}" for kind, count in found["warnings"].items()),
            *right,
            found["out"],
        ],
    )
    return 0


def bon_(argv: list[str]) -> int:
    """assay bon FILE --gold COLUMN [--proxy COLUMN,…] [--ns 1,2,4,…] [--draws 2000] [-o OUT.json]
    [--page OUT.html] [--json]

    The best-of-n curve of a scored file (--scores FILE is FILE): gold and proxy of the answer that
    each proxy likes best among n, unbiased over all subsets, with intervals over prompts and KL in
    nats. --page draws them.
    """
    from assay.evaluation.best_of_n_curve import bon, says

    found, as_json = called("bon", argv, bon)
    tell(found, as_json, says(found))
    return 0
