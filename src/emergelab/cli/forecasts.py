"""Commands on real results: fit a scaling law, say what scale does by it, forecast larger models, test forecasts."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emergelab.cli.options import JsonOption
from emergelab.cli.tables import print_table

if TYPE_CHECKING:
    from emergelab.recipes.ladders import TableQuestion


class MetricType(StrEnum):
    """What a metric is, where its name and values do not tell."""

    loss = "loss"
    share = "share"


class Method(StrEnum):
    """How a forecast is made."""

    pooled = "pooled"
    two_step = "two-step"
    one_step = "one-step"
    power_law = "power-law"
    last_value = "last-value"


TableArgument = Annotated[
    str,
    typer.Argument(metavar="NAME|FILE", help="A shipped table's name or a Parquet, CSV or JSON-lines file."),
]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="ROLE=NAME",
        help="Which column is params, tokens, run, group, kind, name or value; by default known by its name.",
    ),
]
WhereOption = Annotated[
    list[str] | None, typer.Option("--where", metavar="COLUMN=VALUE", help="Take only these rows.")
]
ParamsColumn = Annotated[str | None, typer.Option("--params", help="The column of parameters.")]
TokensColumn = Annotated[str | None, typer.Option("--tokens", help="The column of training tokens.")]
LossOption = Annotated[
    str,
    typer.Option("--loss", help="A column of losses in nats, or a metric of a table with one row a result."),
]
DeltaOption = Annotated[float, typer.Option(help="Where Huber's loss of log residuals becomes linear.")]
SamplesOption = Annotated[int, typer.Option(min=100, max=100_000, help="Sets of runs drawn again.")]


def fit_law_command(
    table: TableArgument,
    loss: LossOption,
    params: ParamsColumn = None,
    tokens: TokensColumn = None,
    column: ColumnOption = None,
    where: WhereOption = None,
    delta: DeltaOption = 1e-3,
    samples: SamplesOption = 1000,
    as_json: JsonOption = False,
) -> None:
    """Fit L = E + A/N^a + B/D^b to runs, with intervals of its constants and a look at what they hang on."""
    from emergelab.recipes.law_fitting import LawQuestion, law_of  # noqa: PLC0415

    asked = LawQuestion(
        table=_with_columns(table, params, tokens, column, where), loss=loss, delta=delta, samples=samples
    )
    found = law_of(asked)
    if as_json:
        typer.echo(json.dumps(found, indent=1, allow_nan=False))
        return
    _print_law(found)


def fit_link_command(
    table: TableArgument,
    metric: Annotated[str, typer.Option(help="The share (accuracy): a column, or a metric's name.")],
    through: Annotated[
        str | None,
        typer.Option(
            help="The loss between; by default the task's own bits per byte, else the mean of the table's losses."
        ),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="The metric's kind, where several have its name.")] = None,
    chance: Annotated[
        float | None, typer.Option(help="The share right by guessing, 0 to 1; fitted where it is not given.")
    ] = None,
    params: ParamsColumn = None,
    tokens: TokensColumn = None,
    column: ColumnOption = None,
    where: WhereOption = None,
    samples: SamplesOption = 1000,
    as_json: JsonOption = False,
) -> None:
    """Fit how a task's accuracy follows from a loss (two steps) and from compute (one), above a chance floor."""
    from emergelab.recipes.link_fitting import LinkQuestion, link_of  # noqa: PLC0415

    asked = LinkQuestion(
        table=_with_columns(table, params, tokens, column, where),
        metric=metric,
        through=through,
        kind=kind,
        chance=chance,
        samples=samples,
    )
    found = link_of(asked)
    if as_json:
        typer.echo(json.dumps(found, indent=1, allow_nan=False))
        return
    _print_link(found)


