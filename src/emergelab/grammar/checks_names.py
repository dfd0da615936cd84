"""Checks of names: every name is bound once, known where it stands, used as what it is, and of use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from emergelab.grammar import syntax
from emergelab.grammar.problems import Problem, problem, suggestion
from emergelab.grammar.syntax import Draw, GrammarSyntax, Item, Position, Rule, TaskSyntax, Term

_Kind = Literal["object", "function", "predicate", "unknown"]


@dataclass(slots=True)
class _Binding:
    """A name within its scope: what it stands for, where it was bound, whether anything uses it."""

    name: str
    kind: _Kind
    at: Position
    used: bool = False


_Scope: TypeAlias = "Mapping[str, _Binding]"


def check_names(grammar: GrammarSyntax) -> list[Problem]:
    """Return the problems with names: unknown, bound twice, used wrongly, or of no use."""
    checker = _NameChecker(grammar)
    for rule in grammar.rules:
        checker.rule(rule)
    for task in grammar.tasks:
        checker.task(task)
    return [
        *_check_start(grammar),
        *_check_twice(grammar),
        *_check_parameters(grammar),
        *checker.problems,
        *_check_families_used(grammar),
        *_check_reachable(grammar),
    ]


def reachable_rules(grammar: GrammarSyntax) -> set[str]:
    """Return the names of the rules that derivations from `Document` can use."""
    reached: set[str] = set()
    waiting = [syntax.START]
    while waiting:
        rule = grammar.rule(waiting.pop())
        if rule is not None and rule.name not in reached:
            reached.add(rule.name)
            waiting.extend(call.rule for call in calls_in(written_items(rule)))
    return reached


def rule_items(rule: Rule) -> Iterator[Item]:
    """Yield every item of a rule's productions, outer before inner."""
    for production in rule.productions:
        yield from syntax.walk(production.items)


def written_items(rule: Rule) -> Iterator[Item]:
    """Yield every item of a rule as `rule_items` does, and then those of productions left out."""
    yield from rule_items(rule)
    for production in rule.left_out:
        yield from syntax.walk(production.items)


def calls_in(items: Iterable[Item]) -> Iterator[syntax.Call]:
    """Yield every call among the items, those that are repeated included."""
    for item in items:
        if isinstance(item, syntax.Call):
            yield item
        elif isinstance(item, syntax.Repeat):
            yield item.call


