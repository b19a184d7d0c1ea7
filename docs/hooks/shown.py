"""Files that are kept beside docs/ are shown on the site, too.

A page links them by ``[...](../CHANGELOG.md "shown here on the site")``, alone in a line. On GitHub that is a link; on
the site the sections of the file stand in its place.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

__all__ = ["on_page_markdown"]

_LINK = re.compile(r'^\[[^]]*\]\(\.\./(\S+) "shown here on the site"\)$', re.MULTILINE)
_FIRST_SECTION = re.compile(r"^#{2,} ", re.MULTILINE)


def on_page_markdown(markdown: str, config: Any, **_: Any) -> str:
    """mkdocs calls it with the text of every page."""
    root = Path(config["config_file_path"]).parent
    return _LINK.sub(lambda found: _sections(root / found[1]), markdown)


def _sections(path: Path) -> str:
    """All but the title and what stands under it, which the page says in its own words."""
    text = path.read_text(encoding="utf-8")
    first = _FIRST_SECTION.search(text)
    if first is None:
        raise ValueError(f"{path} has no section to show")
    # A link of a file at the repository's top to a page of docs/ is, on that page, one to its neighbour.
    return text[first.start() :].replace("](docs/", "](")
