"""All that a run holds in memory: data, model, method, reference log-probabilities. Built once, passed whole."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PretrainedConfig

from lifealign_bench.config import RunConfig
from lifealign_bench.data.tasks import TaskData
from lifealign_bench.errors import BenchError
from lifealign_bench.method import Method, Stage
from lifealign_bench.models.chattemplate import reads_clock, unsettled
from lifealign_bench.models.encode import EncodedPair, EncodingReport, digest_encoded, encode_prompt
from lifealign_bench.models.engines import make_generation_engine
from lifealign_bench.models.layout import choose_layout
from lifealign_bench.models.load import LoadedModel as BaseModel
from lifealign_bench.models.load import check_ids, fresh_adapter, load_base_model
from lifealign_bench.models.logprobs import PACKED, Layout
from lifealign_bench.models.passcost import PassCost, pass_cost
from lifealign_bench.models.recompute import recompute_layers
from lifealign_bench.models.speaker import Speaker
from lifealign_bench.models.tokenizer import NO_TEMPLATE
from lifealign_bench.models.window import smallest_window
from lifealign_bench.pairs import Message, Split
from lifealign_bench.runs.rewards import TaskRewards, check_rewards
from lifealign_bench.runs.setup import check_lengths, check_rollouts, encode_split
from lifealign_bench.scoring.abilities.ability import Abilities
from lifealign_bench.scoring.evidence import Exam
from lifealign_bench.scoring.scorer import Scorer, ScorerContext
from lifealign_bench.scoring.scorers import load_scorers
from lifealign_bench.training.passes import Passes
from lifealign_bench.training.phases import Sampling, TrainedPhase, phases_of
from lifealign_bench.training.rollouts import Asking, Rollouts
from lifealign_bench.training.workload import lengths_of, scored_tasks
from lifealign_bench.util.clock import Clock
from lifealign_bench.util.distributed import is_main
from lifealign_bench.util.extensions import own_code
from lifealign_bench.util.progress import Progress
from lifealign_bench.util.seeds import derive_seed

NO_ABILITIES = Abilities()
_MOST_TASKS = 5  # that a message names


@dataclass
class Session:
    """A run in memory.

    Args:
        speaker: the model.
        train, test: encoded pairs of each task, within the cut-off.
        encoding: what the cut-off did.
        context: what scorers and rewards may know of the run.
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
    context: ScorerContext
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
        context = _prepare(loaded, config, data, method, progress)
        _settle()
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
        wanted: Layout | None = None if method.packs else "whole"
        probe = _probe(base, everything)
        layout = choose_layout(base.model, probe, pad_id, device, wanted, progress.notice)
        if layout in ("rows", "plain"):
            progress.notice(
                f"The model {base.name!r} does not take packed pairs: padded rows are used, which is slower."
            )
        model = fresh_adapter(base, config.adapter, derive_seed(config.seed, "adapter"))
        model = method.prepare(model, len(method.plan(list(data))))
        if config.activation_checkpointing:
            recompute_layers(model, base.name)
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
            engine=make_generation_engine(config),
        )
        session = cls(config, data, speaker, method, loaded, train, test, encoding, context, abilities)
        check_rollouts(base.model.config, config, method, [len(p.prompt) for pairs in train.values() for p in pairs])
        asked = {name: [len(p.prompt) for p in test[name]] for name in test if "responses" in session.exam.needs(name)}
        if method.samples():
            speaker.arrangement()
        if any(asked.values()):
            check_responses(base.model.config, config, asked, method.added_tokens())
            speaker.make_ready()
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
        return Exam(self.speaker, self.config, cards, self.test, self.scorers, len(self.plan()))

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

    def phases(self) -> tuple[TrainedPhase, ...]:
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
                values = self.speaker.base_score(pairs, precise=False)
                self._reference.update({p.pair.id: row for p, row in zip(pairs, values, strict=True)})
        return self._reference

    def references_now(self, tasks: Sequence[str]) -> Mapping[str, torch.Tensor]:
        """Like :meth:`references`, by the model as it is: ``reference: previous``."""
        return {
            p.pair.id: row
            for name in tasks
            for p, row in zip(self.train[name], self.speaker.score(self.train[name], precise=False), strict=True)
        }

    def pass_cost(self) -> PassCost:
        """What the model's passes take."""
        packed = self.speaker.layout in PACKED
        base = self.speaker.base
        return pass_cost(base.model, base.parameters, packed=packed, added=self.speaker.added_tokens)

    def rollouts(self, index: int, phase: TrainedPhase, path: Path | None = None) -> Rollouts:
        """What is sampled in a phase of stage ``index``.

        Args:
            path: of the file that keeps it.
        """
        cards = {name: task.card for name, task in self.data.items()}
        encoded = {p.pair.id: p for pairs in self.train.values() for p in pairs}
        rewards = TaskRewards(cards, lambda: self.context.reward_model)
        return Rollouts(self.speaker, encoded, cards, index, phase.name, self.method, rewards, path)

    def prompt(self, turns: Sequence[Message]) -> tuple[int, ...]:
        """The token ids of a dialogue that asks for a response."""
        return tuple(encode_prompt(self.base.tokenizer, turns, Clock.of(self.config.clock)))

    def sampling(self, stage: Stage, rollouts: Rollouts, step: int) -> tuple[Sampling, Asking]:
        """What a step of a phase may use to make what it trains on, with a generator of its own; and what is asked."""
        seed = derive_seed(self.config.seed, "rollouts", stage.index, stage.phase, step)
        asking = rollouts.asking(step, torch.Generator().manual_seed(seed))
        own = replace(stage, generator=asking.generator, sample=asking.sample, reward=asking.reward)
        return Sampling(self.speaker, rollouts.cards, seed, step, own, self.method, self.prompt), asking

    def stage(
        self,
        index: int,
        phase: TrainedPhase,
        reference: Mapping[str, torch.Tensor],
        count: Callable[[Sequence[EncodedPair], bool], None] = lambda pairs, gradients: None,
        rollouts: Rollouts | None = None,
    ) -> Stage:
        """What the hooks may know of a phase of stage ``index``.

        Args:
            reference: holds all pairs that the hooks may ask for; empty in a phase that does not refer.
            count: told of every pass that they ask for, see ``Passes``.
            rollouts: what is sampled in it; none said: it is not kept.
        """
        plan = self.plan()
        tasks = plan[index - 1]
        passes = Passes(
            phase=phase,
            encoded={p.pair.id: p for pairs in self.train.values() for p in pairs},
            reference=reference,
            beta=self.config.training.beta,
            speaker=self.speaker,
            count=count,
        )
        generator = torch.Generator().manual_seed(derive_seed(self.config.seed, "stage", index, phase.name))
        asking = (rollouts or self.rollouts(index, phase)).asking(0, generator)
        return Stage(
            index=index,
            count=len(plan),
            phase=phase.name,
            final=phase == self.phases()[-1],
            tasks=tasks,
            pairs=tuple(p.pair for name in tasks for p in self.train[name]),
            generator=generator,
            find_pairs=passes.find_pairs,
            log_probs=passes.log_probs,
            response_log_probs=passes.response_log_probs,
            references=passes.references,
            margins=passes.margins,
            losses=passes.losses,
            gradient=passes.gradient,
            sample=asking.sample,
            reward=asking.reward,
            demonstrations=asking.demonstrations,
            longest=self.config.generation.max_new_tokens,
        )


