"""What the page says of printed steps: captions, a sentence, and the table of three gains."""

from __future__ import annotations

from typing import Any

import polars as pl

from emergelab.report import facts, words
from emergelab.report.against_words import estimate_words
from emergelab.report.information import Information
from emergelab.report.labels import panel_words
from emergelab.report.printing import (
    PREDICTED,
    SAVED_TOGETHER,
    first_gains,
    last_decodings,
)
from emergelab.report.series import MODELS, Prepared
from emergelab.report.task_table import two_lines
from emergelab.report.tasks import best_models

_MOST_ROWS = 40
_KIND = ("variant", "task", "split")
_NEVER = "no derivation"
_FORMS = {"direct": "silent", "steps": "printed"}


def gains_apart(information: Information, prepared: Prepared) -> str:
    """Say what the three lines are, what each of them is about, and how far apart they end."""
    del prepared
    frame = information.frame
    answers = words.listing([str(n) for n in _last(frame)["answers"].unique().sort()])
    along = "setting" in frame.columns
    first = (
        f"the first {answers} answers of a prompt together"
        if along
        else "the first answers of a prompt together"
    )
    predicted = (
        "The violet line is what the theory predicts: the difference of the description lengths, by which the bound "
        "on the nats of whole answers changes, printed steps included. It says nothing of final answers alone. "
        if (frame["mark"] == PREDICTED).any()
        else "There is no predicted gain: one of the forms has no derivation, or no ideal predictor was computed. "
    )
    ideal = (
        "The green line is what the ideal predictor gains on final answers, since a printed step also tells it which "
        "functions are asked. What a model gains beyond it, the dashed distance, is computational: two easy steps in "
        "place of a hard one, of which the theory does not speak. "
        if (frame["mark"] == "ideal").any()
        else ""
    )
    return (
        f"Gains on {first}, teacher-forced: nats saved on the final answers, and how many fewer of them are wrong, "
        f"when the steps are printed. {predicted}{ideal}{_interval_words(frame)}"
    )


def own_steps(information: Information, prepared: Prepared) -> str:
    """Say what the bars hold and how much reading its own steps costs the leading model."""
    shots = facts.shots_words(information.frame)
    rows = last_decodings(prepared)
    leading = rows.filter(pl.col("series") == pl.lit(prepared.leading, dtype=pl.String))
    said = [
        f"{estimate_words(part, 'difference', words.signed)} on {panel_words(panel)}"
        for panel, part in _panels(leading)
    ]
    cost = (
        f"Its own steps in place of given ones change the share of right final answers of {prepared.leading} by "
        f"{words.listing(said)}. "
        if said
        else ""
    )
    return (
        f"Each bar is all fresh answers {shots}: green, the final answer is right; yellow and red, it is wrong; by "
        "whether a step that the model wrote before it was wrong. The tick is how many final answers are right when "
        f"the true steps are given, as in teacher forcing. {cost}A right step leaves both ways alike: all of this "
        "difference comes from answers with a wrong step."
    )


def sentence(prepared: Prepared) -> str:
    """Say what the leading model gains on final answers, and how much of it is the ideal predictor's gain."""
    rows = _at_most_answers(first_gains(prepared))
    rows = (
        rows
        if rows.is_empty()
        else rows.filter(pl.col("series") == pl.lit(prepared.leading, dtype=pl.String))
    )
    known = rows if rows.is_empty() else rows.filter(pl.col("beyond_errors").is_not_null())
    if known.is_empty():
        return ""
    said = [
        f"{estimate_words(part, 'errors_gain')} on {panel_words(panel)}, "
        f"{estimate_words(part, 'beyond_errors')} beyond the ideal predictor"
        for panel, part in _panels(known)
    ]
    answers = words.listing([str(n) for n in known["answers"].unique().sort()])
    return (
        f"Of the first {answers} final answers printed steps save {facts.subject(prepared)} so many wrong ones: "
        f"{'; '.join(said)}."
    )


