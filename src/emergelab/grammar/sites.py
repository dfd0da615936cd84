"""Sites: the rules of a language as its training corpus uses them, with what is held out taken away.

Without hold-outs a site is a rule. With hold-outs it is a rule together with what its attributes are
functions of, since which functions a `let` may draw depends on what they are applied to. In every production
of a site the draws are conditioned jointly on printing no held-out function table; the probabilities of the
productions stay as they are.

A printed object is a function of the row's variable, and of every object printed on the way to it: behind
`x a(x)`, the term `c(b(a(x)))` shows c ∘ b of a(x) as well as c ∘ b ∘ a of x. The tables of all of these are
its *relations*, and none of them may be held out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt16

from emergelab.errors import GrammarError
from emergelab.grammar.language import Language, family_weights
from emergelab.grammar.lowering import (
    LoweredCall,
    LoweredPrint,
    LoweredProduction,
    LoweredTerm,
    lower_production,
    lowered_walk,
)
from emergelab.grammar.syntax import START, Production, Rule

LawName = Literal["full", "train"]

# The tables that lead to an object from the row's variable and from the objects printed on the way, sorted;
# those that differ from document to document are left out. Empty where nothing is held out.
Relations: TypeAlias = tuple[bytes, ...]

_MOST_SITES = 100_000
_MOST_JOINT_DRAWS = 4_000_000
_MOST_EXAMINED = 40_000_000


@dataclass(frozen=True, eq=False)
class SiteProduction:
    """A production at a site.

    The joint draws are numbered with the last draw varying fastest. `allowed`, bool[joint draws], is None
    where all are; `calls[c]` holds the site that call c leads to, int64[joint draws] or int64[1] where it is
    the same for all.
    """

    probability: float
    lowered: LoweredProduction
    counts: tuple[int, ...]
    allowed: Bool[np.ndarray, " joint"] | None
    calls: tuple[Int64[np.ndarray, " joint_or_one"], ...]

    @property
    def joint_draws(self) -> int:
        """How many joint draws there are, held out or not."""
        return int(np.prod(self.counts, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Site:
    """A rule with the relations of its attributes."""

    rule: str
    attributes: tuple[Relations, ...]
    productions: tuple[SiteProduction, ...]


@dataclass(frozen=True, eq=False)
class Sites:
    """All sites that derivations from `Document` reach under a law; site 0 is `Document`."""

    language: Language
    law: LawName
    sites: tuple[Site, ...]


def explore(language: Language, law: LawName) -> Sites:
    """Find all sites of the language under `law`: `full` as written, `train` with hold-outs taken away.

    Raises GrammarError if a hold-out leaves a production no functions to draw, or if there are too many
    sites to enumerate.
    """
    explorer = _Explorer(language, law)
    explorer.number(START, ())
    done: list[Site] = []
    while len(done) < len(explorer.found):
        done.append(explorer.site(*explorer.found[len(done)]))
    return Sites(language, law, tuple(done))


def function_choices(language: Language, production: SiteProduction) -> Int64[np.ndarray, "joint draws"]:
    """Return the function numbers of all joint draws of a production, held out or not."""
    firsts = [language.functions(draw.family).start for draw in production.lowered.draws]
    return _joint_indices(production.counts).T + np.array(firsts, dtype=np.int64)


def draw_probabilities(language: Language, production: SiteProduction) -> Float64[np.ndarray, " joint"]:
    """Return the probabilities of the joint draws, 0 for what is held out; they sum to 1."""
    joint = np.ones(1)
    for draw in production.lowered.draws:
        joint = np.outer(joint, family_weights(language.family(draw.family))).ravel()
    if production.allowed is not None:
        joint = np.where(production.allowed, joint, 0.0)
    return joint / joint.sum()


def printed_tables(sites: Sites) -> set[bytes]:
    """Return every function table that a derivation under these sites can print, final or on the way.

    The law has to be one that holds something out: otherwise sites do not tell what rules are applied to.
    """
    return {
        table.tobytes()
        for site in sites.sites
        for production in site.productions
        for relation in _printed_relations(sites.language, site, production)
        for table in np.unique(relation, axis=0)
    }


def _printed_relations(
    language: Language, site: Site, production: SiteProduction
) -> Iterator[UInt16[np.ndarray, "kept objects"]]:
    terms = _Terms(language, site.attributes, production.lowered, production.counts)
    for term in terms.printed:
        for relation in terms.relations(term):
            yield relation if production.allowed is None else relation[production.allowed]


def _joint_indices(counts: tuple[int, ...]) -> Int64[np.ndarray, "draws joint"]:
    """Return the number of each draw's function in every joint draw; without draws there is one."""
    joint = int(np.prod(counts, dtype=np.int64))
    return np.indices(counts, dtype=np.int64).reshape(len(counts), joint)


