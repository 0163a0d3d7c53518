# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Looking at a host on which a run of ours may have died: what it left behind is waited for first."""

from __future__ import annotations

import contextlib
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._host_facts import Gatherer
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kubeadm import open_run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kubeadm_job import Jobs
from ansible_collections.clustercare.kubeadm.plugins.module_utils._process import named, processes
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline, wait_until

# A controller manager or scheduler that lost its lease ends, and the kubelet starts it again.
_STARTING = 30.0
_JOB = ("run", "step", "target", "running", "rc", "seconds", "taken")


def look(params: dict[str, Any]) -> dict[str, Any]:
    """The host's facts, with what this collection itself has going on there."""
    jobs = Jobs()
    job = jobs.look()
    if params["job_timeout"] and job and job.running:
        job = jobs.wait(Deadline(params["job_timeout"], "job_timeout"))
    host = gather(params)
    if params["api_timeout"] and is_awaited(host, params["only_master"]):
        await_api(host, params)
        host = gather(params)
    dead = [name for name, pod in host["static_pods"].items() if not pod["running"]]
    if params["api_timeout"] and dead:
        await_processes(dead, min(_STARTING, params["api_timeout"]))
        host = gather(params)
    host["job"] = {name: getattr(job, name) for name in _JOB} if job else None
    return host


def gather(params: dict[str, Any]) -> dict[str, Any]:
    host = Gatherer(params["kubeconfig"], params["patches_dir"]).gather()
    host["open_run"] = open_run(host)
    return host


def is_awaited(host: dict[str, Any], only_master: bool) -> bool:
    """Whether the local API server is away, and may be expected back: after a step of ours, or as the only one."""
    away = host["role"] == "master" and not (host["api"] or {}).get("reachable")
    return away and (only_master or host["open_run"] is not None)


def await_processes(names: list[str], seconds: float) -> None:
    """Wait until these static pods run again; the facts tell when they do not."""

    def dead() -> Optional[str]:
        table = list(processes())
        return ", ".join(name for name in names if not named(table, name)) or None

    with contextlib.suppress(TimedOut):
        wait_until(dead, Deadline(seconds, "api_timeout"), "All static pods run")


def await_api(host: dict[str, Any], params: dict[str, Any]) -> None:
    """Wait until the local API server answers; the facts tell when it does not."""
    argv = (host["static_pods"].get("kube-apiserver") or {}).get("flags") or []

    def away() -> Optional[str]:
        api = Gatherer(params["kubeconfig"]).api(argv)
        return None if api["kube_system_uid"] else str(api["error"])

    with contextlib.suppress(TimedOut):
        wait_until(away, Deadline(params["api_timeout"], "api_timeout"), "The API server answers")
