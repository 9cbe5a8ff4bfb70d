"""Who may enter when, by what: a judge of rule R0 over two neutral documents of any of three families.

Written from neutral-format 2.5 and the wire references alone; it imports nothing of planning and builds nothing. What
opens is a set of tokens that have to come together (a PIN; a PIN and a card; a PIN beside somebody of group 2), when it
opens is a union of terms: dates in UTC, dates in the door's own time, minutes of the week. Rights are compared exactly,
over all time from 2000 on: between two neighbouring dates only the week matters, and a week is 10,080 bits.

What nobody can read (`Unknown`) is an atom: as a right that was held it grants nothing, as a new one everything, and
only an atom of the same meaning (the same unread bytes; the same unit) covers it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, Final

from msgspec import UNSET

from lockmigrate.model.document import Snapshot
from lockmigrate.model.records import CardData, Credential, LockSchedule, PinData, Schedule, User

Token = tuple[Any, ...]
Way = frozenset[Token]
DAY: Final = 24 * 60
WEEK: Final = 7 * DAY
ALWAYS: Final = (1 << WEEK) - 1
"""A bit for each minute of the week, Sunday 00:00 first."""
HOUR_S, DAY_S = 3600, 86400
BEGINNING: Final = int(datetime(2000, 1, 2, tzinfo=UTC).timestamp())
"""TTLock and ZK count no earlier days, and TTLock's first one means "always": a right in the last century is none."""
LAST_YEAR: Final = 9000
"""Behind it a door's zone is what it was before."""
EPOCH_WEEKDAY: Final = 4
"""1970-01-01 was a Thursday; Sunday is 0."""


@dataclass(frozen=True)
class Reading:
    """One way to read what the ZK reference leaves open; a plan has to be right by each of them."""

    no_zones_is_always: bool = True
    """A group that names no time zone: open always, or never."""
    card_or_pin: bool = True
    """Style 14, "FP&card or PIN": a finger and one of the two; else a finger and a card, or the id alone."""


READINGS: Final = tuple(Reading(*open_points) for open_points in itertools.product((False, True), repeat=2))


@dataclass(frozen=True, slots=True)
class Term:
    """At these times: all of its parts have to hold. Windows are half-open."""

    from_utc: float = -math.inf
    until_utc: float = math.inf
    """Seconds since 1970."""
    from_civil: float = -math.inf
    until_civil: float = math.inf
    """Minutes since 1970 as the clock at the door shows them."""
    week: int = ALWAYS
    unknown: frozenset[Token] = frozenset()
    """Limits whose meaning nobody knows."""

    def meet(self, other: Term) -> Term:
        return Term(
            max(self.from_utc, other.from_utc),
            min(self.until_utc, other.until_utc),
            max(self.from_civil, other.from_civil),
            min(self.until_civil, other.until_civil),
            self.week & other.week,
            self.unknown | other.unknown,
        )

    def bits(self, at: float, civil_s: float) -> int:
        """Return the minutes of the week in which it opens, in the stretch of time that begins at `at`."""
        dated = self.from_utc <= at < self.until_utc and self.from_civil * 60 <= civil_s < self.until_civil * 60
        return self.week if dated else 0


@dataclass(frozen=True, slots=True)
class Opening:
    """One way in: what has to come, when it opens, and the records that say so."""

    way: Way
    terms: tuple[Term, ...]
    keys: frozenset[str] = frozenset()


# ---- time at the door -----------------------------------------------------------------------------------------------


@lru_cache(maxsize=200_000)
def offset_s(at: int, zone: tzinfo) -> int:
    """Return how far the clock at the door is ahead of UTC."""
    try:
        moment = datetime.fromtimestamp(at, UTC)
        if moment.year > LAST_YEAR:
            moment = moment.replace(year=2400, day=min(moment.day, 28))
        ahead = moment.astimezone(zone).utcoffset()
    except (ValueError, OverflowError, OSError):
        ahead = timedelta(0)
    return int((ahead or timedelta(0)).total_seconds())


@lru_cache(maxsize=20_000)
def _changes_of_day(day: int, zone: tzinfo) -> tuple[int, ...]:
    """Return the seconds of one UTC day in which the clock at the door is changed."""
    first, last = day * DAY_S, (day + 1) * DAY_S
    before, after = offset_s(first, zone), offset_s(last, zone)
    if before == after:
        return ()
    low, high = first, last
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if offset_s(middle, zone) == before else (low, middle)
    return (high,)


