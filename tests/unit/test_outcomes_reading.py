"""Tables of outcomes: which column is what, what follows, what is refused, and that what is written is read."""

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emergelab.outcomes.conversions import as_flags, as_numbers, as_skills, as_text
from emergelab.outcomes.files import TableError, read_table
from emergelab.outcomes.ordering import answered_twice, in_order
from emergelab.outcomes.reading import as_outcomes, read_outcomes
from emergelab.outcomes.schema import ORDER, OUTCOMES, Outcomes, cells
from emergelab.recipes.importing_outcomes import write_outcomes

HEAD = "system,checkpoint,task,piece,correct"
ROW = "a,1,add,x,1"


def table(tmp_path: Path, *lines: str, name: str = "table.csv") -> str:
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def message(tmp_path: Path, *lines: str, **told: str) -> str:
    with pytest.raises(TableError) as error:
        read_outcomes(table(tmp_path, *lines), told)
    return str(error.value)


# Derivations


def test_the_shipped_table_is_read_whole_and_its_numbers_are_the_source_s():
    raw, read = read_table("composition_outcomes"), read_outcomes("composition_outcomes")
    assert read.frame.schema == OUTCOMES
    assert read.frame.height == raw.height
    # By NumPy, in another order of rows: sums of what is finite.
    per_token = raw["loss_nats_per_token"].to_numpy()
    finite = np.isfinite(per_token)
    nats = np.where(finite, per_token, 0.0) * raw["target_tokens"].to_numpy()
    ours = read.frame["nats"].to_numpy()
    assert math.fsum(ours[np.isfinite(ours)]) == pytest.approx(math.fsum(nats), rel=1e-12)
    assert np.isposinf(ours).sum() == (~finite).sum() == 37
    cloze = -np.expm1(-raw["loss_nats_per_token"].to_numpy())
    assert read.frame["cloze_loss"].sum() == pytest.approx(cloze.sum(), rel=1e-12)
    flops = 6.0 * raw["params"].to_numpy() * raw["train_tokens"].to_numpy()
    assert read.frame["flops"].sum() == pytest.approx(flops.sum(), rel=1e-12)
    assert read.frame["correct"].sum() == raw["correct"].sum()


def test_probabilities_give_nats_and_cloze_losses(tmp_path: Path):
    read = read_outcomes(table(tmp_path, "model,task,id,probability", "a,add,x,0.25", "a,add,y,0"))
    assert read.frame["nats"].to_list() == [pytest.approx(math.log(4)), math.inf]
    assert read.frame["cloze_loss"].to_list() == [0.75, 1.0]
    assert any("one cloze question" in note for note in read.notes)


def test_given_compute_is_kept_and_missing_compute_derived(tmp_path: Path):
    lines = ("model,step,task,id,correct,params,tokens,flops", "a,1,t,x,1,1e6,1e6,5", "a,2,t,x,1,1e6,2e6,")
    read = read_outcomes(table(tmp_path, *lines))
    assert read.frame["flops"].to_list() == [5.0, 12e12]
    assert any("6 FLOP" in note for note in read.notes)


def test_texts_of_csv_stay_texts(tmp_path: Path):
    lines = (f"{HEAD},input,target", "a,1,t,007,1,1e5,True", "a,1,t,7,0,100000,true")
    frame = read_outcomes(table(tmp_path, *lines)).frame
    assert frame["piece"].to_list() == ["007", "7"]
    assert frame["input"].to_list() == ["1e5", "100000"]
    assert frame["target"].to_list() == ["True", "true"]
    assert frame["correct"].to_list() == [True, False]


def test_items_without_names_are_named_by_question_and_answer_or_by_place(tmp_path: Path):
    lines = ("model,task,question,answer,correct", "a,t,1+1,2,1", "a,t,1+1,3,0", "a,t,1+1,2,0")
    frame = read_outcomes(table(tmp_path, *lines)).frame
    assert frame.select("piece", "sample").rows() == [("1+1 → 2", 0), ("1+1 → 2", 1), ("1+1 → 3", 0)]
    assert frame["correct"].to_list() == [True, False, False]
    bare = read_outcomes(table(tmp_path, "model,task,correct", "a,t,1", "a,t,0", "b,t,1"))
    assert bare.frame.select("system", "piece").rows() == [("a", "0"), ("a", "1"), ("b", "0")]
    assert any("n-th answer" in note for note in bare.notes)


