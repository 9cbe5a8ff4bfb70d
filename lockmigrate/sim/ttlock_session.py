"""Who talks to a simulated TTLock lock: pairing, logging in, and the reset.

Section numbers are those of the wire reference of the family; where it leaves something open, the choice is marked
"unconfirmed".
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from lockmigrate.sim.ttlock_frames import DEFAULT_KEY, Code, Reader, Refusal, Trouble, moment_either_way
from lockmigrate.sim.ttlock_records import Flash, Switches
from lockmigrate.sim.ttlock_replies import Command, Login, Reply

if TYPE_CHECKING:
    from lockmigrate.sim.ttlock_lock import Lock

TOKEN_LIMIT: Final = 2**31
"""Section 17: kind3r/ttlock-sdk-js adds to a token without wrapping."""
TOKEN_TRIES: Final = {"avoid": 64, "allow": 1, "force": 40_000}
"""How many tokens are tried; of 32-byte frames one in 4,700 has the terminator inside."""
HARMLESS: Final = frozenset({Code.FEATURES, Code.STATUS, Code.GET_TIME, Code.DEVICE_INFO})
"""Answered in factory state too (unconfirmed)."""
ADMIN_CODE_DIGITS: Final = 7
"""Section 4."""

Role = Literal["user", "admin"]


@dataclass(kw_only=True)
class Pairing:
    """What is not kept before it is finished (section 5)."""

    key: bytes = field(repr=False)
    before: Flash = field(repr=False)
    """The memory as it was, to go back to."""
    has_admin: bool = False


class Session:
    """One connection's rights."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._flash = lock.flash
        self._settings = lock.settings
        self.pairing: Pairing | None = None
        self.uid = 0
        self._token: int | None = None
        self._role: Role = "user"
        self._logged_in: Role | None = None

    def table(self) -> dict[int, Command]:
        """Return the commands that are obeyed here."""
        return {
            Code.INITIALISE: Command(obey=self._initialise),
            Code.GET_AES_KEY: Command(obey=self._get_key),
            Code.ADD_ADMIN: Command(obey=self._add_admin),
            Code.FINISHED: Command(obey=self._finish),
            Code.CHECK_ADMIN: Command(obey=self._check_admin),
            Code.CHECK_USER: Command(obey=self._check_user),
            Code.CHECK_RANDOM: Command(obey=self._check_random),
            Code.RESET: Command(obey=self._reset, login="always"),
        }

    @property
    def key(self) -> bytes:
        """The key that holds now."""
        if self.pairing is not None:
            return self.pairing.key
        return self._flash.aes_key or DEFAULT_KEY

    def end(self) -> None:
        """Forget what belongs to the connection; a pairing that is not finished never was."""
        if self.pairing is not None:
            restore(self._flash, self.pairing.before)
            self.pairing = None
        self._token = self._logged_in = None
        self.uid = 0

    def insist(self, code: int, needed: Login) -> None:
        """Check that the client may do this.

        Raises:
            Refusal: the lock is in factory state, or the client has not logged in.
        """
        if not self._flash.paired and not self._in_pairing(code):
            login = code in (Code.CHECK_ADMIN, Code.CHECK_USER, Code.CHECK_RANDOM, Code.UNLOCK, Code.LOCK)
            raise Refusal(Trouble.NO_ADMIN if login else Trouble.SETTING_MODE)
        free = needed == "none" or (needed != "always" and (not self._settings.strict or self.pairing is not None))
        if free or self._logged_in == "admin" or (needed == "user" and self._logged_in == "user"):
            return
        raise Refusal(self._settings.no_login)

    def _in_pairing(self, code: int) -> bool:
        if code in HARMLESS or code in (Code.INITIALISE, Code.GET_AES_KEY, Code.ADD_ADMIN, Code.FINISHED):
            return True
        return self.pairing is not None and self.pairing.has_admin and code != Code.RESET

    # ---- pairing -----------------------------------------------------------------------------------------------------

    def _insist_factory_state(self) -> None:
        if self._flash.paired:
            raise Refusal(Trouble.NOT_SETTING_MODE)

    def _initialise(self, data: bytes) -> Reply:
        """Section 5, step 1: an empty payload is what clients expect (unconfirmed)."""
        Reader(data).end()
        self._insist_factory_state()
        return Reply(bare=True)

    def _get_key(self, data: bytes) -> Reply:
        self._insist_factory_state()
        if data != self._settings.vendor:
            raise Refusal(Trouble.WRONG_VENDOR)
        self.end()
        key = self._settings.aes_key or self._lock.new_key()
        self.pairing = Pairing(key=key, before=copy.deepcopy(self._flash))
        return Reply(data=key)

    def _add_admin(self, data: bytes) -> Reply:
        """Fails without a code (section 3, "Answer plaintext"), whatever the reason."""
        pairing = self.pairing
        if pairing is None or len(data) != 8 + len(self._settings.vendor) or data[8:] != self._settings.vendor:
            raise Refusal(-1)
        pairing.has_admin = True
        self._flash.admin_ps = int.from_bytes(data[:4], "big")
        self._flash.unlock_key = int.from_bytes(data[4:8], "big")
        self._flash.lock_flag_pos = 0
        if self._settings.makes_code:
            self._flash.admin_passcode = self._lock.new_digits(ADMIN_CODE_DIGITS)
        return Reply(data=self._settings.vendor)

    def _finish(self, data: bytes) -> Reply:
        """Section 5, step 12: only now is anything kept. What it does elsewhere is unconfirmed."""
        Reader(data).end()
        self._insist_factory_state()
        if self.pairing is None or not self.pairing.has_admin:
            raise Refusal(Trouble.NO_ADMIN)
        self._flash.aes_key = self.pairing.key
        self.pairing = None
        self._lock.keep()
        return Reply()

    # ---- logging in --------------------------------------------------------------------------------------------------

    def _check_admin(self, data: bytes) -> Reply:
        reader = Reader(data)
        admin_ps, position, uid = reader.number(4), reader.number(3), reader.number(4)
        reader.end()
        if admin_ps != self._flash.admin_ps:
            raise Refusal(Trouble.WRONG_ADMIN)
        self._check_position(position)
        if position > self._flash.lock_flag_pos:
            self._flash.lock_flag_pos = position
            self._lock.keep()
        return self._new_token("admin", uid)

    def _check_user(self, data: bytes) -> Reply:
        """The window of an eKey; packed either way (section 17)."""
        reader = Reader(data)
        start, end = moment_either_way(reader.take(5)), moment_either_way(reader.take(5))
        position, uid = reader.number(3), reader.number(4)
        reader.end()
        if start is None or end is None:
            raise Refusal(Trouble.PARAMETER)
        self._check_position(position)
        now = self._lock.clock()
        if now < start:
            raise Refusal(Trouble.NOT_YET)
        if now > end:
            raise Refusal(Trouble.EXPIRED)
        return self._new_token("user", uid)

    def _check_position(self, position: int) -> None:
        if position < self._flash.lock_flag_pos:
            raise Refusal(Trouble.FLAG_POSITION)

    def _new_token(self, role: Role, uid: int) -> Reply:
        self.uid, self._role = uid, role
        self._logged_in = None

        def tokens() -> Iterator[bytes]:
            for _ in range(TOKEN_TRIES[self._settings.crlf]):
                yield (int.from_bytes(self._lock.draw(4), "big") % TOKEN_LIMIT).to_bytes(4, "big")

        def chosen(token: bytes) -> None:
            self._token = int.from_bytes(token, "big")

        drawn = tokens()
        return Reply(data=next(drawn), others=lambda: drawn, chosen=chosen)

    def check_sum(self, answer: int) -> Role:
        """Hold the sum of token and unlock key against ours; returns whose token it was.

        Raises:
            Refusal: it is wrong, or there is no token.
        """
        if self._token is None:
            raise Refusal(self._settings.no_login)
        if answer != (self._token + self._flash.unlock_key) % 2**32:
            self._token = self._logged_in = None
            raise Refusal(Trouble.WRONG_SUM)
        return self._role

    def _check_random(self, data: bytes) -> Reply:
        reader = Reader(data)
        answer = reader.number(4)
        reader.end()
        self._logged_in = self.check_sum(answer)
        return Reply()

    # ---- reset -------------------------------------------------------------------------------------------------------

    def _reset(self, data: bytes) -> Reply:
        """Section 17: clears everything, an empty payload, setting mode."""
        Reader(data).end()
        self._lock.factory_reset()
        return Reply(bare=True, hangs_up=True)


def restore(flash: Flash, like: Flash) -> None:
    """Make a memory equal to another one, in place."""
    for name, value in vars(like).items():
        setattr(flash, name, value)


def factory_flash() -> Flash:
    """Return the memory of a lock as it leaves the factory, or after its reset."""
    return Flash(settings=Switches())
