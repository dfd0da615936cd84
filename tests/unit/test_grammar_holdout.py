"""What is held out is nowhere in training, and nothing else changes: by brute force over whole derivations."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import stats

from emergelab.corpus.documents import Corpus
from emergelab.errors import GrammarError
from emergelab.grammar import sites
from emergelab.grammar.holdout import prove_no_overlap
from emergelab.grammar.language import Language
from emergelab.grammar.sites import Site, draw_probabilities, explore, function_choices, printed_tables
from emergelab.grammar.syntax import Call, Item, Let, Print, Some, Term, walk
from emergelab.rng import stream
from slow_sampler import enumerate_documents
from small_languages import language_of

Tables = dict[str, tuple[int, ...]]

HEAD = "world {{ objects {objects} family f {count} {kind} power {power} family g 3 permutations }}\n"
RULES = """
rule Document = some x ~ objects {{ x Value(x) Other(x) "." }}
rule Value(x) = 0.5: let a ~ f {{ a(x) }}
              | 0.2: let a ~ f, b ~ f {{ b(a(x)) }}
              | 0.3: let a ~ f, b ~ f {{ a(x) b(a(x)) }}
rule Other(x) = 0.4: let a ~ f {{ Then(a(x)) }}
              | 0.3: let a ~ f, b ~ g {{ a(x) b(a(x)) }}
              | 0.3: let a ~ f, b ~ f, c ~ g {{ c(b(a(x))) }}
