"""How Flower is set up: behind a password, looking only, and aware of TLS."""

from types import SimpleNamespace

import pytest

from caskeeper.config import Settings
from caskeeper.errors import ConfigInvalid
from tasks import flower
from tasks.flower import broker_tls, flower_options, run_flower


def test_it_is_not_opened_to_others_without_a_password(monkeypatch):
    monkeypatch.delenv("FLOWER_BASIC_AUTH", raising=False)
    with pytest.raises(ConfigInvalid, match="without a password"):
        run_flower(Settings(cachedir="/nonexistent"), "redis://127.0.0.1:1/0", address="0.0.0.0")


def test_loopback_is_loopback_also_with_the_brackets_of_its_address(monkeypatch):
    monkeypatch.delenv("FLOWER_BASIC_AUTH", raising=False)
    started = []
    app = SimpleNamespace(conf=SimpleNamespace(), start=started.extend)
    monkeypatch.setattr(flower, "make_app", lambda *_: app)
    monkeypatch.setattr(flower, "configure", lambda *_: None)
    assert run_flower(Settings(cachedir="/nonexistent"), "redis://127.0.0.1:1/0", address="[::1]") == 0
    assert "--address=::1" in started


def test_it_changes_nothing_unless_its_own_variable_says_so(monkeypatch):
    assert "--read_only=true" in flower_options("127.0.0.1", 5555)
    monkeypatch.setenv("FLOWER_READ_ONLY", "false")
    assert not any(word.startswith("--read_only") for word in flower_options("127.0.0.1", 5555))


def test_no_file_of_the_current_folder_is_run():
    assert "--conf=/dev/null" in flower_options("127.0.0.1", 5555)


def test_its_page_of_queues_is_told_what_the_url_says_about_tls():
    assert broker_tls("redis://host/0") is None
    assert broker_tls("unix:///run/redis.sock") is None
    assert broker_tls("rediss://u:p@host/0?ssl_ca_certs=/ca.crt") == {
        "ssl_cert_reqs": "required",
        "ssl_ca_certs": "/ca.crt",
    }
