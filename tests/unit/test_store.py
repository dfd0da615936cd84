"""The store: digests against hashlib, damage by flipped bytes, names that are never written twice."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emergelab.errors import ArtifactError, DamagedArtifactError
from emergelab.pipeline import files
from emergelab.pipeline.files import (
    StorageError,
    full_disk_problem,
    new_folder,
    replace_folder,
    write_bytes,
    write_text,
)
from emergelab.pipeline.locks import LockedError, exclusive
from emergelab.pipeline.step import Step
from emergelab.pipeline.store import Store
from pipeline_toys import toy

CONTENT = {"a.bin": bytes(range(256)), "folder/b.txt": b"words", "empty": b""}


def put(store: Store, step: Step, content: dict[str, bytes] = CONTENT) -> Path:
    store.prepare()
    with store.lock(step):
        out, _ = store.workplace(step)
        for name, data in content.items():
            (out / name).parent.mkdir(exist_ok=True)
            (out / name).write_bytes(data)
        return store.adopt(step.identity, out)


def write_over(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


STEP = toy("total", value=1)


def test_identity_is_all_but_name_and_cost():
    other = toy("total", value=1, name="another name", cost=99.0)
    assert other == STEP
    assert hash(STEP) == hash(other)
    assert STEP.key == other.key == f"toy-{STEP.fingerprint}"


@pytest.mark.parametrize(
    "change",
    [{"kind": "other"}, {"function": "a:b"}, {"version": 2}, {"spec": {"value": 2}}, {"inputs": {"x": STEP}}],
)
def test_identity_changes_with_each_part(change: dict[str, Any]):
    parts = {name: getattr(STEP, name) for name in ("name", "kind", "function", "version", "spec", "inputs")}
    assert Step(**{**parts, **change}) != STEP


def test_identity_reaches_through_inputs():
    assert toy("total", toy("total", value=2), value=3) != toy("total", toy("total", value=4), value=3)


def test_a_long_chain_of_steps_has_a_fingerprint():
    step = STEP
    for value in range(3 * sys.getrecursionlimit()):
        step = toy("total", step, value=value)
    assert len(step.fingerprint) == len(STEP.fingerprint)


def test_changing_the_dictionary_later_does_not_change_the_step():
    spec = {"value": [1, 2]}
    step = toy("total", **spec)
    spec["value"].append(3)
    assert step.spec == {"value": [1, 2]}


@pytest.mark.parametrize(
    "change", [{"kind": "Not/good"}, {"function": "nocolon"}, {"cost": float("nan")}, {"cost": -1.0}]
)
def test_malformed_steps_are_refused(change: dict[str, Any]):
    good = {"name": "n", "kind": "toy", "function": "a:b", "version": 1, "spec": {}}
    with pytest.raises(ValueError, match="A step's"):
        Step(**{**good, **change})


def test_manifest_records_identity_versions_and_digests(store: Store):
    source = toy("total", value=0)
    step = toy("total", source, value=1)
    manifest = json.loads((put(store, step) / "manifest.json").read_text())
    expected = {
        name: {"size": len(data), "blake2b": hashlib.blake2b(data, digest_size=32).hexdigest()}
        for name, data in CONTENT.items()
    }
    assert manifest["files"] == expected
    assert manifest["inputs"] == {"0": source.fingerprint}
    assert manifest["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"emergelab", "numpy", "torch"} <= set(manifest["versions"])
    assert store.check(step)["spec"] == {"value": 1}


def test_open_gives_the_folder_and_scratch_is_gone(store: Store):
    folder = put(store, STEP)
    assert store.open(STEP) == folder
    assert store.finished(STEP)
    assert not any((store.root / ".work").iterdir())
    assert not any((store.root / ".locks").iterdir())


def test_missing_artifact(store: Store):
    assert not store.finished(STEP)
    assert store.damage(STEP) is None
    with pytest.raises(ArtifactError, match="is missing"):
        store.open(STEP)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("kept"))
    put(store, STEP)
    return store


@given(st.data())
def test_any_flipped_bit_is_found(kept: Store, data: st.DataObject):
    name = data.draw(st.sampled_from(["a.bin", "folder/b.txt", "manifest.json"]))
    path = kept.path(STEP) / name
    good = path.read_bytes()
    bit = data.draw(st.integers(0, 8 * len(good) - 1))
    bad = bytearray(good)
    bad[bit // 8] ^= 1 << bit % 8
    write_over(path, bytes(bad))
    with pytest.raises(DamagedArtifactError, match=path.name):
        kept.open(STEP)
    write_over(path, good)
    kept.check(STEP)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: (folder / "a.bin").unlink(), "a.bin is damaged: it is missing"),
        (lambda folder: write_over(folder / "a.bin", b"x"), "it has 1 bytes, expected 256"),
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is damaged: it is missing"),
        (lambda folder: write_over(folder / "manifest.json", b"{}"), "not a manifest of format 1"),
        (lambda folder: write_over(folder / "manifest.json", b"\xff\xfe"), "manifest.json is damaged"),
    ],
)
def test_damage_names_file_found_and_expected(store: Store, harm: Callable[[Path], object], words: str):
    harm(put(store, STEP))
    assert words in str(store.damage(STEP))


def test_an_artifact_under_another_name_is_damaged(store: Store):
    other = toy("total", value=2)
    shutil.copytree(put(store, STEP), store.path(other))
    assert f"it describes {STEP.key}" in str(store.damage(other))


def test_files_that_the_manifest_does_not_name_are_ignored(store: Store):
    (put(store, STEP) / ".DS_Store").write_bytes(b"foreign")
    assert store.damage(STEP) is None


def test_never_overwritten(store: Store):
    folder = put(store, STEP)
    before = {path: path.stat().st_ino for path in folder.rglob("*")}
    put(store, STEP, {"a.bin": b"other content"})
    assert {path: path.stat().st_ino for path in folder.rglob("*")} == before
    assert (folder / "a.bin").read_bytes() == CONTENT["a.bin"]


def test_a_damaged_one_makes_room_and_is_kept(store: Store):
    for kept in (STEP.key + ".damaged", STEP.key + ".damaged-2"):
        write_over(put(store, STEP) / "a.bin", kept.encode())
        put(store, STEP)
        assert store.damage(STEP) is None
        assert (store.root / kept / "a.bin").read_bytes() == kept.encode()


def test_links_are_refused(store: Store, tmp_path: Path):
    store.prepare()
    out, _ = store.workplace(STEP)
    (out / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="plain files"):
        store.adopt(STEP.identity, out)
    assert not store.finished(STEP)


def test_a_step_may_not_write_the_manifest(store: Store):
    with pytest.raises(ValueError, match=r"manifest\.json"):
        put(store, STEP, {"manifest.json": b"{}"})


def test_finished_files_are_read_only(store: Store):
    modes = [path.stat().st_mode & 0o222 for path in put(store, STEP).rglob("*") if path.is_file()]
    assert modes == [0] * 4


def test_prepare_clears_what_the_dead_left_and_keeps_scratch(store: Store):
    store.prepare()
    out, scratch = store.workplace(STEP)
    for folder in (out, scratch):
        (folder / "file").touch()
    store.prepare()
    assert not out.exists()
    assert (scratch / "file").exists()


def test_prepare_leaves_the_living_alone(store: Store):
    store.prepare()
    out, _ = store.workplace(STEP)
    with store.lock(STEP):
        store.prepare()
        assert out.exists()


def test_the_store_is_a_file(tmp_path: Path):
    (tmp_path / "store").touch()
    with pytest.raises(StorageError, match="is not a folder"):
        Store(tmp_path / "store").prepare()


def test_the_store_lies_below_a_file(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="is not a folder"):
        Store(tmp_path / "file" / "store").prepare()


def test_an_unwritable_store(store: Store, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied", str(store.root))

    monkeypatch.setattr("emergelab.pipeline.store.TemporaryFile", refuse)
    with pytest.raises(StorageError, match="cannot be written: Permission denied"):
        store.prepare()


def test_a_full_disk_while_adopting_loses_nothing(store: Store, monkeypatch: pytest.MonkeyPatch):
    other = toy("total", value=2)
    put(store, other)

    def refuse(_descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match="No space is left"):
        put(store, STEP)
    assert store.damage(other) is None
    assert not store.path(STEP).exists()


def test_the_lock_lets_one_in_and_says_who(tmp_path: Path):
    path = tmp_path / "lock"
    refused = pytest.raises(LockedError, match=f"process {os.getpid()} on ")
    with exclusive(path), refused, exclusive(path):
        pytest.fail("two holders")
    with exclusive(path):
        assert path.exists()
    assert not path.exists()


def test_the_lock_dies_with_its_process(tmp_path: Path):
    path = tmp_path / "lock"
    code = (
        "import sys, time, pathlib; from emergelab.pipeline.locks import exclusive\n"
        "with exclusive(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockedError, match=f"process {holder.pid} "), exclusive(path):
            pytest.fail("two holders")
        holder.send_signal(signal.SIGKILL)
    with exclusive(path):
        assert path.exists()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "new" / "file.txt"
    write_text(path, "old ä")

    def refuse(_descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match="No space is left"):
        write_bytes(path, b"new")
    assert path.read_text(encoding="utf-8") == "old ä"
    assert names(path.parent) == ["file.txt"]


def test_write_follows_the_umask(tmp_path: Path):
    write_bytes(tmp_path / "ours", b"")
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("target_exists", [True, False])
def test_new_folder_takes_the_place(tmp_path: Path, *, target_exists: bool):
    target = tmp_path / "report"
    if target_exists:
        target.mkdir()
        (target / "old").touch()
    with new_folder(target) as folder:
        (folder / "new").touch()
    assert names(target) == ["new"]
    assert names(tmp_path) == ["report"]


def test_a_failing_body_leaves_the_old_folder(tmp_path: Path):
    write_text(tmp_path / "report" / "old", "")

    def fail_in_the_middle() -> None:
        with new_folder(tmp_path / "report") as folder:
            (folder / "new").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_the_middle()
    assert names(tmp_path / "report") == ["old"]
    assert names(tmp_path) == ["report"]


def test_a_failing_rename_puts_the_old_folder_back(tmp_path: Path):
    write_text(tmp_path / "report" / "old", "")
    source = tmp_path / "source"
    source.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "sync_tree", lambda folder: folder.rmdir())
        with pytest.raises(FileNotFoundError):
            replace_folder(source, tmp_path / "report")
    assert names(tmp_path / "report") == ["old"]
    assert names(tmp_path) == ["report"]


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EDQUOT, "x"), True),
        (RuntimeError("I/O error: No space left on device (os error 28)"), True),
        (OSError(errno.EIO, "x"), False),
        (RuntimeError("something else"), False),
    ],
)
def test_a_full_disk_is_known_however_it_is_told(tmp_path: Path, error: Exception, *, full: bool):
    assert (full_disk_problem(error, tmp_path) is not None) is full
