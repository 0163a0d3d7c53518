# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_config_file import (
    flags_of,
    read_config,
    read_flags,
)

CONFIG = {
    "name": "cp1",
    "data-dir": "/var/lib/etcd",
    "quota-backend-bytes": 8589934592,
    "enable-grpc-gateway": False,
    "log-outputs": ["stderr"],
    "client-transport-security": {"cert-file": "/client.crt", "client-cert-auth": True},
    "peer-transport-security": {"cert-file": "/peer.crt"},
}
FLAGS = {
    "name": "cp1",
    "data-dir": "/var/lib/etcd",
    "quota-backend-bytes": "8589934592",
    "enable-grpc-gateway": "false",
    "cert-file": "/client.crt",
    "client-cert-auth": "true",
    "peer-cert-file": "/peer.crt",
}


def test_the_files_settings_have_the_flags_names() -> None:
    assert flags_of(CONFIG) == FLAGS


@pytest.mark.parametrize("config", [{}, {"client-transport-security": None}, {"peer-transport-security": []}])
def test_nothing_is_made_up(config: dict[str, Any]) -> None:
    assert flags_of(config) == {}


def test_kubectl_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "etcd.yml"
    path.touch()

    def runner(argv: list[str], **_more: Any) -> Done:
        assert str(path) in argv
        # Patched is an object that has nothing else.
        return Done(argv, 0, json.dumps({**CONFIG, **json.loads(_more["stdin"])}), "")

    assert read_config(str(path), runner) == CONFIG
    assert read_flags(str(path), runner) == FLAGS


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    path = tmp_path / "etcd.yml"
    with pytest.raises(CareError, match=r"not on this host.*endpoint, ca_cert"):
        read_flags(str(path))
    path.write_text("a: b: c")
    with pytest.raises(CareError, match=r"bad yaml.*endpoint"):
        read_flags(str(path), lambda argv, **_more: Done(argv, 1, "", "error: bad yaml"))
