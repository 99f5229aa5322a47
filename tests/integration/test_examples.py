"""Every example does what it shows: Makefile, both CI files step by step, the pipeline in Python."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from harness.commands import environment, place_in

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
BIN = str(Path(sys.executable).parent)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A worker, and a server that its project pushes to."""
    folder = tmp_path_factory.mktemp("fleet")
    with place_in(folder) as place:
        _, url = place.server()
        place.config = place.configure(artifacts=[{"url": url, "push": True}])
        place.worker()
        yield place


def run(*words, cwd, **env):
    return subprocess.run(
        words,
        cwd=cwd,
        env=environment(**{"PATH": f"{BIN}:{os.environ['PATH']}", **env}),
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        check=False,
    )


# A Makefile build


@pytest.fixture
def home(tmp_path):
    shutil.copytree(EXAMPLES / "make", tmp_path / "make")
    yield tmp_path
    run("caskeeper", "down", cwd=tmp_path, HOME=str(tmp_path))


def test_the_makefile_builds_once_and_pulls_from_then_on(home):
    def make(*words):
        done = run("make", *words, cwd=home / "make", HOME=str(home), XDG_CACHE_HOME="")
        assert done.returncode == 0, done.stderr
        said = subprocess.run(
            ["out/bin/hello"], cwd=home / "make", capture_output=True, text=True, check=False
        )
        return "cat src/1-words.sh" in done.stdout, said.stdout

    assert make() == (True, "hello\n")
    shutil.rmtree(home / "make/out")
    assert make() == (False, "hello\n"), "pulled"
    (home / "make/src/1-words.sh").write_text("#!/bin/sh\ngreeting=bye\n")
    assert make() == (True, "bye\n"), "other sources, another artifact"
    (home / "make/src/1-words.sh").write_text("#!/bin/sh\ngreeting=hello\n")
    assert make() == (False, "hello\n"), "the first one is still there"


