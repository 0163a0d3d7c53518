#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_snapshot_info
short_description: List snapshots of etcd, and tell what is in them
version_added: 0.2.0
author:
  - clustercare.kubeadm authors (@clustercare)
description:
  - Reads snapshots of etcd with Python's standard library alone. Neither etcd nor C(etcdutl) is needed, so it also runs
    on the controller or on a machine that keeps backups.
  - Also reads snapshots that were made by other tools, and copies of a database file, which it tells apart.
  - A snapshot that is not good is no failure, but an answer. O(clustercare.kubeadm.etcd_snapshot#module:state=verified)
    fails instead.
extends_documentation_fragment:
  - clustercare.kubeadm.attributes
attributes:
  check_mode:
    support: full
    details: Only reads.
  diff_mode:
    support: none
    details: Changes nothing.
  idempotent:
    support: full
  platform:
    support: full
    platforms: posix
options:
  dir:
    description: Directory that holds the snapshots. One that does not exist holds none.
    type: path
    default: /var/lib/clustercare/backups
  name:
    description: File name of one snapshot in O(dir). When not given, all that end with C(.db) or begin as a database
      of etcd does.
    type: str
  verify:
    description:
      - Read and prove each snapshot whole, at some hundred megabytes a second.
      - Without it only the sidecar and the few pages with revision, members and versions are read. Then
        RV(snapshots[].good) is null, and so is whatever is not known.
    type: bool
    default: true
seealso:
  - module: clustercare.kubeadm.etcd_snapshot
"""

EXAMPLES = r"""
- name: See what there is, and whether it is good
  clustercare.kubeadm.etcd_snapshot_info:
  become: true
  register: __snapshots

- name: Show the newest good one
  ansible.builtin.debug:
    msg: "{{ __snapshots.snapshots | selectattr('good') | first }}"

- name: Look into a snapshot that another tool made, on the controller
  clustercare.kubeadm.etcd_snapshot_info:
    dir: /srv/backups
    name: snap-20260101.db
  delegate_to: localhost
"""

RETURN = r"""
snapshots:
  description: The snapshots, the newest first.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: Where it is.
      type: str
      sample: /var/lib/clustercare/backups/etcd-cp1-20260101T020304Z.db
    name:
      description: Its file name.
      type: str
      sample: etcd-cp1-20260101T020304Z.db
    size:
      description: Bytes.
      type: int
      sample: 4214816
    taken:
      description: When it was begun, in UTC; without a sidecar, when the file was written last.
      type: str
      sample: "2026-01-01T02:03:04Z"
    age:
      description: Seconds since then.
      type: int
      sample: 1800
    ours:
      description: Whether M(clustercare.kubeadm.etcd_snapshot) made it, which its sidecar tells.
      type: bool
      sample: true
    good:
      description: Whether it was proven good; null with O(verify=false).
      type: bool
      sample: true
    problem:
      description: Why it is not good; null when nothing is wrong.
      type: str
    sha256:
      description: SHA-256 of the whole file.
      type: str
      sample: 0f7a6c3b2d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8
    revision:
      description: The revision that a restore would bring back.
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
      description: Pages of the database in use.
      type: int
      sample: 607
    members:
      description: The members stored in it (id_hex, name, peer_urls, client_urls, learner).
      type: list
      elements: dict
    nodes:
      description: Names of the Kubernetes Nodes in it.
      type: list
      elements: str
      sample: [cp1, w1, w2]
    ca_sha256:
      description: SHA-256 of the cluster's CA certificate (DER), which identifies the cluster; from the sidecar, else
        from the snapshot itself.
      type: str
      sample: 5d41402abc4b2a76b9719d911017c592ae2f5c1f5d41402abc4b2a76b9719d91
    root_ca_sha256:
      description: The same from the snapshot itself (ConfigMap kube-system/kube-root-ca.crt); null when it is
        encrypted or not there.
      type: str
      sample: 5d41402abc4b2a76b9719d911017c592ae2f5c1f5d41402abc4b2a76b9719d91
    etcd_version:
      description: Version of the member that it was taken of; only its sidecar tells.
      type: str
      sample: 3.6.5
    etcd_image:
      description: The image that the manifest of the host's etcd names; only its sidecar tells. Null without one.
      type: str
      sample: registry.example.org/etcd:3.6.5-0
    kubernetes_version:
      description: Version of the host's API server; only its sidecar tells. Null when there is none.
      type: str
      sample: 1.34.4
    encryption_config_sha256:
      description:
        - SHA-256 of the file by which the host's API server encrypts what it stores
          (C(--encryption-provider-config)); only its sidecar tells.
        - Null without one. With it, the snapshot is of no use without that very file.
      type: str
    cluster_version:
      description: Version of the etcd cluster as stored.
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
    alarms:
      description: The alarms under which it was taken, as C(member) (hexadecimal) and C(alarm).
      type: list
      elements: dict
      sample: []
    cluster_id:
      description: etcd's cluster id, hexadecimal; only its sidecar tells. Every restore changes it.
      type: str
      sample: cdf818194e3a8c32
    member:
      description: The member that it was taken of; only its sidecar tells.
      type: str
      sample: cp1
    host:
      description: The host that it was taken on; only its sidecar tells.
      type: str
      sample: cp1
    cluster_configuration:
      description: kubeadm's ClusterConfiguration as stored in the ConfigMap kube-system/kubeadm-config, YAML as text;
        null when it is encrypted or not there, and with O(verify=false).
      type: str
elapsed:
  description: Seconds the module took.
  returned: always
  type: float
  sample: 0.2
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_shelf import (
    in_directory,
    inspected,
    one,
    shelf,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import run_module


def info(module: AnsibleModule) -> dict[str, Any]:
    directory, name = module.params["dir"], module.params["name"]
    found = [one(in_directory(directory, name))] if name else shelf(directory)
    now = time.time()
    return {"snapshots": [inspected(snapshot, module.params["verify"], now) for snapshot in found]}


def main() -> None:
    run_module(
        info,
        argument_spec={
            "dir": {"type": "path", "default": "/var/lib/clustercare/backups"},
            "name": {"type": "str"},
            "verify": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
