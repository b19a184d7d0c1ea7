"""The README's tables, made from the records in results/.

python benchmarks/readme_tables.py            write them into README.md
python benchmarks/readme_tables.py --check    exit with 1 when README.md shows anything else
"""

from __future__ import annotations

import sys
from pathlib import Path

from lifealign_bench.comparison import comparison_grids
from lifealign_bench.files import write_text
from lifealign_bench.grid import to_markdown
from lifealign_bench.recordtables import matrix_grid
from lifealign_bench.runview import RunView

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
RECORDS = ROOT / "results" / "mini" / "smollm2-135m"
BEGIN = "<!-- made by benchmarks/readme_tables.py from results/ -->"
END = "<!-- end of what is made -->"


def tables() -> str:
    """All methods on mini with seed 0, then lifealign's score matrix, as Markdown."""
    views = [RunView.open(path) for path in sorted(RECORDS.glob("*/seed-0.json"))]
    (comparison,) = comparison_grids(views)
    matrix = matrix_grid(RunView.open(RECORDS / "lifealign" / "seed-0.json"), "preference_accuracy")
    return f"{to_markdown(comparison)}\n{to_markdown(matrix).replace('### ', '### lifealign, seed 0: ')}"


def readme() -> str:
    """README.md with the tables as they should be."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


def main() -> int:
    """See the module's docstring."""
    wanted = readme()
    if "--check" in sys.argv[1:]:
        return int(README.read_text(encoding="utf-8") != wanted)
    write_text(README, wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
