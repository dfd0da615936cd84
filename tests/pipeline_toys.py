"""Toy steps for the tests of the pipeline. As a program: a driver that runs a chain of them.

python pipeline_toys.py STORE WORKERS LINKS ROUNDS SECONDS_PER_ROUND
"""

import contextlib
import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emergelab.errors import UserError
from emergelab.pipeline.files import write_text
from emergelab.pipeline.progress import reporter_for
from emergelab.pipeline.runner import run
from emergelab.pipeline.step import Step, StepContext, StepInterrupted
from emergelab.pipeline.store import Store

Spec = Mapping[str, Any]
Inputs = Mapping[str, Path]


def toy(function: str, *inputs: Step, cost: float = 1.0, name: str | None = None, **spec: object) -> Step:
    """Return a step of one of the functions below, its inputs named by their places."""
    sources = {str(place): step for place, step in enumerate(inputs)}
    return Step(
        name=name or f"{function} {spec}",
        kind="toy",
        function=f"pipeline_toys:{function}",
        version=1,
        spec=spec,
        inputs=sources,
        cost=cost,
    )


def leave_trace(text: object) -> None:
    """Append a line to the file that the environment names: what really ran, whatever events say."""
    if "TOY_TRACE" in os.environ:
        with Path(os.environ["TOY_TRACE"]).open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")


def total(spec: Spec, inputs: Inputs, out: Path, context: StepContext):
    """Add up the step's value and those of its inputs."""
    leave_trace(spec["value"])
    context.progress(0.0, 1.0)
    context.note("adding numbers")
    values = [int((folder / "value.txt").read_text()) for folder in inputs.values()]
    (out / "value.txt").write_text(str(spec["value"] + sum(values)))


def chain(spec: Spec, inputs: Inputs, out: Path, context: StepContext):
    """Hash a hash of a hash, saving the state to the scratch folder after every round."""
    state = context.scratch / "state.json"
    done, value = json.loads(state.read_text()) if state.exists() else (0, _begin(spec, inputs))
    for round_ in range(done, spec["rounds"]):
        value = hashlib.sha256(f"{round_} {value}".encode()).hexdigest()
        leave_trace(f"{spec['link']} {round_}")
        _wait_at_gate(f"computed {spec['link']} {round_}", context)
        write_text(state, json.dumps([round_ + 1, value]))
        _wait_at_gate(f"saved {spec['link']} {round_}", context)
        context.progress(float(round_ + 1), float(spec["rounds"]))
    (out / "value.txt").write_text(value)


def _wait_at_gate(moment: str, context: StepContext) -> None:
    """Wait at the moment that the environment names until the file that it names is there."""
    if os.environ.get("TOY_MOMENT") != moment:
        return
    gate = Path(os.environ["TOY_GATE"])
    gate.with_name("reached").touch()
    while not gate.exists():
        context.progress(1.0, 2.0)
        time.sleep(0.01)


def _begin(spec: Spec, inputs: Inputs) -> str:
    return "".join([str(spec["link"]), *((folder / "value.txt").read_text() for folder in inputs.values())])


def measure(spec: Spec, inputs: Inputs, out: Path, context: StepContext):
    """Tell numbers after every round."""
    for round_ in range(1, spec["rounds"] + 1):
        context.measured(round_, {"loss": 1 / round_, "tokens": 10.0 * round_})
    (out / "value.txt").write_text("1")


def noisy(spec: Spec, inputs: Inputs, out: Path, context: StepContext):
    """Print what looks like the protocol, from Python, from C and from a child."""
    print('{"type": "Done", "made": true}')  # noqa: T201 - the point
    os.write(1, b'{"type": "Failed", "message": "a forged word"}\n')
    os.system("echo from a child; echo to stderr >&2")  # noqa: S605
    context.progress(1.0, 2.0)
    (out / "value.txt").write_text("1")


def environment(spec: Spec, inputs: Inputs, out: Path, context: StepContext):
    (out / "environment.json").write_text(json.dumps(dict(os.environ)))


