"""A stand-in for the Hugging Face hub on 127.0.0.1: repositories in memory, by the calls that a commit makes."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from huggingface_hub import constants

__all__ = ["TOKEN", "StandInHub", "StandInRepository", "stand_in_hub"]

TOKEN = "hf_" + "standInToken" * 3
# What the hub keeps as large files, whatever their size.
LARGE = (".safetensors", ".parquet")


@dataclass
class StandInRepository:
    """One repository: path to content, and the titles of its commits."""

    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b""})
    commits: list[str] = field(default_factory=list)
    private: bool = False

    @property
    def sha(self) -> str:
        """Of the last commit."""
        return hashlib.sha1("\n".join(["made", *self.commits]).encode()).hexdigest()

    @property
    def tags(self) -> list[str]:
        """Of the card, where it has any that can be read."""
        parts = self.files.get("README.md", b"").decode().split("---\n")
        found: Any = yaml.safe_load(parts[1]) if len(parts) > 2 else {}
        return list(found.get("tags", []))


@dataclass
class StandInHub:
    """What it holds and was asked.

    Args:
        repositories: (``models`` or ``datasets``, ``USER/NAME``) to the repository.
        large: SHA-256 to the content of a large file that was sent.
        sent: SHA-256 of every large file that was sent, each time.
        asked: method and path of every request, and the token that came with it.
        may_write: users whose repositories the token may write to.
    """

    address: str = ""
    repositories: dict[tuple[str, str], StandInRepository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    may_write: set[str] = field(default_factory=lambda: {"me"})


class _Handler(BaseHTTPRequestHandler):
    hub: StandInHub

    def do_GET(self) -> None:
        self._note()
        kind, name = self._named(2)
        repository = self.hub.repositories.get((kind, name))
        if repository is None:
            self._answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return
        siblings = [{"rfilename": path} for path in repository.files]
        facts = {"id": name, "sha": repository.sha, "tags": repository.tags, "siblings": siblings}
        self._answer(200, {**facts, "private": repository.private, "disabled": False, "downloads": 0, "likes": 0})

    def do_POST(self) -> None:
        self._note()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        if path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._batch(json.loads(body))
        elif "/preupload/" in path:
            files = json.loads(body)["files"]
            modes = [
                {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(LARGE) else "regular"} for f in files
            ]
            self._answer(200, {"files": [{**mode, "shouldIgnore": False} for mode in modes]})
        else:
            self._commit([json.loads(line) for line in body.splitlines()])

    def do_PUT(self) -> None:
        self._note()
        content = self.rfile.read(int(self.headers["Content-Length"]))
        digest = self.path.rpartition("/")[2]
        assert hashlib.sha256(content).hexdigest() == digest
        self.hub.large[digest] = content
        self.hub.sent.append(digest)
        self._answer(200, {})

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _note(self) -> None:
        self.hub.asked.append((self.command, self.path, self.headers.get("Authorization", "")))

    def _named(self, at: int) -> tuple[str, str]:
        parts = urlsplit(self.path).path.split("/")
        return parts[at], "/".join(parts[at + 1 : at + 3])

    def _create(self, said: dict[str, Any]) -> None:
        if said["organization"] not in self.hub.may_write or not self.headers.get("Authorization"):
            self._answer(403, {"error": f"You don't have the rights for {said['organization']}"})
            return
        name = f"{said['organization']}/{said['name']}"
        kind = f"{said.get('type') or 'model'}s"
        self.hub.repositories[kind, name] = StandInRepository(private=said.get("visibility") == "private")
        self._answer(200, {"url": f"{self.hub.address}/{name}", "id": name})

    def _batch(self, said: dict[str, Any]) -> None:
        objects = []
        for wanted in said["objects"]:
            there = wanted["oid"] in self.hub.large
            upload = {"actions": {"upload": {"href": f"{self.hub.address}/large/{wanted['oid']}"}}}
            objects.append({**wanted, **({} if there else upload)})
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        kind, name = self._named(2)
        repository = self.hub.repositories[kind, name]
        header = lines[0]["value"]
        if header.get("parentCommit", repository.sha) != repository.sha:
            self._answer(412, {"error": "A commit has happened since."})
            return
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repository.files[value["path"]] = self.hub.large[value["oid"]]
            else:
                assert line["key"] == "deletedFile"
                del repository.files[value["path"]]
        repository.commits.append(header["summary"])
        self._answer(200, {"commitUrl": f"{self.hub.address}/{name}/commit/1", "commitOid": repository.sha})

    def _answer(self, code: int, content: dict[str, Any], **headers: str) -> None:
        text = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Content-Type", "application/json")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(text)


@contextmanager
def stand_in_hub(patch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    """A hub in a thread that this process takes for the real one, with a token; stopped at the end."""
    hub = StandInHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    # huggingface_hub read HF_ENDPOINT and HF_HUB_OFFLINE when it was imported.
    patch.setattr(constants, "ENDPOINT", hub.address)
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    patch.setenv("HF_TOKEN", TOKEN)
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
