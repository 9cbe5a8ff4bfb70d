"""Writing and removing users of a ZKTeco terminal: a batch at a time, proven by reading their table again.

On the wire a right only grows: a user who has to verify in a way of their own is first written disabled, then gets the
way, then becomes what the record says.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Final, Literal

from lockmigrate.errors import NoAnswer, RefusedError
from lockmigrate.formats.zk import UNKNOWN_COMMAND, Cmd, Reply, reply_text
from lockmigrate.formats.zk_access import VERIFY_BYTES, build_verify, parse_verify
from lockmigrate.formats.zk_records import DISABLED_BIT, Row72, cut_text, parse_user, split_users, tell_width
from lockmigrate.model.steps import Done, Step
from lockmigrate.protocols.zk_bulk import USER_TABLE, whole_table
from lockmigrate.protocols.zk_open import Found, read_capacity
from lockmigrate.protocols.zk_pause import Pause
from lockmigrate.protocols.zk_wire import Wire

ROUNDS: Final = 3
"""How often a write that got no answer, and that did not happen as the read-back shows, is tried."""
PRIVILEGE_OFFSET: Final = 2

Sent = Literal["said", "unsure"]


class UserChanges:
    """What can be done to the users of one terminal."""

    def __init__(self, wire: Wire, found: Found, pause: Pause) -> None:
        self._wire = wire
        self._found = found
        self._pause = pause
        self._styles: bool | None = None
        """Whether the unit knows VERIFY_READ; None before it was tried."""
        self._held: dict[int, list[bytes]] | None = None

    async def records(self, *, fresh: bool = False) -> dict[int, list[bytes]]:
        """Return the records by number, as last read or read now; more than one only where the unit is in disorder.

        Raises:
            RefusedError: the unit does not give its users.
            LinkError: the conversation failed.
        """
        if self._held is None or fresh:
            body = await whole_table(self._wire, USER_TABLE, self._pause.renew)
            if body is None:
                self._found.capacity_raw = await read_capacity(self._wire)
                if self._found.capacity.users:
                    raise RefusedError("the terminal does not give out its table of users", code="refused")
                body = b""
            width = tell_width(body, hint=self._found.width)  # counters may lag behind what was just written
            held: dict[int, list[bytes]] = {}
            for index, row in enumerate(split_users(body, width)):
                held.setdefault(row.uid, []).append(body[index * width : (index + 1) * width])
            self._held = held
        return self._held

    def forget(self) -> None:
        """What was read is no longer true."""
        self._held = None

    async def carry_out(self, steps: list[Step]) -> AsyncGenerator[Done, None]:
        """Carry out steps of the kind `user`; yields their Dones in order, after one reading that proves them all."""
        finished: dict[int, Done] = {}
        pending = list(range(len(steps)))
        for number in range(1, ROUNDS + 1):
            unsure: set[int] = set()
            for index in pending:
                await self._pause.renew()
                sent = await self._send(steps[index])
                if isinstance(sent, Done):
                    finished[index] = sent
                elif sent == "unsure":
                    unsure.add(index)
            await self._wire.ask(Cmd.REFRESH, repeatable=True, timeout_s=self._wire.facts.write_s)
            held = await self.records(fresh=True)
            again = []
            for index in [index for index in pending if index not in finished]:
                done = await self._judge(steps[index], held)
                if done.proof is None and index in unsure and number < ROUNDS:
                    again.append(index)
                else:
                    finished[index] = await self._take_back(steps[index], done, held)
            pending = again
            if not pending:
                break
        for index, step in enumerate(steps):
            done = finished[index]
            yield done
            for key in step.also:
                yield Done(key=key, status=done.status, code=done.code, detail=done.detail, proof=done.proof)

    # ---- sending ----------------------------------------------------------------------------------------------------

    async def _send(self, step: Step) -> Done | Sent:
        """Send one step; a Done only where the unit refuses for sure."""
        uid = number_of(step, "user_index", 0xFFFF)
        if not uid:
            return _refused(step, "capacity", "no user can have this number")
        try:
            if step.action == "remove":
                self.forget()
                await self._wire.ask(Cmd.USER_DELETE, uid.to_bytes(2, "little"), timeout_s=self._wire.facts.write_s)
                return "said"  # ERROR may mean that there is none: the table tells
            record = self._record(step, uid)
            if record is None:
                detail = f"user records of this terminal have {self._found.width} bytes"
                return _refused(step, "write-refused", detail)
            return await self._put(step, uid, record)
        except NoAnswer:
            return "unsure"  # it may have happened: read back, never repeated blindly

    def _record(self, step: Step, uid: int) -> bytes | None:
        value = step.value if isinstance(step.value, bytes) else b""
        if len(value) != self._found.width:
            return None
        return uid.to_bytes(2, "little") + value[2:]

    async def _put(self, step: Step, uid: int, record: bytes) -> Done | Sent:
        wanted = step.origin.get("verify")
        if isinstance(wanted, int) and (wanted or not step.was_empty):
            now = await self.style(uid)
            if now != wanted and (wanted or now):
                done = await self._put_with_style(step, uid, record, wanted)
                if done is not None:
                    return done
        code = await self._write(record)
        return await self._refusal(step, code) if code else "said"

    async def _put_with_style(self, step: Step, uid: int, record: bytes, wanted: int) -> Done | None:
        """Write the user disabled and set the style; None if all that is left is to write the record as it stands."""
        if self._found.width == 16:
            return _refused(step, "rule-unsupported", "the terminal cannot hold a disabled user meanwhile")
        disabled = bytearray(record)
        disabled[PRIVILEGE_OFFSET] |= DISABLED_BIT
        code = await self._write(bytes(disabled))
        if code:
            return await self._refusal(step, code)
        answer = await self._wire.ask(
            Cmd.VERIFY_WRITE, build_verify(uid, wanted & 0xFF), repeatable=True, timeout_s=self._wire.facts.write_s
        )
        if answer.ok and await self.style(uid) == wanted:
            return None
        why = "does not keep the way of verifying" if answer.ok else f"refuses it: {reply_text(answer.code)}"
        left = "was left disabled"
        if step.was_empty:
            answer = await self._wire.ask(Cmd.USER_DELETE, uid.to_bytes(2, "little"))
            left = "was taken away again" if answer.ok else left
        return _refused(step, "rule-unsupported", f"the terminal {why}; the user {left}")

    async def _write(self, record: bytes) -> int:
        """Write one record; returns the code of a refusal, or 0."""
        self.forget()
        answer = await self._wire.ask(Cmd.USER_WRITE, record, timeout_s=self._wire.facts.write_s)
        return 0 if answer.ok else answer.code

    async def _refusal(self, step: Step, code: int) -> Done:
        self._found.capacity_raw = await read_capacity(self._wire)
        capacity = self._found.capacity
        full = capacity.user_slots and capacity.users >= capacity.user_slots
        if step.was_empty and (full or (capacity.user_slots and not capacity.users_free)):
            return _refused(step, "capacity", f"the terminal is full with {capacity.users} users")
        return _refused(step, "write-refused", reply_text(code))

    # ---- proving ----------------------------------------------------------------------------------------------------

    async def _judge(self, step: Step, held: dict[int, list[bytes]]) -> Done:
        uid = int(step.origin["user_index"])
        here = held.get(uid, [])
        if step.action == "remove":
            if not here:
                return Done(key=step.key, status="removed", proof="V4")
            return Done(key=step.key, status="differs", code="read-back-differs", detail="the user is still there")
        wanted = self._record(step, uid) or b""
        if not here:
            return Done(key=step.key, status="differs", code="read-back-differs", detail="it is not in the table")
        if len(here) > 1:
            return Done(key=step.key, status="differs", code="uid-duplicate", detail=f"{len(here)} records claim {uid}")
        style = step.origin.get("verify")
        if isinstance(style, int):
            now = await self.style(uid)
            if now is None and style:
                detail = "the terminal does not tell any more in which way the user has to verify"
                return Done(key=step.key, status="differs", code="read-back-differs", detail=detail)
            if now is not None and now != style:
                return Done(key=step.key, status="differs", code="read-back-differs", detail="another verify style")
        if here[0] == wanted:
            return Done(key=step.key, status="written", proof="V4")
        if _meaning(here[0]) == _meaning(wanted):
            detail = "the terminal changed bytes behind the end of a text, which mean nothing"
            return Done(key=step.key, status="written", proof="V2", detail=detail)
        return Done(key=step.key, status="differs", code="read-back-differs", detail="the table holds something else")

    async def _take_back(self, step: Step, done: Done, held: dict[int, list[bytes]]) -> Done:
        """A user that was not there and is not as wanted may have any rights: it does not stay."""
        uid = int(step.origin["user_index"])
        if done.status != "differs" or step.action == "remove" or not step.was_empty or uid not in held:
            return done
        await self._wire.ask(Cmd.USER_DELETE, uid.to_bytes(2, "little"), timeout_s=self._wire.facts.write_s)
        await self._wire.ask(Cmd.REFRESH, repeatable=True, timeout_s=self._wire.facts.write_s)
        gone = uid not in await self.records(fresh=True)
        left = "was taken away again" if gone else "could not be taken away"
        return replace(done, detail=f"{done.detail}; the user {left}")

    async def style(self, uid: int) -> int | None:
        """Return a user's verify mode; None where the unit does not tell."""
        if self._styles is False:
            return None
        answer = await self._wire.ask_optional(Cmd.VERIFY_READ, uid.to_bytes(2, "little"))
        if answer.code in UNKNOWN_COMMAND:
            self._styles = False
        if answer.code != Reply.OK or len(answer.data) != VERIFY_BYTES:
            return None
        self._styles = True
        number, mode = parse_verify(answer.data)
        return mode if number == uid else None

    @property
    def knows_styles(self) -> bool | None:
        """Whether the unit tells verify styles; None before it was asked."""
        return self._styles


def _refused(step: Step, code: str, detail: str) -> Done:
    return Done(key=step.key, status="refused", code=code, detail=detail)


def _meaning(record: bytes) -> tuple[object, ...]:
    """A record without what stands behind the NULs of its texts (section 7)."""
    row = parse_user(record)
    texts = {"password": cut_text(row.password), "name": cut_text(row.name)}
    if isinstance(row, Row72):
        texts["user_id"] = cut_text(row.user_id)
    return tuple({**row._asdict(), **texts}.values())


def number_of(step: Step, name: str, highest: int) -> int | None:
    """Return a number of the step's origin if it is one that a request can carry."""
    value = step.origin.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= highest else None
