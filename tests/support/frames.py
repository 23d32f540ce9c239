"""Collects what an error reporter would send: the repr of every variable on the stack."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from django.db.models import Manager, QuerySet

import octo_stripe_gateway

PACKAGE = str(Path(octo_stripe_gateway.__file__).parent)


def is_ours(frame: FrameType) -> bool:
    """Tell whether a frame runs the app's own code, except the code that hides secrets.

    The emulator doesn't count: it stands for Stripe's servers.
    """
    name = frame.f_code.co_filename
    if not name.startswith(PACKAGE) or name.startswith(f"{PACKAGE}/testing"):
        return False
    is_hiding = name.endswith("redaction.py") or frame.f_code.co_qualname.startswith("hide")
    return frame.f_code.co_name != "<module>" and not is_hiding


def show_locals(frame: FrameType) -> Iterator[tuple[str, str]]:
    """Yield where each variable is, and its repr."""
    where = f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}"
    for name, value in frame.f_locals.items():
        # Reporters skip objects whose repr would query the database.
        if not isinstance(value, (QuerySet, Manager)):
            yield f"{where}: {name}", show(value)


def show(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - as a reporter does
        return f"<failed repr: {error!r}>"


def walk_error(error: BaseException | None) -> Iterator[tuple[str, str]]:
    """Yield the variables of an error and of those that led to it, as Sentry and Django's reports do."""
    while error is not None:
        yield f"{type(error).__name__}", show(error)
        yield from walk_traceback(error.__traceback__)
        error = error.__cause__ if error.__suppress_context__ else error.__cause__ or error.__context__


def walk_traceback(traceback: TracebackType | None) -> Iterator[tuple[str, str]]:
    while traceback is not None:
        yield from show_locals(traceback.tb_frame)
        traceback = traceback.tb_next


class Reporter(logging.Handler):
    """Collects the variables behind every logged error, as Sentry's logging integration does."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.sent: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.sent.append((record.name, record.getMessage()))
        if record.exc_info:
            self.sent += walk_error(record.exc_info[1])
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            self.sent += show_locals(frame) if is_ours(frame) else ()
            frame = frame.f_back


class InjectedError(Exception):
    """A fault that may come up anywhere."""


Step = tuple[str, int, str]

# Never failed: the ends of `with` blocks and transactions, which would stay open for the rest of the test;
# the code that hides secrets; and the methods of `os.environ`.
SPARED = ("contextlib.py", "transaction.py", "redaction.py", "_collections_abc>")


def get_step(frame: FrameType, event: str, argument: Any) -> Step | None:
    """Return the call by the app that a profiler's event stands for, if any: its place and what is called."""
    if event == "c_call":
        return (frame.f_code.co_filename, frame.f_lineno, argument.__name__) if is_ours(frame) else None
    if event != "call" or frame.f_back is None or not is_ours(frame.f_back):
        return None
    code, caller = frame.f_code, frame.f_back
    is_generator = code.co_name == "<genexpr>"  # also called to be closed, where no error gets out
    if code.co_filename.endswith(SPARED) or code.co_qualname.startswith("hide") or is_generator:
        return None
    if code.co_name == "__del__":  # no error gets out of it; Django 6.1's models have one
        return None
    return (caller.f_code.co_filename, caller.f_lineno, code.co_qualname)


def list_steps(action: Callable[[], object]) -> list[Step]:
    """Return the calls that the app makes during an action, each place once."""
    steps: dict[Step, None] = {}

    def note(frame: FrameType, event: str, argument: Any) -> None:
        step = get_step(frame, event, argument)
        if step:
            steps.setdefault(step)

    with profiling(note):
        action()
    return list(steps)


def fail_at(step: Step, action: Callable[[], object]) -> None:
    """Run an action with an error in place of one of the app's calls."""

    def fail(frame: FrameType, event: str, argument: Any) -> None:
        if get_step(frame, event, argument) == step:
            raise InjectedError

    with profiling(fail):
        action()


@contextmanager
def profiling(function: Callable[[FrameType, str, Any], None]) -> Iterator[None]:
    before = sys.getprofile()
    sys.setprofile(function)
    try:
        yield
    finally:
        sys.setprofile(before)


@contextmanager
def watching(secret: re.Pattern[str]) -> Iterator[list[str]]:
    """Look for secrets in the app's variables at every call, entry and return: an error can occur at each.

    Yields a list that is filled, at the end, with the places where one was seen.
    """
    seen: dict[str, None] = {}

    def look(frame: FrameType, _event: str, _argument: Any) -> None:
        for each in (frame, frame.f_back):
            if each is not None and is_ours(each):
                for where, shown in show_locals(each):
                    if secret.search(shown):
                        seen.setdefault(where)

    found: list[str] = []
    with profiling(look):
        yield found
    found += seen
