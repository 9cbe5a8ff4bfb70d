"""Writing and removing templates of a ZKTeco terminal: each is read back, and the bytes have to be equal.

A template goes up as a blob and is stored by TEMPLATE_STORE, which carries the duress flag (neutral-format 6.1).
Firmware that does not know that command gets SAVE_MANY, or the oldest way of one packet; those cannot be trusted with
every flag. What is not proven after three attempts does not stay on the unit, nor does what lay in its place before: a
finger that could not be overwritten may be that of somebody else, who had the number until now.

That a finger is not there is believed only of a unit that has given single ones out; else its whole table tells.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping
from struct import Struct as Packed
from typing import Final, Literal, NamedTuple

from lockmigrate.errors import NoAnswer
from lockmigrate.formats.zk import UNKNOWN_COMMAND, UPLOAD_BYTES, Cmd, Reply, cut_text, parse_capacity, reply_text
from lockmigrate.formats.zk_records import (
    ENTRY_HEAD_BYTES,
    FLAG_DURESS,
    FLAG_VALID,
    FULL_USER_ID_BYTES,
    MAX_TEMPLATE_BYTES,
    split_templates,
)
from lockmigrate.model.steps import Done, Step
from lockmigrate.protocols.zk_bulk import TEMPLATE_TABLE, whole_table
from lockmigrate.protocols.zk_open import Found, read_capacity
from lockmigrate.protocols.zk_pause import Pause
from lockmigrate.protocols.zk_user_changes import UserChanges, number_of
from lockmigrate.protocols.zk_wire import Wire

TRIES: Final = 3
FINGERS: Final = 10
USER_ID_OFFSET: Final = 48
"""Of a 72-byte record, section 7."""

_STORE: Final = Packed("<HBBH")
"""TEMPLATE_STORE: uid, finger, flag, size (zk-protocol), section 7."""
_WHICH: Final = Packed("<HB")
_ENTRY: Final = Packed("<HHBB")
"""TEMPLATE_WRITE: size, uid, finger, flag (2006 manual), section 7."""
_MANY_HEAD: Final = Packed("<III")
_MANY_ENTRY: Final = Packed("<BHBI")
_MANY_TEMPLATE: Final = Packed("<H")
MANY_REQUEST: Final = bytes.fromhex("0c00000000000800")
"""SAVE_MANY: size of the head, 0, stride of the entries (pyzk), section 7."""
MANY_MARK: Final = 2
MANY_FLAG_VALID: Final = 0x10
"""Presumably the flag in the upper half byte; 0x30 for duress is a guess, so it is never sent (section 7)."""

Way = Literal["store", "many", "packet"]
NEXT: Final[dict[Way, Way]] = {"store": "many", "many": "packet", "packet": "packet"}
"""What is tried where the unit does not know a way."""


Held = Mapping[tuple[int, int], tuple[int, bytes]]
"""Place to flag and template, as the unit's table has them."""


class Seen(NamedTuple):
    """What lies in a place: a template, nothing (empty), or nobody can tell (None)."""

    template: bytes | None
    by: Cmd | None = None
    """The command that gave it; None where its table did."""


