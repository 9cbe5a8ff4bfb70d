"""Made-up jobs for the tests of reports: as many people as wanted, some with hostile names, all secrets known."""

from __future__ import annotations

from msgspec.structs import replace

from lockmigrate.model.capabilities import Capabilities
from lockmigrate.model.document import Gap, Metadata, Snapshot
from lockmigrate.model.records import (
    AccessKey,
    CardData,
    Credential,
    Lock,
    Loss,
    PinData,
    RawRef,
    Schedule,
    TemplateData,
    User,
)
from lockmigrate.model.report import EraseCertificate
from lockmigrate.model.results import RecordResult, RestoreResult, Unit, WipeResult, counts_of
from lockmigrate.model.secret import Secret
from lockmigrate.operations.opening import Opened
from lockmigrate.operations.report import Saved
from lockmigrate.operations.restore import Source

PIN_CANARY = "48151623"
CARD_CANARY = "3735928559"
KEY_CANARY = "c0ffee5ec2e7"
CANARIES = (PIN_CANARY, CARD_CANARY, KEY_CANARY)
NAMES = (
    "张伟",
    "<script>alert('x')</script>",
    'O\'Neil & "Söhne" <b>',
    "{{ 7 * 7 }}",
    "Donaudampfschifffahrtsgesellschaftskapitänsmützenband",
    "https://evil.example/x",
    "\u202eesrever",
)
OLD = Unit(
    id="SIM72", serial="SIM72", family="zk", model="F19", vendor="ZKTeco", firmware="6.60", profile="zk",
    target="udp://192.0.2.7:4370", label="Side <i>door</i>",
)  # fmt: skip
NEW = replace(OLD, id="SIM73", serial="SIM73", model="F22", target="udp://192.0.2.8:4370", label=None)
OUTCOMES = (
    ("copy", (), "V4", None),
    ("copy", (), "V2", None),
    ("adjust", ("name-cut",), "V4", "张伟的备用密码 → 张伟的备用"),
    ("re_enrol", ("template-format",), None, "the template is zk/zkfinger/9, the target takes zk/zkfinger/10"),
    ("reissue", ("card-keyed",), None, None),
    ("needs_input", ("pin-length", "pin-weak"), None, None),
    ("refuse", ("duress-unsupported",), None, None),
    ("skip", ("expired",), None, "its last day is over"),
)


def snapshot(people: int) -> Snapshot:
    """A terminal with so many people, each with a PIN, a card and a finger; the first has limits."""
    users, credentials = [], []
    for number in range(1, people + 1):
        name = NAMES[number % len(NAMES)] if number % 3 else f"Person {number}"
        users.append(
            User(key=f"user/{number}", origin={"user_index": number}, user_name=name, external_id=str(1000 + number))
        )
        pin = PinData(digits=Secret(PIN_CANARY))
        card = CardData(number=Secret(CARD_CANARY))
        template = TemplateData(
            template_format="zk/zkfinger/10",
            template=RawRef(attachment="a", offset=0, size=1),
            size=1,
            sha256="0" * 64,
        )
        origin = {"user_index": number, "finger": 6}
        owner = f"user/{number}"
        credentials += [
            Credential(key=f"pin/{number}", origin=origin, credential_type="PIN", user=owner, data=pin),
            Credential(key=f"card/{number}", origin=origin, credential_type="RFID", user=owner, data=card),
            Credential(
                key=f"fingerprint/{number}.6",
                origin=origin,
                credential_type="Fingerprint",
                user=owner,
                data=template,
                schedules=("schedule/1", "schedule/2", "schedule/3") if number == 1 else (),
            ),
        ]
    schedules = (
        Schedule(key="schedule/1", origin={}, kind="WeekDay", days_mask=0x3E, start="08:00", end="17:30"),
        Schedule(key="schedule/2", origin={}, kind="YearDay", start_utc="2026-01-01T00:00:00Z", end_utc=None),
        Schedule(key="schedule/3", origin={}, kind="Unknown", why="opaque"),
    )
    return Snapshot(
        metadata=Metadata(created_utc="2026-11-23T09:12:31Z"),
        lock=Lock(family="zk"),
        capabilities=Capabilities(),
        users=tuple(users),
        credentials=tuple(credentials),
        schedules=schedules,
        access_keys=(AccessKey(key="access_key/zk.comm_key", kind="comm_key", secret=Secret(KEY_CANARY)),),
        gaps=(Gap(section="faces", record=None, code="no-public-layout", detail="faces", announced=True),),
        losses=(Loss(record="fingerprint/2.6", stage="read", code="record-damaged"),),
    )


def backup(people: int, *, trust: str = "trusted") -> Opened:
    """An opened backup of that terminal."""
    held = snapshot(people)
    return Opened(
        source=Source(file="old.age", backup_id="b" * 32, unit=OLD, snapshot=held, gaps=held.gaps),
        signer="SHA256:abc",
        signer_name="Werkstatt <Nord>",
        created_at="2026-11-23T09:12:31Z",
        manifest_sha256="d" * 64,
        trust=trust,
        refusal=None,
        label=OLD.label,
        manifest={
            "retention": {
                "expires_at": "2027-01-01T00:00:00Z", "purpose": "migration", "consent_ref": "folder 7, page 12",
                "controller": "Hausverwaltung & Co",
            },
            "tool": {"name": "lockmigrate", "version": "0.1.0"},
        },
    )  # fmt: skip


def records(people: int) -> tuple[RecordResult, ...]:
    """Every record of that terminal, the outcomes taken in turn; PIN and card follow their user."""
    found = []
    for number in range(1, people + 1):
        outcome, reasons, proof, detail = OUTCOMES[number % len(OUTCOMES)]
        user = RecordResult(
            key=f"user/{number}", kind="user", outcome=outcome, reasons=reasons, proof=proof, detail=detail
        )
        found.append(user)
        found += [
            replace(user, key=f"{kind}/{number}", kind=kind, follows=user.key, detail=None) for kind in ("pin", "card")
        ]
        outcome, reasons, proof, detail = OUTCOMES[(number + 3) % len(OUTCOMES)]
        found.append(
            RecordResult(
                key=f"fingerprint/{number}.6",
                kind="fingerprint",
                outcome=outcome,
                reasons=reasons,
                proof=proof,
                detail=detail,
            )
        )
    found.append(RecordResult(key="log", kind="log", outcome="skip", reasons=("log",)))
    return tuple(found)


def restored(people: int) -> Saved:
    """The saved result of a restore of that terminal."""
    made = records(people)
    result = RestoreResult(
        file="old.age",
        backup_id="b" * 32,
        source=OLD,
        unit=NEW,
        records=made,
        counts=counts_of(made),
        written=people,
        gaps=snapshot(1).gaps,
        losses=(Loss(record="user/1", stage="plan", code="time-rounded", field="end"),),
        warnings=("a remark <of> the program",),
    )
    return Saved(file="restored.json", result=result, dated="2026-11-23T10:00:00Z")


def wiped() -> Saved:
    """The saved result of a wipe of the old terminal."""
    result = WipeResult(unit=OLD, backup="old.age", erased={"users": 3}, kept=("settings", "something new"), proof="V1")
    return Saved(file="wiped.json", result=result, dated="2026-11-23T11:00:00Z")


def certificate() -> Saved:
    """A certificate of the same."""
    result = EraseCertificate(
        made_at="2026-11-23T11:00:00Z", tool="lockmigrate 0.1.0", unit=OLD, scope="people", erased={"users": 3},
        proof="V1",
    )  # fmt: skip
    return Saved(file="old.age.certificate.json", result=result, dated="2026-11-24T00:00:00Z")
