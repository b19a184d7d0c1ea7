"""Files come over a bad network whole or not at all, and no byte is asked for twice without need."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import IO

import pytest
from rich.console import Console

from lifealign_bench.cli.live import FetchView
from lifealign_bench.data.cards import TaskCard, git_tasks, load_task
from lifealign_bench.data.download import DownloadPolicy as Patience
from lifealign_bench.data.fetch import Fetched, FetchOptions, FetchWatch, fetch_files, file_address, wanted_files
from lifealign_bench.data.sources import GitFile, GitSource, git_blob_id, read_source
from lifealign_bench.errors import BenchError
from lifealign_bench.util.files import cache_folder, git_blob_file
from tests.command import Call
from tests.data_server import (
    Answer,
    DataServer,
    Handler,
    cut,
    dribble,
    ignore_range,
    redirect,
    serve,
    stall,
    status,
    wrong,
)

COMMIT = "a" * 40
ROWS = [{"prompt": f"question {n}", "chosen": "yes " * 20, "rejected": "no " * 20} for n in range(2000)]
CONTENT = json.dumps(ROWS).encode()
OTHER = json.dumps(ROWS[:5]).encode()
PATH = "/data/T/train.json"
FAST = Patience(retries=2, first_wait=0.01, timeout=5)


class Heard(FetchWatch):
    """Keeps the notices."""

    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's proxies and data are none of the tests' business."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("LIFEALIGN_BENCH_DATA", raising=False)
    monkeypatch.delenv("LIFEALIGN_BENCH_MIRROR", raising=False)


@pytest.fixture
def server() -> Iterator[DataServer]:
    with serve() as told:
        told.files[PATH] = CONTENT
        yield told


def source(*splits: str, content: bytes = CONTENT, repository: str = "https://github.com/who/what") -> GitSource:
    files = {split: GitFile(path=f"data/T/{split}.json", blob=git_blob_id(content)) for split in splits or ("train",)}
    return GitSource.model_validate({"repository": repository, "commit": COMMIT, "files": files})


def fetch_all(
    server: DataServer,
    of: GitSource,
    *,
    patience: Patience = FAST,
    watch: FetchWatch | None = None,
    mirror: str = "",
    force: bool = False,
    data_dir: Path | None = None,
) -> list[Fetched]:
    wanted, _ = wanted_files([TaskCard(name="T", title="T", source=of)])
    options = FetchOptions(mirror or server.address + "/{path}", data_dir, force, patience)
    return fetch_files(wanted, options, watch or FetchWatch())


def fetch(
    server: DataServer,
    *,
    patience: Patience = FAST,
    watch: FetchWatch | None = None,
    mirror: str = "",
    force: bool = False,
    data_dir: Path | None = None,
) -> Fetched:
    (result,) = fetch_all(
        server, source(), patience=patience, watch=watch, mirror=mirror, force=force, data_dir=data_dir
    )
    return result


def place() -> Path:
    return cache_folder() / "data" / COMMIT / "T" / "train.json"


def leftovers() -> list[str]:
    """Everything beside the file itself and the lock."""
    return sorted(p.name for p in place().parent.iterdir() if p.name not in (place().name, f".{place().name}.lock"))


def test_a_file_comes_and_is_read(server: DataServer) -> None:
    result = fetch(server)
    assert (result.state, result.path, result.bytes, result.error) == ("fetched", place(), len(CONTENT), "")
    assert place().read_bytes() == CONTENT and leftovers() == []
    assert read_source(source(), "train", Path(), None).rows == ROWS
    json.dumps(result.as_dict())


def test_what_is_there_is_not_fetched_again_unless_forced(server: DataServer) -> None:
    fetch(server)
    assert fetch(server).state == "available" and len(server.seen) == 1
    assert fetch(server, force=True).state == "fetched" and server.ranges() == [None, None]


def test_a_damaged_file_is_replaced(server: DataServer) -> None:
    fetch(server)
    place().write_bytes(CONTENT[:-1])
    heard = Heard()
    assert fetch(server, watch=heard).state == "fetched"
    assert place().read_bytes() == CONTENT and "damaged" in heard.notices[0]


def test_a_copy_elsewhere_counts_and_a_damaged_one_is_told(server: DataServer, tmp_path: Path) -> None:
    (tmp_path / "T").mkdir()
    copy = tmp_path / "T" / "train.json"
    copy.write_bytes(CONTENT)
    result = fetch(server, data_dir=tmp_path)
    assert (result.state, result.path) == ("available", copy) and server.seen == []
    copy.write_bytes(OTHER)
    result = fetch(server, data_dir=tmp_path)
    assert result.state == "failed" and str(copy) in result.error and git_blob_id(OTHER) in result.error
    assert "--data-dir" in result.remedy and copy.read_bytes() == OTHER


def test_a_download_that_breaks_off_goes_on_with_the_rest_only(server: DataServer) -> None:
    server.plan = [cut(70_000)]
    heard = Heard()
    assert fetch(server, watch=heard).state == "fetched"
    assert server.ranges() == [None, "bytes=70000-"]
    assert server.seen[1][1]["If-Range"] == '"one"'
    assert place().read_bytes() == CONTENT and leftovers() == []
    assert "trying again" in heard.notices[0]


def test_any_number_of_breaks_is_borne_while_it_gets_further(server: DataServer) -> None:
    server.plan = [cut(10_000)]
    for start in range(10_000, 100_000, 10_000):
        server.plan.append(_cut_range(start, start + 10_000))
    assert fetch(server, patience=Patience(retries=1, first_wait=0.001, timeout=5)).state == "fetched"
    assert server.ranges()[-1] == "bytes=100000-" and place().read_bytes() == CONTENT


def _cut_range(start: int, end: int) -> Answer:
    def answer(handler: Handler) -> None:
        assert handler.headers["Range"] == f"bytes={start}-"
        size = len(CONTENT)
        handler.head(206, Content_Range=f"bytes {start}-{size - 1}/{size}", Content_Length=size - start, ETag='"one"')
        handler.wfile.write(CONTENT[start:end])

    return answer


def test_a_server_that_sends_another_part_than_asked_starts_over(server: DataServer) -> None:
    def shifted(handler: Handler) -> None:
        size = len(CONTENT)
        handler.head(206, Content_Range=f"bytes 60000-{size - 1}/{size}", Content_Length=size - 60_000, ETag='"one"')
        handler.wfile.write(CONTENT[60_000:])

    server.plan = [cut(70_000), shifted]
    heard = Heard()
    assert fetch(server, watch=heard).state == "fetched"
    assert server.ranges() == [None, "bytes=70000-", None]
    assert not any("wrong bytes" in notice for notice in heard.notices)


def test_it_goes_on_in_a_later_command_too(server: DataServer) -> None:
    server.plan = [cut(50_000), status(500)]
    result = fetch(server, patience=Patience(retries=0, first_wait=0.01, timeout=5))
    assert result.state == "failed" and "the same command goes on there" in result.remedy
    assert not place().exists() and leftovers() == ["train.json.part", "train.json.part.etag"]
    server.plan = []
    assert fetch(server).state == "fetched"
    assert server.ranges() == [None, "bytes=50000-"]


def test_a_server_that_ignores_ranges_starts_over(server: DataServer) -> None:
    server.plan = [cut(70_000), ignore_range]
    assert fetch(server).state == "fetched"
    assert server.ranges() == [None, "bytes=70000-"] and place().read_bytes() == CONTENT


@pytest.mark.parametrize("tag", ['"two"', 'W/"two"', ""])
def test_bytes_of_two_versions_are_never_mixed(server: DataServer, tag: str) -> None:
    old = b"x" * len(CONTENT)
    server.files[PATH], server.tag = old, 'W/"old"' if tag.startswith("W/") else tag and '"old"'
    server.plan = [cut(70_000)]
    fetch(server, patience=Patience(retries=0, timeout=5))
    server.files[PATH], server.tag = CONTENT, tag
    heard = Heard()
    assert fetch(server, watch=heard).state == "fetched"
    # Without a tag only the finished file tells; with one the mixture is never made.
    assert any("wrong bytes" in notice for notice in heard.notices) == (not tag)
    assert place().read_bytes() == CONTENT and leftovers() == []


def test_a_part_that_is_complete_already_is_taken(server: DataServer) -> None:
    place().parent.mkdir(parents=True)
    place().with_name("train.json.part").write_bytes(CONTENT)
    assert fetch(server).state == "fetched" and server.ranges() == [f"bytes={len(CONTENT)}-"]


def test_a_part_that_is_too_long_or_wrong_is_thrown_away(server: DataServer) -> None:
    place().parent.mkdir(parents=True)
    place().with_name("train.json.part").write_bytes(CONTENT + b"more")
    assert fetch(server).state == "fetched" and server.ranges()[-1] is None
    place().unlink()
    place().with_name("train.json.part").write_bytes(b"x" * 1000)
    assert fetch(server).state == "fetched" and server.ranges()[-1] is None
    assert place().read_bytes() == CONTENT


def test_wrong_bytes_get_one_fresh_try_and_are_reported_with_both_ids(server: DataServer) -> None:
    server.plan = [wrong(OTHER)]
    assert fetch(server).state == "fetched" and len(server.seen) == 2
    place().unlink()
    server.files[PATH], server.seen = OTHER, []
    result = fetch(server)
    assert result.state == "failed" and len(server.seen) == 2
    assert git_blob_id(OTHER) in result.error and git_blob_id(CONTENT) in result.error
    assert "changed upstream" in result.remedy and COMMIT in result.remedy
    assert not place().exists() and leftovers() == []


def test_forced_wrong_bytes_leave_the_right_file(server: DataServer) -> None:
    fetch(server)
    server.files[PATH] = OTHER
    assert fetch(server, force=True).state == "failed"
    assert place().read_bytes() == CONTENT and leftovers() == []


@pytest.mark.parametrize("code", [403, 404, 410])
def test_a_refusal_is_not_tried_again_and_keeps_no_other_file(server: DataServer, code: int) -> None:
    server.plan = [status(code)]
    server.files["/data/T/test.json"] = CONTENT
    first, second = fetch_all(server, source("train", "test"))
    assert (first.state, second.state, len(server.seen)) == ("failed", "fetched", 2)
    assert f"the server answers {code}" in first.error and "--mirror" in first.remedy


def test_server_errors_are_tried_again(server: DataServer) -> None:
    server.plan = [status(500), status(503), wrong(CONTENT)]
    heard = Heard()
    assert fetch(server, watch=heard).state == "fetched"
    assert [notice.partition(";")[0] for notice in heard.notices] == [
        "the server answers 500 Internal Server Error",
        "the server answers 503 Service Unavailable",
    ]


def test_patience_ends_and_the_rest_is_not_tried(server: DataServer) -> None:
    server.plan = [status(503)] * 3
    first, second = fetch_all(server, source("train", "test"))
    assert (first.state, second.state, len(server.seen)) == ("failed", "not tried", 3)
    assert "503" in first.error and "after 3 tries" in first.error


def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr("lifealign_bench.data.download.sleep", waited.append)
    return waited


def test_waits_double_up_to_a_limit(server: DataServer, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = sleeps(monkeypatch)
    server.plan = [status(500)] * 5
    fetch(server, patience=Patience(retries=5, first_wait=1, longest_wait=5))
    assert waited == [1, 2, 4, 5, 5]


def test_retry_after_is_honoured_as_number_and_date(server: DataServer, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = sleeps(monkeypatch)
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    server.plan = [status(429, Retry_After=7), status(503, Retry_After=moment), status(429, Retry_After="soon")]
    assert fetch(server, patience=Patience(retries=3, first_wait=1)).state == "fetched"
    assert waited[0] == 7 and 55 < waited[1] <= 60 and waited[2] == 4


def test_a_server_that_asks_for_an_hour_is_told_at_once(server: DataServer, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = sleeps(monkeypatch)
    server.plan = [status(429, Retry_After=3600)]
    result = fetch(server)
    assert result.state == "failed" and "1 h 00 min" in result.error and waited == []


def test_redirects_are_followed_and_loops_are_not(server: DataServer) -> None:
    server.files["/elsewhere"] = CONTENT
    server.plan = [redirect("/elsewhere")]
    assert fetch(server).state == "fetched" and server.seen[1][0] == "/elsewhere"
    place().unlink()
    server.plan = [redirect(PATH)] * 30
    assert "redirect" in fetch(server).error.lower()


def test_a_slow_server_is_borne_and_a_silent_one_is_left(server: DataServer) -> None:
    server.plan = [dribble(7, 0.25)]
    assert fetch(server, patience=Patience(retries=0, timeout=1.5)).state == "fetched"  # 1.75 s in all
    place().unlink()
    done = threading.Event()
    server.plan, server.seen = [stall(30_000, done)], []
    began = time.monotonic()
    result = fetch(server, patience=Patience(retries=1, first_wait=0.01, timeout=0.4))
    done.set()
    assert result.state == "fetched" and server.ranges() == [None, "bytes=30000-"]
    assert time.monotonic() - began < 15  # the server would say nothing for 20 s


def test_no_network_is_one_message(server: DataServer) -> None:
    first, second = fetch_all(server, source("train", "test"), mirror="http://127.0.0.1:1/{path}")
    assert (first.state, second.state) == ("failed", "not tried") and second.error == ""
    assert "no connection to 127.0.0.1" in first.error and "after 3 tries" in first.error
    assert all(word in first.remedy for word in ("network", "HTTPS_PROXY", "--mirror", "--data-dir"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_message_and_nothing_is_lost(
    server: DataServer, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def write(file: IO[bytes], piece: bytes) -> None:
        if file.tell() + len(piece) > 60_000:
            file.write(piece[: 60_000 - file.tell()])
            raise OSError(code, os.strerror(code))
        file.write(piece)

    with monkeypatch.context() as full:
        full.setattr("lifealign_bench.data.download._write", write)
        first, second = fetch_all(server, source("train", "test"))
    assert (first.state, second.state) == ("failed", "not tried")
    assert "disk is full" in first.error and "more are needed" in first.error
    assert "LIFEALIGN_BENCH_CACHE" in first.remedy and not place().exists()
    assert fetch(server).state == "fetched" and server.ranges() == [None, "bytes=60000-"]


def test_a_cache_that_cannot_be_written_is_one_message(server: DataServer) -> None:
    (cache_folder() / "data").write_text("a file where a folder should be")
    first, second = fetch_all(server, source("train", "test"))
    assert (first.state, second.state) == ("failed", "not tried") and str(cache_folder() / "data") in first.error
    assert "LIFEALIGN_BENCH_CACHE" in first.remedy and server.seen == []


def test_one_writer_at_a_time(server: DataServer) -> None:
    server.plan = [dribble(5, 0.1)]
    states: list[str] = []
    heard = Heard()
    threads = [threading.Thread(target=lambda: states.append(fetch(server, watch=heard).state)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(states) == ["available", "available", "fetched"] and len(server.seen) == 1
    assert len([notice for notice in heard.notices if "waiting for it" in notice]) == 2


def test_addresses(server: DataServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def address(mirror: str | None, repository: str = "https://github.com/who/what") -> str:
        (item,) = wanted_files([TaskCard(name="T", title="T", source=source(repository=repository))])[0]
        return file_address(item, mirror)

    tail = f"who/what/{COMMIT}/data/T/train.json"
    assert address(None) == f"https://raw.githubusercontent.com/{tail}"
    assert address(None, repository="https://github.com/who/what.git/") == f"https://raw.githubusercontent.com/{tail}"
    assert address("http://host/raw/") == f"http://host/raw/{tail}"
    assert address("http://host/{repo}@{commit}?f={path}") == f"http://host/who/what@{COMMIT}?f=data/T/train.json"
    assert address("http://host/{path}", repository="https://example.org/r") == "http://host/data/T/train.json"
    monkeypatch.setenv("LIFEALIGN_BENCH_MIRROR", "http://other")
    assert address(None) == f"http://other/{tail}" and address("http://host") == f"http://host/{tail}"
    monkeypatch.delenv("LIFEALIGN_BENCH_MIRROR")
    github = "https://github.com/who/what"
    for mirror, repository in (("host/x", github), ("file:///x", github), (None, "https://example.org/r")):
        with pytest.raises(BenchError) as caught:
            address(mirror, repository)
        assert "--mirror" in caught.value.remedy


def test_proxies_of_the_environment_are_used(server: DataServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.address)
    assert fetch(server, mirror="http://data.example/{path}").state == "fetched"
    assert server.seen[0][0] == f"http://data.example{PATH}"
    monkeypatch.setenv("HTTP_PROXY", "strange://x")
    with pytest.raises(BenchError) as caught:
        fetch(server, mirror="http://data.example/{path}")
    assert "proxy" in caught.value.message and "HTTP_PROXY" in caught.value.remedy


def test_no_token_is_sent_and_no_password_is_shown(server: DataServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_TOKEN", "GH_TOKEN", "HF_TOKEN"):
        monkeypatch.setenv(name, "secret-token")
    server.plan = [status(404)]
    fetch(server)
    assert "Authorization" not in server.seen[0][1] and "secret-token" not in str(server.seen)
    server.plan = [status(404)]
    result = fetch(server, mirror=server.address.replace("http://", "http://me:hush@") + "/{path}")
    assert "404" in result.error and "hush" not in result.error


def test_a_card_cannot_write_elsewhere() -> None:
    for path in ("../x", "data/../../x", "/etc/x", "", "data\\x"):
        with pytest.raises(ValueError, match="path inside the repository"):
            GitFile(path=path, blob="0" * 40)


@pytest.fixture
def card(tmp_path: Path) -> str:
    """A card of two files at a server's ``/{path}``."""
    blob = git_blob_id(CONTENT)
    (tmp_path / "T.yaml").write_text(
        f"name: T\ntitle: T\nsource:\n  type: git\n  repository: https://github.com/who/what\n  commit: {COMMIT}\n"
        f"  files:\n    train: {{path: data/T/train.json, blob: {blob}}}\n"
        f"    test: {{path: data/T/test.json, blob: {blob}}}\n"
    )
    return str(tmp_path / "T.yaml")


