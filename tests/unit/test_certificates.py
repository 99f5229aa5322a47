"""PEM files of no use are refused by name, with the reason, and what they hold is not repeated."""

import datetime as dt
import ssl

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificate
from harness.certificates import EXPIRED, Authority, read

from caskeeper.errors import ConfigInvalid
from worker import certificates
from worker.certificates import Named, read_authorities, read_pair


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pem"))


@pytest.fixture(scope="module")
def pair(ours):
    return ours.issue("good")


def key(path):
    return Named("tls-key", str(path), "c.yaml [line 1 column 2]")


def cert(path):
    return Named("tls-cert", str(path), "c.yaml [line 2 column 2]")


def test_a_pair_and_an_authority_arrive_as_they_are(ours, pair):
    assert read_pair(key(pair[0]), cert(pair[1])) == (read(pair[0]), read(pair[1]))
    assert read_authorities(cert(ours.file)) == read(ours.file)


def test_a_server_may_be_trusted_by_its_own_certificate_and_a_bundle_may_hold_several(ours, pair, tmp_path):
    assert read_authorities(cert(pair[1])) == read(pair[1])
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes("# Société\n".encode() + read(pair[1]) + b"\nand the one above it\n" + read(ours.file))
    assert read_authorities(cert(bundle)) == bundle.read_bytes()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file"),
        (b"", "holds no certificate"),
        (b"not PEM", "holds no certificate"),
        (b"\xff\xfe", "holds no certificate"),
        (b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "holds no certificate"),
        (b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", "holds no certificate"),
        (b"x" * (4 * 1024 * 1024 + 1), "is larger than"),
    ],
)
def test_what_holds_no_certificate_is_named_with_the_reason_and_the_place(pair, tmp_path, content, says):
    path = tmp_path / "c.pem"
    if content is not None:
        path.write_bytes(content)
    for read_it in (lambda: read_authorities(cert(path)), lambda: read_pair(key(pair[0]), cert(path))):
        with pytest.raises(ConfigInvalid, match=says) as caught:
            read_it()
        assert repr(str(path)) in caught.value.what
        assert "tls-cert" in caught.value.what
        assert caught.value.where == "c.yaml [line 2 column 2]"


def test_a_damaged_certificate_behind_a_good_one_is_seen(ours, tmp_path):
    path = tmp_path / "c.pem"
    path.write_bytes(read(ours.file) + b"-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n")
    with pytest.raises(ConfigInvalid, match="holds no certificate"):
        read_authorities(cert(path))


def test_a_path_that_is_none_is_refused_too(pair, tmp_path):
    for path in (tmp_path, "a\0b", ""):
        with pytest.raises(ConfigInvalid, match="cannot be read"):
            read_pair(key(path), cert(pair[1]))


def test_a_key_of_another_certificate_is_named_as_such(ours, pair):
    other, _ = ours.issue("other")
    with pytest.raises(ConfigInvalid, match="does not belong to the tls-cert") as caught:
        read_pair(key(other), cert(pair[1]))
    assert other in caught.value.what
    assert caught.value.where == "c.yaml [line 1 column 2]"


def test_a_key_that_is_none_and_one_with_a_password_are_refused_without_asking_for_it(pair, tmp_path):
    locked, none = tmp_path / "locked.pem", tmp_path / "none.pem"
    private = load_pem_private_key(read(pair[0]), None)
    locked.write_bytes(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open"))
    )
    none.write_bytes(b"a secret that is no key")
    for path in (locked, none):
        with pytest.raises(ConfigInvalid, match="not a usable pair") as caught:
            read_pair(key(path), cert(pair[1]))
        assert str(path) in caught.value.what
        assert "secret" not in str(caught.value)
        assert "password" in caught.value.way_out


def test_an_expired_certificate_is_named_with_its_date(ours):
    old = ours.issue("old", **EXPIRED)
    date = EXPIRED["not_after"].strftime("%Y-%m-%d %H:%M")
    for read_it in (lambda: read_pair(key(old[0]), cert(old[1])), lambda: read_authorities(cert(old[1]))):
        with pytest.raises(ConfigInvalid, match=f"expired on {date} UTC") as caught:
            read_it()
        assert old[1] in caught.value.what


def test_one_valid_authority_is_enough_but_behind_an_expired_certificate_it_is_not(ours, tmp_path):
    old = ours.issue("old", **EXPIRED)
    both = tmp_path / "both.pem"
    both.write_bytes(read(old[1]) + read(ours.file))
    assert read_authorities(cert(both))
    with pytest.raises(ConfigInvalid, match="expired on"):
        read_pair(key(old[0]), cert(both))


@pytest.mark.parametrize("year", [1951, 1999, 2000, 2049, 2050, 2999])
@pytest.mark.parametrize("kind", list(trustme.KeyType))
def test_the_end_of_validity_is_read_as_others_read_it(ours, year, kind):
    end = dt.datetime(year, 12, 31, 23, 59, 58, tzinfo=dt.UTC)
    leaf = ours.leaf(not_before=end - dt.timedelta(days=1), not_after=end, key_type=kind)
    pem = leaf.cert_chain_pems[0].bytes()
    assert load_pem_x509_certificate(pem).not_valid_after_utc == end
    assert certificates._valid_until(ssl.PEM_cert_to_DER_cert(pem.decode())) == end


def test_what_is_no_certificate_has_no_end_of_validity(pair):
    der = ssl.PEM_cert_to_DER_cert(read(pair[1]).decode())
    for size in range(len(der) // 2):
        certificates._valid_until(der[:size])  # whatever it is, it is no error
    assert certificates._valid_until(b"") is None
    assert certificates._valid_until(b"0\x84\xff\xff\xff\xff") is None


def test_files_that_are_being_replaced_are_read_again(ours, monkeypatch):
    """OpenSSL reads for itself: a pair counts when it and we saw the same."""
    paths = ours.issue("turning")
    real, turns = certificates._mismatch, []

    def replaced_meanwhile(*named):
        trouble = real(*named)
        if not turns:
            turns.append(ours.issue("turning"))
        return trouble

    monkeypatch.setattr(certificates, "_mismatch", replaced_meanwhile)
    found = read_pair(key(paths[0]), cert(paths[1]))
    assert found == (read(paths[0]), read(paths[1]))
    monkeypatch.setattr(certificates, "_mismatch", lambda *_: turns.append(ours.issue("turning")))
    with pytest.raises(ConfigInvalid, match="change all the time"):
        read_pair(key(paths[0]), cert(paths[1]))
