"""Checks of tasks and of what is held out of training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from emergelab.grammar import syntax
from emergelab.grammar.checks_numbers import check_terminal, terminals
from emergelab.grammar.notation import render_hold_out, render_item, render_term
from emergelab.grammar.notation_numbers import number_text
from emergelab.grammar.problems import Problem, problem, suggestion
from emergelab.grammar.rows import (
    MOST_CASES,
    Case,
    Place,
    Symbol,
    answer_columns,
    cases_of,
    final_answers,
    final_columns,
    path,
    places_of,
    unfinished,
)
from emergelab.grammar.syntax import GrammarSyntax, HoldOut, If, Item, Print, TaskSyntax, Term, Terminal

MOST_ITEMS = 1000
"""The items of a task's row."""
MOST_UNTOLD = 3
"""The terms that may stand in one place of a row with nothing to tell which it is."""


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
        rows = list(_check_rows(task, grammar.world))
        found += rows
        found += _check_tokens(task, known)
        found += _check_splits(task, grammar, has_answers=not rows)
    return found


def _check_rows(task: TaskSyntax, world: syntax.World) -> Iterator[Problem]:
    forms = [("row", task.direct), *([("row with steps", task.steps)] if task.steps is not None else [])]
    kinds = _kinds(task, world)
    problems = [one for what, items in forms for one in _check_row(task, what, items, kinds)]
    yield from problems
    if task.steps is not None and not problems:
        yield from _check_steps(task, task.steps)


def _kinds(task: TaskSyntax, world: syntax.World) -> dict[str, str]:
    """Return the kinds of the functions that a task draws, as far as their families are known."""
    families = ((draw.name, world.family(draw.family)) for draw in task.draws)
    return {name: family.kind for name, family in families if family is not None}


def _check_row(
    task: TaskSyntax, what: str, items: tuple[Item, ...], kinds: Mapping[str, str]
) -> Iterator[Problem]:
    subject = f"The {what} of task '{task.name}'"
    problems = [*_check_items(subject, items), *_check_argument(subject, task, items)]
    yield from problems
    if not problems:
        cases = cases_of(items)
        yield from _check_cases(subject, items[0], cases)
        yield from _check_determined(subject, items[0], cases, kinds)


def _check_items(subject: str, items: tuple[Item, ...]) -> Iterator[Problem]:
    for item in syntax.walk(items):
        if not isinstance(item, Terminal | Print | If):
            rule = "A row of a task holds tokens, terms and 'if'."
            yield problem(item.at, f"{subject} holds {_words(item)}.", rule, "Write the row out in full.")
            return
    count = sum(1 for _ in syntax.walk(items))
    if count > MOST_ITEMS:
        rule, remedy = f"There are at most {MOST_ITEMS:,}.", "Ask for less in one row."
        yield problem(items[0].at, f"{subject} holds {count:,} items.", rule, remedy)


def _words(item: Item) -> str:
    if isinstance(item, syntax.Call):
        return f"the rule '{item.rule}'"
    return "a repetition" if isinstance(item, syntax.Repeat) else f"'{type(item).__name__.lower()}'"


def _check_argument(subject: str, task: TaskSyntax, items: tuple[Item, ...]) -> Iterator[Problem]:
    if not items or not isinstance(items[0], Print):
        at = items[0].at if items else task.at
        rule = "It begins with its argument, a term."
        yield problem(at, f"{subject} does not begin with a term.", rule, f"Begin with '{task.variable}'.")


def _check_cases(subject: str, argument: Item, cases: list[Case]) -> Iterator[Problem]:
    if len(cases) > MOST_CASES:
        found, rule = f"{subject} can go in more than {MOST_CASES} ways.", f"It has at most {MOST_CASES}."
        yield problem(argument.at, found, rule, "Ask fewer questions one after the other, or nest them.")
        return
    places = places_of(cases)
    if unfinished(cases):
        rule = "Where 'if' makes rows differ in length, each tells where it ends."
        remedy = 'End all of them in one token, like ";".'
        yield problem(argument.at, f"{subject} can be the beginning of another row.", rule, remedy)
    elif not all(answer_columns(cases, places)):
        rule = "Behind the argument stands an answer: a term, or what an 'if' chooses."
        remedy = "Print a function of the argument, or words that differ."
        yield problem(argument.at, f"{subject} has no answer.", rule, remedy)
    else:
        yield from _check_untold(subject, argument, cases, places)


def _check_untold(
    subject: str, argument: Item, cases: list[Case], places: Iterable[Place]
) -> Iterator[Problem]:
    for place in places:
        symbols = (cases[number].symbols[place.column] for number in place.cases)
        terms = dict.fromkeys(symbol for symbol in symbols if not isinstance(symbol, str))
        if len(terms) > MOST_UNTOLD:
            found = f"{subject} prints one of {', '.join(map(render_term, terms))} in one place."
            rule = f"At most {MOST_UNTOLD} may stand where nothing printed before tells which."
            yield problem(argument.at, found, rule, "Print a word in front of each.")
            return


