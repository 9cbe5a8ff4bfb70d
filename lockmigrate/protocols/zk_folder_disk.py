"""The disk under a ZKTeco export folder: what is read of it, and how a new state takes the place of an old one.

A terminal that finds the users of one moment beside the templates of another gives fingerprints to the wrong people
(reference, section 9). The folder is the root of a disk, so it cannot be swapped as a whole. Therefore:

1. The new files and their SHA256SUMS are written to `.lockmigrate-new` and flushed. The old state is untouched.
2. That folder is renamed to `.lockmigrate-ready`. From here on the new state counts: whoever opens the folder next, if
   we do not come to it, finishes the rest, which is the same whether it starts anew or in the middle.
3. Old template files are deleted, user.dat is moved into place, then the templates, then SHA256SUMS. At every moment
   the root holds the old pair, users without templates, or the new pair.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lockmigrate.errors import FileTrouble, ImageError, TornRead
from lockmigrate.formats.files import file_trouble, write_whole
from lockmigrate.formats.zk_files import (
    MISMATCH,
    SUMS_FILE,
    TEMPLATE_FILES,
    USER_FILE,
    digest_of,
    kind_of,
    parse_sums,
    plain_name,
)

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
"""Ours: 65,535 records of 72 bytes are 5 MB, ten templates of 1.5 KB for each of 4,000 people 60 MB."""
MAX_FOLDER_BYTES: Final = 4 * MAX_FILE_BYTES
"""Ours."""
MAX_SUMS_BYTES: Final = 4 * 1024 * 1024
"""Ours: some 40,000 names."""
_OPEN_FLAGS: Final = (
    os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
)
"""A link that has just taken a file's place is not followed, a pipe not waited for."""
NEW: Final = ".lockmigrate-new"
READY: Final = ".lockmigrate-ready"
OURS: Final = (USER_FILE, *TEMPLATE_FILES)
"""What a restore writes and may delete; logs and other files in the folder stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What lies in a folder. The bytes are people's data and do not print."""

    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    """The files of a terminal, by the name that we write."""
    names: dict[str, str] = field(default_factory=dict)
    """The same name to that on the disk, which may be in upper case."""
    sums: dict[str, str] | None = None
    """What SHA256SUMS says of every file that it names, all of it true; None where there is none."""


def look(folder: Path) -> Found:
    """Read the files of a terminal, and hold them against SHA256SUMS if that is there.

    Raises:
        FileTrouble: a file cannot be read.
        ImageError: the folder is not as SHA256SUMS says, or a file is none that a terminal writes.
        TornRead: a file changed while it was read.
    """
    names = _names(folder)
    files: dict[str, bytes] = {}
    room = MAX_FOLDER_BYTES
    for name, actual in sorted(names.items()):
        files[name] = _read(folder / actual, name, MAX_SUMS_BYTES if name == SUMS_FILE else min(MAX_FILE_BYTES, room))
        room -= len(files[name])
    said = files.pop(SUMS_FILE, None)
    names.pop(SUMS_FILE, None)
    sums = None if said is None else parse_sums(said)
    if sums is not None:
        _hold_against(folder, sums, files)
    return Found(files=files, names=names, sums=sums)


def _names(folder: Path) -> dict[str, str]:
    """Known files: the name that we write to the name on the disk."""
    found: dict[str, str] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if kind_of(entry.name) is None:
                    continue
                name = plain_name(entry.name)
                if name in found:
                    raise ImageError(
                        f"the folder holds two files {name} that differ by upper and lower case only",
                        hint="one of them is from another time: move it away",
                        code=MISMATCH,
                    )
                found[name] = entry.name
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise file_trouble("read the folder", folder, error) from error
    return found


def _read(path: Path, name: str, limit: int) -> bytes:
    try:
        about = path.lstat()
    except OSError as error:
        raise file_trouble("read", path, error) from error
    if not stat.S_ISREG(about.st_mode):
        raise _odd_file(name)
    data = _read_at_rest(path, name, limit) if about.st_size <= limit else None
    if data is None:
        raise ImageError(
            f"{name} has more than {limit} bytes, which no terminal writes",
            hint="the disk or the copy is damaged",
            code="too-large",
        )
    return data


