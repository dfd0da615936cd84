"""Logs of Inspect, against its own aggregated results and the answers that its mock was told to give."""

import json
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from emergelab.outcomes import archives, inspect_logs
from emergelab.outcomes.archives import Archive
from emergelab.outcomes.inspect_logs import read_inspect
from emergelab.outcomes.logs import LogChoice, LogError, Logged

DATA = Path(__file__).parents[1] / "data" / "outcomes"
VERSIONS = ("inspect-0.3.285", "inspect-0.3.50")


def read(*paths: Path, **told: Any) -> Logged:
    return read_inspect(paths, LogChoice(**told))


@pytest.fixture(scope="module", params=VERSIONS)
def folder(request: pytest.FixtureRequest) -> Path:
    return DATA / request.param


def test_answers_of_the_mock(folder: Path):
    logged = read(folder)
    frame = logged.frame
    plurals = frame.filter(pl.col("task") == "plurals").select("piece", "sample", "correct").rows()
    assert sorted(plurals) == [
        ("cow", 0, False),
        ("cow", 1, True),
        ("fail", 0, None),
        ("fail", 1, None),
        ("fish", 0, True),
        ("fish", 1, True),
        ("ox", 0, True),
        ("ox", 1, False),
    ]
    assert "Answers that ended in an error, missing and not wrong: 2." in logged.notes
    assert "Answers not scored, missing and not wrong: 1." in logged.notes
    nearness = frame.filter(pl.col("task") == "nearness").sort("piece")
    assert nearness["score"].to_list() == [0.75, 0.4, None]
    assert nearness["correct"].null_count() == 3
    aspects = frame.filter(pl.col("task") == "aspects").sort("piece")
    assert aspects.select("correct", "score").rows() == [(False, 0.5), (True, 1.0), (True, 1.0)]
    chosen = frame.filter(pl.col("task") == "chosen").sort("piece")
    assert chosen.select("correct", "chance", "target").rows() == [
        (True, 1 / 3, "cows"),
        (False, 1 / 3, "oxen"),
    ]
    assert chosen["input"][0] == "Plural of cow?\ncow\ncows\ncowen"
    assert set(frame["system"]) == {"mockllm/model"}


def test_shares_of_right_answers_are_inspect_s(folder: Path):
    frame = read(folder).frame
    for path in folder.glob("*.eval"):
        with Archive(path) as archive:
            own = json.loads(archive.read("header.json"))["results"]["scores"]
        for score in own:
            if score["name"] in {"match", "choice"}:
                task = {"match": "plurals", "choice": "chosen"}[score["name"]]
                known = frame.filter((pl.col("task") == task) & pl.col("correct").is_not_null())
                # Inspect takes the mean of an item's epochs first; here all items have as many.
                assert known["correct"].mean() == pytest.approx(score["metrics"]["accuracy"]["value"])


def test_texts_are_whole(folder: Path):
    frame = read(folder).frame.filter((pl.col("task") == "plurals") & (pl.col("sample") == 0))
    fish, ox = (frame.row(by_predicate=pl.col("piece") == name, named=True) for name in ("fish", "ox"))
    assert fish["target"] == "fish | fishes"
    assert fish["prompt"] == "system: cat -> cats\ndog -> dogs\nuser: fish ->"
    assert ox["input"].endswith("of each of them. ox ->")
    assert "attachment" not in ox["prompt"]


def test_marks_and_fields_are_chosen(folder: Path):
    (path,) = folder.glob("aspects*")
    frame = read(path, correct="aspects.short", score="nearness", fields={"skills": "kind"}).frame.sort(
        "piece"
    )
    assert frame["correct"].to_list() == [True, False, True]
    assert frame["score"].to_list() == [0.75, 0.4, 1.0]
    assert frame["skills"].to_list() == [["plural"], ["plural", "irregular"], ["plural", "irregular"]]
    with pytest.raises(LogError, match=r"No task has the mark 'right'.*aspects\.right"):
        read(path, correct="right")


# Made by hand: what the files of the tests do not have.


def log(**changes: Any) -> dict[str, Any]:
    told = {"task": "t", "model": "m", "created": "2026-01-01", "model_args": {}, "task_args": {}}
    return {"version": 2, "status": "success", "eval": told | changes}


def answer(**changes: Any) -> dict[str, Any]:
    return {"id": 1, "epoch": 1, "input": "q", "target": "a", "scores": {"s": {"value": "C"}}} | changes


def write_json(path: Path, *answers: dict[str, Any], **changes: Any) -> Path:
    path.write_text(json.dumps({**log(**changes), "samples": list(answers)}))
    return path


def write_eval(path: Path, members: dict[str, Any]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("value", "correct", "score"),
    [
        ("C", True, None),
        ("I", False, None),
        ("N", False, None),
        ("P", False, 0.5),
        (True, True, None),
        (1, True, None),
        (0.0, False, None),
        (0.25, None, 0.25),
        ("yes", True, None),
        (float("nan"), None, None),
        (None, None, None),
        (7, None, None),
        ("excellent", None, None),
        ([1, 0], True, None),
        ({"a": "I", "b": 0.5}, False, 0.5),
    ],
)
def test_values_of_scores(tmp_path: Path, value: Any, *, correct: bool | None, score: float | None):
    write_json(tmp_path / "a.json", answer(scores={"s": {"value": value}}))
    assert read(tmp_path).frame.select("correct", "score").rows() == [(correct, score)]


