"""Passwords: hashes, judgement, the file of those that clients set, and locks."""

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from openoutcry.server.credentials import (
    FILE_NAME,
    CredentialFile,
    CredentialFileError,
    Given,
    Locks,
    Required,
    hash_password,
    is_password,
    is_password_hash,
    judge,
)
from openoutcry.server.hash_password import command

#: RFC 7914, section 12: password "pleaseletmein", salt "SodiumChloride", N = 16384, r = 8, p = 1.
RFC_7914 = (
    "scrypt$16384$8$1$U29kaXVtQ2hsb3JpZGU=$cCO9yzr9c0hGHAbNgf046/2o+7qQT44+"
    "qbVD9lRdofLVQylVYT8Pz2LUlwUkKpr55h6F3A1lHkDfzwF7RVdYhw=="
)


def test_a_hash_made_elsewhere_is_understood():
    assert is_password(b"pleaseletmein", RFC_7914)
    assert not is_password(b"pleaseletmeinn", RFC_7914)


def test_a_hash_admits_its_password_only_and_is_never_the_same_twice():
    one, other = hash_password(b"correct horse"), hash_password(b"correct horse")
    assert one != other
    assert is_password(b"correct horse", one)
    assert is_password(b"correct horse", other)
    assert not is_password(b"", one)
    assert "correct" not in one


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "scrypt$16384$8$1$c2FsdA==",
        "scrypt$16384$8$1$$cCO9yzr9c0hGHAbNgf046w==",
        "scrypt$16384$8$1$c2FsdA==$c2hvcnQ=",
        "scrypt$16383$8$1$c2FsdA==$cCO9yzr9c0hGHAbNgf046w==",
        "scrypt$16384$0$1$c2FsdA==$cCO9yzr9c0hGHAbNgf046w==",
        "scrypt$16384$8$99$c2FsdA==$cCO9yzr9c0hGHAbNgf046w==",
        "scrypt$1073741824$8$1$c2FsdA==$cCO9yzr9c0hGHAbNgf046w==",
        "scrypt$-16384$8$1$c2FsdA==$cCO9yzr9c0hGHAbNgf046w==",
        "scrypt$16384$8$1$not base64$cCO9yzr9c0hGHAbNgf046w==",
        "scrypt$16384$8$1$c2FsdA==$é",
        "bcrypt$16384$8$1$c2FsdA==$cCO9yzr9c0hGHAbNgf046w==",
    ],
)
def test_what_is_no_hash_matches_nothing(text: str):
    assert not is_password_hash(text)
    assert not is_password(b"", text)
    assert not is_password(text.encode(), text)


@pytest.mark.parametrize(
    ("required", "given", "is_admitted"),
    [
        (Required(), Given(), True),
        (Required(), Given(b"u", b"p"), True),
        (Required(password="p"), Given(None, b"p"), True),
        (Required(password="p"), Given(None, b"P"), False),
        (Required(password="p"), Given(None, b""), False),
        (Required(password="p"), Given(None, None), False),
        (Required(username="u", password="p"), Given(b"u", b"p"), True),
        (Required(username="u", password="p"), Given(b"v", b"p"), False),
        (Required(username="u", password="p"), Given(None, b"p"), False),
        (Required(username="u"), Given(b"u", None), True),
        (Required(password_hash=RFC_7914), Given(None, b"pleaseletmein"), True),
        (Required(password_hash=RFC_7914), Given(None, b"x"), False),
        (Required(password_hash=RFC_7914), Given(), False),
    ],
)
def test_who_is_admitted(required: Required, given: Given, is_admitted: bool):
    assert judge(required, given, 8).is_authentic == is_admitted
    assert required.is_slow == (required.password_hash is not None)


@pytest.mark.parametrize(
    ("required", "new", "is_kept"),
    [
        (Required(password="old-secret"), b"new-secret", True),
        (Required(password="old-secret"), b"old-secret", False),
        (Required(password="old-secret"), b"short", False),
        (Required(password="old-secret"), b"", False),
        (Required(password="old-secret"), b"x" * 129, False),
        (Required(), b"new-secret", False),
    ],
)
def test_a_new_password_must_comply(required: Required, new: bytes, is_kept: bool):
    verdict = judge(required, Given(None, b"old-secret", new), 8)
    assert verdict.is_authentic
    assert verdict.is_new_refused == (not is_kept)
    assert (verdict.new_hash is not None) == is_kept
    assert verdict.new_hash is None or is_password(new, verdict.new_hash)


