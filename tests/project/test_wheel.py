"""The wheel: what is in it, and that it works in a fresh environment away from the checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from lifealign_bench import __version__
from lifealign_bench.config import PRESETS
from lifealign_bench.results.metrics import METRICS
from lifealign_bench.scoring.scorers import SCORERS
from tests.places import ROOT

# All parts are made once and by one process.
pytestmark = [pytest.mark.model, pytest.mark.xdist_group("wheel")]

# The kinds of files that belong into a wheel; anything else beside the sources is there by accident.
KINDS = {".json", ".py", ".html", ".css", ".js", ".tmpl", ".yaml", ".jsonl"}

NEEDED = {
    "lifealign_bench/py.typed",
    "lifealign_bench/scoring/abilities/builtin/facts.jsonl",
    "lifealign_bench/scoring/abilities/builtin/facts.yaml",
    "lifealign_bench/methods/__init__.py",
    "lifealign_bench/methods/lifealign.py",
    "lifealign_bench/reporting/page/page.html",
    "lifealign_bench/reporting/page/script.js",
    "lifealign_bench/reporting/page/style.css",
    "lifealign_bench/tasks/mini-brief.yaml",
    "lifealign_bench/tasks/mini/brief.train.jsonl",
    "lifealign_bench/tasks/streams/order1.yaml",
    "lifealign_bench/cli/templates/method.py.tmpl",
    "lifealign_bench/cli/templates/test_method.py.tmpl",
}


class Installed(NamedTuple):
    """An environment that holds the wheel, and a folder to work in."""

    bin: Path
    folder: Path

    def call(self, program: str, *words: str) -> str:
        """What a program of the environment prints; it must succeed."""
        clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
        env = {**clean, "COLUMNS": "200", "LIFEALIGN_BENCH_CACHE": str(self.folder / "cache")}
        command = [str(self.bin / program), *words]
        done = subprocess.run(command, env=env, cwd=self.folder, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stderr
        return done.stdout


def build(source: Path, out: Path, *targets: str) -> None:
    """Build without network: the backend is installed with the extra ``dev``."""
    wanted = [word for target in targets for word in ("-t", target)]
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(out), *wanted]
    done = subprocess.run(command, cwd=source, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the sdist of this checkout."""
    out = tmp_path_factory.mktemp("dist")
    build(ROOT, out, "wheel", "sdist")
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A fresh environment with the wheel; its dependencies are those of the interpreter that runs the tests."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "env", with_pip=False, symlinks=True)
    python = folder / "env" / "bin" / "python"
    words = ("install", "--quiet", "--no-deps", "--no-index", str(built[0]))
    pip = [sys.executable, "-m", "pip", "--python", str(python), *words]
    done = subprocess.run(pip, cwd=folder, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    # A folder named by a .pth file has its own .pth files unread: an editable install of the checkout stays unseen.
    places = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    own = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "env")}))
    (own / "dependencies.pth").write_text("\n".join(places) + "\n", encoding="utf-8")
    work = folder / "work"
    work.mkdir()
    return Installed(python.parent, work)


def test_the_wheel_holds_what_is_needed_and_nothing_else(built: tuple[Path, Path]) -> None:
    names = {name for name in contents(built[0]) if ".dist-info/" not in name}
    places = {"lifealign_bench": "", "methods": "lifealign_bench/", "tasks": "lifealign_bench/"}
    sources = {
        prefix + path.relative_to(ROOT).as_posix()
        for folder, prefix in places.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == sources
    assert names >= NEEDED, NEEDED - names
    strange = {name for name in names if Path(name).suffix not in KINDS} - {"lifealign_bench/py.typed"}
    assert not strange
    own = re.compile(r"^(lifealign_bench/(tasks|methods)/)?(tests|results|benchmarks|runs)/")
    assert not [name for name in names if own.search(name)]


def test_the_sdist_builds_the_same_wheel(built: tuple[Path, Path], tmp_path: Path) -> None:
    wheel, sdist = built
    with tarfile.open(sdist) as opened:
        opened.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    build(source, tmp_path / "again", "wheel")
    assert contents(tmp_path / "again" / wheel.name) == contents(wheel)


def test_the_version_is_the_same_everywhere(built: tuple[Path, Path], installed: Installed) -> None:
    (name,) = (name for name in contents(built[0]) if name.endswith(".dist-info/METADATA"))
    assert Parser().parsestr(contents(built[0])[name].decode())["Version"] == __version__
    assert installed.call("lifealign-bench", "--version").strip() == f"lifealign-bench {__version__}"
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == __version__
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert headings[:2] == ["Unreleased", __version__]


def test_the_package_comes_from_the_fresh_environment(installed: Installed) -> None:
    source = "import json, sys, lifealign_bench, torch; print(json.dumps([lifealign_bench.__file__, sys.path]))"
    file, paths = json.loads(installed.call("python", "-c", source))
    assert Path(file).is_relative_to(installed.bin.parent) and not Path(file).is_relative_to(ROOT)
    assert not installed.folder.is_relative_to(ROOT)
    assert not [path for path in paths if (Path(path or installed.folder) / "tests" / "test_wheel.py").exists()]


def test_everything_is_listed(installed: Installed) -> None:
    words = set(installed.call("lifealign-bench", "list", "all").split())
    files = {
        *(path.stem for path in (ROOT / "methods").glob("*.py")),
        *(path.stem for path in (ROOT / "tasks").glob("*.yaml")),
        *(path.stem for path in (ROOT / "tasks" / "streams").glob("*.yaml")),
    }
    wanted = files | {*METRICS, *PRESETS, *SCORERS.names(), "builtin_facts"}
    assert len(files) > 20 and wanted <= words, wanted - words
    assert "focal_gamma" in installed.call("lifealign-bench", "show", "lifealign")


def test_a_run_and_its_report(installed: Installed) -> None:
    shown = installed.call(
        "lifealign-bench", "run", "--model", "fake", "--stream", "fake", "--ability", "builtin_format"
    )
    assert "at the end" in shown
    (run,) = installed.folder.glob("runs/fake/fake/*/seed-0")
    record = json.loads((run / "record.json").read_text(encoding="utf-8"))
    assert record["status"] == "complete"
    installed.call("lifealign-bench", "report", str(run))
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "<script" in page and "fake-lower" in page


def test_a_method_file_is_made_from_the_template(installed: Installed) -> None:
    installed.call("lifealign-bench", "new", "method", "mine")
    assert (installed.folder / "mine.py").is_file() and (installed.folder / "test_mine.py").is_file()
