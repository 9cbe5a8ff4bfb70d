"""Access control of a simulated ZKTeco-style terminal: section 8 of the wire reference of the family."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from lockmigrate.sim.zk_data import COMBINATIONS, FULL_DAY, GROUPS, ZONES
from lockmigrate.sim.zk_packets import Code, Packet
from lockmigrate.sim.zk_tables import ERROR, OK, Answer, Session

if TYPE_CHECKING:
    from lockmigrate.sim.zk_commands import Terminal

ZONE_TAIL: Final = bytes.fromhex("a71c")
"""What follows a time zone; nobody knows what it means."""
OWN_ZONES_AT: Final = 40
"""Section 7: the flag and the three zones in a record of 72 bytes."""


class Access:
    """Commands 21 to 30, 32, 79 and 80."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._flash = terminal.flash
        self._settings = terminal.settings

    def table(self) -> dict[int, Callable[[Session, bytes], Answer]]:
        """Command code to what obeys it."""
        table: dict[int, Callable[[Session, bytes], Answer]] = {Code.CLEAR_ACC: self._clear}
        if self._settings.zones:
            table |= {
                Code.USERGRP_RRQ: self._read_user_group,
                Code.USERGRP_WRQ: self._write_user_group,
                Code.GRPTZ_RRQ: self._read_group,
                Code.GRPTZ_WRQ: self._write_group,
                Code.TZ_RRQ: self._read_zone,
                Code.TZ_WRQ: self._write_zone,
                Code.ULG_RRQ: self._read_combination,
                Code.ULG_WRQ: self._write_combination,
            }
        if self._settings.zones and self._settings.width == 72:
            table |= {Code.USERTZ_RRQ: self._read_user_zones, Code.USERTZ_WRQ: self._write_user_zones}
        if self._settings.verify:
            table |= {Code.VERIFY_RRQ: self._read_verify, Code.VERIFY_WRQ: self._write_verify}
        return table

    def _clear(self, _: Session, __: bytes) -> Answer:
        """CLEAR_ACC: the tables as from the factory; that users keep their groups and zones is unconfirmed."""
        self._flash.reset_access()
        return self._kept()

    def _kept(self) -> Answer:
        self._terminal.changed()
        return OK

    # ---- tables ------------------------------------------------------------------------------------------------------

    def _read_zone(self, _: Session, data: bytes) -> Answer:
        (number,) = struct.unpack("<I", data)
        if not 1 <= number <= ZONES:
            return ERROR
        zone = self._flash.zones.get(number, FULL_DAY)
        return [Packet(Code.OK, struct.pack("<H", number) + zone + ZONE_TAIL)]

    def _write_zone(self, _: Session, data: bytes) -> Answer:
        number, zone = struct.unpack("<I28s", data)
        hours, minutes = zone[0::2], zone[1::2]
        if not 1 <= number <= ZONES or max(hours) > 23 or max(minutes) > 59:
            return ERROR
        self._flash.zones[number] = zone
        return self._kept()

    def _read_group(self, _: Session, data: bytes) -> Answer:
        number = data[0]
        if not 1 <= number <= GROUPS:
            return ERROR
        return [Packet(Code.OK, self._flash.groups.get(number, bytes([number, 0, 0, 0, 0, 0, 0, 0])))]

    def _write_group(self, _: Session, data: bytes) -> Answer:
        number, *zones, _style = struct.unpack("<BHHHB", data)
        if not 1 <= number <= GROUPS or max(zones) > ZONES:
            return ERROR
        self._flash.groups[number] = data
        return self._kept()

    def _read_combination(self, _: Session, data: bytes) -> Answer:
        number = data[0]
        if not 1 <= number <= COMBINATIONS:
            return ERROR
        return [Packet(Code.OK, self._flash.combinations.get(number, bytes([number, 0, 0, 0, 0, 0, 0, 0])))]

    def _write_combination(self, _: Session, data: bytes) -> Answer:
        number, *groups, used = struct.unpack("<B5BH", data)
        if not 1 <= number <= COMBINATIONS or max(groups) > GROUPS or used > len(groups):
            return ERROR
        self._flash.combinations[number] = data
        return self._kept()

    # ---- users -------------------------------------------------------------------------------------------------------

    def _user(self, data: bytes) -> tuple[int, bytes]:
        """Return a uid that is sent in four bytes, and its record; IndexError where there is none."""
        (uid,) = struct.unpack_from("<I", data)
        if uid not in self._flash.users:
            raise IndexError
        return uid, self._flash.users[uid]

    def _read_user_group(self, _: Session, data: bytes) -> Answer:
        _uid, record = self._user(data)
        return [Packet(Code.OK, record[self._settings.record.group_at :][:1])]

    def _write_user_group(self, _: Session, data: bytes) -> Answer:
        """Section 8: the group as one byte, in the 2006 manual as four."""
        uid, record = self._user(data)
        group, at = int.from_bytes(data[4:], "little"), self._settings.record.group_at
        if len(data) not in (5, 8) or not 1 <= group <= GROUPS:
            return ERROR
        self._flash.users[uid] = record[:at] + bytes([group]) + record[at + 1 :]
        return self._kept()

    def _read_user_zones(self, _: Session, data: bytes) -> Answer:
        """Section 8: the flag is the other way round than in the record."""
        _uid, record = self._user(data)
        own, *zones = struct.unpack_from("<4H", record, OWN_ZONES_AT)
        return [Packet(Code.OK, struct.pack("<4H", int(own == 0), *zones))]

    def _write_user_zones(self, _: Session, data: bytes) -> Answer:
        uid, record = self._user(data)
        _uid, own, *zones = struct.unpack("<5I", data)
        if own > 1 or max(zones) > ZONES:
            return ERROR
        fresh = struct.pack("<4H", own, *zones)
        self._flash.users[uid] = record[:OWN_ZONES_AT] + fresh + record[OWN_ZONES_AT + len(fresh) :]
        return self._kept()

    def _read_verify(self, _: Session, data: bytes) -> Answer:
        (uid,) = struct.unpack("<H", data)
        if uid not in self._flash.users:
            return ERROR
        return [Packet(Code.OK, struct.pack("<HB21x", uid, self._flash.verify.get(uid, 0)))]

    def _write_verify(self, _: Session, data: bytes) -> Answer:
        uid, style = struct.unpack("<HB21x", data)
        if uid not in self._flash.users or not (style == 0 or 0x80 <= style <= 0x8E):
            return ERROR
        self._flash.verify.pop(uid, None)
        if style:
            self._flash.verify[uid] = style
        return self._kept()
