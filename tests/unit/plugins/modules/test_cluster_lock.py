# Copyright (c) 2026, the clustercare.kubeadm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""cluster_lock whole, against an API server that others use too."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from ansible.module_utils import basic

from ansible_collections.clustercare.kubeadm.plugins.module_utils import _lock
from ansible_collections.clustercare.kubeadm.plugins.module_utils._errors import CareError
from ansible_collections.clustercare.kubeadm.plugins.module_utils._kube import Api
from ansible_collections.clustercare.kubeadm.plugins.module_utils._names import LEASES
from ansible_collections.clustercare.kubeadm.plugins.module_utils._times import epoch
from ansible_collections.clustercare.kubeadm.plugins.module_utils._wait import Deadline
from ansible_collections.clustercare.kubeadm.tests.unit.plugins.fake_api import FakeApi, node

BASTION = {"machine_id": "m1", "boot_id": "b1", "hostname": "bastion", "pid_namespace": "pid:[1]"}
OTHER = {"machine_id": "m2", "hostname": "laptop"}


@pytest.fixture
def api() -> Iterator[FakeApi]:
    fake = FakeApi(node("w1"))
    yield fake
    fake.close()


@pytest.fixture
def lock(api: FakeApi, run_module: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    # In this process Ansible would show a warning once instead of putting it into the result.
    warned: list[str] = []
    monkeypatch.setattr(basic.AnsibleModule, "warn", lambda self, warning: warned.append(warning))

    def run(run_id: str = "r1", check: bool = False, **options: Any) -> dict[str, Any]:
        warned.clear()
        given = {"host": api.url, "api_key": "not-a-secret", "purpose": "upgrade", "timeout": 5, **options}
        result: dict[str, Any] = run_module("cluster_lock", {"run_id": run_id, **given}, check=check)
        return {**result, "warnings": list(warned)}

    return run


@pytest.fixture
def client(api: FakeApi) -> Api:
    import urllib3

    return Api(urllib3.PoolManager(), api.url, dict)


def lease(api: FakeApi) -> dict[str, Any]:
    return api.objects[_lock.PATH]


def age(api: FakeApi, seconds: float) -> None:
    """Let the lock be last renewed so long ago."""
    lease(api)["spec"]["renewTime"] = _lock._micro(epoch(lease(api)["spec"]["renewTime"]) - seconds)


def deadline() -> Deadline:
    return Deadline(5, "timeout")


def test_a_free_lock_is_taken_and_says_whose_it_is(api: FakeApi, lock: Any) -> None:
    result = lock(controller={**BASTION, "pid": 42, "start": 777, "running": [{"pid": 42, "start": 777}]})
    assert result["changed"] and result["held"] and result["action"] == "acquired"
    assert (result["holder"]["purpose"], result["holder"]["run"], result["holder"]["host"]) == (
        "upgrade",
        "r1",
        "bastion",
    )
    notes = lease(api)["metadata"]["annotations"]
    assert {key: notes[f"clustercare.io/{key}"] for key in ("purpose", "run", "hostname", "machine-id", "boot-id")} == {
        "purpose": "upgrade",
        "run": "r1",
        "hostname": "bastion",
        "machine-id": "m1",
        "boot-id": "b1",
    }
    assert (notes["clustercare.io/pid"], notes["clustercare.io/start"]) == ("42", "777")
    assert lease(api)["spec"]["holderIdentity"] == "upgrade/r1" and lease(api)["spec"]["leaseDurationSeconds"] == 900
    assert result["api_calls"] == {"get": 1, "create": 1}


def test_its_own_lock_is_renewed_without_counting_as_a_change(api: FakeApi, lock: Any) -> None:
    lock()
    age(api, 300)
    before = copy.deepcopy(lease(api))
    result = lock(ttl=1200)
    assert not result["changed"] and result["held"] and result["action"] == "renewed" and result["warnings"] == []
    assert epoch(lease(api)["spec"]["renewTime"]) >= epoch(before["spec"]["renewTime"]) + 300
    assert lease(api)["spec"]["acquireTime"] == before["spec"]["acquireTime"]
    assert lease(api)["metadata"]["annotations"] == before["metadata"]["annotations"]


def test_a_lock_held_elsewhere_is_refused_and_left_as_it_is(api: FakeApi, lock: Any) -> None:
    lock("r1", controller=BASTION)
    before = copy.deepcopy(lease(api))
    result = lock("r2", controller=OTHER)
    assert result["failed"] and not result["changed"] and not result["held"]
    assert "run r1" in result["msg"] and "bastion" in result["msg"] and "cluster_lock_takeover=r1" in result["msg"]
    assert result["holder"]["run"] == "r1" and result["holder"]["until"] in result["msg"]
    assert lease(api) == before


def test_a_lock_that_is_over_is_taken_over_with_a_warning(api: FakeApi, lock: Any) -> None:
    lock("r1", controller=BASTION)
    age(api, 901)
    result = lock("r2", purpose="maintenance", controller=OTHER)
    assert result["changed"] and result["action"] == "taken_over" and result["previous"]["run"] == "r1"
    assert "did not come back" in result["warnings"][0] and "run r1" in result["warnings"][0]
    assert lease(api)["spec"]["holderIdentity"] == "maintenance/r2" and lease(api)["spec"]["leaseTransitions"] == 1
    assert "clustercare.io/boot-id" not in lease(api)["metadata"]["annotations"], "the old holder's"


def test_the_clock_of_this_machine_does_not_matter(api: FakeApi, lock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 4e9)
    lock("r1", controller=BASTION)
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert lock("r2", controller=OTHER)["failed"]


def test_a_dead_run_of_this_machine_is_taken_over_at_once(api: FakeApi, lock: Any) -> None:
    lock("r1", controller={**BASTION, "pid": 42, "start": 777, "running": []})
    alive = {**BASTION, "pid": 50, "start": 900, "running": [{"pid": 42, "start": 777}, {"pid": 50, "start": 900}]}
    assert lock("r2", controller=alive)["failed"]
    result = lock("r2", controller={**alive, "running": [{"pid": 50, "start": 900}]})
    assert result["changed"] and result["action"] == "taken_over"
    assert "its process 42 on bastion is gone" in result["warnings"][0]
    assert lease(api)["metadata"]["annotations"]["clustercare.io/pid"] == "50"


def test_the_named_run_is_taken_over(api: FakeApi, lock: Any) -> None:
    lock("r1", controller=BASTION)
    assert lock("r2", controller=OTHER, takeover="r0")["failed"]
    result = lock("r2", controller=OTHER, takeover="r1")
    assert (
        result["changed"] and result["action"] == "taken_over" and lease(api)["spec"]["holderIdentity"] == "upgrade/r2"
    )


def test_check_mode_says_what_it_would_do_and_writes_nothing(api: FakeApi, lock: Any) -> None:
    free = lock(check=True)
    assert free["changed"] and free["action"] == "acquired" and not free["held"] and api.writes == 0
    lock("r1", controller=BASTION)
    before, writes = copy.deepcopy(lease(api)), api.writes
    assert lock("r2", check=True, controller=OTHER)["failed"]
    own = lock("r1", check=True)
    assert own["held"] and not own["changed"]
    assert lock("r2", check=True, takeover="r1")["action"] == "taken_over"
    assert lock("r1", check=True, state="released")["changed"]
    assert api.writes == writes and lease(api) == before


def test_release_is_safe_to_repeat_and_leaves_what_is_not_ours(api: FakeApi, lock: Any) -> None:
    lock("r1", controller=BASTION)
    foreign = lock("r2", state="released")
    assert not foreign["changed"] and foreign["action"] == "foreign" and foreign["holder"]["run"] == "r1"
    assert "run r1" in foreign["warnings"][0] and _lock.PATH in api.objects
    assert lock("r1", state="released", purpose="maintenance")["action"] == "foreign"
    first, second = lock("r1", state="released"), lock("r1", state="released")
    assert first["changed"] and first["action"] == "released" and _lock.PATH not in api.objects
    assert not second["changed"] and second["action"] == "absent"
    assert lock("r2")["action"] == "acquired"


@pytest.mark.parametrize(("method", "path"), [("POST", LEASES), ("PATCH", _lock.PATH), ("DELETE", _lock.PATH)])
def test_a_write_whose_answer_was_lost_counts_as_a_change(api: FakeApi, lock: Any, method: str, path: str) -> None:
    if method != "POST":
        lock("r1", controller=BASTION)
    run, state = ("r1", "released") if method == "DELETE" else ("r2", "held")

    def done_but_not_told() -> str:
        api.answer(method, path, {}, copy.deepcopy(api.bodies[-1]))
        return "drop"

    api.inject(method, f"{path}($|\\?)", done_but_not_told)
    result = lock(run, state=state, takeover="r1", controller=OTHER)
    assert not result.get("failed") and result["changed"]
    assert (_lock.PATH in api.objects) == (state == "held")
    if method == "PATCH":
        assert result["action"] == "taken_over" and "run r1" in result["warnings"][0]


def test_of_two_at_once_one_gets_it_and_the_other_hears_of_it(api: FakeApi, client: Api) -> None:
    def take(run: str) -> str:
        try:
            return str(_lock.acquire(client, _lock.Claim("upgrade", run, 900), deadline(), False)["action"])
        except CareError as error:
            return error.message

    for _round in range(10):
        with ThreadPoolExecutor(4) as pool:
            heard = sorted(pool.map(take, ["r1", "r2", "r3", "r4"]))
        winner = lease(api)["metadata"]["annotations"]["clustercare.io/run"]
        assert heard[3] == "acquired" and all(f"cluster_lock_takeover={winner} " in said for said in heard[:3])
        del api.objects[_lock.PATH]


def test_whoever_takes_over_second_hears_of_the_first(api: FakeApi, lock: Any) -> None:
    lock("r1", controller=BASTION)
    age(api, 901)

    def somebody_else() -> None:
        lease(api)["spec"].update(holderIdentity="upgrade/r3", renewTime=_lock._micro(4e9))
        lease(api)["metadata"]["annotations"].update({"clustercare.io/run": "r3"})
        lease(api)["metadata"]["resourceVersion"] = "77"

    api.inject("PATCH", "/leases/", somebody_else)
    result = lock("r2", controller=OTHER)
    assert result["failed"] and "run r3" in result["msg"] and not result["changed"]


def test_a_lock_that_a_step_could_outlive_is_refused_in_words(api: FakeApi, lock: Any) -> None:
    result = lock(ttl=900, longest_deadline=900)
    assert result["failed"] and "option ttl" in result["msg"] and "longest_deadline" in result["msg"]
    assert api.asked == [] and lock(ttl=901, longest_deadline=900)["held"]


def test_renew_takes_one_look_and_one_write(api: FakeApi, lock: Any, client: Api) -> None:
    lock("r1")
    age(api, 600)
    old = lease(api)["spec"]["renewTime"]
    _lock.renew(client, "r1", deadline())
    assert client.calls == {"get": 1, "patch": 1} and lease(api)["spec"]["renewTime"] > old
    assert lease(api)["spec"]["leaseDurationSeconds"] == 900


def test_renew_without_a_run_or_in_check_mode_asks_nothing(api: FakeApi, client: Api) -> None:
    _lock.renew(client, None, deadline())
    _lock.renew(client, "r1", deadline(), check=True)
    assert api.asked == []


def test_renew_fails_when_the_lock_was_lost(api: FakeApi, lock: Any, client: Api) -> None:
    with pytest.raises(CareError, match=r"r1, has lost the lock.*nobody holds it"):
        _lock.renew(client, "r1", deadline())
    lock("r2", controller=BASTION)
    with pytest.raises(CareError, match="held by run r2 for 'upgrade' on bastion"):
        _lock.renew(client, "r1", deadline())


def test_modules_of_one_run_renew_side_by_side(
    api: FakeApi, lock: Any, client: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock("r1")
    looked, write = threading.Barrier(4, timeout=10), client.patch
    kept: list[bool] = []

    def write_together(*arguments: Any) -> Any:
        looked.wait()
        answer = write(*arguments)
        kept.append(answer is not None)
        return answer

    monkeypatch.setattr(client, "patch", write_together)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _number: _lock.renew(client, "r1", deadline()), range(4)))
    assert sorted(kept) == [False] * 3 + [True], "all had seen the same lease, so that one alone could change it"