rule Then(y)  = 0.4: let b ~ f {{ b(y) }} | 0.3: y | 0.3: let b ~ g {{ Last(b(y), y) }}
rule Last(z, y) = 0.5: z | 0.5: y
"""
HOLDS = [
    "hold out 0.25 of f * f\n",
    "hold out 0.5 of f * g\n",
    "hold out 0.3 of f * f\nhold out 0.4 of f * g\n",
]


def language(
    hold: str, key: int, *, objects: int = 3, kind: str = "permutations", power: float = 0.0
) -> Language:
    head = HEAD.format(objects=objects, count=3, kind=kind, power=power)
    return language_of(head + hold + RULES.format(), key)


@cache
def worlds() -> list[Language]:
    """Return languages of tiny worlds, in which most function tables coincide with others."""
    candidates = itertools.product(HOLDS, range(3), ("permutations", "maps"))
    made = [attempt(hold, key, kind) for hold, key, kind in candidates]
    return [world for world in made if world is not None]


def attempt(hold: str, key: int, kind: str) -> Language | None:
    """Return a language unless its hold-out cannot be had, which other tests are about."""
    try:
        world = language(hold, key, kind=kind, objects=3 + key, power=key % 2)
        explore(world, "train")
    except GrammarError:
        return None
    return world


def test_there_are_worlds_to_test() -> None:
    assert len(worlds()) >= 10
    assert all(world.held_out for world in worlds())


# Brute force: the derivations of a rule, as lists of the tables that they print, read off the syntax.


def compose(world: Language, table: tuple[int, ...], function: int) -> tuple[int, ...]:
    return tuple(int(world.tables[function, x]) for x in table)


def as_bytes(table: tuple[int, ...]) -> bytes:
    return np.array(table, dtype=np.uint16).tobytes()


def printed_by(
    world: Language, items: tuple[Item, ...], tables: Tables, functions: dict[str, int]
) -> list[list[bytes]]:
    """Return what each derivation of the items prints, whatever the law."""
    results: list[list[bytes]] = [[]]
    for item in items:
        match item:
            case Print():
                parts = [[as_bytes(value(world, item.term, tables, functions))]]
            case Let():
                ranges = [world.functions(draw.family) for draw in item.draws]
                parts = [
                    part
                    for drawn in itertools.product(*ranges)
                    for part in printed_by(
                        world,
                        item.body,
                        tables,
                        functions | dict(zip((draw.name for draw in item.draws), drawn, strict=True)),
                    )
                ]
            case Some():
                identity = tuple(range(world.objects))
                parts = printed_by(world, item.body, tables | {item.variable: identity}, functions)
            case Call():
                rule = world.syntax.rule(item.rule)
                arguments = {
                    name: value(world, term, tables, functions)
                    for name, term in zip(rule.parameters, item.arguments, strict=True)
                }
                parts = [
                    part for one in rule.productions for part in printed_by(world, one.items, arguments, {})
                ]
            case _:
                parts = [[]]
        results = [first + part for first in results for part in parts]
    return results


def value(world: Language, term: Term, tables: Tables, functions: dict[str, int]) -> tuple[int, ...]:
    table = tables[term.variable]
    for name in term.functions:
        table = compose(world, table, functions[name])
    return table


def test_training_prints_all_that_is_not_held_out_and_nothing_that_is() -> None:
    for world in worlds():
        full = {
            table
            for derivation in printed_by(world, world.syntax.rule("Document").productions[0].items, {}, {})
            for table in derivation
        }
        assert full & world.held_out
        trained = printed_tables(explore(world, "train"))
        # As functions of a printed step, terms are compositions of the one or two functions behind it.
        behind = {
            as_bytes(compose(world, compose(world, tuple(range(world.objects)), a), b))
            for a, b in itertools.product(range(len(world.tables)), repeat=2)
        } | {table.tobytes() for table in world.tables}
        assert not trained & world.held_out
        assert trained - full <= behind
        single = {world.tables[function].tobytes() for function in world.functions("f")}
        assert single - world.held_out <= printed_tables(explore(world, "train"))


def test_the_proof_counts_the_tables_of_training() -> None:
    for world in worlds():
        proof = prove_no_overlap(world)
        assert proof.overlap == 0
        assert proof.held_out_tables == len(world.held_out)
        assert proof.training_tables == len(printed_tables(explore(world, "train")))


def test_the_proof_fails_for_sites_that_were_not_conditioned() -> None:
    world = worlds()[0]
    conditioned = explore(world, "train")
    planted = replace(world, held_out=frozenset({world.tables[0].tobytes()}))
    with pytest.raises(AssertionError, match="can be printed in training"):
        prove_no_overlap(planted, replace(conditioned, language=planted))
    assert prove_no_overlap(world, conditioned).overlap == 0


def test_without_a_hold_out_nothing_is_enumerated() -> None:
    proof = prove_no_overlap(
        language_of(HEAD.format(objects=3, count=2, kind="maps", power=0) + RULES.format())
    )
    assert (proof.training_tables, proof.held_out_tables, proof.overlap) == (None, 0, 0)


def test_draws_are_conditioned_inside_each_production() -> None:
    for world in worlds():
        for law in ("train", "full"):
            for site in explore(world, law).sites:
                rule = world.syntax.rule(site.rule)
                for written, production in zip(rule.productions, site.productions, strict=True):
                    assert production.probability == written.probability
                    choices = function_choices(world, production)
                    weights = np.array(
                        [np.prod([weight(world, function) for function in row]) for row in choices]
                    )
                    kept = [law == "full" or not bad(world, site, written.items, row) for row in choices]
                    expected = np.where(kept, weights, 0) / weights[kept].sum()
                    np.testing.assert_allclose(draw_probabilities(world, production), expected, atol=1e-12)


def weight(world: Language, function: int) -> float:
    for family in world.syntax.world.families:
        if function in world.functions(family.name):
            return float(function - world.functions(family.name).start + 1) ** -family.power
    raise KeyError(function)


def bad(world: Language, site: Site, items: tuple[Item, ...], functions: np.ndarray) -> bool:
    """Tell whether this draw lets a held-out table be printed before another draw is made."""
    names = world.syntax.rule(site.rule).parameters
    roots = [
        [tuple(int(x) for x in np.frombuffer(table, np.uint16)) for table in relations]
        for relations in site.attributes
    ]
    found = {
        table
        for chosen in itertools.product(*roots)
        for table in at_once(world, items, dict(zip(names, chosen, strict=True)), {}, list(functions))
    }
    return bool((found | behind_a_step(world, items, functions)) & world.held_out)


def behind_a_step(world: Language, items: tuple[Item, ...], functions: np.ndarray) -> set[bytes]:
    """Return what the second of two functions is a table of where the first one's value is printed, too."""
    lets = [item for item in walk(items) if isinstance(item, Let)]
    printed = [item.term for item in walk(items) if isinstance(item, Print)]
    names = [draw.name for let in lets for draw in let.draws]
    numbers = dict(zip(names, functions, strict=True))
    return {
        world.tables[numbers[term.functions[1]]].tobytes()
        for term in printed
        if len(term.functions) == 2 and Term(term.variable, term.functions[:1]) in printed
    }


def at_once(
    world: Language, items: tuple[Item, ...], tables: Tables, names: dict[str, int], left: list[int]
) -> list[bytes]:
    """Return the tables that the items print with these draws, and those that calls hand on to be printed."""
    found = []
    for item in items:
        match item:
            case Print():
                found.append(as_bytes(value(world, item.term, tables, names)))
            case Let():
                drawn = {draw.name: int(left.pop(0)) for draw in item.draws}
                found += at_once(world, item.body, tables, names | drawn, left)
            case Some():
                identity = {item.variable: tuple(range(world.objects))}
                found += at_once(world, item.body, tables | identity, names, left)
            case Call():
                # In these grammars every rule but `Value` and `Other`, and `Last`, prints its attributes bare.
                if item.rule in {"Then", "Last"}:
                    found += [as_bytes(value(world, term, tables, names)) for term in item.arguments]
            case _:
                pass
    return found


