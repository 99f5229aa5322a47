"""A real server with users and passwords behind real TLS: the bundled one has no TLS of its own."""

import contextlib
import select
import socket
import ssl
import threading

from harness.certificates import Authority
from harness.valkey import ValkeyServer

#: What a worker and whatever else the fleet runs may do (docs/operations.md names the same).
FLEET = ("~*", "&*", "+@all", "-@admin", "-@dangerous", "+info", "+keys")
#: A build: it sends jobs, waits for them, and keeps sessions.
BUILD = (
    *("~*", "&*", "+@read", "+@write", "+@connection", "+@transaction", "+@pubsub", "+@scripting"),
    *("-@dangerous", "+info", "+time"),
)
#: Too little for anything.
LOOKER = ("~*", "&*", "+@read", "+@connection", "+@scripting", "+info")
PASSWORD = "correct:horse/battery?staple"  # every character that a URL would take for its own


class SecuredRedis:
    """``url(user)`` reaches it with the password in a file; ``port`` speaks TLS, by ``authority``."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.authority = Authority(folder, "redis-authority")
        key, certificate = self.authority.issue("redis")
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self.password_file = f"{self.folder}/password"
        with open(self.password_file, "w", encoding="utf-8") as file:
            file.write(PASSWORD + "\n")
        self._valkey = ValkeyServer()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def url(self, user="fleet", *, authority=None, password_file=None):
        return (
            f"rediss://{user}@127.0.0.1:{self.port}/0?ssl_ca_certs={(authority or self.authority).file}"
            f"&password_file={password_file or self.password_file}"
        )

    def __enter__(self):
        self._valkey.start()
        with self._valkey.client() as client:
            for name, rights in (("fleet", FLEET), ("build", BUILD), ("looker", LOOKER)):
                client.execute_command("ACL", "SETUSER", name, "on", f">{PASSWORD}", *rights)
            client.execute_command("ACL", "SETUSER", "default", "off")
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.close()
        self._valkey.__exit__(None, None, None)

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(connection,), daemon=True).start()

    def _relay(self, connection):
        with contextlib.suppress(OSError), connection, socket.socket(socket.AF_UNIX) as inner:
            outer = self._context.wrap_socket(connection, server_side=True)
            inner.connect(self._valkey.socket)
            while _passed_on(outer, inner):
                pass
            outer.close()


def _passed_on(outer, inner):
    """What has arrived goes to the other side; False when one of them has ended."""
    ready = [outer] if outer.pending() else select.select([outer, inner], [], [])[0]
    for side in ready:
        data = side.recv(65536)
        if not data:
            return False
        (inner if side is outer else outer).sendall(data)
    return True