def changes(low: float, high: float, zone: tzinfo) -> list[int]:
    """Return when the clock at the door is changed, between two seconds that are days apart, not years."""
    days = range(int(low // DAY_S), int(high // DAY_S) + 1)
    return [at for day in days for at in _changes_of_day(day, zone) if low < at < high]


@lru_cache(maxsize=50_000)
def instants(civil: int, zone: tzinfo) -> tuple[int, ...]:
    """Return every second of UTC at which the clock at the door may pass this minute; near a change there are more."""
    around = civil * 60
    moved = changes(around - 2 * DAY_S, around + 2 * DAY_S, zone)
    offsets = {offset_s(around + hours * HOUR_S, zone) for hours in (-48, -24, 0, 24, 48)}
    return tuple(sorted({*moved, *(around - ahead for ahead in offsets)}))


def minutes_between(low: float, high: float, zone: tzinfo) -> int:
    """Return the minutes of the week that the clock at the door shows between two seconds."""
    if high - low >= 15 * DAY_S:
        return ALWAYS
    bits = 0
    stops = [int(low), *changes(low, high, zone), int(high)]
    for start, end in itertools.pairwise(stops):
        ahead = offset_s(start, zone)
        first, last = (start + ahead) // 60, -(-(end + ahead) // 60)
        bits |= window(first + EPOCH_WEEKDAY * DAY, last - first)
    return bits


def window(first: int, length: int) -> int:
    """Return minutes of the week from one on, over the end of a week where need be."""
    if length >= WEEK:
        return ALWAYS
    bits = ((1 << max(0, length)) - 1) << (first % WEEK)
    return (bits & ALWAYS) | (bits >> WEEK)


# ---- schedules ------------------------------------------------------------------------------------------------------


def _clock(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


def _utc(text: str) -> int:
    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())


def _civil(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) // 60


def _days(mask: int, start: int, end: int) -> int:
    """Return the window of each day of a mask whose bit 0 is Sunday."""
    return sum(window(day * DAY + start, end - start) for day in range(7) if mask >> day & 1 and end > start)


@dataclass(slots=True)
class _Document:
    """One document, its schedules and users at hand."""

    snapshot: Snapshot
    whole_days: bool
    """A terminal's day of 00:00-23:59, which is how it says "all day", reaches to midnight."""
    schedules: dict[str, Schedule] = field(init=False)

    def __post_init__(self) -> None:
        self.schedules = {item.key: item for item in self.snapshot.schedules}

    @property
    def unit(self) -> Token:
        lock = self.snapshot.lock
        return lock.family, lock.serial, lock.address

    def unread(self, *what: Any) -> Term:
        """Return a limit that only this very unit knows."""
        return Term(unknown=frozenset({("unread", *self.unit, *what)}))

    def limits(self, keys: Iterable[str], holder: str) -> list[Term]:
        """Return when the holder of these schedules may enter: tables unite, all else intersects."""
        tables: list[Term] = []
        rest = Term()
        for key in keys:
            schedule = self.schedules.get(key)
            if schedule is None:
                rest = rest.meet(self.unread("schedule", key, holder))
            elif schedule.kind == "WeekTable":
                tables.append(Term(week=self._table(schedule)))
            elif schedule.kind == "Unknown" and self.unit[0] == "zk":
                tables.append(self._unknown(schedule, holder))
            else:
                rest = rest.meet(self._one(schedule, holder))
        return [rest.meet(table) for table in tables] if tables else [rest]

    def _table(self, schedule: Schedule) -> int:
        bits = 0
        for day, open_ in enumerate(schedule.days):
            start, end = _clock(open_.start), _clock(open_.end)
            if self.whole_days and (start, end) == (0, DAY - 1):
                end = DAY
            bits |= _days(1 << day, start, end)
        return bits

    def _one(self, schedule: Schedule, holder: str) -> Term:
        if schedule.kind == "YearDay":
            times: dict[str, float] = {}
            for name, read in (("utc", _utc), ("local", _civil)):
                for side in ("start", "end"):
                    value = getattr(schedule, f"{side}_{name}")
                    if isinstance(value, str):
                        times[("from_" if side == "start" else "until_") + name.replace("local", "civil")] = read(value)
            return Term(**times)
        if schedule.kind == "WeekDay" and schedule.days_mask is not UNSET:
            if not isinstance(schedule.start, str) or not isinstance(schedule.end, str):
                return Term(week=_days(schedule.days_mask, 0, DAY))
            start, end = _clock(schedule.start), _clock(schedule.end)
            if (start, end) == (0, DAY - 1):
                end = DAY  # a whole day, as units write it (6.7: a minute at most, recorded and not corrected)
            if start <= end:
                return Term(week=_days(schedule.days_mask, start, end))
        return self._unknown(schedule, holder)

    def _unknown(self, schedule: Schedule, holder: str) -> Term:
        """Return a limit that cannot be read: equal where another lock of the family holds the same unread bytes."""
        meaning = b"".join(self._meaning(schedule))
        if schedule.why in ("opaque", "impossible-date") and meaning:
            return Term(unknown=frozenset({("unread", self.unit[0], schedule.why, meaning)}))
        # A list of cards numbers them anew when one goes; what lies behind a card stays behind its number.
        who = (
            b"".join(self.snapshot.bytes_of(ref)[:-10] for ref in schedule.raw) if self.unit[0] == "ttlock" else holder
        )
        return self.unread(schedule.why, who)

    def _meaning(self, schedule: Schedule) -> Iterator[bytes]:
        """Yield the bytes that say when, without those that say who (Nuki 9.2, 9.3; TTLock 7.1, 8, 9; ZK 8)."""
        for ref in schedule.raw:
            raw = self.snapshot.bytes_of(ref)
            if self.unit[0] == "nuki":
                yield raw[-19:]
            elif self.unit[0] == "zk":
                yield raw[2:30]
            elif ref.attachment == "0003-passcodes":
                sizes = raw[1], raw[2 + raw[1]]
                yield raw[:1] + raw[3 + sum(sizes) :]
            else:
                yield raw[-10:]


# ---- families -------------------------------------------------------------------------------------------------------


def digits_of(item: Credential) -> str | None:
    return str(item.data.digits.reveal()) if isinstance(item.data, PinData) else None


def card_token(item: Credential) -> Token | None:
    """Return a card as its number and how many bytes that has: 4 unless it is said or too large."""
    if not isinstance(item.data, CardData):
        return None
    number = int(item.data.number.reveal())
    width = 8 if item.data.number_rule == "u64be" else max(4, (number.bit_length() + 7) // 8)
    return "card", number, width


def _ways(item: Credential, own: Token | None, also: Mapping[Token, str]) -> list[Way]:
    """Return what opens by this record: what it holds, and what somebody chose in its place."""
    mine = [token for token, key in also.items() if key == item.key]
    return [frozenset({token}) for token in ([] if own is None else [own]) + mine]


def pin_token(item: Credential) -> Token | None:
    digits = digits_of(item)
    return None if digits is None else ("pin", digits)


def _nuki(doc: _Document, also: Mapping[Token, str]) -> Iterator[Opening]:
    rights: dict[str, list[Term]] = {}
    for item in doc.snapshot.credentials:
        if item.status == "disabled":
            rights[item.key] = []
            continue
        terms = rights[item.key] = doc.limits(item.schedules, item.key)
        if item.credential_type == "PIN":
            for way in _ways(item, pin_token(item), also):
                yield Opening(way, tuple(terms), frozenset({item.key}))
        elif item.credential_type == "AppKey":
            token = ("app", *doc.unit, item.origin["authorization_id"])
            yield Opening(frozenset({token}), tuple(terms), frozenset({item.key}))
    for item in doc.snapshot.credentials:
        if item.credential_type == "Fingerprint":
            token = ("finger", *doc.unit, item.vendor["nuki"]["fingerprint_id"])
            code = item.linked_to
            terms = rights.get(code, []) if isinstance(code, str) else [doc.unread("code", *token)]
            yield Opening(frozenset({token}), tuple(terms), frozenset({item.key}))


def _appended(raw: bytes) -> bytes:
    """Return what a newer firmware appends to a passcode's record (7.1): nobody has said what it limits."""
    start = 3 + raw[1] + raw[2 + raw[1]]
    return raw[start + {1: 5, 2: 10, 3: 10, 4: 7}.get(raw[0], 0) :]


def _ttlock(doc: _Document, also: Mapping[Token, str]) -> Iterator[Opening]:
    for item in doc.snapshot.credentials:
        if item.data_state == "present_unreadable" and item.credential_type == "PIN":
            continue  # a code of a type that nobody has explained: which digits it has is not known either
        terms = tuple(doc.limits(item.schedules, item.key))
        ways: list[Way] = []
        if item.credential_type == "PIN":
            rest = _appended(doc.snapshot.bytes_of(item.raw[0]))
            if rest:
                terms = tuple(
                    term.meet(Term(unknown=frozenset({("unread", "ttlock", "rest", rest)}))) for term in terms
                )
            ways = _ways(item, pin_token(item), also)
        elif item.credential_type == "RFID":
            ways = _ways(item, card_token(item), also)
        elif item.credential_type == "Fingerprint":
            ways = [frozenset({("finger", *doc.unit, item.vendor["ttlock"]["number"])})]
        once = frozenset({("once",)}) if isinstance(item.use_limit, int) else frozenset()
        for way in ways:
            yield Opening(way | once, terms, frozenset({item.key}))


STYLES: Final[Mapping[int, tuple[str, ...]]] = {
    0: ("F", "W", "C"), 1: ("F",), 2: ("P",), 3: ("W",), 4: ("C",), 5: ("F", "W"), 6: ("F", "C"), 7: ("W", "C"),
    8: ("PF",), 9: ("FW",), 10: ("FC",), 11: ("WC",), 12: ("FWC",), 13: ("PFW",),
}  # fmt: skip
"""ZK section 8: F finger, W password, C card, P the id, typed in alone; several letters have to come together."""


def _ways_of_style(style: int | None, reading: Reading) -> tuple[tuple[str, ...], bool]:
    """Return what a style asks for, and whether it is known; of an unknown one anything may open."""
    if style == 14:
        return (("FC", "FP") if reading.card_or_pin else ("FC", "P")), True
    known = STYLES.get(style) if style is not None else None
    return (("F", "W", "C", "P"), False) if known is None else (known, True)


def _zk(doc: _Document, reading: Reading, also: Mapping[Token, str]) -> Iterator[Opening]:
    held: dict[str, list[Credential]] = {}
    for item in doc.snapshot.credentials:
        if item.user is not None and item.status == "enabled":
            held.setdefault(item.user, []).append(item)
    for user in doc.snapshot.users:
        if user.user_status == "OccupiedDisabled":
            continue
        person = user.external_id or ("number", user.origin["user_index"])
        if user.privilege not in (UNSET, "user"):
            yield Opening(frozenset({("programs", person)}), (Term(),), frozenset({user.key}))
        yield from _zk_user(doc, user, held.get(user.key, []), reading, also)


def _zk_user(
    doc: _Document, user: User, mine: list[Credential], reading: Reading, also: Mapping[Token, str]
) -> Iterator[Opening]:
    person = user.external_id or ("number", user.origin["user_index"])
    groups = {item.key: item for item in doc.snapshot.groups}
    group = groups.get(user.group) if isinstance(user.group, str) else None
    facts = user.vendor.get("zk", {})
    mode = facts.get("verify_mode")
    told = mode is not None or not any(gap.section == "verify_styles" for gap in doc.snapshot.gaps)
    style = mode & 0x7F if mode else (group.verify_style if group and told else None)
    asked, known = _ways_of_style(style if isinstance(style, int) else None, reading)
    terms = [Term()] if known else [doc.unread("style", user.key)]
    if user.schedules is UNSET:
        limits = [doc.unread("zone bits", user.key)]
    elif isinstance(user.schedules, tuple):
        limits = doc.limits(user.schedules, user.key) if user.schedules else []
    elif group is None:
        limits = [doc.unread("group", user.group)]
    else:
        limits = doc.limits(group.schedules, group.key) if group.schedules else [Term()] * reading.no_zones_is_always
    terms = [one.meet(other) for one in terms for other in limits]
    more: set[Token] = {("not on a holiday",)} if group is not None and group.honours_holidays is True else set()
    has: dict[str, list[tuple[Way, frozenset[str]]]] = {"F": [], "W": [], "C": [], "P": []}
    has["P"] = [(frozenset({("id", person)}), frozenset())]
    for item in mine:
        if item.credential_type == "PIN":
            has["W"] += [(way, frozenset({item.key})) for way in _ways(item, pin_token(item), also)]
        elif item.credential_type == "RFID":
            has["C"] += [(way, frozenset({item.key})) for way in _ways(item, card_token(item), also)]
        elif item.template is not None:
            alarm = {("alarm",)} if item.duress else set()
            has["F"].append((frozenset({("finger", "zk", item.template.sha256), *alarm}), frozenset({item.key})))
    for company, unread in _company(doc, user):
        for letters in asked:
            for chosen in itertools.product(*(has[letter] for letter in letters)):
                way = frozenset().union(company, more, *(way for way, _ in chosen))
                keys = frozenset({user.key}).union(*(keys for _, keys in chosen))
                yield Opening(way, tuple(one.meet(unread) for one in terms), keys)


def _company(doc: _Document, user: User) -> Iterator[tuple[Way, Term]]:
    """Yield whom a user has to bring along, as far as it is known: a group in no combination cannot open.

    Read from the raw record: of several people of one group the neutral one says only that the group takes part.
    """
    read = any(item.id == "0008-combinations" for item in doc.snapshot.attachments)
    if not read or not isinstance(user.group, str):
        yield frozenset(), doc.unread("combinations", user.group)
        return
    number = int(user.group.partition("/")[2])
    factory = all(item.origin["number"] != 1 for item in doc.snapshot.combinations)
    sets = [[1]] if factory else []
    for item in doc.snapshot.combinations:
        raw = doc.snapshot.bytes_of(item.raw[0])
        sets.append([group for group in raw[1:6] if group])
    for members in sets:
        if number in members:
            others = sorted(members)
            others.remove(number)
            yield (
                frozenset(
                    ("beside group", group, count)
                    for group, same in itertools.groupby(others)
                    for count, _ in enumerate(same)
                ),
                Term(),
            )


def _standing(doc: _Document, item: LockSchedule) -> Iterator[Opening]:
    """A door that opens by itself lets in whoever comes: TTLock's passage mode, a Nuki timer."""
    keys = frozenset({item.key})
    if not item.enabled or item.action in ("lock", "full-lock"):
        return
    start = _clock(item.start)
    if item.kind == "TimedAction":
        bits = _days(item.days_mask, start, start + 1)
        yield Opening(frozenset({("timer", item.action)}), (Term(week=bits),), keys)
    elif item.month_days or not isinstance(item.end, str) or start > _clock(item.end):
        what = ("the door stays open", item.month_days, item.days_mask, item.start, item.end)
        yield Opening(frozenset({what}), (Term(),), keys)
    else:
        bits = _days(item.days_mask, start, _clock(item.end))
        yield Opening(frozenset({("the door stays open",)}), (Term(week=bits),), keys)


# ---- what is asked --------------------------------------------------------------------------------------------------


def openings(
    snapshot: Snapshot,
    reading: Reading = READINGS[-1],
    *,
    whole_days: bool = True,
    instead: Mapping[Token, str] | None = None,
    shut: bool = False,
) -> list[Opening]:
    """Return every way in that a document knows, with the records that say so.

    Args:
        snapshot: the document.
        reading: of what the ZK reference leaves open.
        whole_days: whether a terminal's 00:00-23:59 reaches to midnight, else it ends a minute before (2.5).
        instead: what somebody chose in a record's place, as `("pin", "918273")`, to the record's key.
        shut: whether ways in that never open are told too.
    """
    doc, also = _Document(snapshot, whole_days), instead or {}
    family = snapshot.lock.family
    people = _zk(doc, reading, also) if family == "zk" else (_nuki if family == "nuki" else _ttlock)(doc, also)
    found = [*people, *(one for item in snapshot.lock_schedules for one in _standing(doc, item))]
    return [one for one in found if shut or any(term.week for term in one.terms)]


def opens(snapshot: Snapshot, reading: Reading = READINGS[-1], **how: Any) -> dict[Way, list[Term]]:
    """Return what opens, to when; see `openings`."""
    found: dict[Way, list[Term]] = {}
    for one in openings(snapshot, reading, **how):
        found.setdefault(one.way, []).extend(one.terms)
    return found


def opens_at(snapshot: Snapshot, zone: tzinfo, moment: datetime, **how: Any) -> set[Way]:
    """Return the ways that are known to open at one moment."""
    at = int(moment.timestamp())
    civil_s = at + offset_s(at, zone)
    minute = 1 << ((civil_s // 60 + EPOCH_WEEKDAY * DAY) % WEEK)
    return {
        way
        for way, terms in opens(snapshot, **how).items()
        if any(not term.unknown and term.bits(at, civil_s) & minute for term in terms)
    }


def beyond(term: Term, allowed: Iterable[Term], zone: tzinfo, since: float = BEGINNING) -> datetime | None:
    """Return the first moment at which a term opens and none of the allowed ones does; None if there is none.

    The term's own unknown limits are taken for "always"; an allowed term counts only if all its unknown limits are
    also the term's. What was before `since` does not count.
    """
    able = [other for other in allowed if other.unknown <= term.unknown]
    if not term.week or term in able or any(replace(other, unknown=frozenset()) == Term() for other in able):
        return None
    stops: set[float] = {since}
    for one in (term, *able):
        stops |= {at for at in (one.from_utc, one.until_utc) if not math.isinf(at)}
        for civil in (one.from_civil, one.until_civil):
            if not math.isinf(civil):
                stops.update(instants(int(civil), zone))
    ordered = [at for at in sorted(stops) if at >= since]
    for low, high in itertools.pairwise([*ordered, math.inf]):
        civil_s = low + offset_s(int(low), zone)
        wanted = term.bits(low, civil_s)
        for other in able:
            wanted &= ~other.bits(low, civil_s)
        if wanted and (seen := wanted & minutes_between(low, high, zone)):
            return _first(int(low), seen, zone)
    return None


def _first(low: int, bits: int, zone: tzinfo) -> datetime:
    for step in range(2 * WEEK):
        at = low + 60 * step
        if bits >> (((at + offset_s(at, zone)) // 60 + EPOCH_WEEKDAY * DAY) % WEEK) & 1:
            return datetime.fromtimestamp(min(at, 253_402_300_799), UTC)
    return datetime.fromtimestamp(low, UTC)


def described(way: Way) -> str:
    return " and ".join(sorted(" ".join(map(str, token)) for token in way)) or "nothing at all"


def more_than(now: Iterable[Opening], allowed: Iterable[Opening], zone: tzinfo, since: float = BEGINNING) -> list[str]:
    """Name what opens by `now` at times at which nothing that `allowed` has would have opened."""
    before: dict[Way, list[Term]] = {}
    for one in allowed:
        before.setdefault(one.way, []).extend(one.terms)
    found = []
    for one in now:
        able = [term for way, terms in before.items() if way <= one.way for term in terms]
        for term in one.terms:
            moment = beyond(term, able, zone, since)
            if moment is not None:
                door = moment.astimezone(zone)
                limit = ", by a limit that nobody can read" if term.unknown else ""
                found.append(f"{described(one.way)} opens at {door:%a %Y-%m-%d %H:%M %z} by {sorted(one.keys)}{limit}")
    return found


def wider(
    after: Snapshot,
    before: Snapshot,
    source: Snapshot,
    zone: tzinfo,
    *,
    instead: Mapping[Token, str] | None = None,
    granted: Iterable[str] = (),
    since: datetime | None = None,
) -> list[str]:
    """Name what opens the target now, at times at which neither the source nor the target before opened for it.

    Args:
        after: the target as it is now.
        before: the target as it was.
        source: the lock that is replaced. A code for one time grants nothing: it may be spent.
        zone: of the door.
        instead: what somebody chose in a source record's place, as `("pin", "918273")`, to the record's key.
        granted: keys of source records whose owner said, asked for it, that they are not limited: what opens by them
            may always.
        since: when the person stands at the door, where what has been before does not count: units that know no dates
            take what is limited by a first day only once that day is past.
    """
    begin = BEGINNING if since is None else since.timestamp()
    families = {item.lock.family for item in (after, source)}
    readings = READINGS if "zk" in families else READINGS[-1:]
    owners = set(granted)
    named = [
        replace(one, terms=(Term(),))
        for reading in (readings if owners else ())
        for one in openings(source, reading, instead=instead, shut=True)
        if one.keys & owners
    ]
    found: list[str] = []
    for reading in readings:
        had = [
            one for one in openings(source, reading, instead=instead) if ("once",) not in one.way or source is before
        ]
        now = openings(after, reading, whole_days=False)
        allowed = [*openings(before, reading), *had, *named]
        found += [line for line in more_than(now, allowed, zone, begin) if line not in found]
    return found
