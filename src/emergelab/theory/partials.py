"""Partial derivations: what has been printed of a statement and what is still to be derived, many at once.

What is still to be derived is *pending*: tokens that are known for every object, calls of rules with the tables
of their attributes, and the bounds of blocks. All terms are evaluated as soon as their functions are drawn, so
that partial derivations with equal tables are equal, however they came about. Outside blocks, where a value is
one object, its table is constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt16

from emergelab.grammar.bodies import PAD
from emergelab.grammar.language import Language
from emergelab.grammar.lowering import (
    LoweredBlock,
    LoweredCall,
    LoweredIf,
    LoweredItem,
    LoweredPrint,
    LoweredRepeat,
    LoweredTerm,
    LoweredTerminal,
    lowered_walk,
)
from emergelab.grammar.sites import SiteProduction, Sites, draw_probabilities, function_choices
from emergelab.grammar.syntax import Law
from emergelab.theory.refusals import ExactnessError
from emergelab.theory.segments import Loop, loop_of, object_weights

Columns: TypeAlias = UInt16[np.ndarray, "partials columns objects"]


@dataclass(frozen=True, slots=True)
class Fixed:
    """Tokens for every object, padded where rows differ; `drawn` where they depend on functions drawn."""

    width: int
    drawn: bool = False


@dataclass(frozen=True, slots=True)
class Called:
    """A rule's site with tables of its attributes and, last, the objects whose rows it stands in (1, else 0).

    With a law it is called again and again; `done` calls are over.
    """

    site: int
    arguments: int
    inside: bool
    drawn: bool = False
    law: Law | None = None
    done: int = 0

    @property
    def width(self) -> int:
        """The number of its columns."""
        return self.arguments + 1


@dataclass(frozen=True, slots=True)
class Opened:
    """Here a block begins."""

    loop: Loop
    width: int = 0
    drawn: bool = False


@dataclass(frozen=True, slots=True)
class Closed:
    """Here a block ends."""

    width: int = 0
    drawn: bool = False


Pending: TypeAlias = Fixed | Called | Opened | Closed


@dataclass(frozen=True, slots=True)
class Form:
    """What partial derivations have in common: what is pending, and of which kind the segment begun is.

    `width` tokens of it have been printed in the longest row; `loop` is None as long as they are the same for
    all objects. `inside` tells whether its block is open, `drawn` whether tokens depend on functions drawn.
    """

    items: tuple[Pending, ...]
    width: int = 0
    loop: Loop | None = None
    inside: bool = False
    drawn: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Partials:
    """Partial derivations of one form.

    `data` holds the rows printed of the segment begun, column by column, and behind them the columns of what
    is pending. `chain` numbers the segments before it, `source` what this was derived from.
    """

    form: Form
    chain: Int64[np.ndarray, " partials"]
    source: Int64[np.ndarray, " partials"]
    probability: Float64[np.ndarray, " partials"]
    data: Columns

    def __len__(self) -> int:
        return len(self.chain)

    @property
    def rows(self) -> Columns:
        """The rows printed of the segment begun."""
        return self.data[:, : self.form.width]

    @property
    def first(self) -> Columns:
        """The columns of what is pending first."""
        return self.data[:, self.form.width : self.form.width + self.form.items[0].width]

    def among(self, chosen: Bool[np.ndarray, " partials"] | Int64[np.ndarray, " chosen"]) -> Partials:
        """Return some of them."""
        arrays = (self.chain[chosen], self.source[chosen], self.probability[chosen], self.data[chosen])
        return Partials(self.form, *arrays)

    def without_first(self) -> Partials:
        """Leave out what is pending first."""
        width = self.form.width
        behind = width + self.form.items[0].width
        data = np.concatenate([self.data[:, :width], self.data[:, behind:]], axis=1)
        return replace(self, form=replace(self.form, items=self.form.items[1:]), data=data)


def printed(partials: Partials) -> list[Partials]:
    """Print the fixed tokens that are pending first. Rows of different lengths part the ways."""
    fixed, form = partials.form.items[0], partials.form
    width = form.width + fixed.width
    form = replace(form, items=form.items[1:], width=width, drawn=form.drawn or fixed.drawn)
    partials = replace(partials, form=form)
    rows = partials.rows
    if rows.all():
        return [partials]
    rows = compacted(rows)
    data = np.concatenate([rows, partials.data[:, width:]], axis=1)
    longest = (rows != PAD).any(axis=2).sum(axis=1)
    return [
        replace(
            partials.among(longest == length),
            form=replace(form, width=length),
            data=np.delete(data[longest == length], np.s_[length:width], axis=1),
        )
        for length in np.unique(longest).tolist()
    ]


def compacted(rows: Columns) -> Columns:
    """Move what pads the rows behind their tokens."""
    return np.take_along_axis(rows, np.argsort(rows == PAD, axis=1, kind="stable"), axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class _Setting:
    """A production with N choices of its functions and of the objects of its scopes.

    `values` holds the tables of variables, uint16[N or 1, objects]; `drawn` names those that depend on draws.
    `holds` tells for each `if` outside blocks what its predicate says.
    """

    production: SiteProduction
    joint: Int64[np.ndarray, " choices"]
    functions: Int64[np.ndarray, "choices slots"]
    values: dict[int, UInt16[np.ndarray, "some objects"]]
    drawn: frozenset[int]
    holds: dict[LoweredIf, bool]

    def among(self, chosen: Int64[np.ndarray, " chosen"]) -> _Setting:
        values = {local: table if len(table) == 1 else table[chosen] for local, table in self.values.items()}
        return replace(self, joint=self.joint[chosen], functions=self.functions[chosen], values=values)


_Items: TypeAlias = list[tuple[Pending, Columns, "Int64[np.ndarray, ' choices'] | None"]]
"""What is pending, its columns, and the sites of a call where they differ from choice to choice."""


class Expansion:
    """Replaces calls of rules by what their productions print."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites
        self._language: Language = sites.language
        self._objects = sites.language.objects
        self._tables = sites.language.tables.ravel()
        self._first_object = np.uint16(sites.language.vocabulary.first_object)
        self._identity = np.arange(self._objects, dtype=np.uint16)[None]
        self._wide = _rules_with_blocks(sites)

    def choices(self, site: int) -> int:
        """Return in how many ways a call of a site is replaced."""
        return sum(
            one.joint_draws * self._objects ** len(self._scopes(one))
            for one in self._sites.sites[site].productions
        )

    def rule(self, site: int) -> str:
        """Return the name of a site's rule."""
        return self._sites.sites[site].rule

    def called(self, partials: Partials) -> Iterator[Partials]:
        """Derive the call that is pending first, in all ways."""
        call = partials.form.items[0]
        assert isinstance(call, Called)
        for production in self._sites.sites[call.site].productions:
            probabilities = production.probability * draw_probabilities(self._language, production)
            joint = np.flatnonzero(probabilities)
            for scopes, weight in self._scope_values(production):
                yield from self._produced(
                    partials, call, production, joint, probabilities[joint] * weight, scopes
                )

    def _scope_values(
        self, production: SiteProduction
    ) -> Iterator[tuple[dict[int, UInt16[np.ndarray, "1 objects"]], float]]:
        """Yield the objects of the `some` that hold statements or blocks, with their probability."""
        found: list[tuple[dict[int, UInt16[np.ndarray, "1 objects"]], float]] = [({}, 1.0)]
        for scope in self._scopes(production):
            shares = object_weights(scope.weights, self._objects).tolist()
            found = [
                (values | {scope.local: np.full((1, self._objects), x, dtype=np.uint16)}, weight * share)
                for values, weight in found
                for x, share in enumerate(shares)
            ]
        yield from found

    def _scopes(self, production: SiteProduction) -> list[LoweredBlock]:
        return [
            item for item in _outside(production.lowered.items, self._is_scope)
            if isinstance(item, LoweredBlock) and self._is_scope(item)
        ]  # fmt: skip

    def _is_scope(self, block: LoweredBlock) -> bool:
        return block.law is None and any(
            isinstance(item, LoweredBlock | LoweredRepeat)
            or (isinstance(item, LoweredCall) and item.rule in self._wide)
            for item in lowered_walk(block.body)
        )

    def _produced(
        self,
        partials: Partials,
        call: Called,
        production: SiteProduction,
        joint: Int64[np.ndarray, " joint"],
        probabilities: Float64[np.ndarray, " joint"],
        scopes: dict[int, UInt16[np.ndarray, "1 objects"]],
    ) -> Iterator[Partials]:
        """Yield what one production makes of all partial derivations with all its joint draws."""
        entry = np.repeat(np.arange(len(partials)), len(joint))
        draws = np.tile(np.arange(len(joint)), len(partials))
        columns = partials.first[entry]
        values = {place: columns[:, place] for place in range(call.arguments)}
        drawn = frozenset(values) if call.drawn else frozenset[int]()
        functions = function_choices(self._language, production)[joint][draws]
        setting = _Setting(production, joint[draws], functions, values | scopes, drawn | scopes.keys(), {})
        mask = columns[:, -1]
        probability = partials.probability[entry] * probabilities[draws]
        for chosen, part in self._answered(setting, inside=call.inside):
            items = self._resolved(production.lowered.items, part, mask[chosen], inside=call.inside)
            for same, pending in _by_site(items, len(chosen)):
                yield _replaced(partials, entry[chosen][same], probability[chosen][same], pending)

    def _answered(
        self, setting: _Setting, *, inside: bool
    ) -> Iterator[tuple[Int64[np.ndarray, " chosen"], _Setting]]:
        """Part the choices by what the predicates asked outside blocks say."""
        items = _outside(setting.production.lowered.items, self._is_scope)
        asked = [] if inside else [item for item in items if isinstance(item, LoweredIf)]
        every = np.arange(len(setting.joint))
        if not asked:
            yield every, setting
            return
        answers = np.stack([self._asked(item, setting)[:, 0] for item in asked], axis=1)
        for answer in np.unique(answers, axis=0):
            chosen = every[(answers == answer).all(axis=1)]
            holds = dict(zip(asked, answer.tolist(), strict=True))
            yield chosen, replace(setting.among(chosen), holds=holds)

    def _resolved(
        self, items: tuple[LoweredItem, ...], setting: _Setting, mask: Columns, *, inside: bool
    ) -> _Items:
        """Evaluate all terms of items; `mask`, uint16[N, objects], is 1 for the rows that they print."""
        pending: _Items = []
        for item in items:
            match item:
                case LoweredTerminal():
                    token = self._language.vocabulary.terminal(item.text)
                    pending.append((Fixed(1), mask[:, None] * np.uint16(token), None))
                case LoweredPrint():
                    tokens = (self._values(item.term, setting) + self._first_object) * mask
                    pending.append((Fixed(1, drawn=_is_drawn((item.term,), setting)), tokens[:, None], None))
                case LoweredCall():
                    pending.append(self._call(item, setting, mask, inside=inside))
                case LoweredRepeat():
                    called, columns, sites = self._call(item.call, setting, mask, inside=inside)
                    pending.append((replace(called, law=item.law), columns, sites))
                case LoweredIf() if inside:
                    holds = self._asked(item, setting)
                    pending += self._resolved(item.then, setting, mask * holds, inside=True)
                    pending += self._resolved(item.otherwise, setting, mask * ~holds, inside=True)
                case LoweredIf():
                    taken = item.then if setting.holds[item] else item.otherwise
                    pending += self._resolved(taken, setting, mask, inside=False)
                case LoweredBlock():
                    pending += self._block(item, setting, mask, inside=inside)
        return pending

    def _block(self, item: LoweredBlock, setting: _Setting, mask: Columns, *, inside: bool) -> _Items:
        if inside:
            raise _stochastic(item)
        if self._is_scope(item):
            return self._resolved(item.body, setting, mask, inside=False)
        none = np.empty((len(setting.joint), 0, self._objects), dtype=np.uint16)
        distinct = item.law is not None and (item.distinct or item.law.name == "all")
        loop = loop_of(item.law, item.weights, distinct=distinct)
        within = replace(setting, values=setting.values | {item.local: self._identity})
        body = self._resolved(item.body, within, mask, inside=True)
        return [(Opened(loop), none, None), *body, (Closed(), none, None)]

    def _call(
        self, item: LoweredCall, setting: _Setting, mask: Columns, *, inside: bool
    ) -> tuple[Called, Columns, Int64[np.ndarray, " choices"] | None]:
        attributes = [self._values(term, setting) * mask for term in item.arguments]
        columns = np.stack([*attributes, mask], axis=1)
        called = Called(0, len(attributes), inside, drawn=_is_drawn(item.arguments, setting))
        sites = setting.production.calls[item.number]
        if len(sites) == 1:
            return replace(called, site=int(sites[0])), columns, None
        return called, columns, sites[setting.joint]

    def _asked(self, item: LoweredIf, setting: _Setting) -> Bool[np.ndarray, "choices objects"]:
        term = LoweredTerm(item.term.local, (*item.term.slots, item.slot))
        return self._values(term, setting) != 0

    def _values(self, term: LoweredTerm, setting: _Setting) -> UInt16[np.ndarray, "choices objects"]:
        values = np.broadcast_to(setting.values[term.local], (len(setting.joint), self._objects))
        for slot in term.slots:
            values = self._tables.take(setting.functions[:, slot, None] * self._objects + values)
        return values


