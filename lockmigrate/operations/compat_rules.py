"""What becomes of each kind of records between two kinds of units, before anything is bought or read.

Pure rules over capabilities, the same that the planner follows record by record (neutral-format 6.1 to 6.9): where
both units are of one family, that family's; between families those of PIN grammars (6.2), names (6.3), templates (6.4),
schedules (6.7) and cards (6.8). Where records of one kind fare differently, the kind gets the verdict that asks most
of people short of losing all of it, and the sentence says which of them it means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lockmigrate.model.capabilities import CredentialCapability
from lockmigrate.model.comparison import Fits, KindFate, Verdict
from lockmigrate.model.results import Unit
from lockmigrate.planning.templates import Fit, fit

PEOPLE: Final = ("users", "pins", "cards", "fingerprints", "faces", "schedules")
"""Kinds that let people in or say when; `fits` is judged by them."""
MODULES: Final = ("ef01", "gt511", "f5")
"""Families that know slots and templates, nothing else."""
WITH_LOG: Final = ("zk", "nuki", "ttlock")
WITH_APPS: Final = ("nuki", "ttlock")
CYCLIC_CODES, PASSAGE, CYCLIC_HOLDERS, RESTORED_CODES = 12, 22, 34, 40
"""Feature bits of a TTLock lock: weekly codes, passage mode, weekly limits of cards and fingers, codes written as they
were (TTLock reference, section 5)."""
IN_A_DUMP: Final = ("users", "pins", "cards", "fingerprints", "schedules", "settings")
"""What a raw dump may hold; which of it, its layout says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A unit or a model, as far as the rules need it."""

    unit: Unit
    gaps: Mapping[str, str] = field(default_factory=dict)
    """What such a unit does not give out, section to reason, from its profile."""
    variant: Mapping[str, Any] = field(default_factory=dict)
    """Choices of the profile; what the unit itself says stands in `unit.details` and counts more."""
    on_paper: bool = False

    @property
    def family(self) -> str:
        return self.unit.family

    @property
    def opener(self) -> bool:
        """Whether it is Nuki's Opener, whose codes open another door."""
        return bool(self.variant.get("opener")) or self.unit.details.get("generation") == "opener"

    @property
    def record_bytes(self) -> int | None:
        """ZK: 28 or 72; 72 where a profile leaves it open, as its notes say."""
        given = self.unit.details.get("record_bytes") or self.variant.get("record_bytes")
        return int(given) if given else (72 if self.family == "zk" else None)

    def feature(self, bit: int) -> bool:
        """TTLock: whether a feature bit is set."""
        text = self.unit.details.get("features") or self.variant.get("features") or "0"
        return bool(int(str(text), 16) >> bit & 1)

    def holder(self, kind: str) -> CredentialCapability | None:
        """Return what it offers for pins, cards, fingerprints or faces."""
        found: CredentialCapability | None = getattr(self.unit.capabilities.credentials, kind.removesuffix("s"))
        return found

    def held(self, kind: str) -> int | None:
        """Return how many of a kind are in it, where it is there and says so."""
        if self.on_paper:
            return None
        offered = self.holder(kind) if kind in ("pins", "cards", "fingerprints") else None
        return self.unit.counts.get(kind, offered.used if offered else None)


def fates(old: Side, new: Side) -> tuple[KindFate, ...]:
    """Return what becomes of each kind; kinds that no unit of the old family holds are `nothing there`."""
    found = []
    for kind, rule in _RULES:
        verdict, reasons, sentence, sure = _without_a_unit(old, new, kind) or rule(old, new)
        held = old.held(kind)
        if held == 0:
            verdict, reasons, sentence, sure = _NOTHING
        fate = KindFate(
            kind=kind, verdict=verdict, reasons=tuple(dict.fromkeys(reasons)), sentence=sentence, held=held, sure=sure
        )
        found.append(fate)
    return tuple(found)


