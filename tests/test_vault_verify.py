"""Many backups are checked by any executor; one bad file, or one dying worker, is that file's outcome only."""

from __future__ import annotations

import os
import pickle
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from vaults import NOW, PASSPHRASE, Vault, stand_in_rehearse

from lockmigrate.errors import ConfigError, FileTrouble
from lockmigrate.formats import age, sshsig
from lockmigrate.model.vault_results import FileCheck, VaultVerifyResult
from lockmigrate.operations import vault_verify
from lockmigrate.operations.keyring import KeyChoice, KeyPaths, Keyring
from lockmigrate.operations.vault import Subset, choose, files_in, verify_vault
from lockmigrate.operations.vault_memory import is_rehearsed
from lockmigrate.operations.vault_verify import HeldKeys, WorkItem, check_one, forget_keys, verify_many
from lockmigrate.vault.catalogue import Catalogue
from lockmigrate.vault.trust import revoke_signer


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    forget_keys()
    yield Vault(tmp_path)
    forget_keys()


def verify(vault: Vault, level: Any = "read-data", **options: Any) -> VaultVerifyResult:
    return verify_vault(vault.folder, vault.config, level, vault.keys, **options)


def codes(result: VaultVerifyResult) -> dict[str, str]:
    return {Path(check.file).name: check.code or "ok" for check in result.checks}


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


# ---- levels ---------------------------------------------------------------------------------------------------------


def test_good_backups_pass_at_every_level_and_are_remembered(vault: Vault) -> None:
    opened = vault.add("a.age")
    vault.add("b.age", serial=None)
    for level in ("quick", "read-data", "rehearse"):
        result = verify(vault, level, rehearse=stand_in_rehearse)
        assert (result.exit_code, result.counts, result.not_reached) == (0, {"ok": 2}, 0)
    with Catalogue(vault.config) as catalogue:
        assert [check.level for check in catalogue.checks(opened.backup_id)] == ["quick", "read-data", "rehearse"]
    assert is_rehearsed(vault.config, opened.backup_id, "p1")
    assert not is_rehearsed(vault.config, opened.backup_id, "another profile")


def test_the_quick_level_needs_no_key(vault: Vault) -> None:
    vault.add("a.age")
    (vault.config / "identity.age").unlink()
    assert verify_vault(vault.folder, vault.config, "quick", None).exit_code == 0
    with pytest.raises(ConfigError):
        verify_vault(vault.folder, vault.config, "read-data", None)


@pytest.mark.parametrize("level", ["quick", "read-data"])
@pytest.mark.parametrize("at", [3, 60, 300, 40_000, -1])
def test_a_flipped_bit_is_found_at_every_level(vault: Vault, level: str, at: int) -> None:
    vault.add("a.age")
    vault.add("good.age")
    flip(vault.folder / "a.age", at)
    result = verify(vault, level)
    assert codes(result)["good.age"] == "ok"
    assert codes(result)["a.age"] in ("corrupt", "not-a-backup", "wrong-key")
    assert result.exit_code in (6, 7)


@pytest.mark.parametrize("level", ["quick", "read-data"])
def test_a_file_cut_short_or_emptied_is_damaged(vault: Vault, level: str) -> None:
    vault.add("a.age")
    vault.add("b.age")
    (vault.folder / "a.age").write_bytes((vault.folder / "a.age").read_bytes()[:-1])
    (vault.folder / "b.age").write_bytes(b"")
    result = verify(vault, level)
    assert codes(result) == {"a.age": "corrupt", "b.age": "not-a-backup"}
    assert result.exit_code == 6


def test_a_file_that_is_gone_counts_as_lost(vault: Vault) -> None:
    vault.add("a.age")
    vault.add("b.age")
    (vault.folder / "a.age").unlink()
    result = verify(vault, "quick")
    assert codes(result) == {"a.age": "missing", "b.age": "ok"}
    assert result.exit_code == 6


