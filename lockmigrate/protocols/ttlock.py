"""One opened TTLock lock: who it is, what it gives out, and the way to its changes.

Fingerprints never leave such a lock: each is a gap with its number and dates, announced by the profile. Whether a
weekly limit lies behind a card or finger cannot be read back where the lock has feature 34. Section numbers are those
of the TTLock reference.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from lockmigrate.errors import FrameError, NoAnswer, RefusedError, Unsupported, WrongCredential
from lockmigrate.formats.lists import join_list
from lockmigrate.formats.ttlock import FAMILY, Cmd, Feature, Refusal, Seen, has, parse_features
from lockmigrate.formats.ttlock_records import limits_of, parse_holder, split_cards, split_fingers, split_passcodes
from lockmigrate.formats.ttlock_settings import QUERIES, QUERY, values_of
from lockmigrate.formats.ttlock_tables import (
    ADMIN_CODE,
    CARDS,
    DEVICE,
    FEATURES,
    FINGERS,
    LOG_TABLE,
    PASSAGE,
    PASSCODES,
    SEEDS,
    SETTINGS,
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
from lockmigrate.protocols.credentials import TtlockCredential
from lockmigrate.protocols.ttlock_changes import Changes
from lockmigrate.protocols.ttlock_lists import read_log, read_passage
from lockmigrate.protocols.ttlock_pair import parse_admin_code
from lockmigrate.protocols.ttlock_wire import Wire

BATCH: Final = 50
"""How many records are written before their list is read again to prove them; ours."""
CLOCK_WARNING_S: Final = 120
NOT_THERE: Final = frozenset({Refusal.UNSUPPORTED, Refusal.FAILED, Refusal.BAD_PARAMETER, Refusal.PARAMETER_LENGTH})
"""What a lock answers to a command that it does not have (12; which of them is unconfirmed)."""
_CHECK: Final = "crc8"


@dataclass(slots=True, kw_only=True)
class Found:
    """What is known of a lock after it was opened."""

    profile: Profile
    device: dict[str, str]
    address: str
    """The lock's MAC, as it advertises it; on macOS the system's own address is another."""
    credential: TtlockCredential
    seen: Seen | None = None
    features: bytes = b""
    battery_percent: int | None = None
    clock_offset_s: int | None = None
    utc_offset_s: int | None = None

    @property
    def bits(self) -> int:
        return parse_features(self.features)


class TtlockLock:
    """One opened lock. Made by `ttlock_door.open_unit`."""

    batch = BATCH

    def __init__(self, wire: Wire, found: Found, *, target: str, simulated: bool) -> None:
        self._wire = wire
        self._found = found
        self._changes = Changes(wire, found.address)
        self._target = target
        self._simulated = simulated
        self._unsupported: set[str] = set()
        self._counts: dict[str, int] = {}
        self._reset = False
        """It is as from the factory: there is nobody to log in as, and nothing to read."""
        self._bounds: dict[str, int] = {}
        """Least and most seconds of auto-lock, once its settings were read."""

    # ---- who it is --------------------------------------------------------------------------------------------------

    async def identify(self) -> Unit:
        """Say who the lock is; what it holds is known once its lists were read. See `Lock.identify`."""
        await self.look()
        found = self._found
        return Unit(
            id=found.address,
            serial=found.address,
            family=FAMILY,
            model=found.device.get("model") or (found.profile.title if found.profile.name != FAMILY else None),
            vendor=found.profile.vendor,
            firmware=found.device.get("firmware"),
            hardware=found.device.get("hardware"),
            profile=found.profile.name,
            target=self._target,
            simulated=self._simulated,
            capabilities=capabilities(found.bits, self._counts),
            counts=dict(self._counts),
            details={
                "address": found.address,
                "features": f"{found.bits:x}",
                "battery_percent": found.battery_percent,
                "clock_offset_s": found.clock_offset_s,
                "weekly_limits": has(found.bits, Feature.CYCLIC_LIMITS),
                **self._bounds,
            },
            warnings=tuple(self._warnings()),
        )

    async def look(self) -> None:
        """Ask for features and battery, and hold the lock's clock against ours.

        Raises:
            RefusedError, LinkError: from the lock.
        """
        if self._reset:
            return
        found = self._found
        data = await self._wire.ask(Cmd.FEATURES)
        if len(data) < 5:
            raise FrameError("the lock does not say what it can do")  # it would pass for one that holds nothing
        found.battery_percent, found.features = data[0], data[1:]
        if has(found.bits, Feature.NO_CLOCK):
            return
        raw = await self._maybe(Cmd.LOCK_TIME)
        if raw is not None and len(raw) >= 6:
            try:
                theirs = dt.datetime(2000 + raw[0], *raw[1:6])  # noqa: DTZ001 - local time
            except ValueError:
                return
            ours = dt.datetime.now()  # noqa: DTZ005 - the lock keeps the time of the place, as this computer does
            found.clock_offset_s = round((theirs - ours).total_seconds())
            utc = dt.datetime.now(dt.UTC).replace(tzinfo=None)
            found.utc_offset_s = round((theirs - utc).total_seconds())

    async def _maybe(self, command: Cmd, plain: bytes = b"") -> bytes | None:
        """Ask for what a lock may not have; None where it has not, and says so or nothing at all."""
        try:
            return await self._wire.ask(command, plain)
        except WrongCredential:
            raise
        except NoAnswer:
            return None  # a lock that is gone shows with the next question: it is dialled again
        except RefusedError as error:
            if error.status not in NOT_THERE:
                raise
            return None

    @property
    def variant(self) -> dict[str, Any]:
        """What the decoder must know beside the tables; see `Lock.variant`."""
        known: dict[str, Any] = {"address": self._found.address}
        if self._found.clock_offset_s is not None:
            known["clock_offset_s"] = self._found.clock_offset_s
        if self._found.utc_offset_s is not None:
            known["utc_offset_s"] = self._found.utc_offset_s
        if self._unsupported:
            known["unsupported"] = sorted(self._unsupported)
        return known

    @property
    def given(self) -> tuple[AccessKey, ...]:
        """The keys that open this lock: without them nothing manages it again; see `Lock.given`."""
        held = self._found.credential
        values = {
            "aes_key": held.aes_key,
            "admin_ps": held.admin_ps,
            "unlock_key": held.unlock_key,
            "admin_passcode": held.admin_passcode,
        }
        return tuple(
            AccessKey(key=f"access_key/ttlock.{name}", kind="given", secret=Secret(str(value)))
            for name, value in values.items()
            if value is not None
        )

    def _warnings(self) -> Iterable[str]:
        found = self._found
        offset = None if self._simulated else found.clock_offset_s
        if offset is not None and abs(offset) > CLOCK_WARNING_S:
            yield (
                f"the lock's clock is {abs(offset)} s {'ahead of' if offset > 0 else 'behind'} this computer's; a "
                "restore sets it, until then dates go by it"
            )
        if self._changes.clock_refused and not has(found.bits, Feature.NO_CLOCK):
            told = "" if found.clock_offset_s is None else f", which is {abs(found.clock_offset_s)} s wrong"
            yield f"the lock did not take the time: codes and cards with dates open by its own clock{told}"
        if found.battery_percent is not None and found.battery_percent < 20:
            yield f"the lock's battery is at {found.battery_percent} %"
        if self._wire.odd_checksums:
            yield f"{self._wire.odd_checksums} frames came with a checksum that such locks do not send"

    async def count(self) -> None:
        """Read the lists, so that `identify` can say how many there are: the lock has no counters."""
        if not self._counts:
            async for _ in self.read(frozenset({Section.CREDENTIALS})):
                pass

    # ---- reading ----------------------------------------------------------------------------------------------------

    async def read(self, sections: frozenset[Section] = EVERYTHING, *, twice: bool = False) -> AsyncIterator[ReadItem]:
        """Read the lock's tables; see `Lock.read`. Every frame has a checksum, so `twice` changes nothing."""
        del twice
        if self._reset:
            return
        found = self._found
        if Section.IDENTITY in sections:
            if found.device:
                lines = "".join(f"{name}={value}\n" for name, value in sorted(found.device.items()))
                yield _table(DEVICE, lines.encode(), len(found.device))
            await self.look()
            yield _table(FEATURES, found.features, 1)
        for section, reader in (
            (Section.SETTINGS, self._read_settings),
            (Section.CREDENTIALS, self._read_credentials),
            (Section.LOG, self._read_log),
        ):
            if section in sections:
                async with aclosing(reader()) as items:
                    async for item in items:
                        yield item

    async def _read_settings(self) -> AsyncGenerator[ReadItem, None]:
        answers: list[bytes] = []
        for command, feature in QUERIES:
            if feature is not None and not has(self._found.bits, feature):
                continue
            data = await self._maybe(command, bytes([QUERY]))
            if data is not None and len(data) > 2 and data[1] == QUERY:
                answers.append(bytes([command]) + data[2:])
                held = values_of({command: data[2:]})
                for name, kept in (("auto_lock_least_s", "auto_lock_min"), ("auto_lock_most_s", "auto_lock_max")):
                    self._bounds |= {kept: held[name]} if name in held else {}
            elif feature is not None:
                what = command.name.lower().replace("_", "-")
                yield Gap(
                    section="settings",
                    record=None,
                    code="setting-unsupported",
                    detail=f"the lock says that it has {what}, and does not give it out",
                )
        yield _table(SETTINGS, join_list(None, answers), len(answers))
        if has(self._found.bits, Feature.PASSAGE):
            records = await read_passage(self._wire)
            yield _table(PASSAGE, join_list(None, records), len(records))
        else:
            self._unsupported.add(PASSAGE)
        if has(self._found.bits, Feature.ADMIN_CODE):
            code = parse_admin_code(await self._maybe(Cmd.GET_ADMIN_CODE) or b"")
            if code is not None:
                yield _table(ADMIN_CODE, code.encode("ascii"), 1)
        seeds = await self._maybe(Cmd.SEEDS)
        if seeds is not None and len(seeds) > 1:
            yield _table(SEEDS, seeds[1:], 1)

    async def _read_credentials(self) -> AsyncGenerator[ReadItem, None]:
        if has(self._found.bits, Feature.PASSCODES):
            started = utc_now()
            codes: list[bytes] = []
            async for found in self._wire.listing(Cmd.PASSCODE_LIST, b"", split_passcodes):
                codes = found
                yield Progress(stage="passcodes", done=len(codes), total=len(codes))
            self._counts["pins"] = len(codes)
            yield _table(PASSCODES, join_list(None, codes), len(codes), started=started)
        else:
            self._unsupported.add(PASSCODES)
        for name, stage, feature, command, operation in (
            (CARDS, "cards", Feature.CARDS, Cmd.CARD, 1),
            (FINGERS, "fingerprints", Feature.FINGERS, Cmd.FINGER, 6),
        ):
            if not has(self._found.bits, feature):
                self._unsupported.add(name)
                continue
            started = utc_now()
            rows: list[bytes] = []
            async for found in self._wire.listing(
                command, bytes([operation]), split_cards if name == CARDS else split_fingers
            ):
                rows = found
                yield Progress(stage=stage, done=len(rows), total=len(rows))
            self._counts[stage] = len(rows)
            yield _table(name, join_list(None, rows), len(rows), started=started)
            for gap in self._gaps(name, rows):
                yield gap
        yield Gap(
            section="app_keys",
            record=None,
            code="app-invitation",
            detail="eKeys, gateways, key fobs and keypads are on no list of the lock: given out or paired again",
        )
        if has(self._found.bits, Feature.PASSCODES):
            yield Gap(
                section="app_keys",
                record=None,
                code="app-invitation",
                detail="codes that the owner's app generated and nobody has typed in yet are on no list of the lock: "
                "give out new ones (whether its kept pair of numbers would make another lock take them is unconfirmed)",
            )

    def _gaps(self, name: str, rows: list[bytes]) -> Iterable[Gap]:
        weekly = has(self._found.bits, Feature.CYCLIC_LIMITS)
        if name == FINGERS:
            for raw in rows:
                row = parse_holder(raw)
                begins, ends, _ = limits_of(row.start, row.end)
                dates = f"valid from {begins or 'always'} until {ends or 'for ever'}"
                yield Gap(
                    section="fingerprints",
                    record=f"fingerprint/{row.decimal}",
                    code="template-unreadable",
                    detail=f"finger {row.decimal}, {dates}, has to be enrolled again: no lock gives templates out",
                )
        if weekly and rows:
            what = "cards" if name == CARDS else "fingers"
            yield Gap(
                section="weekly_limits",
                record=None,
                code="schedule-unreadable",
                detail=f"whether {what} are limited to days and hours, no command reads back ({len(rows)} here)",
            )

    async def _read_log(self) -> AsyncGenerator[ReadItem, None]:
        started = utc_now()
        rows: list[bytes] = []
        lost: list[int] = []
        try:
            async for row in read_log(self._wire, lost):
                rows.append(row)
                yield Progress(stage="log", done=len(rows), total=len(rows))
        except RefusedError as error:
            if error.status not in NOT_THERE or rows:
                raise
            self._unsupported.add(LOG_TABLE)
            if error.status == Refusal.UNSUPPORTED:
                return
        else:
            yield _table(LOG_TABLE, join_list(None, rows), len(rows), started=started)
        if lost:
            yield Gap(
                section="log", record=None, code="log", detail=f"{len(lost)} or more records of the log not readable"
            )

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
        """Clear passcodes, cards, fingers and passage mode; or reset the lock, whom anyone can claim then."""
        self._counts = {}
        if scope is Scope.FACTORY:
            await self._changes.reset()
            self._reset = True
            yield Progress(stage="erase", done=1, total=1)
            return
        async with aclosing(self._changes.erase(self._found.bits)) as items:
            async for item in items:
                yield item

    async def touch(self, timeout_s: float) -> Touch:
        """Such a lock does not tell whom it opens for while we ask; see `Lock.touch`."""
        raise Unsupported(
            "a TTLock lock does not say whose finger it is", hint="try the code, card or finger at the door"
        )

    async def rest(self) -> None:
        """Let go of the lock while a person is asked; see `Resting`."""
        await self._wire.rest()

    async def close(self) -> None:
        """Disconnect; see `Lock.close`."""
        await self._wire.close()


def _table(name: str, data: bytes, rows: int, *, started: str | None = None) -> Table:
    return Table(name=name, data=data, rows=rows, read_at_utc=started or utc_now(), check=_CHECK)


async def recognise(lock: TtlockLock, found: Found, profiles: Iterable[Profile]) -> None:
    """Ask who the lock is, and choose the profile whose features it has, unless one was named.

    Raises:
        RefusedError, LinkError: from the lock.
    """
    await lock.look()
    if found.profile.name != FAMILY:
        return
    for profile in profiles:
        wanted = profile.variant.get("features")
        if isinstance(wanted, str) and int(wanted, 16) == found.bits:
            found.profile = profile
            return
