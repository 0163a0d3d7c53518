# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The timer's script is run for real; only systemctl is another."""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest

from ansible_collections.clustercare.kubeadm.plugins.module_utils._command import Done
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._service_timer import DeadMan

AT = 1_795_500_000.2


class Place:
    """Directories as on a host, and a systemd that notes what it is asked."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.parking, self.manifests = root / "parking dir", root / "manifests"
        for path in (self.parking, self.manifests, root / "units", root / "stamps", root / "bin"):
            path.mkdir()
        self.asked: list[list[str]] = []
        self.refuse = ""
        self.plan = "ActiveState=active\nNextElapseUSecRealtime=Tue 2026-11-24 06:00:01 UTC\n"
        self.dead_man = DeadMan(
            "kube-scheduler", self.runner, str(root / "state"), str(root / "units"), str(root / "stamps")
        )
        systemctl = root / "bin" / "systemctl"
        systemctl.write_text(f'#!/bin/sh\necho "$@" >>{root}/asked\n[ "$1" != start ] || [ ! -e {root}/broken ]\n')
        systemctl.chmod(0o755)

    def runner(self, argv: list[str], **_more: object) -> Done:
        self.asked.append(argv[1:])
        if argv[1] == "show":
            return Done(argv, 0, self.plan, "")
        return Done(argv, 1, "", "Access denied") if argv[1] == self.refuse else Done(argv, 0, "", "")

    def arm(self, unit: str = "") -> str:
        return self.dead_man.arm(AT, str(self.parking), str(self.manifests), unit or None)

    def fire(self) -> subprocess.CompletedProcess[str]:
        path = f"{self.root}/bin:{os.environ['PATH']}"
        argv = ["/bin/sh", self.dead_man.script]
        return subprocess.run(argv, env={"PATH": path}, text=True, capture_output=True, check=False)

    def left(self) -> list[str]:
        return sorted(
            path.name for name in ("units", "stamps", "state/restore") for path in (self.root / name).iterdir()
        )


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Place:
    return Place(tmp_path)


def test_it_puts_the_very_file_back_and_leaves_nothing(place: Place) -> None:
    assert place.arm() == "2026-11-24T06:00:01Z"
    (place.parking / "kube-scheduler.yaml").write_bytes(b"kind: Pod\n")
    (place.parking / "kube-scheduler.yaml").chmod(0o640)
    (place.parking / ".old-kube-scheduler.yaml").write_text("not this one")
    pathlib.Path(place.dead_man.stamp).touch()
    done = place.fire()
    assert (done.returncode, done.stderr) == (0, "")
    back = place.manifests / "kube-scheduler.yaml"
    assert [path.name for path in place.manifests.iterdir()] == ["kube-scheduler.yaml"]
    assert back.read_bytes() == b"kind: Pod\n" and back.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in place.parking.iterdir()] == [".old-kube-scheduler.yaml"]
    assert place.left() == [] and place.dead_man.due() is None
    asked = (place.root / "asked").read_text().splitlines()
    assert asked == [f"disable --now {place.dead_man.timer}", "daemon-reload"]


def test_somebody_elses_manifest_is_left_alone(place: Place) -> None:
    place.arm()
    (place.parking / "kube-scheduler.yaml").write_text("old")
    (place.manifests / "kube-scheduler.yaml").write_text("new")
    assert place.fire().returncode == 0
    assert (place.manifests / "kube-scheduler.yaml").read_text() == "new"
    assert (place.parking / "kube-scheduler.yaml").read_text() == "old"


def test_nothing_to_put_back_is_no_failure(place: Place) -> None:
    place.arm()
    assert place.fire().returncode == 0
    assert place.left() == []


def test_a_unit_is_started_and_tried_again_while_that_fails(place: Place) -> None:
    place.arm(unit="kubelet.service")
    (place.root / "broken").touch()
    assert place.fire().returncode != 0
    assert place.left() == [place.dead_man.service, place.dead_man.timer, "kube-scheduler.sh"], "gave up"
    assert "Restart=on-failure" in pathlib.Path(place.dead_man.service_file).read_text()
    (place.root / "broken").unlink()
    assert place.fire().returncode == 0
    assert (place.root / "asked").read_text().splitlines().count("start kubelet.service") == 2
    assert place.left() == []


def test_it_comes_by_the_clock_on_the_wall_and_after_a_restart_too(place: Place) -> None:
    place.arm()
    timer = pathlib.Path(place.dead_man.timer_file).read_text()
    assert "OnCalendar=2026-11-24 06:00:01 UTC\n" in timer and "Persistent=true\n" in timer
    assert "AccuracySec=1s\n" in timer and "WantedBy=timers.target\n" in timer
    assert ["enable", place.dead_man.timer] in place.asked
    assert os.stat(place.dead_man.script).st_mode & 0o777 == 0o700
    assert os.stat(place.root / "state").st_mode & 0o777 == 0o700


@pytest.mark.parametrize("verb", ["daemon-reload", "enable", "restart"])
def test_what_systemd_does_not_take_is_a_failure_that_leaves_nothing(place: Place, verb: str) -> None:
    place.refuse = verb
    with pytest.raises(CareError, match=r"does not arm the timer of restore_after.*Access denied"):
        place.arm()
    assert place.left() == []


def test_a_timer_that_systemd_does_not_plan_is_none(place: Place) -> None:
    place.plan = "ActiveState=active\nNextElapseUSecRealtime=\n"
    with pytest.raises(CareError, match="does not plan it"):
        place.arm()
    assert place.dead_man.due() is None


def test_disarming_takes_all_of_it_away_once(place: Place) -> None:
    place.arm()
    assert place.dead_man.disarm() is True
    assert place.left() == []
    asked = len(place.asked)
    assert place.dead_man.disarm() is False
    assert len(place.asked) == asked
