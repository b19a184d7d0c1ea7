"""How long the pairs of the paper's tasks are, as a table small enough to be shipped: no text, lengths alone.

    python benchmarks/paper_lengths.py DATA > lifealign_bench/experiments/paper-lengths.json

``DATA`` is a copy of the paper's data folder. Four characters count as a token. Of every file the pairs are sorted by
length and cut into 24 equal parts, of which the means are kept, so that sums stay what they are. A file that is not
there is assumed to be like another one; the table says which.
"""

from __future__ import annotations

import json
import math
import sys
from itertools import pairwise
from pathlib import Path

TASKS = (*("Capybara-Preferences", "HC3", "hh-rlhf-harmless-base", "hh-rlhf-helpful-base", "safe-rlhf", "TruthfulQA"),)
PARTS = 24
CUT_OFF = 2048
TEMPLATE = 25  # tokens that the chat template adds to a prompt of one turn
# Of files that are not at hand: pairs as the other tasks have, and lengths (prompt, chosen, rejected) in tokens.
ASSUMED = {"Capybara-Preferences": (700, 350, 350)}
PAIRS = {"train": 3000, "test": 1000}


def measured(path: Path) -> list[list[int]]:
    """[prompt, chosen, rejected] tokens of every pair of a file."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    texts = [(row["query"], row["chosen"], row["rejected"]) for row in rows if row["chosen"] and row["rejected"]]
    found = [[math.ceil(len(text) / 4) + 1 for text in each] for each in texts]
    return [[min(p + TEMPLATE, CUT_OFF // 2), min(c, CUT_OFF // 2), min(r, CUT_OFF // 2)] for p, c, r in found]


def parts(pairs: list[list[int]]) -> list[list[int]]:
    """Means of equal parts of the pairs, the shortest first."""
    ordered = sorted(pairs, key=sum)
    bounds = [round(i * len(ordered) / PARTS) for i in range(PARTS + 1)]
    groups = [ordered[low:high] for low, high in pairwise(bounds)]
    return [[round(sum(column) / len(group)) for column in zip(*group, strict=True)] for group in groups if group]


def main() -> None:
    """Write the table to standard output."""
    data = Path(sys.argv[1])
    table: dict[str, object] = {}
    for task in TASKS:
        splits: dict[str, object] = {}
        assumed = []
        for split in ("train", "test"):
            path = data / task / f"{split}.json"
            like = data / task / "test.json"
            if path.is_file():
                pairs = measured(path)
                splits[split] = {"pairs": len(pairs), "parts": parts(pairs)}
                continue
            assumed.append(split)
            lengths = parts(measured(like)) if like.is_file() else [list(ASSUMED[task])]
            splits[split] = {"pairs": PAIRS[split], "parts": lengths}
        table[task] = {"assumed": assumed, **splits}
    sys.stdout.write(json.dumps(table, indent=None, separators=(",", ":")).replace('},"', '},\n"') + "\n")


if __name__ == "__main__":
    main()
