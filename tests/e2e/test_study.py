"""A tiny study from its files to its report, interrupted, killed, damaged and asked for again."""

import csv
import io
import json
import shutil
import signal
import time
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from emergelab.analysis.aggregate import CELLS
from emergelab.corpus.documents import Corpus
from emergelab.corpus.prompts import make_prompts
from emergelab.recipes.run_folder import TABLES, RunFolder
from emergelab.recipes.stages import language_of
from emergelab.rng import stream
from emergelab.scores.prompts import PromptSet
from emergelab.scores.tables import CURVES, ITEMS, SCORES
from study_runs import Answer, command, process, refused, start

SHOTS, PROMPTS = 5, 40
CELL_NAMES = [
    f"layers={layers},width=16,seed=0,tokens={tokens}" for layers in (1, 2) for tokens in (2000, 4000)
]
ASKED = [
    ("single", "direct", "seen"),
    *product(["pair"], ["direct", "steps"], ["seen", "held_out"]),
    ("inverse", "direct", "outside"),
]
PATIENCE = 120.0

# One process runs all of these, so that the study is trained once.
pytestmark = pytest.mark.xdist_group("tiny study")


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def tables_of(run: Path) -> dict[str, bytes]:
    folder = RunFolder(run).open_tables()
    return {name: (folder / f"{name}.parquet").read_bytes() for name in TABLES}


