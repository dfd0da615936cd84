"""Commands about skills in theory: performance curves, what they take, learning as decoding, one page of it all."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from emergelab.cli.options import JsonOption, ReportGroup, new_group
from emergelab.cli.tables import print_table

skills_app = new_group(
    "Skills of language models, from tables of results, and in theory. `emergelab skills FILE --out DIR` is short for "
    "`skills report`.",
    ReportGroup,
)


class Kind(StrEnum):
    """What a tuple of skills is."""

    concatenated = "concatenated"
    within = "within"


class CurveName(StrEnum):
    """Which performance curve a wish goes by."""

    theorem = "theorem"
    sharper = "sharper"
    exact = "exact"
    markov = "markov"


ThetaOption = Annotated[float, typer.Option(help="Share of text-pieces that fail, 0 to 1.")]
KOption = Annotated[
    str, typer.Option("--k", help="Skills of a piece: 8, or shares of pieces by k, 4:0.5,12:0.5.")
]
TuplesOption = Annotated[int, typer.Option(help="Ask for tuples of so many skills.")]
KindOption = Annotated[
    Kind,
    typer.Option(
        help="Tuples of one skill from each of several joined pieces, or of skills within one piece."
    ),
]


def curve_command(
    theta: ThetaOption,
    k: KOption,
    alpha: Annotated[
        float | None, typer.Option(help="The worst share of skills, 0 to 1: prints their failure.")
    ] = None,
    beta: Annotated[
        float | None, typer.Option(help="Failure over theta, above 1: prints the smallest share.")
    ] = None,
    tuples: TuplesOption = 1,
    kind: KindOption = Kind.concatenated,
    skills: Annotated[int | None, typer.Option(help="Skills of a finite graph.")] = None,
    pieces: Annotated[int | None, typer.Option(help="Text-pieces of a finite graph.")] = None,
    confidence: Annotated[
        float, typer.Option(help="With which probability the theorem holds in a finite graph.")
    ] = 0.95,
    unlike: Annotated[
        bool, typer.Option("--unlike", help="Skills of the finite graph are not all equally frequent.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Bound the failure of the worst share of skills (--alpha), or the smallest share that exceeds it (--beta).

    Whichever text-pieces fail: shares are in the measure by which pieces draw their skills.
    """
    from emergelab.recipes import skill_curves  # noqa: PLC0415

    question = skill_curves.CurveQuestion(
        theta=theta,
        counts=skill_curves.read_counts(k),
        alpha=alpha,
        beta=beta,
        tuples=skill_curves.read_tuples(tuples, kind),
        graph=skill_curves.read_graph(skills, pieces, confidence, alike=not unlike),
    )
    found = skill_curves.answer(question)
    if as_json:
        typer.echo(json.dumps(found, indent=1, allow_nan=False))
        return
    _print_curves(found)


ResultsArgument = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="Results, an answer to a row: Parquet, CSV, JSON lines, `composition_outcomes`, or a run's folder.",
    ),
]
KeyOption = Annotated[int, typer.Option(min=0, help="The key of everything that is drawn.")]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="ROLE=NAME", help="Say which column of the file is what."),
]
SkillsOption = Annotated[
    Path | None,
    typer.Option("--skills", metavar="FILE", help="Table of tasks and the skills of each: task, skills."),
]


@skills_app.command("report")
def report_command(
    file: ResultsArgument,
    out: Annotated[Path, typer.Option(help="The folder of the page; a page there is replaced.")],
    column: ColumnOption = None,
    skills: SkillsOption = None,
    key: KeyOption = 0,
) -> None:
    """Make the page of a table of results: faults, competence, composition, emergence, and what follows."""
    from emergelab.cli.progress import counting  # noqa: PLC0415
    from emergelab.recipes.outcome_tables import OutcomesFile  # noqa: PLC0415
    from emergelab.recipes.screening import screened  # noqa: PLC0415
    from emergelab.recipes.skill_report import SkillAnalysis, write_report  # noqa: PLC0415

    question = OutcomesFile(file=file, columns=tuple(column or ()), skills_of=skills)
    with counting("parts", interrupted="Interrupted: no page was written.") as told:
        page = write_report(SkillAnalysis(screened(question), key), out, told)
    typer.echo(f"The page is {page}.")


