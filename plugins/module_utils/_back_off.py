# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""How long the kubelet waits before it starts a container again that has ended often: up to five minutes, doubled each
time; within ten minutes every end counts, also one that was asked for.
"""

from __future__ import annotations

import re
import time

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _kubelet
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner

_WAITS = re.compile(r"back-off (?:(\d+)m)?(\d+)s restarting failed container=(\S+) pod=\S+_kube-system\(")
# A new kubelet has started it after about six.
_TOO_LONG = 20
_LOOK_EVERY = 3.0


def longest_wait(journal: str, name: str) -> int:
    """Seconds that the kubelet said it waits with this container."""
    waits = [int(minutes or 0) * 60 + int(seconds) for minutes, seconds, of in _WAITS.findall(journal) if of == name]
    return max(waits, default=0)


class BackOff:
    """Ends such a wait by a new kubelet, which knows nothing of it: once for each static pod."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self._began = time.time()
        self._looked: dict[str, float] = {}
        self._ended: set[str] = set()

    def end(self, name: str, timeout: float) -> bool:
        """Whether the kubelet was restarted.

        :param timeout: seconds for systemd to do so.
        """
        now = time.monotonic()
        if name in self._ended or now - self._looked.setdefault(name, now) < _LOOK_EVERY:
            return False
        self._looked[name] = now
        since = f"--since=@{int(self._began)}"
        said = self.runner(["journalctl", "--unit=kubelet", "--no-pager", "--output=cat", since], timeout=20).out
        if longest_wait(said, name) < _TOO_LONG:
            return False
        self._ended.add(name)
        _kubelet.restart(self.runner, timeout)
        return True
