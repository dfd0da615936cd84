"""What the page says of the theory beside what was measured: captions and sentences."""

from __future__ import annotations

from typing import Any

import polars as pl

from emergelab.report import facts, words
from emergelab.report.against import (
    BOUND,
    ERRORS,
    ROLES,
    TOGETHER,
    ending_bounds,
    learning_gaps,
    without_bound,
)
from emergelab.report.information import Information
from emergelab.report.labels import IDEALS, panel_words
from emergelab.report.series import MODELS, Prepared, at_the_end

_LISTED = 3
_RN = "R\N{LATIN SUBSCRIPT SMALL LETTER N}"
_REFERENCES = {
    "ideal": "The broad green line is the ideal predictor, which knows the grammar and all its functions and has to "
    "find out only which of them are asked.",
    "ideal_train": "The dotted green line is the ideal predictor of the training law, for which what is held out "
    "cannot occur; where it gives a right answer no probability, its nats are infinite and not drawn.",
}


def estimate_words(rows: pl.DataFrame, value: str, say: Any = words.nats) -> str:
    """Return '0.12 [0.11, 0.13]' for one estimate, the range over seeds for several, a dash for none."""
    known = rows.filter(pl.col(value).is_not_null())
    if known.is_empty():
        return words.MISSING
    if known.height > 1:
        return words.span(*(say(known[value].sort()[place]) for place in (0, -1)))
    ends = (f"{value}_lo", f"{value}_hi") if f"{value}_lo" in known.columns else ("lo", "hi")
    found, lo, hi = known.select(value, *ends).row(0)
    return say(found) if lo is None or hi is None else f"{say(found)} [{say(lo)}, {say(hi)}]"


def references(information: Information) -> str:
    """Say what the lines of ideal predictors are, as far as there are any."""
    marks = set(information.frame["mark"]) if "mark" in information.frame.columns else set[str]()
    said = [sentence for mark, sentence in _REFERENCES.items() if mark in marks]
    return " ".join([*said, "These are references, not models. "]) if said else ""


def first_answers(information: Information, prepared: Prepared) -> str:
    """Say what is added up, what the bounds bound, where there is none, and how near the ideal predictor comes."""
    frame = information.frame
    return (
        "Every line adds up a prompt's answers from the first on, fresh and repeated arguments alike, and is a mean "
        f"over prompts. The violet lines are bounds: an ideal predictor pays D + {_RN} nats at most for the first n "
        f"answers, and gets (D + {_RN}) / ln 2 of them wrong at most, on average; D is the task's description "
        f"length, {_RN} what long prompts cost, since long loops are rare. Broad is the bound under the whole grammar, "
        f"dotted that under the training law.{_band(frame)} {_no_bound(prepared)}A model may lie above the bounds: "
        "what it pays above the ideal predictor it has not learned. "
        f"{references(information)}{_nearest(frame, prepared)}"
        f"{_interval_words(frame)}"
    )


def gap_over_tokens(information: Information, prepared: Prepared) -> str:
    """Say what a gap is, how far the leading model came, and what the last point mixes."""
    leading = information.frame.filter(pl.col("series") == pl.lit(prepared.leading, dtype=pl.String))
    return (
        f"{_what_a_gap_is(information)}{facts.decay_words(prepared)}{_from_to(leading, prepared)}"
        f"{_interval_words(information.frame)}"
    )


def gap_over_size(information: Information, prepared: Prepared) -> str:
    """Say what a gap is, and where what is left of it sits."""
    return (
        f"{_what_a_gap_is(information)}Each size after its last training token. {gap_sentence(prepared)} "
        f"{_interval_words(information.frame)}"
    )


def gap_sentence(prepared: Prepared) -> str:
    """Say how far the leading model is from the best that is possible, in nats, and where what is left sits."""
    gaps = learning_gaps(prepared)
    if gaps.is_empty():
        return ""
    rows = at_the_end(gaps.filter(pl.col("series") == pl.lit(prepared.leading, dtype=pl.String)))
    said = [_on_documents(rows, prepared), _on_prompts(rows)]
    return " ".join(sentence for sentence in said if sentence)


