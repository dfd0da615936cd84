"""What several commands share: arguments, formats, and how things are printed."""

from __future__ import annotations

import difflib
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from emergelab.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console
    from typer._click import Context

ROWS_ON_SCREEN = 40
_ALIKE = 0.7  # of two names, one of which may be the other mistyped


class Format(StrEnum):
    """How results are printed."""

    table = "table"
    json = "json"
    csv = "csv"


GrammarArgument = Annotated[
    str, typer.Argument(metavar="NAME|FILE", help="A shipped grammar's name or a .cag file.")
]
ParametersOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=NUMBER", help="Give a parameter of the grammar another value."),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="The folder that `emergelab run` made.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class ReportGroup(TyperGroup):
    """A group of commands whose `report` is meant where a file stands in the place of a command."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Put the command's name before its arguments. Raises UserError for what looks like another command's."""
        if not args or args[0] in {*self.commands, *ctx.help_option_names}:
            return super().parse_args(ctx, args)
        meant = difflib.get_close_matches(args[0], self.commands, n=1, cutoff=_ALIKE)
        if meant and not Path(args[0]).exists():
            raise UserError(f"There is neither a file nor a command {args[0]!r}. Did you mean '{meant[0]}'?")
        return super().parse_args(ctx, ["report", *args])


def new_group(purpose: str, kind: type[TyperGroup] = TyperGroup) -> typer.Typer:
    """Return an empty group of commands."""
    return typer.Typer(no_args_is_help=True, help=purpose, cls=kind)


def console() -> Console:
    """Return the terminal, which takes what is printed as it is."""
    from rich.console import Console  # noqa: PLC0415

    # What is printed is data: brackets and colons in it mean nothing.
    return Console(highlight=False, markup=False, emoji=False)


def say_cut(console: Console, remedy: str) -> None:
    """Say that more rows follow and how to see them."""
    console.print(f"These are the first {ROWS_ON_SCREEN}. {remedy}", style="dim", soft_wrap=True)
