"""The conversation with a 0xEF01 fingerprint module: identify, read, write with proof, erase.

Retries happen only where a repeat is harmless. A slot that was written is read back and compared; that is the proof
(V4). What is not proven after three attempts does not stay on the unit, and is a loss with a code.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

from lockmigrate.errors import NoAnswer, RefusedError, Unsupported
from lockmigrate.formats.ef01 import (
    EMPTY,
    GEN_IMG,
    IMG2TZ,
    NOTEPAD_PAGE_BYTES,
    READ_SYS_PARA,
    SEARCH,
    WRITE_NOTEPAD,
    Code,
    code_text,
    occupied_slots,
    results,
)
from lockmigrate.formats.ef01_tables import (
    COUNT,
    INDEX,
    INFOPAGE,
    NOTEPAD,
    SYSPARAMS,
    TEMPLATES,
    format_id,
    is_blank,
    join_templates,
    parse_sysparams,
)
from lockmigrate.model.capabilities import Capabilities, CredentialCapabilities, CredentialCapability
from lockmigrate.model.document import Gap, Table
from lockmigrate.model.records import AccessKey
from lockmigrate.model.results import Progress, Unit
from lockmigrate.model.secret import Secret
from lockmigrate.model.steps import Done, Step
from lockmigrate.protocols import EVERYTHING, ReadItem, Scope, Section, Touch
from lockmigrate.protocols.clock import utc_now
from lockmigrate.protocols.ef01_changes import Changes
from lockmigrate.protocols.ef01_open import Found, read_info_page
from lockmigrate.protocols.ef01_questions import SLOT_TRIES, Questions, encrypted, must
from lockmigrate.protocols.ef01_wire import Wire

MAX_SLOTS: Final = 0xFFFF
SEARCH_SLOT_S: Final = 0.01
"""How long a search may take for each slot (R503; reference, section 7.4)."""
_PACKET_CHECK: Final = "ef01-sum16"


class Ef01Lock:
    """One opened module. Made by `lockmigrate.targets`, after `find_speed` and `look_around`."""

    batch = 1

    def __init__(self, wire: Wire, found: Found, *, target: str, port_id: str, simulated: bool = False) -> None:
        self._wire = wire
        self._found = found
        self._ask = Questions(wire, found)
        self._changes = Changes(wire, self._ask)
        self._target = target
        self._port_id = port_id
        self._simulated = simulated
        self._closed = False
        self._occupied: list[int] | None = None
        self._measured_bytes: int | None = None
        self._warnings: list[str] = []
        self._asked_info_page = False
        self.sent_password: bytes | None = None
        """The password from the credential file, if one was used: it administers this unit."""

    # ---- who it is --------------------------------------------------------------------------------------------------

    async def identify(self) -> Unit:
        """Say who the module is and what it holds; see `Lock.identify`."""
        found, profile = self._found, self._found.profile
        if found.params is not None:
            ack = await self._wire.ask(READ_SYS_PARA)
            must(ack.ok, "ReadSysPara", ack.code)
            raw: bytes = results(READ_SYS_PARA, ack).params
            found.params = parse_sysparams(raw, found.dialect)
            found.identity[SYSPARAMS] = raw
            self._wire.packet_bytes = found.params.packet_bytes
        self._occupied = await self._ask.index()
        count = await self._ask.count()
        used = len(self._occupied) if self._occupied is not None else count
        warnings = list(self._warnings)
        if self._occupied is not None and count is not None and count != len(self._occupied):
            warnings.append(
                f"the module counts {count} templates, its index table names {len(self._occupied)}; "
                "the table is believed"
            )
        if found.encryption_level:
            warnings.append(
                f"encryption level {found.encryption_level}: this module gives out no template and takes none"
            )
        size = self._measured_bytes or found.stated_template_bytes
        identifier = format_id(found.params, found.algorithm, size)
        writable = "none" if found.encryption_level else "data"
        fingerprint = CredentialCapability(
            slots=self._ask.slots,
            used=used,
            readback="none" if found.encryption_level else "full",
            writable=writable,  # type: ignore[arg-type]  # mypy does not narrow a conditional expression to a Literal
            template_formats=() if found.encryption_level else (identifier,),
            template_size_bytes=size,
        )
        return Unit(
            id=found.serial or self._port_id,
            serial=found.serial,
            family="ef01",
            model=found.model or (profile.title if profile.match.model or profile.name != "ef01" else None),
            vendor=profile.vendor,
            firmware=found.firmware,
            hardware=found.hardware,
            profile=profile.name,
            target=self._target,
            simulated=self._simulated,
            capabilities=Capabilities(
                basis="unit" if found.params else "profile",
                credentials=CredentialCapabilities(fingerprint=fingerprint),
            ),
            counts={"fingerprints": used or 0},
            details=self._details(),
            warnings=tuple(warnings),
        )

    @property
    def variant(self) -> dict[str, Any]:
        """What the decoder must know beside the tables."""
        return {**self._found.profile.variant, "dialect": self._found.dialect, "slots": self._ask.slots}

    def _details(self) -> dict[str, Any]:
        found = self._found
        details: dict[str, Any] = {"dialect": found.dialect, "baud": self._wire.baud}
        if found.params is not None:
            details |= {
                "packet_bytes": found.params.packet_bytes,
                "security_level": found.params.level,
                "address": f"{found.params.address:08x}",
            }
            if found.params.system_id is not None:
                details["system_id"] = f"{found.params.system_id:04x}"
            if found.params.baud and found.params.baud != self._wire.baud and not self._wire.link.fixed_speed:
                details["stated_baud"] = found.params.baud
        if found.algorithm:
            details["algorithm"] = found.algorithm
        details["template_bytes_stated"] = found.stated_template_bytes
        details["template_bytes_measured"] = self._measured_bytes
        if found.dialect == "hilink":
            details["encryption_level"] = found.encryption_level
        return details

    @property
    def given(self) -> tuple[AccessKey, ...]:
        """The password that was used, if one was; see `Lock.given`."""
        if self.sent_password is None:
            return ()
        return (AccessKey(key="access_key/ef01.password", kind="given", secret=Secret(self.sent_password)),)

    # ---- reading ----------------------------------------------------------------------------------------------------

    async def read(self, sections: frozenset[Section] = EVERYTHING, *, twice: bool = False) -> AsyncIterator[ReadItem]:
        """Read the module's tables; see `Lock.read`.

        Raises:
            Unsupported: an encryption level forbids reading templates; nothing is tried.
        """
        if Section.CREDENTIALS in sections and self._found.encryption_level:
            raise encrypted(self._found.encryption_level)
        if Section.IDENTITY in sections:
            await self._keep_info_page()
            for name, data in sorted(self._found.identity.items()):
                yield _table(name, data, 1)
        if Section.INDEX in sections:
            pages = await self._ask.index_pages()
            if pages is not None:
                yield _table(INDEX, pages, len(occupied_slots(pages)))
            count = await self._ask.count()
            if count is not None:
                yield _table(COUNT, count.to_bytes(2, "big"), 1)
        if Section.SETTINGS in sections:
            async for item in self._read_notepad():
                yield item
        if Section.CREDENTIALS in sections:
            async for item in self._read_templates(twice=twice):
                yield item

    async def _keep_info_page(self) -> None:
        """Classic modules: kept as raw bytes only, since AS60x parts are believed to hold their password in it."""
        if self._found.dialect == "classic" and not self._asked_info_page:
            self._asked_info_page = True
            page = await read_info_page(self._wire)
            if page is not None:
                self._found.identity[INFOPAGE] = page

    async def _read_notepad(self) -> AsyncIterator[ReadItem]:
        pages: list[bytes] = []
        total = int(self._found.profile.variant.get("notepad_pages", 16))
        for number in range(total):
            page, code = await self._ask.page_or_code(number)
            if page is None:
                if pages and code != Code.NO_PAGE:
                    why = "no answer" if code is None else code_text(code)
                    yield Gap(
                        section="settings",
                        record=f"setting/ef01.notepad.{number}",
                        code="notepad-unreadable",
                        detail=f"this notepad page and those behind it were not read: {why}",
                    )
                break
            pages.append(page)
            yield Progress(stage="notepad", done=number + 1, total=total, size_bytes=NOTEPAD_PAGE_BYTES * len(pages))
        if pages:
            yield _table(NOTEPAD, b"".join(pages), len(pages))

    async def _read_templates(self, *, twice: bool) -> AsyncIterator[ReadItem]:
        slots = await self._slots_to_read()
        total, moved = len(slots), 0
        templates: list[tuple[int, bytes]] = []
        started = utc_now()
        known = self._occupied is not None
        yield Progress(stage="fingerprints", done=0, total=total)
        for done, slot in enumerate(slots, start=1):
            data, code = await self._ask.read_slot(slot, known=known)
            if data is not None and twice:
                again, code = await self._ask.read_slot(slot)
                if again != data:
                    third, code = await self._ask.read_slot(slot)
                    data = third if third is not None and third in (data, again) else None
            if data is not None and not twice:
                data = await self._of_sure_size(slot, data)
            if data is not None:
                self._measured_bytes = self._measured_bytes or len(data)
                if len(data) != self._measured_bytes:
                    self._warn(f"slot {slot} has {len(data)} bytes, the others have {self._measured_bytes}")
                templates.append((slot, data))
                moved += len(data)
            elif known or code not in (Code.EMPTY_SLOT, Code.BEYOND):
                templates.append((slot, b""))
                yield Gap(
                    section="credentials",
                    record=f"fingerprint/{slot}",
                    code="template-unreadable",
                    detail=code_text(code) if code else "it arrived damaged every time",
                )
            yield Progress(stage="fingerprints", done=done, total=total, size_bytes=moved)
        raw = join_templates(templates)
        yield _table(TEMPLATES, raw, len(templates), started=started)

    async def _of_sure_size(self, slot: int, data: bytes) -> bytes | None:
        """Return a template whose size is believed; None if it comes differently every time.

        Data packets carry no number: if a whole one is lost on the way, only the size shows it. The expected size is
        believed at once, any other when it comes twice (the first of all, where nothing tells the size).
        """
        expected = self._measured_bytes or self._found.stated_template_bytes
        seen: list[bytes] = []
        candidate: bytes | None = data
        for _ in range(SLOT_TRIES):
            if candidate is not None and (len(candidate) == expected or candidate in seen):
                return candidate
            if candidate is not None:
                seen.append(candidate)
            candidate, _code = await self._ask.read_slot(slot)
        return candidate if candidate is not None and (len(candidate) == expected or candidate in seen) else None

    def _warn(self, text: str) -> None:
        if text not in self._warnings:
            self._warnings.append(text)

    async def _slots_to_read(self) -> list[int]:
        if self._occupied is None:
            self._occupied = await self._ask.index()
        if self._occupied is not None:
            return self._occupied
        if self._ask.slots is None:
            raise RefusedError(
                "the module tells neither its capacity nor its index table",
                hint="name its model with --profile; the profile knows the capacity",
                code="capacity-unknown",
            )
        self._warn("the module has no index table; every slot was asked")
        return list(range(min(self._ask.slots, MAX_SLOTS)))

    # ---- writing ----------------------------------------------------------------------------------------------------

    async def rehearse_write(self, sample: bytes) -> bool | None:
        """Send one template into memory and fetch it back; see `Lock.rehearse_write`."""
        return await self._changes.rehearse_write(sample)

    def write(self, steps: Iterable[Step]) -> AsyncIterator[Done]:
        """Carry out steps in their order; see `Lock.write`."""
        self._occupied = None
        return self._changes.write(steps)

    # ---- erasing, trying, closing -----------------------------------------------------------------------------------

    async def erase(self, scope: Scope) -> AsyncIterator[Progress]:
        """Empty the library, then the notepad pages in use; see `Lock.erase`."""
        if scope is Scope.FACTORY:
            raise Unsupported(
                "these modules have no safe way back to the factory's state",
                hint="without --factory, templates and notepad are erased; that is all that is personal",
            )
        ack = await self._wire.ask(EMPTY)
        must(ack.ok, "Empty", ack.code)
        yield Progress(stage="library", done=1, total=1)
        pages = int(self._found.profile.variant.get("notepad_pages", 16))
        for number in range(pages):
            page, code = await self._ask.page_or_code(number)
            if page is None and (number == 0 or code == Code.NO_PAGE):
                break
            if page is None or not is_blank(page):
                blank = bytes(NOTEPAD_PAGE_BYTES)
                ack = await self._wire.ask(WRITE_NOTEPAD, {"page": number, "data": blank})
                must(ack.ok, "WriteNotepad", ack.code)
            yield Progress(stage="notepad", done=number + 1, total=pages)
        self._occupied = None

    async def touch(self, timeout_s: float) -> Touch:
        """Wait for a finger and search it in the library; see `Lock.touch`."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_s
        while True:
            ack = await self._wire.ask(GEN_IMG)
            if ack.ok:
                ack = await self._wire.ask(IMG2TZ, {"buffer": 1})
                if ack.ok:
                    break
            elif ack.code != Code.NO_FINGER:
                must(ack.code in range(2, 8), "GenImg", ack.code)
            if loop.time() >= end_s:
                raise NoAnswer(
                    "a finger on the sensor", tries=1, timeout_s=timeout_s, hint="lay the finger flat and keep it there"
                )
            await asyncio.sleep(0.2)
        slots = self._ask.slots or 1
        patience_s = self._wire.facts.answer_s + SEARCH_SLOT_S * slots
        ack = await self._wire.ask(SEARCH, {"buffer": 1, "start": 0, "count": slots}, timeout_s=patience_s)
        if ack.ok:
            hit = results(SEARCH, ack)
            return Touch(matched=True, slot=hit.slot, score=hit.score)
        must(ack.code == Code.NOT_FOUND, "Search", ack.code)
        return Touch(matched=False)

    async def close(self) -> None:
        """Close the port; nothing on the module was changed that would have to be put back."""
        if not self._closed:
            self._closed = True
            await self._wire.link.close()


def _table(name: str, data: bytes, rows: int, *, started: str | None = None) -> Table:
    return Table(name=name, data=data, rows=rows, read_at_utc=started or utc_now(), check=_PACKET_CHECK)
