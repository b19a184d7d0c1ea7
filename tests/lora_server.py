"""A server of vLLM's kind, or of SGLang's, on 127.0.0.1: it completes token ids with the toy model and with the LoRA
adapters that it is told to load, and behaves as it is told: well, or in one of the ways in which servers do not.

``with serve_adapters() as server:`` gives a server whose ``address`` is for ``--generation-url``.
"""

from __future__ import annotations

import copy
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftModel

from lifealign_bench.models.fake import fake_model

__all__ = ["Answer", "LoraServer", "hang_up", "serve_adapters", "toy", "with_status"]

Answer = dict[str, Any]
BASE = "toy"


@cache
def toy() -> tuple[Any, Any]:
    """The toy model, to be copied, and its tokenizer."""
    model, tokenizer = fake_model()
    return model.eval(), tokenizer


@dataclass
class LoraServer:
    """What it will do and what it was asked.

    Args:
        software: whose paths and fields it has.
        holds: whether it holds adapters at all; ``reads``: whether it can read their files.
        applies: whether it applies them; ``scale``: times what they change.
        echoes: whether an answer repeats the ids of its prompt.
        longest: tokens that it says that it takes; None: it does not say.
        shift: makes another base model of its own.
        key: the only key that it takes; None: any and none.
        plan: what it does with the next completions, one each, before it behaves well; None: it does.
        spoil: what becomes of every answer before it is sent.
        dies_after: so many responses, it hangs up on everybody; None: never.
        calls: the bodies of the completions, however they ended; ``answered``: of those that were answered.
        loads: paths of adapters that it was told to load; ``unloads``: names.
        headers: of all requests.
    """

    software: Literal["vllm", "sglang"] = "vllm"
    holds: bool = True
    reads: bool = True
    applies: bool = True
    scale: float = 1.0
    echoes: bool = True
    longest: int | None = 1024
    shift: float = 0.0
    key: str | None = None
    plan: list[Callable[[_Handler], None] | None] = field(default_factory=list)
    spoil: Callable[[Answer], None] = lambda answer: None
    dies_after: int | None = None
    address: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    answered: list[dict[str, Any]] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    unloads: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    _models: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tokenizer = toy()[1]
        self._models[BASE] = self._base()

    def _base(self) -> Any:
        model = copy.deepcopy(toy()[0])
        if self.shift:
            generator = torch.Generator().manual_seed(1)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter += self.shift * torch.randn(parameter.shape, generator=generator)
        return model.eval()

    def responses(self) -> list[tuple[str, tuple[int, ...]]]:
        """Model and prompt of the completions that were answered, without those whose log-probabilities were asked."""
        done = [body for body in self.answered if "logprobs" not in body]
        return [(body.get("lora_path") or body["model"], tuple(body["prompt"])) for body in done]

    def load(self, name: str, path: str) -> str:
        """Load an adapter; what is wrong, or nothing."""
        if not self.reads or not (Path(path) / "adapter_model.safetensors").is_file():
            return f"Loading lora {name} failed: No adapter found for {path}"
        if name in self._models:
            return f"The lora adapter '{name}' has already been loaded."
        model = PeftModel.from_pretrained(self._base(), path)
        if not self.applies:
            model = self._base()
        for parameter_name, parameter in model.named_parameters():
            if "lora_B" in parameter_name:
                parameter.data *= self.scale
        self._models[name] = model.eval()
        return ""

    def unload(self, name: str) -> None:
        self._models.pop(name, None)

    @torch.no_grad()
    def complete(self, body: Mapping[str, Any]) -> Answer | None:
        """A choice; None where there is no such model."""
        model = self._models.get(body.get("lora_path") or body["model"])
        if model is None:
            return None
        said: list[int] = []
        values: list[float] = []
        ended = "length"
        for _ in range(body["max_tokens"]):
            ids = torch.tensor([[*body["prompt"], *said]])
            log_probs = model(input_ids=ids).logits[0, -1].log_softmax(-1)
            said.append(int(log_probs.argmax()))
            values.append(float(log_probs.max()))
            text = self.tokenizer.decode(said)
            if said[-1] in body.get("stop_token_ids", ()) or any(stop in text for stop in body.get("stop", ())):
                ended = "stop"
                break
        choice: Answer = {"index": 0, "text": self.tokenizer.decode(said), "finish_reason": ended}
        if body.get("return_token_ids"):
            choice["token_ids"] = said
            if self.echoes:
                choice["prompt_token_ids"] = list(body["prompt"])
        if body.get("logprobs") is not None:
            choice["logprobs"] = {"tokens": ["?"] * len(said), "token_logprobs": values}
        return choice


