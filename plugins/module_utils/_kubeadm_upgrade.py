# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# PRIVATE to this collection: may change in any release.
"""The steps of an upgrade on one host: images, control plane or node by kubeadm, kubelet."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

from ansible_collections.clustercare.kubeadm.plugins.module_utils import (
    _etcd_maintenance,
    _evidence,
    _images,
    _kubeadm,
    _kubelet_detour,
    _kubelet_restart,
    _offline,
    _record,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Runner, environment, run
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError, TimedOut
from ansible_collections.clustercare.kubeadm.plugins.module_utils._etcd_client import Access
from ansible_collections.clustercare.kubeadm.plugins.module_utils._host_facts import (
    KUBELET_CONF,
    Gatherer,
    container_of,
    image_version,
)
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kubeadm_job import Job, Jobs
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kubelet import flag_value
from ansible_collections.clustercare.kubeadm.plugins.module_utils._local_api import ApiServer, access_of
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import now
from ansible_collections.clustercare.kubeadm.plugins.module_utils._versions import Version, parse, parse_or_none
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline, wait_until

_KUBEADM_CONFIG = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"
_KUBE_PROXY = "/apis/apps/v1/namespaces/kube-system/daemonsets?fieldSelector=metadata.name%3Dkube-proxy"
_API_SERVERS = "/api/v1/namespaces/kube-system/pods?labelSelector=component%3Dkube-apiserver"
_MASTERS = "/api/v1/nodes?labelSelector=node-role.kubernetes.io%2Fcontrol-plane"
_SAFE_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
_LEADER_PATIENCE = 30.0
_ROLLBACK_PATIENCE = 120.0  # an API server whose etcd was put back takes about 40 s


class Options(NamedTuple):
    """What the task asks for."""

    step: str
    version: Version
    run_id: str
    kubeconfig: str
    ignore_preflight_errors: Sequence[str]
    patches: Optional[str]
    certificate_renewal: bool
    timeout: float
    retries: int
    check_mode: bool


class Upgrade:
    """One step on this host."""

    def __init__(self, options: Options, directory: str = _record.DIRECTORY) -> None:
        if options.version.patch < 0:
            raise CareError(f"version '{options.version}' names no patch; give the exact version, such as 1.35.4.")
        if not _SAFE_NAME.match(options.run_id):
            raise CareError(f"run_id '{options.run_id}' is not a file name; use letters, digits, dots and dashes.")
        self.options = options
        self.directory = directory
        self.target = options.version
        self.runner: Runner = run
        self.deadline = Deadline(options.timeout, "timeout")
        self.results: dict[str, Any] = {"changed": False}
        self.detour = _kubelet_detour.Detour(self.runner, options.timeout)

    def host(self) -> dict[str, Any]:
        return Gatherer(self.options.kubeconfig, self.options.patches).gather()

    def run(self) -> dict[str, Any]:
        """Do the step; a failure carries what was done."""
        steps = {"images": self.images, "control_plane": self.kubeadm, "node": self.kubeadm, "kubelet": self.kubelet}
        try:
            if self.options.check_mode:
                steps[self.options.step]()
            else:
                with _record.locked(self.deadline, self.directory):
                    steps[self.options.step]()
        except CareError as error:
            raise type(error)(error.message, **{**self.results, **error.results}) from error
        return self.results

    def open(self, host: dict[str, Any], phase: str) -> None:
        """Note on the host's disk what is begun: a run that dies here is known by it."""
        host["record"] = _record.opened(host["record"], str(self.target), self.options.run_id, phase)
        _record.save(host["record"], self.directory)

    # --- the cluster's configuration

    def cluster_configuration(self, host: dict[str, Any]) -> dict[str, Any]:
        """kubeadm's ClusterConfiguration."""
        found = self.read(host, _KUBEADM_CONFIG, "kubeadm-config")
        return _offline.read_text(found["data"]["ClusterConfiguration"], "kubeadm-config's ClusterConfiguration")

    def read(self, host: dict[str, Any], where: str, what: str) -> dict[str, Any]:
        """An answer of the local API server on a master, else what the kubelet may read."""
        path = self.options.kubeconfig if host["role"] == "master" else KUBELET_CONF
        access = access_of(_offline.read_kubeconfig(path), path)
        api = host.get("api") or {}
        found: dict[str, Any] = {}

        def look() -> Optional[str]:
            server = ApiServer(access, api.get("address") or "", api.get("port") or 0)
            try:
                found.update(server.get(where))
            except CareError as error:
                return error.message
            finally:
                server.close()
            return None

        patience = Deadline(min(_kubelet_restart.API_PATIENCE, self.options.timeout), "timeout")
        wait_until(look, patience, f"Reading the cluster's {what}", interval=2.0)
        return found

    # --- images

    def images(self) -> None:
        """Have the images before anything is disrupted."""
        host = self.host()
        self.need_kubeadm(host)
        endpoint = (host["runtime"] or {}).get("endpoint")
        text = _images.config_text(self.cluster_configuration(host), self.target, endpoint)
        config = _images.write_config(text, self.directory)
        wanted = _images.needed(_images.wanted_images(config, self.runner), host["role"])
        there = _images.present(endpoint, self.runner)
        missing = [image for image in wanted if there is None or image not in there]
        by_crictl = host["role"] == "worker" and bool(shutil.which("crictl", path=environment()["PATH"]))
        commands = _images.pull_argv(missing, config, endpoint, by_crictl) if missing else []
        self.results.update(images=wanted, missing=missing, commands=commands, changed=bool(missing))
        if self.options.check_mode:
            return
        self.open(host, "images")
        began, output = time.monotonic(), ""
        for argv in commands:
            done = self.runner(argv, timeout=max(1.0, self.deadline.left))
            output += done.out + done.err
            if done.rc != 0:
                raise CareError(
                    f"{' '.join(argv[:4])} fails on {host['hostname']}: {_kubeadm.error_of(done.err or done.out)}. "
                    "Nothing was disrupted; mend the registry's reach or load the images yourself.",
                    output=output,
                    rc=done.rc,
                )
        self.results.update(output=output, seconds=round(time.monotonic() - began, 1))

    # --- kubeadm

    def need_kubeadm(self, host: dict[str, Any]) -> None:
        """kubeadm decides what it upgrades to: it has to be the target's."""
        installed = host["kubeadm"]["installed"]
        if parse_or_none(installed) != self.target:
            raise CareError(
                f"kubeadm on {host['hostname']} is {installed or 'not installed'}, not {self.target}; "
                "install it first (kube_packages with state=staged)."
            )

    def why_not_done(self, host: dict[str, Any], cluster: Optional[Version]) -> list[str]:
        """Reasons to run kubeadm, the cluster's own record of its version among them."""
        reasons = _kubeadm.why_not_done(host, self.target)
        if cluster != self.target:
            reasons.append(f"kubeadm-config says {cluster or 'nothing'}")
        return reasons

    def cluster_version(self, host: dict[str, Any]) -> Optional[Version]:
        return parse_or_none(self.cluster_configuration(host).get("kubernetesVersion"))

    def addons_left(self, host: dict[str, Any]) -> list[str]:
        """The reason to run kubeadm once more on a master whose own part is done."""
        if host["role"] != "master":
            return []
        proxy, servers = self.read(host, _KUBE_PROXY, "kube-proxy"), self.read(host, _API_SERVERS, "API servers")
        return addons_left(proxy.get("items") or [], servers.get("items") or [], self.target)

    def kubeadm(self) -> None:
        """``kubeadm upgrade apply`` or ``node``: taken over when it runs already, done once, recorded."""
        options = self.options
        argv = _kubeadm.upgrade_argv(
            options.step, self.target, options.ignore_preflight_errors, options.patches, options.certificate_renewal
        )
        self.results.update(command=argv)
        jobs = Jobs(self.runner, self.directory)
        job = self.left_over(jobs)
        host = self.host()
        if job is None:
            if not options.check_mode:
                self.detour.end()  # of a run that died before it began or after it ended kubeadm
            cluster = self.cluster_version(host)
            reasons = self.why_not_done(host, cluster) or self.addons_left(host)
            self.results.update(reasons=reasons, record=host["record"])
            if not reasons:
                return
            self.refuse(host, cluster)
            self.results["changed"] = True
            if options.check_mode:
                return
            job = self.attempts(jobs, argv, host)
        self.finish(jobs, job, host)

    def left_over(self, jobs: Jobs) -> Optional[Job]:
        """A job that an earlier run left: awaited when it runs, taken when it ended well and nobody noted it."""
        job = jobs.look()
        if job is None or job.taken:
            return None
        ours = job.same_work(self.options.step, str(self.target))
        if job.running and not ours:
            raise CareError(
                f"kubeadm upgrades this host to {job.target} just now (run {job.run}, {' '.join(job.argv)}); "
                f"wait for its end, or go on with {job.target}."
            )
        if job.running:
            self.results.update(taken_over=job.run, changed=True)
            if self.options.check_mode:
                return None
            job = jobs.wait(self.deadline)
        if not ours or job.rc != 0:
            return None  # kubeadm may be run again: it leaves alone what is done
        self.results.update(taken_over=job.run, changed=True, backup=_evidence.archive_of(job.run, self.directory))
        return job

    def refuse(self, host: dict[str, Any], cluster: Optional[Version]) -> None:
        """What would go wrong is not begun."""
        options, name = self.options, host["hostname"]
        self.need_kubeadm(host)
        if options.step == "control_plane" and host["role"] != "master":
            raise CareError(f"{name} runs no API server; step=control_plane is for the first master.")
        if options.step == "node" and cluster != self.target:
            raise CareError(
                f"The cluster's kubeadm-config says {cluster or 'no version'}, so kubeadm upgrade node on {name} would "
                f"not go to {self.target}; run step=control_plane on the first master first."
            )
        others = [f"{row['what']} (process {row['pid']})" for row in host["busy"] if row["what"].startswith("kubeadm")]
        if others:
            raise CareError(f"Another kubeadm runs on {name}: {', '.join(others)}; wait for its end.")

    def attempts(self, jobs: Jobs, argv: list[str], host: dict[str, Any]) -> Job:
        """Run kubeadm, once more when it fails: the command is idempotent, and its preflight flickers."""
        options = self.options
        if host["role"] == "master":
            self.results["backup"] = _evidence.archive(options.run_id, self.directory)
            self.results["leader_moved"] = self.lead_elsewhere()
        before = _evidence.manifests()
        self.open(host, "kubeadm")
        if host["role"] == "master":  # on record by now: giving the run up ends it too
            self.results["kubelet_server"] = self.speak_elsewhere(host)
        self.results["attempts"] = []
        for attempt in range(options.retries + 1):
            jobs.start(options.step, str(self.target), options.run_id, argv)
            job = jobs.wait(self.deadline)
            self.results["attempts"].append({"rc": job.rc, "seconds": job.seconds})
            if job.rc == 0:
                return job
            evidence = _evidence.gather(before, self.runner)
            if host["role"] == "master":
                evidence["not_running"] = self.await_rollback()
            self.results.update(rc=job.rc, output=job.output, seconds=job.seconds, evidence=evidence)
            if attempt == options.retries:
                try:
                    self.detour.end()
                except CareError as error:  # kubeadm's own failure is the news
                    self.results["warnings"] = [error.message]
                raise CareError(self.failure(job, host, evidence))
        raise AssertionError("no attempt was made")

    def lead_elsewhere(self) -> Optional[dict[str, str]]:
        """This master's etcd is restarted next: as a follower's, that costs nobody an election."""
        patience = Deadline(min(_LEADER_PATIENCE, self.deadline.left), "timeout")
        return _etcd_maintenance.move_leader_away(Access("", None, None, None), patience)

    def speak_elsewhere(self, host: dict[str, Any]) -> Optional[str]:
        """Let the kubelet speak to another master's API server for the length of kubeadm; which, or None."""

        def node() -> dict[str, Any]:
            return self.read(host, f"/api/v1/nodes/{host['node_name']}", "Node")

        kubeconfig = flag_value(host["kubelet"]["flags"], "--kubeconfig")
        if kubeconfig is None or _kubelet_detour.carries_work(node()):
            return None
        servers = self.read(host, _API_SERVERS, "API servers").get("items") or []
        masters = self.read(host, _MASTERS, "masters").get("items") or []
        access = access_of(_offline.read_kubeconfig(self.options.kubeconfig), self.options.kubeconfig)
        peers = _kubelet_detour.peers(servers, masters, host["node_name"])
        server = _kubelet_detour.ready_server(access, peers)
        try:
            return server if server and self.detour.begin(server, kubeconfig, node) else None
        except CareError as error:
            self.results["warnings"] = [error.message]
            return None

    def await_rollback(self) -> list[str]:
        """Give the static pods of a kubeadm that failed time to run again; what does not, in words."""
        missing: list[str] = []

        def look() -> Optional[str]:
            host = self.host()
            missing[:] = _evidence.not_running(host["static_pods"])
            if not missing and host["api"]["error"]:
                missing.append(f"the API server does not answer ({host['api']['error']})")
            return "; ".join(missing) or None

        with contextlib.suppress(TimedOut):
            patience = Deadline(min(_ROLLBACK_PATIENCE, self.deadline.left), "timeout")
            wait_until(look, patience, "The static pods run again", interval=2.0)
        return missing

    def failure(self, job: Job, host: dict[str, Any], evidence: dict[str, Any]) -> str:
        """The sentence for a tired person."""
        ended = f"exit {job.rc}" if job.rc is not None else "ended without an exit status"
        why = _kubeadm.error_of(job.output)
        said = f"{' '.join(job.argv[:3])} failed on {host['hostname']} ({ended}): {why.rstrip('.')}."
        if host["role"] == "master":
            said += f" {_evidence.rollback_words(evidence)}"
        component = _evidence.component_in(why)
        lines = evidence["static_pods"].get(component or "", [])
        if lines:
            said += f" {component} said last: {' | '.join(lines[-2:]).rstrip('.')}."
        return said + " When the cause is gone, the same command again goes on from here."

    def finish(self, jobs: Jobs, job: Job, host: dict[str, Any]) -> None:
        """Prove that the state agrees with kubeadm's exit 0, then record it."""
        finished = now()
        record = _record.with_step(
            host["record"], "kubeadm", str(self.target), job.run, finished, job.seconds, how=job.step
        )
        self.results.update(rc=job.rc, output=job.output, seconds=job.seconds)
        self.detour.end()

        disagrees: list[str] = []

        def look() -> Optional[str]:
            seen = {**self.host(), "record": record}
            disagrees[:] = []  # an API that does not answer disagrees with nothing
            disagrees[:] = self.why_not_done(seen, self.cluster_version(seen))
            return "; ".join(disagrees) or None

        patience = Deadline(min(60.0, self.options.timeout), "timeout")
        try:
            wait_until(look, patience, "kubeadm ended well, and the host agrees with it", interval=2.0)
        except TimedOut:
            if disagrees:
                jobs.mark_taken()  # so that the next run does not believe that exit 0 either, and runs kubeadm
            raise
        _record.save(record, self.directory)
        jobs.mark_taken()
        self.results.update(record=record)

    # --- kubelet

    def kubelet(self) -> None:
        """Restart the kubelet when that makes a difference."""
        _kubelet_restart.Restart(self).run()


def addons_left(proxies: list[dict[str, Any]], servers: list[dict[str, Any]], target: Version) -> list[str]:
    """kubeadm writes kube-proxy last, when every API server is at the target; before that its age says nothing.

    :param proxies: the DaemonSet, if there is one.
    :param servers: the API servers' static pods.
    """

    def version(pod: dict[str, Any], name: str) -> Optional[Version]:
        return parse_or_none(image_version(str(container_of(pod, name).get("image"))))

    if any(version(server, "kube-apiserver") != target for server in servers):
        return []
    seen = [version(proxy["spec"]["template"], "kube-proxy") for proxy in proxies]
    return [
        f"kube-proxy is still {one}, though every API server is {target}" for one in seen if one not in (None, target)
    ]


def options_of(params: dict[str, Any], check_mode: bool) -> Options:
    """The task's parameters as the steps use them."""
    return Options(
        step=params["step"],
        version=parse(params["version"]),
        run_id=params["run_id"] or time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
        kubeconfig=params["kubeconfig"],
        ignore_preflight_errors=params["ignore_preflight_errors"],
        patches=params["patches"],
        certificate_renewal=params["certificate_renewal"],
        timeout=params["timeout"],
        retries=params["retries"],
        check_mode=check_mode,
    )
