"""What the page says around its figures: what was run, the summary table, documents, sources, methods."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import polars as pl

from emergelab.analysis import estimate, seeds
from emergelab.report import against_words, captions, facts, words
from emergelab.report.content import ReportInput, Sample
from emergelab.report.series import MODELS, MOST_COLOURS, TRAINED, Prepared
from emergelab.report.standing import marks, standing
from emergelab.report.task_table import task_table
from emergelab.report.tested import tested

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
    estimate.CLUSTER_T: "Student's t over documents, whose tokens are not independent",
    seeds.POOLED_LOSS: "Student's t over seeds, with the variance over the documents that all seeds read added",
}
_MOST_TOKENS = 160
_MOST_MODELS = 60  # rows of the summary


def account(content: ReportInput, prepared: Prepared) -> dict[str, Any]:
    """Return the page's variables, figures and verdict apart."""
    return {
        "title": content.title,
        "lead": _lead(content, prepared),
        "fine": _fine(prepared),
        "summary": summary(prepared),
        "tested": tested(content),
        "tasks": task_table(prepared),
        "out_of_reach": against_words.out_of_reach(prepared),
        "ran": ran(content, prepared),
        "notes": list(content.run.get("notes", ())),
        "samples": [_document(document) for document in content.samples],
        "roles": _roles(content.samples),
        "sources": _sources(content),
        "versions": list(content.run.get("versions", {}).items()),
        "method": method(prepared),
    }


def summary(prepared: Prepared) -> dict[str, Any]:
    """Return the final cells as a table of models and kinds of task, the largest models first.

    A few sizes are columns. More models, and those with settings in their names, are rows, of which the page
    shows the first.
    """
    rows = _references_once(facts.final_rows(prepared))
    references = rows.filter(~MODELS)["series"].unique(maintain_order=True).to_list()
    series = _largest_first(rows)
    found = standing(prepared)
    kinds = [(str(key[0]), part) for key, part in rows.group_by("panel", maintain_order=True)]
    cells = [[_cell(part, name, found.get((name, panel))) for name in series] for panel, part in kinds]
    heads = [_head(panel, _chance(part)) for panel, part in kinds]
    losses = _losses(rows, series, prepared)
    if losses:
        heads.append({"title": "Loss on new documents", "detail": "nats per token", "chance": words.MISSING})
        cells.append(losses)
    models = [{"title": name, "detail": "reference" if name in references else ""} for name in series]
    number = len(series) - len(references)
    turned = number > MOST_COLOURS or bool(prepared.settings)
    shown = [place for place in range(len(series)) if place < _MOST_MODELS or place >= number]
    return {
        "at": facts.shots_words(rows),
        "marks": marks(prepared),
        "ranges": rows["lines"].max() not in {None, 1},
        "turned": turned,
        "models": [models[place] for place in shown] if turned else models,
        "kinds": heads,
        "rows": [[of_kind[place] for of_kind in cells] for place in shown] if turned else cells,
        "left_out": max(0, number - _MOST_MODELS) if turned else 0,
        "references": bool(references),
    }


def _references_once(rows: pl.DataFrame) -> pl.DataFrame:
    """Give ideal predictors that are the same in all variants one name and one row."""
    references = rows.filter(~MODELS)
    place = references.select("mark", "panel")
    if references.select("mark", "panel", "accuracy", "nats").n_unique() > place.n_unique():
        return rows
    once = references.unique(["mark", "panel"], keep="first", maintain_order=True)
    return pl.concat([rows.filter(MODELS), once.with_columns(series="base")])


def _largest_first(rows: pl.DataFrame) -> list[str]:
    """Return the series by falling size and corpus, variants in their order; what was not trained comes last.

    Behind all of it stand the ideal predictors.
    """
    ordered = (
        rows.with_columns(known=TRAINED, model=MODELS)
        .sort(
            *("model", "known", "params", "layers", "width", "corpus", "variant_rank", "series_rank"),
            descending=[True, True, True, True, True, True, False, False],
            maintain_order=True,
        )["series"]
        .unique(maintain_order=True)
    )
    return ordered.to_list()


