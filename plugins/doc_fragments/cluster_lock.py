# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  lock_run:
    description:
      - The run that holds the cluster's lock (O(clustercare.kubeadm.cluster_lock#module:run_id)).
      - The lock is renewed at the start; the module fails, and does nothing, when the run has lost it.
      - Not used in check mode, in which no lock is taken.
    type: str
    version_added: 0.2.0
"""
