"""Processes that start from one which has loaded everything already.

To load torch, transformers and PEFT costs more than a short run does. A warm process loads them once, does nothing
else, and forks itself for every process that is asked of it. What a child does is what a process of its own would do:
nothing was computed before the fork, no pool of threads was begun, and CUDA was not touched. Where no process can be
warm (another system than Linux, a library that begins threads as it is loaded), every process starts by itself.

A module that is started so has ``prepare()``, which imports what it will need, and ``main()``, which does the work with
the words of ``sys.argv``. It is the same module that ``python -m`` starts.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

# Bytes of one message: the words of a process and its variables.
_MESSAGE = 2**20
_LOOK_SECONDS = 0.05
# How long the warm process may take to tell that one of its children, which was killed, has ended.
_WAIT_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1


class Child(Protocol):
    """A process that was started, in a session of its own."""

    def poll(self) -> int | None:
        """Its exit code, minus the signal's number where one killed it; None while it goes on."""
        ...

    def wait(self) -> None:
        """Until it has ended; for one that was killed."""
        ...

    def signal(self, number: signal.Signals) -> None:
        """Send this to it and to all that it started; nothing happens where it has ended."""
        ...


@dataclass(frozen=True)
class Order:
    """A process to start.

    Args:
        module: see the module's docstring.
        words: of its command line.
        output, errors: file descriptors of its standard output and standard error.
        environment: variables that are set for it, beside those of this process.
    """

    module: str
    words: tuple[str, ...]
    output: int
    errors: int
    environment: Mapping[str, str]


