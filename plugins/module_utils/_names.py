# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What this collection calls its own in a cluster, for those who write it and for the restore, which tidies it."""

from __future__ import annotations

PREFIX = "clustercare.io/"
CORDON = f"{PREFIX}cordon"
LOCK = "clustercare"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
