"""Tables, templates and uploads of a simulated ZKTeco-style terminal: sections 6 and 7 of the wire reference.

Where the public papers leave something open, the choice is marked "unconfirmed".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from lockmigrate.sim.zk_data import MAX_TEMPLATE_BYTES, user_id_of
from lockmigrate.sim.zk_packets import DATAGRAM_DATA_BYTES, SPLIT_DATA_BYTES, Code, Packet

if TYPE_CHECKING:
    from lockmigrate.sim.zk_commands import Terminal

Answer = list[Packet]
OK: Final = [Packet(Code.OK)]
ERROR: Final = [Packet(Code.ERROR)]
UNKNOWN: Final = [Packet(Code.UNKNOWN)]
SMALL_BYTES: Final = 1016
"""Section 6: a table of "about 1 KB or less" is the answer to 1503; with it, the packet has 1 KB."""
CHUNK_BYTES: Final = 1024
"""Section 6: what an upload's DATA carries at most."""
MAX_UPLOAD_BYTES: Final = 1 << 24
"""Ours."""
FINGERS: Final = 10
FLAGS: Final = (0, 1, 3)
"""Section 7: invalid, valid, duress."""
SAVE_PARAMETERS: Final = bytes.fromhex("0c00000000000800")
"""Section 7: the data of command 110."""
SELECTED: Final = {
    (Code.USERTEMP_RRQ, 5): 5,
    (Code.DB_RRQ, 2): 2,
    (Code.ATTLOG_RRQ, 0): 1,
    (Code.OPLOG_RRQ, 0): 4,
}
"""Section 6: command and FCT of 1503 to the table's selector (section 4)."""


@dataclass
class Upload:
    """What 1500 announced and 1501 brought."""

    size: int
    data: bytearray = field(default_factory=bytearray)
    summed: bool = False
    """CHECKSUM_BUFFER was asked for."""


@dataclass
class Session:
    """One connection of a host. All of it is RAM."""

    datagrams: bool
    number: int | None = None
    trusted: bool = False
    events: int = 0
    """The mask of REG_EVENT."""
    upload: Upload | None = None
    prepared: bytes | None = None
    """The table that 1503 took; changes since then are not in it."""

    def end(self) -> None:
        """Forget everything."""
        self.number, self.trusted, self.events = None, False, 0
        self.upload = self.prepared = None


