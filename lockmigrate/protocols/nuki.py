"""One opened Nuki lock: who it is, what it gives out, and the way to its changes.

Order and rules of sections 6 and 12 of the Nuki reference. Templates and the keys of other people's apps never leave a
lock: they are gaps, announced by the profile, one for each person who has to come or to be invited again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from lockmigrate.errors import FrameError, NoAnswer, RefusedError, Unsupported, WrongCredential
from lockmigrate.formats.nuki import FAMILY, Cmd, Refusal
from lockmigrate.formats.nuki_config import Facts, parse_facts, time_zone
from lockmigrate.formats.nuki_log import log_index
from lockmigrate.formats.nuki_records import (
    STATES_UPDATE_COUNT_AT,
    join_list,
    parse_date,
    text_of,
)
from lockmigrate.formats.nuki_tables import (
    ADVANCED_TABLE,
    BATTERY,
    CODES,
    CONFIG_TABLE,
    DEVICE,
    FINGERPRINTS,
    LOG_TABLE,
    PEOPLE,
    TIMERS,
    UPDATE_COUNT,
    capabilities,
)
from lockmigrate.model.document import Gap, Table
from lockmigrate.model.records import AccessKey
from lockmigrate.model.results import Progress, Unit
from lockmigrate.model.secret import Secret
from lockmigrate.model.steps import Done, Step
from lockmigrate.profiles import Profile
from lockmigrate.protocols import EVERYTHING, ReadItem, Scope, Section, Touch
from lockmigrate.protocols.clock import utc_now
from lockmigrate.protocols.credentials import NukiCredential
from lockmigrate.protocols.nuki_changes import CODES_FROM_THE_START, Changes
from lockmigrate.protocols.nuki_gaps import CODES_KEPT, accessories, fingers, people
from lockmigrate.protocols.nuki_wire import Listing, Wire

BATCH: Final = 50
"""How many codes are written before the list is read again to prove them; ours."""
LOG_PAGE: Final = 100
MAX_LOG: Final = 20_000
"""Ours: a lock that never stops sending log entries is not believed."""
CLOCK_WARNING_S: Final = 120
NOT_THERE: Final = frozenset({Refusal.BAD_PARAMETER, Refusal.BAD_LENGTH, Refusal.UNKNOWN})
"""What a lock may answer to a question that its firmware does not know; undocumented (10.2)."""
_CHECK: Final = "poly1305"
"""Every message is authentic and whole, so a table is read once (decision 16)."""


@dataclass(slots=True, kw_only=True)
class Found:
    """What is known of a lock after it was opened."""

    profile: Profile
    generation: str
    """`1-4`, `5` or `opener`."""
    device: dict[str, str]
    """The Device Information service."""
    config: bytes
    address: str
    credential: NukiCredential
    states: bytes = b""
    battery: bytes | None = None
    clock_offset_s: int | None = None

    @property
    def facts(self) -> Facts:
        return parse_facts(self.config)

    @property
    def has_keypad(self) -> bool:
        return self.facts.has_keypad or self.facts.has_keypad_2


class NukiLock:
    """One opened lock. Made by `nuki_door.open_unit`."""

    batch = BATCH

    def __init__(self, wire: Wire, found: Found, *, target: str, simulated: bool) -> None:
        self._wire = wire
        self._found = found
        self._changes = Changes(wire, writable=found.generation != "opener")
        self._target = target
        self._simulated = simulated
        self._unsupported: set[str] = set()
        self._counts: dict[str, int] = {}
        self._authorisations: int | None = None
        self._names: dict[int, str] = {}

    # ---- who it is --------------------------------------------------------------------------------------------------

    async def identify(self) -> Unit:
        """Say who the lock is; what it holds is known once its lists were read. See `Lock.identify`."""
        found = self._found
        await self._look()
        facts = found.facts
        return Unit(
            id=f"{facts.nuki_id:08X}",
            serial=f"{facts.nuki_id:08X}",
            family=FAMILY,
            model=found.profile.title if found.profile.name != FAMILY else None,
            vendor=found.profile.vendor,
            firmware=facts.firmware,
            hardware=facts.hardware,
            profile=found.profile.name,
            target=self._target,
            simulated=self._simulated,
            capabilities=capabilities(self.variant, self._counts.get("pins")),
            counts=dict(self._counts),
            details=self._details(facts),
            warnings=tuple(self._warnings()),
        )

    async def recognise(self, profiles: Iterable[Profile]) -> None:
        """Ask who the lock is, and choose the profile that fits unless one was named.

        Raises:
            RefusedError, LinkError: it does not know us, or the conversation failed.
        """
        await self._look()
        facts, found = self._found.facts, self._found
        if found.profile.name != FAMILY:
            return
        for profile in profiles:
            wanted = profile.match
            models = [str(facts.device_type)] if facts.device_type is not None else []
            if wanted.model and any(fnmatchcase(model, pattern) for model in models for pattern in wanted.model):
                firmware = not wanted.firmware or any(fnmatchcase(facts.firmware, item) for item in wanted.firmware)
                if firmware and (profile.variant.get("generation") == 5) == (found.generation == "5"):
                    found.profile = profile
                    return

    async def count(self) -> None:
        """Read the lists, so that `identify` can say how many there are: the lock has no counters."""
        if not self._counts and self._found.credential.security_pin is not None:
            async for _ in self.read(frozenset({Section.CREDENTIALS})):
                pass

    async def _look(self) -> None:
        """Read the configuration and the states, and hold the lock's clock against ours."""
        found = self._found
        found.config = await self._wire.ask(Cmd.REQUEST_CONFIG, answer=Cmd.CONFIG)
        found.facts  # noqa: B018 - a configuration that does not follow its layout is told here
        found.states = await self._wire.ask(
            Cmd.REQUEST_DATA, Cmd.STATES.to_bytes(2, "little"), answer=Cmd.STATES, nonce=False
        )
        now = dt.datetime.now(dt.UTC)
        theirs = parse_date(found.states[3:10]) if len(found.states) >= 10 else None
        if theirs is not None:
            found.clock_offset_s = round((dt.datetime.fromisoformat(theirs) - now).total_seconds())

    @property
    def variant(self) -> dict[str, Any]:
        """What the decoder must know beside the tables; see `Lock.variant`."""
        found = self._found
        held = found.profile.capabilities.credentials
        known: dict[str, Any] = {"generation": found.generation, "address": found.address}
        if held.pin is not None and held.pin.slots is not None:
            known["code_slots"] = held.pin.slots
        if held.fingerprint is not None and held.fingerprint.slots is not None:
            known["fingerprint_slots"] = held.fingerprint.slots
        if found.clock_offset_s is not None:
            known["clock_offset_s"] = found.clock_offset_s
        if self._unsupported:
            known["unsupported"] = sorted(self._unsupported)
        return known

    @property
    def given(self) -> tuple[AccessKey, ...]:
        """The keys of our own authorisation, and the PIN: needed to read this lock again; see `Lock.given`."""
        held = self._found.credential
        secrets = {
            "authorization_id": held.authorization_id,
            "shared_key": held.shared_key,
            "security_pin": held.security_pin,
        }
        return tuple(
            AccessKey(key=f"access_key/nuki.{name}", kind="given", secret=Secret(str(value)))
            for name, value in secrets.items()
            if value is not None
        )

    def _details(self, facts: Facts) -> dict[str, Any]:
        found = self._found
        battery = found.states[12] if len(found.states) > 12 else None
        return {
            "generation": found.generation,
            "name": text_of(facts.name),
            "address": found.address,
            "uuid": found.credential.uuid,
            "authorisations": self._authorisations,
            "keypad": "2" if facts.has_keypad_2 else "1" if facts.has_keypad else None,
            "time_zone": time_zone(facts.timezone_id),
            "clock_offset_s": found.clock_offset_s,
            "battery_critical": None if battery is None else bool(battery & 1),
            # Newer firmware packs the percentage into bits 2 to 7; older ones leave it 0 (9.1).
            "battery_percent": (battery >> 2) * 2 or None if battery is not None else None,
        }

    def _warnings(self) -> Iterable[str]:
        found = self._found
        offset = None if self._simulated else found.clock_offset_s
        if offset is not None and abs(offset) > CLOCK_WARNING_S:
            yield (
                f"the lock's clock is {abs(offset)} s {'ahead' if offset > 0 else 'behind'}; a restore sets it, "
                "until then time limits go by it"
            )
        if self._wire.crc_zero:
            yield f"{self._wire.crc_zero} authentic messages came with the CRC 0000, as some locks send it"

    # ---- reading ----------------------------------------------------------------------------------------------------

    async def read(self, sections: frozenset[Section] = EVERYTHING, *, twice: bool = False) -> AsyncIterator[ReadItem]:
        """Read the lock's tables; see `Lock.read`. Every message is authentic, so `twice` changes nothing.

        Raises:
            TornRead: a list came with another number of entries than announced, three times.
        """
        del twice
        found = self._found
        if Section.IDENTITY in sections and found.device:
            lines = "".join(f"{name}={value}\n" for name, value in sorted(found.device.items()))
            yield _table(DEVICE, lines.encode(), len(found.device))
        if sections & {Section.IDENTITY, Section.SETTINGS, Section.INDEX}:
            await self._look()
        if sections & {Section.IDENTITY, Section.SETTINGS}:
            yield _table(CONFIG_TABLE, found.config, 1)
        if Section.INDEX in sections and len(found.states) > STATES_UPDATE_COUNT_AT:
            yield _table(UPDATE_COUNT, found.states[STATES_UPDATE_COUNT_AT : STATES_UPDATE_COUNT_AT + 1], 1)
        if Section.SETTINGS in sections:
            async for item in self._read_settings():
                yield item
        for section, reader in ((Section.CREDENTIALS, self._read_credentials), (Section.LOG, self._read_log)):
            if section in sections:
                async with aclosing(reader()) as items:
                    async for item in items:
                        yield item

    async def _read_settings(self) -> AsyncIterator[ReadItem]:
        for name, ask in (
            (ADVANCED_TABLE, (Cmd.REQUEST_ADVANCED_CONFIG, b"", Cmd.ADVANCED_CONFIG, True)),
            (BATTERY, (Cmd.REQUEST_DATA, Cmd.BATTERY_REPORT.to_bytes(2, "little"), Cmd.BATTERY_REPORT, False)),
        ):
            command, payload, answer, nonce = ask
            try:
                data = await self._wire.ask(command, payload, answer=answer, nonce=nonce)
            except RefusedError as error:
                if error.status not in NOT_THERE:
                    raise
                self._unsupported.add(name)
                continue
            self._unsupported.discard(name)
            yield _table(name, data, 1, volatile=name == BATTERY)

    async def _read_credentials(self) -> AsyncGenerator[ReadItem, None]:
        await self._wire.change(Cmd.VERIFY_PIN, b"")
        self._names = {}
        for name, stage, command, payload, entry, count in (
            (PEOPLE, "authorisations", Cmd.REQUEST_AUTHORIZATIONS, CODES_FROM_THE_START, Cmd.AUTHORIZATION_ENTRY,
             Cmd.AUTHORIZATION_COUNT),
            (CODES, "codes", Cmd.REQUEST_CODES, CODES_FROM_THE_START, Cmd.CODE_ENTRY, Cmd.CODE_COUNT),
            (FINGERPRINTS, "fingerprints", Cmd.REQUEST_FINGERPRINTS, b"", Cmd.FINGERPRINT_ENTRY, None),
            (TIMERS, "timers", Cmd.REQUEST_TIMERS, b"", Cmd.TIMER_ENTRY, Cmd.TIMER_COUNT),
        ):  # fmt: skip
            if name == FINGERPRINTS and not self._found.facts.has_keypad_2:
                continue
            started, listing = utc_now(), Listing()
            try:
                async for listing in self._wire.listing(command, payload, entry=entry, count=count):
                    done = len(listing.items)
                    yield Progress(stage=stage, done=done, total=max(done, listing.announced or 0))
            except (RefusedError, NoAnswer) as error:
                if listing.items or not self._may_be_absent(name, error):
                    raise
                self._unsupported.add(name)
                continue
            self._unsupported.discard(name)
            yield _table(name, join_list(listing.announced, listing.items), len(listing.items), started=started)
            for gap in self._gaps(name, listing.items):
                yield gap
        for gap in accessories(self._found.facts):
            yield gap
        if CODES in self._unsupported and self._found.has_keypad:
            yield CODES_KEPT

    def _may_be_absent(self, name: str, error: RefusedError | NoAnswer) -> bool:
        """Whether this answer, or silence, means that the lock has no such list."""
        if isinstance(error, WrongCredential):
            return False
        if name == FINGERPRINTS or (name == CODES and not self._found.has_keypad):
            return isinstance(error, NoAnswer) or error.status in NOT_THERE
        return name != PEOPLE and isinstance(error, RefusedError) and error.status in NOT_THERE

    def _gaps(self, name: str, items: list[bytes]) -> Iterable[Gap]:
        """Count a list, and yield what it says about things that the lock keeps to itself."""
        if name == CODES:
            self._counts["pins"] = len(items)
            self._names = {int.from_bytes(raw[:2], "little"): text_of(raw[6:26]) or "" for raw in items}
        elif name == TIMERS:
            self._counts["lock_schedules"] = len(items)
        elif name == PEOPLE:
            self._authorisations = len(items)
            yield from people(items)
        elif name == FINGERPRINTS:
            yield from fingers(items, self._names)

    async def _read_log(self) -> AsyncGenerator[ReadItem, None]:
        started = utc_now()
        entries: dict[int, bytes] = {}
        start, total, head = 0, 0, b""
        while len(entries) < MAX_LOG:
            payload = start.to_bytes(4, "little") + LOG_PAGE.to_bytes(2, "little") + bytes([1, 0 if head else 1])
            listing = Listing()
            try:
                pages = self._wire.listing(
                    Cmd.REQUEST_LOG, payload, entry=Cmd.LOG_ENTRY, count=None, head=Cmd.LOG_COUNT
                )
                async for listing in pages:
                    if len(listing.head) >= 3:
                        head, total = listing.head, int.from_bytes(listing.head[1:3], "little")
                    done = len(entries) + len(listing.items)
                    yield Progress(stage="log", done=done, total=max(done, total))
            except RefusedError as error:
                if error.status not in NOT_THERE or entries or isinstance(error, WrongCredential):
                    raise
                self._unsupported.add(LOG_TABLE)
                return
            except NoAnswer:
                if not entries or len(entries) < total:
                    raise
                break  # where no Status ends a list, silence is what comes after the last entry
            fresh = {log_index(raw): raw for raw in listing.items}
            if fresh.keys() <= entries.keys():
                break
            entries |= fresh
            start = min(fresh)
            if start == 0:
                break
        else:
            raise FrameError(f"the lock has more than {MAX_LOG} log entries, or never ends")
        self._unsupported.discard(LOG_TABLE)
        ordered = [entries[index] for index in sorted(entries, reverse=True)]
        yield _table(LOG_TABLE, join_list(total if head else None, ordered), len(ordered), started=started)

    # ---- writing ----------------------------------------------------------------------------------------------------

    async def rehearse_write(self, sample: bytes) -> bool | None:
        """There is nothing to prove beforehand; see `Lock.rehearse_write`."""
        return None

    async def write(self, steps: Iterable[Step]) -> AsyncIterator[Done]:
        """Carry out steps in their order; see `Lock.write`."""
        self._counts = {}
        async with aclosing(self._changes.write(steps)) as dones:
            async for done in dones:
                yield done

    async def erase(self, scope: Scope) -> AsyncIterator[Progress]:
        """Remove keypad codes and timers; authorisations are administration and stay. See `Lock.erase`."""
        if scope is Scope.FACTORY:
            raise Unsupported(
                "a Nuki lock is not reset over the air",
                hint="without --factory, codes and timers are removed; the owner resets it with the app or the button",
            )
        self._counts = {}
        async with aclosing(self._changes.erase()) as items:
            async for item in items:
                yield item

    async def remove_self(self) -> None:
        """Remove our own authorisation; nothing works after it.

        Raises:
            RefusedError, LinkError: from the lock.
        """
        held = self._found.credential.authorization_id or 0
        try:
            await self._wire.change(Cmd.REMOVE_AUTHORIZATION, held.to_bytes(4, "little"))
        except WrongCredential as error:
            if error.status != Refusal.NOT_AUTHORIZED:
                raise
            # It forgot our key before it answered, and can only say so in clear.

    async def touch(self, timeout_s: float) -> Touch:
        """A Nuki lock has no sensor that we could ask; see `Lock.touch`."""
        raise Unsupported(
            "a Nuki lock does not tell whose finger it is", hint="try the code or the finger at the keypad"
        )

    async def rest(self) -> None:
        """Let go of the lock while a person is asked; see `Lock.rest`."""
        await self._wire.rest()

    async def close(self) -> None:
        """Disconnect; see `Lock.close`."""
        await self._wire.close()


def _table(name: str, data: bytes, rows: int, *, started: str | None = None, volatile: bool = False) -> Table:
    return Table(name=name, data=data, rows=rows, read_at_utc=started or utc_now(), check=_CHECK, volatile=volatile)
