"""The text that tells cells apart which differ in more than their scale: `pair.silent=0.1, batch=32`.

Scale (layers, width, unique documents, training tokens) and seed have columns of their own in every table. What
else a study varies stands in the one column `variant`; null where nothing else varies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from emergelab.spec import Json, canonical_json

_BETWEEN = ", "


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Return the names of entries of a study, such as `train.batch`, without their table; whole where two are alike."""
    shorter = {name: name.partition(".")[2] or name for name in names}
    times = Counter(shorter.values())
    return {name: short if times[short] == 1 else name for name, short in shorter.items()}


def variant_parts(settings: Mapping[str, Json]) -> list[str]:
    """Return `name=value` for each setting; `settings` has whole names, in the order wanted."""
    names = short_names(list(settings))
    return [f"{names[name]}={value_text(value)}" for name, value in settings.items()]


def variant_of(settings: Mapping[str, Json]) -> str | None:
    """Return the text of the settings, or None where there are none."""
    return _BETWEEN.join(variant_parts(settings)) or None


def settings_of(variant: str | None) -> dict[str, float | str]:
    """Return what a variant says: values by short name, numbers as floats, anything else as its text."""
    parts = variant.split(_BETWEEN) if variant else []
    return {name: _value(text) for name, _, text in (part.rpartition("=") for part in parts)}


def value_text(value: Json) -> str:
    """Return a setting's value as it stands in a variant: without spaces, 2.0 as 2."""
    return value if isinstance(value, str) else canonical_json(value)


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
