"""The ideal predictor where documents draw functions of their own: exact filtering over hypotheses.

The functions of a document are uniformly random, so that what is not yet known of them is uniform over what is
left: the posterior is analytic, and the sum over all tables need not be taken. What has to be summed are
the *hypotheses*: which productions the document is in and which functions they apply, with what each of them
would have revealed (`theory.unfolding`, `theory.revealed`). A hypothesis carries its joint probability with
the tokens read, and those that cannot be told apart any more are one.

Where there would be too many, the lightest give up what they know and are counted, from then on, with more than
they can weigh. With S_t the probability of the prefix under the hypotheses that are left, and U_t a bound on that
of the others,

    S_{t+1} / (S_t + U_t)  <=  M(token | prefix)  <=  (S_{t+1} + U_{t+1}) / (S_t + U_{t+1}).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32, Float64, Int32, UInt16

from emergelab.grammar.language import START_TOKEN, Language
from emergelab.grammar.sites import LawName
from emergelab.theory.limits import HYPOTHESES
from emergelab.theory.refusals import ExactnessError
from emergelab.theory.unfolding import Machine, State

Weights: TypeAlias = dict[State, float]

_ROUNDS = 64
"""Steps without a token before what is very light is cut, and ever fewer derivations go on."""
_MOST_ROUNDS = 4096
_LIGHTEST = 1e-15
_MOST_AT_ONCE = 16
"""Places on the way to the next token, for each hypothesis that may be kept."""


@dataclass(frozen=True, eq=False)
class FreshFiltering:
    """What documents cost token by token, in nats; 0 for the first token and behind the end of a document.

    `nats` is the cost by the hypotheses that were kept; the exact value lies between `lo` and `hi`, which are
    equal where none was given up. A token that no document can print costs infinity; what comes behind it costs
    ln V, for nothing is known. `hypotheses` counts those from which each token was predicted.
    """

    nats: Float64[np.ndarray, "documents length"]
    lo: Float64[np.ndarray, "documents length"]
    hi: Float64[np.ndarray, "documents length"]
    hypotheses: Int32[np.ndarray, "documents length"]


@dataclass
class _Belief:
    """What a reader holds possible: hypotheses, those that are only bounded, and a bound without any.

    Weights are joint probabilities with the tokens read, all divided by one number.
    """

    kept: Weights
    bounded: Weights = field(default_factory=dict[State, float])
    lost: float = 0.0

    @property
    def mass(self) -> float:
        """The weight of the hypotheses kept: S_t."""
        return math.fsum(self.kept.values())

    @property
    def missing(self) -> float:
        """A bound on the weight of all others: U_t."""
        return math.fsum(self.bounded.values()) + self.lost


class FreshIdeal:
    """The ideal predictor of a language under a law, functions of the document included."""

    def __init__(
        self, language: Language, law: LawName, *, most_hypotheses: int, name: str = "ideal"
    ) -> None:
        self.language = language
        self.law: LawName = law
        self.most_hypotheses = most_hypotheses
        self._name = name
        self._machine = Machine(language, law)

    @property
    def name(self) -> str:
        """What tables and figures call it."""
        return self._name

    @property
    def vocabulary_size(self) -> int:
        """The number V of tokens."""
        return len(self.language.vocabulary)

    def log_probabilities(
        self, tokens: UInt16[np.ndarray, "prompts length"]
    ) -> Float32[np.ndarray, "prompts length vocabulary"]:
        """Return ln M(token at t+1 | tokens up to and with t), -inf for what cannot follow.

        Where hypotheses were given up it is the law given that none of them is true. Behind the end of a
        document it goes on ending; behind what no document can print all tokens are alike.
        """
        laws = np.empty((*tokens.shape, self.vocabulary_size), dtype=np.float32)
        for number, prompt in enumerate(tokens.tolist()):
            self._write_laws(prompt, laws[number])
        return laws

    def filtered(
        self,
        tokens: UInt16[np.ndarray, "documents length"],
        lengths: Int32[np.ndarray, " documents"],
    ) -> FreshFiltering:
        """Return what documents cost; `lengths` counts their tokens with start and end."""
        nats, lo, hi = (np.zeros(tokens.shape) for _ in range(3))
        hypotheses = np.zeros(tokens.shape, dtype=np.int32)
        for i, length in enumerate(lengths.tolist()):
            costs = self._costs(tokens[i, :length].tolist())
            for t, cost in enumerate(costs, start=1):
                nats[i, t], lo[i, t], hi[i, t], hypotheses[i, t] = cost
        return FreshFiltering(nats, lo, hi, hypotheses)

    def _write_laws(self, prompt: list[int], out: Float32[np.ndarray, "length vocabulary"]) -> None:
        belief = self._begun(prompt[0])
        for t in range(len(prompt)):
            points, cut = self._opened(belief.kept)
            law = np.zeros(self.vocabulary_size)
            for state, weight in points:
                for token, probability in self._machine.law(state):
                    law[token] += weight * probability
            with np.errstate(divide="ignore"):
                out[t] = np.log(law / law.sum()) if law.any() else -math.log(self.vocabulary_size)
            if t + 1 < len(prompt):
                belief = self._pruned(self._read(belief, points, cut, prompt[t + 1]))

    def _costs(self, document: list[int]) -> Iterator[tuple[float, float, float, int]]:
        """Yield nats, their bounds and the number of hypotheses for each token but the first."""
        belief = self._begun(document[0])
        unknown = math.log(self.vocabulary_size)
        for token in document[1:]:
            mass, missing, count = belief.mass, belief.missing, len(belief.kept)
            if mass + missing == 0:
                yield unknown, unknown, unknown, 0
                continue
            points, cut = self._opened(belief.kept, token)
            read = self._read(belief, points, cut, token)
            lowest, highest = _interval(mass, missing, math.fsum(cut.values()), read)
            estimate = _nats(read.mass / mass) if mass else unknown
            yield estimate if highest else math.inf, _nats(highest), _nats(lowest), count
            belief = self._pruned(read)

    def _begun(self, token: int) -> _Belief:
        return _Belief({self._machine.start: 1.0} if token == START_TOKEN else {})

    def _opened(
        self, weights: Weights, token: int | None = None
    ) -> tuple[list[tuple[State, float]], Weights]:
        """Go on to where the next token is printed: places with their weights, and what was cut on the way.

        Where the `token` is known, places that cannot print it may be missing.

        Only derivations without end that print nothing, and floods of hypotheses, are cut.
        """
        points: list[tuple[State, float]] = []
        cut: Weights = {}
        current, meeting = list(weights.items()), dict[State, float]()
        total, rounds = math.fsum(weights.values()), 0
        while current:
            following = self._stepped(current, points, meeting, token)
            if not following:
                following, meeting = list(meeting.items()), {}
            rounds += 1
            current = self._limited(following, rounds, total, cut)
        return points, cut

    def _stepped(
        self,
        current: list[tuple[State, float]],
        points: list[tuple[State, float]],
        meeting: Weights,
        token: int | None,
    ) -> list[tuple[State, float]]:
        machine = self._machine
        following: list[tuple[State, float]] = []
        for state, weight in current:
            steps = machine.steps(state, token)
            if steps is None:
                points.append((state, weight))
                continue
            for probability, after in steps:
                if after.revealed is None or machine.is_meeting_point(after):
                    one = machine.canonical(after)
                    meeting[one] = meeting.get(one, 0.0) + weight * probability
                else:
                    following.append((after, weight * probability))
        return following

    def _limited(
        self, current: list[tuple[State, float]], rounds: int, total: float, cut: Weights
    ) -> list[tuple[State, float]]:
        most = _MOST_AT_ONCE * self.most_hypotheses
        if rounds > _ROUNDS:
            most = most * _ROUNDS // rounds if rounds < _MOST_ROUNDS else 0
        elif len(current) <= most:
            return current
        current.sort(key=_weight, reverse=True)
        kept = [one for one in current[:most] if rounds <= _ROUNDS or one[1] > _LIGHTEST * total]
        for state, weight in current[len(kept) :]:
            cut[state] = cut.get(state, 0.0) + weight
        return kept

    def _read(self, belief: _Belief, points: list[tuple[State, float]], cut: Weights, token: int) -> _Belief:
        """Return what is possible behind `token`: `points` are the places of the hypotheses kept."""
        bounded = dict(belief.bounded)
        self._give_up(cut.items(), bounded)
        coarse_points, coarse_cut = self._opened(bounded, token)
        lost = belief.lost + math.fsum(coarse_cut.values())
        return _Belief(self._behind(points, token), self._behind(coarse_points, token), lost)

    def _behind(self, points: list[tuple[State, float]], token: int) -> Weights:
        behind: Weights = {}
        for state, weight in points:
            probability, after = self._machine.read(state, token)
            if probability:
                behind[after] = behind.get(after, 0.0) + weight * probability
        return behind

    def _pruned(self, belief: _Belief) -> _Belief:
        """Give up the lightest of too many hypotheses, and scale the weights."""
        kept, light = _heaviest(belief.kept, self.most_hypotheses)
        bounded = dict(belief.bounded)
        self._give_up(light, bounded)
        bounded, rest = _heaviest(bounded, self.most_hypotheses)
        lost = belief.lost + math.fsum(weight for _, weight in rest)
        scale = belief.mass or belief.missing or 1.0
        return _Belief(_scaled(kept, scale), _scaled(bounded, scale), lost / scale)

    def _give_up(self, states: Iterable[tuple[State, float]], bounded: Weights) -> None:
        for state, weight in states:
            coarse = self._machine.coarse(state)
            bounded[coarse] = bounded.get(coarse, 0.0) + weight


def fresh_ideal(
    language: Language, law: LawName, *, most_hypotheses: int = HYPOTHESES, name: str = "ideal"
) -> FreshIdeal:
    """Return the ideal predictor of a language under `law`, "full" or "train".

    At most `most_hypotheses` are kept from token to token; what they leave out is bounded, see
    `FreshIdeal.filtered`. Raises ExactnessError for fewer than one, and GrammarError where hold-outs cannot be
    worked out.
    """
    if most_hypotheses < 1:
        raise ExactnessError(
            f"{most_hypotheses} hypotheses are to be kept. At least 1 has to be. Use {HYPOTHESES}, for example."
        )
    return FreshIdeal(language, law, most_hypotheses=most_hypotheses, name=name)


def _interval(mass: float, missing: float, cut: float, read: _Belief) -> tuple[float, float]:
    """Return bounds of M from S_t, U_t, what of S_t was cut before the token, and what was read."""
    after = read.mass
    others = min(read.missing, missing + cut)
    lowest = after / (mass + missing)
    before = mass + max(0.0, others - cut)
    return lowest, min(1.0, (after + others) / before) if before else min(1.0, others)


def _heaviest(weights: Weights, most: int) -> tuple[Weights, list[tuple[State, float]]]:
    if len(weights) <= most:
        return weights, []
    ordered = sorted(weights.items(), key=_weight, reverse=True)
    return dict(ordered[:most]), ordered[most:]


def _weight(one: tuple[State, float]) -> float:
    return one[1]


def _scaled(weights: Weights, scale: float) -> Weights:
    return {state: weight / scale for state, weight in weights.items()}


def _nats(probability: float) -> float:
    return -math.log(probability) if probability > 0 else math.inf
