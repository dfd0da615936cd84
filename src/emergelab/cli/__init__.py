"""The command line. Commands parse, call `recipes`, and print; libraries are imported where they are used."""

from __future__ import annotations

import contextlib
import errno
import sys
from typing import Annotated

import typer

from emergelab import __version__
from emergelab.cli import (
    comparisons,
    composing,
    corpora,
    emergence,
    evaluations,
    forecasts,
    grammars,
    models,
    outcomes,
    screening,
    skills,
    stores,
    studies,
    theory,
)
from emergelab.errors import EmergelabError, UserError
from emergelab.pipeline.stops import heeded_stops

_USER_ERROR = 2
_FAULT = 1
_INTERRUPTED = 130

app = typer.Typer(
    name="emergelab",
    help="When and why in-context learning emerges: grammars, transformers trained on them, honest measurement.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Options of all commands."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


app.add_typer(grammars.grammar_app, name="grammar")
app.add_typer(corpora.corpus_app, name="corpus")
app.add_typer(models.model_app, name="model")
app.add_typer(stores.store_app, name="store")
app.add_typer(skills.skills_app, name="skills")
skills.skills_app.command("check")(screening.check_command)
skills.skills_app.command("compose")(composing.compose_command)
app.command("list")(studies.list_command)
app.command("run")(studies.run_command)
app.command("results")(studies.results_command)
app.command("report")(studies.report_command)
app.command("emergence")(emergence.emergence_command)
app.command("evaluate")(evaluations.evaluate_command)
app.command("compare")(comparisons.compare_command)
app.command("ideal")(theory.ideal_command)
app.command("bound")(theory.bound_command)
skills.skills_app.command("import")(outcomes.import_command)
app.command("curve")(skills.curve_command)
app.command("fit-law")(forecasts.fit_law_command)
app.command("fit-link")(forecasts.fit_link_command)
app.command("forecast")(forecasts.forecast_command)
app.command("slingshot")(forecasts.slingshot_command)


def main() -> None:
    """Run the command line; a user's mistake is one message and exit code 2, an interruption 130."""
    try:
        with heeded_stops():
            _run_and_flush()
    except UserError as error:
        _fail(str(error), _USER_ERROR)
    except EmergelabError as error:
        _fail(str(error), _FAULT)
    except KeyboardInterrupt:
        raise SystemExit(_INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        _drop_output()
        raise SystemExit(_FAULT) from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            _fail(
                f"The name of a file or folder is too long: {error.filename!s:.200}. Shorten it.", _USER_ERROR
            )
        if error.errno != errno.ENOSPC:
            raise
        _drop_output()
        _fail("The output was not written: no space is left on the disk. Free some space.", _USER_ERROR)


def _run_and_flush() -> None:
    try:
        app(standalone_mode=True)
    finally:
        # Here, where a failure has its message, and not when the interpreter ends.
        sys.stdout.flush()


def _drop_output() -> None:
    with contextlib.suppress(OSError):
        sys.stdout.close()


def _fail(message: str, code: int) -> None:
    sys.stderr.write(f"Error: {message}\n")
    raise SystemExit(code)
