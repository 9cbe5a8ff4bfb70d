"""How a simulated Nuki lock lets a new client in: sections 4 and 5 of the wire reference of the family.

Where that leaves something open, the choice is marked "unconfirmed".
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lockmigrate.sim import nuki_crypto as crypto
from lockmigrate.sim.nuki_frames import (
    CHALLENGE_BYTES,
    HEAD,
    Answer,
    Code,
    Message,
    Refusal,
    Trouble,
    error,
    read_clear,
    read_inner,
    status,
)
from lockmigrate.sim.nuki_lists import MAX_ID_TYPE
from lockmigrate.sim.nuki_records import NAME_BYTES, User, cut_name, encode_date

if TYPE_CHECKING:
    from lockmigrate.sim.nuki_lock import Lock

MAC_BYTES: Final = 32
DATA_HEAD: Final = struct.Struct(f"<BI{NAME_BYTES}s")
"""Section 4, step 7: id type, id, name; the client's nonce follows."""
SHORT_DATA: Final = struct.Struct(f"<I{NAME_BYTES}sI")
"""Section 5, step 7: id, name, PIN."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What the lock waits for."""

    code: Code
    size: int
    take: Callable[[bytes], list[Message]]


def _starts_anew(raw: bytes) -> bool:
    """Tell whether this is a request in clear, where an encrypted message was awaited."""
    try:
        return read_clear(raw)[0] == Code.REQUEST_DATA
    except Refusal:
        return False