class FingerChanges:
    """What can be done to the templates of one terminal."""

    def __init__(self, wire: Wire, found: Found, pause: Pause, users: UserChanges) -> None:
        self._wire = wire
        self._found = found
        self._pause = pause
        self._users = users
        self._way: Way = "store"
        self._trusted = False
        """The way was seen to work here."""
        self._checks: bool | None = None
        """Whether the unit knows BUFFER_CHECK; None before it was tried."""
        self._ask_by: Cmd | None = None
        """How single templates are fetched here; None before it is known."""
        self._gives = False
        """A single template was given out, so that a refusal means that there is none."""
        self._appends: bool | None = None
        """Whether TEMPLATE_FETCH adds a byte to the template; None before it was seen."""
        self._kept: set[tuple[Way, bool]] = set()
        """Ways, and whether the place was empty, in which the flag of a valid template was seen to be kept."""

    async def carry_out(self, steps: list[Step]) -> AsyncGenerator[Done, None]:
        """Carry out steps of the kind `fingerprint`; where a flag is to be proven, one reading proves them all."""
        finished: list[Done] = []
        to_prove: dict[int, tuple[Way, bool]] = {}
        for index, step in enumerate(steps):
            await self._pause.renew()
            done = await self._one(step)
            finished.append(done)
            how = (self._way, step.was_empty)
            if done.status == "written" and (_flag(step) != FLAG_VALID or how not in self._kept):
                to_prove[index] = how
        await self._refresh()
        if to_prove:
            held = await self._table() or {}
            for index, how in to_prove.items():
                finished[index] = await self._with_flag(steps[index], finished[index], held)
                if finished[index].status == "written" and _flag(steps[index]) == FLAG_VALID:
                    self._kept.add(how)
        for done in finished:
            yield done

    async def left_behind(self, steps: list[Step], dones: list[Done]) -> list[Done]:
        """Correct the Dones of removed users: their fingers are gone when the table of templates says so."""
        users = {key: number_of(step, "user_index", 0xFFFF) for step in steps for key in step.also}
        if not any(done.status == "removed" and done.key in users for done in dones):
            return dones
        held = await self._table()
        numbers = None if held is None else {uid for uid, _ in held}
        detail = "the terminal took the user away and kept the fingers"
        if held is None:
            detail = (
                "the terminal took the user away and does not give out its templates: the fingers may still be there"
            )
        return [
            Done(key=done.key, status="differs", code="read-back-differs", detail=detail)
            if done.key in users and done.status == "removed" and (numbers is None or users[done.key] in numbers)
            else done
            for done in dones
        ]

    async def _one(self, step: Step) -> Done:
        uid, finger = number_of(step, "user_index", 0xFFFF), number_of(step, "finger", FINGERS - 1)
        if not uid or finger is None:
            return _refused(step, "capacity", "no finger of a user has this number")
        if step.action == "remove":
            return await self._remove(step, uid, finger)
        template = step.value if isinstance(step.value, bytes) else b""
        if not 0 < len(template) <= MAX_TEMPLATE_BYTES:
            detail = f"a template of {len(template)} bytes cannot be sent"
            return await self._not_put(step, uid, finger, "template-size", detail, may_lie_there=not step.was_empty)
        return await self._put(step, uid, finger, template)

    # ---- writing ----------------------------------------------------------------------------------------------------

    async def _put(self, step: Step, uid: int, finger: int, template: bytes) -> Done:
        code, detail, may_lie_there = "write-refused", "", not step.was_empty
        tries = 0
        while tries < TRIES:
            tries += 1
            way = self._way
            if unable := _unable(way, _flag(step), len(template)):
                code, detail = unable
                break
            silent = False
            try:
                refusal = await self._store(way, step, uid, finger, template, attempt=tries)
            except NoAnswer:
                refusal, silent = 0, True  # it may have happened: read back
            if refusal in UNKNOWN_COMMAND and self._way != way:
                tries -= 1  # another way is tried now: that was no attempt
                continue
            if refusal:
                code, detail = await self._why_refused(uid, refusal)
                if code != "write-refused":
                    break
                continue
            may_lie_there = True
            if await self._same(uid, finger, template):
                self._trusted = True
                return Done(key=step.key, status="written", proof="V4")
            if silent and not self._trusted and way != "packet":
                self._way, tries = NEXT[way], tries - 1  # silence is how this firmware says that it knows no such thing
            code, detail = "read-back-differs", "the terminal did not give back what was written"
        return await self._not_put(step, uid, finger, code, detail, may_lie_there=may_lie_there)

    async def _not_put(self, step: Step, uid: int, finger: int, code: str, detail: str, *, may_lie_there: bool) -> Done:
        if may_lie_there:
            gone = await self._take_away(uid, finger)
            detail = f"{detail}; the finger {'was left empty' if gone else 'could not be emptied'}"
        return Done(
            key=step.key, status="differs" if code == "read-back-differs" else "refused", code=code, detail=detail
        )

    async def _store(self, way: Way, step: Step, uid: int, finger: int, template: bytes, *, attempt: int) -> int:
        """Send one template in one of three ways; returns the code of a refusal, or 0."""
        if way == "packet":
            if attempt > 1 or not step.was_empty:
                await self._take_away(uid, finger)  # the place must be empty
            # Sources disagree whether the size counts the head (section 7): the read-back tells who is right.
            size = len(template) + (ENTRY_HEAD_BYTES if attempt % 2 else 0)
            data = _ENTRY.pack(size, uid, finger, _flag(step)) + template
            answer = await self._wire.ask(Cmd.TEMPLATE_WRITE, data, timeout_s=self._wire.facts.write_s)
            return 0 if answer.ok else answer.code
        blob = template if way == "store" else await self._blob(uid, finger, template)
        if blob is None:
            return 0xFFFB  # the user is not there, so there is nothing to hang a template on
        try:
            code = await self._wire.upload(blob)
        except NoAnswer:
            code = (await self._wire.unknown()).code  # nothing is stored by an upload
        if code:
            if code in UNKNOWN_COMMAND:
                self._way = "packet"
            return code
        if way == "store":
            if self._checks is not False:
                answer = await self._wire.ask_optional(Cmd.BUFFER_CHECK)  # its value has no known algorithm
                self._checks = answer.code not in UNKNOWN_COMMAND
            request, data = Cmd.TEMPLATE_STORE, _STORE.pack(uid, finger, _flag(step), len(template))
        else:
            request, data = Cmd.SAVE_MANY, MANY_REQUEST
        answer = await self._wire.ask(request, data, timeout_s=self._wire.facts.write_s)
        await self._wire.free()
        if answer.code in UNKNOWN_COMMAND:
            self._way = NEXT[way]
        return 0 if answer.ok else answer.code

    async def _blob(self, uid: int, finger: int, template: bytes) -> bytes | None:
        """Build what SAVE_MANY takes: the user's record as it is, one entry, one template (section 7)."""
        records = (await self._users.records()).get(uid, [])
        if len(records) != 1:
            return None
        user = bytes([MANY_MARK]) + records[0]
        entry = _MANY_ENTRY.pack(MANY_MARK, uid, MANY_FLAG_VALID + finger, 0)
        body = _MANY_TEMPLATE.pack(len(template)) + template
        return _MANY_HEAD.pack(len(user), len(entry), len(body)) + user + entry + body

    async def _why_refused(self, uid: int, refusal: int) -> tuple[str, str]:
        """Find the reason that the unit does not say: nobody to hang the template on, or no room."""
        self._found.capacity_raw = await read_capacity(self._wire)
        capacity = self._found.capacity
        if capacity.template_slots and capacity.templates >= capacity.template_slots:
            return "capacity", f"the terminal is full with {capacity.templates} templates"
        if uid not in await self._users.records():
            return "user-missing", f"the terminal has no user {uid}"
        return "write-refused", reply_text(refusal)

    # ---- reading back -----------------------------------------------------------------------------------------------

    async def _same(self, uid: int, finger: int, template: bytes) -> bool:
        if await self._is(await self._look(uid, finger), uid, finger, template):
            return True
        await self._refresh()
        return await self._is(await self._look(uid, finger), uid, finger, template)

    async def _is(self, seen: Seen, uid: int, finger: int, template: bytes) -> bool:
        """TEMPLATE_FETCH adds one byte, probably the flag (section 7, unconfirmed): without it, a template that came
        short by just that byte would look whole."""
        if seen.by != Cmd.TEMPLATE_FETCH or seen.template is None:
            return seen.template == template
        if seen.template[:-1] == template and self._appends is not False:
            self._appends = True
            return True
        if seen.template != template:
            return False
        if self._appends is None:
            _, held = (await self._table() or {}).get((uid, finger), (0, b""))
            self._appends = held != template
        return not self._appends

    async def _look(self, uid: int, finger: int) -> Seen:
        """Read what lies in a place."""
        which = _WHICH.pack(uid, finger)
        for command in (Cmd.TEMPLATE_FETCH, Cmd.TEMPLATE_READ) if self._ask_by is None else (self._ask_by,):
            back = await self._wire.fetch(command, which, optional=True)
            if isinstance(back, bytes):
                if back or self._gives:
                    self._ask_by, self._gives = command, True
                    return Seen(back, command)
            elif back.code in UNKNOWN_COMMAND and command == Cmd.TEMPLATE_FETCH:
                self._ask_by = Cmd.TEMPLATE_READ
            elif self._gives and (back.code == Reply.ERROR or (back.ok and not back.data)):
                return Seen(b"", command)  # zk-protocol says ERROR and shows OK with nothing
        held = await self._table()
        return Seen(None if held is None else held.get((uid, finger), (0, b""))[1])

    async def _table(self) -> Held | None:
        """Read the table of templates; None where the unit counts some and does not give them out."""
        body = await whole_table(self._wire, TEMPLATE_TABLE, self._pause.renew)
        if body is None:
            await self._refresh()
            if parse_capacity(await read_capacity(self._wire)).templates:
                return None
            body = b""
        return {
            (entry.uid, entry.finger): (entry.flag, body[entry.offset : entry.offset + entry.size])
            for entry in split_templates(body)
        }

    async def _with_flag(self, step: Step, done: Done, held: Held) -> Done:
        uid, finger = int(step.origin["user_index"]), int(step.origin["finger"])
        flag, template = held.get((uid, finger), (None, b""))
        if flag == _flag(step) and template == step.value:
            return done
        gone = await self._take_away(uid, finger)
        lost = _flag(step) == FLAG_DURESS
        return Done(
            key=step.key,
            status="differs",
            code="duress-unsupported" if lost else "read-back-differs",
            detail=f"the terminal did not keep the flag {_flag(step)}; the finger "
            + ("was left empty" if gone else "could not be emptied"),
        )

    # ---- removing ---------------------------------------------------------------------------------------------------

    async def _remove(self, step: Step, uid: int, finger: int) -> Done:
        if (await self._look(uid, finger)).template == b"":
            return Done(key=step.key, status="removed", proof="V4")
        before = parse_capacity(await read_capacity(self._wire)).templates
        if not await self._take_away(uid, finger):
            return Done(key=step.key, status="differs", code="read-back-differs", detail="the template is still there")
        await self._refresh()
        after = parse_capacity(await read_capacity(self._wire)).templates
        if before - after > 1:
            detail = f"the terminal took {before - after} templates of this user at once; restore the others again"
            return Done(key=step.key, status="differs", code="read-back-differs", detail=detail)
        return Done(key=step.key, status="removed", proof="V4")

    async def _take_away(self, uid: int, finger: int) -> bool:
        """Delete one template and see that it is gone.

        On TFT units only by the user's id: by number some of them delete all fingers of the user (section 7).
        """
        if self._found.width == 72:
            users = await self._users.records()
            text = cut_text(users[uid][0][USER_ID_OFFSET:]) if uid in users else b""
            named = [item for items in users.values() for item in items if cut_text(item[USER_ID_OFFSET:]) == text]
            if not text or len(named) != 1:
                return False  # it would be nobody's finger, or somebody else's
            code, data = Cmd.TEMPLATE_REMOVE, text.ljust(FULL_USER_ID_BYTES, b"\x00") + bytes([finger])
        else:
            code, data = Cmd.TEMPLATE_DELETE, _WHICH.pack(uid, finger)
        with contextlib.suppress(NoAnswer):  # what is there now tells
            await self._wire.ask(code, data, timeout_s=self._wire.facts.write_s)
        return (await self._look(uid, finger)).template == b""

    async def _refresh(self) -> None:
        await self._wire.ask(Cmd.REFRESH, repeatable=True, timeout_s=self._wire.facts.write_s)


def _flag(step: Step) -> int:
    flag = number_of(step, "flag", 0xFF)
    return FLAG_VALID if flag is None else flag


def _unable(way: Way, flag: int, size: int) -> tuple[str, str] | None:
    """Say what a way cannot carry: a loss code and why."""
    if way == "many" and flag == FLAG_DURESS:
        return "duress-unsupported", "this firmware takes templates only without a duress flag"
    if way == "many" and flag != FLAG_VALID:
        return "write-refused", "this firmware takes valid templates only"
    if way == "packet" and size + ENTRY_HEAD_BYTES > UPLOAD_BYTES:
        return "template-size", "this firmware takes a template only if it fits into one packet"
    return None


def _refused(step: Step, code: str, detail: str) -> Done:
    return Done(key=step.key, status="refused", code=code, detail=detail)
