"""20 hostile clients for 10 s beside honest ones; `.ci/run long_load` has 200 for a minute."""

from __future__ import annotations

import pytest

from tests.serve import hostile_clients, hostility


@pytest.fixture(scope="module")
def found():
    return hostile_clients.run(hostile=20, seconds=10, honest=3, seed=7)


@pytest.mark.slow
def test_no_honest_request_is_lost(found):
    honest = found["honest"]
    assert honest["sent"] > 100, "honest clients have to get somewhere"
    assert honest["answered"] == honest["sent"], honest["others"]
    assert honest["wrong"] == honest["lost"] == honest["refused"] == 0


@pytest.mark.slow
def test_memory_stays_within_what_the_limits_add_up_to(found):
    server = found["server"]
    assert server["peak_mib"] <= server["bound_mib"]


@pytest.mark.slow
def test_nothing_is_left_open(found):
    server = found["server"]
    assert server["after_sockets"] <= server["before_sockets"]
    assert server["exit_code"] == 0, "SIGTERM ends a server that nobody waits for"


@pytest.mark.slow
def test_hostile_clients_did_their_worst(found):
    """They were refused in many ways, and never by an error of the server."""
    assert set(found["acts"]) == {act.__name__ for act in hostility.ACTS}
    assert {"400", "404", "413", "422"} <= set(found["statuses"])
    assert "500" not in found["statuses"]
