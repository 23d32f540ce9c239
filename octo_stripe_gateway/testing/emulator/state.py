"""State that outlasts the process: a file that grows by a line with each change.

Now and then it is written anew, as a whole.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

FORMAT = 3
# The file is written anew once the appended lines are longer than what they change, and than this.
LEAST_TO_COMPACT = 4_000_000


class StateError(ValueError):
    """Says that a file holds no state that this emulator can load."""


class Part(Protocol):
    """Keeps a small part of the state, which is written as a whole when it changes."""

    def dump(self) -> str: ...

    def load(self, dumped: Any) -> None: ...


class Records(Protocol):
    """Keeps a part of the state that grows: records by key, in JSON, None for one that is gone."""

    def dump(self) -> dict[str, str | None]: ...

    def dump_changes(self) -> dict[str, str | None]: ...

    def load(self, dumped: Mapping[str, Any]) -> None: ...


class State:
    """Writes the parts to the file; without one it does nothing."""

    def __init__(
        self,
        path: str | Path | None,
        *,
        parts: Mapping[str, Part],
        records: Mapping[str, Records],
        lock: AbstractContextManager[Any],
    ) -> None:
        self._path = Path(path) if path else None
        self._parts = parts
        self._records = records
        self._lock = lock
        self._asking = threading.Lock()
        self._writing = threading.Lock()
        self._asked = 0
        self._written = 0
        self._texts: dict[str, str] = {}
        self._file: IO[str] | None = None
        self._whole_size = 0
        self._appended = 0

    def load(self) -> None:
        """Read the file, where there is one; raises StateError.

        A last line without an end was never answered for: the process was killed while it wrote.
        """
        if self._path is not None and not self._path.parent.is_dir():
            raise StateError(f"There is no folder {self._path.parent} for the state.")
        if self._path is None or not self._path.exists():
            return
        try:
            *lines, _unfinished = self._path.read_text(encoding="utf-8").split("\n")
            first, *changes = map(json.loads, lines)
            if first["format"] != FORMAT:
                raise StateError(f"{self._path} is of another version of the emulator.")
            for change in changes:
                first["parts"] |= change["parts"]
                for name, records in change["records"].items():
                    first["records"][name] |= records
            with self._lock:
                for name, part in self._parts.items():
                    part.load(first["parts"][name])
                for name, kept in self._records.items():
                    found = first["records"][name].items()
                    kept.load({key: value for key, value in found if value is not None})
        except (KeyError, TypeError, ValueError) as error:
            raise error if isinstance(error, StateError) else self._unreadable(error) from error

    def save(self, *, anew: bool = False) -> None:
        """Return once everything so far is in the file; concurrent callers share one write."""
        if self._path is None:
            return
        with self._asking:
            self._asked += 1
            mine = self._asked
        with self._writing:
            if self._written >= mine and not anew:
                return
            with self._asking:
                covered = self._asked
            if anew or self._file is None or self._appended > max(self._whole_size, LEAST_TO_COMPACT):
                self._write_anew(self._path)
            else:
                self._append(self._file)
            self._written = covered

    def close(self) -> None:
        """Write the file anew, so that it is short and plain, and close it."""
        self.save(anew=True)
        if self._file:
            self._file.close()
            self._file = None

    def _write_anew(self, path: Path) -> None:
        with self._lock:
            self._texts = {name: part.dump() for name, part in self._parts.items()}
            changes = {name: kept.dump() for name, kept in self._records.items()}
            for kept in self._records.values():
                kept.dump_changes()
        text = f'{{"format": {FORMAT}, {_line(self._texts, changes)}}}\n'
        _replace(path, text)
        if self._file:
            self._file.close()
        self._file = path.open("a", encoding="utf-8")
        self._whole_size, self._appended = len(text), 0

    def _append(self, file: IO[str]) -> None:
        with self._lock:
            texts = {name: part.dump() for name, part in self._parts.items()}
            changes = {name: kept.dump_changes() for name, kept in self._records.items()}
        changed = {name: text for name, text in texts.items() if self._texts[name] != text}
        if not (changed or any(changes.values())):
            return
        text = f"{{{_line(changed, changes)}}}\n"
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
        self._texts |= changed
        self._appended += len(text)

    def _unreadable(self, error: Exception) -> StateError:
        return StateError(f"{self._path} holds no state of the emulator ({type(error).__name__}: {error}).")


def _line(texts: Mapping[str, str], changes: Mapping[str, Mapping[str, str | None]]) -> str:
    parts = _object(texts)
    records = _object({name: _object(records) for name, records in changes.items()})
    return f'"parts": {parts}, "records": {records}'


def _object(texts: Mapping[str, str | None]) -> str:
    """Return a JSON object of values that are JSON already."""
    fields = (f"{json.dumps(name)}: {'null' if text is None else text}" for name, text in texts.items())
    return f"{{{', '.join(fields)}}}"


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