def fits(old: Side, kinds: tuple[KindFate, ...]) -> Fits:
    """Judge a unit by what the old one gives out; what it keeps to itself no other unit would do better at."""
    moving = [item for item in kinds if item.kind in PEOPLE and item.verdict != "nothing there"]
    moved = [item for item in moving if item.verdict in ("moves", "moves with a change") and item.kind != "schedules"]
    if not moved:
        return "no"
    kept = {kind for kind in ("fingerprints", "faces") if kind in old.gaps}
    short = [
        item
        for item in moving
        if item.verdict == "cannot" or (item.verdict not in ("moves", "moves with a change") and item.kind not in kept)
    ]
    return "partly" if short else "yes"


Ruled = tuple[Verdict, list[str], str, bool]
_NOTHING: Final[Ruled] = ("nothing there", [], "the old unit holds none", True)


def _ruled(verdict: Verdict, sentence: str, *reasons: str, sure: bool = True) -> Ruled:
    return verdict, list(reasons), sentence, sure


def _without_a_unit(old: Side, new: Side, kind: str) -> Ruled | None:
    """Raw dumps: there is no unit to write to, or none that the records are known to be of."""
    if old.family == "image":
        if kind not in IN_A_DUMP:
            return _NOTHING
        return _ruled("cannot", "what a raw dump holds is shown, not moved", "other-family", sure=False)
    if new.family == "image" and kind != "log" and _RULE[kind](old, old)[0] != "nothing there":
        return _ruled("cannot", "a dump is only read, never written", "other-family")
    return None


# ---- people ---------------------------------------------------------------------------------------------------------


def _users(old: Side, new: Side) -> Ruled:
    if not old.unit.capabilities.user_records:
        return _NOTHING
    if new.unit.capabilities.user_records:
        if old.family != new.family:
            return _ruled("moves with a change", "as ordinary users, without their rights", "admin-not-migrated")
        if old.record_bytes == 72 and new.record_bytes == 28:
            sentence = "names longer than 8 bytes are cut, ids that are no numbers do not fit, and so do longer PINs"
            return _ruled("moves with a change", sentence, "name-cut", "user-id-unsupported")
        if old.record_bytes == 28 and new.record_bytes == 72:
            sentence = "which time zones and way of verifying a user has is not known on the old unit, and is asked"
            return _ruled("moves with a change", sentence, "zone-table-unknown")
        return _ruled("moves", "with privilege, group and own time zones")
    if new.holder("pins") is not None and new.unit.capabilities.name is not None:
        sentence = "the new unit knows no people: a name goes to the person's code, where it has one"
        return _ruled("moves with a change", sentence, "name-not-stored", "name-cut", "admin-not-migrated")
    if new.holder("pins") is None and new.holder("cards") is None:
        sentence = "the new unit knows only numbered fingers: who is who stays on paper"
        return _ruled("cannot", sentence, "name-not-stored")
    sentence = "the new unit knows neither people nor names: who is who stays on paper"
    return _ruled("moves with a change", sentence, "name-not-stored", "admin-not-migrated")


def _pins(old: Side, new: Side) -> Ruled:
    mine, theirs = old.holder("pins"), new.holder("pins")
    if mine is None:
        return _NOTHING
    if theirs is None:
        return _ruled("cannot", "the new unit takes no PINs", "no-keypad")
    if theirs.writable != "data":
        return _ruled("cannot", "nobody has published how such a unit stores them", "no-public-layout")
    if old.opener and not new.opener:
        return _ruled("cannot", "an Opener's codes open another door; each is asked about", "other-family")
    misfits = grammar(mine, theirs)
    if misfits == ["pin-length"] and _disjoint(mine, theirs):
        return _ruled("given out again", f"all are new: {_wanted(theirs)}", "pin-length")
    reasons, parts = list(misfits), []
    if {"pin-length", "pin-alphabet", "pin-prefix"} & set(misfits):
        parts.append(f"those that fit stay as they are, others are given out anew: {_wanted(theirs)}")
    if "pin-duplicate" in misfits:
        parts.append("two people cannot have the same one")
    if _full(old, theirs, "pins"):
        reasons.append("capacity")
        parts.append(f"the new unit has room for {theirs.slots}")
    if old.family != new.family:
        more, part = _owner(old, new)
        reasons += more
        parts += part
    changed = bool(reasons)
    if old.family == "ttlock":
        reasons.append("one-time-code")
        parts.append("one-time codes stay behind")
    sentence = "; ".join(parts) or "as they are, with what limits them"
    return "moves with a change" if changed else "moves", reasons, sentence, True


