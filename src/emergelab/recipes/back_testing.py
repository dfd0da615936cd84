"""Back-tests of forecasts on a table of results, with splits that are fixed in a file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emergelab.analysis.scaling.backtest import Scored, back_test, outcomes
from emergelab.analysis.scaling.baselines import BASELINES
from emergelab.analysis.scaling.calibration import nested_splits
from emergelab.analysis.scaling.ladder import Ladder
from emergelab.analysis.scaling.law import FEWEST
from emergelab.outcomes.files import TableError
from emergelab.recipes.ladders import TableQuestion, read_ladder
from emergelab.rng import stream

HELD_OUT, DEVELOPMENT = "held out", "development"
_FILE = "back_tests.toml"


class Split(BaseModel):
    """Runs of a table that are fitted, by parameters, and larger ones that are scored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    table: str
    use: Literal["held out", "development"] = HELD_OUT
    fit_up_to: float = Field(gt=0)
    score_from: float = Field(gt=0)
    runs_below: float = Field(default=float("inf"), gt=0)

    def parts(self, ladder: Ladder) -> tuple[Ladder, Ladder]:
        """Return the runs to fit and those to score."""
        ladder = ladder.at(ladder.params < self.runs_below)
        return ladder.at(ladder.params <= self.fit_up_to), ladder.at(ladder.params >= self.score_from)


@dataclass(frozen=True)
class _Part:
    name: str
    use: str
    fitted: Ladder
    large: Ladder


def shipped_splits() -> list[Split]:
    """Return the splits of the tables that come with emergelab."""
    text = (resources.files("emergelab") / "examples" / _FILE).read_text(encoding="utf-8")
    return _read_splits(text, _FILE)


def read_splits(path: Path) -> list[Split]:
    """Return the splits of a TOML file. Raises TableError."""
    try:
        return _read_splits(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(
            f"The splits in {str(path)[:200]} cannot be read: {error}. Give a TOML file."
        ) from error


def _read_splits(text: str, source: str) -> list[Split]:
    try:
        return [Split.model_validate(entry) for entry in tomllib.loads(text).get("split", [])]
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise TableError(
            f"{source[:200]} is no list of splits: {str(error).splitlines()[0]}. Each [[split]] needs name, table, "
            "fit_up_to and score_from (numbers of parameters)."
        ) from error


def scored_splits(
    question: TableQuestion, *, metric: str | None = None, development: bool, splits: Path | None = None
) -> Iterator[Scored]:
    """Yield the back-tests of a table, each with the forecasts of every method. Raises TableError.

    `metric` is the column that is tested of a table that has a column for each metric.
    """
    for part in _parts(question, metric, development=development, splits=splits):
        yield back_test(part.name, part.fitted, part.large, stream(0, "back-test", part.name))


def back_test_of(
    question: TableQuestion,
    *,
    metric: str | None = None,
    development: bool = False,
    splits: Path | None = None,
) -> dict[str, Any]:
    """Return the scores of all back-tests of a table as JSON values, one row a split, method, kind and band.

    `scatter` has what single fitted runs scatter by, one row a split and kind.
    """
    tested = list(scored_splits(question, metric=metric, development=development, splits=splits))
    rows = [asdict(outcome) for scored in tested for outcome in outcomes(scored)]
    return {
        "table": question.file,
        "level": 0.9,
        "methods": ["emergelab", *BASELINES],
        "units": "error, bias, half_width, crps and interval_score: per cent of a loss, points of a share",
        "rows": rows,
        "scatter": [{"split": scored.name} | asdict(one) for scored in tested for one in scored.scatter],
    }


def _parts(
    question: TableQuestion, metric: str | None, *, development: bool, splits: Path | None
) -> list[_Part]:
    ladder = read_ladder(question, *([] if metric is None else [metric])).ladder
    stem = Path(question.file).stem
    known = [split for split in (read_splits(splits) if splits else shipped_splits()) if split.table == stem]
    if not known:
        return _of_nested(ladder)
    wanted = [split for split in known if split.use == (DEVELOPMENT if development else HELD_OUT)]
    parts = [_Part(split.name, split.use, *split.parts(ladder)) for split in wanted]
    for part in parts:
        _require_enough(part)
    return [_only_known_groups(part) for part in parts]


def _of_nested(ladder: Ladder) -> list[_Part]:
    """Return back-tests of a table without splits of its own: the largest sizes, the runs of most compute."""
    parts = [
        _Part(f"{number}: up to {fitted.compute.max():.3g} FLOP", HELD_OUT, fitted, large)
        for number, (fitted, large) in enumerate(nested_splits(ladder), 1)
    ]
    if not parts:
        raise TableError(
            f"The table has {ladder.params.size} points: too few for a back-test. It needs {FEWEST + 1} small runs of "
            "one training corpus at least, and larger ones. Add runs."
        )
    return parts


def _require_enough(part: _Part) -> None:
    if part.fitted.params.size <= FEWEST or not part.large.params.size:
        raise TableError(
            f"The split {part.name!r} fits {part.fitted.params.size} points and scores {part.large.params.size}. It "
            f"needs {FEWEST + 1} to fit and one to score. Check that the table is the one that the split is for."
        )


def _only_known_groups(part: _Part) -> _Part:
    known = np.isin(part.large.group, np.unique(part.fitted.group))
    return _Part(part.name, part.use, part.fitted, part.large.at(known))
