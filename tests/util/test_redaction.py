"""No key and no password leaves the process: not in messages, records, logs, tracebacks or JSON."""

from __future__ import annotations

import base64
import html
import json
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from lifealign_bench.config import RunConfig
from lifealign_bench.data.sources import git_blob_id
from lifealign_bench.errors import BenchError
from lifealign_bench.experiments.engines.ray import passed_on
from lifealign_bench.runs.run import run
from lifealign_bench.util import redaction
from lifealign_bench.util.files import write_json, write_text
from lifealign_bench.util.redaction import learn, learn_address, learn_environment, redact
from lifealign_bench.util.text import clean
from tests.command import Call
from tests.judge_server import Behaviour, Handler, JudgeServer, serve
from tests.places import ROOT

Make = Callable[..., RunConfig]
KEY = 'sk-never-to-be-seen-42+/"x'
PASSWORD = "pa55-of-the-mirror"
BAD_WORDS = ("--method", "dpo", "--stream", "fake", "--model", "fake", "--scorer", "judge", "--judge", "server:judge")


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", {})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgeServer]:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve() as told:
        told.answer = lambda messages: "Hm.\nScore: 7"
        yield told


def files_that_hold(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def repeats(code: int, key: str = KEY) -> Behaviour:
    """An answer whose status line repeats the key, as some gateways do."""

    def answer(handler: Handler) -> None:
        handler.send_response(code, f"No access for Bearer {key} at https://me:{key}@host/v1")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@pytest.mark.parametrize("code", [302, 401, 404, 422, 503])
def test_a_key_in_the_reason_phrase_reaches_no_message_and_no_record(
    fake_config: Make, server: JudgeServer, own_cache: Path, code: int
) -> None:
    config = fake_config(
        tasks=("fake-upper",),
        scorers=("judge",),
        judge="server:judge",
        judge_url=server.address,
        judging={"judge_retries": 0},
        train_limit=2,
        test_limit=2,
    )
    server.behaviour = lambda body: repeats(code)
    try:
        told = json.dumps(run(config).to_json())
    except BenchError as error:
        told = f"{error.message} {error.remedy} {error!r}"
    assert "never-to-be-seen" not in told and server.calls
    assert not files_that_hold(config.out, "never-to-be-seen") and not files_that_hold(own_cache, "never-to-be-seen")


def test_a_key_too_short_to_be_learned_is_cut_out_of_the_servers_words(
    fake_config: Make, server: JudgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k-12")
    server.behaviour = lambda body: repeats(401, "k-12")
    server.models = ()
    config = fake_config(tasks=("fake-upper",), scorers=("judge",), judge="server:judge", judge_url=server.address)
    with pytest.raises(BenchError, match=r"Bearer \[key\]") as raised:
        run(config)
    assert "k-12" not in str(raised.value)


def test_the_command_line_shows_no_key(server: JudgeServer, call: Call) -> None:
    server.behaviour = lambda body: repeats(401)
    server.models = ()
    code, out, err = call("run", *BAD_WORDS, "--judge-url", server.address, "--limit", "2", "--out", "o")
    assert code == 2 and "refuses the key" in err and "never-to-be-seen" not in out + err
    assert not files_that_hold(Path("o"), "never-to-be-seen")


@pytest.mark.parametrize(
    "form",
    [
        KEY,
        quote(KEY, safe=""),
        base64.b64encode(KEY.encode()).decode(),
        json.dumps(KEY),
        repr(KEY),
        f"x{KEY}y",
        KEY.replace("never-", "never-\x1b\u200b"),
    ],
    ids=range(7),
)
def test_every_form_of_a_secret_is_cut_out_everywhere(tmp_path: Path, form: str) -> None:
    learn(KEY)
    known = ("sk-never", quote(KEY, safe=""), base64.b64encode(KEY.encode()).decode())
    write_text(tmp_path / "a.txt", clean(form))
    write_json(tmp_path / "b.json", {"text": clean(form), "list": [clean(form)]})
    said = [redact(clean(form)), (tmp_path / "a.txt").read_text(), (tmp_path / "b.json").read_text()]
    assert not any(secret in text for secret in known for text in said)
    assert json.loads(said[2])["list"][0].strip("'\"xy") == "[hidden]"


def _based(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ANY = "sk/<a&b>+c=d?e~never~"


@pytest.mark.parametrize(
    "form",
    [
        quote(ANY, safe="").lower(),
        quote_plus(ANY),
        quote(quote(ANY, safe=""), safe=""),
        _based(ANY),
        _based(ANY).rstrip("="),
        _based(ANY).replace("+", "-").replace("/", "_"),
        _based(f"Bearer {ANY}"),
        _based(f"me:{ANY}"),
        _based(f"user:{ANY}").rstrip("="),
        _based(f"user:{ANY}@host"),
        ANY.encode().hex(),
        html.escape(ANY),
        ANY.replace("/", "\\/"),
        ANY.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"),
    ],
    ids=range(14),
)
def test_a_secret_is_known_as_servers_write_it(form: str) -> None:
    learn(ANY)
    said = redact(f"it is {form} here")
    assert "[hidden]" in said
    # Of base64 what stands before and behind it is left, and a letter that it shares with the secret.
    assert len(said) <= len("it is [hidden] here") + 20


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET http://u:p@host/x failed", "GET http://[hidden]@host/x failed"),
        ("ftp://u:p@ss@host:21/x", "ftp://[hidden]@host:21/x"),
        ("postgresql+psycopg://u:p@host", "postgresql+psycopg://[hidden]@host"),
        ("https://token@host/x", "https://[hidden]@host/x"),
        ("ssh://git@host/x.git", "ssh://git@host/x.git"),
        ("https://host/a@b", "https://host/a@b"),
        ("https://host/x and me@example.org", "https://host/x and me@example.org"),
    ],
)
def test_what_stands_before_the_host_of_an_address_is_not_shown(text: str, shown: str) -> None:
    assert redact(text) == shown == clean(text)


def test_the_environment_is_learned_by_its_names() -> None:
    learn_environment(
        {
            "MY_TOKEN": "abcdefgh1",
            "AWS_SECRET_ACCESS_KEY": "abcdefgh2",
            "DB_PASSWORD": "abcdefgh3",
            "HTTPS_PROXY": "http://me:abcdefgh4@proxy:3128",
            "OPENAI_API_KEY": "abcdefgh5",
            "TOKENIZERS_PARALLELISM": "abcdefgh6",
            "PGPASSWORD": "abcdefgh7",
            "my.github-token": "abcdefgh8",
            "COMPASS": "abcdefgh9",
            "SSH_KEY": "/home/me/key",
            "SOME_KEY": "EMPTY",
        }
    )
    text = " ".join(f"abcdefgh{i}" for i in range(1, 10)) + " /home/me/key EMPTY"
    shown = "[hidden] [hidden] [hidden] [hidden] [key] abcdefgh6 [hidden] [hidden] abcdefgh9 /home/me/key EMPTY"
    assert redact(text) == shown


def test_short_words_are_no_secrets() -> None:
    for word in ("", "none", "EMPTY", "x", "ollama"):
        learn(word)
    assert redact("none EMPTY x ollama") == "none EMPTY x ollama"


def test_an_address_gives_up_its_password_and_its_query() -> None:
    learn_address(f"http://someone:{quote(PASSWORD)}%21@host/{{path}}?token=tok-12345678&path={{path}}")
    assert redact(f"{PASSWORD}! tok-12345678 {{path}}") == "[hidden] [hidden] {path}"


@pytest.fixture
def card(tmp_path: Path) -> str:
    blob = git_blob_id(b"x")
    (tmp_path / "T.yaml").write_text(
        f"name: T\ntitle: T\nsource:\n  type: git\n  repository: https://github.com/who/what\n  commit: '{'0' * 40}'\n"
        f"  files:\n    train: {{path: data/T/train.json, blob: {blob}}}\n"
        f"    test: {{path: data/T/test.json, blob: {blob}}}\n"
    )
    return str(tmp_path / "T.yaml")


@pytest.mark.parametrize("variable", [True, False])
@pytest.mark.parametrize(
    "mirror",
    [
        f"http://u:{PASSWORD}@127.0.0.1:1",
        f"http://u:{PASSWORD}@127.0.0.1:1/{{path}}?key={PASSWORD}",
        f"ftp://u:{PASSWORD}@host",
        f"u:{PASSWORD}@host/{{path}}",
        f"http://u:{PASSWORD}@[bad/{{path}}",
        f"http://u:p@{PASSWORD}@127.0.0.1:1",
        f"http://127.0.0.1:1/{{path}}?token={PASSWORD}",
    ],
)
def test_the_password_of_a_mirror_is_not_shown(
    call: Call, card: str, mirror: str, variable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["data", "fetch", card, "--retries=0"]
    if variable:
        monkeypatch.setenv("LIFEALIGN_BENCH_MIRROR", mirror)
    else:
        words.append(f"--mirror={mirror}")
    for more in ([], ["--json"]):
        code, out, err = call(*words, *more)
        assert code == 2 and "error:" in err and "Traceback" not in err
        assert PASSWORD not in out + err


def test_the_json_of_every_command_is_made_in_one_place() -> None:
    """Where secrets are taken out."""
    made = [file.name for file in (ROOT / "lifealign_bench" / "cli").glob("*.py") if "json.dumps" in file.read_text()]
    assert made == ["output.py"]


def test_tracebacks_logs_and_what_libraries_print_are_redacted(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", PASSWORD)

    def broken(*_: object) -> None:
        handler = logging.StreamHandler(sys.stderr)
        logging.getLogger("a.library").addHandler(handler)
        logging.getLogger("a.library").error("token %s", PASSWORD)
        logging.getLogger("a.library").removeHandler(handler)
        sys.stdout.write(f"token {PASSWORD}\n")
        raise RuntimeError(f"Authorization: Bearer {PASSWORD}")

    monkeypatch.setattr("lifealign_bench.cli.catalog.show_lists", broken)
    code, out, err = call("list")
    assert code == 1 and "Authorization: Bearer [hidden]" in err and out.strip() == "token [hidden]"
    assert PASSWORD not in out + err and "RuntimeError" in err


def test_a_worker_tells_and_logs_no_secret(fake_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker is a process of its own, whose log is kept: here a method raises with a token in its message."""
    from lifealign_bench.experiments.engines.process import WorkerProcess

    monkeypatch.setenv("A_TOKEN", PASSWORD)
    config = fake_config(tasks=("fake-upper",), train_limit=2, test_limit=2)
    method = config.out.parent / "leaky.py"
    method.write_text(
        "import os, sys\nsys.stderr.write('log ' + os.environ['A_TOKEN'] + chr(10))\n"
        "raise RuntimeError('raised ' + os.environ['A_TOKEN'])\n"
    )
    process = WorkerProcess(config.model_copy(update={"method": str(method)}), lambda event: None)
    while (ended := process.ended()) is None:
        pass
    log = process.log.read_text() if process.log.is_file() else ""
    assert ended.status == "failed" and "[hidden]" in ended.message + ended.trace
    assert PASSWORD not in ended.model_dump_json() + log and "log [hidden]" in log


def test_ray_is_given_only_what_is_known_to_be_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = {
        "HF_HUB_USER_ACCESS": PASSWORD,
        "HF_TOKEN": PASSWORD,
        "HF_TOKEN_PATH": "/x",
        "HF_AUTH": PASSWORD,
        "HUGGING_FACE_HUB_TOKEN": PASSWORD,
        "LIFEALIGN_BENCH_JUDGE_AUTH": PASSWORD,
        "TRANSFORMERS_SOMETHING": PASSWORD,
        "LIFEALIGN_BENCH_MIRROR": f"http://host/{{path}}?sig={PASSWORD}",
        "HF_ENDPOINT": f"http://u:{PASSWORD}@host",
        "https_proxy": f"u:{PASSWORD}@host:3128",
        "OPENAI_API_KEY": KEY,
    }
    for name, value in {**secret, "HF_HOME": "/shared", "LIFEALIGN_BENCH_CACHE": "/c"}.items():
        monkeypatch.setenv(name, value)
    found = passed_on()
    assert not secret.keys() & found.keys() and PASSWORD not in str(found) and "never-to-be-seen" not in str(found)
    assert (found["HF_HOME"], found["LIFEALIGN_BENCH_CACHE"]) == ("/shared", "/c")
