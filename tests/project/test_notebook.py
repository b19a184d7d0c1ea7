"""The notebook of the docs, executed by a kernel as a reader does it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.places import ROOT

NOTEBOOK = ROOT / "docs" / "notebooks" / "first-run.ipynb"


def outputs(cell: Any) -> dict[str, str]:
    """MIME type to text of all outputs of a cell."""
    shown: dict[str, str] = {}
    for output in cell.outputs:
        found = {"stream": output.text} if output.output_type == "stream" else output.get("data", {})
        for kind, text in found.items():
            shown[kind] = shown.get(kind, "") + text
    return shown


@pytest.mark.model
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    place = tmp_path / "work"
    place.mkdir()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    wrong = nbformat.v4.new_code_cell('lb.run(method="dpx")', metadata={"tags": ["raises-exception"]})
    notebook.cells.append(wrong)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(place)}}).execute()
    cells = {cell.source: outputs(cell) for cell in notebook.cells if cell.cell_type == "code"}
    (run,) = (shown for source, shown in cells.items() if source.endswith("runs[0]"))
    assert "<strong>dpo on fake, fake, seed 1</strong>" in run["text/html"], "what is left of the bar"
    assert "Preference accuracy" in run["text/html"], "the tables of the run"
    assert "stream" not in run, "libraries say nothing"
    (board,) = (shown for source, shown in cells.items() if source.startswith("lb.leaderboard"))
    assert "hinge" in board["text/html"] and "dpo" in board["text/html"]
    (refused,) = (shown for source, shown in cells.items() if "except lb.BenchError" in source)
    assert "There is no method called 'hinges'." in refused["stream"]
    assert (place / "report.html").is_file() and len(list(place.rglob("record.json"))) == 4
    error = wrong.outputs[-1]
    assert error["ename"] == "UsageError" and error["traceback"][0] == "error: There is no method called 'dpx'."
    assert error["traceback"][1].startswith("Did you mean 'dpo'") and len(error["traceback"]) == 2