def _head(panel: str, chance: str) -> dict[str, str]:
    task, _, detail = panel.partition("\n")
    return {"title": task, "detail": detail, "chance": chance}


def _chance(part: pl.DataFrame) -> str:
    chance = part["chance"].mean()
    return words.MISSING if chance is None else words.share(float(str(chance)))


def _cell(part: pl.DataFrame, series: str, above: bool | None) -> dict[str, Any]:  # noqa: FBT001
    rows = part.filter(pl.col("series") == series)
    nats = f"{facts.reading(rows, 'nats')} nats" if rows.height else ""
    if rows.filter(~MODELS & pl.col("accuracy").is_not_null() & pl.col("nats").is_null()).height:
        nats = "infinite nats"  # a right answer without any probability
    return {"value": facts.reading(rows), "under": nats, "above": above}


def ran(content: ReportInput, prepared: Prepared) -> list[tuple[str, str]]:
    """Return (name, value) of what was trained and scored, as far as it is known."""
    trained = prepared.answers.filter(TRAINED)
    entries = [
        ("Grammar", content.run.get("grammar_name", "")),
        ("Models", _models(prepared)),
        ("Parameters", words.listing(_counts(trained["params"]))),
        ("Varied besides", facts.settings_words(prepared)),
        ("Unique documents", _unique_documents(prepared)),
        ("Read after training tokens", words.listing(_counts(trained["train_tokens"]))),
        ("Seeds", _seeds(content.scores)),
        ("Examples in a prompt", _shots(prepared)),
        ("Cells of the grid", str(content.scores.filter(TRAINED)["cell"].n_unique())),
        ("Answers scored", words.count(int(content.scores.filter(TRAINED)["n"].sum()))),
        ("References", words.listing(against_words.ideal_names(prepared))),
        ("Held out", _overlap(content)),
        ("Trained on", _devices(content)),
        ("Time by the clock", _elapsed(content)),
        ("Computing time of all processes", _times(content)),
        ("Machine", ", ".join(f"{name} {value}" for name, value in content.run.get("machine", {}).items())),
        ("Finished", _moment(content.run.get("finished", ""))),
    ]
    return [(name, value) for name, value in entries if value]