def _odd_file(name: str) -> ImageError:
    return ImageError(f"{name} is no ordinary file", hint="links and folders of this name are not followed")


def _read_at_rest(path: Path, name: str, limit: int) -> bytes | None:
    """Read a file that does not change meanwhile; None if it is longer than the limit."""
    try:
        with open(os.open(path, _OPEN_FLAGS), "rb") as file:  # noqa: PTH123  # Path.open knows no such flags
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise _odd_file(name)
            data = file.read(limit + 1)
            after = os.fstat(file.fileno())
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _odd_file(name) from None
        raise file_trouble("read", path, error) from error
    if len(data) > limit:
        return None
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(data) != after.st_size:
        raise TornRead(f"{name} changed while it was read", hint="wait until it is copied, then start again")
    return data


def _hold_against(folder: Path, sums: Mapping[str, str], files: Mapping[str, bytes]) -> None:
    hint = (
        "something was copied in part, or written since; copy the folder again. To read it as an export of which "
        f"nothing proves that it is whole, delete {SUMS_FILE}"
    )
    for name, data in files.items():
        if name not in sums:
            raise ImageError(f"{name} is not named in {SUMS_FILE}", hint=hint, code=MISMATCH)
        if digest_of(data) != sums[name]:
            raise ImageError(f"{name} of {len(data)} bytes is not the file that {SUMS_FILE} names", hint=hint)
    for name in sorted(sums.keys() - files.keys()):
        try:
            data = _read(folder / name, name, MAX_FILE_BYTES)
        except FileTrouble:
            raise ImageError(f"{name}, which {SUMS_FILE} names, is missing", hint=hint, code=MISMATCH) from None
        if digest_of(data) != sums[name]:
            raise ImageError(f"{name} is not the file that {SUMS_FILE} names", hint=hint)


# ---- a new state ----------------------------------------------------------------------------------------------------


def commit(folder: Path, files: Mapping[str, bytes], sums: bytes) -> None:
    """Put a new state in the place of the old one.

    Args:
        folder: made if it is not there; what it stands in must be.
        files: user.dat and the files of templates, all that there are to be.
        sums: the new SHA256SUMS; empty for none.

    Raises:
        FileTrouble: it cannot be written. Before step 2 nothing has changed, after it the next opening goes on.
        ImageError: what was written did not come back from the disk as it was.
    """
    made = False
    try:
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
            made = True
        _sweep(folder / NEW)
        (folder / NEW).mkdir(mode=0o700)
        for name, data in files.items():
            write_whole(folder / NEW / name, data)
        write_whole(folder / NEW / SUMS_FILE, sums)
        (folder / NEW).rename(folder / READY)
    except BaseException as error:
        with contextlib.suppress(OSError):
            _sweep(folder / NEW)
            if made:
                folder.rmdir()
        if isinstance(error, OSError):
            raise file_trouble("write the folder", folder, error) from error
        raise
    _flush(folder)
    finish(folder)


def finish(folder: Path) -> bool:
    """Finish what an earlier run had decided and not done, and sweep up what it had not decided.

    Returns:
        whether there was something to finish.

    Raises:
        FileTrouble: it cannot be written.
        ImageError: what that run had written is damaged.
    """
    ready = folder / READY
    if not is_folder(ready) or ready.is_symlink():
        with contextlib.suppress(OSError):  # on a disk that cannot be written it does no harm
            _sweep(folder / NEW)
        return False
    try:
        _move(folder, ready)
    except OSError as error:
        trouble = file_trouble("finish an interrupted restore in", folder, error)
        hint = (
            f"{trouble.hint or 'make the disk writable'}; then run it again. Until then no terminal may read this disk"
        )
        raise FileTrouble(trouble.message, hint=hint, code="interrupted-restore") from error
    return True


