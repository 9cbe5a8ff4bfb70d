"""A canonical tar archive: every header a pure function of name and size, zero padding to a size that tells little.

Any tar program extracts it (POSIX.1-1988 ustar, plain files only). Our reader takes name and size out of a header,
builds the header again and demands all 512 bytes equal: links, devices, directories, pax and GNU extensions, owners,
dates and every disagreement between tar readers end there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from lockmigrate.errors import BackupError

BLOCK_BYTES: Final = 512
"""POSIX ustar."""
MAX_NAME_BYTES: Final = 100
"""POSIX ustar, the name field without prefix."""
MAX_ENTRIES: Final = 16_384
"""Ours."""
MAX_ARCHIVE_BYTES: Final = 256 * 1024 * 1024
"""Ours, the same as age's plaintext limit."""

_STORABLE: Final = re.compile("[!-~]+")
_END: Final = bytes(2 * BLOCK_BYTES)
_MIN_PADDED_BYTES: Final = 64 * 1024
_POWER_OF_TWO_UP_TO_BYTES: Final = 4 * 1024 * 1024
_STEP_BYTES: Final = 1024 * 1024


def entry_header(name: str, size_bytes: int) -> bytes:
    """Return the one header that an entry of this name and size can have.

    Raises:
        BackupError: the name or size cannot be stored (code `malformed`).
    """
    # Some readers take a name with a slash at its end for a folder, whatever its type says.
    if len(name) > MAX_NAME_BYTES or name.endswith("/") or _STORABLE.fullmatch(name) is None:
        raise _malformed("an archive entry has a name that cannot be stored")
    if not 0 <= size_bytes <= MAX_ARCHIVE_BYTES:
        raise _malformed("an archive entry has a size that cannot be stored")
    header = bytearray(BLOCK_BYTES)
    header[0 : len(name)] = name.encode("ascii")
    header[100:108] = b"0000600\0"  # mode
    header[108:116] = header[116:124] = b"0000000\0"  # uid, gid
    header[124:136] = b"%011o\0" % size_bytes
    header[136:148] = b"%011o\0" % 0  # modification time
    header[148:156] = b" " * 8  # the checksum counts itself as spaces
    header[156:157] = b"0"  # regular file
    header[257:265] = b"ustar\x0000"
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def padded_size(size_bytes: int) -> int:
    """Return the size that an archive of `size_bytes` is padded to: 7 classes up to 4 MiB, then whole MiB."""
    if size_bytes <= _MIN_PADDED_BYTES:
        return _MIN_PADDED_BYTES
    if size_bytes <= _POWER_OF_TWO_UP_TO_BYTES:
        return 1 << (size_bytes - 1).bit_length()
    return -(-size_bytes // _STEP_BYTES) * _STEP_BYTES


def write_archive(entries: Iterable[tuple[str, bytes]]) -> bytes:
    """Return the padded archive of (name, data) pairs, in the order given.

    Raises:
        BackupError: a name cannot be stored (`malformed`), or there is too much (`too-large`).
    """
    parts: list[bytes] = []
    size = count = 0
    for name, data in entries:
        count += 1
        blocks = (entry_header(name, len(data)), data, bytes(-len(data) % BLOCK_BYTES))
        parts.extend(blocks)
        size += sum(map(len, blocks))
    size += len(_END)
    if count > MAX_ENTRIES:
        raise BackupError(f"at most {MAX_ENTRIES} entries fit in a backup, not {count}", code="too-large")
    if padded_size(size) > MAX_ARCHIVE_BYTES:
        raise BackupError(f"at most {MAX_ARCHIVE_BYTES} bytes fit in a backup, not {size}", code="too-large")
    parts.append(bytes(padded_size(size) - size + len(_END)))
    return b"".join(parts)


def read_archive(plain: bytes) -> list[tuple[str, bytes]]:
    """Return the (name, data) pairs of an archive exactly as `write_archive` makes it.

    Raises:
        BackupError: anything else (code `malformed`, or `too-large`).
    """
    if len(plain) > MAX_ARCHIVE_BYTES:
        raise BackupError(f"the archive is over {MAX_ARCHIVE_BYTES} bytes", code="too-large")
    entries: list[tuple[str, bytes]] = []
    at = 0
    while (header := plain[at : at + BLOCK_BYTES]) != bytes(BLOCK_BYTES):
        if len(header) < BLOCK_BYTES:
            raise _malformed("the archive has no end")
        if len(entries) == MAX_ENTRIES:
            raise _malformed(f"the archive holds more than {MAX_ENTRIES} entries")
        name, size = _read_entry_header(header)
        start = at + BLOCK_BYTES
        at = start + size + -size % BLOCK_BYTES
        if at > len(plain):
            raise _malformed("the archive is cut short")
        if any(plain[start + size : at]):
            raise _malformed("the archive's padding is not zero")
        entries.append((name, plain[start : start + size]))
    rest = len(plain) - at
    if len(plain) != padded_size(at + len(_END)) or plain.count(0, at) != rest:
        raise _malformed("the archive's padding is not as it should be")
    return entries


def _read_entry_header(header: bytes) -> tuple[str, int]:
    try:
        name = header[:MAX_NAME_BYTES].rstrip(b"\0").decode("ascii")
        size = int(header[124:135], 8)
    except ValueError:
        raise _malformed("the archive holds an entry header that is not canonical") from None
    if entry_header(name, size) != header:
        raise _malformed("the archive holds an entry header that is not canonical")
    return name, size


def _malformed(message: str) -> BackupError:
    return BackupError(message, code="malformed")
