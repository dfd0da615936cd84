"""The loss of a predictor on documents: nats per token, as a whole and by the tokens' role."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float32, Int32, UInt8, UInt16

from emergelab.evaluate.shots import batches, next_token_law, next_token_nats
from emergelab.scores.predictor import Predictor

# One row for each document and role (role null: all of its tokens). Sums, so that any grouping can follow.
DOCUMENT_LOSSES = pl.Schema({"document": pl.Int32, "role": pl.String, "tokens": pl.Int32, "nats": pl.Float64})


@dataclass(frozen=True, kw_only=True)
class Documents:
    """B documents, one in each row, padded behind. The first token is given; those behind it are counted."""

    tokens: UInt16[np.ndarray, "documents length"]
    lengths: Int32[np.ndarray, " documents"]  # tokens that are not padding, the first one included
    roles: UInt8[np.ndarray, "documents length"] | None = None
    role_names: tuple[str, ...] = ()


def token_losses(
    predictor: Predictor, documents: Documents, *, batch: int = 128
) -> Float32[np.ndarray, "documents targets"]:
    """Return -ln P in nats of every token behind the first one, NaN where there is only padding."""
    tokens = documents.tokens
    parts = [
        next_token_nats(next_token_law(predictor, tokens[part, :-1]), tokens[part, 1:])
        for part in batches(len(tokens), batch)
    ]
    counted = np.arange(1, tokens.shape[1]) < documents.lengths[:, None]
    return np.where(counted, np.concatenate(parts), np.float32(np.nan))


def losses_by_document(predictor: Predictor, documents: Documents, *, batch: int = 128) -> pl.DataFrame:
    """Return a `DOCUMENT_LOSSES` frame: counted tokens and their nats by document and role.

    A document without a counted token of a role has no row of it. What the loss of the whole corpus is,
    and how sure, follows with documents as clusters: tokens of one document are not independent.
    """
    losses = token_losses(predictor, documents, batch=batch)
    document, place = np.nonzero(~np.isnan(losses))
    role = pl.repeat(None, len(document), dtype=pl.String, eager=True)
    tokens = pl.DataFrame({"document": document, "nats": losses[document, place], "role": role})
    named = [tokens]
    if documents.roles is not None:
        names = np.array(documents.role_names)[documents.roles[document, place + 1]]
        named.append(tokens.with_columns(role=pl.Series(names, dtype=pl.String)))
    sums = (
        pl.concat(named)
        .group_by("document", "role")
        .agg(tokens=pl.len(), nats=pl.col("nats").cast(pl.Float64).sum())
        .sort("document", "role", nulls_last=False)
    )
    return sums.select(pl.col(name).cast(kind) for name, kind in DOCUMENT_LOSSES.items())


def corpus_loss(predictor: Predictor, documents: Documents, *, batch: int = 128) -> float:
    """Return nats per counted token of all documents together, NaN when no token is counted."""
    losses = token_losses(predictor, documents, batch=batch)
    counted = losses[~np.isnan(losses)]
    return float(counted.mean(dtype=np.float64)) if counted.size else float("nan")
