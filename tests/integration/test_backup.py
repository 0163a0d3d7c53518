# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A big database and a master's files reach the controller whole, in little memory, and for nobody else to read."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness import ETCD_ACCESS, Lab, command_of, machine_of, memory_watched, play, wait_for

MEGABYTE = 1 << 20
# 1.4 MiB of noise a key: as large as etcd takes, and nothing that packing could make small.
FILL = f"""
set -e
export {ETCD_ACCESS}
for number in $(seq 365); do
  # A slow disk may keep etcd waiting for longer than it waits itself.
  until head -c 1468006 /dev/urandom | etcdctl put "noise/$number" >/dev/null; do :; done
done
"""


def saved(directory: Path) -> dict[str, Any]:
    """All that the manifests of a directory's archives say of the files."""
    found = {}
    for archive in directory.glob("*.tar"):
        text = subprocess.run(["tar", "-xOf", archive, "MANIFEST.json"], capture_output=True, check=True).stdout
        manifest = json.loads(text)
        found.update({f"{manifest['part']} {row['name']}": row for row in manifest["files"]})
    return found


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Lab:
    lab.up(masters=1, workers=0)
    return lab


def test_brings_what_makes_a_machine_a_master_and_keys_only_when_asked(cluster: Lab, tmp_path: Path) -> None:
    status = cluster.status()
    target = tmp_path / "backup"
    keys = {"/etc/kubernetes/pki/ca.key", "/etc/kubernetes/pki/etcd/ca.key", "/etc/kubernetes/admin.conf"}
    # A master that is away is no reason to have no backup of the others.
    away = tmp_path / "away"
    away.write_text("[masters]\ncp9 ansible_host=127.0.0.1 ansible_port=1\n")

    def back_up(*more: str, **variables: Any) -> dict[str, Any]:
        played = play("backup-etcd.yml", Path(status["inventory"]), *more, etcd_backup_dir=str(target), **variables)
        assert played.rc == 0, played.output
        result: dict[str, Any] = json.loads(re.findall(r"=> (\{\n.*?^\})", played.output, re.DOTALL | re.MULTILINE)[-1])
        return dict(result["etcd_backup_result"])

    def secrets() -> list[str]:
        return [path.name for path in target.glob("*.tar") if b"PRIVATE KEY" in path.read_bytes()]

    result = back_up("-i", str(away))
    (archive,) = target.glob("*.tar")
    assert list(result["left_out"]) == ["cp9"]
    assert result["files"]["cp1"]["paths"] == [str(archive)] and result["files"]["cp1"]["travelled"] == []
    assert keys <= set(result["files"]["cp1"]["stayed"])
    assert secrets() == [] and archive.stat().st_mode & 0o777 == 0o600
    names = subprocess.run(["tar", "-tf", archive], capture_output=True, text=True, check=True).stdout.split()
    assert {"host/etc/kubernetes/manifests/etcd.yaml", "cluster/kubeadm-config.yaml"} <= set(names)

    result = back_up(etcd_backup_private_keys=True)
    # The files are the same as before, so nothing new was written.
    assert len(list(target.glob("*.tar"))) == 2 and len(secrets()) == 1
    assert keys <= set(result["files"]["cp1"]["travelled"]) and result["files"]["cp1"]["stayed"] == []
    seen = cluster.ssh(
        "cp1", "cat /var/lib/clustercare/backups/*.tar 2>&1; sudo ls /var/lib/clustercare/backups", check=False
    )
    assert "PRIVATE KEY" not in seen and seen.count("-private.tar") == 1


def test_brings_a_big_database_to_the_controller(cluster: Lab, tmp_path: Path) -> None:
    cluster.ssh("cp1", f"sudo sh -c '{FILL}'")
    status = cluster.status()
    target = tmp_path / "backup"

    with (
        memory_watched(lambda pid: f"etcd_backup_dir={target}" in command_of(pid)) as controller,
        memory_watched(lambda pid: machine_of(pid) == f"{cluster.name}/cp1" and "python3" in command_of(pid)) as host,
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

    seen = cluster.ssh(
        "cp1",
        "cat /var/lib/clustercare/backups/*.db 2>&1; find / -xdev -size +400M -readable -type f 2>/dev/null",
        check=False,
    )
    assert ".db" not in seen.replace("/var/lib/clustercare/backups/*.db", "")


# The steps of the runbook.
MAKE_THE_MASTER_AGAIN = """
- name: Make a master again whose disk is gone
  hosts: cp1
  become: true
  gather_facts: false
  tasks:
    - name: Bring the backup
      ansible.builtin.copy:
        src: "{{ item }}"
        dest: "/root/{{ item | basename }}"
        mode: "0600"
      loop: "{{ files }}"

    - name: Unpack its files
      ansible.builtin.command:
        argv: [tar, -xpf, "/root/{{ item | basename }}", -C, /, --strip-components=1, host]
      loop: "{{ files | select('search', '[.]tar$') }}"

    - name: Make etcd's data
      clustercare.kubeadm.etcd_snapshot:
        state: restored
        dir: /root
        name: "{{ files | select('search', '[.]db$') | first | basename }}"
        data_dir: /var/lib/etcd

    - name: Start it
      ansible.builtin.systemd_service:
        name: kubelet
        daemon_reload: true
        enabled: true
        state: restarted
"""


@pytest.mark.long
def test_a_single_master_whose_disk_is_gone_comes_back(lab: Lab, tmp_path: Path) -> None:
    lab.up(masters=1, workers=1)
    inventory = Path(lab.status()["inventory"])
    target = tmp_path / "backup"
    lab.kubectl("create", "configmap", "precious", "--from-literal=a=b")
    backup = play("backup-etcd.yml", inventory, etcd_backup_dir=str(target), etcd_backup_private_keys=True)
    assert backup.rc == 0, backup.output
    lab.ssh(
        "cp1",
        "sudo sh -c 'systemctl disable --now kubelet; kubeadm reset -f; "
        "rm -rf /etc/kubernetes /etc/lab /var/lib/etcd /var/lib/clustercare /var/lib/kubelet/*'",
    )
    assert lab.ssh("cp1", "pgrep -x 'etcd|kube-apiserver|kubelet'; true") == ""

    steps = tmp_path / "steps.yml"
    steps.write_text(MAKE_THE_MASTER_AGAIN)
    made = play(str(steps), inventory, files=sorted(map(str, target.iterdir())))
    assert made.rc == 0, made.output
    wait_for("the API answers", lambda: lab.kubectl("get", "--raw", "/readyz", check=False) == "ok", 240)
    wait_for("all nodes are Ready", lambda: lab.not_ready() == [], 240)
    assert lab.get("configmap", "precious")["data"] == {"a": "b"}
    wait_for("all pods serve", lambda: lab.unready_pods() == [], 240)

    # Every file is the one that was saved.
    again = tmp_path / "again"
    backup = play("backup-etcd.yml", inventory, etcd_backup_dir=str(again), etcd_backup_private_keys=True)
    assert backup.rc == 0, backup.output
    assert saved(target) == saved(again)
