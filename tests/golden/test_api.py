"""The public interface does not change unnoticed.

If this test fails on a change that you mean to make: does code that users have written still run? Then
`pytest tests/golden/test_api.py --inline-snapshot=fix` writes the new interface down, and `CHANGELOG.md` says so.
"""

import inspect
from collections.abc import Iterator

from inline_snapshot import external_file

import emergelab


def interface() -> Iterator[str]:
    """Yield a line for each public name, and for each member of the classes among them."""
    for name in emergelab.__all__:
        value = getattr(emergelab, name)
        if not inspect.isclass(value):
            yield f"{name}{inspect.signature(value)}" if callable(value) else name
        elif issubclass(value, Exception):
            yield f"{name} < {', '.join(base.__name__ for base in value.__bases__)}"
        else:
            yield name
            yield from (f"    {line}" for line in members(value))


def members(cls: type) -> Iterator[str]:
    """Yield a class's own public members: fields, properties, methods with their signatures."""
    fields = inspect.get_annotations(cls)
    yield from (f"{name}: {kind}" for name, kind in fields.items() if not name.startswith("_"))
    for name, value in sorted(vars(cls).items()):
        if name.startswith("_") or name in fields:
            continue
        yield f"{name}{inspect.signature(value)}" if inspect.isfunction(value) else f"{name} (property)"


def test_the_public_interface():
    text = "\n".join(interface()) + "\n"
    assert text == external_file("api.txt")


def test_every_public_name_says_what_it_is():
    for name in set(emergelab.__all__) - {"__version__"}:
        assert inspect.getdoc(getattr(emergelab, name)), name


def test_all_names_can_be_listed_and_loaded():
    assert set(emergelab.__all__) <= set(dir(emergelab))
