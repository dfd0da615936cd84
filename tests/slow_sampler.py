"""The sampler's slow twin: theory 1.1 read aloud over the grammar's syntax, with no thought of speed.

Every random choice is a question to an oracle, `choose(weights)`, asked no earlier than its answer matters.
One interpreter therefore samples (the oracle draws), enumerates all documents with their probabilities (the
oracle tries every answer), and parses a given document (the oracle tries every answer that fits the text).
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from emergelab.grammar.language import Language
from emergelab.grammar.syntax import (
    Call,
    Each,
    GrammarSyntax,
    If,
    Item,
    Law,
    Let,
    Print,
    Production,
    Repeat,
    Some,
    Term,
    Terminal,
    walk,
)

Chain = tuple[int, ...]
DEEPEST = 30  # rules within rules; what is deeper is not tried
Choose = Callable[[Sequence[float]], int]


@dataclass(frozen=True)
class Token:
    """A token with its labels."""

    text: str
    role: str = "other"
    statement: int = 0
    row: int = -1
    skills: tuple[int, ...] = ()


class Full(Exception):  # noqa: N818 - a signal
    """The document has reached its cut."""


class Misfit(Exception):  # noqa: N818 - a signal
    """The document cannot be the text that it should be."""


# --- Derivations: trees whose nodes come into being when they are looked at --------------------------------


class Lazy:
    """A list that is made as far as it is read."""

    def __init__(self, source: Iterator[Node]) -> None:
        self._source = source
        self._made: list[Node] = []

    def __iter__(self) -> Iterator[Node]:
        for place in itertools.count():
            if place == len(self._made):
                try:
                    self._made.append(next(self._source))
                except StopIteration:
                    return
            yield self._made[place]


@dataclass(eq=False)
class Text:
    text: str
    role: str = "other"
    skills: tuple[int, ...] = ()


@dataclass(eq=False)
class Object:
    variable: object
    chain: Chain
    role: str = ""
    skills: tuple[int, ...] = ()


@dataclass(eq=False)
class Block:
    variable: object
    item: Some | Each
    body: Lazy
    is_scope: bool = False


@dataclass(eq=False)
class Choice:
    predicate: int
    variable: object
    chain: Chain
    then: Lazy
    otherwise: Lazy


@dataclass(eq=False)
class Turn:
    """The outermost repetition begins a turn, or ends one."""

    begins: bool


Node = Text | Object | Block | Choice | Turn


@dataclass(frozen=True)
class Names:
    """What the names of a production stand for."""

    values: dict[str, tuple[object, Chain]]
    functions: dict[str, int] = field(default_factory=dict)
    joint: dict[int, Chain] = field(default_factory=dict)  # by the identity of each `let`
    outermost: bool = False

    def value(self, term: Term) -> tuple[object, Chain]:
        variable, chain = self.values[term.variable]
        return variable, chain + tuple(self.functions[name] for name in term.functions)

    def within(self, let: Let) -> Names:
        bound = dict(zip((draw.name for draw in let.draws), self.joint[id(let)], strict=True))
        return replace(self, functions=self.functions | bound)

    def inside(self, name: str, variable: object, *, is_scope: bool) -> Names:
        values = self.values | {name: (variable, ())}
        return replace(self, values=values, outermost=self.outermost and is_scope)


class SlowSampler:
    """One document of a language, cut at `length` tokens. `law` is "full" or "train"."""

    def __init__(self, language: Language, choose: Choose, length: int, law: str = "train") -> None:
        self.syntax = language.syntax
        self.world = language.syntax.world
        self.choose = choose
        self.length = length
        self.held_out = language.held_out if law == "train" else frozenset()
        self.tables = language.tables
        self.depth = 0
        self.fresh: dict[int, dict[int, int]] = {}
        self.family_of = [family for family in self.world.families for _ in range(family.count)]
        self.tokens: list[tuple[str, Text | Object | None, int, int]] = []
        self.statement = -1
        self.allowed: dict[object, tuple[list[dict[int, Chain]], list[float]]] = {}

    def document(self, *, labelled: bool = False) -> list[Token]:
        """Return the document's tokens, with the end if it is not cut off."""
        blocks: list[Node] = []
        try:
            self.emit("<start>")
            for node in self.rule("Document", {}, outermost=True):
                blocks.append(node)
                self.show([node], {}, -1)
            self.emit("<end>")
        except Full:
            pass
        if labelled:
            Labeller(self.statement).annotate(blocks)
        tokens = [
            Token(text, node.role if node else "other", statement, row, node.skills if node else ())
            for text, node, statement, row in self.tokens
        ]
        return [replace(tokens[0], role="start"), *tokens[1:]]

    def emit(self, text: str, node: Text | Object | None = None, row: int = -1) -> None:
        if len(self.tokens) == self.length:
            raise Full
        self.tokens.append((text, node, max(self.statement, 0), row))

    # Deriving

    def rule(self, name: str, values: dict[str, tuple[object, Chain]], *, outermost: bool) -> Iterator[Node]:
        rule = self.syntax.rule(name)
        assert rule is not None
        production = rule.productions[self.choose([one.probability for one in rule.productions])]
        joint = self.draw_jointly(production, values)
        self.depth += 1
        if self.depth > DEEPEST:
            raise Misfit
        yield from self.derive(production.items, Names(values, {}, joint, outermost))
        self.depth -= 1

    def derive(self, items: Iterable[Item], names: Names) -> Iterator[Node]:
        for item in items:
            match item:
                case Terminal():
                    yield Text(item.text)
                case Print():
                    yield Object(*names.value(item.term))
                case Let():
                    yield from self.derive(item.body, names.within(item))
                case Call():
                    yield from self.call(item, names)
                case Repeat():
                    yield from self.repeat(item, names)
                case Some() | Each():
                    variable = object()
                    is_scope = isinstance(item, Some) and repeats(self.syntax, item.body, frozenset())
                    body = self.derive(item.body, names.inside(item.variable, variable, is_scope=is_scope))
                    yield Block(variable, item, Lazy(body), is_scope and names.outermost)
                case If():
                    inner = replace(names, outermost=False)
                    then, otherwise = (Lazy(self.derive(body, inner)) for body in (item.then, item.otherwise))
                    yield Choice(names.functions[item.predicate], *names.value(item.term), then, otherwise)

    def call(self, call: Call, names: Names) -> Iterator[Node]:
        rule = self.syntax.rule(call.rule)
        assert rule is not None
        values = {name: names.value(term) for name, term in zip(rule.parameters, call.arguments, strict=True)}
        yield from self.rule(call.rule, values, outermost=names.outermost)

    def repeat(self, item: Repeat, names: Names) -> Iterator[Node]:
        for done in itertools.count(1):
            if names.outermost:
                yield Turn(begins=True)
            yield from self.call(item.call, replace(names, outermost=False))
            if names.outermost:
                yield Turn(begins=False)
            if not self.goes_on(item.law, done):
                return

    def draw_jointly(
        self, production: Production, values: dict[str, tuple[object, Chain]]
    ) -> dict[int, Chain]:
        """Draw all functions of a production, on condition that nothing held out can be printed."""
        place = (id(production), tuple((name, chain) for name, (_, chain) in values.items()))
        if place not in self.allowed:
            self.allowed[place] = self.joint_draws(production, values)
        options, weights = self.allowed[place]
        return options[self.choose(weights)]

    def joint_draws(
        self, production: Production, values: dict[str, tuple[object, Chain]]
    ) -> tuple[list[dict[int, Chain]], list[float]]:
        """Return what a production may draw, with weights."""
        lets = [item for item in walk(production.items) if isinstance(item, Let)]
        ranges = [self.numbers(draw.family) for let in lets for draw in let.draws]
        options, weights = [], []
        for functions in itertools.product(*ranges):
            left = list(functions)
            joint = {id(let): tuple(left.pop(0) for _ in let.draws) for let in lets}
            names = Names(values, {}, joint)
            if not self.held_out or not any(map(self.is_held_out, self.exposed(production.items, names))):
                options.append(joint)
                weights.append(float(np.prod([self.weight(function) for function in functions])))
        if not options:
            raise ValueError("nothing is left to draw")
        return options, weights

    def exposed(self, items: Iterable[Item], names: Names) -> Iterator[Chain]:
        """Yield the chains of functions whose value these items may print, or a rule that they call."""
        for item in items:
            match item:
                case Print():
                    yield names.value(item.term)[1]
                case Let():
                    yield from self.exposed(item.body, names.within(item))
                case Some() | Each():
                    yield from self.exposed(item.body, names.inside(item.variable, None, is_scope=False))
                case If():
                    yield from self.exposed((*item.then, *item.otherwise), names)
                case Call() | Repeat():
                    call = item.call if isinstance(item, Repeat) else item
                    rule = self.syntax.rule(call.rule)
                    assert rule is not None
                    for name, term in zip(rule.parameters, call.arguments, strict=True):
                        if prints_bare(self.syntax, rule.name, name, frozenset()):
                            yield names.value(term)[1]
                case Terminal():
                    pass

    def is_held_out(self, chain: Chain) -> bool:
        if any(self.family_of[function].scope == "document" for function in chain):
            return False
        table = [self.apply(chain, x) for x in range(self.world.objects)]
        return np.array(table, dtype=np.uint16).tobytes() in self.held_out

    # Printing

    def show(self, nodes: Iterable[Node], values: dict[object, int], row: int) -> None:
        for node in nodes:
            match node:
                case Turn():
                    self.statement += node.begins
                case Text():
                    self.emit(node.text, node, row)
                case Object():
                    self.emit(f"o{self.apply(node.chain, values[node.variable]) + 1}", node, row)
                case Block():
                    self.loop(node, values, row)
                case Choice():
                    holds = self.apply((*node.chain, node.predicate), values[node.variable])
                    self.show(node.then if holds else node.otherwise, values, row)

    def loop(self, block: Block, values: dict[object, int], row: int) -> None:
        item = block.item
        if isinstance(item, Some):
            x = self.choose(self.object_weights(item.weights))
            self.show(block.body, values | {block.variable: x}, row)
            return
        distinct = item.distinct or item.law.name == "all"
        weights = self.object_weights(item.weights)
        for done in itertools.count(1):
            x = self.choose(weights)
            if distinct:
                weights[x] = 0.0
            self.show(block.body, values | {block.variable: x}, done - 1)
            if (distinct and not any(weights)) or not self.goes_on(item.law, done):
                return

    def goes_on(self, law: Law, done: int) -> bool:
        """Decide whether there is a turn after `done` of them: P(N > n | N >= n)."""
        match law.name:
            case "stop":
                more = 1 - law.numbers[0]
            case "power":
                more = (done / (done + 1)) ** law.numbers[0]
            case "all":
                more = 1.0
            case _:
                low, high = law.numbers
                more = 1.0 if done < low else (high - done) / (high - done + 1)
        return self.choose([more, 1 - more]) == 0

    def object_weights(self, law: Law) -> list[float]:
        power = law.numbers[0] if law.name == "power" else 0.0
        return [(x + 1) ** -power for x in range(self.world.objects)]

    # The world

    def numbers(self, family: str) -> list[int]:
        return [number for number, one in enumerate(self.family_of) if one.name == family]

    def weight(self, function: int) -> float:
        family = self.family_of[function]
        return (function - self.numbers(family.name)[0] + 1) ** -family.power

    def apply(self, chain: Chain, x: int) -> int:
        for function in chain:
            fresh = self.family_of[function].scope == "document"
            x = self.draw_value(function, x) if fresh else int(self.tables[function, x])
        return x

    def draw_value(self, function: int, x: int) -> int:
        family, table = self.family_of[function], self.fresh.setdefault(function, {})
        if x not in table:
            if family.kind == "predicate":
                assert family.density is not None
                table[x] = self.choose([1 - family.density, family.density])
            else:
                taken = set(table.values()) if family.kind == "permutation" else set()
                table[x] = self.choose([float(y not in taken) for y in range(self.world.objects)])
        return table[x]