def _is_drawn(terms: tuple[LoweredTerm, ...], setting: _Setting) -> bool:
    return any(term.slots or term.local in setting.drawn for term in terms)


def _by_site(items: _Items, choices: int) -> Iterator[tuple[Int64[np.ndarray, " chosen"], _Items]]:
    """Part the choices by the sites of their calls."""
    differing = [place for place, (_, _, sites) in enumerate(items) if sites is not None]
    every = np.arange(choices)
    if not differing:
        yield every, items
        return
    sites = np.stack([items[place][2] for place in differing], axis=1)
    kinds, kind = np.unique(sites, axis=0, return_inverse=True)
    for number, own in enumerate(kinds.tolist()):
        chosen = every[kind.ravel() == number]
        site_of = dict(zip(differing, own, strict=True))
        yield chosen, [
            (replace(item, site=site_of[place]) if isinstance(item, Called) and place in site_of else item,
             columns[chosen], None)
            for place, (item, columns, _) in enumerate(items)
        ]  # fmt: skip


def _replaced(
    partials: Partials,
    entry: Int64[np.ndarray, " choices"],
    probability: Float64[np.ndarray, " choices"],
    items: _Items,
) -> Partials:
    """Put items in the place of the call that is pending first."""
    forms, columns = _joined(items)
    rest = partials.without_first()
    width = rest.form.width
    data = rest.data[entry]
    form = replace(rest.form, items=(*forms, *rest.form.items))
    data = np.concatenate([data[:, :width], *columns, data[:, width:]], axis=1)
    return Partials(form, partials.chain[entry], partials.source[entry], probability, data)