def gains_table(prepared: Prepared) -> dict[str, Any] | None:
    """Return the table of the three gains in words, a row for each kind of task; None where there is none."""
    rows = _at_most_answers(first_gains(prepared))
    if rows.is_empty():
        return None
    best = best_models(prepared).filter(MODELS)
    models = rows.filter(MODELS).join(best, on=["variant", "series"], how="semi", nulls_equal=True)
    free = last_decodings(prepared)
    keys = ["variant_rank", "variant", "panel_rank", "panel", "task", "split"]
    kinds = models.select(keys).unique(maintain_order=True).sort("panel_rank", "variant_rank")
    drawn = [_row(kind, rows, models, free) for kind in kinds.to_dicts()]
    names = best["series"].unique(maintain_order=True).to_list()
    return {
        "answers": words.listing([str(n) for n in rows["answers"].unique().sort()]),
        "who": names[0] if len(names) == 1 else "the best model of each variant",
        "examples": facts.shots_words(free) if free.height else "",
        "rows": drawn[:_MOST_ROWS],
        "left_out": max(0, len(drawn) - _MOST_ROWS),
        "ranges": models.group_by(_KIND).len()["len"].max() not in {None, 1},
        "over_seeds": bool((models["seeds"] > 1).any()),
    }


def _row(
    kind: dict[str, Any], rows: pl.DataFrame, models: pl.DataFrame, free: pl.DataFrame
) -> dict[str, Any]:
    here = [pl.col(name).eq_missing(pl.lit(kind[name], dtype=pl.String)) for name in _KIND]
    model, ideal = models.filter(here), rows.filter((pl.col("mark") == "ideal"), *here)
    same = model.select("series", "seed").unique()
    own = (
        free.filter(here).join(same, on=["series", "seed"], how="semi", nulls_equal=True)
        if free.height
        else free
    )
    task, _, detail = str(kind["panel"]).partition("\n")
    return {
        "title": task,
        "detail": ", ".join(text for text in (detail, str(kind["variant"] or "")) if text),
        "cells": [
            _predicted(model),
            *(
                two_lines(estimate_words(who, name))
                for name, beyond in (("nats_gain", "beyond_nats"), ("errors_gain", "beyond_errors"))
                for who, name in ((ideal, name), (model, name), (model, beyond))
            ),
            *(
                two_lines(estimate_words(own, name, say) if own.height else words.MISSING)
                for name, say in (
                    ("forced", words.share),
                    ("free", words.share),
                    ("difference", words.signed),
                )
            ),
        ],
    }


def _predicted(model: pl.DataFrame) -> dict[str, str]:
    """Return the predicted gain, and under it both description lengths, infinite where nothing prints a form."""
    predicted, untold = model["predicted_nats"][0], model["predicted_reason"][0] or ""
    lengths = {"direct": model["D_direct_nats"][0], "steps": model["D_steps_nats"][0]}
    if predicted is None and f": {_NEVER}" not in untold:
        return {"value": words.MISSING, "under": untold}
    said = ["∞" if value is None else words.nats(value) for value in lengths.values()]
    never = [_FORMS[form] for form, value in lengths.items() if value is None]
    reason = f": no derivation prints the {words.listing(never)} form" if never else ""
    return {"value": words.signed(predicted), "under": f"{said[0]} \N{MINUS SIGN} {said[1]}{reason}"}


def _at_most_answers(rows: pl.DataFrame) -> pl.DataFrame:
    return (
        rows if rows.is_empty() else rows.filter(pl.col("answers") == pl.col("answers").max().over("panel"))
    )


def _last(frame: pl.DataFrame) -> pl.DataFrame:
    models = frame.filter(MODELS & (pl.col("measure") == SAVED_TOGETHER))
    return models.filter(pl.col("answers") == pl.col("answers").max().over("panel"))


def _panels(rows: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    return [(str(key[0]), part) for key, part in rows.group_by("panel", maintain_order=True)]


def _interval_words(frame: pl.DataFrame) -> str:
    if frame.filter(MODELS)["lines"].max() != 1:
        return "Each seed is a line of its own, without a band."
    if frame.filter(MODELS)["seed"].null_count():
        return "Bars and bands are 95 % intervals over seeds and prompts."
    return "Bars and bands are 95 % intervals over prompts."