@skills_app.command("need")
def need_command(
    competence: Annotated[float, typer.Option(help="Success rate that is wanted, 0 to 1.")],
    share: Annotated[float, typer.Option(help="On which share of tuples of skills, 0 to 1.")],
    k: Annotated[int, typer.Option("--k", help="Skills of a piece.")],
    tuples: TuplesOption = 1,
    kind: KindOption = Kind.concatenated,
    curve: Annotated[CurveName, typer.Option(help="By which curve.")] = CurveName.exact,
    law: Annotated[
        str, typer.Option(help="Whose constants of the scaling law: hoffmann or besiroglu.")
    ] = "besiroglu",
    slope: Annotated[float, typer.Option(help="Failing pieces per nat under the link `linear`.")] = 2.0,
    as_json: JsonOption = False,
) -> None:
    """Say which share of failing pieces, excess loss, parameters, tokens and compute a competence takes."""
    from emergelab.recipes import skill_curves  # noqa: PLC0415
    from emergelab.theory.curves import Curve  # noqa: PLC0415
    from emergelab.theory.needs import Wish  # noqa: PLC0415

    wish = Wish(
        competence=competence,
        share=share,
        k=k,
        tuples=skill_curves.read_tuples(tuples, kind),
        curve=Curve(curve.value),
    )
    found = skill_curves.needs(wish, law, slope)
    if as_json:
        typer.echo(json.dumps(found, indent=1, allow_nan=False))
        return
    columns = ("link", "theta", "excess", "params", "tokens", "compute")
    rows = [(str(one["link"]), *(f"{one[name]:.4g}" for name in columns[1:])) for one in found["needs"]]
    print_table(("link", "theta", "excess, nats", "parameters", "tokens", "FLOP"), rows)
    typer.echo(
        f"All but {1 - share:.3g} of {_tuples(found)} fail at most {1 - competence:.3g}, by the curve `{curve}`. The "
        f"excess per token of the law `{law}` is taken for the excess per cloze answer."
    )


