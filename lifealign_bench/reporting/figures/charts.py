"""The kinds of figures as charts of Vega-Lite: each is a few layers over one flat table.

Source of the grammar: Satyanarayan et al. 2017, "Vega-Lite: A Grammar of Interactive Graphics"; its version 6 is
described at https://vega.github.io/vega-lite/docs/.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from lifealign_bench.reporting.figures.figure import Chart, Datum, Spec, Style
from lifealign_bench.reporting.figures.labels import placed
from lifealign_bench.reporting.figures.palette import STRONGEST
from lifealign_bench.util.text import DASH, break_name, number

WIDTH = 480  # of most charts, in CSS pixels: one on a phone, two beside each other elsewhere
_FIT: Spec = {"width": WIDTH, "autosize": {"type": "fit", "contains": "padding"}}
_INTERVAL = {"value": "value", "low": "low (95 %)", "high": "high (95 %)"}
_POINT = {"opacity": 1, "strokeWidth": 1.4}
_PLOT = (WIDTH - 80.0, 220.0)  # of points, without axes, about


def _mark(kind: str, style: Spec, **channels: Any) -> Spec:
    """A layer; a channel's text is the name of a column."""
    encoding = {name: {"field": channel} if isinstance(channel, str) else channel for name, channel in channels.items()}
    return {"mark": {"type": kind, **style}, "encoding": encoding}


def _number(field: str, title: str | None = None, **scale: Any) -> Spec:
    return {"field": field, "type": "quantitative", "title": title, "scale": {"zero": False, **scale}}


def _name(field: str, title: str | None = None, **axis: Any) -> Spec:
    """Names in the order of the rows."""
    return {"field": field, "type": "ordinal", "sort": None, "title": title, "axis": axis}


def _names(rows: Sequence[Datum], key: str) -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows))


def _told(rows: Sequence[Datum], *heads: str, numbers: Sequence[str] = ("value",)) -> Spec:
    """``rows`` as data, each with what is shown of its mark while the pointer is on it: names, numbers, intervals."""

    def interval(row: Datum, key: str) -> str:
        prefix = "" if key == "value" else f"{key}_"
        value, low, high = (row.get(name) for name in (key, f"{prefix}low", f"{prefix}high"))
        ends = f" [{low:.2f}, {high:.2f}]" if isinstance(low, float) and isinstance(high, float) else ""
        return f"{value:.2f}{ends}" if isinstance(value, float) else DASH

    def said(row: Datum) -> str:
        names = ", ".join(row[head] for head in heads if row.get(head))
        return f"{names}: {'; '.join(interval(row, key) for key in numbers)}"

    return {"values": [{**row, "told": said(row)} for row in rows]}


def lines(x_title: str, y_title: str, limits: tuple[float, float] | None = None) -> Chart:
    """Lines over ordered places with whiskers; neighbours are moved apart a little so that equal points stay visible.
    A row: ``series``, ``place``, ``value``, ``low``, ``high``; ``own``: drawn larger.

    Args:
        limits: ends of the values' axis, or None for what is there.
    """

    def draw(rows: Sequence[Datum], style: Style) -> Spec:
        shown, places = _names(rows, "series"), _names(rows, "place")
        by = style.by("series", shown, style.alone)
        short = len(places) > 6 and any(" " in place for place in places)
        texts = [[name.split(" ")[0]] if short else break_name(name, 11).split("\n") for name in places]
        apart = min(0.03, 0.4 / len(shown))
        shifts = {name: apart * (i - (len(shown) - 1) / 2) for i, name in enumerate(shown)}
        at = [places.index(row["place"]) + shifts[row["series"]] for row in rows]
        moved = [{**row, "at": x, "line": row["series"]} for row, x in zip(rows, at, strict=True)]
        axis = {"values": list(range(len(places))), "tickCount": len(places), "labelOverlap": False, "grid": False}
        axis["labelExpr"] = f"{json.dumps(texts)}[datum.value]"
        x = _number("at", x_title, domain=[-0.4, len(places) - 0.6], nice=False) | {"axis": axis}
        y = _number("value", y_title, **({"domain": list(limits)} if limits else {}))
        size = {"condition": {"test": "datum.own", "value": 110}, "value": 36}
        line = {"strokeWidth": 1.8, "invalid": "break-paths-show-domains"}
        layers = [
            _mark("line", line, stroke=by["stroke"], strokeDash=by["strokeDash"] | {"field": "line", "legend": None}),
            _mark("rule", {"opacity": 0.6}, y="low", y2="high", stroke=by["stroke"]),
            _mark("point", _POINT, **style.marks("series", shown, style.alone), size=size, description="told"),
        ]
        data = _told(moved, "series", "place")
        height = 260 + 20 * math.ceil(len(shown) / 3) * style.alone
        return _FIT | {"height": height, "data": data, "encoding": {"x": x, "y": y}, "layer": layers}

    return Chart("lines", {"series": "series", "place": x_title, **_INTERVAL}, draw)


