# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Stopping and starting components of this host with proof: gone is the process, well is its own word."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import (
    _evidence,
    _record,
    _service_guard,
    _service_manifest,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._back_off import BackOff
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service import RUNTIME, Host, Service
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_options import (
    MEANS,
    START_ORDER,
    STOP_ORDER,
    Options,
    in_order,
    wrong_options,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_probe import Prober
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_stop import Stopping
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_timer import DeadMan
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline, wait_until

_INTERVAL = 0.3
_RESTART_MARGIN = 60.0


def view(service: Service, due: Optional[str]) -> dict[str, Any]:
    """One component for the result and for diff mode."""
    return {
        "state": service.state,
        "manifests": [*service.manifests, *service.parked],
        "unit": service.unit.name if service.unit else None,
        "restore_at": due,
    }


class Care:
    """One run of the module control_plane_service."""

    def __init__(self, host: Host, options: Options) -> None:
        self.host = host
        self.options = options
        self.prober = Prober(host, options.kubeconfig, options.etcd)
        self.deadline = Deadline(options.timeout, "timeout")
        self.back_off = BackOff(host.runner)
        self.changed = False
        self.actions: list[str] = []
        self.warnings: list[str] = []
        self.ended_by: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self.began: dict[str, float] = {}  # of the first thing that was done to it, on the monotonic clock
        self.before: dict[str, dict[str, Any]] = {}

    def dead_man(self, name: str) -> DeadMan:
        return DeadMan(name, self.host.runner, self.host.directory)

    def did(self, what: str) -> None:
        self.changed = True
        self.actions.append(what)

    def took(self, name: str) -> None:
        """Note how long it took until it was gone, or until it was well again."""
        self.seconds.setdefault(name, round(time.monotonic() - self.began[name], 1))

    # --- the whole

    def run(self) -> dict[str, Any]:
        problem = wrong_options(self.options)
        if problem:
            raise CareError(problem)
        lock = contextlib.nullcontext() if self.options.check_mode else self.lock()
        with lock:
            found = {name: self.host.look(name) for name in dict.fromkeys(self.options.names)}
            self.before = {name: view(service, self.dead_man(name).due()) for name, service in found.items()}
            try:
                self.refuse(found)
                self.act(found)
            except CareError as error:
                results = {**self.results(), **error.results}
                results["changed"] = self.changed or bool(error.results.get("changed"))
                raise type(error)(error.message, **results) from error
            except OSError as error:
                what = f"{error.filename or 'A file'} cannot be read or written: {error.strerror}"
                raise CareError(f"{what}. Make that possible, then run the same again.", **self.results()) from error
            return self.results()

    def lock(self) -> contextlib.AbstractContextManager[None]:
        return _record.locked(self.deadline, directory=self.host.directory)

    def act(self, found: dict[str, Service]) -> None:
        names = list(found)
        if self.options.state in ("stopped", "restarted"):
            for wave in in_order(names, STOP_ORDER):
                self.stop([found[name] for name in wave])
        if self.options.state in ("started", "restarted"):
            for wave in in_order(names, START_ORDER):
                self.start([found[name] for name in wave])

    def results(self) -> dict[str, Any]:
        check = self.options.check_mode
        after = {name: self.planned(name) if check else self.shown(name) for name in self.before}
        return {
            "changed": self.changed,
            "services": after,
            "actions": self.actions,
            "warnings": self.warnings,
            "diff": {
                "before": self.before,
                "after": {name: {key: row[key] for key in self.before[name]} for name, row in after.items()},
            },
        }

    def shown(self, name: str) -> dict[str, Any]:
        service = self.host.look(name)
        newest = service.processes[-1] if service.processes else None
        return {
            **view(service, self.dead_man(name).due()),
            "kind": service.kind,
            "pid": newest.pid if newest else None,
            "started": round(newest.started, 2) if newest else None,
            "ended_by": self.ended_by.get(name),
            "seconds": self.seconds.get(name),
        }

    def planned(self, name: str) -> dict[str, Any]:
        """What check mode says: the component as it would be."""
        row = self.shown(name)
        if self.options.state == "stopped":
            row.update(state="stopped", pid=None, started=None)
        elif self.changed:
            row["state"] = "started"
        return row

    # --- before anything is done

    def refuse(self, found: dict[str, Service]) -> None:
        """:raises CareError: what is asked for cannot be done, or would cost the cluster what nobody allowed."""
        for service in found.values():
            self.refuse_one(service, found)
        if self.options.state == "started":
            return
        stopping = [service for service in found.values() if service.running]
        if stopping and not self.options.allow_outage:
            reasons = _service_guard.refusals(self.prober, stopping)
            if reasons:
                verb = "stop" if self.options.state == "stopped" else "restart"
                names = ", ".join(service.name for service in stopping)
                raise CareError(f"Refused to {verb} {names} on {os.uname().nodename}: {' '.join(reasons)}")

    def refuse_one(self, service: Service, found: dict[str, Service]) -> None:
        where = os.uname().nodename
        if service.kind == "absent":
            place = f"no manifest in {service.where} and no systemd unit" if service.where else "no systemd unit"
            raise CareError(f"{where} has no {service.name}: there is {place} of it, and it does not run.")
        if service.kind == "process":
            pid = service.processes[-1].pid
            raise CareError(
                f"{service.name} of {where} runs as process {pid}, of no static pod and no systemd unit: whoever "
                "started it has to stop and start it."
            )
        starts = self.options.state in ("started", "restarted") and service.kind == "static_pod"
        if starts and "kubelet" not in found and not self.host.processes("kubelet"):
            raise CareError(
                f"The kubelet of {where} does not run, and nothing else starts the static pod {service.name}: start "
                f"the kubelet first, or both at once (name: [kubelet, {service.name}])."
            )

    # --- stopping

    def stop(self, services: list[Service]) -> None:
        """Stop those of one wave, at the same time, and prove that they are gone."""
        stopping: list[Stopping] = []
        for service in services:
            if self.options.state == "stopped":
                self.arm(service)
            if not (service.running or service.wanted):
                continue
            self.did(f"stop {service.name}")
            if self.options.check_mode:
                continue
            if self.options.state == "restarted":
                # Were we killed between the two halves, nobody would start it again.
                self.set_timer(service, self.options.timeout + _RESTART_MARGIN)
            one = Stopping(self.prober, service, self.options.grace_period)
            self.began[service.name] = time.monotonic()
            one.begin()
            stopping.append(one)

        def missing() -> Optional[str]:
            table = self.host.table()
            seen = []
            for one in stopping:
                problem = one.missing(table)
                if problem:
                    seen.append(problem)
                else:
                    self.took(one.service.name)
                    self.ended_by[one.service.name] = one.ended_by
            return "; ".join(seen) or None

        if stopping:
            names = ", ".join(one.service.name for one in stopping)
            wait_until(missing, self.deadline, f"Waiting until {names} is gone", passes=2, interval=_INTERVAL)
        if self.options.state == "stopped":
            self.warnings += [MEANS[one.name] for one in services if one.name in MEANS]

    def arm(self, service: Service) -> None:
        """Arm, move or take away the dead man's timer of a component that is to be stopped."""
        after, dead_man = self.options.restore_after, self.dead_man(service.name)
        if after is None:
            return
        if after == 0:
            self.disarm(service.name)
            return
        if dead_man.due() and not (service.running or service.wanted):
            return  # stopped, and its time is set: a second run changes nothing
        self.did(f"put {service.name} back after {after} s")
        if not self.options.check_mode:
            self.set_timer(service, after)

    def set_timer(self, service: Service, seconds: float) -> None:
        unit = service.unit.name if service.unit else None
        parking = self.host.parking(service.name)
        self.dead_man(service.name).arm(time.time() + seconds, parking, service.where, unit)

    def disarm(self, name: str) -> None:
        dead_man = self.dead_man(name)
        if dead_man.due():
            self.did(f"take away the timer that puts {name} back")
            if not self.options.check_mode:
                dead_man.disarm()

    # --- starting

    def start(self, services: list[Service]) -> None:
        """Start those of one wave and prove that each is well, by its own word."""
        waited = [service if self.options.check_mode else self.host.look(service.name) for service in services]
        for service, now in zip(services, waited):
            self.began.setdefault(service.name, time.monotonic())
            self.seconds.pop(service.name, None)
            self.begin(service, now)

        def missing() -> Optional[str]:
            seen = []
            for service in waited:
                problem = self.unwell(service)
                if problem:
                    seen.append(f"{service.name}: {problem}")
                else:
                    self.took(service.name)
            return "; ".join(seen) or None

        if not self.options.check_mode:
            names = ", ".join(service.name for service in waited)
            what = "is well" if self.options.prove == "health" else "runs"
            passes = 2 if self.changed else 1
            try:
                wait_until(missing, self.deadline, f"Waiting until {names} {what}", passes=passes, interval=_INTERVAL)
            except TimedOut as error:
                evidence = self.evidence([service.name for service in waited])
                raise TimedOut(error.message, **{**error.results, "evidence": evidence}) from error
        for service in services:
            if self.options.state == "restarted" and not self.options.check_mode:
                self.dead_man(service.name).disarm()
            else:
                self.disarm(service.name)

    def begin(self, asked: Service, now: Service) -> None:
        """Make it start when it does not run."""
        stopped_by_us = self.options.check_mode and self.options.state == "restarted"
        if now.kind == "static_pod":
            if now.parked or stopped_by_us:
                self.did(f"start {now.name}")
            elif not now.manifests:
                self.warnings.append(f"{now.name} runs without a manifest in {now.where}: once it ends, it stays away.")
            if now.parked and not self.options.check_mode:
                _places, notes = _service_manifest.put_back(now.parked, now.where)
                self.warnings += notes
            return
        unit = now.unit or asked.unit
        if unit is None or (now.running and not stopped_by_us):
            return
        self.did(f"start {now.name}")
        if not self.options.check_mode:
            # A unit that failed too often would be refused for that alone.
            self.host.runner(["systemctl", "reset-failed", unit.name])
            done = self.host.runner(["systemctl", "start", "--no-block", unit.name])
            if done.rc != 0:
                raise CareError(f"systemd does not start {unit.name}: {done.last_words}.")

    def unwell(self, found: Service) -> Optional[str]:
        """What is still missing until a component counts as started."""
        service = found._replace(processes=self.host.processes(found.name))
        if not service.running:
            unit = self.host.unit(found.unit.name) if found.unit else None
            if unit is not None and unit.active == "failed":
                why = f"{unit.result}, status {unit.exit_status}"
                raise CareError(f"{unit.name} ended by itself ({why}): {self.last_words(unit.name)}.")
            if service.kind == "static_pod" and not self.host.processes(RUNTIME):
                return "no process of it runs, and no container runtime that could start one"
            if service.kind == "static_pod" and not self.host.processes("kubelet"):
                return "no process of it runs, and no kubelet that could start one"
            if service.kind == "static_pod" and self.back_off.end(service.name, max(1.0, self.deadline.left)):
                self.did(f"restart the kubelet, which would wait before it starts {service.name}")
            return "no process of it runs"
        if self.options.prove == "process":
            return None
        return self.prober.problem(service)

    def last_words(self, unit: str) -> str:
        # By --unit systemd's own lines come too, and the last one tells no more than that it has ended.
        done = self.host.runner(["journalctl", f"_SYSTEMD_UNIT={unit}", "--no-pager", "--lines=1", "--output=cat"])
        return f"it said last: {done.out.strip()[-300:].rstrip('.') or 'nothing'}"

    def evidence(self, names: list[str]) -> dict[str, Any]:
        logs = _evidence.pod_logs()
        return {
            "static_pods": {name: logs[name] for name in names if name in logs},
            "kubelet": _evidence.kubelet_journal(self.host.runner),
        }
