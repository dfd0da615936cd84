"""Each screen finds the fault that was planted, names where it stands, and is silent on a sound table."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emergelab.outcomes.coherence import coherence, losses_fit
from emergelab.outcomes.findings import CASES, FINDINGS, cases_table, findings_table, named
from emergelab.outcomes.schema import OUTCOMES
from emergelab.outcomes.screens import SCREENS, screen, unfit, unfit_tasks
from sound_tables import SKILLS, Design, conform, found, only, sound

SOUND = sound()
A = pl.col("task") == "a"
AB = pl.col("task") == "ab"
S0 = pl.col("system") == "s0"
NUMBER = pl.col("piece").str.slice(1).cast(pl.Int64)


def spoiled(where: pl.Expr, **values: pl.Expr) -> pl.DataFrame:
    """Return the sound table with other values in some rows."""
    changes = [
        pl.when(where).then(value).otherwise(pl.col(name)).alias(name) for name, value in values.items()
    ]
    return conform(SOUND.with_columns(changes))


def reasons(frame: pl.DataFrame) -> dict[str, str]:
    return dict(unfit(frame).iter_rows())


def test_a_sound_table_is_silent():
    assert screen(SOUND) == []
    assert unfit(SOUND).is_empty()


def test_nothing_is_found_in_nothing():
    empty = pl.DataFrame(schema=OUTCOMES)
    assert screen(empty) == []
    assert unfit(empty).schema == {"task": pl.String, "reason": pl.String}


def test_assumptions_become_notes():
    (finding,) = screen(SOUND, ["Compute was assumed.", "So were skills."])
    assert (finding.severity, finding.message) == ("note", "Compute was assumed. So were skills.")


# Right answers.


def test_constant_targets():
    frame = spoiled(A, target=pl.lit("g"))
    finding = only(frame, "constant targets")
    assert (finding.severity, finding.tasks, finding.rows) == ("fault", ("a",), SOUND.height // 6)
    assert "a ('g')" in finding.message
    assert reasons(frame) == {"a": "constant target"}


def test_few_items_may_be_constant_by_luck():
    frame = sound(Design(items=4)).with_columns(target=pl.when(A).then(pl.lit("g")).otherwise("target"))
    assert not found(frame, "constant targets")
    assert found(frame, "few items")[0].details["items"].to_list() == [4] * 6


def test_nearly_constant_targets_name_the_baseline():
    frame = spoiled(A & (NUMBER < 54), target=pl.lit("s"))
    finding = only(frame, "nearly constant targets")
    assert finding.details["majority"].to_list() == [0.9]
    assert "a ('s' in 90%" in finding.message


def test_known_chance_explains_balanced_options():
    options = pl.when(NUMBER < 32).then(pl.lit("yes")).otherwise(pl.lit("no"))
    assert not found(spoiled(A, target=options, chance=pl.lit(0.5)), "nearly constant targets")
    assert found(spoiled(A, target=options), "nearly constant targets")


def test_empty_targets():
    odd = AB & (pl.col("piece") == "i3")
    finding = only(spoiled(odd, target=pl.lit(" ")), "empty right answers")
    assert (finding.rows, finding.tasks) == (24, ("ab",))
    assert only(spoiled(odd & S0, answer_tokens=pl.lit(0)), "empty right answers").rows == 6


def test_idle_skill_by_a_part():
    same = pl.format("{} of a", "piece")
    frame = spoiled(A | AB, input=pl.col("piece"), target=same)
    finding = only(frame, "idle skills")
    assert (finding.tasks, finding.details["by"].to_list()) == (("ab",), ["as a"])
    assert reasons(frame) == {"ab": "idle skill"}
    assert only(frame, "twin tasks").details["tasks"].to_list() == [["a", "ab"]]


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        (pl.col("input"), "the input itself"),
        (pl.col("input").str.to_uppercase(), "the input in upper case"),
        (pl.col("input").str.head(1), "the input's first letter"),
        (pl.col("input").str.tail(1), "the input's last letter"),
        (pl.col("input").str.reverse(), "the input reversed"),
    ],
)
def test_idle_skill_by_the_surface(target: pl.Expr, rule: str):
    words = [f"{chr(97 + i % 26)}{chr(98 + i % 24)}{i}{chr(99 + i % 20)}" for i in range(60)]
    renamed = SOUND.with_columns(
        input=pl.when(AB)
        .then(pl.col("piece").replace_strict(dict(zip([f"i{i}" for i in range(60)], words, strict=True))))
        .otherwise("input")
    )
    frame = renamed.with_columns(target=pl.when(AB).then(target).otherwise("target"))
    assert only(frame, "idle skills").details["by"].to_list() == [rule]


def test_a_part_with_other_answers_is_not_idle():
    frame = spoiled(A | AB, input=pl.col("piece"))
    assert not found(frame, "idle skills")
    assert not found(frame, "twin tasks")


@given(share=st.integers(0, 60))
@settings(max_examples=8, deadline=None)
def test_idle_means_nearly_all_items(share: int):
    same = pl.when(share > NUMBER).then(pl.format("{} of a", "piece")).otherwise(pl.col("target"))
    frame = spoiled(A | AB, input=pl.col("piece"), target=same)
    assert bool(found(frame, "idle skills")) == (share >= 57)


def test_copied_inputs():
    frame = spoiled(A, target=pl.col("input"))
    assert only(frame, "copied inputs").tasks == ("a",)
    assert reasons(frame) == {"a": "answered by copying"}


def test_repeated_items():
    frame = spoiled(A & (pl.col("piece") == "i1"), input=pl.lit("a:i0?"), target=pl.lit("i0 of a"))
    assert only(frame, "repeated items").rows == 2


# Levels.


def test_never_solved_by_any_and_by_some():
    nowhere = only(spoiled(A, correct=pl.lit(value=False)), "never solved")
    assert (nowhere.severity, nowhere.tasks, nowhere.unfit) == ("warning", ("a",), "never solved")
    somewhere = only(spoiled(A & S0, correct=pl.lit(value=False)), "never solved")
    assert (somewhere.severity, somewhere.systems, somewhere.rows) == ("note", ("s0",), 360)
    assert somewhere.unfit is None


def test_few_items_are_not_never_solved():
    frame = sound(Design(items=8)).with_columns(
        correct=pl.when(A).then(pl.lit(value=False)).otherwise("correct")
    )
    assert not found(frame, "never solved")


def test_chance_level():
    guessed = pl.col("train_tokens") % 4 == NUMBER % 4
    frame = spoiled(A, correct=guessed, chance=pl.lit(0.25))
    finding = only(frame, "chance level")
    assert (finding.tasks, finding.unfit) == (("a",), "never above guessing")
    assert not found(spoiled(A, correct=guessed), "chance level")


def test_the_most_frequent_answer_is_a_guess_too():
    frequent = NUMBER < 24
    frame = spoiled(
        A, correct=frequent, target=pl.when(frequent).then(pl.lit("e")).otherwise(pl.col("target"))
    )
    assert only(frame, "chance level").tasks == ("a",)


def test_saturated_tasks():
    finding = only(spoiled(A & S0, correct=pl.lit(value=True)), "saturated tasks")
    assert (finding.tasks, finding.systems, finding.rows) == (("a",), ("s0",), 360)


def test_checkpoints_before_learning_are_no_ground_against_saturation():
    first = pl.col("checkpoint") == "step100"
    unlearned = spoiled(first, correct=pl.lit(value=False))
    note = only(unlearned, "before learning")
    assert (note.details["checkpoint"].unique().to_list(), note.rows) == (["step100"], 1440)
    both = unlearned.with_columns(correct=pl.when(A & ~first).then(pl.lit(value=True)).otherwise("correct"))
    assert only(both, "saturated tasks").tasks == ("a",)


def test_many_small_tasks_are_trained_together():
    tasks = {f"t{i}": ("a",) for i in range(40)}
    frame = sound(Design(items=2, skills=tasks, levels=(0.5, 0.5, 0.5, 0.5)))
    assert not found(frame.with_columns(chance=pl.lit(0.1)), "before learning")
    assert found(frame.with_columns(chance=pl.lit(0.5)), "before learning")


# Answers.


def test_infinite_losses():
    odd = A & S0 & (pl.col("piece") == "i0")
    finding = only(spoiled(odd, nats=pl.lit(math.inf)), "infinite losses")
    assert (finding.rows, finding.systems, finding.tasks) == (6, ("s0",), ("a",))
    assert "without a token" not in finding.message


def test_foreign_losses():
    finding = only(spoiled(S0, nats=pl.col("nats") + 7), "foreign losses")
    assert (finding.severity, finding.systems) == ("fault", ("s0",))
    assert "100.0% of the right answers" in finding.message


def test_losses_of_options_are_no_fault():
    frame = spoiled(S0, nats=pl.col("nats") + 7).with_columns(chance=pl.lit(0.25))
    finding = only(frame, "foreign losses")
    assert (finding.severity, "chosen among options" in finding.message) == ("warning", True)


def test_likely_answers_called_wrong():
    strict = spoiled(S0, correct=pl.col("correct") & (NUMBER % 3 > 0))
    assert only(strict, "likely answers called wrong").systems == ("s0",)
    options = strict.with_columns(chance=pl.lit(0.25))
    assert not found(options, "likely answers called wrong")


def test_repeated_rows_and_repeated_answers():
    once_more = SOUND.filter(S0).with_columns(sample=pl.lit(1, pl.Int32))
    copies = conform(pl.concat([SOUND, once_more]))
    assert only(copies, "repeated rows").rows == once_more.height
    drawn = once_more.with_columns(correct=pl.col("correct") ^ (NUMBER % 5 == 0))
    assert not found(conform(pl.concat([SOUND, drawn])), "repeated rows")
    uneven = conform(pl.concat([SOUND, drawn.filter(NUMBER < 30)]))
    assert only(uneven, "uneven repetitions").systems == ("s0",)


def test_contradictory_targets():
    odd = A & (pl.col("piece") == "i1")
    finding = only(spoiled(odd, input=pl.lit("a:i0?")), "contradictory targets")
    assert (finding.rows, finding.details.height) == (48, 24)
    assert "i0 of a or i1 of a" in finding.message


def test_other_prompts_are_other_questions():
    odd = A & (pl.col("piece") == "i1")
    frame = spoiled(odd, input=pl.lit("a:i0?")).with_columns(prompt=pl.format("{} {}", "piece", "input"))
    assert not found(frame, "contradictory targets")


def test_shifting_items():
    frame = spoiled(A & S0 & (pl.col("piece") == "i1"), target=pl.lit("other"))
    assert only(frame, "shifting items").details["piece"].to_list() == ["i1"]


def test_uneven_shots():
    finding = only(spoiled(A & (pl.col("piece") == "i1"), shots=pl.lit(4)), "uneven shots")
    assert (finding.rows, finding.tasks) == (24, ("a",))
    assert not found(spoiled(A, shots=pl.lit(4)), "uneven shots")


def test_tokenizers():
    between = only(spoiled(S0, answer_tokens=pl.lit(3)), "different tokenizers")
    assert (between.severity, len(between.tasks)) == ("note", 6)
    within, *_ = found(
        spoiled(S0 & (pl.col("checkpoint") == "step100"), answer_tokens=pl.lit(3)), "different tokenizers"
    )
    assert (within.severity, within.systems) == ("warning", ("s0",))


def test_unknown_chance():
    assert only(spoiled(A, chance=pl.lit(None)), "unknown chance").tasks == ("a",)


# Prompts.


def prompts(example: str) -> pl.DataFrame:
    return SOUND.with_columns(prompt=pl.format(f"x:i9? -> y\n{example}{{}} ->", "input"))


def test_prompts_with_other_examples_are_sound():
    assert not found(prompts("z:i7? -> w\n"), "repeated in prompts")


def test_items_repeated_in_their_prompts():
    finding = only(prompts("A:I4! -> i4 of A\n"), "repeated in prompts")
    assert (finding.severity, finding.tasks, finding.rows) == ("fault", ("a",), 24)
    assert (
        "1 of 360 prompts hold the item more than once (0 letter by letter), 1 of them with its answer"
        in finding.message
    )


def test_items_repeated_without_their_answer():
    finding = only(prompts("a:i4? -> y\n"), "repeated in prompts")
    assert finding.severity == "warning"
    assert "(1 letter by letter), 0 of them" in finding.message


def test_prompts_that_end_with_the_answer():
    frame = SOUND.with_columns(prompt=pl.format("{} -> {}", "input", "target"))
    assert only(frame, "answers in prompts").tasks == tuple(sorted(SKILLS))


@given(st.text(alphabet="ab Aé.*(\\", min_size=1, max_size=6), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_any_text_is_looked_for_as_it_is(word: str, times: int):
    frame = SOUND.filter(S0 & A & (pl.col("checkpoint") == "step100") & (NUMBER == 0)).with_columns(
        input=pl.lit(word), prompt=pl.lit("\n".join([f"| {word} |"] * times + [word]))
    )
    sought = any(sign.isalnum() for sign in word)
    assert bool(found(frame, "repeated in prompts")) == (sought and times > 0)


# Coverage.


def test_missing_tasks_and_checkpoints():
    lacking = SOUND.filter(~(A & S0))
    never = only(lacking, "missing tasks")
    assert (never.tasks, never.systems) == (("a",), ("s0",))
    assert not found(lacking, "missing checkpoints")
    late = pl.col("checkpoint").is_in(["step1600", "step3200"])
    holes = only(SOUND.filter(~(AB & S0 & late)), "missing checkpoints")
    assert holes.details.select("at", "missing", "task").rows() == [(["step1600", "step3200"], 2, ["ab"])]


def test_missing_items():
    frame = SOUND.filter(~(A & S0 & (pl.col("checkpoint") == "step200") & (NUMBER >= 10)))
    assert only(frame, "missing items").details["answered"].to_list() == [10]
    unshared = only(SOUND.filter(~(A & S0 & (NUMBER >= 57))), "missing items")
    assert (unshared.severity, unshared.details["unshared"].to_list()) == ("note", [3])


def test_one_system_and_one_checkpoint():
    alone = found(SOUND.filter(S0), "one system")
    assert "s0" in alone[0].message
    final = SOUND.filter(pl.col("checkpoint") == "step3200")
    assert "one checkpoint" in only(final, "few checkpoints").message
    assert not found(final, "sizes")


def test_sizes():
    assert "same size" in only(SOUND.with_columns(params=pl.lit(10**8)), "sizes").message
    assert (
        "Every system has one size"
        in only(SOUND.filter(pl.col("system").is_in(["s0", "s1"])), "sizes").message
    )


def test_unknown_order():
    finding = only(spoiled(S0, train_tokens=pl.lit(None, pl.Int64)), "unknown order")
    assert finding.severity == "warning"
    assert "of s0" in finding.message


def test_unknown_scales():
    finding = only(spoiled(S0, loss=pl.lit(None), params=pl.lit(None)), "unknown scales")
    assert "parameters (6 of 24) and the systems' own loss (6 of 24)" in finding.message
    assert finding.systems == ("s0",)


def test_wide_gaps():
    finding = only(
        SOUND.filter(pl.col("checkpoint") != "step800").filter(pl.col("checkpoint") != "step1600"),
        "wide gaps",
    )
    assert finding.details["factor"].unique().to_list() == [8.0]


def test_copied_results():
    copy = SOUND.filter(S0).with_columns(system=pl.lit("s9"))
    finding = only(conform(pl.concat([SOUND, copy])), "copied results")
    assert (finding.systems, finding.severity) == (("s0", "s9"), "fault")
    assert finding.rows == 2 * copy.height


def test_equal_right_and_wrong_answers_are_a_copy_where_all_are_equal():
    bare = SOUND.with_columns(pl.lit(None, pl.Float64).alias(name) for name in ("nats", "cloze_loss"))
    copy = bare.filter(S0).with_columns(system=pl.lit("s9"))
    assert only(conform(pl.concat([bare, copy])), "copied results").systems == ("s0", "s9")
    partly = copy.with_columns(correct=pl.when(A).then(pl.col("correct")).otherwise(NUMBER % 2 == 0))
    assert not any(
        "s9" in finding.systems and "s0" in finding.systems
        for finding in found(conform(pl.concat([bare, partly])), "copied results")
    )


def test_wrong_answers_alone_are_no_copy():
    untrained = spoiled(pl.col("checkpoint") == "step100", correct=pl.lit(value=False)).with_columns(
        nats=pl.lit(None, pl.Float64), cloze_loss=pl.lit(None, pl.Float64)
    )
    assert not found(untrained, "copied results")


# Units.


def test_swapped_scales():
    swapped = SOUND.rename({"params": "train_tokens", "train_tokens": "params"}).select(SOUND.columns)
    assert "swapped" in found(conform(swapped), "odd scales")[0].message


def test_tokens_in_billions():
    frame = SOUND.with_columns(train_tokens=pl.col("train_tokens") // 10**9)
    assert "billions" in only(frame, "odd scales").message


def test_bits_and_perplexities():
    frame = SOUND.with_columns(loss=pl.lit(15.6))
    assert len(only(frame, "odd losses").systems) == 4


def test_percent_of_fractions():
    assert only(SOUND.with_columns(score=pl.lit(0.004)), "odd shares").message.startswith(
        "The largest score is"
    )
    options = (NUMBER % 4).cast(pl.String)
    finding = only(spoiled(A, chance=pl.lit(0.0025), target=options), "odd shares")
    assert finding.tasks == ("a",)


def test_labels_against_tokens():
    turned = {"step100": "step200", "step200": "step100"}
    frame = conform(
        SOUND.with_columns(
            checkpoint=pl.when(S0).then(pl.col("checkpoint").replace(turned)).otherwise("checkpoint")
        )
    )
    finding = only(frame, "odd labels")
    assert finding.systems == ("s0",)
    assert "step200 of s0 has fewer training tokens than step100" in finding.message


def test_labels_with_several_numbers_are_read_by_the_best():
    labels = pl.format("m2-{}-step{}-tokens{}B", 9 - pl.col("level"), pl.col("level") * 100, pl.col("level"))
    levels = SOUND.with_columns(level=(pl.col("train_tokens") // 10**9))
    assert not found(conform(levels.with_columns(checkpoint=labels)), "odd labels")
    wrong = pl.format("m2-step{}-tokens{}B", pl.col("level") * 100, pl.col("level") * 7)
    assert (
        "states another number"
        not in only(conform(levels.with_columns(checkpoint=wrong)), "odd labels").message
    )
    assert (
        "state another number" in only(conform(levels.with_columns(checkpoint=wrong)), "odd labels").message
    )


def test_checkpoints_at_the_same_tokens():
    same = pl.when(S0).then(pl.col("train_tokens").clip(upper_bound=8 * 10**9)).otherwise("train_tokens")
    frame = conform(SOUND.with_columns(train_tokens=same))
    finding = only(frame, "shared places")
    assert finding.details["checkpoint"].to_list() == [["step800", "step1600", "step3200"]]


# Skills.


def test_skills_never_alone():
    finding = only(SOUND.filter(~A), "skills never alone")
    assert finding.tasks == ("ab", "ac")
    assert "Of 3 composites 1 has all parts measured; by system s0 1" in finding.message


def test_skills_that_always_occur_together():
    both = (
        pl.when(A).then(pl.lit(["a", "z"])).when(AB).then(pl.lit(["a", "z", "b"])).otherwise(pl.col("skills"))
    )
    frame = SOUND.filter(pl.col("task") != "ac").with_columns(skills=both)
    together, open_ones = found(frame, "confounded skills")
    assert together.details["skills"].to_list() == [["a", "z"]]
    assert open_ones.details["skill"].to_list() == ["a", "z"]


def test_skills_that_sums_leave_open():
    pairs = {"ab": ("a", "b"), "cd": ("c", "d"), "ac": ("a", "c"), "bd": ("b", "d")}
    (finding,) = found(sound(Design(skills=pairs)), "confounded skills")
    assert "4 sets of skills are measured, of rank 3 for 4 skills" in finding.message


def test_mixed_tasks():
    frame = spoiled(A & (NUMBER < 20), skills=pl.lit(["b"]))
    assert only(frame, "mixed tasks").tasks == ("a",)


# Coherence.


def test_coherence_agrees_with_numpy():
    one = SOUND.filter(S0)
    row = coherence(SOUND).row(0, named=True)
    assert row["accuracy"] == pytest.approx(float(one["correct"].mean()))  # pyright: ignore[reportArgumentType]
    items = one.group_by("task", "piece").agg(p=(-pl.col("nats")).exp().mean())["p"].to_numpy()
    error = items.std(ddof=1) / np.sqrt(items.size)
    assert row["probability"] == pytest.approx(items.mean())
    assert row["hi"] - row["lo"] == pytest.approx(
        2 * 1.9665 * error, rel=1e-3
    )  # t with 359 degrees of freedom
    assert row["fits"]


def test_coherence_is_unknown_without_losses():
    bare = SOUND.with_columns(nats=pl.when(S0).then(None).otherwise("nats"))
    assert coherence(bare)["fits"].to_list() == [None, True, True, True]
    assert losses_fit(bare) == {"s0", "s1", "s2", "s3"}
    assert losses_fit(SOUND.with_columns(nats=pl.when(S0).then(12.0).otherwise("nats"))) == {"s1", "s2", "s3"}


def test_a_single_item_proves_nothing():
    single = SOUND.filter(S0 & A & (NUMBER == 0)).with_columns(nats=pl.lit(9.0), correct=pl.lit(value=True))
    assert coherence(single).select("lo", "hi", "fits").row(0) == (0.0, 1.0, True)


# Together.


def test_findings_stand_in_a_table_and_their_cases_in_another():
    findings = screen(spoiled(A, target=pl.lit("g"), shots=NUMBER.cast(pl.Int32)))
    table = findings_table(findings)
    assert table.schema == FINDINGS
    assert table["severity"].to_list() == sorted(table["severity"], key=["fault", "warning", "note"].index)
    cases = cases_table(findings)
    assert cases.schema == CASES
    assert cases.filter(pl.col("screen") == "uneven shots").height == 60
    assert unfit_tasks(findings).rows() == [("a", "constant target")]


def test_a_task_with_two_faults_has_one_row():
    frame = spoiled(A, target=pl.col("input"), correct=pl.lit(value=False))
    assert reasons(frame) == {"a": "answered by copying; never solved"}


@given(
    st.sets(
        st.sampled_from(sorted(set(OUTCOMES) - {"system", "checkpoint", "task", "skills", "piece", "sample"}))
    )
)
@settings(max_examples=12, deadline=None)
def test_missing_columns_stop_no_screen(names: set[str]):
    bare = SOUND.with_columns(pl.lit(None, OUTCOMES[name]).alias(name) for name in names)
    assert all(finding.message for finding in screen(bare))


@given(st.integers(0, 2**32))
@settings(max_examples=4, deadline=None)
def test_the_order_of_rows_does_not_matter(seed: int):
    frame = spoiled(A, correct=NUMBER % 2 == 0, target=pl.lit("x")).filter(NUMBER < 20)
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=seed)
    assert findings_table(screen(shuffled)).equals(findings_table(screen(frame)))


def test_names_are_few():
    assert named(["a"]) == "a"
    assert named([]) == ""
    assert named(list("abcde")) == "a, b, c, d and e"
    assert named(list("abcdef")) == "a, b, c, d and 2 more"


def test_no_screen_stands_twice():
    assert len(set(SCREENS)) == len(SCREENS)
