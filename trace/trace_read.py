# SPDX-License-Identifier: MIT
"""Reads the traces of ztrace, and finds the sender and the receiver of each message.

A trace (docs/trace.md) has the messages that each process sent and received, and the events of its
sockets. A send and a receive belong together if the types of the sockets fit, they have an endpoint in
common, the frames are the same except for those that a socket adds or removes (the identity of a ROUTER,
the empty frame of a REQ), and the order is kept: between two sockets the first message sent is the first
received.
"""

import collections
import itertools
import json
import re

from trace_labels import body, label

# Which socket may be at the other end, of sockets that send in both directions (a SUB subscribes)
BOTH_WAYS = (
    "REQ-REP REQ-ROUTER REP-DEALER DEALER-DEALER DEALER-ROUTER ROUTER-ROUTER PAIR-PAIR"
    " PUB-SUB PUB-XSUB XPUB-SUB XPUB-XSUB"
)
FITS = {tuple(pair.split("-")[::way]) for pair in BOTH_WAYS.split() for way in (1, -1)} | {("PUSH", "PULL")}

#: In seconds: a message that took longer has waited in a queue; if nothing happens for longer, it is a
#: wait. Both are drawn.
LONG = 0.1


def read(path):
    """The run in a file of traces. An incomplete last line is left out: the disk was full, or a program
    is still writing."""
    lines = path.read_text("utf-8").split("\n")[:-1]
    return Run([json.loads(line) for line in lines])


class Lane:
    """A process; or, when `pid` is None, a peer that was not traced."""

    def __init__(self, program, pid):
        self.program, self.pid = program, pid
        self.start = self.end = None  # None: not known
        self.title = program
        self.sockets = []  # Types, in the order of their first message
        self.endpoints = set()  # (type, endpoint) of all its sockets
        self.identities = set()  # Those that a DEALER has set, in hex

    def name(self):
        """What tells it from others of the same program: vLLM's engines have their index, 2 bytes
        little-endian, as identity."""
        if [len(identity) for identity in self.identities] != [4]:
            return None
        return str(int.from_bytes(bytes.fromhex(*self.identities), "little"))


class Event:
    """One object of a trace: a message that was sent or received, or a note."""

    def __init__(self, entry, lane, places=()):
        self.t, self.lane = entry["t"], lane
        self.dir, self.note = entry.get("dir"), entry.get("note")
        self.socket = entry.get("socket")
        self.endpoint = entry.get("endpoint")
        self.places = set(places) or {where(self.endpoint)}  # Where its socket is bound or connected
        self.identity = entry.get("identity")
        self.frames = entry.get("frames", [])
        self.left_out = entry.get("left_out", 0)
        # Two sides of one message have the same key
        self.key = tuple((f["size"], f["hex"]) for f in body(self.socket, self.frames))
        self.taken_by = []  # The receives that a send has come to
        self.came_from = None  # The send of a receive
        self.last_send = self.last_recv = None  # Of the same socket, before this
        self.done = False  # Nothing more can come of it
        self.replaced = None  # When the next request went out without an answer to this one

    def name(self):
        """The identity that a ROUTER has in front of this message."""
        return self.frames[0]["hex"] if self.socket == "ROUTER" and self.frames else None


class Message:
    """A message between two lanes. Without `recv` no traced program received it; without `send` it came
    from a peer that was not traced."""

    def __init__(self, send, recv, source, target, fate):
        self.send, self.recv = send, recv
        self.source, self.target = source, target
        self.fate = fate  # "taken", "lost", "hidden" (a subscription) or "untold" (no trace there)
        self.t = (send or recv).t
        self.late = bool(send and recv and recv.t - send.t > LONG)
        self.label = label(send, recv)

    def identity(self):
        """What tells it from other messages between the same two programs: the engine's name."""
        ends = [end for end in (self.send, self.recv) if end]
        names = [end.identity or end.name() for end in ends]
        return next((name for name in names if name and len(name) == 4), "")