def test_samples_that_share_a_number_are_numbered_anew(tmp_path: Path):
    read = read_outcomes(table(tmp_path, f"{HEAD},sample", f"{ROW},4", "a,1,add,x,0,4", "a,1,add,y,0,2"))
    assert read.frame.select("piece", "sample").rows() == [("x", 0), ("x", 1), ("y", 0)]
    assert any("numbered anew" in note for note in read.notes)
    kept = read_outcomes(table(tmp_path, f"{HEAD},sample", f"{ROW},4", "a,1,add,x,0,2"))
    assert kept.frame.select("sample", "correct").rows() == [(2, False), (4, True)]


def test_skills_from_a_table_and_from_the_task(tmp_path: Path):
    skills = table(tmp_path, "task,skills", "add,digits+carry", name="skills.csv")
    read = read_outcomes(table(tmp_path, HEAD, ROW), skills_of=Path(skills))
    assert read.frame["skills"].to_list() == [["digits", "carry"]]
    alone = read_outcomes(table(tmp_path, HEAD, ROW))
    assert alone.frame["skills"].to_list() == [["add"]]
    assert any("one skill of its own" in note for note in alone.notes)


def test_one_model_at_one_checkpoint_is_enough(tmp_path: Path):
    read = read_outcomes(table(tmp_path, "model,task,correct", "a,t,yes"))
    assert read.frame.select("system", "checkpoint", "task", "piece", "sample", "correct").row(0) == (
        "a", "final", "t", "0", 0, True,
    )  # fmt: skip
    assert (
        read.frame.select("params", "nats", "cloze_loss", "score", "chance").null_count().row(0) == (1,) * 5
    )


# Values


def test_right_and_wrong_in_many_words():
    words = pl.Series(["True", " no", "1", "0.0", "RIGHT", "incorrect", "", "nan", None])
    assert as_flags(words).to_list() == [True, False, True, False, True, False, None, None, None]
    assert as_flags(pl.Series([1.0, 0.0, math.nan])).to_list() == [True, False, None]
    assert as_flags(pl.Series([1, 0, None])).to_list() == [True, False, None]


def test_numbers_as_they_are_written():
    assert as_numbers(pl.Series(["6.9e9", " 7 ", "NA", "-inf"]), "nats").to_list() == [
        6.9e9,
        7.0,
        None,
        -math.inf,
    ]
    big = pl.Series([2**53 + 1])
    assert as_numbers(big, "params").to_list() == [2**53 + 1]


@pytest.mark.parametrize(
    ("written", "skills"),
    [
        ("a+b", ["a", "b"]),
        ("a, b", ["a", "b"]),
        ("a ; b|c", ["a", "b", "c"]),
        ('["a", "b"]', ["a", "b"]),
        ("['a']", ["a"]),
        ("d'accord", ["d'accord"]),
        ("f(x)", ["f(x)"]),
        ("a + a", ["a", "a"]),
    ],
)
def test_skills_in_one_text(written: str, skills: list[str]):
    assert as_skills(pl.Series([written, None, written])).to_list() == [skills, None, skills]


def test_lists_become_texts_and_structures_do_not():
    assert as_text(pl.Series([["a", "b"], None]), "target").to_list() == ["a | b", None]
    with pytest.raises(TableError, match="read as target holds Struct"):
        as_text(pl.Series([{"a": 1}]), "target")


# Refusals: each message says the value, the rule and the remedy.


