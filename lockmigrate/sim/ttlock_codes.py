"""What a simulated TTLock lock does with passcodes, the seeds of generated ones, and its log.

Section numbers are those of the wire reference of the family; where it leaves something open, the choice is marked
"unconfirmed".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from lockmigrate.sim.ttlock_frames import (
    MAX_PLAIN_BYTES,
    Code,
    Reader,
    Refusal,
    Trouble,
    encode_date,
)
from lockmigrate.sim.ttlock_records import (
    CODE_LIMIT,
    CYCLIC,
    ONE_TIME,
    PERIOD,
    PERMANENT,
    SECRET_LIMIT,
    SEED_BYTES,
    SEED_YEARS,
    LogEntry,
    Passcode,
    Seed,
    free_place,
    in_order,
    log_page,
    passcode_record,
    seed_bytes,
)
from lockmigrate.sim.ttlock_replies import END, Command, Reply, with_battery

if TYPE_CHECKING:
    from lockmigrate.sim.ttlock_lock import Lock

CLEAR, ADD, DELETE, MODIFY, RECOVER = 1, 2, 3, 5, 6
"""Section 7.2."""
PASSCODES_FEATURE, MODIFY_FEATURE, CYCLIC_FEATURE, ADMIN_CODE_FEATURE, CYCLIC_RECOVER_FEATURE = 0, 7, 12, 18, 40
"""Section 5."""
HEAD_BYTES: Final = 6
"""Echo, status, total and cursor of a page."""
UNREAD: Final = 0xFFFF


class Codes:
    """Passcodes, seeds and log of one lock."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._flash = lock.flash
        self._settings = lock.settings

    def table(self) -> dict[int, Command]:
        """Return the commands that are obeyed here."""
        codes = PASSCODES_FEATURE
        return {
            Code.PASSCODES: Command(obey=self._list, login="admin", feature=codes),
            Code.PASSCODE: Command(obey=self._manage, login="admin", feature=codes),
            Code.SET_SEEDS: Command(obey=self._set_seeds, login="admin", feature=codes),
            Code.READ_SEEDS: Command(obey=self._read_seeds, login="admin", feature=codes),
            Code.GET_ADMIN_CODE: Command(obey=self._read_admin_code, login="admin", feature=ADMIN_CODE_FEATURE),
            Code.SET_ADMIN_CODE: Command(obey=self._set_admin_code, login="admin"),
            Code.LOG: Command(obey=self._read_log),
        }

    # ---- passcodes ---------------------------------------------------------------------------------------------------

    def _list(self, data: bytes) -> Reply:
        """Section 7.1."""
        reader = Reader(data)
        cursor = reader.number(2)
        reader.end()
        known = in_order(self._flash.passcodes)
        left = [] if cursor == END else self._lock.cursors.start("passcodes", cursor, known)
        if not left:
            return Reply(data=bytes(2))
        most = self._settings.pages["passcodes"] or len(left)
        fitting, room = 0, MAX_PLAIN_BYTES - HEAD_BYTES
        for _, passcode in left[:most]:
            room -= len(passcode_record(passcode))
            if room < 0:
                break
            fitting += 1

        def pages() -> Iterator[bytes]:
            for count in range(fitting, 0, -1):
                page = left[:count]
                body = b"".join(passcode_record(passcode) for _, passcode in page)
                for following in self._lock.cursors.following("passcodes", self._flash.passcodes, page):
                    yield (2 + len(body)).to_bytes(2, "big") + following.to_bytes(2, "big") + body

        def chosen(page: bytes) -> None:
            self._lock.cursors.give("passcodes", int.from_bytes(page[2:4], "big"))

        return Reply(data=next(pages()), others=pages, chosen=chosen)

    def _manage(self, data: bytes) -> Reply:
        """Section 7.2."""
        reader = Reader(data)
        operation = reader.number(1)
        operations = {
            CLEAR: self._clear, ADD: self._add, DELETE: self._delete, MODIFY: self._modify, RECOVER: self._recover
        }  # fmt: skip
        if operation not in operations:
            raise Refusal(Trouble.NOT_SUPPORTED)
        operations[operation](reader)
        self._lock.keep()
        return with_battery(operation)

    def _clear(self, reader: Reader) -> None:
        reader.end()
        self._flash.passcodes.clear()

    def _add(self, reader: Reader) -> None:
        kind, code = reader.number(1), reader.text()
        self._check(code)
        if kind not in (PERMANENT, ONE_TIME, PERIOD):
            raise Refusal(Trouble.PARAMETER)  # type 4 is only ever recovered (section 7.2)
        start = reader.date()
        if kind == PERMANENT:
            if reader.left > len(start) or reader.take(reader.left).strip(b"\0"):  # section 17: zeros of one client
                raise Refusal(Trouble.LENGTH)
            self._keep_new(Passcode(kind=kind, code=code, original=code, start=start))
            return
        end = reader.date()
        reader.end()
        self._lock.insist_not_ended(end)
        self._keep_new(Passcode(kind=kind, code=code, original=code, start=start, end=end))

    def _delete(self, reader: Reader) -> None:
        reader.number(1)  # the type is not compared (unconfirmed)
        code = reader.text()
        reader.end()
        self._check(code)
        del self._flash.passcodes[self._place_of(code, by=self._settings.delete_by)]

    def _modify(self, reader: Reader) -> None:
        kind, old, new = reader.number(1), reader.text(), reader.text()
        dates = (reader.date(), reader.date()) if reader.left else None
        reader.end()
        if not self._settings.has(MODIFY_FEATURE):
            raise Refusal(Trouble.NOT_SUPPORTED)
        self._check(old)
        if new:
            self._check(new)
        if kind not in (PERMANENT, ONE_TIME, PERIOD, CYCLIC):
            raise Refusal(Trouble.PARAMETER)
        place = self._place_of(old)
        passcode = self._flash.passcodes[place]
        if dates is not None and CYCLIC in (kind, passcode.kind):
            raise Refusal(Trouble.PARAMETER)  # there is no end date to change (unconfirmed)
        if new and self._taken(new, besides=place):
            raise Refusal(Trouble.EXISTS)
        if dates is not None:
            self._lock.insist_not_ended(b"" if kind == PERMANENT else dates[1])
            passcode.kind, passcode.start = kind, dates[0]
            passcode.end = b"" if kind == PERMANENT else dates[1]
            self._lock.spoil(passcode)
        passcode.code = new or passcode.code

    def _recover(self, reader: Reader) -> None:
        """Keep both codes. A one-time code has no layout here and is refused (unconfirmed)."""
        kind, original, code, start = reader.number(1), reader.text(), reader.text(), reader.date()
        end = reader.date() if kind == PERIOD else b""
        cycle = reader.take(2) if kind == CYCLIC else b""
        reader.end()
        self._check(original)
        self._check(code)
        if kind == CYCLIC and not (self._settings.has(CYCLIC_FEATURE) and self._settings.has(CYCLIC_RECOVER_FEATURE)):
            raise Refusal(Trouble.NOT_SUPPORTED)
        if kind not in (PERMANENT, PERIOD, CYCLIC):
            raise Refusal(Trouble.PARAMETER)
        self._lock.insist_not_ended(end)
        if self._taken(code):
            raise Refusal(Trouble.EXISTS)
        self._keep_new(Passcode(kind=kind, code=code, original=original, start=start, end=end, cycle=cycle))

    def _check(self, code: str) -> None:
        """Section 12, "Limits"."""
        if not self._settings.min_code <= len(code) <= self._settings.max_code:
            raise Refusal(Trouble.CODE_LENGTH)
        if not (code.isascii() and code.isdigit()):
            raise Refusal(Trouble.PARAMETER)

    def _keep_new(self, passcode: Passcode) -> None:
        if self._taken(passcode.original):
            raise Refusal(Trouble.EXISTS)
        if len(self._flash.passcodes) >= self._settings.passcode_room:
            raise Refusal(Trouble.FULL)
        self._lock.spoil(passcode)
        self._flash.passcodes[free_place(self._flash.passcodes)] = passcode

    def _taken(self, code: str, besides: int | None = None) -> bool:
        """Tell whether a code is one of the lock's; that the administrator's counts is unconfirmed."""
        others = (passcode for place, passcode in self._flash.passcodes.items() if place != besides)
        return code == self._flash.admin_passcode or any(code in (one.code, one.original) for one in others)

    def _place_of(self, code: str, by: str = "either") -> int:
        for place, passcode in self._flash.passcodes.items():
            if (code == passcode.code and by != "original") or (code == passcode.original and by != "current"):
                return place
        raise Refusal(Trouble.UNKNOWN_CODE)

    # ---- the administrator's code and the seeds ----------------------------------------------------------------------

    def _read_admin_code(self, data: bytes) -> Reply:
        Reader(data).end()
        digits = self._flash.admin_passcode
        return with_battery(len(digits), digits.encode("ascii"))

    def _set_admin_code(self, data: bytes) -> Reply:
        """Section 5, step 8: one byte of 0 to 9 for each digit."""
        if not self._settings.min_code <= len(data) <= self._settings.max_code:
            raise Refusal(Trouble.CODE_LENGTH)
        if max(data) > 9:
            raise Refusal(Trouble.PARAMETER)
        digits = "".join(str(digit) for digit in data)
        if any(digits in (passcode.code, passcode.original) for passcode in self._flash.passcodes.values()):
            raise Refusal(Trouble.EXISTS)
        self._flash.admin_passcode = digits
        self._lock.keep()
        return Reply()

    def _set_seeds(self, data: bytes) -> Reply:
        """Section 7.4: the first year, then ten pairs of code and secret."""
        reader = Reader(data)
        year = reader.number(1)
        pairs = [reader.number(SEED_BYTES) for _ in range(SEED_YEARS)]
        reader.end()
        seeds = [(year + index, pair >> 36, pair & (1 << 36) - 1) for index, pair in enumerate(pairs)]
        if any(of > 99 or code >= CODE_LIMIT or secret >= SECRET_LIMIT for of, code, secret in seeds):
            raise Refusal(Trouble.SEEDS)
        self._flash.seeds = [Seed(year=of, code=code, secret=secret) for of, code, secret in seeds]
        self._flash.seeds_reset = encode_date(self._lock.clock(), 5)
        self._lock.keep()
        return Reply()

    def _read_seeds(self, data: bytes) -> Reply:
        """Section 7.4: the pair now in force. What a lock without one says is unconfirmed: zeros here."""
        Reader(data).end()
        year = self._lock.clock().year % 100
        pair = next((seed_bytes(seed) for seed in self._flash.seeds if seed.year == year), bytes(SEED_BYTES))
        return with_battery(pair, self._flash.seeds_reset)

    # ---- log ---------------------------------------------------------------------------------------------------------

    def _read_log(self, data: bytes) -> Reply:
        """Section 11. A cursor below the first record means the first (unconfirmed)."""
        reader = Reader(data)
        cursor = reader.number(2)
        reader.end()
        unread = cursor == UNREAD
        first = self._flash.next_unread if unread else cursor
        left = [entry for entry in self._flash.log if entry.number >= first]
        if not left:
            return Reply(data=bytes(2))
        bad = self._settings.bad_record
        if left[0].number == bad:
            raise Refusal(Trouble.FAILED)
        page: list[LogEntry] = []
        for entry in left[: self._settings.pages["log"]]:
            if len(log_page([*page, entry])) + 2 > MAX_PLAIN_BYTES or entry.number == bad:
                break
            page.append(entry)

        def chosen(told: bytes) -> None:
            if unread:
                self._flash.next_unread = int.from_bytes(told[2:4], "big")
                self._lock.keep()

        def pages() -> Iterator[bytes]:
            return (log_page(page[:count]) for count in range(len(page), 0, -1))

        return Reply(data=log_page(page), others=pages, chosen=chosen)
