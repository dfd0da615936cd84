"""The commands that ask the theory."""

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from emergelab.corpus.prompts import make_prompts
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.library import find_grammar, load_grammar
from emergelab.grammar.tasks import ground_task
from emergelab.recipes.oracle import PromptOracle, exactness
from emergelab.rng import stream
from emergelab.theory.ideal import Ideal
from emergelab.theory.statements import Remainder, enumerate_statements
from study_runs import GRAMMAR, command, refused

ASKED = ("--prompts", "24", "--key", "1")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("theory") / "tiny.cag"
    path.write_text(GRAMMAR, encoding="utf-8")
    return path


def test_bounds_by_hand(tiny: Path):
    """One function: D = -ln(.5/3), R_4 = 3 ln(1/.9), and B4 holds for the means that are printed."""
    answer = command("bound", tiny, "--task", "single", "--shots", "4", *ASKED, "--json")
    found = json.loads(answer.out)
    assert found["law"] == "full"
    assert found["exactness"]["remainder"] == 0
    (row,) = found["bounds"]
    assert row["D_nats"] == pytest.approx(math.log(6))
    assert row["R_nats"] == pytest.approx(3 * math.log(1 / 0.9))
    assert row["bound_nats"] == pytest.approx(row["D_nats"] + row["R_nats"])
    assert row["bound_errors"] == pytest.approx(row["bound_nats"] / math.log(2))
    slack = row["argument_slack_nats"] + row["posterior_slack_nats"]
    assert row["ideal_nats"] == pytest.approx(row["bound_nats"] + slack)
    assert row["ideal_nats"] <= row["bound_nats"]
    assert row["ideal_errors"] <= row["bound_errors"]
    assert row["reason"] is None
    assert (row["form"], row["split"], row["law"], row["answers"]) == ("direct", "seen", "full", 4)


def test_what_is_held_out_has_no_derivation_under_the_law_of_training(tiny: Path):
    answer = command("bound", tiny, "--task", "pair", "--law", "train", *ASKED, "--json")
    rows = {(row["form"], row["split"]): row for row in json.loads(answer.out)["bounds"]}
    assert rows["direct", "held_out"]["D_nats"] is None
    assert rows["direct", "held_out"]["reason"] == "no derivation prints this"
    assert rows["direct", "seen"]["D_nats"] > 0
    assert set(rows["direct", "held_out"]["examples_for_error_rate"].values()) == {None}
    said = command("bound", tiny, "--task", "pair", "--law", "train", *ASKED).out
    assert "no derivation prints this" in said
    assert "∞" in said


def test_a_task_outside_the_grammar(tiny: Path):
    said = command("bound", tiny, "--task", "inverse", "--form", "direct", *ASKED).out
    assert "direct, outside: no derivation prints this under the law 'full'" in said


@pytest.mark.parametrize(
    ("loop", "said"),
    [
        ("each x ~ objects, uniform 2 3", "no loop that prints this prints so many rows"),
        (
            "each x ~ objects distinct, stop 0.2",
            "prompts may repeat an object, and no loop that prints this does",
        ),
    ],
)
def test_prompts_that_no_loop_prints(tmp_path: Path, loop: str, said: str):
    """D is known, and the bound is infinite: longer than any loop, or an object twice."""
    path = tmp_path / "short.cag"
    path.write_text(
        f"""world {{ objects 5 family f 2 permutations }}
        rule Document = 0.5: each x ~ objects, stop 0.2 {{ x "." }} | 0.5: {loop} {{ let a ~ f {{ x a(x) ";" }} }}
        task single = let a ~ f each x {{ x a(x) ";" }}""",
        encoding="utf-8",
    )
    asked = ("bound", path, "--task", "single", "--shots", "4", *ASKED)
    (row,) = json.loads(command(*asked, "--json").out)["bounds"]
    assert row["D_nats"] == pytest.approx(math.log(4))
    assert row["R_nats"] is None
    assert row["bound_nats"] is None
    assert row["reason"] == said
    shown = command(*asked).out
    assert f"{said} under the law 'full', so the bound is infinite." in shown
    assert shown.count("∞") == 3


def test_scores_of_the_ideal_predictor(tiny: Path):
    answer = command("ideal", tiny, "--task", "pair", "--form", "steps", "--shots", "3", *ASKED, "--json")
    found = json.loads(answer.out)
    assert {row["form"] for row in found["scores"]} == {"steps"}
    assert {row["split"] for row in found["scores"]} == {"seen", "held_out"}
    assert {row["shots"] for row in found["scores"]} == {0, 1, 2, 3}
    rate = found["entropy_rate"]
    assert rate["nats_lo"] < rate["nats"] < rate["nats_hi"]
    assert rate["certified_lo"] == pytest.approx(rate["nats"])
    assert rate["nats_n"] == 2048


def test_rates_of_training_are_below_those_of_the_whole_grammar(tiny: Path):
    """Less is possible, and the lengths of documents stay: less is to be told."""
    rates = [
        json.loads(command("ideal", tiny, "--task", "single", "--law", law, *ASKED, "--json").out)[
            "entropy_rate"
        ]
        for law in ("full", "train")
    ]
    assert rates[1]["nats"] < rates[0]["nats"]