def test_the_makefile_builds_without_any_caskeeper(home):
    env = {"PATH": "/usr/bin:/bin", "HOME": str(home)}
    done = subprocess.run(
        ["make"], cwd=home / "make", env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "the build is done all the same" in done.stdout
    assert (home / "make/out/bin/hello").exists()


# GitLab and GitHub

#: What a repository brings: it counts how often it builds.
BUILD = """#!/bin/sh -e
mkdir -p "$1/bin"
install -m 755 src/hello.sh "$1/bin/hello"
echo built >> "../builds-$NAME"
"""


@pytest.fixture
def repository(fleet, request):
    folder = Path(fleet.folder) / request.node.name
    (folder / "src").mkdir(parents=True)
    (folder / "src/hello.sh").write_text("#!/bin/sh\necho hello\n")
    (folder / "build.sh").write_text(BUILD)
    (folder / "build.sh").chmod(0o755)
    shutil.copy(EXAMPLES / "ci/pull-or-build.sh", folder)
    return folder


def builds(fleet, name):
    path = Path(fleet.folder) / f"builds-{name}"
    return path.read_text().count("built") if path.exists() else 0


def sessions(fleet):
    code, document = fleet.ask("status")
    assert code == 0
    return document["sessions"]


def gitlab_pipeline(repository, *, fails_at=None, **env):
    """Its jobs by stage, each in the state that a checkout leaves; what they print."""
    document = yaml.safe_load((EXAMPLES / "gitlab/.gitlab-ci.yml").read_text())
    jobs = {name: job for name, job in document.items() if isinstance(job, dict) and "script" in job}
    order = [*document["stages"], ".post"]
    env |= {name: str(value) for name, value in document["variables"].items()}
    outcomes = {}
    for name, job in sorted(jobs.items(), key=lambda item: order.index(item[1]["stage"])):
        if not all(code == 0 for code in outcomes.values()) and job.get("when") != "always":
            continue
        shutil.rmtree(repository / "out", ignore_errors=True)
        script = "\n".join(["set -eo pipefail", *job["script"], *(["false"] if name == fails_at else [])])
        done = run("bash", "-c", script, cwd=repository, **env)
        outcomes[name] = done.returncode
        assert done.returncode == 0 or name == fails_at, (name, done.stderr)
        dotenv = job.get("artifacts", {}).get("reports", {}).get("dotenv")
        if dotenv:
            env |= dict(line.split("=", 1) for line in (repository / dotenv).read_text().splitlines())
    return outcomes, env


def test_a_gitlab_pipeline_builds_once_under_one_session_that_it_ends(fleet, repository):
    env = {"CASKEEPER_CONFIG": fleet.config, "CI_PROJECT_NAME": "gitlab", "NAME": "gitlab"}
    outcomes, last = gitlab_pipeline(repository, CI_PIPELINE_ID="1", **env)
    assert outcomes == dict.fromkeys(("protect", "build", "test", "unprotect"), 0)
    assert builds(fleet, "gitlab") == 1, "`test` has it from the cache"
    assert fleet.run("contains", last["REF"]).returncode == 0
    assert sessions(fleet) == []
    outcomes, _ = gitlab_pipeline(repository, fails_at="build", CI_PIPELINE_ID="2", **env)
    assert outcomes == {"protect": 0, "build": 1, "unprotect": 0}
    assert builds(fleet, "gitlab") == 1, "the next one has it from the cache"
    assert sessions(fleet) == [], "also after a failure"


def github_job(repository, *, fails_at=None, **env):
    document = yaml.safe_load((EXAMPLES / "github/.github/workflows/build.yml").read_text())
    file = repository / "github-env"
    file.write_text("")
    failed = False
    shutil.rmtree(repository / "out", ignore_errors=True)
    for step in document["jobs"]["build"]["steps"]:
        if "run" not in step or (failed and step.get("if") != "always()"):
            continue
        env |= dict(line.split("=", 1) for line in file.read_text().splitlines())
        script = step["run"] if step["name"] != fails_at else "false"
        done = run("bash", "-eo", "pipefail", "-c", script, cwd=repository, GITHUB_ENV=str(file), **env)
        failed |= done.returncode != 0
        assert done.returncode == 0 or step["name"] == fails_at, (step["name"], done.stderr)
    return env


def test_a_github_job_builds_once_under_one_session_that_it_ends(fleet, repository):
    env = {"CASKEEPER_CONFIG": fleet.config, "GITHUB_REPOSITORY": "somebody/github", "NAME": "github"}
    last = github_job(repository, GITHUB_RUN_ID="1", **env)
    assert last["REF"].startswith("github/hello/")
    # Another machine of the project: the cache of this one has forgotten it, the remote has not.
    assert fleet.run("remove", last["REF"]).returncode == 0
    github_job(repository, fails_at="Test", GITHUB_RUN_ID="2", **env)
    assert builds(fleet, "github") == 1
    assert sessions(fleet) == [], "also after a failure"


@pytest.mark.parametrize(
    ("name", "trouble"),
    [
        ("misconfigured", {"CASKEEPER_CONFIG": "/nonexistent.yaml"}),
        ("no-redis", {"CASKEEPER_REDIS_URL": "redis://127.0.0.1:1/0"}),
    ],
)
def test_a_pipeline_builds_all_the_same_without_its_cache(fleet, repository, tmp_path, name, trouble):
    env = {"CASKEEPER_CONFIG": fleet.config, "CI_PROJECT_NAME": name, "NAME": name}
    env |= trouble | {"XDG_RUNTIME_DIR": str(tmp_path)}
    outcomes, _ = gitlab_pipeline(repository, CI_PIPELINE_ID="1", **env)
    assert set(outcomes.values()) == {0}
    assert builds(fleet, name) == 2, "in `build` and in `test`"


# The pipeline in Python


@pytest.fixture
def project(fleet):
    folder = Path(fleet.folder) / "project"
    shutil.copytree(EXAMPLES / "pipeline", folder)
    yield folder
    shutil.rmtree(folder)


def pipeline(fleet, project, *words, **env):
    env = {"CASKEEPER_CONFIG": fleet.config, **env}
    done = run(sys.executable, str(project / "pipeline.py"), *words, cwd=project, **env)
    assert done.returncode == 0, done.stderr
    app = subprocess.run([project / "build/app/bin/tool"], capture_output=True, text=True, check=True)
    return dict(line.split(": ") for line in done.stdout.splitlines()), app.stdout, done.stderr


def test_the_pipeline_builds_pulls_by_its_keys_and_shares_what_it_built(fleet, project):
    names = ("base", "tool", "manual", "app")
    how, said, told = pipeline(fleet, project, "--push")
    assert (how, said, told) == (dict.fromkeys(names, "built"), "hello\n", "")
    assert pipeline(fleet, project)[0] == dict.fromkeys(names, "strong key")

    (project / "files/greeting.txt").write_text("good morning\n")
    how, said, _ = pipeline(fleet, project)
    assert how == {"base": "built"} | dict.fromkeys(names[1:], "weak key")
    assert said == "hello\n", "what stands on the changed one is as it was"
    how, said, _ = pipeline(fleet, project, "--strict")
    assert how == {"base": "strong key"} | dict.fromkeys(names[1:], "built")
    assert said == "good morning\n"

    (project / "files/greeting.txt").write_text("hello\n")
    code, document = fleet.ask("list", "demo/*/*")
    refs = [artifact["ref"] for artifact in document["artifacts"]]
    assert code == 0
    assert fleet.run("remove", *refs).returncode == 0
    assert pipeline(fleet, project, "--strict")[0] == dict.fromkeys(names, "strong key"), "from the remote"
    assert sessions(fleet) == []


@pytest.mark.parametrize(
    "trouble", [{"CASKEEPER_CACHEDIR": "/nonexistent/cache"}, {"CASKEEPER_CONFIG": "/nonexistent.yaml"}]
)
def test_the_pipeline_builds_without_a_cache(fleet, project, trouble):
    how, said, told = pipeline(fleet, project, **trouble)
    assert (set(how.values()), said) == ({"built"}, "hello\n")
    assert "building without it" in told


# Ctrl-C


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("code", [130, 143])
def test_a_pull_that_is_interrupted_does_not_begin_the_build(tmp_path, shell, code):
    command = tmp_path / "bin/caskeeper"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\nexit {code}\n")  # what it does at Ctrl-C, or when a job is cancelled
    command.chmod(0o755)
    path = f"{command.parent}:{os.environ['PATH']}"
    script = str(EXAMPLES / "ci/pull-or-build.sh")
    done = run(shell, script, "demo/a/1", "out", "touch", "built", cwd=tmp_path, PATH=path)
    assert done.returncode == code
    assert not (tmp_path / "built").exists()


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_ctrl_c_in_the_pull_ends_make(tmp_path, shell):
    shutil.copytree(EXAMPLES / "make", tmp_path / "make")
    command = tmp_path / "bin/caskeeper"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\nexit 130\n")
    command.chmod(0o755)
    path = f"{command.parent}:{os.environ['PATH']}"
    done = run("make", f"SHELL={shutil.which(shell)}", cwd=tmp_path / "make", PATH=path)
    assert done.returncode != 0
    assert not (tmp_path / "make/out").exists()