@pytest.mark.parametrize(
    ("lines", "found", "remedy"),
    [
        (["task,correct", "t,1"], "No column was recognised as the system", "--column system=NAME"),
        (["model,correct", "a,1"], "No column was recognised as the task", "--column task=NAME"),
        (["model,task,colour", "a,t,red"], "No column was recognised as the outcome", "--column correct=NAME"),
        ([f"{HEAD},chance", f"{ROW},25"], "Got 25 in the column read as chance", "divide by 100"),
        ([f"{HEAD},score", f"{ROW},-1"], "Got -1 in the column read as score", "--column score=NAME"),
        (["model,task,acc", "a,t,87.5"], "Got '87.5' in the column of right and wrong", "score=NAME"),
        (["model,task,acc", "a,t,0.5"], "Got '0.5' in the column of right and wrong", "score=NAME"),
        ([f"{HEAD},nats", f"{ROW},-2"], "Got -2 in the column read as nats", "Turn the sign"),
        ([f"{HEAD},params", f"{ROW},7B"], "Got '7B' in the column read as params", "7e9, not 7B"),
        ([f"{HEAD},params", f"{ROW},6.9"], "Got 6.9 parameters", "6900000000 or 6.9e9"),
        ([f"{HEAD},params", f"{ROW},3e15"], "Got 3e+15 parameters", "--column params=NAME"),
        ([f"{HEAD},params,tokens", f"{ROW},7e9,300"], "trained on 300 tokens at most", "3e11"),
        ([f"{HEAD},tokens", f"{ROW},4e10", "a,2,add,x,1,42"], "42 training tokens at 2 and up to 4e+10", "4.2e10"),
        ([f"{HEAD},params,tokens", f"{ROW},1e9,1e9", "a,2,add,x,1,2e9,2e9"], "same numbers at all 2", "params=NAME"),
        ([f"{HEAD},tokens", f"{ROW},-5"], "Got -5 in the column read as train_tokens", "Mend these rows"),
        ([f"{HEAD},tokens", f"{ROW},1e24"], "Got 1e+24 in the column read as train_tokens", "train_tokens=NAME"),
        ([f"{HEAD},tokens", f"{ROW},inf"], "Got inf in the column read as train_tokens", "at most 1e+17"),
        ([f"{HEAD},sample", f"{ROW},0.5"], "Got 0.5 in the column read as sample", "whole number"),
        ([f"{HEAD},sample", f"{ROW},1", "a,1,add,y,1,"], "1 rows have no sample", "leave the column out"),
        ([HEAD, "a,1,add,,1"], "1 rows have no piece", "leave the column out"),
        ([HEAD, "a,,add,x,1"], "1 rows have no checkpoint", "leave these rows out"),
        ([HEAD, ",1,add,x,1"], "1 rows have no system", "Fill them in"),
        ([f"{HEAD},skills", f"{ROW},"], "1 rows lack a skill's name, first in the task 'add'", "Name them"),
        ([f"{HEAD},params", f"{ROW},1e6", "a,1,add,y,1,2e6"], "2 values in the column read as params", "apart"),
        ([f"{HEAD},loss", f"{ROW},1", "a,1,add,y,1,2"], "2 values in the column read as loss", "nats=NAME"),
        ([f"{HEAD},params", f"{ROW},1e6", "a,1,add,y,1,"], "2 values in the column", "none at all counts"),
        ([HEAD], "it has no rows", "row for each result"),
    ],
)  # fmt: skip
def test_refusals(tmp_path: Path, lines: list[str], found: str, remedy: str):
    said = message(tmp_path, *lines)
    assert found in said
    assert remedy in said


def test_roles_and_columns_that_there_are_not(tmp_path: Path):
    assert "Got the role 'corect'" in message(tmp_path, HEAD, ROW, corect="piece")
    assert "no column 'peace'" in message(tmp_path, HEAD, ROW, piece="peace")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b""),
        ("a.parquet", b"PAR1 not so"),
        ("a.jsonl", b'{"system": "a"\n'),
        ("a.jsonl", b""),
        ("a.xlsx", b"whatever"),
        ("a.csv", b"model,task,correct\n\xff\xfe,t,1\n"),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, name: str, content: bytes):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(TableError, match="cannot be read as a table"):
        read_outcomes(str(path))


def test_tables_of_skills_that_do_not_fit(tmp_path: Path):
    results = table(tmp_path, HEAD, ROW)
    for lines, found in (
        (("name,skills", "add,a"), "needs the columns task and skills"),
        (("task,skills", "add,a", "add,b"), "two sets of skills"),
        (("task,skills", "sub,a"), "has no skills for 1 tasks, first 'add'"),
    ):
        skills = Path(table(tmp_path, *lines, name="skills.csv"))
        with pytest.raises(TableError, match=found):
            read_outcomes(results, skills_of=skills)


# What is odd but possible


