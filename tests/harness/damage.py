"""What a bad disk, or somebody with a shell, does to a volume behind the cache's back."""

import os
import shutil


def flip(path):
    """One bit is another one; size, mode and times stay."""
    before = os.stat(path)
    with open(path, "rb") as file:
        data = bytearray(file.read())
    data[len(data) // 2] ^= 1
    _write(path, bytes(data))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def truncate(path):
    with open(path, "rb") as file:
        data = file.read()
    _write(path, data[: len(data) // 2])


def empty(path):
    _write(path, b"")


def delete(path):
    os.unlink(path)


def make_folder(path):
    """A folder with something in it stands in its place."""
    os.unlink(path)
    os.mkdir(path)
    with open(f"{path}/something", "wb") as file:
        file.write(b"in the way")


def make_link(path):
    """A symbolic link to its content, moved elsewhere, stands in its place."""
    elsewhere = os.path.join(os.path.dirname(path), "..", "..", "..", "elsewhere")
    os.makedirs(elsewhere, exist_ok=True)
    target = os.path.join(os.path.realpath(elsewhere), os.path.basename(path))
    shutil.move(path, target)
    os.symlink(target, path)


def make_dangling_link(path):
    os.unlink(path)
    os.symlink("/nonexistent/anywhere", path)


def _write(path, data):
    """In place: the inode, and with it every link to it, is the same."""
    mode = os.stat(path).st_mode
    os.chmod(path, 0o644)
    with open(path, "r+b") as file:
        file.write(data)
        file.truncate()
    os.chmod(path, mode)


#: After these something is there that is not it.
WRONG = {
    "flipped": flip,
    "truncated": truncate,
    "empty": empty,
    "folder": make_folder,
    "link": make_link,
    "dangling link": make_dangling_link,
}
#: All of them, and the one after which nothing is there.
EVERY = {**WRONG, "deleted": delete}