def test_a_step_of_a_run_that_lost_its_lock_does_nothing(api: FakeApi, lock: Any, run_module: Any) -> None:
    lock("r2")
    given = {"host": api.url, "api_key": "not-a-secret", "scope": "cluster", "interval": 0.02}
    result = run_module("cluster_health", {**given, "lock_run": "r1"})
    assert result["failed"] and "run r2" in result["msg"] and ("GET", "/api/v1/nodes") not in api.asked
    age(api, 100)
    assert run_module("cluster_health", {**given, "lock_run": "r2"})["healthy"]
    assert run_module("cluster_health", {**given, "lock_run": "r1"}, check=True)["healthy"]


def test_before_a_long_step_the_lock_is_renewed_and_never_taken(api: FakeApi, lock: Any) -> None:
    lock()
    age(api, 600)
    old = lease(api)["spec"]["renewTime"]
    result = lock(state="renewed")
    assert not result["changed"] and result["held"] and result["action"] == "renewed"
    assert lease(api)["spec"]["renewTime"] > old and result["holder"]["run"] == "r1"
    refused = lock("r2", state="renewed")
    assert refused["failed"] and "r2, has lost the lock" in refused["msg"] and "run r1" in refused["msg"]
    lock(state="released")
    gone = lock(state="renewed")
    assert gone["failed"] and "nobody holds it" in gone["msg"] and _lock.PATH not in api.objects


def test_check_mode_renews_nothing(api: FakeApi, lock: Any) -> None:
    lock()
    writes = api.writes
    assert not lock(state="renewed", check=True).get("failed") and api.writes == writes
