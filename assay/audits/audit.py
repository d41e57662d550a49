"""An audit: probes, length, stability and labels of some rewards, and the checks they pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from assay import data
from assay.audits.checks import Check, of_number, of_probe
from assay.audits.completions import Completions, Floats
from assay.audits.config import AuditConfig
from assay.audits.effects import cut, within_deviation, within_sums
from assay.audits.found_words import FoundWord, found_words
from assay.audits.labels import Labelled, fitted_on, on_gold, on_pairs
from assay.audits.lengths import Length, lengths
from assay.audits.members import parting
from assay.audits.probes import chosen
from assay.audits.probing import Probed, probed
from assay.audits.scorers import Scorers
from assay.audits.stability import Stability, stability
from assay.audits.turning import predict
from assay.engine import progress
from assay.errors import InputError

_SEVERAL = (
    "No turning point is predicted: these are several rewards, and the prediction was fitted to "
    "members of one ensemble."
)


def audited(
    scorers: Scorers,
    x: Completions,
    config: AuditConfig,
    *,
    pairs: str | Path | data.Source | None = None,
    fitted: str | Path | data.Source | None = None,
) -> dict[str, Any]:
    """Audit rewards.

    Args:
        scorers: The rewards.
        x: The completions.
        config: The settings.
        pairs: A file of preference pairs; None for none.
        fitted: The file that the reward was fitted on; None where it is not known.

    Returns:
        What was found, as JSON can hold it.

    Raises:
        InputError: A reward cannot score the completions, or a file cannot be used.
        NotFinite: A score is not finite.
    """
    scorers.tried(x)
    near = None if fitted is None else fitted_on(fitted, config)
    with progress.stage(f"scoring {len(x):,} completions"):
        scores = scorers.scores(x)
    at = x.probed(config.most_prompts, config.a_prompt, config.seed)
    effects = probed(chosen(config.probes), scorers, x, scores, at, config.seed)
    sizes, gold_size = lengths(scorers, x, scores)
    units = [within_deviation(within_sums(s, x.group, x.groups)) for s in scores]
    seed = config.seed
    words = found_words(scorers, x, scores, at, config.words, seed) if config.words else []
    ways = stability(scorers, x, units, seed) if config.stability else []
    told = [] if x.gold is None else on_gold(scorers, x, scores, near, seed)
    told += [] if pairs is None else on_pairs(scorers, pairs, config, near)
    checks = [
        *_probe_checks(effects, config),
        *_word_checks(words, config),
        *_length_checks(sizes, config),
        *_label_checks(told, config),
        *_stability_checks(ways, config),
    ]
    return {
        "rewards": [
            {"name": name, "kind": r.kind, "members": list(r.names)}
            for name, r in scorers.rewards.items()
        ],
        "completions": {
            "source": x.source,
            "completions": len(x),
            "prompts": x.groups,
            "left_out": x.left_out,
            "probed": len(at),
            "probed_prompts": len(set(x.group[at].tolist())),
        },
        "units": {c.name: unit for c, unit in zip(scorers.columns, units, strict=True)},
        "probes": [e.plain() for e in effects],
        "length": {
            "rewards": [s.plain() for s in sizes],
            "gold": None if gold_size is None else asdict(gold_size),
        },
        "words": [w.plain() for w in words],
        "members": _members(scorers, x, scores, seed),
        "stability": [w.plain() for w in ways],
        "labels": [e.plain() for e in told],
        "fitted_on": None if near is None else {"file": near.name, "texts": near.texts},
        "checks": [{**asdict(c), "sentence": str(c)} for c in checks],
        "verdicts": dict(Counter(c.verdict for c in checks)),
        "settings": config.plain(),
    }


def failed(result: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each check that failed.

    Args:
        result: What `audited` returned.
    """
    return [c["sentence"] for c in result["checks"] if c["verdict"] == "fails"]


def _members(scorers: Scorers, x: Completions, scores: Floats, seed: int) -> dict[str, Any] | None:
    """How the members part under best-of-n, and the turning point that this predicts; None where
    there is one reward without members.
    """
    columns = scorers.members_columns()
    names = [c.name for c in columns]
    if len(names) < 2:
        return None
    wide = torch.from_numpy(x.wide(scorers.members(scores)))
    try:
        parted = parting(wide, seed=seed)
        if len({c.of for c in columns}) > 1:
            said = [*parted.lines(), _SEVERAL]
            return {"names": names, "parting": parted.record(), "turning": None, "says": said}
        turn = predict(parting(wide, proxy=0, seed=seed))
    except InputError as why:  # such as a member that tells none apart
        return {"names": names, "parting": None, "turning": None, "says": [f"Not measured: {why}."]}
    return {
        "names": names,
        "parting": parted.record(),
        "turning": turn.record(),
        "says": [
            *parted.lines(),
            f"Trained against {names[0]}: {turn.lines()[0]}",
            *turn.lines()[1:],
        ],
    }


def _probe_checks(effects: Sequence[Probed], config: AuditConfig) -> list[Check]:
    limits = {"max_effect": config.max_effect, "min_fall": config.min_fall}
    return [of_probe(e.probe, e.reward, e.effect.change, **limits) for e in effects if not e.member]


def _length_checks(sizes: Sequence[Length], config: AuditConfig) -> list[Check]:
    most = config.max_length_correlation
    if most is None:
        return []
    flag = "--max-length-correlation"
    return [
        of_number("correlation with length", s.reward, s.correlation, flag, most=most)
        for s in sizes
        if not s.member
    ]


def _word_checks(words: Sequence[FoundWord], config: AuditConfig) -> list[Check]:
    return [
        of_number(
            f"found word '{cut(w.word)}'",
            w.reward,
            w.effect.change,
            "--max-effect",
            most=config.max_effect,
        )
        for w in words
    ]


def _label_checks(told: Sequence[Labelled], config: AuditConfig) -> list[Check]:
    least = config.min_accuracy
    if least is None:
        return []
    return [
        of_number(
            f"accuracy on {e.on}", e.reward, e.evaluation.accuracy, "--min-accuracy", least=least
        )
        for e in told
    ]


def _stability_checks(ways: Sequence[Stability], config: AuditConfig) -> list[Check]:
    most = config.max_changed_choices
    if most is None:
        return []
    flag = "--max-changed-choices"
    return [of_number(f"choices {w.way}", w.reward, w.changed, flag, most=most) for w in ways]
