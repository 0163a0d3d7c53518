#!/usr/bin/python
# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: control_plane_files
short_description: Save the files that make a machine a master
version_added: 0.2.0
author:
  - clustercare.kubeadm authors (@clustercare)
description:
  - A snapshot of etcd brings the cluster's objects back, but not the master that serves them. This saves the rest.
    That is C(/etc/kubernetes) with certificates, keys, kubeconfigs and manifests, the kubelet's configuration and
    certificates, and for components that are systemd units their units, drop-ins and environment files. Files elsewhere
    that a flag or a variable of a component names are saved, too, such as an encryption configuration.
  - Also saves kubeadm's ClusterConfiguration, as the API server has it. When that does not answer, a warning says so.
  - What is saved lies in two archives. C(control-plane-HOST-TIME.tar) holds what may leave the host.
    C(control-plane-HOST-TIME-private.tar) holds private keys, kubeconfigs, the encryption configuration, and every
    other file of which it is not known that it holds no secret. Known are certificates and public keys, and, unless
    they contain what looks like a secret, static pods' manifests, the kubelet's configuration, and the files of units.
  - Each archive begins with C(MANIFEST.json), the SHA-256, mode and owner of every file in it, and ends with its own
    SHA-256. It is read again and compared with both before it is put in place. Files of the host are below C(host/),
    so that C(tar -xpf ARCHIVE -C / --strip-components=1 host) brings them back.
  - Links are kept as links and not followed. What a link leads to elsewhere is named in a warning. Extended attributes
    are not saved.
  - Needs root, and nothing but Python's standard library; C(kubectl) on the host, offline, to read manifests and
    kubeconfigs.
extends_documentation_fragment:
  - clustercare.kubeadm.attributes
attributes:
  check_mode:
    support: full
    details: Looks at everything, says what would be written and fetched, and writes nothing.
  diff_mode:
    support: none
    details: The files hold secrets.
  idempotent:
    support: full
    details: Nothing is written when the newest archives hold the same files.
  platform:
    support: full
    details: Linux with systemd.
    platforms: posix
options:
  state:
    description:
      - V(saved) makes sure that the newest archives in O(dir) hold the files as they are now.
      - V(verified) proves the archive O(name), or all archives in O(dir), and fails when one is not good. Changes
        nothing, and also runs on the controller.
    type: str
    choices: [saved, verified]
    default: saved
  dir:
    description: Directory on the host. Made with mode 0700; refused when others may write to it.
    type: path
    default: /var/lib/clustercare/backups
  name:
    description: With O(state=verified), the file name of one archive.
    type: str
  paths:
    description:
      - With O(state=saved), more files and directories to save, with absolute paths, for instance a directory that a
        link in C(/etc/kubernetes) leads to.
    type: list
    elements: path
    default: []
  keep_last:
    description:
      - With O(state=saved), how many of this host's newest archives stay in O(dir); older ones are removed. A private
        one counts together with the one beside it.
    type: int
    default: 5
  fetch_to:
    description:
      - With O(state=saved), the directory on the controller that gets a copy, under the same name. It is proven there
        once more.
      - Made with mode 0700; refused when others may write to it. A relative path starts at the playbook's directory.
    type: str
  private_keys:
    description:
      - With O(fetch_to), whether the private archive is brought to the controller, too. Whoever can read it there can
        take the cluster over.
    type: bool
    default: false
seealso:
  - module: clustercare.kubeadm.etcd_snapshot
"""

EXAMPLES = r"""
- name: Save the files of each master, and bring what is not secret to the controller
  clustercare.kubeadm.control_plane_files:
    fetch_to: /srv/backups/etcd
  become: true

- name: Bring all of it, so that a master can be made anew whose disk is gone
  clustercare.kubeadm.control_plane_files:
    fetch_to: /srv/secret/masters
    private_keys: true
  become: true

