"""How things look in a notebook."""

from __future__ import annotations

import importlib
import io
import sys
from typing import TYPE_CHECKING

from emergelab.pipeline.events import Reporter, Silent
from emergelab.pipeline.notebook import Notebook
from emergelab.pipeline.progress import reporter_for

if TYPE_CHECKING:
    from rich.text import Text

_PRE = '<pre style="line-height: 1.35; white-space: pre-wrap">{code}</pre>'


def reporter(*, progress: bool) -> Reporter:
    """Return what shows a run where this process is: in a notebook, a terminal, or as plain lines."""
    if not progress:
        return Silent()
    if not in_notebook():
        return reporter_for(sys.stderr)
    display = importlib.import_module("IPython.display")
    handle = display.display(display.HTML(""), display_id=True)
    return Notebook(lambda markup: handle.update(display.HTML(markup)))


def in_notebook() -> bool:
    """Tell whether this process is the kernel of a notebook, which shows HTML."""
    # Whoever is in a notebook has IPython loaded; nobody else has to pay for it.
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return hasattr(shell, "kernel")


def text_html(text: Text) -> str:
    """Return styled text as HTML, whatever is in it escaped."""
    from rich.console import Console  # noqa: PLC0415 - slow to import

    console = Console(record=True, file=io.StringIO(), width=10_000, color_system="truecolor")
    console.print(text, soft_wrap=True)
    return console.export_html(inline_styles=True, code_format=_PRE)
