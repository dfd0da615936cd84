"""Documents as a table for other tools: text, tokens, and the labels of every token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import UInt64

from emergelab.corpus.documents import ROLES, Corpus, Documents, skills_of
from emergelab.grammar.language import Language
from emergelab.spec import Json

COLUMNS = pl.Schema(
    {
        "document": pl.Int64,
        "text": pl.String,
        "tokens": pl.List(pl.Int32),
        "roles": pl.List(pl.UInt8),
        "statements": pl.List(pl.Int16),
        "rows": pl.List(pl.Int16),
        "skills": pl.List(pl.List(pl.Int32)),
    }
)
"""One row for each document; see `MEANINGS`."""

MEANINGS = {
    "document": "The document's number. Whoever samples document i again gets the same one.",
    "text": "Its words with spaces between them, without the start token, which the tokenizer puts in front.",
    "tokens": "The numbers of its tokens, start and (where it is not cut off) end included: `input_ids`.",
    "roles": f"For each token what it is: {', '.join(f'{number} {role}' for number, role in enumerate(ROLES))}.",
    "statements": "For each token the statement that it belongs to, from 0.",
    "rows": "For each token its row in the statement's loop, from 0; -1 outside of loops.",
    "skills": "For each token the functions that it takes to predict it, by number, in the order in which they are "
    "applied; at most four, and -1 where there are more.",
}

_POSITIONS_AT_ONCE = 1 << 20
_IDENTITY = "emergelab"
_MOST_NAMES = 1_000


@dataclass(frozen=True)
class Shard:
    """Documents `first` to `last` - 1 of a corpus, in the file `name`."""

    name: str
    corpus: Corpus
    first: int
    last: int

    def frames(self) -> Iterator[pl.DataFrame]:
        """Yield the documents in pieces of a bounded size."""
        step = max(1, _POSITIONS_AT_ONCE // (self.corpus.context + 1))
        for first in range(self.first, self.last, step):
            numbers = np.arange(first, min(first + step, self.last), dtype=np.int64)
            yield table_of(self.corpus.language, numbers, self.corpus.sample(numbers))


def shards_of(corpus: Corpus, documents: int, split: str, count: int) -> list[Shard]:
    """Part the first `documents` of a corpus into `count` files of nearly equal size, named as the Hub does."""
    bounds = [documents * place // count for place in range(count + 1)]
    return [
        Shard(f"{split}-{place:05d}-of-{count:05d}.parquet", corpus, bounds[place], bounds[place + 1])
        for place in range(count)
    ]


def table_of(language: Language, numbers: np.ndarray, documents: Documents) -> pl.DataFrame:
    """Return the `COLUMNS` of sampled documents."""
    labels, skills = _skills(documents.skills)
    padded = pl.DataFrame(
        {
            "document": numbers,
            "length": documents.lengths,
            "text": _padded_words(language, documents),
            "tokens": documents.tokens.astype(np.int32),
            "roles": documents.roles,
            "statements": documents.statements,
            "rows": documents.rows,
            "skills": labels,
        }
    )
    # The start token is no part of the text.
    text = pl.col("text").arr.to_list().list.slice(1, pl.col("length") - 1).list.join(" ")
    lists = (pl.col(name).arr.to_list().list.head(pl.col("length")) for name in COLUMNS.names()[2:])
    return (
        padded.select("document", text, *lists)
        .with_columns(pl.col("skills").list.eval(pl.lit(skills).gather(pl.element())))
        .cast(COLUMNS)
    )


def _padded_words(language: Language, documents: Documents) -> pl.Series:
    words = pl.Series(language.vocabulary.texts)
    return words.gather(documents.tokens.reshape(-1).astype(np.uint32)).reshape(documents.tokens.shape)


def _skills(packed: UInt64[np.ndarray, "documents length"]) -> tuple[pl.Series, pl.Series]:
    """Return for each token the number of its set of skills, and these sets: there are few."""
    flat = pl.Series("packed", packed.reshape(-1))
    sets = flat.unique().sort()
    numbers = flat.to_frame().join(
        sets.to_frame().with_row_index("number"), on="packed", how="left", maintain_order="left"
    )["number"]
    unpacked = [list(skills_of(label)) for label in sets.to_list()]
    return numbers.reshape(packed.shape), pl.Series(unpacked, dtype=COLUMNS["skills"].inner)  # pyright: ignore[reportAttributeAccessIssue]


def write_shard(
    shard: Shard, path: Path, identity: str, told: Callable[[int], None] = lambda _documents: None
) -> None:
    """Write a shard as Parquet, the same bytes each time; `told` is called with the documents of each piece.

    `identity` goes into the file, so that it says itself what it is.
    """
    frames: list[pl.DataFrame] = []
    for frame in shard.frames():
        frames.append(frame)
        told(len(frame))
    whole = pl.concat(frames, rechunk=False)
    whole.write_parquet(path, compression="zstd", statistics=False, metadata={_IDENTITY: identity})


def holds(path: Path, identity: str) -> bool:
    """Tell whether a file is there, whole, and says that it is this."""
    try:
        return pl.read_parquet_metadata(path).get(_IDENTITY) == identity
    except (OSError, pl.exceptions.PolarsError):
        return False


def features(language: Language) -> Json:
    """Return the columns' types in the words of a Hugging Face card, numbers with their names."""
    names = language.function_names()
    return [
        {"name": "document", "dtype": "int64"},
        {"name": "text", "dtype": "string"},
        {"name": "tokens", "list": "int32"},
        {"name": "roles", "list": _classes(list(ROLES))},
        {"name": "statements", "list": "int16"},
        {"name": "rows", "list": "int16"},
        {"name": "skills", "list": {"list": _classes(names) if 0 < len(names) <= _MOST_NAMES else "int32"}},
    ]


def _classes(names: list[str]) -> Json:
    return {"class_label": {"names": {str(number): name for number, name in enumerate(names)}}}
