"""HTML as plain text: paragraphs are lines, items of lists have dashes, code stays as it is."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_BLOCKS = frozenset(("p", "div", "br", "ul", "ol", "pre", "blockquote", "h1", "h2", "h3", "h4", "hr", "table", "tr"))
_UNSEEN = frozenset(("script", "style"))
_SPACE = re.compile(r"\s+")
_EMPTY_LINES = re.compile(r"\n{2,}")


class _SeenText(HTMLParser):
    """Collects what a reader would see."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._kept = 0
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self.parts.append("\n")
        elif tag == "li":
            self.parts.append("\n- ")
        self._kept += tag == "pre"
        self._hidden += tag in _UNSEEN

    def handle_endtag(self, tag: str) -> None:
        if tag in _BLOCKS and tag != "br":
            self.parts.append("\n")
        self._kept -= tag == "pre" and self._kept > 0
        self._hidden -= tag in _UNSEEN and self._hidden > 0

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data if self._kept else _SPACE.sub(" ", data))


def plain_html(text: str) -> str:
    """What a reader sees of a piece of HTML; a text without markup stays the same but for its white space."""
    parser = _SeenText()
    parser.feed(text)
    parser.close()
    lines = (line.rstrip() for line in "".join(parser.parts).split("\n"))
    return _EMPTY_LINES.sub("\n", "\n".join(lines)).strip()
