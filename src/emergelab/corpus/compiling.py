"""From the sites of a language to the arrays that the sampler runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import UInt16

from emergelab.corpus.templates import Column, Fork, Leaf, Tree, plain_tree, repeating_rules, repeats
from emergelab.errors import GrammarError
from emergelab.grammar.language import Language, family_weights
from emergelab.grammar.lowering import (
    LoweredBlock,
    LoweredCall,
    LoweredIf,
    LoweredItem,
    LoweredPrint,
    LoweredProduction,
    LoweredRepeat,
    LoweredTerm,
    LoweredTerminal,
)
from emergelab.grammar.sites import Site, SiteProduction, Sites, draw_probabilities
from emergelab.grammar.syntax import Draw, Law
from emergelab.kernels import sampling as k
from emergelab.kernels.aliases import walker_tables

_LAWS = {"stop": k.STOP, "power": k.POWER, "all": k.ALL, "uniform": k.BETWEEN}
_KINDS = {"permutation": k.PERMUTATION, "map": k.MAP, "predicate": k.PREDICATE}

_Tables: TypeAlias = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Program:
    """A grammar as arrays, in the layout that `kernels.sampling` describes."""

    whole: np.ndarray
    weights: np.ndarray
    tables: UInt16[np.ndarray, "functions objects"]


def compile_sites(sites: Sites) -> Program:
    """Return the sampler's program for the language and law of `sites`.

    Raises GrammarError for a world or grammar that is too large for the sampler.
    """
    functions = len(sites.language.tables)
    if functions > k.MOST_FUNCTIONS:
        raise GrammarError(
            f"The world has {functions:,} functions. Labels of tokens can tell at most {k.MOST_FUNCTIONS:,} "
            "apart. Use smaller families."
        )
    return _Compiler(sites).program()


class _Compiler:
    """Collects the arrays of a program, production by production."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites
        self._language = sites.language
        self._repeating = repeating_rules(sites)
        self._code: list[int] = []
        self._plain: list[int] = []
        self._laws: list[tuple[float, ...]] = []
        self._object_laws: list[Law] = []
        self._object_weights: list[np.ndarray] = []
        self._call_sites: list[np.ndarray] = []
        self._call_sites_size = 0
        self._choices: list[np.ndarray] = []
        self._choices_size = 0
        self._choice_tables: list[_Tables] = []
        self._choice_tables_size = 0
        self._step = 1
        self._productions: list[tuple[float, ...]] = []  # code, locals, draw, draws, block, choice, …
        self._draws: list[tuple[float, ...]] = []  # first, count, weighted, stride
        self._production_tables: list[_Tables] = []

    def program(self) -> Program:
        """Compile all sites."""
        for site in self._sites.sites:
            self._site(site)
        counts = [len(site.productions) for site in self._sites.sites]
        parts: dict[str, np.ndarray] = {
            "site_first": np.cumsum([0, *counts[:-1]]),
            "site_count": np.array(counts),
            "call_site": _concatenated(self._call_sites),
            "code": np.array(self._code),
            "plain": np.array(self._plain, dtype=np.int64),
            "choice": _concatenated(self._choices),
            "object_weight": _concatenated(self._object_weights),
            **_named(
                "code locals draw draws block choice choices choice_table", "production_", self._productions
            ),
            **_named("first count weighted stride", "draw_", self._draws),
            **_named("kind a b", "law_", self._laws),
            **_named("function kind density", "fresh_", _fresh_functions(self._language)),
            **_walker_parts("production", self._production_tables),
            **_walker_parts("function", _function_tables(self._language)),
            **_walker_parts("choice", self._choice_tables),
            **_walker_parts("object", [walker_tables(weights) for weights in self._object_weights]),
        }
        whole, weights = _packed(parts, self._language.vocabulary.first_object, self._step)
        return Program(whole, weights, self._language.tables)

    def _site(self, site: Site) -> None:
        probabilities = np.array([production.probability for production in site.productions])
        self._production_tables.append(walker_tables(probabilities))
        for production in site.productions:
            self._production(production)

    def _production(self, production: SiteProduction) -> None:
        lowered = production.lowered
        self._step = max(self._step, lowered.locals, len(lowered.draws))
        code, number = len(self._code), len(self._productions)
        draws = (len(self._draws), len(lowered.draws))
        self._productions.append((code, lowered.locals, *draws, -1, *self._choice(production)))
        needs_number = production.allowed is not None or any(len(sites) > 1 for sites in production.calls)
        strides = np.cumprod([1, *production.counts[:0:-1]])[::-1] if needs_number else _zeros(lowered.draws)
        for draw, stride in zip(lowered.draws, strides, strict=False):
            functions = self._language.functions(draw.family)
            self._draws.append((functions.start, len(functions), self._is_weighted(draw), int(stride)))
        self._items(lowered.items, production)
        if self._is_plain_block(lowered, code):
            self._productions[number] = (*self._productions[number][:4], code, *self._productions[number][5:])
        self._code.append(k.RETURN)

    def _choice(self, production: SiteProduction) -> tuple[int, int, int]:
        """Return where the production's allowed joint draws begin, how many they are, where their table begins."""
        if production.allowed is None:
            return -1, 0, -1
        allowed = np.flatnonzero(production.allowed)
        first, table = self._choices_size, -1
        self._choices.append(allowed)
        self._choices_size += len(allowed)
        if any(self._is_weighted(draw) for draw in production.lowered.draws):
            table = self._choice_tables_size
            probabilities = draw_probabilities(self._language, production)[allowed]
            self._choice_tables.append(walker_tables(probabilities))
            self._choice_tables_size += len(allowed)
        return first, len(allowed), table

    def _is_weighted(self, draw: Draw) -> bool:
        return self._language.family(draw.family).power != 0

    def _items(self, items: tuple[LoweredItem, ...], production: SiteProduction) -> None:
        for item in items:
            self._item(item, production)

    def _item(self, item: LoweredItem, production: SiteProduction) -> None:
        match item:
            case LoweredTerminal():
                self._code += [k.TERMINAL, self._language.vocabulary.terminal(item.text)]
            case LoweredPrint():
                self._code += [k.PRINT, *self._term(item.term)]
            case LoweredCall():
                self._code += [k.CALL, *self._call(item, production)]
            case LoweredRepeat():
                self._code += [k.REPEAT, self._law(item.law), *self._call(item.call, production)]
            case LoweredBlock():
                self._block(item, production)
            case LoweredIf():
                self._code += [k.IF, item.slot, *self._term(item.term)]
                self._items(item.then, production)
                self._code.append(k.ELSE)
                self._items(item.otherwise, production)
                self._code.append(k.END_IF)

    def _block(self, item: LoweredBlock, production: SiteProduction) -> None:
        is_scope = item.law is None and repeats(item.body, self._repeating)
        distinct = item.law is not None and (item.distinct or item.law.name == "all")
        tree = None if is_scope else plain_tree(self._sites, production, item)
        law = -1 if item.law is None else self._law(item.law)
        kind = k.SCOPE if is_scope else k.SOME if item.law is None else k.EACH
        plain = -1 if tree is None else self._plant(tree)
        self._code += [kind, item.local, law, self._object_law(item.weights), int(distinct), plain, -1]
        behind = len(self._code) - 1
        self._items(item.body, production)
        self._code.append(k.END)
        self._code[behind] = len(self._code)

    def _is_plain_block(self, lowered: LoweredProduction, code: int) -> bool:
        """Tell whether a production, whose code begins at `code`, is nothing but a plain block."""
        is_block = len(lowered.items) == 1 and isinstance(lowered.items[0], LoweredBlock)
        return is_block and self._code[code + k.BLOCK_PLAIN] >= 0

    def _plant(self, tree: Tree) -> int:
        """Write a plain block's tree, branches before forks, and return where its root stands."""
        match tree:
            case Fork(site, branches):
                node = [site, *(self._plant(branch) for branch in branches)]
            case Leaf(columns, draws):
                self._step = max(self._step, draws)
                node = [k.LEAF, len(columns), *(number for column in columns for number in _column(column))]
        self._plain += node
        return len(self._plain) - len(node)

    def _call(self, call: LoweredCall, production: SiteProduction) -> list[int]:
        sites = production.calls[call.number]
        offset = self._call_sites_size
        self._call_sites.append(sites)
        self._call_sites_size += len(sites)
        self._step = max(self._step, len(call.arguments))
        arguments = [number for term in call.arguments for number in self._term(term)]
        return [offset, int(len(sites) > 1), len(call.arguments), *arguments]

    def _term(self, term: LoweredTerm) -> list[int]:
        self._step = max(self._step, len(term.slots))
        return [term.local, len(term.slots), *term.slots]

    def _law(self, law: Law) -> int:
        self._laws.append((_LAWS[law.name], *_law_numbers(law)))
        return len(self._laws) - 1

    def _object_law(self, law: Law) -> int:
        """Return the number of an object law, -1 for the uniform one."""
        if law.name == "uniform":
            return -1
        if law not in self._object_laws:
            weights = np.arange(1, self._language.objects + 1, dtype=np.float64) ** -law.numbers[0]
            self._object_laws.append(law)
            self._object_weights.append(weights)
        return self._object_laws.index(law)