def prints_bare(
    syntax: GrammarSyntax, rule_name: str, parameter: str, seen: frozenset[tuple[str, str]]
) -> bool:
    """Tell whether a rule may print its attribute as it is, itself or through the rules that it calls."""
    if (rule_name, parameter) in seen:
        return False
    seen |= {(rule_name, parameter)}
    rule = syntax.rule(rule_name)
    assert rule is not None
    for item in walk(tuple(item for production in rule.productions for item in production.items)):
        if isinstance(item, Print) and item.term == Term(parameter):
            return True
        call = item.call if isinstance(item, Repeat) else item
        if isinstance(call, Call):
            called = syntax.rule(call.rule)
            assert called is not None
            for name, term in zip(called.parameters, call.arguments, strict=True):
                if term == Term(parameter) and prints_bare(syntax, call.rule, name, seen):
                    return True
    return False


def repeats(syntax: GrammarSyntax, items: Iterable[Item], seen: frozenset[str]) -> bool:
    """Tell whether items may repeat a call outside loops and `if`."""
    for item in items:
        match item:
            case Repeat():
                return True
            case Let() | Some() if repeats(syntax, item.body, seen):
                return True
            case Call() if item.rule not in seen:
                rule = syntax.rule(item.rule)
                assert rule is not None
                inner = seen | {item.rule}
                if any(repeats(syntax, production.items, inner) for production in rule.productions):
                    return True
            case _:
                pass
    return False


