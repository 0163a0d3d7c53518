# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A small API server in this process, for answers that are hard to get from a real one. It counts what it is asked.

Time runs as in a cluster, only faster: an evicted pod is terminating for a while and then gone, its controller makes
another one on a node that takes pods, which becomes Ready later, and budgets follow.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ansible_collections.clustercare.kubeadm.plugins.module_utils._cordon import ANNOTATION
from ansible_collections.clustercare.kubeadm.plugins.module_utils._selector import parse_selector, selects

Json = dict[str, Any]
_numbers = itertools.count(1)


def node(name: str, ready: bool = True, **spec: Any) -> Json:
    """A node; ``annotations`` and ``labels`` are taken out of ``spec``."""
    annotations, labels = spec.pop("annotations", {}), spec.pop("labels", {})
    return {
        "metadata": {"name": name, "resourceVersion": "1", "annotations": annotations, "labels": labels},
        "spec": spec,
        "status": {
            "conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}],
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
        },
    }


def _clock(seconds: int) -> str:
    """The time of day, so that what is made later is younger."""
    return time.strftime("%H:%M:%S", time.gmtime(seconds))


def pod(
    name: str,
    on: str = "w1",
    of: str | None = "ReplicaSet/web",
    namespace: str = "shop",
    phase: str = "Running",
    ready: bool = True,
    **more: Any,
) -> Json:
    """A pod on node ``on`` of the controller ``of``; ``labels``, ``annotations``, ``finalizers``, ``volumes``, ..."""
    metadata: Json = {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-{next(_numbers)}",
        "creationTimestamp": f"2026-11-22T{_clock(next(_numbers))}Z",
        "labels": more.pop("labels", {"app": of.split("/")[1] if of else name}),
    }
    for key in ("annotations", "finalizers", "deletionTimestamp"):
        if key in more:
            metadata[key] = more.pop(key)
    if of:
        kind, owner = of.split("/")
        api = "batch/v1" if kind == "Job" else "apps/v1"
        metadata["ownerReferences"] = [
            {"kind": kind, "apiVersion": api, "name": owner, "uid": f"{kind}-{namespace}-{owner}", "controller": True}
        ]
    return {
        "metadata": metadata,
        "spec": {"nodeName": on, **more},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


def budget(name: str, min_available: int, namespace: str = "shop", **match: str) -> Json:
    """A PodDisruptionBudget over the pods with these labels."""
    return {
        "metadata": {"name": name, "namespace": namespace, "generation": 1},
        "spec": {"minAvailable": min_available, "selector": {"matchLabels": match}},
        "status": {"observedGeneration": 1},
    }


def daemonset(name: str, namespace: str = "kube-system") -> Json:
    return {"metadata": {"name": name, "namespace": namespace, "uid": f"DaemonSet-{namespace}-{name}"}}


def status(code: int, message: str, reason: str = "", causes: list[Json] | None = None) -> tuple[int, Json]:
    """An error as the API server writes it."""
    return code, {"kind": "Status", "message": message, "reason": reason, "details": {"causes": causes or []}}


class FakeApi:
    """The server. Change its objects freely; ``inject`` decides about single requests."""

    def __init__(self, *objects: Json) -> None:
        self.nodes: dict[str, Json] = {}
        self.pods: dict[str, Json] = {}
        self.budgets: list[Json] = []
        self.daemonsets: list[Json] = []
        self.slices: list[Json] = []
        self.others: dict[str, list[Json]] = {}
        self.objects: dict[str, Json] = {}
        self.counted: Counter[str] = Counter()
        self.asked: list[tuple[str, str]] = []
        self.bodies: list[Json] = []
        self.termination = 0.1
        self.start = 0.1
        self.respawn = True
        self.ahead = 0.0  # seconds of its clock
        self._gone_at: dict[str, float] = {}
        self._ready_at: dict[str, float] = {}
        self._rules: list[tuple[str, re.Pattern[str], list[int], Callable[[], Any]]] = []
        self._lock = threading.RLock()
        for item in objects:
            self.add(item)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def writes(self) -> int:
        """Requests that could have changed something."""
        return sum(count for method, count in self.counted.items() if method != "GET")

    @property
    def deletions(self) -> list[str]:
        """The pods that were deleted past any budget, in order."""
        return [path.split("/")[-1] for method, path in self.asked if method == "DELETE"]

    @property
    def evictions(self) -> list[str]:
        """The pods whose eviction was asked for, in order."""
        return [path.split("/")[-2] for method, path in self.asked if path.endswith("/eviction")]

    def add(self, item: Json) -> None:
        metadata, spec = item["metadata"], item.get("spec") or {}
        if "minAvailable" in spec:
            self.budgets.append(item)
        elif "endpoints" in item:
            self.slices.append(item)
        elif "uid" in metadata and "nodeName" in spec:
            self.pods[metadata["uid"]] = item
        elif metadata.get("uid", "").startswith("DaemonSet"):
            self.daemonsets.append(item)
        else:
            self.nodes[metadata["name"]] = item

    def inject(self, method: str, path: str, answer: Callable[[], Any], times: int = 1, after: int = 0) -> None:
        """Answer the next ``times`` requests (after ``after`` others) with what ``answer()`` returns: a status and a
        body, ``"drop"`` to cut the connection, or None to let it pass after the function's side effect."""
        self._rules.append((method, re.compile(path), [times, after], answer))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    # --- the cluster's own life ---

    def _live(self) -> None:
        now = time.monotonic()
        for uid, when in list(self._gone_at.items()):
            if now >= when and uid in self.pods and not self.pods[uid]["metadata"].get("finalizers"):
                self._respawn(self.pods.pop(uid), now)
                del self._gone_at[uid]
        for uid, when in list(self._ready_at.items()):
            if now >= when and uid in self.pods:
                self.pods[uid]["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
                del self._ready_at[uid]
        for item in self.budgets:
            self._count(item)

    def _respawn(self, old: Json, now: float) -> None:
        owner = (old["metadata"].get("ownerReferences") or [{}])[0]
        places = [name for name, n in self.nodes.items() if not n["spec"].get("unschedulable")]
        if not self.respawn or owner.get("kind") not in ("ReplicaSet", "StatefulSet") or not places:
            return
        same_name = owner["kind"] == "StatefulSet"
        name = old["metadata"]["name"] if same_name else f"{owner['name']}-{next(_numbers)}"
        new = pod(
            name,
            places[0],
            f"{owner['kind']}/{owner['name']}",
            old["metadata"]["namespace"],
            ready=False,
            labels=old["metadata"]["labels"],
        )
        self.pods[new["metadata"]["uid"]] = new
        self._ready_at[new["metadata"]["uid"]] = now + self.start

    def _count(self, item: Json) -> None:
        wanted = item["spec"]["selector"]["matchLabels"].items()
        guarded = [
            p
            for p in self.pods.values()
            if p["metadata"]["namespace"] == item["metadata"]["namespace"] and wanted <= p["metadata"]["labels"].items()
        ]
        healthy = sum(
            p["status"]["conditions"][0]["status"] == "True" and "deletionTimestamp" not in p["metadata"]
            for p in guarded
        )
        desired = item["spec"]["minAvailable"]
        item["status"].update(
            currentHealthy=healthy,
            desiredHealthy=desired,
            expectedPods=len(guarded),
            disruptionsAllowed=max(0, healthy - desired),
        )

    # --- answers ---

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Json) -> tuple[int, Json]:
        if path.endswith("/eviction"):
            namespace_, name = re.findall(r"/namespaces/([^/]+)/pods/([^/]+)/", path)[0]
            return self._evict(namespace_, name, body)
        found = re.fullmatch(r"/api/v1/nodes/([^/]+)", path)
        if found and found[1] not in self.nodes:
            return status(404, f'nodes "{found[1]}" not found', "NotFound")
        if found and method == "PATCH":
            return self._patch(self.nodes[found[1]], body)
        if found:
            return 200, self.nodes[found[1]]
        found = re.fullmatch(r"/api/v1/namespaces/([^/]+)/pods/([^/]+)", path)
        if found and method == "DELETE":
            return self._delete(found[1], found[2], body)
        if path in self.objects or (method == "POST" and body.get("kind") == "Lease"):
            return self._object(method, path, body)
        if path.startswith("/apis/coordination.k8s.io/") and not path.endswith("/leases"):
            return status(404, "leases not found", "NotFound")
        namespace = re.search(r"/namespaces/([^/]+)/", path)
        collection: list[Json] = {
            "nodes": list(self.nodes.values()),
            "pods": list(self.pods.values()),
            "poddisruptionbudgets": self.budgets,
            "daemonsets": self.daemonsets,
            "endpointslices": self.slices,
            **self.others,
        }.get(path.rsplit("/", 1)[1], [])
        items = [i for i in collection if not namespace or i["metadata"].get("namespace") == namespace[1]]
        selector = query.get("fieldSelector", [""])[0]
        if selector:
            on = selector.rsplit("=", 1)[1]
            items = [i for i in items if (i["spec"]["nodeName"] == on) != ("!=" in selector)]
        labels = query.get("labelSelector", [""])[0]
        if labels:
            wanted = parse_selector(labels, "labelSelector")
            items = [i for i in items if selects(wanted, i["metadata"].get("labels") or {})]
        return 200, {"metadata": {}, "items": items}

    def _object(self, method: str, path: str, body: Json) -> tuple[int, Json]:
        """What ``objects`` holds by its path; a lease can be made, changed and deleted too."""
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                return status(409, "it already exists", "AlreadyExists")
            body["metadata"].update(uid=f"uid-{next(_numbers)}", resourceVersion="1")
            self.objects[path] = body
            return 201, body
        if method == "PATCH":
            return self._patch(self.objects[path], body)
        if method == "DELETE":
            wanted = body["preconditions"]
            if any(self.objects[path]["metadata"][key] != value for key, value in wanted.items()):
                return status(409, "the preconditions are not met", "Conflict")
            return 200, self.objects.pop(path)
        return 200, self.objects[path]

    def _evict(self, namespace: str, name: str, body: Json) -> tuple[int, Json]:
        victim = self._find(namespace, name, body["deleteOptions"])
        if isinstance(victim, tuple):
            return victim
        for item in self.budgets:
            guarded = item["spec"]["selector"]["matchLabels"].items() <= victim["metadata"]["labels"].items()
            numbers = item["status"]
            if guarded and numbers["disruptionsAllowed"] <= 0:
                said = (
                    f"The disruption budget {item['metadata']['name']} needs {numbers['desiredHealthy']} healthy pods "
                    f"and has {numbers['currentHealthy']} currently"
                )
                message = "Cannot evict pod as it would violate the pod's disruption budget."
                cause = {"reason": "DisruptionBudget", "message": said}
                return status(429, message, "TooManyRequests", [cause])
        return self._let_go(victim)

    def _delete(self, namespace: str, name: str, body: Json) -> tuple[int, Json]:
        victim = self._find(namespace, name, body)
        return victim if isinstance(victim, tuple) else self._let_go(victim)

    def _find(self, namespace: str, name: str, options: Json) -> Json | tuple[int, Json]:
        same = [
            p for p in self.pods.values() if (p["metadata"]["namespace"], p["metadata"]["name"]) == (namespace, name)
        ]
        if not same:
            return status(404, f'pods "{name}" not found', "NotFound")
        if same[0]["metadata"]["uid"] != options["preconditions"]["uid"]:
            return status(409, "Precondition failed: UID in precondition", "Conflict")
        return same[0]

    def _let_go(self, victim: Json) -> tuple[int, Json]:
        victim["metadata"]["deletionTimestamp"] = "2026-11-22T01:00:00Z"
        self._gone_at[victim["metadata"]["uid"]] = time.monotonic() + self.termination
        for item in self.budgets:
            self._count(item)
        return 201, {"kind": "Status", "status": "Success"}

    def _patch(self, target: Json, body: Json) -> tuple[int, Json]:
        wanted = (body.get("metadata") or {}).pop("resourceVersion", None)
        if wanted not in (None, target["metadata"]["resourceVersion"]):
            return status(409, "the object has been modified", "Conflict")
        _merge(target, body)
        target["metadata"]["resourceVersion"] = str(int(target["metadata"]["resourceVersion"]) + 1)
        return 200, target

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # One packet per answer; two would wait for each other.
            wbufsize = -1
            disable_nagle_algorithm = True

            def log_message(self, *args: Any) -> None:
                pass

            def date_time_string(self, timestamp: float | None = None) -> str:
                return super().date_time_string(time.time() + fake.ahead)

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else {}
                url = urlsplit(self.path)
                with fake._lock:
                    fake.counted[self.command] += 1
                    fake.asked.append((self.command, url.path))
                    if body:
                        fake.bodies.append(body)
                    fake._live()
                    answer = fake._injected(self.command, self.path)
                    if answer is None:
                        answer = fake.answer(self.command, url.path, parse_qs(url.query), json.loads(json.dumps(body)))
                    payload = b"" if answer == "drop" else json.dumps(answer[1]).encode()
                if answer == "drop":
                    self.close_connection = True
                    return
                self.send_response(answer[0])
                for name, value in (answer[2] if len(answer) > 2 else {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _serve

        return Handler

    def _injected(self, method: str, path: str) -> Any:
        for wanted, pattern, left, answer in self._rules:
            if wanted != method or not pattern.search(path) or left[0] <= 0:
                continue
            if left[1] > 0:
                left[1] -= 1
                continue
            left[0] -= 1
            return answer()
        return None


def cordoned(api: FakeApi, name: str = "w1") -> bool:
    return bool(api.nodes[name]["spec"].get("unschedulable"))


def mark(api: FakeApi, run: str, owner: str = "upgrade", name: str = "w1") -> None:
    """What another run of node_drain does to a node."""
    written = {"owner": owner, "run": run, "host": "ctl2", "time": "2026-11-22T03:00:00Z"}
    note = {"metadata": {"annotations": {ANNOTATION: json.dumps(written)}}}
    api.answer("PATCH", f"/api/v1/nodes/{name}", {}, {**note, "spec": {"unschedulable": True}})


def actions(result: Json) -> dict[str, str]:
    """What node_drain did with each pod."""
    return {entry["name"]: entry["action"] for entry in result["pods"]}


def _merge(target: Json, patch: Json) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            _merge(target.setdefault(key, {}), value)
        else:
            target[key] = value