def points(x_title: str, y_title: str, log: bool = False, path: bool = False) -> Chart:
    """Points with whiskers both ways and their names beside them. A row: ``name``, ``x`` and ``y`` with ``_low`` and
    ``_high``, ``note``; ``at``: its place on the path.

    Args:
        log: the x axis is logarithmic.
        path: the points are joined in their order.
    """

    def draw(rows: Sequence[Datum], style: Style) -> Spec:
        marks = style.marks("name", _names(rows, "name"))
        x = _number("x", x_title, **({"type": "log", "nice": False} if log else {}))
        y = _number("y", y_title)
        trail = {"stroke": style.look["muted"], "strokeDash": [3, 3], "strokeWidth": 1}
        beside = {key: {"expr": f"datum.{key}"} for key in ("dx", "dy", "align")}
        ends = {"x2Offset": {"expr": "datum.dx"}, "y2Offset": {"expr": "datum.dy"}, "strokeWidth": 0.7}
        leader = _mark("rule", ends, x=x, y=y, x2="x", y2="y", stroke=marks["stroke"])
        layers = [
            *([_mark("line", trail, order={"field": "at", "type": "ordinal"})] if path else []),
            _mark("rule", {"opacity": 0.5}, x=x | {"field": "x_low"}, x2="x_high", stroke=marks["stroke"]),
            _mark("rule", {"opacity": 0.5}, y=y | {"field": "y_low"}, y2="y_high", stroke=marks["stroke"]),
            leader | {"transform": [{"filter": "datum.line"}]},
            _mark("point", _POINT | {"size": 80}, **marks, description="told"),
            _mark("text", beside | {"stroke": style.look["surface"], "strokeWidth": 3}, text="name"),
            _mark("text", beside, text="name", color=marks["stroke"]),
        ]
        data = _told(placed(rows, *_PLOT, log), "name", "note", numbers=("x", "y"))
        return _FIT | {"height": 300, "data": data, "encoding": {"x": x, "y": y}, "layer": layers}

    ends = {"": "", "_low": " low", "_high": " high"}
    titles = {"x": x_title, "y": y_title}
    heads = {axis + end: title + head for axis, title in titles.items() for end, head in ends.items()}
    return Chart("points", {"name": "name", "note": "of", **heads}, draw)