# --- Labels: properties of a place in the derivation ------------------------------------------------------


class Labeller:
    """Labels a document: every statement inside a scope by itself, as if it were a row, up to the last one printed."""

    def __init__(self, last: int) -> None:
        self.left = last + 1

    def annotate(self, nodes: Iterable[Node], *, in_scope: bool = False) -> None:
        row: list[Node] | None = None
        for node in nodes:
            match node:
                case Turn(begins=True):
                    if self.left == 0:
                        return
                    self.left -= 1
                    row = [] if in_scope else None
                case Turn():
                    annotate(row or [], {}, ())
                    end_row(row or [], (False, False))
                    row = None
                case _ if row is not None:
                    row.append(node)
                case Block(is_scope=True):
                    self.annotate(node.body, in_scope=True)
                case _:
                    annotate([node], {}, ())


def annotate(nodes: Iterable[Node], seen: dict[object, list[Chain]], asked: Chain) -> None:
    """Write roles and skills into the nodes of a derivation. `asked`: skills of the `if` around."""
    for node in nodes:
        match node:
            case Text():
                node.skills = told(asked)
            case Object():
                path = nearest(seen, node.variable, node.chain)
                node.role = "argument" if path is None else "intermediate"
                node.skills = told((path or ()) + asked)
                seen.setdefault(node.variable, []).append(node.chain)
            case Block():
                annotate(node.body, seen, asked)
                end_row(node.body, (False, False))
            case Choice():
                path = nearest(seen, node.variable, node.chain) or ()
                inner = (*asked, *path, node.predicate)
                for branch in (node.then, node.otherwise):
                    annotate(branch, {variable: list(chains) for variable, chains in seen.items()}, inner)
            case Turn():
                pass


