"""Writes a report: one self-contained page, and each figure as SVG, PNG and CSV beside it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Generator, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from emergelab.errors import ArtifactError
from emergelab.report import (
    account,
    against_words,
    emerging_words,
    facts,
    printing_words,
    tasks,
    theme,
    words,
)
from emergelab.report.content import ReportInput
from emergelab.report.figures import VEGA_LITE, Figure, figures, png, svg, threshold_figures
from emergelab.report.information import MEANINGS
from emergelab.report.series import Prepared, prepare

_MOST_ROWS = 400
_PARTS = {"index.html", "figures"}


def write_report(content: ReportInput, directory: Path) -> Path:
    """Write `index.html` and `figures/` into `directory` and return the page's path.

    The report is made in a folder beside it and takes the place of an old one only when it is whole. Raises
    `ArtifactError` where the folder holds something else than a report, or cannot be written.
    """
    _require_own(directory)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with _new_folder(directory) as folder:
            _write(content, folder)
            _swap(folder, directory)
    except OSError as error:
        raise ArtifactError(
            f"The report folder {directory} cannot be written: {error.strerror or error}. "
            "Free space or rights there, or choose another folder."
        ) from error
    return directory / "index.html"


def render(
    content: ReportInput, prepared: Prepared, drawn: list[Figure], thresholds: Sequence[Figure] = ()
) -> str:
    """Return the page's HTML. Everything that users wrote is escaped, in the embedded data too.

    `thresholds` are the figures of what emerges where, behind those `drawn`.
    """
    style = _colours(prepared.colours) + _read("page.css")
    bundle, script = script_bundle(), _read("page.js")
    return _template().render(
        **account.account(content, prepared),
        verdict=facts.verdict(
            prepared,
            content.run.get("overlap", {}),
            [against_words.gap_sentence(prepared), printing_words.sentence(prepared)],
        ),
        printing=printing_words.gains_table(prepared),
        figures=[_shown(figure) for figure in drawn],
        emerging=_emerging(content, prepared, drawn, thresholds),
        absent=[
            {"title": figure.information.title, "reason": figure.information.absent}
            for figure in drawn
            if figure.specification is None
        ],
        policy=_policy(bundle, script),
        style=Markup(style),  # noqa: S704  ours, not a user's
        bundle=Markup(bundle),  # noqa: S704
        script=Markup(script),  # noqa: S704
    )


def _emerging(
    content: ReportInput, prepared: Prepared, drawn: list[Figure], thresholds: Sequence[Figure]
) -> dict[str, Any] | None:
    """Return the section on what emerges where, its figures numbered behind the others."""
    section = emerging_words.section(content, prepared)
    if section is None:
        return None
    before = sum(figure.specification is not None for figure in drawn)
    return {**section, "figures": [_shown(figure) for figure in thresholds], "first": before + 1}


@cache
def script_bundle() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script that may stand inside a page."""
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", VEGA_LITE)
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _write(content: ReportInput, folder: Path) -> None:
    prepared = prepare(content)
    drawn, thresholds = figures(prepared), threshold_figures(prepared)
    (folder / "index.html").write_text(render(content, prepared, drawn, thresholds), encoding="utf-8")
    (folder / "figures").mkdir()
    colours = theme.palette("light", prepared.colours)
    for figure in (*drawn, *thresholds):
        if figure.specification is not None:
            _write_figure(figure, folder / "figures", colours)
    if content.emergence is not None and content.emergence.height:
        content.emergence.write_csv(folder / "figures" / "emergence.csv")
    table = tasks.tasks(prepared)
    if table.height:
        table.select(tasks.COLUMNS).write_csv(folder / "figures" / "tasks.csv")


def _write_figure(figure: Figure, folder: Path, colours: Mapping[str, str]) -> None:
    drawing = svg(figure, colours)
    (folder / f"{figure.name}.svg").write_text(drawing, encoding="utf-8")
    (folder / f"{figure.name}.png").write_bytes(png(drawing))
    figure.information.data.write_csv(folder / f"{figure.name}.csv")


def _shown(figure: Figure) -> dict[str, Any]:
    data = figure.information.data
    rows = [[_cell(name, value) for name, value in row.items()] for row in data.head(_MOST_ROWS).to_dicts()]
    return {
        "name": figure.name,
        "title": figure.information.title,
        "short": figure.information.short,
        "caption": figure.caption,
        "chart": figure.specification,
        "columns": [{"name": name, "meaning": MEANINGS.get(name)} for name in data.columns],
        "rows": rows if figure.specification is not None else [],
        "left_out": max(0, data.height - _MOST_ROWS),
    }


def _cell(name: str, value: object) -> str:
    if value is None:
        return words.MISSING
    if name in {"params", "train_tokens", "tokens"} and isinstance(value, int):
        return words.count(value)
    return words.figure(value) if isinstance(value, float) else str(value)


def _colours(sizes: int) -> str:
    light, dark = (_declarations(theme.palette(mode, sizes)) for mode in ("light", "dark"))
    return (
        f":root{{color-scheme:light;{light}}}"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}"
        "@media screen and (prefers-color-scheme:dark)"
        f"{{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}"
        f"@media print{{:root,:root[data-theme=dark]{{color-scheme:light;{light}}}}}\n"
    )


def _declarations(colours: Mapping[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())


def _policy(*scripts: str) -> str:
    """Return a policy that allows the page's own scripts by digest, and no network at all."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.policies["json.dumps_kwargs"] = {
        "sort_keys": False,
        "separators": (",", ":"),
        "allow_nan": False,
    }
    return environment.from_string(_read("page.html.j2"))


def _read(name: str) -> str:
    return resources.files("emergelab.report").joinpath(name).read_text(encoding="utf-8")


def _require_own(directory: Path) -> None:
    if not directory.exists():
        return
    if not directory.is_dir() or {entry.name for entry in directory.iterdir()} - _PARTS:
        raise ArtifactError(
            f"{directory} holds something else than a report. A report takes the place of its whole folder. "
            "Name a new folder, or an older report's."
        )


@contextlib.contextmanager
def _new_folder(directory: Path) -> Generator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _swap(new: Path, directory: Path) -> None:
    """Put the new folder in the old one's place; `new` then holds the old one, to be removed."""
    if not directory.exists():
        new.rename(directory)
        return
    old = new.with_name(f"{new.name}-old")
    directory.rename(old)
    try:
        new.rename(directory)
    except OSError:
        old.rename(directory)
        raise
    shutil.rmtree(old, ignore_errors=True)
