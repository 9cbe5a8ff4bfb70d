"""What a simulated TTLock lock does with its settings, passage mode, its clock, and questions of who it is.

Section numbers are those of the wire reference of the family; where it leaves something open, the choice is marked
"unconfirmed".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from lockmigrate.sim.ttlock_frames import VENDOR, Code, Reader, Refusal, Trouble, encode_date, moment_of
from lockmigrate.sim.ttlock_records import Passage, free_place, in_order, passage_record
from lockmigrate.sim.ttlock_replies import BYTE_END, Command, Reply, with_battery
from lockmigrate.sim.ttlock_settings import feature_words, switch_mask

if TYPE_CHECKING:
    from lockmigrate.sim.ttlock_lock import Lock

QUERY, SET, DELETE, CLEAR = 1, 2, 3, 4
"""Section 10: operations."""
AUTO_LOCK_FEATURE, SHOW_FEATURE, FREEZE_FEATURE, SENSOR_FEATURE, REMOTE_FEATURE = 4, 9, 11, 13, 14
AUDIO_FEATURE, PASSAGE_FEATURE, LAMP_FEATURE = 15, 22, 25
"""Section 5."""
KEEP_TIME: Final = 0xFFFF
"""Section 10: leave the time, change only the door sensor."""
NO_SENSOR: Final = 2
"""Section 6: the third byte of a status, captured from a lock that we take to have no door sensor."""


class Settable:
    """Settings, passage mode, clock and identity of one lock."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._flash = lock.flash
        self._settings = lock.settings

    def table(self) -> dict[int, Command]:
        """Return the commands that are obeyed here."""

        def flag(name: str, feature: int) -> Command:
            return Command(obey=lambda data: self._flag(name, data), login="admin", feature=feature)

        return {
            Code.AUTO_LOCK: Command(obey=self._auto_lock, login="admin", feature=AUTO_LOCK_FEATURE),
            # Section 6: read without login by two clients.
            Code.AUDIO: Command(obey=self._audio, login="admin", feature=AUDIO_FEATURE, free=frozenset({QUERY})),
            Code.SHOW_PASSCODE: flag("show_passcode", SHOW_FEATURE),
            Code.REMOTE_UNLOCK: flag("remote_unlock", REMOTE_FEATURE),
            Code.FREEZE: flag("frozen", FREEZE_FEATURE),
            Code.LAMP: Command(obey=self._lamp, login="admin", feature=LAMP_FEATURE),
            Code.SWITCH: Command(obey=self._switch, login="admin"),
            Code.PASSAGE: Command(obey=self._passage, login="admin", feature=PASSAGE_FEATURE),
            Code.SET_TIME: Command(obey=self._set_time, login="user"),
            Code.GET_TIME: Command(obey=self._get_time),
            Code.FEATURES: Command(obey=self._features),
            Code.STATUS: Command(obey=self._status),
            Code.DEVICE_INFO: Command(obey=self._device_info),
        }

    # ---- settings ----------------------------------------------------------------------------------------------------

    def _operation(self, data: bytes) -> tuple[Reader, int]:
        reader = Reader(data)
        operation = reader.number(1)
        if operation not in (QUERY, SET):
            raise Refusal(Trouble.NOT_SUPPORTED)
        if operation == QUERY:
            reader.end()
        return reader, operation

    def _done(self) -> Reply:
        self._lock.keep()
        return with_battery(SET)

    def _auto_lock(self, data: bytes) -> Reply:
        switches, settings = self._flash.settings, self._settings
        sensor = settings.has(SENSOR_FEATURE)
        reader, operation = self._operation(data)
        if operation == QUERY:
            limits = settings.auto_lock_min.to_bytes(2, "big") + settings.auto_lock_max.to_bytes(2, "big")
            door = bytes([switches.door_sensor]) if sensor else b""
            return with_battery(QUERY, switches.auto_lock_s.to_bytes(2, "big"), limits, door)
        seconds = reader.number(2)
        door_sensor = reader.number(1) if sensor and reader.left else switches.door_sensor
        reader.end()
        within = seconds in (0, KEEP_TIME) or settings.auto_lock_min <= seconds <= settings.auto_lock_max
        if not within or door_sensor > 1:
            raise Refusal(Trouble.PARAMETER)
        switches.door_sensor = door_sensor
        if seconds != KEEP_TIME:
            switches.auto_lock_s = seconds
        return self._done()

    def _audio(self, data: bytes) -> Reply:
        switches = self._flash.settings
        reader, operation = self._operation(data)
        if operation == QUERY:
            return with_battery(QUERY, switches.audio, bytes([switches.volume]) if self._settings.volume else b"")
        audio, volume, language = reader.number(1), switches.volume, 0
        if reader.left and self._settings.volume:
            volume, language = reader.number(1), reader.number(1)
        reader.end()
        if audio > 1 or not 1 <= volume <= 5:
            raise Refusal(Trouble.PARAMETER)
        switches.audio, switches.volume = audio, volume
        switches.language = language or switches.language
        return self._done()

    def _flag(self, name: str, data: bytes) -> Reply:
        reader, operation = self._operation(data)
        if operation == QUERY:
            return with_battery(QUERY, int(getattr(self._flash.settings, name)))
        value = reader.number(1)
        reader.end()
        if value > 1:
            raise Refusal(Trouble.PARAMETER)
        setattr(self._flash.settings, name, value)
        return self._done()

    def _lamp(self, data: bytes) -> Reply:
        reader, operation = self._operation(data)
        if operation == QUERY:
            return with_battery(QUERY, self._flash.settings.lamp_s.to_bytes(2, "big"))
        self._flash.settings.lamp_s = reader.number(2)
        reader.end()
        return self._done()

    def _switch(self, data: bytes) -> Reply:
        """The mask says which bits are meant; one that the lock does not have is refused (unconfirmed)."""
        supported = switch_mask(self._settings.features)
        if not supported:
            raise Refusal(Trouble.NOT_SUPPORTED)
        reader, operation = self._operation(data)
        switches = self._flash.settings
        if operation == QUERY:
            return with_battery(QUERY, supported.to_bytes(4, "big"), switches.switches.to_bytes(4, "big"))
        mask, value = reader.number(4), reader.number(4)
        reader.end()
        if mask & ~supported:
            raise Refusal(Trouble.PARAMETER)
        switches.switches = (switches.switches & ~mask) | (value & mask)
        return self._done()

    # ---- passage mode ------------------------------------------------------------------------------------------------

    def _passage(self, data: bytes) -> Reply:
        reader = Reader(data)
        operation = reader.number(1)
        if operation == QUERY:
            return self._list_passage(reader)
        operations: dict[int, Callable[[Reader], None]] = {
            SET: self._add_passage, DELETE: self._delete_passage, CLEAR: self._clear_passage
        }  # fmt: skip
        if operation not in operations:
            raise Refusal(Trouble.NOT_SUPPORTED)
        operations[operation](reader)
        self._lock.keep()
        return with_battery(operation)

    def _list_passage(self, reader: Reader) -> Reply:
        """Section 10: the page that ends the list has no records, for the app ignores them."""
        cursor = reader.number(1)
        reader.end()
        known = in_order(self._flash.passage)
        left = [] if cursor == BYTE_END else self._lock.cursors.start("passage", cursor, known)
        if not left:
            return with_battery(QUERY, BYTE_END)
        page = left[: min(self._settings.pages["passage"], 15)]
        body = b"".join(passage_record(passage) for _, passage in page)

        def pages() -> Iterator[bytes]:
            for following in self._lock.cursors.following("passage", self._flash.passage, page):
                yield bytes([QUERY, following]) + body

        return Reply(
            data=next(pages()),
            battery=True,
            others=pages,
            chosen=lambda told: self._lock.cursors.give("passage", told[1]),
        )

    def _read_passage(self, reader: Reader) -> Passage:
        kind, day, month, *times = reader.take(7)
        reader.end()
        start, end = (times[0], times[1]), (times[2], times[3])
        timed = all(hour < 24 and minute < 60 for hour, minute in (start, end))
        dated = (kind == 1 and day <= 7) or (kind == 2 and day <= 31 and month <= 12)
        if not (timed and dated):
            raise Refusal(Trouble.PARAMETER)
        return Passage(kind=kind, day=day, month=month, start=start, end=end)

    def _add_passage(self, reader: Reader) -> None:
        """One that is there already is not added again (unconfirmed)."""
        passage = self._read_passage(reader)
        if passage in self._flash.passage.values():
            return
        if len(self._flash.passage) >= self._settings.passage_room:
            raise Refusal(Trouble.FULL)
        self._flash.passage[free_place(self._flash.passage)] = passage

    def _delete_passage(self, reader: Reader) -> None:
        passage = self._read_passage(reader)
        for place, known in self._flash.passage.items():
            if known == passage:
                del self._flash.passage[place]
                return
        raise Refusal(Trouble.NO_RECORD)

    def _clear_passage(self, reader: Reader) -> None:
        reader.end()
        self._flash.passage.clear()

    # ---- clock and identity ------------------------------------------------------------------------------------------

    def _set_time(self, data: bytes) -> Reply:
        reader = Reader(data)
        moment = moment_of(reader.take(6))
        reader.end()
        if moment is None:
            raise Refusal(Trouble.PARAMETER)
        self._flash.clock_offset_s += round((moment - self._lock.clock()).total_seconds())
        self._lock.keep()
        return Reply()

    def _get_time(self, data: bytes) -> Reply:
        Reader(data).end()
        moment = self._lock.clock()

        def seconds() -> Iterator[bytes]:
            return (encode_date(moment - timedelta(seconds=late)) for late in range(3))

        return Reply(data=encode_date(moment), others=seconds)

    def _features(self, data: bytes) -> Reply:
        Reader(data).end()
        return with_battery(feature_words(self._settings.features))

    def _status(self, data: bytes) -> Reply:
        """Section 6."""
        if data != VENDOR:
            raise Refusal(Trouble.WRONG_VENDOR if len(data) == len(VENDOR) else Trouble.LENGTH)
        return self.state()

    def state(self) -> Reply:
        """Build a status, asked for or not."""
        sensor = self._flash.settings.door_sensor if self._settings.has(SENSOR_FEATURE) else NO_SENSOR
        return with_battery(self._flash.unlocked, sensor)

    def _device_info(self, data: bytes) -> Reply:
        """Section 10. From R: texts end with a zero, the address is reversed and ends with none, and so does the clock.

        Its too is the error of what is asked in vain.
        """
        reader = Reader(data)
        asked = reader.number(1)
        reader.end()
        texts = self._settings.texts
        if 1 <= asked <= len(texts):
            return Reply(data=texts[asked - 1].encode("ascii") + b"\0")
        if asked == 5:
            return Reply(data=self._settings.address[::-1])
        if asked == 6:
            return Reply(data=encode_date(self._lock.clock()))
        raise Refusal(Trouble.UNKNOWN_STEP)
