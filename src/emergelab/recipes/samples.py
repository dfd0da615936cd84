"""Sample documents of a grammar, for people."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from emergelab.corpus.documents import ROLES, Corpus, Documents, skills_of
from emergelab.errors import UserError
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.language import Language
from emergelab.grammar.sites import LawName
from emergelab.grammar.syntax import GrammarSyntax
from emergelab.rng import stream


def sample_documents(
    grammar: GrammarSyntax, *, count: int, key: int, length: int, law: str
) -> list[dict[str, Any]]:
    """Return documents with their tokens' texts, roles, statements, rows and skills, as JSON.

    World and documents are those that a study with this key and seed 0 trains on.
    """
    language = draw_language(grammar, stream(key, "world"))
    return read_documents(language, key=key, count=count, length=length, law=law)


def read_documents(
    language: Language, *, key: int, count: int, length: int, law: str
) -> list[dict[str, Any]]:
    """Return the first `count` documents that seed 0 of a study with this data key trains on, as JSON.

    The law `full` leaves nothing out that is held out of training. Raises UserError for an unknown law.
    """
    if law not in {"train", "full"}:
        raise UserError(f"Got the law {law!r}. A law is 'train' or 'full'. Choose one of the two.")
    corpus = Corpus(language, stream(key, "data", 0), context=length, law=cast("LawName", law))
    documents = corpus.sample(np.arange(count, dtype=np.int64))
    return [_document(language, documents, i) for i in range(count)]


def _document(language: Language, documents: Documents, i: int) -> dict[str, Any]:
    # The last token is there to be predicted only; without it a document has the length asked for.
    end = min(int(documents.lengths[i]), documents.tokens.shape[1] - 1)
    texts, names = language.vocabulary.texts, language.function_names()
    return {
        "tokens": [texts[token] for token in documents.tokens[i, :end]],
        "roles": [ROLES[role] for role in documents.roles[i, :end]],
        "statements": documents.statements[i, :end].tolist(),
        "rows": documents.rows[i, :end].tolist(),
        "skills": [
            ["more" if number < 0 else names[number] for number in skills_of(int(packed))]
            for packed in documents.skills[i, :end]
        ],
        "whole": bool(documents.lengths[i] <= documents.tokens.shape[1] - 1)
        and texts[documents.tokens[i, end - 1]] == "<end>",
    }
