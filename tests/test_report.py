"""The handover report: what it tells, in which language, and what it never tells."""

from __future__ import annotations

import gettext
import importlib.util
import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import papers
import pytest
from msgspec.structs import replace

from lockmigrate import cli
from lockmigrate.cli import render as rendering
from lockmigrate.errors import BackupError, ConfigError
from lockmigrate.model.reasons import REASONS
from lockmigrate.model.records import LOSS_CODES
from lockmigrate.model.report import EraseCertificate, MovePart, ReportResult, Valid
from lockmigrate.model.results import BackupResult, MigrateResult, PlanResult, RestoreResult, VerifyResult, WipeResult
from lockmigrate.operations.certificate import with_certificate
from lockmigrate.operations.opening import open_file
from lockmigrate.operations.report import READABLE, Saved, gather, read_saved
from lockmigrate.protocols import Scope
from lockmigrate.report import texts, words
from lockmigrate.report.page import keys_text, render, valid_text
from lockmigrate.report.texts import LANGUAGES, Texts
from lockmigrate.vault.keys import create_keys

DOCS = Path(__file__).parent.parent / "docs"
VOID = {"meta", "br", "link", "img", "hr", "input"}
SIZES = (3, 300)


class Page(HTMLParser):
    """Reads a page strictly: every tag that opens is closed in order; attributes and text are kept."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another one"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


def job(people: int) -> ReportResult:
    return gather([papers.backup(people)], [papers.restored(people), papers.wiped()])


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_locale", DOCS / "make_locale.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_self_contained(text: str) -> Page:
    page = Page(text)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in ("src", "href", "srcset", "action", "data"), (tag, name, value)
    assert not {"script", "iframe", "object", "embed", "form", "link", "img", "base"} & page.tags
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    assert "url(" not in style
    assert "@import" not in style
    return page


@pytest.mark.parametrize("people", SIZES)
@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_page_is_whole_needs_no_network_and_escapes_what_people_are_called(people: int, lang: str) -> None:
    text = render(job(people), lang)
    page = assert_self_contained(text)
    for name in papers.NAMES[: people + 1]:
        if name in {user.user_name for user in papers.snapshot(people).users}:
            assert " ".join(name.split()) in page.text
    assert "<script" not in text
    assert "{{ 7" in text or people < 4, "a name is never a template"
    assert "Side <i>door</i>" in page.text
    assert f'<html lang="{lang.replace("_", "-")}">' in text


@pytest.mark.parametrize("people", SIZES)
@pytest.mark.parametrize("lang", LANGUAGES)
def test_no_secret_is_on_the_page_or_in_its_twin(people: int, lang: str) -> None:
    made = job(people)
    for text in (render(made, lang), rendering.json_line(made)):
        assert [canary for canary in papers.CANARIES if canary in text] == []


def expanded(text: str) -> set[str]:
    """All keys in a text, runs of numbers written out."""
    found: set[str] = set()
    for stem, first, last in re.findall(r"([a-z_]+/(?:[\w.]*\.)?)(\d+(?:\.\d+)?)(?: – (\d+))?", text):
        found.add(f"{stem}{first}")
        if last:
            found |= {f"{stem}{number}" for number in range(int(first), int(last) + 1)}
    return found


@pytest.mark.parametrize("people", SIZES)
@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_record_is_on_the_page(people: int, lang: str) -> None:
    t = Texts(lang)
    page = Page(render(job(people), lang))
    appendix = page.text[page.text.rindex(t("All records") + ":") :]
    keys = {record.key for record in papers.records(people)} - {"log"}
    assert keys - expanded(appendix) == set()
    assert re.search(r"\blog\b", appendix)
    for outcome, number in job(people).moves[0].counts.items():
        assert f"{number} {t(words.OUTCOMES[outcome])}" in page.text
    assert str(4 * people + 1) in page.text


def test_the_page_tells_the_whole_job() -> None:
    page = Page(render(job(9))).text
    for fact in (
        "F19 · SIM72", "F22 · SIM73", "Werkstatt <Nord>, SHA256:abc", "folder 7, page 12", "2027-01-01T00:00:00Z",
        "Hausverwaltung & Co", "d" * 64, "read back from the new unit and equal", "张伟的备用密码 → 张伟的备用",
        "the target takes templates of another kind", "the target has no duress alarm", "(saved result, not signed)",
        "the target takes PINs of another length; the target refuses PINs as simple as this", "Erase certificate",
        "Mon Tue Wed Thu Fri 08:00–17:30; 2026-01-01 00:00:00 UTC – …; a limit whose meaning is not known",
        "V1: the unit was read again afterwards and counts nothing", "the target keeps times less exactly",
        "a remark <of> the program", "the record's own check fails", "settings, something new",
        "Technician: name, date, signature", "(announced by its profile)", "Everything that was moved was read back.",
    ):  # fmt: skip
        assert fact in page, fact


def test_who_must_come_again_is_named_with_a_box_to_tick() -> None:
    made = job(9)
    text = render(made)
    part = text[text.index("Who has to come and enrol again") : text.index("What has to be given out again")]
    for record in made.moves[0].records:
        if record.outcome == "re_enrol" and record.follows is None:
            assert f">{record.key}<" in part
            assert record.number is not None
            assert f"({record.number})" in part
    assert part.count('class="box"') == sum(
        1 for record in made.moves[0].records if record.outcome == "re_enrol" and record.follows is None
    )


def test_a_restore_without_a_wipe_says_that_the_old_unit_may_still_open() -> None:
    without = gather([papers.backup(3)], [papers.restored(3)])
    assert "It may still hold what people open with." in Page(render(without)).text
    assert "It may still hold" not in Page(render(job(3))).text
    stated = gather([papers.backup(3)], [papers.restored(3), papers.certificate()])
    page = Page(render(stated)).text
    assert "people's data; what was kept is listed" in page
    assert "as the file states, not signed" in page


def test_a_record_that_was_moved_and_not_proven_stands_in_red() -> None:
    saved = papers.restored(3)
    assert isinstance(saved.result, RestoreResult)
    lame = tuple(replace(item, proof=None) if item.key == "user/1" else item for item in saved.result.records)
    made = gather([], [replace_result(saved, replace(saved.result, records=lame))])
    page = Page(render(made)).text
    assert made.moves[0].unproven == ("user/1",)
    assert "Not written or not proven: user/1" in page
    assert "Everything that was moved was read back" not in page


def replace_result(saved: Saved, result: Any) -> Saved:
    return Saved(file=saved.file, result=result, dated=saved.dated)


def test_a_plan_promises_and_a_dry_run_does_not_claim() -> None:
    restore = papers.restored(9)
    assert isinstance(restore.result, RestoreResult)
    plan = PlanResult(
        file="old.age", backup_id="b" * 32, source=papers.OLD, unit=papers.NEW, executable=False,
        blocked_by=("needs-input",), records=papers.records(9), counts=restore.result.counts,
    )  # fmt: skip
    for result in (plan, replace(restore.result, dry_run=True)):
        page = Page(render(gather([], [replace_result(restore, result)]))).text
        assert "nothing was written" in page
        assert "would move" in page
        assert "Tried at the door" not in page
        assert "How far it is proven" not in page
    assert "some records need a decision" in Page(render(gather([], [replace_result(restore, plan)]))).text


def test_a_migration_and_a_check_are_told_too() -> None:
    restore = papers.restored(3)
    assert isinstance(restore.result, RestoreResult)
    sealed = msgspec.convert(
        {"unit": msgspec.to_builtins(papers.OLD), "file": "old.age", "backup_id": "b" * 32, "manifest_sha256": "",
         "signer": "SHA256:abc"},
        BackupResult,
    )  # fmt: skip
    migrated = MigrateResult(
        backup=sealed, restore=restore.result, file="old.age", backup_id="b" * 32, unit=papers.NEW,
        records=restore.result.records, counts=restore.result.counts,
    )  # fmt: skip
    made = gather([], [replace_result(restore, migrated)])
    assert made.moves[0].what == "migrate"
    assert made.moves[0].proofs == gather([], [restore]).moves[0].proofs
    checked = VerifyResult(
        file="old.age", backup_id="b" * 32, signer="SHA256:abc", trust="trusted", unit=papers.OLD, target=papers.NEW,
        records=tuple(replace(item, done=item.outcome == "copy") for item in restore.result.records),
        extra=("user/77",),
    )  # fmt: skip
    page = Page(render(gather([], [replace_result(restore, checked)]))).text
    assert "user/77" in page
    assert re.search(r"\d+ of \d+ records", page)


@pytest.mark.parametrize("trust", [name for name in words.TRUST if name != "trusted"])
def test_a_backup_of_doubtful_origin_says_so_first(trust: str) -> None:
    made = gather([papers.backup(3, trust=trust)], [])
    page = Page(render(made)).text
    assert page.index(words.TRUST[trust]) < page.index("Backup of")
    assert any(trust in warning for warning in made.warnings)


def test_a_result_without_its_backup_says_what_is_missing() -> None:
    made = gather([], [papers.restored(3)])
    assert made.moves[0].records[0].name is None
    assert any("old.age" in warning for warning in made.warnings)


# ---- languages ------------------------------------------------------------------------------------------------------


def test_every_message_has_a_translation_and_the_compiled_file_is_that_of_the_source() -> None:
    make = maker()
    stored = make.read_po(make.PO)
    assert list(stored) == make.messages(), "run: python docs/make_locale.py"
    assert [message for message, text in stored.items() if not text] == []
    assert make.PO.with_suffix(".mo").read_bytes() == make.compile_mo(stored), "run: python docs/make_locale.py"
    assert make.PO.read_text(encoding="utf-8") == make.write_po(stored)


def test_translations_keep_the_facts_that_are_filled_in() -> None:
    make = maker()
    for message, text in make.read_po(make.PO).items():
        assert sorted(re.findall(r"%\((\w+)\)", message)) == sorted(re.findall(r"%\((\w+)\)", text)), message


def test_the_standard_library_reads_what_was_compiled() -> None:
    found = gettext.translation(texts.DOMAIN, texts.LOCALE, languages=["zh_CN"])
    assert found.gettext("Handover report") == "交接报告"


def test_a_chinese_page_has_no_english_sentence_of_ours() -> None:
    chinese = Page(render(job(9), "zh_CN")).text
    english = [message for message in maker().messages() if " " in message.strip() and "%" not in message]
    assert [message for message in english if message in chinese] == []


def test_every_code_has_a_sentence_in_every_language() -> None:
    for lang in LANGUAGES:
        t = Texts(lang)
        assert [code for code in (*LOSS_CODES, *REASONS) if t.reason(code) == code] == []
    assert Texts("zh_CN").reason("brand-new-code") == "brand-new-code"


def test_details_that_we_know_are_translated_and_others_stay() -> None:
    t = Texts("zh_CN")
    said = t.detail("finger 7, valid from always until 2037-05-31T23:59: enrol it again, then set these dates")
    assert said == "指纹 7，有效期自 始终有效 至 2037-05-31T23:59：请重新登记，然后设置这些日期"
    named = t.detail('"Anna, 7", finger 7, valid from always until for ever: enrol it again, then set these dates')
    assert named == '"Anna, 7", 指纹 7，有效期自 始终有效 至 永久：请重新登记，然后设置这些日期'
    assert t.detail("5 → 15") == "5 → 15"
    assert t.detail(None) == ""


def test_another_language_is_refused() -> None:
    with pytest.raises(ConfigError):
        Texts("../../etc")


def test_keys_and_limits_are_written_short() -> None:
    assert keys_text(["user/1", "user/2", "user/3", "card/9", "log", "user/05"]) == "user/1 – 3, card/9, log, user/05"
    assert valid_text(Texts("zh_CN"), (Valid(days_mask=0x41, start="08:00", end="12:00"),)) == "周六、周日 08:00–12:00"
    assert valid_text(Texts("en"), (Valid(table="schedule/3"), Valid(days_mask=0))) == "schedule/3; no day"


# ---- files ----------------------------------------------------------------------------------------------------------


def test_every_saved_result_of_the_list_is_read_back_as_it_was(tmp_path: Path) -> None:
    for saved in (papers.restored(2), papers.wiped(), papers.certificate()):
        file = tmp_path / "saved.json"
        file.write_text(rendering.json_line(saved.result), encoding="utf-8")
        again = read_saved(file)
        assert rendering.json_line(again.result) == rendering.json_line(saved.result)
    assert all(kind.__struct_fields__[0] == "schema" for kind in READABLE.values())


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "malformed"),
        ("{}", "unsupported"),
        ('{"schema": "lockmigrate.info/1"}', "unsupported"),
        ('{"schema": ["x"]}', "unsupported"),
        ('{"schema": "lockmigrate.plan/1"}', "malformed"),
        ('{"schema": "lockmigrate.restore-result/1", "records": 4}', "malformed"),
        ("[" * 100_000, "malformed"),
        ("\x00\xff", "malformed"),
    ],
)
def test_what_is_no_result_is_refused(text: str, code: str, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(BackupError) as caught:
        read_saved(file)
    assert caught.value.code == code


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    config = tmp_path / "config"
    create_keys(config, "words enough for a test", generated=False, log_n=10)
    (tmp_path / "words").write_text("words enough for a test", encoding="utf-8")
    (tmp_path / "words").chmod(0o600)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCKMIGRATE_CONFIG_DIR", str(config))
    monkeypatch.setenv("LOCKMIGRATE_PASSPHRASE_FILE", str(tmp_path / "words"))

    def run(*arguments: str, expect: int = 0) -> str:
        assert cli.main(list(arguments)) == expect
        captured = capsys.readouterr()
        return captured.out if expect in (0, 8, 9) else captured.err

    return run


def test_from_the_door_to_the_paper(shell: Any, tmp_path: Path) -> None:
    shell("backup", "sim://zk/half", "-o", "old.age", "--consent", "folder 7", "--label", "Hof <2>")
    for name, command in {
        "restored": ("restore", "old.age", "sim://zk/empty"),
        "wiped": ("wipe", "sim://zk/half", "--no-backup"),
    }.items():
        (tmp_path / f"{name}.json").write_text(shell(*command, "--json"), encoding="utf-8")
    files = ("old.age", "restored.json", "wiped.json")
    twin = json.loads(shell("report", *files, "-o", "page.html", "--lang", "zh_CN", "--json"))
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = assert_self_contained(text)
    assert twin["schema"] == "lockmigrate.report/1"
    assert twin["page"] == "page.html"
    assert (tmp_path / "page.html").stat().st_mode & 0o077 == 0, "names of people are for few eyes"
    assert "Hof <2>" in page.text
    assert "folder 7" in page.text
    restored = json.loads((tmp_path / "restored.json").read_text(encoding="utf-8"))
    assert [item["key"] for item in twin["moves"][0]["records"]] == [item["key"] for item in restored["records"]]
    named = [item for item in twin["moves"][0]["records"] if item["kind"] == "user" and item["name"]]
    assert named
    assert all(item["name"] in page.text for item in named)
    schema = json.loads((DOCS / "schemas" / "lockmigrate.report.1.json").read_text(encoding="utf-8"))
    assert set(twin) == set(schema["$defs"]["ReportResult"]["properties"])


def test_no_code_of_the_lock_reaches_the_paper(shell: Any, tmp_path: Path) -> None:
    import asyncio

    from lockmigrate.operations.keyring import KeyChoice, Keyring

    shell("backup", "sim://nuki/half", "-o", "old.age")
    shell("report", "old.age", "-o", "page.html")
    ring = Keyring(KeyChoice(config_dir=tmp_path / "config", passphrase="words enough for a test"))
    opened = asyncio.run(open_file(tmp_path / "old.age", ring))
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    codes = [str(item.data.digits.reveal()) for item in opened.source.snapshot.credentials if item.key[:3] == "pin"]
    assert codes
    assert [code for code in codes if re.search(rf"(?<![0-9a-f]){code}(?![0-9a-f])", text)] == []


def test_the_page_is_asked_for_and_never_replaced_by_accident(shell: Any, tmp_path: Path) -> None:
    saved = tmp_path / "restored.json"
    saved.write_text(rendering.json_line(papers.restored(2).result), encoding="utf-8")
    assert "-o OUT.html is missing" in shell("report", "restored.json", expect=2)
    shell("report", "restored.json", "-o", "page.html")
    assert "exists already" in shell("report", "restored.json", "-o", "page.html", expect=2)
    shell("report", "restored.json", "-o", "page.html", "--force")
    assert "there is no folder" in shell("report", "restored.json", "-o", "nowhere/page.html", expect=2)
    assert json.loads(shell("report", "restored.json", "--json"))["page"] is None


def test_a_wheel_carries_the_templates_and_the_texts() -> None:
    package = Path(texts.__file__).parent
    ignored = subprocess.run(
        ["git", "check-ignore", *map(str, package.rglob("*.*"))],
        capture_output=True, text=True, cwd=package, check=False,
    ).stdout.split()  # fmt: skip
    assert [name for name in ignored if "__pycache__" not in name] == [], "hatchling leaves out what git ignores"
    assert {path.suffix for path in package.rglob("*.*") if path.is_file()} >= {".html", ".mo", ".po", ".py"}


def test_a_move_is_told_whatever_is_missing_in_it() -> None:
    bare = MovePart(what="plan", saved_as="x", at="", file="", backup_id="", source=papers.OLD, unit=papers.NEW)
    for lang in LANGUAGES:
        Page(render(ReportResult(made_at="", tool="", moves=(bare,)), lang))


def test_a_wipe_leaves_a_certificate_beside_its_backup_and_the_report_shows_it(shell: Any, tmp_path: Path) -> None:
    told = json.loads(shell("wipe", "sim://r503/half", "-o", "last.age", "--json"))
    assert told["certificate"] == "last.age.certificate.json"
    file = tmp_path / "last.age.certificate.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    assert document["schema"] == "lockmigrate.erase-certificate/1"
    assert (document["scope"], document["backup"], document["proof"]) == ("people", "last.age", "V1")
    assert document["erased"]["fingerprints"] == 100
    schema = json.loads((DOCS / "schemas" / "lockmigrate.erase-certificate.1.json").read_text(encoding="utf-8"))
    assert set(document) == set(schema["$defs"]["EraseCertificate"]["properties"])
    shell("report", "last.age", "last.age.certificate.json", "-o", "page.html")
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8")).text
    assert "Erase certificate" in page
    assert "fingerprints: 100" in page
    assert document["made_at"] in page


def test_a_certificate_that_could_not_be_written_stops_a_wipe_before_it_begins(shell: Any, tmp_path: Path) -> None:
    (tmp_path / "last.age.certificate.json").write_text("of another unit", encoding="utf-8")
    assert "exists already" in shell("wipe", "sim://r503/half", "--no-backup", "-o", "last.age", expect=2)
    assert "there is no folder" in shell("wipe", "sim://r503/half", "--no-backup", "-o", "no/last.age", expect=2)


def test_a_certificate_that_cannot_be_written_afterwards_does_not_hide_the_wipe(tmp_path: Path) -> None:
    wiped = papers.wiped().result
    assert isinstance(wiped, WipeResult)
    told = with_certificate(wiped, Scope.FACTORY, tmp_path / "gone" / "x.age")
    assert told.certificate is None
    assert "the unit is erased, but" in told.warnings[-1]
    (tmp_path / "gone").mkdir()
    told = with_certificate(wiped, Scope.FACTORY, tmp_path / "gone" / "x.age")
    saved = read_saved(Path(str(told.certificate)))
    assert isinstance(saved.result, EraseCertificate)
    assert saved.result.scope == "factory"