class Pairing:
    """One attempt after the other; each starts with a request for the public key."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._next: _Step | None = None
        self._awaits_secret = False
        """Generation 5: the next message comes encrypted."""
        self._their_key = b""
        self._key = b""
        self._challenge = b""
        self._unconfirmed: int | None = None

    def link_ended(self) -> None:
        """Forget the attempt; whether an unconfirmed user survives is unconfirmed (section 4)."""
        users = self._lock.flash.users
        if self._unconfirmed is not None and self._lock.settings.drops_unconfirmed:
            users.pop(self._unconfirmed, None)
            self._lock.changed()
        self._unconfirmed = None
        self._next = None
        self._awaits_secret = False

    def hear(self, raw: bytes) -> Answer:
        """Take a message on the pairing characteristic."""
        if self._awaits_secret and not _starts_anew(raw):
            return self._hear_secret(raw)
        self._awaits_secret = False
        code = 0
        try:
            code, payload = read_clear(raw)
            self._lock.log.append(code)
            return self._clear(self._answer(code, payload))
        except Refusal as refusal:
            self._next = None  # section 4: start again at step 1
            return self._clear([error(refusal.trouble, code)])

    def _clear(self, messages: list[Message]) -> Answer:
        return Answer(uuid=self._lock.places.pairing_io, messages=messages)

    def _answer(self, code: int, payload: bytes) -> list[Message]:
        if not self._lock.in_pairing_mode():
            raise Refusal(Trouble.NOT_PAIRING)
        if code == Code.REQUEST_DATA:
            if len(payload) != 2:
                raise Refusal(Trouble.BAD_LENGTH)
            if int.from_bytes(payload, "little") != Code.PUBLIC_KEY:
                raise Refusal(Trouble.PAIRING_PARAMETER)
            self._next = _Step(Code.PUBLIC_KEY, crypto.KEY_BYTES, self._take_key)
            return [Message(code=Code.PUBLIC_KEY, payload=crypto.public_key(self._lock.flash.private_key))]
        step = self._next
        if step is None or code != step.code:
            raise Refusal(Trouble.UNKNOWN)
        if len(payload) != step.size:
            raise Refusal(Trouble.BAD_LENGTH)
        return step.take(payload)

    def _take_key(self, payload: bytes) -> list[Message]:
        key = crypto.shared_key(self._lock.flash.private_key, payload)
        if key is None:
            raise Refusal(Trouble.PAIRING_PARAMETER)
        self._their_key, self._key = payload, key
        self._next = _Step(Code.AUTHENTICATOR, MAC_BYTES, self._take_authenticator)
        return [self._challenged()]

    def _challenged(self) -> Message:
        self._challenge = self._lock.draw(CHALLENGE_BYTES)
        return Message(code=Code.CHALLENGE, payload=self._challenge)

    def _take_authenticator(self, payload: bytes) -> list[Message]:
        ours = crypto.public_key(self._lock.flash.private_key)
        self._prove(payload, self._their_key, ours, self._challenge)
        if self._lock.settings.generation == 5:
            self._next, self._awaits_secret = None, True
            return [Message(code=Code.AUTHORIZATION_INFO, payload=bytes([bool(self._lock.flash.pin)]))]
        size = MAC_BYTES + DATA_HEAD.size + CHALLENGE_BYTES
        self._next = _Step(Code.AUTHORIZATION_DATA, size, self._take_data)
        return [self._challenged()]

    def _prove(self, mac: bytes, *parts: bytes) -> None:
        if not crypto.proves(mac, self._key, *parts):
            raise Refusal(Trouble.BAD_AUTHENTICATOR)

    # ---- generations 1 to 4 ------------------------------------------------------------------------------------------

    def _take_data(self, payload: bytes) -> list[Message]:
        """Steps 7 and 8: the user is stored before the lock proves itself."""
        mac, data = payload[:MAC_BYTES], payload[MAC_BYTES:]
        self._prove(mac, data, self._challenge)
        id_type, app_id, name = DATA_HEAD.unpack_from(data)
        if id_type > MAX_ID_TYPE:
            raise Refusal(Trouble.PAIRING_PARAMETER)
        theirs = data[DATA_HEAD.size :]
        number = self._stored(id_type, app_id, name)
        self._unconfirmed = number
        self._challenge = self._lock.draw(CHALLENGE_BYTES)
        answer = struct.pack("<I", number) + self._lock.flash.uuid + self._challenge
        self._next = _Step(Code.AUTHORIZATION_ID_CONFIRMATION, MAC_BYTES + 4, self._take_confirmation)
        return [Message(code=Code.AUTHORIZATION_ID, payload=crypto.authenticator(self._key, answer, theirs) + answer)]

    def _take_confirmation(self, payload: bytes) -> list[Message]:
        """Steps 9 and 10."""
        mac, number = payload[:MAC_BYTES], payload[MAC_BYTES:]
        self._prove(mac, number, self._challenge)
        if int.from_bytes(number, "little") != self._unconfirmed:
            raise Refusal(Trouble.PAIRING_PARAMETER)
        self._finished()
        return [status()]

    # ---- generation 5 ------------------------------------------------------------------------------------------------

    def _hear_secret(self, raw: bytes) -> Answer:
        """Steps 7 and 8 of section 5, encrypted with the new key; the id in the frame is not looked at.

        Which errors come in which frame is unconfirmed.
        """
        self._awaits_secret = False
        try:
            number, plain = self._unsealed(raw)
        except Refusal as refusal:
            return self._clear([error(refusal.trouble, Code.AUTHORIZATION_DATA)])
        try:
            code, payload = read_inner(plain, number)
            self._lock.log.append(code)
            messages = self._short_answer(code, payload)
        except Refusal as refusal:
            messages = [error(refusal.trouble, Code.AUTHORIZATION_DATA)]
            if not self._lock.settings.secret_pairing_error:
                return self._clear(messages)
        return Answer(uuid=self._lock.places.pairing_io, messages=messages, key=self._key, authorization_id=number)

    def _unsealed(self, raw: bytes) -> tuple[int, bytes]:
        if len(raw) < HEAD.size:
            raise Refusal(Trouble.BAD_LENGTH)
        nonce, number, size = HEAD.unpack_from(raw)
        sealed = raw[HEAD.size :]
        if size != len(sealed):
            raise Refusal(Trouble.BAD_LENGTH)
        plain = crypto.unseal(self._key, nonce, sealed)
        if plain is None:
            raise Refusal(Trouble.BAD_AUTHENTICATOR)
        return number, plain

    def _short_answer(self, code: int, payload: bytes) -> list[Message]:
        if not self._lock.in_pairing_mode():
            raise Refusal(Trouble.NOT_PAIRING)
        if code != Code.AUTHORIZATION_DATA:
            raise Refusal(Trouble.UNKNOWN)
        if len(payload) != SHORT_DATA.size:
            raise Refusal(Trouble.BAD_LENGTH)
        app_id, name, pin = SHORT_DATA.unpack(payload)
        self._lock.check_pin(pin)
        number = self._stored(0, app_id, name)
        self._finished()
        return [Message(code=Code.AUTHORIZATION_ID, payload=struct.pack("<I", number) + self._lock.flash.uuid)]

    # ---- both --------------------------------------------------------------------------------------------------------

    def _stored(self, id_type: int, app_id: int, name: bytes) -> int:
        lock = self._lock
        if not lock.lists.has_room_for_user(id_type):
            raise Refusal(Trouble.MAX_USER)
        number = lock.flash.next_user_id
        lock.lists.put_user(
            User(
                authorization_id=number,
                id_type=id_type,
                app_id=app_id,
                name=cut_name(name),
                key=self._key,
                created=encode_date(lock.clock()),
            )
        )
        return number

    def _finished(self) -> None:
        """Section 14: leaves pairing mode on success."""
        self._unconfirmed = None
        self._next = None
        self._lock.end_pairing_mode()
