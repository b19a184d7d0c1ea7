"""All that a run holds in memory: data, model, method, reference log-probabilities. Built once, passed whole."""

from __future__ import annotations

import gc
import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from peft import PeftModel
from pydantic import ValidationError
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from lifealign_bench import fakes as _fakes  # noqa: F401 - importing it registers the fake tasks and stream
from lifealign_bench.abilities.ability import Abilities, Ability
from lifealign_bench.base import cached_abilities, cached_generations, cached_log_probs
from lifealign_bench.cards import check_reward, load_task
from lifealign_bench.config import RunConfig
from lifealign_bench.data import TaskData, load_task_data, require_fetched
from lifealign_bench.distributed import broadcast, is_main
from lifealign_bench.divergence import divergences
from lifealign_bench.encode import EncodedPair, EncodingReport, digest_encoded, encode_pairs
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.generate import StopTexts, generate, stop_ids
from lifealign_bench.logprobs import Layout, choose_layout, score_pairs
from lifealign_bench.method import Method, Phase, Stage
from lifealign_bench.methods import effective_settings, load_method
from lifealign_bench.models import BaseModel, fresh_adapter, load_base_model
from lifealign_bench.pairs import Split
from lifealign_bench.passes import Passes
from lifealign_bench.probe import processor_name
from lifealign_bench.progress import Progress, far
from lifealign_bench.scorers import Need, Scorer, ScorerContext, load_scorers
from lifealign_bench.scorers.array import Array
from lifealign_bench.workload import GENERATION_WORK, Lengths, lengths_of, phases_of

__all__ = ["Session", "check_lengths", "check_split", "derive_seed", "encode_split", "load_data", "make_method"]

T = TypeVar("T")
NO_ABILITIES = Abilities()


def derive_seed(seed: int, *what: int | str) -> int:
    """A seed of its own for every use of randomness, so that one more use somewhere does not move the others."""
    text = "/".join(str(part) for part in (seed, *what))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % (2**31)


def make_method(config: RunConfig) -> Method:
    """The method of a run with its settings.

    Raises:
        BenchError: unknown method or setting; the method refuses this run.
    """
    cls = load_method(config.method)
    try:
        settings = cls.Config.model_validate(effective_settings(config.method, config.method_settings))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"The setting {place!r} of method {config.method!r}: {first['msg']}.",
            f"Its settings: {', '.join(cls.Config.model_fields) or 'none'}.",
        ) from error
    method = cls(settings)
    method.check(config)
    return method


def method_source(method: Method) -> str:
    """SHA-256 (hex) of the file that defines the method."""
    return hashlib.sha256(Path(inspect.getfile(type(method))).read_bytes()).hexdigest()


def load_data(config: RunConfig, progress: Progress) -> dict[str, TaskData]:
    """The data of all tasks in the stream's order; says what cleaning did.

    Raises:
        BenchError: a card or file is missing or broken.
    """
    data: dict[str, TaskData] = {}
    cards = [load_task(str(config.task_cards.get(name, name))) for name in config.tasks]
    require_fetched(cards, config.data_dir)
    for card in cards:
        check_reward(card)
        if card.replaced_by is not None:
            progress.notice(f"Task {card.name} is superseded by {card.replaced_by}; it is used as asked.")
        task = load_task_data(
            card,
            data_dir=config.data_dir,
            train_limit=config.train_limit,
            test_limit=config.test_limit,
            validation=config.validation,
        )
        for split in ("train", "test"):
            report = task.reports[split]
            if report.dropped:
                progress.notice(f"Task {card.name}, {split}: {report.summary()}.")
        if task.overlap:
            progress.notice(f"Task {card.name}: {task.overlap} test prompts are also training prompts.")
        data[card.name] = task
    return data


