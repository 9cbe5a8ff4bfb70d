"""The conversation with a 0xF5 fingerprint module: identify, read, write with proof, erase.

The module keeps a list of ids and permissions, and repeats both with every template: they must agree. A permission is
a right, so it travels with its template as one record.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lockmigrate.errors import LinkError, NoAnswer, RefusedError, Unsupported
from lockmigrate.formats.f5 import FAIL, MATCH, MAX_USER, NO_USER, SETTINGS, TIMEOUT, parse_list
from lockmigrate.formats.f5_tables import (
    COUNT,
    FAMILY,
    LIST,
    TEMPLATES,
    VERSION,
    format_id,
    join_settings,
    join_templates,
    text_of,
)
from lockmigrate.formats.f5_tables import SETTINGS as SETTINGS_TABLE
from lockmigrate.model.capabilities import Capabilities, CredentialCapabilities, CredentialCapability
from lockmigrate.model.document import Table
from lockmigrate.model.records import AccessKey
from lockmigrate.model.results import Progress, Unit
from lockmigrate.model.steps import Done, Step
from lockmigrate.profiles import Profile
from lockmigrate.protocols import EVERYTHING, ReadItem, Scope, Section, Touch
from lockmigrate.protocols.clock import utc_now
from lockmigrate.protocols.f5_changes import Changes, F5Slots
from lockmigrate.protocols.f5_wire import FINGER_S, F5Wire
from lockmigrate.protocols.slots import read_slots

FINGER_PAUSE_S: Final = 0.2
"""Between two questions for a finger; ours."""
_PACKET_CHECK: Final = "f5-xor8"


@dataclass(slots=True, kw_only=True)
class Found:
    """What is known of a module after it was opened."""

    profile: Profile
    version: bytes | None
    """As it was read."""

    @property
    def firmware(self) -> str | None:
        return text_of(self.version) if self.version else None

    @property
    def slots(self) -> int | None:
        """The profile's word; the module answers 04 when it is full, and says nothing before."""
        stated = self.profile.capabilities.credentials.fingerprint
        return stated.slots if stated else None

    @property
    def template_bytes(self) -> int | None:
        """The profile's word."""
        stated = self.profile.capabilities.credentials.fingerprint
        return stated.template_size_bytes if stated else None


