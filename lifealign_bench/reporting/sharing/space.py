"""A report as a static Space of the hub: one folder to upload, in which the page is whole and nothing runs.

See https://huggingface.co/docs/hub/spaces-sdks-static and spaces-config-reference for the metadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lifealign_bench.errors import UsageError
from lifealign_bench.reporting.page.content import Page
from lifealign_bench.reporting.page.report import ReportRequest, write_page
from lifealign_bench.reporting.sharing.card import HOME, PAGES, TAG, card_text
from lifealign_bench.reporting.tables.grid import escape_markdown
from lifealign_bench.util.files import write_text
from lifealign_bench.util.text import clean

INDEX, README = "index.html", "README.md"


def write_space(paths: Sequence[Path], wish: ReportRequest) -> Page:
    """Write the page of what ``paths`` name, and the Space's README beside it.

    Args:
        wish: of the page, which is :data:`INDEX` of the folder.

    Raises:
        UsageError: a README is there that is no Space's of this kind, or a page of other runs.
        BenchError: there is no run, or a file of one is broken.
    """
    readme = wish.out.with_name(README)
    if readme.exists() and not wish.force and not _is_ours(readme):
        raise UsageError(f"{readme} is there, and no report wrote it.", "Name another folder, or use --force.")
    page = write_page(paths, wish)
    write_text(readme, readme_text(page))
    return page


def readme_text(page: Page) -> str:
    """The README of a Space: its metadata, and what the page is."""
    title = f"lifealign-bench: {clean(page.title)}"
    metadata = {
        "title": title,
        "emoji": "📈",
        "colorFrom": "blue",
        "colorTo": "indigo",
        "sdk": "static",
        "app_file": INDEX,
        "pinned": False,
        "tags": [TAG, "leaderboard"],
        "short_description": "Continual alignment: learned, and forgotten",
    }
    text = (
        f"# {escape_markdown(title)}\n\n{escape_markdown(page.subtitle)}.\n\n`{INDEX}` is the whole page: it loads "
        f"nothing. How to read it: [reports]({PAGES}/report.html). Made with [lifealign-bench]({HOME})."
    )
    return card_text(metadata, text)


def _is_ours(readme: Path) -> bool:
    text = readme.read_text(encoding="utf-8", errors="replace")[:10_000]
    return "sdk: static" in text and TAG in text