def _owner(old: Side, new: Side) -> tuple[list[str], list[str]]:
    """What changes about whose a PIN is, between families."""
    if new.unit.capabilities.user_records:
        return ["admin-not-migrated"], ["each becomes an ordinary user's"]
    if old.unit.capabilities.user_records:
        return ["rule-unsupported"], ["who has to show something beside the PIN is refused"]
    if old.unit.capabilities.name is not None and new.unit.capabilities.name is None:
        return ["name-not-stored"], ["names stay on paper"]
    return [], []


def grammar(old: CredentialCapability, new: CredentialCapability) -> list[str]:
    """Return why some PIN that the old unit takes may not fit the new one (6.2); empty where every one fits."""
    found = []
    low, high = old.min_len or 1, old.max_len
    if (new.min_len is not None and low < new.min_len) or (
        new.max_len is not None and (high is None or high > new.max_len)
    ):
        found.append("pin-length")
    if new.alphabet is not None and not set(old.alphabet or "0123456789") <= set(new.alphabet):
        found.append("pin-alphabet")
    if set(new.forbidden_prefixes) - set(old.forbidden_prefixes):
        found.append("pin-prefix")
    if new.unique != "none" and old.unique == "none":
        found.append("pin-duplicate")
    return found


def _disjoint(old: CredentialCapability, new: CredentialCapability) -> bool:
    return (old.max_len is not None and new.min_len is not None and old.max_len < new.min_len) or (
        old.min_len is not None and new.max_len is not None and old.min_len > new.max_len
    )


def _wanted(theirs: CredentialCapability) -> str:
    """Say which PINs a unit takes."""
    low, high = theirs.min_len or 1, theirs.max_len
    length = f"{low}" if low == high else f"{low} to {high}" if high is not None else f"{low} or more"
    digits = "digits" if theirs.alphabet in (None, "0123456789") else f"digits of {theirs.alphabet}"
    start = f", none beginning with {' or '.join(theirs.forbidden_prefixes)}" if theirs.forbidden_prefixes else ""
    return f"the new unit takes {length} {digits}{start}"


def _full(old: Side, theirs: CredentialCapability, kind: str) -> bool:
    held = old.held(kind)
    return held is not None and theirs.slots is not None and held > theirs.slots


def _cards(old: Side, new: Side) -> Ruled:
    mine, theirs = old.holder("cards"), new.holder("cards")
    if mine is None:
        return _NOTHING
    if theirs is None or theirs.writable != "data":
        return _ruled("cannot", "the new unit takes no cards", "no-card-reader")
    if old.family == new.family:
        if _full(old, theirs, "cards"):
            return _ruled("moves with a change", f"the new unit has room for {theirs.slots}", "capacity")
        if old.family == "zk" and old.record_bytes != new.record_bytes:
            return _ruled("moves with a change", "with the person whose card it is", "zone-table-unknown")
        if old.feature(CYCLIC_HOLDERS):
            sentence = "whether a card is limited to days and hours cannot be read: each is asked about"
            return _ruled("moves with a change", sentence, "schedule-unreadable")
        return _ruled("moves", "by their numbers; a card that works by keys stays behind")
    reasons = ["card-number-rule"]
    sentence = "the two families make a card's number by different rules: one card is held to both to find out"
    if old.family == "ttlock":
        reasons.append("card-too-long")
        sentence += "; numbers of 8 bytes do not fit"
    return "moves with a change", reasons, sentence, False


def _fingerprints(old: Side, new: Side) -> Ruled:
    mine, theirs = old.holder("fingerprints"), new.holder("fingerprints")
    if mine is None:
        return _NOTHING
    if theirs is None:
        return _ruled("cannot", "the new unit has no fingerprint reader", "template-format")
    if mine.readback != "full":
        return _ruled("person must come", "the old unit gives no template out", "template-unreadable")
    if theirs.writable != "data" or old.family != new.family:
        return _ruled("person must come", "the new unit takes templates of another kind", "template-format")
    judged = {fit(item, theirs) for item in mine.template_formats}
    return _templates(old, new, judged, theirs)


