"""A run's answers as a table of outcomes: a statement is a text-piece, its functions are its skills.

Every printed object of an answer is a cloze question. From prompts come the queries behind the most examples, with
arguments that stood in none, teacher-forced; from documents, where a study measures skills on them, whole statements.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from emergelab.errors import UserError
from emergelab.outcomes.schema import ORDER, OUTCOMES
from emergelab.recipes.run_folder import RunFolder

OF_DOCUMENTS = "statements of documents"
"""The task that statements of documents are."""

EVALUATED = "as evaluated"
"""The checkpoint of a model that no study trained."""

READING = (
    "A statement is a text-piece, the functions that it applies are its skills, and each printed object of its answer "
    "is a cloze question."
)
"""What is assumed of a run."""

_ITEM = ("task", "form", "split", "prompt")


def outcomes_of_run(run_folder: Path) -> pl.DataFrame:
    """Return `OUTCOMES` of all models of a finished run, or of somebody else's model that was evaluated.

    A system is a training run, a checkpoint the tokens at which it was read; of an evaluated model the draws of words
    are samples of each item. Items have one name where models answered
    the same ones; grammars of other settings draw other ones. Raises ArtifactError for what is no finished run, and
    UserError where no answer of it needs a function, or an earlier version made its tables.
    """
    tables = RunFolder(run_folder).open_tables()
    try:
        joined = _joined(tables)
    except (FileNotFoundError, pl.exceptions.ColumnNotFoundError) as error:
        raise UserError(
            f"{run_folder} lacks tables or columns that outcomes are made of; an earlier emergelab made it. Give the "
            "same `emergelab run` again: what is trained stays, and its tables are made anew."
        ) from error
    if joined.is_empty():
        raise UserError(
            f"No model in {run_folder} was asked what needs a function. Outcomes are answers by the functions that "
            "they need. Give a run whose tasks draw functions."
        )
    named = joined.with_columns(_named())
    missing = [pl.lit(None).alias(name) for name in OUTCOMES if name not in named.columns]
    whole = named.with_columns(missing).select(pl.col(name).cast(kind) for name, kind in OUTCOMES.items())
    return whole.sort(ORDER, nulls_last=False)


def _joined(tables: Path) -> pl.DataFrame:
    cells = _cells(tables)
    found = _of_prompts(tables)
    if (tables / "pieces.parquet").is_file():
        found = pl.concat([found, _of_documents(tables)], how="diagonal_relaxed")
    return found.join(cells, on="cell", how="inner")


def _cells(tables: Path) -> pl.DataFrame:
    """Return the columns of cells that outcomes have, and what names their system, checkpoint and samples."""
    cells = pl.read_parquet(tables / "cells.parquet")
    tokens = pl.col("train_tokens").cast(pl.String)
    run = pl.col("cell").str.replace(r",tokens=[^,]*$", "")
    return cells.select(
        "cell",
        "variant",
        "params",
        "train_tokens",
        "flops",
        "loss",
        run=pl.when(tokens.is_not_null()).then(run),
        checkpoint=tokens.fill_null(EVALUATED),
        sample=pl.when(tokens.is_null()).then(pl.col("seed")).fill_null(0),
    )


def _named() -> pl.Expr:
    """Name a piece by what it is of, and the variant of the grammar that drew it; a system by its training run."""
    system = pl.coalesce("run", "predictor").alias("system")
    drawn = pl.concat_str(pl.col("variant") + ": ", "piece", ignore_nulls=True).alias("piece")
    return pl.struct(system, drawn).struct.unnest()


def _of_prompts(tables: Path) -> pl.DataFrame:
    items = pl.scan_parquet(tables / "items.parquet").filter(
        pl.col("decoding") == "teacher_forced", pl.col("argument") == "fresh"
    )
    last = items.filter(pl.col("shot") == pl.col("shot").max().over("task", "form", "split"))
    step = pl.col("step") > 0
    answers = last.group_by("cell", "predictor", *_ITEM, "shot").agg(
        correct=pl.col("correct").filter(~step).first(),
        nats=pl.col("nats").filter(~step).first(),
        chance=pl.col("chance").filter(~step).first(),
        cloze_loss=(1 - (-pl.col("nats").cast(pl.Float64)).exp()).filter(step).mean(),
        score=pl.col("correct").cast(pl.Float64).filter(step).mean(),
    )
    variants = pl.scan_parquet(tables / "cells.parquet").select("cell", "variant")
    prompts = pl.scan_parquet(tables / "prompts.parquet").select("variant", *_ITEM, skills="functions")
    joined = answers.join(variants, on="cell").join(prompts, on=["variant", *_ITEM], nulls_equal=True)
    return (
        joined.filter(pl.col("skills").list.len() > 0, pl.col("correct").is_not_null())
        .with_columns(
            task=_task(), piece=pl.format("prompt {}", "prompt"), shots=pl.col("shot").cast(pl.Int32)
        )
        .drop("variant", "form", "split", "prompt", "shot")
        .collect()
    )


def _task() -> pl.Expr:
    """Name a task by its form and split where these are not the usual ones."""
    steps = pl.when(pl.col("form") == "steps").then(pl.lit(", steps printed")).otherwise(pl.lit(""))
    split = pl.when(pl.col("split") != "seen").then(pl.lit(", ") + pl.col("split").str.replace_all("_", " "))
    return pl.concat_str("task", steps, split.fill_null(""))


def _of_documents(tables: Path) -> pl.DataFrame:
    return pl.read_parquet(tables / "pieces.parquet").select(
        "cell",
        "skills",
        "chance",
        "nats",
        "cloze_loss",
        predictor=pl.lit("model"),
        task=pl.lit(OF_DOCUMENTS),
        piece=pl.format("document {} statement {}", "document", "statement"),
        correct=pl.col("right") == pl.col("questions"),
        score=pl.col("right") / pl.col("questions"),
        answer_tokens=pl.col("questions").cast(pl.Int32),
    )
