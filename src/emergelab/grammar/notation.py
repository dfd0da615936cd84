"""The notation of `.cag` files: text to syntax (`parse`) and back (`render`).

The notation itself is `notation.lark`; `docs/grammar.md` is its reference. Parsing takes time linear in the
text, runs no code from it and ends in a `GrammarSyntax` or in one `GrammarError`. What the names and numbers
of a grammar must obey beyond the notation is the business of `checks`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any, Literal, TypeAlias

import lark
from lark.exceptions import VisitError
from lark.lexer import Token

from emergelab.errors import GrammarError
from emergelab.grammar import syntax
from emergelab.grammar.notation_faults import (
    MAX_NAME_LENGTH,
    SyntaxFaultError,
    bracket_depths,
    position_of,
    quoted,
    unexpected_character,
    unexpected_token,
)
from emergelab.grammar.notation_numbers import Number, NumberBuilder, ParameterTable, number_text
from emergelab.grammar.syntax import Draw, GrammarSyntax, Item, Law, Position, Term

MAX_CHARACTERS = 200_000
MAX_NESTING = 40

_Children: TypeAlias = "list[Any]"
_Tree: TypeAlias = "lark.Tree[Any]"
_Modifier: TypeAlias = "tuple[str, float, Position]"


def parse(
    text: str,
    *,
    name: str,
    parameters: Mapping[str, float] | None = None,
    source: str = "<grammar>",
) -> GrammarSyntax:
    """Return the syntax of the grammar `name` that `text` says; every node carries its position.

    `parameters` are values that replace those that the text gives to its parameters.

    Raises GrammarError, with `source`, line, column and the line itself, where `text` is not of the notation,
    and where `parameters` holds what is no parameter of the grammar or no number.
    """
    text = text.removeprefix("\ufeff")
    try:
        _refuse_size(text)
        tree = _parse_tree(text)
        return _build(name, tree, ParameterTable(text, parameters or {}))
    except SyntaxFaultError as fault:
        raise GrammarError(fault.message(source, text)) from None


def _refuse_size(text: str) -> None:
    if len(text) > MAX_CHARACTERS:
        remedy = "Split the work into several grammars."
        limit = f"at most {MAX_CHARACTERS:,}"
        raise SyntaxFaultError(Position(1, 1), f"{len(text):,} characters", limit, remedy)
    for depth, offset in bracket_depths(text):
        if depth > MAX_NESTING:
            remedy = "Give the inner part a rule of its own."
            limit = f"at most {MAX_NESTING}"
            raise SyntaxFaultError(position_of(text, offset), f"{depth} open brackets", limit, remedy)


# --- Parsing -------------------------------------------------------------------------------------------


@functools.cache
def _parser() -> lark.Lark:
    notation = resources.files("emergelab.grammar").joinpath("notation.lark").read_text(encoding="utf-8")
    return lark.Lark(
        notation,
        start="grammar",
        parser="lalr",
        lexer="basic",
        maybe_placeholders=False,
        propagate_positions=True,
    )


@functools.cache
def _words() -> dict[str, str]:
    """Return the fixed words and signs of the notation by the names of their terminals."""
    terminals = _parser().terminals
    return {terminal.name: terminal.pattern.value for terminal in terminals if terminal.pattern.type == "str"}


def _parse_tree(text: str) -> _Tree:
    try:
        return _parser().parse(text)
    except lark.UnexpectedToken as error:
        raise unexpected_token(text, error, _words()) from None
    except lark.UnexpectedCharacters as error:
        raise unexpected_character(text, Position(error.line, error.column)) from None


def _build(name: str, tree: _Tree, table: ParameterTable) -> GrammarSyntax:
    """Return the syntax that the tree of a text says: first its parameters, then what uses them."""
    builder = _Builder(table)
    sections: list[_Tree] = [child for child in tree.children if isinstance(child, lark.Tree)]
    declarations = [section for section in sections if section.data == "parameter"]
    try:
        table.announce([_declared_name(declaration) for declaration in declarations])
        for declaration in declarations:
            builder.transform(declaration)
        built = [builder.transform(section) for section in sections if section.data != "parameter"]
    except VisitError as error:
        if isinstance(error.orig_exc, SyntaxFaultError):
            raise error.orig_exc from None
        raise
    return _assemble(name, built, table.parameters())


def _declared_name(declaration: _Tree) -> Token:
    name: Any = declaration.children[1]
    return name


class _Builder(NumberBuilder):
    """Builds the syntax from the tree of the text: one method for each rule of `notation.lark`."""

    def parameter(self, children: _Children) -> None:
        _, name, number = children
        self.table.declare(name, number)

    def world(self, children: _Children) -> syntax.World:
        at = _at(children[0])
        families = tuple(child for child in children if isinstance(child, syntax.Family))
        objects: list[tuple[int, Position]] = [child for child in children if isinstance(child, tuple)]
        if not objects:
            raise SyntaxFaultError(
                at, "a world without objects", "a line 'objects N' in it", "Add 'objects 12'."
            )
        if len(objects) > 1:
            raise SyntaxFaultError(
                objects[1][1], "a second 'objects'", "one in a world", "Delete one of them."
            )
        return syntax.World(objects=objects[0][0], families=families, at=at)

    def objects(self, children: _Children) -> tuple[int, Position]:
        return children[1].whole(), _at(children[0])

    def functions(self, children: _Children) -> syntax.Family:
        _, name, count, kind, *modifiers = children
        return _family(name, count, kind, modifiers)

    def predicates(self, children: _Children) -> syntax.Family:
        _, name, count, *modifiers = children
        return _family(name, count, "predicate", modifiers)

    def permutation(self, _children: _Children) -> Literal["permutation"]:
        return "permutation"

    def map(self, _children: _Children) -> Literal["map"]:
        return "map"

    def power(self, children: _Children) -> Law:
        return _law(children)

    def stop(self, children: _Children) -> Law:
        return _law(children)

    def all(self, children: _Children) -> Law:
        return _law(children)

    def uniform(self, children: _Children) -> Law:
        return _law(children)

    def density(self, children: _Children) -> _Modifier:
        return "density", children[1].real(), _at(children[0])

    def per_document(self, children: _Children) -> _Modifier:
        return "per document", 1.0, _at(children[0])

    def distinct(self, children: _Children) -> _Modifier:
        return "distinct", 1.0, _at(children[0])

    def hold_out(self, children: _Children) -> syntax.HoldOut:
        word, share, *families = children
        names = tuple(_name(family) for family in families)
        return syntax.HoldOut(share=share.real(), families=names, at=_at(word))

    def rule(self, children: _Children) -> syntax.Rule:
        word, name, attributes, *productions = children
        made = [_production(production, productions, _at(word)) for production in productions]
        never = [_is_left_out(production) for production in productions]
        if all(never):
            never = [False] * len(made)
        return syntax.Rule(
            name=_name(name),
            parameters=attributes,
            productions=tuple(one for one, left_out in zip(made, never, strict=True) if not left_out),
            left_out=tuple(one for one, left_out in zip(made, never, strict=True) if left_out),
            at=_at(name),
        )

    def attributes(self, children: _Children) -> tuple[str, ...]:
        return tuple(_name(child) for child in children)

    def production(self, children: _Children) -> _Children:
        return children

    def task(self, children: _Children) -> syntax.TaskSyntax:
        _, name, draws, _, variable, direct, steps, splits = children
        return syntax.TaskSyntax(
            name=_name(name),
            draws=draws,
            variable=_name(variable),
            direct=direct,
            steps=steps,
            splits=splits,
            at=_at(name),
        )

    def draws(self, children: _Children) -> tuple[Draw, ...]:
        return tuple(child for child in children if isinstance(child, Draw))

    def steps(self, children: _Children) -> tuple[Item, ...] | None:
        return children[0] if children else None

    def splits(self, children: _Children) -> tuple[str, ...]:
        return tuple(children) or ("seen",)

    def seen(self, _children: _Children) -> str:
        return "seen"

    def held_out(self, _children: _Children) -> str:
        return "held_out"

    def terminal(self, children: _Children) -> syntax.Terminal:
        return syntax.Terminal(_string(children[0]), at=_at(children[0]))

    def print(self, children: _Children) -> syntax.Print:
        return syntax.Print(children[0], at=children[0].at)

    def term(self, children: _Children) -> Term:
        name = _name(children[0])
        if len(children) == 1:
            return Term(name, at=_at(children[0]))
        inner: Term = children[1]
        return Term(inner.variable, (*inner.functions, name), at=_at(children[0]))

    def call(self, children: _Children) -> syntax.Call:
        name, *arguments = children
        return syntax.Call(_name(name), tuple(arguments), at=_at(name))

    def repeat(self, children: _Children) -> syntax.Repeat:
        call, law = children
        return syntax.Repeat(call, law, at=call.at)

    def let(self, children: _Children) -> syntax.Let:
        word, *draws, body = children
        return syntax.Let(tuple(draws), body, at=_at(word))

    def draw(self, children: _Children) -> Draw:
        name, family = children
        return Draw(_name(name), _name(family), at=_at(name))

    def some(self, children: _Children) -> syntax.Some:
        word, variable, weights, body = children
        return syntax.Some(_name(variable), body, weights, at=_at(word))

    def each(self, children: _Children) -> syntax.Each:
        word, variable, (weights, distinct), law, body = children
        return syntax.Each(_name(variable), law, body, distinct=distinct, weights=weights, at=_at(word))

    def if_(self, children: _Children) -> syntax.If:
        word, predicate, term, *bodies = children
        return syntax.If(_name(predicate), term, *bodies, at=_at(word))

    def body(self, children: _Children) -> tuple[Item, ...]:
        return tuple(children)

    def weights(self, children: _Children) -> Law:
        return children[0] if children else syntax.UNIFORM_OBJECTS

    def pool(self, children: _Children) -> tuple[Law, bool]:
        weights = [child for child in children if isinstance(child, Law)]
        words: list[_Modifier] = [child for child in children if not isinstance(child, Law)]
        _refuse_twice([*words, *(("power", 0.0, law.at) for law in weights)])
        return weights[0] if weights else syntax.UNIFORM_OBJECTS, bool(words)


def _at(token: Token) -> Position:
    return Position(token.line or 0, token.column or 0)


def _name(token: Token) -> str:
    if len(token) > MAX_NAME_LENGTH:
        raise SyntaxFaultError(
            _at(token),
            f"a name of {len(token)} characters",
            f"at most {MAX_NAME_LENGTH}",
            "Choose a shorter one.",
        )
    return str(token)


def _string(token: Token) -> str:
    """Read a token between double quotes: strings and escapes are those of JSON."""
    try:
        text: str = json.loads(token)
        text.encode()
    except (json.JSONDecodeError, UnicodeEncodeError):
        remedy = 'The escapes are those of JSON: \\" \\\\ \\n \\t \\u00e9.'
        raise SyntaxFaultError(_at(token), quoted(token), "a token in double quotes", remedy) from None
    return text


def _law(children: _Children) -> Law:
    word, *numbers = children
    name: Any = str(word)
    return Law(name, tuple(number.real() for number in numbers), at=_at(word))


def _family(name: Token, count: Number, kind: syntax.FunctionKind, parts: _Children) -> syntax.Family:
    modifiers = [(part.name, part.numbers[0], part.at) if isinstance(part, Law) else part for part in parts]
    _refuse_twice(modifiers)
    values = {word: value for word, value, _ in modifiers}
    return syntax.Family(
        name=_name(name),
        count=count.whole(),
        kind=kind,
        scope="document" if "per document" in values else "corpus",
        power=values.get("power", 0.0),
        density=values.get("density"),
        at=_at(name),
    )


def _refuse_twice(modifiers: list[_Modifier]) -> None:
    seen: set[str] = set()
    for word, _, at in sorted(modifiers, key=lambda modifier: (modifier[2].line, modifier[2].column)):
        if word in seen:
            raise SyntaxFaultError(at, f"a second '{word}'", "one", "Delete one of them.")
        seen.add(word)


def _production(parts: _Children, productions: list[_Children], rule_at: Position) -> syntax.Production:
    if parts and isinstance(parts[0], Number):
        return syntax.Production(probability=parts[0].real(), items=tuple(parts[1:]), at=parts[0].at)
    at = parts[0].at if parts else rule_at
    if len(productions) > 1:
        raise SyntaxFaultError(
            at,
            "a production without its probability",
            "one for each of several productions",
            "Write '0.5:' in front of it; the probabilities of a rule sum to 1.",
        )
    return syntax.Production(probability=1.0, items=tuple(parts), at=at)


def _is_left_out(parts: _Children) -> bool:
    """Whether a parameter makes the probability of a production 0; a 0 that is written is a mistake."""
    return bool(parts) and isinstance(parts[0], Number) and parts[0].exact == 0 and bool(parts[0].named)


def _assemble(name: str, sections: list[Any], parameters: tuple[syntax.Parameter, ...]) -> GrammarSyntax:
    worlds = [section for section in sections if isinstance(section, syntax.World)]
    if not worlds:
        remedy = "Add 'world { objects 12 }', with the families of functions in it."
        raise SyntaxFaultError(Position(1, 1), "a grammar without a world", "one", remedy)
    if len(worlds) > 1:
        raise SyntaxFaultError(worlds[1].at, "a second world", "one in a grammar", "Make one of the two.")
    return GrammarSyntax(
        name=name,
        world=worlds[0],
        rules=tuple(section for section in sections if isinstance(section, syntax.Rule)),
        hold_outs=tuple(section for section in sections if isinstance(section, syntax.HoldOut)),
        tasks=tuple(section for section in sections if isinstance(section, syntax.TaskSyntax)),
        parameters=parameters,
    )


# --- Rendering -------------------------------------------------------------------------------------------


def render(grammar: GrammarSyntax) -> str:
    """Return the canonical text of a grammar: `parse` of it gives an equal grammar.

    It holds numbers and no parameters, so that two grammars with the same numbers have the same text.
    """
    blocks = [
        render_world(grammar.world),
        "\n".join(render_hold_out(hold_out) for hold_out in grammar.hold_outs),
        "\n".join(render_rule(rule) for rule in grammar.rules),
        "\n\n".join(render_task(task) for task in grammar.tasks),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def render_world(world: syntax.World) -> str:
    """Return the text of a world, one line for the objects and one for each family."""
    lines = [f"objects {world.objects}", *(render_family(family) for family in world.families)]
    return "\n".join(["world {", *(f"  {line}" for line in lines), "}"])


def render_family(family: syntax.Family) -> str:
    """Return the text of a family: `family f 12 permutations`."""
    if family.kind == "predicate":
        words = ["predicate", family.name, str(family.count)]
    else:
        words = ["family", family.name, str(family.count), family.kind + "s" * (family.count != 1)]
    if family.density is not None:
        words.append(f"density {number_text(family.density)}")
    if family.power != 0:
        words.append(f"power {number_text(family.power)}")
    if family.scope == "document":
        words.append("per document")
    return " ".join(words)


def render_hold_out(hold_out: syntax.HoldOut) -> str:
    """Return the text of a hold-out: `hold out 0.25 of f * f`."""
    return f"hold out {number_text(hold_out.share)} of {' * '.join(hold_out.families)}"


def render_rule(rule: syntax.Rule) -> str:
    """Return the text of a rule, each production on its line."""
    head = f"rule {rule.name}{_bracketed(rule.parameters)} "
    alone = len(rule.productions) == 1 and rule.productions[0].probability == 1
    texts = [render_production(production, alone=alone) for production in rule.productions]
    return "\n".join(
        f"{head}= {text}" if i == 0 else f"{' ' * len(head)}| {text}" for i, text in enumerate(texts)
    )


def render_production(production: syntax.Production, *, alone: bool = False) -> str:
    """Return the text of a production, without its probability where it stands `alone`."""
    probability = [] if alone else [f"{number_text(production.probability)}:"]
    return " ".join([*probability, *map(render_item, production.items)])


def render_task(task: syntax.TaskSyntax) -> str:
    """Return the text of a task, its draws, rows and splits on lines of their own."""
    lines = [render_draws(task.draws)] if task.draws else []
    lines.append(f"each {task.variable} {_braced(task.direct)}")
    if task.steps is not None:
        lines.append(f"steps {_braced(task.steps)}")
    if task.splits != ("seen",):
        lines.append(f"splits {', '.join(split.replace('_', ' ') for split in task.splits)}")
    head = f"task {task.name} = "
    return f"\n{' ' * len(head)}".join([head + lines[0], *lines[1:]])


def render_draws(draws: tuple[Draw, ...]) -> str:
    """Return the text of draws: `let a ~ f, b ~ f`."""
    return f"let {', '.join(f'{draw.name} ~ {draw.family}' for draw in draws)}"


def render_item(item: Item) -> str:
    """Return the text of one item, bodies inside it included, on one line."""
    match item:
        case syntax.Terminal():
            text = json.dumps(item.text, ensure_ascii=False)
        case syntax.Print():
            text = render_term(item.term)
        case syntax.Call():
            text = f"{item.rule}{_bracketed(tuple(render_term(term) for term in item.arguments))}"
        case syntax.Repeat():
            text = f"{render_item(item.call)}* {render_law(item.law)}"
        case syntax.Let():
            text = f"{render_draws(item.draws)} {_braced(item.body)}"
        case syntax.Some():
            text = f"some {item.variable} ~ objects{_weights(item.weights)} {_braced(item.body)}"
        case syntax.Each():
            text = f"{render_loop_head(item)} {_braced(item.body)}"
        case syntax.If():
            text = _render_if(item)
    return text


def render_loop_head(loop: syntax.Each) -> str:
    """Return the text of a loop up to its body: `each x ~ objects distinct, stop 0.1`."""
    distinct = " distinct" if loop.distinct else ""
    return f"each {loop.variable} ~ objects{distinct}{_weights(loop.weights)}, {render_law(loop.law)}"


def render_term(term: Term) -> str:
    """Return the text of a term, the function applied last in front: `b(a(x))`."""
    return "(".join([*reversed(term.functions), term.variable]) + ")" * len(term.functions)


def render_law(law: Law) -> str:
    """Return the text of a law: `stop 0.1`."""
    return " ".join([law.name, *map(number_text, law.numbers)])


def _render_if(item: syntax.If) -> str:
    otherwise = f" else {_braced(item.otherwise)}" if item.otherwise else ""
    return f"if {item.predicate}({render_term(item.term)}) {_braced(item.then)}{otherwise}"


def _weights(law: Law) -> str:
    return "" if law == syntax.UNIFORM_OBJECTS else f" {render_law(law)}"


def _bracketed(parts: tuple[str, ...]) -> str:
    return f"({', '.join(parts)})" if parts else ""


def _braced(body: tuple[Item, ...]) -> str:
    return " ".join(["{", *map(render_item, body), "}"])
