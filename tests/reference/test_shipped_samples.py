"""Documents of every shipped grammar against its slow twin and against the probabilities that it states.

The tests of `test_sampler` compare whole documents of tiny grammars; these here have worlds too large for that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from scipy import stats

from emergelab.corpus.documents import ROLES, Corpus, Documents, skills_of
from emergelab.grammar.checks_derivations import expected_calls
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.language import Language, family_weights
from emergelab.grammar.library import find_grammar, load_grammar, shipped_grammars
from emergelab.grammar.sites import draw_probabilities, explore, function_choices
from emergelab.grammar.syntax import GrammarSyntax
from emergelab.rng import stream
from slow_sampler import readings, samples
from strategies import valid_grammars

# beartype, which checks signatures here, looks at random items of lists.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

MANY_FUNCTIONS = {"chains", "fresh", "functions", "recursion", "weights"}
DOCUMENTS = 4000
LENGTH = 49


@cache
def language(name: str) -> Language:
    return draw_language(load_grammar(find_grammar(name)), stream(0, "world"))


@cache
def documents(name: str, length: int = LENGTH) -> Documents:
    corpus = Corpus(language(name), stream(3, "data"), context=length - 1)
    return corpus.sample(np.arange(DOCUMENTS, dtype=np.int64))


def texts(one: Language, sampled: Documents, i: int) -> list[str]:
    return [one.vocabulary.texts[token] for token in sampled.tokens[i, : sampled.lengths[i]]]


def assert_agrees(counts: Counter[object], probabilities: dict[object, float]) -> None:
    """Compare counts with probabilities by chi-square, rare outcomes joined; nothing impossible occurs."""
    assert counts.keys() <= probabilities.keys()
    total = counts.total()
    assert total > 100
    cells = sorted(((total * mass, counts[what]) for what, mass in probabilities.items()), key=lambda c: c[0])
    expected, seen = np.array(cells).T
    rare = int(np.searchsorted(np.cumsum(expected), 5.0)) + 1
    expected = np.array([expected[:rare].sum(), *expected[rare:]])
    seen = np.array([seen[:rare].sum(), *seen[rare:]])
    statistic = float(((seen - expected) ** 2 / expected).sum())
    assert stats.chi2.sf(statistic, len(expected) - 1) > 1e-5, (statistic, len(expected))


def two_samples(first: Iterable[object], second: Iterable[object]) -> None:
    """Compare two samples of one law by chi-square over what is common in both."""
    one, other = Counter(first), Counter(second)
    common = [what for what in one.keys() | other.keys() if one[what] + other[what] >= 20]
    rest = [side.total() - sum(side[what] for what in common) for side in (one, other)]
    table = np.array([*((one[what], other[what]) for what in common), *([rest] if sum(rest) >= 20 else [])])
    assert len(table) > 1
    assert stats.chi2_contingency(table).pvalue > 1e-5  # pyright: ignore[reportAttributeAccessIssue] - its stub


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_grammars())
def test_labels_are_those_of_a_derivation(name: str) -> None:
    # Parsing tries derivations until one fits; short documents keep their number small.
    length, found = 4 if name in MANY_FUNCTIONS else 6, 0
    one, sampled = language(name), documents(name, length)
    for i in range(5):
        text = texts(one, sampled, i)
        labels = [
            (
                ROLES[sampled.roles[i, at]],
                int(sampled.statements[i, at]),
                int(sampled.rows[i, at]),
                skills_of(int(sampled.skills[i, at])),
            )
            for at in range(len(text))
        ]
        try:
            fits = any(
                labels == [(token.role, token.statement, token.row, token.skills) for token in reading]
                for reading in readings(one, text, length, most=2000)
            )
        except TimeoutError:
            continue
        assert fits, (text, labels)
        found += 1
    assert found >= 1


FEATURES: dict[str, Callable[[list[str]], object]] = {
    "length": len,
    "the first three tokens without objects": lambda text: tuple(
        "o" if token[0] == "o" and token[1:].isdigit() else token for token in text[1:7]
    ),
    "how many different tokens": lambda text: len(set(text)),
    "how often the first object stands again": lambda text: text.count(text[1]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_grammars())
def test_documents_are_like_those_of_the_slow_twin(name: str) -> None:
    one, generator = language(name), np.random.default_rng(5)
    slow = samples(one, generator, 16, 600)
    sampled = documents(name, 16)
    fast = [texts(one, sampled, i) for i in range(DOCUMENTS)]
    for feature in FEATURES.values():
        two_samples(map(feature, slow), map(feature, fast))


LOOPED = ["functions", "pairs", "weights", "chains", "rote"]


def first_answers(name: str) -> tuple[Counter[object], int]:
    """Count which functions the first answer of each document needs, printed steps included."""
    sampled = documents(name)
    counts: Counter[object] = Counter()
    for i in range(DOCUMENTS):
        needed: list[int] = []
        for at in range(2, LENGTH):
            needed += skills_of(int(sampled.skills[i, at]))
            if ROLES[sampled.roles[i, at]] == "answer":
                counts[at - 1, tuple(needed)] += 1
                break
    return counts, DOCUMENTS


@pytest.mark.parametrize("name", LOOPED)
def test_productions_and_functions_are_drawn_by_their_probabilities(name: str) -> None:
    # What a row computes, and with how many objects printed, tells its productions and draws.
    one = language(name)
    counts, total = first_answers(name)
    assert counts.total() == total
    probabilities: defaultdict[object, float] = defaultdict(float)
    for mass, key in derivations(one, 0, 1.0):
        probabilities[key] += mass
    assert sum(probabilities.values()) == pytest.approx(1.0)
    assert_agrees(counts, dict(probabilities))


def derivations(one: Language, number: int, mass: float) -> Iterable[tuple[float, object]]:
    """Yield (probability, (objects printed behind the argument, functions)) of a row's derivations under training."""
    sites = explore(one, "train").sites
    site = sites[number]
    for production in site.productions:
        calls = [int(numbers[0]) for numbers in production.calls]
        if production.lowered.draws:
            printed = len(production.lowered.items)
            chosen = function_choices(one, production)
            for joint, probability in enumerate(draw_probabilities(one, production)):
                if probability:
                    functions = tuple(int(function) for function in chosen[joint])
                    yield mass * production.probability * probability, (printed, functions)
        for called in calls:
            yield from derivations(one, called, mass * production.probability)