def nearest(seen: dict[object, list[Chain]], variable: object, goal: Chain) -> Chain | None:
    """Return the functions from the nearest term already printed to this one; None if there is none."""
    best: Chain | None = None
    for start in reversed(seen.get(variable, [])):
        shared = len([0 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(start, goal))])  # noqa: B905
        path = start[shared:][::-1] + goal[shared:]
        if best is None or len(path) < len(best):
            best = path
    return best


def told(skills: Chain) -> Chain:
    """Return what a label can hold of these skills: four, the last one -1 if there are more."""
    return skills if len(skills) <= 4 else (*skills[:3], -1)


def end_row(nodes: Iterable[Node], later: tuple[bool, bool]) -> tuple[bool, bool]:
    """Find answers and separators of a row, last node first; `later`: an object, an answer may follow."""
    for node in reversed(list(nodes)):
        an_object, an_answer = later
        match node:
            case Text():
                node.role = "other" if an_object else "separator"
            case Object():
                if node.role == "intermediate" and not an_answer:
                    node.role = "answer"
                    an_answer = True
                later = (True, an_answer)
            case Block():
                later = (an_object or has_object(node.body), an_answer)
            case Choice():
                sides = [end_row(side, later) for side in (node.then, node.otherwise)]
                later = (sides[0][0] or sides[1][0], sides[0][1] or sides[1][1])
            case Turn():
                pass
    return later


