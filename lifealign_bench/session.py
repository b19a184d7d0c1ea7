"""All that a run holds in memory: data, model, method, reference log-probabilities. Built once, passed whole."""

from __future__ import annotations

import gc
import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from peft import PeftModel
from pydantic import ValidationError
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from lifealign_bench import fakes as _fakes  # noqa: F401 - importing it registers the fake tasks and stream
from lifealign_bench.abilities.ability import Abilities
from lifealign_bench.cards import check_reward, load_task
from lifealign_bench.chattemplate import reads_clock, unsettled
from lifealign_bench.clock import Clock
from lifealign_bench.config import RunConfig
from lifealign_bench.data import TaskData, load_task_data, require_fetched
from lifealign_bench.distributed import is_main
from lifealign_bench.encode import EncodedPair, EncodingReport, digest_encoded, encode_pairs
from lifealign_bench.errors import BenchError, UsageError
from lifealign_bench.evidence import Exam
from lifealign_bench.logprobs import choose_layout
from lifealign_bench.method import Method, Phase, Stage
from lifealign_bench.methods import effective_settings, load_method
from lifealign_bench.models import NO_TEMPLATE, BaseModel, check_ids, fresh_adapter, load_base_model
from lifealign_bench.pairs import Split
from lifealign_bench.passes import Passes
from lifealign_bench.progress import Progress, far
from lifealign_bench.scorers import Scorer, ScorerContext, load_scorers
from lifealign_bench.speaker import Speaker
from lifealign_bench.window import smallest_window
from lifealign_bench.workload import Lengths, lengths_of, phases_of, scored_tasks