def _column(column: Column) -> list[int]:
    """Return a column of a plain block in the layout of the sampler."""
    places = [*_filled(column.chain, k.PLAIN_FUNCTIONS), *_filled(column.needed, k.SKILL_FIELDS)]
    return [column.token, column.role, len(column.chain), len(column.needed), *places]


def _filled(places: tuple[int, ...], size: int) -> list[int]:
    return [*places, *[0] * (size - len(places))]


def _zeros(draws: tuple[Draw, ...]) -> list[int]:
    return [0] * len(draws)


def _law_numbers(law: Law) -> tuple[float, float]:
    """Return the two numbers from which the sampler draws: a law's own, or what would be computed again."""
    match law.name:
        case "stop":
            stop = law.numbers[0]
            return stop, 1 / math.log1p(-stop) if stop < 1 else 0.0
        case "power":
            return law.numbers[0], -1 / law.numbers[0]
        case "uniform":
            return law.numbers[0], law.numbers[1]
        case "all":
            return 0.0, 0.0


def _packed(parts: dict[str, np.ndarray], first_object: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Lay the parts one after the other behind a header that says where each begins."""
    header = [
        *_offsets([len(parts[name]) for name in k.WHOLE_PARTS], k.HEADER),
        *_offsets([len(parts[name]) for name in k.WEIGHT_PARTS], 0),
        len(parts["fresh_function"]),
        first_object,
        step,
    ]
    whole = np.concatenate([np.array(header), *(parts[name] for name in k.WHOLE_PARTS)])
    weights = np.concatenate([parts[name] for name in k.WEIGHT_PARTS])
    if np.abs(whole).max() > np.iinfo(np.int32).max:
        raise GrammarError(
            f"Sampled with its hold-outs, the grammar takes {len(whole):,} numbers; 2,147,483,647 can be "
            "addressed. Use smaller families or less nesting."
        )
    return whole.astype(np.int32), weights.astype(np.float64)


def _offsets(lengths: list[int], first: int) -> list[int]:
    return [first, *(first + np.cumsum(lengths[:-1])).tolist()]


def _named(names: str, prefix: str, rows: list[tuple[float, ...]]) -> dict[str, np.ndarray]:
    """Return the columns of `rows` under their names, also where there are no rows."""
    return {
        prefix + name: np.array([row[column] for row in rows]) for column, name in enumerate(names.split())
    }


def _walker_parts(name: str, tables: list[_Tables]) -> dict[str, np.ndarray]:
    return {
        f"{name}_cut": _concatenated([cut for cut, _ in tables]),
        f"{name}_alias": _concatenated([alias for _, alias in tables]),
    }


def _concatenated(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.zeros(0, dtype=np.int64)


def _function_tables(language: Language) -> list[_Tables]:
    return [walker_tables(family_weights(family)) for family in language.syntax.world.families]


def _fresh_functions(language: Language) -> list[tuple[float, ...]]:
    """Return the functions that each document draws anew: number, kind, density."""
    return [
        (number, _KINDS[family.kind], family.density or 0.0)
        for family in language.syntax.world.families
        if family.scope == "document"
        for number in language.functions(family.name)
    ]
