"""Run folders in, comparable curves out: which runs are one method, and which methods may share an
axis.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assay.errors import InputError
from assay.records.runs import Run

_NOT_SETTINGS = ("world", "run", "inputs", "versions", "machine", "paper", "cost", "result")
_EPHEMERAL = ("seed",)
Reading = dict[str, Any]


@dataclass
class Track:
    """One curve: the readings of a run, or of one tag of it where a step yields several policies."""

    run: Run
    readings: list[Reading]
    chosen: Reading | None
    samples: list[dict[str, Any]]
    tag: str = ""

    @property
    def about(self) -> dict[str, Any]:
        return self.run.about

    @property
    def name(self) -> str:
        return self.run.folder.name or str(self.run.folder)

    @property
    def everything(self) -> list[Reading]:
        """The readings with the re-reading of the chosen checkpoint last."""
        return self.readings + ([self.chosen] if self.chosen else [])

    @property
    def pair(self) -> str:
        """What two runs must share to be paired: the run's seed and the world's."""
        loop, world = self.about.get("loop") or {}, self.about.get("world") or {}
        return json.dumps([self.about.get("seed", loop.get("seed")), world.get("seed")])


@dataclass
class Method:
    """Runs that differ in nothing but their seed."""

    recipe: str
    settings: dict[str, Any]
    tracks: list[Track] = field(default_factory=list)
    label: str = ""
    place: int = 0

    @property
    def best_of_n(self) -> bool:
        return any(re.fullmatch(r"n=\d+", str(r["tag"])) for t in self.tracks for r in t.readings)


@dataclass
class Ground:
    """Methods in one world, with one gold: what may stand on one axis."""

    world: dict[str, Any]
    gold_kind: str | None
    golds: list[str]
    methods: list[Method] = field(default_factory=list)
    title: str = ""

    @property
    def gold_name(self) -> str:
        """A held-out model is never called gold."""
        return "held-out model" if "held" in str(self.gold_kind) else "gold"

    @property
    def tracks(self) -> list[Track]:
        return [t for m in self.methods for t in m.tracks]

    def read(self, key: str) -> bool:
        """Whether anything here was measured under this key."""
        return any(r.get(key) is not None for t in self.tracks for r in t.everything)


def found(folders: Iterable[Path | str]) -> list[Path]:
    """The run folders among `folders`, and inside those that are none themselves; each once, in the
    order given.
    """
    runs: dict[Path, None] = {}
    for folder in map(Path, folders):
        inside = (
            []
            if (folder / "run.json").exists()
            else sorted(p.parent for p in folder.rglob("run.json"))
        )
        runs.update(dict.fromkeys(inside or [folder]))
    if not runs:
        raise InputError(
            "there is no run to report on: name at least one run folder, as in `assay report "
            "runs/*`"
        )
    return list(runs)


def tracks_of(run: Run) -> list[Track]:
    """A run's curves: one, or one for each tag if a step has several readings, each from the same
    reference.
    """
    every, samples = run.readings(), run.samples()
    chosen = next((r for r in reversed(every) if r["tag"] == "best"), None)
    line = [r for r in every if r["tag"] != "best"]
    start, rest = [r for r in line if r["step"] == 0][:1], [r for r in line if r["step"] > 0]
    several = len({r["step"] for r in rest}) < len(rest)
    tags = list(dict.fromkeys(str(r["tag"] or "") for r in rest))
    if not several or all(re.fullmatch(r"n=\d+", t) for t in tags):
        return [Track(run, start + rest, chosen, samples)]
    return [
        Track(
            run,
            start + [r for r in rest if str(r["tag"] or "") == t],
            None,
            [s for s in samples if s["step"] == 0 or str(s["tag"] or "") == t],
            t,
        )
        for t in tags
    ]


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, keys joined by dots."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        k: v
        for name, inner in value.items()
        for k, v in flat(inner, f"{prefix}.{name}" if prefix else str(name)).items()
    }


def _without_seeds(settings: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in settings.items() if k.split(".")[-1] not in _EPHEMERAL}


def grounds(folders: Sequence[Path | str]) -> list[Ground]:
    """Everything to report on, by world and method, in the order of the folders."""
    worlds: dict[str, Ground] = {}
    methods: dict[tuple[str, str], Method] = {}
    for folder in found(folders):
        run = Run.open(folder)
        about = run.about
        world = _without_seeds(flat(about.get("world") or {}))
        data = {
            p: d for p, d in (about.get("inputs") or {}).items() if p in map(str, world.values())
        }
        where = json.dumps(
            [world, data, about.get("gold_kind"), about.get("golds")], sort_keys=True
        )
        ground = worlds.setdefault(
            where, Ground(world, about.get("gold_kind"), list(about.get("golds") or []))
        )
        settings = {
            k: v for k, v in about.items() if isinstance(v, dict) and k not in _NOT_SETTINGS
        }
        settings = _without_seeds(flat({**settings.pop("arguments", {}), **settings}))
        for track in tracks_of(run):
            what = json.dumps(
                [about.get("recipe"), about.get("path"), settings, track.tag], sort_keys=True
            )
            if (where, what) not in methods:
                methods[where, what] = Method(
                    str(about.get("recipe") or track.name), {**settings, "tag": track.tag}
                )
                ground.methods.append(methods[where, what])
            methods[where, what].tracks.append(track)
    found_grounds = list(worlds.values())
    for ground in found_grounds:
        _label(ground.methods)
        ground.title = str(ground.world.get("name") or "a world without a name")
    for same in {g.title for g in found_grounds}:
        alike = [g for g in found_grounds if g.title == same]
        if len(alike) > 1:
            kinds = [{**g.world, "gold": g.gold_kind or "none"} for g in alike]
            for g, more in zip(alike, _differing(kinds), strict=True):
                g.title = f"{same} ({more or 'other files or golds'})"
    return found_grounds


def _label(methods: list[Method]) -> None:
    """The recipe's name, with the settings in which methods of one recipe differ."""
    for place, m in enumerate(methods):
        m.place, m.label = place, m.recipe
    for recipe in {m.recipe for m in methods}:
        alike = [m for m in methods if m.recipe == recipe]
        for m, more in zip(alike, _differing([m.settings for m in alike]), strict=True):
            m.label = f"{recipe} {more}".strip()
    for m in methods:
        if [n.label for n in methods].count(m.label) > 1:
            m.label = f"{m.label} ({m.tracks[0].name})"


def _differing(settings: list[dict[str, Any]]) -> list[str]:
    keys = [
        k
        for k in dict.fromkeys(k for s in settings for k in s)
        if len({json.dumps(s.get(k), sort_keys=True) for s in settings}) > 1
    ]
    if any(
        "watch.by" not in s for s in settings
    ):  # beside one that is not watched it is enough to say who watches
        keys = [k for k in keys if not k.startswith("watch.") or k == "watch.by"]
    if any(
        "fit.name" not in s for s in settings
    ):  # and beside one with the world's own judges, who fitted them
        keys = [k for k in keys if not k.startswith("fit.") or k == "fit.name"]
    said = {k: {"watch.by": "watch", "fit.name": "fit"}.get(k, k.split(".")[-1]) for k in keys}
    return [
        " ".join(f"{said[k]}={s[k]}" for k in keys if s.get(k) not in (None, "")) for s in settings
    ]