def method(prepared: Prepared) -> dict[str, Any]:
    """Return what explains the numbers: interval methods, answers behind a number, over seeds or not."""
    counts = prepared.models["n"].drop_nulls()
    return {
        "accuracy": _methods(prepared, "accuracy_method"),
        "nats": _methods(prepared, "nats_method"),
        "loss": _methods(prepared, "loss_method"),
        "least": counts.min(),
        "most": counts.max(),
        "over_seeds": prepared.models["seed"].null_count() > 0,
        "references": bool(against_words.ideal_names(prepared)),
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
    design[1:1] = [
        f"{len(values)} settings of {name} ({', '.join(map(words.setting, values))})"
        for name, values in prepared.settings.items()
    ]
    question = (
        "When does in-context learning emerge?"
        if content.skills is None
        else "When do models have the skills that text-pieces need?"
    )
    source = f" on documents of the grammar “{grammar}”" if grammar else ""
    return f"{question} {words.listing(design)}, trained and scored in this run{source}."


def _fine(prepared: Prepared) -> str:
    number = prepared.answers["seed"].drop_nulls().n_unique()
    marks = (
        "Ranges run over seeds" if prepared.answers["lines"].max() != 1 else "Brackets hold 95 % intervals"
    )
    base = f"{marks}. Queries with fresh arguments only, teacher-forced. “Above” is corrected for all comparisons."
    base += f" {captions.WORLD}"
    if prepared.leading != prepared.largest:
        base += " The best model is the one with the highest mean accuracy in the summary below."
    if prepared.models["seed"].null_count():
        return base
    said = f"{words.plural(number, 'seed')} of training"
    return f"{base} {said}: another seed may emerge earlier, later or not at all."


def _losses(rows: pl.DataFrame, series: list[str], prepared: Prepared) -> list[dict[str, Any]]:
    """Return each series' loss on documents that no run trained on; nothing where none was measured.

    The ideal predictor of a training law has what it pays for the same documents.
    """
    if rows["loss"].null_count() == rows.height:
        return []
    one = rows.unique(["series", "line"], maintain_order=True)
    parts = [one.filter(pl.col("series") == name) for name in series]
    said = [
        against_words.least_loss(prepared, part["variant"][0])
        if part["mark"][0] == "ideal_train"
        else facts.reading(part, "loss")
        for part in parts
    ]
    return [{"value": value, "under": "", "above": None} for value in said]


def _counts(column: pl.Series) -> list[str]:
    return [words.count(value) for value in column.drop_nulls().unique().sort()]


def _seeds(scores: pl.DataFrame) -> str:
    seeds = [str(seed) for seed in scores["seed"].drop_nulls().unique().sort()]
    return f"{len(seeds)} (named {words.listing(seeds)})" if seeds else ""


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
    if held == 0:
        return "nothing"
    corpora = proof.get("corpora", 1)
    together = f" of {corpora} corpora together" if corpora > 1 else ""
    return f"{held} function tables{together}; {found or 'none'} of them among the {trained} of training"


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


def _elapsed(content: ReportInput) -> str:
    seconds = content.run.get("elapsed", 0.0)
    return words.duration(seconds) if seconds else ""


def _devices(content: ReportInput) -> str:
    """Return the devices and the numbers' precision in training: 'cpu in float32'."""
    if not {"device", "precision"} <= set(content.cells.columns):
        return ""
    pairs = content.cells.select("device", "precision").unique().drop_nulls().sort("device", "precision")
    return words.listing([f"{device} in {precision}" for device, precision in pairs.iter_rows()])


def _models(prepared: Prepared) -> str:
    """List the models, or of many say how many; settings stand in an entry of their own."""
    bases = prepared.answers.filter(TRAINED).sort("series_rank")["base"].unique(maintain_order=True).to_list()
    listed = (
        words.listing(bases) if len(bases) <= facts.MOST_SIZES else f"{len(bases)} sizes, see the summary"
    )
    number = len(prepared.sizes)
    return f"{listed}, in {number} variants together" if prepared.settings else listed


def _unique_documents(prepared: Prepared) -> str:
    """List the sizes of finite corpora, with how often each was read at the most."""
    return words.listing(
        [
            f"{words.count(documents)} (read {words.figure(times)} times at the most)"
            for documents, times in prepared.epochs.items()
        ]
    )


def _methods(prepared: Prepared, column: str) -> str:
    """Name the ways in which the intervals on the page were got; a name not known here stays as it is."""
    used = [str(method) for method in prepared.answers[column].drop_nulls().unique().sort()]
    said = [_METHODS.get(method, method) for method in used if not method.startswith("none")]
    return "; ".join(said) or "none"


def _document(sample: Sample) -> dict[str, Any]:
    document = sample.tokens
    tokens = [{"text": text, "role": role, "mark": _mark(role)} for text, role in document[:_MOST_TOKENS]]
    rest = len(document) - _MOST_TOKENS
    if rest > 0:
        tokens.append({"text": f"… {rest} more", "role": "left out", "mark": "separator"})
    return {"tokens": tokens, "cut": sample.cut, "variant": sample.variant}


def _mark(role: str) -> str:
    return role if role in _ROLES else "other"


def _roles(samples: Sequence[Sample]) -> list[dict[str, str]]:
    used = {_mark(role) for sample in samples for _, role in sample.tokens}
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
