# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from lab.addresses import NUMBERS, Addresses, check_machine_name, free_number, free_octet, role_by_name
from lab.errors import LabError


def test_no_two_labs_share_an_address() -> None:
    ranges = [
        ipaddress.IPv4Network(text)
        for number in NUMBERS
        for text in (Addresses(number).nodes, Addresses(number).pods, Addresses(number).services)
    ]
    assert not [(a, b) for a in ranges for b in ranges if a is not b and a.overlaps(b)]


def test_every_machine_lies_in_its_labs_ranges() -> None:
    mine = Addresses(7)
    assert ipaddress.IPv4Address(mine.machine(21)) in ipaddress.IPv4Network(mine.nodes)
    assert ipaddress.IPv4Network(mine.pods_of(21)).subnet_of(ipaddress.IPv4Network(mine.pods))
    assert ipaddress.IPv4Address(mine.gateway) in ipaddress.IPv4Network(mine.nodes)


@pytest.mark.parametrize(
    ("taken", "links", "routes", "number"),
    [
        ([], [], [], 0),
        ([0, 1, 3], [], [], 2),
        ([], ["lo", "cclab0"], [], 1),
        ([], [], ["default", "10.90.0.0/24"], 1),
        ([], [], ["10.160.11.0/24"], 1),
        ([], [], ["10.200.0.5"], 1),
        # The lab's routes are more specific than a company's.
        ([], [], ["10.0.0.0/8"], 0),
    ],
)
def test_free_number(taken: Any, links: Any, routes: Any, number: Any) -> None:
    assert free_number(taken, links, routes) == number


def test_all_numbers_taken_is_said() -> None:
    with pytest.raises(LabError, match="All 32 numbers"):
        free_number(NUMBERS, [], [])


@pytest.mark.parametrize("name", ["cp1", "w12", "spare-1", "a", "abcdefgh"])
def test_the_longest_interface_name_is_one_that_the_kernel_takes(name: Any) -> None:
    assert len(Addresses(31).interface(check_machine_name(name))) <= 15


@pytest.mark.parametrize("name", ["", "1a", "W1", "a-", "abcdefghi", "a/b", "../x"])
def test_bad_machine_names_are_refused(name: Any) -> None:
    with pytest.raises(LabError, match="cannot name a machine"):
        check_machine_name(name)


@pytest.mark.parametrize(("name", "role"), [("cp2", "master"), ("w3", "worker"), ("spare", "bare"), ("cpu", "bare")])
def test_role_by_name(name: Any, role: Any) -> None:
    assert role_by_name(name) == role


def test_octets_are_given_once_and_run_out_with_a_word() -> None:
    assert free_octet("master", []) == 11
    assert free_octet("master", [11, 12, 21]) == 13
    with pytest.raises(LabError, match="room for 9 machines"):
        free_octet("master", range(11, 20))
