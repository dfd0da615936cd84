"""The loss of a corpus with its uncertainty, from the sums that evaluation leaves by document."""

from __future__ import annotations

import polars as pl

from emergelab.analysis import estimate

# Nats per token of every role (null: of all tokens together). `n` counts documents, the clusters.
LOSSES = pl.Schema(
    {"role": pl.String, "n": pl.Int32, "tokens": pl.Int64}
    | dict.fromkeys(("nats", "nats_lo", "nats_hi"), pl.Float64)
    | {"nats_method": pl.String}
)


def losses_by_role(documents: pl.DataFrame) -> pl.DataFrame:
    """Return `LOSSES` of `evaluate.losses.DOCUMENT_LOSSES`; rows by what tokens need are left out.

    The interval takes documents as independent and their tokens as not, see `estimate.ratio`.
    """
    by_role = documents.filter(pl.col("skill").is_null() & pl.col("needed").is_null())
    by_role = by_role.sort("role", "document", nulls_last=False).group_by("role", maintain_order=True)
    return pl.DataFrame([_loss(role, part) for (role,), part in by_role], schema=LOSSES)


def _loss(role: object, part: pl.DataFrame) -> dict[str, object]:
    tokens = part["tokens"].cast(pl.Float64)
    loss = estimate.ratio(part["nats"].to_numpy(), tokens.to_numpy())
    return {
        "role": role,
        "n": loss.n,
        "tokens": part["tokens"].sum(),
        "nats": loss.value,
        "nats_lo": None if loss.lo is None else max(loss.lo, 0.0),
        "nats_hi": loss.hi,
        "nats_method": loss.method,
    }
