"""Grammars: documents to read, prompts to ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Integer

from emergelab.api.checks import chosen, one_of, whole
from emergelab.grammar.language import Language
from emergelab.grammar.library import find_grammar
from emergelab.grammar.library import load_grammar as check_grammar
from emergelab.grammar.shelf import SourceFile
from emergelab.grammar.syntax import GrammarSyntax
from emergelab.rng import Stream, stream
from emergelab.scores.prompts import PromptSet
from emergelab.theory.limits import HYPOTHESES

if TYPE_CHECKING:
    import polars as pl
    from rich.text import Text

    from emergelab.scores.predictor import Predictor

_MOST_KEY = 2**53 - 1
_MOST_DOCUMENTS = 1_000_000
_MOST_LENGTH = 32_000
_LAWS = ("train", "full")
_MOST_EXPORTED = 10**12


def load_grammar(
    name_or_path: str | Path, *, key: int = 0, parameters: Mapping[str, float] | None = None
) -> Grammar:
    """Read a grammar by the name of a shipped one or by the path of a `.cag` file, and check it.

    `key` names the source of all its randomness: the world, the documents and the prompts are those of a
    study with this key. `parameters` are values for the parameters that the grammar names, in the place of
    those that its text gives. Raises GrammarError with everything that is wrong with the file.
    """
    return _grammar(find_grammar(str(name_or_path)), key, parameters)


def parse_grammar(
    text: str, *, name: str = "grammar", key: int = 0, parameters: Mapping[str, float] | None = None
) -> Grammar:
    """Return the grammar that `text` says in the notation of `.cag` files; the rest as for `load_grammar`.

    Raises GrammarError with everything that is wrong with it: line, column, rule and remedy.
    """
    return _grammar(SourceFile(name, f"<{name}>", None, text), key, parameters)


def _grammar(file: SourceFile, key: int, parameters: Mapping[str, float] | None) -> Grammar:
    number = whole("key", key, least=0, most=_MOST_KEY)
    return Grammar(check_grammar(file, parameters), file.text, key=number)


@dataclass(frozen=True)
class Document:
    """A document of a grammar. All five tuples have one entry for each token.

    `roles` are start, argument, intermediate, answer, separator or other. `statements` and `rows` count from
    0; a row below 0 is outside of all loops. `skills` name the functions that it takes to predict the token.
    `whole` tells that the document was not cut at the length asked for. `print` shows a loop's rows as lines.
    """

    tokens: tuple[str, ...]
    roles: tuple[str, ...]
    statements: tuple[int, ...]
    rows: tuple[int, ...]
    skills: tuple[tuple[str, ...], ...] = field(repr=False)
    whole: bool

    def __str__(self) -> str:
        return self._text(marks=True).plain

    def _repr_html_(self) -> str:
        """Return the document in colours, for notebooks."""
        from emergelab.api.notebooks import text_html  # noqa: PLC0415 - only notebooks ask for it

        return text_html(self._text())

    def _text(self, *, marks: bool = False) -> Text:
        from emergelab.grammar.rendering import sample_text  # noqa: PLC0415

        return sample_text(self.tokens, self.roles, self.statements, self.rows, marks=marks)


@dataclass(frozen=True, eq=False, repr=False)
class Grammar:
    """A checked grammar whose world is drawn from `key`. Made by `load_grammar` and `parse_grammar`.

    `text` is the grammar as written. Where documents or prompts have keys of their own, as the `[keys]` of a
    study can give them, these differ from `key`.
    """

    syntax: GrammarSyntax
    text: str
    key: int = 0
    document_key: int | None = None
    prompt_key: int | None = None

    def __repr__(self) -> str:
        return f"Grammar({self.name!r}, tasks={list(self.tasks)}, key={self.key})"

    def __str__(self) -> str:
        return self.text.rstrip()

    @property
    def name(self) -> str:
        """What it is called: the file's name without its ending."""
        return self.syntax.name

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of its tasks."""
        return tuple(task.name for task in self.syntax.tasks)

    @cached_property
    def language(self) -> Language:
        """The grammar with its world: function tables, vocabulary, and what is held out of training."""
        from emergelab.grammar.holdout import draw_language  # noqa: PLC0415

        return draw_language(self.syntax, stream(self.key, "world"))

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The text of each token; a token is a number that counts from 0 into this tuple."""
        return self.language.vocabulary.texts

    def describe(self) -> dict[str, Any]:
        """Return world, rules with their costs in nats, hold-outs, tasks and terminals, as JSON values."""
        from emergelab.grammar.rendering import describe  # noqa: PLC0415

        return dict(describe(self.syntax))

    def sample(
        self, count: int = 3, *, length: int = 120, law: Literal["train", "full"] = "train"
    ) -> list[Document]:
        """Return the first `count` documents, cut at `length` tokens.

        They are those that seed 0 of a study with this key trains on; the law `full` leaves nothing out that
        is held out of training. Raises UserError for numbers that are none.
        """
        from emergelab.recipes.samples import read_documents  # noqa: PLC0415 - compiles the sampler

        one_of("law", law, _LAWS)
        documents = read_documents(
            self.language,
            key=self.key if self.document_key is None else self.document_key,
            count=whole("count", count, most=_MOST_DOCUMENTS),
            length=whole("length", length, most=_MOST_LENGTH),
            law=law,
        )
        return [_document(one) for one in documents]

    def prompts(
        self, tasks: str | Iterable[str] | None = None, *, shots: int = 10, prompts: int = 512
    ) -> list[PromptSet]:
        """Return prompts of the `tasks`, of all if none is named: a set for each form and split of each task.

        A prompt holds `shots` examples and a query. They are those that a study with this key asks. Raises
        UserError for tasks that there are not, and for numbers that the grammar cannot serve.
        """
        from emergelab.corpus.prompts import make_prompts  # noqa: PLC0415

        names = chosen(tasks, self.tasks, f"Grammar {self.name}")
        count, rows = whole("prompts", prompts), whole("shots", shots, most=_MOST_LENGTH)
        key = self.evaluation_stream.child("prompts")
        sets = (make_prompts(self.language, task, shots=rows, prompts=count, stream=key) for task in names)
        return [one for several in sets for one in several]

    def export(
        self,
        out: str | Path,
        *,
        documents: int = 10_000,
        validation: int = 512,
        length: int = 48,
        seed: int = 0,
        law: Literal["train", "full"] = "train",
        licence: str | None = None,
    ) -> Path:
        """Write documents as Parquet that Hugging Face's `datasets` loads, with every token's labels and a card.

        `out` is a folder, or a file that ends in `.parquet`, which takes the training documents alone. They are
        those that this seed of a study with this key trains on, cut at `length` positions; those for validation
        have a stream of their own. The same call goes on where another one stopped. Returns `out`; raises
        UserError where it holds something else.
        """
        from emergelab.api.exports import export_documents  # noqa: PLC0415 - compiles the sampler
        from emergelab.recipes.exporting_corpora import CorpusSpec, grammar_language  # noqa: PLC0415

        one_of("law", law, _LAWS)
        spec = CorpusSpec(
            language=grammar_language(self.syntax, self.key),
            data_key=self.key if self.document_key is None else self.document_key,
            evaluation_key=self.key if self.prompt_key is None else self.prompt_key,
            seed=whole("seed", seed, least=0),
            context=whole("length", length, most=_MOST_LENGTH),
            law=law,
            train=whole("documents", documents, most=_MOST_EXPORTED),
            validation=whole("validation", validation, least=0, most=_MOST_EXPORTED),
        )
        return export_documents(spec, self.syntax, Path(out), licence)

    def export_prompts(
        self,
        out: str | Path,
        *,
        tasks: str | Iterable[str] | None = None,
        shots: int = 10,
        prompts: int = 512,
    ) -> Path:
        """Write the questions that `prompts` asks, one with each number of examples, with answers and chance.

        `out` is a file that ends in `.parquet` or `.jsonl`. Returns it; raises UserError as `prompts` does, and
        where it holds something else.
        """
        from emergelab.recipes.exporting_corpora import grammar_language  # noqa: PLC0415
        from emergelab.recipes.exporting_prompts import Asked, export_prompts  # noqa: PLC0415

        asked = Asked(
            tasks=chosen(tasks, self.tasks, f"Grammar {self.name}"),
            prompts=whole("prompts", prompts),
            shots=whole("shots", shots, least=0, most=_MOST_LENGTH),
            key=self.key if self.prompt_key is None else self.prompt_key,
        )
        export_prompts(grammar_language(self.syntax, self.key), Path(out), asked)
        return Path(out)

    def ideal(self, law: Literal["train", "full"] = "full", *, hypotheses: int = HYPOTHESES) -> Predictor:
        """Return the ideal predictor: the grammar's own law of the next token. No predictor has a lower mean loss.

        `full` is the grammar as written, `train` leaves out what is held out of training. Where documents draw
        functions of their own it weighs at most so many `hypotheses` at a time, which is slow. Raises UserError
        where it is out of reach.
        """
        from emergelab.recipes.oracle import exact_predictor  # noqa: PLC0415 - compiles kernels

        one_of("law", law, _LAWS)
        return exact_predictor(
            self.language, law, hypotheses=whole("hypotheses", hypotheses, most=_MOST_EXPORTED)
        )

    def bounds(
        self,
        tasks: str | Iterable[str] | None = None,
        *,
        shots: int = 10,
        law: Literal["train", "full"] = "full",
        prompts: int = 512,
    ) -> pl.DataFrame:
        """Return what the theory says of the first `shots` answers of prompts, beside what the ideal predictor pays.

        A row for each form and split of each task; columns as `emergelab bound --json` has them. Raises UserError
        where functions are drawn by the document, and for tasks that there are not.
        """
        import polars as pl  # noqa: PLC0415

        from emergelab.recipes.oracle import OracleQuestion, ideal_predictor, task_bounds  # noqa: PLC0415 - compiles kernels

        one_of("law", law, _LAWS)
        asked = OracleQuestion(
            task="",
            shots=whole("shots", shots, most=_MOST_LENGTH),
            law=law,
            prompts=whole("prompts", prompts, least=2),
            key=self.key if self.prompt_key is None else self.prompt_key,
        )
        names = chosen(tasks, self.tasks, f"Grammar {self.name}")
        ideal = ideal_predictor(self.language, law)
        rows = [row for task in names for row in task_bounds(ideal, replace(asked, task=task))]
        return pl.DataFrame(rows, infer_schema_length=None)

    def text_of(self, tokens: Integer[np.ndarray, " tokens"] | Sequence[int]) -> str:
        """Return tokens as text: their words, parted by spaces."""
        return " ".join(self.vocabulary[token] for token in tokens)

    @property
    def evaluation_stream(self) -> Stream:
        """The source of randomness of prompts and of the documents that measure losses."""
        return stream(self.key if self.prompt_key is None else self.prompt_key, "evaluation")


def _document(values: dict[str, Any]) -> Document:
    lists = {name: tuple(values[name]) for name in ("tokens", "roles", "statements", "rows")}
    return Document(**lists, skills=tuple(map(tuple, values["skills"])), whole=values["whole"])
