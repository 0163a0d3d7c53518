# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_agree import before, disagreement

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
