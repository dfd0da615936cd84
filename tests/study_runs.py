"""A tiny study, and the command line as a user has it: a process of its own, or called in this one."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from emergelab.cli import main

PROGRAM = [sys.executable, "-c", "from emergelab.cli import main; main()"]
GRAMMAR = """
world { objects 5  family f 3 permutations }
hold out 0.3 of f * f
rule Document  = Statement* stop 0.2
rule Statement = each x ~ objects, stop 0.1 { x Value(x) ";" }
rule Value(x)  = 0.5: let a ~ f { a(x) }
               | 0.3: let a ~ f, b ~ f { b(a(x)) }
               | 0.2: let a ~ f, b ~ f { a(x) b(a(x)) }
task single  = let a ~ f         each x { x a(x) ";" }
task pair    = let a ~ f, b ~ f  each x { x b(a(x)) ";" }  steps { x a(x) b(a(x)) ";" }  splits seen, held out
task inverse = let a ~ f         each x { a(x) x ";" }
"""
# The longest prompt has (5 + 1) rows of 4 tokens, just as many as the model can read.
STUDY = """
grammar = "tiny.cag"
key = 1  # in this world no function is another one's inverse
model = { width = 16, layers = [1, 2], heads = 2, context = 24 }
train = { tokens = [2e3, 4e3], batch = 8, warmup_steps = 2, precision = "float32", compile = "no" }
evaluate = { tasks = ["single", "pair", "inverse"], shots = 5, prompts = 40, loss_documents = 16 }
"""


@dataclass(frozen=True)
class Answer:
    """What a command came to."""

    code: int
    out: str
    errors: str


def write_study(folder: Path, study: str = STUDY, grammar: str = GRAMMAR) -> Path:
    """Write the study `tiny` and its grammar into `folder`; return the study's path."""
    (folder / "tiny.cag").write_text(grammar, encoding="utf-8")
    path = folder / "tiny.toml"
    path.write_text(study, encoding="utf-8")
    return path


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start the command line as a process."""
    environment = {**os.environ, "COLUMNS": "120"}
    pipe = subprocess.PIPE
    command = [*PROGRAM, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)


def process(*arguments: str | Path) -> Answer:
    """Run the command line in a process."""
    with start(*arguments) as running:
        out, errors = running.communicate(timeout=200)
        return Answer(running.returncode, out, errors)


def command(*arguments: str | Path) -> Answer:
    """Run the command line in this process. Whatever it raises but SystemExit is a failure."""
    out, errors = io.StringIO(), io.StringIO()
    words = ["emergelab", *map(str, arguments)]
    with mock.patch.object(sys, "argv", words), redirect_stdout(out), redirect_stderr(errors):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return Answer(code, out.getvalue(), errors.getvalue())


def refused(*arguments: str | Path) -> str:
    """Return the one message with which a command ends that exits with code 2 and prints nothing else."""
    answer = command(*arguments)
    assert answer.code == 2, answer
    assert answer.out == ""
    assert answer.errors.startswith("Error: ")
    assert "Traceback" not in answer.errors
    return answer.errors.removeprefix("Error: ").rstrip("\n")
