"""How often a property is tried: a few times, or many in the long tests, with HYPOTHESIS_PROFILE=ci."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings

F = TypeVar("F", bound=Callable[..., Any])

AT_LENGTH = os.environ.get("HYPOTHESIS_PROFILE") == "ci"


def try_property(*, few: int, many: int) -> Callable[[F], F]:
    """Try a property with this many examples, the same in every run."""
    wanted = settings(
        max_examples=many if AT_LENGTH else few,
        derandomize=True,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )

    def decorate(test: F) -> F:
        tried: F = wanted(test)
        return pytest.mark.slow(tried) if AT_LENGTH else tried

    return decorate
