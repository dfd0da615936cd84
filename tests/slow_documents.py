"""All documents that enumerated statements can print, one by one, in plain Python."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from emergelab.grammar.language import END_TOKEN, START_TOKEN
from emergelab.theory.statements import Loop, Statements

Tokens = tuple[int, ...]


def documents_of(statements: Statements, length: int) -> tuple[dict[tuple[str, ...], float], float]:
    """Return the probability of every document, cut at `length`, and that of all that were not enumerated."""
    printer = _Printer(statements, length)
    for state, probability in enumerate(statements.initial):
        printer.state((START_TOKEN,), state, float(probability))
    names = statements.language.vocabulary.texts
    texts: dict[tuple[str, ...], float] = defaultdict(float)
    for tokens, probability in printer.found.items():
        texts[tuple(names[token] for token in tokens)] += probability
    return dict(texts), printer.unknown


class _Printer:
    def __init__(self, statements: Statements, length: int) -> None:
        self.all = statements
        self.length = length
        self.found: dict[Tokens, float] = defaultdict(float)
        self.unknown = 0.0

    def state(self, tokens: Tokens, state: int, probability: float) -> None:
        if self.is_over(tokens, probability):
            return
        for remainder in self.all.remainders:
            if remainder.state == state:
                self.unknown += probability * remainder.probability
        for start in range(self.all.start_first[state], self.all.start_first[state + 1]):
            share = probability * float(self.all.start_probability[start])
            self.body(tokens, state, int(self.all.start_body[start]), share)

    def is_over(self, tokens: Tokens, probability: float) -> bool:
        if probability == 0 or len(tokens) < self.length:
            return probability == 0
        self.found[tokens[: self.length]] += probability
        return True

    def body(self, tokens: Tokens, state: int, body: int, probability: float) -> None:
        if body < 0:
            self.behind(tokens, state, probability)
            return
        loop = self.all.loops[self.all.body_loop[body]]
        self.loop(tokens, state, body, probability, loop, ())

    def behind(self, tokens: Tokens, state: int, probability: float) -> None:
        if self.is_over(tokens, probability):
            return
        *following, end = self.all.transition[state].tolist()
        if end:
            self.found[(*tokens, END_TOKEN)] += probability * end
        for other, share in enumerate(following):
            self.state(tokens, other, probability * share)

    def loop(  # noqa: PLR0913, PLR0917 - where the printer stands
        self, tokens: Tokens, state: int, body: int, probability: float, loop: Loop, rows: tuple[int, ...]
    ) -> None:
        if self.is_over(tokens, probability):
            return
        more = goes_on(loop, len(rows), self.all.language.objects)
        if more < 1:
            self.body(tokens, state, int(self.all.body_next[body]), probability * (1 - more))
        if more > 0:
            for row, share in self.rows(body, loop, rows):
                printed = self.all.tokens[self.all.row_first[row] : self.all.row_first[row + 1]].tolist()
                assert printed
                longer = (*tokens, *printed)
                self.loop(longer, state, body, probability * more * share, loop, (*rows, row))

    def rows(self, body: int, loop: Loop, used: tuple[int, ...]) -> Iterator[tuple[int, float]]:
        rows = range(self.all.body_first[body], self.all.body_first[body + 1])
        for row in rows:
            objects, weight = int(self.all.row_objects[row]), float(self.all.row_weight[row])
            if not loop.distinct:
                yield row, weight
            elif loop.weights.name == "uniform":
                left = objects - used.count(row)
                yield row, left / (self.all.language.objects - len(used))
            elif row not in used:
                yield row, weight / (1 - sum(float(self.all.row_weight[other]) for other in used))


def goes_on(loop: Loop, done: int, objects: int) -> float:
    """Return the probability of a row more."""
    if done == 0:
        return 1.0
    if loop.law is None or (loop.distinct and done == objects):
        return 0.0
    match loop.law.name:
        case "stop":
            return 1 - loop.law.numbers[0]
        case "power":
            return (done / (done + 1)) ** loop.law.numbers[0]
        case "all":
            return 1.0
        case "uniform":
            low, high = loop.law.numbers
            return 1.0 if done < low else (high - done) / (high - done + 1)