def table(run: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(RunFolder(run).open_tables() / f"{name}.parquet")


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return every file below a folder with the time of its last change."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)


def test_a_run_prints_where_its_report_is(run: Path, first: Answer):
    page = Path(first.out.splitlines()[-1])
    assert page == run / "report" / "index.html"
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "9 of 9 steps finished" in first.errors


def test_the_tables_have_their_schemas(run: Path):
    for name, schema in {"items": ITEMS, "scores": SCORES, "curves": CURVES}.items():
        assert table(run, name).schema == schema
    assert table(run, "cells").select(CELLS.names()).height == len(CELL_NAMES)


def test_every_group_is_scored(run: Path):
    scores = table(run, "scores")
    arguments = [("fresh", shot) for shot in range(SHOTS + 1)]
    arguments += [("repeated", shot) for shot in range(1, SHOTS + 1)]
    answering = [
        *((cell, "model") for cell in CELL_NAMES),
        ("ideal", "ideal"),
        ("ideal_train", "ideal_train"),
    ]
    expected = {
        (*who, *asked, decoding, *argument)
        for who, asked, decoding, argument in product(answering, ASKED, ["teacher_forced", "free"], arguments)
    }
    names = ["cell", "predictor", "task", "form", "split", "decoding", "argument", "shots"]
    rows = scores.select(names).rows()
    assert len(rows) == len(set(rows))
    assert set(rows) == expected


def test_fresh_and_repeated_add_up(run: Path):
    names = ["cell", "task", "form", "split", "decoding", "shots"]
    assert set(table(run, "scores").group_by(names).agg(pl.col("n").sum())["n"]) == {PROMPTS}


def test_free_generation_has_no_nats(run: Path):
    free = pl.col("decoding") == "free"
    for name in ("scores", "items"):
        frame = table(run, name)
        assert frame.filter(free)["nats"].null_count() == frame.filter(free).height
        assert frame.filter(~free)["nats"].null_count() == 0


def test_the_cells_say_what_was_trained(run: Path):
    cells = table(run, "cells").sort("cell")
    assert cells["cell"].to_list() == CELL_NAMES
    assert cells["train_tokens"].to_list() == [2000, 4000] * 2
    # A run is read after whole steps, their number reckoned from the mean document.
    assert cells["counted_tokens"].to_numpy() == pytest.approx([2000, 4000] * 2, rel=0.15)
    assert cells["loss"].is_between(0.0, np.log(100)).all()


def corpus_record(run: Path) -> dict[str, object]:
    folder = RunFolder(run)
    return json.loads((folder.open_artifact(folder.read_record()["corpus"]) / "corpus.json").read_text())


def test_the_overlap_is_recorded(run: Path):
    overlap = corpus_record(run)["overlap"]
    assert isinstance(overlap, dict)
    assert overlap["overlap"] == 0
    assert overlap["held_out_tables"] > 0


def answers_of(prompts: PromptSet, prompt: int, objects: dict[int, int]) -> dict[int, int]:
    """Read from a prompt's tokens alone which object is the answer to which."""
    places = zip(prompts.argument[prompt], prompts.steps[prompt, :, -1], strict=True)
    tokens = prompts.tokens[prompt]
    return {objects[int(tokens[a])]: objects[int(tokens[b])] for a, b in places}


def test_held_out_is_held_out(run: Path):
    """Prompts long enough to show a whole function table tell by themselves in which split they belong."""
    record = corpus_record(run)
    folder = RunFolder(run)
    manifest = json.loads((folder.store.root / folder.read_record()["corpus"] / "manifest.json").read_text())
    language = language_of(manifest["spec"]["language"])
    held_out = {tuple(row) for row in record["held_out"]}  # pyright: ignore[reportGeneralTypeIssues]
    objects = {language.vocabulary.first_object + number: number for number in range(language.objects)}
    whole = 0
    for prompts in make_prompts(language, "pair", shots=60, prompts=30, stream=stream(7, "test")):
        for prompt in range(30):
            shown = answers_of(prompts, prompt, objects)
            if len(shown) == language.objects:
                whole += 1
                found = tuple(shown[x] for x in range(language.objects)) in held_out
                assert found == (prompts.split == "held_out")
    assert whole > 100


def test_training_shows_nothing_held_out(run: Path):
    """No loop of 3000 training documents maps a whole world as a held-out function does."""
    folder = RunFolder(run)
    manifest = json.loads((folder.store.root / folder.read_record()["corpus"] / "manifest.json").read_text())
    language = language_of(manifest["spec"]["language"])
    held_out = {tuple(row) for row in corpus_record(run)["held_out"]}  # pyright: ignore[reportGeneralTypeIssues]
    sample = {law: loops_of(language, law) for law in ("train", "full")}
    assert not sample["train"] & held_out
    assert sample["full"] & held_out


def loops_of(language: object, law: str) -> set[tuple[int, ...]]:
    """Return the function tables that loops of long documents show in full."""
    corpus = Corpus(language, stream(5, "test"), context=600, law=law)  # pyright: ignore[reportArgumentType]
    documents = corpus.sample(np.arange(3000, dtype=np.int64))
    first, last = language.vocabulary.first_object, language.objects  # pyright: ignore[reportAttributeAccessIssue]
    found: set[tuple[int, ...]] = set()
    for tokens, statements, length in zip(
        documents.tokens, documents.statements, documents.lengths, strict=True
    ):
        for statement in set(statements[1 : length - 1].tolist()):
            numbers = tokens[:length][statements[:length] == statement].astype(int) - first
            rows = np.split(numbers, np.nonzero((numbers < 0) | (numbers >= last))[0])
            whole = [[int(n) for n in row if 0 <= n < last] for row in rows]
            table = {row[0]: row[-1] for row in whole if len(row) > 1}
            if len(table) == last:
                found.add(tuple(table[x] for x in range(last)))
    return found


def test_the_same_command_again_does_nothing(study: Path, run: Path):
    before = contents(run)
    again = process("run", study, "--out", run)
    assert again.code == 0
    assert "0 steps to do, 9 finished before" in again.errors
    assert again.out.splitlines()[-1] == str(run / "report" / "index.html")
    assert contents(run) == before


def states(answer: Answer) -> dict[str, str]:
    """Return what a dry run says of each step."""
    lines = [line.split("  ") for line in answer.out.splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    return {cell[0]: cell[1] for cell in cells if len(cell) == 3}


def test_a_dry_run_writes_nothing(study: Path, tmp_path: Path):
    answer = command("run", study, "--out", tmp_path / "new", "--dry-run")
    assert answer.code == 0
    assert "2 training runs, 4 cells, 9 steps" in answer.out
    assert not (tmp_path / "new").exists()


def test_a_larger_study_keeps_what_is_finished(study: Path, run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "120")
    before = contents(run)
    larger = command("run", study, "--out", run, "--set", "train.seeds=2", "--dry-run")
    kept = [name for name, state in states(larger).items() if state == "finished"]
    assert len(kept) == 8
    assert all("seed=1" not in name for name in kept)
    longer = command("run", study, "--out", run, "--set", "train.tokens=[2e3,4e3,6e3]", "--dry-run")
    assert [name for name, state in states(longer).items() if state == "finished"] == ["corpus", "ideal"]
    assert contents(run) == before


def wait_for(pattern: str, folder: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not list(folder.glob(pattern)):
        assert time.monotonic() < end, f"{pattern} never came"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def troubled(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the study with one worker: interrupted once, killed once, an artifact damaged, then to its end."""
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    arguments = ("run", study, "--out", folder, "--workers", "1")
    with start(*arguments) as running:
        wait_for("store/corpus-*", folder)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=PATIENCE)
    assert running.returncode == 130, errors
    assert "The same command goes on from here." in errors
    assert "is not finished" in refused("results", folder)
    with start(*arguments) as running:
        wait_for("store/train-*", folder)
        running.kill()
        running.communicate(timeout=PATIENCE)
    assert not list(folder.glob("store/tables-*"))
    file = next(folder.glob("store/train-*/log.parquet"))
    damage(file)
    answer = process(*arguments)
    assert answer.code == 0, answer.errors
    assert f"{file} is damaged" in answer.errors
    return folder


def test_interrupted_killed_damaged_or_in_parallel_the_tables_are_the_same(run: Path, troubled: Path):
    assert tables_of(troubled) == tables_of(run)


def test_what_is_damaged_is_set_aside_and_remade(run: Path, troubled: Path):
    [aside] = troubled.glob("store/*.damaged")
    assert aside.name.startswith("train-")
    name = f"store/{aside.name.removesuffix('.damaged')}/log.parquet"
    assert (troubled / name).read_bytes() == (run / name).read_bytes()


@pytest.mark.parametrize("verb", ["results", "report"])
@pytest.mark.parametrize("name", ["scores.parquet", "manifest.json"])
def test_damaged_tables_stop_what_reads_them(copy: Path, verb: str, name: str):
    file = next(copy.glob(f"store/tables-*/{name}"))
    damage(file)
    before = contents(copy)
    message = refused(verb, copy)
    assert f"{file} is damaged" in message
    assert "Run the study again" in message
    assert contents(copy) == before


def test_a_missing_file_is_damage(copy: Path):
    next(copy.glob("store/tables-*/manifest.json")).unlink()
    assert "manifest.json is damaged: it is missing" in refused("results", copy)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": 2}', "[" * 100_000])
def test_a_broken_record_is_named(study: Path, copy: Path, text: str):
    (copy / "run.json").write_text(text)
    assert "run.json" in refused("results", copy)
    assert command("run", study, "--out", copy, "--dry-run").code == 0


def test_results_in_three_forms(run: Path):
    scores = table(run, "scores")
    rows = json.loads(command("results", run, "--format", "json").out)
    assert pl.DataFrame(rows, schema=SCORES).equals(scores)
    text = command("results", run, "--format", "csv").out
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [line["nats"] == "" for line in lines] == scores["nats"].is_null().to_list()
    screen = command("results", run).out.splitlines()
    assert screen[0].split()[:4] == ["layers", "width", "train_tokens", "seed"]
    assert len(screen) == 42


@pytest.mark.parametrize("name", TABLES)
def test_every_table_can_be_printed(run: Path, name: str):
    lines = command("results", run, "--table", name, "--format", "csv").out.splitlines()
    assert lines[0].split(",") == table(run, name).columns
    assert len(lines) == 1 + table(run, name).height


def test_sql_chooses(run: Path):
    query = "select task, count(*) as n from scores where shots = 0 and predictor = 'model' group by task order by task"
    rows = json.loads(command("results", run, "--sql", query, "--format", "json").out)
    # cells x forms and splits x decodings, fresh only
    assert rows == [{"task": "inverse", "n": 8}, {"task": "pair", "n": 32}, {"task": "single", "n": 8}]


def test_json_stays_json(run: Path):
    query = "select 'nan'::double a, 'inf'::double b, [1, '-inf'::double] c, {'x': 'nan'::double} d, 1.5 e"
    answer = command("results", run, "--sql", query, "--format", "json")
    rows = json.loads(answer.out, parse_constant=pytest.fail)
    assert rows == [{"a": None, "b": "Infinity", "c": [1.0, "-Infinity"], "d": {"x": None}, "e": 1.5}]


@pytest.mark.parametrize(
    "query",
    [
        *("", "  ", "-- nothing", "selec 1", "select * from nowhere", "select 1; select 2", "select error('no')"),
        *("select * from read_csv('/etc/passwd')", "from '/etc/passwd'", "select * from glob('/*')"),
        *("select * from read_text('/etc/passwd')", "select * from read_blob('/etc/passwd')"),
        *("attach '{folder}/new.db'", "attach '{scores}'", "copy (select 1) to '{folder}/new.csv'"),
        *("copy (select 1 as a) to '{scores}' (format parquet, use_tmp_file false)", "export database '{folder}/new'"),
        *("install httpfs", "load httpfs", "pragma database_list", "call pragma_version()"),
        *("set enable_external_access = true", "set allowed_paths = ['/etc/passwd']", "reset lock_configuration"),
        *("drop view scores", "create table a as select 1", "insert into scores select * from scores"),
        *("explain analyze copy (select 1) to '{folder}/new.csv'", "select getenv('HOME')"),
        *("from query('copy (select 1) to ''{folder}/new.csv''')", "checkpoint", "use memory"),
    ],
)  # fmt: skip
def test_sql_reads_these_tables_and_nothing_else(run: Path, query: str):
    scores = RunFolder(run).open_tables() / "scores.parquet"
    before = contents(run)
    message = refused("results", run, "--sql", query.format(folder=run, scores=scores))
    assert "root:" not in message
    assert contents(run) == before


def test_a_huge_result_is_cut_on_the_screen(run: Path):
    answer = command("results", run, "--sql", "select * from range(1000000000000)")
    assert answer.code == 0
    assert len(answer.out.splitlines()) == 42
    assert "first 40" in answer.out


def test_what_moves_a_cursor_is_not_printed(run: Path):
    answer = command("results", run, "--sql", "select chr(27) || '[2J' as a, '[/red] :smile:' as b")
    assert answer.out.splitlines()[1].split("  ") == ["?[2J", "[/red] :smile:"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--table", "nope"], "'nope'"),
        (["--table", "scores", "--sql", "from scores"], "--table and --sql"),
        (["--sql", "select 1 as a, 2 as a", "--format", "json"], "'a'"),
    ],
)
def test_contradicting_options_are_refused(run: Path, arguments: list[str], part: str):
    assert part in refused("results", run, *arguments)


def test_another_studys_folder_is_left_alone(study: Path, run: Path, tmp_path: Path):
    other = tmp_path / "other.toml"
    other.write_text(study.read_text().replace("tiny.cag", str(study.with_name("tiny.cag"))))
    before = contents(run)
    assert "holds a run of the study 'tiny', not of 'other'" in refused("run", other, "--out", run)
    assert contents(run) == before
