"""Inputs that once broke what reads files, and the shipped files changed a little, stay harmless."""

from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz import parsers

FOUND = sorted(path for path in parsers.FOUND.glob("*/*") if path.is_file())
SHIPPED = {
    target: [
        entry.read_bytes()
        for entry in sorted((resources.files("emergelab") / folder).iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(suffix)
    ]
    for target, folder, suffix in (("grammar", "grammars", ".cag"), ("study", "studies", ".toml"))
}


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_what_was_found_is_a_message_now(path: Path):
    parsers.replay(path.parent.name, path.read_bytes())


@pytest.mark.parametrize("target", sorted(SHIPPED))
# A reader that fails for one change in ten is noticed 98 times in 100; rarer ones are for `make fuzz`.
@settings(max_examples=15)
@given(data=st.data())
def test_a_shipped_file_with_something_else_in_its_middle_is_read_or_refused(
    target: str, data: st.DataObject
):
    text = data.draw(st.sampled_from(SHIPPED[target]))
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 40)))
    scrap = data.draw(
        st.binary(max_size=20) | st.sampled_from([b"-1", b"1e400", b"[", b'"', b"nan", b"~", b"{", b"="])
    )
    parsers.replay(target, text[:start] + scrap + text[stop:])
