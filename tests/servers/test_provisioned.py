"""Bare servers that were made Xen hosts: a second time changes nothing, and what goes wrong with
one, or with a connection, does not stop anything else.
"""

from __future__ import annotations

import threading

import pytest
from pair import COME_BACK_SECONDS, NAMES, Pair, Told, connected, inv

from lab import inventory, servers
from lab.remote.ssh import DOM0, UnreachableError

BROKEN = "/usr/local/sbin/tmemctl"


@pytest.fixture(scope="module", autouse=True)
def _provisioned(pair: Pair) -> None:
    pair.at("provisioned")


def test_they_run_the_new_hypervisor_by_default(pair: Pair) -> None:
    for each in servers.check(pair.lab()):
        assert each.facts is not None
        assert each.facts.dom0
        assert "dom0_vcpus_pin" in str(each.facts.xen_options)
        assert each.facts.grub_default == "saved"
        default = dict(each.facts.grub_variables)["saved_entry"]
        assert default.startswith("overcommit-")
        assert f"overcommit.entry={default}" in each.facts.kernel_options
        assert not each.blocked


def test_a_look_says_that_nothing_would_be_changed(pair: Pair) -> None:
    assert [(each.error, each.plan) for each in servers.provision(pair.lab(), only_look=True)] == [(None, ())] * 2


def test_a_second_time_changes_nothing(pair: Pair, told: Told) -> None:
    said = inv(told, "lab.provision", "--inventory", str(pair.lab())).splitlines()
    assert [f"{name}: nothing had to be changed" in said for name in NAMES] == [True, True]


def test_a_lost_connection_is_survived_and_another_servers_failure_too(pair: Pair, told: Told) -> None:
    """The connections of the first are cut in the middle, and a task of the second fails."""
    lab = pair.lab()
    first, second = inventory.load(lab).hosts
    assert (first.name, second.name) == NAMES
    with connected(second) as connections:
        connections.run(DOM0, f"echo >> {BROKEN}; chattr +i {BROKEN}")
    cut = threading.Event()

    def watch(text: str) -> None:
        told(text)
        if text.startswith(f"{first.name}: xen_host : Make the folders") and not cut.is_set():
            cut.set()
            with connected(first) as connections, pytest.raises(UnreachableError):
                # for a while, since between two sessions of Ansible's there is nothing to cut
                connections.run(DOM0, "for n in 1 2 3 4; do pkill -KILL -f '^sshd-session: root'; sleep 1; done")

    try:
        survived, failed = servers.provision(lab, watch, come_back=COME_BACK_SECONDS)
    finally:
        with connected(second) as connections:
            connections.run(DOM0, f"chattr -i {BROKEN}")
    assert cut.is_set()
    assert told.says(f"{first.name}: the connection was lost")
    assert survived.line() == f"{first.name}: nothing had to be changed"
    assert failed.error is not None
    assert failed.error.what == f"playbook provision.yml: task 'Install tmemctl' failed on {second.name}"
    assert "playbooks/roles/xen_host/tasks/configure.yml:" in failed.error.where
    assert failed.error.remedy
