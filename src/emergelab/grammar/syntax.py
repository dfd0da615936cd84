"""The abstract syntax of a compositional attribute grammar: what a `.cag` file says, as frozen data.

Terms and draws are named as in `docs/grammar.md`. Functions of a term stand in the order in which they are
applied: `g(f(x))` is ``Term("x", ("f", "g"))``. Positions are carried for messages and do not count in
comparisons.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Scope = Literal["corpus", "document"]
FunctionKind = Literal["permutation", "map", "predicate"]


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the grammar's text, counted from 1."""

    line: int
    column: int


NOWHERE = Position(0, 0)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number of the grammar that its author has named, with the value in force.

    `default` is what the text says; None where there is no text. `uses` are the places where its name stands.
    """

    name: str
    value: float
    at: Position = field(default=NOWHERE, compare=False, repr=False)
    default: float | None = None
    uses: tuple[Position, ...] = field(default=(), compare=False, repr=False)

    @property
    def replaced(self) -> float | None:
        """The value that the text gives where another one is in force, else None."""
        return None if self.default == self.value else self.default


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A family of functions on the objects, or of predicates, drawn at random for the corpus or document.

    `power` a gives the j-th function weight j^-a; 0 is uniform. `density` is the share of objects for which
    a predicate holds.
    """

    name: str
    count: int
    kind: FunctionKind
    scope: Scope = "corpus"
    power: float = 0.0
    density: float | None = None
    at: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A finite set of objects, numbered from 0, and the families of functions on it."""

    objects: int
    families: tuple[Family, ...] = ()
    at: Position = field(default=NOWHERE, compare=False, repr=False)

    def family(self, name: str) -> Family | None:
        """Return the family called `name`, or None."""
        return next((family for family in self.families if family.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOut:
    """A share of the compositions of `families` (in the order of application) kept out of training."""

    share: float
    families: tuple[str, ...]
    at: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Term:
    """`variable` with `functions` (names bound by `let`) applied to it, the innermost first."""

    variable: str
    functions: tuple[str, ...] = ()
    at: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Law:
    """How often a loop runs, or how objects are weighted.

    Loop laws: `stop` p, `power` a, `all`, `uniform` lo hi. Object laws: `uniform` (no numbers), `power` a.
    """

    name: Literal["stop", "power", "all", "uniform"]
    numbers: tuple[float, ...] = ()
    at: Position = field(default=NOWHERE, compare=False, repr=False)


UNIFORM_OBJECTS = Law("uniform")


@dataclass(frozen=True, slots=True)
class Terminal:
    """Prints the token `text`."""

    text: str
    at: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Print:
    """Prints the token of the object that `term` has as its value."""

    term: Term
    at: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A nonterminal with attribute terms: `Value(f(x))`."""

    rule: str
    arguments: tuple[Term, ...] = ()
    at: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Repeat:
    """`Statement* stop p`: independent derivations of `call`, at least one, as many as `law` says."""

    call: Call
    law: Law
    at: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Draw:
    """One `name ~ family` of a `let`."""

    name: str
    family: str
    at: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Let:
    """Draws functions, jointly and once for the derivation, and names them within `body`."""

    draws: tuple[Draw, ...]
    body: tuple[Item, ...]
    at: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Some:
    """Draws one object and names it within `body`."""

    variable: str
    body: tuple[Item, ...]
    weights: Law = UNIFORM_OBJECTS
    at: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Each:
    """A loop: the derivation of `body` is drawn once, its yield is printed once per drawn object."""

    variable: str
    law: Law
    body: tuple[Item, ...]
    distinct: bool = False
    weights: Law = UNIFORM_OBJECTS
    at: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class If:
    """Prints one of two bodies, as the predicate (a name bound by `let`) holds of the term's value."""

    predicate: str
    term: Term
    then: tuple[Item, ...]
    otherwise: tuple[Item, ...] = ()
    at: Position = field(default=NOWHERE, compare=False, repr=False)


Item: TypeAlias = "Terminal | Print | Call | Repeat | Let | Some | Each | If"


@dataclass(frozen=True, slots=True, kw_only=True)
class Production:
    """One alternative of a rule with its probability."""

    probability: float
    items: tuple[Item, ...]
    at: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A nonterminal: its parameters hold objects.

    `left_out` are productions whose probability a parameter makes 0. No derivation uses them; what they alone
    use is still of use, so that a study may go down to 0 and up to 1.
    """

    name: str
    parameters: tuple[str, ...] = ()
    productions: tuple[Production, ...] = ()
    left_out: tuple[Production, ...] = field(default=(), compare=False)
    at: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSyntax:
    """A task: `let` draws, then the row of one loop, printed directly and perhaps with its steps."""

    name: str
    draws: tuple[Draw, ...]
    variable: str
    direct: tuple[Item, ...]
    steps: tuple[Item, ...] | None = None
    splits: tuple[Literal["seen", "held_out"], ...] = ("seen",)
    at: Position = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrammarSyntax:
    """A whole grammar as written. Derivations start at the rule `Document`.

    Numbers are resolved: no other node refers to `parameters`, which therefore do not count in comparisons.
    """

    name: str
    world: World
    rules: tuple[Rule, ...]
    hold_outs: tuple[HoldOut, ...] = ()
    tasks: tuple[TaskSyntax, ...] = ()
    parameters: tuple[Parameter, ...] = field(default=(), compare=False)

    def rule(self, name: str) -> Rule | None:
        """Return the rule called `name`, or None."""
        return next((rule for rule in self.rules if rule.name == name), None)

    def task(self, name: str) -> TaskSyntax | None:
        """Return the task called `name`, or None."""
        return next((task for task in self.tasks if task.name == name), None)


START = "Document"


def walk(items: tuple[Item, ...]) -> Iterator[Item]:
    """Yield every item of `items` and of the bodies inside them, outer before inner."""
    for item in items:
        yield item
        match item:
            case Let() | Some() | Each():
                yield from walk(item.body)
            case If():
                yield from walk(item.then)
                yield from walk(item.otherwise)
            case _:
                pass
