# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The one lock of a cluster, a Lease: who may have it is decided by ``judge``, and nobody else is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import FIELD_MANAGER, Api
from ansible_collections.clustercare.kubeadm.plugins.module_utils._names import LEASES, LOCK, PREFIX
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import epoch, iso
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline

PATH = f"{LEASES}/{LOCK}"
_WHERE = f"Lease {LOCK} in kube-system"
_RACES = 5

LOCK_RUN: dict[str, Any] = {"lock_run": {"type": "str"}}


@dataclass(frozen=True)
class Process:
    """A run's process, and what has to be the same before its absence proves anything."""

    machine_id: str = ""
    boot_id: str = ""
    hostname: str = ""
    pid_namespace: str = ""
    pid: str = ""
    start: str = ""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Process:
        """From the lookup's answer, or from a lease's annotations; what is missing is empty and proves nothing."""
        return cls(**{name: str(told.get(name) or "") for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Claim:
    """What a run wants: the lock, for whom, and from which process."""

    purpose: str
    run: str
    ttl: int
    takeover: Optional[str] = None
    process: Process = field(default_factory=Process)
    running: Optional[frozenset[tuple[str, str]]] = None
    first_namespace: bool = False

    @classmethod
    def of(cls, purpose: str, run: str, ttl: int, takeover: Optional[str], controller: Mapping[str, Any]) -> Claim:
        """With the answer of the lookup plugin ``controller``, which may be empty."""
        running = controller.get("running")
        seen = None if running is None else frozenset((str(p["pid"]), str(p["start"])) for p in running)
        first = bool(controller.get("first_namespace"))
        return cls(purpose, run, ttl, takeover or None, Process.of(controller), seen, first)


@dataclass(frozen=True)
class Holder:
    """Who holds the lock, by the lease's own words."""

    purpose: str
    run: str
    process: Process
    since: Optional[str]
    renewed: Optional[float]
    ttl: int

    @property
    def until(self) -> Optional[float]:
        """When its promise to come back ends, by the API server's clock; None when it never promised."""
        return self.renewed + self.ttl if self.renewed is not None and self.ttl else None

    def data(self) -> dict[str, Any]:
        """For a module's result."""
        return {
            "purpose": self.purpose,
            "run": self.run,
            "host": self.process.hostname or None,
            "since": self.since,
            "until": iso(self.until) if self.until is not None else None,
            "ttl": self.ttl,
        }

    def __str__(self) -> str:
        where = f" on {self.process.hostname}" if self.process.hostname else ""
        process = f" (process {self.process.pid})" if self.process.pid else ""
        return f"run {self.run} for '{self.purpose}'{where}{process}, since {self.since or 'nobody knows when'}"


@dataclass(frozen=True)
class Verdict:
    """``acquire``, ``renew``, ``take_over`` or ``refuse``, and in words why."""

    action: str
    why: str = ""
    holder: Optional[Holder] = None


def read(lease: Optional[Mapping[str, Any]]) -> Optional[Holder]:
    """Who holds a lease; None when nobody does."""
    spec = (lease or {}).get("spec") or {}
    identity = spec.get("holderIdentity")
    if not lease or not identity:
        return None
    notes = {
        name[len(PREFIX) :].replace("-", "_"): value
        for name, value in (lease["metadata"].get("annotations") or {}).items()
        if name.startswith(PREFIX)
    }
    purpose, run = notes.get("purpose", ""), notes.get("run", "")
    if identity != f"{purpose}/{run}":
        # Made by hand or by something else: it is a lock all the same, under the name that it shows.
        purpose, run, notes = "something else", identity, {}
    renewed = spec.get("renewTime") or spec.get("acquireTime")
    since = notes.get("since") or spec.get("acquireTime")
    ttl = int(spec.get("leaseDurationSeconds") or 0)
    return Holder(purpose, run, Process.of(notes), since, epoch(renewed) if renewed else None, ttl)


def judge(lease: Optional[Mapping[str, Any]], me: Claim, now: float) -> Verdict:
    """Whether the lock is to be had.

    :param now: the API server's clock, by which ``renewTime`` is written too.
    """
    holder = read(lease)
    if holder is None:
        return Verdict("acquire", "nobody held it")
    if (holder.purpose, holder.run) == (me.purpose, me.run):
        return Verdict("renew", "it is this run's own", holder)
    if me.takeover == holder.run:
        return Verdict("take_over", "cluster_lock_takeover names its run", holder)
    if holder.until is not None and now >= holder.until:
        return Verdict("take_over", f"its holder did not come back until {iso(holder.until)}", holder)
    gone = why_gone(holder.process, me)
    if gone and holder.purpose == me.purpose:
        return Verdict("take_over", gone, holder)
    return Verdict("refuse", gone, holder)


def why_gone(recorded: Process, me: Claim) -> str:
    """In words why a holder's process cannot run any more; empty when that is not proven."""
    mine = me.process
    same_machine = recorded.machine_id == mine.machine_id and recorded.hostname == mine.hostname
    if not (same_machine and mine.machine_id and mine.boot_id and recorded.boot_id and recorded.pid):
        return ""
    if recorded.boot_id != mine.boot_id:
        # Containers of one image may share a machine id, and see the boot of whatever machine they run on.
        known = me.first_namespace and recorded.pid_namespace == mine.pid_namespace
        return f"{recorded.hostname}, where it ran, has been started again since" if known else ""
    if me.running is None or not mine.pid_namespace or recorded.pid_namespace != mine.pid_namespace:
        return ""
    gone = (recorded.pid, recorded.start) not in me.running
    return f"its process {recorded.pid} on {recorded.hostname} is gone" if gone else ""


def refusal(verdict: Verdict, me: Claim) -> str:
    """The sentence for a lock that somebody else holds; empty when nobody does."""
    holder = verdict.holder
    if holder is None:
        return ""
    until = f"until {iso(holder.until)} unless it renews it" if holder.until is not None else "without an end"
    told = f"The cluster is locked by {holder}, {until}"
    if me.takeover:
        told += f"; the lock to be taken over (option takeover) was that of run {me.takeover}"
    if verdict.why:
        told += f". It is dead ({verdict.why}), but was at work on something else, which may be half done"
    return (
        f"{told}. Wait for it; or, when it is known to be dead, run again with -e cluster_lock_takeover={holder.run} "
        f"({_WHERE})."
    )


# --- the lease in the API ---------------------------------------------------------------------------------------


def acquire(api: Api, me: Claim, deadline: Deadline, check: bool) -> dict[str, Any]:
    """Get the lock or renew it.

    :raises CareError: somebody else holds it.
    """
    sent: Optional[Verdict] = None
    for _race in range(_RACES):
        lease, now = _look(api, deadline)
        verdict = judge(lease, me, now)
        if verdict.action == "refuse" and verdict.holder:
            raise CareError(refusal(verdict, me), held=False, holder=verdict.holder.data())
        if sent is not None and sent.action != "renew" and verdict.action == "renew":
            # Our own write, whose answer was lost.
            return _held(lease, sent, True)
        if check:
            return _held(lease if verdict.action == "renew" else None, verdict, verdict.action != "renew")
        sent = verdict
        kept = _write(api, lease, _wanted(lease, me, verdict, now), deadline)
        if kept is not None:
            return _held(kept, verdict, verdict.action != "renew")
    raise CareError(f"The lock changes hands faster than it can be read ({_WHERE}); run it again.")


def release(api: Api, me: Claim, deadline: Deadline, check: bool) -> dict[str, Any]:
    """Give the lock back, if it is ours."""
    sent = False
    for _race in range(_RACES):
        lease, _now = _look(api, deadline)
        holder = read(lease)
        mine = holder is not None and (holder.purpose, holder.run) == (me.purpose, me.run)
        if sent and not mine:
            return {"changed": True, "held": False, "action": "released", "holder": None}
        if lease is None or holder is None:
            return {"changed": False, "held": False, "action": "absent", "holder": None}
        if not mine:
            said = f"The lock was not given back: it is not this run's, but is held by {holder}."
            found: dict[str, Any] = {"action": "foreign", "holder": holder.data(), "warnings": [said]}
            return {"changed": False, "held": False, **found}
        if not check:
            sent = True
            same = {key: lease["metadata"][key] for key in ("uid", "resourceVersion") if key in lease["metadata"]}
            answer = api.call("delete", PATH, deadline, body={"preconditions": same}, allow=(404, 409))
            if answer.status == 409:
                continue
        return {"changed": True, "held": False, "action": "released", "holder": None}
    raise CareError(f"The lock changes faster than it can be given back ({_WHERE}); run it again.")


def keep(api: Api, me: Claim, deadline: Deadline, check: bool) -> dict[str, Any]:
    """Renew the lock, and never take it: between two steps somebody else may have had it.

    :raises CareError: the run does not hold it any more.
    """
    if check:
        return {"changed": False, "held": False, "action": "renewed", "holder": None}
    renew(api, me.run, deadline)
    lease, _now = _ours(api, me.run, deadline)
    holder = read(lease)
    return {"changed": False, "held": True, "action": "renewed", "holder": holder.data() if holder else None}


def renew(api: Api, run: Optional[str], deadline: Deadline, check: bool = False) -> None:
    """Tell the others that the run is still at work; nothing to do without a run, nor in check mode.

    :raises CareError: the run does not hold the lock any more.
    """
    if not run or check:
        return
    lease, now = _ours(api, run, deadline)
    if _write(api, lease, {"spec": {"renewTime": _micro(now)}}, deadline) is None:
        # Another module of this run was faster, or our own first try was: as good, if it is still ours.
        _ours(api, run, deadline)


def _ours(api: Api, run: str, deadline: Deadline) -> tuple[dict[str, Any], float]:
    lease, now = _look(api, deadline)
    holder = read(lease)
    if lease is not None and holder is not None and holder.run == run:
        return lease, now
    seen = f"it is held by {holder}" if holder else "nobody holds it"
    raise CareError(
        f"This run, {run}, has lost the lock of the cluster: {seen} ({_WHERE}). "
        "From here on nothing is done. See that nobody else is at work, then run it again.",
        lock_lost=True,
    )


def _look(api: Api, deadline: Deadline) -> tuple[Optional[dict[str, Any]], float]:
    """The lease, and the API server's clock: the clocks of two controllers need not agree."""
    answer = api.call("get", PATH, deadline, allow=(404,))
    return (None if answer.status == 404 else answer.body), api.now


def _wanted(lease: Optional[Mapping[str, Any]], me: Claim, verdict: Verdict, now: float) -> dict[str, Any]:
    """The lease, or the change of it, that makes it ours."""
    spec: dict[str, Any] = {"renewTime": _micro(now), "leaseDurationSeconds": me.ttl}
    if verdict.action == "renew":
        return {"spec": spec}
    taken = ((lease or {}).get("spec") or {}).get("leaseTransitions") or 0
    spec.update(holderIdentity=f"{me.purpose}/{me.run}", acquireTime=_micro(now), leaseTransitions=taken + bool(lease))
    notes = {"purpose": me.purpose, "run": me.run, "since": iso(now), **asdict(me.process)}
    # None removes what an earlier holder noted; a new lease has nothing to remove.
    annotations = {PREFIX + name.replace("_", "-"): value or None for name, value in notes.items()}
    if lease is None:
        annotations = {name: value for name, value in annotations.items() if value}
    return {"metadata": {"annotations": annotations}, "spec": spec}


def _write(
    api: Api, lease: Optional[Mapping[str, Any]], wanted: dict[str, Any], deadline: Deadline
) -> Optional[dict[str, Any]]:
    """The lease as it is then; None when somebody was faster, or our own first try was."""
    metadata = wanted.get("metadata", {})
    if lease is not None:
        metadata = {**metadata, "resourceVersion": lease["metadata"]["resourceVersion"]}
        return api.patch(PATH, {**wanted, "metadata": metadata}, deadline)
    kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    body = {**kind, **wanted, "metadata": {**metadata, "name": LOCK, "namespace": "kube-system"}}
    query = {"fieldManager": FIELD_MANAGER}
    answer = api.call("create", LEASES, deadline, query, body, allow=(409,))
    return None if answer.status == 409 else answer.body


def _held(lease: Optional[Mapping[str, Any]], verdict: Verdict, changed: bool) -> dict[str, Any]:
    """The module's answer; in check mode there is no lease of ours to show."""
    holder = read(lease)
    taken = verdict.action == "take_over"
    return {
        "changed": changed,
        "held": lease is not None,
        "action": {"acquire": "acquired", "renew": "renewed", "take_over": "taken_over"}[verdict.action],
        "reason": verdict.why,
        "holder": holder.data() if holder else None,
        "previous": verdict.holder.data() if taken and verdict.holder else None,
        "warnings": [f"The lock was taken over from {verdict.holder}: {verdict.why}."] if taken else [],
    }


def _micro(seconds: float) -> str:
    """A MicroTime, as leases want it."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
