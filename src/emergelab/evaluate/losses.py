"""The loss of a predictor on documents: nats per token, as a whole, by the tokens' role and by what they need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float32, Int32, UInt8, UInt16, UInt64

from emergelab.corpus.documents import skills_of
from emergelab.evaluate.shots import batches, next_token_law, next_token_nats
from emergelab.scores.predictor import Predictor

MORE = "more"
"""What stands for the functions of a token that its label has no room for."""
_LABELS = pl.Schema({"role": pl.String, "skill": pl.String, "needed": pl.Int8})

# Sums, so that any grouping can follow: one row for each document (role, skill and needed null: all of its tokens),
# for each role in it, for each function that a token of it needs (`skill`; a token that needs several counts for each
# of them, once), and for each number of functions that one token of it needs (`needed`; 5: five or more).
DOCUMENT_LOSSES = pl.Schema(
    {"document": pl.Int32, **_LABELS, "tokens": pl.Int32, "nats": pl.Float64}  # pyright: ignore[reportArgumentType]
)


@dataclass(frozen=True, kw_only=True)
class Documents:
    """B documents, one in each row, padded behind. The first token is given; those behind it are counted."""

    tokens: UInt16[np.ndarray, "documents length"]
    lengths: Int32[np.ndarray, " documents"]  # tokens that are not padding, the first one included
    roles: UInt8[np.ndarray, "documents length"] | None = None
    role_names: tuple[str, ...] = ()
    skills: UInt64[np.ndarray, "documents length"] | None = None  # as `corpus.documents.skills_of` reads them
    skill_names: tuple[str, ...] = ()  # by number of the function


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
    """Return a `DOCUMENT_LOSSES` frame: counted tokens and their nats by document and what tells tokens apart.

    A document without a counted token of a role has no row of it, and likewise with functions. What the loss of the
    whole corpus is, and how sure, follows with documents as clusters: tokens of one document are not independent.
    """
    losses = token_losses(predictor, documents, batch=batch)
    document, place = np.nonzero(~np.isnan(losses))
    tokens = pl.DataFrame({"document": document, "nats": losses[document, place].astype(np.float64)})
    parts = [tokens]
    if documents.roles is not None:
        names = np.array(documents.role_names)[documents.roles[document, place + 1]]
        parts.append(tokens.with_columns(role=pl.Series(names, dtype=pl.String)))
    if documents.skills is not None:
        parts += _by_functions(tokens, documents.skills[document, place + 1], documents.skill_names)
    sums = [_sums(part) for part in parts]
    whole = pl.concat([DOCUMENT_LOSSES.to_frame(), *sums], how="diagonal")
    return whole.sort("document", *_LABELS, nulls_last=False)


def _by_functions(
    tokens: pl.DataFrame, packed: UInt64[np.ndarray, " tokens"], names: tuple[str, ...]
) -> list[pl.DataFrame]:
    """Return the tokens by each function that they need, and by how many functions they need."""
    labels, label = np.unique(packed, return_inverse=True)  # there are few
    unpacked = [skills_of(int(one)) for one in labels]
    # A label that ends in -1 stands for one function more than it has room for, at least.
    needed = np.array([len(functions) + (-1 in functions) for functions in unpacked], dtype=np.int8)
    skills = [
        sorted({MORE if function < 0 else names[function] for function in functions})
        for functions in unpacked
    ]
    named = tokens.with_columns(skill=pl.Series(skills, dtype=pl.List(pl.String)).gather(label))
    each = named.filter(pl.col("skill").list.len() > 0).explode("skill")
    return [each, tokens.with_columns(needed=needed[label])]


def _sums(tokens: pl.DataFrame) -> pl.DataFrame:
    by = [name for name in tokens.columns if name != "nats"]
    sums = tokens.group_by(by).agg(tokens=pl.len(), nats=pl.col("nats").sum())
    return sums.select(pl.col(name).cast(DOCUMENT_LOSSES[name]) for name in sums.columns)


def corpus_loss(predictor: Predictor, documents: Documents, *, batch: int = 128) -> float:
    """Return nats per counted token of all documents together, NaN when no token is counted."""
    losses = token_losses(predictor, documents, batch=batch)
    counted = losses[~np.isnan(losses)]
    return float(counted.mean(dtype=np.float64)) if counted.size else float("nan")