@dataclass
class Session:
    """A run in memory.

    Args:
        train, test: encoded pairs of each task, within the cut-off.
        encoding: what the cut-off did.
        abilities: the tests of general ability.
        position: the stage whose adapter and method state are loaded (0: before stage 1).
    """

    config: RunConfig
    data: Mapping[str, TaskData]
    base: BaseModel
    model: PeftModel
    method: Method
    scorers: Mapping[str, Scorer]
    train: Mapping[str, list[EncodedPair]]
    test: Mapping[str, list[EncodedPair]]
    encoding: Mapping[str, Mapping[Split, EncodingReport]]
    layout: Layout
    progress: Progress
    abilities: Abilities = NO_ABILITIES
    position: int = 0
    _reference: dict[str, torch.Tensor] = field(default_factory=dict)
    _said: dict[str, Any] = field(default_factory=dict)  # what the base model said, by what it was asked

    @classmethod
    def build(
        cls,
        config: RunConfig,
        data: Mapping[str, TaskData],
        method: Method,
        progress: Progress,
        scorers: Sequence[str] | None = None,
        abilities: Abilities = NO_ABILITIES,
    ) -> Session:
        """Load the model, encode the data, make the fresh adapter.

        Args:
            scorers: those that will score; none said: all of the run's.
            abilities: the tests of general ability, loaded.

        Raises:
            BenchError: the model cannot be loaded; the cut-off leaves a task without pairs.
        """
        loaded = load_scorers(config.scorers if scorers is None else tuple(scorers))
        if is_main():
            # Before anything is trained: what cannot be scored is known at once.
            context = ScorerContext(config, data, progress)
            for scorer in loaded.values():
                scorer.prepare(context)
        base = load_base_model(config)
        for notice in base.notices:
            progress.notice(f"Model {base.name}: {notice}.")
        train: dict[str, list[EncodedPair]] = {}
        test: dict[str, list[EncodedPair]] = {}
        encoding: dict[str, dict[Split, EncodingReport]] = {}
        for name, task in data.items():
            train[name], train_report = encode_split(base.tokenizer, config, task, "train", progress)
            test[name], test_report = encode_split(base.tokenizer, config, task, "test", progress)
            encoding[name] = {"train": train_report, "test": test_report}
        everything = [p for pairs in (*train.values(), *test.values()) for p in pairs]
        check_lengths(base.model.config, config, lengths_of(everything), method.added_tokens())
        device = torch.device(config.device)
        pad_id = int(base.tokenizer.pad_token_id)
        layout = choose_layout(base.model, _probe(base, everything), pad_id, device, None if method.packs else "whole")
        if layout in ("rows", "plain"):
            progress.notice(
                f"The model {base.name!r} does not take packed pairs: padded rows are used, which is slower."
            )
        model = fresh_adapter(base, config.adapter, derive_seed(config.seed, "adapter"))
        model = method.prepare(model, len(method.plan(list(data))))
        _settle()
        return cls(config, data, base, model, method, loaded, train, test, encoding, layout, progress, abilities)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return torch.device(self.config.device)

    @property
    def pad_id(self) -> int:
        """The padding token."""
        return int(self.base.tokenizer.pad_token_id)

    def needs(self, task: str) -> frozenset[Need]:
        """What the scorers that apply to a task want to know of the model."""
        card = self.data[task].card
        return frozenset(need for s in self.scorers.values() if s.applies(card) for need in s.needs)

    def phases(self) -> tuple[Phase, ...]:
        """The phases of every training stage, in order."""
        return phases_of(self.config, self.method)

    def plan(self) -> list[tuple[str, ...]]:
        """The tasks of every training stage."""
        return self.method.plan(list(self.data))

    def score(self, pairs: Sequence[EncodedPair]) -> torch.Tensor:
        """(P, 2) log-probabilities by the model as it is."""
        return score_pairs(
            self.model,
            pairs,
            pad_id=self.pad_id,
            layout=self.layout,
            token_budget=self.config.tokens_a_pass(),
            device=self.device,
            advance=lambda tokens: self.progress.advanced(float(tokens), tokens=tokens),
            notice=self.progress.notice,
        )

    def base_score(self, pairs: Sequence[EncodedPair]) -> torch.Tensor:
        """(P, 2) log-probabilities by the base model, computed at most once per (model, data) on this machine."""

        def compute() -> torch.Tensor:
            with self.model.disable_adapter():
                return self.score(pairs)

        return self._once(
            digest_encoded(pairs),
            lambda use: cached_log_probs(pairs, self._determined_by(), use, self.progress.notice),
            compute,
        )

    def divergences(self, responses: Sequence[EncodedPair]) -> torch.Tensor:
        """(P,) mean KL a token of the model as it is from the base model, see ``divergence``."""
        return divergences(
            self.model,
            self.model.disable_adapter,
            responses,
            pad_id=self.pad_id,
            layout=self.layout,
            token_budget=self.config.tokens_a_pass(),
            device=self.device,
            advance=lambda tokens: self.progress.advanced(float(tokens), tokens=tokens),
        )

    def respond(self, prompts: Sequence[tuple[int, ...]], stops: Sequence[tuple[str, ...]]) -> list[list[int]]:
        """Greedy responses (token ids) of the model as it is; ``stops``: for each prompt, its card's stop texts."""
        per_prompt = GENERATION_WORK * self.config.generation.max_new_tokens
        return generate(
            self.model,
            prompts,
            max_new_tokens=self.config.generation.max_new_tokens,
            batch_size=self.config.generation.generation_batch_size,
            stop=stop_ids(self.base.model, self.base.tokenizer),
            pad_id=self.pad_id,
            device=self.device,
            stop_texts=StopTexts(stops, self.base.tokenizer.decode) if any(stops) else None,
            whole=self.layout == "whole",
            advance=lambda done: self.progress.advanced(done * per_prompt),
        )

    def base_responses(self) -> dict[str, list[list[int]]]:
        """Task to greedy responses of the base model to its test prompts, computed at most once on this machine.

        All tasks' prompts are generated together, like those of every other stage, since a step of a large batch costs
        little more than that of a small one. Which prompts are together moves the last bits, so that they are always
        all of the run's, in an order that is not the stream's: what is kept serves every order of the same tasks.
        """
        names = sorted(self.test)
        prompts = [p.prompt for name in names for p in self.test[name]]
        stops = [self.data[name].card.stop for name in names for _ in self.test[name]]

        def compute() -> list[list[int]]:
            with self.model.disable_adapter():
                return self.respond(prompts, stops)

        key = self._determined_by() | self.config.generation.model_dump() | {"stops": [list(stop) for stop in stops]}
        said: list[list[int]] = self._once(
            "base responses", lambda use: cached_generations(prompts, key, use, self.progress.notice), compute
        )
        together = iter(said)
        return {name: [next(together) for _ in self.test[name]] for name in names}

    def base_ability(self, ability: Ability) -> tuple[Array, int]:
        """:func:`~lifealign_bench.abilities.measure.measure` of the base model, at most once on this machine."""
        from lifealign_bench.abilities.measure import measure

        def compute() -> tuple[Array, int]:
            with self.model.disable_adapter():
                return measure(self, ability)

        key = self._determined_by() | {"generation_batch_size": self.config.generation.generation_batch_size}
        return self._once(
            f"ability {ability.name} {ability.digest}",
            lambda use: cached_abilities(ability, key, use, self.progress.notice),
            compute,
        )

    def _determined_by(self) -> dict[str, Any]:
        return {
            "model": self.base.fingerprint,
            "layout": self.layout,
            "token_budget": self.config.tokens_a_pass(),
            "device": self.device.type,
            "processor": processor_name() if self.device.type == "cpu" else torch.cuda.get_device_name(self.device),
            "threads": torch.get_num_threads() if self.device.type == "cpu" else 0,
        }

    def _once(self, key: str, look_up: Callable[[Callable[[], T]], T], compute: Callable[[], T]) -> T:
        """``look_up`` on rank 0; where that misses, all processes ``compute`` together, since they share the work."""

        class Miss(Exception):
            pass

        def miss() -> T:
            raise Miss

        if key in self._said:
            return self._said[key]  # type: ignore[no-any-return]
        found: T | None = None
        if is_main():
            try:
                found = look_up(miss)
            except Miss:
                found = None
        found = broadcast(found)
        if found is None:
            result = found = compute()
            if is_main():
                look_up(lambda: result)
        self._said[key] = found
        return found

    def references(self, tasks: Sequence[str]) -> Mapping[str, torch.Tensor]:
        """Pair id to reference log-probabilities (2,), for all training pairs of ``tasks``; grows as stages come."""
        for name in tasks:
            pairs = self.train[name]
            if pairs and pairs[0].pair.id not in self._reference:
                values = self.base_score(pairs)
                self._reference.update({p.pair.id: row for p, row in zip(pairs, values, strict=True)})
        return self._reference

    def references_now(self, tasks: Sequence[str]) -> Mapping[str, torch.Tensor]:
        """Like :meth:`references`, by the model as it is: ``reference: previous``."""
        return {
            p.pair.id: row
            for name in tasks
            for p, row in zip(self.train[name], self.score(self.train[name]), strict=True)
        }

    def stage(self, index: int, phase: Phase, reference: Mapping[str, torch.Tensor]) -> Stage:
        """What the hooks may know of a phase of stage ``index``.

        Args:
            reference: holds all pairs that the hooks may ask for; empty in the supervised phase.
        """
        plan = self.plan()
        tasks = plan[index - 1]
        passes = Passes(
            phase=phase,
            encoded={p.pair.id: p for pairs in self.train.values() for p in pairs},
            reference=reference,
            beta=self.config.training.beta,
            pad_id=self.pad_id,
            layout=self.layout,
            token_budget=self.config.tokens_a_pass(),
            device=self.device,
        )
        return Stage(
            index=index,
            count=len(plan),
            phase=phase,
            final=phase == self.phases()[-1],
            tasks=tasks,
            pairs=tuple(p.pair for name in tasks for p in self.train[name]),
            generator=torch.Generator().manual_seed(derive_seed(self.config.seed, "stage", index, phase)),
            find_pairs=passes.find_pairs,
            log_probs=passes.log_probs,
            references=passes.references,
            margins=passes.margins,
            losses=passes.losses,
            gradient=passes.gradient,
        )