def _without_remedy(reason: str) -> str:
    """Return an error's message as a clause, without the sentence that tells what to do about it."""
    told = reason.rstrip(".").split(". ")
    return "; ".join(f"{part[0].lower()}{part[1:]}" for part in told[: max(1, len(told) - 1)])


def out_of_reach(prepared: Prepared) -> str:
    """Say in one sentence that the ideal predictors could not be computed, and why; nothing where all were."""
    if prepared.out_of_reach:
        why = words.listing([_without_remedy(reason) for reason in prepared.out_of_reach])
        return f"What is best possible could not be computed for all of this study: {why}."
    if prepared.together.height and prepared.bounds.is_empty():
        return "What is best possible here is not known: no ideal predictor could be computed."
    return ""


def _band(frame: pl.DataFrame) -> str:
    bounds = frame.filter((pl.col("mark") == BOUND) & (pl.col("measure") == TOGETHER))
    if (bounds["hi"] - bounds["lo"]).round(6).max() in {None, 0.0}:
        return ""
    return (
        " Their bands go from the least to the most over the choices of functions. Bounds are means over all choices "
        "by their probability, the other lines over the choices that the prompts drew: by chance these may cost more."
    )


def _no_bound(prepared: Prepared) -> str:
    """Name the panels without a bound, under the whole grammar or the training law alone."""
    never = without_bound(prepared, "full")
    untrained = [panel for panel in without_bound(prepared, "train") if panel not in never]
    said = ""
    if never:
        said += f"There is no bound on {_panels(never)}: no derivation of the grammar prints this. "
    if ends := ending_bounds(prepared):
        said += f"On {_panels(ends)} the bound ends where no loop prints so many rows or repeats what prompts do. "
    if untrained:
        said += (
            f"Under the training law there is no bound on {_panels(untrained)}: no document of the corpus can print "
            "what was held out, so that its D is infinite. "
        )
    return said


def _panels(panels: list[str]) -> str:
    listed = [panel_words(panel) for panel in panels[: _LISTED + 1]]
    left = len(panels) - len(listed)
    return words.listing([*listed, *([f"{left} more"] if left else [])])


def _nearest(frame: pl.DataFrame, prepared: Prepared) -> str:
    """Give the numbers at the last answer on the first panels: bound, ideal predictor, leading model."""
    last = frame.filter(pl.col("answers") == pl.col("answers").max().over("panel"))
    leading = MODELS & (pl.col("series") == pl.lit(prepared.leading, dtype=pl.String))
    who = {
        "bound": pl.col("mark") == BOUND,
        "ideal": pl.col("mark") == "ideal",
        f"{prepared.leading}": leading,
    }
    listed: list[str] = []
    for panel in last["panel"].unique(maintain_order=True).head(_LISTED):
        here = last.filter(pl.col("panel") == panel)
        said = [
            f"{noun}: {', '.join(f'{name} {_estimate_of(here.filter(rows), measure)}' for name, rows in who.items())}"
            for measure, noun in ((TOGETHER, "nats"), (ERRORS, "wrong"))
        ]
        listed.append(f"{panel_words(panel)}, {'; '.join(said)}.")
    answers = words.listing([str(n) for n in last["answers"].unique().sort()])
    return f"Of the first {answers} answers on {' On '.join(listed)} "


def _estimate_of(rows: pl.DataFrame, measure: str) -> str:
    """Return an estimate with its interval; a bound's least and most are none."""
    here = rows.filter(pl.col("measure") == measure)
    if (here["mark"] == BOUND).any():
        return words.nats(float(str(here["value"].mean())))
    return estimate_words(here, "value")


