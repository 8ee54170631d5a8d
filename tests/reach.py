"""Whom a guest of any host reaches over the network."""

from __future__ import annotations

from collections.abc import Sequence

from lab.hosts.host import XenHost

SECONDS = 5


def reached(host: XenHost, guest: str, addresses: Sequence[str]) -> list[str]:
    """Which of these take a connection to their SSH server. Asked in Perl, which guests have."""
    connect = f"IO::Socket::INET->new(PeerAddr => $_, PeerPort => 22, Timeout => {SECONDS})"
    program = f'print "$_\\n" for grep {{ {connect} }} @ARGV'
    return host.run(guest, f"perl -MIO::Socket::INET -e '{program}' {' '.join(addresses)}").split()
