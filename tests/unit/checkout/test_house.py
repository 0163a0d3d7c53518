# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The promises that the files of the collection make about each other."""

from __future__ import annotations

import ast
import fnmatch
import importlib.metadata
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir() and not path.name.startswith("_"))
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
PLUGINS = [path for kind in ("filter", "lookup", "modules") for path in sorted((ROOT / "plugins" / kind).glob("*.py"))]
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))


def read(*parts: str | Path) -> Any:
    return yaml.safe_load(ROOT.joinpath(*parts).read_text(encoding="utf-8"))


def texts(path: Path) -> dict[str, Any]:
    """What is written in a plugin's DOCUMENTATION, EXAMPLES and RETURN, without importing it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assigned = {getattr(node.targets[0], "id", ""): node.value for node in tree.body if isinstance(node, ast.Assign)}
    written = [name for name in ("DOCUMENTATION", "EXAMPLES", "RETURN") if name in assigned]
    return {name: yaml.safe_load(ast.literal_eval(assigned[name])) for name in written}


def documentation(module: str) -> dict[str, Any]:
    found: dict[str, Any] = texts(ROOT / "plugins" / "modules" / f"{module}.py")["DOCUMENTATION"]
    return found


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.stem)
def test_what_ansible_doc_shows_of_a_plugin_can_be_read(path: Path) -> None:
    assert list(texts(path)) == ["DOCUMENTATION", "EXAMPLES", "RETURN"]


def test_module_defaults_reach_exactly_the_modules_that_speak_to_the_api() -> None:
    speakers = [
        name
        for name in MODULES
        if "kubernetes.core.k8s_auth_options" in documentation(name).get("extends_documentation_fragment", [])
    ]
    assert read("meta", "runtime.yml")["action_groups"]["kubeadm"] == speakers


@pytest.mark.parametrize("name", MODULES)
def test_every_module_tells_what_run_module_adds(name: str) -> None:
    path = ROOT / "plugins" / "modules" / f"{name}.py"
    if "run_module(" in path.read_text(encoding="utf-8"):
        assert texts(path)["RETURN"]["elapsed"]["returned"] == "always"


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_every_playbook_can_be_called_by_both_of_its_names(name: str) -> None:
    assert "-" not in name, "a collection's playbook with a dash cannot be called as clustercare.kubeadm.NAME"
    (wrapper,) = read(f"{name.replace('_', '-')}.yml")
    assert wrapper["ansible.builtin.import_playbook"] in {f"clustercare.kubeadm.{name}", f"playbooks/{name}.yml"}


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_a_play_in_batches_stops_at_the_first_node_that_is_lost(name: str) -> None:
    # any_errors_fatal counts a lost host twice, so a batch of one is not "all failed", and the next one is begun.
    for play in (play for play in read("playbooks", f"{name}.yml") if "serial" in play):
        assert play.get("max_fail_percentage") == 0 and "any_errors_fatal" not in play, play["name"]


@pytest.mark.parametrize("role", ROLES)
def test_every_role_can_be_read_checked_and_tested_by_others(role: str) -> None:
    assert (ROOT / "roles" / role / "README.md").is_file()
    assert read("roles", role, "meta", "argument_specs.yml")["argument_specs"]["main"]["short_description"]
    assert (ROOT / "extensions" / "molecule" / role / "molecule.yml").is_file()


@pytest.mark.parametrize("role", ROLES)
def test_defaults_are_those_that_the_argument_specs_promise(role: str) -> None:
    entry_points = read("roles", role, "meta", "argument_specs.yml")["argument_specs"].values()
    specified = {name: option for entry in entry_points for name, option in entry["options"].items()}
    defaults = read("roles", role, "defaults", "main.yml") or {}
    assert not set(defaults) - set(specified), "defaults that no argument spec knows"
    for name, value in defaults.items():
        if "{{" not in str(value):
            assert str(specified[name].get("default", "")) == str(value), name


def tasks_in(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """With those in blocks."""
    for task in tasks:
        yield task
        for part in ("block", "rescue", "always"):
            yield from tasks_in(task.get(part, []))


@pytest.mark.parametrize(("role", "prefix"), [("upgrade", "upgrade"), ("node_maintenance", "maintenance")])
def test_a_node_that_fails_names_the_roles_own_timeout(role: str, prefix: str) -> None:
    # Plans and giving up fail as modules do; nobody puts their sentences into other words.
    files = [path for path in (ROOT / "roles" / role / "tasks").glob("*.yml") if path.stem not in ("plan", "abort")]
    tasks = [task for path in files for task in tasks_in(read(path))]
    table = read("roles", role, "vars", "main.yml")[f"__{prefix}_timeouts"]
    assert set(table) <= {task["name"] for task in tasks}
    for task in tasks:
        for options in (value for value in task.values() if isinstance(value, dict)):
            asked = re.fullmatch(rf"{{{{ ({prefix}_\w+) }}}}", str(options.get("timeout")))
            assert asked is None or table.get(task["name"]) == asked[1], task["name"]


@pytest.mark.parametrize("scenario", sorted((ROOT / "extensions" / "molecule").glob("*/molecule.yml")), ids=str)
def test_molecule_runs_every_playbook_of_a_scenario(scenario: Path) -> None:
    # Molecule only warns about a playbook that is not there, and says nothing about one that it does not run.
    steps = set(yaml.safe_load(scenario.read_text(encoding="utf-8"))["scenario"]["test_sequence"])
    written = {path.stem for path in scenario.parent.glob("*.yml")} - {"molecule", "requirements"}
    assert steps - {"syntax", "idempotence"} == written


def test_the_artifact_leaves_the_checkout_behind() -> None:
    ignored = read("galaxy.yml")["build_ignore"]
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()

    def shipped(path: str) -> bool:
        parts = path.split("/")
        prefixes = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        return not any(fnmatch.fnmatch(prefix, pattern) for prefix in prefixes for pattern in ignored)

    top = {path.split("/")[0] for path in tracked if shipped(path)}
    wrappers = {f"{name.replace('_', '-')}.yml" for name in PLAYBOOKS}
    expected = {"CHANGELOG.rst", "CONTRIBUTING.md", "LICENSE", "README.md", "galaxy.yml", "meta", "changelogs", "docs"}
    expected |= {"examples", "extensions", "inventory", "playbooks", "plugins", "roles", "tests"} | wrappers
    assert top <= expected


def test_the_changelog_tells_of_this_version() -> None:
    version = read("galaxy.yml")["version"]
    releases = read("changelogs", "changelog.yaml")["releases"]
    assert version in releases
    assert f"v{version}" in (ROOT / "CHANGELOG.rst").read_text(encoding="utf-8")
    told = sorted(module["name"] for release in releases.values() for module in release.get("modules", []))
    released = [name for name in MODULES if documentation(name)["version_added"] <= version]
    assert told == released, "antsibull-changelog release --update-existing --refresh-plugins --reload-plugins"


# What puts them into AWX is a playbook, and has none of its own.
SURVEYS = [path for path in sorted((ROOT / "examples" / "awx").glob("*.yml")) if path.name != "configure.yml"]


@pytest.mark.parametrize("path", SURVEYS, ids=lambda path: path.name)
def test_awx_surveys_ask_only_what_awx_can_ask_and_the_roles_know(path: Path) -> None:
    known = {
        option
        for role in ROLES
        for entry in read("roles", role, "meta", "argument_specs.yml")["argument_specs"].values()
        for option in entry["options"]
    }
    (templates,) = yaml.safe_load(path.read_text(encoding="utf-8")).values()
    for template in templates:
        assert "playbook" not in template or (ROOT / template["playbook"]).is_file()
        for question in template["survey_spec"]["spec"]:
            assert question["variable"] in known
            assert question["type"] in {"text", "password", "integer", "float", "multiplechoice", "multiselect"}


def test_openshift_stays_importable_beside_the_pinned_kubernetes_client() -> None:
    # Optional for users who need it in the same Python; nothing in the collection imports it.
    importlib.import_module("openshift.dynamic")
    wanted = dict(line.split("==") for line in (ROOT / "requirements-dev.txt").read_text().split() if "==" in line)
    assert importlib.metadata.version("kubernetes") == wanted["kubernetes"]
