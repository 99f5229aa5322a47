"""worker.remote: urls, instance names and certificate files, before anything is contacted."""

from __future__ import annotations

import pytest
from harness.remotes import ABSENT

from caskeeper.config.remotes import RemoteSpec
from caskeeper.errors import (
    ConfigInvalid,
)
from worker.remote import open_remote
from worker.remote.address import checked_instance_name, parse_url


@pytest.mark.parametrize(
    "url",
    [
        "", "host:50051", "ftp://host", "grpc://host:1", "http://", "http://:80", "http://host:0",
        "http://host:99999", "http://host:port", "http://host/path", "http://host?q=1", "http://host#f",
        "http://user@host", "http://user:secret@host", "http://[::1", "http://ho st", "http://host\n",
    ],
)  # fmt: skip
def test_a_url_that_is_none_is_refused_by_name_and_keeps_its_secrets(url):
    with pytest.raises(ConfigInvalid) as refused:
        open_remote(RemoteSpec(url))
    assert "secret" not in str(refused.value)
    assert "url" in str(refused.value)
    assert url.partition("//")[0].strip() in str(refused.value)


def test_certificates_that_cannot_be_used_are_named_with_the_reason(tmp_path):
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    absent = str(tmp_path / "absent.pem")
    for fields in (
        {"server_cert": absent},
        {"server_cert": str(garbage)},
        {"client_key": absent, "client_cert": str(garbage)},
        {"client_key": str(garbage), "client_cert": str(garbage)},
        {"client_key": str(garbage)},
    ):
        with pytest.raises(ConfigInvalid) as refused:
            open_remote(RemoteSpec("https://localhost:1", **fields)).blobs.find_missing([ABSENT])
        assert "https://localhost:1" in str(refused.value)
        assert ("absent.pem" in str(refused.value)) == (absent in fields.values())


@pytest.mark.parametrize(
    ("url", "target", "secure"),
    [
        ("http://host", "dns:///host:80", False),
        ("https://host/", "dns:///host:443", True),
        ("http://host:50051", "dns:///host:50051", False),
        ("HTTP://HOST:1", "dns:///host:1", False),
        ("http://[::1]:50051", "dns:///[::1]:50051", False),
        ("https://[2001:db8::1]", "dns:///[2001:db8::1]:443", True),
        ("http://unix", "dns:///unix:80", False),
    ],
)
def test_a_url_names_a_target(url, target, secure):
    address = parse_url(url)
    assert (address.target, address.secure) == (target, secure)


@pytest.mark.parametrize("name", ["/", "a//b", "blobs", "main/uploads", "main/"])
def test_an_instance_name_that_would_break_resource_names_is_refused(name):
    with pytest.raises(ConfigInvalid, match="http://host"):
        open_remote(RemoteSpec("http://host", instance_name=name))


@pytest.mark.parametrize("name", [None, "", "main", "main/branch"])
def test_an_instance_name_is_taken_as_it_is(name):
    assert checked_instance_name(name, url="http://host") == (name or "")
