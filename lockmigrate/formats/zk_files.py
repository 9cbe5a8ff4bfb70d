"""Files that ZKTeco terminals write to a USB disk (no I/O): names, widths, entries, text lines, sums.

Source: the family's reference, section 9; behind it the Standalone SDK demo "UDiskData" (2009) and fananimi/pyzk. The
files have no header, no count and no checksum: what cannot be told from them is said, and nothing is guessed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from struct import Struct as Packed
from typing import Final, Literal, NamedTuple

from lockmigrate.errors import ImageError
from lockmigrate.formats.zk_log import MAX_LINES, STATES, VERIFIED_BY
from lockmigrate.formats.zk_records import (
    ENTRY_HEAD_BYTES,
    MAX_TEMPLATES,
    MAX_USERS,
    V9_TEMPLATE_BYTES,
    Width,
    decode_text,
)
from lockmigrate.model.records import LogEntry

USER_FILE: Final = "user.dat"
V10_FILES: Final = ("template.fp10.1", "template.fp10")
"""Which of the two a terminal writes differs by firmware, and some have both; the SDK demo knows the first only."""
V9_FILE: Final = "template.dat"
TEMPLATE_FILES: Final = (*V10_FILES, V9_FILE)
SUMS_FILE: Final = "SHA256SUMS"
LOG_TEXT: Final = "0012-attlog-text"
"""The raw table that the lines of all attendance logs become."""
MISMATCH: Final = "image-mismatch"
"""Code of an ImageError: files that do not belong together."""
EXPORT_AGAIN: Final = "export users and fingerprints together, to an empty disk, and read that"

# ---- names ----------------------------------------------------------------------------------------------------------

Kind = Literal["users", "templates", "log", "encrypted-log", "messages", "faces", "sums"]
_LOG: Final = re.compile(r"(?:[0-9a-z-]{1,40}_)?attlog\.dat")
"""`attlog.dat` or `<deviceid>_attlog.dat`."""
_ENCRYPTED_LOG: Final = re.compile(r"[0-9a-z_-]{0,40}attencryptlog\.dat")
_KINDS: Final[Mapping[str, Kind]] = {
    USER_FILE: "users",
    **dict.fromkeys(TEMPLATE_FILES, "templates"),
    "sms.dat": "messages",
    "udata.dat": "messages",
    "ssrface.dat": "faces",
    SUMS_FILE.lower(): "sums",
}


def kind_of(name: str) -> Kind | None:
    """Return what a file of this name holds, whatever its case (FAT does not keep it); None for other files."""
    low = name.lower()
    if low in _KINDS:
        return _KINDS[low]
    if _ENCRYPTED_LOG.fullmatch(low):
        return "encrypted-log"
    return "log" if _LOG.fullmatch(low) else None


def plain_name(name: str) -> str:
    """Return a known file's name as it is written here, whatever its case on the disk."""
    return SUMS_FILE if name.lower() == SUMS_FILE.lower() else name.lower()


# ---- other things under the same names ------------------------------------------------------------------------------

_LOOK_BYTES: Final = 4096
_PRINTABLE: Final = bytes([0x09, 0x0A, 0x0D, *range(0x20, 0x7F), *range(0x80, 0x100)])
_DATABASE: Final = b"SQLite format 3\x00"


def refuse_foreign(name: str, data: bytes) -> None:
    """Stop at what newer terminals write under the same names: text with TABs, or a database.

    A table of records is never mistaken for text: each record of any width holds bytes that no text has.

    Raises:
        ImageError: it is one of those; code `unsupported`.
    """
    head = data[:_LOOK_BYTES]
    text = (b"\t" in head or b"PIN=" in head) and not head.translate(None, _PRINTABLE)
    if text or head.startswith(_DATABASE):
        what = "lines of text" if text else "a database"
        raise ImageError(
            f"{name} holds {what}, as newer terminals write, not a table of records",
            hint="this form is not read; read the terminal itself, over its network port",
            code="unsupported",
        )


# ---- user.dat -------------------------------------------------------------------------------------------------------

_SEEN_72: Final = Packed("<48x24s")
"""User id, section 7."""
_SEEN_28: Final = Packed("<H18xBxHI")
"""Number; last byte of the card, which pyzk writes as padding; zone bits; user id."""
_UID: Final = Packed("<H")