def _move(folder: Path, ready: Path) -> None:
    """Step 3. Each part of it leaves alone what was done before."""
    waiting = {plain_name(path.name) for path in ready.iterdir()} & {*OURS, SUMS_FILE}
    if SUMS_FILE in waiting:
        said = _read(ready / SUMS_FILE, SUMS_FILE, MAX_SUMS_BYTES)
        sums = parse_sums(said)
        _check_staged(ready, waiting - {SUMS_FILE}, sums)
        present = _names(folder)
        stale = [actual for name, actual in present.items() if name in OURS and (name in waiting or name not in sums)]
        _unlink(folder, (name for name in stale if plain_name(name) != USER_FILE))
        if USER_FILE in waiting:
            _unlink(folder, (name for name in stale if name != USER_FILE and plain_name(name) == USER_FILE))
            (ready / USER_FILE).replace(folder / USER_FILE)
        else:
            _unlink(folder, (name for name in stale if plain_name(name) == USER_FILE))
        _flush(folder)
        for name in sorted(waiting & {*TEMPLATE_FILES}):
            (ready / name).replace(folder / name)
        _flush(folder)
        old = present.get(SUMS_FILE)
        if old is not None and (old != SUMS_FILE or not said):
            _unlink(folder, [old])
        if said:
            (ready / SUMS_FILE).replace(folder / SUMS_FILE)
        else:
            (ready / SUMS_FILE).unlink()
    _sweep(ready)
    _flush(folder)
    for name in (*OURS, SUMS_FILE):
        _forget(folder / name)


def _check_staged(ready: Path, names: Iterable[str], sums: Mapping[str, str]) -> None:
    for name in names:
        if digest_of(_read(ready / name, name, MAX_FILE_BYTES)) != sums.get(name):
            raise ImageError(
                f"what an interrupted restore left in {READY} is damaged: {name}",
                hint=f"delete the folder {READY} from the disk and run the restore again",
            )


def _unlink(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).unlink()
    _flush(folder)


def erase(folder: Path) -> None:
    """Delete every file that a terminal or a restore wrote; other files stay.

    In an order that can be taken up again: at no moment do templates lie without their users, or sums without files.

    Raises:
        FileTrouble: it cannot be done.
    """
    try:
        for leftover in (NEW, READY):
            _sweep(folder / leftover)
        present = _names(folder)
        first = [name for name in (SUMS_FILE, *TEMPLATE_FILES, USER_FILE) if name in present]
        for name in (*first, *sorted(present.keys() - {*first})):
            (folder / present[name]).unlink()
        _flush(folder)
    except OSError as error:
        raise file_trouble("erase", folder, error) from error


# ---- small things ---------------------------------------------------------------------------------------------------


def is_folder(path: Path) -> bool:
    """Tell whether this is a folder.

    Raises:
        FileTrouble: we may not look, or no file can have this name.
    """
    try:
        return path.is_dir()
    except OSError as error:
        raise file_trouble("look at", path, error) from error


def _sweep(leftover: Path) -> None:
    """Remove a folder of ours and what we put into it; with anything else in it, it cannot be removed.

    Raises:
        OSError: it cannot be.
    """
    if not leftover.is_dir() or leftover.is_symlink():
        return
    for path in list(leftover.iterdir()):
        if path.name in (*OURS, SUMS_FILE) or path.name.startswith("."):  # some systems add hidden files everywhere
            path.unlink()
    leftover.rmdir()


def _flush(folder: Path) -> None:
    """Get names to the disk before the next step. Windows cannot open folders, some file systems cannot flush them."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _forget(path: Path) -> None:
    """Have the next reading come from the disk and not from memory, where the system knows how."""
    advise = getattr(os, "posix_fadvise", None)
    if advise is None:
        return
    with contextlib.suppress(OSError):
        handle = os.open(path, _OPEN_FLAGS)
        try:
            os.fsync(handle)
            advise(handle, 0, 0, getattr(os, "POSIX_FADV_DONTNEED", 4))
        finally:
            os.close(handle)
