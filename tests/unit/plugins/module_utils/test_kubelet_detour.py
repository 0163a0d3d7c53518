# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A kubelet that speaks to another API server for a while, and gets its own back whatever happens."""

from __future__ import annotations

import pathlib
import stat
import time
from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _kubelet, _kubelet_detour, _offline
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kubelet_detour import (
    Detour,
    Paths,
    carries_work,
    drop_in,
    peers,
    redirected,
)

KUBECONFIG = """apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: LS0t
    server: https://10.0.0.1:6443
  name: kubernetes
users:
- name: default-auth
  user:
    client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem
    client-key: /var/lib/kubelet/pki/kubelet-client-current.pem
"""
OWN = "/etc/kubernetes/kubelet.conf"
BOOTSTRAP = "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf"
SHOWN = (
    f'Environment="KUBELET_KUBECONFIG_ARGS={BOOTSTRAP} --kubeconfig={OWN}" '
    "KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
)


def a_server(node: str, endpoint: Optional[str]) -> dict[str, Any]:
    annotations = {_kubelet_detour._ENDPOINT: endpoint} if endpoint else None
    return {"metadata": {"annotations": annotations}, "spec": {"nodeName": node}}


@pytest.mark.parametrize(
    ("servers", "found"),
    [
        ([], []),
        ([a_server("cp1", "10.0.0.1:6443")], []),
        ([a_server("cp3", "10.0.0.3:6443"), a_server("cp1", "x:1"), a_server("cp2", "[fd00::2]:6443")],
         ["10.0.0.3:6443", "[fd00::2]:6443"]),
        ([a_server("cp2", None)], []),
        ([a_server("w1", "10.0.0.66:6443")], []),
    ],
)  # fmt: skip
def test_other_masters_are_peers(servers: list[dict[str, Any]], found: list[str]) -> None:
    masters = [{"metadata": {"name": name}} for name in ("cp1", "cp2", "cp3")]
    assert peers(servers, masters, "cp1") == found


@pytest.mark.parametrize(
    ("taints", "carries"),
    [
        (None, True),
        ([{"key": "node-role.kubernetes.io/control-plane", "effect": "PreferNoSchedule"}], True),
        ([{"key": "dedicated", "effect": "NoSchedule"}], True),
        ([{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}], False),
    ],
)
def test_only_a_tainted_master_is_sure_to_carry_nothing(taints: Any, carries: bool) -> None:
    assert carries_work({"spec": {"taints": taints}}) is carries


def test_only_the_server_is_another_one() -> None:
    assert redirected(KUBECONFIG, "[fd00::2]:6443") == KUBECONFIG.replace("10.0.0.1", "[fd00::2]")


@pytest.mark.parametrize(
    "kubeconfig",
    [
        KUBECONFIG + "- cluster:\n    server: https://10.0.0.9:6443\n",
        KUBECONFIG.replace("client-key: /var", "client-key: var"),
        KUBECONFIG.replace("    server:", "    tls-server-name: kubernetes\n    server:"),
        KUBECONFIG.replace("    server: https://10.0.0.1:6443\n", ""),
        '{"clusters": [{"cluster": {"server": "https://10.0.0.1:6443"}}]}',
    ],
)
def test_a_kubeconfig_that_kubeadm_did_not_write_is_left_alone(kubeconfig: str) -> None:
    assert redirected(kubeconfig, "10.0.0.2:6443") is None


def test_only_the_kubeconfig_is_another_one() -> None:
    made = drop_in(SHOWN, OWN, "/run/x") or ""
    assert made.splitlines()[1:] == [
        "[Service]",
        f'Environment="KUBELET_KUBECONFIG_ARGS={BOOTSTRAP} --kubeconfig=/run/x"',
    ]


