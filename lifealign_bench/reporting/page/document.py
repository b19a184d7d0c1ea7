"""A page as one HTML document that needs nothing beside itself."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lifealign_bench import __version__
from lifealign_bench.reporting.figures.drawn import picture
from lifealign_bench.reporting.figures.figure import Figure
from lifealign_bench.reporting.figures.palette import DARK, HUES, LIGHT, SERIES, look_of
from lifealign_bench.reporting.page.content import Page, Table
from lifealign_bench.reporting.page.texts import embedded
from lifealign_bench.util.files import MARK
from lifealign_bench.util.text import clean

_FOLDER = Path(__file__).resolve().parent


def render(page: Page, subject: str = "") -> str:
    """The document. The same page gives the same bytes.

    Args:
        subject: a mark of what it is of; empty: none.
    """
    script = (_FOLDER / "script.js").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"clean": clean, "words": _words, "picture": picture, "download": _download, "look": look_of}
    return environment.get_template("page.html").render(
        page=page,
        mark=MARK,
        subject=subject,
        version=__version__,
        policy=policy(script),
        style=Markup((_FOLDER / "style.css").read_text(encoding="utf-8") + _colours()),
        script=Markup(script),
        sources=[(b.id, Markup(embedded(b.texts.as_json()))) for b in page.browsers()],
    )


def policy(script: str) -> str:
    """What a browser lets the page do: its own style and its one script, known by its hash; nothing from elsewhere."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def _words(text: str) -> str:
    """A sentence; numbers stay with their per cent sign."""
    return clean(text).replace(" %", "\u00a0%")


def _download(content: Figure | Table) -> str:
    """The data as the address of a CSV file."""
    return "data:text/csv;charset=utf-8," + quote(content.csv())


def _colours() -> str:
    """The names of ``palette`` with their light and dark colours, and what switches a series off."""
    names = "".join(f"--{name}:light-dark({LIGHT[name]},{DARK[name]});" for name in LIGHT)
    series = "".join(f"--s{i}:var(--c{i % HUES});" for i in range(SERIES))
    off = (f".gallery:has(>.key [value='{i}']:not(:checked)){{--s{i}:transparent}}" for i in range(SERIES))
    return f"\n:root{{{names}{series}}}\n" + "\n".join(off)