def heat(row_head: str, column_head: str, error_head: str = "standard error", digits: int = 1) -> Chart:
    """A table of numbers in colours. A row: ``row``, ``column``, ``value``, ``error``, ``n``; ``tint``: from -1 to 1,
    how strong its colour is below or above the centre; ``current``: outlined."""

    def draw(rows: Sequence[Datum], style: Style) -> Spec:
        wide = min(max((WIDTH - 110) / len(_names(rows, "column")), 56.0), 110.0)
        plain: Spec = {"domain": False, "ticks": False, "grid": False}
        folds = {row["column"]: break_name(row["column"], int(wide / 6.5)).split("\n") for row in rows}
        most = max(map(len, folds.values()))
        folded = [[""] * (most - len(fold)) + fold for fold in folds.values()]
        heads = {"labelExpr": f"{json.dumps(folded)}[round(datum.index * {len(folds) - 1})]", "labelBaseline": "bottom"}
        x = _name("column", **plain, **heads, orient="top", labelPadding=4 + 13 * (most - 1), labelLimit=wide)
        y = _name("row", **plain, labelLimit=170)
        look = style.look
        plain_tint: Spec = {"field": "tint", "type": "quantitative", "legend": None}
        if style.alone:
            ends = {
                "domain": [-1 / STRONGEST, 0, 1 / STRONGEST],
                "range": [look[k] for k in ("low", "surface", "high")],
            }
            paint = {"fill": plain_tint | {"scale": ends | {"interpolate": "rgb"}}}
        else:
            # A name of the page's style cannot be mixed with another; it can be more or less transparent.
            hue = {"condition": {"test": "datum.tint < 0", "value": look["low"]}, "value": look["high"]}
            scale = {"domain": [-1, 0, 1], "range": [STRONGEST, 0, STRONGEST]}
            paint = {"fill": hue, "fillOpacity": plain_tint | {"scale": scale}}
        cell = {"stroke": look["surface"], "strokeWidth": 2}
        outline = _mark("rect", {"fill": None, "stroke": look["now"], "strokeWidth": 2})
        layers = [
            _mark("rect", cell, **paint, description="told"),
            outline | {"transform": [{"filter": "datum.current"}]},
            _mark("text", {"fontSize": 13, "dy": -6}, text="shown"),
            _mark("text", {"fontSize": 10.5, "dy": 9}, text="sure"),
        ]
        data = {"values": [_cell(row, digits) for row in rows]}
        steps = {"width": {"step": wide}, "height": {"step": 36}}
        return {"data": data, **steps, "encoding": {"x": x, "y": y}, "layer": layers}

    heads = {"row": row_head, "column": column_head, "value": "value", "error": error_head, "n": "n"}
    return Chart("heat", heads, draw)


def _cell(row: Datum, digits: int) -> Datum:
    """What is drawn of a row."""
    value, error, tint = (v if isinstance(v := row.get(k), float) else math.nan for k in ("value", "error", "tint"))
    shown, sure = number(value, digits), f"±{number(error, digits)}" if math.isfinite(error) else ""
    said = f"{shown} {sure}, n = {row['n']}" if math.isfinite(value) else "not evaluated"
    more: dict[str, Any] = {"shown": shown, "sure": sure, "tint": tint if math.isfinite(tint) else 0.0}
    return {**row, **more, "told": f"{row['row']}, {row['column']}: {said}"}


def boxes(x_title: str, y_title: str, zero: bool = False) -> Chart:
    """Distributions over ordered places, a panel a task, on one axis. A row: ``panel``, ``place``, ``p5``, ``p25``,
    ``p50``, ``p75``, ``p95``, ``mean``, ``n``. Places are told by their first word, the stage's number.

    Args:
        zero: a line is drawn at 0.
    """

    def draw(rows: Sequence[Datum], style: Style) -> Spec:
        panels = _names(rows, "panel")
        columns = min(len(panels), 3)
        by = style.by("panel", panels)
        x = _name("place", x_title, labelExpr="split(datum.label, ' ')[0]")
        box, muted = {"width": {"band": 0.6}, "fillOpacity": 0.25}, {"value": style.look["muted"]}
        layers = [
            *([_mark("rule", {}, y={"datum": 0}, x={"value": 0}, x2={"value": "width"}, stroke=muted)] if zero else []),
            _mark("rule", {}, y=_number("p5", y_title), y2="p95"),
            _mark("bar", box, y=_number("p25"), y2="p75", fill=by["stroke"], description="told"),
            _mark("tick", {"thickness": 1.4, "size": 12}, y=_number("p50"), fill=by["stroke"]),
            _mark("point", {"size": 14, "opacity": 1}, y=_number("mean"), fill=by["stroke"]),
        ]
        size = {"width": (WIDTH - 60) / columns - 14, "height": 140}
        return {
            "data": _told(rows, "panel", "place", numbers=("p50", "p25", "p75")),
            "facet": {"field": "panel", "type": "nominal", "sort": panels, "header": {"title": None}},
            "columns": columns,
            "spacing": 14,
            "spec": {**size, "encoding": {"x": x, "stroke": by["stroke"]}, "layer": layers},
        }

    shares = {"p5": "5 %", "p25": "25 %", "p50": "median", "p75": "75 %", "p95": "95 %"}
    return Chart("boxes", {"panel": "task", "place": x_title, **shares, "mean": "mean", "n": "n"}, draw)


