"""All derivations of one statement by falling probability, equal ones taken together.

Partial derivations wait on an agenda and are replaced by what their next call can print, the likely ones first.
Two that have printed the same and have the same pending are one, so that rules which call themselves without
printing, and thus have finitely many tables, are enumerated to the end: what comes back to the agenda has been
there before. Others have infinitely many statements; those that are not reached are summed up by how their
first rows begin.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt16

from emergelab.grammar.bodies import PAD
from emergelab.grammar.sites import Sites
from emergelab.theory.expansion import Expansion
from emergelab.theory.flows import ROOT, Flow
from emergelab.theory.laws import at_least
from emergelab.theory.partials import Called, Closed, Fixed, Form, Opened, Partials, Pending, printed
from emergelab.theory.refusals import EnumerationError
from emergelab.theory.segments import ONE_ROW, Segments, object_weights

ANY_OBJECT = -1
"""An object, whichever, in the pattern of a remainder."""

Pattern = tuple[int, ...]

_AT_ONCE = 2_000_000  # tokens
_MOST_PATTERNS = 64
_FAR_TOO_MANY = 2


@dataclass(frozen=True, slots=True)
class Node:
    """What is pending where a part of a document begins; `data` are its columns."""

    items: tuple[Pending, ...]
    data: bytes = b""


END = Node(())


@dataclass(frozen=True, slots=True)
class Limits:
    """Where an enumeration stops: statements kept, tokens held in memory, probability that may be missing."""

    bodies: int
    tokens: int
    tolerance: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What can be printed from a node on: chains of segments by the node that follows, with probabilities.

    The probabilities and those of the remainders, by their patterns, sum to 1.
    """

    chains: dict[Node, dict[int, float]]
    remainders: dict[Pattern, float]


class Chains:
    """Numbers sequences of segments; 0 is the empty one."""

    def __init__(self) -> None:
        self.segments = Segments()
        self._parts: list[tuple[int, int]] = [(-1, -1)]
        self._numbers: dict[tuple[int, int], int] = {}

    def behind(
        self, chains: Int64[np.ndarray, " partials"], segments: Int64[np.ndarray, " partials"]
    ) -> Int64[np.ndarray, " partials"]:
        """Return the chains with a segment more."""
        pairs = zip(chains.tolist(), segments.tolist(), strict=True)
        return np.fromiter((self._behind(pair) for pair in pairs), dtype=np.int64, count=len(chains))

    def _behind(self, pair: tuple[int, int]) -> int:
        if pair not in self._numbers:
            self._numbers[pair] = len(self._parts)
            self._parts.append(pair)
        return self._numbers[pair]

    def unrolled(self, chain: int) -> list[int]:
        """Return the segments of a chain, the last one first."""
        found: list[int] = []
        while chain:
            chain, segment = self._parts[chain]
            found.append(segment)
        return found


class _Pool:
    """The partial derivations of one form, each once, with their numbers."""

    def __init__(self, form: Form, shape: tuple[int, ...]) -> None:
        self.form = form
        self.leads_to: set[Form] = set()
        self.numbers = np.zeros(0, dtype=np.int64)
        self._chain = np.zeros(0, dtype=np.int64)
        self._data = np.zeros((0, *shape), dtype=np.uint16)
        self._new: list[tuple[Int64[np.ndarray, " new"], UInt16[np.ndarray, "new columns objects"]]] = []
        self._places: dict[tuple[int, bytes], int] = {}

    def add(self, partials: Partials, flow: Flow) -> Int64[np.ndarray, " partials"]:
        """Add partial derivations, those that are new to the flow, too; return their numbers."""
        places = np.empty(len(partials), dtype=np.int64)
        new: list[int] = []
        for entry, key in enumerate(_keys(partials)):
            place = self._places.get(key)
            if place is None:
                place = self._places[key] = len(self._places)
                new.append(entry)
            places[entry] = place
        if new:
            self._new.append((partials.chain[new], partials.data[new]))
            self.numbers = np.concatenate([self.numbers, flow.add(len(new)) + np.arange(len(new))])
        return self.numbers[places]

    def partials(self, places: Int64[np.ndarray, " chosen"]) -> Partials:
        """Return partial derivations, each as what others come from."""
        if self._new:
            self._chain = np.concatenate([self._chain, *(chain for chain, _ in self._new)])
            self._data = np.concatenate([self._data, *(data for _, data in self._new)])
            self._new = []
        whole = np.ones(len(places))
        return Partials(self.form, self._chain[places], self.numbers[places], whole, self._data[places])


