"""The text header of an age v1 file, its armor, and bounded reading of both (no keys here).

Source: C2SP `age.md`, sections "File format" and "ASCII armor". Lines end with LF; base64 is RFC 4648's standard
alphabet, unpadded and canonical in the header, padded in the armor. Every read has a bound: a hostile file costs no
more memory than a header.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from lockmigrate.errors import BackupError, WrongKeyError

INTRO: Final = b"age-encryption.org/v1\n"
COLUMNS: Final = 64
"""Stanza bodies and armor are wrapped here; a stanza body ends with a shorter line, possibly empty."""
MAX_HEADER_BYTES: Final = 64 * 1024
"""Ours. A hybrid stanza has 1,557 bytes, so 32 of them fit."""
MAX_STANZAS: Final = 32
"""Ours."""
ARMOR_BEGIN: Final = b"-----BEGIN AGE ENCRYPTED FILE-----"
ARMOR_END: Final = b"-----END AGE ENCRYPTED FILE-----"
MAX_BLANK_BYTES: Final = 1024
"""Blank space allowed before and after the armor, each; the same bound as in FiloSottile/age `armor/armor.go`."""

_BLANK: Final = b" \t\r\n"
_FILL_BYTES: Final = 4096


class AgeHeaderError(BackupError):
    """The header is not one of age v1, or breaks one of its rules."""

    code = "not-a-backup"


class AgeArmorError(BackupError):
    """The armor is malformed."""

    code = "not-a-backup"


class AgeMacError(BackupError):
    """The header was changed after it was written."""

    code = "corrupt"


class AgePayloadError(BackupError):
    """The payload was changed, cut or extended."""

    code = "corrupt"


class AgeTooLargeError(BackupError):
    """The plaintext is over the limit."""

    code = "too-large"


class AgeNoMatchError(WrongKeyError):
    """None of the identities or passphrases opens the file."""


class Source(Protocol):
    """Whatever can be read from; short reads are fine, an empty one is the end."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, none at the end."""


class Sink(Protocol):
    """Whatever can be written to, whole blocks at a time."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`."""


