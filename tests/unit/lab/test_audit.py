# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import json
from pathlib import Path

from lab import audit


def line(uri: str, received: str = "1") -> bytes:
    # Braces within: a line that is cut at one of them still looks as if it had ended.
    said = {"stage": "ResponseComplete", "requestURI": uri, "requestReceivedTimestamp": received, "why": {"a": {}}}
    return json.dumps(said).encode() + b"\n"


def asked(log: Path, since: int = 0) -> list[str]:
    return [event["requestURI"] for event in audit.events(log, since)]


def test_a_log_that_is_not_there_yet_has_no_events(tmp_path: Path) -> None:
    assert audit.end(tmp_path / "audit.log") == 0
    assert asked(tmp_path / "audit.log") == []


def test_only_answers_count_and_the_oldest_request_is_first(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    begun = line("/begun").replace(b"ResponseComplete", b"RequestReceived")
    log.write_bytes(line("/late", "3") + begun + line("/early", "2"))

    assert asked(log) == ["/early", "/late"]


def test_a_line_that_is_just_being_written_counts_once_it_is_whole(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    half = line("/half")
    for cut in range(len(half) + 1):
        log.write_bytes(line("/before") + half[:cut])

        mark = audit.end(log)
        assert asked(log) == (["/before", "/half"] if cut == len(half) else ["/before"])
        assert asked(log, mark) == []

        with log.open("ab") as more:
            more.write(half[cut:] + line("/after"))
        assert asked(log) == ["/before", "/half", "/after"]
        # What was being written at the mark had been answered before it.
        assert asked(log, mark) == (["/half", "/after"] if cut == 0 else ["/after"])