def test_another_good_backup_in_the_place_of_one_is_told(vault: Vault) -> None:
    vault.add("new.age")
    vault.add("old.age", age=timedelta(days=3))
    shutil.copy(vault.folder / "old.age", vault.folder / "new.age")
    for level, code in (("quick", "corrupt"), ("read-data", "substituted")):
        result = verify(vault, level)
        assert (codes(result)["new.age"], result.exit_code) == (code, 6)


def test_a_file_that_the_catalogue_does_not_know_is_checked_and_told(vault: Vault) -> None:
    vault.add("a.age", known=False)
    for level in ("quick", "read-data"):
        result = verify(vault, level)
        assert (result.exit_code, result.checks[0].remarks) == (0, ("not-in-catalogue",))
        assert any("reindex" in warning for warning in result.warnings)


def test_a_backup_for_others_is_a_wrong_key_and_no_fault_of_the_file(vault: Vault, tmp_path: Path) -> None:
    other = Vault(tmp_path / "other")
    other.add("a.age")
    shutil.copy(other.folder / "a.age", vault.folder / "a.age")
    vault.add("b.age")
    result = verify(vault)
    assert codes(result) == {"a.age": "wrong-key", "b.age": "ok"}
    assert result.exit_code == 7


def test_an_untrusted_or_revoked_signer_is_refused(vault: Vault) -> None:
    vault.add("a.age", signing=sshsig.generate_key())
    result = verify(vault)
    assert (codes(result), result.exit_code) == ({"a.age": "untrusted"}, 10)
    opened = vault.add("b.age")
    revoke_signer(vault.config, opened.signer)
    assert codes(verify(vault))["b.age"] == "untrusted"


def test_a_failed_rehearsal_is_refused_and_colours_it_red(vault: Vault) -> None:
    opened = vault.add("fails.age")
    vault.add("a.age")
    result = verify(vault, "rehearse", rehearse=stand_in_rehearse)
    assert codes(result) == {"fails.age": "rehearsal-failed", "a.age": "ok"}
    assert result.exit_code == 10
    assert "fingerprint/1" in str(next(check.detail for check in result.checks if not check.ok))
    with Catalogue(vault.config) as catalogue:
        assert catalogue.verification_state(opened.backup_id, vault_verify.SOURCE) == "red"


def test_the_worst_file_gives_the_exit_code(vault: Vault) -> None:
    vault.add("damaged.age")
    vault.add("forged.age", signing=sshsig.generate_key())
    flip(vault.folder / "damaged.age", -1)
    assert verify(vault).exit_code == 6
    (vault.folder / "damaged.age").unlink()
    with Catalogue(vault.config) as catalogue:
        catalogue.set_state(catalogue.rows_in(vault.folder)[0].backup_id, "missing")
        catalogue.set_state(catalogue.rows_in(vault.folder)[1].backup_id, "missing")
    assert verify(vault).exit_code == 10


def test_an_expired_backup_passes_with_a_remark(vault: Vault) -> None:
    vault.add("a.age", age=timedelta(days=2), expires=NOW - timedelta(days=1))
    result = verify(vault)
    assert (result.exit_code, result.checks[0].remarks) == (0, ("expired",))
    assert "purge" in result.warnings[0]


def test_backups_under_a_passphrase_of_their_own_open_with_its_file(vault: Vault, tmp_path: Path) -> None:
    vault.add("a.age", passphrase="a passphrase of its own")
    assert codes(verify(vault)) == {"a.age": "no-passphrase"}
    own = tmp_path / "own"
    own.write_text("a passphrase of its own\n", encoding="utf-8")
    keys = KeyPaths(config_dir=vault.config, backup_passphrase_file=own)
    assert codes(verify_vault(vault.folder, vault.config, "read-data", keys)) == {"a.age": "ok"}


