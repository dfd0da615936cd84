"""Plain blocks: loops, and `some`, whose rows have a form that is known but for choices of productions.

Their bodies hold tokens, terms of their own object, and calls of rules of which the same is true. Every choice of
productions then prints columns known beforehand, each a token or a chain of functions drawn on the way; the
roles of the columns and the functions that they need follow from the chains. Where the label of a column hangs
on whether two draws hit the same function, the block is not plain, and the sampler derives it in full.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from emergelab.grammar.lowering import (
    LoweredBlock,
    LoweredCall,
    LoweredItem,
    LoweredPrint,
    LoweredProduction,
    LoweredRepeat,
    LoweredTerm,
    LoweredTerminal,
)
from emergelab.grammar.sites import SiteProduction, Sites
from emergelab.kernels import sampling as k

Chain: TypeAlias = tuple[int, ...]
"""Places of functions among the draws of a path through a block, in the order of application."""

_MOST_LEAVES = 64
_MOST_WIDTH = 64
_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class Column:
    """What a row prints at one place: a token of the vocabulary, or an object (`token` -1) with its chain."""

    token: int
    role: int
    chain: Chain
    needed: Chain


@dataclass(frozen=True, slots=True)
class Leaf:
    """The columns of a row, all choices made; `draws` counts the functions drawn for them."""

    columns: tuple[Column, ...]
    draws: int


@dataclass(frozen=True, slots=True)
class Fork:
    """The choice of a production of a site, with what follows each of them."""

    site: int
    branches: tuple[Tree, ...]


Tree: TypeAlias = Leaf | Fork


class _NotPlain(Exception):  # noqa: N818 - a signal
    """The block cannot be laid out beforehand."""


def plain_tree(sites: Sites, production: SiteProduction, block: LoweredBlock) -> Tree | None:
    """Return the tree of a block in a production, None where it is not plain."""
    place = _Place(production, 0, {block.local: ()})
    path = _Path((), tuple(draw.family for draw in production.lowered.draws))
    try:
        return _Grower(sites).grow(((block.body, place),), path)
    except _NotPlain:
        return None


def repeating_rules(sites: Sites) -> frozenset[str]:
    """Return the rules that may repeat a call, themselves or through rules called, outside loops and `if`."""
    lowered: dict[str, list[LoweredProduction]] = {}
    for site in sites.sites:
        lowered.setdefault(site.rule, [production.lowered for production in site.productions])
    rules: frozenset[str] = frozenset()
    while True:
        found = frozenset(
            rule for rule, all_of in lowered.items() if any(repeats(one.items, rules) for one in all_of)
        )
        if found == rules:
            return rules
        rules = found


def repeats(items: tuple[LoweredItem, ...], rules: frozenset[str]) -> bool:
    """Tell whether items may repeat a call outside loops and `if`; `rules` are those known to do so."""
    for item in items:
        match item:
            case LoweredRepeat():
                return True
            case LoweredCall() if item.rule in rules:
                return True
            case LoweredBlock() if item.law is None and repeats(item.body, rules):
                return True
            case _:
                pass
    return False


@dataclass(frozen=True, slots=True)
class _Place:
    """A production on the way: the place of its first draw, and the chains of the variables that are known."""

    production: SiteProduction
    base: int
    variables: dict[int, Chain]

    def chain(self, term: LoweredTerm) -> Chain:
        if term.local not in self.variables:
            raise _NotPlain
        return self.variables[term.local] + tuple(self.base + slot for slot in term.slots)


@dataclass(frozen=True, slots=True)
class _Path:
    """What has been printed on a path, terminals as texts, and the families of its draws; `depth` counts calls."""

    printed: tuple[Chain | str, ...]
    families: tuple[str, ...]
    depth: int = 0

    def with_printed(self, what: Chain | str) -> _Path:
        if len(self.printed) >= _MOST_WIDTH:
            raise _NotPlain
        return replace(self, printed=(*self.printed, what))


_Todo: TypeAlias = tuple[tuple[tuple[LoweredItem, ...], _Place], ...]
"""What is still to be printed, last things first."""


class _Grower:
    """Grows a tree, production by production, and gives up where it becomes too large."""

    def __init__(self, sites: Sites) -> None:
        self._sites = sites
        self._leaves = 0

    def grow(self, todo: _Todo, path: _Path) -> Tree:
        """Print what there is to do; raises _NotPlain."""
        if not todo:
            return self._leaf(path)
        *rest, (items, place) = todo
        if not items:
            return self.grow(tuple(rest), path)
        behind = (*rest, (items[1:], place))
        match items[0]:
            case LoweredTerminal(text):
                return self.grow(behind, path.with_printed(text))
            case LoweredPrint(term):
                return self.grow(behind, path.with_printed(place.chain(term)))
            case LoweredCall() as call:
                return self._fork(call, place, behind, path)
            case _:
                raise _NotPlain

    def _fork(self, call: LoweredCall, place: _Place, behind: _Todo, path: _Path) -> Fork:
        sites = place.production.calls[call.number]
        if len(sites) > 1 or path.depth >= _DEEPEST:
            raise _NotPlain
        attributes = {number: place.chain(term) for number, term in enumerate(call.arguments)}
        branches: list[Tree] = []
        for production in self._sites.sites[int(sites[0])].productions:
            inner = _Place(production, len(path.families), attributes)
            families = path.families + tuple(draw.family for draw in production.lowered.draws)
            todo = (*behind, (production.lowered.items, inner))
            branches.append(self.grow(todo, replace(path, families=families, depth=path.depth + 1)))
        return Fork(int(sites[0]), tuple(branches))

    def _leaf(self, path: _Path) -> Leaf:
        self._leaves += 1
        if self._leaves > _MOST_LEAVES or not path.printed:
            raise _NotPlain
        return Leaf(tuple(self._columns(path)), len(path.families))

    def _columns(self, path: _Path) -> Iterator[Column]:
        objects = [number for number, what in enumerate(path.printed) if not isinstance(what, str)]
        vocabulary = self._sites.language.vocabulary
        before: list[Chain] = []
        for number, what in enumerate(path.printed):
            if isinstance(what, str):
                role = k.OTHER if objects and number < objects[-1] else k.SEPARATOR
                yield Column(vocabulary.terminal(what), role, (), ())
            else:
                needed = _needed(before, what, path.families)
                if max(len(what), len(needed)) > k.PLAIN_FUNCTIONS:
                    raise _NotPlain
                role = k.ANSWER if number == objects[-1] else k.INTERMEDIATE
                yield Column(-1, role if before else k.ARGUMENT, what, needed)
                before.append(what)


def _needed(before: list[Chain], chain: Chain, families: tuple[str, ...]) -> Chain:
    """Return the draws between a term and the nearest one printed before it, the last of several."""
    steps = [_steps(other, chain, families) for other in reversed(before)]
    return min(steps, key=len, default=())


def _steps(start: Chain, goal: Chain, families: tuple[str, ...]) -> Chain:
    """Return the draws that lead from one term to another.

    Raises _NotPlain where two draws that may hit the same function stand at the same place: how much the terms
    share is not known beforehand then.
    """
    shared = 0
    for first, second in zip(start, goal, strict=False):
        if first != second:
            if families[first] == families[second]:
                raise _NotPlain
            break
        shared += 1
    return start[shared:][::-1] + goal[shared:]
