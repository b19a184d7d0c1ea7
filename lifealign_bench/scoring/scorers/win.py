"""How often the model's response wins against an opponent's by a judge, plainly and at equal length."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np

from lifealign_bench.config import RunConfig
from lifealign_bench.errors import UsageError
from lifealign_bench.results.scores import ScoreInfo
from lifealign_bench.results.statistics import Array
from lifealign_bench.scoring.judging import check_judge, judge_absent, judge_models
from lifealign_bench.scoring.judging.asked import decide
from lifealign_bench.scoring.judging.judge import TIE, Contest, Judge, Verdict
from lifealign_bench.scoring.scorer import Need, Scored, Scorer, ScorerContext, TaskView
from lifealign_bench.scoring.winrate.alpaca import Sides, head_to_head, load_alpaca_eval, write_files
from lifealign_bench.scoring.winrate.contest import differences_of, tally, values_of
from lifealign_bench.scoring.winrate.lengthcontrol import LengthControlled as Estimate
from lifealign_bench.scoring.winrate.lengthcontrol import length_controlled, plain_rate, pseudo_values
from lifealign_bench.scoring.winrate.opponents import (
    Opponent,
    check_opponents,
    find_opponents,
    responses_of,
    verify_run,
)
from lifealign_bench.util.extras import require_extra
from lifealign_bench.util.progress import Progress


def _infos(opponent: Opponent) -> tuple[ScoreInfo, ScoreInfo]:
    against = f"against {opponent.meaning}"
    return (
        ScoreInfo(
            f"judged_win_rate_{opponent.name}",
            True,
            f"share of test prompts whose response wins {against} by the judge; the mean of both orders, ties half",
            partial=True,
            judged_by="judge",
            checked=True,
            main=60 if opponent.name == "base" else 0,
        ),
        ScoreInfo(
            f"judged_lc_win_rate_{opponent.name}",
            True,
            f"the same {against} at equal length: a regression in the manner of length-controlled AlpacaEval, without "
            "its difficulty term",
            partial=True,
            judged_by="judge",
            checked=True,
        ),
    )


class WinScorer(Scorer):
    """Win-rates by the judge of ``--judge`` against every opponent of ``--opponent``; see docs/win-rates.md."""

    summary = "win-rates by a judge (--judge) against --opponent, plain and length-controlled; alpaca-eval's files"
    needs: ClassVar[frozenset[Need]] = frozenset({"responses"})
    scores: ClassVar[tuple[ScoreInfo, ...]] = _infos(find_opponents(("base",))[0])

    depends: ClassVar[tuple[str, ...]] = ("judge", "judging", "reward_model", "reward_models")
    grows: ClassVar[tuple[str, ...]] = ("opponents",)

    def __init__(self) -> None:
        self._opponents: tuple[Opponent, ...] = ()
        self._runs: dict[str, dict[str, Any]] = {}
        self._judge: Judge | None = None
        self._generator = ""
        self._progress = Progress()

    @classmethod
    def infos(cls, config: RunConfig) -> tuple[ScoreInfo, ...]:
        """Two for each opponent.

        Raises:
            UsageError: two opponents have one name.
        """
        return tuple(info for opponent in find_opponents(config.opponents) for info in _infos(opponent))

    @classmethod
    def check(cls, config: RunConfig) -> None:
        """A judge of any kind is named and can be, and so are the opponents.

        Raises:
            BenchError: says what is missing.
        """
        require_extra("alpaca_eval", "judges", "The scorer win")
        if config.judge is None:
            raise UsageError(
                "The scorer 'win' needs a judge.",
                "Name one: --judge check (the tasks' own functions), reward (with --reward), server:MODEL or "
                "local:MODEL.",
            )
        check_judge(config)
        check_opponents(config)

    @classmethod
    def models(cls, config: RunConfig) -> tuple[str, ...]:
        """The judge's."""
        return judge_models(config)

    @classmethod
    def absent(cls, config: RunConfig) -> str:
        """Where the judge is not."""
        return judge_absent(config)

    def prepare(self, context: ScorerContext) -> None:
        """Make the judge and alpaca-eval ready, and look into the folders of opponents."""
        self.check(context.config)
        load_alpaca_eval()
        self._progress = context.progress
        self._opponents = find_opponents(context.config.opponents)
        for opponent in self._opponents:
            run = verify_run(opponent, context.data, context.stages)
            if run:
                self._runs[opponent.name] = run
        self._judge = context.judge
        self._generator = f"{context.config.run_directory().parent.name}-seed-{context.config.seed}"
        if not all(self._judge.decides(task.card) for task in context.data.values()):
            names = [name for name, task in context.data.items() if not self._judge.decides(task.card)]
            self._progress.notice(
                f"The judge {self._judge.name!r} cannot judge {', '.join(names)}: no judged win-rates there."
            )

    def facts(self) -> dict[str, Any]:
        """The judge, and the runs that are opponents."""
        if self._judge is None:
            return {}
        found: dict[str, Any] = {"judge": self._judge.name, "sees_order": self._judge.sees_order}
        return {**found, "opponents": self._runs, **self._judge.contest_facts()}

    def score(self, view: TaskView) -> Scored:
        """See ``scores``; a pair without two usable answers has no value."""
        if self._judge is None or view.responses is None:
            raise ValueError(f"{view.card.name} has no responses, or the scorer is not prepared")
        if not self._judge.decides(view.card):
            return Scored({}, {"judged": False})
        if self._judge.sees_order:
            self._progress.phase_started(view.stage, "judge", (view.card.name,), 0)
        values: dict[str, Array] = {}
        facts: dict[str, Any] = {}
        for opponent in self._opponents:
            theirs = responses_of(opponent, view)
            if theirs is not None:
                name = opponent.name
                (win, lc), facts[name] = self._compare(view, self._judge, opponent, view.responses, theirs)
                values |= {f"judged_win_rate_{name}": win, f"judged_lc_win_rate_{name}": lc}
        return Scored(values, facts)

    def _compare(
        self,
        view: TaskView,
        judge: Judge,
        opponent: Opponent,
        ours: tuple[str, ...],
        theirs: tuple[str | None, ...],
    ) -> tuple[tuple[Array, Array], dict[str, Any]]:
        """(P,) plain and length-controlled values against one opponent; and the facts of it."""
        there = [i for i, text in enumerate(theirs) if text is not None]
        contests = [Contest(view.pairs[i].prompt, ours[i], theirs[i] or "", view.pairs[i].check) for i in there]
        verdicts, cost = _decide(judge, view, contests)
        if view.folder is not None:
            reference = opponent.name if opponent.folder is None else f"{opponent.name}-stage-{view.stage}"
            sides = Sides(view.card.name, f"{self._generator}-stage-{view.stage}", reference, judge.name)
            ids = [view.pairs[i].id for i in there]
            write_files(view.folder / "alpaca" / view.card.name / opponent.name, sides, ids, contests, verdicts)
        found, differences = values_of(verdicts), differences_of(contests)
        usable = ~np.isnan(found)
        win, lc = np.full(len(ours), math.nan), np.full(len(ours), math.nan)
        win[there] = found
        lc[np.array(there, dtype=int)[usable]] = pseudo_values(found[usable], differences[usable])
        counts = tally(contests, verdicts)
        if counts.unusable:
            self._progress.notice(
                f"Task {view.card.name}, stage {view.stage}, against {opponent.name}: {counts.unusable} of "
                f"{counts.pairs} pairs have no value, since the judge's answer in one order or both is not usable."
            )
        facts = {
            **asdict(counts),
            "absent": len(ours) - len(there),
            "win_rate": _plain(plain_rate(found[usable])),
            "lc_win_rate": _plain(length_controlled(found[usable], differences[usable])),
            "mean_length_difference": float(differences.mean()) if contests else None,
            "alpaca_eval": head_to_head(verdicts),
            **cost,
        }
        return (win, lc), facts


def _decide(judge: Judge, view: TaskView, contests: list[Contest]) -> tuple[list[Verdict], dict[str, Any]]:
    """Verdicts in order; nobody is asked about identical texts."""
    asked = [contest for contest in contests if not contest.identical]
    said, cost = decide(judge, view.card, asked) if asked else ([], {})
    answers = iter(said)
    return [Verdict.both(TIE) if contest.identical else next(answers) for contest in contests], cost


def _plain(estimate: Estimate) -> dict[str, Any]:
    """In percent, as JSON has it."""
    found: dict[str, Any] = {
        "value": _percent(estimate.value),
        "low": _percent(estimate.low),
        "high": _percent(estimate.high),
    }
    return {**found, "note": estimate.note} if estimate.note else found


def _percent(share: float) -> float | None:
    return None if math.isnan(share) else 100 * share
