"""BuildStream 1.6 from Debian's package, with folders of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

from harness.buildstream import User
from harness.buildstream import write_project as _write_project

#: What the package does not depend on but an artifact cache needs nothing of is left out.
_INSTALL = ("apt-get", "install", "-y", "--no-install-recommends", "buildstream", "bubblewrap")
_USER = """\
sourcedir: {home}/sources
builddir: {home}/build
artifactdir: {home}/artifacts
logdir: {home}/logs
scheduler: {{on-error: quit}}
"""


def ensure_installed() -> None:
    """`bst` 1.6 is there when this returns; installed from Debian's package when root may do so."""
    if shutil.which("bst") is None:
        can_install = shutil.which("apt-get") is not None and os.geteuid() == 0
        assert can_install, (
            "these tests need BuildStream 1.6: run `apt-get install buildstream bubblewrap` on Debian 12 "
            "as root, or run the tests there as root"
        )
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (("apt-get", "update"), _INSTALL):
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False, timeout=600
            )
            assert done.returncode == 0, f"`{' '.join(command)}` failed:\n{done.stdout}{done.stderr}"
    version = subprocess.run(["bst", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    assert version.startswith("1.6"), f"these tests need BuildStream 1.6; `bst` here is {version}"


def write_project(folder: str) -> str:
    """The project of the tests, for this BuildStream."""
    return _write_project(folder, needs="format-version: 12")


class BuildStream(User):
    """One user of a project: own caches below ``home``, and perhaps an artifact server."""

    def __init__(
        self, home: str, project: str, *, url: str | None = None, push: bool = True, **credentials: str
    ) -> None:
        #: the artifact cache, in the layout of BuildStream 1.x
        self.cache = f"{home}/artifacts"
        configuration = _USER.format(home=home)
        if url is not None:
            files = {key.replace("_", "-"): path for key, path in credentials.items()}
            configuration += f"artifacts: {json.dumps({'url': url, 'push': push, **files})}\n"
        super().__init__(home, project, bst="bst", configuration=configuration)

    def checkout(self, element: str, folder: str) -> str:
        """The files of one element alone, in a new folder."""
        self.run("checkout", "--deps", "none", "--no-integrate", element, folder)
        return folder

    def wipe(self) -> None:
        """Forget every artifact."""
        shutil.rmtree(self.cache)
