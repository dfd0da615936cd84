"""What the page says around its figures: what was run, the summary table, documents, sources, methods."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import polars as pl

from emergelab.analysis import estimate, seeds
from emergelab.report import captions, facts, words
from emergelab.report.content import ReportInput
from emergelab.report.series import TRAINED, Prepared
from emergelab.report.standing import Standing, marks, standing

_ROLES = {
    "start": "starts the document",
    "argument": "is given",
    "intermediate": "is a printed step",
    "answer": "is to be predicted",
    "separator": "ends a row or statement",
    "other": "anything else",
}
_METHODS = {
    estimate.WILSON: "Wilson score, over prompts",
    estimate.SKEWED_T: "Hall's transformed t, over prompts: it allows for the skewness that nats have",
    seeds.POOLED_SHARE: "Wilson score at the number of trials of the variance over seeds and prompts, Student's t",
    seeds.POOLED_MEAN: "Student's t, with the variance over seeds and prompts",
}
_MOST_TOKENS = 160


def account(content: ReportInput, prepared: Prepared) -> dict[str, Any]:
    """Return the page's variables, figures and verdict apart."""
    return {
        "title": content.title,
        "lead": _lead(content, prepared),
        "fine": _fine(prepared),
        "summary": summary(prepared),
        "ran": ran(content, prepared),
        "notes": list(content.run.get("notes", ())),
        "samples": [_document(document) for document in content.samples],
        "roles": _roles(content.samples),
        "sources": _sources(content),
        "versions": list(content.run.get("versions", {}).items()),
        "method": method(prepared),
    }


def summary(prepared: Prepared) -> dict[str, Any]:
    """Return the final cells as a table: a row for each kind of task, a column for each series."""
    rows = facts.final_rows(prepared)
    series = [name for name in prepared.series if name in set(rows["series"])]
    found = standing(prepared)
    return {
        "at": facts.shots_words(rows),
        "marks": marks(prepared),
        "ranges": rows["lines"].max() not in {None, 1},
        "series": series,
        "rows": [
            _summary_row(str(key[0]), part, series, found)
            for key, part in rows.group_by("panel", maintain_order=True)
        ],
        "losses": _losses(rows, series),
    }


def ran(content: ReportInput, prepared: Prepared) -> list[tuple[str, str]]:
    """Return (name, value) of what was trained and scored, as far as it is known."""
    trained = prepared.answers.filter(TRAINED)
    entries = [
        ("Grammar", content.run.get("grammar_name", "")),
        ("Models", words.listing(prepared.sizes)),
        ("Parameters", words.listing(_counts(trained["params"]))),
        ("Read after training tokens", words.listing(_counts(trained["train_tokens"]))),
        ("Seeds", _seeds(content.scores)),
        ("Examples in a prompt", _shots(prepared)),
        ("Cells of the grid", str(content.scores.filter(TRAINED)["cell"].n_unique())),
        ("Answers scored", words.count(content.items.filter(pl.col("step") == 0).height)),
        ("Held out", _overlap(content)),
        ("Computing time", _times(content)),
        ("Machine", ", ".join(f"{name} {value}" for name, value in content.run.get("machine", {}).items())),
        ("Finished", _moment(content.run.get("finished", ""))),
    ]
    return [(name, value) for name, value in entries if value]


def method(prepared: Prepared) -> dict[str, Any]:
    """Return what explains the numbers: interval methods, answers behind a number, over seeds or not."""
    counts = prepared.answers["n"].drop_nulls()
    return {
        "accuracy": _methods(prepared, "accuracy_method"),
        "nats": _methods(prepared, "nats_method"),
        "least": counts.min(),
        "most": counts.max(),
        "over_seeds": prepared.answers["seed"].null_count() > 0,
        "over_share": facts.over_share(prepared),
    }


def _lead(content: ReportInput, prepared: Prepared) -> str:
    trained = content.scores.filter(TRAINED)
    design = [
        words.plural(prepared.shapes, "model size"),
        *([f"{prepared.corpora} corpora"] if prepared.corpora > 1 else []),
        words.plural(trained["train_tokens"].n_unique(), "token count"),
        words.plural(trained["seed"].n_unique(), "seed"),
    ]
    grammar = content.run.get("grammar_name", "")
    return (
        f"When does in-context learning emerge? {words.listing(design)}, trained and scored in this run"
        + (f" on documents of the grammar “{grammar}”." if grammar else ".")
    )