class Socket:
    """What a trace tells of one socket besides its messages."""

    def __init__(self):
        self.places = set()  # Where it was ever bound or connected
        self.connects = []  # (t, endpoint)
        self.topics = []  # (t, "01" or "00" in front of the topic, in hex)
        self.asked = None  # The newest request of a REQ without an answer


def sockets_of(entries):
    """All sockets by (pid, type, number), and what they did that is drawn: subscriptions, which
    libzmq sends by itself, as messages; and what went wrong as notes."""
    sockets, more = {}, []
    for entry in entries:
        if "number" not in entry:
            continue
        socket = sockets.setdefault(socket_of(entry), Socket())
        event, endpoint = entry.get("event"), entry.get("endpoint")
        if endpoint:
            socket.places.add(where(endpoint))
        if event in ("bind", "connect"):
            socket.connects.append((entry["t"], endpoint))
        elif event in ("subscribe", "unsubscribe"):
            socket.topics.append((entry["t"], ("01" if event == "subscribe" else "00") + entry["topic"]))
        elif event == "error":
            more.append(note_of(entry, f"{entry['call']}: {entry['error']}"))
        elif event == "close" and socket.asked:
            more.append(note_of(entry, f"no reply: closes the {entry['socket']} socket"))
        if entry["socket"] == "REQ":
            socket.asked = event is None and entry.get("dir") == "send"
        if event == "close":
            more += subscriptions(entry, socket)
            socket.topics = []
    last = {socket_of(entry): entry for entry in entries if "number" in entry}
    for key, entry in last.items():
        more += subscriptions(entry, sockets[key])
    return sockets, more


def socket_of(entry):
    return entry["pid"], entry["socket"], entry["number"]


def note_of(entry, text):
    return {key: entry[key] for key in ("t", "program", "pid")} | {"note": text}