def test_invalid_answers_are_missing(tmp_path: Path):
    write_json(
        tmp_path / "a.json", answer(invalidation={"author": "x"}), answer(id=2, scores=None), answer(id=3)
    )
    logged = read(tmp_path)
    assert logged.frame["correct"].to_list() == [None, None, True]
    assert "Answers declared invalid, missing: 1." in logged.notes


def test_a_run_cut_short_is_read_as_far_as_it_went(tmp_path: Path):
    start = {"version": 2, "eval": log()["eval"]}
    write_eval(tmp_path / "a.eval", {"_journal/start.json": start, "samples/1_epoch_1.json": answer()})
    logged = read(tmp_path)
    assert logged.frame["correct"].to_list() == [True]
    assert any("did not end well" in note for note in logged.notes)


def test_the_latest_log_counts_and_arguments_are_told_apart(tmp_path: Path):
    write_json(tmp_path / "a.json", answer(), task_args={"level": 1})
    write_json(
        tmp_path / "b.json",
        answer(scores={"s": {"value": "I"}}),
        task_args={"level": 1},
        created="2026-02-01",
    )
    local = {"model_path": "/ckpt", "revision": "step5"}
    write_json(tmp_path / "c.json", answer(), task_args={"level": 2}, model_args=local)
    logged = read(tmp_path)
    assert logged.frame.sort("task").select("system", "checkpoint", "task", "correct").rows() == [
        ("m", "final", "t (level=1)", False),
        ("/ckpt", "step5", "t (level=2)", True),
    ]
    assert any(note.startswith("1 earlier logs") for note in logged.notes)


def test_samples_that_are_too_large_are_read_from_their_summaries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(inspect_logs, "Archive", lambda path: Archive(path, most=2000))
    large = answer(id=2, messages=[{"role": "user", "content": "x" * 5000}])
    members = {"header.json": log(), "samples/1_epoch_1.json": answer(), "samples/2_epoch_1.json": large}
    path = write_eval(
        tmp_path / "a.eval", {**members, "summaries.json": [answer(), answer(id=2, target="b")]}
    )
    frame = read(path).frame.sort("piece")
    assert frame.select("piece", "target", "correct").rows() == [("1", "a", True), ("2", "b", True)]
    write_eval(tmp_path / "a.eval", members)
    with pytest.raises(LogError, match=r"unpacks samples/2_epoch_1\.json to more than 2,000 bytes"):
        read(path)


def test_an_archive_that_lies_about_its_size_unpacks_no_further(tmp_path: Path):
    path = tmp_path / "bomb.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", b"0" * 1_000_000)
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\x01\x02")
    struct.pack_into("<I", content, place + 24, 100)  # the size that the directory tells
    path.write_bytes(content)
    with Archive(path, most=1000) as archive:
        assert archive.readable("header.json")
        with pytest.raises(LogError, match=r"to more than 1,000 bytes|is damaged at header\.json"):
            archive.read("header.json")
    path.write_bytes(content)
    with pytest.raises(LogError):
        read(path)


def test_what_zstandard_packed_is_bounded_too(tmp_path: Path):
    path = tmp_path / "bomb.eval"
    module = archives._zipfile()
    with module.ZipFile(path, "w", module.ZIP_ZSTANDARD) as archive:
        archive.writestr("header.json", b"0" * 50_000_000)
    assert path.stat().st_size < 10_000
    with Archive(path, most=1000) as archive, pytest.raises(LogError, match=r"to more than 1,000 bytes"):
        archive.read("header.json")


def test_no_more_is_read_than_is_allowed(tmp_path: Path):
    path = tmp_path / "large.eval"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.json", bytes(20_000_000))
    with Archive(path, most=1000) as archive:
        tracemalloc.start()
        with pytest.raises(LogError, match=r"to more than 1,000 bytes"):
            archive.read("header.json")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("version", VERSIONS)
def test_damaged_archives(tmp_path: Path, version: str):
    (whole,) = (DATA / version).glob("plurals*")
    content = whole.read_bytes()
    path = tmp_path / "a.eval"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(LogError, match="is no whole zip archive"):
        read(path)
    with Archive(whole) as archive:
        info = archive._zip.getinfo("header.json")
    broken = bytearray(content)
    begin = info.header_offset + 60
    broken[begin : begin + 200] = bytes(200)
    path.write_bytes(broken)
    with pytest.raises(LogError, match=r"is damaged at header\.json"):
        read(path)


def test_without_zstandard_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(archives, "_zipfile", lambda: zipfile)
    if not hasattr(zipfile, "ZIP_ZSTANDARD"):  # Python's own since 3.14
        with pytest.raises(LogError, match=r"pip install backports\.zstd"):
            read(DATA / VERSIONS[0])
    assert read(DATA / VERSIONS[1]).frame.height == 16


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"a.txt": 1}, "neither header.json nor"),
        ({"header.json": {"eval": {}}}, "names no task and model"),
        ({"header.json": log()}, "The logs have no samples"),
        ({"header.json": log(), "samples/1_epoch_1.json": {"id": 1}}, "without id, epoch, input or target"),
    ],
)
def test_archives_that_are_no_logs(tmp_path: Path, members: dict[str, Any], said: str):
    with pytest.raises(LogError, match=said):
        read(write_eval(tmp_path / "a.eval", members))


def test_files_that_are_no_logs(tmp_path: Path):
    (tmp_path / "a.json").write_text("{}")
    for path, said in (
        (tmp_path, "No log of Inspect"),
        (tmp_path / "a.json", "is no log of Inspect"),
        (tmp_path / "b", "There is no file or folder"),
    ):
        with pytest.raises(LogError, match=said):
            read(path)
