"""Files that are whole or not there: written under a temporary name, flushed to the disk, then renamed.

Shared by backups and key files. POSIX modes are set at creation; on Windows they mean nothing and access lists are not
touched.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from lockmigrate.errors import FileTrouble

T = TypeVar("T")

PRIVATE_MODE: Final = 0o600
PUBLIC_MODE: Final = 0o644

_HINTS: Final = {
    errno.ENOSPC: "the disk is full: make room, or choose another place",
    errno.EDQUOT: "the disk quota is used up: make room, or choose another place",
    errno.EACCES: "you have no permission there: choose another place",
    errno.EPERM: "you have no permission there: choose another place",
    errno.EROFS: "the file system is read-only: choose another place",
    errno.ENOENT: "check the path; folders are not created on the way",
    errno.ENOTDIR: "check the path; a part of it is a file",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EIO: "the disk reports an error: choose another one",
}


def file_trouble(action: str, path: Path, cause: OSError) -> FileTrouble:
    """Make the error for people: `cannot write NAME: no space left on device`, with a hint where we know one."""
    reason = (cause.strerror or "input or output failed").lower()
    return FileTrouble(f"cannot {action} {path}: {reason}", hint=_HINTS.get(cause.errno or 0))


def write_whole(
    path: Path,
    data: bytes,
    *,
    mode: int = PRIVATE_MODE,
    replace: bool = False,
    check: Callable[[Path], T] | None = None,
) -> T | None:
    """Write `data` to `path`, whole or not at all, and return what `check` said.

    Args:
        mode: POSIX mode of the new file (the process's umask may narrow it).
        replace: whether an existing file may be replaced.
        check: called with the temporary file once it is on the disk; if it raises, nothing is left behind.

    Raises:
        FileTrouble: it cannot be written, or exists already (code `file-exists`).
    """
    if not replace and os.path.lexists(path):
        raise _exists(path)
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        _write_flushed(temporary, data, mode)
        outcome = check(temporary) if check is not None else None
        _rename(temporary, path, replace=replace)
        _flush_folder(path.parent)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as cause:
        raise file_trouble("write", path, cause) from cause
    finally:
        # Also on Ctrl-C. After a rename there is nothing left to remove.
        with contextlib.suppress(OSError):
            temporary.unlink()
    return outcome


def exists(path: Path) -> bool:
    """Tell whether something is at `path`.

    Raises:
        FileTrouble: we may not look.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as cause:
        raise file_trouble("look at", path, cause) from cause
    return True


def read_whole(path: Path, *, max_bytes: int) -> bytes | None:
    """Return a regular file's bytes; None if it is a folder, a pipe or a device, or over `max_bytes`.

    Raises:
        FileTrouble: it cannot be read.
    """
    try:
        # Looked at first: opening a pipe would wait for its other end.
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as cause:
        raise file_trouble("read", path, cause) from cause
    return data if len(data) <= max_bytes else None


def _write_flushed(path: Path, data: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _rename(temporary: Path, path: Path, *, replace: bool) -> None:
    if replace:
        temporary.replace(path)
        return
    try:
        # A link, unlike a rename on POSIX, never replaces.
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        # FAT and some network file systems have no links; the moment between look and rename remains.
        if os.path.lexists(path):
            raise FileExistsError from None
        temporary.rename(path)
    else:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _flush_folder(folder: Path) -> None:
    # Windows cannot open folders; some network file systems cannot flush them.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _exists(path: Path) -> FileTrouble:
    return FileTrouble(f"{path} exists already", hint="choose another name", code="file-exists")


def check_out(out: Path | None, *, force: bool, beside: Path | None = None) -> None:
    """Fail before a passphrase is asked for if a file could not be written; None is no file, `beside` another one.

    Raises:
        FileTrouble: it exists already, or its folder does not.
    """
    if out is None:
        return
    if beside is not None and out.resolve() == beside.resolve():
        raise FileTrouble(f"{out} cannot be both files", hint="give them two names", code="file-exists")
    if not out.parent.is_dir():
        raise FileTrouble(f"there is no folder {out.parent}", hint="make it first", code="no-folder")
    if out.exists() and not force:
        raise FileTrouble(
            f"{out} exists already", hint="choose another name, or --force to replace it", code="file-exists"
        )
