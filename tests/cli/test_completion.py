"""``--install-completion``: after it, a shell completes commands and options."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.places import ROOT

# Bash calls a completion function with the command's name, and finds the answers in COMPREPLY.
_ASK = """
COMP_WORDS=(lifealign-bench {words}) COMP_CWORD={at}
_lifealign_bench_completion lifealign-bench
echo "${{COMPREPLY[*]}}"
"""


def test_bash_completes_after_the_installation(tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "HOME": str(tmp_path), "PATH": path, "PYTHONPATH": str(ROOT)}

    def bash(script: str) -> str:
        done = subprocess.run(["bash", "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    # The second command keeps bash from making way for the program, which looks at what started it.
    assert "bash completion installed" in bash("lifealign-bench --install-completion && true")
    answers = bash("source ~/.bashrc" + _ASK.format(words="sw", at=1) + _ASK.format(words="run --met", at=2))
    assert answers.split() == ["sweep", "--method"]