class _Handler(BaseHTTPRequestHandler):
    """The requests of one connection, which is kept open."""

    told: LoraServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        told = self.told
        told.headers.append(dict(self.headers.items()))
        known = {"/version": "vllm", "/get_server_info": "sglang"}
        if not self._allowed():
            return
        if self.path == "/v1/models":
            card = {"id": BASE, "root": "fake", "owned_by": told.software, "parent": None}
            self.send(200, {"data": [card if told.longest is None else {**card, "max_model_len": told.longest}]})
        elif known.get(self.path) == told.software:
            self.send(200, {"version": "0.99.1"})
        else:
            self.send(404, {"error": {"message": "Not Found"}})

    def do_POST(self) -> None:
        told = self.told
        body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        told.headers.append(dict(self.headers.items()))
        if not self._allowed():
            return
        home = "/v1" if told.software == "vllm" else ""
        if self.path == f"{home}/load_lora_adapter":
            self._load(body)
        elif self.path == f"{home}/unload_lora_adapter" and told.holds:
            told.unloads.append(body["lora_name"])
            told.unload(body["lora_name"])
            self.send(200, {"success": True})
        elif self.path == "/v1/completions":
            self._complete(body)
        else:
            self.send(404, {"error": {"message": "Not Found"}})

    def _load(self, body: Mapping[str, Any]) -> None:
        told = self.told
        if not told.holds and told.software == "vllm":
            self.send(404, {"detail": "Not Found"})
            return
        told.loads.append(body["lora_path"])
        with told.lock:
            wrong = told.load(body["lora_name"], body["lora_path"])
        if not told.holds:
            wrong = "LoRA is not enabled. Please set `--enable-lora` to enable LoRA."
        if told.software == "sglang":
            self.send(400 if wrong else 200, {"success": not wrong, "error_message": wrong})
        else:
            self.send(500 if wrong else 200, {"error": {"message": wrong}} if wrong else {"message": "Success"})

    def _complete(self, body: dict[str, Any]) -> None:
        told = self.told
        with told.lock:
            told.calls.append(body)
            behaviour = told.plan.pop(0) if told.plan else None
            if behaviour is not None:
                behaviour(self)
                return
            if told.dies_after is not None and len(told.responses()) >= told.dies_after:
                hang_up(self)
                return
            choice = told.complete(body)
            if choice is not None:
                told.spoil(choice)
                told.answered.append(body)
        if choice is None:
            self.send(404, {"error": {"message": f"The model `{body['model']}` does not exist."}})
            return
        self.send(200, {"model": body["model"], "choices": [choice]})

    def _allowed(self) -> bool:
        key = self.told.key
        if key is None or self.headers.get("Authorization") == f"Bearer {key}":
            return True
        # Some repeat the key that they refuse.
        self.send(401, {"error": {"message": f"Incorrect key: {self.headers.get('Authorization')}"}})
        return False

    def send(self, code: int, content: Any, headers: Mapping[str, str] | None = None) -> None:
        """A status and a JSON document."""
        body = json.dumps(content).encode()
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, handler: type[_Handler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.connections: list[socket.socket] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.append(request)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that hang up are part of the tests


@contextmanager
def serve_adapters(**how: Any) -> Iterator[LoraServer]:
    """A server in a thread, stopped at the end.

    Args:
        how: fields of :class:`LoraServer`.
    """
    told = LoraServer(**how)
    server = _Server(type("Bound", (_Handler,), {"told": told}))
    told.address = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        for connection in server.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        thread.join()


def with_status(code: int, headers: Mapping[str, str] | None = None) -> Callable[[_Handler], None]:
    """A status with an error message."""
    return lambda handler: handler.send(code, {"error": {"message": "not now"}}, headers)


def hang_up(handler: _Handler) -> None:
    """Break the connection without a word."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)