class Tables:
    """The commands that move tables and templates."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._flash = terminal.flash
        self._settings = terminal.settings
        self.unknown_word: int | None = None
        """The third number of a table's size answer; nobody knows what it means."""

    def table(self) -> dict[int, Callable[[Session, bytes], Answer]]:
        """Command code to what obeys it."""
        table: dict[int, Callable[[Session, bytes], Answer]] = {
            Code.PREPARE_BUFFER: self._prepare,
            Code.READ_BUFFER: self._read,
            Code.FREE_DATA: self._free,
            Code.USERTEMP_RRQ: self._direct_users_or_template,
            Code.DB_RRQ: self._direct,
            Code.ATTLOG_RRQ: lambda session, _: self.bulk(session, self.whole(1)),
            Code.OPLOG_RRQ: lambda session, _: self.bulk(session, self.whole(4)),
            Code.PREPARE_DATA: self._announce,
            Code.DATA: self._take,
            Code.CHECKSUM_BUFFER: self._sum,
            Code.GET_USERTEMP: self._get_template,
            Code.TMP_WRITE: self._write_template,
            Code.USERTEMP_WRQ: self._write_template_2006,
            Code.SAVE_USERTEMPS: self._save_many,
            Code.DELETE_USERTEMP: self._delete_template,
        }
        if self._settings.width == 72:
            table[Code.DEL_USER_TEMP] = self._delete_template_by_id
        return table

    # ---- reading -----------------------------------------------------------------------------------------------------

    def whole(self, selector: int) -> bytes:
        """Return a table with its length (sections 6 and 7)."""
        flash = self._flash
        if selector == 5:
            body = b"".join([*flash.users.values(), *flash.doubles])
        elif selector == 2:
            body = b"".join(
                struct.pack("<HHBB", len(template) + 6, uid, finger, flag) + template
                for (uid, finger), (flag, template) in flash.templates.items()
            )
        else:
            body = b"".join(flash.attlog if selector == 1 else flash.oplog)
        return len(body).to_bytes(4, "little") + body

    def bulk(self, session: Session, data: bytes) -> Answer:
        """Return PREPARE_DATA, DATA..., OK (section 6). In a split reply the session field counts the packets."""
        split = self._settings.split or session.datagrams
        whole = DATAGRAM_DATA_BYTES if session.datagrams else SPLIT_DATA_BYTES
        size = whole if split else max(1, len(data))
        packets = [Packet(Code.PREPARE_DATA, struct.pack("<II", len(data), size))]
        last = None
        for count, at in enumerate(range(0, len(data), size)):
            last = count & 0xFFFF if split else None
            packets.append(Packet(Code.DATA, data[at : at + size], last))
        closing = None if self._settings.closing_session else last
        return [*packets, Packet(Code.OK, session=closing)]

    def _prepare(self, session: Session, data: bytes) -> Answer:
        one, command, selector, _ext = struct.unpack("<BHII", data)
        wanted = SELECTED.get((command, selector))
        if self._terminal.refused_as_busy() or one != 1 or wanted is None:
            return ERROR
        table = self.whole(wanted)
        if self._settings.small and len(table) <= SMALL_BYTES:
            return [Packet(Code.DATA, table)]
        session.prepared = table
        word = zlib.crc32(table) if self.unknown_word is None else self.unknown_word
        return [Packet(Code.OK, struct.pack("<BIII", 0, len(table), len(table), word))]

    def _read(self, session: Session, data: bytes) -> Answer:
        """READ_BUFFER. More than there is gives what there is (unconfirmed)."""
        start, count = struct.unpack("<II", data)
        if session.prepared is None or start >= len(session.prepared) or not count:
            return ERROR
        return self.bulk(session, session.prepared[start : start + count])

    def _free(self, session: Session, _: bytes) -> Answer:
        session.upload = session.prepared = None
        return [] if "free-lost" in self._settings.quirks else OK

    def _direct(self, session: Session, data: bytes) -> Answer:
        """Section 6, the old direct form: 7 with one byte FCT."""
        return self.bulk(session, self.whole(data[0])) if len(data) == 1 and data[0] in (1, 2, 4, 5) else ERROR

    def _direct_users_or_template(self, session: Session, data: bytes) -> Answer:
        """9: with one byte 05 all users, with a uid and a finger one template without the extra byte (section 7)."""
        if data == b"\x05":
            return self.bulk(session, self.whole(5))
        found = self._flash.templates.get(_uid_and_finger(data))
        return ERROR if found is None else self.bulk(session, found[1])

    def _get_template(self, session: Session, data: bytes) -> Answer:
        """88: the template and one extra byte, 01 in both captures; that it is the flag is unconfirmed (section 7)."""
        found = self._flash.templates.get(_uid_and_finger(data))
        return ERROR if found is None else self.bulk(session, found[1] + bytes([found[0]]))

    # ---- uploads -----------------------------------------------------------------------------------------------------

    def _announce(self, session: Session, data: bytes) -> Answer:
        (size,) = struct.unpack("<I", data)
        if not 0 < size <= MAX_UPLOAD_BYTES:
            return ERROR
        session.upload = Upload(size)
        return OK

    def _take(self, session: Session, data: bytes) -> Answer:
        upload = session.upload
        if upload is None or not 0 < len(data) <= min(CHUNK_BYTES, upload.size - len(upload.data)):
            return ERROR
        upload.data += data
        if len(upload.data) == upload.size:
            self._terminal.strikes("after-1501")
        return OK

    def _sum(self, session: Session, _: bytes) -> Answer:
        """119: a value by an algorithm that nobody has published (section 7)."""
        if session.upload is None:
            return ERROR
        session.upload.summed = True
        return [Packet(Code.OK, zlib.crc32(session.upload.data).to_bytes(4, "little"))]

    @staticmethod
    def _uploaded(session: Session) -> bytes | None:
        upload = session.upload
        return bytes(upload.data) if upload is not None and len(upload.data) == upload.size else None

    def _write_template(self, session: Session, data: bytes) -> Answer:
        """87. That it overwrites is unconfirmed."""
        uid, finger, flag, size = struct.unpack("<HBBH", data)
        template = self._uploaded(session)
        if template is None or len(template) != size:
            return ERROR
        if "needs-119" in self._settings.quirks and not (session.upload is not None and session.upload.summed):
            return ERROR
        if not self._put(uid, finger, flag, template):
            return ERROR
        self._terminal.changed()
        self._terminal.strikes("after-87", answered=False)
        return OK

    def _write_template_2006(self, session: Session, data: bytes) -> Answer:
        """10: the slot must be empty; a large template comes as an upload before it (section 7).

        Whether the size counts the head is an option, since the sources disagree.
        """
        size, uid, finger, flag = struct.unpack_from("<HHBB", data)
        template = data[6:] or self._uploaded(session)
        if template is None or size - (6 if self._settings.size10_whole else 0) != len(template):
            return ERROR
        if (uid, finger) in self._flash.templates or not self._put(uid, finger, flag, template):
            return ERROR
        self._terminal.changed()
        return OK

    def _takes(self, uid: int, finger: int, flag: int, template: bytes) -> bool:
        sized = 0 < len(template) <= MAX_TEMPLATE_BYTES[self._settings.fp]
        return finger < FINGERS and flag in FLAGS and sized and not self._terminal.refuses_put(uid)

    def _put(self, uid: int, finger: int, flag: int, template: bytes) -> bool:
        """Store a template; False where that is refused. The user must exist (section 7)."""
        flash = self._flash
        full = (uid, finger) not in flash.templates and len(flash.templates) >= self._settings.template_capacity
        if uid not in flash.users or full or not self._takes(uid, finger, flag, template):
            return False
        self._store(uid, finger, flag, template)
        return True

    def _store(self, uid: int, finger: int, flag: int, template: bytes) -> None:
        if self._settings.happens("readback-differs", uid):
            middle = len(template) // 2
            template = template[:middle] + bytes([template[middle] ^ 0x01]) + template[middle + 1 :]
        self._flash.templates[uid, finger] = flag, template

    def _save_many(self, session: Session, data: bytes) -> Answer:
        """110: all of the blob or nothing (unconfirmed), unless the power fails in the middle (section 7)."""
        blob = self._uploaded(session)
        wanted = None if blob is None or data != SAVE_PARAMETERS else self._read_blob(blob)
        if wanted is None:
            return ERROR
        users, templates = wanted
        fresh_users = {record[:2] for record in users if int.from_bytes(record[:2], "little") not in self._flash.users}
        known = set(self._flash.users) | {int.from_bytes(record[:2], "little") for record in users}
        keys = {(uid, finger) for uid, finger, _, _ in templates}
        fits = len(self._flash.users) + len(fresh_users) <= self._settings.user_capacity
        fits &= len(self._flash.templates.keys() | keys) <= self._settings.template_capacity
        if not fits or not all(entry[0] in known and self._takes(*entry) for entry in templates):
            return ERROR
        if not all(self._terminal.takes_user(record, 0) for record in users):
            return ERROR
        if self._terminal.strikes("during-110", answered=False):
            users, templates = users[: (len(users) + 1) // 2], templates[: len(templates) // 2]
        for record in users:
            self._terminal.put_user(record)
        for entry in templates:
            if entry[0] in self._flash.users:
                self._store(*entry)
        self._terminal.changed()
        self._terminal.strikes("after-110", answered=False)
        return OK

    def _read_blob(self, blob: bytes) -> tuple[list[bytes], list[tuple[int, int, int, bytes]]] | None:
        """Cut the blob of 110 into records and (uid, finger, flag, template); None where it is not one.

        The high half of a finger's byte is taken for the flag, and only 1 is known to anybody.
        """
        sizes = struct.unpack_from("<III", blob)
        user_bytes, stride = self._settings.width + 1, 8
        if 12 + sum(sizes) != len(blob) or sizes[0] % user_bytes or sizes[1] % stride:
            return None
        table_at, pool_at = 12 + sizes[0], 12 + sizes[0] + sizes[1]
        tagged = [blob[at : at + user_bytes] for at in range(12, table_at, user_bytes)]
        entries = [struct.unpack_from("<BHBI", blob, at) for at in range(table_at, pool_at, stride)]
        if any(user[0] != 2 for user in tagged) or any(tag != 2 or mixed >> 4 != 1 for tag, _, mixed, _ in entries):
            return None
        templates = []
        for _, uid, mixed, offset in entries:
            (size,) = struct.unpack_from("<H", blob, pool_at + offset)
            template = blob[pool_at + offset + 2 :][:size]
            if len(template) != size:
                return None
            templates.append((uid, mixed & 0x0F, mixed >> 4, template))
        return [user[1:] for user in tagged], templates

    # ---- deleting ----------------------------------------------------------------------------------------------------

    def _delete_template(self, _: Session, data: bytes) -> Answer:
        """19: one finger, or on some units all of the user's (section 7): an option."""
        uid, finger = _uid_and_finger(data)
        every = self._settings.nineteen_all
        gone = [key for key in self._flash.templates if key[0] == uid and (every or key[1] == finger)]
        return self._deleted(gone)

    def _delete_template_by_id(self, _: Session, data: bytes) -> Answer:
        """134: one finger of a user id."""
        user_id, finger = struct.unpack("<24sB", data)
        uids = [uid for uid, record in self._flash.users.items() if user_id_of(record) == user_id.split(b"\0")[0]]
        return self._deleted([(uid, finger) for uid in uids if (uid, finger) in self._flash.templates])

    def _deleted(self, keys: list[tuple[int, int]]) -> Answer:
        if not keys:
            return ERROR
        for key in keys:
            del self._flash.templates[key]
        self._terminal.changed()
        return OK


def _uid_and_finger(data: bytes) -> tuple[int, int]:
    uid, finger = struct.unpack("<HB", data)
    return uid, finger
