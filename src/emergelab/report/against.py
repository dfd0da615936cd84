"""What was measured against what the theory says: first answers and their bounds, and learning gaps."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from emergelab.report.information import Information
from emergelab.report.labels import PANEL
from emergelab.report.series import TRAINED, Prepared, at_most_shots, at_the_end

TOGETHER = "nats of the first answers"
ERRORS = "wrong answers of the first"
GAP: Mapping[str, str] = {"documents": "gap per token of documents", "prompts": "gap per answer of prompts"}
"""By level, the measure of a learning gap."""
BOUND, BOUND_TRAIN = "bound", "bound_train"
BOUNDS: Mapping[str, tuple[str, str]] = {
    "full": (BOUND, "bound"),
    "train": (BOUND_TRAIN, "bound (training law)"),
}
"""By law, the mark and the name of its bound."""
LIMIT = "least and most over the choices of functions"
ROLES: Mapping[str | None, str] = {
    None: "all tokens",
    "answer": "answers",
    "intermediate": "printed steps",
    "argument": "arguments",
    "separator": "separators",
    "start": "start",
    "other": "other tokens",
}
"""By role, what the page calls its tokens, in the order of the panels."""
_LABELS = (*PANEL, "panel", "panel_rank", "series", "series_rank", "base", "size", "variant", "variant_rank")
_AGAINST: Mapping[str, str] = {"documents": "ideal_train", "prompts": "ideal"}
_GAP_COLUMNS = (
    *("level", "role", *PANEL, "series", "params", "train_tokens", "seed", "shots", "against", "n"),
    *("tokens_of_role", "nats", "ideal_nats", "value", "lo", "hi", "method"),
)
_NO_THEORY = "no ideal predictor could be computed"


def first_answers(prepared: Prepared) -> Information:
    """Nats and wrong answers of a prompt's first answers together, and the bounds B1 and B2, at the end.

    A bound's `lo` and `hi` are the least and the most over the choices of functions; it is no estimate.
    """
    frame = pl.DataFrame()
    if prepared.bounds.height and prepared.together.height:
        parts = [*_costs(prepared), *_limits(prepared)]
        frame = pl.concat(parts, how="diagonal_relaxed").sort(
            "panel_rank", "series_rank", "seed", "answers", maintain_order=True
        )
    return Information(
        name="first-answers",
        title="The first answers together, and what the theory allows",
        short="First answers",
        frame=frame,
        columns=(*PANEL, "series", "seed", "answers", "prompts", "measure", "value", "lo", "hi", "method"),
        absent=_NO_THEORY if frame.is_empty() else None,
    )


def gap_over_tokens(prepared: Prepared) -> Information:
    """Learning gap over training tokens: on new documents by role, and on prompts at the most examples."""
    absent = "the study reads its models at one token count only"
    return _gap_over(learning_gaps(prepared), "train_tokens", ("tokens", "training tokens"), absent)


def gap_over_size(prepared: Prepared) -> Information:
    """Learning gap over the number of parameters, after the last training token."""
    frame = learning_gaps(prepared)
    frame = frame if frame.is_empty() else at_the_end(frame).filter(pl.col("params").is_not_null())
    return _gap_over(frame, "params", ("size", "model size"), "the study trains one model size only")


def _gap_over(frame: pl.DataFrame, along: str, names: tuple[str, str], absent: str) -> Information:
    """Return the learning gaps along a column; `absent` says why one value of it is none to draw."""
    short, long = names
    few = frame.is_empty() or frame[along].n_unique() == 1
    return Information(
        name=f"gap-over-{short}",
        title=f"Learning gap over {long}",
        short=f"Gap over {short}",
        frame=frame,
        columns=_GAP_COLUMNS,
        absent=_NO_THEORY if frame.is_empty() else absent if few else None,
    )


def learning_gaps(prepared: Prepared) -> pl.DataFrame:
    """Return what models pay more than the ideal predictors, one mark to a row; infinite ones are left out.

    Per token of documents it is the ideal predictor of the law of training, by role; per answer of prompts that of
    the whole grammar, on fresh arguments at the largest number of examples.
    """
    if prepared.gaps.is_empty():
        return pl.DataFrame()
    against = pl.col("level").replace_strict(_AGAINST, default=None)
    rows = prepared.gaps.filter(TRAINED & (pl.col("against") == against) & pl.col("gap").is_not_null())
    prompts = at_most_shots(rows.filter((pl.col("level") == "prompts") & (pl.col("argument") == "fresh")))
    frame = pl.concat([_by_role(rows.filter(pl.col("level") == "documents")), prompts])
    return frame.with_columns(
        measure=pl.col("level").replace_strict(GAP),
        value="gap",
        lo="gap_lo",
        hi="gap_hi",
        method="gap_method",
        tokens_of_role="tokens",
        documents=pl.when(pl.col("level") == "documents").then("n"),
        prompts=pl.when(pl.col("level") == "prompts").then("n"),
    ).sort(
        pl.col("level") == "prompts", "panel_rank", "series_rank", "train_tokens", "seed", maintain_order=True
    )


def _by_role(documents: pl.DataFrame) -> pl.DataFrame:
    """Give every role a panel, those that the page does not name at the end."""
    names = list(ROLES.values())
    panel = pl.col("role").replace_strict(ROLES, default=pl.col("role"))
    return documents.with_columns(
        panel=panel,
        panel_rank=panel.replace_strict(names, list(range(len(names))), default=len(names)).cast(
            documents.schema["panel_rank"]
        ),
    )


def _costs(prepared: Prepared) -> list[pl.DataFrame]:
    rows = at_the_end(prepared.together)
    names = {TOGETHER: "nats", ERRORS: "errors"}
    return [
        rows.filter(pl.col(name).is_not_null()).select(
            *_LABELS,
            *("mark", "line", "lines", "seed", "answers", "params", "train_tokens", "corpus"),
            prompts="n",
            measure=pl.lit(measure),
            value=name,
            lo=f"{name}_lo",
            hi=f"{name}_hi",
            method=f"{name}_method",
        )
        for measure, name in names.items()
    ]


def _limits(prepared: Prepared) -> list[pl.DataFrame]:
    """Return the bounds of both laws as series behind all others; nothing where a choice has no derivation."""
    name = pl.col("law").replace_strict({law: name for law, (_, name) in BOUNDS.items()})
    rank = pl.col("law").replace_strict({law: place for place, law in enumerate(BOUNDS)})
    rows = prepared.bounds.with_columns(
        mark=pl.col("law").replace_strict({law: mark for law, (mark, _) in BOUNDS.items()}),
        series=pl.concat_str([name, "variant"], separator=", ", ignore_nulls=True),
        base=name,
        size=name,
        series_rank=len(prepared.series) + rank,
    )
    return [
        rows.filter(pl.col(column).is_not_null()).select(
            *_LABELS,
            *("mark", "answers"),
            line="series",
            lines=pl.lit(1),
            measure=pl.lit(measure),
            value=column,
            lo=f"{column}_min",
            hi=f"{column}_max",
            method=pl.lit(LIMIT),
        )
        for measure, column in ((TOGETHER, "bound_nats"), (ERRORS, "bound_errors"))
    ]


def ending_bounds(prepared: Prepared) -> list[str]:
    """Return the panels whose bound under the whole grammar ends before the last answer."""
    if prepared.bounds.is_empty():
        return []
    ends = (pl.col("law") == "full") & pl.col("D_nats").is_not_null() & pl.col("bound_nats").is_null()
    return prepared.bounds.filter(ends)["panel"].unique(maintain_order=True).to_list()


def without_bound(prepared: Prepared, law: str) -> list[str]:
    """Return the panels that have no bound under a law, for a single answer neither: no derivation prints them."""
    if prepared.bounds.is_empty():
        return []
    rows = prepared.bounds.filter((pl.col("law") == law) & pl.col("D_nats").is_null())
    return rows["panel"].unique(maintain_order=True).to_list()
