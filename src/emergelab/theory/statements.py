"""What a document's statements can be, with their probabilities: the arrays that exact filtering runs on.

A document is a Markov chain of states; in each, one statement is printed. A statement is a chain of segments:
rows over the objects, printed once (a `some`, fixed tokens) or by a loop. Statements are enumerated by falling
probability, equal ones taken together; what is not enumerated is bounded (`Remainder`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypedDict

import numpy as np
from jaxtyping import Float64, Int32, Int64, UInt16

from emergelab.grammar.bodies import PAD, row_tables
from emergelab.grammar.language import Language
from emergelab.grammar.sites import LawName, explore
from emergelab.theory.derivations import (
    ANY_OBJECT,
    END,
    Chains,
    Derivation,
    Limits,
    Node,
    Outcome,
    Pattern,
    behind_turn,
    continuation,
)
from emergelab.theory.partials import Called, Pending
from emergelab.theory.refusals import DocumentFunctionsError, EnumerationError
from emergelab.theory.segments import Loop, Segment

__all__ = [
    "ANY_OBJECT",
    "Loop",
    "Remainder",
    "Statements",
    "enumerate_statements",
    "needs_document_functions",
]

MOST_BODIES = 20_000
MOST_TOKENS = 40_000_000
MOST_STATEMENTS = 256
TOLERANCE = 1e-15
_MOST_STATES = 2_000


@dataclass(frozen=True, eq=False)
class Remainder:
    """Statements that were not enumerated, begun in one document state.

    `probability` is that of one statement being among them, given the state. `pattern` is what every first
    row of them begins with: tokens, or ANY_OBJECT; behind it anything may follow. Among them may be what equals
    a statement that was enumerated, so that start probabilities are lower bounds where there are remainders.
    """

    state: int
    probability: float
    pattern: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Statements:
    """All statements of a language under a law.

    Body b has the rows `body_first[b]:body_first[b + 1]`, row r the tokens `row_first[r]:row_first[r + 1]`.
    Rows that are equal token by token are one: `row_objects` objects print it, and `row_weight` is its
    probability in one draw with replacement. `body_loop` says how rows come, `body_next` which body follows
    within the statement (-1: it ends), `body_table` is the digest of the row table, as `grammar.bodies` gives it.

    A document begins in a state drawn from `initial`, prints a statement, and goes on to the next state as
    `transition`, float64[states, states + 1], says; the last column is its end. Statements of state s begin with
    the bodies `start_body[start_first[s]:start_first[s + 1]]` with `start_probability`, which sum to 1 together
    with the remainders of the state.
    """

    language: Language
    law: LawName
    tokens: UInt16[np.ndarray, " tokens"]
    row_first: Int64[np.ndarray, " rows_and_one"]
    row_objects: Int32[np.ndarray, " rows"]
    row_weight: Float64[np.ndarray, " rows"]
    body_first: Int64[np.ndarray, " bodies_and_one"]
    body_loop: Int32[np.ndarray, " bodies"]
    body_next: Int32[np.ndarray, " bodies"]
    body_table: tuple[bytes, ...]
    loops: tuple[Loop, ...]
    initial: Float64[np.ndarray, " states"]
    transition: Float64[np.ndarray, "states states_and_end"]
    start_first: Int64[np.ndarray, " states_and_one"]
    start_body: Int32[np.ndarray, " starts"]
    start_probability: Float64[np.ndarray, " starts"]
    remainders: tuple[Remainder, ...]


def needs_document_functions(language: Language) -> bool:
    """Tell whether documents draw functions of their own, so that their statements are not independent."""
    return bool(_document_families(language))


def _document_families(language: Language) -> list[str]:
    """Return the families of the document that derivations draw from."""
    productions = (one for site in explore(language, "full").sites for one in site.productions)
    drawn = {draw.family for production in productions for draw in production.lowered.draws}
    families = language.syntax.world.families
    return [family.name for family in families if family.scope == "document" and family.name in drawn]


def enumerate_statements(  # noqa: PLR0913 - limits are options
    language: Language,
    law: LawName,
    *,
    most_bodies: int = MOST_BODIES,
    tolerance: float = TOLERANCE,
    most_tokens: int = MOST_TOKENS,
    most_statements: int = MOST_STATEMENTS,
) -> Statements:
    """Enumerate the statements of a language under a law, `full` or `train`, by falling probability.

    Of each document state the `most_bodies` most likely statements are kept, or those that leave a probability
    of `tolerance`; the others are in the remainders. A repetition by a `power` law outside loops is followed
    for `most_statements` turns; what comes behind is a remainder. At most `most_tokens` tokens are held in
    memory while this goes on.

    Raises DocumentFunctionsError for functions of the document, EnumerationError where memory does not suffice,
    ExactnessError where rows of a loop are no function of its object.
    """
    if needs_document_functions(language):
        raise _document_functions(language)
    derivation = Derivation(explore(language, law), Limits(most_bodies, most_tokens, tolerance))
    states = _Documents(derivation, most_statements).states()
    bodies = _Bodies(derivation.chains)
    starts = [bodies.starts(chains) for chains in states.chains]
    remainders = [
        Remainder(number, probability, pattern)
        for number, own in enumerate(states.remainders)
        for pattern, probability in own.items()
    ]
    return Statements(
        language,
        law,
        **bodies.arrays(),
        initial=states.initial,
        transition=states.transition,
        start_first=np.cumsum([0, *(len(own) for own, _ in starts)], dtype=np.int64),
        start_body=np.concatenate([own for own, _ in starts]).astype(np.int32),
        start_probability=np.concatenate([probability for _, probability in starts]),
        remainders=tuple(remainders),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _States:
    """Document states: what is printed in each, and where they lead."""

    chains: list[dict[int, float]]
    remainders: list[dict[Pattern, float]]
    initial: Float64[np.ndarray, " states"]
    transition: Float64[np.ndarray, "states states_and_end"]


@dataclass(frozen=True, slots=True)
class _State:
    """What is printed from a node on where it leads to the node `suffix`, and what is pending behind it.

    `suffix` None: where it leads is not known, for nothing of it was enumerated.
    """

    node: Node
    suffix: Node | None
    behind: Node


@dataclass(eq=False)
class _Documents:
    """Walks through all that can be pending in a document."""

    derivation: Derivation
    most_statements: int
    nodes: dict[Node, int] = field(default_factory=dict)
    waiting: list[Node] = field(default_factory=list)
    states_found: dict[_State, int] = field(default_factory=dict)
    outcomes: dict[Node, Outcome] = field(default_factory=dict)
    silent: list[tuple[int, int, float]] = field(default_factory=list)  # node, node, probability
    printing: list[tuple[int, int, float]] = field(default_factory=list)  # node, state, probability

    def states(self) -> _States:
        """Find all states and solve for the probabilities with which they follow one another."""
        first = Node((Called(0, 0, inside=False),), np.ones(self._objects, dtype=np.uint16).tobytes())
        self._number(END)
        self._number(first)
        for node in self.waiting:  # grows while it is walked along
            if node.items:
                self._explore(node)
        reached = self._reached()
        behind = [self.nodes[state.behind] for state in self.states_found]
        chains, remainders = zip(*map(self._printed, self.states_found), strict=True)
        return _States(list(chains), list(remainders), reached[self.nodes[first], :-1], reached[behind])

    @property
    def _objects(self) -> int:
        return self.derivation.objects

    def _number(self, node: Node) -> int:
        if node not in self.nodes:
            if len(self.nodes) > 2 * _MOST_STATES:
                raise _too_many_states()
            self.nodes[node] = len(self.nodes)
            self.waiting.append(node)
        return self.nodes[node]

    def _explore(self, node: Node) -> None:
        first = node.items[0]
        if isinstance(first, Called) and first.law is not None:
            self._repeat(node, first)
            return
        part, rest = self._parted(node)
        outcome = self._outcome(part)
        for suffix, chains in outcome.chains.items():
            behind = Node(suffix.items + rest.items, suffix.data + rest.data)
            self._silently(node, behind, chains.get(0, 0.0))
            mass = sum(probability for chain, probability in chains.items() if chain)
            if mass:
                mass += self._unknown(outcome) if _is_single(outcome) else 0.0
                self._print(node, _State(part, suffix, behind), mass)
        if outcome.remainders and not _is_single(outcome):
            self._print(node, _State(part, None, END), self._unknown(outcome))

    def _repeat(self, node: Node, first: Called) -> None:
        """Begin a turn of a repetition, or end it."""
        rest = self._without_first(node)
        goes_on = continuation(first) if first.done else 1.0
        if first.law is not None and first.law.name == "power" and first.done >= self.most_statements:
            self._print(node, _State(node, None, END), goes_on)
        elif goes_on:
            turn = (replace(first, law=None, done=0), behind_turn(first), *rest.items)
            self._silently(node, Node(turn, self._columns(node, first) + node.data), goes_on)
        self._silently(node, rest, 1 - goes_on)

    def _silently(self, node: Node, following: Node, probability: float) -> None:
        if probability > 0:
            self.silent.append((self.nodes[node], self._number(following), probability))

    def _print(self, node: Node, state: _State, probability: float) -> None:
        number = self.states_found.setdefault(state, len(self.states_found))
        if number >= _MOST_STATES:
            raise _too_many_states()
        self._number(state.behind)
        self.printing.append((self.nodes[node], number, probability))

    def _parted(self, node: Node) -> tuple[Node, Node]:
        """Cut a node where a repetition begins: what stands before it prints the same, whatever follows."""
        repeats = (isinstance(item, Called) and item.law is not None for item in node.items)
        count = next((place for place, is_repeat in enumerate(repeats) if is_repeat), len(node.items))
        cut = 2 * self._objects * sum(item.width for item in node.items[:count])
        return Node(node.items[:count], node.data[:cut]), Node(node.items[count:], node.data[cut:])

    def _without_first(self, node: Node) -> Node:
        return Node(node.items[1:], node.data[2 * self._objects * node.items[0].width :])

    def _columns(self, node: Node, item: Pending) -> bytes:
        return node.data[: 2 * self._objects * item.width]

    def _outcome(self, node: Node) -> Outcome:
        if node not in self.outcomes:
            self.outcomes[node] = self.derivation.outcome(node)
        return self.outcomes[node]

    def _unknown(self, outcome: Outcome) -> float:
        return sum(outcome.remainders.values())

    def _printed(self, state: _State) -> tuple[dict[int, float], dict[Pattern, float]]:
        """Return what a state prints, with probabilities given the state."""
        if state.node not in self.outcomes:
            return {}, {(): 1.0}
        outcome = self.outcomes[state.node]
        own = {} if state.suffix is None else outcome.chains[state.suffix]
        chains = {chain: probability for chain, probability in own.items() if chain}
        has_rest = state.suffix is None or _is_single(outcome)
        rest = outcome.remainders if has_rest else {}
        mass = sum(chains.values()) + sum(rest.values())
        return (
            {chain: probability / mass for chain, probability in chains.items()},
            {pattern: probability / mass for pattern, probability in rest.items()},
        )

    def _reached(self) -> Float64[np.ndarray, "nodes states_and_end"]:
        """Return the probabilities of the states that come next, and of the end, from each node."""
        moves = np.eye(len(self.nodes))
        for node, following, probability in self.silent:
            moves[node, following] -= probability
        prints = np.zeros((len(self.nodes), len(self.states_found) + 1))
        prints[self.nodes[END], -1] = 1.0
        for node, state, probability in self.printing:
            prints[node, state] += probability
        reached = np.maximum(np.linalg.solve(moves, prints), 0.0)
        return reached / reached.sum(axis=1, keepdims=True)


def _is_single(outcome: Outcome) -> bool:
    """Tell whether all that is printed leads to one node."""
    return sum(any(chain for chain in chains) for chains in outcome.chains.values()) == 1


class _Bodies:
    """Bodies: segments with the body that follows."""

    def __init__(self, chains: Chains) -> None:
        self._chains = chains
        self._numbers: dict[tuple[int, int], int] = {}

    def starts(
        self, chains: dict[int, float]
    ) -> tuple[Int32[np.ndarray, " starts"], Float64[np.ndarray, " starts"]]:
        """Return the first bodies of chains with their probabilities, the likely ones first."""
        ordered = sorted(chains.items(), key=lambda one: (-one[1], one[0]))
        bodies = [self._first_body(chain) for chain, _ in ordered]
        return np.array(bodies, dtype=np.int32), np.array([probability for _, probability in ordered])

    def _first_body(self, chain: int) -> int:
        body = -1
        for segment in self._chains.unrolled(chain):
            body = self._numbers.setdefault((segment, body), len(self._numbers))
        return body

    def arrays(self) -> _BodyArrays:
        """Return the arrays of all bodies."""
        segments = [self._chains.segments.all[segment] for segment, _ in self._numbers]
        loops = {loop: number for number, loop in enumerate(dict.fromkeys(one.loop for one in segments))}
        lengths = [np.count_nonzero(one.rows != PAD, axis=1) for one in segments]
        return {
            "tokens": _joined([one.rows[one.rows != PAD] for one in segments], np.uint16),
            "row_first": np.cumsum(_joined([np.zeros(1, dtype=np.int64), *lengths], np.int64)),
            "row_objects": _joined([one.objects for one in segments], np.int32),
            "row_weight": _joined([one.weights for one in segments], np.float64),
            "body_first": np.cumsum([0, *(len(one.rows) for one in segments)], dtype=np.int64),
            "body_loop": np.array([loops[one.loop] for one in segments], dtype=np.int32),
            "body_next": np.array([following for _, following in self._numbers], dtype=np.int32),
            "body_table": tuple(_tables(segments)),
            "loops": tuple(loops),
        }


class _BodyArrays(TypedDict):
    tokens: UInt16[np.ndarray, " tokens"]
    row_first: Int64[np.ndarray, " rows_and_one"]
    row_objects: Int32[np.ndarray, " rows"]
    row_weight: Float64[np.ndarray, " rows"]
    body_first: Int64[np.ndarray, " bodies_and_one"]
    body_loop: Int32[np.ndarray, " bodies"]
    body_next: Int32[np.ndarray, " bodies"]
    body_table: tuple[bytes, ...]
    loops: tuple[Loop, ...]


def _joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=dtype), *parts], dtype=dtype)


def _tables(segments: list[Segment]) -> list[bytes]:
    """Return the digests of the row tables of segments, those of one shape at once."""
    shapes: dict[tuple[int, int], list[int]] = {}
    for number, segment in enumerate(segments):
        shapes.setdefault((int(segment.objects.sum()), segment.rows.shape[1]), []).append(number)
    tables = [b""] * len(segments)
    for numbers in shapes.values():
        rows = [np.repeat(segments[one].rows, segments[one].objects, axis=0).T for one in numbers]
        for number, table in zip(numbers, row_tables(np.stack(rows)[:, :, None]), strict=True):
            tables[number] = table
    return tables


def _document_functions(language: Language) -> DocumentFunctionsError:
    names = ", ".join(_document_families(language))
    return DocumentFunctionsError(
        f"Every document draws functions of {names} anew. Its statements are independent given these functions "
        "only, so that they cannot be enumerated for all documents. Draw the functions once for the corpus, without "
        "`per document`."
    )


def _too_many_states() -> EnumerationError:
    return EnumerationError(
        f"Documents of the grammar go through more than {_MOST_STATES:,} states: repetitions within repetitions, "
        "counts of `uniform`, or objects that statements share. Use fewer objects, shorter repetitions, or the law "
        "`stop`, which does not count.",
        0.0,
    )
