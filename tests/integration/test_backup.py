# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A big database reaches the controller whole, in little memory, and for nobody else to read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from harness import Lab, command_of, machine_of, memory_watched, play

MEGABYTE = 1 << 20
# 1.4 MiB of noise a key: as large as etcd takes, and nothing that packing could make small.
FILL = """
set -e
export ETCDCTL_API=3 ETCDCTL_CACERT=/etc/kubernetes/pki/etcd/ca.crt
export ETCDCTL_CERT=/etc/kubernetes/pki/etcd/healthcheck-client.crt
export ETCDCTL_KEY=/etc/kubernetes/pki/etcd/healthcheck-client.key
for number in $(seq 365); do head -c 1468006 /dev/urandom | etcdctl put "noise/$number" >/dev/null; done
"""


def test_brings_a_big_database_to_the_controller(lab: Lab, tmp_path: Path) -> None:
    lab.up(masters=1, workers=0)
    lab.ssh("cp1", f"sudo sh -c '{FILL}'")
    status = lab.status()
    target = tmp_path / "backup"

    with (
        memory_watched(lambda pid: f"etcd_backup_dir={target}" in command_of(pid)) as controller,
        memory_watched(lambda pid: machine_of(pid) == f"{lab.name}/cp1" and "python3" in command_of(pid)) as host,
    ):
        played = play("backup-etcd.yml", Path(status["inventory"]), "-e", f"etcd_backup_dir={target}")

    assert played.rc == 0, played.output
    (snapshot,) = target.glob("*.db")
    about = json.loads(snapshot.with_name(snapshot.name + ".json").read_text())
    assert snapshot.stat().st_size > 500 * MEGABYTE
    assert about["keys"] >= 365
    with snapshot.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == about["sha256"]
    assert snapshot.stat().st_mode & 0o777 == 0o600
    assert target.stat().st_mode & 0o777 == 0o700
    assert 0 < controller[0] < 200 * MEGABYTE
    assert 0 < host[0] < 200 * MEGABYTE

    seen = lab.ssh(
        "cp1",
        "cat /var/lib/clustercare/backups/*.db 2>&1; find / -xdev -size +400M -readable -type f 2>/dev/null",
        check=False,
    )
    assert ".db" not in seen.replace("/var/lib/clustercare/backups/*.db", "")
