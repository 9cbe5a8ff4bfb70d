"""Check many backups with any `concurrent.futures.Executor`: threads, processes, a cluster.

A work item is one path and the paths of the keys; secrets are read where the work is done and stay there. Whatever
happens to one file, a worker that dies included, is that file's outcome and not the end of the run. Nothing here
schedules: that is cron's, a timer's, or the engine's.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Protocol

from lockmigrate.errors import BackupError, ConfigError, LockmigrateError, WrongKeyError
from lockmigrate.formats import age
from lockmigrate.formats.backup import OpenedBackup, SignerCheck, open_backup, read_backup
from lockmigrate.formats.files import file_trouble
from lockmigrate.model.vault_results import FileCheck, VerifyLevel
from lockmigrate.operations.keyring import KeyPaths, Keyring, is_symmetric
from lockmigrate.vault import keys as key_files
from lockmigrate.version import SOURCE

if TYPE_CHECKING:
    from lockmigrate.operations.rehearse import RehearsalOutcome

IN_FLIGHT: Final = 16
"""Items handed to an executor at once: enough for many workers, few enough to stop soon."""


class Rehearse(Protocol):
    """What `operations.rehearse.rehearse_file` is; a module's function, so that it can be named in another process."""

    def __call__(self, path: Path, key_paths: KeyPaths, /) -> RehearsalOutcome:
        """Rehearse one file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem:
    """One file to check: paths only, so that it may cross to another process or machine."""

    path: Path
    level: VerifyLevel
    keys: KeyPaths | None
    """None for level `quick`, which needs none."""


@dataclass(frozen=True, kw_only=True)
class HeldKeys(KeyPaths):
    """Keys whose passphrase a person typed: they stay in this process and refuse to leave it."""

    ring: Keyring

    def keyring(self) -> Keyring:
        """Return the keyring that holds the typed passphrase."""
        return self.ring

    def __reduce__(self) -> Any:
        raise TypeError("keys that were typed do not leave this process")


def verify_many(
    paths: Iterable[Path],
    level: VerifyLevel,
    executor: Executor | None,
    keys: KeyPaths | None,
    *,
    rehearse: Rehearse | None = None,
    max_duration_s: float | None = None,
    in_flight: int = IN_FLIGHT,
) -> Iterator[FileCheck]:
    """Check files and yield each outcome as it comes, in any order.

    Args:
        paths: in the order of urgency.
        level: `quick` (it is an age file; size and digest are returned for the catalogue), `read-data` (container
            checks 1 to 9 with the signer's trust), or `rehearse` (restored into a simulated unit too).
        executor: whatever runs functions; None works here, one after the other. It is not shut down.
        keys: where workers find their keys; not needed for `quick`.
        rehearse: stands in for `operations.rehearse.rehearse_file`.
        max_duration_s: no further file is begun after that; what is under way ends. At least one file is checked.
        in_flight: how many items the executor has at once.

    Raises:
        ConfigError: keys are needed and were not given.
    """
    if level != "quick" and keys is None:
        raise ConfigError(f"level {level} needs keys", code="no-identity")
    items = deque(WorkItem(path=path, level=level, keys=keys if level != "quick" else None) for path in paths)
    end_s = None if max_duration_s is None else time.monotonic() + max_duration_s

    def late() -> bool:
        return end_s is not None and time.monotonic() >= end_s

    if executor is not None:
        return _spread(items, executor, rehearse, late, in_flight)
    return _here(items, rehearse, late)


def check_one(item: WorkItem, rehearse: Rehearse | None = None) -> FileCheck:
    """Check one file: what a worker runs. Never raises but for what ends the process itself."""
    started = time.monotonic()
    facts: dict[str, Any] = {}
    try:
        data = read_backup(item.path)
        facts |= {"size_bytes": len(data), "ciphertext_sha256": hashlib.sha256(data).hexdigest()}
        if item.level == "quick" or item.keys is None:
            age.work_factor(data)
        else:
            opened = open_with(item.path, data, item.keys, check_signer=item.keys.keyring().signer_check())
            facts |= {"backup_id": opened.backup_id, "manifest_sha256": opened.manifest_sha256}
            if item.level == "rehearse":
                facts |= _rehearsed(item.path, item.keys, rehearse)
    except LockmigrateError as error:
        facts |= {"code": error.code, "exit": error.exit_code, "detail": error.message}
    except Exception as error:  # noqa: BLE001  # a worker's fault is one file's outcome; the text could hold anything
        facts |= _fault(error)
    millis = round(1000 * (time.monotonic() - started))
    facts.setdefault("tool", SOURCE)
    return FileCheck(file=str(item.path), level=item.level, ok="code" not in facts, millis=millis, **facts)


def _rehearsed(path: Path, keys: KeyPaths, rehearse: Rehearse | None) -> dict[str, Any]:
    here = HeldKeys(
        config_dir=keys.config_dir,
        passphrase_file=keys.passphrase_file,
        identities=keys.identities,
        backup_passphrase_file=keys.backup_passphrase_file,
        trust_once=keys.trust_once,
        ring=_UnlockedRing(keys),
    )
    if rehearse is None:
        from lockmigrate.operations.rehearse import rehearse_file

        outcome = rehearse_file(path, here)
    else:
        outcome = rehearse(path, here)
    facts: dict[str, Any] = {"tool": outcome.tool, "profile_sha256": outcome.profile_sha256}
    if not outcome.ok:
        why = f"{outcome.code}: {outcome.detail}" if outcome.code else outcome.detail
        facts |= {"code": "rehearsal-failed", "exit": 10, "detail": why}
    return facts


def _fault(error: BaseException) -> dict[str, Any]:
    return {"code": "worker-failed", "exit": 1, "detail": f"the worker failed with {type(error).__name__}"}


# ---- running --------------------------------------------------------------------------------------------------------


def _here(items: deque[WorkItem], rehearse: Rehearse | None, late: Callable[[], bool]) -> Iterator[FileCheck]:
    first = True
    while items and (first or not late()):
        first = False
        yield check_one(items.popleft(), rehearse)


def _spread(
    items: deque[WorkItem], executor: Executor, rehearse: Rehearse | None, late: Callable[[], bool], in_flight: int
) -> Iterator[FileCheck]:
    """Keep the executor busy. One that a dying worker broke is replaced by single processes of our own."""
    pending: dict[Future[FileCheck], WorkItem] = {}
    suspects: list[WorkItem] = []
    first, broken, yielded = True, False, False
    try:
        while pending or (items and not broken and (first or not late())):
            while items and not broken and len(pending) < in_flight and (first or not late()):
                first = False
                try:
                    pending[executor.submit(check_one, items[0], rehearse)] = items[0]
                    items.popleft()
                except BrokenExecutor:
                    broken = True
            done, _ = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
            if late():
                # All but one, so that something is checked however short the time.
                for future in [each for each in list(pending)[0 if yielded else 1 :] if each.cancel()]:
                    del pending[future]
            for future in done & pending.keys():
                item, yielded = pending.pop(future), True
                try:
                    yield future.result()
                except CancelledError:
                    continue
                except BrokenExecutor:
                    broken = True
                    suspects.append(item)
                except Exception as error:  # noqa: BLE001  # an engine's own errors, such as Dask's KilledWorker
                    yield _failed(item, error)
    finally:
        for future in pending:
            future.cancel()
    if broken:
        # Whoever was under way may have been the one; each alone in a process tells.
        yield from _one_by_one([*suspects, *items], rehearse, late)


def _one_by_one(items: Sequence[WorkItem], rehearse: Rehearse | None, late: Callable[[], bool]) -> Iterator[FileCheck]:
    pool: ProcessPoolExecutor | None = None
    try:
        for item in items:
            if late():
                return
            pool = pool or ProcessPoolExecutor(1, mp_context=get_context("spawn"))
            try:
                yield pool.submit(check_one, item, rehearse).result()
            except BrokenExecutor as error:
                pool.shutdown(wait=False)
                pool = None
                yield _failed(item, error)
            except Exception as error:  # noqa: BLE001
                yield _failed(item, error)
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _failed(item: WorkItem, error: BaseException) -> FileCheck:
    return FileCheck(file=str(item.path), level=item.level, ok=False, tool=SOURCE, **_fault(error))


# ---- keys, in the worker --------------------------------------------------------------------------------------------


_unlocked: dict[tuple[Any, ...], tuple[age.SecretKey, ...] | LockmigrateError] = {}
"""Key files opened in this process, and those that would not: scrypt is slow on purpose and is paid once."""
_lock: Final = Lock()


def forget_keys() -> None:
    """Drop the keys that this process holds."""
    with _lock:
        _unlocked.clear()


def open_with(path: Path, data: bytes, keys: KeyPaths, *, check_signer: SignerCheck | None = None) -> OpenedBackup:
    """Open a backup with the first key file that fits; further ones are not even unlocked.

    Raises:
        BackupError: see `open_backup`.
        WrongKeyError: nothing that was given opens it.
        PolicyError: it is unsigned, or `check_signer` refuses.
        ConfigError: a passphrase is missing, or a key file is readable by others.
    """
    ring = keys.keyring()
    if is_symmetric(data):
        own = ring.choice.backup_passphrase
        if own is None:
            raise ConfigError(
                f"{path} is sealed with a passphrase of its own",
                hint="give a file that holds it with --backup-passphrase-file",
                code="no-passphrase",
            )
        return open_backup(data, passphrase=own, check_signer=check_signer)
    trouble: LockmigrateError | None = None
    for identities in _identities(path, keys, ring):
        if isinstance(identities, LockmigrateError):
            trouble = trouble or identities
            continue
        try:
            return open_backup(data, identities=identities, check_signer=check_signer)
        except WrongKeyError as error:
            trouble = error if not isinstance(trouble, ConfigError) else trouble
    raise trouble or WrongKeyError("no key file could be opened")


def identities_for(path: Path, data: bytes, keys: KeyPaths) -> tuple[age.SecretKey, ...]:
    """Return the identities of the key file that opens a backup, for working on its plaintext.

    Raises:
        BackupError: see `age.decrypt_bytes`.
        WrongKeyError: none does.
        ConfigError: see `open_with`.
    """
    trouble: LockmigrateError | None = None
    for identities in _identities(path, keys, keys.keyring()):
        if isinstance(identities, LockmigrateError):
            trouble = trouble or identities
            continue
        try:
            age.decrypt_bytes(data, identities=identities)
        except WrongKeyError as error:
            trouble = trouble or error
        else:
            return identities
    raise trouble or WrongKeyError("no key file could be opened")


class _UnlockedRing(Keyring):
    """A keyring over the key files that this process has unlocked already: scrypt is not paid for each file."""

    def __init__(self, keys: KeyPaths) -> None:
        super().__init__(keys.keyring().choice)
        self._keys = keys

    async def identities_for(self, file: Path, data: bytes) -> tuple[list[age.SecretKey], str | None]:
        """See `Keyring.identities_for`."""
        if is_symmetric(data):
            return await super().identities_for(file, data)
        return list(identities_for(file, data, self._keys)), None


def _identities(path: Path, keys: KeyPaths, ring: Keyring) -> Iterator[tuple[age.SecretKey, ...] | LockmigrateError]:
    """Yield what each key file holds, or why it does not open; the folder is searched only where our own do not fit."""
    given: list[Path] = []
    with contextlib.suppress(WrongKeyError):
        given = key_files.find_identities(keys.config_dir, None, keys.identities)
    for file in given:
        yield _unlock(file, keys, ring)
    for file in key_files.find_identities(keys.config_dir, path, keys.identities):
        if file not in given:
            yield _unlock(file, keys, ring)


def _unlock(file: Path, keys: KeyPaths, ring: Keyring) -> tuple[age.SecretKey, ...] | LockmigrateError:
    try:
        seen = file.stat()
    except OSError as cause:
        return file_trouble("read", file, cause)
    # By identity of the keys that were given: the same file under another passphrase is another question.
    name = (str(file), seen.st_mtime_ns, seen.st_size, seen.st_mode, keys)
    with _lock:
        found = _unlocked.get(name)
        if found is None:
            try:
                found = key_files.load_identity(file, ring.choice.passphrase)
            except (BackupError, ConfigError) as error:
                found = error
            _unlocked[name] = found
    return found
