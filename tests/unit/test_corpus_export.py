"""Exported corpora: the sampler's own documents, in files that are whole, equal and findable."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from emergelab.cli import progress
from emergelab.corpus import export
from emergelab.corpus.documents import Corpus, skills_of
from emergelab.corpus.export import COLUMNS, shards_of, table_of
from emergelab.errors import UserError
from emergelab.grammar.holdout import draw_language
from emergelab.grammar.notation import parse
from emergelab.recipes.exporting_corpora import (
    CorpusSpec,
    Wishes,
    documents_for,
    export_corpus,
    grammar_language,
)
from emergelab.recipes.stages import data_stream, language_of
from emergelab.rng import stream
from odd_words import ODD_GRAMMAR
from study_runs import GRAMMAR, command, refused, write_study

DEEP = """
world { objects 5  family f 3 permutations  family g 2 maps per document }
rule Document = Statement* stop 0.2
rule Statement = 0.6: each x ~ objects, stop 0.2 { let a ~ f, b ~ g, c ~ f { x c(b(a(x))) ";" } }
               | 0.4: let a ~ f, b ~ f, c ~ f, d ~ f, e ~ f { some x ~ objects { x e(d(c(b(a(x))))) "." } }
"""
ODD = parse(ODD_GRAMMAR, name="odd")
SPEC = CorpusSpec(
    language=grammar_language(ODD, 3),
    data_key=3,
    evaluation_key=3,
    seed=0,
    context=20,
    train=500,
    validation=60,
)


def read_all(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("text", [ODD_GRAMMAR, GRAMMAR, DEEP], ids=["odd", "tiny", "deep"])
def test_a_table_says_what_the_labels_say(text: str):
    language = draw_language(parse(text, name="any"), stream(3, "world"))
    numbers = np.arange(5, 205)
    documents = Corpus(language, stream(1, "data", 0), context=17).sample(numbers)
    table = table_of(language, numbers, documents)
    assert table.schema == COLUMNS
    for i, row in enumerate(table.iter_rows(named=True)):
        length = documents.lengths[i]
        assert row["document"] == numbers[i]
        for name in ("tokens", "roles", "statements", "rows"):
            assert row[name] == getattr(documents, name)[i, :length].tolist()
        assert row["skills"] == [list(skills_of(int(label))) for label in documents.skills[i, :length]]
        assert row["text"].split(" ") == [language.vocabulary.texts[token] for token in row["tokens"][1:]]
    found = set(table["skills"].explode().explode().drop_nulls().to_list())
    assert (-1 in found) == (text is DEEP)


def test_shards_part_the_documents():
    corpus = Corpus(language_of(SPEC.language), data_stream(3, 0), context=8)
    shards = shards_of(corpus, 10, "train", 4)
    assert [shard.name for shard in shards] == [f"train-{i:05d}-of-00004.parquet" for i in range(4)]
    assert [(shard.first, shard.last) for shard in shards] == [(0, 2), (2, 5), (5, 7), (7, 10)]


def test_a_folder_holds_the_documents_of_a_study(tmp_path: Path):
    export_corpus(SPEC, tmp_path / "out", Wishes("x", 3))
    language = language_of(SPEC.language)
    train = pl.read_parquet(tmp_path / "out/data/train-*.parquet")
    numbers = np.arange(500)
    expected = Corpus(language, data_stream(3, 0), context=20).sample(numbers)
    assert train.equals(table_of(language, numbers, expected))
    held = pl.read_parquet(tmp_path / "out/data/validation-*.parquet")
    asked = Corpus(language, stream(3, "evaluation").child("documents"), context=20).sample(np.arange(60))
    assert held.equals(table_of(language, np.arange(60), asked))


def test_pieces_and_threads_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    export_corpus(SPEC, tmp_path / "whole", Wishes("x", 2))
    monkeypatch.setattr(export, "_POSITIONS_AT_ONCE", 500)
    export_corpus(SPEC, tmp_path / "pieces", Wishes("x", 2))
    whole, pieces = (
        pl.read_parquet(tmp_path / name / "data/train-*.parquet") for name in ("whole", "pieces")
    )
    assert whole.equals(pieces)


def test_the_same_command_makes_the_same_bytes_and_keeps_them(tmp_path: Path):
    told: list[tuple[int, int]] = []
    assert export_corpus(SPEC, tmp_path / "a", Wishes("x", 2), lambda *done: told.append(done)) == 0
    assert told[-1] == (560, 560)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    export_corpus(SPEC, tmp_path / "b", Wishes("x", 2))
    first = read_all(tmp_path / "a")
    assert first == read_all(tmp_path / "b")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "a/data").iterdir()}
    assert export_corpus(SPEC, tmp_path / "a", Wishes("x", 2)) == 3
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "a/data").iterdir()}
    assert read_all(tmp_path / "a") == first


def test_an_interrupted_export_leaves_whole_files_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    export_corpus(SPEC, tmp_path / "whole", Wishes("x", 4))
    monkeypatch.setattr(export, "_POSITIONS_AT_ONCE", 1000)

    def stop(done: int, _total: int) -> None:
        if done > 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_corpus(SPEC, tmp_path / "out", Wishes("x", 4), stop)
    assert sorted(path.name for path in (tmp_path / "out/data").iterdir()) == [
        f"train-{i:05d}-of-00004.parquet" for i in range(2)
    ]
    monkeypatch.undo()
    assert export_corpus(SPEC, tmp_path / "out", Wishes("x", 4)) == 2
    assert read_all(tmp_path / "out") == read_all(tmp_path / "whole")


def test_a_cut_file_is_written_anew(tmp_path: Path):
    export_corpus(SPEC, tmp_path / "out", Wishes("x", 2))
    before = read_all(tmp_path / "out")
    path = tmp_path / "out/data/train-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:-5])
    assert export_corpus(SPEC, tmp_path / "out", Wishes("x", 2)) == 2
    assert read_all(tmp_path / "out") == before


def test_a_folder_takes_one_export_only(tmp_path: Path):
    export_corpus(SPEC, tmp_path / "out", Wishes("x", 2))
    before = read_all(tmp_path / "out")
    for spec, files in ((replace(SPEC, seed=1), 2), (replace(SPEC, law="full"), 2), (SPEC, 3)):
        with pytest.raises(UserError, match="holds"):
            export_corpus(spec, tmp_path / "out", Wishes("x", files))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").touch()
    for place in ("mine", "mine/thesis.tex"):
        with pytest.raises(UserError, match="--out"):
            export_corpus(SPEC, tmp_path / place, Wishes("x", 2))
    assert read_all(tmp_path / "out") == before


def test_one_file_takes_the_training_documents(tmp_path: Path):
    out = tmp_path / "new" / "train.parquet"
    assert export_corpus(SPEC, out, Wishes("x")) == 0
    assert pl.read_parquet(out).height == 500
    assert export_corpus(SPEC, out, Wishes("x")) == 1
    with pytest.raises(UserError, match="something else"):
        export_corpus(replace(SPEC, train=400), out, Wishes("x"))
    assert [path.name for path in out.parent.iterdir()] == ["train.parquet"]


@pytest.mark.parametrize(
    ("spec", "files"), [(SPEC, 501), (replace(SPEC, train=10**7), 1), (replace(SPEC, train=10**9), 100_000)]
)
def test_files_of_no_sensible_size_are_refused(tmp_path: Path, spec: CorpusSpec, files: int):
    with pytest.raises(UserError, match="--shards"):
        export_corpus(spec, tmp_path / "out", Wishes("x", files))
    assert not (tmp_path / "out").exists()


def test_tokens_become_documents_as_in_training():
    count = documents_for(SPEC.language, 30_000, key=3, context=20, law="train")
    lengths = Corpus(language_of(SPEC.language), data_stream(3, 0), context=20).tokens(np.arange(count))[1]
    assert abs(int((lengths - 1).sum()) / 30_000 - 1) < 0.05


def test_the_command_on_a_grammar(tmp_path: Path):
    grammar, out = tmp_path / "tiny.cag", tmp_path / "out"
    grammar.write_text(GRAMMAR, encoding="utf-8")
    arguments = ("corpus", "export", grammar, "--out", out, "--documents", "300", "--validation", "0")
    answer = command(*arguments, "--context", "12", "--key", "1", "--seed", "2")
    assert answer.code == 0, answer
    assert answer.out.splitlines() == ["300 documents, in", str(out)]
    table = pl.read_parquet(out / "data/train-00000-of-00001.parquet")
    language = draw_language(parse(GRAMMAR, name="tiny"), stream(1, "world"))
    documents = Corpus(language, stream(1, "data", 2), context=12).sample(np.arange(300))
    assert table.equals(table_of(language, np.arange(300), documents))
    card = (out / "README.md").read_text(encoding="utf-8")
    assert 'license: "unknown"' in card
    assert "0 of them are held out" in card
    world = json.loads((out / "world.json").read_text(encoding="utf-8"))
    assert world["words"] == list(language.vocabulary.texts)
    assert world["tables"]["f3"] == language.tables[2].tolist()
    assert (
        "(1 files were there already)"
        in command(*arguments, "--context", "12", "--key", "1", "--seed", "2").out
    )


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--out", "x"], "neither"),
        (["functions", "--out", "x", "--documents", "3", "--tokens", "9"], "Leave the other one out"),
        (["functions", "--out", "x", "--law", "half"], "'train' or 'full'"),
        (["functions", "--out", "x", "--run", "layers=1"], "--study"),
        (["functions", "--out", "x", "--study", "quickstart"], "functions"),
        (["--study", "quickstart", "--out", "x", "--law", "full"], "--law"),
        (["--study", "quickstart", "--out", "x", "--run", "layers=9"], "layers=1,width=64,seed=0"),
        (["--study", "quickstart", "--out", "x", "--seed", "5"], "--run"),
        (["functions", "--out", "x", "--license", "MY OWN"], "cc-by-4.0"),
        (["no-such", "--out", "x"], "no-such"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], part: str
):
    monkeypatch.chdir(tmp_path)
    assert part in refused("corpus", "export", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_study_exports_what_it_trains_on(tmp_path: Path):
    study = write_study(tmp_path)
    out = tmp_path / "out"
    answer = command("corpus", "export", "--study", study, "--out", out)
    assert answer.code == 0, answer
    language = draw_language(parse(GRAMMAR, name="tiny"), stream(1, "world"))
    corpus = Corpus(language, stream(1, "data", 0), context=24)
    steps = int(np.ceil(4e3 / (8 * corpus.mean_targets())))
    read = np.concatenate([corpus.numbers(step, 8) for step in range(steps)])
    table = pl.read_parquet(out / "data/train-*.parquet")
    assert table["document"].to_list() == read.tolist()
    assert table.equals(table_of(language, read, corpus.sample(read)))
    assert pl.read_parquet(out / "data/validation-*.parquet").height == 16


def test_finite_corpora_of_a_study_are_chosen_and_written_once(tmp_path: Path):
    study = write_study(tmp_path)
    export_it = (
        "corpus",
        "export",
        "--study",
        study,
        "--set",
        "train.documents=[20, 50]",
        "--out",
        tmp_path / "out",
    )
    message = refused(*export_it)
    assert "2 different corpora" in message
    name = "layers=1,width=16,documents=20,seed=0"
    assert name in message
    assert "Ask for fewer" in refused(*export_it, "--run", name, "--documents", "21")
    assert command(*export_it, "--run", name).code == 0
    table = pl.read_parquet(tmp_path / "out/data/train-*.parquet")
    assert table["document"].to_list() == list(range(20))
    assert "finite" in (tmp_path / "out/README.md").read_text(encoding="utf-8")


def test_progress_outside_of_a_terminal_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]):
    now = [0.0]
    lines = progress.Lines("documents", lambda: now[0])
    for second in range(31):
        now[0] = float(second)
        lines.told(100 + second, 200)
    assert capsys.readouterr().err.splitlines() == [
        "55%, 110 of 200 documents, about 2 min left",
        "60%, 120 of 200 documents, about 80 s left",
        "65%, 130 of 200 documents, about 70 s left",
    ]
