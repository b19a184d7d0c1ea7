"""What a release promises beside the code: how to cite it, what runs on GitHub, what contributors are told."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from lifealign_bench import __version__
from lifealign_bench.cli import app
from tests.places import ROOT

WORKFLOWS = ROOT / ".github" / "workflows"
TEXTS = (
    "README.md",
    "docs/commands.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    ".github/PULL_REQUEST_TEMPLATE.md",
    ".github/PULL_REQUEST_TEMPLATE/submission.md",
    ".github/ISSUE_TEMPLATE/bug.md",
)


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def workflow(name: str) -> dict[Any, Any]:
    content = yaml.safe_load((WORKFLOWS / name).read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def steps(content: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in content["jobs"].values() for step in job["steps"]]


def test_the_citation_has_what_the_format_requires() -> None:
    cited = yaml.safe_load(read("CITATION.cff"))
    assert cited["cff-version"] == "1.2.0" and cited["type"] == "software"
    assert cited["message"] and cited["title"] and cited["license"] == "Apache-2.0"
    assert cited["authors"] == [{"name": "The lifealign-bench authors"}]
    known = {"cff-version", "type", "message", "title", "abstract", "version", "license", "authors", "keywords"}
    assert set(cited) <= known | {"references"}
    (paper,) = cited["references"]
    assert {"type", "title", "authors"} <= set(paper) and paper["year"] == 2026
    assert paper["authors"][0] == {"family-names": "Li", "given-names": "Junsong"}
    assert paper["identifiers"][0]["value"] == "arXiv:2509.17183"
    assert re.fullmatch(r"10\.\d{4,9}/\S+", paper["doi"])


@pytest.mark.parametrize("name", sorted(path.name for path in WORKFLOWS.glob("*")))
def test_workflows_can_only_read_and_know_no_secret(name: str) -> None:
    content = workflow(name)
    assert content["permissions"] == {"contents": "read"}
    assert not [job for job in content["jobs"].values() if "permissions" in job]
    assert "secrets." not in (WORKFLOWS / name).read_text(encoding="utf-8")
    used = [step["uses"] for step in steps(content) if "uses" in step]
    assert used and all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in used)
    python = [step["with"]["python-version"] for step in steps(content) if "setup-python" in step.get("uses", "")]
    assert python == ["3.11"]
    for job in content["jobs"].values():
        assert job["timeout-minutes"] <= 60


def test_ci_is_the_script_that_everyone_can_call() -> None:
    content = workflow("ci.yml")
    # YAML reads the key "on" as true.
    assert set(content[True]) == {"push", "pull_request"}
    assert [step["run"] for step in steps(content) if "run" in step] == [".ci/run"]
    (python,) = (step["with"] for step in steps(content) if "setup-python" in step.get("uses", ""))
    assert python["cache"] == "pip"
    assert all((ROOT / path).is_file() for path in python["cache-dependency-path"].split())
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_a_release_is_built_of_a_tag_that_names_the_version() -> None:
    content = workflow("release.yml")
    assert content[True] == {"push": {"tags": ["v*"]}}
    commands = [step["run"] for step in steps(content) if "run" in step]
    (check,) = (command for command in commands if "GITHUB_REF_NAME" in command)
    assert commands.index(check) < commands.index("python -m hatchling build")

    def code(tag: str) -> int:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        env = {**os.environ, "PATH": path, "GITHUB_REF_NAME": tag}
        return subprocess.run(["bash", "-e", "-c", check], cwd=ROOT, env=env).returncode

    assert code(f"v{__version__}") == 0 and code("v99.0.0") == 1


def commands(text: str) -> list[list[str]]:
    """Every command line of the benchmark in a text: in blocks and between backticks."""
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE)
    inline = re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    lines = [line for block in blocks for line in block.splitlines()] + [line.replace("\n", " ") for line in inline]
    found = [re.search(r"(?:^|/| )lifealign-bench (.+)", line.split("  #")[0]) for line in lines]
    return [shlex.split(match.group(1)) for match in found if match is not None]


@pytest.mark.parametrize("path", TEXTS)
def test_commands_and_options_that_are_shown_exist(path: str) -> None:
    for words in commands(read(path)):
        command: Any = typer.main.get_command(app)
        rest = list(words)
        while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
            assert rest[0] in command.commands, words
            command = command.get_command(typer.Context(command), rest.pop(0))
        known = {"--help", *(name for option in command.params for name in (*option.opts, *option.secondary_opts))}
        assert {word.split("=")[0] for word in rest if re.match(r"--?[a-z]", word)} <= known, words


def test_commands_are_found_in_blocks_and_between_backticks() -> None:
    text = (
        "Call `.venv/bin/lifealign-bench\nlist`, or:\n\n   ```\n   lifealign-bench run --seed 0,1  # two\n   ```\n`x`"
    )
    assert commands(text) == [["run", "--seed", "0,1"], ["list"]]
    assert len(commands(read("README.md"))) > 5 and len(commands(read("docs/commands.md"))) > 25


def test_the_change_log_leads_to_modules_that_exist() -> None:
    table = read("CHANGELOG.md").partition("### Module names, old and new")[2]
    moved = re.findall(r"^\| (`[^|]*`) \| `([\w.]+)` \|", table, flags=re.MULTILINE)
    assert len(moved) > 15
    promised = {name for page in (ROOT / "docs" / "api").glob("*.md") for name in modules_of(page)}
    for _, new in moved:
        assert importlib.util.find_spec(f"lifealign_bench.{new}"), new
    kept = {"config", "errors", "method", "methods", "pairs", "conformance.suite"}
    assert kept & promised and {new for _, new in moved} & promised
    assert all(importlib.util.find_spec(f"lifealign_bench.{name}") for name in (promised | kept))


def modules_of(page: Path) -> list[str]:
    """The modules whose names the page shows, without the package's name; a class is its module's."""
    names = re.findall(r"^::: lifealign_bench\.([\w.]+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [re.sub(r"\.[A-Z]\w*$", "", name) for name in names]


def test_the_way_to_the_leaderboard_is_shown_step_by_step() -> None:
    shown = [words[0] for words in commands(read("CONTRIBUTING.md"))]
    way = ["new", "check", "run", "tune", "sweep", "submit", "verify", "reproduce", "leaderboard"]
    places = [shown.index(word) for word in way]
    assert places == sorted(places)


@pytest.mark.parametrize("path", TEXTS)
def test_files_and_make_targets_that_are_named_exist(path: str) -> None:
    text = read(path)
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), flags=re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)`", text)) <= targets
    named = re.findall(r"`((?:docs|tests|methods|lifealign_bench|\.ci)/[\w./-]+|[A-Z]+\.(?:md|cff))`", text)
    links = re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", text)
    links += re.findall(r'<img src="([^":]+)"', text)
    folders = ((ROOT / path).parent, ROOT)
    assert not [name for name in named + links if not any((folder / name).exists() for folder in folders)]


def sources() -> list[Path]:
    return sorted([*(ROOT / "lifealign_bench").rglob("*.py"), *(ROOT / "methods").rglob("*.py")])


def test_nothing_is_unpickled() -> None:
    pickles = {"pickle", "cPickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
                assert not {name.split(".")[0] for name in names} & pickles, path
            elif isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("torch.load", "torch.save", "np.load", "pd.read_pickle", "eval", "exec"), path
