# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The last step of an upgrade on a host: the new kubelet, and the proof that it stays."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import (
    _evidence,
    _kubelet,
    _offline,
    _process,
    _record,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._host_facts import Gatherer
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import now
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import parse_or_none
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline, wait_until

if TYPE_CHECKING:
    from ansible_collections.clustercare.kubeadm.plugins.module_utils._kubeadm_upgrade import Upgrade

API_PATIENCE = 300.0  # a local API server is away for about 40 s after its etcd was restarted
_KUBELET_PATIENCE = 180.0
_CRASH_LOOP = 3
_SETTLING = 20.0  # the first look of a new kubelet at its static pods took 4 to 15 s on a busy machine


class Restart:
    """The kubelet of the host that an upgrade's step works on."""

    def __init__(self, step: Upgrade) -> None:
        self.step = step
        self.target = step.target
        self.runner = step.runner
        self.began: Optional[float] = None
        self._config: Optional[dict[str, Any]] = None

    def run(self) -> None:
        """Restart the kubelet when that makes a difference, and prove that the new one stays."""
        host = self.step.host()
        kubelet = host["kubelet"]
        reasons = list(kubelet["stale_because"])
        if parse_or_none(kubelet["running"]) != self.target:
            reasons.append(f"the running kubelet is {kubelet['running'] or 'not there'}")
        self.step.results.update(reasons=reasons, record=host["record"], command=["systemctl", "restart", "kubelet"])
        self.refuse_kubelet(host)
        if not reasons:
            return
        self.step.results["changed"] = True
        if self.step.options.check_mode:
            return
        self.step.open(host, "kubelet")
        if host["role"] == "master":  # a kubelet of another minor makes etcd's pod anew
            self.step.results["leader_moved"] = self.step.lead_elsewhere()
        self.began = began = time.time()
        try:
            _kubelet.restart(self.runner, timeout=120)
        except CareError as error:
            raise type(error)(error.message, **error.results, evidence=self.kubelet_evidence()) from error
        process = self.new_kubelet(kubelet["pid"])
        self.static_pods_settle(host, process.started)
        seconds = round(time.time() - began, 1)
        record = _record.with_step(
            host["record"], "kubelet", str(self.target), self.step.options.run_id, now(), seconds
        )
        _record.save(record, self.step.directory)
        self.step.results.update(record=record, seconds=seconds, pid=process.pid, started=round(process.started, 2))

    def refuse_kubelet(self, host: dict[str, Any]) -> None:
        """Never a kubelet that is not the target's, and never before the local API server."""
        installed = host["kubelet"]["installed"]
        if parse_or_none(installed) != self.target:
            raise CareError(
                f"The kubelet installed on {host['hostname']} is {installed or 'missing'}, not {self.target}; "
                "install it first (kube_packages with state=present)."
            )
        if host["role"] == "master":
            version = (host["static_pods"].get("kube-apiserver") or {}).get("version") or host["api"]["version"]
            server = parse_or_none(version)
            if server is not None and server.series < self.target.series:
                raise CareError(
                    f"The API server of {host['hostname']} is still {server}; a kubelet {self.target} must not run "
                    "before it. Run kubeadm's step first."
                )

    def new_kubelet(self, old_pid: Optional[int]) -> _process.Process:
        """Wait until another process of the target's binary answers and stays."""
        seen: list[_process.Process] = []
        restarts = _kubelet.look_at_unit(self.runner).restarts  # systemd goes on counting over a restart on purpose

        def look() -> Optional[str]:
            unit = _kubelet.look_at_unit(self.runner)
            if unit.restarts - restarts >= _CRASH_LOOP:
                evidence = self.kubelet_evidence()
                raise CareError(
                    f"The kubelet {self.target} of {os.uname().nodename} ended {_CRASH_LOOP} times after its restart. "
                    f"It said last: {_evidence.last_error(evidence['kubelet'])}. Mend that, then run the same again.",
                    evidence=evidence,
                )
            process = _kubelet.running_kubelet(list(_process.processes()), unit)
            if process is None or process.pid != unit.main_pid:
                return "no kubelet runs"
            if process.pid == old_pid:
                return "the old process still runs"
            if not _kubelet.same_binary(process, str(_kubelet.installed_path())):
                return "it runs from another file than the installed one"
            problem = None if seen and seen[-1].pid == process.pid else "it was started just now"
            seen.append(process)
            return problem or _kubelet.healthz(_kubelet.healthz_of(self.kubelet_config()))

        patience = Deadline(min(_KUBELET_PATIENCE, self.step.options.timeout), "timeout")
        try:
            wait_until(look, patience, "The new kubelet runs and answers", passes=3)
        except TimedOut as error:
            raise TimedOut(error.message, **{**error.results, "evidence": self.kubelet_evidence()}) from error
        return seen[-1]

    def static_pods_settle(self, host: dict[str, Any], since: float) -> None:
        """Wait for the static pods that a kubelet of another minor replaces: the API and etcd go away with them."""
        pods = host["static_pods"]

        def look() -> Optional[str]:
            table = list(_process.processes())
            for name in pods:
                running = _process.named(table, name)
                if not running:
                    return f"{name} does not run"
                if running[-1].started < since and time.time() < since + _SETTLING:
                    return f"the new kubelet may still replace {name}"
            api = Gatherer(self.step.options.kubeconfig).api(pods["kube-apiserver"]["flags"])
            return None if api["kube_system_uid"] else str(api["error"])

        if "kube-apiserver" in pods:
            patience = Deadline(min(API_PATIENCE, self.step.options.timeout), "timeout")
            wait_until(look, patience, "The static pods run under the new kubelet", passes=2)

    def kubelet_config(self) -> dict[str, Any]:
        if self._config is None:
            self._config = _offline.read_objects([_kubelet.CONFIG_FILE])[0]
        return self._config

    def kubelet_evidence(self) -> dict[str, Any]:
        return {"kubelet": _evidence.kubelet_journal(self.runner, self.began)}
