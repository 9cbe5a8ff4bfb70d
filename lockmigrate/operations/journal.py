"""The journal: what a restore started on a unit, and what was confirmed. Keys of records only, never a secret.

It decides only where the unit itself cannot tell: a slot that was being written when everything went dark holds
something that is neither what was there nor what was wanted, and would else look like somebody's finger.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from lockmigrate.errors import FileTrouble
from lockmigrate.protocols.clock import utc_now

FILE: Final = "journal.jsonl"


class Journal:
    """An append-only file in the config directory; every start is on the disk before the unit is touched."""

    def __init__(self, config_dir: Path) -> None:
        self._path = config_dir / FILE

    def unconfirmed(self, unit_id: str, backup_id: str) -> frozenset[str]:
        """Return the records of this backup that were started on this unit and never confirmed."""
        started: set[str] = set()
        for line in self._lines():
            if line.get("unit") != unit_id or line.get("backup") != backup_id:
                continue
            key = line.get("key")
            if isinstance(key, str):
                (started.add if line.get("event") == "started" else started.discard)(key)
        return frozenset(started)

    def note(self, event: str, *, unit_id: str, backup_id: str, key: str | None = None) -> None:
        """Append one line; see `note_all`."""
        self.note_all(event, [key], unit_id=unit_id, backup_id=backup_id)

    def note_all(self, event: str, keys: Iterable[str | None], *, unit_id: str, backup_id: str) -> None:
        """Append a line for each record, and flush them to the disk together.

        Raises:
            FileTrouble: the journal cannot be written.
        """
        head = {"at": utc_now(), "event": event, "unit": unit_id, "backup": backup_id}
        lines = [head if key is None else {**head, "key": key} for key in keys]
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Where a confirmation is lost with the power, the slot itself tells: it reads back equal.
            text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
            _append(self._path, text, flush=event == "started")
        except OSError as error:
            raise FileTrouble(
                f"cannot write the journal {self._path}: {error.strerror}",
                hint="free space or choose another --config-dir; nothing is written to a unit without it",
            ) from None

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return
        except OSError as error:
            raise FileTrouble(f"cannot read the journal {self._path}: {error.strerror}") from None
        for line in text.splitlines():
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):
                continue  # a line torn by a crash; whatever it was about counts as not confirmed
            if isinstance(found, dict):
                yield found


def _append(path: Path, line: bytes, *, flush: bool) -> None:
    """Append, and flush to the disk if asked; a line that a crash cut short does not swallow this one."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        if os.lseek(handle, 0, os.SEEK_END) > 0:
            os.lseek(handle, -1, os.SEEK_END)
            if os.read(handle, 1) != b"\n":
                line = b"\n" + line
        if os.write(handle, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if flush:
            os.fsync(handle)
    finally:
        os.close(handle)


class MemoryJournal(Journal):
    """A journal for units that end with this process: simulated stand-ins. Nothing is written."""

    def __init__(self) -> None:
        super().__init__(Path())
        self._started: set[str] = set()

    def unconfirmed(self, unit_id: str, backup_id: str) -> frozenset[str]:
        """See `Journal.unconfirmed`; one unit and one backup are all there is."""
        return frozenset(self._started)

    def note_all(self, event: str, keys: Iterable[str | None], *, unit_id: str, backup_id: str) -> None:
        """See `Journal.note_all`."""
        for key in keys:
            if key is not None:
                (self._started.add if event == "started" else self._started.discard)(key)