def user_width(data: bytes, *, known: Width | None = None) -> Width | None:
    """Decide how long the records of user.dat are: by its length and, since any cut may give another length that
    divides, by its content; None for an empty file.

    Args:
        data: the file.
        known: what a profile says; it decides where the content does not look like records of 72 bytes.

    Raises:
        ImageError: it ends inside a record, or holds no records that are known.
    """
    size = len(data)
    if not size:
        return known
    whole_72 = size >= 72 and _reads_72(data[: size - size % 72])
    if whole_72 and size % 72 == 0:
        return 72
    if not whole_72:
        if known is not None and size % known == 0:
            return known
        if size % 28 == 0 and (size >= 72 or _reads_28(data)):
            return 28
    width = 72 if whole_72 else 28
    hint = "the copy is not whole, or a newer terminal wrote it: export the users again"
    if size % width == 0:
        raise ImageError(
            f"{USER_FILE} of {size} bytes holds no user records that are known: not the one at byte 0",
            hint=f"{hint}; or say with --profile zk-bw that it is a terminal with 28 bytes for a user",
        )
    raise _cut(USER_FILE, size - size % width, size, hint=f"{hint}; or name the terminal with --profile")


def _reads_72(data: bytes) -> bool:
    """Section 9: bytes 48 and on of each record are printable ASCII, then NULs.

    In records of 28 bytes a NUL stands there before the group. Numbers that are zero or stand twice do not count here:
    they are refused whatever the width is.
    """
    texts: list[bytes] = [user_id.rstrip(b"\x00") for (user_id,) in _SEEN_72.iter_unpack(data[: 72 * MAX_USERS])]
    return all(text.isascii() and text.decode("ascii").isprintable() for text in texts)


def _reads_28(data: bytes) -> bool:
    """For one or two records, where 72 bytes of a longer one are not there to be told by: ours, by section 7."""
    return all(uid and user_id and not last for uid, last, _, user_id in _SEEN_28.iter_unpack(data))


def split_records(data: bytes, width: Width) -> dict[int, bytes]:
    """Cut user.dat into records, by number and in the order of the file.

    Raises:
        ImageError: a number is zero or stands twice, so that it is not certain whose the fingerprints are.
    """
    found: dict[int, bytes] = {}
    for at in range(0, len(data), width):
        (uid,) = _UID.unpack_from(data, at)
        if not uid or uid in found:
            what = "a record without a number" if not uid else f"two records with the number {uid}"
            raise ImageError(
                f"{USER_FILE} holds {what} (at byte {at})",
                hint=f"fingerprints hang on this number, so whose they are is not certain; {EXPORT_AGAIN}",
                code=MISMATCH,
            )
        found[uid] = data[at : at + width]
    return found


# ---- template files -------------------------------------------------------------------------------------------------

_HEAD: Final = Packed("<HHBB")
"""Size, number, finger, flag. In version 10 and on the wire the size counts these six bytes, in version 9 not."""
V9_ENTRY_BYTES: Final = ENTRY_HEAD_BYTES + V9_TEMPLATE_BYTES


class Entry(NamedTuple):
    """One template of a file."""

    uid: int
    finger: int
    flag: int
    template: bytes
    padding: bytes = b""
    """What fills an entry of version 9 up; zeros, as far as is known, and kept as it is."""

    def __repr__(self) -> str:
        return f"Entry({self.uid}.{self.finger}, {len(self.template)} bytes)"


def _cut(name: str, at: int, size: int, *, hint: str = "the copy is not whole; export again") -> ImageError:
    return ImageError(f"{name} of {size} bytes is cut inside a record: the one at byte {at} is not whole", hint=hint)


def _odd(name: str, at: int) -> ImageError:
    return ImageError(
        f"{name}: the entry at byte {at} has no size that a template can have",
        hint="the file is damaged or of another kind; export again",
    )


def walk_v10(name: str, data: bytes) -> list[Entry]:
    """Walk a template.fp10 or template.fp10.1 by the sizes of its entries.

    Raises:
        ImageError: an entry has no size that can be, or the last one does not end where the file does.
    """
    found: list[Entry] = []
    at, end = 0, len(data)
    while at < end:
        if end - at < ENTRY_HEAD_BYTES:
            raise _cut(name, at, end)
        size, uid, finger, flag = _HEAD.unpack_from(data, at)
        if size <= ENTRY_HEAD_BYTES or len(found) >= MAX_TEMPLATES:
            raise _odd(name, at)
        if at + size > end:
            raise _cut(name, at, end)
        found.append(Entry(uid, finger, flag, data[at + ENTRY_HEAD_BYTES : at + size]))
        at += size
    return found