- name: Prove what lies on the controller
  clustercare.kubeadm.control_plane_files:
    state: verified
    dir: /srv/secret/masters
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
files:
  description: What the newest archives hold. In check mode, what they would.
  returned: success of O(state=saved)
  type: dict
  contains:
    host:
      description: Name of the host.
      type: str
      sample: cp1
    taken:
      description: When they were written, in UTC.
      type: str
      sample: "2026-01-01T02:03:04Z"
    archives:
      description: The archive that may travel, then the private one, which is missing when there is nothing for it.
      type: list
      elements: dict
      contains:
        path:
          description: Where it is on the host.
          type: str
          sample: /var/lib/clustercare/backups/control-plane-cp1-20260101T020304Z.tar
        name:
          description: Its file name.
          type: str
          sample: control-plane-cp1-20260101T020304Z.tar
        private:
          description: Whether it holds what must not leave the host unasked.
          type: bool
          sample: false
        size:
          description: Bytes; in check mode, at most.
          type: int
          sample: 61440
        sha256:
          description: SHA-256 of the archive; not in check mode before it is written.
          type: str
          sample: 0f7a6c3b2d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8
        files:
          description: The files in it.
          type: list
          elements: str
          sample: [/etc/kubernetes/manifests/etcd.yaml, /etc/kubernetes/pki/ca.crt]
fetched:
  description: What was brought to the controller. In check mode, what would be.
  returned: with O(fetch_to)
  type: dict
  contains:
    paths:
      description: Where the copies are, on the controller.
      type: list
      elements: str
      sample: [/srv/backups/etcd/control-plane-cp1-20260101T020304Z.tar]
    host_paths:
      description: Where all archives are on the host.
      type: list
      elements: str
      sample:
        - /var/lib/clustercare/backups/control-plane-cp1-20260101T020304Z.tar
        - /var/lib/clustercare/backups/control-plane-cp1-20260101T020304Z-private.tar
    travelled:
      description: The private files that are in the copies; none without O(private_keys).
      type: list
      elements: str
      sample: []
    stayed:
      description: The private files that are saved on the host alone.
      type: list
      elements: str
      sample: [/etc/kubernetes/admin.conf, /etc/kubernetes/pki/ca.key]
    changed:
      description: Whether something was copied now; false when the same copies were already there.
      type: bool
      sample: true
removed:
  description: Names of the archives that were removed as too old.
  returned: success of O(state=saved)
  type: list
  elements: str
  sample: []
archives:
  description: The archives, by name. Of one that is not good only the problem is told, nothing of what is in it.
  returned: with O(state=verified), also when one is not good
  type: list
  elements: dict
  contains:
    path:
      description: Where it is.
      type: str
      sample: /srv/secret/masters/control-plane-cp1-20260101T020304Z-private.tar
    name:
      description: Its file name.
      type: str
      sample: control-plane-cp1-20260101T020304Z-private.tar
    private:
      description: Whether it is a private one.
      type: bool
      sample: true
    good:
      description: Whether it was proven good.
      type: bool
      sample: true
    problem:
      description: Why it is not; null when nothing is wrong.
      type: str
    host:
      description: The host that it is of.
      type: str
      sample: cp1
    taken:
      description: When it was written, in UTC.
      type: str
      sample: "2026-01-01T02:03:04Z"
    sha256:
      description: SHA-256 of the archive.
      type: str
      sample: 0f7a6c3b2d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8
    files:
      description: The files in it.
      type: list
      elements: str
      sample: [/etc/kubernetes/pki/ca.key]
elapsed:
  description: Seconds the part on the host took.
  returned: always
  type: float
  sample: 0.6
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._master_save import Saving, save, verify
from ansible_collections.clustercare.kubeadm.plugins.module_utils._module import run_module


def keep(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    if params["state"] == "verified":
        return verify(params["dir"], params["name"])
    if params["keep_last"] < 1:
        raise CareError(f"keep_last={params['keep_last']} would keep nothing; give 1 or more.")
    # The action plugin beside this module does fetch_to and private_keys, on the controller.
    return save(Saving(params["dir"], params["paths"], params["keep_last"]), module.check_mode)


def main() -> None:
    run_module(
        keep,
        argument_spec={
            "state": {"type": "str", "choices": ["saved", "verified"], "default": "saved"},
            "dir": {"type": "path", "default": "/var/lib/clustercare/backups"},
            "name": {"type": "str"},
            "paths": {"type": "list", "elements": "path", "default": []},
            "keep_last": {"type": "int", "default": 5},
            "fetch_to": {"type": "str"},
            "private_keys": {"type": "bool", "default": False, "no_log": False},
        },
        supports_check_mode=True,
    )


if __name__ == "__main__":
    main()
