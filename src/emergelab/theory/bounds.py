"""Bounds on the errors of the ideal predictor in a prompt: B1 to B3 and the identity B4, from description lengths.

A prompt holds n rows of a task. One derivation of the grammar prints it: a first statement that is a loop over
a body with the task's row table. With q the law of the prompt's arguments and the sum over the loops l,

    D + R_n = -ln sum_l P(first statement is a loop l whose body has the row table) P_l(N >= n) exp(-K_l(n))

bounds what the ideal predictor M pays for the first n answers, in expectation over arguments:

    E sum_{i<=n} -ln M(answer_i | prefix) <= D + R_n                    (B1)
    E [wrong answers among the first n] <= (D + R_n) / ln 2             (B2)

D is its value at n = 1. K_l(n) is the divergence of the law of n arguments in prompts from that in the loop: 0
where they are the same. A predictor that pays `gap` nats more than M makes at most (D + R_n + gap) / ln 2
mistakes (B3). For every single prompt, with arguments drawn by the loops' own law,

    sum_i -ln M(answer_i | prefix) = D + R_n + sum_i ln M(x_i | prefix) / q(x_i | x_<i) + ln P(path | prompt)   (B4)

where the path is: the first statement is such a loop, and it is in row n. Source: Hahn and Goyal 2023
(arXiv 2303.07971), with the constants and B4 derived in `docs/theory.md`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int32, UInt16
from scipy.special import gammaln

from emergelab.grammar.arguments import ArgumentLaw
from emergelab.grammar.bodies import row_tables
from emergelab.grammar.tasks import Task, TaskForm, rows_of_all_objects
from emergelab.theory.laws import at_least
from emergelab.theory.statements import Loop, Statements


@dataclass(frozen=True, eq=False)
class TaskDescription:
    """How a language prints the rows of a task's form in loops, for each of I choices of its functions.

    `probability`, float64[I, loops], is that of a first statement which is a loop of a kind with the row table
    of a choice; `bodies`, bool[I, bodies], tells which bodies have it in a loop whose objects are drawn like
    the prompts' arguments. `first_arguments`, float64[I, V], is the law of the token that begins a prompt.
    """

    statements: Statements
    arguments: ArgumentLaw
    probability: Float64[np.ndarray, "instances loops"]
    bodies: Bool[np.ndarray, "instances bodies"]
    first_arguments: Float64[np.ndarray, "instances vocabulary"]

    def cost(self, rows: int) -> Float64[np.ndarray, " instances"]:
        """Return D + R_n in nats for n = `rows`, infinite where no derivation prints the prompt."""
        objects = self.statements.language.objects
        weights = [
            _reaches(loop, objects, rows)
            * math.exp(-divergence(self.arguments, loop_law(loop), objects, rows))
            if loop.law is not None
            else 0.0
            for loop in self.statements.loops
        ]
        with np.errstate(divide="ignore"):
            return -np.log(self.probability @ np.array(weights, dtype=np.float64))

    def argument_nats(
        self, instances: Int32[np.ndarray, " prompts"], tokens: UInt16[np.ndarray, "prompts rows"]
    ) -> Float64[np.ndarray, "prompts rows"]:
        """Return -ln q of the first, the first two, … arguments of prompts, one token each."""
        shares = self.first_arguments[instances[:, None], tokens]
        if self.arguments.distinct:
            shares = shares / (1.0 - (np.cumsum(shares, axis=1) - shares))
        return -np.cumsum(np.log(shares), axis=1)


def describe(statements: Statements, task: Task, form: TaskForm, arguments: ArgumentLaw) -> TaskDescription:
    """Find the row tables of all choices of a task's functions among the bodies of a language.

    Prompts stand at the beginning of a document and draw their arguments by `arguments`. Functions of the
    document have no table; a task that draws them is refused by the caller.
    """
    tables = statements.language.tables[task.functions][:, :, None]
    rows = rows_of_all_objects(task, form, tables)
    wanted = row_tables(rows)
    first = _first_bodies(statements)
    bodies: dict[bytes, list[int]] = {}
    for body in np.flatnonzero(first).tolist():
        bodies.setdefault(statements.body_table[body], []).append(body)
    probability = np.zeros((len(wanted), len(statements.loops)))
    watched = np.zeros((len(wanted), len(first)), dtype=np.bool_)
    for instance, table in enumerate(wanted):
        for body in bodies.get(table, ()):
            number = int(statements.body_loop[body])
            loop = statements.loops[number]
            if loop.law is not None:
                probability[instance, number] += first[body]
                watched[instance, body] = loop_law(loop) == arguments
    first_tokens = np.zeros((len(wanted), len(statements.language.vocabulary)))
    weights = arguments.weights(statements.language.objects)
    np.add.at(first_tokens, (np.arange(len(wanted))[:, None], rows[:, 0, 0]), weights)
    return TaskDescription(statements, arguments, probability, watched, first_tokens)


def loop_law(loop: Loop) -> ArgumentLaw:
    """Return the law by which a loop draws its objects."""
    return ArgumentLaw(loop.distinct, loop.weights.numbers[0] if loop.weights.numbers else 0.0)


def divergence(prompts: ArgumentLaw, loop: ArgumentLaw, objects: int, rows: int) -> float:
    """Return the Kullback-Leibler divergence in nats of the law of `rows` arguments in prompts from a loop's.

    Infinite where prompts print what the loop cannot. Raises NotImplementedError for draws without replacement
    that are weighted and differ from the loop's: there is no closed form.
    """
    if prompts == loop:
        return 0.0
    if rows == 1 or not (prompts.distinct or loop.distinct):
        theirs, own = prompts.weights(objects), loop.weights(objects)
        return rows * float(np.sum(theirs * np.log(theirs / own)))
    if not prompts.distinct:
        return math.inf
    if prompts.power or loop.power:
        raise NotImplementedError("weighted draws without replacement against another law")
    return rows * math.log(objects) - float(gammaln(objects + 1) - gammaln(objects - rows + 1))


def examples_needed(description: TaskDescription, error_rate: float, *, most: int) -> int | None:
    """Return the least number n of answers whose mean error rate B2 keeps at or below `error_rate`.

    The mean is over choices of functions with a derivation. None where up to `most` answers do not suffice.
    """
    shown = np.isfinite(description.cost(1))
    if not shown.any():
        return None
    for rows in range(1, most + 1):
        if float(description.cost(rows)[shown].mean()) / math.log(2) <= error_rate * rows:
            return rows
    return None


def _reaches(loop: Loop, objects: int, rows: int) -> float:
    """Return the probability that a loop prints `rows` rows or more."""
    return float(at_least(loop.law, objects=objects if loop.distinct else None, most=rows)[rows])


def _first_bodies(statements: Statements) -> Float64[np.ndarray, " bodies"]:
    """Return the probability that a document's first statement begins with each body."""
    first = np.zeros(len(statements.body_loop))
    for state, probability in enumerate(statements.initial.tolist()):
        part = slice(int(statements.start_first[state]), int(statements.start_first[state + 1]))
        np.add.at(first, statements.start_body[part], probability * statements.start_probability[part])
    return first
