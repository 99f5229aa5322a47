"""The password of Redis may stand in a file; what is wrong with it is said without showing any."""

import pytest

from caskeeper.broker import broker_url
from caskeeper.config import load_settings
from caskeeper.config.redis_url import checked_redis_url
from caskeeper.coordination.connection import client_url, without_credentials
from caskeeper.errors import ConfigInvalid


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "password"
    path.write_text("p@ss:w/rd?\n")
    return path


def test_a_url_without_a_file_stays_as_it_is():
    url = "rediss://user:word@host:6379/0?ssl_ca_certs=/ca.crt"
    assert checked_redis_url(url, "here") == url


def test_the_password_comes_from_its_file_and_every_reader_of_the_url_understands_it(secret):
    url = checked_redis_url(f"rediss://user@host:6379/1?ssl_ca_certs=/ca.crt&password_file={secret}", "here")
    assert url == "rediss://user:p%40ss%3Aw%2Frd%3F@host:6379/1?ssl_ca_certs=/ca.crt"
    assert "password_file" not in broker_url(url) + client_url(url)
    assert without_credentials(url) == "rediss://host:6379/1"


def test_without_a_user_it_is_the_default_users_password(secret):
    assert checked_redis_url(f"redis://host/0?password_file={secret}", "").startswith("redis://:p%40ss")


def test_a_unix_socket_may_have_a_password_too(secret):
    url = checked_redis_url(f"unix:///run/redis.sock?db=2&password_file={secret}", "")
    assert url == "unix://:p%40ss%3Aw%2Frd%3F@/run/redis.sock?db=2"


@pytest.mark.parametrize("content", ["", "\n", "two\nlines\n", "x" * 5000])
def test_a_file_that_holds_no_password_is_named(tmp_path, content):
    path = tmp_path / "password"
    path.write_text(content)
    with pytest.raises(ConfigInvalid, match="does not hold one line"):
        checked_redis_url(f"redis://host/0?password_file={path}", "here")


def test_a_file_that_is_not_there_is_named_with_the_place_of_the_setting(tmp_path):
    with pytest.raises(ConfigInvalid, match=r"No such file.*") as error:
        checked_redis_url(f"redis://host/0?password_file={tmp_path}/none", "caskeeper.yaml line 3")
    assert "caskeeper.yaml line 3" in str(error.value)


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "password"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigInvalid, match="no text"):
        checked_redis_url(f"redis://host/0?password_file={path}", "here")


@pytest.mark.parametrize(
    "url", ["redis://:word@host/0?password_file={}", "redis://host/0?password=word&password_file={}"]
)
def test_two_passwords_are_refused_and_none_is_shown(secret, url):
    with pytest.raises(ConfigInvalid, match="more than one password") as error:
        checked_redis_url(url.format(secret), "here")
    assert "word@" not in str(error.value)
    assert "p@ss" not in str(error.value)


def test_the_configuration_uses_it(secret):
    settings = load_settings(
        environ={"CASKEEPER_REDIS_URL": f"redis://h/0?password_file={secret}", "HOME": "/"}
    )
    assert settings.redis == "redis://:p%40ss%3Aw%2Frd%3F@h/0"
    assert "p%40" not in repr(settings)


@pytest.mark.parametrize(
    "url", ["redis://[x", "redis://u:word@[::1/0", "redis://u:wo/rd@host/0", "redis://h:99999/0"]
)
def test_one_that_cannot_be_split_is_a_mistake_in_the_configuration_and_not_shown(url):
    with pytest.raises(ConfigInvalid, match="not a URL of a Redis server") as error:
        checked_redis_url(url, "here")
    assert url not in str(error.value)
    assert error.value.__suppress_context__
