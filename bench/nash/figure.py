"""The figure of docs/nash.md: how far each method's last policy is, after queries and iterations.

It is drawn from bench/results/nash.json alone, in the style and the colours of the report's charts,
so that one file serves light and dark pages.
"""

from __future__ import annotations

import math
from typing import Any

from assay.report.chart import Chart
from assay.report.vega import CONFIG, SCHEMA
from bench.nash.methods import METHODS

TITLE = "How far the last policy is, by method"
ENDS = {"exploitability": (1e-4, 1.0), "kl": (1e-8, 30.0)}  # a curve ends at the bottom
ROWS = (
    ("exploitability, by queries of P·π", "exploitability", 0.1, False),
    ("exploitability, by iterations", "exploitability", 0.1, True),
    ("KL(π*‖π) in nats at τ 0.01, by queries", "kl", 0.01, False),
)
COLOURS = [f"var(--c{i})" for i in range(len(METHODS))]
WIDTH, HEIGHT = 172, 150


def tuned(found: list[dict[str, Any]], game: str, tau: float, name: str) -> dict[str, Any]:
    """A method's record with the step that is best at the end.

    Methods that aim at the regularised Nash policy are tuned by their distance to it: the plain
    exploitability of a policy that only passes by may be lower. Ties go to what was nearer before.

    Args:
        found: What `bench.nash` measured.
        game: The game.
        tau: Strength of the KL.
        name: The method.
    """
    of = "kl" if METHODS[name].regularised else "exploitability"
    mine = [r for r in found if (r["game"], r["tau"], r["method"]) == (game, tau, name)]

    def late_first(r: dict[str, Any]) -> list[float]:
        return [math.inf if v is None else max(v, 0.0) for v in reversed(r[of])]

    return min(mine, key=late_first)


def drawn_rows(found: list[dict[str, Any]], games: tuple[str, ...]) -> list[dict[str, Any]]:
    """What is drawn, one row a point: panel, game, method, step, place and height.

    Args:
        found: What `bench.nash` measured.
        games: The games, a column each.
    """
    out = []
    for panel, of, tau, iterations in ROWS:
        floor = ENDS[of][0]
        for game in games:
            for name, method in METHODS.items():
                if of == "kl" and not method.regularised:
                    continue
                record = tuned(found, game, tau, name)
                for queries, value in zip(record["queries"], record[of], strict=True):
                    if value is None:
                        continue
                    x = queries / method.queries if iterations else queries
                    y = max(value, floor)
                    row = {"panel": panel, "game": game, "method": name, "x": x, "y": y}
                    out.append({**row, "step": record["step"]})
                    if y == floor:
                        break
    return out


def figure(found: list[dict[str, Any]], games: tuple[str, ...], limits: dict[str, float]) -> Chart:
    """Three rows of panels, a column for each game.

    Args:
        found: What `bench.nash` measured.
        games: The games.
        limits: Exploitability of each game's regularised Nash policy at τ 0.1.
    """
    rows = drawn_rows(found, games)
    last = {(r["panel"], r["game"], r["method"]): r for r in rows}
    said = "; ".join(
        f"{game}: "
        + ", ".join(f"{name} {last[ROWS[0][0], game, name]['y']:.1e}" for name in METHODS)
        for game in games
    )
    table = [
        *rows,
        *({"panel": ROWS[k][0], "game": g, "limit": v} for k in (0, 1) for g, v in limits.items()),
    ]
    spec = {
        "$schema": SCHEMA,
        "background": None,
        "data": {"values": table},
        "config": {
            **CONFIG,
            "header": {"labelColor": "var(--ink)", "titleColor": "var(--ink)", "labelFontSize": 12},
        },
        "vconcat": [_row(panel, games, first=k == 0) for k, (panel, *_) in enumerate(ROWS)],
        "spacing": 26,
    }
    text = f"Exploitability after 1,000 queries, tuned steps. {said}. The tables below hold more."
    return Chart("nash", TITLE, text, spec)


def _row(panel: str, games: tuple[str, ...], *, first: bool) -> dict[str, Any]:
    legend = {
        "columns": 3,
        "columnPadding": 60,
        "title": None,
        "symbolType": "stroke",
        "symbolStrokeWidth": 3,
    }
    colour = {
        "field": "method",
        "type": "nominal",
        "scale": {"domain": list(METHODS), "range": COLOURS},
        "legend": {**legend, "labelLimit": 260} if first else None,
    }
    return {
        "title": {"text": panel, "color": "var(--ink)", "fontSize": 13, "anchor": "start"},
        "hconcat": [_panel(panel, game, colour, left=k == 0) for k, game in enumerate(games)],
        "spacing": 14,
    }


def _panel(panel: str, game: str, colour: dict[str, Any], *, left: bool) -> dict[str, Any]:
    queries = "queries" in panel
    low, high = ENDS["kl" if panel.startswith("KL") else "exploitability"]
    whole = range(round(math.log10(low)), 1, 1 if low > 1e-5 else 2)
    x = {
        "field": "x",
        "type": "quantitative",
        "scale": {"type": "log", "domain": [10 if queries else 5, 1000]},
        "axis": {
            "title": f"{game} – {'queries' if queries else 'iterations'}",
            "values": [10, 100, 1000],
            "grid": False,
        },
    }
    y = {
        "field": "y",
        "type": "quantitative",
        "scale": {"type": "log", "domain": [low, high]},
        "axis": {
            "title": None,
            "values": [10.0**e for e in whole],
            "format": ".0e",
            "labels": left,
        },
    }
    here = f"datum.panel == '{panel}' && datum.game == '{game}'"
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "transform": [{"filter": here}],
        "layer": [
            {
                "transform": [{"filter": "isValid(datum.limit)"}],
                "mark": {"type": "rule", "strokeDash": [3, 3], "color": "var(--soft)"},
                "encoding": {"y": {**y, "field": "limit"}},
            },
            {
                "transform": [{"filter": "isValid(datum.y)"}],
                "mark": {"type": "line", "strokeWidth": 2, "point": {"size": 22}},
                "encoding": {"x": x, "y": y, "color": colour},
            },
        ],
    }
