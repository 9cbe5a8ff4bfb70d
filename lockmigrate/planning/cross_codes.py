"""What becomes of codes and cards of another family's unit: every rule of neutral-format 6.2, 6.3, 6.7 and 6.8.

A record that passes is handed on in the form of the target's family; whether there is room for it, and whether the
target holds it already, is that family's own planner's business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, Final

from msgspec.structs import replace

from lockmigrate.model.adopted import Adopted, Adopter, Holds, Limits, Wanted
from lockmigrate.model.capabilities import CredentialCapability
from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import CardData, Credential, Kind, PinData
from lockmigrate.model.results import RecordResult, Unit
from lockmigrate.planning.civil import zone_of
from lockmigrate.planning.cross_people import People
from lockmigrate.planning.cross_shape import WRITTEN, Shape
from lockmigrate.planning.cross_times import fit_dates, fit_week
from lockmigrate.planning.draft import Asker
from lockmigrate.planning.limits import both, own_limits
from lockmigrate.planning.new_pins import suggestions
from lockmigrate.planning.people_parts import DOUBTS, doubts_of
from lockmigrate.planning.pins import unfit
from lockmigrate.planning.policy import PIN_REASONS, Answer, Choice, Decisions, Policy
from lockmigrate.planning.renewal import NEW_PIN

KINDS: Final[Mapping[str, Kind]] = {"PIN": "pin", "RFID": "card"}
ANY: Final[tuple[Choice, ...]] = ("write", "override", "skip")
CARD_RULES: Final = ("same", "reversed")
"""How the target shows a card that the old unit shows by a number: by the same number, or by its bytes in the other
order. One card held to both units tells which (neutral-format 6.8)."""
U32: Final = 0xFFFFFFFF
_LIKELY: Final = tuple(
    Answer(reason=reason, choice="write") for reason in ("schedule-unreadable", "name-encoding", "user-missing")
) + tuple(Answer(reason=reason, choice="suggest") for reason in sorted(PIN_REASONS))
ASSUMED: Final = tuple((*_LIKELY, Answer(reason="card-number-rule", choice="value", value=rule)) for rule in CARD_RULES)
"""Answers that may have been given when an interrupted run wrote what is there."""
_DIGITS_REFUSED: Final = "the new lock does not take these digits: give a new PIN (suggest, or value), or leave it out"
_CARD: Final = (
    "whether both units make the same number of a card is not known: hold one card to both, then answer with "
    'value = "same" or value = "reversed" (bytes in the other order), or leave it out'
)


class Codes:
    """Works out the fate of each PIN and card."""

    def __init__(
        self,
        source: Snapshot,
        target: Snapshot,
        unit: Unit,
        policy: Policy,
        people: People,
        adopter: Adopter | None,
        held: Collection[bytes],
    ) -> None:
        self._held = held
        self._source, self._unit, self._policy, self._people = source, unit, policy, people
        self._adopter, self._asker = adopter, Asker(policy)
        offered = unit.capabilities.credentials
        self._capabilities: dict[Kind, CredentialCapability | None] = {"pin": offered.pin, "card": offered.card}
        self._doubts = doubts_of(source)
        self._admin = {str(item.secret.reveal()) for item in target.access_keys if "admin" in item.key}
        pins = [_value(item) for item in source.credentials if item.credential_type == "PIN" and item.data]
        self._pins = frozenset(pins)
        self._often = Counter(pins)
        self._suggested = suggestions(source, unit.id, offered.pin)
        self._given: set[str] = set()
        """Digits that records of this plan get."""
        self._names: set[str] = set()
        self._opener = source.lock.protocol.get("variant") == "opener"
        self._zone = _zone(source, target, policy)
        self.adopted: dict[str, Adopted] = {}
        self.fates: dict[str, RecordResult] = {}
        self.named: set[str] = set()
        """Users whose name goes with a code."""

    def work(self) -> None:
        """Fill `fates` and `adopted`."""
        for item in self._source.credentials:
            if item.credential_type in KINDS:
                kind = KINDS[item.credential_type]
                fate = self._judge(item, kind)
                self.fates[item.key] = self._finished(item, kind) or fate if fate.outcome == "needs_input" else fate

    def _finished(self, item: Credential, kind: Kind) -> RecordResult | None:
        """Say what becomes of a record that the target holds already as some answer would have it written.

        What an interrupted run has finished is not asked about again (decision 19).
        """
        policy, given, names = self._policy, set(self._given), set(self._names)
        for assumed in ASSUMED:
            self._policy = replace(policy, decisions=Decisions(answer=(*policy.decisions.answer, *assumed)))
            self._asker = Asker(self._policy)
            fate = self._judge(item, kind)
            self._policy, self._asker = policy, Asker(policy)
            made = self.adopted.get(item.key)
            if fate.outcome in WRITTEN and made is not None and made.record in self._held:
                return fate
            self.adopted.pop(item.key, None)
            self._given, self._names = set(given), set(names)
        return None

    @property
    def possible(self) -> bool:
        """Whether the target takes any of these kinds of records at all."""
        return any(self._takes(kind) for kind in KINDS.values())

    def _takes(self, kind: Kind) -> bool:
        capability = self._capabilities[kind]
        known = self._adopter is not None and kind in self._adopter.holds
        return known and capability is not None and capability.writable == "data"

    def _judge(self, item: Credential, kind: Kind) -> RecordResult:
        result = RecordResult(key=item.key, kind=kind, outcome="copy")
        person = self._people.fates.get(item.user or "")
        if person is not None and person.outcome != "adjust":
            return replace(person, key=item.key, kind=kind, detail=None, follows=person.key)
        adopter = self._adopter
        if not self._takes(kind) or adopter is None:
            return self._asker.ask(result, *self._why_not(kind))
        holds = adopter.holds[kind]
        early = self._before_digits(item, result, holds)
        if early.outcome not in WRITTEN:
            return early
        shape = Shape(early, self._policy, _value(item))
        limits = both(own_limits(self._source, item), self._people.limits_of(item.user))
        if kind == "card":
            self._card(shape, item)
        else:
            self._digits(shape, item)
        if not shape.stopped:
            fit_week(shape, limits, holds)
        if not shape.stopped:
            fit_dates(shape, limits, adopter, self._zone)
        if not shape.stopped:
            self._name(shape, item, holds.name_bytes)
        result = shape.settled()
        if result.outcome not in WRITTEN:
            return replace(result, new_pin=False)
        wanted = Wanted(
            key=item.key,
            number=len(self.adopted) + 1,
            value=shape.value,
            size_bytes=shape.size_bytes,
            name=shape.name,
            enabled=item.status == "enabled" and not self._off(item),
            week=shape.week,
            start=shape.start,
            end=shape.end,
        )
        self.adopted[item.key] = adopter.build(kind, wanted)
        if kind == "pin":
            self._given.add(shape.value)
        return result

    def _why_not(self, kind: Kind) -> tuple[str, str]:
        capability = self._capabilities[kind]
        if capability is None:
            if kind == "pin":
                return "no-keypad", "the new unit takes no PINs"
            return "setting-unsupported", "the new unit takes no cards"
        if capability.writable != "data":
            return "no-public-layout", "nobody has published how such a unit stores them"
        return "other-family", "it would have to become a person with a number on the new unit: enter it there by hand"

    def _off(self, item: Credential) -> bool:
        user = self._people.users.get(item.user or "")
        return user is not None and user.user_status == "OccupiedDisabled"

    def _before_digits(self, item: Credential, result: RecordResult, holds: Holds) -> RecordResult:
        """Everything that does not depend on what the record says: doubts, switched off, spent, over, never."""
        if item.data is None or item.status == "unknown":
            return self._asker.ask(result, "no-public-layout", "nobody has explained its record; give it out anew")
        for code in self._doubts.get(item.key, ()):
            result = self._asker.ask(result, code, DOUBTS[code], ANY if code != "user-missing" else ("skip",))
            if result.outcome not in WRITTEN:
                return result
        if item.user is None and self._source.users:
            return self._asker.ask(result, "user-missing", DOUBTS["user-missing"])
        if (item.status != "enabled" or self._off(item)) and not holds.disabled:
            detail = "the new lock cannot hold it switched off"
            return replace(result, outcome="skip", reasons=("disabled-unsupported",), detail=detail)
        if isinstance(item.use_limit, int):
            return replace(result, outcome="skip", reasons=("one-time-code",), detail="it may be spent already")
        limits = own_limits(self._source, item)
        if limits.never or both(limits, self._people.limits_of(item.user)).never:
            return replace(
                result, outcome="skip", reasons=("schedule-unsupported",), detail="it never opens the old unit"
            )
        if self._over(limits):
            return replace(result, outcome="skip", reasons=("expired",), detail="its last day is over")
        if not self._people.opens_with(item.user, item.credential_type):
            detail = "it alone does not open the old unit"
            return replace(result, outcome="skip", reasons=("rule-unsupported",), detail=detail)
        if self._opener:
            result = self._asker.refuse(result, "other-family", "an Opener's code opens another door")
        if item.duress and result.outcome in WRITTEN:
            result = self._asker.refuse(result, "duress-unsupported", "the silent alarm would be lost")
        return result

    def _over(self, limits: Limits) -> bool:
        policy = self._policy
        if policy.keep_expired:
            return False
        return any(
            end is not None and now is not None and end < now
            for end, now in ((limits.until_utc, policy.now_utc), (limits.until_local, policy.now_local))
        )

    # ---- digits and numbers -----------------------------------------------------------------------------------------

    def _digits(self, shape: Shape, item: Credential) -> None:
        reasons = list(unfit(shape.value, self._capabilities["pin"]))
        if shape.value in self._admin:
            reasons.append("pin-equals-admin")
        shared = self._often[shape.value] > 1
        if not reasons and not shared and shape.value not in self._given:
            return
        suits: tuple[Choice, ...] = ("suggest", "value", "skip")
        detail = _DIGITS_REFUSED
        if not reasons:
            reasons, detail = ["pin-duplicate"], "others have the same PIN, which opens for all of them"
            suits = ("write", *suits) if shape.value not in self._given else suits
        answer = shape.ask(reasons[0], detail, suits, *reasons[1:])
        if answer is None:
            return
        if answer.choice == "write":
            shape.change("pin-duplicate", "others had the same PIN on the old unit")
            return
        why = self._renew(shape, item, answer.value if answer.choice == "value" else None)
        if why is not None:
            shape.asked += [(code, why) for code in reasons]
            return
        for reason in reasons:
            shape.change(reason, NEW_PIN)
        shape.result = replace(shape.result, new_pin=True)

    def _renew(self, shape: Shape, item: Credential, value: object) -> str | None:
        """Give a record another PIN; returns why that is not possible."""
        capability = self._capabilities["pin"]
        if value is None:
            digits = self._suggested.get(item.key, "")
            if not digits or digits in self._admin or digits in self._given:
                return "no PIN can be suggested for it: answer with value, or make a new backup first"
        else:
            digits = value if isinstance(value, str) else ""
            wrong = [*unfit(digits, capability), *(["pin-equals-admin"] if digits in self._admin else [])]
            if digits in self._given or (digits in self._pins and digits != shape.value):
                wrong.append("pin-duplicate")
            if wrong or not digits:
                return f"the PIN that was given does not do: {', '.join(wrong) or 'it has to be text, in quotes'}"
        shape.value = digits
        return None

    def _card(self, shape: Shape, item: Credential) -> None:
        number = int(shape.value) if shape.value.isascii() and shape.value.isdigit() else None
        if not isinstance(item.data, CardData) or number is None:
            shape.ask("card-number-rule", "its number is no number")
            return
        if number > U32:
            shape.ask("card-too-long", "its number is of more than 4 bytes")
            return
        answer = shape.ask("card-number-rule", _CARD, ("write", "override", "value", "skip"))
        if answer is None:
            return
        if answer.choice == "value" and answer.value not in CARD_RULES:
            shape.asked.append(("card-number-rule", _CARD))
        elif answer.value == "reversed":
            shape.value = str(int.from_bytes(number.to_bytes(4, "little"), "big"))
            shape.change("card-number-rule", "its bytes in the other order, as decided; try it at the door")
        else:
            shape.change("card-number-rule", "by the same number, as decided; try it at the door")

    # ---- names ------------------------------------------------------------------------------------------------------

    def _name(self, shape: Shape, item: Credential, room: int) -> None:
        user = self._people.users.get(item.user or "")
        name = item.name if isinstance(item.name, str) else user.user_name if user is not None else None
        if not room:
            if name and user is None:  # a user's name is told with the user
                shape.change("name-not-stored", f'"{name}"')
            return
        if user is not None and name is None and user.user_name_raw:
            detail = "its name is no text in any encoding that is known: write it without, or answer with value"
            answer = shape.ask("name-encoding", detail, ("write", "override", "value", "skip"))
            if answer is None:
                return
            shape.change("name-encoding")
            name = answer.value if isinstance(answer.value, str) else None
        shape.name = self._unique(shape, name or item.key.replace("/", " "), room)
        if name and user is not None:
            self.named.add(user.key)

    def _unique(self, shape: Shape, name: str, room: int) -> str:
        """Cut a name on a character's boundary; names that are only equal because they were cut get a number."""
        clean = name.replace("\x00", "")
        cut = _cut(clean, room)
        if cut == clean:
            self._names.add(cut)
            return cut
        number = 2
        unique = cut
        while unique in self._names:
            unique = _cut(clean, room - len(str(number)) - 1) + f" {number}"
            number += 1
        self._names.add(unique)
        shape.change("name-cut", f'"{clean}" → "{unique}"')
        return unique


def _cut(name: str, size_bytes: int) -> str:
    return name.encode("utf-8")[:size_bytes].decode("utf-8", "ignore").rstrip()


def _value(item: Credential) -> str:
    if isinstance(item.data, PinData):
        return str(item.data.digits.reveal())
    return str(item.data.number.reveal()) if isinstance(item.data, CardData) else ""


def _zone(source: Snapshot, target: Snapshot, policy: Policy) -> Any:
    """Return the time zone of the door: what was decided, else what the old lock says, else the new one."""
    said = [item.value for item in policy.decisions.answer if item.reason == "zone-differs" and item.choice == "value"]
    names = (*said, source.lock.time_zone, target.lock.time_zone)
    return next((zone for zone in map(zone_of, names) if zone is not None), None)
