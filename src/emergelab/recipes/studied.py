"""The training runs of a study, whether it was run already or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emergelab.errors import UserError
from emergelab.grammar.problems import suggestion
from emergelab.pipeline import manifest as manifests
from emergelab.recipes.grid import build_grid
from emergelab.recipes.models import study_of
from emergelab.recipes.run_folder import RunFolder
from emergelab.recipes.study import find_study, read_study
from emergelab.recipes.study_spec import Study
from emergelab.spec import Json, canonical_json

_RUN = "run "


def runs_of_study(source: str, settings: Sequence[str] = ()) -> tuple[Study, dict[str, Mapping[str, Any]]]:
    """Return a study and the specification of each of its training runs by name.

    `source` is a shipped study's name, a file, or the folder of a finished run, which takes no `settings`. Raises
    StudyError, GrammarError and ArtifactError.
    """
    if Path(source).is_dir():
        if settings:
            raise UserError(
                f"Got --set with {source}, a run that is made. What was run stays as it is. Name its study instead."
            )
        return _runs_of_folder(RunFolder(Path(source)))
    file = find_study(source)
    study = read_study(file, settings)
    inputs = build_grid(file, study).tables.inputs
    return study, {
        name.removeprefix(_RUN): step.spec for name, step in inputs.items() if name.startswith(_RUN)
    }


def _runs_of_folder(folder: RunFolder) -> tuple[Study, dict[str, Mapping[str, Any]]]:
    record = folder.read_record()
    folder.open_tables()  # says what to do where the run is not finished
    inputs = folder.read_manifest(record["tables"])["inputs"]
    keys = {name.removeprefix(_RUN): key for name, key in inputs.items() if name.startswith(_RUN)}
    return Study.model_validate(study_of(record, folder.path)), {
        name: _spec(folder, key) for name, key in keys.items()
    }


def _spec(folder: RunFolder, key: str) -> Mapping[str, Any]:
    """Return what determined a training. The manifest vouches for itself; the models' files are not read."""
    path = folder.store.root / f"train-{key}" / manifests.NAME
    return manifests.parse(path.read_text(encoding="utf-8"))["spec"]


def chosen_run(
    runs: Mapping[str, Mapping[str, Any]],
    name: str | None,
    seed: int | None,
    *,
    longest: Callable[[Mapping[str, Any]], int],
) -> Mapping[str, Any]:
    """Return the specification of the run called `name`, or of the `longest` one of a seed, by default the first.

    Raises UserError where there is none, or where the seed's runs do not train on the same documents.
    """
    if name is not None:
        if name not in runs:
            raise UserError(
                f"The study has no training run {name!r}. Name one of its runs. {suggestion(name, list(runs))}"
            )
        return runs[name]
    first = min(spec["seed"] for spec in runs.values()) if seed is None else seed
    fitting = {run: spec for run, spec in runs.items() if spec["seed"] == first}
    kinds = {canonical_json(_source(spec)): run for run, spec in reversed(fitting.items())}
    if len(kinds) != 1:
        known = "\n".join(kinds.values() if kinds else runs)
        raise UserError(
            f"The runs of seed {first} train on {len(kinds)} different corpora. One is written at a time. "
            f"Choose a run with --run:\n{known}"
        )
    return max(fitting.values(), key=longest)


def _source(spec: Mapping[str, Any]) -> Json:
    return [spec["language"], spec["keys"]["data"], spec["seed"], spec["documents"], spec["model"]["context"]]
