"""The compose files say what the code reads: variables, commands, secrets, limits that must agree."""

import os
import re
import subprocess
from pathlib import Path

import click
import pytest
import yaml
from harness.tls_redis import BUILD, FLEET

from caskeeper.config.keys import variables
from tasks.app import HEARTBEAT_FILE
from tasks.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
OVERRIDES = sorted((ROOT / "deploy/compose").glob("*.yml"))
#: What is read from the environment and is no setting.
OTHERS = {HEARTBEAT_FILE, "CASKEEPER_FLOWER_AUTH"}


def services(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))["services"]


def ours():
    """Every service that runs our command, by file and name; those of other images name them."""
    for path in (COMPOSE, *OVERRIDES):
        for name, service in services(path).items():
            if "command" in service and name not in {"redis", "prometheus", "grafana"}:
                yield path.name, name, service


@pytest.mark.parametrize("path", [COMPOSE, *OVERRIDES], ids=lambda path: path.name)
def test_every_variable_is_one_that_is_read(path):
    known = {*variables(), *OTHERS}
    for service in services(path).values():
        given = {name for name in service.get("environment") or {} if name.startswith("CASKEEPER_")}
        assert given <= known


def test_every_command_exists_with_its_options():
    for file, name, service in ours():
        words = [re.sub(r"\$\{\w+:-(.*)\}", r"\1", word) for word in service["command"]]
        command = cli.get_command(click.Context(cli), words[0])
        assert command is not None, (file, name)
        command.make_context(words[0], words[1:], resilient_parsing=False)


def test_the_example_of_settings_names_all_that_the_file_can_be_told_with_its_defaults():
    told = dict(re.findall(r"\$\{(CASKEEPER_\w+):-([^}]*)\}", COMPOSE.read_text(encoding="utf-8")))
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    shown = dict(re.findall(r"^#(CASKEEPER_\w+)=(.*)$", example, re.MULTILINE))
    assert shown.keys() == told.keys()
    assert {name: shown[name] for name in told if told[name]} == {
        name: told[name] for name in told if told[name]
    }


def test_ports_are_published_on_loopback_alone():
    for service in services(COMPOSE).values():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")


def test_our_containers_have_no_rights_and_may_not_fill_the_disk_with_logs():
    for name, service in services(COMPOSE).items():
        assert service["logging"]["options"]["max-size"], name
        assert "no-new-privileges:true" in service["security_opt"]
        if "build" in service:
            assert (service["cap_drop"], service["read_only"]) == (["ALL"], True)


def test_redis_keeps_the_queue_also_with_tls():
    for path in (COMPOSE, ROOT / "deploy/compose/secured.yml"):
        words = " ".join(services(path)["redis"]["command"])
        assert "--appendonly yes" in words
        assert "--maxmemory-policy noeviction" in words


def test_secrets_hold_what_the_override_mounts_and_the_rights_that_are_tested(tmp_path):
    script = ROOT / "deploy/compose/make-secrets.sh"
    folder = tmp_path / "secrets"
    for _ in range(2):  # again: what is there stays
        done = subprocess.run(["sh", script, folder], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        users = (folder / "redis-users.acl").read_text()
        password = (folder / "redis-password").read_text().strip()
    assert f"user fleet on >{password} {' '.join(FLEET)}\n" in users
    assert f" {' '.join(BUILD)}\n" in users
    assert "user default off" in users
    document = yaml.safe_load((ROOT / "deploy/compose/secured.yml").read_text())
    mounted = {os.path.basename(secret["file"]) for secret in document["secrets"].values()}
    assert mounted <= set(os.listdir(folder))
    assert folder.stat().st_mode & 0o777 == 0o700
    # A path in an override begins where the first file lies; the script writes beside itself.
    for secret in document["secrets"].values():
        assert (ROOT / secret["file"]).parent == script.parent / "secrets"
    checked = ["openssl", "verify", "-CAfile", folder / "redis-ca.crt", folder / "redis.crt"]
    assert subprocess.run(checked, capture_output=True, check=False).returncode == 0


def test_no_secret_gets_into_an_image_or_a_commit():
    assert "/deploy/compose/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    assert "deploy" in (ROOT / ".dockerignore").read_text().splitlines()
