"""The neutral document: nothing stays the kind of nothing it was, a secret never prints, garbage is told."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import traceback
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Struct
from msgspec.structs import replace

from lockmigrate.errors import BackupError
from lockmigrate.model.capabilities import Capabilities
from lockmigrate.model.document import Gap, Metadata, Snapshot, Table, from_sections, to_sections
from lockmigrate.model.records import (
    SECRET_FIELDS,
    AccessKey,
    Attachment,
    Coverage,
    Credential,
    Lock,
    Loss,
    RawRef,
    Setting,
    TemplateData,
    User,
)
from lockmigrate.model.secret import MASK, Secret, secret_fields

CANARY = "4711-canary"
RAW = b"\x00\x01" + bytes(range(16)) + b"\x00\x02" + bytes(range(16, 32))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def document(**changes: Any) -> Snapshot:
    """One of everything."""
    whole = Snapshot(
        metadata=Metadata(source="lockmigrate@0", created_utc="2026-01-01T00:00:00Z"),
        lock=Lock(family="ef01", serial="17", protocol={"name": "ef01", "version": 1, "variant": "classic"}),
        capabilities=Capabilities(),
        users=(User(key="user/1", origin={"user_index": 1}, user_name="张伟"),),
        credentials=(
            Credential(
                key="fingerprint/1",
                origin={"credential_index": 1},
                credential_type="Fingerprint",
                data=TemplateData(
                    template_format="ef01/classic-0000/-/16",
                    template=RawRef(attachment="0006-templates", offset=2, size=16),
                    size=16,
                    sha256=digest(RAW[2:18]),
                ),
            ),
            Credential(
                key="fingerprint/2",
                origin={"credential_index": 2},
                credential_type="Fingerprint",
                data_state="present_unreadable",
            ),
        ),
        settings=(
            Setting(key="setting/ef01.security_level", value=3, portable=True),
            Setting(key="setting/ef01.notepad.0", hidden=Secret(CANARY.encode()), portable=True),
        ),
        access_keys=(
            AccessKey(key="access_key/ef01.password", kind="given", secret=Secret(b"\x00\xff\x01\x02")),
            AccessKey(key="access_key/text", kind="text", secret=Secret("0042")),
        ),
        coverage={"credentials": Coverage(state="full", device_count=2, read_count=2)},
        losses=(Loss(record="fingerprint/2", stage="read", code="template-unreadable"),),
        attachments=(
            Attachment(
                id="0006-templates", entry="raw/0006-templates.bin", offset=0, size=len(RAW), sha256=digest(RAW)
            ),
        ),
        tables=(Table(name="0006-templates", data=RAW, rows=2, read_at_utc="2026-01-01T00:00:00Z"),),
        gaps=(Gap(section="credentials", record="fingerprint/2", code="template-unreadable", detail="0C"),),
    )
    return replace(whole, **changes)


def again(snapshot: Snapshot) -> Snapshot:
    return from_sections(to_sections(snapshot), snapshot.tables)


# ---- the round trip -------------------------------------------------------------------------------------------------


def test_a_document_comes_back_as_it_was_with_its_secrets() -> None:
    whole = document()
    back = again(whole)
    assert back == whole
    assert back.access_keys[0].secret.reveal() == b"\x00\xff\x01\x02"
    assert back.access_keys[1].secret.reveal() == "0042"


def test_sections_are_lines_of_json_and_empty_ones_are_left_out() -> None:
    sections = to_sections(document(users=(), gaps=()))
    assert "users" not in sections
    assert "gaps" not in sections
    assert [json.loads(line)["key"] for line in sections["credentials"].splitlines()] == [
        "fingerprint/1",
        "fingerprint/2",
    ]
    assert len(sections["lock"].splitlines()) == 1
    assert sections == to_sections(document(users=(), gaps=())), "the same document gives the same bytes"


def test_three_kinds_of_nothing_survive_the_round_trip() -> None:
    base = {"origin": {}, "credential_type": "Fingerprint"}
    unknown = Credential(key="a", name=UNSET, **base)
    no_value = Credential(key="b", name=None, **base)
    withheld = Credential(key="c", data_state="present_unreadable", data=None, **base)
    sections = to_sections(document(credentials=(unknown, no_value, withheld)))
    first, second, third = (json.loads(line) for line in sections["credentials"].splitlines())
    assert "name" not in first
    assert second["name"] is None
    assert third["data_state"] == "present_unreadable"
    back = again(document(credentials=(unknown, no_value, withheld))).credentials
    assert back[0].name is UNSET
    assert back[1].name is None
    assert (back[2].data_state, back[2].data) == ("present_unreadable", None)


def test_a_field_that_nobody_knows_is_ignored() -> None:
    sections = to_sections(document())
    line = json.loads(sections["lock"])
    sections["lock"] = json.dumps({**line, "of_the_future": [1]}).encode() + b"\n"
    sections["of_the_future"] = b"{}\n"
    assert from_sections(sections, document().tables) == document()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), lambda item: st.lists(item, max_size=3)
)


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(st.none() | st.just(UNSET) | st.text(max_size=12), max_size=4),
    hidden=st.binary(max_size=40) | st.text(max_size=10),
    value=st.none() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=12) | st.booleans(),
    vendor=st.dictionaries(st.text(max_size=5), json_values, max_size=3),
)
def test_any_names_values_and_secrets_survive_the_round_trip(
    names: list[Any], hidden: bytes | str, value: Any, vendor: dict[str, Any]
) -> None:
    credentials = tuple(
        Credential(key=f"pin/{number}", origin={"n": number}, credential_type="PIN", name=name, vendor=vendor)
        for number, name in enumerate(names)
    )
    parameters = (Setting(key="a", value=value), Setting(key="b", hidden=Secret(hidden)))
    whole = document(credentials=credentials, settings=parameters)
    back = again(whole)
    assert back == whole
    assert [type(item.value) for item in back.settings] == [type(item.value) for item in whole.settings]


# ---- secrets --------------------------------------------------------------------------------------------------------


class _Holder(Struct, frozen=True):
    secret: Secret
    number: int = 0


@dataclass(frozen=True)
class _DataHolder:
    secret: Secret


SECRETS = [Secret(CANARY), Secret(CANARY.encode())]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_never_prints(secret: Secret) -> None:
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        format(secret, ">20"),
        "%s %r" % (secret, secret),  # noqa: UP031
        str((secret, [secret], {"a": secret})),
        repr(_Holder(secret)),
        repr(_DataHolder(secret)),
        repr(Setting(key="k", hidden=secret)),
        repr(AccessKey(key="k", kind="x", secret=secret)),
        repr(document(settings=(Setting(key="k", hidden=secret),))),
    ]
    for text in shown:
        assert MASK in text
        assert CANARY not in text
        assert CANARY.encode().hex() not in text
        assert "canary" not in text


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_does_not_stand_in_errors(secret: Secret) -> None:
    for act in (
        lambda: msgspec.json.encode(_Holder(secret)),
        lambda: msgspec.to_builtins(_Holder(secret)),
        lambda: msgspec.convert({"secret": secret, "number": "x"}, _Holder),
        lambda: json.dumps({"secret": secret}),
        lambda: hash(secret),
        lambda: {secret},
        lambda: {secret: 1},
        lambda: pickle.dumps(secret),
        lambda: copy.deepcopy(secret),
        lambda: int(secret),  # type: ignore[call-overload]
    ):
        with pytest.raises(Exception) as caught:  # noqa: PT011  # whatever it is, it must not tell
            act()
        assert "canary" not in "".join(traceback.format_exception(caught.value))


def test_a_malformed_secret_in_a_file_is_not_repeated_in_the_message() -> None:
    sections = to_sections(document())
    for wrong in ({"hex": CANARY}, {"hex": 4711}, CANARY, {"octets": CANARY}, None, 4711):
        line = {"key": "access_key/x", "kind": "x", "secret": wrong}
        sections["access_keys"] = json.dumps(line).encode()
        with pytest.raises(BackupError) as caught:
            from_sections(sections, ())
        assert "4711" not in str(caught.value)
        assert "4711" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_neither_hashed_nor_pickled(secret: Secret) -> None:
    with pytest.raises(TypeError):
        hash(secret)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)


def test_secrets_are_equal_by_content_and_kind() -> None:
    assert Secret("1234") == Secret("1234")
    assert Secret(b"\x00") == Secret(b"\x00")
    assert Secret("1234") != Secret("1235")
    assert Secret("1234") != Secret(b"1234")
    assert Secret("1234") != "1234"
    assert len(Secret("1234")) == 4
    assert Secret("é").reveal_bytes() == "é".encode()


def test_a_secret_has_no_dictionary_to_look_into() -> None:
    assert not hasattr(Secret("x"), "__dict__")


def test_the_list_of_secret_fields_is_derived_from_the_types() -> None:
    assert SECRET_FIELDS == {
        "Metadata": ("suggestion_key",),
        "Setting": ("hidden",),
        "AccessKey": ("secret",),
        "PinData": ("digits",),
        "CardData": ("number",),
    }

    class Fresh(Struct):
        plain: str
        maybe: Secret | None = None
        many: tuple[Secret, ...] = ()
        deep: dict[str, list[Secret]] = {}

    Fresh.__annotations__ = {
        "plain": str,
        "maybe": Secret | None,
        "many": tuple[Secret, ...],
        "deep": dict[str, list[Secret]],
    }
    assert secret_fields(Fresh) == {"Fresh": ("maybe", "many", "deep")}


def test_a_table_does_not_print_its_bytes() -> None:
    shown = repr(Table(name="0006-templates", data=CANARY.encode(), rows=1, read_at_utc=""))
    assert "canary" not in shown
    assert "0006-templates" in shown


# ---- garbage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["metadata", "lock", "capabilities", "credentials", "coverage", "access_keys", "gaps"])
@pytest.mark.parametrize(
    "garbage",
    [b"\xff\xfe", b"{", b"[]", b'"x"', b"7", b"null", b'{"key": 7}\n', b"[" * 5000, b'{"key":' * 5000, b"\x00", b"\n"],
)
def test_a_section_of_garbage_is_a_malformed_backup(name: str, garbage: bytes) -> None:
    sections = {**to_sections(document()), name: garbage}
    if name in ("coverage", "metadata", "lock", "capabilities") and garbage == b'{"key": 7}\n':
        garbage = b'{"format": 7, "family": 7, "basis": 7}'
        sections[name] = garbage
    with pytest.raises(BackupError) as caught:
        from_sections(sections, ())
    assert caught.value.code == "malformed"
    assert name in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(to_sections(document()))), data=st.binary(max_size=60))
def test_random_bytes_in_a_section_raise_nothing_else(name: str, data: bytes) -> None:
    code = "malformed"
    try:
        from_sections({**to_sections(document()), name: data}, ())
    except BackupError as error:
        code = error.code
    assert code in ("malformed", "unsupported")


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(to_sections(document()))), at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_section_raises_nothing_else(name: str, at: int, bit: int) -> None:
    sections = to_sections(document())
    damaged = bytearray(sections[name])
    damaged[at % len(damaged)] ^= 1 << bit
    code = "malformed"
    try:
        from_sections({**sections, name: bytes(damaged)}, ())
    except BackupError as error:
        code = error.code
    assert code in ("malformed", "unsupported")


@pytest.mark.parametrize("name", ["metadata", "lock", "capabilities"])
def test_a_section_that_must_be_there_is_missed(name: str) -> None:
    sections = to_sections(document())
    del sections[name]
    with pytest.raises(BackupError, match=name) as caught:
        from_sections(sections, ())
    assert caught.value.code == "malformed"


@pytest.mark.parametrize("name", ["metadata", "lock", "capabilities", "coverage"])
def test_a_section_of_one_object_holds_one(name: str) -> None:
    sections = to_sections(document())
    with pytest.raises(BackupError, match="one object"):
        from_sections({**sections, name: sections[name] * 2}, ())


def test_a_newer_version_is_refused_as_unsupported() -> None:
    for metadata in (Metadata(version=2), Metadata(format="another/form")):
        with pytest.raises(BackupError) as caught:
            again(document(metadata=metadata))
        assert caught.value.code == "unsupported"
        assert caught.value.hint


# ---- bytes of a record ----------------------------------------------------------------------------------------------


def ref(offset: int, size: int, attachment: str = "0006-templates") -> RawRef:
    return RawRef(attachment=attachment, offset=offset, size=size)


def test_a_reference_gives_exactly_its_bytes() -> None:
    assert document().bytes_of(ref(2, 16)) == bytes(range(16))
    assert document().bytes_of(ref(0, len(RAW))) == RAW
    assert document().bytes_of(ref(len(RAW), 0)) == b""


@pytest.mark.parametrize(
    "outside",
    [
        ref(0, len(RAW) + 1),
        ref(len(RAW), 1),
        ref(10**9, 1),
        ref(0, 10**9),
        ref(2, -1),
        ref(-4, 8),
        ref(0, 4, "0009-nothing"),
    ],
)
def test_a_reference_outside_the_backup_is_malformed(outside: RawRef) -> None:
    with pytest.raises(BackupError) as caught:
        document().bytes_of(outside)
    assert caught.value.code == "malformed"


def test_a_reference_does_not_leave_its_attachment_or_a_table_cut_short() -> None:
    part = replace(document().attachments[0], offset=2, size=16, sha256=digest(RAW[2:18]))
    assert document(attachments=(part,)).bytes_of(ref(0, 16)) == bytes(range(16))
    with pytest.raises(BackupError):
        document(attachments=(part,)).bytes_of(ref(1, 16))
    short = replace(document().tables[0], data=RAW[:10])
    with pytest.raises(BackupError):
        document(tables=(short,)).bytes_of(ref(2, 16))
    with pytest.raises(BackupError):
        document(tables=()).bytes_of(ref(2, 16))


# ---- three predicates -----------------------------------------------------------------------------------------------


def test_a_document_is_complete_when_everything_promised_was_read() -> None:
    assert document().complete()
    assert document(coverage={"users": Coverage(state="unsupported")}).complete()
    assert document(coverage={"credentials": Coverage(state="full", device_count=None, read_count=5)}).complete()


@pytest.mark.parametrize(
    "coverage",
    [
        Coverage(state="partial"),
        Coverage(state="refused"),
        Coverage(state="not_asked"),
        Coverage(state="full", device_count=3, read_count=2),
        Coverage(state="full", device_count=3),
    ],
)
def test_a_document_with_a_gap_is_not_complete(coverage: Coverage) -> None:
    assert not document(coverage={"credentials": coverage}).complete()


def test_a_document_whose_attachment_is_damaged_or_gone_is_not_complete() -> None:
    damaged = replace(document().tables[0], data=RAW[:-1] + b"\x00")
    assert not document(tables=(damaged,)).complete()
    assert not document(tables=()).complete()


def lock(**changes: Any) -> Lock:
    return replace(document().lock, **changes)


def test_documents_of_one_unit_are_compatible() -> None:
    assert document().compatible_with(document(lock=lock(firmware_rev="2")))
    addressed = document(lock=lock(serial=None, address="AA:BB"))
    assert addressed.compatible_with(addressed)


@pytest.mark.parametrize(
    "other",
    [
        lock(serial="18"),
        lock(serial=None),
        lock(family="zk"),
        lock(address="AA:BB"),
        lock(protocol={"name": "ef01", "version": 2}),
        lock(protocol={"name": "zk", "version": 1}),
    ],
)
def test_documents_of_other_units_or_generations_are_not_compatible(other: Lock) -> None:
    assert not document().compatible_with(document(lock=other))
    assert not document(lock=other).compatible_with(document())


def test_two_units_without_a_serial_number_are_never_the_same() -> None:
    nameless = document(lock=lock(serial=None))
    assert not nameless.compatible_with(nameless)


def test_a_later_complete_document_of_the_same_unit_supersedes() -> None:
    earlier, later = document(), document(metadata=Metadata(created_utc="2026-02-01T00:00:00Z"))
    assert later.supersedes(earlier)
    assert not earlier.supersedes(later)
    assert not earlier.supersedes(earlier)
    gap = {"credentials": Coverage(state="partial")}
    assert not replace(later, coverage=gap).supersedes(earlier)
    assert not replace(later, lock=lock(serial="18")).supersedes(earlier)


def test_counts_tell_every_kind() -> None:
    assert document().counts() == {"users": 1, "pins": 0, "cards": 0, "fingerprints": 2, "faces": 0, "schedules": 0}


def test_a_template_of_a_file_from_before_there_were_several_kinds_of_data_is_still_read() -> None:
    """docs/backup-format.md, section 11: what one release writes, every later one reads."""
    line = (
        b'{"credential_type":"Fingerprint","data":{"finger":0,"sha256":"00","size":1,"template":{"attachment":"a",'
        b'"offset":0,"size":1},"template_format":"ef01/classic-0000/-/1"},"key":"fingerprint/0","origin":{}}\n'
    )
    sections = {**to_sections(document()), "credentials": line}
    (found,) = from_sections(sections, ()).credentials
    assert isinstance(found.data, TemplateData)
    assert found.data.template_format == "ef01/classic-0000/-/1"