def test_a_stranger_sets_no_password():
    verdict = judge(Required(password="old-secret"), Given(None, b"wrong", b"new-secret"), 8)
    assert not verdict.is_authentic
    assert verdict.new_hash is None


def test_nothing_shows_a_password():
    secret = "old-secret"
    for shown in (Required("u", secret, secret), Given(b"u", secret.encode(), secret.encode())):
        assert secret not in repr(shown)


def test_the_file_is_for_its_owner_only_and_replaced_as_a_whole(tmp_path: Path):
    file = CredentialFile(tmp_path)
    assert file.get("a") is None
    first, second, third = (hash_password(b"secret-%d" % n) for n in range(3))
    file.put("a", first)
    file.put("b", second)
    file.put("a", third)
    path = tmp_path / FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == {"a": third, "b": second}
    assert [entry.name for entry in tmp_path.iterdir()] == [FILE_NAME]
    again = CredentialFile(tmp_path)
    assert (again.get("a"), again.get("b"), again.get("c")) == (third, second, None)


def test_gateways_keep_what_the_others_keep(tmp_path: Path):
    one, other = CredentialFile(tmp_path), CredentialFile(tmp_path)
    first, second = hash_password(b"secret-1"), hash_password(b"secret-2")
    one.put("a", first)
    other.put("b", second)
    again = CredentialFile(tmp_path)
    assert (again.get("a"), again.get("b")) == (first, second)


def test_what_a_crash_left_of_a_change_is_of_no_account(tmp_path: Path):
    file = CredentialFile(tmp_path)
    before, after = hash_password(b"secret-1"), hash_password(b"secret-2")
    file.put("a", before)
    whole = (tmp_path / FILE_NAME).read_bytes()
    (tmp_path / f"{FILE_NAME}.new").write_bytes(whole[: len(whole) // 2])
    again = CredentialFile(tmp_path)
    assert again.get("a") == before
    again.put("a", after)
    assert CredentialFile(tmp_path).get("a") == after
    assert [entry.name for entry in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"a": 1}', '{"a": "secret"}', '{"a": "scrypt$16384$8$1$AAAA$AAAA"}'],
)
def test_a_file_that_cannot_be_understood_is_told_of(tmp_path: Path, text: str):
    file = CredentialFile(tmp_path)
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(CredentialFileError, match=f"{FILE_NAME} cannot be understood .* remove it"):
        CredentialFile(tmp_path)
    # Nothing that a person could still make right is written over.
    with pytest.raises(CredentialFileError):
        file.put("a", hash_password(b"secret-1"))
    assert (tmp_path / FILE_NAME).read_text() == text


def test_a_password_that_cannot_be_written_is_not_taken(tmp_path: Path):
    folder = tmp_path / "gone"
    folder.mkdir()
    file = CredentialFile(folder)
    folder.rmdir()
    with pytest.raises(OSError, match="gone"):
        file.put("a", "hash-1")
    assert file.get("a") is None


def test_failures_lock_a_session_for_a_time():
    locks = Locks(3, 1000)
    assert [locks.fail(1, 0) for _ in range(2)] == [False, False]
    locks.succeed(1)
    assert [locks.fail(1, now) for now in (10, 20, 30)] == [False, False, True]
    assert not locks.is_locked(2, 30)
    assert locks.is_locked(1, 30)
    assert locks.is_locked(1, 1029)
    assert not locks.is_locked(1, 1030)
    assert [locks.fail(1, now) for now in (2000, 2001)] == [False, False]


def test_a_lock_may_be_switched_off():
    locks = Locks(None, 1000)
    assert not any(locks.fail(1, 0) for _ in range(100))
    assert not locks.is_locked(1, 0)


def test_the_command_reads_the_password_from_its_input():
    result = CliRunner().invoke(command, input="correct horse\n")
    assert result.exit_code == 0
    assert is_password(b"correct horse", result.stdout.strip())
    assert CliRunner().invoke(command, input="\n").exit_code == 1
    assert CliRunner().invoke(command, ["correct horse"]).exit_code == 2
