"""The catalogue: which backups were seen, when each was checked, and which is the newest of each unit.

A SQLite file in the config directory, 0600. It may hold serial numbers in clear, and holds no secret: no table digests
(a table of four-digit PINs is guessable from its hash), only the manifest's, which covers the random `backup_id`. It is
a cache that `vault reindex` rebuilds from the files, except for the memory of what has been seen: rows are never
deleted. Several processes may write at once; SQLite's own locks and a busy timeout keep them apart.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from lockmigrate.errors import ConfigError, FileTrouble
from lockmigrate.formats.files import PRIVATE_MODE, exists, file_trouble
from lockmigrate.formats.manifest import write_time
from lockmigrate.vault.rows import Check, Newest, Row, State, from_values, object_name, row_of, unit_key, unit_key_of

__all__ = [
    "Catalogue",
    "Check",
    "Newest",
    "Row",
    "object_name",
    "row_of",
    "set_aside",
    "unit_key",
    "unit_key_of",
]

CATALOGUE_FILE: Final = "catalogue.sqlite"
SCHEMA_VERSION: Final = 1
APPLICATION_ID: Final = 0x4C4D4756
""" "LMGV": tells our catalogue from any other SQLite file."""
BUSY_TIMEOUT_S: Final = 15.0

Level = Literal["quick", "read-data", "rehearse"]
Colour = Literal["green", "amber", "red", "none"]

LEVELS: Final[tuple[Level, ...]] = ("quick", "read-data", "rehearse")
"""Weakest first: a deeper check includes the weaker ones."""
NOT_THE_FILES_FAULT: Final = frozenset(
    {"wrong-key", "no-identity", "no-passphrase", "key-permissions", "worker-failed", "config", "file", "untrusted"}
)
"""Outcomes that say nothing about whether a file is good: they do not colour it red."""

_OK: Final = "ok"
_TABLES: Final = (
    "CREATE TABLE backup(backup_id TEXT PRIMARY KEY, object TEXT UNIQUE, size INTEGER NOT NULL,"
    " ciphertext_sha256 TEXT NOT NULL, manifest_sha256 TEXT NOT NULL, device_key TEXT, label TEXT,"
    " created_at TEXT NOT NULL, expires_at TEXT, signer TEXT NOT NULL, trusted INTEGER NOT NULL, schema TEXT NOT NULL,"
    " tool TEXT NOT NULL, recipients TEXT NOT NULL, seen_at TEXT NOT NULL, state TEXT NOT NULL) STRICT",
    "CREATE INDEX backup_of_device ON backup(device_key, created_at)",
    "CREATE TABLE verification(backup_id TEXT NOT NULL, at TEXT NOT NULL, level TEXT NOT NULL, tool TEXT NOT NULL,"
    " profile_sha256 TEXT NOT NULL, result TEXT NOT NULL, millis INTEGER NOT NULL) STRICT",
    "CREATE INDEX verification_of_backup ON verification(backup_id, at)",
    "CREATE TABLE device(device_key TEXT PRIMARY KEY, label TEXT, newest_backup TEXT NOT NULL,"
    " highest_created_at TEXT NOT NULL) STRICT",
)
_COLUMNS: Final = (
    "backup_id, object, size, ciphertext_sha256, manifest_sha256, device_key, label, created_at, expires_at, signer,"
    " trusted, schema, tool, recipients, state"
)


def set_aside(config_dir: Path) -> Path | None:
    """Put a damaged or newer catalogue out of the way, so that a new one can be made; None if there is none.

    Raises:
        FileTrouble: it cannot be renamed.
    """
    path = config_dir / CATALOGUE_FILE
    if not exists(path):
        return None
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    aside = path.with_name(f"{path.name}.{stamp}.old")
    try:
        path.rename(aside)
        for tail in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + tail).rename(aside.with_name(aside.name + tail))
    except OSError as cause:
        raise file_trouble("rename", path, cause) from cause
    return aside


class Catalogue:
    """The catalogue of one config directory; a context manager. Use it from one thread.

    Args:
        config_dir: made for its owner only, if it is not there and `make` is true.
        make: false leaves no file behind: where there is no catalogue an empty one is kept in memory.

    Raises (every method):
        ConfigError: the file is damaged, or of a newer lockmigrate (code `bad-catalogue`).
        FileTrouble: it cannot be read or written, or stays locked (code `catalogue`).
    """

    def __init__(self, config_dir: Path, *, make: bool = True) -> None:
        self.path = config_dir / CATALOGUE_FILE
        in_memory = not make and not exists(self.path)
        if not in_memory:
            self._make_file()
        with self._guard():
            name = ":memory:" if in_memory else str(self.path)
            self._db = sqlite3.connect(name, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            with self._guard():
                self._prepare(in_memory=in_memory)
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; more than once is fine."""
        with self._guard():
            self._db.close()

    def check_whole(self) -> None:
        """Read all of it once, so that damage shows now and not in the middle of something."""
        with self._guard():
            found = self._db.execute("PRAGMA quick_check(1)").fetchone()
            if found is None or found[0] != "ok":
                raise _bad(f"the catalogue {self.path} is damaged")
        self.rows()

    # ---- writing ----------------------------------------------------------------------------------------------------

    def record_backup(self, row: Row) -> None:
        """Remember a backup: a new one, or one that was found again, or sealed anew, or moved."""
        values = (
            row.backup_id, row.object, row.size_bytes, row.ciphertext_sha256, row.manifest_sha256, row.unit_key,
            row.label, row.created_at, row.expires_at, row.signer, int(row.trusted), row.schema, row.tool,
            json.dumps(row.recipients), row.state, _now(),
        )  # fmt: skip
        with self._writing() as db:
            db.execute(
                "UPDATE backup SET object = NULL, state = CASE state WHEN 'purged' THEN state ELSE 'superseded' END"
                " WHERE object = ? AND backup_id != ?",
                (row.object, row.backup_id),
            )
            db.execute(
                f"INSERT INTO backup({_COLUMNS}, seen_at) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608
                " ON CONFLICT(backup_id) DO UPDATE SET object = excluded.object, size = excluded.size,"
                " ciphertext_sha256 = excluded.ciphertext_sha256, manifest_sha256 = excluded.manifest_sha256,"
                " device_key = excluded.device_key, label = excluded.label, created_at = excluded.created_at,"
                " expires_at = excluded.expires_at, signer = excluded.signer, trusted = excluded.trusted,"
                " schema = excluded.schema, tool = excluded.tool, state = excluded.state,"
                # What was known of the recipients is worth more than nothing.
                " recipients = CASE excluded.recipients WHEN '[]' THEN recipients ELSE excluded.recipients END",
                values,
            )
            if row.unit_key is not None and row.trusted:
                db.execute(
                    "INSERT INTO device(device_key, label, newest_backup, highest_created_at) VALUES (?,?,?,?)"
                    " ON CONFLICT(device_key) DO UPDATE SET label = coalesce(excluded.label, label),"
                    " newest_backup = excluded.newest_backup, highest_created_at = excluded.highest_created_at"
                    " WHERE excluded.highest_created_at >= highest_created_at",
                    (row.unit_key, row.label, row.backup_id, row.created_at),
                )

    def record_verification(
        self, backup_id: str, level: str, tool: str, profile_sha256: str, result: str, millis: int
    ) -> None:
        """Remember how a check ended: `ok`, or the code of what was wrong. Never what was in the file."""
        # A check that is lost with the power is done again; a backup that was seen must stay seen.
        with self._writing(flush=False) as db:
            db.execute(
                "INSERT INTO verification(backup_id, at, level, tool, profile_sha256, result, millis)"
                " VALUES (?,?,?,?,?,?,?)",
                (backup_id, _now(), level, tool, profile_sha256, result, millis),
            )

    def set_state(self, backup_id: str, state: State) -> None:
        """Note that a backup's file is present, missing, purged or superseded; the row stays, as memory."""
        with self._writing() as db:
            db.execute("UPDATE backup SET state = ? WHERE backup_id = ?", (state, backup_id))

    # ---- reading ----------------------------------------------------------------------------------------------------

    def get(self, backup_id: str) -> Row | None:
        """Return one backup."""
        return next(iter(self._rows("WHERE backup_id = ?", backup_id)), None)

    def at_path(self, path: Path) -> Row | None:
        """Return the backup that should lie at `path`."""
        return next(iter(self._rows("WHERE object = ?", object_name(path))), None)

    def rows(self) -> list[Row]:
        """Return every backup ever seen, the newest first."""
        return self._rows("ORDER BY created_at DESC, backup_id")

    def rows_in(self, folder: Path) -> list[Row]:
        """Return those whose file lies, or lay, directly in `folder`, the newest first."""
        parent = folder.resolve()
        return [row for row in self.rows() if row.object is not None and Path(row.object).parent == parent]

    def newest_for(self, unit: str | None, *, not_after: datetime | None = None) -> Newest | None:
        """Return the newest backup of a unit that a trusted signer made, purged ones included.

        Args:
            unit: `unit_key`; None is no unit that could be told from others.
            not_after: leaves out backups dated later: one that a wrong clock dated far ahead is refused itself, and
                must not make every other one stale.
        """
        if unit is None:
            return None
        limit = write_time(not_after) if not_after is not None else "9999-12-31T23:59:59Z"
        with self._guard():
            found = self._db.execute(
                "SELECT newest_backup, highest_created_at FROM device WHERE device_key = ? AND highest_created_at <= ?"
                " UNION ALL SELECT backup_id, created_at FROM backup"
                " WHERE device_key = ? AND trusted = 1 AND created_at <= ? ORDER BY 2 DESC LIMIT 1",
                (unit, limit, unit, limit),
            ).fetchone()
        return Newest(backup_id=found[0], created_at=found[1]) if found else None

    def previous_for(self, unit: str | None) -> dict[str, str] | None:
        """Return `{backup_id, manifest_sha256}` of the last backup of a unit, for a new manifest's `previous`."""
        newest = self.newest_for(unit, not_after=datetime.now(UTC))
        row = self.get(newest.backup_id) if newest is not None else None
        return {"backup_id": row.backup_id, "manifest_sha256": row.manifest_sha256} if row is not None else None

    def checks(self, backup_id: str) -> list[Check]:
        """Return all verifications of a backup, the oldest first."""
        with self._guard():
            found = self._db.execute(
                "SELECT at, level, tool, profile_sha256, result, millis FROM verification"
                " WHERE backup_id = ? ORDER BY at, rowid",
                (backup_id,),
            ).fetchall()
        names = ("at", "level", "tool", "profile_sha256", "result", "millis")
        return [Check(**dict(zip(names, each, strict=True))) for each in found]

    def last_checked(self, level: Level) -> dict[str, str]:
        """Return, by backup, when it was last checked at this level or deeper."""
        enough = LEVELS[LEVELS.index(level) :]
        marks = ",".join("?" * len(enough))
        with self._guard():
            found = self._db.execute(
                f"SELECT backup_id, max(at) FROM verification WHERE level IN ({marks}) GROUP BY backup_id",  # noqa: S608
                enough,
            ).fetchall()
        return dict(found)

    def verification_state(self, backup_id: str, tool: str, profile_sha256: str | None = None) -> Colour:
        """Return how far a backup is proven.

        Returns:
            green: rehearsed by this `tool` (program and version) and, if given, with this profile; amber: by another
            one; red: a check failed and none as deep has passed since; none: never rehearsed.
        """
        checks = self.checks(backup_id)
        depth: dict[str, int] = {level: at for at, level in enumerate(LEVELS)}
        failed: Check | None = None
        for check in checks:
            if check.result == _OK and failed is not None and depth.get(check.level, 0) >= depth.get(failed.level, 0):
                failed = None
            elif check.result != _OK and check.result not in NOT_THE_FILES_FAULT:
                failed = check
        if failed is not None:
            return "red"
        rehearsed = [check for check in checks if check.level == "rehearse" and check.result == _OK]
        if not rehearsed:
            return "none"
        same = any(
            check.tool == tool and (profile_sha256 is None or check.profile_sha256 == profile_sha256)
            for check in rehearsed
        )
        return "green" if same else "amber"

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _make_file(self) -> None:
        """Make the file before SQLite does, so that nobody else can ever read it; its journals take its mode."""
        folder = self.path.parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, PRIVATE_MODE))
            if os.name == "posix" and self.path.stat().st_mode & 0o077:
                self.path.chmod(PRIVATE_MODE)
        except OSError as cause:
            raise file_trouble("open", self.path, cause) from cause

    def _prepare(self, *, in_memory: bool) -> None:
        version, application = self._number("user_version"), self._number("application_id")
        if version == 0 and application == 0:
            if not in_memory:
                self._write_ahead()
            self._make_tables()
            version, application = self._number("user_version"), self._number("application_id")
        if application != APPLICATION_ID:
            raise _bad(f"{self.path} is not a catalogue of ours")
        if version != SCHEMA_VERSION:
            raise _bad(f"the catalogue {self.path} is of a newer lockmigrate")

    def _write_ahead(self) -> None:
        """Readers and a writer then do not wait for each other; where the file system cannot, nothing is lost."""
        end_s = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL").fetchone()
            except sqlite3.OperationalError:  # SQLite does not wait here by itself while another process changes it
                if time.monotonic() > end_s:
                    raise
                time.sleep(0.01)
            else:
                return

    def _make_tables(self) -> None:
        with self._writing() as db:
            if self._number("user_version") or db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
                return  # another process was faster, or it is somebody else's database
            for statement in _TABLES:
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _number(self, pragma: str) -> int:
        return int(self._db.execute(f"PRAGMA {pragma}").fetchone()[0])

    def _rows(self, tail: str, *values: str) -> list[Row]:
        with self._guard():
            found = self._db.execute(f"SELECT {_COLUMNS} FROM backup {tail}", values).fetchall()  # noqa: S608
            return [from_values(each) for each in found]

    @contextlib.contextmanager
    def _writing(self, *, flush: bool = True) -> Iterator[sqlite3.Connection]:
        """One transaction; without `flush` a power failure may lose it, whole, and nothing else."""
        with self._guard():
            self._db.execute(f"PRAGMA synchronous = {'FULL' if flush else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as cause:
            if "malformed" in str(cause) or "no such" in str(cause):
                raise _bad(f"the catalogue {self.path} is damaged") from None
            raise FileTrouble(
                f"cannot use the catalogue {self.path}: {str(cause)[:1].lower()}{str(cause)[1:]}",
                hint="is another lockmigrate at work, is the disk full, or the folder read-only?",
                code="catalogue",
            ) from None
        except (sqlite3.Error, json.JSONDecodeError, TypeError):
            raise _bad(f"the catalogue {self.path} is damaged") from None


def _bad(message: str) -> ConfigError:
    return ConfigError(
        message,
        hint='"lockmigrate vault reindex" puts it aside and makes a new one from the files; what was only remembered '
        "(newer backups that are gone) is then lost",
        code="bad-catalogue",
    )


def _now() -> str:
    """Now, in UTC with microseconds: several checks of one second keep their order."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
