"""What is checked of a method that samples: that it does so in the stage alone, and by each prompt alone."""

from __future__ import annotations

from collections.abc import Sequence

from lifealign_bench.conformance.checks import MethodCheck, Outcome, bad, good, skipped
from lifealign_bench.conformance.trial import Bench
from lifealign_bench.pairs import Pair


def _samples(bench: Bench) -> Outcome:
    found = bench.seen(lambda watch: list(watch.sampled))
    if found:
        return bad(f"the model is sampled from in {', '.join(found)}")
    most = bench.whole.session.method.samples()
    return good(f"at most {most} responses to a prompt, by stage.sample" if most else "nothing is sampled")


def _alone(bench: Bench) -> Outcome:
    session = bench.whole.session
    phase = next((phase for phase in session.phases() if phase.samples), None)
    if phase is None:
        return skipped("the method has no phase that samples")
    stage = session.stage(1, phase, {})
    model, method = session.model.eval(), session.method

    def answered(pairs: Sequence[Pair]) -> dict[str, list[tuple[int, ...]]]:
        sampling, _ = session.sampling(stage, session.rollouts(1, phase), 1)
        groups = method.rollouts(sampling.stage, model, pairs)
        return {group.pair.id: [one.tokens for one in group.responses] for group in groups}

    together = answered(stage.pairs)
    for pair in stage.pairs:
        for pair_id, responses in answered([pair]).items():
            if responses != together.get(pair_id):
                return bad(f"{pair_id} has other responses alone than beside {len(stage.pairs) - 1} other pairs")
    return good(f"the responses to {len(together)} prompts are the same alone and together")


ROLLOUTS = (
    MethodCheck(
        "samples in the stage",
        "whatever the model says, a hook has by stage.sample",
        "Ask stage.sample(model, pairs, n, temperature, top_p): what it gives is seeded, kept over a stop, counted and "
        "shown. Name the most that is asked for in samples().",
        _samples,
    ),
    MethodCheck(
        "rollouts alone",
        "the responses to a prompt are the same when it is alone in its step",
        "Take what stage.sample gives for the pair; how good the others of the step are may change weights, and not "
        "which responses there are.",
        _alone,
    ),
)
