"""Gives each pod an address of its own: Linux routes all of 127.0.0.0/8 to the loopback without set-up."""

import itertools
import socket

_FIRST, _LAST = 16, 254  # second octet; the lowest ones are left to what else lives on loopback


class LoopbackNetwork:
    """A /16 of 127.0.0.0/8 that no other sandbox on this machine has, so that fixed ports never clash.

    The claim is an abstract Unix socket: it leaves nothing on disk and ends with the process, however that
    ends. Raises RuntimeError when every network is taken.
    """

    def __init__(self) -> None:
        self._claim, self.octet = _claim()
        self._hosts = itertools.cycle(itertools.product(range(256), range(1, 255)))

    def allocate(self) -> str:
        """The next address. One comes again after 65,024 others."""
        high, low = next(self._hosts)
        return f"127.{self.octet}.{high}.{low}"

    def close(self) -> None:
        """Gives the network back."""
        self._claim.close()


def _claim() -> tuple[socket.socket, int]:
    for octet in range(_FIRST, _LAST + 1):
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0canaryd-sandbox-127.{octet}")
        except OSError:
            claim.close()
            continue
        return claim, octet
    raise RuntimeError("every loopback network is in use by a sandbox")
