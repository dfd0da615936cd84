"""Flipped and cut files, disks that fill up, two runs on one store: what is good stays, the rest is as ever."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from emergelab.rng import stream
from faults.trouble import (
    SUMMARY,
    Named,
    Trial,
    artifacts,
    contents,
    finished,
    kept,
    require_tidy,
    require_whole,
)
from study_runs import PROGRAM, process

MANY = "FAULT_POINTS" in os.environ
FILES_AT_ONCE = 4

# The sample shares one process, so that the undisturbed run is made once; the many are spread.
pytestmark = [] if MANY else pytest.mark.xdist_group("faults")
SIZES = ("4k", "40k", "90k", "150k", "400k", "1500k") if MANY else ("90k",)


@pytest.fixture(scope="session")
def good(undisturbed: tuple[Trial, dict[str, int]]) -> Trial:
    return undisturbed[0]


@pytest.fixture
def copy(good: Trial, tmp_path: Path) -> Trial:
    shutil.copytree(good.run, tmp_path / "copy")
    return Trial(good.study, tmp_path / "copy")


def spoil(path: Path, generator: np.random.Generator) -> str:
    """Flip a random bit of the file, or cut it at a random place."""
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    place = int(generator.integers(len(data)))
    if generator.random() < 0.5:
        path.write_bytes(bytes(data[:place]))
        return "cut"
    data[place] ^= 1 << int(generator.integers(8))
    path.write_bytes(bytes(data))
    return "flipped"


def files_of(trial: Trial) -> list[Path]:
    return sorted(path for folder in finished(trial.store) for path in folder.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8 if MANY else 1))
def test_every_file_of_a_store(part: int, good: Trial, copy: Trial):
    """Spoil a few files at once, in turn all of them: each is named, set aside and made anew."""
    generator = stream(0, "faults", "bytes", part).generator()
    files = files_of(copy)[part::8] if MANY else files_of(copy)[:: len(files_of(copy)) // FILES_AT_ONCE]
    done = {path: spoil(path, generator) for path in files}
    harmed = {path.parent.name for path in files}
    before = {name: at for name, at in artifacts(copy.store).items() if name.partition("/")[0] not in harmed}
    checked = process("store", "check", copy.run)
    assert checked.code == 2
    assert checked.errors.count(" is damaged: ") == len(harmed)
    answer = copy.go()
    assert answer.code == 0, answer.errors
    assert "Traceback" not in answer.errors
    assert answer.errors.count("It is set aside as ") == len(harmed)
    kept(before, copy.store)
    assert len(list(copy.store.root.glob("*.damaged"))) == len(harmed)
    cleaned = process("store", "clean", copy.run, "--yes")
    assert f"{len(harmed)} leftovers" in cleaned.out
    require_tidy(copy.run)
    assert contents(copy.run) == contents(good.run)
    SUMMARY.append(f"bytes: {', '.join(f'{how} {path.name}' for path, how in done.items())}")


# The sample has the one that can do what the other can: both are at work on one store, then one alone.
@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["none", "one is killed"] if MANY else ["one is killed"])
def test_two_runs_started_together(trouble: str, good: Trial, tmp_path: Path):
    trial = Trial(good.study, tmp_path / "run")
    with trial.start() as first, trial.start() as second:
        if trouble == "one is killed":
            while not list(trial.run.glob("store/train-*")) and first.poll() is None:
                time.sleep(0.05)
            first.kill()
        answers = [running.communicate(timeout=280) for running in (first, second)]
    codes = {first.returncode, second.returncode}
    assert codes == {0} if trouble == "none" else codes <= {-9, 0}, answers
    assert second.returncode == 0, answers
    assert not any("Traceback" in errors for _, errors in answers), answers
    require_whole(trial.run)
    require_tidy(trial.run)
    assert contents(trial.run) == contents(good.run)
    SUMMARY.append(f"two runs: {trouble}, exit codes {first.returncode} and {second.returncode}")


@pytest.mark.parametrize("size", SIZES)
def test_a_disk_that_fills_up(size: str, good: Trial, tmp_path: Path):
    """Run on a small disk, then give it room, and run again, all in a mount namespace of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o size={size} none "$0" && exec "$@"']
    if shutil.which("unshare") is None or subprocess.run([*mount, disk, "true"], check=False).returncode:
        pytest.skip("a small disk cannot be mounted here (it takes root and unshare)")
    words = ["run", str(good.study), "--out", str(disk / "run"), "--workers", "1", "--set", "model.layers=1"]
    command = [*PROGRAM, *words, "--set", "evaluate.prompts=20"]
    listing = r'find "$0/run/store" -path "*-f1-*/*" -not -path "*/.*" -type f -printf "kept %P %i %T@\n" 2>/dev/null'
    script = (
        f'"$@" 2>&1; echo "ended $?"; {listing} | sort; echo ----; mount -o remount,size=64m "$0"; '
        f'"$@" 2>&1; echo "ended $?"; {listing} | sort; cp -a "$0/run" "$0.out"'
    )
    result = subprocess.run(
        [*mount, disk, "sh", "-c", script, str(disk), *command],
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    first, second = result.stdout.split("----\n")
    assert "Traceback" not in result.stdout + result.stderr, result
    assert "ended 2" in first, first
    assert "No space is left on the disk" in first or "Free space" in first, first
    assert "ended 0" in second, second
    had = {line for line in first.splitlines() if line.startswith("kept ")}
    assert had <= set(second.splitlines())
    run = tmp_path / "disk.out"
    require_whole(run)
    require_tidy(run)
    assert contents(run) == contents(good.run)
    SUMMARY.append(f"full disk: of {size}, {len(had)} files were finished")


@pytest.mark.slow
def test_a_clock_that_went_backwards(good: Trial, copy: Trial):
    """What is finished may come from the future: times mean nothing."""
    future = time.time() + 1e8
    for path in [*copy.run.rglob("*"), copy.run]:
        os.utime(path, (future, future))
    before = artifacts(copy.store)
    answer = copy.go()
    assert (answer.code, "0 steps to do" in answer.errors) == (0, True), answer
    kept(before, copy.store)
    for name in ("list", "check", "clean"):
        assert process("store", name, copy.run).code == 0
    [tables] = [folder for folder in finished(copy.store) if folder.name.startswith("tables-")]
    copy.store.set_aside(Named(tables.name))
    assert copy.go().code == 0
    assert contents(copy.run) == contents(good.run)