def forecast_command(
    table: TableArgument,
    metric: Annotated[str | None, typer.Option(help="What to forecast.")] = None,
    params: Annotated[float | None, typer.Option(help="Parameters of the model, for example 7e9.")] = None,
    tokens: Annotated[float | None, typer.Option(help="Its training tokens, for example 4e12.")] = None,
    kind: Annotated[str | None, typer.Option(help="The metric's kind, where several have its name.")] = None,
    metric_type: Annotated[
        MetricType | None, typer.Option("--type", help="What the metric is, where its values do not tell.")
    ] = None,
    method: Annotated[
        Method, typer.Option(help="`pooled` learns from all metrics; the others take the metric by itself.")
    ] = Method.pooled,
    column: ColumnOption = None,
    where: WhereOption = None,
    back_test: Annotated[
        bool, typer.Option("--back-test", help="Forecast the table's own larger runs, and score it.")
    ] = False,
    splits: Annotated[
        Path | None, typer.Option(help="A TOML file of splits for the back-test; shipped tables have theirs.")
    ] = None,
    development: Annotated[
        bool, typer.Option("--development", help="Take the splits by which the method was chosen.")
    ] = False,
    figure: Annotated[
        Path | None, typer.Option(help="Draw the back-test's errors into this SVG file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Forecast a loss or an accuracy of a larger model from a table of smaller ones, with a 90 % interval."""
    question = _question(table, column, where, metric_type)
    if back_test:
        _back_test((question, metric), splits, figure, development=development, as_json=as_json)
        return
    from emergelab.recipes.forecasting import ForecastError, ForecastQuestion, forecast_of  # noqa: PLC0415

    if metric is None or params is None or tokens is None:
        raise ForecastError(
            "It is not said what to forecast. A forecast needs --metric, --params and --tokens. Give all three, or "
            "--back-test."
        )
    asked = ForecastQuestion(
        table=question, metric=metric, params=params, tokens=tokens, kind=kind, method=method.value
    )
    found = forecast_of(asked)
    if as_json:
        typer.echo(json.dumps(found, indent=1, allow_nan=False))
        return
    _print_forecast(found)


def slingshot_command(
    table: Annotated[
        str | None, typer.Argument(metavar="[NAME|FILE]", help="A table whose runs the law is fitted to.")
    ] = None,
    loss: Annotated[str | None, typer.Option(help="Its column or metric of losses.")] = None,
    law: Annotated[str | None, typer.Option(help="Instead of a table: hoffmann or besiroglu.")] = None,
    factor: Annotated[float, typer.Option(help="How many times more.")] = 10.0,
    params: Annotated[float | None, typer.Option(help="Parameters to start from.")] = None,
    tokens: Annotated[float | None, typer.Option(help="Tokens to start from.")] = None,
    compute: Annotated[
        float | None, typer.Option(help="Instead of both: start from the optimum of so many FLOP.")
    ] = None,
    alpha: Annotated[float, typer.Option(help="Worst share of skills (tuples) whose failure is told.")] = 0.2,
    k: Annotated[int, typer.Option("--k", help="Skills of a piece.")] = 8,
    tuples: Annotated[int, typer.Option(help="Skills in a tuple, one of each of so many joined pieces.")] = 1,
    slope: Annotated[float, typer.Option(help="Failing pieces per nat under the link `linear`.")] = 2.0,
    column: ColumnOption = None,
    where: WhereOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what more parameters, tokens or compute do to the excess loss, to failing pieces and to tuples of skills."""
    from emergelab.recipes import law_fitting  # noqa: PLC0415

    asked = law_fitting.ScaleQuestion(
        factor=factor,
        params=params,
        tokens=tokens,
        compute=compute,
        alpha=alpha,
        k=k,
        tuples=tuples,
        slope=slope,
    )
    if table is not None and loss is not None and law is None:
        question = law_fitting.LawQuestion(table=_question(table, column, where, None), loss=loss)
        found = law_fitting.fitted_slingshot_of(question, asked)
    elif table is None and loss is None:
        found = law_fitting.slingshot_of(law_fitting.published_law(law or "besiroglu"), [], asked)
    else:
        raise law_fitting.LawError(
            "It is not said by which law. It is fitted to a table's losses, or a published one. Give a table and "
            "--loss, or --law alone."
        )
    if as_json:
        typer.echo(json.dumps(found, indent=1, allow_nan=False))
        return
    _print_slingshot(found)


def _question(
    table: str, column: list[str] | None, where: list[str] | None, metric_type: MetricType | None
) -> TableQuestion:
    from emergelab.recipes.ladders import TableQuestion  # noqa: PLC0415

    sort = None if metric_type is None else metric_type.value
    return TableQuestion(table, list(column or []), list(where or []), sort)


def _with_columns(
    table: str, params: str | None, tokens: str | None, column: list[str] | None, where: list[str] | None
) -> TableQuestion:
    told = [f"{role}={name}" for role, name in (("params", params), ("tokens", tokens)) if name is not None]
    return _question(table, [*(column or []), *told], where, None)


def _back_test(
    asked: tuple[TableQuestion, str | None],
    splits: Path | None,
    figure: Path | None,
    *,
    development: bool,
    as_json: bool,
) -> None:
    from emergelab.recipes.back_testing import back_test_of  # noqa: PLC0415

    question, metric = asked
    found = back_test_of(question, metric=metric, development=development, splits=splits)
    if figure is not None:
        from emergelab.report.forecasts import draw_back_test  # noqa: PLC0415

        draw_back_test(found["rows"], figure)
    if as_json:
        typer.echo(json.dumps(found, indent=1, allow_nan=False))
        return
    columns = (
        "split",
        "compute",
        "kind",
        "method",
        "n",
        "error",
        "bias",
        "coverage",
        "CRPS",
        "interval score",
    )
    keys = ("split", "band", "kind", "method", "n", "error", "bias", "coverage", "crps", "interval_score")
    shown = [row for row in found["rows"] if row["band"] in {"1 to 10", "above 10"}]
    rows = [tuple(_cell(row[key]) for key in keys) for row in shown]
    print_table(columns, rows)
    typer.echo(
        "Errors and scores: per cent of a loss, points of a share (accuracy). Compute: how many times the most that "
        "was fitted. Coverage is of 90 % intervals. --json has other bands, widths, and counts of runs and metrics."
    )
    print_table(
        ("split", "kind", "scatter of single runs", "n"),
        [(one["split"], one["kind"], _cell(one["error"]), str(one["n"])) for one in found["scatter"]],
    )
    typer.echo(
        "Scatter: by how much fitted runs of much compute miss what the other runs' links say of their common loss, in "
        "the same units. A forecast has this error and that of the law."
    )


def _print_law(found: dict[str, Any]) -> None:
    rows = [(name, *_limits(found[name]), str(found[name]["method"])) for name in ("E", "A", "B", "a", "b")]
    print_table(("constant", "value", "95 % from", "to", "method"), rows)
    fitted = f"{found['n']} points of {found['runs']} runs, Huber's loss with delta {found['delta']:g}"
    typer.echo(f"{found['law']}: {fitted}.")
    _warn(found["warnings"])


def _print_link(found: dict[str, Any]) -> None:
    rows: list[tuple[str, ...]] = []
    for step, name in (("two_step", "loss to share"), ("one_step", "log10 compute to share")):
        one = found[step]
        if step == "two_step":
            law = one["law"]
            rows += [
                ("N, D to loss", constant, *_limits(law[constant]), law[constant]["method"])
                for constant in law
            ]
        rows += [(name, constant, *_limits(one[constant]), one[constant]["method"]) for constant in _LINK]
    print_table(("step", "constant", "value", "95 % from", "to", "method"), rows)
    two, one = found["two_step"], found["one_step"]
    typer.echo(
        f"{two['form']}, x: {found['through']}; {found['n']} points of {found['runs']} runs. Residuals, points: "
        f"{_points(two['residual'])} from the measured loss, {_points(two['residual_with_law'])} from that of the law, "
        f"{_points(one['residual'])} from compute in one step."
    )
    _warn(found["warnings"])


_LINK = ("floor", "middle", "slope")


def _points(share: float) -> str:
    return f"{100 * share:.2f}"


def _print_forecast(found: dict[str, Any]) -> None:
    several = found.get("groups")
    if several:
        rows = [(one["group"], *_limits(one), str(one["n"])) for one in several]
        print_table((str(found["group_column"]), "forecast", "90 % from", "to", "points"), rows)
    value, lo, hi = _limits(found)
    mean = " (mean over training corpora, and the hull of their intervals)" if several else ""
    typer.echo(f"{found['metric']}: {value}, 90 % from {lo} to {hi}{mean}; {found['n']} points.")
    typer.echo(
        f"{found['times_compute_fitted']:.3g} times the most compute in the table. Method: {found['method']}."
    )
    _warn(found["warnings"])


def _print_slingshot(found: dict[str, Any]) -> None:
    rows: list[tuple[str, ...]] = []
    for step in found["steps"]:
        value, lo, hi = _limits(step["divided_by"])
        for link, one in step["links"].items():
            shares = (f"{one[name]:.4f}" for name in _SHARES)
            rows.append((step["step"], value, "" if lo == "-" else f"{lo} to {hi}", link, *shares))
    print_table(
        (
            "more of",
            "excess divided by",
            "95 %",
            "link",
            "theta before",
            "after",
            "worst failure before",
            "after",
        ),
        rows,
    )
    typer.echo(
        f"{found['factor']:g} times from {found['params']:.4g} parameters and {found['tokens']:.4g} tokens. Failure: "
        f"of the worst {found['alpha']:g} of {found['tuples']}-tuples ({found['kind']}), k = {found['k']}, exact curve."
    )
    _warn(found["warnings"])


_SHARES = ("theta_before", "theta_after", "failure_before", "failure_after")


def _limits(one: dict[str, Any]) -> tuple[str, str, str]:
    return tuple("-" if one[name] is None else f"{one[name]:.4g}" for name in ("value", "lo", "hi"))  # pyright: ignore[reportReturnType]


def _cell(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        typer.echo(f"Note: {warning}", err=True)