def _check_determined(
    subject: str, argument: Item, cases: list[Case], kinds: Mapping[str, str]
) -> Iterator[Problem]:
    """Require an argument that tells the variable, or else all that the row depends on."""
    if not isinstance(argument, Print) or len(cases) > MOST_CASES:
        return
    needed = {symbol for case in cases for symbol in case.symbols if not isinstance(symbol, str)}
    needed |= {answer.term for case in cases for answer in case.answers}
    undone = [name for term in needed for name in path(argument.term, term)[0]]
    maps = [name for name in argument.term.functions if name in undone and kinds.get(name) == "map"]
    if maps:
        found = f"{subject} begins with {render_term(argument.term)}, which does not determine the rest of the row."
        rule = f"'{maps[0]}' is a map and may send two objects to one."
        remedy = f"Begin with '{argument.term.variable}', or draw '{maps[0]}' from a family of permutations."
        yield problem(argument.at, found, rule, remedy)


def _check_steps(task: TaskSyntax, steps: tuple[Item, ...]) -> Iterator[Problem]:
    direct, printed = cases_of(task.direct), cases_of(steps)
    if steps[0] != task.direct[0]:
        first, second = render_item(task.direct[0]), render_item(steps[0])
        found = f"The rows of task '{task.name}' begin with {first} and, with steps, {second}."
        yield problem(
            steps[0].at, found, "Both begin with the same argument.", "Let the steps begin like the row."
        )
    elif None in final_columns(direct, printed):
        found = f"The steps of task '{task.name}' end on another answer than its row."
        rule = "Both forms give the same answer, in every case."
        answers = dict.fromkeys(_symbol_text(symbol) for symbol in final_answers(task.direct))
        yield problem(steps[-1].at, found, rule, f"Let the steps end on {' or '.join(answers)}.")
    elif _printed(printed) <= _printed(direct):
        found = f"The steps of task '{task.name}' print no more than its row."
        rule = "Steps print intermediate objects, or what a predicate says, before the answer."
        yield problem(steps[0].at, found, rule, "Print a step, or delete 'steps'.")


def _symbol_text(symbol: Symbol | None) -> str:
    if symbol is None:
        return "nothing"
    return render_item(Terminal(symbol)) if isinstance(symbol, str) else render_term(symbol)


def _printed(cases: list[Case]) -> int:
    """Return how many answering tokens stand in the case that has most of them."""
    return max(map(len, answer_columns(cases, places_of(cases))))


def _check_tokens(task: TaskSyntax, known: set[str]) -> Iterator[Problem]:
    for item in syntax.walk((*task.direct, *(task.steps or ()))):
        if isinstance(item, Terminal) and item.text not in known:
            yield from check_terminal(item)
            found = f"Task '{task.name}' prints {render_item(item)}, which no derivation prints."
            rule = "A model knows only the tokens that its training shows."
            quoted = suggestion(item.text, known) if known else "Print it in a rule."
            yield problem(item.at, found, rule, quoted)


def _check_splits(task: TaskSyntax, grammar: GrammarSyntax, *, has_answers: bool) -> Iterator[Problem]:
    for split in sorted({split for split in task.splits if task.splits.count(split) > 1}):
        found = f"Task '{task.name}' names the split '{split.replace('_', ' ')}' twice."
        yield problem(task.at, found, "A split is named once.", "Delete one of them.")
    if "held_out" not in task.splits or not has_answers:
        return
    composed = compositions_of(task)
    if not composed & {hold_out.families for hold_out in grammar.hold_outs}:
        found = f"Task '{task.name}' has the split 'held out', but its answer is not held out."
        rule = "A line 'hold out' names the families that the answer applies, in this order."
        yield problem(task.at, found, rule, _split_remedy(composed, grammar.world))


def compositions_of(task: TaskSyntax) -> set[tuple[str, ...]]:
    """Return the families, in the order of application, that lead from the argument to each final answer."""
    families = {draw.name: draw.family for draw in task.draws}
    argument = task.direct[0].term if isinstance(task.direct[0], Print) else None
    answers = (symbol for symbol in final_answers(task.direct) if isinstance(symbol, Term))
    return {
        tuple(families.get(name, "") for name in _applied(argument, answer).functions) for answer in answers
    }


def _applied(argument: Term | None, answer: Term) -> Term:
    """Return what is applied to the argument, or to the variable where the answer does not come from it."""
    undone, applied = path(argument, answer) if argument is not None else ((), answer.functions)
    return answer if undone else Term(answer.variable, applied)


def _split_remedy(composed: set[tuple[str, ...]], world: syntax.World) -> str:
    named = sorted(families for families in composed if len(families) > 1 and "" not in families)
    kept = [families for families in named if not any(map(_is_of_documents, map(world.family, families)))]
    if kept:
        return f"Add 'hold out 0.25 of {' * '.join(kept[0])}', or write 'splits seen'."
    if named:
        return "Functions drawn per document cannot be held out: write 'splits seen'."
    return "Write 'splits seen', or give the task a composition."


def _is_of_documents(family: syntax.Family | None) -> bool:
    return family is not None and family.scope == "document"