def die(spec: Spec, inputs: Inputs, out: Path, context: StepContext):
    """Killed in its first `deaths` lives; the scratch folder counts them."""
    lives = context.scratch / "lives"
    count = len(lives.read_text()) if lives.exists() else 0
    lives.write_text("x" * (count + 1))
    if count < spec["deaths"]:
        os.kill(os.getpid(), signal.SIGKILL)
    (out / "value.txt").write_text("1")


def parent(spec: Spec, inputs: Inputs, out: Path, context: StepContext):
    """Start a child that would outlive it, and be killed."""
    child = subprocess.Popen(["sleep", "60"])
    leave_trace(child.pid)
    os.kill(os.getpid(), signal.SIGKILL)


def fault(spec: Spec, inputs: Inputs, out: Path, context: StepContext):
    print("a word before the fall")  # noqa: T201 - the point
    raise ZeroDivisionError("an odd fault")


def mistake(spec: Spec, inputs: Inputs, out: Path, context: StepContext):
    raise UserError("The value is 3. It must be 4. Use 4.")


def full(spec: Spec, inputs: Inputs, out: Path, context: StepContext):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fill(spec: Spec, inputs: Inputs, out: Path, context: StepContext):
    (out / "large.bin").write_bytes(bytes(spec["bytes"]))


def swallow(spec: Spec, inputs: Inputs, out: Path, context: StepContext):
    """Catches the interruption and returns as if all were done."""
    (context.scratch / "begun").touch()
    with contextlib.suppress(StepInterrupted):
        while True:
            context.progress(1.0, 2.0)
            time.sleep(0.01)
    (out / "value.txt").write_text("half")


def deaf(spec: Spec, inputs: Inputs, out: Path, context: StepContext):
    """Never reports progress."""
    leave_trace("deaf")
    time.sleep(60)


def links(count: int, rounds: int) -> Step:
    """Return the last of `count` chained steps."""
    step = toy("chain", link=0, rounds=rounds)
    for link in range(1, count):
        step = toy("chain", step, link=link, rounds=rounds)
    return step


def stuck(spec: Spec, inputs: Inputs, out: Path, context: StepContext):
    """Report progress once and then never listen again."""
    context.progress(1.0, 2.0)
    leave_trace("stuck")
    time.sleep(60)


def training(spec: Spec, inputs: Inputs, out: Path, context: StepContext):
    """Leave a checkpoint for each mark; `noise` makes every training another one."""
    leave_trace("training")
    noise = os.urandom(8).hex() if spec["noise"] else ""
    for mark in spec["marks"]:
        (out / f"tokens-{mark}.safetensors").write_text(f"{mark} {noise}")
    (out / "log.parquet").write_text("log")
    (out / "run.json").write_text("{}")


def cell(spec: Spec, inputs: Inputs, out: Path, context: StepContext):
    """Read the checkpoint of the cell's tokens."""
    read = (inputs["train"] / f"tokens-{spec['tokens']}.safetensors").read_text()
    (out / "cell.json").write_text(json.dumps({"loss": spec["loss"], "length": len(read)}))


def tables(spec: Spec, inputs: Inputs, out: Path, context: StepContext):
    """Read the logs and the cells."""
    names = ("log.parquet", "cell.json")
    read = [
        (folder / name).read_text()
        for folder in inputs.values()
        for name in names
        if (folder / name).exists()
    ]
    (out / "scores.parquet").write_text(str(read))


def main() -> None:
    """Run what the command line asks for; 130 when interrupted, 2 for a user's mistake."""
    root, workers, function = sys.argv[1:4]
    numbers = [int(number) for number in sys.argv[4:]]
    makers = {"chain": links, "fill": lambda size: toy("fill", toy("total", value=1), bytes=size)}
    target = makers.get(function, lambda: toy(function))(*numbers)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run([target], Store(Path(root)), workers=int(workers), reporter=reporter_for(sys.stderr))
    except KeyboardInterrupt:
        sys.exit(130)
    except UserError as error:
        print(error)  # noqa: T201 - what the test reads
        sys.exit(2)


if __name__ == "__main__":
    main()
