#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_snapshot
short_description: Take a proven snapshot of etcd, and bring it to the controller
version_added: 0.1.0
author:
  - clustercare.kubeadm authors (@clustercare)
description:
  - Streams a snapshot from the host's own etcd member through its JSON gateway, with Python's standard library alone;
    no C(etcdctl) is needed.
  - The snapshot is put in place only when it is proven. The SHA-256 at its end agrees, every page of its database
    can be read and lies where it belongs, it has members, and its revision is not older than etcd's was just before.
    Otherwise nothing is left behind. C(etcdctl snapshot save) does none of this.
  - A member that is a learner, far behind the others or under the alarm C(CORRUPT) is refused. A lost majority is not a
    reason to refuse, as the member at hand may hold all there is.
  - With O(fetch_to) the file is also streamed to the controller, in pieces and through the task's own connection and
    privilege escalation, so that memory stays small on both sides and the SSH user can never read it.
    It is proven there once more.
  - Needs root.
extends_documentation_fragment:
  - clustercare.kubeadm.attributes
  - clustercare.kubeadm.etcd
attributes:
  check_mode:
    support: full
    details: Looks at etcd and at the free space, refuses what would be refused, and writes nothing.
  diff_mode:
    support: none
    details: A snapshot has no meaningful difference.
  idempotent:
    support: partial
    details: With O(name) a proven snapshot of this name is kept as it is. Without it every run takes a new one.
  platform:
    support: full
    platforms: posix
options:
  state:
    description: V(saved) makes sure that there is a proven snapshot.
    type: str
    choices: [saved]
    default: saved
  dir:
    description: Directory on the host. Made with mode 0700; refused when others may write to it.
    type: path
    default: /var/lib/clustercare/backups
  name:
    description:
      - File name of the snapshot. A sidecar file with C(.json) appended describes it.
      - When not given, C(etcd-MEMBER-TIME.db) with the time in UTC.
    type: str
  fetch_to:
    description:
      - Directory on the controller that gets a copy, under the same name, with its sidecar.
      - Made with mode 0700; refused when others may write to it. A relative path starts at the playbook's directory.
    type: str
  timeout:
    description: Seconds that etcd may take to send its snapshot.
    type: int
    default: 1800
seealso:
  - module: clustercare.kubeadm.etcd_info
"""

EXAMPLES = r"""
- name: Take a snapshot and bring it to the controller
  clustercare.kubeadm.etcd_snapshot:
    fetch_to: /srv/backups/etcd
  become: true
  register: __etcd_snapshot

- name: Take one snapshot for this change, however often the play is run
  clustercare.kubeadm.etcd_snapshot:
    name: before-change-4711.db
  become: true
"""

RETURN = r"""
snapshot:
  description: The snapshot on the host; also written to the sidecar file beside it.
  returned: success
  type: dict
  contains:
    path:
      description: Where it is, on the host.
      type: str
      sample: /var/lib/clustercare/backups/etcd-cp1-20260101T020304Z.db
    size:
      description: Bytes.
      type: int
      sample: 4214816
    sha256:
      description: SHA-256 of the whole file, as C(sha256sum) prints it.
      type: str
      sample: 0f7a6c3b2d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8
    revision:
      description: The revision that a restore would bring back; in check mode etcd's present one.
      type: int
      sample: 2089
    revision_before:
      description: etcd's revision just before.
      type: int
      sample: 2089
    keys:
      description: Keys that are not deleted.
      type: int
      sample: 312
    records:
      description: Stored versions of keys.
      type: int
      sample: 1533
    pages:
      description: Pages of the database in use; each was read.
      type: int
      sample: 607
    members:
      description: The members stored in it (id_hex, name, peer_urls, client_urls, learner).
      type: list
      elements: dict
    member:
      description: The member that it was taken of.
      type: str
      sample: cp1
    member_id:
      description: Its id, hexadecimal.
      type: str
      sample: 8e9e05c52164694d
    cluster_id:
      description: etcd's cluster id, hexadecimal. Every restore changes it.
      type: str
      sample: cdf818194e3a8c32
    ca_sha256:
      description: SHA-256 of the cluster's CA certificate (DER), which identifies the cluster.
      type: str
      sample: 5d41402abc4b2a76b9719d911017c592ae2f5c1f5d41402abc4b2a76b9719d91
    etcd_version:
      description: Version of the member.
      type: str
      sample: 3.6.5
    cluster_version:
      description: Version of the cluster as stored.
      type: str
      sample: 3.6.0
    storage_version:
      description: Version of the storage as stored; null before etcd 3.6.
      type: str
      sample: 3.6.0
    consistent_index:
      description: The last raft entry in it.
      type: int
      sample: 2371
    host:
      description: Name of the host.
      type: str
      sample: cp1
    taken:
      description: When it was begun, in UTC.
      type: str
      sample: "2026-01-01T02:03:04Z"
    schema:
      description: Version of the sidecar's form.
      type: int
      sample: 1
    stream_seconds:
      description: Seconds until all had come and was on the disk.
      type: float
      sample: 0.2
    seconds:
      description: Seconds with the proof.
      type: float
      sample: 0.3
fetched:
  description: The copy on the controller.
  returned: with O(fetch_to)
  type: dict
  contains:
    path:
      description: Where it is, on the controller.
      type: str
      sample: /srv/backups/etcd/etcd-cp1-20260101T020304Z.db
    size:
      description: Bytes.
      type: int
      sample: 4214816
    sha256:
      description: SHA-256 of the whole file, computed from the copy.
      type: str
      sample: 0f7a6c3b2d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8
    revision:
      description: Its revision, read from the copy.
      type: int
      sample: 2089
    changed:
      description: Whether it was copied now; false when the same copy was already there.
      type: bool
    seconds:
      description: Seconds with the proof.
      type: float
      sample: 1.1
elapsed:
  description: Seconds the part on the host took.
  returned: always
  type: float
  sample: 0.4
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_snapshot import save
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_watch import ACCESS_OPTIONS, wanted_access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import run_module


def main(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    # The action plugin beside this module does fetch_to, on the controller.
    return save(wanted_access(params), params["dir"], params["name"], params["timeout"], module.check_mode)


if __name__ == "__main__":
    run_module(
        main,
        argument_spec={
            **ACCESS_OPTIONS,
            "state": {"type": "str", "choices": ["saved"], "default": "saved"},
            "dir": {"type": "path", "default": "/var/lib/clustercare/backups"},
            "name": {"type": "str"},
            "fetch_to": {"type": "str"},
            "timeout": {"type": "int", "default": 1800},
        },
        supports_check_mode=True,
    )
