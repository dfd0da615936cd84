"""Coverage-guided fuzzing of what reads files: whatever the bytes, a mistake is a message, never a traceback.

    python tests/fuzz/parsers.py grammar|study|language FOLDER [-max_total_time=3600] [-dict=FILE]

`FOLDER` keeps the inputs that reached something new; it is filled with the shipped files first. Options behind it are
libFuzzer's. What breaks is written to the working folder as `crash-*`; put it into `tests/fuzz/found/<target>`,
where the tests replay it for good.
"""

# ruff: noqa: PLC0415 - imported late, so that the fuzzer can instrument it

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emergelab.grammar.shelf import SourceFile

FOUND = Path(__file__).parent / "found"
MOST_CELLS = 40
MOST_TABLE_ENTRIES = 2_000
MOST_SHOTS = 40


def grammar(text: str) -> None:
    """Read a grammar. A valid one is written and read again without a change."""
    from emergelab.errors import GrammarError
    from emergelab.grammar.library import load_grammar
    from emergelab.grammar.notation import parse, render

    try:
        syntax = load_grammar(_file(text, "fuzz.cag"))
    except GrammarError as error:
        _require_message(error)
        return
    again = parse(render(syntax), name="fuzz")
    if (again.world, again.rules, again.tasks, again.hold_outs) != (
        syntax.world,
        syntax.rules,
        syntax.tasks,
        syntax.hold_outs,
    ):
        raise AssertionError("a grammar changed when it was written and read again")


def language(text: str) -> None:
    """Draw a grammar's world, hold out, prove, and make prompts of its tasks, where the world is small."""
    from emergelab.corpus.prompts import make_prompts
    from emergelab.errors import UserError
    from emergelab.grammar.holdout import draw_language, prove_no_overlap
    from emergelab.grammar.library import load_grammar
    from emergelab.rng import stream

    try:
        syntax = load_grammar(_file(text, "fuzz.cag"))
        entries = syntax.world.objects * (1 + sum(family.count for family in syntax.world.families))
        if entries > MOST_TABLE_ENTRIES:
            return
        drawn = draw_language(syntax, stream(0, "world"))
        prove_no_overlap(drawn)
        for task in syntax.tasks:
            make_prompts(drawn, task.name, shots=2, prompts=3, stream=stream(0, "prompts"))
    except UserError as error:
        _require_message(error)


def study(text: str) -> None:
    """Read a study and lay out its grid, where that is small."""
    from emergelab.errors import UserError
    from emergelab.recipes.grid import build_grid
    from emergelab.recipes.study import read_study

    file = _file(text, "fuzz.toml")
    try:
        found = read_study(file)
        if found.cells <= MOST_CELLS and found.evaluate.shots <= MOST_SHOTS:
            build_grid(file, found)
    except UserError as error:
        _require_message(error)


TARGETS: dict[str, Callable[[str], None]] = {"grammar": grammar, "language": language, "study": study}


def _file(text: str, name: str) -> SourceFile:
    from emergelab.grammar.shelf import SourceFile

    # The folder does not exist: names of files that a study makes up lead nowhere.
    return SourceFile("fuzz", name, Path("/nonexistent"), text)


def _require_message(error: Exception) -> None:
    if len(str(error)) < len("Value, rule, remedy."):
        raise AssertionError("a message says nothing")


def replay(target: str, content: bytes) -> None:
    """Give one input to a target: as a file would be read, or left alone where it is not UTF-8."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return
    TARGETS[target](text)


def _fill(folder: Path, target: str) -> None:
    """Put the shipped files into the folder of inputs."""
    from importlib import resources

    kind = ("studies", ".toml") if target == "study" else ("grammars", ".cag")
    for entry in (resources.files("emergelab") / kind[0]).iterdir():
        if entry.name.endswith(kind[1]):
            content = entry.read_bytes()
            (folder / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)


def _words(target: str) -> list[str]:
    """Return what the mutations may insert whole."""
    if target == "study":
        table = ["grammar", "key", "keys", "model", "train", "evaluate", "name", "world", "data"]
        entries = ["width", "layers", "heads", "context", "hidden", "tokens", "batch", "seeds", "documents"]
        rest = ["tasks", "shots", "prompts", "loss_documents", "betas", "precision", "compile", "momentum"]
        return [*table, *entries, *rest, "functions", "single", "pair", "[", "]", "=", "1e6", "true", "nan"]
    items = ["let", "some", "each", "if", "else", "rule", "task", "steps", "splits", "seen", "held", "out"]
    world = ["world", "objects", "family", "predicate", "permutations", "maps", "per", "document", "density"]
    laws = ["stop", "power", "all", "uniform", "distinct", "hold", "of", "parameter"]
    return [
        *items,
        *world,
        *laws,
        "{",
        "}",
        "(",
        ")",
        "|",
        ":",
        "~",
        "*",
        ",",
        '"',
        ";",
        "1/3",
        "1e308",
        "0.5",
    ]


def main() -> None:
    """Fuzz one target until libFuzzer's options say that it is enough."""
    import atheris

    target, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    _fill(folder, target)
    words = folder.parent / f"{target}.dict"
    quoted = (word.replace("\\", "\\\\").replace('"', '\\"') for word in _words(target))
    words.write_text("".join(f'"{word}"\n' for word in quoted), encoding="utf-8")
    with atheris.instrument_imports(include=["emergelab.grammar", "emergelab.recipes", "lark", "pydantic"]):
        import emergelab.grammar.library
        import emergelab.recipes.grid  # noqa: F401
    options = [f"-dict={words}", "-max_len=4000", "-timeout=60", "-rss_limit_mb=4000"]
    atheris.Setup([sys.argv[0], *options, *sys.argv[3:], str(folder)], lambda data: replay(target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