__all__ = [
    "Session",
    "check_lengths",
    "check_responses",
    "check_split",
    "derive_seed",
    "encode_split",
    "load_data",
    "make_method",
]

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
        speaker: the model.
        train, test: encoded pairs of each task, within the cut-off.
        encoding: what the cut-off did.
        abilities: the tests of general ability.
        position: the stage whose adapter and method state are loaded (0: before stage 1).
    """

    config: RunConfig
    data: Mapping[str, TaskData]
    speaker: Speaker
    method: Method
    scorers: Mapping[str, Scorer]
    train: Mapping[str, list[EncodedPair]]
    test: Mapping[str, list[EncodedPair]]
    encoding: Mapping[str, Mapping[Split, EncodingReport]]
    abilities: Abilities = NO_ABILITIES
    position: int = 0
    _reference: dict[str, torch.Tensor] = field(default_factory=dict)

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
            BenchError: the model cannot be loaded, scored or, where a scorer needs responses, generated from; the
                cut-off leaves a task without pairs.
        """
        config = config.model_copy(update={"clock": Clock.of(config.clock).text()})
        loaded = load_scorers(config.scorers if scorers is None else tuple(scorers))
        if is_main():
            # Before anything is trained: what cannot be scored is known at once.
            tasks = list(data)
            stages = [scored_tasks(config, method, tasks, index) for index in range(len(method.plan(tasks)) + 1)]
            context = ScorerContext(config, data, stages, progress)
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
        check_ids(base, (ids for p in everything for ids in (p.prompt, p.chosen, p.rejected)))
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
        speaker = Speaker(
            base=base,
            model=model,
            layout=layout,
            token_budget=config.tokens_a_pass(),
            device=device,
            generation=config.generation,
            progress=progress,
            added_tokens=method.added_tokens(),
            asked=tuple(p.prompt for pairs in test.values() for p in pairs),
        )
        session = cls(config, data, speaker, method, loaded, train, test, encoding, abilities)
        asked = [len(p.prompt) for name in test if "responses" in session.exam.needs(name) for p in test[name]]
        if asked:
            check_responses(base.model.config, config, asked, method.added_tokens())
            speaker.arrangement()
        return session

    @property
    def base(self) -> BaseModel:
        """The base model as it was loaded."""
        return self.speaker.base

    @property
    def model(self) -> PeftModel:
        """The model that is trained."""
        return self.speaker.model

    @property
    def progress(self) -> Progress:
        """Told what happens."""
        return self.speaker.progress

    @property
    def exam(self) -> Exam:
        """What the model is asked after every stage."""
        cards = {name: task.card for name, task in self.data.items()}
        return Exam(self.speaker, self.config, cards, self.test, self.scorers)

    def token_digests(self) -> dict[str, dict[str, str]]:
        """Task to split to the SHA-256 of its encoded pairs."""
        return {n: {"train": digest_encoded(self.train[n]), "test": digest_encoded(self.test[n])} for n in self.data}

    def tokens_changed(self) -> str | None:
        """Why a run of before tokens were written down may have had others than these; None: it had these."""
        tokenizer = self.base.tokenizer
        if reads_clock(tokenizer):
            return "the model's chat template writes the date, and which one it wrote is not known"
        if NO_TEMPLATE in self.base.notices:
            return "dialogues of models without a chat template are laid out in another way since"
        if unsettled(tokenizer, Clock.of(self.config.clock)):
            return "prompts that end in what depends on the answer are cut in another way since"
        return None

    def phases(self) -> tuple[Phase, ...]:
        """The phases of every training stage, in order."""
        return phases_of(self.config, self.method)

    def plan(self) -> list[tuple[str, ...]]:
        """The tasks of every training stage."""
        return self.method.plan(list(self.data))

    def scored_after(self, stage: int) -> list[str]:
        """The tasks that are scored after ``stage``: all, or those seen by then, or those trained in it alone."""
        return scored_tasks(self.config, self.method, list(self.data), stage)

    def references(self, tasks: Sequence[str]) -> Mapping[str, torch.Tensor]:
        """Pair id to reference log-probabilities (2,), for all training pairs of ``tasks``; grows as stages come."""
        for name in tasks:
            pairs = self.train[name]
            if pairs and pairs[0].pair.id not in self._reference:
                values = self.speaker.base_score(pairs)
                self._reference.update({p.pair.id: row for p, row in zip(pairs, values, strict=True)})
        return self._reference

    def references_now(self, tasks: Sequence[str]) -> Mapping[str, torch.Tensor]:
        """Like :meth:`references`, by the model as it is: ``reference: previous``."""
        return {
            p.pair.id: row
            for name in tasks
            for p, row in zip(self.train[name], self.speaker.score(self.train[name]), strict=True)
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
            speaker=self.speaker,
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


def check_responses(model: PretrainedConfig, config: RunConfig, prompts: Sequence[int], added: int) -> None:
    """Refuse responses that would not end within the model's context: some models know no position beyond it.

    Args:
        prompts: tokens of each prompt that is to be answered.
        added: tokens that the method puts into every sequence.

    Raises:
        BenchError: the longest prompt and a response are longer than the context.
    """
    context = getattr(model.get_text_config(), "max_position_embeddings", None)
    most, longest = config.generation.max_new_tokens, max(prompts, default=0)
    if prompts and context is not None and longest + added + most > context:
        room = context - longest - added
        raise BenchError(
            f"The longest test prompt has {longest + added} tokens and a response up to {most}, the model "
            f"{config.model!r} a context of {context}.",
            f"Shorten the responses (--set max_new_tokens={room})."
            if room > 0
            else f"Shorten the prompts (--set max_length={context - added - most}) or the responses (max_new_tokens).",
        )


def _probe(base: BaseModel, pairs: Sequence[EncodedPair]) -> list[EncodedPair]:
    """The shortest pairs, cheap to try a layout on; with a window also the longest, beyond it if any is."""
    ordered = sorted(pairs, key=lambda p: p.tokens)
    window = smallest_window(base.model.config)
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
    encoded, report = encode_pairs(
        tokenizer, pairs, config.training.max_length, task.card.overlong, Clock.of(config.clock), told
    )
    check_split(task.card.name, split, config.training.max_length, report, progress)
    return encoded, report


def check_split(name: str, split: Split, cut_off: int, report: EncodingReport, progress: Progress) -> None:
    """Say what the cut-off and the chat template did to a split.

    Raises:
        BenchError: no pair is left.
    """
    if report.dropped or report.prompts_shortened or report.responses_cut:
        progress.notice(
            f"Task {name}, {split}, cut-off of {cut_off} tokens: {report.prompts_shortened} prompts "
            f"shortened, {report.responses_cut} pairs with a cut response, {report.dropped} pairs dropped."
        )
    if report.turns_lost:
        progress.notice(
            f"Task {name}, {split}: {report.turns_lost} prompts have a turn (of the system, or an earlier one) that "
            "the model's chat template leaves out."
        )
    if report.unsettled:
        progress.notice(
            f"Task {name}, {split}: the last prompt tokens of {report.unsettled} pairs depend on what their answers "
            "begin with, by the model's chat template and tokenizer."
        )
    if not report.kept:
        raise BenchError(
            f"Task {name} has no {split} pairs within the cut-off of {cut_off} tokens.",
            "Raise max_length (--set max_length=...).",
        )
