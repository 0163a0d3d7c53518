# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""Giving up an unfinished upgrade on one host: afterwards nothing of it runs, and no later run goes on from it."""

from __future__ import annotations

from typing import Any

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _record
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner, run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kubeadm_job import Jobs
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kubelet_detour import Detour
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline


def abort(timeout: float, check_mode: bool, runner: Runner = run, directory: str = _record.DIRECTORY) -> dict[str, Any]:
    """Put the host's record away.

    A kubeadm that still runs is waited for, never stopped: stopping it could cut its own rollback.

    :raises TimedOut: kubeadm still runs after ``timeout`` seconds; it is left running and the record stays.
    """
    jobs = Jobs(runner, directory)
    record, job = _record.load(directory), jobs.look()
    given_up = _record.is_open(record) or (job is not None and not job.taken)
    results: dict[str, Any] = {"record": record, "changed": given_up}
    if check_mode or not given_up:
        return results
    deadline = Deadline(timeout, "timeout")
    with _record.locked(deadline, directory):
        if job is not None:
            ended = jobs.wait(deadline)
            jobs.mark_taken()
            results.update(rc=ended.rc, output=ended.output, seconds=ended.seconds)
        Detour(runner, timeout).end()
        _record.put_away(directory)
    return results
