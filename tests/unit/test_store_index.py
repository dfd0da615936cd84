"""The index of a store says what its manifests say, whatever happens to it; upkeep finds what was done to files."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from emergelab.errors import ArtifactError, UserError
from emergelab.pipeline.index import index
from emergelab.pipeline.manifest import Making
from emergelab.pipeline.step import Step
from emergelab.pipeline.store import Store
from emergelab.pipeline.upkeep import Named, StoreInUseError, clean, damages, leftovers
from emergelab.recipes.stores import find_store, list_artifacts, query_artifacts
from pipeline_toys import toy

COUNT = 5


def steps() -> list[Step]:
    source = toy("total", value=-1, name="source")
    return [source, *(toy("total", source, value=value, name=f"step {value}") for value in range(COUNT))]


def put(store: Store, step: Step) -> Path:
    store.prepare()
    with store.lock(step):
        out, _ = store.workplace(step)
        (out / "value.txt").write_text(str(step.spec["value"]))
        (out / "large.bin").write_bytes(bytes(100))
        return store.adopt(step.identity, out, Making(step.name, 1.5))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    for step in steps():
        put(store, step)
    return store


def index_file(store: Store) -> Path:
    [path] = (store.root / ".index").iterdir()
    return path


def require_true(store: Store) -> None:
    """Compare the index with the manifests, read here without the package."""
    rows = index(store).to_dicts()
    manifests = {
        path.parent.name: json.loads(path.read_text()) for path in store.root.glob("*/manifest.json")
    }
    assert [row["key"] for row in rows] == sorted(manifests)
    for row in rows:
        manifest = manifests[row["key"]]
        assert json.loads(row["spec"]) == manifest["spec"]
        assert json.loads(row["contents"]) == manifest["files"]
        assert row["bytes"] == sum(
            path.stat().st_size for path in store.path(Named(row["key"])).glob("*.[!j]*")
        )
        assert (row["name"], row["seconds"], row["made"]) == (
            manifest["name"],
            manifest["seconds"],
            manifest["created"],
        )


def test_the_index_says_what_the_manifests_say(store: Store):
    require_true(store)
    before = index_file(store)
    require_true(store)
    assert index_file(store) == before


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("harm", [Path.unlink, cut, flip, lambda path: shutil.rmtree(path.parent)])
def test_an_index_that_is_gone_or_damaged_is_made_anew(store: Store, harm: Callable[[Path], object]):
    index(store)
    harm(index_file(store))
    require_true(store)


def test_the_index_follows_the_store(store: Store):
    index(store)
    put(store, toy("total", value=99, name="new"))
    shutil.rmtree(store.path(steps()[3]))
    store.release(steps()[4], ["large.bin"], "last")
    require_true(store)
    states = dict(index(store).select("key", "state").iter_rows())
    assert states[steps()[4].key] == "dropped in part"


def test_a_store_that_cannot_be_written_has_its_index_all_the_same(store: Store):
    (store.root / ".index").write_text("no folder")
    require_true(store)


@pytest.mark.parametrize("harm", [Path.unlink, cut, flip])
def test_what_has_a_damaged_manifest_is_listed_as_damaged(store: Store, harm: Callable[[Path], object]):
    index(store)
    manifest = store.path(steps()[0]) / "manifest.json"
    manifest.chmod(0o644)
    harm(manifest)
    [row] = index(store).filter(index(store)["state"] == "damaged").to_dicts()
    assert row["key"] == steps()[0].key
    assert "manifest.json is damaged" in row["problem"]


def test_lists_and_queries(store: Store):
    rows, totals = list_artifacts(store, "toy")
    assert len(list(rows.rows)) == COUNT + 1
    assert totals.startswith(f"{COUNT + 1} of kind toy, ")
    found = list(
        query_artifacts(store, "select (spec->>'$.value')::int v from artifacts order by v desc limit 2").rows
    )
    assert found == [(COUNT - 1,), (COUNT - 2,)]


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('{manifest}')",
        "copy artifacts to '{root}/x.csv'",
        "drop view artifacts",
        "select 1; select 2",
        "attach '{root}/x.db'",
    ],
)
def test_a_query_can_do_nothing_else(store: Store, sql: str):
    before = sorted(store.root.rglob("*"))
    text = sql.format(root=store.root, manifest=store.path(steps()[0]) / "manifest.json")
    with pytest.raises(UserError, match=r"Mend the query|only reads"):
        list(query_artifacts(store, text).rows)
    after = [path for path in sorted(store.root.rglob("*")) if ".index" not in path.parts]
    assert after == before


def test_refusals(store: Store, tmp_path: Path):
    assert find_store(store.root).root == store.root
    assert find_store(tmp_path).root == store.root
    with pytest.raises(ArtifactError, match="neither a run's folder nor a store"):
        find_store(tmp_path / "nothing")
    with pytest.raises(UserError, match="Did you mean 'toy'"):
        list_artifacts(store, "toi")


def test_check_names_each_damage_and_no_dropped_file(store: Store):
    assert list(damages(store)) == []
    store.release(steps()[1], ["large.bin"], "last")
    assert list(damages(store)) == []
    harmed = [store.path(steps()[place]) / "value.txt" for place in (2, 5)]
    for path in harmed:
        path.chmod(0o644)
        flip(path)
    assert {str(error).partition(" is damaged")[0] for error in damages(store)} == set(map(str, harmed))


def test_clean_takes_what_nobody_needs_and_nothing_else(store: Store):
    with store.lock(toy("total", value=7)):
        _, scratch = store.workplace(toy("total", value=7))
        (scratch / "state").write_bytes(bytes(1000))
    store.set_aside(steps()[0])
    kept = {path for path in store.root.iterdir() if path.name.startswith("toy-") and not path.suffix}
    found = leftovers(store)
    assert [(each.what.partition(" ")[0], each.size >= 100) for each in found] == [
        ("scratch", True),
        ("damaged", True),
    ]
    assert all(each.path.exists() for each in found)
    assert clean(store) == found
    assert leftovers(store) == []
    assert {path for path in store.root.iterdir() if path.name.startswith("toy-")} == kept


def test_nothing_is_cleaned_under_a_run(store: Store):
    store.set_aside(steps()[0])
    with store.in_use(), pytest.raises(StoreInUseError, match="Wait until it has ended"):
        clean(store)
    assert len(leftovers(store)) == 1
    assert len(clean(store)) == 1
    assert not list((store.root / ".locks").iterdir())


def test_the_index_is_plain_parquet(store: Store):
    index(store)
    [(count,)] = duckdb.read_parquet(str(index_file(store))).count("*").fetchall()
    assert count == COUNT + 1
