"""Formulas of the pages, ``$...$`` and ``$$...$$``, become MathML: browsers draw it, no script is loaded from anywhere.

pymdownx.arithmatex finds the formulas; what it leaves in a page is turned here, when the page is built.
"""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

__all__ = ["on_page_content"]

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """mkdocs calls it with the HTML of every page."""
    return _FORMULA.sub(_drawn, content)


def _drawn(found: re.Match[str]) -> str:
    block = found[1] == "div"
    formula = convert(html.unescape(found[2]).strip(), display="block" if block else "inline")
    return f'<div class="formula">{formula}</div>' if block else formula