@pytest.mark.parametrize("name", [name for name in shipped_grammars() if name != "no_loops"])
def test_families_are_drawn_by_their_weights(name: str) -> None:
    one, sampled = language(name), documents(name)
    held = {family for hold_out in one.syntax.hold_outs for family in hold_out.families}
    for family in one.syntax.world.families:
        if family.name in held or family.count == 1:
            continue
        numbers = one.functions(family.name)
        counts: Counter[object] = Counter()
        for i in range(DOCUMENTS):
            drawn = skills_of(int(sampled.skills[i, 2])) if ROLES[sampled.roles[i, 2]] != "argument" else ()
            if drawn and drawn[0] in numbers and sum(skill in numbers for skill in drawn) == 1:
                counts[drawn[0]] += 1
        if counts.total() > 100:
            assert_agrees(counts, dict(zip(numbers, family_weights(family).tolist(), strict=True)))


def rows_of_first_loop(name: str, separator: str) -> Counter[object]:
    """Count the rows of the loop that a document begins with, where its separator is the given one."""
    one, sampled = language(name), documents(name, 80)
    token = one.vocabulary.terminal(separator)
    counts: Counter[object] = Counter()
    for i in range(DOCUMENTS):
        if sampled.tokens[i, 3] == token:
            counts[int(sampled.rows[i][sampled.statements[i] == 0].max()) + 1] += 1
    return counts


def truncated(survival: Callable[[int], float], most: int = 12) -> dict[object, float]:
    tail = [survival(n) for n in range(1, most + 1)]
    return {n: tail[n - 1] - (tail[n] if n < most else 0.0) for n in range(1, most + 1)}


LAWS: dict[str, dict[object, float]] = {
    ";": truncated(lambda n: 0.85 ** (n - 1)),
    ",": truncated(lambda n: 1 / n),
    ".": dict.fromkeys(range(4, 11), 1 / 7),
    "!": {12: 1.0},
}


@pytest.mark.parametrize("separator", LAWS)
def test_loops_run_as_often_as_their_law_says(separator: str) -> None:
    counts = rows_of_first_loop("laws", separator)
    if len(LAWS[separator]) == 1:
        assert set(counts) == set(LAWS[separator])
    else:
        assert_agrees(counts, LAWS[separator])


def test_objects_are_drawn_by_their_law() -> None:
    one, sampled = language("scopes"), documents("scopes")
    objects = sampled.tokens[:, 1].astype(np.int64) - one.vocabulary.first_object
    weights = 1 / np.arange(1, one.objects + 1)
    assert_agrees(Counter(objects.tolist()), dict(enumerate((weights / weights.sum()).tolist())))


def test_objects_without_replacement_come_once() -> None:
    one, sampled = language("laws"), documents("laws", 80)
    complete = sampled.tokens[:, 3] == one.vocabulary.terminal("!")
    rows = sampled.tokens[complete, 1:37:3].astype(np.int64) - one.vocabulary.first_object
    np.testing.assert_array_equal(np.sort(rows, axis=1), np.tile(np.arange(12), (len(rows), 1)))
    assert_agrees(Counter(rows[:, 0].tolist()), dict.fromkeys(range(12), 1 / 12))


@given(valid_grammars(max_objects=4, with_tasks=False))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
def test_what_check_accepts_can_be_sampled_and_ends(syntax: GrammarSyntax) -> None:
    one = draw_language(syntax, stream(1, "world"))
    sampled = Corpus(one, stream(2, "data"), context=200).sample(np.arange(64, dtype=np.int64))
    assert (sampled.lengths >= 2).all()
    radius = np.abs(np.linalg.eigvals(expected_calls(syntax.rules))).max()
    assert radius < 1
    for family in syntax.world.families:
        assert family_weights(family).sum() == pytest.approx(1.0)


@given(valid_grammars(max_objects=3, with_tasks=False))
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
def test_random_grammars_print_like_the_slow_twin(syntax: GrammarSyntax) -> None:
    one, generator = draw_language(syntax, stream(1, "world")), np.random.default_rng(3)
    slow = [tuple(text) for text in samples(one, generator, 6, 400)]
    sampled = Corpus(one, stream(2, "data"), context=5).sample(np.arange(4000, dtype=np.int64))
    fast = [tuple(texts(one, sampled, i)) for i in range(4000)]
    common = {text for text, count in Counter(fast).items() if count >= 20}
    if len(common) > 1:
        two_samples(
            (text if text in common else None for text in slow),
            (text if text in common else None for text in fast),
        )
