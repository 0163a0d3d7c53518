#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_restore
short_description: One step of a restore of etcd on one master
version_added: 0.2.0
author:
  - clustercare.kubeadm authors (@clustercare)
description:
  - The steps of the role C(clustercare.kubeadm.etcd_restore), which calls each of them on all masters before the next
    one. Use the role, or the playbook C(clustercare.kubeadm.restore_etcd); this module alone knows only its own host.
  - Each step can be called again after it was cut off, and does nothing when it was done already. Where a restore
    stands is in C(/var/lib/clustercare/restore/state.json) on each master.
  - The old data is renamed, never deleted.
  - Needs root, and nothing but Python's standard library.
extends_documentation_fragment:
  - clustercare.kubeadm.attributes
  - clustercare.kubeadm.etcd
attributes:
  check_mode:
    support: partial
    details: Only O(phase=look) does something, which changes nothing; all other steps are skipped.
  diff_mode:
    support: none
    details: What changes is a database.
  idempotent:
    support: partial
    details: V(agree) notes each time what it has seen, and is changed then.
  platform:
    support: full
    details: Linux with systemd.
    platforms: posix
options:
  phase:
    description:
      - The step.
      - V(look) tells what M(clustercare.kubeadm.etcd_restore_plan) has to know of this host. Changes nothing.
      - V(salvage) takes a proven snapshot of this host's member, which may have lost its majority. Of one that does not
        answer, the database is copied. Is there more in its log, etcd is started until it has read that; a warning
        tells what it could not read. etcd is stopped meanwhile, and started again.
      - V(stage) brings the snapshot from the controller, proves it, and makes the new data directory beside the
        present one. With O(safety) it takes a snapshot of the present data first. A host that joins the others gets an
        empty directory instead.
      - V(arm) sets a timer of systemd that gives this host its old data and control plane back, unless the restore has
        come to V(mark) by then. It needs no connection, and survives a restart of the host.
      - V(stop_api) and V(stop_etcd) stop the static pods or systemd units, with proof; nothing but a later step starts
        them again. V(swap) renames the new data into its place.
      - V(start_etcd) starts etcd and ends when this host's member sees all members at the same revision with the same
        hash. V(mark) notes it; from then on the timer no longer gives the old data back.
      - V(start_api) starts the API server and writes through it. V(finish) starts the rest and takes the timer away.
      - V(join) adds this host's member to the restored cluster as a learner, starts it and waits until it has a vote.
        Its manifest, or a drop-in of its unit, says whom it joins. V(agree) ends when all members, joined ones
        included, have one hash.
      - V(tidy), on one master, removes locks and annotations of this collection that came back with the snapshot, and
        waits until all Nodes are Ready that were so before. V(done) ends the restore and tells what was kept.
      - V(rollback) puts the old data back and starts etcd on it, V(rollback_api) waits until all is well again.
    type: str
    choices:
      - look
      - salvage
      - stage
      - arm
      - stop_api
      - stop_etcd
      - swap
      - start_etcd
      - mark
      - start_api
      - join
      - agree
      - finish
      - tidy
      - done
      - rollback
      - rollback_api
    required: true
  plan:
    description: What M(clustercare.kubeadm.etcd_restore_plan) returned. Needed by all steps but V(look).
    type: dict
  snapshot:
    description: With O(phase=stage), the snapshot on the controller. A host that joins the others needs none.
    type: str
  controller:
    description: Who runs the restore, from the lookup P(clustercare.kubeadm.controller#lookup).
    type: dict
    default: {}
  safety:
    description: With O(phase=stage), take a snapshot of the present data first.
    type: bool
    default: false
  safety_dir:
    description: Directory on the host for it, and for what O(phase=salvage) takes.
    type: path
    default: /var/lib/clustercare/backups
  dead_man_after:
    description: With O(phase=arm), seconds until the host helps itself.
    type: int
    default: 900
  allow_version_change:
    description: With O(phase=stage), restore although the snapshot is of an older minor version of etcd.
    type: bool
    default: false
  etcdutl:
    description: With O(phase=stage), the program on the host that makes the new data. Found when not given.
    type: path
  timeout:
    description: Seconds that the step may take.
    type: int
    default: 300
  manifests_dir:
    description: Where the kubelet reads static pods. Found out from the kubelet when not given.
    type: path
  kubeconfig:
    description: The administrator's kubeconfig on the host.
    type: path
    default: /etc/kubernetes/admin.conf
seealso:
  - module: clustercare.kubeadm.etcd_restore_plan
  - module: clustercare.kubeadm.etcd_snapshot
  - module: clustercare.kubeadm.control_plane_service
"""

EXAMPLES = r"""
- name: See where a restore stands on this master
  clustercare.kubeadm.etcd_restore:
    phase: look
  become: true
  register: __restore

- name: Tell it
  ansible.builtin.debug:
    var: __restore.look.state
"""

RETURN = r"""
look:
  description: What was seen.
  returned: with O(phase=look)
  type: dict
  contains:
    node:
      description: The host's own name.
      type: str
      sample: cp1
    kind:
      description: What runs etcd, V(static_pod), V(systemd), V(process) or V(absent).
      type: str
      sample: static_pod
    components:
      description: The same of etcd and of each component of the control plane, with its unit.
      type: dict
      sample: {etcd: {kind: systemd, unit: etcd.service, masked: false}}
    obstacles:
      description: Why this host could not be restored, in words.
      type: list
      elements: str
      sample: []
    peer_obstacles:
      description: The same where there are other members, which have to trust this one.
      type: list
      elements: str
      sample: []
    member:
      description: The member's name, from its flags, environment or configuration file.
      type: str
      sample: cp1
    peer_url:
      description: Where its peers reach it.
      type: str
      sample: https://10.0.0.11:2380
    data_dir:
      description: Its data directory.
      type: str
      sample: /var/lib/etcd
    etcd_version:
      description: Version in its manifest's image, or what its program says.
      type: str
      sample: 3.6.5
    kubernetes_version:
      description: Version in the image of the API server's manifest, or what its program says.
      type: str
      sample: 1.34.4
    encryption_config_sha256:
      description: SHA-256 of the file by which the API server encrypts what it stores; null without one.
      type: str
    etcd:
      description: The cluster as this member sees it (answers, quorum, members, revision, problems, ...).
      type: dict
    ca_sha256:
      description: SHA-256 of the cluster's CA certificate (DER).
      type: str
      sample: 5d41402abc4b2a76b9719d911017c592ae2f5c1f5d41402abc4b2a76b9719d91
    cluster_name:
      description: What the administrator's kubeconfig calls the cluster.
      type: str
      sample: kubernetes
    nodes:
      description: Names of the present Nodes; null when nobody can tell.
      type: list
      elements: str
      sample: [cp1, w1, w2]
    unready:
      description: Names of those that are not Ready, or silent; null when no API server tells.
      type: list
      elements: str
      sample: []
    upgrade:
      description: An upgrade that was begun on this host and not ended (target, run, phase); null when there is none.
      type: dict
    lock:
      description: The Lease that is the lock of the cluster; null when nobody holds it, or no API server tells.
      type: dict
    state:
      description: Where the newest restore stands on this host; null when there was none.
      type: dict
    touched:
      description: The same of the newest restore that has changed anything, if the newest one was only staged.
      type: dict
    old_data_gone:
      description: Whether somebody has removed the data from before that restore, so that it cannot be given back.
      type: bool
      sample: false
state:
  description: Where the restore stands on this host.
  returned: with all steps but V(look) and V(salvage)
  type: dict
  contains:
    run:
      description: The restore.
      type: str
      sample: 20260101T020304Z-1a2b3c
    phase:
      description: How far it has come.
      type: str
      sample: swapped
    updated:
      description: When, in UTC.
      type: str
      sample: "2026-01-01T02:05:06Z"
proof:
  description: What all members agree on.
  returned: with O(phase=start_etcd), when it was not done before, and with O(phase=agree)
  type: dict
  contains:
    cluster_id:
      description: The new cluster's id, hexadecimal.
      type: str
      sample: cdf818194e3a8c32
    leader:
      description: Its leader.
      type: str
      sample: cp2
    revision:
      description: The revision at which the hashes were compared.
      type: int
      sample: 1000002089
    hashes:
      description: Each member's hash.
      type: dict
      sample: {cp1: 1832938424, cp2: 1832938424, cp3: 1832938424}
services:
  description: What was stopped or started, as M(clustercare.kubeadm.control_plane_service) returns it.
  returned: with the steps that stop and start
  type: dict
safety:
  description: Where the snapshot of the present data is, on the host; null when none was taken.
  returned: with O(phase=stage), when it was not done before
  type: str
  sample: /var/lib/clustercare/backups/before-restore-20260101T020304Z-1a2b3c.db
restored:
  description: The new data directory, as M(clustercare.kubeadm.etcd_snapshot) returns it.
  returned: with O(phase=stage), when it was not done before; null on a host that joins the others
  type: dict
snapshot:
  description: What was salvaged, as M(clustercare.kubeadm.etcd_snapshot) returns it.
  returned: with O(phase=salvage)
  type: dict
due:
  description: When the timer comes, in UTC.
  returned: with O(phase=arm)
  type: str
  sample: "2026-01-01T02:20:06Z"
removed:
  description: What came back of this collection's own and was removed, in words.
  returned: with O(phase=tidy)
  type: list
  elements: str
  sample: [the Lease clustercare in kube-system]
unready_nodes:
  description:
    - Nodes that are not Ready and that nothing waited for. They were not well before the outage, or their masters were
      left out. When no API server could be asked before, those that nobody has heard of for two minutes.
  returned: with O(phase=tidy)
  type: list
  elements: str
  sample: [w3]
orphans:
  description:
    - What belongs to nothing any more, in words, at most twenty of a kind. Pods on Nodes that are not there, pending
      CertificateSigningRequests, PersistentVolumes that are Released or Failed, PersistentVolumeClaims that are Lost.
    - Some of it may be older than the restore. Nothing of it is changed.
  returned: with O(phase=tidy)
  type: list
  elements: str
  sample: ["Pod shop/web-7d9c on Node w3, which is not there"]
kept:
  description: What is left on the host.
  returned: with O(phase=done) and O(phase=rollback_api)
  type: list
  elements: dict
  contains:
    path:
      description: Where.
      type: str
      sample: /var/lib/clustercare/restore/20260101T020304Z-1a2b3c
    bytes:
      description: How much.
      type: int
      sample: 146800640
    remove:
      description: The command that removes it.
      type: str
      sample: rm -rf /var/lib/clustercare/restore/20260101T020304Z-1a2b3c
elapsed:
  description: Seconds the step took.
  returned: always
  type: float
  sample: 2.4
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_watch import ACCESS_OPTIONS, wanted_access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import run_module
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_look import look
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_phases import (
    NO_ROOM,
    PHASES,
    Options,
    Restore,
    no_room,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_undo import QuickHost
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline


def step(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    host = QuickHost(params["manifests_dir"])
    access = wanted_access(params)
    if params["phase"] == "look":
        return {"look": look(host, access, params["kubeconfig"])}
    if not (params["plan"] or {}).get("run"):
        raise CareError("This step needs the plan of the restore (option plan).")
    if module.check_mode:
        return {"state": None, "skipped": True}
    options = Options(
        plan=params["plan"],
        controller=params["controller"],
        safety=params["safety"],
        safety_dir=params["safety_dir"],
        dead_man_after=params["dead_man_after"],
        allow_version_change=params["allow_version_change"],
        timeout=params["timeout"],
        kubeconfig=params["kubeconfig"],
        etcd=access,
        etcdutl=params["etcdutl"],
    )
    before = Restore(host, options).done_before(params["phase"])
    if before:
        return before
    try:
        with _record.locked(Deadline(params["timeout"], "timeout"), directory=host.directory):
            return Restore(host, options).take(params["phase"])
    except OSError as error:
        # The lock is a file, too.
        if error.errno not in NO_ROOM:
            raise
        raise CareError(no_room(error)) from error


def main() -> None:
    run_module(
        step,
        argument_spec={
            "phase": {"type": "str", "choices": ["look", *PHASES], "required": True},
            "plan": {"type": "dict"},
            "snapshot": {"type": "str"},
            "controller": {"type": "dict", "default": {}},
            "safety": {"type": "bool", "default": False},
            "safety_dir": {"type": "path", "default": "/var/lib/clustercare/backups"},
            "dead_man_after": {"type": "int", "default": 900},
            "allow_version_change": {"type": "bool", "default": False},
            "etcdutl": {"type": "path"},
            "timeout": {"type": "int", "default": 300},
            "manifests_dir": {"type": "path"},
            "kubeconfig": {"type": "path", "default": "/etc/kubernetes/admin.conf"},
            **ACCESS_OPTIONS,
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
