# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""What a drain decides: which pods go, which stay, which budget or last replica holds one back, in which wave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

_MIRROR = "kubernetes.io/config.mirror"
_CORDON_TAINT = "node.kubernetes.io/unschedulable"
_HASH_LABEL = "pod-template-hash"


@dataclass(frozen=True)
class Controller:
    """The one owner that would bring a pod back."""

    kind: str
    api: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class Pod:
    """What a drain has to know about a pod; the same pod is the same ``uid``."""

    uid: str
    namespace: str
    name: str
    node: str
    phase: str
    ready: bool
    created: str
    terminating: str | None
    controller: Controller | None
    mirror: bool
    empty_dirs: tuple[str, ...]
    finalizers: tuple[str, ...]
    labels: Mapping[str, str] = field(compare=False)
    spec: Mapping[str, Any] = field(compare=False, repr=False)

    @property
    def finished(self) -> bool:
        """Succeeded or Failed: nothing of it runs any more."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def of_daemonset(self) -> bool:
        """Whether its controller is a DaemonSet."""
        return bool(self.controller and self.controller.kind == "DaemonSet" and self.controller.api.startswith("apps/"))

    @property
    def ignores_cordon(self) -> bool:
        """Whether the scheduler may put it on a cordoned node."""
        return tolerates(self.spec, {"key": _CORDON_TAINT, "effect": "NoSchedule"})

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def read_pod(found: Mapping[str, Any]) -> Pod:
    """A pod as the API tells it."""
    metadata, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    owner = next((ref for ref in metadata.get("ownerReferences") or [] if ref.get("controller")), None)
    return Pod(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        node=spec.get("nodeName") or "",
        phase=status.get("phase") or "",
        ready=any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or []),
        created=metadata.get("creationTimestamp") or "",
        terminating=_asked_to_leave(metadata),
        controller=owner and Controller(owner["kind"], owner.get("apiVersion") or "", owner["name"], owner["uid"]),
        mirror=_MIRROR in (metadata.get("annotations") or {}),
        empty_dirs=tuple(v["name"] for v in spec.get("volumes") or [] if v.get("emptyDir") is not None),
        finalizers=tuple(metadata.get("finalizers") or []),
        labels=metadata.get("labels") or {},
        spec=spec,
    )


def _asked_to_leave(metadata: Mapping[str, Any]) -> str | None:
    """When its deletion was asked for; the API tells when its grace period ends."""
    ends = metadata.get("deletionTimestamp")
    grace = metadata.get("deletionGracePeriodSeconds")
    if not ends or not grace:
        return ends
    asked = datetime.fromisoformat(ends.replace("Z", "+00:00")) - timedelta(seconds=grace)
    return asked.strftime("%Y-%m-%dT%H:%M:%SZ")


# --- which pods go ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wishes:
    """The options that decide about pods."""

    daemonsets: str = "ignore"
    emptydir: str = "fail"
    unmanaged: str = "fail"


@dataclass(frozen=True)
class Verdict:
    """What becomes of one pod.

    action: ``evict`` it, ``wait`` until it is gone by itself, ``skip`` it, or ``refuse`` the whole drain.
    obstacles: the options that would have to be set otherwise (refuse only).
    risks: what is lost with it (evict only).
    """

    action: str
    reason: str
    obstacles: tuple[str, ...] = ()
    risks: tuple[str, ...] = ()


def classify(pod: Pod, daemonsets: Iterable[str], wishes: Wishes) -> Verdict:
    """Decide about one pod.

    :param daemonsets: UIDs of the DaemonSets that exist.
    """
    if pod.mirror:
        return Verdict("skip", "static pod of the kubelet")
    orphan = pod.of_daemonset and pod.controller is not None and pod.controller.uid not in daemonsets
    if pod.of_daemonset and not orphan:
        if wishes.daemonsets == "fail":
            return Verdict("refuse", "belongs to a DaemonSet", ("daemonsets",))
        return Verdict("skip", "belongs to a DaemonSet")
    if pod.finished:
        return Verdict("skip", "finished")
    if pod.terminating:
        return Verdict("wait", f"terminating since {pod.terminating}")
    bare = pod.controller is None or orphan
    what_bare = "its DaemonSet is gone" if orphan else "no controller would bring it back"
    what_local = f"local data in emptyDir {', '.join(pod.empty_dirs)}"
    facts = []
    if bare:
        facts.append(("unmanaged", wishes.unmanaged, what_bare))
    if pod.empty_dirs:
        facts.append(("emptydir", wishes.emptydir, what_local))
    obstacles = tuple(option for option, wish, _said in facts if wish == "fail")
    if obstacles:
        return Verdict("refuse", "; ".join(said for option, _wish, said in facts if option in obstacles), obstacles)
    return Verdict("evict", "", risks=tuple(said for _option, _wish, said in facts))


def refusal(refused: Sequence[tuple[Pod, Verdict]]) -> str:
    """Why the drain may not begin, one clause per cause, each with its option."""
    causes = {
        "daemonsets": "belong to a DaemonSet (option daemonsets=ignore leaves them where they are)",
        "unmanaged": "have no controller that would bring them back (option unmanaged=delete lets them go for good)",
        "emptydir": "keep data in an emptyDir volume (option emptydir=delete lets that data go)",
        "budgets": "are matched by more than one PodDisruptionBudget, which the eviction API refuses "
        "(make each pod match one budget only)",
    }
    clauses = []
    for option, cause in causes.items():
        pods = [(pod, verdict) for pod, verdict in refused if option in verdict.obstacles]
        if pods:
            names = [f"{pod} ({verdict.reason})" if option == "budgets" else str(pod) for pod, verdict in pods]
            clauses.append(f"{', '.join(names)} {cause}")
    return "; ".join(clauses)


# --- budgets ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Budget:
    """A PodDisruptionBudget and its numbers."""

    namespace: str
    name: str
    allowed: int
    healthy: int
    desired: int
    expected: int
    always_allow: bool
    current: bool
    selector: Mapping[str, Any] | None = field(compare=False, default=None)

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    def data(self, pods: Iterable[str]) -> dict[str, Any]:
        """For a module's result."""
        return {
            "budget": self.key,
            "allowed": self.allowed,
            "current": self.healthy,
            "desired": self.desired,
            "expected": self.expected,
            "pods": sorted(pods),
        }

    def __str__(self) -> str:
        if not self.current:
            return f"budget {self.key} (its numbers are not yet computed)"
        return f"budget {self.key} (needs {self.desired} healthy, has {self.healthy}, allows {self.allowed})"


