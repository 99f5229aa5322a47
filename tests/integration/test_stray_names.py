"""Modules of a build that are called as ours are: neither the client nor the command takes them for ours."""

import os
import shutil
import subprocess
import sys

import pytest
from harness.commands import environment, place_in

from caskeeper.embedding import running

SCRIPT = os.path.join(os.path.dirname(sys.executable), "caskeeper")
STRAY = "open(__file__ + '.imported', 'w').close()\nraise SystemExit('the wrong module')\n"
BUILD = """
from caskeeper import Client, Element, errors

with Client() as cache, cache.session(label="build") as session:
    committed = cache.commit("tree", "demo/hello/k1").result(timeout_s=60)
    assert committed.files == 2, committed
    (present,) = session.require(Element("demo", "hello.bst", strong_key="k1"))
    print(cache.extract(present).result(timeout_s=60).path)
    try:
        cache.extract("demo/none/k1").result(timeout_s=60)
    except errors.ArtifactNotFound as missing:
        print(missing.exit_code)
"""


@pytest.fixture
def folder(tmp_path):
    """A build's folder with a script, a tree, and modules and packages in our way."""
    folder = tmp_path / "build"
    folder.mkdir()
    for name in ("tasks", "worker", "celeryconfig", "benchmarks", "tests"):
        (folder / f"{name}.py").write_text(STRAY)
    for name in ("tasks", "worker"):  # a package wins over a module of the same name
        (folder / "lib" / name).mkdir(parents=True)
        (folder / "lib" / name / "__init__.py").write_text(STRAY)
    (folder / "tree").mkdir()
    (folder / "tree" / "a").write_text("a")
    (folder / "tree" / "b").write_text("b")
    (folder / "build.py").write_text(BUILD)
    yield folder
    imported = [name for _, _, names in os.walk(folder) for name in names if name.endswith(".imported")]
    assert imported == []


def run(folder, *command, **env):
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done
    return done.stdout


def test_a_script_beside_them_enqueues_and_gets_results_from_a_worker(folder, tmp_path, monkeypatch):
    with place_in(tmp_path) as place:
        monkeypatch.chdir(folder)  # the worker starts in the build's folder too
        place.worker()
        path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), f"{folder}/lib")))
        for more in ({}, {"PYTHONPATH": path}):
            path, code = run(
                folder, sys.executable, "build.py", CASKEEPER_CONFIG=place.config, **more
            ).splitlines()
            assert sorted(os.listdir(path)) == ["a", "b"]
            assert code == "11"
        for words in (
            ["commit", "tree", "demo/hello/k2"],
            ["extract", "demo/hello/k2"],
            ["contains", "demo/hello/k2"],
            ["list"],
            ["remove", "demo/hello/k2"],
        ):
            assert run(folder, SCRIPT, "--config", place.config, *words)


def test_without_a_redis_the_background_server_is_started_from_there(folder, tmp_path):
    cachedir = str(tmp_path / "c")
    env = {"CASKEEPER_CACHEDIR": cachedir, "CASKEEPER_CONFIG": os.devnull}
    try:
        path, code = run(folder, sys.executable, "build.py", **env).splitlines()
        assert sorted(os.listdir(path)) == ["a", "b"]
        assert code == "11"
        assert running(cachedir) is not None
        assert run(folder, SCRIPT, "extract", "demo/hello/k1", **env).strip() == path
    finally:
        run(folder, SCRIPT, "down", **env)
    assert running(cachedir) is None
    shutil.rmtree(cachedir)