class _NameChecker:
    """Walks over rules and tasks with the names in scope, and collects problems."""

    def __init__(self, grammar: GrammarSyntax) -> None:
        self.grammar = grammar
        self.parameters = {parameter.name for parameter in grammar.parameters}
        self.problems: list[Problem] = []

    def rule(self, rule: Rule) -> None:
        scope = self.bind({}, [(name, "object", rule.at) for name in rule.parameters])
        for production in (*rule.productions, *rule.left_out):
            self.items(production.items, scope)
        for name in dict.fromkeys(rule.parameters):
            self.require_use(scope[name], f"the attribute '{name}' of '{rule.name}'")

    def task(self, task: TaskSyntax) -> None:
        scope = self.bind_draws({}, task.draws)
        scope = self.bind(scope, [(task.variable, "object", task.at)])
        for form in (task.direct, task.steps or ()):
            self.items(form, scope)
        for draw in task.draws:
            self.require_use(scope[draw.name], f"the draw '{draw.name}' of task '{task.name}'")

    def items(self, items: Iterable[Item], scope: _Scope) -> None:
        for item in items:
            self.item(item, scope)

    def item(self, item: Item, scope: _Scope) -> None:
        match item:
            case syntax.Terminal():
                pass
            case syntax.Print():
                self.term(item.term, scope)
            case syntax.Call():
                self.call(item, scope)
            case syntax.Repeat():
                self.call(item.call, scope)
            case syntax.Let():
                self.let(item, scope)
            case syntax.Some():
                inner = self.bind(scope, [(item.variable, "object", item.at)])
                self.items(item.body, inner)
                self.require_use(inner[item.variable], f"the object '{item.variable}' of 'some'")
            case syntax.Each():
                self.items(item.body, self.bind(scope, [(item.variable, "object", item.at)]))
            case syntax.If():
                self.predicate(item, scope)
                self.term(item.term, scope)
                self.items((*item.then, *item.otherwise), scope)

    def let(self, item: syntax.Let, scope: _Scope) -> None:
        inner = self.bind_draws(scope, item.draws)
        self.items(item.body, inner)
        for draw in item.draws:
            self.require_use(inner[draw.name], f"the draw '{draw.name}' of 'let'")

    def bind_draws(self, scope: _Scope, draws: Iterable[Draw]) -> _Scope:
        return self.bind(scope, [(draw.name, self.kind_of(draw), draw.at) for draw in draws])

    def kind_of(self, draw: Draw) -> _Kind:
        family = self.grammar.world.family(draw.family)
        if family is None:
            known = [family.name for family in self.grammar.world.families]
            self.report(
                draw.at,
                f"'{draw.name}' is drawn from '{draw.family}'.",
                "'let' draws from a family of the world.",
                suggestion(draw.family, known) or f"Add 'family {draw.family} 12 permutations' to the world.",
            )
            return "unknown"
        return "predicate" if family.kind == "predicate" else "function"

    def bind(self, scope: _Scope, names: Iterable[tuple[str, _Kind, Position]]) -> _Scope:
        inner = dict(scope)
        for name, kind, at in names:
            if name in inner:
                self.report(
                    at,
                    f"The name '{name}' is bound again.",
                    "A name stands for one thing wherever it can be seen.",
                    "Choose another name for one of the two.",
                )
            elif self.grammar.world.family(name) is not None:
                self.report(
                    at,
                    f"The name '{name}' is that of a family.",
                    "What is drawn, an object or a function, has a name of its own.",
                    f"Choose another name, as in 'let a ~ {name}'.",
                )
            elif name in self.parameters:
                self.report(
                    at,
                    f"The name '{name}' is that of a parameter.",
                    "A parameter is a number wherever it stands.",
                    "Choose another name for one of the two.",
                )
            inner[name] = _Binding(name, kind, at)
        return inner

    def call(self, call: syntax.Call, scope: _Scope) -> None:
        for argument in call.arguments:
            self.term(argument, scope)
        rule = self.grammar.rule(call.rule)
        if rule is None:
            known = [rule.name for rule in self.grammar.rules]
            self.report(
                call.at,
                f"There is no rule '{call.rule}'.",
                "A nonterminal has a rule.",
                suggestion(call.rule, known),
            )
        elif len(call.arguments) != len(rule.parameters):
            head = f"{rule.name}({', '.join(rule.parameters)})" if rule.parameters else rule.name
            self.report(
                call.at,
                f"'{call.rule}' has {_count(len(call.arguments), 'attribute')} here.",
                f"Its rule in line {rule.at.line} takes {len(rule.parameters)}.",
                f"Write it like '{head}'.",
            )

    def term(self, term: Term, scope: _Scope) -> None:
        for name in reversed(term.functions):
            self.function(name, term.at, scope)
        binding = self.known(term.variable, term.at, scope, "object")
        if binding is not None and binding.kind in {"function", "predicate"}:
            remedy = f"Apply it: '{term.variable}(x)'." if binding.kind == "function" else "Ask it with 'if'."
            self.report(
                term.at, f"'{term.variable}' is a {binding.kind}.", "A term begins with an object.", remedy
            )

    def function(self, name: str, at: Position, scope: _Scope) -> None:
        binding = self.known(name, at, scope, "function")
        if binding is None or binding.kind in {"function", "unknown"}:
            return
        if binding.kind == "predicate":
            rule = "A predicate has no value to print or to pass on."
            remedy = f"Ask it with 'if {name}(x) {{ … }}'."
        else:
            rule = "Only a function is applied."
            remedy = "Draw one with 'let'."
        self.report(at, f"'{name}' is {_article(binding.kind)}, applied like a function.", rule, remedy)

    def predicate(self, item: syntax.If, scope: _Scope) -> None:
        binding = self.known(item.predicate, item.at, scope, "predicate")
        if binding is not None and binding.kind in {"function", "object"}:
            self.report(
                item.at,
                f"'{item.predicate}' is {_article(binding.kind)}.",
                "'if' asks a predicate.",
                f"Draw one with 'let', from a family like 'predicate {item.predicate} 3 density 0.5'.",
            )

    def known(self, name: str, at: Position, scope: _Scope, wanted: _Kind) -> _Binding | None:
        binding = scope.get(name)
        if binding is not None:
            binding.used = True
            return binding
        if self.grammar.world.family(name) is not None:
            rule, remedy = (
                "A family is drawn from, not used itself.",
                f"Write 'let a ~ {name} {{ … }}' around it.",
            )
        elif name in self.parameters:
            rule = "A parameter stands in the places of numbers only: probabilities, laws, counts."
            remedy = "Name an object here."
        else:
            rule = f"Here stands {_article(wanted)} bound by {_BINDERS[wanted]}."
            remedy = suggestion(name, (other.name for other in scope.values() if other.kind == wanted))
        self.report(at, f"'{name}' is not bound.", rule, remedy)
        return None

    def require_use(self, binding: _Binding, words: str) -> None:
        if not binding.used:
            self.report(
                binding.at,
                f"Nothing uses {words}.",
                "What is drawn or passed on has a use.",
                "Use it or delete it.",
            )

    def report(self, at: Position, found: str, rule: str, remedy: str) -> None:
        self.problems.append(problem(at, found, rule, remedy))


