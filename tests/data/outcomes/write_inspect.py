"""Writes the logs of Inspect that the tests read.

Run it with the Python of an environment that has inspect_ai; nothing is downloaded and no model is asked:

    python tests/data/outcomes/write_inspect.py

Written with inspect_ai 0.3.285 and 0.3.50. Inspect's own mock of a model gives the answers that stand here, so that
it is known which are right; with letters, shares, dictionaries, two epochs, several targets, choices, an item that
fails and one that is not scored; as `.eval` and as `.json`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

from inspect_ai import Epochs, Task, eval  # noqa: A004
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import Score, Target, accuracy, choice, match, mean, scorer
from inspect_ai.solver import Generate, TaskState, generate, multiple_choice, solver, system_message

HERE = Path(__file__).parent
EXAMPLES = "cat -> cats\ndog -> dogs"
LONG = (
    "Write the plural of the last word, and nothing else; words may be irregular, so think of each of them. "
    * 2
)


def words() -> list[Sample]:
    """Return items, the first of them with two right answers and one with a long question."""
    return [
        Sample(
            input="fish ->", target=["fish", "fishes"], id="fish", metadata={"kind": ["plural", "irregular"]}
        ),
        Sample(input="cow ->", target="cows", id="cow", metadata={"kind": ["plural"]}),
        Sample(input=LONG + "ox ->", target="oxen", id="ox", metadata={"kind": ["plural", "irregular"]}),
        Sample(input="fail ->", target="fails", id="fail", metadata={"kind": ["plural"]}),
    ]


@solver
def failing():
    """Fail at the item `fail`."""

    async def solve(state: TaskState, _generate: Generate) -> TaskState:
        if str(state.sample_id) == "fail":
            raise RuntimeError("The sandbox is gone.")
        return state

    return solve


@scorer(metrics=[mean()])
def nearness():
    """Return the share of letters in their places; nothing for answers that are no words."""

    async def score(state: TaskState, target: Target) -> Score:
        answer = state.output.completion
        if not answer.isalpha():
            return Score(value=float("nan"), explanation="no word")
        same = sum(a == b for a, b in zip(answer, target.text, strict=False))
        return Score(value=same / max(len(answer), len(target.text)), answer=answer)

    return score


@scorer(metrics={"right": [accuracy()], "short": [mean()]})
def aspects():
    """Return two marks at once."""

    async def score(state: TaskState, target: Target) -> Score:
        answer = state.output.completion
        return Score(value={"right": "C" if answer in list(target) else "P", "short": int(len(answer) < 5)})

    return score


def tasks() -> list[tuple[Task, list[str]]]:
    """Return tasks and the answers that the mock gives in turn."""
    few = [system_message(EXAMPLES), failing(), generate()]
    written = Task(
        name="plurals", dataset=words(), solver=few, scorer=match(location="exact"), epochs=Epochs(2)
    )
    shares = Task(name="nearness", dataset=words()[:3], solver=[generate()], scorer=nearness())
    both = Task(name="aspects", dataset=words()[:3], solver=[generate()], scorer=[aspects(), nearness()])
    chosen = Task(
        name="chosen",
        dataset=[
            Sample(input="Plural of cow?", choices=["cow", "cows", "cowen"], target="B"),
            Sample(input="Plural of ox?", choices=["oxen", "oxs", "ox"], target="A"),
        ],
        solver=[multiple_choice()],
        scorer=choice(),
    )
    return [
        (written, ["fishes", "cow", "oxen", "fishes", "cows", "oxs"]),
        (shares, ["fish", "cowi", "?"]),
        (both, ["fishes", "cow", "oxen"]),
        (chosen, ["ANSWER: B", "ANSWER: B"]),
    ]


def main() -> None:
    """Write `inspect-VERSION` beside this file."""
    out = HERE / f"inspect-{version('inspect_ai')}"
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for task, answers in tasks():
            _run(task, answers, out)
    for path in out.glob("*.*"):
        stamp, name, _ = path.stem.split("_", 2)
        path.rename(path.with_name(f"{name}_{stamp[:10]}{path.suffix}"))


def _run(task: Task, answers: list[str], out: Path) -> None:
    model = get_model("mockllm/model", custom_outputs=[_output(text) for text in answers])
    # One item at a time, so that answers and items meet in order.
    eval(
        task, model=model, log_dir=str(out), log_format="json" if task.name == "nearness" else "eval", max_samples=1,
        fail_on_error=False, display="none",
    )  # fmt: skip


def _output(text: str) -> ModelOutput:
    """Return an answer with its tokens counted; Inspect would ask for a tokenizer otherwise."""
    output = ModelOutput.from_content("mockllm/model", text)
    output.usage = ModelUsage(input_tokens=8, output_tokens=2, total_tokens=10)
    return output


if __name__ == "__main__":
    main()
