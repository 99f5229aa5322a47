"""A real server process that is killed with SIGKILL: what it took in is kept for a grace, then found."""

import os
import pathlib
import signal
import subprocess
import sys
import time

from harness.mortal import expire_leases
from harness.serving import Peer, open_services, serving, small_tree

from caskeeper.digest import Digest
from worker.protocols import quiet
from worker.store.measure import used_bytes
from worker.store.promises import PREFIX

SERVER = """
import sys
from harness.serving import open_services
from worker.server.app import serve
services = open_services(sys.argv[1], sys.argv[2])
running = serve(services, listen="127.0.0.1:0")
print(running.address, flush=True)
running.wait()
"""


def clean(services):
    time.sleep(0.011)  # the volume's clock moves on
    return services.cleanup.clean(target_bytes=2**50, dry_run=False, context=quiet())


def test_what_a_killed_server_took_in_stays_for_a_grace_and_then_goes_unlisted(tmp_path, valkey, monkeypatch):
    path = os.pathsep.join(map(str, pathlib.Path(__file__).parents[1:3]))
    command = [sys.executable, "-P", "-c", SERVER, str(tmp_path), valkey.url]
    root, blobs = small_tree()
    unnamed = [os.urandom(size) for size in range(1, 400)]
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            peer = Peer(server.stdout.readline().strip())
            peer.upload(*blobs, *unnamed)
            peer.update(root, "demo/el/aaaa")
            peer.channel.close()
        finally:
            server.send_signal(signal.SIGKILL)
    services = open_services(tmp_path, valkey.url)
    monkeypatch.setattr("worker.services.cleanup.sweep", _unlisted)
    try:
        with valkey.client() as client:
            expire_leases(client, services.coordination.volume_id)
        clean(services)
        objects = [services.layout.object(Digest.of(data).hash) for data in unnamed]
        assert all(map(os.path.exists, objects))
        for name in os.listdir(services.layout.staging):
            if name.startswith(PREFIX):
                os.utime(f"{services.layout.staging}/{name}", (0, 0))
        assert clean(services).freed_bytes > len(unnamed) * services.volume.block_bytes
        assert not any(map(os.path.exists, objects))
        assert os.listdir(services.layout.staging) == []
        usage = services.coordination.usage.snapshot()
        assert (usage.used_bytes, usage.reserved_bytes) == (used_bytes(services.volume), 0)
        with serving(services) as peer:
            assert peer.resolve("demo/el/aaaa") == root
    finally:
        services.close()


def _unlisted(*_arguments, **_options):
    raise AssertionError("the folder of all objects was listed")
