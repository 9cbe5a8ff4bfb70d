"""What becomes of codes and cards of another family's unit: every rule of neutral-format 6.2, 6.3, 6.7 and 6.8.

A record that passes is handed on in the form of the target's family; whether there is room for it, and whether the
target holds it already, is that family's own planner's business.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, Final

from msgspec.structs import replace

from lockmigrate.model.adopted import Adopted, Adopter, Holds, Limits, Wanted
from lockmigrate.model.capabilities import CredentialCapability
from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import CardData, Credential, Kind, PinData
from lockmigrate.model.results import WRITTEN, RecordResult, Unit
from lockmigrate.planning.civil import zone_of
from lockmigrate.planning.cross_people import ANY, People
from lockmigrate.planning.cross_shape import Shape
from lockmigrate.planning.cross_times import NO_ZONE, fit_dates, fit_week
from lockmigrate.planning.doors import UNKNOWN
from lockmigrate.planning.limits import both, own_limits
from lockmigrate.planning.new_pins import check_of, suggestions
from lockmigrate.planning.people_parts import DOUBTS, doubts_of
from lockmigrate.planning.pins import unfit
from lockmigrate.planning.policy import CARD_RULES, PIN_REASONS, Answer, Choice, Decisions, Policy
from lockmigrate.planning.renewal import NEW_PIN
from lockmigrate.planning.widened import TIME, widened

KINDS: Final[Mapping[str, Kind]] = {"PIN": "pin", "RFID": "card"}
U32: Final = 0xFFFFFFFF
MOST_DIGITS: Final = 20
"""Of a card's number: more than 8 bytes can say."""
ASSUMED: Final = tuple(
    Answer(reason=reason, choice="write") for reason in ("schedule-unreadable", "name-encoding")
) + tuple(Answer(reason=reason, choice="suggest") for reason in sorted(PIN_REASONS))
"""Answers that were given when a suggested PIN is on the target: it cannot be there by chance."""
_DIGITS_REFUSED: Final = "the new lock does not take these digits: give a new PIN (suggest, or value), or leave it out"
DROPPED: Final = ("schedule-unsupported", "schedule-midnight", "schedule-unreadable")
"""Reasons with which a record is written without its hours, as decided."""
_NO_VALUE: Final = 'choice = "value" needs a line value = "digits"'
_CARD: Final = (
    "whether both units make the same number of a card is not known: hold one card to both, then answer with "
    'value = "same" or value = "reversed" (bytes in the other order), or leave it out'
)
_LONG: Final = "its number has 8 bytes and the new unit's 4, which other cards share: nothing but another card helps"
_SHARED_CARD: Final = "another card of the backup has this number, which opens for both"


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
        doubt: str | None = None,
    ) -> None:
        self._doubt = doubt
        """What is not known of the new unit, whatever the record."""
        self._source, self._unit, self._policy, self._people = source, unit, policy, people
        self._adopter, self._held = adopter, held
        offered = unit.capabilities.credentials
        self._capabilities: dict[Kind, CredentialCapability | None] = {"pin": offered.pin, "card": offered.card}
        self._schedules = {item.key: item for item in source.schedules}
        self._doubts = doubts_of(source)
        self._admin = {str(item.secret.reveal()) for item in target.access_keys if "admin" in item.key}
        pins = [_value(item) for item in source.credentials if item.credential_type == "PIN" and item.data]
        self._pins = frozenset(pins)
        self._often = Counter(pins)
        self._suggested = suggestions(source, unit.id, offered.pin)
        self._given: set[tuple[Kind, str]] = set()
        """Digits and numbers that records of this plan get."""
        self._names: set[str] = set()
        self._cut: Counter[str] = Counter()
        self._opener = source.lock.protocol.get("variant") == "opener"
        self._zone, self.zone_from, self._no_zone = _zone(source, target, policy)
        self.adopted: dict[str, Adopted] = {}
        self.fates: dict[str, RecordResult] = {}
        self.named: set[str] = set()
        """Users whose name goes with a code."""
        self.shared: set[str] = set()
        """PINs that people share and that one of them keeps, as decided."""
        self.chosen: set[str] = set()
        """PINs that a person chose: another run may have been told another one."""
        self.lapsed: set[str] = set()
        """Records whose first day is past, and that the new unit holds without it."""
        self.converted = self.by_hours = False
        """Whether dates were turned by a time zone, and whether anything goes by hours of the day."""

    def work(self) -> None:
        """Fill `fates` and `adopted`."""
        for item in self._source.credentials:
            if item.credential_type in KINDS:
                kind = KINDS[item.credential_type]
                fate = self._judge(item, kind, self._policy)
                if fate.outcome == "needs_input" and kind == "pin":
                    fate = self._finished(item) or fate
                self.fates[item.key] = fate

    def _finished(self, item: Credential) -> RecordResult | None:
        """Say what becomes of a PIN whose suggestion is on the target already, just as it would be written.

        What an interrupted run has finished is not asked about again (decision 19).
        """
        answers = Decisions(answer=(*self._policy.decisions.answer, *ASSUMED))
        fate = self._judge(item, "pin", replace(self._policy, decisions=answers), only_held=True)
        return fate if fate.outcome in WRITTEN else None

    @property
    def possible(self) -> bool:
        """Whether the target takes any of these kinds of records at all."""
        return any(self._takes(kind) for kind in KINDS.values())

    @property
    def undated(self) -> bool:
        """Whether the target limits nobody to dates."""
        return self._adopter is not None and not any(holds.dates for holds in self._adopter.holds.values())

    def limits_of(self, item: Credential) -> Limits:
        """Return everything that limits a credential."""
        return both(own_limits(self._schedules, item), self._people.limits_of(item.user))

    def _takes(self, kind: Kind) -> bool:
        capability = self._capabilities[kind]
        known = self._adopter is not None and kind in self._adopter.holds
        return known and capability is not None and capability.writable == "data"

    def _judge(self, item: Credential, kind: Kind, policy: Policy, *, only_held: bool = False) -> RecordResult:
        result = RecordResult(key=item.key, kind=kind, outcome="copy")
        person = self._people.fates.get(item.user or "")
        if person is not None and person.outcome != "adjust":
            return replace(person, key=item.key, kind=kind, detail=None, follows=person.key)
        shape = Shape(result, policy, _value(item))
        adopter = self._adopter
        if not self._takes(kind) or adopter is None:
            shape.question(*self._why_not(kind))
            return shape.settled()
        if adopter.full:
            shape.question("capacity", "all numbers of the new unit are taken")
        holds, limits = adopter.holds[kind], self.limits_of(item)
        if not holds.dates:
            dated, limits = limits.dated, self._from_now(limits)
            self.lapsed |= {item.key} if dated and not limits.dated else set()
        self._before_digits(shape, item, limits, holds)
        if kind == "card":
            self._card(shape, item)
        else:
            self._digits(shape, item)
        fit_week(shape, limits, holds)
        fit_dates(shape, limits, adopter, holds, self._zone, self._no_zone)
        named = self._name(shape, item, holds.name_bytes)
        result = shape.settled()
        if result.outcome not in WRITTEN:
            return result
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
        made = adopter.build(kind, wanted)
        more = self._more(adopter, kind, made.record, wanted, limits, result)
        if more is not None:
            return replace(result, outcome="refuse", reasons=(TIME,), detail=more, new_pin=False, pin_check=None)
        if only_held and not (result.new_pin and made.record in self._held):
            return replace(result, outcome="needs_input")
        self.adopted[item.key] = made
        if made.note is not None:
            shape.change("user-number", made.note)
            result = shape.settled()
        self._given.add((kind, shape.value))
        self._names.add(shape.name)
        self.named |= {item.user} if named and item.user is not None else set()
        self.converted |= limits.dated and (adopter.dates == "utc") == bool(limits.from_local or limits.until_local)
        self.by_hours |= shape.week is not None
        return result

    def _more(
        self, adopter: Adopter, kind: Kind, record: bytes, wanted: Wanted, limits: Limits, result: RecordResult
    ) -> str | None:
        """Check a record that is about to be planned by what its bytes say (R0); None where it allows no more."""
        value, enabled, held = adopter.read(kind, record)
        if value != wanted.value or enabled > wanted.enabled or held.unknown:
            return "what was made of it for the new lock does not say the same: left out, please report this"
        if any(reason in DROPPED for reason in result.reasons) and not adopter.holds[kind].dates:
            limits = Limits()  # so was that its dates are
        elif any(reason in DROPPED for reason in result.reasons):
            limits = dataclasses.replace(limits, week=None)  # that its hours are lost was decided
        wider = widened(held, limits, self._zone)
        return None if wider is None else f"on the new lock it would open {wider}: left out, please report this"

    def _why_not(self, kind: Kind) -> tuple[str, str]:
        capability = self._capabilities[kind]
        if capability is None:
            if kind == "pin":
                return "no-keypad", "the new unit takes no PINs"
            return "no-card-reader", "the new unit takes no cards"
        if capability.writable != "data":
            return "no-public-layout", "nobody has published how such a unit stores them"
        return "other-family", "it would have to become a person with a number on the new unit: enter it there by hand"

    def _off(self, item: Credential) -> bool:
        user = self._people.users.get(item.user or "")
        return user is not None and user.user_status == "OccupiedDisabled"

    def _before_digits(self, shape: Shape, item: Credential, limits: Limits, holds: Holds) -> None:
        """Everything that does not depend on what the record says: doubts, switched off, spent, over, never."""
        if item.data is None or item.status == "unknown":
            shape.question("no-public-layout", "nobody has explained its record; give it out anew")
        nobody = item.user is None if self._source.users else item.user is not None
        if nobody or (item.user is not None and item.user not in self._people.users):
            shape.question("user-missing", DOUBTS["user-missing"])
        for code in self._doubts.get(item.key, ()):
            if code != "user-missing":
                shape.question(code, DOUBTS[code], ANY)
        if (item.status != "enabled" or self._off(item)) and not holds.disabled:
            shape.skip("disabled-unsupported", "the new lock cannot hold it switched off")
        if isinstance(item.use_limit, int):
            shape.skip("one-time-code", "it may be spent already")
        if limits.never:
            shape.skip("schedule-unsupported", "it never opens the old unit")
        if self.over(limits):
            shape.skip("expired", "its last day is over")
        if not self._people.opens_with(item.user, item.credential_type):
            shape.skip("rule-unsupported", "it alone does not open the old unit")
        if self._opener:
            shape.refuse("other-family", "an Opener's code opens another door")
        if self._doubt is not None:
            shape.question(UNKNOWN, self._doubt, ANY)
        if item.duress:
            shape.refuse("duress-unsupported", "the silent alarm would be lost")

    def over(self, limits: Limits) -> bool:
        """Whether the last day is over, as far as it is known what day it is."""
        policy = self._policy
        if policy.keep_expired:
            return False
        return any(
            end is not None and now is not None and end < now
            for end, now in ((limits.until_utc, policy.now_utc), (limits.until_local, policy.now_local))
        )

    def _from_now(self, limits: Limits) -> Limits:
        """Return limits without a first day that is past, where there is no last one: it limits nothing any more."""
        policy = self._policy
        if limits.until_utc or limits.until_local:
            return limits
        first_utc, first_local = limits.from_utc, limits.from_local
        if first_utc is not None and policy.now_utc is not None and first_utc <= policy.now_utc:
            first_utc = None
        if first_local is not None and policy.now_local is not None and first_local <= policy.now_local:
            first_local = None
        return dataclasses.replace(limits, from_utc=first_utc, from_local=first_local)

    # ---- digits and numbers -----------------------------------------------------------------------------------------

    def _digits(self, shape: Shape, item: Credential) -> None:
        if shape.stopped:
            return
        if item.vendor.get("ttlock", {}).get("changed"):
            shape.change("setting-unsupported", "what it was made as, before it was changed, stays in the backup")
        reasons = list(unfit(shape.value, self._capabilities["pin"]))
        if shape.value in self._admin:
            reasons.append("pin-equals-admin")
        taken = ("pin", shape.value) in self._given
        if not reasons and self._often[shape.value] < 2 and not taken:
            return
        suits: tuple[Choice, ...] = ("suggest", "value", "skip")
        detail = _DIGITS_REFUSED
        if not reasons:
            reasons, detail = ["pin-duplicate"], "others have the same PIN, which opens for all of them"
            suits = suits if taken else ("write", *suits)
        answer = shape.ask(reasons[0], detail, suits, *reasons[1:])
        if answer is None:
            return
        if answer.choice == "write":
            self.shared.add(item.key)
            shape.change("pin-duplicate", "others had the same PIN on the old unit")
            return
        lacks = answer.choice == "value" and answer.value is None
        why = _NO_VALUE if lacks else self._renew(shape, item, answer.value if answer.choice == "value" else None)
        if why is not None:
            shape.asked += [(code, why) for code in reasons]
            return
        if answer.choice == "value":
            self.chosen.add(item.key)
        for reason in reasons:
            shape.change(reason, NEW_PIN)
        check = check_of(self._source, item.key, shape.value)
        shape.result = replace(shape.result, new_pin=True, pin_check=check)

    def _renew(self, shape: Shape, item: Credential, value: object) -> str | None:
        """Give a record another PIN; returns why that is not possible."""
        if value is None:
            digits = self._suggested.get(item.key, "")
            if not digits or digits in self._admin or ("pin", digits) in self._given:
                return "no PIN can be suggested for it: answer with value, or make a new backup first"
        else:
            if not isinstance(value, str):
                return "the PIN that was given has to be text, in quotes"
            digits = value
            wrong = [*unfit(digits, self._capabilities["pin"])]
            wrong += ["pin-equals-admin"] if digits in self._admin else []
            wrong += ["pin-duplicate"] if ("pin", digits) in self._given or digits in self._pins else []
            if wrong:
                return f"the PIN that was given does not do: {', '.join(wrong)}"
        shape.value = digits
        return None

    def _card(self, shape: Shape, item: Credential) -> None:
        if shape.stopped:
            return
        text = shape.value
        number = int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else None
        if not isinstance(item.data, CardData) or number is None:
            shape.question("card-number-rule", "its number is no number")
            return
        if not number:
            shape.question("card-number-rule", "0 is the number of no card")
            return
        if number > U32 or item.data.number_rule == "u64be":
            shape.refuse("card-too-long", _LONG, final=True)
            return
        answer = shape.ask("card-number-rule", _CARD, ("write", "value", "skip"))
        if answer is None:
            return
        if answer.choice == "value" and answer.value not in CARD_RULES:
            shape.asked.append(("card-number-rule", _CARD))
            return
        if answer.value == "reversed":
            shape.value = str(int.from_bytes(number.to_bytes(4, "little"), "big"))
            shape.change("card-number-rule", "its bytes in the other order, as decided; try it at the door")
        else:
            shape.change("card-number-rule", "by the same number, as decided; try it at the door")
        if ("card", shape.value) in self._given:
            shape.question("uid-duplicate", _SHARED_CARD)

    # ---- names ------------------------------------------------------------------------------------------------------

    def _name(self, shape: Shape, item: Credential, room: int) -> bool:
        """Put a name into a shape; returns whether it is that of a person."""
        if shape.stopped:
            return False
        user = self._people.users.get(item.user or "")
        name = item.name if isinstance(item.name, str) else user.user_name if user is not None else None
        if not room:
            if name and user is None:  # a user's name is told with the user
                shape.change("name-not-stored", f'"{name}"')
            return False
        if user is not None and name is None and user.user_name_raw:
            detail = "its name is no text in any encoding that is known: write it without, or answer with value"
            answer = shape.ask("name-encoding", detail, ("write", "value", "skip"))
            if answer is None:
                return False
            shape.change("name-encoding")
            said = answer.value if isinstance(answer.value, str) else ""
            name = None if any(letter.isdigit() for letter in said) else said  # a PIN is no name
        shape.name = self._unique(shape, name or item.key.replace("/", " "), room)
        return bool(name) and user is not None

    def _unique(self, shape: Shape, name: str, room: int) -> str:
        """Cut a name on a character's boundary; names that are only equal because they were cut get a number."""
        clean = name.replace("\x00", "")
        cut = _cut(clean, room)
        if cut == clean:
            return cut
        number, unique = self._cut[cut], cut
        while unique in self._names:
            number += 1
            unique = _cut(clean, room - len(str(number + 1)) - 1) + f" {number + 1}"
        self._cut[cut] = number
        shape.change("name-cut", f'"{clean}" → "{unique}"')
        return unique


def _cut(name: str, size_bytes: int) -> str:
    return name.encode("utf-8", "ignore")[:size_bytes].decode("utf-8", "ignore").rstrip()


def _value(item: Credential) -> str:
    if isinstance(item.data, PinData):
        return str(item.data.digits.reveal())
    return str(item.data.number.reveal()) if isinstance(item.data, CardData) else ""


def _zone(source: Snapshot, target: Snapshot, policy: Policy) -> tuple[Any, str, str]:
    """Return the time zone of the door, who says so, and what to say where nobody does.

    What was decided counts first, then what the old lock says, then the new one; an answer that names no time zone is
    not replaced by another.
    """
    for item in policy.decisions.answer:
        if item.reason == "zone-differs" and item.choice == "value":
            return zone_of(item.value), "decisions", f"there is no time zone of the name that was given; {NO_ZONE}"
    for name, who in ((source.lock.time_zone, "old"), (target.lock.time_zone, "new")):
        zone = zone_of(name)
        if zone is not None:
            return zone, who, NO_ZONE
    return None, "nobody", NO_ZONE