def subscriptions(entry, socket):
    """The messages by which a socket has subscribed: each topic went to each endpoint, as soon as
    both were there. `entry` is any of that socket."""
    common = {key: entry[key] for key in ("program", "pid", "socket")}
    found = []
    for connected, endpoint in socket.connects:
        for asked, topic in socket.topics:
            words = bytes.fromhex(topic).decode("utf-8", "replace")
            frame = {"size": len(topic) // 2, "hex": topic, "text": words}
            told = {"endpoint": endpoint, "dir": "send", "frames": [frame]}
            found.append({**common, "t": max(connected, asked), **told})
    return found


class Run:
    """All that a trace tells: lanes, messages, notes."""

    def __init__(self, entries):
        entries = sorted(entries, key=lambda entry: entry["t"])
        self.start = entries[0]["t"] if entries else 0
        sockets, more = sockets_of(entries)
        entries = sorted(entries + more, key=lambda entry: entry["t"])
        lanes = {}
        events = []
        for entry in entries:
            lane = lanes.get(entry["pid"])
            if lane is None:
                lane = lanes[entry["pid"]] = Lane(entry["program"], entry["pid"])
            if entry.get("life"):
                setattr(lane, entry["life"], entry["t"])
                continue
            if entry.get("event"):
                continue
            known = sockets.get(socket_of(entry)) if "number" in entry else None
            event = Event(entry, lane, known.places if known else ())
            events.append(event)
            if event.dir:
                lane.endpoints |= {(event.socket, place) for place in event.places}
                if event.socket not in lane.sockets:
                    lane.sockets.append(event.socket)
                if event.identity and event.socket == "DEALER":
                    lane.identities.add(event.identity)
        self.lanes = list(lanes.values())
        self._ghosts = {}
        self._name_lanes()
        sends = [event for event in events if event.dir == "send"]
        self.notes = [event for event in events if event.note is not None]
        self._named = match(events)
        self.messages = [message for send in sends for message in self._sent(send)]
        self.messages += [
            Message(None, event, self._ghost(event), event.lane, "taken")
            for event in events
            if event.dir == "recv" and not event.came_from
        ]
        self.messages.sort(key=lambda message: (message.t, message.recv.t if message.recv else 0))

    def _name_lanes(self):
        for lane in self.lanes:
            same = [other for other in self.lanes if other.program == lane.program]
            if len(same) > 1:
                number = same.index(lane) + 1
                names = [other.name() for other in same]
                unique = lane.name() and names.count(lane.name()) == 1
                lane.title += f" {lane.name() if unique else number}"

    def _ghost(self, event):
        """The lane of a peer that was not traced: one for each place."""
        place = min(event.places, key=str)
        lane = self._ghosts.get(place)
        if lane is None:
            lane = self._ghosts[place] = Lane("peer", None)
            self.lanes.append(lane)
        for number, ghost in enumerate(self._ghosts.values(), 1):
            ghost.title = f"(peer {number})" if len(self._ghosts) > 1 else "(peer)"
        return lane

    def _sent(self, send):
        if send.taken_by:
            return [Message(send, recv, send.lane, recv.lane, "taken") for recv in send.taken_by]
        target = self._missed_target(send)
        if not target:
            return [Message(send, None, send.lane, self._ghost(send), "untold")]
        hidden = send.socket in ("SUB", "XSUB")  # A PUB takes subscriptions without a word
        return [Message(send, None, send.lane, target, "hidden" if hidden else "lost")]

    def _missed_target(self, send):
        """The lane that should have received a message that was lost; None when it was not traced."""
        if send.socket == "REP" and send.last_recv:
            asked = send.last_recv.came_from
            return asked and asked.lane
        named = [self._named.get((send.lane.pid, place, send.name())) for place in send.places]
        lane = next((lane for lane in named if lane), None)
        able = [lane for lane in self.lanes if lane.pid and self._could_take(lane, send)]
        return lane or (able[0] if able else None)

    @staticmethod
    def _could_take(lane, send):
        return any(
            (send.socket, kind) in FITS and place in send.places
            for kind, place in lane.endpoints
        )


def where(endpoint):
    """The part of an endpoint that both ends have in common. With tcp only the port counts, because one
    end may listen on all addresses."""
    found = re.fullmatch(r"tcp://.*:(\d+)", endpoint or "")
    return found.group(1) if found else endpoint


class Waiting:
    """Messages by place and content, of which the oldest that fits is looked for."""

    def __init__(self):
        self.lists = {}

    def add(self, event):
        for place in event.places:
            self.lists.setdefault((place, event.key), collections.deque()).append(event)

    def find(self, event, fits):
        """The oldest with the content of `event` that `fits`, or None."""
        found = []
        for place in event.places:
            those = self.lists.get((place, event.key), collections.deque())
            while those and those[0].done:
                those.popleft()
            found += itertools.islice((e for e in those if not e.done and fits(e)), 1)
        return min(found, key=lambda e: e.t, default=None)


def match(events):
    """Finds the send of each receive. `events` are in the order of time. Returns the lanes that
    have got a name from a ROUTER, by (its pid, its endpoint, the name)."""
    last = {}  # (pid, socket, places, identity), direction -> the newest of its events
    waiting = Waiting()  # Sends that may still be received
    early = Waiting()  # Subscriptions that no socket seems to have sent
    named = {}
    for event in events:
        if not event.dir:
            continue
        own = (event.lane.pid, event.socket, frozenset(event.places), event.identity)
        event.last_send, event.last_recv = last.get((own, "send")), last.get((own, "recv"))
        last[own, event.dir] = event
        if event.dir == "send":
            before = event.last_send
            if before and (not event.last_recv or event.last_recv.t < before.t):
                before.replaced = event.t
            recv = early.find(event, lambda e: True) if event.socket in ("SUB", "XSUB") else None
            if recv:
                # libzmq sends a subscription by itself, and the trace tells of it afterwards
                recv.done = event.done = True
                event.t = recv.t
                recv.came_from = event
                event.taken_by.append(recv)
            else:
                waiting.add(event)
            continue
        send = waiting.find(event, lambda e: could_be(e, event))
        if not send and event.socket in ("PUB", "XPUB"):
            early.add(event)
        if send:
            event.came_from = send
            send.taken_by.append(event)
            send.done = send.socket not in ("PUB", "XPUB")
            if event.socket == "ROUTER":
                for place in event.places & send.places:
                    named[event.lane.pid, place, event.name()] = send.lane
    return named


def could_be(send, recv):
    """True when `recv` may have got what `send` sent: their frames and endpoints are the same."""
    if (send.socket, recv.socket) not in FITS:
        return False
    if any(taken.lane is recv.lane for taken in send.taken_by):
        return False
    if recv.socket == "ROUTER" and send.identity:
        return recv.name() == send.identity
    if send.socket == "ROUTER" and recv.identity:
        return send.name() == recv.identity
    if send.socket == "ROUTER":
        # The name that the ROUTER gave to this socket: what it asked last was seen under it
        names = {taken.name() for taken in recv.last_send.taken_by} if recv.last_send else set()
        return not names or send.name() in names
    if send.socket == "REP" and recv.socket == "REQ" and send.last_recv:
        return send.last_recv.came_from is recv.last_send
    if send.socket == "REQ" and send.replaced and recv.lane.start:
        # Its socket was thrown away, and the request with it, if the other was not there yet
        return send.replaced > recv.lane.start
    return True


# --- What two runs of one demo have in common


def structure(run):
    """The parts of a run that must be the same each time, as lines of text: the lanes, and for each lane
    the messages of each connection in order, with the notes in between. Times and the order of two
    connections may differ, so they are left out."""
    lanes = sorted(run.lanes, key=lambda lane: lane.title)
    lines = [f"lane {lane.title}: {' '.join(sorted(lane.sockets))}" for lane in lanes]
    for lane in lanes:
        views = {}  # What is at the other end -> [(time, line)]
        for message in run.messages:
            for end, other, arrow in (
                (message.send, message.target, "->"),
                (message.recv, message.source, "<-"),
            ):
                if end and end.lane is lane:
                    name = f"{lane.title} | {other.title} {end.endpoint} {message.identity()}"
                    fate = "" if message.fate == "taken" else f" ({message.fate})"
                    for of, words in streams(message.label):
                        views.setdefault(name + of, []).append((end.t, f"{arrow} {words}{fate}"))
        notes = [(event.t, f"note {event.note}") for event in run.notes if event.lane is lane]
        for name, view in sorted(views.items()) or [(lane.title, [])]:
            view = [line for _, line in sorted(view + notes, key=lambda pair: pair[0])]
            lines += [f"{name.rstrip()}: {line}" for line in in_order(without_repeats(view))]
    return lines


def streams(label):
    """The label of a message as it is compared. Tokens are compared for each request on its own: which
    of them an engine sends in one message is a matter of time. Pairs of (name of the stream, words)."""
    parts = [re.fullmatch(r"(r\d+(?: r\d+)*): (\+.*)", part) for part in label.split("; ")]
    if not all(parts):
        return [("", label)]
    return [(f" {name}", f"{name}: {part[2]}") for part in parts for name in part[1].split()]


def without_repeats(view):
    """Leaves one of several probes, and of several equal subscriptions, that follow each other: how many
    there are is a matter of time. A probe is an ABORT of no request; a SUB subscribes again over each new
    connection."""
    again = [re.search(r"ABORT( \(\w+\))?$|^-> subscribe .*\(hidden\)$", line) for line in view]
    return [
        line
        for line, this, before in zip(view, again, [None, *again])
        if not (this and before and this[0] == before[0])
    ]


def in_order(view):
    """Notes with nothing between them may come in any order: sorts them."""
    ordered, notes = [], []
    for line in [*view, None]:
        if line and line.startswith("note "):
            notes.append(line)
            continue
        ordered += sorted(notes) + ([line] if line else [])
        notes = []
    return ordered
