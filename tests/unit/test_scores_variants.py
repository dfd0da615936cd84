"""The text of a variant can be read back, whatever was varied."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emergelab.scores.variants import settings_of, short_names, variant_of, variant_parts

NAMES = st.from_regex(r"(grammar|train|model)\.[a-z_]{1,8}(\.[a-z]{1,5})?", fullmatch=True)
PAIRS = st.lists(st.floats(0, 1), min_size=2, max_size=2)
VALUES = st.one_of(
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["float32", "auto"]),
    PAIRS,
)


@given(st.dictionaries(NAMES, VALUES, max_size=6))
def test_a_variant_is_read_back(settings: dict[str, object]):
    said = settings_of(variant_of(settings))
    names = short_names(list(settings))
    assert list(said) == [names[name] for name in settings]
    for name, value in settings.items():
        found = said[names[name]]
        assert (json.loads(str(found)) if isinstance(value, list) else found) == value


@given(st.lists(NAMES, unique=True, max_size=8))
def test_short_names_tell_apart_what_whole_names_do(names: list[str]):
    assert len(set(short_names(names).values())) == len(names)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, None),
        ({"grammar.pair.silent": 0.1, "train.batch": 32}, "pair.silent=0.1, batch=32"),
        ({"grammar.batch": 2.0, "train.batch": 32}, "grammar.batch=2, train.batch=32"),
        ({"train.betas": (0.9, 0.95)}, "betas=[0.9,0.95]"),
        ({"train.precision": "float32"}, "precision=float32"),
    ],
)
def test_variants_as_they_are_written(settings: dict[str, object], text: str | None):
    assert variant_of(settings) == text
    assert ", ".join(variant_parts(settings)) == (text or "")


def test_no_variant_has_no_settings():
    assert settings_of(None) == {}
