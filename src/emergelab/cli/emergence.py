"""The command that asks a finished run what emerges, and where."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emergelab.cli.options import JsonOption, RunArgument, console
from emergelab.cli.tables import print_table

if TYPE_CHECKING:
    import polars as pl

_ON_SCREEN = 12  # curves
_NOTHING_KNOWN = 0.95  # of all that a share may be, within its interval
_SIZE = ("layers", "width", "train_tokens", "unique_documents")
_COLUMNS = ("metric", "level", "threshold", "sharpness", "verdict", "why", "p smooth", "p step")


def emergence_command(
    run: RunArgument,
    task: Annotated[str | None, typer.Option(help="A task that the run was asked; by default all.")] = None,
    form: Annotated[
        str | None, typer.Option(help="How its rows are printed, `direct` or `steps`; by default both.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="`seen`, `held_out` or `outside`; by default all that there are.")
    ] = None,
    axis: Annotated[
        str | None,
        typer.Option(help="`tokens`, `parameters`, `compute` or `loss`; by default all with points enough."),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="`accuracy`, `probability` or `nats`; by default all three.")
    ] = None,
    shots: Annotated[
        int | None, typer.Option(help="Behind so many examples; by default the most that were asked.")
    ] = None,
    level: Annotated[
        float | None,
        typer.Option(
            help="Where the threshold is, of --metric, by default half way from chance to certainty."
        ),
    ] = None,
    span: Annotated[
        float | None,
        typer.Option(
            help="How far a smooth rise reaches: natural logarithms of --axis, nats for loss; by default half of "
            "what was measured."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say where tasks emerge in a finished run, how sharply, and whether they jump or only their metric does.

    A level without a metric is one of accuracy. Answers are teacher-forced, to queries whose argument stood in no
    example.
    """
    from emergelab.cli.progress import counting  # noqa: PLC0415
    from emergelab.recipes.emergence import EmergenceQuestion, emergence_of  # noqa: PLC0415
    from emergelab.recipes.run_folder import RunFolder  # noqa: PLC0415

    question = EmergenceQuestion(
        task=task, form=form, split=split, axis=axis, metric=metric, shots=shots, level=level, span=span
    )
    with counting("curves", interrupted="Interrupted.") as told:
        found = emergence_of(RunFolder(run), question, told)
    if as_json:
        typer.echo(json.dumps(found.to_dicts(), indent=1, allow_nan=False))
        return
    _print_curves(found)


def _print_curves(found: pl.DataFrame) -> None:
    from emergelab.analysis.emergence.studied import CURVE  # noqa: PLC0415 - slow to import

    curves = found.partition_by(CURVE, maintain_order=True)
    for place, rows in enumerate(curves[:_ON_SCREEN]):
        if place:
            typer.echo()
        _print_curve(rows.to_dicts())
    if len(curves) > _ON_SCREEN:
        console().print(
            f"\nThese are the first {_ON_SCREEN} of {len(curves)} curves. Choose with --task, --form, --split and "
            "--axis; --json prints all.",
            style="dim",
            soft_wrap=True,
        )


def _print_curve(rows: list[dict[str, Any]]) -> None:
    first = rows[0]
    kind = ", ".join(str(first[name]) for name in ("task", "form", "split"))
    where = [f"{name} {first[name]:,}" for name in _SIZE if first[name] is not None]
    where += [first["variant"]] if first["variant"] else []
    typer.echo(f"{kind}, {first['shots']} examples{'; ' if where else ''}{', '.join(where)}")
    typer.echo(f"over {first['axis']}: {first['points']} points, runs at each: {first['seeds']}")
    print_table(_COLUMNS, [_row(row) for row in rows])
    typer.echo(f"All in all: {first['verdict']} ({first['verdict_reason']}).{_progress(first)}")


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    level = "half way up" if row["level"] is None else f"{row['level']:.3g}"
    return (
        *(row["metric"], level, row["threshold_stated"], _sharpness(row), row["jump"], row["jump_reason"]),
        *("-" if row[name] is None else f"{row[name]:.3f}" for name in ("p_smooth", "p_step")),
    )


def _sharpness(row: dict[str, Any]) -> str:
    ends = [row[f"sharpness{end}"] for end in ("", "_lo", "_hi")]
    if None in ends:
        return "-"
    return "{:.2g} [{:.2g}, {:.2g}]".format(*ends)


def _progress(row: dict[str, Any]) -> str:
    """Say how much of the fall in nats came before accuracy rose, where anything is known of it."""
    if row["progress"] is None or row["progress_hi"] - row["progress_lo"] > _NOTHING_KNOWN:
        return ""
    ends = "{:.0%} [{:.0%}, {:.0%}]".format(*(row[f"progress{end}"] for end in ("", "_lo", "_hi")))
    return f" Where accuracy has done a tenth of its rise, nats have done {ends} of their fall."
