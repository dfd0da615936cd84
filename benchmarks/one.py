"""Run one benchmark and write its result: `python benchmarks/one.py NAME FILE`."""

import importlib
import json
import sys
from pathlib import Path


def run(name: str, path: Path) -> None:
    """Write what the `main()` of the file `name`.py returns to `path`, as JSON without NaN."""
    here = Path(__file__).resolve().parent
    sys.path[:0] = [str(here), str(here.parent)]
    result = importlib.import_module(name).main()
    path.write_text(json.dumps(result, allow_nan=False), encoding="utf-8")


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]))
