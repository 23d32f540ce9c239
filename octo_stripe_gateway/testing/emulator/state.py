"""State that outlasts the process: all of it in one file, replaced as a whole."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

FORMAT = 2


class StateError(ValueError):
    """Says that a file holds no state that this emulator can load."""


class Part(Protocol):
    """Keeps a part of the state."""

    def dump(self) -> str: ...

    def load(self, dumped: Any) -> None: ...


class State:
    """Writes the parts to the file; without one it does nothing."""

    def __init__(
        self, path: str | Path | None, *, parts: Mapping[str, Part], lock: AbstractContextManager[Any]
    ) -> None:
        self._path = Path(path) if path else None
        self._parts = parts
        self._lock = lock
        self._asking = threading.Lock()
        self._writing = threading.Lock()
        self._asked = 0
        self._written = 0

    def load(self) -> None:
        """Read the file, where there is one; raises StateError."""
        if self._path is not None and not self._path.parent.is_dir():
            raise StateError(f"There is no folder {self._path.parent} for the state.")
        if self._path is None or not self._path.exists():
            return
        try:
            dumped = json.loads(self._path.read_bytes())
            if dumped["format"] != FORMAT:
                raise StateError(f"{self._path} is of another version of the emulator.")
            with self._lock:
                for name, part in self._parts.items():
                    part.load(dumped[name])
        except (KeyError, TypeError, ValueError) as error:
            raise error if isinstance(error, StateError) else self._unreadable(error) from error

    def save(self) -> None:
        """Return once everything so far is in the file; concurrent callers share one write."""
        if self._path is None:
            return
        with self._asking:
            self._asked += 1
            mine = self._asked
        with self._writing:
            if self._written >= mine:
                return
            with self._asking:
                covered = self._asked
            with self._lock:
                parts = [f'"{name}": {part.dump()}' for name, part in self._parts.items()]
                text = f'{{"format": {FORMAT}, {", ".join(parts)}}}'
            _replace(self._path, text)
            self._written = covered

    def _unreadable(self, error: Exception) -> StateError:
        return StateError(f"{self._path} holds no state of the emulator ({type(error).__name__}: {error}).")


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
