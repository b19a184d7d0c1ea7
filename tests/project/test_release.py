"""What a release promises beside the code: how to cite it, what runs on GitHub, what contributors are told."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
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


def project() -> dict[str, Any]:
    content = tomllib.loads(read("pyproject.toml"))["project"]
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
    assert set(cited) <= known | {"date-released", "references", "repository-code", "url"}
    urls = project()["urls"]
    assert (cited["repository-code"], cited["url"]) == (urls["Homepage"], urls["Documentation"])
    site = read("mkdocs.yml")
    assert f"repo_url: {urls['Homepage']}\n" in site and f"site_url: {urls['Documentation']}\n" in site
    (paper,) = cited["references"]
    assert {"type", "title", "authors"} <= set(paper) and paper["year"] == 2026
    assert paper["authors"][0] == {"family-names": "Li", "given-names": "Junsong"}
    assert paper["identifiers"][0]["value"] == "arXiv:2509.17183"
    assert re.fullmatch(r"10\.\d{4,9}/\S+", paper["doi"])


@pytest.mark.parametrize("name", sorted(path.name for path in WORKFLOWS.glob("*")))
def test_workflows_can_only_read_and_know_no_secret(name: str) -> None:
    content = workflow(name)
    assert content["permissions"] == {"contents": "read"}
    # Publishing the site takes two more rights, and the job that has them runs none of our code.
    further = {name: job["permissions"] for name, job in content["jobs"].items() if "permissions" in job}
    assert further == ({"deploy": {"pages": "write", "id-token": "write"}} if name == "docs.yml" else {})
    assert not [step for job in further for step in content["jobs"][job]["steps"] if "run" in step or "with" in step]
    assert "secrets." not in (WORKFLOWS / name).read_text(encoding="utf-8")
    used = [step["uses"] for step in steps(content) if "uses" in step]
    assert used and all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in used)
    python = [step["with"]["python-version"] for step in steps(content) if "setup-python" in step.get("uses", "")]
    assert python == (["${{ matrix.python }}"] if name == "ci.yml" else ["3.11"])
    for job in content["jobs"].values():
        assert job["timeout-minutes"] <= 60


def test_ci_is_the_script_that_everyone_can_call() -> None:
    content = workflow("ci.yml")
    # YAML reads the key "on" as true.
    assert set(content[True]) == {"push", "pull_request"}
    assert [step["run"] for step in steps(content) if "run" in step] == [".ci/run"]
    (python,) = (step["with"] for step in steps(content) if "setup-python" in step.get("uses", ""))
    assert python["cache"] == "pip"
    versions = content["jobs"]["check"]["strategy"]["matrix"]["python"]
    assert {f"Programming Language :: Python :: {version}" for version in versions} <= set(project()["classifiers"])
    assert versions == ["3.11", "3.12", "3.13"]
    assert all((ROOT / path).is_file() for path in python["cache-dependency-path"].split())
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_every_python_that_is_installed_is_tested(tmp_path: Path) -> None:
    """With stand-ins: one that works, one that fails, one that is a shim of nothing, and one that is not there."""
    for version, code in (("3.11", 0), ("3.12", 0), ("3.13", 1)):
        (tmp_path / f"python{version}").write_text(f"#!/bin/sh\nexit {code}\n")
    (tmp_path / "make").write_text('#!/bin/sh\necho "made $*"\ncase "$*" in *3.12*) exit 2; esac\n')
    for file in tmp_path.iterdir():
        file.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "MAKE": str(tmp_path / "make"), "PYENV_ROOT": str(tmp_path)}

    def tried(*versions: str) -> tuple[int, str]:
        words = [str(ROOT / ".ci" / "versions"), *versions]
        done = subprocess.run(words, env=env, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    made = f"made VENV=.venv-3.11 PYTHON={tmp_path / 'python3.11'} test\n"
    code, said = tried("3.11", "3.13", "3.99")
    assert code == 0 and made in said
    assert all(f"Python {version}: not installed" in said for version in ("3.13", "3.99"))
    code, said = tried("3.12", "3.11")
    assert code == 1 and made in said and "Failed on Python 3.12" in said
    assert tried("3.99")[0] == 2
    assert ".ci/versions 3.11 3.12 3.13" in read("Makefile")


def test_temporary_files_of_the_tests_lie_in_memory_and_are_gone_afterwards(tmp_path: Path) -> None:
    (tmp_path / "df").write_text('#!/bin/sh\necho heads\necho "shm 9 2 7 22% /dev/shm"\n')
    (tmp_path / "df").chmod(0o755)

    def told(least: int, command: str, **more: str) -> tuple[int, str]:
        """Exit code and standard output, where 7 GiB are free."""
        words = [str(ROOT / ".ci" / "in-memory"), str(least), "sh", "-c", command]
        done = subprocess.run(words, env={"PATH": f"{tmp_path}:/usr/bin:/bin", **more}, capture_output=True, text=True)
        return done.returncode, done.stdout.strip()

    shown = 'echo "$TMPDIR"; exit 3'
    assert told(8, shown) == (3, "")  # not so much is free
    assert told(7, shown, TMPDIR="/chosen") == (3, "/chosen")
    code, place = told(7, shown)
    assert code == 3
    if os.access("/dev/shm", os.W_OK):
        assert place.startswith("/dev/shm/tests.") and not Path(place).exists()
    # A file that cannot be made executable stands for a mount from which nothing may be run.
    (tmp_path / "chmod").write_text("#!/bin/sh\n")
    (tmp_path / "chmod").chmod(0o755)
    assert told(7, shown) == (3, "")
    assert re.search(r"\.ci/in-memory \d+ \S+/python -m pytest", read("Makefile"))


def test_an_upper_bound_of_a_dependency_has_its_reason_above_it() -> None:
    lines = read("pyproject.toml").partition("[project.scripts]")[0].split("\n")
    bounded = [at for at, line in enumerate(lines) if re.search(r'"[\w-]+[^"]*<', line)]
    whole = lines.index("docs = [")  # the reason is that of the list
    for at in bounded:
        above = lines[whole - 1 if whole < at < lines.index("]", whole) else at - 1]
        assert above.lstrip().startswith("# "), lines[at]
    assert len(bounded) > 5


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


def test_the_migration_note_leads_to_modules_that_exist() -> None:
    promised_before, _, private = read("docs/migration.md").partition("## Module names")[2].partition("| today | 0.1 |")
    moved = re.findall(r"^\| (`[^|]*`) \| `([\w.]+)` \|", promised_before, flags=re.MULTILINE)
    assert len(moved) > 15
    today = re.findall(r"^\| `([\w.]+)` \| `", private, flags=re.MULTILINE)
    assert len(today) > 100
    assert [name for name in today if importlib.util.find_spec(f"lifealign_bench.{name}") is None] == []
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
