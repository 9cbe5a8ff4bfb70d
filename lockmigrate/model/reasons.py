"""What each machine code means, in one plain sentence for a technician: for screens and for the report.

The codes of losses are the closed list of neutral-format 2.10; the others come from units and from rules of ours.
"""

from __future__ import annotations

from typing import Final

REASONS: Final[dict[str, str]] = {
    # -- losses, neutral-format 2.10 --
    "capacity": "the target has no room for it, or its slot is taken",
    "capacity-unknown": "nobody knows how much the target can hold",
    "pin-length": "the target takes PINs of another length",
    "pin-alphabet": "the PIN has digits that the target does not take",
    "pin-prefix": "the target does not allow PINs that begin like this",
    "pin-duplicate": "another record on the target has the same PIN",
    "pin-weak": "the target refuses PINs as simple as this",
    "pin-equals-admin": "the PIN equals the target's administrator code",
    "name-not-stored": "the target keeps no names",
    "name-cut": "the name is too long for the target and is shortened",
    "name-encoding": "the target cannot store some characters of the name",
    "template-format": "the target takes templates of another kind; this finger has to be enrolled again",
    "template-size": "the target's templates have another size; this finger has to be enrolled again",
    "template-dialect": "the target is of the other dialect (classic or Hi-Link); this finger has to be enrolled again",
    "template-look-alike": "same size, but another system id or algorithm: it may be stored and never match",
    "template-size-unverified": "the size of the target's templates is not known; it is tried before a write",
    "notepad-unreadable": "this page of the notepad could not be read; if the lock pairs with its module, pair anew",
    "template-unreadable": "the old unit did not give this template out; this finger has to be enrolled again",
    "consent": "people's consent to moving their fingerprints is not recorded",
    "duress-unsupported": "the target has no duress alarm, which this record would lose",
    "rule-unsupported": "the target cannot express this access rule",
    "user-type-unsupported": "the target does not know this type of user",
    "disabled-unsupported": "the target cannot hold a disabled record without enabling it",
    "expired": "the record has expired",
    "one-time-code": "a one-time code is used up once and is not copied",
    "schedule-unsupported": "the target cannot express this schedule",
    "schedule-unreadable": "the old unit did not give out when this record is valid",
    "schedule-midnight": "the target has no schedules across midnight",
    "time-rounded": "the target keeps times less exactly",
    "end-2400": "the target writes the end of a day differently",
    "zone-differs": "old and new unit are in different time zones",
    "zone-table-unknown": "what its time zone or group allows is not known on both units",
    "holiday-unsupported": "the target has no holidays",
    "no-public-layout": "nobody has published how this is stored; it is kept as raw bytes",
    "card-number-rule": "the target reads card numbers by another rule",
    "card-too-long": "the card's number is too long for the target",
    "card-keyed": "the card works by keys that a copy of its number does not carry",
    "setting-unsupported": "the target does not have this setting",
    "device-bound": "it belongs to the unit itself and stays there",
    "notepad-in-use": "the target's page holds something else, perhaps the pairing with the lock's controller",
    "log": "logs are kept in the backup and never written to a unit",
    "app-invitation": "the person has to be invited again in the maker's app",
    "own-authorisation": "it is this computer's own access to the old unit",
    "admin-not-migrated": "administrator rights and codes are never written to a replacement",
    "no-keypad": "the target has no keypad",
    "write-refused": "the unit refused to store it",
    "read-back-differs": "what was read back is not what was written",
    "uid-duplicate": "two records of the old unit claim the same number",
    "user-id-duplicate": "two users have the same id",
    "user-id-unsupported": "the target takes only numbers as user ids",
    "as-decided": "it is left out, as was decided",
    "no-card-reader": "the target takes no cards",
    "user-number": "the new unit knows people by a number, and this one gets one",
    "user-missing": "it belongs to a user that does not exist",
    "other-family": "this version does not move such records to a unit of this kind",
    "count-differs": "the unit counts other records than it gave out",
    "record-damaged": "the record's own check fails; it is kept as raw bytes",
    "record-blank": "the record is in use and says nothing that a lock could use",
    # -- why a plan or a restore is refused --
    "needs-input": "some records need a decision",
    "plan-blocked": "the plan would widen a right or lose a safety meaning",
    "firmware-older": "the new unit's firmware is older than the old unit's",
    "wrong-target": "nothing of this backup can be written to this unit",
    "target-not-empty": "the target already holds other records",
    "unsigned": "the backup has no signature",
    "untrusted": "the backup's signer is not trusted here",
    "drift": "the unit is not as it was when the backup was made",
    "stale": "a newer backup of this unit is known",
    "rehearsal-failed": "restoring into a simulated unit failed",
    # -- what families say of their units --
    "nothing-there": "the folder holds nothing that a terminal writes",
    "bad-image": "the file or folder is damaged, cut or of another kind",
    "unit-busy": "somebody is working at the unit, or it is in its menu",
    "write-check": "the unit took the bytes but could not check them",
    "unit-unknown": "the unit has no serial number, so that it cannot be told from another one",
    "write-only": "the unit stores it and never gives it out",
    "unsupported-by-unit": "the unit cannot do this",
    "encryption-level": "the unit gives templates out only under another encryption level",
}
"""Code to sentence; lower case, no full stop."""

NEXT_STEPS: Final[dict[str, str]] = {
    "template-look-alike": "--accept-look-alike writes them; then test with a finger",
    "uid-duplicate": "--decisions FILE chooses which of them is written",
    "capacity": "--decisions FILE chooses a slot or leaves it out; --existing replace frees the slots",
    "notepad-in-use": "--with notepad moves it all the same",
    "consent": "--consent REF records where the consent is kept",
    "target-not-empty": "--existing merge keeps them, --existing replace removes them after a copy was sealed",
}
"""Code to what can be done about it."""


def explain(code: str) -> str:
    """Return the sentence for a code; an unknown code stands for itself."""
    return REASONS.get(code, code)


def explain_all(codes: tuple[str, ...]) -> str:
    """Return the sentences for all codes of one record."""
    return "; ".join(explain(code) for code in codes)