def read_budget(found: Mapping[str, Any]) -> Budget:
    """A PodDisruptionBudget as the API tells it."""
    metadata, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    current = (status.get("observedGeneration") or 0) >= (metadata.get("generation") or 0)
    return Budget(
        namespace=metadata["namespace"],
        name=metadata["name"],
        allowed=(status.get("disruptionsAllowed") or 0) if current else 0,
        healthy=status.get("currentHealthy") or 0,
        desired=status.get("desiredHealthy") or 0,
        expected=status.get("expectedPods") or 0,
        always_allow=spec.get("unhealthyPodEvictionPolicy") == "AlwaysAllow",
        current=current,
        selector=spec.get("selector"),
    )


def matching(pod: Pod, budgets: Iterable[Budget]) -> list[Budget]:
    """The budgets that guard a pod."""
    return [b for b in budgets if b.namespace == pod.namespace and selects(b.selector, pod.labels)]


def bypasses(pod: Pod, budget: Budget) -> bool:
    """Whether the eviction API lets a pod go without asking its budget."""
    if pod.phase in ("Pending", "Succeeded", "Failed") or pod.terminating:
        return True
    return not pod.ready and (budget.always_allow or budget.healthy >= budget.desired > 0)


def too_many_budgets(pod: Pod, budgets: Iterable[Budget]) -> list[Budget]:
    """The budgets of a pod that can never be evicted because there is more than one; else nothing."""
    guards = matching(pod, budgets)
    if len(guards) < 2 or pod.phase in ("Pending", "Succeeded", "Failed") or pod.terminating:
        return []
    return guards


def selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches; none matches nothing, an empty one everything."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_holds(expression, labels) for expression in selector.get("matchExpressions") or [])


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, operator, values = expression["key"], expression["operator"], expression.get("values") or []
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    if operator in ("Gt", "Lt"):
        try:
            here, there = int(labels[key]), int(values[0])
        except (KeyError, ValueError, IndexError):
            return False
        return here > there if operator == "Gt" else here < there
    return False


# --- last replicas ----------------------------------------------------------------------------------------------


def replicated(pod: Pod) -> bool:
    """Whether the pod is one of a controller's interchangeable replicas (a Job's are not)."""
    return pod.controller is not None and not pod.of_daemonset and pod.controller.kind != "Job"


def siblings(pod: Pod, pods: Iterable[Pod]) -> list[Pod]:
    """The pods of the same controller, without those that ended or are about to."""
    if pod.controller is None:
        return []
    uid = pod.controller.uid
    return [p for p in pods if p.controller and p.controller.uid == uid and not p.finished and not p.terminating]


