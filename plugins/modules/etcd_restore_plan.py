#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_restore_plan
short_description: Prove a snapshot of etcd and plan its restore, or say why it must not be restored
version_added: 0.2.0
author:
  - clustercare.kubeadm authors (@clustercare)
description:
  - Runs on the controller, where the snapshot is, with what M(clustercare.kubeadm.etcd_restore) saw on each master.
    The role C(clustercare.kubeadm.etcd_restore) uses both. Changes nothing.
  - Proves the snapshot as M(clustercare.kubeadm.etcd_snapshot) does for V(verified), and compares it with the cluster.
    Which cluster a snapshot is of, its CA certificate tells.
  - Decides what becomes of a restore that was begun and not ended. It is finished when no master has put its old data
    back meanwhile; else it is undone everywhere.
extends_documentation_fragment:
  - clustercare.kubeadm.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: Changes nothing.
  idempotent:
    support: full
  platform:
    support: full
    platforms: posix
options:
  snapshot:
    description:
      - The snapshot, on the controller. Not needed with O(rollback).
      - With O(mode=salvage) there is none before the best data was taken from its master; without it the plan says
        whose that is.
    type: path
  mode:
    description:
      - How it is restored.
      - V(all_members), all members from the same snapshot.
      - V(seed_and_join), one member from the snapshot; the others join it one after the other, without data of theirs.
      - V(salvage), from the best data that the masters have left, of which the snapshot is made first.
    type: str
    choices: [all_members, seed_and_join, salvage]
    default: all_members
  looks:
    description: What O(clustercare.kubeadm.etcd_restore#module:phase=look) returned, by host.
    type: dict
    required: true
  masters:
    description: All hosts that should be among O(looks).
    type: list
    elements: str
    required: true
  controller:
    description: Who runs this, from the lookup P(clustercare.kubeadm.controller#lookup).
    type: dict
    default: {}
  confirm:
    description: The cluster's name, typed by the user. Needed when etcd still has its majority.
    type: str
    default: ""
  max_age:
    description: Refuse a snapshot that is older than so many seconds, or of which nobody knows how old it is.
    type: int
  foreign:
    description: Restore the snapshot of another cluster, or one that does not say which it is of.
    type: bool
    default: false
  allow_version_change:
    description: Restore a snapshot of another minor version of Kubernetes, or of an older one of etcd.
    type: bool
    default: false
  allow_encryption_change:
    description:
      - Restore a snapshot whose objects the API servers encrypted by another C(--encryption-provider-config) than they
        have now. Its sidecar tells.
    type: bool
    default: false
  again:
    description: Restore the snapshot that was restored last once more.
    type: bool
    default: false
  rollback:
    description: Give the old data back, also after a restore that has ended. What was written since is lost then.
    type: bool
    default: false
  seed:
    description: With O(mode=seed_and_join), the host that is restored; the first by name when not given.
    type: str
    default: ""
  source:
    description: With O(mode=salvage), the host whose data is taken; the one with the newest when not given.
    type: str
    default: ""
  without:
    description: Members of etcd that are gone for good and are no members of the restored cluster.
    type: list
    elements: str
    default: []
  take_over:
    description:
      - Go on with a restore although another run seems to be at work on it.
      - Also begin one although an upgrade was not ended, or another run holds the lock of the cluster.
    type: bool
    default: false
seealso:
  - module: clustercare.kubeadm.etcd_restore
"""

EXAMPLES = r"""
- name: Plan the restore
  clustercare.kubeadm.etcd_restore_plan:
    snapshot: /srv/backups/etcd/etcd-cp1-20260101T020304Z.db
    looks: "{{ hostvars | clustercare.kubeadm.collect(ansible_play_hosts_all, '__look.look') }}"
    masters: "{{ ansible_play_hosts_all }}"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
plan:
  description: What is to be done.
  returned: always
  type: dict
  contains:
    action:
      description: V(restore), V(resume), V(rollback) or V(nothing); V(salvage) when the snapshot has to be made first.
      type: str
      sample: restore
    why:
      description: Why it is not a restore from the beginning, or why whose data is salvaged; else empty.
      type: str
      sample: it was begun and not ended
    refusals:
      description: Everything that speaks against it, in words. With any of them the module fails.
      type: list
      elements: str
      sample: []
    warnings:
      description: What else there is to know, in words.
      type: list
      elements: str
      sample: ["The snapshot is 3 h 20 min old (taken 2026-01-01T02:03:04Z)."]
    run:
      description: The restore.
      type: str
      sample: 20260101T052304Z-1a2b3c
    snapshot:
      description: The snapshot (name, sha256, size, revision, taken, nodes).
      type: dict
    lost_nodes:
      description: Nodes that the snapshot does not know; null when it is not known which there are.
      type: list
      elements: str
      sample: []
    unready_nodes:
      description: Nodes that are not Ready before anything is done; null when it is not known.
      type: list
      elements: str
      sample: [w3]
    without:
      description: Members that are left out.
      type: list
      elements: str
      sample: []
    initial_cluster:
      description: The members of the restored cluster, without those that join it afterwards.
      type: str
      sample: cp1=https://10.0.0.11:2380
    joiners:
      description: The hosts that join it afterwards.
      type: list
      elements: str
      sample: []
    source:
      description: With RV(plan.action=salvage), the host whose data is taken.
      type: str
      sample: cp1
    snapshot_name:
      description: With RV(plan.action=salvage), what the snapshot of it is going to be called.
      type: str
      sample: salvaged-20260101T052304Z-1a2b3c.db
    bump_revision:
      description: By how much the revision is raised.
      type: int
      sample: 1000000000
    safety_host:
      description: The master whose present data is kept as a snapshot; null when none answers.
      type: str
      sample: cp1
elapsed:
  description: Seconds the module took.
  returned: always
  type: float
  sample: 0.4
"""

import os
import time
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_snapshot import existing
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import run_module
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_asked import Asked
from ansible_collections.clustercare.kubeadm.plugins.module_utils._restore_modes import plan

ASKED = tuple(name for name in Asked._fields if name != "without")


def proven(path: Optional[str]) -> dict[str, Any]:
    """The snapshot on the controller."""
    if not path:
        raise CareError("No snapshot is named: say which one with -e etcd_restore_snapshot=FILE.")
    found = existing(path)
    if found is None:
        raise CareError(f"There is no snapshot {path} on the controller (etcd_restore_snapshot).")
    # Of a cluster that was made without kubeadm only the sidecar tells.
    version = found.get("kubernetes_version") or version_in(found["cluster_configuration"])
    return {**found, "name": os.path.basename(path), "kubernetes_version": version}


def version_in(configuration: Optional[str]) -> Optional[str]:
    """The version of Kubernetes in kubeadm's description of the cluster, or None when that cannot be read."""
    try:
        import yaml
    except ImportError:
        return None
    try:
        loaded = yaml.safe_load(configuration or "")
    except yaml.YAMLError:
        return None
    return loaded.get("kubernetesVersion") if isinstance(loaded, dict) else None


def decide(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    missing = sorted(set(params["masters"]) - set(params["looks"]))
    if missing:
        raise CareError(
            f"These masters cannot be reached or looked at, so nothing is begun: {', '.join(missing)}. Those that are "
            "gone for good are left out by --limit, and by naming their members in etcd_restore_without."
        )
    asked = Asked(**{name: params[name] for name in ASKED}, without=tuple(params["without"]))
    unneeded = asked.rollback or (asked.mode == "salvage" and not params["snapshot"])
    snapshot = {} if unneeded else proven(params["snapshot"])
    made = plan(params["looks"], snapshot, asked, params["controller"], time.time())
    if made["refusals"]:
        raise CareError(f"Nothing was changed. {' '.join(made['refusals'])}", plan=made)
    return {"plan": made, "warnings": list(made["warnings"])}


def main() -> None:
    run_module(
        decide,
        argument_spec={
            "snapshot": {"type": "path"},
            "mode": {"type": "str", "choices": ["all_members", "seed_and_join", "salvage"], "default": "all_members"},
            "looks": {"type": "dict", "required": True},
            "masters": {"type": "list", "elements": "str", "required": True},
            "controller": {"type": "dict", "default": {}},
            "confirm": {"type": "str", "default": ""},
            "max_age": {"type": "int"},
            "foreign": {"type": "bool", "default": False},
            "allow_version_change": {"type": "bool", "default": False},
            "allow_encryption_change": {"type": "bool", "default": False},
            "again": {"type": "bool", "default": False},
            "rollback": {"type": "bool", "default": False},
            "take_over": {"type": "bool", "default": False},
            "seed": {"type": "str", "default": ""},
            "source": {"type": "str", "default": ""},
            "without": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
