#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: control_plane_service
short_description: Stop, start or restart a component of a Kubernetes node, with proof
version_added: 0.2.0
author:
  - clustercare.kubeadm authors (@clustercare)
description:
  - Finds out by itself whether a static pod or a systemd unit runs the component.
  - A static pod is stopped by moving its manifest below C(/var/lib/clustercare), and has stopped when its process is
    gone; what neither kubelet nor container runtime ends is ended by its process id. The very same file goes back.
  - A component has started when it says itself that it is well, not when its file is in place.
  - Where the kubelet would wait 20 seconds or longer before it starts a static pod, because that has ended several
    times within ten minutes, the kubelet is restarted. Pods run on meanwhile.
  - Works while the API server is away, and needs neither crictl nor another host. Needs root, and nothing but Python's
    standard library; C(kubectl) on the host, offline, to read manifests and kubeconfigs.
  - Several components are stopped and started in the order that serves them, whatever the order in O(name).
extends_documentation_fragment:
  - clustercare.kubeadm.attributes
  - clustercare.kubeadm.etcd
attributes:
  check_mode:
    support: full
    details: Says in RV(actions) what would be done, and refuses what would be refused.
  diff_mode:
    support: full
  idempotent:
    support: partial
    details: O(state=restarted) always restarts.
  platform:
    support: full
    details: Linux with systemd.
    platforms: posix
options:
  name:
    description:
      - The components.
      - V(container-runtime) is what the kubelet's endpoint belongs to, such as containerd or CRI-O.
    type: list
    elements: str
    choices: [etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, container-runtime]
    required: true
  state:
    description:
      - V(stopped) ends with its process gone. A static pod stays stopped over a restart of the host; a unit that is
        enabled comes back with it.
      - V(started) ends with it being well, and takes away the timer of O(restore_after).
      - V(restarted) is both, one after the other.
    type: str
    choices: [started, stopped, restarted]
    required: true
  restore_after:
    description:
      - With O(state=stopped), seconds after which the host itself puts the component back, unless somebody did before.
      - A timer of systemd on the host does it, by the clock on the wall. It needs neither Ansible nor a connection,
        comes after a restart of the host too, and removes itself.
      - V(0) takes away a timer that is set. A component that is stopped already, with its timer set, is left alone.
    type: int
  allow_outage:
    description:
      - Stop or restart also what the cluster cannot do without.
      - Without it the module refuses to take etcd's majority away, and to stop the last API server that answers. It
        judges by what it sees, for its own host. Several hosts that begin at the same moment would see each other well,
        so let a play take one after the other (C(serial=1)).
    type: bool
    default: false
  prove:
    description:
      - What counts as started. V(health) is the component's own word, for etcd with a read that needs the majority.
      - V(process) is only that it runs, such as for the first etcd member of several that all were stopped.
    type: str
    choices: [health, process]
    default: health
  grace_period:
    description:
      - Seconds that a static pod's process is given to end by itself before it is sent SIGTERM by its process id, and
        as many again before SIGKILL.
      - A systemd unit's processes are sent SIGKILL after as many seconds; by default after those of the unit itself
        (C(TimeoutStopSec)).
      - For a static pod by default what its manifest says (30 when it says nothing) and 5 more; less when no kubelet
        runs, or when a restarted kubelet cannot reach the API and so cleans up nothing.
    type: int
  timeout:
    description: Seconds that the whole may take.
    type: int
    default: 300
  manifests_dir:
    description: Where the kubelet reads static pods. Found out from the kubelet when not given.
    type: path
  kubeconfig:
    description:
      - The kubeconfig on the host by which API servers are asked. When it is not there, the kubelet's own.
    type: path
    default: /etc/kubernetes/admin.conf
notes:
  - Stopping the kubelet leaves all pods running. The Node becomes NotReady after 40 to 50 seconds, its pods are
    replaced elsewhere after their toleration (5 minutes by default), and static pods can neither be started nor
    changed.
  - Stopping the container runtime leaves running containers alone as a rule, but nothing can be started or ended.
seealso:
  - module: clustercare.kubeadm.control_plane_service_info
  - module: clustercare.kubeadm.etcd_info
"""

EXAMPLES = r"""
- name: Restart the scheduler, and wait until it is well
  clustercare.kubeadm.control_plane_service:
    name: [kube-scheduler]
    state: restarted
  become: true

- name: Stop the controller manager for at most five minutes, whatever becomes of this run
  clustercare.kubeadm.control_plane_service:
    name: [kube-controller-manager]
    state: stopped
    restore_after: 300
  become: true

- name: Stop the whole control plane, as before a restore of etcd
  clustercare.kubeadm.control_plane_service:
    name: [kube-apiserver, kube-controller-manager, kube-scheduler, etcd]
    state: stopped
    allow_outage: true
  become: true

- name: Start it again
  clustercare.kubeadm.control_plane_service:
    name: [kube-apiserver, kube-controller-manager, kube-scheduler, etcd]
    state: started
    timeout: 600
  become: true
"""

RETURN = r"""
services:
  description: The components by name, as they are now; in check mode as they would be.
  returned: always
  type: dict
  contains:
    state:
      description: V(started), V(stopped), or V(failed) when it should run and does not.
      type: str
      sample: stopped
    kind:
      description: What runs it, V(static_pod) or V(systemd).
      type: str
      sample: static_pod
    manifests:
      description: Where its manifest is; below C(/var/lib/clustercare) while it is stopped.
      type: list
      elements: str
      sample: [/var/lib/clustercare/services/kube-scheduler/kube-scheduler.yaml]
    unit:
      description: Its systemd unit.
      type: str
      sample: kubelet.service
    pid:
      description: Its process.
      type: int
      sample: 4711
    started:
      description: When that started, in seconds since the epoch.
      type: float
      sample: 1795410000.12
    ended_by:
      description: What ended it, V(kubelet), V(systemd), V(SIGTERM) or V(SIGKILL); null when it was not running.
      type: str
      sample: kubelet
    seconds:
      description: How long it took until it was gone, or until it was well (again).
      type: float
      sample: 2.1
    restore_at:
      description: When the host puts it back by itself; null when it does not.
      type: str
      sample: "2026-11-24T06:30:00Z"
actions:
  description: What was done; in check mode what would be.
  returned: always
  type: list
  elements: str
  sample: ["put kube-scheduler back after 300 s", "stop kube-scheduler"]
evidence:
  description: The last lines of the static pods that did not start, and of the kubelet.
  returned: when a component did not become well in time
  type: dict
elapsed:
  description: Seconds the module took.
  returned: always
  type: float
  sample: 2.4
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_watch import ACCESS_OPTIONS, wanted_access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import run_module
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service import NAMES, Host
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_options import options_of
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_run import Care


def care(module: AnsibleModule) -> dict[str, Any]:
    options = options_of(module.params, wanted_access(module.params), module.check_mode)
    return Care(Host(module.params["manifests_dir"]), options).run()


def main() -> None:
    run_module(
        care,
        argument_spec={
            "name": {"type": "list", "elements": "str", "choices": list(NAMES), "required": True},
            "state": {"type": "str", "choices": ["started", "stopped", "restarted"], "required": True},
            "restore_after": {"type": "int"},
            "allow_outage": {"type": "bool", "default": False},
            "prove": {"type": "str", "choices": ["health", "process"], "default": "health"},
            "grace_period": {"type": "int"},
            "timeout": {"type": "int", "default": 300},
            "manifests_dir": {"type": "path"},
            "kubeconfig": {"type": "path", "default": "/etc/kubernetes/admin.conf"},
            **ACCESS_OPTIONS,
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