def _keys(partials: Partials) -> Iterator[tuple[int, bytes]]:
    data = np.ascontiguousarray(partials.data)
    return ((chain, own.tobytes()) for chain, own in zip(partials.chain.tolist(), data, strict=True))


class Derivation:
    """Derives what can be printed from nodes on, up to where something repeats outside loops.

    It stops between segments, too, where all that is pending is independent of what has been drawn.
    """

    def __init__(self, sites: Sites, limits: Limits) -> None:
        self._expansion = Expansion(sites)
        self.objects = sites.language.objects
        self._first_object = sites.language.vocabulary.first_object
        self._limits = limits
        self.chains = Chains()

    def outcome(self, node: Node) -> Outcome:
        """Derive everything from a node on. Raises ExactnessError where that is out of reach."""
        agenda = _Agenda(self._expansion, self.chains, self._limits, self.objects)
        agenda.begin(node)
        agenda.run()
        return agenda.outcome(self._first_object)


@dataclass(eq=False)
class _Agenda:
    """The agenda of one node, and what has come of it."""

    expansion: Expansion
    chains: Chains
    limits: Limits
    objects: int
    pools: dict[Form, _Pool] = field(default_factory=dict)
    flow: Flow = field(default_factory=Flow)
    ends: dict[tuple[Node, int], int] = field(default_factory=dict)
    leading: set[Form] = field(default_factory=set)
    tokens: int = 0

    def begin(self, node: Node) -> None:
        """Put a node on the agenda."""
        data = np.frombuffer(node.data, dtype=np.uint16).reshape(1, -1, self.objects)
        none, root = np.zeros(1, dtype=np.int64), np.full(1, ROOT, dtype=np.int64)
        self.advance(Partials(Form(node.items), none, root, np.ones(1), data))

    def run(self) -> None:
        """Derive until nothing is left, or nothing likely, or there are too many statements.

        Once there are enough of them, only what leads to finitely many more is derived to its end; once there
        are far too many, nothing is.
        """
        while True:
            self.flow.settle(self.limits.tolerance, share=0.1)
            if sum(float(waiting.sum()) for _, waiting in self.waiting()) <= self.limits.tolerance:
                break
            was_full = self.is_full()
            for pool, places in self.likeliest():
                self.leading = pool.leads_to
                self.flow.known[pool.numbers[places]] = True
                for partials in self.expansion.called(pool.partials(places)):
                    self.advance(partials)
                if self.is_full() != was_full:
                    break
        self.flow.settle(self.limits.tolerance / 64)

    def is_full(self, times: int = 1) -> bool:
        """Tell whether enough statements have been found, or so many times as many."""
        return len(self.ends) >= times * self.limits.bodies

    def waiting(self) -> list[tuple[_Pool, Float64[np.ndarray, " places"]]]:
        """Return the probabilities of what may be derived next."""
        pools = list(self.pools.values())
        if self.is_full(_FAR_TOO_MANY):
            return []
        if self.is_full():
            finite = self.finite_forms()
            pools = [pool for pool in pools if pool.form in finite]
        waiting = np.where(self.flow.known, 0.0, self.flow.waiting)
        return [(pool, waiting[pool.numbers]) for pool in pools]

    def finite_forms(self) -> set[Form]:
        """Return the forms that lead, as far as is known, to none that has never been derived further.

        Of each there are finitely many tables.
        """
        finite = {form for form, pool in self.pools.items() if self.flow.known[pool.numbers].any()}
        while endless := {form for form in finite if not self.pools[form].leads_to <= finite}:
            finite -= endless
        return finite

    def likeliest(self) -> Iterator[tuple[_Pool, Int64[np.ndarray, " places"]]]:
        """Yield what is nearly as likely as the likeliest of all, so much at once as memory bears."""
        waiting = self.waiting()
        enough = max(float(probability.max(initial=0.0)) for _, probability in waiting) / 8
        for pool, probability in waiting:
            places = np.flatnonzero((probability >= enough) & (probability > 0))
            places = places[np.argsort(-probability[places], kind="stable")]
            first = 0
            while first < len(places):
                size = self.portion(pool, float(probability[places[first]]))
                yield pool, places[first : first + size]
                first += size

    def portion(self, pool: _Pool, probability: float) -> int:
        """Return how many partial derivations are derived further at once, the likeliest of this probability."""
        site = pool.form.call.site
        width = 4 + pool.form.width + sum(item.width for item in pool.form.items)
        room = (self.limits.tokens - self.tokens) // (width * self.objects)
        choices = self.expansion.choices(site)
        if choices > room:
            raise self.too_large(site, room, probability)
        most = min(room, _AT_ONCE // (width * self.objects))
        if not self.is_full():
            most = min(most, self.limits.bodies)
        return max(1, most // choices)

    def too_large(self, site: int, room: int, probability: float) -> EnumerationError:
        """Say how far the enumeration would get: what is done and what of the next call there is room for."""
        self.flow.settle(self.limits.tolerance)
        mass = float(self.flow.found.sum()) + probability * (
            self.expansion.likeliest(site, room) if room > 0 else 0.0
        )
        return EnumerationError(
            f"The statements of the grammar do not fit into {self.limits.tokens:,} tokens: rule "
            f"{self.expansion.rule(site)} alone prints in {self.expansion.choices(site):,} ways what it is called "
            f"for, and there is room for {max(room, 0):,}. The likeliest statements, as many as fit, would have a "
            f"probability of {mass:.3g} together. Use smaller families, fewer objects or less nesting, or allow more "
            "tokens.",
            mass,
        )

    def advance(self, partials: Partials) -> None:
        """Print and part until a call is pending that has to be derived, or the part of the document ends."""
        moving = [partials]
        while moving:
            one = moving.pop()
            possible = one.probability > 0
            if possible.any():
                moving += self.step(one if possible.all() else one.among(possible))

    def step(self, partials: Partials) -> list[Partials]:
        """Deal with what is pending first."""
        form = partials.form
        match form.items[0] if form.items else None:
            case None:
                return self.finish(partials)
            case Fixed():
                return printed(partials)
            case Opened() as block:
                return self.opened(partials, block)
            case Closed():
                return self.closed(partials)
            case Called() as call if not call.inside:
                return self.called_outside(partials, call)
            case Called() as call:
                return self.called_inside(partials, call)

    def opened(self, partials: Partials, block: Opened) -> list[Partials]:
        """Begin a block; fixed tokens in front of one row belong to it."""
        form = partials.form
        if form.loop is not None or (form.width and block.loop.law is not None):
            return self.parted(partials) if _is_chosen(form) else self.flushed(partials)
        form = replace(form, items=form.items[1:], loop=block.loop, inside=True)
        return [replace(partials, form=form)]

    def closed(self, partials: Partials) -> list[Partials]:
        """End a block; what follows one row belongs to it as far as it is fixed."""
        ended = partials.without_first()
        if ended.form.loop is not None and ended.form.loop.law is not None:
            return self.parted(ended)
        return [replace(ended, form=replace(ended.form, inside=False))]

    def called_outside(self, partials: Partials, call: Called) -> list[Partials]:
        """Stop at repetitions, and where nothing that has been drawn matters any more."""
        form = partials.form
        if call.law is not None:
            return self.finish(partials)
        if _is_chosen(form) and _is_independent(form.items):
            return self.finish(partials)
        self.put(partials)
        return []

    def called_inside(self, partials: Partials, call: Called) -> list[Partials]:
        """Leave out what no row asks for; decide whether a repetition goes on."""
        asked = partials.first[:, -1] != 0
        some = np.flatnonzero(asked.any(axis=1))
        if len(some) < len(partials):
            none = np.flatnonzero(~asked.any(axis=1))
            return [partials.among(some), partials.among(none).without_first()]
        if call.law is None:
            self.put(partials)
            return []
        goes_on = continuation(call) if call.done else 1.0
        ended = replace(partials.without_first(), probability=partials.probability * (1 - goes_on))
        return [_turn(partials, call, goes_on), ended]

    def put(self, partials: Partials) -> None:
        """Put partial derivations on the agenda."""
        form = partials.form
        if form not in self.pools:
            self.pools[form] = _Pool(form, partials.data.shape[1:])
        self.leading.add(form)
        pool = self.pools[form]
        before = len(pool.numbers)
        numbers = pool.add(partials, self.flow)
        self.tokens += (len(pool.numbers) - before) * partials.data[:1].size
        self.flow.lead(partials.source, numbers, partials.probability)

    def parted(self, partials: Partials) -> list[Partials]:
        """End a segment, and the part of the document where what follows is independent of it."""
        found: list[Partials] = []
        for one in self.flushed(partials):
            items = one.form.items
            if _is_independent(items) and any(isinstance(item, Called | Opened) for item in items):
                self.end(one)
            else:
                found.append(one)
        return found

    def finish(self, partials: Partials) -> list[Partials]:
        """End a segment and the part of the document."""
        for one in self.flushed(partials):
            self.end(one)
        return []

    def end(self, partials: Partials) -> None:
        """Keep what has been derived."""
        items = tuple(_known(item) for item in partials.form.items)
        data = np.ascontiguousarray(partials.data)
        nodes = (Node(items, own.tobytes()) if items else END for own in data)
        keys = zip(nodes, partials.chain.tolist(), strict=True)
        ends = np.fromiter((self.ends.setdefault(key, len(self.ends)) for key in keys), dtype=np.int64)
        self.flow.end(partials.source, ends, partials.probability)

    def flushed(self, partials: Partials) -> list[Partials]:
        """End a segment; where there is one row, and it is empty, there is no segment."""
        form = partials.form
        bare = Form(form.items)
        if not form.width:
            return [replace(partials, form=bare)]
        loop = form.loop or ONE_ROW
        shares = np.broadcast_to(object_weights(loop.weights, self.objects), (len(partials), self.objects))
        rest = partials.data[:, form.width :]
        if loop.law is None:
            empty = partials.rows[:, 0] == PAD
            if empty.any():
                return self.half_empty(partials, empty, shares)
            loop = ONE_ROW
        numbers = self.chains.segments.add(loop, partials.rows, shares)
        self.tokens += partials.rows.size
        return [replace(partials, form=bare, chain=self.chains.behind(partials.chain, numbers), data=rest)]

    def half_empty(
        self,
        partials: Partials,
        empty: Bool[np.ndarray, "partials objects"],
        shares: Float64[np.ndarray, "partials objects"],
    ) -> list[Partials]:
        """Part what prints nothing for some objects."""
        kept = np.where(empty, 0.0, shares)
        mass = kept.sum(axis=1)
        rest = replace(partials, form=Form(partials.form.items), data=partials.data[:, partials.form.width :])
        numbers = self.chains.segments.add(ONE_ROW, partials.rows, kept / mass[:, None])
        chain = self.chains.behind(partials.chain, numbers)
        return [
            replace(rest, probability=partials.probability * (1 - mass)),
            replace(rest, chain=chain, probability=partials.probability * mass),
        ]

    def outcome(self, first_object: int) -> Outcome:
        """Return what has been found, the most likely statements only, and how the others begin."""
        kept, dropped = self.most_likely()
        remainders: dict[Pattern, float] = defaultdict(float)
        for pattern, probability in self.undone(first_object):
            remainders[pattern] += probability
        for chain, probability in dropped:
            segment = self.chains.segments.all[self.chains.unrolled(chain)[-1]]
            (pattern,) = _patterns(segment.rows.T[None], first_object)
            remainders[pattern] += probability
        return _normalised(kept, _shortened(remainders))

    def most_likely(self) -> tuple[dict[Node, dict[int, float]], list[tuple[int, float]]]:
        """Return the statements that are kept, and those that are not with their probabilities."""
        ends = zip(self.ends, self.flow.found.tolist(), strict=True)
        found = [(probability, node, chain) for (node, chain), probability in ends]
        found.sort(key=lambda one: (one[2] != 0, -one[0]))  # what prints nothing is no statement to leave out
        kept: dict[Node, dict[int, float]] = {}
        most = self.limits.bodies + sum(chain == 0 for _, _, chain in found)
        for probability, node, chain in found[:most]:
            kept.setdefault(node, {})[chain] = probability
        return kept, [(chain, probability) for probability, _, chain in found[most:]]

    def undone(self, first_object: int) -> Iterator[tuple[Pattern, float]]:
        """Yield the patterns and probabilities of what still leads to statements that have not been found."""
        waiting = np.where(self.flow.leads_on(), self.flow.waiting, 0.0)
        for pool in self.pools.values():
            places = np.flatnonzero(waiting[pool.numbers])
            if len(places):
                patterns = self.beginnings(pool.partials(places), first_object)
                yield from zip(patterns, waiting[pool.numbers[places]].tolist(), strict=True)

    def beginnings(self, partials: Partials, first_object: int) -> list[Pattern]:
        """Return the patterns of the first rows of partial derivations."""
        patterns = _patterns(partials.rows, first_object)
        for entry, chain in enumerate(partials.chain.tolist()):
            if chain:
                segment = self.chains.segments.all[self.chains.unrolled(chain)[-1]]
                (patterns[entry],) = _patterns(segment.rows.T[None], first_object)
        return patterns


def continuation(call: Called) -> float:
    """Return the probability that a repetition goes on after the calls that are done."""
    shares = at_least(call.law, objects=None, most=call.done + 1)
    return float(shares[call.done + 1] / shares[call.done])


def behind_turn(call: Called) -> Called:
    """Return what is pending of a repetition when a turn begins. The law `stop` does not count turns."""
    counts = call.law is None or call.law.name != "stop"
    return replace(call, done=call.done + 1 if counts else 1)


def _turn(partials: Partials, call: Called, goes_on: float) -> Partials:
    """Begin a turn of the repetition that is pending first."""
    form = partials.form
    items = (replace(call, law=None, done=0), behind_turn(call), *form.items[1:])
    columns = [partials.data[:, : form.width], partials.first, partials.data[:, form.width :]]
    return replace(
        partials,
        form=replace(form, items=items),
        probability=partials.probability * goes_on,
        data=np.concatenate(columns, axis=1),
    )


def _known(item: Pending) -> Pending:
    """Return what is pending where a new part of the document begins: its tables are no longer drawn."""
    return replace(item, drawn=False)


def _is_chosen(form: Form) -> bool:
    """Tell whether the segment begun is one of several."""
    return form.loop is not None or form.drawn


def _is_independent(items: Iterable[Pending]) -> bool:
    return not any(item.drawn for item in items)


def _patterns(rows: UInt16[np.ndarray, "partials width objects"], first_object: int) -> list[Pattern]:
    """Return how all rows of each partial derivation begin."""
    same = (rows == rows[:, :, :1]).all(axis=2) & (rows[:, :, 0] != PAD)
    objects = (rows >= first_object).all(axis=2)
    told = np.logical_and.accumulate(same | objects, axis=1).sum(axis=1)
    tokens = np.where(same, rows[:, :, 0].astype(np.int64), ANY_OBJECT)
    return [tuple(own[:length].tolist()) for own, length in zip(tokens, told.tolist(), strict=True)]


def _shortened(remainders: dict[Pattern, float]) -> dict[Pattern, float]:
    """Cut the longest patterns until there are few."""
    while len(remainders) > _MOST_PATTERNS:
        longest = max(map(len, remainders))
        shorter: dict[Pattern, float] = defaultdict(float)
        for pattern, probability in remainders.items():
            shorter[pattern[: longest - 1]] += probability
        remainders = shorter
    return remainders


def _normalised(chains: dict[Node, dict[int, float]], remainders: dict[Pattern, float]) -> Outcome:
    """Scale what was found to the probability that remainders leave: rounding, and what leads to nothing new."""
    found = sum(sum(own.values()) for own in chains.values())
    left = 1.0 - sum(remainders.values())
    scaled = {
        node: {chain: probability * left / found for chain, probability in own.items()}
        for node, own in chains.items()
    }
    return Outcome(scaled, dict(remainders))
