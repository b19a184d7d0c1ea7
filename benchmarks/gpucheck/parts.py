"""The parts in the order in which they are done: what is most worth knowing first. Imports no torch."""

from __future__ import annotations

from benchmarks.gpucheck.part import Part

PARTS: dict[str, Part] = {
    part.name: part
    for part in (
        Part(
            "machine",
            "The machine",
            "Products of two square matrices of random numbers in each type, and a copy.",
            40,
            "machine:machine",
        ),
        Part(
            "layouts",
            "Layouts against one sequence at a time",
            "Summed log-probabilities of responses by every layout, with random weights of true shapes and, for "
            "windows and soft caps, of a few layers as Gemma 2 has them. The first pass of `flex` compiles it.",
            120,
            "laying:layouts",
        ),
        Part(
            "gradients",
            "Gradients",
            "The gradient of an adapter by every layout against that of one sequence at a time: norm of the difference "
            "by norm.",
            60,
            "laying:gradients",
        ),
        Part(
            "packing",
            "Packed against padded",
            "Forward and backward of pairs with an adapter, packed or in padded rows of like length; 8,192 tokens "
            "a pass at most.",
            90,
            "laying:packing",
        ),
        Part(
            "train-0.5b",
            "A training stage, 0.5B",
            "Two steps of 16 pairs of DPO (LoRA r 8 on q and v), in turn by this package, by its passes in a plain "
            "loop, by TRL's DPOTrainer (reference precomputed, no checkpointing) and by a loop over padded rows; of "
            "the latter two the best number of pairs a pass counts.",
            90,
            "stages:train_middle",
        ),
        Part("train-7b", "A training stage, 7B", "The same with the shape of Qwen2.5-7B.", 120, "stages:train_large"),
        Part(
            "foreseen",
            "What the dry run foresees",
            "Memory by part and seconds of a run with pairs as long as the paper's cut-off allows, in each way to keep "
            "less, against its passes by themselves; what a pass keeps for its backward pass is held to it as well.",
            120,
            "foreseen:foreseen",
        ),
        Part(
            "engines",
            "Engines of generation",
            "`--generation batches` and `continuous`: the same tokens in float32 with the adapter and without, and the "
            "speed of each; the dry run's seconds are for responses that all end at their longest.",
            100,
            "asking:engines",
        ),
        Part(
            "generation",
            "Generation",
            "Greedy responses of one length against transformers' `generate`, one batch.",
            90,
            "writing:generation",
        ),
        Part(
            "memory",
            "Out of memory",
            "The memory that torch may take is cut until a pass does not fit.",
            60,
            "limits:memory",
        ),
        Part(
            "resume",
            "Exact resume",
            "A run of two stages that is stopped again and again, against one that is not: the largest difference of "
            "any loss and score.",
            90,
            "limits:resume",
            needs=("trl", "datasets"),
        ),
        Part(
            "scores",
            "Scores",
            "A run of two small stages on the GPU and one on a processor, in float32: the largest difference of each "
            "score over the tasks, in its own unit. What is trained in between takes the two apart.",
            90,
            "scores:scores",
            needs=("trl", "datasets"),
        ),
        Part(
            "ways",
            "Ways to run",
            "Whole runs of one stage of long pairs in float32: activation checkpointing and continuous batching come "
            "to the numbers of the plain run, and the peak is the one that the run's dry run foresees.",
            120,
            "ways:ways",
            needs=("trl", "datasets"),
        ),
        Part(
            "pieces",
            "A model in pieces",
            "`--shard`: layers that are brought together when they compute, against the whole model; in a group of one "
            "process, and where there are two GPUs a run by two processes.",
            90,
            "pieces:pieces",
        ),
        Part(
            "several",
            "Several runs at a time",
            "Runs in processes of their own on one device.",
            90,
            "limits:several",
            needs=("trl", "datasets"),
        ),
    )
}
