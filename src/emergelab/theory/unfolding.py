"""Derivations that unfold as far as the document tells: the states of a reader, and their next steps.

A state is a place in a derivation of which no more has been decided than the tokens need: productions, functions,
objects and numbers of rows are drawn when the reading comes to them. The body of a loop is code. Where a call
stands in it the production that is chosen takes its place, where a function stands that nothing has asked
for yet the one that is drawn does, so that the next row finds what the first one has decided.

Functions of the document are known as far as `theory.revealed` says. A *coarse* state has forgotten them:
whatever they print may be any object, each counted with probability 1. Coarse states are few, and their weights
bound from above what the states weigh that they stand for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float64

from emergelab.grammar.language import END_TOKEN, Language, family_weights
from emergelab.grammar.lowering import (
    LoweredBlock,
    LoweredCall,
    LoweredIf,
    LoweredItem,
    LoweredPrint,
    LoweredRepeat,
    LoweredTerm,
    LoweredTerminal,
)
from emergelab.grammar.sites import LawName, SiteProduction, draw_probabilities, explore, function_choices
from emergelab.grammar.syntax import Law
from emergelab.theory.laws import at_least, goes_on
from emergelab.theory.revealed import NOTHING, Revealed, Unknowns, canonical
from emergelab.theory.segments import object_weights

# Code is made of tuples, for states are compared and hashed: the kind first, then
TERMINAL = 0  # token
PRINT = 1  # variable, chain of functions
CALL = 2  # site, arguments
REPEAT = 3  # site, arguments, law: the first derivation is to come
AGAIN = 4  # site, arguments, law, derivations so far: whether there is another one
BLOCK = 5  # variable, body, object law, loop law or None, whether without replacement
ASK = 6  # variable, chain that ends with a predicate, then, otherwise
VALUE = 7  # PRINT or ASK, value so far, functions applied: one that is being worked out
UNSEEN = 8  # PRINT, label, argument: the value of a function where nothing is known of it

# A function is a number: of the corpus's its own; of the document's, behind these, its label; one that is not
# drawn yet is negative, and tells its family and who else is to be the same.
_MOST_REMEMBERED = 1 << 16
FORGOTTEN = 1 << 40
ANYTHING = -(1 << 40)
"""The value of a forgotten function."""

Code: TypeAlias = tuple[Any, ...]
Chain: TypeAlias = tuple[int, ...]
Step: TypeAlias = tuple[float, "State"]


class Frame(NamedTuple):
    """Code with what of it is done; `opener` is the BLOCK or ASK of `behind` that it is the body of.

    What is done is kept inside loops only, where it comes again. `turns` counts the rows of a loop, where
    it matters how many there were.
    """

    left: Code
    done: Code
    kept: bool
    opener: Code
    turns: int
    behind: Frame | None


class State(NamedTuple):
    """A reader's place. `values` are the objects of the blocks around, None where not drawn yet.

    `used`, bits, are those that loops without replacement have drawn. `revealed` None makes the state coarse;
    `frame` None is the end of the document.
    """

    frame: Frame | None
    values: tuple[int | None, ...] = ()
    used: tuple[int, ...] = ()
    revealed: Revealed | None = NOTHING


@dataclass(frozen=True)
class _Choice:
    """A way to draw a production's functions: a number for each that is drawn now, else None."""

    probability: float
    functions: tuple[int | None, ...]
    joint: int


