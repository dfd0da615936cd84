"""Folders that a run cannot have, and disks that fill up under it or under what it prints."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from study_runs import PROGRAM, process, refused, write_study


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path)


def test_a_file_is_no_folder(study: Path):
    for out in (study, study / "below"):
        before = study.read_bytes()
        assert "it is a file, or lies below one" in refused("run", study, "--out", out)
        assert study.read_bytes() == before


def test_a_folder_with_other_things_is_left_alone(study: Path):
    before = sorted(study.parent.iterdir())
    assert "holds something else than a run" in refused("run", study, "--out", study.parent)
    assert sorted(study.parent.iterdir()) == before


@pytest.mark.parametrize("out", ["/proc/new", "/dev/null/new", "x" * 300])
def test_a_place_where_no_folder_can_be(study: Path, out: str):
    message = refused("run", study, "--out", out)
    assert out[:200] in message
    assert "--out" in message


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_may_not_be_written(study: Path, tmp_path: Path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    assert str(closed) in refused("run", study, "--out", closed / "run")


def test_brackets_in_a_path_mean_nothing(study: Path, tmp_path: Path):
    answer = process("run", study, "--out", tmp_path / "[/red] :smile:", "--dry-run")
    assert answer.code == 0
    assert "[/red] :smile:" in answer.out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("words", [["list"], ["grammar", "sample", "functions", "--json"]])
def test_a_full_disk_under_the_output(words: list[str]):
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [*PROGRAM, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert result.returncode == 2
    assert result.stderr.startswith("Error: The output was not written")
    assert "Traceback" not in result.stderr


def test_a_reader_that_has_seen_enough():
    words = [*PROGRAM, "grammar", "sample", "functions", "-n", "100", "--json"]  # more than a pipe holds
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr.read() == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_any_command_ends_as_one_that_was_interrupted(number: signal.Signals):
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("what is ignored here, as under nohup, is ignored there")
    words = [*PROGRAM, "grammar", "sample", "functions", "-n", "10000", "--json"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
        status = Path(f"/proc/{running.pid}/status")
        while not caught(status.read_text(), number):
            time.sleep(0.02)
        running.send_signal(number)
        _, errors = running.communicate(timeout=60)
    assert (running.returncode, errors) == (130, "")


def caught(status: str, number: signal.Signals) -> bool:
    """Tell whether a process of this status handles the signal."""
    [line] = [line for line in status.splitlines() if line.startswith("SigCgt:")]
    handles_all = [int(line.split()[1], 16) >> (each - 1) & 1 for each in (number, signal.SIGTERM)]
    return all(handles_all)


@pytest.mark.slow
def test_a_full_disk_under_a_run(study: Path, tmp_path: Path):
    """The disk has room for the first artifact only; nothing finished is lost, and room is all it takes."""
    out = tmp_path / "small"
    out.mkdir()
    mount = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=90k none "$0" && exec "$@"']
    if shutil.which("unshare") is None or subprocess.run([*mount, out, "true"], check=False).returncode:
        pytest.skip("a small disk cannot be mounted here (it takes root and unshare)")
    command = [*PROGRAM, "run", str(study), "--out", str(out / "run"), "--workers", "1"]
    script = '"$@"; echo "ended $?"; ls "$0/run/store"; mount -o remount,size=1k "$0"; "$@" --dry-run'
    result = subprocess.run(
        [*mount, out, "sh", "-c", script, str(out), *command],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert "Traceback" not in result.stderr
    assert "No space is left on the disk" in result.stderr
    assert "ended 2" in result.stdout
    assert "corpus-f1-" in result.stdout
