"""Sites: the rules of a language as its training corpus uses them, with what is held out taken away.

Without hold-outs a site is a rule. With hold-outs it is a rule together with the function tables of its
attributes, since which functions a `let` may draw depends on what they are applied to. In every production
of a site the draws are conditioned jointly on printing no held-out function table; the probabilities of the
productions stay as they are.
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

# The function table of an attribute; None where it is not the same in all documents or does not matter.
AttributeTable: TypeAlias = "bytes | None"

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
    """A rule with the tables of its attributes."""

    rule: str
    attributes: tuple[AttributeTable, ...]
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
    found: set[bytes] = set()
    for site in sites.sites:
        for production in site.productions:
            tables = _TermTables(sites.language, site.attributes, production.lowered, production.counts)
            for item in lowered_walk(production.lowered.items):
                if isinstance(item, LoweredPrint):
                    printed = tables.of(item.term)
                    if printed is not None:
                        kept = printed if production.allowed is None else printed[production.allowed]
                        found.update(row.tobytes() for row in np.unique(kept, axis=0))
    return found


def _joint_indices(counts: tuple[int, ...]) -> Int64[np.ndarray, "draws joint"]:
    """Return the number of each draw's function in every joint draw; without draws there is one."""
    joint = int(np.prod(counts, dtype=np.int64))
    return np.indices(counts, dtype=np.int64).reshape(len(counts), joint)


class _TermTables:
    """The function tables of a production's terms, for all joint draws at once."""

    def __init__(
        self,
        language: Language,
        attributes: tuple[AttributeTable, ...],
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

    def of(self, term: LoweredTerm) -> UInt16[np.ndarray, "joint objects"] | None:
        """Return the term's table for each joint draw; None where documents differ in it."""
        if any(self._families[slot].scope == "document" for slot in term.slots):
            return None
        root = self._root(term.local)
        if root is None:
            return None
        tables = np.broadcast_to(root, (self.joint, len(root)))
        for slot in term.slots:
            tables = np.take_along_axis(self._language.tables[self._functions[slot]], tables, axis=1)
        return np.ascontiguousarray(tables)

    def _root(self, local: int) -> np.ndarray | None:
        if local >= len(self._attributes):
            return np.arange(self._language.objects, dtype=np.uint16)
        attribute = self._attributes[local]
        return None if attribute is None else np.frombuffer(attribute, dtype=np.uint16)


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
        self._numbers: dict[tuple[str, tuple[AttributeTable, ...]], int] = {}
        self.found: list[tuple[str, tuple[AttributeTable, ...]]] = []

    def number(self, rule: str, attributes: tuple[AttributeTable, ...]) -> int:
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

    def site(self, rule_name: str, attributes: tuple[AttributeTable, ...]) -> Site:
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
        attributes: tuple[AttributeTable, ...],
    ) -> SiteProduction:
        counts = tuple(self._language.family(draw.family).count for draw in lowered.draws)
        calls = [item for item in lowered_walk(lowered.items) if isinstance(item, LoweredCall)]
        if not self._held_out:
            sites = tuple(np.array([self._untracked(call)]) for call in calls)
            return SiteProduction(production.probability, lowered, counts, None, sites)
        self._require_few(rule, production, counts)
        tables = _TermTables(self._language, attributes, lowered, counts)
        allowed = self._allowed(lowered, calls, tables)
        if not allowed.any():
            raise GrammarError(
                f"The hold-out leaves a production of rule {rule.name} (line {production.at.line}) no functions "
                "to draw. Hold out a smaller share, or use a larger family."
            )
        sites = tuple(self._call_sites(call, tables, allowed) for call in calls)
        return SiteProduction(
            production.probability, lowered, counts, None if allowed.all() else allowed, sites
        )

    def _untracked(self, call: LoweredCall) -> int:
        return self.number(call.rule, (None,) * len(call.arguments))

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

    def _allowed(
        self, lowered: LoweredProduction, calls: list[LoweredCall], tables: _TermTables
    ) -> Bool[np.ndarray, " joint"]:
        """Exclude the draws for which a term printed here, or bare by a rule called, is held out."""
        printed = [item.term for item in lowered_walk(lowered.items) if isinstance(item, LoweredPrint)]
        for call in calls:
            bare = self._prints_bare[call.rule]
            printed.extend(term for number, term in enumerate(call.arguments) if number in bare)
        allowed = np.ones(tables.joint, dtype=bool)
        for term in printed:
            table = tables.of(term) if term.slots else None
            if table is not None:
                allowed &= ~_among(table, self._held_out)
        return allowed

    def _call_sites(
        self, call: LoweredCall, tables: _TermTables, allowed: Bool[np.ndarray, " joint"]
    ) -> Int64[np.ndarray, " joint_or_one"]:
        arguments = [tables.of(term) for term in call.arguments]
        if not any(term.slots for term in call.arguments):
            constant = tuple(None if table is None else table[0].tobytes() for table in arguments)
            return np.array([self.number(call.rule, constant)])
        sites = np.zeros(tables.joint, dtype=np.int64)
        for joint in np.flatnonzero(allowed):
            attributes = tuple(None if table is None else table[joint].tobytes() for table in arguments)
            sites[joint] = self.number(call.rule, attributes)
        return sites


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
    distinct, inverse = np.unique(tables, axis=0, return_inverse=True)
    members = np.fromiter((row.tobytes() in held_out for row in distinct), dtype=bool, count=len(distinct))
    return members[inverse.ravel()]


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
