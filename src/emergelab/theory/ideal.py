"""The ideal predictor: the grammar's own law of the next token, by exact forward filtering.

M(token | prefix) is what a reader predicts who knows the grammar and its world and nothing else of the
document than the prefix. No predictor has a lower loss on the grammar's documents, on average. Source: Hahn
and Goyal 2023 (arXiv 2303.07971); the filter is the forward algorithm over `theory.statements`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt16

from emergelab.errors import GrammarError
from emergelab.grammar.language import END_TOKEN
from emergelab.kernels import filtering as k
from emergelab.theory.laws import at_least, goes_on
from emergelab.theory.statements import Statements

_PLACES = 2048
_MOST_BYTES = 2_000_000_000


@dataclass(frozen=True, eq=False)
class Filtering:
    """What documents cost token by token, in nats; 0 for the first token and behind the end of a document.

    The exact value lies between `lo` and `hi`, which differ only where statements were not enumerated; `nats`
    then takes any token for equally likely behind what is known of the remainder, so that the mean of `nats` over
    documents is never below the exact one. A token that no document can print costs infinity; what comes behind
    it costs ln V, for nothing is known.
    `watched` is the share of those readings of the document by which it is within its first statement, a
    loop with one of the bodies watched, at the end of a row. Zeros where none were watched.
    """

    nats: Float64[np.ndarray, "documents length"]
    lo: Float64[np.ndarray, "documents length"]
    hi: Float64[np.ndarray, "documents length"]
    watched: Float64[np.ndarray, "documents length"]


class Ideal:
    """The ideal predictor of a language under a law."""

    def __init__(self, statements: Statements, *, name: str = "ideal") -> None:
        self.statements = statements
        self._name = name
        self._programs: dict[int, k.FilterProgram] = {}

    @property
    def name(self) -> str:
        """What tables and figures call it."""
        return self._name

    @property
    def vocabulary_size(self) -> int:
        """The number V of tokens."""
        return len(self.statements.language.vocabulary)

    def log_probabilities(
        self, tokens: UInt16[np.ndarray, "prompts length"]
    ) -> Float32[np.ndarray, "prompts length vocabulary"]:
        """Return ln M(token at t+1 | tokens up to and with t), -inf for what cannot follow.

        Where something was not enumerated any token is taken for equally likely behind what is known of it.
        """
        laws = np.empty((*tokens.shape, self.vocabulary_size), dtype=np.float32)
        self._run(tokens, None, None, laws)
        return laws

    def filtered(
        self,
        tokens: UInt16[np.ndarray, "documents length"],
        lengths: Int32[np.ndarray, " documents"],
        watch: Bool[np.ndarray, "documents bodies"] | None = None,
    ) -> Filtering:
        """Return what documents cost. Raises GrammarError where memory does not suffice."""
        return self._run(tokens, lengths, watch, np.empty((0, 0, 0), dtype=np.float32))

    def _run(
        self,
        tokens: UInt16[np.ndarray, "documents length"],
        lengths: Int32[np.ndarray, " documents"] | None,
        watch: Bool[np.ndarray, "documents bodies"] | None,
        laws: Float32[np.ndarray, "laws places vocabulary"],
    ) -> Filtering:
        shape = tokens.shape
        results = [np.zeros(shape) for _ in range(4)]
        if lengths is None:
            lengths = np.full(len(tokens), shape[1], dtype=np.int32)
        if watch is None:
            watch = np.zeros((0, 0), dtype=np.bool_)
        program = self._program(shape[1])
        out = k.Filtered(laws, *results)
        done, places = 0, _PLACES
        while True:
            memory = self._memory(places)
            done = k.filter_documents(program, memory, tokens, lengths, watch, END_TOKEN, done, out)
            if done == len(tokens):
                return Filtering(*results)
            places *= 4

    def _memory(self, places: int) -> k.Memory:
        used = self._most_rows if any(loop.distinct for loop in self.statements.loops) else 0
        size = places * (4 * (k.LOOP_FIELDS + 2) + 2 * used) * 4
        if size > _MOST_BYTES:
            raise GrammarError(
                f"More than {places // 4:,} readings of one document are possible at once: too many to weigh. Use "
                "smaller families, fewer objects, or a shorter context."
            )

        def room(fields: int, rows: int) -> k.Hypotheses:
            whole = np.empty((places, fields), dtype=np.int32)
            return k.Hypotheses(whole, np.empty(places), np.empty((places, rows), dtype=np.uint16))

        states = len(self.statements.initial)
        return k.Memory(
            room(k.TRIE_FIELDS, 0), room(k.TRIE_FIELDS, 0), room(k.LOOP_FIELDS, used), room(k.LOOP_FIELDS, used),
            np.empty((places, 2), dtype=np.int32), np.empty(places), np.empty(places),
            np.zeros(states), np.zeros(states), np.zeros(self.vocabulary_size),
            np.zeros(len(self._first_tokens["first_laws"])),
        )  # fmt: skip

    @cached_property
    def _most_rows(self) -> int:
        return int(np.diff(self.statements.body_first).max(initial=0))

    def _program(self, length: int) -> k.FilterProgram:
        """Return what the kernel runs on for documents of a length; the same for all batches."""
        if length not in self._programs:
            self._programs[length] = self._compiled(length)
        return self._programs[length]

    def _compiled(self, length: int) -> k.FilterProgram:
        own, loops = self.statements, self.statements.loops
        objects = own.language.objects
        shares = [
            at_least(loop.law, objects=objects if loop.distinct else None, most=length + 1) for loop in loops
        ]
        patterns = [remainder.pattern for remainder in own.remainders]
        return k.FilterProgram(
            tokens=own.tokens.astype(np.int32),
            row_first=own.row_first,
            row_objects=own.row_objects.astype(np.float64),
            row_weight=own.row_weight,
            body_first=own.body_first,
            body_loop=own.body_loop,
            body_next=own.body_next,
            go_on=np.array([goes_on(one) for one in shares]).reshape(len(loops), length + 1),
            distinct=np.array([loop.distinct for loop in loops], dtype=np.bool_),
            weighted=np.array([loop.weights.name != "uniform" for loop in loops], dtype=np.bool_),
            **self._first_tokens,
            **self._tries,
            initial=own.initial,
            transition=own.transition,
            remainder_state=np.array([one.state for one in own.remainders], dtype=np.int32),
            remainder_probability=np.array([one.probability for one in own.remainders], dtype=np.float64),
            pattern_first=np.cumsum([0, *map(len, patterns)], dtype=np.int64),
            pattern=np.array([token for pattern in patterns for token in pattern], dtype=np.int32),
            first_object=np.array([own.language.vocabulary.first_object], dtype=np.int32),
            objects=np.array([objects], dtype=np.int32),
        )

    @cached_property
    def _first_tokens(self) -> dict[str, np.ndarray]:
        """How rows of each body begin: which row by token, and the law of the token."""
        own = self.statements
        bodies = np.repeat(np.arange(len(own.body_loop)), np.diff(own.body_first))
        tokens = own.tokens[own.row_first[:-1]]
        shape = (len(own.body_loop), self.vocabulary_size)
        rows = np.full(shape, k.NO_ROW, dtype=np.int32)
        rows[bodies, tokens] = np.arange(len(bodies))
        counts, laws = np.zeros(shape, dtype=np.int32), np.zeros(shape)
        np.add.at(counts, (bodies, tokens), 1)
        rows[counts > 1] = k.SEVERAL_ROWS
        np.add.at(laws, (bodies, tokens), own.row_weight)
        # Rounded, since sums in another order differ in the last digit.
        _, first, law = np.unique(laws.round(14), axis=0, return_index=True, return_inverse=True)
        return {"row_of_token": rows, "first_laws": laws[first], "body_law": law.ravel().astype(np.int32)}

    @cached_property
    def _tries(self) -> dict[str, np.ndarray]:
        """The tries of first rows: of each document state, then of each body that follows another one."""
        own = self.statements
        states = len(own.initial)
        following = np.unique(own.body_next[own.body_next >= 0])
        entries = [
            *(_first_rows(own, *_starts(own, state), root=state) for state in range(states)),
            *(
                _first_rows(own, np.array([body]), np.ones(1), root=states + number)
                for number, body in enumerate(following.tolist())
            ),
        ]
        trie = _grow(own, _Entries.joined(entries), states + len(following))
        roots = np.full(len(own.body_next), -1, dtype=np.int32)
        roots[following] = states + np.arange(len(following))
        return trie | {"body_root": roots, "state_root": np.arange(states, dtype=np.int32)}


@dataclass(frozen=True, eq=False)
class _Entries:
    """Rows on their way down a trie: the node reached, which row of which body, with which probability."""

    node: Int64[np.ndarray, " entries"]
    body: Int64[np.ndarray, " entries"]
    row: Int64[np.ndarray, " entries"]
    probability: Float64[np.ndarray, " entries"]

    @staticmethod
    def joined(parts: list[_Entries]) -> _Entries:
        """Put entries one behind the other."""
        return _Entries(*(np.concatenate([getattr(part, name) for part in parts]) for name in _FIELDS))

    def __getitem__(self, chosen: np.ndarray) -> _Entries:
        return _Entries(*(getattr(self, name)[chosen] for name in _FIELDS))


_FIELDS = ("node", "body", "row", "probability")


def _starts(own: Statements, state: int) -> tuple[np.ndarray, np.ndarray]:
    part = slice(own.start_first[state], own.start_first[state + 1])
    return own.start_body[part], own.start_probability[part]


def _first_rows(own: Statements, bodies: np.ndarray, probabilities: np.ndarray, *, root: int) -> _Entries:
    counts = np.diff(own.body_first)[bodies]
    rows = np.concatenate([np.zeros(0, dtype=np.int64), *_ranges(own.body_first[bodies], counts)])
    return _Entries(
        node=np.full(len(rows), root, dtype=np.int64),
        body=np.repeat(bodies, counts).astype(np.int64),
        row=rows,
        probability=np.repeat(probabilities, counts) * own.row_weight[rows],
    )


def _ranges(firsts: np.ndarray, counts: np.ndarray) -> Iterator[np.ndarray]:
    for first, count in zip(firsts.tolist(), counts.tolist(), strict=True):
        yield np.arange(first, first + count)


def _grow(own: Statements, entries: _Entries, roots: int) -> dict[str, np.ndarray]:
    """Build all tries level by level; their roots are the first nodes."""
    lengths = np.diff(own.row_first)
    nodes, depth, base = roots, 0, len(own.language.vocabulary)
    ends: list[_Entries] = []
    children: list[tuple[np.ndarray, ...]] = []  # parent, token, child, mass
    while len(entries.node):
        over = lengths[entries.row] == depth
        ends.append(entries[over])
        entries = entries[~over]
        tokens = own.tokens[own.row_first[entries.row] + depth].astype(np.int64)
        keys, place = np.unique(entries.node * base + tokens, return_inverse=True)
        mass = np.bincount(place, weights=entries.probability, minlength=len(keys))
        numbers = nodes + np.arange(len(keys))
        children.append((keys // base, keys % base, numbers, mass))
        entries = _Entries(numbers[place], entries.body, entries.row, entries.probability)
        nodes, depth = nodes + len(keys), depth + 1
    parent, token, child, mass = (np.concatenate(column) for column in zip(*children, strict=True))
    ended = _Entries.joined(ends)
    ended = ended[np.argsort(ended.node, kind="stable")]
    every = np.arange(nodes + 1)
    return {
        "child_first": np.searchsorted(parent, every).astype(np.int64),
        "child_token": token.astype(np.int32),
        "child_node": child.astype(np.int32),
        "child_mass": mass,
        "end_first": np.searchsorted(ended.node, every).astype(np.int64),
        "end_body": ended.body.astype(np.int32),
        "end_row": ended.row.astype(np.int32),
        "end_probability": ended.probability,
    }