class ByteReader:
    """Exact reads and bounded lines over a source that may return short reads and cannot seek."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._held = b""

    def read(self, size: int, /) -> bytes:
        """Return exactly `size` bytes, fewer only at the end."""
        if not self._held:
            # The steady state: one read that gives all, no copy.
            first = self._source.read(size)
            if len(first) == size or not first:
                return first
            parts, missing = [first], size - len(first)
        else:
            parts = [self._held[:size]]
            self._held = self._held[size:]
            missing = size - len(parts[0])
        while missing:
            more = self._source.read(missing)
            if not more:
                break
            parts.append(more)
            missing -= len(more)
        return b"".join(parts)

    def readline(self, limit: int) -> bytes:
        """Return the bytes up to and including the next LF, at most `limit` of them."""
        scanned = 0
        while (found := self._held.find(b"\n", scanned)) < 0 and len(self._held) < limit:
            scanned = len(self._held)
            more = self._source.read(_FILL_BYTES)
            if not more:
                break
            self._held += more
        end = limit if found < 0 else min(found + 1, limit)
        line, self._held = self._held[:end], self._held[end:]
        return line

    def peek(self, size: int) -> bytes:
        """Return the next bytes without taking them, fewer than `size` only at the end."""
        while len(self._held) < size:
            more = self._source.read(_FILL_BYTES)
            if not more:
                break
            self._held += more
        return self._held[:size]


# ---- base64 ---------------------------------------------------------------------------------------------------------


def b64_encode(raw: bytes) -> bytes:
    """Unpadded standard base64."""
    return base64.b64encode(raw).rstrip(b"=")


def b64_decode(text: bytes) -> bytes:
    """Decode canonical unpadded base64; Python's own decoder takes padding, strays and spare bits, so: compare.

    Raises:
        AgeHeaderError: anything else.
    """
    if re.fullmatch(rb"[A-Za-z0-9+/]*", text) is None or len(text) % 4 == 1:
        raise AgeHeaderError("the file's header holds a field that is not base64")
    raw = binascii.a2b_base64(text + b"=" * (-len(text) % 4))
    if b64_encode(raw) != text:
        raise AgeHeaderError("the file's header holds base64 that is not canonical")
    return raw


# ---- header ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stanza:
    """One recipient's line and wrapped key; `args[0]` is the recipient's type."""

    args: tuple[bytes, ...]
    body: bytes = field(repr=False)

    @property
    def kind(self) -> bytes:
        """The type of recipient, such as `X25519`."""
        return self.args[0]

    def marshal(self) -> bytes:
        """The stanza as it stands in a header."""
        text = b64_encode(self.body)
        # One step past the end gives the empty line that a body of whole lines must end with.
        lines = [text[at : at + COLUMNS] for at in range(0, len(text) + 1, COLUMNS)]
        return b"-> " + b" ".join(self.args) + b"\n" + b"".join(line + b"\n" for line in lines)


@dataclass(frozen=True, slots=True)
class Header:
    """A header as read; `authenticated` is the exact bytes under the MAC, never a re-encoding."""

    stanzas: tuple[Stanza, ...]
    authenticated: bytes = field(repr=False)
    mac: bytes = field(repr=False)


class _HeaderLines:
    """Takes header lines, never more than `MAX_HEADER_BYTES`, and keeps them for the MAC."""

    def __init__(self, reader: ByteReader) -> None:
        self._reader = reader
        self.seen = bytearray()

    def next(self) -> bytes:
        line = self._reader.readline(MAX_HEADER_BYTES - len(self.seen) + 1)
        self.seen += line
        if len(self.seen) > MAX_HEADER_BYTES:
            raise AgeHeaderError(f"the file's header is longer than {MAX_HEADER_BYTES} bytes")
        if not line.endswith(b"\n"):
            raise AgeHeaderError("the file's header is cut short")
        return line[:-1]


def read_header(reader: ByteReader) -> Header:
    """Read up to and including the MAC line.

    Raises:
        AgeHeaderError: not an age v1 header, or over our limits.
    """
    lines = _HeaderLines(reader)
    if reader.peek(len(INTRO)) != INTRO:
        raise AgeHeaderError(
            "this is not an age v1 file, so not a backup", hint="backups begin with the line age-encryption.org/v1"
        )
    lines.next()
    stanzas: list[Stanza] = []
    while True:
        before = len(lines.seen)
        line = lines.next()
        if line.startswith(b"---"):
            if re.fullmatch(rb"--- [A-Za-z0-9+/]{43}", line) is None:
                raise AgeHeaderError("the file's header ends in a malformed line")
            mac = b64_decode(line[4:])
            if not stanzas:
                raise AgeHeaderError("the file's header names no recipient")
            return Header(tuple(stanzas), bytes(lines.seen[: before + 3]), mac)
        if re.fullmatch(rb"->( [\x21-\x7e]+)+", line) is None:
            raise AgeHeaderError("the file's header holds a malformed recipient line")
        if len(stanzas) == MAX_STANZAS:
            raise AgeHeaderError(f"the file's header names more than {MAX_STANZAS} recipients")
        stanzas.append(Stanza(tuple(line[3:].split(b" ")), _read_body(lines)))


def _read_body(lines: _HeaderLines) -> bytes:
    body = bytearray()
    while True:
        text = lines.next()
        if len(text) > COLUMNS:
            raise AgeHeaderError("the file's header holds a line that is too long")
        body += b64_decode(text)
        if len(text) < COLUMNS:
            return bytes(body)


# ---- armor ----------------------------------------------------------------------------------------------------------


class ArmorReader:
    """The bytes inside an armor, line by line. Reading to the end also checks the end."""

    def __init__(self, reader: ByteReader) -> None:
        self._reader = reader
        self._held = bytearray()
        self._state: Literal["begin", "body", "end"] = "begin"
        self._last_was_short = False

    def read(self, size: int, /) -> bytes:
        """Return exactly `size` bytes, fewer only at the end.

        Raises:
            AgeArmorError: the armor is malformed.
        """
        if self._state == "begin":
            self._begin()
        while self._state == "body" and len(self._held) < size:
            self._held += self._line()
        out = bytes(self._held[:size])
        del self._held[:size]
        return out

    def _begin(self) -> None:
        skip_blank(self._reader)
        if self._take_line() != ARMOR_BEGIN:
            raise AgeArmorError("the file's armor does not begin as it should")
        self._state = "body"

    def _take_line(self) -> bytes:
        line = self._reader.readline(COLUMNS + 2)
        if not line.endswith(b"\n"):
            raise AgeArmorError("the file's armor has a line of the wrong length, or is cut short")
        return line[:-2] if line.endswith(b"\r\n") else line[:-1]

    def _line(self) -> bytes:
        if self._reader.peek(len(ARMOR_END)) == ARMOR_END:
            self._end()
            return b""
        text = self._take_line()
        if self._last_was_short or not 0 < len(text) <= COLUMNS:
            raise AgeArmorError("the file's armor has a line of the wrong length")
        try:
            raw = base64.b64decode(text, validate=True)
        except ValueError:
            raise AgeArmorError("the file's armor is not base64") from None
        if base64.b64encode(raw) != text:
            raise AgeArmorError("the file's armor is not canonical base64")
        # Padding ends the data even where the line is full.
        self._last_was_short = len(text) < COLUMNS or text.endswith(b"=")
        return raw

    def _end(self) -> None:
        self._reader.read(len(ARMOR_END))
        if self._reader.read(MAX_BLANK_BYTES + 1).strip(_BLANK) or self._reader.read(1):
            raise AgeArmorError("data follows the file's armor")
        self._state = "end"


class ArmorWriter:
    """Armors what is written to it; `close` writes the last lines, and nothing is whole before that."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._held = b""
        sink.write(ARMOR_BEGIN + b"\n")

    def write(self, data: bytes, /) -> None:
        """Take bytes of any length."""
        width = COLUMNS // 4 * 3
        self._held += data
        whole = len(self._held) // width * width
        self._put(self._held[:whole])
        self._held = self._held[whole:]

    def close(self) -> None:
        """Write what is left and the end line; the sink itself stays open."""
        self._put(self._held)
        self._held = b""
        self._sink.write(ARMOR_END + b"\n")

    def _put(self, raw: bytes) -> None:
        text = base64.b64encode(raw)
        self._sink.write(b"".join(text[at : at + COLUMNS] + b"\n" for at in range(0, len(text), COLUMNS)))


def skip_blank(reader: ByteReader) -> int:
    """Take the blank space that comes next and return its length, at most `MAX_BLANK_BYTES` + 1."""
    ahead = reader.peek(MAX_BLANK_BYTES + 1)
    length = len(ahead) - len(ahead.lstrip(_BLANK))
    reader.read(length)
    return length


def looks_armored(reader: ByteReader) -> bool:
    """Tell whether armor comes next, well-formed or not, without taking anything.

    Armor in small letters or behind other text is armor too: it is then refused as such, which tells people more.
    """
    ahead = reader.peek(MAX_BLANK_BYTES + len(ARMOR_BEGIN))
    return not ahead.startswith(INTRO[:-2]) and ARMOR_BEGIN.strip(b"-")[:10] in ahead.upper()
