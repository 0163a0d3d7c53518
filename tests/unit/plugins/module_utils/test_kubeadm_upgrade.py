# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The steps on one host: when kubeadm is run, taken over, refused; and the record afterwards."""

from __future__ import annotations

import pathlib
import subprocess
from collections.abc import Sequence
from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import (
    _evidence,
    _kubeadm_upgrade,
    _kubelet,
    _record,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kubeadm import CONTROL_PLANE
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kubeadm_job import Jobs
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kubeadm_upgrade import Upgrade, options_of
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kubelet_detour import Detour
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import now
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import Version, parse_or_none

OLD, NEW = "1.34.4", "1.35.4"


def a_host(version: str, role: str = "master", **changes: Any) -> dict[str, Any]:
    pods = {name: {"version": version, "running": True, "current": True, "flags": []} for name in CONTROL_PLANE}
    return {
        "hostname": "cp1",
        "role": role,
        "kubeadm": {"installed": NEW},
        "kubelet": {"installed": NEW, "running": OLD, "flags": [], "stale_because": ["old"], "pid": 7},
        "static_pods": pods if role == "master" else {},
        "record": None,
        "busy": [],
        "api": {"version": f"v{version}", "error": None},
        **changes,
    }


class Systemd:
    """kubeadm as a script: its unit is gone at once; ``states`` are what systemctl tells first."""

    def __init__(self, states: Sequence[str] = (), script: str = "exit 0") -> None:
        self.states = list(states)
        self.script = script
        self.started = 0

    def __call__(self, argv: list[str], **_rest: Any) -> Done:
        if argv[:2] == ["systemctl", "show"]:
            state = self.states.pop(0) if self.states else "inactive"
            return Done(argv, 0, f"ActiveState={state}\n", "")
        if argv[0] == "systemd-run":
            self.started += 1
            wrapper = argv[argv.index("--") + 1 : argv.index("kubeadm")]
            subprocess.run([*wrapper, "sh", "-c", self.script], check=False)
        return Done(argv, 0, "", "")


class OnPaperDetour(Detour):
    """Tells after how many starts of kubeadm it was ended."""

    def __init__(self, systemd: Systemd) -> None:
        super().__init__(systemd, 5)
        self.systemd = systemd
        self.ended: list[int] = []

    def end(self) -> bool:
        self.ended.append(self.systemd.started)
        return True


class OnPaper(Upgrade):
    """An upgrade whose host and cluster are told: ``hosts`` one after the other, the last one for ever."""

    def __init__(self, directory: pathlib.Path, hosts: Sequence[dict[str, Any]], cluster: str, **params: Any) -> None:
        self.hosts = list(hosts)
        self.cluster = cluster
        self.systemd = Systemd(params.pop("states", ()), params.pop("script", "exit 0"))
        self.proxy = params.pop("proxy", NEW)
        defaults: dict[str, Any] = {
            "step": "control_plane",
            "version": NEW,
            "run_id": "run-2",
            "kubeconfig": "/x",
            "ignore_preflight_errors": [],
            "patches": None,
            "certificate_renewal": True,
            "timeout": 5,
            "retries": 1,
        }
        check = params.pop("check", False)
        super().__init__(options_of({**defaults, **params}, check), str(directory))
        self.runner = self.systemd
        self.detour: OnPaperDetour = OnPaperDetour(self.systemd)

    def host(self) -> dict[str, Any]:
        return self.hosts.pop(0) if len(self.hosts) > 1 else self.hosts[0]

    def cluster_version(self, host: dict[str, Any]) -> Optional[Version]:
        return parse_or_none(NEW if self.systemd.started else self.cluster)

    def lead_elsewhere(self) -> Optional[dict[str, str]]:
        return {"from": "cp1", "to": "cp2"}

    def speak_elsewhere(self, host: dict[str, Any]) -> Optional[str]:
        return "10.0.0.2:6443"

    def read(self, host: dict[str, Any], where: str, what: str) -> dict[str, Any]:
        if "daemonsets" in where:
            return {"items": [{"spec": {"template": a_pod("kube-proxy", self.proxy)}}]}
        return {"items": [a_pod("kube-apiserver", host["static_pods"]["kube-apiserver"]["version"])]}


def a_pod(name: str, version: str) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": name, "image": f"registry.example.org/{name}:v{version}"}]}}


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def archive(run_id: str, directory: str) -> str:
        return real_archive(run_id, directory, ())

    real_archive = _evidence.archive
    monkeypatch.setattr(_evidence, "archive", archive)
    monkeypatch.setattr(_evidence, "manifests", dict)
    monkeypatch.setattr(_evidence, "pod_logs", lambda: {"kube-apiserver": ["bind: address already in use"]})
    monkeypatch.setattr(_evidence, "kubelet_journal", lambda _runner, _since=None: ["a line"])


def leave_job(directory: pathlib.Path, script: str, target: str = NEW) -> None:
    """What a run that died left on the disk."""
    Jobs(Systemd(script=script), str(directory)).start("control_plane", target, "run-1", ["kubeadm"])


def test_kubeadm_is_run_once_and_recorded(tmp_path: pathlib.Path) -> None:
    upgrade = OnPaper(tmp_path, [a_host(OLD), a_host(NEW)], OLD)
    results = upgrade.run()
    assert results["changed"] and results["rc"] == 0 and upgrade.systemd.started == 1
    assert results["leader_moved"] == {"from": "cp1", "to": "cp2"}
    assert results["kubelet_server"] == "10.0.0.2:6443" and upgrade.detour.ended == [0, 1]
    assert results["command"] == ["kubeadm", "upgrade", "apply", "v1.35.4", "--yes"]
    assert results["backup"] == str(tmp_path / "backups" / "run-2-kubernetes.tar.gz")
    record = _record.load(str(tmp_path))
    assert record == results["record"] and record is not None
    assert (record["target"], record["steps"]["kubeadm"]["run"]) == (NEW, "run-2")
    again = OnPaper(tmp_path, [a_host(NEW, record=record)], NEW)
    assert again.run()["changed"] is False and again.systemd.started == 0


def test_check_mode_tells_the_command_and_the_reasons_and_runs_nothing(tmp_path: pathlib.Path) -> None:
    upgrade = OnPaper(tmp_path, [a_host(OLD)], OLD, check=True)
    results = upgrade.run()
    assert results["changed"] and results["command"][-1] == "--yes"
    assert "kubeadm-config says 1.34.4" in results["reasons"]
    assert upgrade.systemd.started == 0 and list(tmp_path.iterdir()) == []


def test_a_kubeadm_that_still_runs_is_waited_for_and_taken(tmp_path: pathlib.Path) -> None:
    leave_job(tmp_path, "echo all well")
    upgrade = OnPaper(tmp_path, [a_host(NEW)], NEW, states=["active", "active"])
    results = upgrade.run()
    assert (results["taken_over"], results["output"], upgrade.systemd.started) == ("run-1", "all well\n", 0)
    assert results["record"]["steps"]["kubeadm"]["run"] == "run-1"


def test_a_kubeadm_that_ended_unseen_is_taken_once(tmp_path: pathlib.Path) -> None:
    leave_job(tmp_path, "exit 0")
    upgrade = OnPaper(tmp_path, [a_host(NEW)], NEW)
    assert upgrade.run()["taken_over"] == "run-1" and upgrade.systemd.started == 0
    again = OnPaper(tmp_path, [a_host(NEW, record=_record.load(str(tmp_path)))], NEW)
    results = again.run()
    assert "taken_over" not in results and results["changed"] is False


def test_a_kubeadm_that_failed_unseen_is_run_again(tmp_path: pathlib.Path) -> None:
    leave_job(tmp_path, "exit 1")
    upgrade = OnPaper(tmp_path, [a_host(OLD), a_host(NEW)], OLD)
    assert upgrade.run()["rc"] == 0 and upgrade.systemd.started == 1


def test_a_kubeadm_whose_work_is_undone_is_run_again_by_the_next_run(tmp_path: pathlib.Path) -> None:
    """Manifests put back by hand after kubeadm's exit 0: waiting for them would be for ever."""
    leave_job(tmp_path, "exit 0")
    stuck = OnPaper(tmp_path, [a_host(OLD)], NEW, timeout=0)
    with pytest.raises(CareError, match=r"manifest of kube-apiserver says 1\.34\.4"):
        stuck.run()
    upgrade = OnPaper(tmp_path, [a_host(OLD), a_host(NEW)], NEW)
    assert upgrade.run()["rc"] == 0 and upgrade.systemd.started == 1


def test_addons_that_kubeadm_left_out_make_it_run_once_more(tmp_path: pathlib.Path) -> None:
    record = _record.with_step(None, "kubeadm", NEW, "run-1", now(), 1.0)
    upgrade = OnPaper(tmp_path, [a_host(NEW, record=record)], NEW, proxy=OLD, step="node")
    results = upgrade.run()
    assert results["reasons"] == ["kube-proxy is still 1.34.4, though every API server is 1.35.4"]
    assert results["changed"] and upgrade.systemd.started == 1


@pytest.mark.parametrize(
    ("proxy", "servers", "left"),
    [
        (OLD, [NEW, NEW], True),
        (NEW, [NEW, NEW], False),
        (OLD, [NEW, OLD], False),  # the last master writes them
        ("latest", [NEW], False),
        (None, [NEW], False),  # something else does its work
    ],
)
def test_addons_are_left_only_when_every_master_is_done(proxy: Optional[str], servers: list[str], left: bool) -> None:
    proxies = [{"spec": {"template": a_pod("kube-proxy", proxy)}}] if proxy else []
    pods = [a_pod("kube-apiserver", version) for version in servers]
    assert bool(_kubeadm_upgrade.addons_left(proxies, pods, Version(1, 35, 4))) is left


def test_a_kubeadm_of_another_target_stops_the_run(tmp_path: pathlib.Path) -> None:
    leave_job(tmp_path, "exit 0", target="1.35.9")
    upgrade = OnPaper(tmp_path, [a_host(OLD)], OLD, states=["active"])
    with pytest.raises(CareError, match=r"upgrades this host to 1\.35\.9 just now \(run run-1"):
        upgrade.run()
    assert upgrade.systemd.started == 0


def test_a_failure_is_tried_again_once_and_then_explained(tmp_path: pathlib.Path) -> None:
    script = "echo 'error: static Pod hash for component kube-apiserver did not change'; exit 1"
    upgrade = OnPaper(tmp_path, [a_host(OLD)], OLD, script=script)
    with pytest.raises(CareError) as failed:
        upgrade.run()
    assert upgrade.systemd.started == 2
    assert "static Pod hash for component kube-apiserver did not change" in failed.value.message
    assert "kube-apiserver said last: bind: address already in use" in failed.value.message
    assert "manifests are as before, and the static pods run" in failed.value.message
    assert failed.value.results["changed"] is True
    assert [attempt["rc"] for attempt in failed.value.results["attempts"]] == [1, 1]
    assert failed.value.results["evidence"]["kubelet"] == ["a line"]
    record = _record.load(str(tmp_path))
    assert record is not None and _record.is_open(record)
    assert (record["run"], record["phase"], record["steps"]) == ("run-2", "kubeadm", {})


def test_a_kubelet_that_does_not_come_back_hides_no_failure_of_kubeadm(tmp_path: pathlib.Path) -> None:
    upgrade = OnPaper(tmp_path, [a_host(OLD)], OLD, script="echo 'error: no space left'; exit 1", retries=0)

    def end() -> bool:
        if upgrade.systemd.started:
            raise CareError("The kubelet does not run.")
        return False

    upgrade.detour.end = end  # type: ignore[method-assign]
    with pytest.raises(CareError, match="no space left") as failed:
        upgrade.run()
    assert failed.value.results["warnings"] == ["The kubelet does not run."]
    assert failed.value.results["rc"] == 1 and failed.value.results["evidence"]


def test_a_rollback_that_did_not_work_is_said(tmp_path: pathlib.Path) -> None:
    dead = a_host(OLD)
    dead["static_pods"]["kube-apiserver"] = {"version": OLD, "running": False, "current": False, "flags": []}
    upgrade = OnPaper(tmp_path, [a_host(OLD), dead], OLD, script="exit 1", retries=0, timeout=1)
    with pytest.raises(CareError, match="as before, but kube-apiserver does not run") as failed:
        upgrade.run()
    assert failed.value.results["evidence"]["not_running"] == ["kube-apiserver does not run"]


def test_a_flickering_failure_does_not_stop_the_run(tmp_path: pathlib.Path) -> None:
    script = f"test -e {tmp_path}/second && exit 0; touch {tmp_path}/second; exit 1"
    upgrade = OnPaper(tmp_path, [a_host(OLD), a_host(NEW)], OLD, script=script)
    results = upgrade.run()
    assert [attempt["rc"] for attempt in results["attempts"]] == [1, 0]
    assert results["record"]["steps"]["kubeadm"]["target"] == NEW


FOREIGN = [{"pid": 9, "what": "kubeadm upgrade apply v1.35.4"}]


@pytest.mark.parametrize(
    ("step", "host", "cluster", "words"),
    [
        ("control_plane", a_host(OLD, kubeadm={"installed": OLD}), OLD, "kubeadm on cp1 is 1.34.4, not 1.35.4"),
        ("control_plane", a_host(OLD, role="worker"), OLD, "cp1 runs no API server"),
        ("node", a_host(OLD), OLD, "kubeadm-config says 1.34.4, so kubeadm upgrade node on cp1 would not go to 1.35.4"),
        ("node", a_host(OLD, busy=FOREIGN), NEW, r"kubeadm upgrade apply v1.35.4 \(process 9\)"),
        ("kubelet", a_host(OLD), NEW, "API server of cp1 is still 1.34.4"),
        (
            "kubelet",
            a_host(NEW, kubelet={**a_host(NEW)["kubelet"], "installed": OLD}),
            NEW,
            "kubelet installed on cp1 is 1.34.4",
        ),
    ],
    ids=[
        "old kubeadm",
        "worker",
        "node before apply",
        "a stranger's kubeadm",
        "kubelet before API server",
        "old kubelet",
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_what_would_go_wrong_is_not_begun(
    tmp_path: pathlib.Path, step: str, host: dict[str, Any], cluster: str, words: str, check: bool
) -> None:
    upgrade = OnPaper(tmp_path, [host], cluster, step=step, check=check)
    with pytest.raises(CareError, match=words) as refused:
        upgrade.run()
    assert upgrade.systemd.started == 0 and refused.value.results["changed"] is False


def test_a_kubelet_that_is_new_and_not_stale_is_left_alone(tmp_path: pathlib.Path) -> None:
    kubelet = {**a_host(NEW)["kubelet"], "running": NEW, "stale_because": []}
    assert OnPaper(tmp_path, [a_host(NEW, kubelet=kubelet)], NEW, step="kubelet").run()["changed"] is False
    stale = {**kubelet, "stale_because": ["/var/lib/kubelet/config.yaml is newer than the process"]}
    told = OnPaper(tmp_path, [a_host(NEW, kubelet=stale)], NEW, step="kubelet", check=True).run()
    assert told["changed"] is True and told["reasons"] == stale["stale_because"]


@pytest.mark.parametrize("params", [{"version": "1.35"}, {"run_id": "../x"}, {"run_id": "a/b"}])
def test_options_that_cannot_be_meant_are_refused(tmp_path: pathlib.Path, params: dict[str, Any]) -> None:
    with pytest.raises(CareError, match=r"exact version|not a file name"):
        OnPaper(tmp_path, [a_host(OLD)], OLD, **params)


def test_a_dead_health_port_is_told() -> None:
    assert "does not answer" in str(_kubelet.healthz(("127.0.0.1", 1)))
    assert _kubelet.healthz(None) is None