@pytest.mark.parametrize(
    "shown",
    ["Environment=", SHOWN.replace("KUBELET_KUBECONFIG", "OTHER"), SHOWN.replace(OWN, "/etc/other.conf")],
)
def test_a_unit_that_kubeadm_did_not_set_up_is_left_alone(shown: str) -> None:
    assert drop_in(shown, OWN, "/run/x") is None


def a_node(ready: str = "True", age: float = 0.0) -> dict[str, Any]:
    beat = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age))
    return {"status": {"conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": beat}]}}


class OnPaper(Detour):
    """A detour whose kubelet takes what it is given, unless ``deaf``."""

    def __init__(self, directory: pathlib.Path, deaf: bool = False) -> None:
        self.restarts: list[bool] = []  # with the drop-in, or without
        super().__init__(self.systemctl, 1.5, Paths(str(directory / "run"), str(directory / "kubelet.d" / "90.conf")))
        self.deaf = deaf

    def systemctl(self, argv: Any, **_rest: Any) -> Done:
        if argv[1] == "restart":
            self.restarts.append(pathlib.Path(self.paths.drop_in).exists())
        return Done(list(argv), 0, SHOWN if argv[1] == "show" else "", "")

    def on_its_way(self) -> Optional[str]:
        return "the kubelet was not started with it" if self.deaf else None


@pytest.fixture
def own(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(_kubelet, "healthz", lambda _where: None)
    monkeypatch.setattr(_offline, "read_objects", lambda _paths: [{}])
    path = tmp_path / "kubelet.conf"
    path.write_text(KUBECONFIG)
    monkeypatch.setattr(_kubelet_detour, "drop_in", lambda shown, old, new: drop_in(shown, OWN, new))
    return str(path)


def left(directory: pathlib.Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("*") if path.is_file() and path.name != "kubelet.conf")


def test_the_kubelet_goes_and_comes_back(tmp_path: pathlib.Path, own: str) -> None:
    detour = OnPaper(tmp_path)
    assert detour.end() is False and detour.restarts == []
    assert detour.begin("10.0.0.2:6443", own, a_node) is True
    copy = pathlib.Path(detour.paths.kubeconfig)
    assert "https://10.0.0.2:6443" in copy.read_text() and stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert detour.end() is True and detour.restarts == [True, False]
    assert left(tmp_path) == [] and not copy.exists() and pathlib.Path(own).read_text() == KUBECONFIG
    assert detour.end() is False


@pytest.mark.parametrize(
    ("deaf", "node", "said"),
    [
        (True, a_node(), "was not started with it"),
        (False, a_node("False"), "is not Ready"),
        (False, a_node(age=60), "is not Ready"),
    ],
)
def test_a_kubelet_that_does_not_come_up_gets_its_own_server_back(
    tmp_path: pathlib.Path, own: str, deaf: bool, node: dict[str, Any], said: str
) -> None:
    detour = OnPaper(tmp_path, deaf)
    with pytest.raises(CareError, match=r"cannot speak to 10.0.0.2:6443") as caught:
        detour.begin("10.0.0.2:6443", own, lambda: node)
    assert said in caught.value.message
    assert detour.restarts == [True, False] and left(tmp_path) == []


def test_an_end_that_was_cut_short_is_ended_by_the_next(tmp_path: pathlib.Path, own: str) -> None:
    detour = OnPaper(tmp_path)
    detour.begin("10.0.0.2:6443", own, a_node)
    pathlib.Path(detour.paths.drop_in).unlink()  # and the run died before the restart
    assert detour.end() is True and detour.restarts == [True, False] and left(tmp_path) == []


def test_nothing_is_touched_where_it_cannot_be_done(tmp_path: pathlib.Path, own: str) -> None:
    detour = OnPaper(tmp_path)
    pathlib.Path(own).write_text("{}")
    assert detour.begin("10.0.0.2:6443", own, a_node) is False
    pathlib.Path(own).unlink()
    assert detour.begin("10.0.0.2:6443", own, a_node) is False
    assert detour.restarts == [] and left(tmp_path) == []
