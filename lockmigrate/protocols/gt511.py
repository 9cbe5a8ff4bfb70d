"""The conversation with a GT-511 or GT-521 fingerprint module: identify, read, write with proof, erase.

These modules keep a count and no list: every id is asked for its template, and what answers must be as many as the
module counts. Bulk transfers run at the highest speed that both ends know; `close` puts the speed back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, Final

from lockmigrate.errors import LinkError, NoAnswer, Unsupported
from lockmigrate.formats.gt511 import (
    BAD_FINGER,
    CAPTURE_FINGER,
    CMOS_LED,
    DATABASE_EMPTY,
    IDENTIFY,
    IDENTIFY_FAILED,
    IS_PRESS_FINGER,
    NO_FINGER,
    OPEN,
    POWER_ON_BAUD,
    TEMPLATE_BYTES,
)
from lockmigrate.formats.gt511_tables import (
    COUNT,
    DEVINFO,
    FAMILY,
    SETTINGS,
    TEMPLATES,
    DeviceInfo,
    format_id,
    join_templates,
    parse_devinfo,
)
from lockmigrate.model.capabilities import Capabilities, CredentialCapabilities, CredentialCapability
from lockmigrate.model.document import Table
from lockmigrate.model.records import AccessKey
from lockmigrate.model.results import Progress, Unit
from lockmigrate.model.steps import Done, Step
from lockmigrate.profiles import Profile
from lockmigrate.protocols import EVERYTHING, ReadItem, Scope, Section, Touch
from lockmigrate.protocols.clock import utc_now
from lockmigrate.protocols.gt511_changes import Gt511Slots, must, write
from lockmigrate.protocols.gt511_wire import Gt511Wire
from lockmigrate.protocols.slots import read_slots

MOST_IDS: Final = 3000
"""The largest model on record, GT-521F52 (reference, Ids, sizes, models)."""
FINGER_PAUSE_S: Final = 0.2
"""Between two looks for a finger; ours."""
_PACKET_CHECK: Final = "gt511-sum16"


@dataclass(slots=True, kw_only=True)
class Found:
    """What is known of a module after it was opened."""

    profile: Profile
    info: DeviceInfo
    slots: int | None
    """How many ids there are: measured, else the profile's word."""
    measured: bool
    warnings: tuple[str, ...] = ()

    @property
    def model_word(self) -> str:
        """What stands for the model in format ids."""
        return self.profile.name


