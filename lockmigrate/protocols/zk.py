"""One opened ZKTeco terminal: who it is, what it gives out, and the way to its changes.

While tables are read or written the unit is disabled, for a limited time that is renewed, and enabled again on every
way out. Reading changes nothing; counters are refreshed only where they contradict a table (reference, section 11.7).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any, Final

from lockmigrate.errors import LinkError, RefusedError, TornRead, Unsupported
from lockmigrate.formats import zk_log
from lockmigrate.formats.zk import Cmd
from lockmigrate.formats.zk_records import follows_v10, split_templates, split_users, tell_width
from lockmigrate.formats.zk_tables import (
    ATTENDANCE,
    CAPACITY,
    FIRMWARE,
    OPERATIONS,
    OPTIONS,
    TEMPLATES,
    USERS,
    capabilities,
)
from lockmigrate.model.document import Gap
from lockmigrate.model.records import AccessKey
from lockmigrate.model.results import Progress, Unit
from lockmigrate.model.secret import Secret
from lockmigrate.model.steps import Done, Step
from lockmigrate.protocols import EVERYTHING, ReadItem, Scope, Section, Touch
from lockmigrate.protocols.clock import utc_now
from lockmigrate.protocols.zk_bulk import (
    ATTENDANCE_LOG,
    OPERATION_LOG,
    TEMPLATE_TABLE,
    USER_TABLE,
    BulkTable,
    open_table,
)
from lockmigrate.protocols.zk_changes import Changes
from lockmigrate.protocols.zk_open import Found, read_capacity
from lockmigrate.protocols.zk_pause import Pause
from lockmigrate.protocols.zk_settings import SettingsReader, table
from lockmigrate.protocols.zk_wire import LEAVE_S, Wire

BATCH: Final = 20
"""How many users or templates are written before they are proven together (reference, section 7)."""
CLOCK_WARNING_S: Final = 120


class ZkLock:
    """One opened terminal. Made by `zk_door.open_unit`."""

    batch = BATCH

    def __init__(
        self,
        wire: Wire,
        found: Found,
        *,
        target: str,
        port_id: str,
        simulated: bool = False,
        comm_key: int | None = None,
    ) -> None:
        self._wire = wire
        self._found = found
        self._pause = Pause(wire)
        self._changes = Changes(wire, found, self._pause)
        self._unsupported: set[str] = set()
        self._settings = SettingsReader(wire, self._changes, self._pause, self._unsupported)
        self._target = target
        self._port_id = port_id
        self._simulated = simulated
        self._comm_key = comm_key
        self._attlog_bytes: int | None = found.profile.variant.get("attlog_bytes")
        self._uids: list[int] | None = None
        self._odd_templates = 0
        self._body = b""
        self._closed = False

    # ---- who it is --------------------------------------------------------------------------------------------------

    async def identify(self) -> Unit:
        """Say who the terminal is, what it holds and what it can hold; see `Lock.identify`."""
        found, profile = self._found, self._found.profile
        found.capacity_raw = await read_capacity(self._wire)
        capacity = found.capacity
        return Unit(
            id=found.serial or self._port_id,
            serial=found.serial,
            family="zk",
            model=found.model,
            vendor=profile.vendor or found.options.get("~OEMVendor") or None,
            firmware=found.firmware,
            hardware=found.platform,
            profile=profile.name,
            target=self._target,
            simulated=self._simulated,
            capabilities=capabilities(capacity, found.width, found.fp_version),
            counts={"users": capacity.users, "fingerprints": capacity.templates},
            details=self._details(),
            warnings=tuple(self._warnings()),
        )

    @property
    def variant(self) -> dict[str, Any]:
        """What the decoder must know beside the tables; see `Lock.variant`."""
        known = {name: value for name, value in self._found.profile.variant.items() if name != "ticks"}
        known |= {"record_bytes": self._found.width, "fp_version": self._found.fp_version}
        if self._attlog_bytes is not None:
            known["attlog_bytes"] = self._attlog_bytes
        if self._found.clock_offset_s is not None:
            known["clock_offset_s"] = self._found.clock_offset_s
        if self._unsupported:
            known["unsupported"] = sorted(self._unsupported)
        return known

    @property
    def given(self) -> tuple[AccessKey, ...]:
        """The comm key that was used, if one was; see `Lock.given`."""
        if self._comm_key is None:
            return ()
        return (AccessKey(key="access_key/zk.comm_key", kind="given", secret=Secret(str(self._comm_key))),)

    def _details(self) -> dict[str, Any]:
        found, capacity = self._found, self._found.capacity
        return {
            "transport": "udp" if self._wire.datagrams else "tcp",
            "record_bytes": found.width,
            "record_bytes_measured": found.width_measured,
            "fp_version": found.fp_version,
            "encoding": found.profile.variant.get("encoding"),
            "platform": found.platform,
            "admins": capacity.admins,
            "passwords": capacity.passwords,
            "attendance": capacity.attendance,
            "clock_offset_s": found.clock_offset_s,
        }

    def _warnings(self) -> Iterable[str]:
        found, capacity = self._found, self._found.capacity
        offset = None if self._simulated else found.clock_offset_s
        if offset is not None and abs(offset) > CLOCK_WARNING_S:
            yield f"the terminal's clock is {abs(offset)} s {'ahead' if offset > 0 else 'behind'}; time zones go by it"
        if capacity.users and not found.width_measured:
            yield f"user records are taken to have {found.width} bytes, which the terminal's counters do not confirm"
        if self._odd_templates:
            yield f"{self._odd_templates} templates do not begin as those of version 10 do"

    # ---- reading ----------------------------------------------------------------------------------------------------

    async def read(self, sections: frozenset[Section] = EVERYTHING, *, twice: bool = False) -> AsyncIterator[ReadItem]:
        """Read the terminal's tables; see `Lock.read`.

        Raises:
            RefusedError: it counts users and does not give them out.
            TornRead: two readings of one table differ every time (`twice`).
        """
        if Section.IDENTITY in sections:
            yield table(OPTIONS, self._found.options_raw, len(self._found.options))
            if self._found.firmware_raw is not None:
                yield table(FIRMWARE, self._found.firmware_raw, 1)
        self._found.capacity_raw = await read_capacity(self._wire)
        if sections - {Section.IDENTITY}:
            async with self._pause.hold(), aclosing(self._read_tables(sections, twice=twice)) as items:
                async for item in items:
                    yield item
        if Section.IDENTITY in sections:
            yield table(CAPACITY, self._found.capacity_raw, 1)

    async def _read_tables(self, sections: frozenset[Section], *, twice: bool) -> AsyncGenerator[ReadItem, None]:
        if Section.INDEX in sections:
            async with aclosing(self._read_users(twice=twice)) as items:
                async for item in items:
                    yield item
        if Section.SETTINGS in sections:
            if self._uids is None:
                self._uids = list(await self._changes.users.records())
            async with aclosing(self._settings.read(self._uids)) as items:
                async for item in items:
                    yield item
        if Section.CREDENTIALS in sections:
            async with aclosing(self._read_templates(twice=twice)) as items:
                async for item in items:
                    yield item
        if Section.LOG in sections:
            async with aclosing(self._read_logs()) as items:
                async for item in items:
                    yield item
        # A unit that was restarted meanwhile refuses everything: that is not to be taken for "it has no such table".
        self._found.capacity_raw = await read_capacity(self._wire)

    async def _read_users(self, *, twice: bool) -> AsyncGenerator[ReadItem, None]:
        started, count = utc_now(), self._found.capacity.users
        refused = False
        async with aclosing(self._bulk(USER_TABLE, "users", count, twice=twice)) as items:
            async for item in items:
                refused = refused or item is None
                if item is not None:
                    yield item
        if refused:
            if count:
                await read_capacity(self._wire)
                raise RefusedError(
                    f"the terminal counts {count} users and does not give them out",
                    hint="another program may be using it; close it and try again",
                )
            self._body = b""  # it counts none, and some firmware refuses a table that is empty
        body = self._body
        width = tell_width(body, count=count, hint=self._found.width)
        rows = split_users(body, width)
        if len(rows) != count:
            await self._refresh_counters()
        if body:
            self._found.width = width
            self._found.width_measured = len(rows) == self._found.capacity.users
        self._uids = [row.uid for row in rows]
        yield table(USERS, body, len(rows), started=started)

    async def _read_templates(self, *, twice: bool) -> AsyncGenerator[ReadItem, None]:
        started, capacity = utc_now(), self._found.capacity
        refused = False
        async with aclosing(self._bulk(TEMPLATE_TABLE, "fingerprints", capacity.templates, twice=twice)) as items:
            async for item in items:
                refused = refused or item is None
                if item is not None:
                    yield item
        if refused and capacity.templates:
            yield Gap(
                section="credentials",
                record=None,
                code="template-unreadable",
                detail=f"the terminal counts {capacity.templates} templates and does not give them out",
            )
        else:
            body = b"" if refused else self._body
            entries = split_templates(body)
            if len(entries) != capacity.templates:
                await self._refresh_counters()
            if self._found.fp_version == 10:
                self._odd_templates = sum(
                    1 for entry in entries if not follows_v10(body[entry.offset : entry.offset + entry.size])
                )
            yield table(TEMPLATES, body, len(entries), started=started)
        faces = self._found.capacity.faces
        if faces:
            yield Gap(
                section="faces",
                record=None,
                code="no-public-layout",
                detail=f"{faces} faces have no public layout; these people enrol again",
            )

    async def _read_logs(self) -> AsyncGenerator[ReadItem, None]:
        capacity = self._found.capacity
        for spec, name, counted in (
            (ATTENDANCE_LOG, ATTENDANCE, capacity.attendance),
            (OPERATION_LOG, OPERATIONS, capacity.operations),
        ):
            started = utc_now()
            refused = False
            async with aclosing(self._bulk(spec, spec.what, counted, twice=False)) as items:
                async for item in items:
                    refused = refused or item is None
                    if item is not None:
                        yield item
            if refused:
                self._unsupported.add(name)
                if counted:
                    detail = f"the terminal counts {counted} lines in its {spec.what} and does not give them out"
                    yield Gap(section="log", record=None, code="log", detail=detail)
                continue
            self._unsupported.discard(name)
            width: int | None = zk_log.OPERATION_BYTES
            if name == ATTENDANCE:
                width = zk_log.tell_width(self._body, count=counted, hint=self._attlog_bytes)
                if width and self._body and len(self._body) // width != counted:
                    await self._refresh_counters()
                    counted = self._found.capacity.attendance
                    width = zk_log.tell_width(self._body, count=counted, hint=self._attlog_bytes)
                self._attlog_bytes = width if width in zk_log.WIDTHS and self._body else self._attlog_bytes
            yield table(name, self._body, len(self._body) // (width or 1) if width else 0, started=started)

    async def _bulk(
        self, spec: BulkTable, stage: str, count: int, *, twice: bool
    ) -> AsyncGenerator[Progress | None, None]:
        """Read one table into `_body`, as often as it takes to be sure; yields None where the unit does not give it."""
        seen: list[bytes] = []
        for _ in range(3 if twice else 1):
            async with open_table(self._wire, spec) as reading:
                if reading.refused is not None:
                    yield None
                    return
                yield Progress(stage=stage, done=0, total=count)
                while await reading.more():
                    await self._pause.renew()
                    done = min(count, count * reading.got_bytes // reading.size_bytes)
                    yield Progress(stage=stage, done=done, total=count, size_bytes=reading.got_bytes)
                body = reading.body()
            yield Progress(stage=stage, done=count, total=count, size_bytes=len(body))
            if not twice or body in seen:
                self._body = body
                return
            seen.append(body)
        raise TornRead(
            f"the {spec.what} came differently every time it was read", hint="keep people from the terminal meanwhile"
        )

    async def _refresh_counters(self) -> None:
        """Counters can lag until REFRESH (reference, section 11.7)."""
        await self._wire.ask(Cmd.REFRESH, repeatable=True, timeout_s=self._wire.facts.write_s)
        self._found.capacity_raw = await read_capacity(self._wire)

    # ---- writing ----------------------------------------------------------------------------------------------------

    async def rehearse_write(self, sample: bytes) -> bool | None:
        """There is no way to prove a transfer without storing it; see `Lock.rehearse_write`."""
        return None

    async def write(self, steps: Iterable[Step]) -> AsyncIterator[Done]:
        """Carry out steps in their order; see `Lock.write`."""
        self._uids = None
        async with aclosing(self._changes.write(steps)) as dones:
            async for done in dones:
                yield done

    async def erase(self, scope: Scope) -> AsyncIterator[Progress]:
        """Erase people, their access tables and the logs; see `Lock.erase`."""
        if scope is Scope.FACTORY:
            raise Unsupported(
                "a terminal has no safe way back to the factory's state over the network",
                hint="its menu has one; without --factory, people, their times and the logs are erased",
            )
        self._uids = None
        async with aclosing(self._changes.erase()) as items:
            async for progress in items:
                yield progress

    # ---- trying, closing --------------------------------------------------------------------------------------------

    async def touch(self, timeout_s: float) -> Touch:
        """Terminals show for themselves whom a finger belongs to; see `Lock.touch`."""
        raise Unsupported(
            "a terminal is not asked for a finger over the network",
            hint="lay the finger on it: its screen says whom it belongs to",
        )

    async def close(self) -> None:
        """Enable the terminal if we disabled it, say goodbye, close the link; see `Lock.close`."""
        if self._closed:
            return
        self._closed = True
        try:
            with contextlib.suppress(LinkError):  # a unit that is gone ends a limited pause by itself
                await self._pause.end(timeout_s=LEAVE_S)
            await self._wire.leave()
        finally:
            await self._wire.link.close()
