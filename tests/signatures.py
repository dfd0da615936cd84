"""The type checker of the tests: beartype, made to check protocols, too."""

import inspect
import sys
from collections.abc import Callable
from typing import Any, runtime_checkable

from beartype import BeartypeConf, beartype

# PEP 484: where a float is wanted an int will do.
_CONFIGURATION = BeartypeConf(is_pep484_tower=True)


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` with its calls checked against its annotations.

    An object passes for a protocol when it has the protocol's members. Python wants protocols marked for
    that, which only tests need; so those that the function's module can see are marked here.
    """
    for value in list(vars(sys.modules[function.__module__]).values()):
        if inspect.isclass(value) and getattr(value, "_is_protocol", False):
            runtime_checkable(value)
    return beartype(function, conf=_CONFIGURATION)
