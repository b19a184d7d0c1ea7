"""What the pages of the reference say on GitHub, where no docstring is filled in: written out from the code.

Under every ``::: module`` of a page, which on GitHub stands in a comment, follow the names that it documents: classes
with their fields and methods, functions with what they do. On the site the docstrings themselves stand in that place.

``python docs/hooks/written.py`` writes the pages, ``--check`` fails if one is not up to date.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import griffe

__all__ = ["main", "on_page_markdown", "written"]

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "api"
# A directive with its options, as mkdocstrings takes it, and what is written out below it.
_PART = re.compile(
    r"<!--\n(::: (?P<name>[\w.]+)\n.*?)-->\n(?P<shown>\n<!-- written out -->.*?<!-- end -->\n)?", re.DOTALL
)
_MEMBERS = re.compile(r"members: \[(.*)\]")
# An object of griffe, or an alias of one: both answer to the same names, and only some of them to each.
Node: TypeAlias = Any
_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?([^`]+)`")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """mkdocs calls it with the text of every page: the directive comes out of its comment, what is written out goes."""
    return _PART.sub(lambda found: found[1], markdown)


def written(page: str, package: Node) -> str:
    """The page with what belongs below every directive."""

    def part(found: re.Match[str]) -> str:
        obj = package[found["name"].removeprefix("lifealign_bench.")]
        only = _MEMBERS.search(found[1])
        shown = "\n".join(_lines(obj, only[1].split(", ") if only else None))
        return f"<!--\n{found[1]}-->\n\n<!-- written out -->\n\n{shown.rstrip()}\n\n<!-- end -->\n"

    return _PART.sub(part, page)


def _lines(obj: Node, only: Sequence[str] | None) -> Iterator[str]:
    if obj.is_class:
        yield from _class(obj)
        return
    yield f"### `{obj.path}`\n"
    yield _first(obj) + "\n"
    members = [obj.members[name] for name in only] if only else list(_documented(obj))
    rows = [(_call(m) if m.is_function else f"`{m.name}`", _first(m)) for m in members if not m.is_class]
    yield from _table(("name", "what it is or does"), rows)
    for member in members:
        if member.is_class:
            yield from _class(member)


def _class(obj: Node) -> Iterator[str]:
    yield f"#### `{obj.name}`\n"
    yield _first(obj) + "\n"
    told = _told(obj)
    members = list(_documented(obj, told))
    fields = [m for m in members if m.is_attribute]
    rows = [(f"`{m.name}`", f"`{m.annotation}`" if m.annotation else "", told.get(m.name) or _first(m)) for m in fields]
    yield from _table(("field", "type", "meaning"), rows)
    calls = [(_call(m), _first(m)) for m in members if m.is_function]
    yield from _table(("method", "what it does"), calls)


def _documented(obj: Node, told: Sequence[str] | dict[str, str] = ()) -> Iterator[Node]:
    """The public members of its own that say something of themselves, or of which their class says something."""
    for member in obj.members.values():
        if member.is_alias or member.name.startswith("_"):
            continue
        field = member.is_attribute and member.annotation and not str(member.annotation).startswith("ClassVar")
        if member.has_docstring or member.name in told or _description(member) or (field and obj.is_class):
            yield member


def _told(obj: Node) -> dict[str, str]:
    """What a class's docstring says of its arguments; of a dataclass they are its fields."""
    found: dict[str, str] = {}
    for section in _sections(obj):
        if section.kind in (griffe.DocstringSectionKind.parameters, griffe.DocstringSectionKind.attributes):
            for item in section.value:
                # "order, order_seed: see ..." is said of both.
                found.update(dict.fromkeys(item.name.split(", "), _plain(item.description)))
    return found


def _sections(obj: Node) -> list[griffe.DocstringSection]:
    return obj.docstring.parse("google", warnings=False) if obj.docstring else []


def _first(obj: Node) -> str:
    """The first paragraph of what it says of itself."""
    for section in _sections(obj):
        if section.kind is griffe.DocstringSectionKind.text:
            return _plain(str(section.value).partition("\n\n")[0])
    return _plain(_description(obj))


def _description(obj: Node) -> str:
    """The description that a pydantic field is declared with."""
    value = getattr(obj, "value", None)
    for argument in value.arguments if isinstance(value, griffe.ExprCall) else ():
        if isinstance(argument, griffe.ExprKeyword) and argument.name == "description":
            return str(argument.value).strip("'\"")
    return ""


def _call(obj: Node) -> str:
    names = []
    for parameter in obj.parameters:
        star = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}.get(
            parameter.kind, ""
        )
        if parameter.name not in ("self", "cls"):
            names.append(star + parameter.name)
    return f"`{obj.name}({', '.join(names)})`"


def _plain(text: str) -> str:
    """In one line, without roles."""
    return " ".join(_ROLE.sub(r"`\1`", text).replace("``", "`").split())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if rows:
        yield f"| {' | '.join(head)} |"
        yield f"| {' | '.join('---' for _ in head)} |"
        for row in rows:
            cells = [cell.replace("|", r"\|") for cell in row]
            yield f"| {' | '.join(cells)} |"
        yield ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the pages, or check them; the exit code."""
    parser = argparse.ArgumentParser(description="Write out the reference's pages for GitHub.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a page is not up to date")
    asked = parser.parse_args(arguments)
    package = griffe.load("lifealign_bench", search_paths=[ROOT], allow_inspection=False)
    stale = []
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        now = written(text, package)
        if now != text:
            stale.append(page)
            if not asked.check:
                page.write_text(now, encoding="utf-8")
    for page in stale:
        print(f"{page.relative_to(ROOT)} {'is not up to date: make docs-write' if asked.check else 'written'}")  # noqa: T201
    return 1 if stale and asked.check else 0


if __name__ == "__main__":
    sys.exit(main())
