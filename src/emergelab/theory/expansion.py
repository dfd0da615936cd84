"""What calls of rules can print: productions with all their joint draws and the objects of their scopes.

A *scope* is a `some` outside loops that holds blocks or repetitions: its object is chosen like a function, for
what is printed in it is one statement or more, and no row.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt16

from emergelab.grammar.language import family_weights
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
from emergelab.theory.partials import Called, Closed, Columns, Fixed, Opened, Partials, Pending, compacted
from emergelab.theory.refusals import ExactnessError
from emergelab.theory.segments import loop_of, object_weights

_Mask: TypeAlias = UInt16[np.ndarray, "choices objects"]
_Scopes: TypeAlias = dict[int, UInt16[np.ndarray, "1 objects"]]


@dataclass(frozen=True, slots=True, eq=False)
class _Draws:
    """A production with its joint draws that are possible, and the objects of its scopes."""

    rule: str
    production: SiteProduction
    joint: Int64[np.ndarray, " joint"]
    functions: Int64[np.ndarray, "joint slots"]
    probabilities: Float64[np.ndarray, " joint"]
    scopes: _Scopes


@dataclass(frozen=True, slots=True, eq=False)
class _Setting:
    """A production with N choices of its functions and of the objects of its scopes.

    `values` holds the tables of variables, uint16[N or 1, objects]; `drawn` names those that depend on draws.
    `holds` tells for each `if` outside blocks what its predicate says.
    """

    rule: str
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
        self._objects = sites.language.objects
        self._tables = sites.language.tables.ravel()
        self._first_object = np.uint16(sites.language.vocabulary.first_object)
        self._identity = np.arange(self._objects, dtype=np.uint16)[None]
        self._wide = _rules_with_blocks(sites)
        self._draws: dict[int, list[_Draws]] = {}

    def rule(self, site: int) -> str:
        """Return the name of a site's rule."""
        return self._sites.sites[site].rule

    def choices(self, site: int) -> int:
        """Return in how many ways a call of a site is replaced, held out or not."""
        return sum(
            math.prod(one.counts) * self._objects ** len(self._scopes(one))
            for one in self._sites.sites[site].productions
        )

    def likeliest(self, site: int, most: int) -> float:
        """Return the probability of the `most` likeliest ways to replace a call, held out or not."""
        language = self._sites.language
        shares: list[float] = []
        for production in self._sites.sites[site].productions:
            factors = [family_weights(language.family(draw.family)) for draw in production.lowered.draws]
            factors += [object_weights(scope.weights, self._objects) for scope in self._scopes(production)]
            shares += (production.probability * _largest_products(factors, most)).tolist()
        return math.fsum(heapq.nlargest(most, shares))

    def called(self, partials: Partials) -> Iterator[Partials]:
        """Derive the call that is pending first, in all ways."""
        site = partials.form.call.site
        if site not in self._draws:
            self._draws[site] = list(self._drawn(site))
        for draws in self._draws[site]:
            yield from self._produced(partials, draws)

    def _drawn(self, site: int) -> Iterator[_Draws]:
        rule, language = self._sites.sites[site].rule, self._sites.language
        for production in self._sites.sites[site].productions:
            probabilities = production.probability * draw_probabilities(language, production)
            joint = np.flatnonzero(probabilities)
            functions = function_choices(language, production)[joint]
            for scopes, weight in self._scope_values(production):
                yield _Draws(rule, production, joint, functions, probabilities[joint] * weight, scopes)

    def _scope_values(self, production: SiteProduction) -> list[tuple[_Scopes, float]]:
        """Return all objects of the scopes of a production, with their probability."""
        found: list[tuple[_Scopes, float]] = [({}, 1.0)]
        for scope in self._scopes(production):
            shares = object_weights(scope.weights, self._objects).tolist()
            found = [
                (values | {scope.local: np.full((1, self._objects), x, dtype=np.uint16)}, weight * share)
                for values, weight in found
                for x, share in enumerate(shares)
            ]
        return found

    def _scopes(self, production: SiteProduction) -> list[LoweredBlock]:
        items = _outside(production.lowered.items, self._is_scope)
        return [item for item in items if isinstance(item, LoweredBlock) and self._is_scope(item)]

    def _is_scope(self, block: LoweredBlock) -> bool:
        return block.law is None and any(
            isinstance(item, LoweredBlock | LoweredRepeat)
            or (isinstance(item, LoweredCall) and item.rule in self._wide)
            for item in lowered_walk(block.body)
        )

    def _produced(self, partials: Partials, draws: _Draws) -> Iterator[Partials]:
        """Yield what one production makes of all partial derivations with all its joint draws."""
        call = partials.form.call
        entry = np.repeat(np.arange(len(partials)), len(draws.joint))
        place = np.tile(np.arange(len(draws.joint)), len(partials))
        setting = self._setting(partials.first[entry], call, draws, place)
        mask = partials.first[entry, -1]
        probability = partials.probability[entry] * draws.probabilities[place]
        for chosen, part in self._answered(setting, inside=call.inside):
            items = self._resolved(draws.production.lowered.items, part, mask[chosen], inside=call.inside)
            for same, pending in _by_site(items, len(chosen)):
                yield _replaced(partials, entry[chosen][same], probability[chosen][same], pending)

    def _setting(
        self, columns: Columns, call: Called, draws: _Draws, place: Int64[np.ndarray, " choices"]
    ) -> _Setting:
        values = {local: columns[:, local] for local in range(call.arguments)} | draws.scopes
        drawn = frozenset(values if call.drawn else draws.scopes)
        return _Setting(
            draws.rule, draws.production, draws.joint[place], draws.functions[place], values, drawn, {}
        )

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
        self, items: tuple[LoweredItem, ...], setting: _Setting, mask: _Mask, *, inside: bool
    ) -> _Items:
        """Evaluate all terms of items; `mask`, uint16[N, objects], is 1 for the rows that they print."""
        pending: _Items = []
        for item in items:
            match item:
                case LoweredTerminal():
                    token = self._sites.language.vocabulary.terminal(item.text)
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

    def _block(self, item: LoweredBlock, setting: _Setting, mask: _Mask, *, inside: bool) -> _Items:
        if inside:
            raise _stochastic(item, setting.rule)
        if self._is_scope(item):
            return self._resolved(item.body, setting, mask, inside=False)
        none = np.empty((len(setting.joint), 0, self._objects), dtype=np.uint16)
        distinct = item.law is not None and (item.distinct or item.law.name == "all")
        loop = loop_of(item.law, item.weights, distinct=distinct)
        within = replace(setting, values=setting.values | {item.local: self._identity})
        body = self._resolved(item.body, within, mask, inside=True)
        return [(Opened(loop), none, None), *body, (Closed(), none, None)]

    def _call(
        self, item: LoweredCall, setting: _Setting, mask: _Mask, *, inside: bool
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
    differing = {place: sites for place, (_, _, sites) in enumerate(items) if sites is not None}
    every = np.arange(choices)
    if not differing:
        yield every, items
        return
    sites = np.stack(list(differing.values()), axis=1)
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


def _largest_products(
    factors: list[Float64[np.ndarray, " _factor"]], most: int
) -> Float64[np.ndarray, " products"]:
    """Return the largest products of one number of each factor, in falling order.

    With both in falling order, the product of the i-th largest and the j-th is exceeded by (i+1)(j+1) - 1 others.
    """
    products = np.ones(1)
    for factor in factors:
        ordered = -np.sort(-factor)[:most]
        parts = [products[: most // (place + 1)] * share for place, share in enumerate(ordered)]
        products = -np.sort(-np.concatenate(parts))[:most]
    return products


def _stochastic(block: LoweredBlock, rule: str) -> ExactnessError:
    word = "some" if block.law is None else "each"
    return ExactnessError(
        f"`{word}` of rule {rule} stands in the body of a loop, of this rule or of one that calls it, so that a row "
        "is no function of the loop's object. Exact theory needs bodies that print the same whenever their object "
        "comes. Take the block out of the loop."
    )
