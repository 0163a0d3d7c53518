# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the cluster would lose, by table."""

from __future__ import annotations

import pathlib
import re
from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _service_guard
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_health import quorum
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_probe import Prober
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils.fake_host import FakeHost


def member(name: str, healthy: bool = True, local: bool = False, learner: bool = False) -> dict[str, Any]:
    return {"name": name, "id_hex": "a", "healthy": healthy, "local": local, "learner": learner}


def etcd(*members: dict[str, Any]) -> dict[str, Any]:
    voters = [one for one in members if not one["learner"]]
    healthy = sum(1 for one in voters if one["healthy"])
    return {"members": list(members), "problems": [], "quorum": quorum(len(voters), healthy)}


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        (etcd(member("a", local=True), member("b"), member("c")), None),
        (
            etcd(member("a", local=True), member("b"), member("c", healthy=False)),
            "1 of 3 .* 2 are needed.*not well now: c",
        ),
        (etcd(member("a", local=True)), "0 of 1 voting members would be left and 1 are needed"),
        (etcd(member("a", local=True), member("b")), "1 of 2 .* 2 are needed"),
        # a sick member is no loss, a learner has no vote
        (etcd(member("a", local=True, healthy=False), member("b"), member("c")), None),
        (etcd(member("a", local=True, learner=True), member("b")), None),
        (etcd(member("a", local=True), member("b"), member("c", learner=True)), "1 of 2"),
        (etcd(*[member(name, local=name == "a") for name in "abcde"]), None),
        ({"members": [], "problems": ["etcd at x does not answer."], "quorum": quorum(0, 0)}, "cannot be told.*at x"),
    ],
)
def test_etcd_keeps_its_majority(cluster: dict[str, Any], words: Optional[str]) -> None:
    refusal = _service_guard.etcd_refusal(cluster)
    if words is None:
        assert refusal is None
    else:
        assert refusal is not None
        assert "allow_outage" in refusal and re.search(words, refusal)


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"10.0.0.2": None}, None),
        ({"10.0.0.2": "answers 500", "10.0.0.3": None}, None),
        ({}, "the cluster has no other one"),
        ({"10.0.0.2": "does not answer"}, "no other one is ready (10.0.0.2: does not answer)"),
    ],
)
def test_the_last_api_server_stays(others: dict[str, Optional[str]], words: Optional[str]) -> None:
    refusal = _service_guard.api_refusal(others)
    assert (
        (refusal is None) if words is None else (refusal is not None and words in refusal and "allow_outage" in refusal)
    )


def test_api_servers_are_those_behind_the_service() -> None:
    slices = {
        "items": [
            {
                "ports": [{"name": "https", "port": 6444}],
                "endpoints": [{"addresses": ["10.0.0.2"]}, {"addresses": ["10.0.0.1"]}],
            },
            {"ports": [{"name": "https", "port": 6443}], "endpoints": [{"addresses": ["fd00::1"]}]},
            {"ports": None, "endpoints": None},
        ]
    }
    assert _service_guard.addresses_of(slices) == [("10.0.0.1", 6444), ("10.0.0.2", 6444), ("fd00::1", 6443)]


@pytest.mark.parametrize(
    ("servers", "depends"),
    [
        ("https://127.0.0.1:2379", True),
        ("https://[::1]:2379", True),
        ("https://10.0.0.1:2379", True),
        ("https://127.0.0.1:2379,https://10.0.0.2:2379", False),
        ("https://etcd.example.org:2379", False),
        ("", False),
    ],
)
def test_an_api_server_beside_etcd_goes_with_it_when_it_knows_no_other(servers: str, depends: bool) -> None:
    argv = ["kube-apiserver", "--advertise-address=10.0.0.1", f"--etcd-servers={servers}"]
    assert _service_guard.depends_on_local_etcd(argv) is depends


@pytest.fixture
def prober(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Prober:
    """A master whose etcd and API server run, in a cluster that bears the loss of one member."""
    fake = FakeHost(tmp_path)
    for name, flag in (("etcd", "--name=a"), ("kube-apiserver", "--etcd-servers=https://127.0.0.1:2379")):
        fake.write(name, flag)
        fake.start_pod(name, flag)
    nowhere = Access("", None, None, None)
    cluster = etcd(member("a", local=True), member("b"), member("c"))
    monkeypatch.setattr(_service_guard, "etcd_access", lambda _service, _wanted: nowhere)
    monkeypatch.setattr(_service_guard, "observe", lambda _access: None)
    monkeypatch.setattr(_service_guard, "judge", lambda _seen, _endpoint: cluster)
    return Prober(fake.host, "/x", nowhere)


@pytest.mark.parametrize(
    ("names", "others", "words"),
    [
        (["etcd"], {"10.0.0.2": None}, None),
        (["etcd"], {"10.0.0.2": "answers 500"}, "API server beside this etcd, .* is the last one"),
        (["kube-apiserver"], {}, "This API server is the last one"),
        (["etcd", "kube-apiserver"], {}, "This API server is the last one"),
        (["kube-apiserver"], None, None),  # it does not listen: nobody loses it
        (["kube-scheduler"], {}, None),
    ],
)
def test_what_goes_along_is_thought_of(
    prober: Prober,
    monkeypatch: pytest.MonkeyPatch,
    names: list[str],
    others: Optional[dict[str, Optional[str]]],
    words: Optional[str],
) -> None:
    monkeypatch.setattr(_service_guard, "_other_servers", lambda _prober, _argv: others)
    found = _service_guard.refusals(prober, [prober.host.look(name) for name in names])
    assert (found == []) if words is None else (len(found) == 1 and re.search(words, found[0]))


def test_what_cannot_be_told_is_refused(prober: Prober, monkeypatch: pytest.MonkeyPatch) -> None:
    def dark(*_arguments: object) -> None:
        raise CareError("The API server 10.0.0.1:6443 does not answer: timed out.")

    monkeypatch.setattr(_service_guard, "_other_servers", dark)
    (found,) = _service_guard.refusals(prober, [prober.host.look("kube-apiserver")])
    assert "cannot be told" in found and "timed out" in found and "allow_outage" in found
    monkeypatch.setattr(_service_guard, "etcd_access", dark)
    found = _service_guard.refusals(prober, [prober.host.look("etcd")])[0]
    assert "cannot be told whether etcd would keep its majority" in found
