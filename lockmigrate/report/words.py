"""The words of a report that come from data: kinds, outcomes, levels of proof, days. All go through gettext."""

from __future__ import annotations

from typing import Final

from lockmigrate.report.texts import N_

KINDS: Final = {
    "user": N_("user"), "group": N_("group"), "combination": N_("combination of groups"), "pin": N_("PIN"),
    "card": N_("card"), "fingerprint": N_("fingerprint"), "face": N_("face"), "schedule": N_("time limit"),
    "lock_schedule": N_("timer of the lock"), "setting": N_("setting"), "access_key": N_("key of an app or device"),
    "log": N_("log"),
}  # fmt: skip
"""Kind of a record to its word."""
COUNTS: Final = {
    "users": N_("users"), "pins": N_("PINs"), "cards": N_("cards"), "fingerprints": N_("fingerprints"),
    "faces": N_("faces"), "schedules": N_("time limits"), "groups": N_("groups"),
    "combinations": N_("combinations of groups"), "app_keys": N_("app keys"),
    "lock_schedules": N_("timers of the lock"), "log_entries": N_("lines of the log"),
}  # fmt: skip
"""Name of a count to its word."""
OUTCOMES: Final = {
    "copy": N_("moved"),
    "adjust": N_("moved with a change"),
    "re_enrol": N_("the person has to enrol again"),
    "reissue": N_("has to be given out again"),
    "needs_input": N_("needs a decision"),
    "refuse": N_("refused"),
    "skip": N_("stays behind"),
}
PLANNED: Final = OUTCOMES | {"copy": N_("would move"), "adjust": N_("would move with a change")}
"""Outcomes in a plan, which has moved nothing."""
LEVELS: Final = {
    "V4": N_("read back from the new unit and equal to what was to be written"),
    "V3": N_("a checksum that the new unit computed is the expected one"),
    "V2": N_("the new unit says that the place is taken; what lies there cannot be read"),
    "V1": N_("only the new unit's counters say so"),
    "V0": N_("a person tried it at the door and it opened"),
}
TRUST: Final = {
    "trusted": N_("trusted"),
    "untrusted": N_("unknown signer: anybody may have made this file"),
    "unsigned": N_("unsigned: anybody may have made this file"),
    "revoked": N_("revoked signer: this key is no longer to be believed"),
    "expired": N_("the signer's key was not valid when the file was made"),
    "drift": N_("the records are not what this version reads from the raw tables"),
}
WHAT: Final = {
    "plan": N_("plan: nothing was written"),
    "dry-run": N_("dry run: nothing was written"),
    "restore": N_("restore"),
    "migrate": N_("migration"),
}
BASES: Final = {
    "signed": N_("from the signed manifest"),
    "file-date": N_("the date of the saved file"),
    "stated": N_("as the file states, not signed"),
}
KEPT: Final = {
    "settings": N_("settings"), "address": N_("address"), "password": N_("password"), "speed": N_("speed"),
    "communication key": N_("communication key"), "network": N_("network"), "clock": N_("clock"),
    "its administrator": N_("its administrator"),
    "its log, which nothing deletes": N_("its log, which nothing deletes"),
    "eKeys, gateways, key fobs": N_("eKeys, gateways, key fobs"),
    "authorisations of apps, bridges and fobs": N_("authorisations of apps, bridges and fobs"),
    "other files": N_("other files"),
}  # fmt: skip
"""What a wipe may leave by design; others are shown as the program wrote them."""
SCOPES: Final = {
    "people": N_("people's data; what was kept is listed"),
    "factory": N_("reset to the factory's state"),
}
DAYS: Final = (N_("Sun"), N_("Mon"), N_("Tue"), N_("Wed"), N_("Thu"), N_("Fri"), N_("Sat"))
"""Bit 0 first."""
TOPICS: Final = {
    "battery": N_("Battery"),
    "motor": N_("Motor errors"),
    "failed": N_("Failed attempts"),
    "clock": N_("Clock"),
    "memory": N_("Memory"),
    "changes": N_("Changes since the backup before"),
    "wiring": N_("Wiring"),
    "voltage": N_("Voltage"),
    "baud": N_("Speed"),
    "wake": N_("How to wake it"),
    "reset": N_("Reset"),
    "caution": N_("Caution"),
}
CHANGES: Final = {"added": N_("added"), "removed": N_("removed"), "changed": N_("changed")}