def test_the_command_tells_what_it_did(call: Call, server: DataServer, card: str) -> None:
    mirror = f"--mirror={server.address}/{{path}}"
    server.files["/data/T/test.json"] = CONTENT
    code, _, err = call("data", "verify", card)
    assert code == 2 and f"lifealign-bench data fetch {card}" in err
    code, out, err = call("data", "fetch", card, "mini-facts", mirror)
    assert code == 0 and out.count("fetched") == 3 and "Nothing to fetch for mini-facts" in err
    assert "[1/2] T train" in err and "fetched and verified" in err
    code, out, err = call("data", "fetch", card, mirror)
    assert code == 0 and err.count("not fetched again") == 2 and len(server.seen) == 2
    code, out, err = call("data", "fetch", card, mirror, "--json", "--quiet")
    assert (code, err) == (0, "") and [file["state"] for file in json.loads(out)] == ["available", "available"]


def test_the_command_fails_with_one_message_for_each_fault(call: Call, server: DataServer, card: str) -> None:
    code, out, err = call("data", "fetch", card, f"--mirror={server.address}/{{path}}", "--json")
    assert code == 2 and [file["state"] for file in json.loads(out)] == ["fetched", "failed"]
    assert err.count("error:") == 1 and "404" in err and "Traceback" not in err
    code, out, err = call("data", "fetch", card, "--mirror=http://127.0.0.1:1", "--retries=0", "--force")
    assert code == 2 and err.count("error:") == 1 and "no connection" in err and "not tried" in out