def to_hold(here: Sequence[Pod], elsewhere: Sequence[Pod]) -> Pod | None:
    """The one pod of a controller that has to stay for now, if any.

    :param here: the controller's pods on the node that are still to be evicted.
    :param elsewhere: its pods on other nodes that serve.
    """
    ready = [pod for pod in here if pod.ready and not pod.terminating]
    if not ready or any(pod.ready and not pod.terminating for pod in elsewhere):
        return None
    return min(ready, key=lambda pod: (pod.created, pod.uid))


def serving(slices: Iterable[Mapping[str, Any]], held: str, others: Iterable[str]) -> bool:
    """Whether each Service that sends requests to the pod ``held`` sends them to one of ``others`` too (UIDs)."""
    others = set(others)
    by_service: dict[tuple[str, str], set[str]] = {}
    for endpoint_slice in slices:
        metadata = endpoint_slice["metadata"]
        service = (metadata.get("labels") or {}).get("kubernetes.io/service-name") or metadata["name"]
        ready = by_service.setdefault((metadata["namespace"], service), set())
        for endpoint in endpoint_slice.get("endpoints") or []:
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                ready.add((endpoint.get("targetRef") or {}).get("uid") or "")
    return all(ready & others for ready in by_service.values() if held in ready)


def selector_for(pod: Pod) -> str | None:
    """A label selector that finds a pod's siblings cheaply; None when only their owner tells them."""
    if pod.controller and pod.controller.kind == "ReplicaSet" and _HASH_LABEL in pod.labels:
        return f"{_HASH_LABEL}={pod.labels[_HASH_LABEL]}"
    return None


# --- places -----------------------------------------------------------------------------------------------------


def places(pod: Pod, nodes: Iterable[Mapping[str, Any]], without: str) -> list[str]:
    """The nodes on which the scheduler could put a pod of this kind, as far as taints and selectors tell."""
    return [n["metadata"]["name"] for n in nodes if n["metadata"]["name"] != without and _takes(n, pod.spec)]


def _takes(node: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    node_spec = node.get("spec") or {}
    conditions = (node.get("status") or {}).get("conditions") or []
    if not any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions):
        return False
    taints = list(node_spec.get("taints") or [])
    if node_spec.get("unschedulable"):
        taints.append({"key": _CORDON_TAINT, "effect": "NoSchedule"})
    if not all(t.get("effect") == "PreferNoSchedule" or tolerates(spec, t) for t in taints):
        return False
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = required.get("nodeSelectorTerms")
    return terms is None or any(_term_holds(term, node["metadata"]["name"], labels) for term in terms)


def _term_holds(term: Mapping[str, Any], name: str, labels: Mapping[str, str]) -> bool:
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        return False
    return all(_holds(e, labels) for e in expressions) and all(_holds(f, {"metadata.name": name}) for f in fields)


def tolerates(spec: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Whether a pod's tolerations cover a taint."""
    for toleration in spec.get("tolerations") or []:
        if toleration.get("effect") not in (None, "", taint.get("effect")):
            continue
        if toleration.get("operator") == "Exists":
            if toleration.get("key") in (None, "", taint.get("key")):
                return True
        elif toleration.get("key") == taint.get("key") and (toleration.get("value") or "") == (
            taint.get("value") or ""
        ):
            return True
    return False


# --- the plan of a drain, for check mode and for the start of a real one ----------------------------------------


@dataclass
class Preview:
    """Who would go when, by the numbers of this moment."""

    waves: list[list[str]]
    never: list[dict[str, Any]]

    def data(self) -> dict[str, Any]:
        """For a module's result."""
        return {"waves": self.waves, "never": self.never}


def preview(pods: Sequence[Pod], budgets: Sequence[Budget], held: Iterable[str]) -> Preview:
    """Sort pods into waves: at once, when a budget has room again, and not at all as things stand.

    :param held: UIDs that wait for another replica.
    """
    held = set(held)
    waves: list[list[str]] = [[]]
    stuck: dict[str, list[str]] = {}
    taken: dict[str, int] = {}
    numbers = {budget.key: budget for budget in budgets}

    def put(wave: int, pod: Pod) -> None:
        while len(waves) <= wave:
            waves.append([])
        waves[wave].append(str(pod))

    for pod in pods:
        guards = [b for b in matching(pod, budgets) if not bypasses(pod, b)]
        if not guards:
            put(1 if pod.uid in held else 0, pod)
            continue
        budget = guards[0]
        if budget.allowed <= 0:
            stuck.setdefault(budget.key, []).append(str(pod))
            continue
        put(taken.get(budget.key, 0) // budget.allowed, pod)
        taken[budget.key] = taken.get(budget.key, 0) + 1
    never = [{**numbers[key].data(names), "reason": str(numbers[key])} for key, names in stuck.items()]
    return Preview([wave for wave in waves if wave], never)