@pytest.mark.parametrize(
    ("number", "law"), [(0, "train"), pytest.param(8, "train", marks=pytest.mark.slow), (0, "full")]
)
def test_documents_have_the_conditional_probabilities(number: int, law: str) -> None:
    world = worlds()[number]
    expected = enumerate_documents(world, 5, law)
    documents = Corpus(world, stream(2), context=4, law=law).sample(np.arange(20_000, dtype=np.int64))
    names = world.vocabulary.texts
    counts = dict.fromkeys(expected, 0)
    for row, length in zip(documents.tokens, documents.lengths, strict=True):
        counts[tuple(names[token] for token in row[:length])] += 1
    wanted = np.array(list(expected.values())) * 20_000
    seen = np.array(list(counts.values()))
    common = wanted >= 5
    cells = [np.append(cell[common], cell[~common].sum()) for cell in (seen, wanted)]
    if cells[1][-1] == 0:
        cells = [cell[:-1] for cell in cells]
    assert stats.chisquare(*cells, sum_check=False).pvalue > 1e-4


def test_a_triple_that_equals_a_held_out_pair_is_held_out_too() -> None:
    world = language_of(
        "world { objects 3 family f 3 permutations }\nhold out 0.4 of f * f\n"
        "rule Document = some x ~ objects { x Value(x) }\n"
        "rule Value(x) = 0.5: let a ~ f, b ~ f { b(a(x)) } | 0.5: let a ~ f, b ~ f, c ~ f { c(b(a(x))) }",
        key=1,
    )
    identity = tuple(range(3))
    triples = {
        as_bytes(compose(world, compose(world, compose(world, identity, a), b), c))
        for a, b, c in itertools.product(range(3), repeat=3)
    }
    assert triples & world.held_out
    assert not printed_tables(explore(world, "train")) & world.held_out
    assert printed_tables(explore(world, "train")) >= triples - world.held_out


def test_what_is_held_out_is_the_declared_share_of_what_is_no_shorter_composition() -> None:
    for world in worlds():
        shares = {hold_out.families: hold_out.share for hold_out in world.syntax.hold_outs}
        allowed: dict[tuple[str, ...], set[bytes]] = {}
        for families in shares:
            identity = tuple(range(world.objects))
            single = {
                compose(world, identity, function) for name in families for function in world.functions(name)
            }
            pairs = {
                compose(world, compose(world, identity, a), b)
                for a in world.functions(families[0])
                for b in world.functions(families[1])
            }
            allowed[families] = {as_bytes(table) for table in pairs - single - {identity}}
        assert world.held_out <= set().union(*allowed.values())
        if len(shares) == 1:
            (families,) = shares
            assert len(world.held_out) == round(shares[families] * len(allowed[families]))


def first_refusal(text: str) -> str:
    """Return the message for the first of several worlds that cannot satisfy the hold-out."""
    for key in range(20):
        try:
            explore(language_of(text, key), "train")
        except GrammarError as error:
            return str(error)
    raise AssertionError("no world was refused")


def test_a_hold_out_with_nothing_to_take_is_refused() -> None:
    # On two objects there are two permutations; where a family has both, its compositions are shorter ones.
    text = (
        "world { objects 2 family f 4 permutations }\nhold out 0.5 of f * f\n"
        "rule Document = some x ~ objects { let a ~ f, b ~ f { b(a(x)) } }"
    )
    assert "holds out nothing" in first_refusal(text)


def test_a_production_that_is_left_nothing_is_refused() -> None:
    text = (
        "world { objects 5 family f 2 permutations }\nhold out 0.7 of f * f\n"
        "rule Document = some x ~ objects { let a ~ f { More(a(x)) } }\nrule More(y) = let b ~ f { b(y) }"
    )
    assert "leaves a production of rule More (line 4) no functions to draw" in first_refusal(text)


def test_the_function_tables_do_not_depend_on_the_hold_out() -> None:
    kept, held = (language(hold, 4, objects=5) for hold in ("", HOLDS[0]))
    np.testing.assert_array_equal(kept.tables, held.tables)


def test_too_many_sites_or_draws_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = (
        "world { objects 12 family f 12 permutations }\nhold out 0.25 of f * f\n"
        "rule Document = some x ~ objects { Chain(x) }\n"
        "rule Chain(x) = 0.5: x | 0.5: let a ~ f { Chain(a(x)) }"
    )
    small = worlds()[0]  # drawn, and kept for other tests, before the limits are changed
    monkeypatch.setattr(sites, "_MOST_SITES", 300)
    with pytest.raises(GrammarError, match="more than 300 different function tables"):
        explore(language_of(endless), "train")
    monkeypatch.setattr(sites, "_MOST_EXAMINED", 100)
    with pytest.raises(GrammarError, match="and 100 in all"):
        explore(language_of(endless), "train")
    monkeypatch.setattr(sites, "_MOST_JOINT_DRAWS", 8)
    with pytest.raises(GrammarError, match="draws its functions in 9 ways"):
        explore(small, "train")