def test_tables_are_printed(tiny: Path):
    said = command("ideal", tiny, "--task", "single", *ASKED).out
    assert "Entropy rate of the corpus (full law" in said
    assert "Exact: " in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bound", "--task", "nope"), "no task 'nope'"),
        (("ideal", "--task", "pair", "--form", "loud"), "no form 'loud'"),
    ],
)
def test_mistakes(tiny: Path, arguments: tuple[str, ...], said: str):
    assert said in refused(arguments[0], tiny, *arguments[1:])


def test_what_was_not_enumerated_is_added_up():
    """A statement is of one remainder or another: what was enumerated and all of them make 1."""
    language = draw_language(load_grammar(find_grammar("recursion")), stream(0, "world"))
    statements = enumerate_statements(language, "full", most_bodies=200)
    assert len(statements.remainders) > 1
    told = exactness(Ideal(statements))
    unknown = 1 - math.fsum(statements.start_probability)
    assert told["remainder"] == pytest.approx(unknown, rel=1e-9)
    # k statements have probability .1 * .9^(k - 1): summed in closed form.
    known = 0.1 * (1 - unknown) / (1 - 0.9 * (1 - unknown))
    assert told["remainder_of_documents"] == pytest.approx(1 - known, rel=1e-9)


def test_what_a_likely_state_prints_counts_for_more():
    """`topic`, begun anew in another state: the remainder of a state counts as often as documents reach it."""
    language = draw_language(load_grammar(find_grammar("topic")), stream(0, "world"))
    statements = enumerate_statements(language, "full")
    assert exactness(Ideal(statements))["remainder_of_documents"] == 0
    state = int(np.argmax(statements.initial))
    lost = replace(statements, remainders=(Remainder(state, 1.0, ()),))
    told = exactness(Ideal(lost))
    assert told["remainder"] == pytest.approx(statements.initial[state])
    # Powers of the matrix in the place of solved equations: every document that comes to the state.
    weights, met = statements.initial.copy(), 0.0
    for _ in range(2000):
        met += weights[state]
        weights[state] = 0.0
        weights = weights @ statements.transition[:, :-1]
    assert told["remainder_of_documents"] == pytest.approx(met)


def test_what_was_not_enumerated_is_told(monkeypatch: pytest.MonkeyPatch):
    few = partial(enumerate_statements, most_bodies=200)
    monkeypatch.setattr("emergelab.recipes.oracle.enumerate_statements", few)
    said = command("bound", "recursion", "--task", "one", "--shots", "2", *ASKED).out
    assert "the first statement of a document is none of them with probability" in said


def test_a_task_that_was_not_enumerated_is_told_apart_from_one_that_is_never_printed():
    """Four functions spoken one after another have D = ln(2 * 2^4 * 4^4): past 60 bodies, and not infinite."""
    language = draw_language(load_grammar(find_grammar("recursion")), stream(0, "world"))
    ideal = Ideal(enumerate_statements(language, "full", most_bodies=60))
    sets = make_prompts(language, "four", shots=1, prompts=8, stream=stream(0, "evaluation"))
    printed = next(one for one in sets if one.form == "steps")
    row = PromptOracle.of(ideal, ground_task(language, "four"), printed).bounds(1)
    assert (row["D_nats"], row["reason"]) == (None, "nothing that was enumerated prints this")
    assert 0 < row["D_certified_lo"] < math.log(2 * 2**4 * 4**4)


@pytest.mark.slow
def test_functions_of_the_document_are_weighed_by_hypotheses():
    """A known function is answered with no example, a new one costs ln 16 at first and nothing when it comes again."""
    few = ("--shots", "1", "--prompts", "3", "--documents", "2")
    found = {
        task: json.loads(command("ideal", "scopes", "--task", task, *few, "--json").out)
        for task in ("known", "fresh")
    }
    first = {
        task: next(row for row in one["scores"] if row["argument"] == "fresh" and row["shots"] == 0)
        for task, one in found.items()
    }
    assert first["known"]["nats"] < 1 < first["fresh"]["nats"]
    assert found["known"]["exactness"] == {"hypotheses": 100}
    rate = found["known"]["entropy_rate"]
    counts = rate["hypotheses_by_token"]
    assert counts[0] == 1  # nothing is known but that a document has begun
    assert max(counts) <= 100
    assert 0 < rate["exact_beginning"] <= rate["tokens"] / 2
    assert rate["certified_lo"] <= rate["nats"] <= rate["certified_hi"]
    assert rate["exact"] > 0.5
    fewer = ("--shots", "0", "--prompts", "2", "--documents", "2")
    said = command("ideal", "scopes", "--task", "known", *fewer).out
    assert "At most 100 hypotheses were weighed at a time." in said


def test_functions_of_the_document_have_no_bound():
    assert "anew" in refused("bound", "fresh", "--task", "single")