_SAID: Final[dict[Fit, str]] = {
    "template-format": "the new unit takes templates of another kind",
    "template-dialect": "the new unit is of the other dialect (classic or Hi-Link)",
    "template-size": "the new unit's templates have another size",
}


def _templates(old: Side, new: Side, judged: set[Fit], theirs: CredentialCapability) -> Ruled:
    """Between units of one family, which give templates out."""
    unsure = old.on_paper or new.on_paper
    # A model of which several algorithms are about may be one that fits and one that does not.
    open_question = len(old.holder("fingerprints").template_formats) > 1 or len(theirs.template_formats) > 1  # type: ignore[union-attr]
    if not judged:
        return _ruled("person must come", "which kind of templates there are is not known", "template-format")
    if judged <= set(_SAID):
        worst = next(code for code in _SAID if code in judged)
        return _ruled("person must come", f"{_SAID[worst]}; all fingers are enrolled again", worst)
    if judged & set(_SAID) or open_question:
        sentence = "byte for byte if both units are of the same algorithm, which only they tell; else all come"
        return _ruled("moves with a change", sentence, "template-format", sure=False)
    if "template-look-alike" in judged:
        sentence = "same size, but another algorithm: they may be stored and never match; test one finger first"
        return _ruled("moves with a change", sentence, "template-look-alike", sure=False)
    if _full(old, theirs, "fingerprints"):
        return _ruled("moves with a change", f"the new unit has room for {theirs.slots}", "capacity", sure=not unsure)
    if _fewer_slots(old, theirs):
        sentence = f"slots above {theirs.last} do not exist on the new unit: those fingers get another slot, as decided"
        return _ruled("moves with a change", sentence, "capacity", sure=not unsure)
    if "size-unverified" in judged:
        sentence = "byte for byte; the size of the new unit's templates is tried before anything is stored"
        return _ruled("moves", sentence, "template-size-unverified", sure=False)
    return _ruled("moves", "templates byte for byte, each in its own slot", sure=not unsure or old.family == "gt511")


def _fewer_slots(old: Side, theirs: CredentialCapability) -> bool:
    mine = old.holder("fingerprints")
    if mine is None or mine.last is None or theirs.last is None or old.family == "zk":
        return False
    return mine.last > theirs.last


def _faces(old: Side, new: Side) -> Ruled:
    if "faces" not in old.gaps and old.holder("faces") is None:
        return _NOTHING
    if "faces" not in new.gaps and new.holder("faces") is None:
        return _ruled("cannot", "the new unit knows no faces", "no-public-layout", sure=False)
    return _ruled("person must come", "where the unit has a camera, faces are enrolled again", "no-public-layout")


# ---- when, and the rest ---------------------------------------------------------------------------------------------

_WHEN: Final[dict[tuple[str, str], Ruled]] = {
    ("zk", "nuki"): _ruled(
        "moves with a change",
        "a table with one window for some days becomes the code's; who has two is asked about",
        "schedule-unsupported",
    ),
    ("nuki", "zk"): _ruled(
        "cannot",
        "who is limited to dates, weekdays or hours is refused: each is entered by hand",
        "schedule-unsupported",
    ),
    ("zk", "ttlock"): _ruled(
        "cannot",
        "who is limited to weekdays or hours is refused: no command reads such limits back",
        "schedule-unsupported",
    ),
    ("nuki", "ttlock"): _ruled(
        "moves with a change",
        "dates become the new lock's own time, to the minute; a code limited to weekdays or hours is refused",
        "time-rounded",
        "zone-differs",
        "schedule-unsupported",
    ),
    ("ttlock", "nuki"): _ruled(
        "moves with a change",
        "dates become UTC; weekly codes, and limits that the old lock does not give out, are asked about",
        "zone-differs",
        "schedule-unreadable",
    ),
    ("ttlock", "zk"): _ruled(
        "cannot", "a terminal limits nobody to dates: who is limited is refused", "schedule-unsupported"
    ),
}


