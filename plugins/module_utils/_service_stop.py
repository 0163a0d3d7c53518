# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""One component on its way out: told to go, then asked by its process id, then ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from typing import Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _process, _record, _service_manifest
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._host_facts import option_of
from ansible_collections.clustercare.kubeadm.plugins.module_utils._local_api import ApiServer, ready
from ansible_collections.clustercare.kubeadm.plugins.module_utils._process import Process
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service import UNIT_FILE, Service
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_probe import Prober, etcd_settings

_DEFAULT_GRACE = 30
_BLIND_KUBELET = 5.0  # seconds for a kubelet that may not clean up at all


def patience(kubelet: Optional[float], process: float, api_answers: bool, grace: float) -> float:
    """Seconds until a static pod's process is ended by us, because the kubelet has not.

    A kubelet removes a pod that it did not start itself only after it has heard from the API once; so one that was
    restarted while the API is away leaves it running for ever.

    :param kubelet: when it started; None when it does not run.
    :param process: when the component did.
    :param grace: what the pod gets to end by itself; the kubelet kills it after that.
    """
    if kubelet is None:
        return 0.0
    if kubelet > process and not api_answers:
        return _BLIND_KUBELET
    return grace + 5.0


def still_held(data_dir: str) -> Optional[str]:
    """For etcd: whether somebody still holds its database, though its process is not seen."""
    path = os.path.join(data_dir, "member/snap/db")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return f"another process still holds {path}"
    finally:
        os.close(descriptor)


class Stopping:
    """Stops one component; ``missing`` is to be asked until it returns None."""

    def __init__(self, prober: Prober, service: Service, grace_period: Optional[int]) -> None:
        self.prober = prober
        self.host = prober.host
        self.service = service
        self.ended_by = "systemd" if service.kind == "systemd" else "kubelet"
        self.grace = float(grace_period if grace_period is not None else self._own_grace())
        self._short = grace_period is not None
        self._data_dir = self._find_data() if service.name == "etcd" else None
        self._next: Optional[float] = None
        self._signals = [signal.SIGTERM, signal.SIGKILL]

    def _own_grace(self) -> int:
        return int((self.service.pod.get("spec") or {}).get("terminationGracePeriodSeconds") or _DEFAULT_GRACE)

    def _find_data(self) -> Optional[str]:
        """Where etcd's data is, by its command line, its environment or its file; asked while its process is there."""
        with contextlib.suppress(CareError):
            return etcd_settings(self.service, self.host.runner).get("data-dir")
        return option_of(self.service.argv, "--data-dir")

    def begin(self) -> None:
        """Tell whoever keeps it running to stop it."""
        parking = _record.private_directory("services", self.service.name, directory=self.host.directory)
        if self.service.unit is not None:
            _record.write_private(os.path.join(parking, UNIT_FILE), self.service.unit.name.encode())
            done = self.host.runner(["systemctl", "stop", "--no-block", self.service.unit.name])
            if done.rc != 0:
                raise CareError(f"systemd does not stop {self.service.unit.name}: {done.last_words}.")
            self._next = time.monotonic() + self.grace if self._short else None
            return
        wait = self._patience() if self.service.running else 0.0
        _service_manifest.park(self.service.manifests, parking)
        self._next = time.monotonic() + wait

    def _patience(self) -> float:
        kubelets = self.host.processes("kubelet")
        kubelet = kubelets[-1].started if kubelets else None
        process = self.service.processes[-1].started
        answers = kubelet is None or kubelet < process or self._api_answers()
        longest = self.grace if self._short else self.grace + 5.0
        return min(longest, patience(kubelet, process, answers, self.grace))

    def _api_answers(self) -> bool:
        try:
            return ready(ApiServer(self.prober.api_access(), timeout=2.0)) is None
        except CareError:
            return False

    def missing(self, table: list[Process]) -> Optional[str]:
        """What is still there; ends by its process id what nobody else ends."""
        running = self.host.processes(self.service.name, table)
        if self.service.unit is not None:
            return self._missing_unit(running)
        if not running:
            return still_held(self._data_dir) if self._data_dir else None
        back = [path for path in self.service.manifests if os.path.lexists(path)]
        if back:
            raise CareError(
                f"{back[0]} was put back while {self.service.name} was being stopped, by the timer of restore_after or "
                "by somebody: it is left running. A timer needs more seconds than the stop takes."
            )
        pids = ", ".join(str(process.pid) for process in running)
        if self._next is not None and time.monotonic() >= self._next and self._signals:
            number = self._signals.pop(0)
            self._next = time.monotonic() + self.grace
            self.ended_by = number.name
            for process in running:
                end(process, number, self.host.proc)
        sent = "" if self.ended_by == "kubelet" else f", {self.ended_by} was sent to it"
        return f"{self.service.name} still runs as process {pids}{sent}"

    def _missing_unit(self, running: list[Process]) -> Optional[str]:
        name = self.service.unit.name if self.service.unit else ""
        unit = self.host.unit(name)
        if running:
            if self._next is not None and time.monotonic() >= self._next:
                # A unit that is being stopped is not started again for that, whatever its Restart= says.
                self.host.runner(["systemctl", "kill", "--signal=SIGKILL", name])
                self.ended_by, self._next = signal.SIGKILL.name, None
            return f"{name} still runs as process {running[-1].pid}"
        if unit is not None and unit.active not in ("inactive", "failed"):
            return f"{name} is {unit.active}"
        return still_held(self._data_dir) if self._data_dir else None


def end(process: Process, number: signal.Signals, proc: str = "/proc") -> None:
    """Send a signal to that very process, not to another that was given its number meanwhile."""
    now = _process.read(process.pid, proc)
    if now is not None and now.argv == process.argv and abs(now.started - process.started) < 1.0:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)