class _Terms:
    """The terms of a production at a site and the tables that lead to them, for all joint draws at once."""

    def __init__(
        self,
        language: Language,
        attributes: tuple[Relations, ...],
        lowered: LoweredProduction,
        counts: tuple[int, ...],
    ) -> None:
        self._language = language
        self._attributes = attributes
        self._families = [language.family(draw.family) for draw in lowered.draws]
        grids = _joint_indices(counts)
        self._functions = [
            language.functions(family.name).start + grid
            for family, grid in zip(self._families, grids, strict=True)
        ]
        self.joint = grids.shape[1]
        self._identity = np.arange(language.objects, dtype=np.uint16)
        self.printed = [item.term for item in lowered_walk(lowered.items) if isinstance(item, LoweredPrint)]

    def relations(self, term: LoweredTerm) -> list[UInt16[np.ndarray, "joint objects"]]:
        """Return the term's tables for each joint draw: from the row's variable and from what is printed."""
        roots = self.roots(term.local)
        behind = {
            term.slots[len(other.slots) :]
            for other in self.printed
            if other.local == term.local and 0 < len(other.slots) < len(term.slots)
            and other.slots == term.slots[: len(other.slots)]
        }  # fmt: skip
        paths = [(root, term.slots) for root in roots] + [(self._identity, slots) for slots in sorted(behind)]
        return [self._applied(root, slots) for root, slots in paths if self._is_constant(slots)]

    def roots(self, local: int) -> list[UInt16[np.ndarray, " objects"]]:
        """Return the tables that lead to a variable or attribute."""
        if local >= len(self._attributes):
            return [self._identity]
        return [np.frombuffer(table, dtype=np.uint16) for table in self._attributes[local]]

    def handed_over(self, term: LoweredTerm, *, may_print: bool) -> list[UInt16[np.ndarray, "joint objects"]]:
        """Return the relations of an argument: with the identity where the object itself may be printed."""
        relations = self.relations(term)
        if may_print or term in self.printed:
            relations.append(self._applied(self._identity, ()))
        return relations

    def _is_constant(self, slots: tuple[int, ...]) -> bool:
        """Tell whether functions are the same in all documents."""
        return all(self._families[slot].scope == "corpus" for slot in slots)

    def _applied(
        self, root: UInt16[np.ndarray, " objects"], slots: tuple[int, ...]
    ) -> UInt16[np.ndarray, "joint objects"]:
        tables = np.broadcast_to(root, (self.joint, len(root)))
        for slot in slots:
            tables = self._language.tables.take(self._functions[slot][:, None] * len(root) + tables)
        return np.ascontiguousarray(tables)