_BINDERS: Mapping[_Kind, str] = {
    "object": "'each', 'some' or the rule's brackets",
    "function": "'let'",
    "predicate": "'let'",
    "unknown": "'let'",
}


def _article(kind: str) -> str:
    return f"an {kind}" if kind == "object" else f"a {kind}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _check_start(grammar: GrammarSyntax) -> list[Problem]:
    start = grammar.rule(syntax.START)
    if start is None:
        at = grammar.rules[0].at if grammar.rules else grammar.world.at
        remedy = "Add 'rule Document = Statement* stop 0.1'."
        return [problem(at, "There is no rule 'Document'.", "Every derivation starts at it.", remedy)]
    if start.parameters:
        found = f"'Document' has {_count(len(start.parameters), 'attribute')}."
        rule = "A derivation starts at it, with no object to pass on."
        return [problem(start.at, found, rule, "Delete the brackets; draw objects with 'some' or 'each'.")]
    return []


def _check_twice(grammar: GrammarSyntax) -> list[Problem]:
    found: list[Problem] = []
    for kind, named in (
        ("family", grammar.world.families),
        ("rule", grammar.rules),
        ("task", grammar.tasks),
    ):
        first: dict[str, Position] = {}
        for one in named:
            if one.name in first:
                text = f"There is a second {kind} '{one.name}'."
                rule = f"The first one stands in line {first[one.name].line}; names are given once."
                remedy = (
                    "Join the productions of the two with '|'." if kind == "rule" else "Rename one of them."
                )
                found.append(problem(one.at, text, rule, remedy))
            first.setdefault(one.name, one.at)
    return found


def _check_parameters(grammar: GrammarSyntax) -> list[Problem]:
    """Families, unlike rules, are named like parameters; the names of tasks are seen by studies only."""
    named = {parameter.name: parameter for parameter in grammar.parameters}
    return [
        problem(
            family.at,
            f"The name '{family.name}' is that of a parameter, too.",
            f"The parameter stands in line {named[family.name].at.line}; a name stands for one thing.",
            "Choose another name for one of the two.",
        )
        for family in grammar.world.families
        if family.name in named
    ]


def _check_families_used(grammar: GrammarSyntax) -> list[Problem]:
    drawn = {draw.family for task in grammar.tasks for draw in task.draws}
    for rule in grammar.rules:
        lets = (item for item in written_items(rule) if isinstance(item, syntax.Let))
        drawn |= {draw.family for let in lets for draw in let.draws}
    return [
        problem(
            family.at,
            f"Nothing draws from the family '{family.name}'.",
            "A family of the world is drawn from by a rule or a task.",
            f"Write 'let a ~ {family.name} {{ … }}' in a rule, or delete the family.",
        )
        for family in grammar.world.families
        if family.name not in drawn
    ]


def _check_reachable(grammar: GrammarSyntax) -> list[Problem]:
    if grammar.rule(syntax.START) is None:
        return []
    reached = reachable_rules(grammar)
    return [
        problem(
            rule.at,
            f"No derivation from 'Document' comes to the rule '{rule.name}'.",
            "Every rule has a use.",
            f"Write '{rule.name}' in a production that is reached, or delete the rule.",
        )
        for rule in grammar.rules
        if rule.name not in reached
    ]
