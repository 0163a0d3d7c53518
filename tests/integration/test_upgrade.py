# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One cluster of one master and two workers: what is refused, one upgrade under load with a kill in it, the no-op.

The tests stand in the order of a cluster's life; each starts where the one before it ended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from harness import Lab, kill, play, playing, wait_for

TARGET = "1.35.4"


class Scene(NamedTuple):
    lab: Lab
    inventory: Path
    run_dir: Path
    untouched: dict[str, str]


@pytest.fixture(scope="module")
def scene(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """1+2 nodes, known to Ansible by other names than to Kubernetes."""
    lab.up(masters=1, workers=2)
    directory = tmp_path_factory.mktemp("upgrade")
    inventory = directory / "hosts.yml"
    names = {"cp1": "first", "w1": "second", "w2": "third"}
    text = Path(lab.status()["inventory"]).read_text()
    inventory.write_text(re.sub(r"\b(cp1|w1|w2)\b(?=:)", lambda found: names[found[1]], text))
    return Scene(lab, inventory, directory / "run", lab.fingerprints())


@pytest.fixture
def other(lab: Lab) -> Iterator[Lab]:
    """A second cluster whose master has the same name; gone before the service is asked under load."""
    other = Lab(f"{lab.name}-other")
    other.up(masters=1, workers=0)
    yield other
    other.run("down")


def refused(scene: Scene, *more: str, inventory: Path | None = None, **variables: Any) -> str:
    """Run the upgrade, which must refuse and touch nothing; return what it printed, as one line of words."""
    before = scene.lab.writes_by_administrators()
    played = play(
        "upgrade-cluster.yml",
        inventory or scene.inventory,
        *more,
        **{"kubernetes_version": TARGET, "run_dir": str(scene.run_dir), **variables},
    )
    assert played.rc != 0, played.output
    assert played.changed == 0
    assert scene.lab.fingerprints() == scene.untouched
    assert scene.lab.writes_by_administrators() == before
    assert not scene.run_dir.exists()
    return " ".join(played.output.split())


@pytest.mark.parametrize(
    ("variables", "sentences"),
    [
        pytest.param({"kubernetes_version": "1.36.3"}, ["1.34.4", "1.36.3", "one minor"], id="a minor skipped"),
        pytest.param({"kubernetes_version": "1.33.13"}, ["1.34.4", "1.33.13", "downgrade"], id="a downgrade"),
        pytest.param({"kubernetes_version": "1.35.99"}, ["1.35.99", "1.35.4-1.1"], id="an unknown package"),
        pytest.param({"kubernetes_version": "new"}, ["'new' is not a Kubernetes version"], id="no version"),
        pytest.param(
            {"upgrade_ignore_preflight_errors": ["Mem", "NumCPU", "Swap"]},
            ["cgroup v1", "SystemVerification", "upgrade_ignore_preflight_errors"],
            id="cgroup v1 without the preflight exception",
        ),
    ],
)
def test_refuses_by_version_and_machine(scene: Scene, variables: dict[str, Any], sentences: list[str]) -> None:
    printed = refused(scene, **variables)
    for sentence in sentences:
        assert sentence in printed


def test_refuses_cgroup_v1_without_the_kubelet_exception(scene: Scene) -> None:
    found = scene.lab.get("configmap", "kubelet-config", "-n", "kube-system")
    right = found["data"]["kubelet"]

    def set_to(kubelet: str) -> None:
        patch = json.dumps({"data": {"kubelet": kubelet}})
        scene.lab.kubectl("patch", "configmap", "kubelet-config", "-n", "kube-system", "--type=merge", "-p", patch)

    set_to(right.replace("failCgroupV1: false", "failCgroupV1: true"))
    try:
        printed = refused(scene)
    finally:
        set_to(right)
    assert "failCgroupV1: false" in printed
    assert "kubelet-config" in printed


def test_refuses_an_inventory_that_is_not_the_cluster(scene: Scene, tmp_path: Path) -> None:
    text = scene.inventory.read_text()
    wrong = tmp_path / "wrong.yml"

    wrong.write_text("\n".join(line for line in text.splitlines() if "third:" not in line) + "\n")
    assert "w2" in refused(scene, inventory=wrong)

    wrong.write_text(
        text.replace("third: {ansible_host: ", "third: {ansible_ssh_timeout: 3, ansible_port: 2, ansible_host: ")
    )
    printed = refused(scene, inventory=wrong)
    assert "third" in printed and "cannot be reached" in printed

    assert "--limit" in refused(scene, "--limit", "first")


def test_refuses_the_kubeconfig_of_another_cluster(scene: Scene, other: Lab) -> None:
    printed = refused(scene, kubeadm_kubeconfig=other.status()["kubeconfig"])
    for cluster in (scene.lab, other):
        assert cluster.get("namespace", "kube-system")["metadata"]["uid"] in printed
    assert "two different clusters" in printed


def test_check_mode_ends_after_the_plan(scene: Scene) -> None:
    before = scene.lab.writes_by_administrators()
    played = play(
        "upgrade-cluster.yml", scene.inventory, "--check", kubernetes_version="1.35", run_dir=str(scene.run_dir)
    )
    assert played.rc == 0, played.output
    planned = play("plan-upgrade.yml", scene.inventory, kubernetes_version="1.35")
    assert planned.rc == 0, planned.output
    words = re.findall(r"1\.34\.4 -> 1\.35\.4", planned.output)
    assert words and words == re.findall(r"1\.34\.4 -> 1\.35\.4", played.output)
    assert played.changed == planned.changed == 0
    assert scene.lab.fingerprints() == scene.untouched
    assert scene.lab.writes_by_administrators() == before


def test_upgrades_under_load_and_through_a_kill(scene: Scene, tmp_path: Path) -> None:
    lab = scene.lab
    lab.run("workload", "start", "--rate", "10")
    variables = {"kubernetes_version": TARGET, "run_dir": str(scene.run_dir)}

    def kubeadm_runs() -> bool:
        return lab.ssh("cp1", "systemctl is-active clustercare-kubeadm.service", check=False).strip() in (
            "active",
            "activating",
        )

    with playing("upgrade-cluster.yml", scene.inventory, tmp_path / "killed.log", **variables) as killed:
        wait_for("kubeadm runs on the master", lambda: kubeadm_runs() or killed.poll() is not None, 600)
        assert killed.poll() is None, (tmp_path / "killed.log").read_text()
        kill(killed, everything=True)

    played = play("upgrade-cluster.yml", scene.inventory, **variables)
    assert played.rc == 0, played.output
    probe = json.loads(lab.run("workload", "stop", check=False).stdout)
    assert probe["problems"] == []
    assert lab.kubelet_versions() == {"cp1": f"v{TARGET}", "w1": f"v{TARGET}", "w2": f"v{TARGET}"}
    assert lab.not_ready() == []
    assert lab.cordoned() == []
    assert "1.35.4" in lab.kubectl("version")
    # The kill came before the workers' part; a worker costs few tasks, so that many cost little time.
    assert max(played.results(name) for name in ("second", "third")) <= 15

    # systemd's own word for each start; what kubeadm says goes to a file, not to the journal.
    starts = lab.ssh("cp1", "sudo journalctl -o cat -u clustercare-kubeadm.service | grep -c ^Started", check=False)
    assert int(starts) == 1, "kubeadm was not started exactly once"


def test_reports_what_it_did(scene: Scene) -> None:
    report = json.loads((scene.run_dir / "report.json").read_text())
    assert report["outcome"] == "upgraded"
    assert {node["name"] for node in report["nodes"]} == {"first", "second", "third"}
    snapshot = report["snapshot"]
    assert Path(snapshot["path"]).stat().st_size == snapshot["size"]
    assert Path(snapshot["path"]).stat().st_mode & 0o777 == 0o600
    assert (scene.run_dir / "report.md").read_text()
    assert not list(scene.run_dir.glob("*.conf"))


def test_second_run_changes_nothing(scene: Scene) -> None:
    before, files = scene.lab.writes_by_administrators(), scene.lab.fingerprints()
    played = play(
        "upgrade-cluster.yml", scene.inventory, kubernetes_version=TARGET, run_dir=str(scene.run_dir / "second")
    )
    assert played.rc == 0, played.output
    assert played.changed == 0
    assert "nothing to do" in played.output.lower()
    assert scene.lab.writes_by_administrators() == before
    assert scene.lab.fingerprints() == files