def intervals() -> Chart:
    """A row for each name with its number and interval, in panels beside each other with an axis of their own. A row:
    ``name``, ``panel``, ``value``, ``low``, ``high``, ``even``: where a line is drawn for comparison, or nothing."""

    def draw(rows: Sequence[Datum], style: Style) -> Spec:
        names, panels = _names(rows, "name"), _names(rows, "panel")
        marks = style.marks("name", names)
        x = _number("value")
        even = _mark("rule", {"stroke": style.look["muted"], "strokeDash": [4, 3]}, x=_number("even"), y={})
        layers = [
            even | {"transform": [{"filter": "isValid(datum.even)"}]},
            _mark("rule", {"strokeWidth": 3, "opacity": 0.6}, x=_number("low"), x2="high", stroke=marks["stroke"]),
            _mark("point", _POINT | {"size": 60}, x=x, **marks, description="told"),
        ]
        size = {"width": (2 * WIDTH - 120) / len(panels) - 20, "height": {"step": 22}}
        parts = [
            {
                **size,
                "title": {"text": panel, "fontSize": 12, "fontWeight": "normal", "color": style.look["ink"]},
                "transform": [{"filter": {"field": "panel", "equal": panel}}],
                "encoding": {"y": _name("name", ticks=False, labels=not k, labelLimit=170) | {"sort": names}},
                "layer": layers,
            }
            for k, panel in enumerate(panels)
        ]
        return {"data": _told(rows, "name", "panel"), "hconcat": parts}

    return Chart("intervals", {"name": "method", "panel": "metric", **_INTERVAL}, draw)


def orders(x_title: str) -> Chart:
    """A row for each name: every value, their mean, and the mean's neighbourhood of one standard deviation. A row:
    ``name``, ``label``, ``value``, ``mean``, ``deviation``."""

    def draw(rows: Sequence[Datum], style: Style) -> Spec:
        names = _names(rows, "name")
        by = style.by("name", names)
        x = _number("value", x_title)
        once = {key: x | {"field": key, "aggregate": "max"} for key in ("mean", "from", "to")}
        layers = [
            _mark("rule", {"strokeWidth": 10, "opacity": 0.2}, x=once["from"], x2={"field": "to", "aggregate": "max"}),
            _mark("tick", {"thickness": 2.4, "bandSize": 18}, x=once["mean"]),
            _mark("point", _POINT | {"size": 45}, x=x, fill=by["fill"], shape=by["shape"], description="told"),
        ]
        ends = {"from": "datum.mean - datum.deviation", "to": "datum.mean + datum.deviation"}
        encoding = {"y": _name("name") | {"sort": names}, "stroke": by["stroke"]}
        data = {"data": _told(rows, "name", "label"), "transform": [{"calculate": v, "as": k} for k, v in ends.items()]}
        return _FIT | data | {"height": 60 + 28 * len(names), "encoding": encoding, "layer": layers}

    heads = {"name": "name", "label": "order", "value": x_title, "mean": "mean", "deviation": "standard deviation"}
    return Chart("orders", heads, draw)


def parts(x_title: str) -> Chart:
    """A bar for each name, made of parts one behind the other. A row: ``name``, ``part``, ``value``."""

    def draw(rows: Sequence[Datum], style: Style) -> Spec:
        names, shown = _names(rows, "name"), _names(rows, "part")
        fill = style.by("part", shown)["fill"] | {"legend": {"title": None}}
        x = {"field": "value", "type": "quantitative", "title": x_title, "stack": "zero"}
        ordered = [{**row, "at": shown.index(row["part"])} for row in rows]
        plain = {"stroke": style.look["surface"]}
        bar = _mark("bar", plain, y=_name("name"), x=x, fill=fill, order="at", description="told")
        return _FIT | bar | {"height": 90 + 24 * len(names), "data": _told(ordered, "name", "part")}

    return Chart("parts", {"name": "name", "part": "part", "value": x_title}, draw)