@skills_app.command("decode")
def decode_command(
    skills_per_text: Annotated[float, typer.Option("--c", help="Mean number of skills of a text.")],
    texts: Annotated[float | None, typer.Option(help="Texts for each skill.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say where learning jumps, and what share of skills stays unknown at so many texts for each skill."""
    from emergelab.recipes.skill_evaluations import decoding_row  # noqa: PLC0415

    found = decoding_row(texts, skills_per_text)
    if as_json:
        typer.echo(json.dumps(found, indent=1, allow_nan=False))
        return
    turn = found["jump"]
    if turn is None:
        typer.echo(f"With {skills_per_text:g} skills per text, e or fewer, learning does not jump.")
    else:
        typer.echo(
            f"With {skills_per_text:g} skills per text learning jumps at {turn['texts']:.4f} texts for each "
            f"skill: the "
            f"unknown share falls from {turn['before']:.4f} to {turn['after']:.4g}."
        )
    if texts is not None:
        typer.echo(f"At {texts:g} texts for each skill {found['unknown']:.4g} of all skills stay unknown.")


@skills_app.command("novelty")
def novelty_command(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="CSV with model, k, full_marks; by default the shipped leaderboard of Skill-Mix."
        ),
    ] = None,
    skill: Annotated[float, typer.Option(help="Share of sentences that show a given skill.")] = 0.0144,
    topic: Annotated[float, typer.Option(help="Share of sentences about a given topic.")] = 0.0022,
    sentences: Annotated[float, typer.Option(help="Sentences of the corpus.")] = 5e10,
    lift: Annotated[
        float, typer.Option(help="How many times as often as by independence skills occur together.")
    ] = 1.0,
    generations: Annotated[int, typer.Option(help="Of how many each rate is a share.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Compare success at k skills with the share of combinations that a corpus can hold."""
    from emergelab.analysis.novelty import TextCorpus  # noqa: PLC0415
    from emergelab.recipes.skill_evaluations import novelty_rows  # noqa: PLC0415

    corpus = TextCorpus(skill=skill, topic=topic, sentences=sentences, lift=lift)
    found = novelty_rows(file, corpus, generations)
    if as_json:
        typer.echo(json.dumps(found, indent=1, allow_nan=False))
        return
    columns = ("model", "k", "rate", "lo", "hi", "expected", "novel", "lift_needed")
    rows = [
        tuple(
            "-"
            if row[name] is None
            else f"{row[name]:.3g}"
            if isinstance(row[name], float)
            else str(row[name])
            for name in columns
        )
        for row in found
    ]
    print_table(("model", "k", "rate", "lo", "hi", "corpus", "novel", "lift needed"), rows)
    typer.echo(
        "corpus: how often it holds a combination in expectation, if skills and topic are independent; above 1 "
        "it says "
        "nothing. novel: the exact 95 % interval lies above it. Assumed, too: a success shows all skills and the "
        "topic, combinations are drawn at random, and --skill, --topic and --sentences are not too small."
    )


@skills_app.command("design")
def design_command(
    success: Annotated[float, typer.Option(help="The success rate that is expected, 0 to 1.")],
    half_width: Annotated[float, typer.Option(help="Half-width of the 95 % interval that is wanted.")],
    alike: Annotated[
        float, typer.Option(help="Correlation of the marks of two generations for one combination.")
    ] = 0.2,
    agreement: Annotated[
        float, typer.Option(help="Correlation of two graders' marks of one generation.")
    ] = 0.7,
    severity: Annotated[float, typer.Option(help="Standard deviation of graders' mean marks.")] = 0.0,
    generation_cost: Annotated[float, typer.Option(help="Cost of a generation.")] = 1.0,
    grading_cost: Annotated[float, typer.Option(help="Cost of grading one.")] = 1.0,
    above: Annotated[
        float | None, typer.Option(help="Give the power to show a success above this share.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say how many combinations, generations and graders an evaluation of k-tuples needs, cheapest first."""
    from emergelab.analysis.design import Costs, Marks  # noqa: PLC0415
    from emergelab.recipes.skill_evaluations import design_rows  # noqa: PLC0415

    marks = Marks(success=success, alike=alike, agreement=agreement, severity=severity)
    costs = Costs(generation=generation_cost, grading=grading_cost)
    found = design_rows(marks, half_width, costs, above)
    if as_json:
        typer.echo(json.dumps(found, indent=1, allow_nan=False))
        return
    columns = ("combinations", "generations", "graders", "cost", "half_width", "power")
    rows = [tuple("-" if row[name] is None else f"{row[name]:.4g}" for name in columns) for row in found]
    print_table(columns, rows)


@skills_app.command("theory")
def theory_command(
    out: Annotated[Path, typer.Option(help="The folder of the page; a page there is replaced.")],
    skills: Annotated[int, typer.Option(min=10, max=10_000_000, help="Skills of the large graphs.")] = 1000,
    pieces: Annotated[
        int, typer.Option(min=500, max=12_500_000, help="Their text-pieces, of eight skills each.")
    ] = 200_000,
    key: KeyOption = 0,
    threads: Annotated[int, typer.Option(min=1, max=64, help="Threads that draw the large graphs.")] = 1,
) -> None:
    """Make one page: curves, simulation, learning as decoding, novelty, design of evaluations."""
    from emergelab.cli.progress import counting  # noqa: PLC0415
    from emergelab.recipes.skill_page import PageSize, write_page  # noqa: PLC0415

    size = PageSize(skills=skills, pieces=pieces, key=key, threads=threads)
    with counting("parts", interrupted="Interrupted: no page was written.") as told:
        page = write_page(size, out, told)
    typer.echo(f"The page is {page}.")


_HOLDS = {
    "theorem": "any set of failing pieces; union bound and Chernoff",
    "sharper": "any set, infinitely many pieces",
    "exact": "any set, infinitely many pieces; some set reaches it",
    "markov": "any set; the mean alone",
}


def _print_curves(found: dict[str, Any]) -> None:
    names = {"failure": "failure at most", "alpha": "smallest share"}
    rows = [(name, _number(found[name]), holds) for name, holds in _HOLDS.items()]
    print_table(("curve", names[found["asked"]], "holds for"), rows)
    typer.echo(_question(found))
    if found["graph"] is not None:
        graph = found["graph"]
        typer.echo(
            f"In a graph of {graph['skills']:,} skills and {graph['pieces']:,} pieces{_among(found)}, with probability "
            f"{graph['confidence']:g}, edges counted against their expected number. The curves of infinitely many "
            "pieces, which an adversary may exceed here: "
            + ", ".join(f"{name} {_number(value)}" for name, value in found["infinite"].items())
            + "."
        )
    if any(found[name] is None for name in ("theorem", "markov")):
        typer.echo("A dash: the curve says nothing here, for no beta below 1/alpha is large enough.")


def _among(found: dict[str, Any]) -> str:
    if found["kind"] is None:
        return ""
    graph = found["graph"]
    joined = "" if found["kind"] == Kind.within else f" in {graph['joined_pieces']:,} joined pieces"
    failing = "" if not joined else f", of which {graph['theta_of_tuples']:g} may fail"
    return f" ({graph['tuples']:,} tuples{joined}{failing})"


def _question(found: dict[str, Any]) -> str:
    what = _tuples(found)
    begin = f"{found['theta']:g} of the pieces fail, and pieces need {_skills(found['k'])}:"
    if found["asked"] == "failure":
        return f"{begin} all but {found['alpha']:g} of {what} (in measure) fail no more than this."
    rate = f"{found['beta']:g} times the failure of pieces"
    return f"{begin} all but this share of {what} (in measure) fail at most {rate}."


def _tuples(found: dict[str, Any]) -> str:
    if found["kind"] is None:
        return "skills"
    within = found["kind"] == Kind.within
    place = "within one piece" if within else "of concatenated pieces, one skill from each"
    return f"tuples of {found['tuples']} skills {place}"


def _skills(k: int | dict[str, float]) -> str:
    if isinstance(k, int):
        return f"{k} skill{'' if k == 1 else 's'}"
    return " or ".join(f"{count} (share {weight:g})" for count, weight in k.items()) + " skills"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