def _joined(items: _Items) -> tuple[list[Pending], list[Columns]]:
    """Take fixed tokens that stand side by side together."""
    forms: list[Pending] = []
    columns: list[Columns] = []
    for item, own, _ in items:
        last = forms[-1] if forms else None
        if isinstance(item, Fixed) and isinstance(last, Fixed):
            forms[-1] = Fixed(last.width + item.width, last.drawn or item.drawn)
            columns[-1] = compacted(np.concatenate([columns[-1], own], axis=1))
        else:
            forms.append(item)
            columns.append(own)
    return forms, columns


def _outside(
    items: tuple[LoweredItem, ...], is_scope: Callable[[LoweredBlock], bool]
) -> Iterator[LoweredItem]:
    """Yield the items that stand in no block, but in scopes and branches of `if`."""
    for item in items:
        yield item
        if isinstance(item, LoweredIf):
            yield from _outside(item.then, is_scope)
            yield from _outside(item.otherwise, is_scope)
        elif isinstance(item, LoweredBlock) and is_scope(item):
            yield from _outside(item.body, is_scope)


def _rules_with_blocks(sites: Sites) -> frozenset[str]:
    """Return the rules that print blocks or repeat something, themselves or by rules that they call."""
    calls: dict[str, set[str]] = {}
    found: set[str] = set()
    for site in sites.sites:
        for production in site.productions:
            for item in lowered_walk(production.lowered.items):
                if isinstance(item, LoweredCall):
                    calls.setdefault(site.rule, set()).add(item.rule)
                elif isinstance(item, LoweredBlock | LoweredRepeat):
                    found.add(site.rule)
    while more := {rule for rule, called in calls.items() if called & found} - found:
        found |= more
    return frozenset(found)


def _stochastic(block: LoweredBlock) -> ExactnessError:
    word = "some" if block.law is None else "each"
    return ExactnessError(
        f"A loop's body holds `{word}`, itself or by a rule that it calls, so that a row is no function of the "
        "loop's object. Exact theory needs bodies that print the same whenever their object comes. Take the block "
        "out of the loop."
    )
