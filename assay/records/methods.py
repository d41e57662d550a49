"""Groups runs: which are one method, and which methods may be drawn on one axis."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast

from assay.errors import InputError
from assay.records.runs import Run
from assay.records.same_world import SameWorld, flat, without_seeds
from assay.records.seals import say_changed

log = logging.getLogger("assay")
_SHORT = {"watch.by": "watch", "fit.name": "fit"}
Reading = dict[str, Any]


@dataclass
class Track:
    """One curve: the readings of a run, or of one tag of it where a step yields several policies.

    Attributes:
        run: The run.
        readings: The curve, in order of reading.
        best: The second reading of the best checkpoint, None where there is none.
        tag: The tag, "" for a whole run.
    """

    run: Run
    readings: list[Reading]
    best: Reading | None
    tag: str = ""

    @cached_property
    def samples(self) -> list[dict[str, Any]]:
        """The completions that were stored; read when they are asked for."""
        rows = cast(list[dict[str, Any]], self.run.samples())
        return [
            s for s in rows if not self.tag or s["step"] == 0 or str(s["tag"] or "") == self.tag
        ]

    @property
    def about(self) -> dict[str, Any]:
        """run.json as a dict."""
        return self.run.about

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.run.folder.name or str(self.run.folder)

    @property
    def everything(self) -> list[Reading]:
        """The readings with the second reading of the best checkpoint last."""
        return self.readings + ([self.best] if self.best else [])

    @property
    def pair(self) -> str:
        """What two runs must share to be paired: the run's seed and the world's."""
        return json.dumps([self.run.record.seed, self.run.record.world.get("seed")])

    @cached_property
    def seeds(self) -> dict[str, Any]:
        """Every seed of the run, by dotted name; runs of a method that share all repeat it."""
        r = self.run.record
        every = flat(
            {"run": r.seed, "world": r.world, "loop": r.loop, "fit": r.fit, "own": r.arguments}
        )
        return {k: v for k, v in every.items() if k == "run" or k.split(".")[-1] == "seed"}


@dataclass
class Method:
    """Runs that differ only in their seed.

    Attributes:
        recipe: The recipe's name.
        settings: The settings that its runs share, by dotted name.
        tracks: Its curves.
        label: How it is printed.
        place: Its place among the methods of its ground.
    """

    recipe: str
    settings: dict[str, Any]
    tracks: list[Track] = field(default_factory=list)
    label: str = ""
    place: int = 0

    @property
    def best_of_n(self) -> bool:
        """Whether its readings are best-of-n at several n."""
        return any(re.fullmatch(r"n=\d+", str(r["tag"])) for t in self.tracks for r in t.readings)


@dataclass
class Ground:
    """Methods in one world, with one gold: what may be drawn on one axis.

    Attributes:
        world: The world's name and arguments, by dotted name, without seeds.
        gold_kind: The kind of gold, None where there is none.
        golds: Names of the golds.
        methods: Its methods.
        title: How it is printed.
    """

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
        """The curves of all methods."""
        return [t for m in self.methods for t in m.tracks]

    def read(self, key: str) -> bool:
        """Whether anything here was measured under this key."""
        return any(r.get(key) is not None for t in self.tracks for r in t.everything)


def found(folders: Iterable[Path | str]) -> list[Path]:
    """Return run folders, each once, in the order given.

    Args:
        folders: Run folders, or folders that hold some.

    Raises:
        InputError: There is none.
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
            "no run folder was given; name at least one, such as `assay report runs/*`"
        )
    return list(runs)


def tracks_of(run: Run) -> list[Track]:
    """Return a run's curves, each from the reference on.

    Args:
        run: The run.

    Returns:
        One curve, or one a tag where a step has several readings.
    """
    every = cast(list[Reading], run.readings())
    best = next((r for r in reversed(every) if r["tag"] == "best"), None)
    line = [r for r in every if r["tag"] != "best"]
    start, rest = [r for r in line if r["step"] == 0][:1], [r for r in line if r["step"] > 0]
    several = len({r["step"] for r in rest}) < len(rest)
    tags = list(dict.fromkeys(str(r["tag"] or "") for r in rest))
    if not several or all(re.fullmatch(r"n=\d+", t) for t in tags):
        return [Track(run, start + rest, best)]
    return [
        Track(run, start + [r for r in rest if str(r["tag"] or "") == t], None, t) for t in tags
    ]


def grounds(folders: Sequence[Path | str], per_seed: Sequence[str] = ()) -> list[Ground]:
    """Return runs by world and method, in the order of the folders.

    Args:
        folders: Run folders, or folders that hold some.
        per_seed: Arguments whose files go with the seed, see `SameWorld`.

    Raises:
        InputError: There is no run, or a record is damaged.
    """
    same_world = SameWorld(per_seed)
    worlds: dict[str, Ground] = {}
    methods: dict[tuple[str, str], Method] = {}
    for folder in found(folders):
        run = Run.open(folder)
        say_changed(run.about, run.folder, ["readings.jsonl"])
        about = run.record
        world, where = same_world.of(run)
        ground = worlds.setdefault(where, Ground(world, about.gold_kind, list(about.golds)))
        own = {"loop": about.loop, "fit": about.fit, "watch": about.watch}
        settings = without_seeds(
            flat({**about.arguments, **{k: v for k, v in own.items() if v is not None}})
        )
        for track in tracks_of(run):
            what = json.dumps([about.recipe, about.path, settings, track.tag], sort_keys=True)
            if (where, what) not in methods:
                methods[where, what] = Method(
                    about.recipe or track.name, {**settings, "tag": track.tag}
                )
                ground.methods.append(methods[where, what])
            _add(methods[where, what].tracks, track)
    same_world.all_there()
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


def _add(tracks: list[Track], track: Track) -> None:
    """Add a curve to a method; of two with all seeds alike, the one with more readings stays.

    Seeds and arguments determine every number, so a repeat is no further seed: counted twice, it
    would narrow the interval over seeds.
    """
    same = next((i for i, t in enumerate(tracks) if t.seeds == track.seeds), None)
    if same is None:
        tracks.append(track)
        return
    pair = [tracks[same], track]
    pair.sort(key=lambda t: -len(t.everything))  # a stable sort: of two alike the first stays
    tracks[same] = pair[0]
    _left_out(pair[1].run.folder, pair[0].run.folder)


@cache
def _left_out(repeat: Path, first: Path) -> None:
    """Say so, once: a report groups its runs several times."""
    log.warning("assay: %s repeats %s and is left out", repeat, first)


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
    # beside a method that is not watched it is enough to say who watches, and beside one with the
    # world's own reward models who fitted them
    for name in _SHORT:
        if any(name not in s for s in settings):
            prefix = name.partition(".")[0] + "."
            keys = [k for k in keys if not k.startswith(prefix) or k == name]
    said = {k: _SHORT.get(k, k.split(".")[-1]) for k in keys}
    return [
        " ".join(f"{said[k]}={s[k]}" for k in keys if s.get(k) not in (None, "")) for s in settings
    ]
