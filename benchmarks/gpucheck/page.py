"""The result as Markdown: a section of docs/performance.md, or a page of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.gpucheck.part import FAILED, LEFT_OUT, OK, TIMED_OUT, WRONG
from benchmarks.gpucheck.parts import PARTS

COMMAND = "`make gpu-check` (`python benchmarks/gpu_check.py`)"
NOT_YET = f"Not yet run on a GPU: {COMMAND} does it, in eight minutes at most and without a network."
_MARKS = {
    OK: "holds",
    WRONG: "**does not hold**",
    FAILED: "**failed**",
    TIMED_OUT: "**not done**",
    LEFT_OUT: "left out",
}


def section(result: Mapping[str, Any] | None, level: int = 2) -> str:
    """The whole result, under a heading of ``level``; without one, or of a processor alone, that it is still to do."""
    heads = "#" * level
    if result is None or result["machine"].get("device") != "cuda":
        return f"{heads} On a GPU\n\n{NOT_YET}"
    return f"{heads} On a GPU\n\n{body(result, level + 1)}"


def body(result: Mapping[str, Any], level: int = 2) -> str:
    """What was found, without a heading of its own."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine.get("versions", {}).items() if number)
    where = machine.get("gpu") or f"a processor ({machine.get('device', '?')})"
    commit = (result.get("git", {}).get("commit") or "no commit")[:12]
    parts: list[str] = [
        f"By {COMMAND} with random weights of true shapes, each part by itself and within its time.",
        f"*{result['started'][:10]}, commit {commit}, {where}, {versions}; {result['seconds']:.0f} s, size "
        f"{result['size']}.*",
        _overview(result["parts"]),
    ]
    for name, found in result["parts"].items():
        parts += [f"{'#' * level} {_title(name)}", *([PARTS[name].text] if name in PARTS else [])]
        if found.get("reason") and found["status"] not in (OK, WRONG):
            parts.append(f"{_MARKS[found['status']].strip('*').capitalize()}: {_cell(found['reason'])}")
        parts += _checks(found.get("checks", []))
        parts += _rows(found.get("rows", []))
        if found["status"] != FAILED:  # what is said then is a traceback, which the JSON keeps
            parts += [f"- {_cell(text)}" for text in found.get("said", [])]
    return "\n\n".join(parts)


def _title(name: str) -> str:
    return PARTS[name].title if name in PARTS else name


def _overview(parts: Mapping[str, Mapping[str, Any]]) -> str:
    lines = ["| part | result | checks that hold | seconds |", "| --- | --- | ---: | ---: |"]
    for name, found in parts.items():
        checks = found.get("checks", [])
        held = f"{sum(c['holds'] for c in checks)} of {len(checks)}" if checks else "-"
        lines.append(f"| {_title(name)} | {_MARKS[found['status']]} | {held} | {found['seconds']:.1f} |")
    return "\n".join(lines)


def _checks(checks: Sequence[Mapping[str, Any]]) -> list[str]:
    if not checks:
        return []
    lines = ["| check | found | wanted | |", "| --- | ---: | ---: | --- |"]
    lines += [
        f"| {_cell(c['what'])} | {_cell(c['found'])} | {_cell(c['wanted'])} | {'holds' if c['holds'] else '**no**'} |"
        for c in checks
    ]
    return ["\n".join(lines)]


def _rows(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table for each kind of row: rows with other columns are another table."""
    tables: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        tables.setdefault(tuple(row), []).append(row)
    found = []
    for columns, own in tables.items():
        lines = ["| " + " | ".join(columns) + " |", "| --- |" + " ---: |" * (len(columns) - 1)]
        lines += ["| " + " | ".join(_value(row[column]) for column in columns) + " |" for row in own]
        found.append("\n".join(lines))
    return found


def _value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return _cell(str(value))


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