def test_interrupted(call: Call, card: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> list[Fetched]:
        raise KeyboardInterrupt

    monkeypatch.setattr("lifealign_bench.data.fetch.fetch_files", interrupted)
    code, out, err = call("data", "fetch", card)
    assert (code, out) == (130, "") and "the same command goes on" in err


def test_without_names_it_is_the_papers_six_tasks() -> None:
    assert [card.name for card in git_tasks()] == [
        *("Capybara-Preferences", "HC3", "TruthfulQA", "hh-rlhf-harmless-base", "hh-rlhf-helpful-base", "safe-rlhf")
    ]


def test_a_killed_process_leaves_a_part_that_another_goes_on_with(server: DataServer, card: str) -> None:
    done = threading.Event()
    server.files["/data/T/test.json"] = CONTENT
    server.plan = [stall(80_000, done)]
    words = [sys.executable, "-m", "lifealign_bench", "data", "fetch", card, f"--mirror={server.address}/{{path}}"]
    first = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    part = place().with_name("train.json.part")
    try:
        _until(lambda: part.is_file() and part.stat().st_size > 60_000)
    finally:
        first.kill()
        first.wait()
        done.set()
    assert not place().exists()
    size = part.stat().st_size
    both = [subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert server.ranges() == [None, f"bytes={size}-", None]
    assert (place().read_bytes() == CONTENT and leftovers() == ["test.json"] + [".test.json.lock"] * 0) or leftovers()


def test_ctrl_c_ends_at_once_and_says_how_to_go_on(server: DataServer, card: str) -> None:
    done = threading.Event()
    server.plan = [stall(80_000, done)]
    words = [sys.executable, "-m", "lifealign_bench", "data", "fetch", card, f"--mirror={server.address}/{{path}}"]
    # A shell may have told this process, and so its children, to ignore Ctrl-C.
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )
    part = place().with_name("train.json.part")
    try:
        _until(lambda: part.is_file() and part.stat().st_size > 60_000)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=18)  # the server would say nothing for 20 s
    finally:
        process.kill()
        process.wait()
        done.set()
    assert process.returncode == 130 and "the same command goes on" in err and "Traceback" not in err
    assert part.stat().st_size == 80_000 and not place().exists()


def test_a_terminal_gets_a_bar_and_one_lasting_line_a_file(server: DataServer) -> None:
    server.plan = [cut(70_000)]
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    with FetchView(console) as view:
        fetch(server, watch=view)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "[1/1] T train: the connection broke" in shown and "going on at 68 KiB" in shown
    assert shown.count("fetched and verified") == 1 and "━━━" in shown and "bytes" in shown


def _until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def test_the_papers_files_come_through(shared_data: Path, server: DataServer) -> None:
    cards = [load_task(name) for name in ("TruthfulQA", "safe-rlhf")]
    for path in shared_data.glob("*/*.json"):
        server.files[f"/data/{path.parent.name}/{path.name}"] = path.read_bytes()
    server.plan = [cut(100_000)]
    wanted, _ = wanted_files(cards)
    results = fetch_files(wanted, FetchOptions(server.address + "/{path}", patience=FAST), FetchWatch())
    assert [result.state for result in results] == ["fetched"] * 4
    for result in results:
        assert git_blob_file(result.path) == result.wanted.file.blob
        assert read_source(result.wanted.source, result.wanted.split, Path(), None).rows
