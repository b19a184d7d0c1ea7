"""The leaderboard's report beside the site's pages: one file, made by ``lifealign-bench leaderboard --write``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

__all__ = ["on_post_build"]


def on_post_build(config: Any, **kwargs: Any) -> None:
    """Called by mkdocs when the site is written."""
    root = Path(config["config_file_path"]).parent
    shutil.copyfile(root / "results" / "report.html", Path(config["site_dir"]) / "report.html")