def walk_v9(name: str, data: bytes) -> list[Entry]:
    """Walk a template.dat by its fixed entries.

    Raises:
        ImageError: an entry's length cannot be, or the file ends inside one.
    """
    found: list[Entry] = []
    for at in range(0, len(data), V9_ENTRY_BYTES):
        if len(data) - at < V9_ENTRY_BYTES:
            raise _cut(name, at, len(data))
        length, uid, finger, flag = _HEAD.unpack_from(data, at)
        if not 0 < length <= V9_TEMPLATE_BYTES or len(found) >= MAX_TEMPLATES:
            raise _odd(name, at)
        body = data[at + ENTRY_HEAD_BYTES : at + V9_ENTRY_BYTES]
        found.append(Entry(uid, finger, flag, body[:length], body[length:]))
    return found


def wire_table(entries: Iterable[Entry]) -> bytes:
    """Build the table that the terminal gives over the network, of version 9 and 10 alike; also a template.fp10.1."""
    return b"".join(
        _HEAD.pack(len(item.template) + ENTRY_HEAD_BYTES, item.uid, item.finger, item.flag) + item.template
        for item in entries
    )


def v9_file(entries: Iterable[Entry]) -> bytes:
    """Build a template.dat."""
    return b"".join(
        _HEAD.pack(len(item.template), item.uid, item.finger, item.flag)
        + item.template
        + (item.padding or bytes(V9_TEMPLATE_BYTES - len(item.template)))
        for item in entries
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Templates:
    """The templates of a folder."""

    version: Literal[9, 10] | None
    """None where no file tells it."""
    name: str | None
    """The file that they are from."""
    entries: tuple[Entry, ...] = ()
    warnings: tuple[str, ...] = ()


def choose_templates(files: Mapping[str, bytes]) -> Templates:
    """Take the templates from whichever files of a folder hold them.

    Of the two names of version 10 the one that walks cleanly is taken (section 9). Where both do and they differ,
    nothing public says which of them goes with user.dat: that is refused, like templates of both versions.

    Raises:
        ImageError: what is there is damaged, or contradicts itself.
    """
    ten = [name for name in V10_FILES if name in files]
    filled = [name for name in ten if files[name]]
    nine = files.get(V9_FILE)
    if filled and nine:
        raise ImageError(
            f"the folder holds templates of version 10 ({filled[0]}) and of version 9 ({V9_FILE})",
            hint=f"one of them is from another time or terminal; {EXPORT_AGAIN}",
            code=MISMATCH,
        )
    if nine:
        entries = walk_v9(V9_FILE, nine)
        odd = sum(1 for item in entries if any(item.padding))
        said = (
            (f"{V9_FILE}: {odd} entries hold bytes behind their template, which are kept as bytes only",) if odd else ()
        )
        return Templates(version=9, name=V9_FILE, entries=tuple(entries), warnings=said)
    if not filled:
        return Templates(version=10 if ten else 9 if nine is not None else None, name=ten[0] if ten else None)
    return _choose_v10(files, filled, ten)


def _choose_v10(files: Mapping[str, bytes], filled: list[str], ten: list[str]) -> Templates:
    clean: dict[str, list[Entry]] = {}
    trouble: list[ImageError] = []
    for name in filled:
        try:
            clean[name] = walk_v10(name, files[name])
        except ImageError as error:
            trouble.append(error)
    if not clean:
        raise trouble[0]
    name, *others = clean
    if others and sorted(clean[name]) != sorted(clean[others[0]]):
        raise ImageError(
            f"{name} and {others[0]} are both whole and hold different templates",
            hint=f"nothing says which of them goes with {USER_FILE}; {EXPORT_AGAIN}",
            code=MISMATCH,
        )
    warnings = [f"{name} was read; {error.message}" for error in trouble]
    warnings += [f"{name} was read; {empty} is empty" for empty in ten if empty not in filled]
    return Templates(version=10, name=name, entries=tuple(clean[name]), warnings=tuple(warnings))


# ---- attendance lines -----------------------------------------------------------------------------------------------

_TIME: Final = re.compile(r"(\d{4})-(\d{2})-(\d{2}) (\d{2}):(\d{2}):(\d{2})", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,9}", re.ASCII)
MAX_LINE_BYTES: Final = 512
"""Our bound; the longest line that is known has some 60."""
_COLUMNS: Final = 5
"""Id, time, device, status, verify; the work code may be missing, what stands behind it is kept as bytes only."""


def join_logs(files: Iterable[bytes]) -> bytes:
    """Put the lines of several files behind each other: which device a line is of stands in the line."""
    return b"".join(
        data if data.endswith(b"\n") or not data else data + b"\r\n"
        for data in (item.removeprefix(b"\xef\xbb\xbf") for item in files)
    )


def log_entries(body: bytes) -> tuple[list[LogEntry], list[int]]:
    """Read the lines of an attlog.dat.

    Returns:
        The lines as records, and the numbers of those that are none; those of a header (`SN=`, `CHECKSUM`) count as
        neither.
    """
    entries: list[LogEntry] = []
    strange: list[int] = []
    for number, line in _lines(body):
        found = _entry(line, len(entries) + 1)
        if found is None:
            strange.append(number)
        else:
            entries.append(found)
    return entries, strange


def _lines(body: bytes) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(body.split(b"\n", MAX_LINES)[:MAX_LINES], start=1):
        text = line.strip(b" \r\x00\x1a")
        if text and b"SN=" not in text and b"CHECKSUM" not in text.upper():
            yield number, text


def _entry(line: bytes, seq: int) -> LogEntry | None:
    columns = line.split(b"\t") if len(line) <= MAX_LINE_BYTES else []
    texts = [decode_text(column.strip(b" ")).text for column in columns[: _COLUMNS + 1]]
    user, moment, *numbers = [text or "" for text in texts] if len(texts) >= _COLUMNS else ["", ""]
    found = _TIME.fullmatch(moment)
    if not user or found is None or not all(_NUMBER.fullmatch(text) for text in numbers[:3]):
        return None
    try:
        time = datetime(*map(int, found.groups())).isoformat()  # type: ignore[arg-type]  # noqa: DTZ001  # civil time
    except ValueError:
        return None
    device, state, verify = map(int, numbers[:3])
    facts: dict[str, int | str] = {"state": state, "verify": verify, "device": device}
    code = numbers[3] if len(numbers) > 3 else ""
    if code and code != "0":
        facts["work_code"] = int(code) if _NUMBER.fullmatch(code) else code
    return LogEntry(
        seq=seq,
        time_local=time,
        operation=STATES.get(state),
        source=VERIFIED_BY.get(verify),
        user=user,
        vendor={"zk": facts},
    )


# ---- SHA256SUMS -----------------------------------------------------------------------------------------------------

_SUM: Final = re.compile(r"([0-9a-f]{64}) [ *]([^/\\:\x00-\x1f\x7f-\x9f]{1,255})")
"""A line of sha256sum; names that it would have to escape, or that a screen would obey, are none that we read."""


def parse_sums(data: bytes) -> dict[str, str]:
    """Read SHA256SUMS: name to digest.

    Raises:
        ImageError: a line is none of sha256sum's, the last one is not whole, or a name stands twice.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "?"
    found: dict[str, str] = {}
    *lines, rest = text.split("\n")
    for line in lines if not rest else [rest]:
        match = _SUM.fullmatch(line.removesuffix("\r"))
        name = match[2] if match else ""
        name = plain_name(name) if kind_of(name) else name
        if match is None or rest or name in (".", "..", SUMS_FILE) or name in found:
            raise ImageError(
                f"{SUMS_FILE} is damaged or not as sha256sum writes it",
                hint="without it the folder is read as an export whose length nothing proves; copy it again if you can",
            )
        found[name] = match[1]
    return found


def build_sums(digests: Mapping[str, str]) -> bytes:
    """Write SHA256SUMS as sha256sum does, so that `sha256sum -c SHA256SUMS` checks the folder."""
    return b"".join(f"{digest}  {name}\n".encode() for name, digest in sorted(digests.items()))


def digest_of(data: bytes) -> str:
    """Return a file's digest as SHA256SUMS has it."""
    return hashlib.sha256(data).hexdigest()
