"""Which column of a table of results is what: told by the user, or known by its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from emergelab.grammar.problems import suggestion
from emergelab.outcomes.files import TableError

# What columns are called in the tables of others, the likeliest first.
_KNOWN: Mapping[str, tuple[str, ...]] = {
    "params": (
        "params",
        "parameters",
        "n_params",
        "num_params",
        "param_count",
        "model_size",
        "n",
        "model_params",
    ),
    "tokens": ("tokens", "train_tokens", "training_tokens", "n_tokens", "num_tokens", "d", "data_tokens"),
    "run": ("run", "run_id", "run_name", "model", "model_name", "id", "checkpoint"),
    "group": ("dataset", "corpus", "train_data", "training_data", "pretraining_data", "data"),
    "kind": ("kind", "metric_type", "type"),
    "name": ("name", "metric", "task", "eval", "benchmark"),
    "value": ("value", "score", "result", "metric_value"),
}


@dataclass(frozen=True)
class Columns:
    """The column of each role; only those of parameters and tokens are always there.

    A *long* table has a row for each result, with its `name` and `value`; a *wide* one has a column for each metric.
    """

    params: str
    tokens: str
    run: str | None = None
    group: str | None = None
    kind: str | None = None
    name: str | None = None
    value: str | None = None

    @property
    def long(self) -> bool:
        """Whether results have a row each."""
        return self.name is not None and self.value is not None


def find_columns(frame: pl.DataFrame, told: Mapping[str, str]) -> Columns:
    """Return the columns of all roles: as `told`, else by their names (upper and lower case alike).

    Raises TableError for a role or a column that there is not, and where parameters or tokens are not found.
    """
    found = recognised(frame, _KNOWN, told)
    for role in ("params", "tokens"):
        if found[role] is None:
            raise TableError(
                f"No column was recognised as the {'parameters' if role == 'params' else 'tokens'} of a model among "
                f"{listed(frame)}. Every run needs both. Say which with --column {role}=NAME."
            )
    if found["name"] is None or found["value"] is None:
        found["name"] = found["value"] = found["kind"] = None
    return Columns(**found)  # pyright: ignore[reportArgumentType] - parameters and tokens were found


def recognised(
    frame: pl.DataFrame, known: Mapping[str, tuple[str, ...]], told: Mapping[str, str]
) -> dict[str, str | None]:
    """Return the column of each role in `known`: as `told`, else the first of its names that the table has.

    Upper and lower case are alike. Raises TableError for a role or a column that there is not.
    """
    for role, column in told.items():
        _require_role(role, tuple(known))
        require_column(frame, column)
    lower = {name.lower(): name for name in reversed(frame.columns)}
    found = {
        role: next((lower[name] for name in names if name in lower), None) for role, names in known.items()
    }
    return found | dict(told)


def read_told(settings: list[str]) -> dict[str, str]:
    """Return ROLE=NAME settings as a mapping. Raises TableError for others."""
    told: dict[str, str] = {}
    for setting in settings:
        role, equals, name = setting.partition("=")
        if not equals or not name:
            raise TableError(f"Got {setting!r}. A column is told as ROLE=NAME, for example params=N.")
        told[role] = name
    return told


def require_column(frame: pl.DataFrame, name: str) -> None:
    """Raise TableError unless the table has the column."""
    if name not in frame.columns:
        raise TableError(f"The table has no column {name[:100]!r}. {suggestion(name, frame.columns)}")


def _require_role(role: str, roles: tuple[str, ...]) -> None:
    if role not in roles:
        raise TableError(
            f"Got the role {role[:100]!r} of a column. Roles are {', '.join(roles)}. {suggestion(role, roles)}"
        )


def listed(frame: pl.DataFrame) -> str:
    """Return the names of a table's first columns, for a message."""
    return ", ".join(frame.columns[:12]) + (", …" if len(frame.columns) > 12 else "")  # noqa: PLR2004
