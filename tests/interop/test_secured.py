"""Both BuildStreams and a server that wants TLS, client certificates and tokens."""

import pytest
from harness import bst1, bst2
from harness.buildstream import ELEMENTS
from harness.certificates import Authority
from harness.trees import listing

TOKEN = "a-token-of-the-tests"


class Secured:
    """A server's credentials, and a client's."""

    def __init__(self, folder):
        authority = Authority(folder)
        key, certificate = authority.issue("server", "localhost")
        self.server_cert = authority.file
        self.client_key, self.client_cert = authority.issue("client", "user@example.org")
        self.options = ("--tls-key", key, "--tls-cert", certificate, "--client-ca", authority.file)
        #: what the server reads, what the client sends, and what it sends in vain
        self.tokens, self.token, self.wrong_token = (
            self._write(f"{folder}/{name}", text)
            for name, text in (("tokens", f"another\n{TOKEN}\n"), ("token", TOKEN), ("wrong", "a-guess"))
        )

    def _write(self, path, text):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path


@pytest.fixture
def secured(tmp_path):
    (tmp_path / "credentials").mkdir()
    return Secured(tmp_path / "credentials")


def by_name(url):
    """The certificate is for this name."""
    return url.replace("http://127.0.0.1", "https://localhost")


def test_buildstream_2_pushes_and_pulls_with_a_certificate_and_a_token(built2, secured, tmp_path, serving):
    with serving(tmp_path / "server", *secured.options, "--token-file", secured.tokens) as url:
        auth = {
            "server-cert": secured.server_cert,
            "client-key": secured.client_key,
            "client-cert": secured.client_cert,
            "access-token": secured.token,
        }
        server = {"url": by_name(url), "push": True, "auth": auth}
        user = bst2.BuildStream(str(tmp_path / "user"), built2.project, server)
        assert user.queue("Push", user.run("build", *ELEMENTS)) == (3, 0, 0)
        second = bst2.BuildStream(str(tmp_path / "second"), built2.empty, server)
        built2.check_pulled_by(second, f"{tmp_path}/out")
        stranger = {**server, "auth": {**auth, "access-token": secured.wrong_token}}
        third = bst2.BuildStream(str(tmp_path / "third"), built2.project, stranger)
        said = third.run("artifact", "pull", *ELEMENTS, fails=True)
        assert "UNAUTHENTICATED" in said
        assert TOKEN not in said


def test_buildstream_1_pushes_and_pulls_with_a_certificate(secured, tmp_path, serving, bst1_installed):
    project = bst1.write_project(f"{tmp_path}/project")
    files = {name: getattr(secured, name) for name in ("server_cert", "client_key", "client_cert")}
    with serving(tmp_path / "server", *secured.options) as url:
        first, second = (
            bst1.BuildStream(str(tmp_path / name), project, url=by_name(url), **files)
            for name in ("first", "second")
        )
        assert first.queue("Push", first.run("build", *ELEMENTS)) == (3, 0, 0)
        assert second.queue("Pull", second.run("pull", *ELEMENTS)) == (3, 0, 0)
        for element, name in ELEMENTS.items():
            before = listing(first.checkout(element, f"{tmp_path}/{name}-before"))
            assert listing(second.checkout(element, f"{tmp_path}/{name}")) == before
