"""Files are let go once nothing in the run's graph needs them, with a record, and are made again when needed."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from emergelab.errors import ArtifactError, DamagedArtifactError
from emergelab.pipeline.events import Silent
from emergelab.pipeline.graph import State
from emergelab.pipeline.keeping import Keeping
from emergelab.pipeline.runner import Outcome, run
from emergelab.pipeline.step import Step
from emergelab.pipeline.store import Store
from emergelab.pipeline.survey import plan
from emergelab.recipes.keep import Keep
from emergelab.recipes.keeping import checkpoint_name, files_read, keeping
from pipeline_toys import toy

MARKS = (10, 20, 30)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "trace"
    path.touch()
    monkeypatch.setenv("TOY_TRACE", str(path))
    return path


def training(*, noise: bool = False) -> Step:
    spec = {"marks": list(MARKS), "noise": noise}
    return Step(name="train", kind="train", function="pipeline_toys:training", version=1, spec=spec)


def cells(train: Step, losses: Mapping[int, float | None], version: int = 1) -> list[Step]:
    return [
        Step(
            name=f"score {tokens}",
            kind="cell",
            function="pipeline_toys:cell",
            version=version,
            spec={"tokens": tokens, "loss": loss},
            inputs={"train": train},
        )
        for tokens, loss in losses.items()
    ]


LOSSES = {10: 3.0, 20: 1.0, 30: 2.0}


def tables(*sources: Step) -> Step:
    inputs = {str(place): source for place, source in enumerate(sources)}
    return Step(
        name="tables", kind="tables", function="pipeline_toys:tables", version=1, spec={}, inputs=inputs
    )


def make(store: Store, *targets: Step, keep: Keep = Keep.all) -> Outcome:
    return run(targets, store, workers=0, reporter=Silent(), keeping=keeping(keep))


def checkpoints(store: Store, train: Step) -> set[str]:
    return {path.name for path in store.path(train).glob("tokens-*")}


@pytest.mark.parametrize(
    ("keep", "losses", "kept"),
    [
        (Keep.all, LOSSES, set(MARKS)),
        (Keep.last, LOSSES, {30}),
        (Keep.best, LOSSES, {20}),
        (Keep.best, {10: 1.0, 20: 1.0, 30: 1.5}, {20}),
        (Keep.best, {10: None, 20: 9.0, 30: None}, {20}),
    ],
)
def test_what_each_policy_keeps(store: Store, keep: Keep, losses: dict[int, float | None], kept: set[int]):
    train = training()
    make(store, tables(train, *cells(train, losses)), keep=keep)
    assert checkpoints(store, train) == {checkpoint_name(tokens) for tokens in kept}
    assert store.damage(train) is None
    assert set(store.dropped(train)) == {checkpoint_name(tokens) for tokens in set(MARKS) - kept}
    assert {release["policy"] for release in store.dropped(train).values()} <= {str(keep)}


def test_nothing_goes_before_its_cell_is_scored(store: Store):
    train = training()
    make(store, train, keep=Keep.last)
    one, *others = cells(train, LOSSES)
    broken = Step(
        name="broken",
        kind="cell",
        function="pipeline_toys:fault",
        version=1,
        spec={"tokens": 10},
        inputs={"train": train},
    )
    with pytest.raises(Exception, match="odd fault"):
        make(store, one, broken, *others, keep=Keep.best)
    assert len(checkpoints(store, train)) == len(MARKS)


def test_results_stay_valid_and_nothing_is_made_again(store: Store, trace: Path):
    train = training()
    table = tables(train, *cells(train, LOSSES))
    make(store, table, keep=Keep.last)
    before = trace.read_text()
    assert make(store, table).made == ()
    assert make(store, table, keep=Keep.best).made == ()
    assert trace.read_text() == before
    # The best one went with the first policy: what is left stays, rather than nothing.
    assert checkpoints(store, train) == {checkpoint_name(30)}


def test_a_dropped_file_that_is_needed_again_is_announced_and_comes_back(store: Store):
    train = training()
    make(store, tables(train, *cells(train, LOSSES)), keep=Keep.last)
    manifest = (store.path(train) / "manifest.json").read_bytes()
    again = tables(train, *cells(train, LOSSES, version=2))
    states = dict(plan([again], store, files_read))
    assert states[train] is State.DROPPED
    assert train in make(store, again, keep=Keep.all).made
    assert len(checkpoints(store, train)) == len(MARKS)
    assert not (store.path(train) / "released.json").exists()
    assert (store.path(train) / "manifest.json").read_bytes() == manifest
    assert store.damage(train) is None


def test_what_is_kept_is_used_without_training_again(store: Store):
    train = training()
    make(store, tables(train, *cells(train, LOSSES)), keep=Keep.last)
    later = cells(train, {30: 2.0}, version=2)
    assert dict(plan(later, store, files_read))[train] is State.FINISHED
    assert make(store, *later).made == tuple(later)
    # Tables read the log alone.
    assert dict(plan([tables(train, *later)], store, files_read))[train] is State.FINISHED


def test_a_training_that_comes_out_otherwise_takes_the_old_ones_place(store: Store):
    train = training(noise=True)
    make(store, tables(train, *cells(train, LOSSES)), keep=Keep.last)
    make(store, *cells(train, LOSSES, version=2))
    assert store.damage(train) is None
    assert len(checkpoints(store, train)) == len(MARKS)
    [old] = store.root.glob("*.replaced")
    assert (old / "released.json").exists()


def test_nothing_goes_while_another_run_uses_the_store(store: Store):
    train = training()
    table = tables(train, *cells(train, LOSSES))
    with store.in_use():
        make(store, table, keep=Keep.last)
        assert len(checkpoints(store, train)) == len(MARKS)
    make(store, table, keep=Keep.last)
    assert len(checkpoints(store, train)) == 1


def test_a_release_that_was_cut_short_is_finished(store: Store):
    """The record is written first: a kill after it leaves files that are there and already released."""
    train = training()
    make(store, tables(train, *cells(train, LOSSES)))
    names = [checkpoint_name(10), checkpoint_name(20)]
    files = {name: (store.path(train) / name).read_bytes() for name in names}
    store.release(train, names, "last")
    for name, data in files.items():
        (store.path(train) / name).write_bytes(data)
    assert store.dropped(train) == {}
    assert store.damage(train) is None
    assert store.release(train, names, "last") > 0
    assert set(store.dropped(train)) == set(names)


def test_a_missing_file_without_a_record_and_a_changed_record_are_damage(store: Store):
    train = training()
    make(store, tables(train, *cells(train, LOSSES)), keep=Keep.last)
    record = store.path(train) / "released.json"
    text = json.loads(record.read_text())
    text["files"]["log.parquet"] = text["files"][checkpoint_name(10)]
    record.chmod(0o644)
    record.write_text(json.dumps(text))
    with pytest.raises(DamagedArtifactError, match=r"released.json is damaged"):
        store.check(train)
    record.unlink()
    with pytest.raises(DamagedArtifactError, match=r"tokens-10.safetensors is damaged: it is missing"):
        store.check(train)


def test_only_files_of_the_artifact_can_go(store: Store):
    make(store, training())
    with pytest.raises(ArtifactError, match=r"has no file other.bin"):
        store.release(training(), ["other.bin"], "last")


def test_who_says_nothing_may_read_everything(store: Store):
    source = toy("total", value=1)
    reader = toy("total", source, value=2)

    def spare(step: Step, readers: Mapping[Step, bool], _store: Store) -> Collection[str]:
        assert all(readers.values())
        return ["value.txt"] if step == source else ()

    run([reader], store, workers=0, reporter=Silent(), keeping=Keeping(policy="none", spare=spare))
    assert set(store.dropped(source)) == {"value.txt"}
    assert dict(plan([toy("total", source, value=3)], store))[source] is State.DROPPED


def test_checkpoints_have_the_names_that_training_gives_them(tmp_path: Path):
    from emergelab.train.checkpoint import milestone_path  # noqa: PLC0415 - loads torch

    assert milestone_path(tmp_path, 10).name == checkpoint_name(10)