class Machine:
    """Unfolds the derivations of a language under a law."""

    def __init__(self, language: Language, law: LawName) -> None:
        self._sites = explore(language, law)
        self._language = language
        self._families = language.syntax.world.families
        self._firsts = [language.functions(family.name).start for family in self._families]
        self._weights = [family_weights(family).tolist() for family in self._families]
        self._own = [family.scope == "corpus" for family in self._families]
        self._labels = len(language.tables)
        self._tables: list[list[int]] = language.tables.tolist()
        self._objects = language.objects
        self._first_object = language.vocabulary.first_object
        self._unknowns = Unknowns(self._families, language.objects)
        self._steps: dict[int, Callable[[State, Frame, Code], list[Step] | None]] = {
            TERMINAL: lambda _state, _frame, _op: None,
            PRINT: self._print,
            CALL: self._call,
            REPEAT: self._repeat,
            AGAIN: self._again,
            BLOCK: self._open,
            ASK: self._ask,
            UNSEEN: lambda _state, _frame, _op: None,
        }
        self._choices = functools.cache(self._find_choices)
        self._expanded = functools.lru_cache(maxsize=_MOST_REMEMBERED)(self._expand)
        forget = functools.partial(_mapped, change=self._forgotten)
        self._coarse_frame = functools.lru_cache(maxsize=_MOST_REMEMBERED)(
            functools.partial(_frames, change=forget)
        )

    @property
    def start(self) -> State:
        """Behind the start token."""
        return State(Frame(((CALL, 0, ()),), (), False, (), 0, None))  # noqa: FBT003 - a field

    # --- Steps that print nothing ---------------------------------------------------------------------------

    def steps(self, state: State, token: int | None = None) -> list[Step] | None:
        """Return what the state can turn into without printing, None where the next thing is a token.

        Where `token` is given some of what cannot print it may be left out.
        """
        frame = state.frame
        if frame is None or (not frame.left and frame.behind is None):
            return None
        if not frame.left:
            return self._close(state, frame)
        op = frame.left[0]
        if op[0] == VALUE:
            return self._apply(state, frame, op, token)
        return self._steps[op[0]](state, frame, op)

    def _call(self, state: State, frame: Frame, op: Code) -> list[Step]:
        _, site, arguments = op
        found: list[Step] = []
        for number, production in enumerate(self._sites.sites[site].productions):
            for choice in self._choices(site, number):
                added = self._added(state, (site, number), choice, arguments)
                weight = production.probability * choice.probability
                found.append((weight, _with_code(state, frame, (*added, *frame.left[1:]))))
        return found

    def _repeat(self, state: State, frame: Frame, op: Code) -> list[Step]:
        _, site, arguments, law = op
        left = ((CALL, site, arguments), (AGAIN, site, arguments, law, 1), *frame.left[1:])
        return [(1.0, _with_code(state, frame, left))]

    def _again(self, state: State, frame: Frame, op: Code) -> list[Step]:
        _, site, arguments, law, done = op
        more = _more(law, None, done)
        following = (AGAIN, site, arguments, law, done if law.name == "stop" else done + 1)
        rest = frame.left[1:]
        further = _with_code(state, frame, ((CALL, site, arguments), following, *rest))
        return _possible([(more, further), (1 - more, _with_code(state, frame, rest))])

    def _open(self, state: State, frame: Frame, op: Code) -> list[Step]:
        _, _, body, _, law, _ = op
        inner = Frame(body, (), frame.kept or law is not None, op, 1, frame)
        return [(1.0, State(inner, (*state.values, None), (*state.used, 0), state.revealed))]

    def _close(self, state: State, frame: Frame) -> list[Step]:
        op, behind = frame.opener, frame.behind
        assert behind is not None  # noqa: S101 - the document's own frame is closed by its end token
        if op[0] == ASK:
            return [(1.0, state._replace(frame=_passed(behind, _with_branch(op, frame))))]
        _, _, _, objects, law, distinct = op
        if distinct and objects.name != "uniform" and state.values[-1] is None:
            return self._some_object(state, len(state.values) - 1)
        more = 0.0 if law is None else _more(law, self._objects if distinct else None, frame.turns)
        turns = frame.turns if law is None or (law.name == "stop" and not distinct) else frame.turns + 1
        again = frame._replace(left=frame.done, done=(), turns=turns)
        over = State(
            _passed(behind, (*op[:2], frame.done, *op[3:])),
            state.values[:-1],
            state.used[:-1],
            state.revealed,
        )
        further = state._replace(frame=again, values=(*state.values[:-1], None))
        return _possible([(more, further), (1 - more, over)])

    # --- Terms ----------------------------------------------------------------------------------------------

    def _print(self, state: State, frame: Frame, op: Code) -> list[Step] | None:
        _, variable, chain = op
        if state.values[variable] is None and not chain:
            return None
        return self._begin(state, frame, op)

    def _ask(self, state: State, frame: Frame, op: Code) -> list[Step]:
        return self._begin(state, frame, op)

    def _begin(self, state: State, frame: Frame, op: Code) -> list[Step]:
        value = state.values[op[1]]
        if value is None:
            return self._some_object(state, op[1])
        return [(1.0, _with_code(state, frame, ((VALUE, op, value, 0), *frame.left[1:])))]

    def _apply(self, state: State, frame: Frame, op: Code, token: int | None) -> list[Step] | None:
        _, term, value, done = op
        chain: Chain = term[2]
        if done == len(chain):
            return self._branch(state, frame, term, value) if term[0] == ASK else None
        function = chain[done]
        asked = term[0] == ASK and done == len(chain) - 1
        if value == ANYTHING or function == FORGOTTEN:
            outcomes = (0, 1) if asked else (ANYTHING,)
            return [(1.0, _with_value(state, frame, op, outcome)) for outcome in outcomes]
        if function < 0:
            return self._draw(state, function)
        if function < self._labels:
            return self._look_up(state, frame, op, function)
        aim = None if token is None or done < len(chain) - 1 or asked else token - self._first_object
        return self._apply_own(state, frame, op, function - self._labels, aim)

    def _draw(self, state: State, function: int) -> list[Step]:
        """Decide which function of its family one is."""
        family = (-1 - function) % len(self._families)
        if self._own[family]:
            first = self._firsts[family]
            weights = self._weights[family]
            return [(weight, _renamed(state, function, first + n)) for n, weight in enumerate(weights)]
        if state.revealed is None:
            return [(1.0, _renamed(state, function, FORGOTTEN))]
        return [
            (weight, _renamed(state._replace(revealed=revealed), function, self._labels + label))
            for weight, revealed, label in self._unknowns.drawn(state.revealed, family)
        ]

    def _look_up(self, state: State, frame: Frame, op: Code, function: int) -> list[Step]:
        """Apply a function of the corpus; an unknown has to be some object now."""
        value = op[2]
        if value >= 0:
            return [(1.0, _with_value(state, frame, op, self._tables[function][value]))]
        revealed = _known(state)
        found: list[Step] = []
        for meant in range(self._objects):
            probability, after = self._unknowns.named(revealed, value, meant)
            told = state._replace(revealed=after)
            found.append((probability, _with_value(told, frame, op, self._tables[function][meant])))
        return _possible(found)

    def _apply_own(self, state: State, frame: Frame, op: Code, label: int, aim: int | None) -> list[Step]:
        _, term, value, done = op
        named = term[0] == PRINT and done == len(term[2]) - 1
        found: list[Step] = []
        for outcome in self._unknowns.applied(_known(state), label, value, named=named, aim=aim):
            told = state._replace(revealed=outcome.revealed)
            if outcome.value is None:
                unseen = _with_code(told, frame, ((UNSEEN, term, label, value), *frame.left[1:]))
                found.append((outcome.probability, unseen))
            else:
                found.append((outcome.probability, _with_value(told, frame, op, outcome.value)))
        return found

    def _branch(self, state: State, frame: Frame, term: Code, holds: int) -> list[Step]:
        """Go into the branch of an `if`; where it will come again, so that its code is kept."""
        body = term[3] if holds else term[4]
        if not frame.kept:
            return [(1.0, _with_code(state, frame, (*body, *frame.left[1:])))]
        behind = frame._replace(left=(term, *frame.left[1:]))
        inner = Frame(body, (), True, (*term, holds), 0, behind)  # noqa: FBT003 - a field
        return [(1.0, state._replace(frame=inner))]

    def _some_object(self, state: State, variable: int) -> list[Step]:
        law = self._object_law(state, variable)
        return [
            (weight, self._with_object(state, variable, x)) for x, weight in enumerate(law.tolist()) if weight
        ]

    def _object_law(self, state: State, variable: int) -> Float64[np.ndarray, " objects"]:
        """Return the law of an object that has not been drawn yet."""
        objects = _block(state, variable)[3]
        return _object_law(objects, self._objects, state.used[variable])

    def _with_object(self, state: State, variable: int, x: int) -> State:
        values, used = list(state.values), list(state.used)
        values[variable] = x
        if _block(state, variable)[5]:
            used[variable] |= 1 << x
        return state._replace(values=tuple(values), used=tuple(used))

    # --- Tokens ---------------------------------------------------------------------------------------------

    def read(self, state: State, token: int) -> Step:
        """Return the probability that the state prints `token` now, and the state behind it."""
        frame = state.frame
        if frame is None or not frame.left:
            return float(token == END_TOKEN), state._replace(frame=None)
        op = frame.left[0]
        if op[0] == TERMINAL:
            return float(token == op[1]), state._replace(frame=_passed(frame, op))
        x = token - self._first_object
        if x < 0:
            return 0.0, state
        return self._read_object(state, frame, op, x)

    def _read_object(self, state: State, frame: Frame, op: Code, x: int) -> Step:
        if op[0] == PRINT:
            probability = float(self._object_law(state, op[1])[x])
            drawn = self._with_object(state, op[1], x)
            return probability, drawn._replace(frame=_passed(frame, op))
        behind = state._replace(frame=_passed(frame, op[1]))
        if op[0] == UNSEEN:
            probability, revealed = self._unknowns.shown(_known(state), op[2], op[3], x)
            return probability, behind._replace(revealed=revealed)
        value = op[2]
        if value >= 0 or value == ANYTHING:
            return float(value in {x, ANYTHING}), behind
        probability, revealed = self._unknowns.named(_known(state), value, x)
        return probability, behind._replace(revealed=revealed)

    def law(self, state: State) -> Iterator[tuple[int, float]]:
        """Yield the tokens that the state can print now with their probabilities."""
        frame = state.frame
        if frame is None or not frame.left:
            yield END_TOKEN, 1.0
            return
        op = frame.left[0]
        if op[0] == TERMINAL:
            yield op[1], 1.0
        elif op[0] == VALUE and op[2] >= 0:
            yield self._first_object + op[2], 1.0
        else:
            for x in range(self._objects):
                probability, _ = self._read_object(state, frame, op, x)
                if probability:
                    yield self._first_object + x, probability

    # --- States that are the same ---------------------------------------------------------------------------

    def is_meeting_point(self, state: State) -> bool:
        """Tell whether a state has put behind it how it came to be: outside loops, before a call."""
        frame = state.frame
        return frame is not None and not frame.kept and bool(frame.left) and frame.left[0][0] in {CALL, AGAIN}

    def canonical(self, state: State) -> State:
        """Return the state with what is revealed in its canonical order, where no code refers to it."""
        if not state.revealed or any(self._labels <= one for one in _functions(state.frame)):
            return state
        return state._replace(revealed=canonical(state.revealed))

    def coarse(self, state: State) -> State:
        """Return the state without what is known of the functions of the document."""
        frame = state.frame
        if frame is not None and frame.left and frame.left[0][0] in {VALUE, UNSEEN}:
            frame = frame._replace(left=(frame.left[0][1], *frame.left[1:]))
        return state._replace(frame=self._coarse_frame(frame), revealed=None)

    def _forgotten(self, chain: Chain) -> Chain:
        forgets = any(
            one >= self._labels or (one < 0 and not self._own[(-1 - one) % len(self._families)])
            for one in chain
        )
        return (FORGOTTEN,) if forgets else chain

    # --- Productions become code ----------------------------------------------------------------------------

    def _added(
        self, state: State, production: tuple[int, int], choice: _Choice, arguments: tuple[Code, ...]
    ) -> Code:
        """Return a production's code where it is called."""
        free = 0
        if None in choice.functions:
            families = len(self._families)
            free = max(((-1 - one) // families + 1 for one in _functions(state.frame) if one < 0), default=0)
        code = self._expanded(production, choice, arguments, len(state.values), free)
        return _mapped(code, self._forgotten) if state.revealed is None else code

    def _find_choices(self, site: int, number: int) -> list[_Choice]:
        """Return how functions are drawn: later, each by itself, or now where hold-outs make them depend."""
        production = self._sites.sites[site].productions[number]
        draws = production.lowered.draws
        if production.allowed is None and all(len(sites) == 1 for sites in production.calls):
            return [_Choice(1.0, (None,) * len(draws), 0)]
        probabilities = draw_probabilities(self._language, production)
        functions = function_choices(self._language, production)
        own = [self._language.family(draw.family).scope == "corpus" for draw in draws]
        found: dict[tuple[int | None, ...], _Choice] = {}
        for joint in np.flatnonzero(probabilities).tolist():
            drawn = tuple(
                one if now else None for one, now in zip(functions[joint].tolist(), own, strict=True)
            )
            before = found[drawn].probability if drawn in found else 0.0
            found[drawn] = _Choice(before + float(probabilities[joint]), drawn, joint)
        return list(found.values())

    def _expand(
        self, place: tuple[int, int], choice: _Choice, arguments: tuple[Code, ...], depth: int, free: int
    ) -> Code:
        production = self._sites.sites[place[0]].productions[place[1]]
        names = [family.name for family in self._families]
        functions = tuple(
            -1 - (names.index(draw.family) + len(names) * (free + n)) if one is None else one
            for n, (draw, one) in enumerate(zip(production.lowered.draws, choice.functions, strict=True))
        )
        values = dict(enumerate(arguments))
        writer = _Writer(self._language, production, functions, choice.joint)
        return writer.code(production.lowered.items, values, depth)


@dataclass(frozen=True)
class _Writer:
    """Writes the code of a production whose functions are known by number."""

    language: Language
    production: SiteProduction
    functions: tuple[int, ...]
    joint: int

    def code(self, items: tuple[LoweredItem, ...], values: dict[int, Code], depth: int) -> Code:
        """Return the code of items; `values` are terms, by local variable, `depth` is the next variable."""
        return tuple(self._item(item, values, depth) for item in items)

    def _item(self, item: LoweredItem, values: dict[int, Code], depth: int) -> Code:
        match item:
            case LoweredTerminal():
                return (TERMINAL, self.language.vocabulary.terminal(item.text))
            case LoweredPrint():
                return (PRINT, *self._term(item.term, values))
            case LoweredCall():
                return (CALL, *self._called(item, values))
            case LoweredRepeat():
                return (REPEAT, *self._called(item.call, values), item.law)
            case LoweredBlock():
                body = self.code(item.body, values | {item.local: (depth, ())}, depth + 1)
                law = item.law
                distinct = law is not None and (item.distinct or law.name == "all")
                return (BLOCK, depth, body, item.weights, law, distinct)
            case LoweredIf():
                variable, chain = self._term(item.term, values)
                asked = (*chain, self.functions[item.slot])
                branches = (self.code(body, values, depth) for body in (item.then, item.otherwise))
                return (ASK, variable, asked, *branches)

    def _term(self, term: LoweredTerm, values: dict[int, Code]) -> Code:
        variable, chain = values[term.local]
        return variable, (*chain, *(self.functions[slot] for slot in term.slots))

    def _called(self, call: LoweredCall, values: dict[int, Code]) -> Code:
        sites = self.production.calls[call.number]
        site = int(sites[self.joint if len(sites) > 1 else 0])
        return site, tuple(self._term(term, values) for term in call.arguments)


def _possible(steps: list[Step]) -> list[Step]:
    return [step for step in steps if step[0] > 0]


def _known(state: State) -> Revealed:
    if state.revealed is None:
        raise AssertionError("a coarse state asked for a function of the document")
    return state.revealed


def _with_code(state: State, frame: Frame, left: Code) -> State:
    return state._replace(frame=frame._replace(left=left))


def _with_value(state: State, frame: Frame, op: Code, value: int) -> State:
    return _with_code(state, frame, ((VALUE, op[1], value, op[3] + 1), *frame.left[1:]))


def _passed(frame: Frame, op: Code) -> Frame:
    """Return the frame behind its next operation, which is kept as `op`."""
    return frame._replace(left=frame.left[1:], done=(*frame.done, op) if frame.kept else ())


def _with_branch(opener: Code, frame: Frame) -> Code:
    """Return an ASK with the code that one of its branches has become."""
    *op, holds = opener
    op[3 if holds else 4] = frame.done
    return tuple(op)


def _block(state: State, variable: int) -> Code:
    """Return the block that draws a variable."""
    frame = state.frame
    while frame is not None and not (
        frame.opener and frame.opener[0] == BLOCK and frame.opener[1] == variable
    ):
        frame = frame.behind
    if frame is None:
        raise AssertionError("a variable without a block")
    return frame.opener


def _renamed(state: State, function: int, drawn: int) -> State:
    """Put a function that has been drawn in all its places."""
    return state._replace(frame=_renamed_frame(state.frame, function, drawn))


@functools.lru_cache(maxsize=_MOST_REMEMBERED)
def _renamed_frame(frame: Frame | None, function: int, drawn: int) -> Frame | None:
    def change(chain: Chain) -> Chain:
        if function not in chain:
            return chain
        if drawn == FORGOTTEN:
            return (FORGOTTEN,)
        return tuple(drawn if one == function else one for one in chain)

    return _frames(frame, functools.partial(_mapped, change=change))


def _frames(frame: Frame | None, change: Callable[[Code], Code]) -> Frame | None:
    """Return the frames with their code changed."""
    if frame is None:
        return None
    opener = change((frame.opener,))[0] if frame.opener else ()
    return Frame(
        change(frame.left), change(frame.done), frame.kept, opener, frame.turns, _frames(frame.behind, change)
    )


def _mapped(code: Code, change: Callable[[Chain], Chain]) -> Code:
    """Return code with all its chains of functions changed."""
    return tuple(_mapped_one(op, change) for op in code)


def _mapped_one(op: Code, change: Callable[[Chain], Chain]) -> Code:
    kind = op[0]
    if kind == PRINT:
        return (PRINT, op[1], change(op[2]))
    if kind in {CALL, REPEAT, AGAIN}:
        arguments = tuple((variable, change(chain)) for variable, chain in op[2])
        return (kind, op[1], arguments, *op[3:])
    if kind == BLOCK:
        return (BLOCK, op[1], _mapped(op[2], change), *op[3:])
    if kind == ASK:
        branches = (_mapped(body, change) for body in op[3:5])
        return (ASK, op[1], change(op[2]), *branches, *op[5:])
    if kind in {VALUE, UNSEEN}:
        return (kind, _mapped_one(op[1], change), *op[2:])
    return op


@functools.lru_cache(maxsize=_MOST_REMEMBERED)
def _functions(frame: Frame | None) -> frozenset[int]:
    """Return the functions that code speaks of."""
    if frame is None:
        return frozenset()
    return _functions(frame.behind).union(_functions_in(frame.left), _functions_in(frame.done))


def _functions_in(code: Code) -> Iterator[int]:
    for op in code:
        kind = op[0]
        if kind == PRINT:
            yield from op[2]
        elif kind in {CALL, REPEAT, AGAIN}:
            for _, chain in op[2]:
                yield from chain
        elif kind == BLOCK:
            yield from _functions_in(op[2])
        elif kind == ASK:
            yield from op[2]
            yield from _functions_in(op[3])
            yield from _functions_in(op[4])
        elif kind in {VALUE, UNSEEN}:
            yield from _functions_in((op[1],))


@functools.lru_cache(maxsize=_MOST_REMEMBERED)
def _more(law: Law, objects: int | None, done: int) -> float:
    """Return the probability of another turn behind `done` of them; without replacement of `objects`."""
    return float(goes_on(at_least(law, objects=objects, most=done + 1))[done])


@functools.lru_cache(maxsize=_MOST_REMEMBERED)
def _object_law(law: Law, objects: int, used: int) -> Float64[np.ndarray, " objects"]:
    """Return the law of the next object, given those used."""
    weights = object_weights(law, objects)
    weights[[x for x in range(objects) if used >> x & 1]] = 0.0
    return weights / weights.sum()
