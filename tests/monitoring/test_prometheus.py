"""With Debian's `prometheus`: the rules are checked, a fleet is scraped, every panel's query has an answer.

Not collected by `make test`: it needs `prometheus` and `promtool` on PATH. `make test-monitoring`.
"""

import json
import os
import re
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml
from harness.commands import Place, read, start, until
from harness.valkey import ValkeyServer

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
PANELS = json.loads((DEPLOY / "grafana/dashboards/caskeeper.json").read_text())["panels"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel.get("targets", ())]


@pytest.mark.parametrize("words", [["check", "rules", "rules.yml"], ["test", "rules", "rules_test.yml"]])
def test_promtool_is_content(words):
    done = subprocess.run(
        ["promtool", *words], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_is_one():
    words = ["promtool", "check", "config", "--syntax-only", "prometheus.yml"]
    done = subprocess.run(words, cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    """Asks a real Prometheus, which scrapes a real fleet that has done a bit of everything."""
    folder = tmp_path_factory.mktemp("monitored")
    with ValkeyServer() as valkey, ValkeyServer() as other:
        place, running = Place(folder, valkey), []
        os.makedirs(f"{folder}/remote")
        remote = Place(f"{folder}/remote", other)  # a volume of its own: else nothing would travel

        def launch(place, name, *words):
            log = f"{folder}/{name}.log"
            with open(log, "w", encoding="utf-8") as file:
                command = ["--config", place.config, name, *words, "--metrics", "127.0.0.1:0"]
                running.append(start(*command, stdout=file, stderr=file))
            return log, until(lambda: re.search(r"metrics address=(\S+)", read(log)))[1]

        try:
            log, worker = launch(place, "worker")
            until(lambda: "taking jobs" in read(log))
            log, server = launch(remote, "server", "--listen", "127.0.0.1:0")
            url = "http://" + until(lambda: re.search(r"listening on (\S+)", read(log)))[1]
            configuration = {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [f"{DEPLOY}/prometheus/rules.yml"],
                "scrape_configs": [
                    {"job_name": f"caskeeper-{name}", "static_configs": [{"targets": [address]}]}
                    for name, address in (("worker", worker), ("server", server))
                ],
            }
            Path(f"{folder}/prometheus.yml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
            with open(f"{folder}/prometheus.log", "w", encoding="utf-8") as file:
                command = [
                    "prometheus",
                    f"--config.file={folder}/prometheus.yml",
                    f"--storage.tsdb.path={folder}/tsdb",
                    "--web.listen-address=127.0.0.1:19464",
                ]
                running.append(subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL))

            def ask(query):
                words = urllib.parse.urlencode({"query": query.replace("$__rate_interval", "1m")})
                address = f"http://127.0.0.1:19464/api/v1/query?{words}"
                with urllib.request.urlopen(address, timeout=10) as answer:
                    return json.load(answer)["data"]["result"]

            until(lambda: "Server is ready" in read(f"{folder}/prometheus.log"))
            until(lambda: len(ask("caskeeper_used_bytes")) == 2)
            for number in range(2):
                work(place, url, number)
                time.sleep(3)  # two scrapes between two rounds of work: what a rate needs
            yield ask
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(60)


def work(place, url, number):
    """A bit of everything, an error among it."""
    os.makedirs(f"{place.folder}/{number}", exist_ok=True)
    with open(f"{place.folder}/{number}/a", "w", encoding="utf-8") as file:
        file.write(str(number) * 70_000)
    refs = f"demo/a/{number}"
    place.run("commit", f"{place.folder}/{number}", refs)
    place.run("push", refs, "--remote", url)
    place.run("remove", refs)
    place.run("pull", refs, "--remote", url)
    place.run("pull", "demo/no/1", "--remote", url)
    place.run("pull", "demo/no/1", "--remote", "http://127.0.0.1:9")
    place.run("compute-size")
    place.run("cleanup", "--to", "0")


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_every_panel_has_data(prometheus, title, query):
    assert until(lambda: prometheus(query)), title


def test_both_are_up_and_every_rule_was_evaluated(prometheus):
    assert [one["value"][1] for one in prometheus("up")] == ["1", "1"]
    with urllib.request.urlopen("http://127.0.0.1:19464/api/v1/rules", timeout=10) as answer:
        (group,) = json.load(answer)["data"]["groups"]
    assert {rule["health"] for rule in group["rules"]} == {"ok"}
