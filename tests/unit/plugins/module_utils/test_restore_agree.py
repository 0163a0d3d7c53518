# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_agree import (
    Agreement,
    before,
    disagreement,
    peer_access,
    serves_peers,
)
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils import etcd_fakes as fakes

IC = "cp1=https://10.0.0.1:2380,cp2=https://10.0.0.2:2380,cp3=https://[fd00::3]:2380"


def member(name: str, url: str, revision: int = 100) -> dict[str, Any]:
    return {"name": name, "peer_urls": [url], "revision": revision}


def seen(**other: Any) -> dict[str, Any]:
    members = [
        member("cp1", "https://10.0.0.1:2380"),
        member("cp2", "https://10.0.0.2:2380"),
        member("cp3", "https://[fd00::3]:2380"),
    ]
    return {"problems": [], "members": members, "cluster_id": "new", "hash": None, **other}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (seen(), None),
        (seen(hash={"agree": True}), None),
        (seen(hash={"agree": False}), "hashes do not agree"),
        (seen(cluster_id="old"), "from before the restore"),
        (seen(problems=["The cluster has no leader."]), "no leader"),
        (seen(members=seen()["members"][:2]), "its members are"),
        (seen(members=[*seen()["members"][:2], member("cp3", "https://10.0.0.9:2380")]), "its members are"),
        (seen(members=[*seen()["members"][:2], member("cp3", "https://[fd00::3]:2380", 99)]), "cp3 99"),
    ],
)
def test_what_is_missing_until_all_agree(found: dict[str, Any], said: str | None) -> None:
    problem = disagreement(found, IC, 100, "old")
    assert (said in problem) if said and problem else problem is said


@pytest.mark.parametrize(
    ("name", "url"), [("cp1", None), ("cp2", "https://10.0.0.1:2380"), ("cp3", "https://10.0.0.2:2380")]
)
def test_members_start_one_after_the_other(name: str, url: str | None) -> None:
    assert before(IC, name) == url


@pytest.mark.parametrize("kind", ["NOSPACE", "CORRUPT"])
def test_an_alarm_that_came_with_the_snapshot_is_taken_back(kind: str) -> None:
    with fakes.cluster("cp1", "cp2", "cp3") as one:
        for said in one.said.values():
            said["errors"] = [f"memberID:4711 alarm:{kind} "]
        wanted = ",".join(f"{member['name']}={member['peerURLs'][0]}" for member in one.members)
        agreement = Agreement(Access(one.url(1), None, None, None), wanted, 900, None)
        assert agreement.missing() is None
        assert [(name, body["memberID"], body["alarm"]) for _member, name, body in one.writes] == [
            ("alarm", "4711", kind)
        ]
        assert agreement.missing() is None
        assert len(one.writes) == 1


@pytest.mark.parametrize(
    ("alarm", "leader"),
    [
        # A member's own alarm tells of now.
        ("memberID:2 alarm:NOSPACE ", "1"),
        # Without a leader the call would only hang.
        ("memberID:4711 alarm:NOSPACE ", "0"),
    ],
)
def test_another_alarm_is_left_alone(alarm: str, leader: str) -> None:
    with fakes.cluster("cp1", "cp2", "cp3") as one:
        one.leader = leader
        for said in one.said.values():
            said["errors"] = [alarm]
        wanted = ",".join(f"{member['name']}={member['peerURLs'][0]}" for member in one.members)
        missing = Agreement(Access(one.url(1), None, None, None), wanted, 900, None).missing()
        assert "Alarm NOSPACE" in str(missing)
        assert one.writes == []


@pytest.mark.parametrize(
    ("flags", "asked_with"),
    [
        ({}, ("ca", "client.crt", "client.key")),
        ({"peer-trusted-ca-file": "peer-ca"}, ("peer-ca", "client.crt", "client.key")),
        (
            {"peer-trusted-ca-file": "peer-ca", "peer-cert-file": "peer.crt", "peer-key-file": "peer.key"},
            ("peer-ca", "peer.crt", "peer.key"),
        ),
    ],
)
def test_members_are_asked_as_peers_are(flags: dict[str, str], asked_with: tuple[str, str, str]) -> None:
    access = Access("https://127.0.0.1:2379", "ca", "client.crt", "client.key")
    assert peer_access(access, flags, "https://10.0.0.12:2380") == ("https://10.0.0.12:2380", *asked_with)


def test_a_peer_certificate_of_another_path_costs_no_restore() -> None:
    access = Access("https://127.0.0.1:1", "/nowhere/ca.crt", "/nowhere/peer.crt", "/nowhere/peer.key")
    assert "cannot be read" in str(serves_peers(access))
