"""Taking the testbed off servers leaves them as they were installed."""

from __future__ import annotations

from pair import COME_BACK_SECONDS, Pair, Told, connected, difference, listing

from lab import inventory, servers


def test_unprovision_leaves_the_servers_as_they_were(pair: Pair, told: Told) -> None:
    pair.at("provisioned")
    lab = pair.lab()
    done = servers.unprovision(lab, told, come_back=COME_BACK_SECONDS)
    assert [str(each.error) for each in done if each.error] == []
    for entry, each in zip(inventory.load(lab).hosts, done, strict=True):
        assert each.left == ()
        with connected(entry) as connections:
            assert difference(pair.before(entry.name), listing(connections)) == []
    again = servers.unprovision(lab, told, come_back=COME_BACK_SECONDS)
    assert all("was not provisioned, or it was taken off already" in str(each.error) for each in again)
