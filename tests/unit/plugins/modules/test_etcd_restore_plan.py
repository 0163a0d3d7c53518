# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Optional

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.modules.etcd_restore_plan import proven
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.module_utils import etcd_fakes as fakes

KUBEADM = b"/registry/configmaps/kube-system/kubeadm-config"
CONFIGURATION = fakes.config_map(ClusterConfiguration="kubernetesVersion: v1.34.4\n")


@pytest.mark.parametrize(
    ("stored", "said", "version"),
    [
        ([(KUBEADM, CONFIGURATION)], {}, "v1.34.4"),
        # A cluster that was made without kubeadm.
        ([], {"kubernetes_version": "1.35.4"}, "1.35.4"),
        # In the middle of an upgrade kubeadm's description is the older one.
        ([(KUBEADM, CONFIGURATION)], {"kubernetes_version": "1.35.4"}, "1.35.4"),
        ([], {}, None),
        ([], {"kubernetes_version": None}, None),
        ([(KUBEADM, fakes.config_map(ClusterConfiguration="{"))], {}, None),
    ],
)
def test_the_version_of_kubernetes(
    tmp_path: Path, stored: list[tuple[bytes, bytes]], said: dict[str, Any], version: Optional[str]
) -> None:
    content = fakes.snapshot(fakes.database(more=stored))
    path = tmp_path / "etcd-cp1.db"
    path.write_bytes(content)
    (tmp_path / "etcd-cp1.db.json").write_text(json.dumps({"sha256": hashlib.sha256(content).hexdigest(), **said}))
    found = proven(str(path))
    assert (found["name"], found["kubernetes_version"]) == ("etcd-cp1.db", version)


@pytest.mark.parametrize(("path", "said"), [(None, "No snapshot is named"), ("/nowhere/x.db", "no snapshot /nowhere")])
def test_no_snapshot(path: Optional[str], said: str) -> None:
    with pytest.raises(CareError, match=said):
        proven(path)