class Gt511Lock:
    """One opened module. Made by `gt511_door.open_unit`."""

    batch = 1
    given: tuple[AccessKey, ...] = ()
    """Nothing is needed to open these modules."""

    def __init__(
        self, wire: Gt511Wire, slots: Gt511Slots, found: Found, *, target: str, port_id: str, simulated: bool
    ) -> None:
        self._wire = wire
        self._slots = slots
        self._found = found
        self._target = target
        self._port_id = port_id
        self._simulated = simulated
        self._closed = False
        self._warnings = list(found.warnings)

    @property
    def variant(self) -> dict[str, Any]:
        """What the decoder must know beside the tables; see `Lock.variant`."""
        return {**self._found.profile.variant, "model": self._found.model_word, "slots": self._found.slots}

    # ---- who it is --------------------------------------------------------------------------------------------------

    async def identify(self) -> Unit:
        """Say who the module is and what it holds; see `Lock.identify`."""
        found, profile = self._found, self._found.profile
        count = await self._opened_and_counted()
        fingerprint = CredentialCapability(
            slots=found.slots,
            used=count,
            first_slot=0,
            readback="full",
            writable="data",
            template_formats=(format_id(found.model_word, found.info.firmware),),
            template_size_bytes=TEMPLATE_BYTES,
        )
        details: dict[str, Any] = {"baud": self._wire.found_baud, "iso_area_max": found.info.iso_area_max}
        if self._wire.baud != self._wire.found_baud:
            details["fast_baud"] = self._wire.baud
        return Unit(
            id=found.info.serial or self._port_id,
            serial=found.info.serial,
            family=FAMILY,
            model=profile.title if profile.name != FAMILY else None,
            vendor=profile.vendor,
            firmware=found.info.firmware,
            profile=profile.name,
            target=self._target,
            simulated=self._simulated,
            capabilities=Capabilities(
                basis="unit" if found.measured else "profile",
                credentials=CredentialCapabilities(fingerprint=fingerprint),
            ),
            counts={"fingerprints": count},
            details=details,
            warnings=(*self._warnings, *self._speed_warning()),
        )

    async def _opened_and_counted(self) -> int:
        reply = await self._wire.ask(OPEN, 1)
        must(reply, OPEN.name)
        self._found.info = parse_devinfo(reply.data)
        self._wire.info = reply.data
        return await self._slots.count()

    def _speed_warning(self) -> list[str]:
        found = self._wire.found_baud
        if found == POWER_ON_BAUD or self._wire.link.fixed_speed:
            return []
        return [
            f"the module was found at {found} baud and is left there; switch its power off and on before its lock uses "
            f"it again, it then starts at {POWER_ON_BAUD}"
        ]

    def _warn(self, text: str) -> None:
        if text not in self._warnings:
            self._warnings.append(text)

    # ---- reading ----------------------------------------------------------------------------------------------------

    async def read(self, sections: frozenset[Section] = EVERYTHING, *, twice: bool = False) -> AsyncIterator[ReadItem]:
        """Read the module's tables; see `Lock.read`."""
        if Section.IDENTITY in sections:
            reply = await self._wire.ask(OPEN, 1)
            must(reply, OPEN.name)
            yield _table(DEVINFO, reply.data, 1)
        if Section.INDEX in sections:
            yield _table(COUNT, (await self._slots.count()).to_bytes(4, "little"), 1)
        if Section.SETTINGS in sections:
            level = await self._slots.level()
            if level is not None:
                yield _table(SETTINGS, level.to_bytes(4, "little"), 1)
        if Section.CREDENTIALS in sections:
            async for item in self._read_templates(twice=twice):
                yield item

    async def _read_templates(self, *, twice: bool) -> AsyncIterator[ReadItem]:
        slots = self._found.slots
        if slots is None:
            slots = MOST_IDS
            self._warn(f"the module does not tell how many ids it has; {MOST_IDS} were asked, as the largest model has")
        count, started = await self._slots.count(), utc_now()
        await self._wire.raise_speed()
        rows: list[tuple[int, bytes]] = []
        async for item in read_slots(self._slots, range(slots), rows, twice=twice):
            yield item
        if len(rows) != count:
            self._warn(
                f"the module counts {count} templates, {len(rows)} ids answered; all that answered are in the backup"
            )
        yield _table(TEMPLATES, join_templates(rows), len(rows), started=started)

    # ---- changing ---------------------------------------------------------------------------------------------------

    async def rehearse_write(self, sample: bytes) -> bool | None:
        """Return None: what is sent to be compared is not given back; see `Lock.rehearse_write`."""
        del sample
        return None

    def write(self, steps: Iterable[Step]) -> AsyncIterator[Done]:
        """Carry out steps in their order; see `Lock.write`."""
        return write(self._slots, steps, capacity=self._found.slots)

    async def erase(self, scope: Scope) -> AsyncIterator[Progress]:
        """Empty the library; see `Lock.erase`."""
        if scope is Scope.FACTORY:
            raise Unsupported(
                "these modules have no way back to the factory's state",
                hint="without --factory, all templates are erased; that is all that is personal",
            )
        await self._slots.erase_all()
        yield Progress(stage="library", done=1, total=1)

    # ---- trying, closing --------------------------------------------------------------------------------------------

    async def touch(self, timeout_s: float) -> Touch:
        """Wait for a finger under the module's own light and ask whose it is; see `Lock.touch`."""
        try:
            must(await self._wire.ask(CMOS_LED, 1), CMOS_LED.name)
            await self._picture(timeout_s)
            reply = await self._wire.ask(IDENTIFY)
        finally:
            with contextlib.suppress(LinkError):  # the light goes out on every way; a unit that is gone has none
                await self._wire.ask(CMOS_LED, 0)
        if reply.ok:
            return Touch(matched=True, slot=reply.parameter)
        if reply.parameter not in (IDENTIFY_FAILED, DATABASE_EMPTY):
            must(reply, IDENTIFY.name)
        return Touch(matched=False)

    async def _picture(self, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_s
        while True:
            pressed = await self._wire.ask(IS_PRESS_FINGER)
            if pressed.ok and pressed.parameter == 0:
                reply = await self._wire.ask(CAPTURE_FINGER, 0)
                if reply.ok:
                    return
                if reply.parameter not in (NO_FINGER, BAD_FINGER):
                    must(reply, CAPTURE_FINGER.name)
            if loop.time() >= end_s:
                raise NoAnswer(
                    "a finger on the sensor", tries=1, timeout_s=timeout_s, hint="lay the finger flat and keep it there"
                )
            await asyncio.sleep(FINGER_PAUSE_S)

    async def close(self) -> None:
        """Put the speed back, leave the module waiting for nothing, and close the port; see `Lock.close`."""
        if self._closed:
            return
        self._closed = True
        try:
            with contextlib.suppress(LinkError):
                await self._wire.let_go()
                await self._wire.restore_speed()
        finally:
            await self._wire.link.close()


def _table(name: str, data: bytes, rows: int, *, started: str | None = None) -> Table:
    return Table(name=name, data=data, rows=rows, read_at_utc=started or utc_now(), check=_PACKET_CHECK)
