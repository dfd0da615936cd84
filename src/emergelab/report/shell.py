"""What every page shares: style, scripts and their policy, figures as files, and a folder replaced as a whole."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from emergelab.errors import ArtifactError
from emergelab.report import theme, words
from emergelab.report.figures import VEGA_LITE, Figure, png, svg

_MOST_ROWS = 400
_PARTS = {"index.html", "figures", "tables"}


def replaced(directory: Path, write: Callable[[Path], None]) -> Path:
    """Let `write` fill a new folder, put it in the place of `directory` when it is whole; return the page's path.

    Raises `ArtifactError` where the folder holds something else than a page, or cannot be written.
    """
    require_own(directory)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with _new_folder(directory) as folder:
            write(folder)
            _swap(folder, directory)
    except OSError as error:
        raise ArtifactError(
            f"The report folder {directory} cannot be written: {error.strerror or error}. "
            "Free space or rights there, or choose another folder."
        ) from error
    return directory / "index.html"


def rendered(template: str, sizes: int, **content: object) -> str:
    """Return a template of this package as a page with so many colours of sizes.

    What users wrote is escaped, in the embedded data too.
    """
    style = _colours(sizes) + _read("page.css")
    bundle, script = script_bundle(), _read("page.js")
    return _template(template).render(
        **content,
        policy=_policy(bundle, script),
        style=Markup(style),  # noqa: S704  ours, not a user's
        bundle=Markup(bundle),  # noqa: S704
        script=Markup(script),  # noqa: S704
    )


@cache
def script_bundle() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script that may stand inside a page."""
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", VEGA_LITE)
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def write_figure(figure: Figure, folder: Path, colours: Mapping[str, str]) -> None:
    """Write a figure as SVG and PNG and its data as CSV."""
    drawing = svg(figure, colours)
    (folder / f"{figure.name}.svg").write_text(drawing, encoding="utf-8")
    (folder / f"{figure.name}.png").write_bytes(png(drawing))
    figure.information.data.write_csv(folder / f"{figure.name}.csv")


def shown(figure: Figure, meanings: Mapping[str, str]) -> dict[str, Any]:
    """Return what the template shows of a figure; `meanings` explains columns by name."""
    data = figure.information.data
    rows = [[cell(name, value) for name, value in row.items()] for row in data.head(_MOST_ROWS).to_dicts()]
    return {
        "name": figure.name,
        "title": figure.information.title,
        "short": figure.information.short,
        "caption": figure.caption,
        "chart": figure.specification,
        "columns": [{"name": name, "meaning": meanings.get(name)} for name in data.columns],
        "rows": rows if figure.specification is not None else [],
        "left_out": max(0, data.height - _MOST_ROWS),
    }


def cell(name: str, value: object) -> str:
    """Return a value as a table on the page has it."""
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


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.policies["json.dumps_kwargs"] = {
        "sort_keys": False,
        "separators": (",", ":"),
        "allow_nan": False,
    }
    return environment.from_string(_read(name))


def _read(name: str) -> str:
    return resources.files("emergelab.report").joinpath(name).read_text(encoding="utf-8")


def require_own(directory: Path) -> None:
    """Raise `ArtifactError` for a folder that holds something else than a page."""
    if not directory.exists():
        return
    names = {entry.name for entry in directory.iterdir()} if directory.is_dir() else {""}
    if names - _PARTS or names == {"tables"}:
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
