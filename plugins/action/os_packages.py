# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's half of os_packages: an upgrade may restart the network, and the connection is made again."""

from __future__ import annotations

from typing import Any

from ansible_collections.clustercare.kubeadm.plugins.action.kubeadm_upgrade import ActionModule as Reconnecting


class ActionModule(Reconnecting):
    """What the lost module left running on the host is waited for by the second one, under the host's lock."""

    def _done_meanwhile(self, answer: dict[str, Any]) -> bool:
        """Nothing tells what the lost one upgraded; that it began to is said rather than hidden."""
        return not self._task.check_mode and self._task.args.get("state") != "available"