def test_key_files_and_folders_are_no_backups(vault: Vault) -> None:
    vault.add("a.age")
    shutil.copy(vault.config / "identity.age", vault.folder / "key-abcdefgh.age")
    shutil.copy(vault.config / "signing.age", vault.folder / "signing.age")
    (vault.folder / "folder.age").mkdir()
    assert [path.name for path in files_in(vault.folder)] == ["a.age"]
    with pytest.raises(FileTrouble) as caught:
        files_in(vault.folder / "nowhere")
    assert caught.value.code == "no-folder"


def test_key_copies_of_other_people_beside_the_backups_do_no_harm(vault: Vault, tmp_path: Path) -> None:
    other = Vault(tmp_path / "other")
    shutil.copy(other.config / "identity.age", vault.folder / "key-other123.age")
    (vault.folder / "key-damaged1.age").write_bytes(b"age-encryption.org/v1\nnonsense")
    vault.add("a.age")
    assert verify(vault).exit_code == 0


def test_a_key_copy_beside_the_backups_opens_them_on_another_computer(vault: Vault, tmp_path: Path) -> None:
    opened = vault.add("a.age")
    shutil.copy(vault.config / "identity.age", vault.folder / "key-mine1234.age")
    elsewhere = KeyPaths(
        config_dir=tmp_path / "elsewhere", passphrase_file=vault.passphrase_file, trust_once=(opened.signer,)
    )
    result = verify_vault(vault.folder, tmp_path / "elsewhere", "read-data", elsewhere)
    assert (codes(result), result.exit_code) == ({"a.age": "ok"}, 0)


def test_a_wrong_passphrase_is_told_for_the_key_and_not_blamed_on_the_files(vault: Vault) -> None:
    opened = vault.add("a.age")
    vault.passphrase_file.write_text("another passphrase altogether\n", encoding="utf-8")
    result = verify(vault)
    assert (codes(result), result.exit_code) == ({"a.age": "wrong-key"}, 7)
    assert "identity.age" in str(result.checks[0].detail)
    with Catalogue(vault.config) as catalogue:
        assert catalogue.verification_state(opened.backup_id, vault_verify.SOURCE) == "none"


