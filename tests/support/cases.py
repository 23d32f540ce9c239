"""Which of many cases run each time, and which with the long tests only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def one_in(count: int, cases: Iterable[Any]) -> list[Any]:
    """Return the cases for `parametrize`; but for one in `count`, they are among the long tests."""
    return [case if number % count == 0 else _mark_slow(case) for number, case in enumerate(cases)]


def _mark_slow(case: Any) -> Any:
    if isinstance(case, type(pytest.param())):
        return pytest.param(*case.values, id=case.id, marks=[*case.marks, pytest.mark.slow])
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.slow)