def _settle() -> None:
    """Spare later garbage collections the libraries and the model, which stay: half a second a stage."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def check_lengths(model: PretrainedConfig, config: RunConfig, pairs: Sequence[Lengths], added: int) -> None:
    """Refuse what no forward pass can hold; ``added``: tokens that the method puts into every sequence.

    Raises:
        BenchError: a pair longer than the model's context or than the token budget.
    """
    context = getattr(model.get_text_config(), "max_position_embeddings", None)
    longest = max(p.longest for p in pairs)
    if context is not None and longest + added > context:
        more = f" and the method adds {added}" if added else ""
        raise BenchError(
            f"The longest pair has {longest} tokens{more}, the model {config.model!r} a context of {context}.",
            f"Set the cut-off to at most that: --set max_length={context - added}."
            if context > added
            else "Set the method to fewer added tokens.",
        )
    largest = max(p.tokens for p in pairs)
    if largest > config.tokens_a_pass():
        raise UsageError(
            f"token_budget is {config.tokens_a_pass()}, but the longest pair has {largest} tokens.",
            f"Set it to at least that (--set token_budget={largest}), or lower max_length.",
        )


def _probe(base: BaseModel, pairs: Sequence[EncodedPair]) -> list[EncodedPair]:
    """The shortest pairs, cheap to try a layout on; with a sliding window also the longest, beyond it if any is."""
    ordered = sorted(pairs, key=lambda p: p.tokens)
    window = getattr(base.model.config.get_text_config(), "sliding_window", None)
    beyond = [p for p in ordered if window is not None and len(p.prompt) + len(p.rejected) > window]
    return ordered[:3] + beyond[-1:]


def encode_split(
    tokenizer: PreTrainedTokenizerBase, config: RunConfig, task: TaskData, split: Split, progress: Progress
) -> tuple[list[EncodedPair], EncodingReport]:
    """The token ids of a split within the cut-off; says what that did.

    Raises:
        BenchError: no pair is left.
    """
    pairs = task.train if split == "train" else task.test
    told = far(progress, f"Task {task.card.name}, {split}", len(pairs))
    encoded, report = encode_pairs(tokenizer, pairs, config.training.max_length, task.card.overlong, told)
    check_split(task.card.name, split, config.training.max_length, report, progress)
    return encoded, report


def check_split(name: str, split: Split, cut_off: int, report: EncodingReport, progress: Progress) -> None:
    """Say what the cut-off did to a split.

    Raises:
        BenchError: no pair is left.
    """
    if report.dropped or report.prompts_shortened or report.responses_cut:
        progress.notice(
            f"Task {name}, {split}, cut-off of {cut_off} tokens: {report.prompts_shortened} prompts "
            f"shortened, {report.responses_cut} pairs with a cut response, {report.dropped} pairs dropped."
        )
    if not report.kept:
        raise BenchError(
            f"Task {name} has no {split} pairs within the cut-off of {cut_off} tokens.",
            "Raise max_length (--set max_length=...).",
        )