def _what_a_gap_is(information: Information) -> str:
    levels = set(information.frame["level"])
    said = [
        *(
            ["on new documents, per token and by the tokens' role, to the ideal predictor of the training law"]
            if "documents" in levels else []
        ),
        *(
            ["on prompts, per answer with a fresh argument at the most examples, to that of the whole grammar"]
            if "prompts" in levels else []
        ),
    ]  # fmt: skip
    return (
        f"The learning gap is what a model pays more than the ideal predictor for the same tokens: "
        f"{words.listing(said)}. At zero nothing is left to learn. On single tasks and roles it may be negative, as "
        "the ideal predictor is best on average only. "
    )


def _from_to(rows: pl.DataFrame, prepared: Prepared) -> str:
    """Say where the gap of the leading model on all tokens began and ended."""
    whole = rows.filter((pl.col("level") == "documents") & pl.col("role").is_null())
    if whole.is_empty():
        return ""
    ends = [int(str(end)) for end in (whole["train_tokens"].min(), whole["train_tokens"].max())]
    first, last = (estimate_words(whole.filter(pl.col("train_tokens") == end), "gap") for end in ends)
    return (
        f"The gap of {prepared.leading} on all tokens goes from {first} nats at {words.count(ends[0])} training tokens "
        f"to {last} at {words.count(ends[1])}. "
    )


def _on_documents(rows: pl.DataFrame, prepared: Prepared) -> str:
    documents = rows.filter(pl.col("level") == "documents")
    whole = documents.filter(pl.col("role").is_null())
    if whole.is_empty():
        return ""
    least = words.nats(float(str(whole["ideal_nats"].mean())))
    return (
        f"On new documents {facts.subject(prepared)} pays {estimate_words(whole, 'gap')} nats per token above the "
        f"{least} of the ideal predictor of the training law{_mostly(documents)}."
    )


def _mostly(documents: pl.DataFrame) -> str:
    """Say which role holds the largest part of the gap on all tokens."""
    parts = documents.with_columns(total=pl.col("gap") * pl.col("tokens_of_role"))
    whole = parts.filter(pl.col("role").is_null())["total"].sum()
    roles = parts.filter(pl.col("role").is_not_null()).group_by("role").agg(pl.col("total").sum())
    if roles.is_empty() or not whole > 0:
        return ""
    role, largest = roles.sort("total", "role", descending=[True, False]).row(0)
    share = largest / whole
    if not 0 < share <= 1:
        return ""
    return f", {100 * share:.0f} % of it on {ROLES.get(role, role)}"


def _on_prompts(rows: pl.DataFrame) -> str:
    prompts = rows.filter(pl.col("level") == "prompts")
    if prompts.is_empty():
        return ""
    means = prompts.group_by("panel", "panel_rank").agg(pl.col("gap").mean()).sort("gap", "panel_rank")
    ends = [str(means["panel"][place]) for place in (0, -1)][: means.height]
    said = [
        f"{estimate_words(prompts.filter(pl.col('panel') == panel), 'gap')} on {panel_words(panel)}"
        for panel in ends
    ]
    at = facts.shots_words(prompts)
    start = f"{at[0].upper()}{at[1:]} its gap per answer"
    if len(said) == 1:
        return f"{start} is {said[0]} nats."
    return f"{start} lies between {said[0]} and {said[1]}."


def _interval_words(frame: pl.DataFrame) -> str:
    if frame.filter(MODELS)["lines"].max() == 1:
        return "Bands and bars are 95 % intervals."
    return "Each seed is a line of its own, without a band; ranges run over seeds."


def ideal_names(prepared: Prepared) -> list[str]:
    """Return the names of the ideal predictors that answered."""
    found = set(prepared.answers["mark"])
    return [name for mark, name in IDEALS.items() if mark in found]


def least_loss(prepared: Prepared, variant: str | None) -> str:
    """Return what the ideal predictor of a variant's training law pays per token of documents; else a dash."""
    if prepared.gaps.is_empty():
        return words.MISSING
    here = pl.col("variant").eq_missing(pl.lit(variant, dtype=pl.String))
    whole = prepared.gaps.filter(here & (pl.col("level") == "documents") & pl.col("role").is_null())
    least = whole["ideal_nats"].drop_nulls().unique()
    return words.nats(float(least[0])) if least.len() == 1 else words.MISSING