def _fine(prepared: Prepared) -> str:
    number = prepared.answers["seed"].drop_nulls().n_unique()
    marks = (
        "Ranges run over seeds" if prepared.answers["lines"].max() != 1 else "Brackets hold 95 % intervals"
    )
    base = f"{marks}. Queries with fresh arguments only, teacher-forced. “Above” is corrected for all comparisons."
    base += f" {captions.WORLD}"
    if prepared.leading != prepared.largest:
        base += " The best model is the one with the highest mean accuracy in the summary below."
    if prepared.answers["seed"].null_count():
        return base
    said = f"{words.plural(number, 'seed')} of training"
    return f"{base} {said}: another seed may emerge earlier, later or not at all."


def _summary_row(panel: str, part: pl.DataFrame, series: list[str], found: Standing) -> dict[str, Any]:
    task, _, detail = panel.partition("\n")
    chance = part["chance"].mean()
    by_series = [part.filter(pl.col("series") == name) for name in series]
    return {
        "task": task,
        "detail": detail,
        "chance": words.MISSING if chance is None else words.share(float(str(chance))),
        "cells": [
            {
                "accuracy": facts.reading(rows),
                "nats": f"{facts.reading(rows, 'nats')} nats" if rows.height else "",
                "above": found.get((name, panel)),
            }
            for name, rows in zip(series, by_series, strict=True)
        ],
    }


def _losses(rows: pl.DataFrame, series: list[str]) -> list[str]:
    """Return each series' loss on documents that no run trained on; nothing where none was measured."""
    if rows["loss"].null_count() == rows.height:
        return []
    means = [rows.filter(pl.col("series") == name)["loss"].drop_nulls().unique().mean() for name in series]
    return [words.nats(None if mean is None else float(str(mean))) for mean in means]


def _counts(column: pl.Series) -> list[str]:
    return [words.count(value) for value in column.drop_nulls().unique().sort()]


def _seeds(scores: pl.DataFrame) -> str:
    return words.listing([str(seed) for seed in scores["seed"].drop_nulls().unique().sort()])


def _shots(prepared: Prepared) -> str:
    shots = prepared.answers["shots"].drop_nulls()
    return f"{shots.min()} to {shots.max()}" if shots.len() else ""


def _overlap(content: ReportInput) -> str:
    proof = content.run.get("overlap", {})
    if "overlap" not in proof:
        return ""
    found, held, trained = (
        proof["overlap"],
        proof.get("held_out_tables", "all"),
        proof.get("training_tables", "those"),
    )
    return f"{held} function tables; {found or 'none'} of them among the {trained} of training"


def _moment(text: str) -> str:
    """Return a time in ISO 8601 as a reader says it, any other text as it is."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return moment.strftime("%Y-%m-%d %H:%M %Z").strip()


def _times(content: ReportInput) -> str:
    times = content.run.get("times", {})
    if not times:
        return ""
    parts = ", ".join(f"{name} {words.duration(seconds)}" for name, seconds in times.items())
    return f"{words.duration(sum(times.values()))} ({parts})"


def _methods(prepared: Prepared, column: str) -> str:
    """Name the ways in which the intervals on the page were got; a name not known here stays as it is."""
    used = [str(method) for method in prepared.answers[column].drop_nulls().unique().sort()]
    said = [_METHODS.get(method, method) for method in used if not method.startswith("none")]
    return "; ".join(said) or "none"


def _document(document: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    shown = [{"text": text, "role": role, "mark": _mark(role)} for text, role in document[:_MOST_TOKENS]]
    rest = len(document) - _MOST_TOKENS
    return (
        [*shown, {"text": f"… {rest} more", "role": "left out", "mark": "separator"}] if rest > 0 else shown
    )


def _mark(role: str) -> str:
    return role if role in _ROLES else "other"


def _roles(documents: Sequence[Sequence[tuple[str, str]]]) -> list[dict[str, str]]:
    used = {_mark(role) for document in documents for _, role in document}
    return [{"name": name, "mark": name, "meaning": text} for name, text in _ROLES.items() if name in used]


def _sources(content: ReportInput) -> list[dict[str, Any]]:
    run = content.run
    resolved = json.dumps(run["study"], indent=2, ensure_ascii=False, default=str) if "study" in run else ""
    named = [
        ("Grammar", run.get("grammar_text", ""), True),
        ("Study, as written", run.get("study_text", ""), True),
        ("Study, every default filled in", resolved, False),
    ]
    return [{"name": name, "text": text, "open": is_open} for name, text, is_open in named if text]