def test_what_should_be_looked_at_is_said(tmp_path: Path):
    lines = (f"{HEAD},params,tokens,loss", "a,1,t,1,1,1e9,1e6,35", "a,2,t,2,1,1e9,2e6,30")
    notes = " ".join(read_outcomes(table(tmp_path, *lines)).notes)
    assert "35 nats per token" in notes
    assert "fewer tokens than they have parameters" in notes
    assert "No item was answered at two checkpoints" in notes
    fine = (f"{HEAD},params,tokens,loss", "a,1,t,1,1,1e6,1e9,3", "a,2,t,1,1,1e6,2e9,3")
    notes = " ".join(read_outcomes(table(tmp_path, *fine)).notes)
    assert "35" not in notes
    assert "fewer" not in notes
    assert "No item" not in notes


# Order and round trips

TOKENS = {"a": None, "b": 0, "B": 1, "": 1}
SMALL = st.sampled_from(list(TOKENS))
KEYS = st.lists(st.tuples(SMALL, SMALL, SMALL, SMALL, st.integers(0, 1)), max_size=30)


@given(keys=KEYS)
def test_the_order_is_that_of_a_sort_by_all_keys(keys: list[tuple[str, str, str, str, int]]):
    rows = [(system, TOKENS[checkpoint], checkpoint, *rest) for system, checkpoint, *rest in keys]
    kinds = {name: OUTCOMES[name] for name in ORDER}
    frame = pl.DataFrame(rows, schema=kinds, orient="row").with_row_index("row")
    slow = frame.sort(ORDER, nulls_last=False, maintain_order=True)
    assert in_order(frame).equals(slow)
    answered = {key[:4] for key in keys}
    assert answered_twice(slow) == (len({key[2:] for key in answered}) < len(answered))


def test_labels_of_checkpoints_are_sorted_by_their_numbers(tmp_path: Path):
    lines = [f"a,{label},t,x,1" for label in ("step900", "step10000", "step1000", "step1")]
    frame = read_outcomes(table(tmp_path, HEAD, *lines)).frame
    assert frame["checkpoint"].to_list() == ["step1", "step900", "step1000", "step10000"]
    assert cells(frame)["checkpoint"].to_list() == frame["checkpoint"].to_list()


LETTERS = st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])
NAMES = st.text(LETTERS, min_size=1, max_size=5)
SHARES = st.one_of(st.none(), st.floats(0, 1))
ANSWERS = st.lists(
    st.fixed_dictionaries(
        {
            "task": NAMES,
            "piece": NAMES,
            "skills": st.lists(st.sampled_from(["add", "carry", "x y"]), min_size=1, max_size=3),
            "correct": st.one_of(st.none(), st.booleans()),
            "chance": SHARES,
            "cloze_loss": SHARES,
            "nats": st.one_of(st.none(), st.floats(0, 1e6), st.just(math.inf)),
            "answer_tokens": st.one_of(st.none(), st.integers(0, 9)),
            "score": SHARES,
            "input": st.one_of(st.none(), NAMES),
            "prompt": st.one_of(st.none(), NAMES),
        }
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=50)
@given(answers=ANSWERS, suffix=st.sampled_from([".parquet", ".csv", ".jsonl"]))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, answers: list[dict], suffix: str):
    kinds = {name: OUTCOMES[name] for name in answers[0]}
    rows = pl.DataFrame(answers, schema=kinds).with_columns(
        system=pl.lit("m"), params=1_000_000, train_tokens=5_000_000_000, loss=2.5, shots=3
    )
    read = as_outcomes(rows, "made here")
    path = tmp_path_factory.mktemp("written") / f"outcomes{suffix}"
    write_outcomes(read, path)
    again = read_outcomes(str(path))
    assert again.frame.equals(read.frame)
    if suffix == ".parquet":
        assert set(read.notes) <= set(again.notes)


def test_skills_that_csv_cannot_hold_are_refused(tmp_path: Path):
    frame = as_outcomes(
        pl.DataFrame({"system": ["m"], "task": ["t"], "skills": [["a+b"]], "correct": [True]}), "made here"
    ).frame
    with pytest.raises(TableError, match="Got a skill named 'a\\+b'"):
        write_outcomes(Outcomes(frame, (), "made here"), tmp_path / "a.csv")
    assert list(tmp_path.iterdir()) == []