class F5Lock:
    """One opened module. Made by `f5_door.open_unit`."""

    batch = 1
    given: tuple[AccessKey, ...] = ()
    """Nothing is needed to open these modules."""

    def __init__(
        self, wire: F5Wire, slots: F5Slots, found: Found, *, target: str, port_id: str, simulated: bool
    ) -> None:
        self._wire = wire
        self._slots = slots
        self._changes = Changes(slots)
        self._found = found
        self._target = target
        self._port_id = port_id
        self._simulated = simulated
        self._closed = False
        self._warnings: list[str] = []

    @property
    def variant(self) -> dict[str, Any]:
        """What the decoder must know beside the tables; see `Lock.variant`."""
        found = self._found
        return {**found.profile.variant, "slots": found.slots, "template_size": found.template_bytes}

    # ---- who it is --------------------------------------------------------------------------------------------------

    async def identify(self) -> Unit:
        """Say who the module is and what it holds; see `Lock.identify`."""
        found, profile = self._found, self._found.profile
        used = await self._slots.count()
        if used is None:
            raw = await self._slots.list_bytes()
            used = len(parse_list(raw)[1]) if raw is not None else None
        measured = self._slots.template_bytes
        size = measured or found.template_bytes
        fingerprint = CredentialCapability(
            slots=found.slots,
            used=used,
            first_slot=1,
            last_slot=MAX_USER,
            readback="full",
            writable="data",
            template_formats=(format_id(found.firmware, size),),
            template_size_bytes=size,
        )
        return Unit(
            id=self._port_id,
            serial=None,
            family=FAMILY,
            model=profile.title if profile.name != FAMILY else None,
            vendor=profile.vendor,
            firmware=found.firmware,
            profile=profile.name,
            target=self._target,
            simulated=self._simulated,
            capabilities=Capabilities(credentials=CredentialCapabilities(fingerprint=fingerprint)),
            counts={} if used is None else {"fingerprints": used},
            details={
                "baud": self._wire.baud,
                "template_bytes_stated": found.template_bytes,
                "template_bytes_measured": measured,
            },
            warnings=(*self._warnings, *([self._changes.trouble] if self._changes.trouble else [])),
        )

    def _warn(self, text: str) -> None:
        if text not in self._warnings:
            self._warnings.append(text)

    # ---- reading ----------------------------------------------------------------------------------------------------

    async def read(self, sections: frozenset[Section] = EVERYTHING, *, twice: bool = False) -> AsyncIterator[ReadItem]:
        """Read the module's tables; see `Lock.read`."""
        if Section.IDENTITY in sections and self._found.version is not None:
            yield _table(VERSION, self._found.version, 1)
        if Section.INDEX in sections:
            raw = await self._slots.list_bytes()
            if raw is not None:
                yield _table(LIST, raw, len(parse_list(raw)[1]))
            count = await self._slots.count()
            if count is not None:
                yield _table(COUNT, count.to_bytes(2, "big"), 1)
        if Section.SETTINGS in sections:
            asked = {command.code: await self._slots.setting(command) for command in SETTINGS}
            values = {code: value for code, value in asked.items() if value is not None}
            if values:
                yield _table(SETTINGS_TABLE, join_settings(values), len(values))
        if Section.CREDENTIALS in sections:
            async for item in self._read_templates(twice=twice):
                yield item

    async def _read_templates(self, *, twice: bool) -> AsyncIterator[ReadItem]:
        started = utc_now()
        count, raw = await self._slots.count(), await self._slots.list_bytes()
        rows: list[tuple[int, bytes]] = []
        wanted: Sequence[int]
        if raw is None:
            self._warn("the module has no list of its users; every id was asked")
            wanted, told = range(1, MAX_USER + 1), {count}  # ids are the host's choice, however many users fit
            self._slots.unlisted = True
        else:
            stated, listed = parse_list(raw)
            wanted, told = sorted(listed), {count, stated, len(listed)}
            self._slots.listed = listed
        try:
            async for item in read_slots(self._slots, wanted, rows, twice=twice):
                yield item
        finally:
            self._slots.listed, self._slots.unlisted = None, False
        if told - {None, len(rows)}:
            numbers = ", ".join(str(number) for number in sorted(number for number in told if number is not None))
            self._warn(f"the module's own numbers of users ({numbers}) and what answered ({len(rows)}) differ")
        sizes = {len(data) - 1 for _, data in rows if data}
        if len(sizes) > 1:
            self._warn(f"its templates have different sizes: {', '.join(map(str, sorted(sizes)))} bytes")
        yield _table(TEMPLATES, join_templates(rows), len(rows), started=started)

    # ---- changing ---------------------------------------------------------------------------------------------------

    async def rehearse_write(self, sample: bytes) -> bool | None:
        """Return None: what is sent to be compared is not given back; see `Lock.rehearse_write`."""
        del sample
        return None

    def write(self, steps: Iterable[Step]) -> AsyncIterator[Done]:
        """Carry out steps in their order; see `Lock.write`."""
        return self._changes.write(steps)

    async def erase(self, scope: Scope) -> AsyncIterator[Progress]:
        """Delete all users; see `Lock.erase`."""
        if scope is Scope.FACTORY:
            raise Unsupported(
                "these modules have no way back to the factory's state",
                hint="without --factory, all users are erased; that is all that is personal",
            )
        await self._slots.erase_all()
        yield Progress(stage="library", done=1, total=1)

    # ---- trying, closing --------------------------------------------------------------------------------------------

    async def touch(self, timeout_s: float) -> Touch:
        """Let the module wait for a finger and say whose it is; see `Lock.touch`."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_s
        nobody = NoAnswer(
            "a finger on the sensor", tries=1, timeout_s=timeout_s, hint="lay the finger flat and keep it there"
        )
        while True:
            try:
                # It answers by itself, after its own time-out at the latest; to interrupt it is not known to be safe.
                reply = await self._wire.ask(MATCH, timeout_s=max(FINGER_S, end_s - loop.time()))
            except NoAnswer:
                raise nobody from None
            if reply.result == NO_USER:
                return Touch(matched=False)
            if reply.result != TIMEOUT and reply.number:
                return Touch(matched=True, slot=reply.number)
            if reply.result == FAIL:
                raise RefusedError(f"the module refuses to match: {reply.text}", status=reply.result)
            if loop.time() >= end_s:
                raise nobody
            await asyncio.sleep(FINGER_PAUSE_S)

    async def close(self) -> None:
        """Put the rule about duplicates back, leave the module waiting for nothing, and close; see `Lock.close`."""
        if self._closed:
            return
        self._closed = True
        try:
            with contextlib.suppress(LinkError):
                await self._wire.let_go()
                await self._changes.put_back()
        finally:
            await self._wire.link.close()


def _table(name: str, data: bytes, rows: int, *, started: str | None = None) -> Table:
    return Table(name=name, data=data, rows=rows, read_at_utc=started or utc_now(), check=_PACKET_CHECK)