class _Explorer:
    """Finds sites breadth first and numbers them."""

    def __init__(self, language: Language, law: LawName) -> None:
        self._language = language
        self._held_out = language.held_out if law == "train" else frozenset[bytes]()
        self._lowered = {
            rule.name: [lower_production(rule.parameters, p.items) for p in rule.productions]
            for rule in language.syntax.rules
        }
        self._examined = 0
        self._prints_bare = _bare_parameters(self._lowered)
        self._numbers: dict[tuple[str, tuple[Relations, ...]], int] = {}
        self.found: list[tuple[str, tuple[Relations, ...]]] = []

    def number(self, rule: str, attributes: tuple[Relations, ...]) -> int:
        """Return the number of a site, a new one if it has not been seen."""
        key = (rule, attributes)
        if key not in self._numbers:
            if len(self.found) >= _MOST_SITES:
                raise GrammarError(
                    f"The grammar applies rule {rule} to more than {_MOST_SITES:,} different function tables, "
                    "too many to prove that no held-out one is printed. Use a smaller world or less nesting."
                )
            self._numbers[key] = len(self.found)
            self.found.append(key)
        return self._numbers[key]

    def site(self, rule_name: str, attributes: tuple[Relations, ...]) -> Site:
        """Work out the productions of a site."""
        rule = self._language.syntax.rule(rule_name)
        if rule is None:
            raise KeyError(rule_name)
        productions = tuple(
            self._production(rule, production, lowered, attributes)
            for production, lowered in zip(rule.productions, self._lowered[rule_name], strict=True)
        )
        return Site(rule_name, attributes, productions)

    def _production(
        self,
        rule: Rule,
        production: Production,
        lowered: LoweredProduction,
        attributes: tuple[Relations, ...],
    ) -> SiteProduction:
        counts = tuple(self._language.family(draw.family).count for draw in lowered.draws)
        calls = [item for item in lowered_walk(lowered.items) if isinstance(item, LoweredCall)]
        if not self._held_out:
            sites = tuple(np.array([self._untracked(call)]) for call in calls)
            return SiteProduction(production.probability, lowered, counts, None, sites)
        self._require_few(rule, production, counts)
        terms = _Terms(self._language, attributes, lowered, counts)
        allowed = self._allowed(calls, terms)
        if not allowed.any():
            raise GrammarError(
                f"The hold-out leaves a production of rule {rule.name} (line {production.at.line}) no functions "
                "to draw. Hold out a smaller share, or use a larger family."
            )
        sites = tuple(self._call_sites(call, terms, allowed) for call in calls)
        return SiteProduction(
            production.probability, lowered, counts, None if allowed.all() else allowed, sites
        )

    def _untracked(self, call: LoweredCall) -> int:
        return self.number(call.rule, ((),) * len(call.arguments))

    def _require_few(self, rule: Rule, production: Production, counts: tuple[int, ...]) -> None:
        joint = math.prod(counts)
        self._examined += joint
        if joint > _MOST_JOINT_DRAWS or self._examined > _MOST_EXAMINED:
            raise GrammarError(
                f"A production of rule {rule.name} (line {production.at.line}) draws its functions in {joint:,} "
                f"ways, for {len(self.found):,} function tables or more that the rules are applied to. With a "
                f"hold-out at most {_MOST_JOINT_DRAWS:,} ways of one production and {_MOST_EXAMINED:,} in all can "
                "be examined. Use smaller families, fewer draws in one production, or less nesting."
            )

    def _allowed(self, calls: list[LoweredCall], terms: _Terms) -> Bool[np.ndarray, " joint"]:
        """Exclude the draws for which a term printed here, or bare by a rule called, shows what is held out."""
        printed = list(terms.printed)
        for call in calls:
            bare = self._prints_bare[call.rule]
            printed.extend(term for number, term in enumerate(call.arguments) if number in bare)
        allowed = np.ones(terms.joint, dtype=bool)
        for term in dict.fromkeys(term for term in printed if term.slots):
            for relation in terms.relations(term):
                allowed &= ~_among(relation, self._held_out)
        return allowed

    def _call_sites(
        self, call: LoweredCall, terms: _Terms, allowed: Bool[np.ndarray, " joint"]
    ) -> Int64[np.ndarray, " joint_or_one"]:
        bare = self._prints_bare[call.rule]
        arguments = [
            terms.handed_over(term, may_print=number in bare) for number, term in enumerate(call.arguments)
        ]
        if not any(term.slots for term in call.arguments):
            return np.array([self.number(call.rule, _at(arguments, 0))])
        sites = np.zeros(terms.joint, dtype=np.int64)
        for joint in np.flatnonzero(allowed):
            sites[joint] = self.number(call.rule, _at(arguments, int(joint)))
        return sites


def _at(arguments: list[list[UInt16[np.ndarray, "joint objects"]]], joint: int) -> tuple[Relations, ...]:
    """Return the arguments' relations for one joint draw."""
    return tuple(
        tuple(sorted({relation[joint].tobytes() for relation in relations})) for relations in arguments
    )


def _bare_parameters(lowered: dict[str, list[LoweredProduction]]) -> dict[str, set[int]]:
    """Return, for each rule, the attributes that it may print with no function of its own applied."""
    bare: dict[str, set[int]] = {rule: set() for rule in lowered}
    changed = True
    while changed:
        changed = False
        for rule, productions in lowered.items():
            before = len(bare[rule])
            for production in productions:
                bare[rule].update(_bare_locals(production, bare))
            changed = changed or len(bare[rule]) > before
    return bare


def _bare_locals(production: LoweredProduction, bare: dict[str, set[int]]) -> Iterator[int]:
    for item in lowered_walk(production.items):
        if isinstance(item, LoweredPrint) and not item.term.slots:
            yield item.term.local
        if isinstance(item, LoweredCall):
            for number, term in enumerate(item.arguments):
                if number in bare[item.rule] and not term.slots:
                    yield term.local


def _among(
    tables: UInt16[np.ndarray, "joint objects"], held_out: frozenset[bytes]
) -> Bool[np.ndarray, " joint"]:
    """Tell which tables are held out."""
    return np.fromiter((table.tobytes() in held_out for table in tables), dtype=bool, count=len(tables))


def compositions(language: Language, families: tuple[str, ...]) -> UInt16[np.ndarray, "compositions objects"]:
    """Return the tables of all compositions of one function of each family, in the order of application."""
    tables = np.arange(language.objects, dtype=np.uint16)[None]
    for family in families:
        functions = language.tables[list(language.functions(family))]
        tables = np.concatenate([functions[:, table] for table in tables])
    return tables


def shorter_compositions(language: Language, families: tuple[str, ...]) -> set[bytes]:
    """Return the tables of the identity and of all compositions of fewer functions of these families."""
    names = sorted(set(families))
    return {
        table.tobytes()
        for length in range(len(families))
        for chosen in itertools.product(names, repeat=length)
        for table in compositions(language, chosen)
    }