class FreshChild:
    """A process that loads everything itself.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, order: Order, launcher: Sequence[str] = ()) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", *launcher, "-m", order.module, *order.words],
            stdin=subprocess.DEVNULL,
            stdout=order.output,
            stderr=order.errors,
            # A Ctrl-C at the terminal is this process's affair, which asks the others to stop.
            start_new_session=True,
            env={**os.environ, **as_imported_here(), **order.environment},
        )

    def poll(self) -> int | None:
        """See :class:`Child`."""
        return self._process.poll()

    def wait(self) -> None:
        """See :class:`Child`."""
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """See :class:`Child`."""
        # While the process is not waited for, its number, which is also its group's, cannot become another's.
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


class Warm:
    """A warm process, seen from the one that starts others from it; for one thread of it.

    Nothing is begun before the first process is asked for. Without :meth:`close`, it ends with this process, and all
    that were started from it end with it.

    Args:
        module: what its children run.
        environment: variables that libraries read while they are loaded: the same for all children.
    """

    def __init__(self, module: str, environment: Mapping[str, str] | None = None) -> None:
        self.module = module
        self.environment = dict(environment or {})
        self._line: socket.socket | None = None
        self._server: _Server | None = None
        self._ready = False
        self._over = not can_be_warm()
        self._children: dict[int, _WarmChild] = {}
        self._count = 0

    def begin_here(self) -> None:
        """Make a copy of this process the warm one: only where nothing was computed yet, and all is loaded."""
        if self._over or not _untouched():
            return
        self._line, there = _line()
        pid = _fork()
        if pid == 0:
            os.setsid()
            self._line.close()
            _to_nowhere()
            _serve(there, self.module)
        there.close()
        self._server = _Copy(pid)

    def start(
        self, words: Sequence[str], output: int, errors: int, environment: Mapping[str, str] | None = None
    ) -> Child:
        """Start a process with these words; its descriptors may be closed here afterwards.

        Raises:
            OSError: it cannot be started.
        """
        order = Order(self.module, tuple(words), output, errors, {**self.environment, **(environment or {})})
        if not self._over and self._line is None:
            self._begin()
        self.look()
        if self._over:
            return FreshChild(order)
        self._count += 1
        child = _WarmChild(self, self._count, order)
        self._children[self._count] = child
        self.look()
        return child

    def look(self) -> None:
        """Take in what the warm process has said, and hand it what waits."""
        while not self._over and self._line is not None:
            try:
                said = self._line.recv(_MESSAGE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                said = b""
            if not said:
                self._lost()
                return
            message = json.loads(said)
            if "ended" in message:
                self._children.pop(message["ended"]).code = message["code"]
            self._ready = True
        if self._ready:
            for child in self._children.values():
                child.hand_over()

    def send(self, message: Mapping[str, Any], files: Sequence[int] = ()) -> bool:
        """Say something to the warm process; False where it has ended."""
        assert self._line is not None
        try:
            socket.send_fds(self._line, [json.dumps(message).encode()], list(files))
        except OSError:
            return False
        return True

    def forget(self, key: int) -> None:
        """A process that is no longer to be started."""
        self._children.pop(key, None)

    def close(self) -> None:
        """End the warm process, and with it all that go on."""
        for child in self._children.values():
            child.killed()
        self._children = {}
        if self._line is not None:
            self._line.close()
            self._line = None
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None
        self._over = True

    def _begin(self) -> None:
        self._line, there = _line()
        with there, suppress(OSError):  # it is then as one that has ended
            self._server = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(there.fileno()), self.module],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[there.fileno()],
                start_new_session=True,
                env={**os.environ, **as_imported_here(), **self.environment},
            )

    def _lost(self) -> None:
        """The warm process has ended, and its children with it; those that it had not begun start by themselves."""
        self._over = True
        children, self._children = self._children, {}
        for child in children.values():
            child.orphaned()


class _Server(Protocol):
    def kill(self) -> None: ...
    def wait(self) -> Any: ...


@dataclass(frozen=True)
class _Copy:
    """A copy of this process."""

    pid: int

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> None:
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


class _WarmChild:
    """A process that is started from a warm one as soon as that has loaded everything."""

    def __init__(self, warm: Warm, key: int, order: Order) -> None:
        self.code: int | None = None
        self._warm = warm
        self._key = key
        # The caller may close its own before this is started.
        self._waiting: Order | None = Order(
            order.module, order.words, os.dup(order.output), os.dup(order.errors), order.environment
        )
        self._fresh: FreshChild | None = None

    def poll(self) -> int | None:
        """See :class:`Child`."""
        self._warm.look()
        return self._fresh.poll() if self._fresh is not None else self.code

    def wait(self) -> None:
        """See :class:`Child`."""
        until = time.monotonic() + _WAIT_SECONDS
        while self.poll() is None:
            if time.monotonic() > until:
                self._warm.close()  # and this one with it
            time.sleep(_LOOK_SECONDS / 2)

    def signal(self, number: signal.Signals) -> None:
        """See :class:`Child`."""
        if self.poll() is not None:
            return
        if self._fresh is not None:
            self._fresh.signal(number)
        elif self._waiting is not None:
            self._let_go()
            self.code = -number
            self._warm.forget(self._key)
        else:
            self._warm.send({"signal": self._key, "number": int(number)})

    def hand_over(self) -> None:
        """To the warm process, which is ready."""
        order = self._waiting
        if order is None:
            return
        message = {"start": self._key, "words": order.words, "environment": dict(order.environment)}
        if self._warm.send(message, (order.output, order.errors)):
            self._let_go()

    def killed(self) -> None:
        """Ended with the warm process, which was asked to end."""
        self._let_go()
        if self._fresh is None:
            self.code = -signal.SIGKILL

    def orphaned(self) -> None:
        """The warm process has ended."""
        if self._waiting is None:
            self.code = -signal.SIGKILL
            return
        try:
            self._fresh = FreshChild(self._waiting)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self._waiting is not None:
            os.close(self._waiting.output)
            os.close(self._waiting.errors)
            self._waiting = None


def can_be_warm() -> bool:
    """Whether processes can be forked here without harm: libraries of other systems do not bear it."""
    return sys.platform == "linux"


def as_imported_here() -> dict[str, str]:
    """Variables with which a process imports from where this one does, whatever the folder it starts in."""
    return {"PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)}


def _line() -> tuple[socket.socket, socket.socket]:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (here, there):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MESSAGE)
    return here, there


def _untouched() -> bool:
    """Whether a fork of this process is as good as a new one: no thread of Python's and no CUDA that it would lack."""
    torch = sys.modules.get("torch")
    begun = torch is not None and torch.cuda.is_initialized()
    return not begun and threading.active_count() == 1 and not _drives_a_gpu()


