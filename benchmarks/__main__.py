"""Run the benchmarks, each in a process and on a thread of its own, and print one JSON document.

    python benchmarks [NAME ...] [--out FILE] [--list]

A benchmark is a file beside this one with a function `main()` that returns a dictionary of what it
measured: ratios (see `ratios.interleave`) rather than times, which would be those of one machine.
"""

import argparse
import ast
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).resolve().parent
THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
)
LONG = ("emergence", "store")  # a quarter of an hour, and minutes of files: on demand only
LIBRARIES = ("emergelab", "numpy", "numba", "polars", "torch", "transformers")


def main() -> int:
    """Run what the command line asks for; return 1 where a benchmark failed."""
    options = read_options()
    if options.list:
        print("\n".join(benchmarks()))
        return 0
    names = options.names or [name for name in benchmarks() if name not in LONG]
    results = {name: run(name) for name in names}
    document = {"machine": machine(), "versions": versions(), "benchmarks": results}
    text = json.dumps(document, indent=2, allow_nan=False)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    return int(any("error" in result for result in results.values()))


def read_options() -> argparse.Namespace:
    """Read the command line; an unknown benchmark ends it with a message and exit code 2."""
    parser = argparse.ArgumentParser(prog="benchmarks", description="Measure ratios of speed.")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join(benchmarks())}; all but {', '.join(LONG)} if none",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the JSON there, too")
    parser.add_argument("--list", action="store_true", help="list the benchmarks")
    options = parser.parse_args()
    if unknown := set(options.names) - set(benchmarks()):
        parser.error(
            f"no benchmark is called {', '.join(sorted(unknown))}. There are {', '.join(benchmarks())}."
        )
    return options


def benchmarks() -> list[str]:
    """Return the names of the files beside this one that define `main`, sorted."""
    return [path.stem for path in sorted(HERE.glob("[a-z]*.py")) if defines_main(path)]


def defines_main(path: Path) -> bool:
    """Say whether the file has a function `main` at its top level, without running it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)


def run(name: str) -> dict[str, object]:
    """Run one benchmark in a fresh process on one thread and return what it measured, or its error.

    What the benchmark prints goes to stderr, so that stdout holds the document alone.
    """
    print(f"{name} ...", flush=True, file=sys.stderr)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        command = [sys.executable, str(HERE / "one.py"), name, str(path)]
        status = subprocess.run(command, env=one_thread(), stdout=sys.stderr, check=False).returncode
        result: dict[str, object] = {"error": f"exit code {status}"}
        if status == 0:
            result = json.loads(path.read_text(encoding="utf-8"))
    print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    return result


def one_thread() -> dict[str, str]:
    """Return the environment in which every library uses one thread."""
    return os.environ | dict.fromkeys(THREADS, "1")


def machine() -> dict[str, object]:
    """Return what ran the benchmarks."""
    return {
        "processor": processor(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "threads": 1,
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def processor() -> str:
    """Return the processor's name, as far as the system tells it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


def versions() -> dict[str, str | None]:
    """Return the versions of the libraries that matter here; null where one is not installed."""
    return {name: installed(name) for name in LIBRARIES}


def installed(name: str) -> str | None:
    """Return the version of an installed library, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