def _schedules(old: Side, new: Side) -> Ruled:
    if old.family not in ("zk", "nuki", "ttlock"):
        return _NOTHING
    if new.family in MODULES:
        return _ruled("cannot", "the new unit knows no times; the lock's controller has to", "schedule-unsupported")
    if old.family == new.family:
        return _same_schedules(old, new)
    return _WHEN.get((old.family, new.family), _NOTHING)


def _same_schedules(old: Side, new: Side) -> Ruled:
    if old.family == "nuki" and _pins(old, new)[0] == "cannot":
        return _ruled("cannot", "they stay with the codes that they limit", *_pins(old, new)[1])
    if old.family == "zk" and (old.record_bytes, new.record_bytes) == (72, 28):
        sentence = "such a terminal does not give its tables out: who has a time zone of his own is asked about"
        return _ruled("cannot", sentence, "zone-table-unknown", "schedule-unsupported")
    if old.family == "zk" and 28 in (old.record_bytes, new.record_bytes):
        sentence = "one of the terminals does not tell its tables: who has a time zone of his own is asked about"
        return _ruled("moves with a change", sentence, "zone-table-unknown", "no-public-layout")
    if old.family == "ttlock":
        reasons, parts = [], []
        if old.feature(CYCLIC_HOLDERS):
            reasons.append("schedule-unreadable")
            parts.append("weekly limits of cards and fingers cannot be read: each is asked about")
        if old.feature(CYCLIC_CODES) and not (new.feature(CYCLIC_CODES) and new.feature(RESTORED_CODES)):
            reasons.append("schedule-unsupported")
            parts.append("the new lock does not take weekly codes as they are: each is asked about")
        if reasons:
            return "moves with a change", reasons, "; ".join(parts), True
    return _ruled("moves", "with what they limit")


def _lock_schedules(old: Side, new: Side) -> Ruled:
    if old.family not in ("zk", "nuki", "ttlock") or (old.family == "ttlock" and not old.feature(PASSAGE)):
        return _NOTHING
    if "lock_schedules" in old.gaps:
        sentence = "nobody has published how holidays are stored; they are entered by hand"
        return _ruled("cannot", sentence, "no-public-layout")
    if old.family != new.family or old.opener != new.opener:
        what = "timers" if old.family == "nuki" else "hours in which the door stays open"
        return _ruled("cannot", f"{what} are set anew on the new unit", "other-family")
    if old.family == "ttlock" and not new.feature(PASSAGE):
        return _ruled("cannot", "the new lock has no passage mode", "setting-unsupported")
    return _ruled("moves", "timers" if old.family == "nuki" else "passage mode, last of all")


def _settings(old: Side, new: Side) -> Ruled:
    if old.family != new.family:
        return _ruled("cannot", "they are listed, and set by hand on the new unit", "setting-unsupported")
    if old.family == "zk":
        sentence = "how long the door stays open; a terminal's network and other options stay its own"
        return _ruled("moves with a change", sentence, "device-bound")
    return _ruled(
        "moves with a change", "those that are no part of the unit itself; what belongs to it stays", "device-bound"
    )


def _app_keys(old: Side, new: Side) -> Ruled:
    if old.family not in WITH_APPS:
        return _NOTHING
    if new.family not in WITH_APPS:
        return _ruled("cannot", "the new unit knows no apps, bridges or fobs", "app-invitation")
    return _ruled("given out again", "people are invited again; bridges, fobs and keypads paired", "app-invitation")


def _log(old: Side, new: Side) -> Ruled:
    if old.family not in WITH_LOG:
        return _NOTHING
    return _ruled("cannot", "it is kept in the backup and never written to a unit", "log")


_RULES: Final[tuple[tuple[str, Callable[[Side, Side], Ruled]], ...]] = (
    ("users", _users),
    ("pins", _pins),
    ("cards", _cards),
    ("fingerprints", _fingerprints),
    ("faces", _faces),
    ("schedules", _schedules),
    ("lock_schedules", _lock_schedules),
    ("settings", _settings),
    ("app_keys", _app_keys),
    ("log", _log),
)
_RULE: Final = dict(_RULES)