def _drives_a_gpu() -> bool:
    """Whether anything here has opened a GPU; to ask torch for GPUs may do so before torch calls CUDA initialised."""
    return any(os.path.realpath(file).startswith("/dev/nvidia") for file in Path("/proc/self/fd").iterdir())


def _fork() -> int:
    with warnings.catch_warnings():
        # The threads that numpy's and pyarrow's libraries begin while they are loaded bear a fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _to_nowhere() -> None:
    with Path(os.devnull).open("r+b", buffering=0) as nowhere:
        for number in (0, 1, 2):
            os.dup2(nowhere.fileno(), number)


def _serve(line: socket.socket, module: str) -> NoReturn:
    """Load the module, and fork a child for every order, until the other end of the line is closed."""
    code = 1
    try:
        target = importlib.import_module(module)
        target.prepare()
        if _untouched():
            gc.collect()
            gc.freeze()  # the collector of a child then writes into none of the pages that all share
            _Nursery(line, target.main).tend()
            code = 0
    finally:
        os._exit(code)


class _Nursery:
    """The warm process's own side.

    Args:
        line: to the process that wants children.
        work: what a child does.
    """

    def __init__(self, line: socket.socket, work: Callable[[], None]) -> None:
        self.line = line
        self.work = work
        self.numbers: dict[int, int] = {}  # process ids by the children's keys

    def tend(self) -> None:
        self.line.send(json.dumps({"ready": True}).encode())
        while True:
            if select.select([self.line], [], [], _LOOK_SECONDS if self.numbers else None)[0]:
                text, files, _, _ = socket.recv_fds(self.line, _MESSAGE, 2)
                if not text:
                    break
                self._heed(json.loads(text), files)
            for key, pid in list(self.numbers.items()):
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    del self.numbers[key]
                    code = os.waitstatus_to_exitcode(status)
                    self.line.send(json.dumps({"ended": key, "code": code}).encode())
        for pid in self.numbers.values():
            os.killpg(pid, signal.SIGKILL)

    def _heed(self, message: Mapping[str, Any], files: Sequence[int]) -> None:
        if "signal" in message:
            if message["signal"] in self.numbers:
                # It is waited for here alone, so its number is still its own.
                os.killpg(self.numbers[message["signal"]], message["number"])
            return
        try:
            self.numbers[message["start"]] = self._bear(message, files)
        finally:
            for number in files:
                os.close(number)

    def _bear(self, message: Mapping[str, Any], files: Sequence[int]) -> int:
        """A child, which leads a group of its own by the time that this returns its number."""
        heard, told = os.pipe()
        parent = os.getpid()
        pid = _fork()
        if pid == 0:
            os.setsid()
            _end_with(parent)
            for number in (heard, told, self.line.detach()):
                os.close(number)
            self._live(message, files)
        os.close(told)
        os.read(heard, 1)
        os.close(heard)
        return pid

    def _live(self, message: Mapping[str, Any], files: Sequence[int]) -> NoReturn:
        """The child's whole life."""
        code = 1
        try:
            for target, number in enumerate(files, start=1):
                os.dup2(number, target)
                os.close(number)
            sys.stdout = os.fdopen(1, "w", closefd=False)
            sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
            os.environ.update(message["environment"])
            sys.argv[1:] = message["words"]
            code = _done(self.work)
        finally:
            os._exit(code)


def _done(work: Callable[[], None]) -> int:
    """Work, and take leave as Python does at a program's end; returns the exit code."""
    code = 0
    try:
        work()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - said and told by the exit code, as of any program
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _end_with(parent: int) -> None:
    """Have this process killed as soon as ``parent`` ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
