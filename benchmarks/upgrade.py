# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Our upgrade of three masters and two workers beside upgrade-by-hand.sh, from one saved lab, under the same load.

Both find every image present, reach the hosts by the same multiplexed SSH, and fetch the same packages.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from common import Lab, figures, laboratory, play, run, saved, say, ssh_config, table, well

BEFORE, TARGET = "1.34.4", "1.35.4"
BY_HAND = Path(__file__).with_name("upgrade-by-hand.sh")


class Upgraded(NamedTuple):
    """What a way to upgrade cost."""

    seconds: float
    nodes: dict[str, float]
    failed: int
    sent: int


def asked(lab: Lab) -> dict[str, Any]:
    """End the probe and return what it saw; its own bad grade is a figure here, not an end."""
    answer: dict[str, Any] = json.loads(lab.run("workload", "stop", check=False).stdout)
    return answer


def failures(probe: dict[str, Any]) -> tuple[int, int]:
    kinds = [probe["requests"], probe["names"]]
    return sum(kind["failed"] for kind in kinds), sum(kind["sent"] for kind in kinds)


def check(lab: Lab, who: str) -> None:
    """Both ways have to arrive, or the seconds mean nothing."""
    versions = lab.kubelet_versions()
    assert set(versions.values()) == {f"v{TARGET}"}, f"{who}: {versions}"
    assert not lab.cordoned(), f"{who}: still cordoned: {lab.cordoned()}"


def by_hand(lab: Lab, logs: Path) -> Upgraded:
    machines = lab.status()["machines"]
    masters = [name for name, one in machines.items() if one["role"] == "master"]
    workers = [name for name, one in machines.items() if one["role"] == "worker"]
    inventory = Path(lab.status()["inventory"]).read_text()
    found = re.search(r"upgrade_ignore_preflight_errors: (\[.*\])", inventory)
    ignored = json.loads(found[1]) if found else []
    config = ssh_config(lab, logs / "ssh_config")
    log = logs / "by-hand.log"
    lab.run("workload", "start", "--rate", "10")
    say(f"upgrading by hand; the log is {log}")
    seconds = run([BY_HAND, config, TARGET, ",".join(ignored), *masters, "--", *workers], log)
    failed, sent = failures(asked(lab))
    check(lab, BY_HAND.name)
    nodes = {name: float(taken) for name, taken in re.findall(r"^node (\S+) (\d+)$", log.read_text(), re.MULTILINE)}
    return Upgraded(seconds, nodes, failed, sent)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    logs = Path(tempfile.mkdtemp(prefix="upgrade-"))
    with laboratory("upgrade", masters=3, workers=2, kubernetes=BEFORE) as lab:
        lab.run("workload", "start", "--rate", "10")
        asked(lab)
        inventory = Path(lab.status()["inventory"])
        with saved(lab) as back:
            lab.run("workload", "start", "--rate", "10")
            say(f"upgrading with upgrade-cluster.yml; logs and the report are in {logs}")
            ours = well(play("upgrade-cluster.yml", inventory, kubernetes_version=TARGET, run_dir=str(logs / "ours")))
            (logs / "ours.log").write_text(ours.output)
            failed, sent = failures(asked(lab))
            check(lab, "upgrade-cluster.yml")
            again = well(play("upgrade-cluster.yml", inventory, kubernetes_version=TARGET, run_dir=str(logs / "noop")))
            assert again.changed == 0, again.output
            back()
            script = by_hand(lab, logs)

    report = json.loads((logs / "ours" / "report.json").read_text())
    mine = Upgraded(ours.seconds, {node["name"]: node["seconds"] for node in report["nodes"]}, failed, sent)
    show(mine, script, report)
    tasks = {host: ours.results(host) for host in ours.recap}
    table(
        "Task results in our upgrade, skipped ones included",
        ["host", "results"],
        [[host, tasks[host]] for host in report_order(report) if host in tasks],
    )
    figures(
        ratio_to_script=ours.seconds / script.seconds,
        ours_seconds=ours.seconds,
        script_seconds=script.seconds,
        tasks_first_master=tasks["cp1"],
        tasks_per_master=max(tasks["cp2"], tasks["cp3"]),
        tasks_per_worker=max(tasks["w1"], tasks["w2"]),
        noop_seconds=again.seconds,
        ours_failed_requests=mine.failed,
        script_failed_requests=script.failed,
    )


def report_order(report: dict[str, Any]) -> list[str]:
    return [str(node["name"]) for node in report["nodes"]]


def show(ours: Upgraded, script: Upgraded, report: dict[str, Any]) -> None:
    rows: list[list[object]] = [
        [name, ours.nodes[name], script.nodes.get(name, 0.0), ours.nodes[name] / script.nodes[name]]
        for name in report_order(report)
    ]
    rows.append(["whole run", ours.seconds, script.seconds, ours.seconds / script.seconds])
    table(
        f"{BEFORE} -> {TARGET}, seconds; a node's are the sum of its own steps, ours in part beside other nodes'",
        ["", "upgrade-cluster.yml", BY_HAND.name, "ratio"],
        rows,
    )
    table(
        "The sample service and its name, asked throughout",
        ["", "sent", "failed"],
        [["upgrade-cluster.yml", ours.sent, ours.failed], [BY_HAND.name, script.sent, script.failed]],
    )
    table(
        "Our seconds in each phase",
        ["", *report_order(report)],
        [[phase, *(taken(node, phase) for node in report["nodes"])] for phase in report["phases"]],
    )


def taken(node: dict[str, Any], phase: str) -> object:
    return next((float(one["seconds"]) for one in node["phases"] if one["phase"] == phase), "")


if __name__ == "__main__":
    main()
