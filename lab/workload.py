# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A well-behaved web service on the lab's cluster, and the probe that asks it without a pause."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

from . import cgroups, kinds, machines, probe
from .cluster import ask
from .errors import LabError
from .images import NGINX
from .processes import spawn, wait_for
from .progress import Progress
from .state import Lab

NAMESPACE = "lab-workload"
NAME = "web"
# Longer than every node's proxy needs to hear that a pod is going.
LEAVE_SECONDS = 10


def manifest(image: str, replicas: int) -> dict[str, Any]:
    """Replicas apart, ready only when they answer, leaving slowly, never more than one away."""
    labels = {"app": NAME}

    def kind(api: str, name: str, what: str = NAME, **rest: Any) -> dict[str, Any]:
        namespace = {} if name == "Namespace" else {"namespace": NAMESPACE}
        return {"apiVersion": api, "kind": name, "metadata": {"name": what, **namespace}, **rest}

    container = {
        "name": "nginx",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"containerPort": 80}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1, "timeoutSeconds": 1},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(LEAVE_SECONDS)]}}},
    }
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
    }
    template = {
        "metadata": {"labels": labels},
        "spec": {
            "containers": [container],
            "topologySpreadConstraints": [spread],
            "terminationGracePeriodSeconds": 3 * LEAVE_SECONDS,
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            kind("v1", "Namespace", NAMESPACE),
            kind(
                "apps/v1",
                "Deployment",
                spec={"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
            ),
            kind("policy/v1", "PodDisruptionBudget", spec={"maxUnavailable": 1, "selector": {"matchLabels": labels}}),
            kind("v1", "Service", spec={"selector": labels, "ports": [{"port": 80}]}),
        ],
    }


def start(lab: Lab, rate: float, limit: float, replicas: int, progress: Progress) -> None:
    running = lab.services.get("probe")
    if running and running.alive():
        raise LabError(
            f"The probe of the lab {lab.name} is running already.", f"lab/lab workload --name {lab.name} stop"
        )
    ask(lab, "apply", "-f", "-", stdin=json.dumps(manifest(NGINX, replicas)))
    for namespace, deployment in (("kube-system", "coredns"), (NAMESPACE, NAME)):
        done = ask(lab, "-n", namespace, "rollout", "status", f"deployment/{deployment}", "--timeout=110s", check=False)
        if done.rc:
            raise LabError(
                f"The Deployment {deployment} did not become ready: {done.stderr.strip() or done.stdout.strip()}",
                f"lab/lab kubectl --name {lab.name} -n {namespace} describe pods",
            )
    progress(f"{replicas} replicas of nginx are ready")
    web, dns = _service_address(lab, NAMESPACE, NAME), _service_address(lab, "kube-system", "kube-dns")
    # Only a node has the proxy that knows services.
    home = kinds.nodes(lab)[0].name
    result_file(lab).unlink(missing_ok=True)
    groups = cgroups.create(lab.name, cgroups.HOST)
    first = machines.leader(lab, home).pid
    lab.services["probe"] = spawn(
        ["nsenter", f"--net=/proc/{first}/ns/net", sys.executable, probe.__file__]
        + ["--web", f"{web}:80", "--dns", dns, "--resolve", f"{NAME}.{NAMESPACE}.svc.cluster.local"]
        + ["--rate", f"{rate:g}", "--limit", f"{limit:g}", "--home", str(first), "--result", str(result_file(lab))],
        lab.log("probe"),
        lambda: cgroups.enter(groups),
    )
    lab.save()
    # It reports from when it begins to count.
    if not wait_for(lambda: result_file(lab).exists() or not lab.services["probe"].alive(), 120, 0.2):
        raise LabError(f"The probe does not report; its log is {lab.log('probe')}.")
    if not lab.services["probe"].alive():
        why = result(lab)["problems"] if result_file(lab).exists() else [f"its log is {lab.log('probe')}"]
        raise LabError(f"The probe did not start: {why[0]}.", f"lab/lab kubectl --name {lab.name} get pods -A -o wide")
    progress(f"asking http://{web}/ {rate:g} times a second from {home}, and DNS at {dns} once a second")


def _service_address(lab: Lab, namespace: str, name: str) -> str:
    return ask(lab, "-n", namespace, "get", "service", name, "-o", "jsonpath={.spec.clusterIP}").stdout.strip()


def result_file(lab: Lab) -> Path:
    return lab.directory / "probe.json"


def result(lab: Lab) -> dict[str, Any]:
    """What the probe has seen so far."""
    try:
        report: dict[str, Any] = json.loads(result_file(lab).read_text())
    except FileNotFoundError:
        raise LabError(
            f"No probe has run in the lab {lab.name}.", f"lab/lab workload --name {lab.name} start"
        ) from None
    process = lab.services.get("probe")
    if report["running"] and not (process and process.alive()):
        report["ok"], report["running"] = False, False
        report["problems"].insert(0, f"the probe died; its log is {lab.log('probe')}")
    return report


def stop(lab: Lab) -> dict[str, Any]:
    """End the probe (the service stays) and return what it has seen."""
    process = lab.services.get("probe")
    if process and process.alive():
        process.signal(signal.SIGTERM)
        if not wait_for(lambda: not process.alive(), 10):
            process.stop(0)
    return result(lab)
