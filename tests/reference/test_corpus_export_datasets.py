"""Exported corpora, read by Hugging Face's `datasets` and `transformers` as they are."""

from pathlib import Path

import polars as pl
import pytest

from emergelab.corpus.documents import ROLES
from emergelab.grammar.notation import parse
from emergelab.recipes.exporting_corpora import CorpusSpec, Wishes, export_corpus, grammar_language
from odd_words import ODD_GRAMMAR

datasets = pytest.importorskip("datasets", reason="datasets is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

SPEC = CorpusSpec(
    language=grammar_language(parse(ODD_GRAMMAR, name="odd"), 3),
    data_key=3,
    evaluation_key=3,
    seed=0,
    context=20,
    train=500,
    validation=60,
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corpus") / "out"
    export_corpus(SPEC, out, Wishes("corpus export odd.cag", 3))
    return out


def plain(path: Path, split: str) -> list[dict[str, object]]:
    return pl.read_parquet(path / f"data/{split}-*.parquet").to_dicts()


def test_a_folder_loads_with_its_splits_and_names(exported: Path, tmp_path: Path):
    loaded = datasets.load_dataset(str(exported), cache_dir=str(tmp_path))
    assert {split: rows.num_rows for split, rows in loaded.items()} == {"train": 500, "validation": 60}
    for split in loaded:
        assert loaded[split].to_list() == plain(exported, split)
    features = loaded["train"].features
    assert features["roles"].feature.names == list(ROLES)
    assert features["skills"].feature.feature.names == ["f1", "f2", "f3", "g1", "g2"]
    tensors = loaded["train"].with_format("torch")[0]
    assert tensors["tokens"].tolist() == loaded["train"][0]["tokens"]


def test_a_folder_streams(exported: Path):
    stream = datasets.load_dataset(str(exported), split="train", streaming=True)
    assert list(stream) == plain(exported, "train")


def test_files_load_without_the_card(exported: Path, tmp_path: Path):
    files = sorted(map(str, (exported / "data").glob("train-*")))
    loaded = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    assert loaded.to_list() == plain(exported, "train")


def test_the_tokenizer_beside_it_reads_every_document(exported: Path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    for row in plain(exported, "train"):
        assert tokenizer(row["text"]).input_ids == row["tokens"]
