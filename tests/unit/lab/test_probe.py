# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import pytest

from lab import probe
from lab.probe import Probe, Series, check_answer, check_reply, dns_query, problems

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@pytest.mark.parametrize(("seconds", "due"), [(0, 1), (0.05, 1), (0.1, 2), (0.3, 4), (9.999, 100), (10, 101)])
def test_the_schedule_does_not_depend_on_answers(seconds: Any, due: Any) -> None:
    assert Series(10).due(seconds) == due


def test_gaps_are_between_good_answers_and_reach_to_the_end() -> None:
    series = Series(10)
    for started in (0.0, 0.1, 0.2, 5.2, 5.1, 5.3):
        series.done(started, 0.01)
    assert series.summary(6.0)["longest_gap_s"] == 5.0
    assert series.summary(15.3)["longest_gap_s"] == 10.0


def test_failures_are_counted_also_when_no_longer_listed() -> None:
    series = Series(10)
    for index in range(probe.KEPT_FAILURES + 7):
        series.done(index / 10, 1.0, "no answer")
    assert series.failed == probe.KEPT_FAILURES + 7
    assert len(series.summary(100)["failures"]) == probe.KEPT_FAILURES
    assert series.failures[3]["reason"] == "no answer" and series.failures[3]["second"] == 0.3


@pytest.mark.parametrize(
    ("sent", "ok", "failed", "expected"),
    [
        (100, 100, 0, []),
        (95, 95, 0, []),
        (94, 94, 0, ["the probe itself was too slow: 94 of 100 requests sent"]),
        (100, 99, 1, ["1 of 100 requests failed"]),
        (0, 0, 0, ["the probe itself was too slow: 0 of 100 requests sent", "none of the requests was answered"]),
    ],
)
def test_verdict(sent: Any, ok: Any, failed: Any, expected: Any) -> None:
    assert problems("requests", Series(10, sent=sent, ok=ok, failed=failed), 10) == expected


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "cut short"),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "503"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", "2 of 9 bytes"),
    ],
)
def test_bad_answers(answer: Any, why: Any) -> None:
    with pytest.raises(ValueError, match=why):
        check_answer(answer)
    check_answer(GOOD)


def test_dns_question_and_answers() -> None:
    query = dns_query("web.demo.svc", 7)
    assert query[12:] == b"\x03web\x04demo\x03svc\x00\x00\x01\x00\x01"
    check_reply(struct.pack("!6H", 7, 0x8180, 1, 1, 0, 0), 7)
    for header, why in (
        ((7, 0x8183, 1, 0, 0, 0), "code 3"),
        ((7, 0x8180, 1, 0, 0, 0), "without an address"),
        ((8, 0x8180, 1, 1, 0, 0), "another question"),
    ):
        with pytest.raises(ValueError, match=why):
            check_reply(struct.pack("!6H", *header), 7)


class Server(threading.Thread):
    """Answers as told, one connection after the other; a connection told None is never answered."""

    def __init__(self, answers: Any) -> None:
        super().__init__(daemon=True)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.answers = answers
        self.kept: list[socket.socket] = []
        self.start()

    def run(self) -> None:
        for answer in self.answers:
            connection, _ = self.socket.accept()
            if answer is None:
                self.kept.append(connection)
                continue
            connection.recv(1000)
            connection.sendall(answer)
            connection.close()


def run_probe(tmp_path: Path, server: Any, seconds: Any, monkeypatch: pytest.MonkeyPatch, home: Any = None) -> Any:
    """The probe against a real server on this machine; names are not asked for here."""

    async def no_name(*_: Any) -> None:
        return None

    monkeypatch.setattr(probe, "ask_name", no_name)
    options = argparse.Namespace(
        web=server.address,
        dns="127.0.0.1",
        resolve="x",
        patience=1.0,
        limit=0.3,
        home=home or os.getpid(),
        result=tmp_path / "r",
    )
    watch = Probe(options, Series(50), Series(10))

    async def go() -> None:
        task = asyncio.create_task(watch.run())
        await asyncio.sleep(seconds)
        if not task.done():
            os.kill(os.getpid(), 15)
        await task

    asyncio.run(go())
    return json.loads((tmp_path / "r").read_text())


def test_a_slow_answer_does_not_hold_up_the_next_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [GOOD] * probe.STEADY + [GOOD] * 5 + [None] * 3 + [GOOD] * 1000
    report = run_probe(tmp_path, Server(answers), 4.0, monkeypatch)
    assert report["requests"]["failed"] == 3 and not report["ok"]
    assert {failure["reason"] for failure in report["requests"]["failures"]} == {"no answer within 0.3 s"}
    # Far less than the three limits one after the other: the others went on meanwhile.
    assert report["requests"]["longest_gap_s"] < 0.5
    assert report["requests"]["sent"] == report["requests"]["ok"] + 3


def test_a_service_that_never_settles_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = run_probe(tmp_path, Server([b"HTTP/1.1 503 No\r\n\r\n"] * 1000), 3.0, monkeypatch)
    assert not report["ok"] and "not answered steadily within 1 s: answered HTTP/1.1 503" in report["problems"][0]


def test_a_machine_that_goes_away_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Probe(argparse.Namespace(home=os.getpid(), result=tmp_path / "r"), Series(10), Series(1))
    watch.born = "another start"

    async def go() -> None:
        stop = asyncio.Event()
        await watch.watch_home(stop)
        assert stop.is_set()

    asyncio.run(go())
    assert "went away" in watch.report()["problems"][0]
