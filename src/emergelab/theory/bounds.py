"""Bounds on the errors of the ideal predictor in a prompt: B1 to B3 and the identity B4, from description lengths.

A prompt holds n rows of a task. One derivation of the grammar prints it: a first statement that is a loop over
a body with the task's row table. With the sum over such bodies b and their loops,

    D + R_n = -ln sum_b P(first statement is a loop over b) P_b(N >= n) exp(-K_b(n))

bounds what the ideal predictor M pays for the first n answers, in expectation over arguments:

    E sum_{i<=n} -ln M(answer_i | prefix) <= D + R_n                    (B1)
    E [wrong answers among the first n] <= (D + R_n) / ln 2             (B2)

D is its value at n = 1. K_b(n) is the divergence of the law of n arguments in prompts from that in the loop: 0
where they are the same. A predictor that pays `gap` nats more than M makes at most (D + R_n + gap) / ln 2
mistakes (B3). For every single prompt

    sum_i -ln M(answer_i | prefix) = D + R_n + sum_i ln M(x_i | prefix) / q(x_i | x_<i) + ln P(path | prompt)   (B4)

where the path is: the first statement is such a loop, and it is in row n. q is the loops' own law of arguments.
Where loops differ in it, q(x_1 ... x_n) stands for the ratio of the sum above with q_b(x_1 ... x_n) in the place of
exp(-K_b(n)) to the sum as it is. Source: Hahn and Goyal 2023 (arXiv 2303.07971), with the constants and B4
derived in `docs/theory.md`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, UInt16
from scipy.special import gammaln, rel_entr

from emergelab.grammar.arguments import ArgumentLaw
from emergelab.grammar.bodies import row_tables
from emergelab.grammar.tasks import Task, TaskForm, rows_of_all_objects
from emergelab.theory.laws import at_least
from emergelab.theory.statements import ANY_OBJECT, Statements

_ALIKE = 1e-12  # nats


@dataclass(frozen=True, eq=False)
class TaskDescription:
    """How a language prints the rows of a task's form in loops, for each of I choices of its functions.

    There are several ways: way w prints the rows of choice `instance[w]` by a first statement that is a loop over
    the body `body[w]`, with `probability[w]`. Ways stand in the order of choices. `theirs`, float64[I, V], is the
    law of the token that begins a prompt, `own`, float64[ways, V], of the one that begins the loop. Statements that
    were not enumerated may be further ways: `unlisted`, float64[I], bounds their probability.
    """

    statements: Statements
    arguments: ArgumentLaw
    instance: Int64[np.ndarray, " ways"]
    body: Int64[np.ndarray, " ways"]
    probability: Float64[np.ndarray, " ways"]
    theirs: Float64[np.ndarray, "instances vocabulary"]
    own: Float64[np.ndarray, "ways vocabulary"]
    unlisted: Float64[np.ndarray, " instances"]

    def cost(self, rows: int) -> Float64[np.ndarray, " instances"]:
        """Return D + R_n in nats for n = `rows`, infinite where nothing that was enumerated prints the prompt.

        Where something was not enumerated it is the most that D + R_n may be, so that bounds hold as they are.
        """
        with np.errstate(divide="ignore"):
            return -np.log(self._share(rows))

    def least_cost(self, rows: int) -> Float64[np.ndarray, " instances"]:
        """Return the least that D + R_n may be: the same where everything was enumerated."""
        with np.errstate(divide="ignore"):
            return -np.log(self._share(rows) + self.unlisted)

    def _share(self, rows: int) -> Float64[np.ndarray, " instances"]:
        shares = self._reaching(rows) * np.exp(-self._divergence(rows))
        return np.bincount(self.instance, weights=shares, minlength=len(self.theirs)).astype(np.float64)

    def reached(self, rows: int) -> Bool[np.ndarray, " instances"]:
        """Tell for which choices a loop prints `rows` rows, be it by other objects than prompts may show."""
        return np.bincount(self.instance, weights=self._reaching(rows), minlength=len(self.theirs)) > 0

    def watched(self) -> Bool[np.ndarray, "instances bodies"]:
        """Tell which bodies print the rows of each choice."""
        watched = np.zeros((len(self.theirs), len(self.statements.body_loop)), dtype=np.bool_)
        watched[self.instance, self.body] = True
        return watched

    def path_nats(
        self, instances: Int32[np.ndarray, " prompts"], tokens: UInt16[np.ndarray, "prompts rows"]
    ) -> Float64[np.ndarray, "prompts rows"]:
        """Return -ln P(path and the first, the first two, ... rows) of prompts; `tokens` are their arguments."""
        first = np.searchsorted(self.instance, instances, side="left")
        counts = np.searchsorted(self.instance, instances, side="right") - first
        prompt = np.repeat(np.arange(len(instances)), counts)
        way = np.arange(len(prompt)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
        reaching = np.stack([self._reaching(n) for n in range(1, tokens.shape[1] + 1)], axis=1)
        with np.errstate(divide="ignore"):
            shares = np.log(reaching[way]) + np.cumsum(np.log(self._drawn(way, tokens[prompt])), axis=1)
        joint = np.full(tokens.shape, -np.inf)
        np.logaddexp.at(joint, prompt, shares)
        return -joint

    def _drawn(
        self, way: Int64[np.ndarray, " pairs"], tokens: UInt16[np.ndarray, "pairs rows"]
    ) -> Float64[np.ndarray, "pairs rows"]:
        """Return the probability of each argument in a loop, given the earlier ones."""
        every = np.arange(len(way))
        left = self.own[way]
        shares = np.take_along_axis(left, tokens.astype(np.int64), axis=1)
        distinct = self._distinct[way]
        for row in range(tokens.shape[1] if distinct.any() else 0):
            token = tokens[:, row]
            rest = left.sum(axis=1)
            drawn = np.divide(left[every, token], rest, out=np.zeros(len(way)), where=rest > 0)
            shares[:, row] = np.where(distinct, drawn, shares[:, row])
            left[every, token] = 0.0
        return shares

    def _reaching(self, rows: int) -> Float64[np.ndarray, " ways"]:
        """Return the probability of each way with a loop that prints `rows` rows or more."""
        objects = self.statements.language.objects
        shares = [
            at_least(loop.law, objects=objects if loop.distinct else None, most=rows)[rows]
            for loop in self.statements.loops
        ]
        return self.probability * np.array(shares, dtype=np.float64)[self._loop]

    def _divergence(self, rows: int) -> Float64[np.ndarray, " ways"]:
        """Return the Kullback-Leibler divergence in nats of the law of `rows` arguments in prompts from the loop's.

        Infinite where prompts may print what the loop cannot, and where there is no closed form: for weighted draws
        without replacement against other ones. Bounds hold without what is left out.
        """
        if rows == 1:
            return self._one_draw
        if not self.arguments.distinct:
            return np.where(self._distinct, np.inf, rows * self._one_draw)
        alike = np.where(self._one_draw < _ALIKE, 0.0, np.inf)
        if self.arguments.power:
            return np.where(self._distinct, alike, np.inf)
        objects = self.statements.language.objects
        orders = gammaln(objects + 1) - gammaln(objects - rows + 1)  # their logarithm
        return np.where(self._distinct, alike, rows * (self._one_draw + math.log(objects)) - orders)

    @cached_property
    def _one_draw(self) -> Float64[np.ndarray, " ways"]:
        """The divergence of the first argument in prompts from that in the loop."""
        return rel_entr(self.theirs[self.instance], self.own).sum(axis=1)

    @cached_property
    def _loop(self) -> Int32[np.ndarray, " ways"]:
        return self.statements.body_loop[self.body]

    @cached_property
    def _distinct(self) -> Bool[np.ndarray, " ways"]:
        return np.array([loop.distinct for loop in self.statements.loops], dtype=np.bool_)[self._loop]


def describe(statements: Statements, task: Task, form: TaskForm, arguments: ArgumentLaw) -> TaskDescription:
    """Find the row tables of all choices of a task's functions among the bodies of a language.

    Prompts stand at the beginning of a document and draw their arguments by `arguments`. Functions of the
    document have no table; a task that draws them is refused by the caller.
    """
    tables = statements.language.tables[task.functions][:, :, None]
    rows = rows_of_all_objects(task, form, tables)
    first = _first_bodies(statements)
    bodies: dict[bytes, list[int]] = {}
    for body in np.flatnonzero(first).tolist():
        if statements.loops[statements.body_loop[body]].law is not None:
            bodies.setdefault(statements.body_table[body], []).append(body)
    ways = [
        (instance, body) for instance, table in enumerate(row_tables(rows)) for body in bodies.get(table, ())
    ]
    instance, body = np.array(ways, dtype=np.int64).reshape(-1, 2).T
    theirs = np.zeros((len(rows), len(statements.language.vocabulary)))
    weights = arguments.weights(statements.language.objects)
    np.add.at(theirs, (np.arange(len(rows))[:, None], rows[:, 0, 0]), weights)
    own = _first_tokens(statements, body)
    unlisted = _unlisted(statements, rows[:, :, 0].swapaxes(1, 2))
    return TaskDescription(statements, arguments, instance, body, first[body], theirs, own, unlisted)


def _unlisted(
    statements: Statements, rows: UInt16[np.ndarray, "instances objects width"]
) -> Float64[np.ndarray, " instances"]:
    """Bound the probability that a first statement prints such rows and was not enumerated.

    It is that of the remainders whose first rows may begin as all of these rows do.
    """
    first_object, width = statements.language.vocabulary.first_object, rows.shape[2]
    found = np.zeros(len(rows))
    for one in statements.remainders:
        alike = np.full(len(rows), len(one.pattern) <= width)
        for column, token in zip(range(width), one.pattern, strict=False):
            shown = rows[:, :, column]
            alike &= (shown >= first_object if token == ANY_OBJECT else shown == token).all(axis=1)
        found += np.where(alike, statements.initial[one.state] * one.probability, 0.0)
    return found


def _first_tokens(
    statements: Statements, bodies: Int64[np.ndarray, " bodies"]
) -> Float64[np.ndarray, "bodies vocabulary"]:
    """Return the law of the token that begins a loop over each body."""
    laws = np.zeros((len(bodies), len(statements.language.vocabulary)))
    for law, body in zip(laws, bodies.tolist(), strict=True):
        part = slice(int(statements.body_first[body]), int(statements.body_first[body + 1]))
        np.add.at(law, statements.tokens[statements.row_first[:-1][part]], statements.row_weight[part])
    return laws


def examples_needed(
    description: TaskDescription,
    error_rate: float,
    *,
    most: int,
    weights: Float64[np.ndarray, " instances"] | None = None,
) -> int | None:
    """Return the least number n of answers whose mean error rate B2 keeps at or below `error_rate`.

    The mean is over choices of functions by `weights`, by default over all alike. None where up to `most` answers
    do not suffice, as where one of the choices has no derivation.
    """
    weights = np.ones(len(description.theirs)) if weights is None else weights
    chosen = weights > 0
    if not np.isfinite(description.cost(1)[chosen]).all():
        return None
    for rows in range(1, most + 1):
        errors = description.cost(rows)[chosen] / math.log(2)
        if float(np.average(errors, weights=weights[chosen])) <= error_rate * rows:
            return rows
    return None


def _first_bodies(statements: Statements) -> Float64[np.ndarray, " bodies"]:
    """Return the probability that a document's first statement begins with each body."""
    first = np.zeros(len(statements.body_loop))
    for state, probability in enumerate(statements.initial.tolist()):
        part = slice(int(statements.start_first[state]), int(statements.start_first[state + 1]))
        np.add.at(first, statements.start_body[part], probability * statements.start_probability[part])
    return first