def _prepare(
    scorers: Mapping[str, Scorer],
    config: RunConfig,
    data: Mapping[str, TaskData],
    method: Method,
    progress: Progress,
) -> ScorerContext:
    """Before anything is trained: what cannot be rewarded or scored is known at once."""
    check_rewards(config, method, {name: task.card for name, task in data.items()})
    tasks = list(data)
    stages = [scored_tasks(config, method, tasks, index) for index in range(len(method.plan(tasks)) + 1)]
    context = ScorerContext(config, data, stages, progress)
    for name, scorer in scorers.items() if is_main() else ():
        with own_code(f"scorer {name}", type(scorer)):
            scorer.prepare(context)
    return context


# A process that has loaded the libraries knows some 400,000 objects, a session about 20,000.
_MANY_OBJECTS = 50_000


def _settle() -> None:
    """Free what an earlier run left, and spare later garbage collections the libraries, which stay: half a second a
    stage. Again where as much was loaded since; where the process is not ours alone, ``gc.unfreeze`` takes it back."""
    gc.collect()
    if len(gc.get_objects()) > _MANY_OBJECTS:
        gc.freeze()


def check_responses(
    model: PretrainedConfig, config: RunConfig, prompts: Mapping[str, Sequence[int]], added: int
) -> None:
    """Refuse responses that would not end within the model's context: some models know no position beyond it.

    Args:
        prompts: task to the tokens of each of its prompts that is to be answered.
        added: tokens that the method puts into every sequence.

    Raises:
        BenchError: a prompt and a response are longer than the context; names the tasks, and the setting to change.
    """
    context = getattr(model.get_text_config(), "max_position_embeddings", None)
    if context is None:
        return
    most = config.generation.max_new_tokens
    longest = {task: max(lengths) + added for task, lengths in prompts.items() if lengths}
    beyond = {task: length for task, length in longest.items() if length + most > context}
    if not beyond:
        return
    length = max(beyond.values())
    names = ", ".join(sorted(beyond, key=lambda task: -beyond[task])[:_MOST_TASKS])
    names += f" and {len(beyond) - _MOST_TASKS} more" if len(beyond) > _MOST_TASKS else ""
    raise BenchError(
        f"The longest test prompt of {names} has {length} tokens and a response up to {most}, the model "
        f"{config.model!r} a context of {context}.",
        f"Shorten the responses (--set max_new_tokens={context - length}), or the prompts (max_length)."
        if length < context
        else "Shorten the prompts: set max_length lower.",
    )


def _probe(base: BaseModel, pairs: Sequence[EncodedPair]) -> list[EncodedPair]:
    """The shortest pairs, cheap to try a layout on; with a window also the longest, beyond it if any is."""
    ordered = sorted(pairs, key=lambda p: p.tokens)
    window = smallest_window(base.model.config)
    beyond = [p for p in ordered if window is not None and len(p.prompt) + len(p.rejected) > window]
    return ordered[:3] + beyond[-1:]
