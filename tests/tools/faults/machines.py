# SPDX-License-Identifier: MIT
"""Two machines and the wire between them: network namespaces, joined by veth pairs.

    near <==veth==> wire <==veth==> far

In the namespace in the middle a thread carries each packet from one veth to the other, and can delay or
lose it. tc's netem can do that too, but many kernels lack it. This one has a seed: the same seed loses
the same packets, for example the first, the fifth and the ninth.
"""

import collections
import ctypes
import os
import random
import re
import select
import socket
import subprocess
import threading
import time

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_VNET_HDR, _PACKET_OUTGOING = 263, 15, 4
_LARGEST = 66000  # A packet with its headers


def run(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        raise OSError(f"no {command[0]} (package iproute2)") from None
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class Machine:
    """A network namespace. What is started, or opened, within `with machine:` is there.

    Unlike those of `ip netns add` it has no name and no mount. It exists while it is open here or a
    program runs in it, so it is gone when the tests end, even if they are killed.
    """

    def __init__(self, address=None):
        self.address = address
        self._there = self._back = None
        thread = threading.Thread(target=self._create)
        thread.start()
        thread.join()
        if self._there is None:
            raise self._error
        #: For `ip ... netns`
        self.path = f"/proc/{os.getpid()}/fd/{self._there}"

    def _create(self):
        """In a thread of its own, since the thread is moved into the namespace."""
        try:
            if _libc.unshare(_CLONE_NEWNET) == -1:
                raise OSError(f"unshare: {os.strerror(ctypes.get_errno())}")
            self._there = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        except (OSError, AttributeError) as error:
            self._error = error

    def _enter(self, namespace):
        if _libc.setns(namespace, _CLONE_NEWNET) == -1:
            raise OSError(f"setns: {os.strerror(ctypes.get_errno())}")

    def __enter__(self):  # Of the calling thread only
        self._back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self._enter(self._there)

    def __exit__(self, *_):
        self._enter(self._back)
        os.close(self._back)

    def at(self, port="*"):
        return f"tcp://{self.address}:{port}"

    def link(self, state):
        """"down": the cable is pulled out, and the kernel here knows. "up": it is in again."""
        self.ip(f"link set eth {state}")

    def ip(self, args):
        with self:
            run("ip", *args.split())

    def connections(self):
        """The TCP connections that count as alive here: [(process id or None, "local remote")]"""
        with self:
            lines = run("ss", "-Htnp", "state", "established").splitlines()
        pids = [re.search(r"\bpid=(\d+)", line) for line in lines]
        return [
            (int(pid[1]) if pid else None, " ".join(line.split()[2:4]))
            for pid, line in zip(pids, lines)
        ]

    def destroy(self):
        os.close(self._there)


class Wire:
    """Has the machines `near` and `far`, and these settings, which can be changed at any time:

    cut      True: no packet arrives, and neither machine is told
    delay_s  of each packet; a round trip takes twice that
    loss     0.05: of 100 packets 5 do not arrive
    """

    def __init__(self, seed=1):
        self.cut, self.delay_s, self.loss = False, 0, 0
        self.carried = self.lost = 0
        self._random = random.Random(seed)
        self._machines, self._sockets = [], []
        self._stop, self._stopper = os.pipe()
        self._thread = None

    def build(self):
        """Raises OSError if this is not possible here. Call destroy afterwards in any case."""
        middle = self._machine()
        self.near = self._machine("10.77.0.1")
        self.far = self._machine("10.77.0.2")
        for machine, end in ((self.near, "near"), (self.far, "far")):
            # One segment a packet: if a packet held several, a loss of 5 % would lose more
            middle.ip(
                f"link add {end} type veth peer name eth netns {machine.path} gso_max_segs 1"
            )
            machine.ip(f"addr add {machine.address}/24 dev eth")
            machine.ip("link set lo up")
            machine.ip("link set eth up")
            middle.ip(f"link set {end} up")
            with middle:
                packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
                self._sockets.append(packets)
                # A veth computes no checksums: the header of each packet says which one is missing
                packets.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
                packets.setblocking(False)
                packets.bind((end, _ETH_P_ALL))
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def _machine(self, *args):
        machine = Machine(*args)
        self._machines.append(machine)
        return machine

    def _carry(self):
        near, far = self._sockets
        other = {near: far, far: near}
        under_way = collections.deque()  # (when it arrives, where, packet)
        while True:
            now = time.monotonic()
            while under_way and under_way[0][0] <= now:
                _, there, packet = under_way.popleft()
                self._deliver(there, packet)
            left = under_way[0][0] - now if under_way else None
            ready, _, _ = select.select([near, far, self._stop], [], [], left)
            if self._stop in ready:
                return
            for here in ready:
                packet = self._receive(here)
                if not packet:
                    continue
                if self.cut or self._random.random() < self.loss:
                    self.lost += 1
                else:
                    under_way.append((time.monotonic() + self.delay_s, other[here], packet))

    def _receive(self, here):
        try:
            packet, address = here.recvfrom(_LARGEST)
        except OSError:
            return None  # The cable has been pulled out
        if address[2] == _PACKET_OUTGOING:
            return None  # Our own
        return packet

    def _deliver(self, there, packet):
        try:
            there.send(packet)
            self.carried += 1
        except OSError:
            self.lost += 1  # The cable has been pulled out

    def destroy(self):
        if self._thread:
            os.write(self._stopper, b".")
            self._thread.join()
        os.close(self._stop)
        os.close(self._stopper)
        for each in self._sockets:
            each.close()
        for machine in self._machines:
            machine.destroy()
