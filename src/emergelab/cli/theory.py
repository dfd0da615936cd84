"""Commands that ask the theory: what the ideal predictor does on a grammar, and what bounds allow."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emergelab.cli.options import GrammarArgument, JsonOption, ParametersOption
from emergelab.cli.tables import print_table
from emergelab.theory.limits import HYPOTHESES

if TYPE_CHECKING:
    from emergelab.grammar.language import Language


class Law(StrEnum):
    """Which of a grammar's laws: as written, or with what is held out taken away."""

    full = "full"
    train = "train"


TaskOption = Annotated[str, typer.Option("--task", help="A task of the grammar.")]
FormOption = Annotated[
    str | None, typer.Option(help="How its rows are printed, `direct` or `steps`; by default both.")
]
LawOption = Annotated[
    Law, typer.Option(help="`full` is the grammar as written; `train` leaves out what is held out.")
]
PromptsOption = Annotated[
    int, typer.Option(min=2, max=100_000, help="How many prompts of each form and split.")
]
KeyOption = Annotated[int, typer.Option(min=0, help="The key of world, prompts and documents.")]


def ideal_command(
    grammar: GrammarArgument,
    task: TaskOption,
    form: FormOption = None,
    shots: Annotated[int, typer.Option(min=0, max=1_000, help="Ask with 0 to so many examples.")] = 10,
    law: LawOption = Law.full,
    prompts: Annotated[
        int | None,
        typer.Option(min=2, max=100_000, help="How many prompts of each form and split; by default 512."),
    ] = None,
    documents: Annotated[
        int | None, typer.Option(min=2, help="How many for the entropy rate; by default 2048.")
    ] = None,
    context: Annotated[int, typer.Option(min=1, max=32_000, help="Where documents are cut.")] = 48,
    hypotheses: Annotated[
        int, typer.Option(min=1, help="How many are weighed where documents draw functions of their own.")
    ] = HYPOTHESES,
    key: KeyOption = 0,
    settings: ParametersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score the ideal predictor on a task, and give the entropy rate of the corpus.

    It knows the grammar and its world and nothing of a document but what stands before: no predictor does better on
    average. Where documents draw functions of their own this is slow, and 16 prompts and documents are the default.
    """
    from emergelab.cli.progress import counting  # noqa: PLC0415
    from emergelab.recipes.oracle import OracleQuestion, ideal_scores  # noqa: PLC0415

    asked = OracleQuestion(
        task=task, form=form, shots=shots, law=law.value, prompts=prompts, documents=documents,
        context=context, hypotheses=hypotheses, key=key,
    )  # fmt: skip
    language = _language(grammar, key, settings)
    with counting("prompts and documents", interrupted="Interrupted.") as told:
        found = ideal_scores(language, asked, told)
    if as_json:
        typer.echo(json.dumps({"grammar": grammar, **found}, indent=1, allow_nan=False))
        return
    _print_ideal(found)


def bound_command(
    grammar: GrammarArgument,
    task: TaskOption,
    form: FormOption = None,
    shots: Annotated[
        int, typer.Option(min=1, max=1_000, help="Bound the answers of so many examples together.")
    ] = 10,
    law: LawOption = Law.full,
    prompts: PromptsOption = 512,
    key: KeyOption = 0,
    settings: ParametersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bound the nats and the errors of the first answers of a prompt, beside what the ideal predictor pays."""
    from emergelab.recipes.oracle import OracleQuestion, bounds  # noqa: PLC0415

    asked = OracleQuestion(task=task, form=form, shots=shots, law=law.value, prompts=prompts, key=key)
    found = bounds(_language(grammar, key, settings), asked)
    if as_json:
        typer.echo(json.dumps({"grammar": grammar, **found}, indent=1, allow_nan=False))
        return
    _print_bounds(found)


def _language(grammar: str, key: int, settings: list[str] | None) -> Language:
    from emergelab.grammar.holdout import draw_language  # noqa: PLC0415
    from emergelab.grammar.library import find_grammar, load_grammar  # noqa: PLC0415
    from emergelab.grammar.notation_numbers import read_settings  # noqa: PLC0415
    from emergelab.rng import stream  # noqa: PLC0415

    syntax = load_grammar(find_grammar(grammar), read_settings(settings or []))
    return draw_language(syntax, stream(key, "world"))


def _print_ideal(found: dict[str, Any]) -> None:
    columns = ("form", "split", "argument", "shots", "n", "accuracy", "nats")
    rows = [
        (
            *(str(row[name]) for name in columns[:5]),
            _interval(row, "accuracy", 3),
            _interval(row, "nats", 3),
        )
        for row in found["scores"]
    ]
    print_table(columns, rows)
    rate, exact = found["entropy_rate"], found["exactness"]
    typer.echo(
        f"Entropy rate of the corpus ({found['law']} law, documents cut at {rate['context']} tokens): "
        f"{_interval(rate, 'nats', 4)} nats per token, {rate['nats_n']:,} documents."
    )
    typer.echo(_said_exactness(exact, rate))


def _said_exactness(exact: dict[str, Any], rate: dict[str, Any]) -> str:
    if "hypotheses" in exact:
        known = f"At most {exact['hypotheses']:,} hypotheses were weighed at a time."
    elif exact["remainder_of_documents"]:
        known = _said_enumerated(exact)
    else:
        return f"Exact: {exact['distinct_bodies']:,} distinct bodies."
    high = "∞" if rate["certified_hi"] is None else f"{rate['certified_hi']:.6f}"
    ends = f"{rate['certified_lo']:.6f} and {high}"
    share = f"{rate['exact']:.1%} of tokens are exact"
    return f"{known} Certified: the rate on these documents lies between {ends}; {share}."


_BOUND_COLUMNS = {
    "D_nats": "D",
    "R_nats": "R",
    "bound_nats": "bound, nats",
    "ideal_nats": "ideal, nats",
    "bound_errors": "bound, errors",
    "ideal_errors": "ideal, errors",
    "argument_slack_nats": "argument slack",
    "posterior_slack_nats": "posterior slack",
}


def _print_bounds(found: dict[str, Any]) -> None:
    rows = found["bounds"]
    print_table(
        ("form", "split", *_BOUND_COLUMNS.values()),
        [(row["form"], row["split"], *(_bound_cell(row, name) for name in _BOUND_COLUMNS)) for row in rows],
    )
    for row in rows:
        if row["reason"]:
            place = f"{row['form']}, {row['split']}"
            infinite = "the bound" if row["D_nats"] is not None else "D"
            typer.echo(f"{place}: {row['reason']} under the law {row['law']!r}, so {infinite} is infinite.")
    first = rows[0]
    typer.echo(
        f"Nats and errors of {_first_answers(first['answers'])}, under the law {first['law']!r}; means over "
        f"the choices of functions and over {first['ideal_nats_n']:,} prompts. --json has intervals, least and most."
    )
    if found["exactness"]["remainder_of_documents"]:
        typer.echo(_said_enumerated(found["exactness"]))
        for row in rows:
            _say_least(row)


def _first_answers(count: int) -> str:
    return "the first answer" if count == 1 else f"the first {count} answers together"


def _said_enumerated(exact: dict[str, Any]) -> str:
    bodies = f"{exact['distinct_bodies']:,} distinct bodies"
    return (
        f"{bodies} were enumerated; the first statement of a document is none of them with probability "
        f"{exact['remainder']:.1e}, any of its statements with {exact['remainder_of_documents']:.1e}."
    )


def _say_least(row: dict[str, Any]) -> None:
    """Say between which limits D lies where what was not enumerated might print the task, too."""
    least, most = row["D_certified_lo"], row["D_nats"]
    if least is not None and (most is None or f"{least:.3f}" != f"{most:.3f}"):
        typer.echo(
            f"{row['form']}, {row['split']}: D lies between {least:.3f} and {_bound_cell(row, 'D_nats')}; "
            "bounds are those of the larger one."
        )


def _bound_cell(row: dict[str, Any], name: str) -> str:
    """Return a number, or what stands for it: infinity is known, a dash is not."""
    infinite = row.get(f"{name}_method") == "none: infinite values"
    limits = {"D_nats", "bound_nats", "bound_errors"} | ({"R_nats"} if row["D_nats"] is not None else set())
    infinite |= name in limits and row[name] is None
    return "∞" if infinite else _number(row[name], 3)


def _interval(row: dict[str, Any], name: str, digits: int) -> str:
    if row[name] is None:
        return "-"
    ends = [row[f"{name}_lo"], row[f"{name}_hi"]]
    if None in ends:
        return _number(row[name], digits)
    return f"{row[name]:.{digits}f} [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
