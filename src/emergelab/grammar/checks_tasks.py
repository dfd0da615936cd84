"""Checks of tasks and of what is held out of training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from emergelab.grammar import syntax
from emergelab.grammar.checks_numbers import check_terminal, terminals
from emergelab.grammar.notation import render_hold_out, render_item, render_term
from emergelab.grammar.notation_numbers import number_text
from emergelab.grammar.problems import Problem, problem, suggestion
from emergelab.grammar.syntax import GrammarSyntax, HoldOut, If, Item, Print, TaskSyntax, Terminal


def check_hold_outs(grammar: GrammarSyntax) -> list[Problem]:
    """Return the problems with hold-outs: shares, families, and compositions that nothing makes."""
    found: list[Problem] = []
    applied = applied_pairs(grammar) if grammar.hold_outs else set()
    for number, hold_out in enumerate(grammar.hold_outs):
        families = list(_check_held_families(hold_out, grammar.world))
        found += families
        found += _check_share(hold_out, None if families else grammar.world)
        found += () if families else _check_applied(hold_out, applied)
        if any(hold_out.families == other.families for other in grammar.hold_outs[:number]):
            text, rule = f"'{render_hold_out(hold_out)}' is a second one.", "A composition is held out once."
            found.append(problem(hold_out.at, text, rule, "Delete one of the two lines."))
    return found


def _check_held_families(hold_out: HoldOut, world: syntax.World) -> Iterator[Problem]:
    if len(hold_out.families) < 2:  # noqa: PLR2004 - a pair
        rule = "A composition has at least two functions."
        remedy = f"Write '{hold_out.families[0]} * {hold_out.families[0]}'." if hold_out.families else ""
        yield problem(hold_out.at, "A single function is held out.", rule, remedy)
    for name in dict.fromkeys(hold_out.families):
        family = world.family(name)
        if family is None:
            remedy = suggestion(name, (known.name for known in world.families))
            yield problem(
                hold_out.at, f"There is no family '{name}'.", "Families of the world are held out.", remedy
            )
        elif family.kind == "predicate":
            rule = "What is held out is composed of functions."
            yield problem(
                hold_out.at, f"'{name}' is a family of predicates.", rule, "Name families of functions."
            )
        elif family.scope == "document":
            rule = "Its functions are drawn anew for each document: nothing can be kept out of training."
            yield problem(
                hold_out.at, f"'{name}' is drawn per document.", rule, "Name families of the corpus."
            )


def _check_share(hold_out: HoldOut, world: syntax.World | None) -> Iterator[Problem]:
    if not 0 < hold_out.share < 1:
        found, rule = f"The share held out is {number_text(hold_out.share)}.", "It is above 0 and below 1."
        yield problem(hold_out.at, found, rule, "Write 'hold out 0.25 of …', for example.")
    elif world is not None:
        counts = [family.count for name in hold_out.families if (family := world.family(name)) is not None]
        held = hold_out.share * math.prod(counts)
        if not 1 <= held <= math.prod(counts) - 1:
            found = f"Of {math.prod(counts):,} compositions {held:.3g} are held out."
            rule = "At least one is held out and at least one is kept."
            yield problem(hold_out.at, found, rule, "Change the share, or enlarge the families.")


def _check_applied(hold_out: HoldOut, applied: set[tuple[str, str]]) -> Iterator[Problem]:
    for inner, outer in zip(hold_out.families, hold_out.families[1:], strict=False):
        if (inner, outer) not in applied:
            found = f"No derivation applies a function of '{outer}' to a value of '{inner}'."
            rule = "Families stand in the order of application: 'f * g' holds out g(f(x))."
            turned = " * ".join(reversed(hold_out.families))
            remedy = f"Did you mean '{turned}'?" if (outer, inner) in applied else "Compose them in a rule."
            yield problem(hold_out.at, found, rule, remedy)
            return


def applied_pairs(grammar: GrammarSyntax) -> set[tuple[str, str]]:
    """Return the pairs (f, g) of families such that some term applies a function of g to a value of f.

    Values are followed through the attributes of rules, whatever the probabilities.
    """
    flow = _Flow(grammar)
    size = -1
    while flow.size() > size:
        size = flow.size()
        for rule in grammar.rules:
            values = {name: flow.makers(rule.name, place) for place, name in enumerate(rule.parameters)}
            for production in rule.productions:
                flow.items(production.items, {}, values)
    return flow.pairs


class _Flow:
    """Which families made the values that reach each attribute, and which were applied to which."""

    def __init__(self, grammar: GrammarSyntax) -> None:
        self.grammar = grammar
        self.pairs: set[tuple[str, str]] = set()
        self.attributes: dict[tuple[str, int], set[str]] = {}

    def size(self) -> int:
        return len(self.pairs) + sum(len(makers) for makers in self.attributes.values())

    def makers(self, rule: str, place: int) -> set[str]:
        return self.attributes.setdefault((rule, place), set())

    def items(
        self, items: Iterable[Item], functions: Mapping[str, str], values: Mapping[str, set[str]]
    ) -> None:
        for item in items:
            match item:
                case Terminal():
                    pass
                case Print():
                    self.term(item.term, functions, values)
                case syntax.Call():
                    self.call(item, functions, values)
                case syntax.Repeat():
                    self.call(item.call, functions, values)
                case syntax.Let():
                    drawn = {draw.name: draw.family for draw in item.draws}
                    self.items(item.body, {**functions, **drawn}, values)
                case syntax.Some() | syntax.Each():
                    self.items(item.body, functions, {**values, item.variable: set()})
                case If():
                    self.term(item.term, functions, values)
                    self.items((*item.then, *item.otherwise), functions, values)

    def call(self, call: syntax.Call, functions: Mapping[str, str], values: Mapping[str, set[str]]) -> None:
        for place, argument in enumerate(call.arguments):
            made = self.term(argument, functions, values)
            self.makers(call.rule, place).update(made)

    def term(
        self, term: syntax.Term, functions: Mapping[str, str], values: Mapping[str, set[str]]
    ) -> set[str]:
        makers = values.get(term.variable, set())
        for function in term.functions:
            family = functions.get(function, "")
            self.pairs.update((maker, family) for maker in makers)
            makers = {family}
        return makers


def check_tasks(grammar: GrammarSyntax) -> list[Problem]:
    """Return the problems with tasks: their rows, tokens, answers and splits."""
    known = terminals(grammar)
    found: list[Problem] = []
    for task in grammar.tasks:
        found += _check_draws(task, grammar.world)
        found += _check_rows(task)
        found += _check_tokens(task, known)
        found += _check_splits(task, grammar)
    return found


def _check_draws(task: TaskSyntax, world: syntax.World) -> Iterator[Problem]:
    for draw in task.draws:
        family = world.family(draw.family)
        if family is not None and family.scope == "document":
            found = f"Task '{task.name}' draws from '{family.name}', whose functions are drawn per document."
            rule = "A task asks for functions that are the same in every prompt."
            yield problem(draw.at, found, rule, "Draw from a family of the corpus.")


def _check_rows(task: TaskSyntax) -> Iterator[Problem]:
    forms = [("row", task.direct), *([("row with steps", task.steps)] if task.steps is not None else [])]
    problems = [one for what, items in forms for one in _check_row(task, what, items)]
    yield from problems
    if task.steps is not None and not problems:
        yield from _check_steps(task, task.steps)


def _check_row(task: TaskSyntax, what: str, items: tuple[Item, ...]) -> Iterator[Problem]:
    subject = f"The {what} of task '{task.name}'"
    for item in syntax.walk(items):
        if not isinstance(item, Terminal | Print):
            rule = "A row of a task holds tokens and terms only."
            yield problem(item.at, f"{subject} holds {_words(item)}.", rule, "Write the row out in full.")
            return
    if not items or not isinstance(items[0], Print):
        at = items[0].at if items else task.at
        rule = "It begins with its argument, a term."
        yield problem(at, f"{subject} does not begin with a term.", rule, f"Begin with '{task.variable}'.")
    elif answer(items[1:]) is None:
        rule = "Behind the argument stands an answer, a term."
        yield problem(
            items[0].at, f"{subject} has no answer.", rule, f"Print a function of '{task.variable}'."
        )


def _words(item: Item) -> str:
    if isinstance(item, syntax.Call):
        return f"the rule '{item.rule}'"
    return "a repetition" if isinstance(item, syntax.Repeat) else f"'{type(item).__name__.lower()}'"


def _check_steps(task: TaskSyntax, steps: tuple[Item, ...]) -> Iterator[Problem]:
    if steps[0] != task.direct[0]:
        first, second = render_item(task.direct[0]), render_item(steps[0])
        found = f"The rows of task '{task.name}' begin with {first} and, with steps, {second}."
        yield problem(
            steps[0].at, found, "Both begin with the same argument.", "Let the steps begin like the row."
        )
    elif answer(steps[1:]) != answer(task.direct[1:]):
        found = f"The steps of task '{task.name}' end on another answer than its row."
        rule = "Both forms give the same answer."
        yield problem(steps[-1].at, found, rule, f"Let the steps end on {_last(task.direct)}.")
    elif _printed(steps) <= _printed(task.direct):
        found = f"The steps of task '{task.name}' print no more objects than its row."
        rule = "Steps print intermediate objects before the answer."
        yield problem(steps[0].at, found, rule, "Print a step, or delete 'steps'.")


def answer(items: tuple[Item, ...]) -> syntax.Term | None:
    """Return the last term of the items, or None."""
    return next((item.term for item in reversed(items) if isinstance(item, Print)), None)


def _last(items: tuple[Item, ...]) -> str:
    term = answer(items)
    return "" if term is None else render_term(term)


def _printed(items: tuple[Item, ...]) -> int:
    return sum(isinstance(item, Print) for item in syntax.walk(items))


def _check_tokens(task: TaskSyntax, known: set[str]) -> Iterator[Problem]:
    for item in syntax.walk((*task.direct, *(task.steps or ()))):
        if isinstance(item, Terminal) and item.text not in known:
            yield from check_terminal(item)
            found = f"Task '{task.name}' prints {render_item(item)}, which no derivation prints."
            rule = "A model knows only the tokens that its training shows."
            quoted = suggestion(item.text, known) if known else "Print it in a rule."
            yield problem(item.at, found, rule, quoted)


def _check_splits(task: TaskSyntax, grammar: GrammarSyntax) -> Iterator[Problem]:
    for split in sorted({split for split in task.splits if task.splits.count(split) > 1}):
        found = f"Task '{task.name}' names the split '{split.replace('_', ' ')}' twice."
        yield problem(task.at, found, "A split is named once.", "Delete one of them.")
    if "held_out" not in task.splits:
        return
    composed = _composition(task)
    if not any(hold_out.families == composed for hold_out in grammar.hold_outs):
        found = f"Task '{task.name}' has the split 'held out', but its answer is not held out."
        rule = "A line 'hold out' names the families that the answer applies, in this order."
        yield problem(task.at, found, rule, _split_remedy(composed))


def _composition(task: TaskSyntax) -> tuple[str, ...]:
    """Return the families that the answer of the direct row applies, in the order of application."""
    families = {draw.name: draw.family for draw in task.draws}
    term = answer(task.direct)
    return () if term is None else tuple(families.get(name, "") for name in term.functions)


def _split_remedy(composed: tuple[str, ...]) -> str:
    if len(composed) < 2 or "" in composed:  # noqa: PLR2004 - a pair
        return "Write 'splits seen', or give the task a composition."
    return f"Add 'hold out 0.25 of {' * '.join(composed)}', or write 'splits seen'."