def has_object(nodes: Iterable[Node]) -> bool:
    return any(
        isinstance(node, Object)
        or (isinstance(node, Block) and has_object(node.body))
        or (isinstance(node, Choice) and (has_object(node.then) or has_object(node.otherwise)))
        for node in nodes
    )


# --- Three oracles ----------------------------------------------------------------------------------------


def sample(language: Language, generator: np.random.Generator, length: int, law: str = "train") -> list[str]:
    """Draw one document."""
    return samples(language, generator, length, 1, law)[0]


def samples(
    language: Language, generator: np.random.Generator, length: int, count: int, law: str = "train"
) -> list[list[str]]:
    """Draw documents, remembering what may be drawn where."""

    def choose(weights: Sequence[float]) -> int:
        return int(generator.choice(len(weights), p=np.array(weights) / sum(weights)))

    allowed, documents = {}, []
    for _ in range(count):
        sampler = SlowSampler(language, choose, length, law)
        sampler.allowed = allowed
        documents.append([token.text for token in sampler.document()])
    return documents


class Trail:
    """An oracle that follows a list of answers, then always gives the last answer that is possible."""

    def __init__(self, answers: list[int]) -> None:
        self.answers = answers
        self.options: list[list[int]] = []
        self.probability = 1.0

    def choose(self, weights: Sequence[float]) -> int:
        step = len(self.options)
        options = [option for option, weight in enumerate(weights) if weight > 0]
        self.options.append(options)
        if step == len(self.answers):
            self.answers.append(options[-1])
        self.probability *= weights[self.answers[step]] / sum(weights)
        return self.answers[step]

    def next(self) -> list[int] | None:
        """Return the next list of answers in order, None after the last."""
        answers = self.answers[: len(self.options)]
        while answers:
            options = self.options[len(answers) - 1]
            place = options.index(answers.pop())
            if place > 0:
                return [*answers, options[place - 1]]
        return None


def enumerate_documents(
    language: Language, length: int, law: str = "train", *, most: int | None = None
) -> dict[tuple[str, ...], float]:
    """Return the probability of every document, cut at `length`.

    Raises TimeoutError after `most` derivations, if given.
    """
    found: dict[tuple[str, ...], float] = {}
    answers: list[int] | None = []
    tried = 0
    while answers is not None:
        if tried == most:
            raise TimeoutError
        trail = Trail(answers)
        tokens = SlowSampler(language, trail.choose, length, law).document()
        text = tuple(token.text for token in tokens)
        found[text] = found.get(text, 0.0) + trail.probability
        answers = trail.next()
        tried += 1
    return found


class _Reader(SlowSampler):
    """Prints nothing but the given text."""

    def __init__(
        self, language: Language, choose: Choose, text: Sequence[str], length: int, law: str
    ) -> None:
        super().__init__(language, choose, length, law)
        self.text = text

    def emit(self, text: str, node: Text | Object | None = None, row: int = -1) -> None:
        if len(self.tokens) < self.length and text != self.text[len(self.tokens)]:
            raise Misfit
        super().emit(text, node, row)
        if len(self.tokens) == self.length:
            raise Full


def readings(
    language: Language, text: Sequence[str], length: int, law: str = "train", *, most: int = 100_000
) -> Iterator[list[Token]]:
    """Yield the labelled tokens of every derivation of the document `text`, cut at `length`.

    Raises TimeoutError after trying `most` derivations.
    """
    answers: list[int] | None = []
    tried, allowed = 0, {}
    while answers is not None:
        trail = Trail(answers)
        with contextlib.suppress(Misfit):
            reader = _Reader(language, trail.choose, text, length, law)
            reader.allowed = allowed
            yield reader.document(labelled=True)
        answers = trail.next()
        tried += 1
        if tried > most:
            raise TimeoutError
