"""All derivations of a rule, one by one, with what they print: nothing is merged on the way, nothing is an array.

Trees of derivations are those of `slow_sampler`; what is new is that loops are not run. A loop is the rows that
it prints for each object.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from emergelab.grammar.language import Language
from emergelab.grammar.syntax import Each
from emergelab.theory.statements import Statements
from slow_sampler import Block, Choice, Lazy, Misfit, Node, Object, SlowSampler, Text, Trail

Row = tuple[str, ...]
Rows = frozenset[tuple[Row, int, float]]  # with the number of objects that print them, and their weight
Chain = tuple[tuple[object, Rows], ...]


@dataclass
class _Part:
    """A segment that is being printed: for each object the tokens so far."""

    weights: list[float]
    rows: list[Row]
    loop: object = None
    is_some: bool = False


@dataclass
class _Printer:
    """Prints a tree for all objects of its blocks at once."""

    sampler: SlowSampler
    objects: int
    parts: list[_Part] = field(default_factory=list)

    def fresh(self, weights: Sequence[float], loop: object = None) -> _Part:
        shares = [weight / sum(weights) for weight in weights]
        self.parts.append(_Part(shares, [()] * self.objects, loop))
        return self.parts[-1]

    def last(self) -> _Part:
        if not self.parts or self.parts[-1].loop is not None:
            return self.fresh([1.0] * self.objects)
        return self.parts[-1]

    def outside(self, nodes: Iterable[Node], values: dict[object, int]) -> None:
        for node in nodes:
            match node:
                case Block():
                    self.block(node, values)
                case Choice():
                    holds = self.sampler.apply((*node.chain, node.predicate), values[node.variable])
                    self.outside(node.then if holds else node.otherwise, values)
                case _:
                    part = self.last()
                    part.rows = [row + self.row([node], values) for row in part.rows]

    def block(self, block: Block, values: dict[object, int]) -> None:
        item = block.item
        weights = self.sampler.object_weights(item.weights)
        if holds_blocks(block.body):
            x = self.sampler.choose(weights)
            self.outside(block.body, values | {block.variable: x})
            return
        if isinstance(item, Each):
            distinct = item.distinct or item.law.name == "all"
            part = self.fresh(weights, (item.law, distinct, item.weights))
        else:
            part = self.last()
            if part.is_some:
                part = self.fresh([1.0] * self.objects)
            part.is_some = True
            part.weights = [weight / sum(weights) for weight in weights]
        part.rows = [
            row + self.row(block.body, values | {block.variable: x}) for x, row in enumerate(part.rows)
        ]

    def row(self, nodes: Iterable[Node], values: dict[object, int]) -> Row:
        tokens: Row = ()
        for node in nodes:
            match node:
                case Text():
                    tokens += (node.text,)
                case Object():
                    tokens += (f"o{self.sampler.apply(node.chain, values[node.variable]) + 1}",)
                case Choice():
                    holds = self.sampler.apply((*node.chain, node.predicate), values[node.variable])
                    tokens += self.row(node.then if holds else node.otherwise, values)
                case Block():
                    raise Misfit
                case _:
                    pass
        return tokens

    def chain(self) -> Chain:
        return tuple((part.loop, rows_of(part)) for part in self.parts if any(part.rows))


def holds_blocks(body: Lazy) -> bool:
    return any(
        isinstance(node, Block)
        or (isinstance(node, Choice) and (holds_blocks(node.then) or holds_blocks(node.otherwise)))
        for node in body
    )


def rows_of(part: _Part) -> Rows:
    objects = Counter(part.rows)
    weights: dict[Row, float] = defaultdict(float)
    for row, weight in zip(part.rows, part.weights, strict=True):
        weights[row] += weight
    return frozenset((row, objects[row], round(weights[row], 9)) for row in objects)


def derivations(
    language: Language, rule: str, law: str = "train", *, least: float = 0.0
) -> tuple[dict[Chain, float], float]:
    """Return the probabilities of the chains of segments that a rule prints, and of what was not looked at.

    What is less likely than `least` is not looked at.
    """
    found: dict[Chain, float] = defaultdict(float)
    missed, allowed = 0.0, {}
    answers: list[int] | None = []
    while answers is not None:
        trail = Trail(answers)
        sampler = SlowSampler(language, _likely(trail, least), 10**9, law)
        sampler.allowed = allowed
        printer = _Printer(sampler, language.objects)
        try:
            printer.outside(sampler.rule(rule, {}, outermost=False), {})
            found[printer.chain()] += trail.probability
        except Misfit:
            missed += trail.probability
        answers = trail.next()
    return dict(found), missed


def _likely(trail: Trail, least: float) -> Callable[[Sequence[float]], int]:
    def choose(weights: Sequence[float]) -> int:
        if trail.probability < least:
            raise Misfit
        return trail.choose(weights)

    return choose


def chains_of(statements: Statements, state: int) -> dict[Chain, float]:
    """Return the probabilities of the chains of segments of a document state."""
    part = slice(int(statements.start_first[state]), int(statements.start_first[state + 1]))
    starts = zip(statements.start_body[part], statements.start_probability[part], strict=True)
    found: dict[Chain, float] = defaultdict(float)
    for body, probability in starts:
        found[_chain_of(statements, int(body))] += float(probability)
    return dict(found)


def _chain_of(statements: Statements, body: int) -> Chain:
    if body < 0:
        return ()
    loop = statements.loops[statements.body_loop[body]]
    key = None if loop.law is None else (loop.law, loop.distinct, loop.weights)
    rows = range(statements.body_first[body], statements.body_first[body + 1])
    texts = statements.language.vocabulary.texts
    content = frozenset(
        (
            tuple(texts[token] for token in statements.tokens[slice(*statements.row_first[row : row + 2])]),
            int(statements.row_objects[row]),
            round(float(statements.row_weight[row]), 9),
        )
        for row in rows
    )
    return ((key, content), *_chain_of(statements, int(statements.body_next[body])))