def test_keys_are_unlocked_once_for_many_files(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        vault.add(f"{number}.age")
    calls = []
    real = vault_verify.key_files.load_identity
    monkeypatch.setattr(vault_verify.key_files, "load_identity", lambda *given: calls.append(1) or real(*given))
    assert verify(vault, "rehearse", rehearse=stand_in_rehearse).exit_code == 0
    assert len(calls) == 1


# ---- which files, and how long --------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [1, 2, 5])
def test_subsets_part_the_files_and_are_the_same_every_time(vault: Vault, total: int) -> None:
    names = {f"{number}.age" for number in range(12)}
    for name in names:
        vault.add(name)
    found: list[str] = []
    with Catalogue(vault.config) as catalogue:
        for number in range(1, total + 1):
            part = [path.name for path in choose(files_in(vault.folder), "quick", catalogue, Subset(number, total))]
            again = [path.name for path in choose(files_in(vault.folder), "quick", catalogue, Subset(number, total))]
            assert part == again
            found += part
    assert sorted(found) == sorted(names)


def test_a_file_keeps_its_subset_when_it_is_renamed_or_not_in_the_catalogue(vault: Vault) -> None:
    opened = vault.add("a.age", known=False)
    from lockmigrate.formats.backup import default_name
    from lockmigrate.operations.vault import id_of

    assert id_of(Path(default_name(opened.backup_id)), None) == opened.backup_id
    assert id_of(Path(default_name(opened.backup_id).replace("backup", "before")), None) == opened.backup_id
    assert id_of(Path("a.age"), None) == "a.age"


@pytest.mark.parametrize("text", ["0/2", "3/2", "1/0", "1", "a/b", "1/2/3", "-1/2", "1/99999", ""])
def test_a_subset_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        Subset.parse(text)


def test_the_least_recently_checked_come_first_and_never_checked_ones_before_them(vault: Vault) -> None:
    ids = {name: vault.add(name).backup_id for name in ("a.age", "b.age", "c.age")}
    with Catalogue(vault.config) as catalogue:
        for name in ("b.age", "a.age"):
            catalogue.record_verification(ids[name], "read-data", "t", "", "ok", 1)
        chosen = choose(files_in(vault.folder), "read-data", catalogue)
        assert [path.name for path in chosen] == ["c.age", "b.age", "a.age"]
        # A weaker check does not count for a deeper level.
        catalogue.record_verification(ids["c.age"], "quick", "t", "", "ok", 1)
        assert choose(files_in(vault.folder), "read-data", catalogue)[0].name == "c.age"


@pytest.mark.parametrize("executor", [None, "threads"])
def test_when_the_time_is_up_no_further_file_is_begun_and_the_rest_comes_first_next_time(
    vault: Vault, executor: str | None
) -> None:
    for number in range(6):
        vault.add(f"{number}.age")
    done: list[str] = []
    while len(set(done)) < 6:
        with ThreadPoolExecutor(1) as pool:
            result = verify(vault, max_duration_s=1e-9, executor=pool if executor else None)
        assert len(result.checks) >= 1
        assert len(result.checks) + result.not_reached == 6
        done += [check.file for check in result.checks]
        assert len(done) <= 12
    assert len(done) == len(set(done))


# ---- executors ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["none", "threads", "processes"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor | None]:
    if request.param == "none":
        yield None
    elif request.param == "threads":
        with ThreadPoolExecutor(4) as pool:
            yield pool
    else:
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
            yield processes


def test_every_executor_finds_the_same(vault: Vault, executor: Executor | None) -> None:
    for number in range(6):
        vault.add(f"{number}.age")
    vault.add("fails.age")
    vault.add("raises.age")
    vault.add("wrong.age")
    vault.add("damaged.age")
    flip(vault.folder / "damaged.age", 5000)
    result = verify(vault, "rehearse", executor=executor, rehearse=stand_in_rehearse)
    assert result.counts == {
        "ok": 6,
        "rehearsal-failed": 1,
        "worker-failed": 1,
        "wrong-credential": 1,
        "corrupt": 1,
    }
    assert result.exit_code == 6
    for check in result.checks:
        assert PASSPHRASE not in str(check)


def test_outcomes_come_as_they_are_found(vault: Vault) -> None:
    for number in range(3):
        vault.add(f"{number}.age")
    stream = verify_many(files_in(vault.folder), "read-data", None, vault.keys)
    assert next(stream).ok
    (vault.folder / "2.age").write_bytes(b"")
    assert [check.ok for check in stream] == [True, False]


def test_a_worker_that_dies_is_one_files_failure(vault: Vault) -> None:
    for name in ("a.age", "b.age", "dies.age", "y.age", "z.age"):
        vault.add(name)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        result = verify(vault, "rehearse", executor=pool, rehearse=stand_in_rehearse)
    assert codes(result) == {"a.age": "ok", "b.age": "ok", "dies.age": "worker-failed", "y.age": "ok", "z.age": "ok"}
    assert result.exit_code == 1


class _Engine(Executor):
    """An engine with errors of its own."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        item = args[0]
        if item.path.name == "lost.age":
            future.set_exception(KeyError(PASSPHRASE))
        else:
            future.set_result(fn(*args, **kwargs))
        return future


def test_an_error_of_the_engine_is_one_files_failure_and_its_text_is_not_passed_on(vault: Vault) -> None:
    vault.add("a.age")
    vault.add("lost.age")
    result = verify(vault, executor=_Engine())
    assert codes(result) == {"a.age": "ok", "lost.age": "worker-failed"}
    assert PASSPHRASE not in str(result)


# ---- no secret leaves -----------------------------------------------------------------------------------------------


def test_what_crosses_to_a_worker_and_back_holds_no_secret(vault: Vault) -> None:
    vault.add("a.age")
    item = WorkItem(path=vault.folder / "a.age", level="rehearse", keys=vault.keys)
    there = pickle.dumps((check_one, item, stand_in_rehearse))
    outcome = check_one(pickle.loads(there)[1], stand_in_rehearse)  # noqa: S301  # our own
    assert outcome.ok
    back = pickle.dumps(outcome)
    for secret in vault.secrets():
        assert secret not in there
        assert secret not in back
    assert pickle.loads(back) == outcome  # noqa: S301  # our own
    again = pickle.dumps(item)
    assert not any(secret in again for secret in vault.secrets()), "unlocking left a secret in the item"


def test_typed_keys_work_here_and_refuse_to_leave(vault: Vault) -> None:
    vault.add("a.age")
    ring = Keyring(KeyChoice(config_dir=vault.config, passphrase=PASSPHRASE))
    held = HeldKeys(config_dir=vault.config, ring=ring)
    assert verify_vault(vault.folder, vault.config, "read-data", held).exit_code == 0
    with ThreadPoolExecutor(2) as threads:
        assert verify_vault(vault.folder, vault.config, "read-data", held, executor=threads).exit_code == 0
    with pytest.raises(TypeError):
        pickle.dumps(WorkItem(path=vault.folder / "a.age", level="read-data", keys=held))
    assert PASSPHRASE not in repr(held)


def test_an_outcome_never_raises_whatever_is_wrong_with_the_keys(vault: Vault, tmp_path: Path) -> None:
    vault.add("a.age")
    nowhere = KeyPaths(config_dir=tmp_path / "none", passphrase_file=tmp_path / "no file")
    outcome = check_one(WorkItem(path=vault.folder / "a.age", level="read-data", keys=nowhere))
    assert isinstance(outcome, FileCheck)
    assert (outcome.ok, outcome.exit) == (False, 2)
    gone = check_one(WorkItem(path=tmp_path / "none.age", level="quick", keys=None))
    assert (gone.ok, gone.exit) == (False, 2)


@pytest.mark.skipif(os.name != "posix", reason="pipes in the file system are POSIX's")
def test_a_pipe_among_the_files_does_not_hold_everything_up(vault: Vault) -> None:
    os.mkfifo(vault.folder / "pipe.age")
    started = time.monotonic()
    assert codes(verify(vault)) == {"pipe.age": "not-a-backup"}
    assert time.monotonic() - started < 5


# ---- peers ----------------------------------------------------------------------------------------------------------


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_verifies_through_its_own_executor(vault: Vault) -> None:
    """The grown-up engine of the design: no second code path, and only paths go to the workers."""
    distributed = pytest.importorskip("distributed", reason="the library dask[distributed] (extra peers) is missing")
    for number in range(6):
        vault.add(f"{number}.age")
    flip(vault.folder / "3.age", 9000)
    options: dict[str, Any] = {
        "n_workers": 2,
        "threads_per_worker": 1,
        "processes": True,
        "host": "127.0.0.1",
        "dashboard_address": None,
        "silence_logs": 50,
    }
    with (
        distributed.LocalCluster(**options) as cluster,
        distributed.Client(cluster) as client,
        client.get_executor() as executor,
    ):
        result = verify(vault, executor=executor)
    assert codes(result) == {f"{number}.age": "corrupt" if number == 3 else "ok" for number in range(6)}
    assert result.exit_code == 6


def test_the_identity_that_opens_is_found_among_several(vault: Vault, tmp_path: Path) -> None:
    identity = age.X25519Identity.generate()
    plain = tmp_path / "escrow.txt"
    plain.write_text(identity.reveal(), encoding="utf-8")
    plain.chmod(0o600)
    other = Vault(tmp_path / "other")
    other.add("a.age", recipients=(str(identity.recipient),))
    keys = KeyPaths(
        config_dir=vault.config,
        passphrase_file=vault.passphrase_file,
        identities=(plain,),
        trust_once=(sshsig.fingerprint(other.signing.public_key().public_bytes_raw()),),
    )
    result = verify_vault(other.folder, vault.config, "read-data", keys)
    assert (codes(result), result.exit_code) == ({"a.age": "ok"}, 0)
