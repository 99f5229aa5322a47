"""What the hardware and the kernel allow: `cp`, hashing, a socket, `rm`."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

from contestants import Sample
from measuring import timed

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = 1 << 20
_SMALL = 128 << 10

COPY, LINK, HASH1, HASH2, SOCKET, RM = (
    *("cp -a", "cp -al", "sha256, 1 core", "sha256, 2 cores", "read, socket, write", "rm -r"),
)
#: Operation -> what it is compared with, the first leading.
BESIDE = {
    "commit": (COPY, HASH1, HASH2),
    "again": (HASH2, HASH1),
    "push": (SOCKET,),
    "push again": (),
    "pull": (SOCKET,),
    "links": (LINK,),
    "copy": (COPY,),
    "cleanup": (RM,),
    "plan one": (),
    "evict one": (),
}


def run(name: str, tree: str, folder: str) -> Sample:
    """Measure one of them over a tree, with room for a copy at ``folder``."""
    if name == RM:
        _prepare_half(tree, folder)
    works: dict[str, Callable[[], None]] = {
        COPY: lambda: _command("cp", "-a", tree, folder),
        LINK: lambda: _command("cp", "-al", tree, folder),
        HASH1: lambda: _hash_all(tree, processes=1),
        HASH2: lambda: _hash_all(tree, processes=2),
        SOCKET: lambda: _send(tree, folder),
        RM: lambda: _command("rm", "-r", folder),
    }
    measured, _ = timed(works[name])
    if os.path.isdir(folder):
        shutil.rmtree(folder)
    elif os.path.exists(folder):
        os.unlink(folder)
    return Sample(measured["wall_s"], measured["cpu_s"])


def _command(*command: str) -> None:
    subprocess.run(command, check=True)


def _prepare_half(tree: str, folder: str) -> None:
    """What half of the artifacts have for themselves alone."""
    names = sorted(os.listdir(tree))
    os.makedirs(folder)
    for name in names[: len(names) // 2]:
        _command("cp", "-a", f"{tree}/{name}/own", f"{folder}/{name}")


def _files(tree: str) -> list[str]:
    return [
        f"{above}/{name}"
        for above, _folders, names in os.walk(tree)
        for name in names
        if not os.path.islink(f"{above}/{name}")
    ]


def _hash_all(tree: str, *, processes: int) -> None:
    """By OpenSSL, which uses the processor's own instructions for it; half the files each."""
    paths = _files(tree)
    pids = [_fork(paths[start::processes]) for start in range(1, processes)]
    _hash_each(paths[::processes])
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0, "a process that hashes failed"


def _fork(paths: list[str]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _hash_each(paths)
            status = 0
        finally:
            os._exit(status)
    return pid


def _hash_each(paths: list[str]) -> None:
    buffer = bytearray(_CHUNK)
    for path in paths:
        _hash(path, buffer)


def _hash(path: str, buffer: bytearray) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        data = os.read(fd, _SMALL)
        digest = hashlib.sha256(data)
        if len(data) == _SMALL:
            view = memoryview(buffer)
            while count := os.readv(fd, [view]):
                digest.update(view[:count])
        digest.hexdigest()
    finally:
        os.close(fd)


def _send(tree: str, target: str) -> None:
    """Read every file, send its bytes over loopback, write them into one file at the other end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        receiver = threading.Thread(target=_receive, args=(listening, target))
        receiver.start()
        buffer = memoryview(bytearray(_CHUNK))
        with socket.create_connection(listening.getsockname()) as connected:
            for path in _files(tree):
                fd = os.open(path, os.O_RDONLY)
                while count := os.readv(fd, [buffer]):
                    connected.sendall(buffer[:count])
                os.close(fd)
        receiver.join()


def _receive(listening: socket.socket, target: str) -> None:
    connected, _ = listening.accept()
    buffer = memoryview(bytearray(_CHUNK))
    with connected, open(target, "wb", buffering=0) as file:
        while count := connected.recv_into(buffer):
            file.write(buffer[:count])
