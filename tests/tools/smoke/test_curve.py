# SPDX-License-Identifier: MIT
"""--curve-dir: everything works as without it, and these peers are refused: a client without a key, one
whose key is not on the list, one with another server's key."""

import os
import re
import shutil
import signal
import socket
import subprocess

import msgspec
import pytest
import structs
import test_handshake
import test_stop
import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import parse_monitor_message

from harness import MAKE_KEYS, NAMES, WAIT_S
from programs import Bind, Connect, endpoints, of_kind

pack = msgspec.msgpack.encode
ANY = "tcp://127.0.0.1:0"


@pytest.fixture
def closed(start, keys):
    """Starts a program with CURVE."""
    return lambda name, /, *args, **options: start(name, "--curve-dir", keys, *args, **options)


# --- everything works: the pairs of the other tests, once more


def test_handshake_pair(closed, ipc):
    wire = {"handshake": ipc(), "input": ipc(), "output": ipc()}
    test_handshake.test_pair(closed, wire, 3)


def test_spawned_engines(closed):
    frontend = closed("mock_frontend", "--spawn", handshake=ANY, input=ANY, output=ANY, engines=2)
    assert frontend.wait() == 0
    assert "10 of 10 requests complete, 40 tokens" in "\n".join(frontend.out)
    assert frontend.err == []


@pytest.mark.valgrind
def test_kv_subscriber(closed, keys, ipc):
    """And no secret is printed."""
    ends = {"endpoint": ipc(), "replay_endpoint": ipc()}
    publisher = closed("kv_publisher", interval_ms=5, drop="12-14", **ends)
    publisher.wait_line("^seq 5:")
    subscriber = closed("kv_subscriber", "--json", from_seq=0, count=40, **ends)
    assert subscriber.wait() == publisher.stop() == 0
    lines = [msgspec.json.decode(line) for line in subscriber.out]
    # A notice of the gap is among them if it has joined early enough
    assert [line["seq"] for line in lines if "notice" not in line] == list(range(40))
    printed = "\n".join(publisher.out + publisher.err + subscriber.out + subscriber.err)
    for name in ("server", "client"):
        assert key_pair(keys, name)[1].decode() not in printed


@pytest.mark.parametrize("name", NAMES)
def test_stop_at_once(closed, ipc, name):
    test_stop.test_stop_at_once(closed, ipc, name, signal.SIGTERM)


# --- strangers


def serving(start, endpoint=ANY, *args):
    """A publisher; its replays are not used here."""
    return start("kv_publisher", *args, endpoint=endpoint, replay_endpoint=ANY, interval_ms=5)


def asking(closed, endpoint, count=1):
    """A subscriber that ends when it has got something."""
    return closed("kv_subscriber", endpoint=endpoint, count=count)


def key_pair(folder, name):
    return zmq.auth.load_certificate(folder / f"{name}.key_secret")


NO_KEY = "(it comes without a key|it does not finish the handshake; perhaps it has no key)"


@pytest.fixture
def strangers(keys, new_keys):
    """Kind of stranger -> the folder that it has, and what a server says of it."""
    unknown, astray = new_keys(), new_keys()
    shutil.copy(keys / "server.key", unknown)
    shutil.copy(keys / "client.key_secret", astray)
    public, _ = key_pair(unknown, "client")
    return {
        # Whichever of the two notices first that they do not speak the same
        "no key": (None, NO_KEY),
        "unknown key": (unknown, re.escape(f"{keys}/clients does not have {public.decode()}")),
        "wrong server": (astray, "it has another server's key than ours"),
    }


class Raw:
    """Raw sockets with keys, and with the monitors of their connections."""

    def __init__(self, peer):
        self.peer, self.authenticator = peer, None

    def connected(self, kind, endpoint, folder):
        socket = self.peer(kind, **({"routing_id": bytes(2)} if kind == zmq.DEALER else {}))
        if folder:
            socket.curve_publickey, socket.curve_secretkey = key_pair(folder, "client")
            socket.curve_serverkey, _ = zmq.auth.load_certificate(folder / "server.key")
        monitor = socket.get_monitor_socket()
        socket.connect(endpoint)
        return socket, monitor

    def bound(self, kind, folder):
        socket = self.peer(kind)
        if folder:
            self.authenticator = ThreadAuthenticator(socket.context)
            self.authenticator.start()
            self.authenticator.configure_curve(location=folder / "clients")
            socket.curve_publickey, socket.curve_secretkey = key_pair(folder, "server")
            socket.curve_server = True
        monitor = socket.get_monitor_socket()
        socket.bind(ANY)
        return socket, monitor


@pytest.fixture
def raw(peer):
    raw = Raw(peer)
    yield raw
    if raw.authenticator:
        raw.authenticator.stop()


FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
)


def wait_handshake(monitor):
    """How the first handshake ends that is seen of: True for well."""
    while monitor.poll(WAIT_S * 1000):
        event = parse_monitor_message(monitor.recv_multipart())["event"]
        if event & (FAILED | zmq.EVENT_HANDSHAKE_SUCCEEDED):
            return event == zmq.EVENT_HANDSHAKE_SUCCEEDED
    raise AssertionError("no handshake has ended")


def was_ever_let_in(monitor):
    events = []
    while monitor.poll(0):
        events.append(parse_monitor_message(monitor.recv_multipart())["event"])
    return zmq.EVENT_HANDSHAKE_SUCCEEDED in events


HELLO = structs.EngineStatus("HELLO", local=False, headless=True)
# program, option: the socket for its other end, and what that says there
DOORS = {
    ("kv_publisher", "endpoint"): (zmq.SUB, None),
    ("kv_publisher", "replay-endpoint"): (zmq.DEALER, [b"", bytes(8)]),
    ("mock_frontend", "input"): (zmq.DEALER, [pack(structs.toy_ready())]),
    ("mock_frontend", "output"): (zmq.PUSH, [b"ENGINE_CORE_DEAD"]),
    ("mock_frontend", "handshake"): (zmq.DEALER, [pack(HELLO)]),
}


def test_every_door_is_here():
    doors = [(name, option) for name in NAMES for option in of_kind(name, Bind)]
    assert sorted(doors) == sorted(DOORS)


def nowhere(name, **given):
    """Endpoints of its own for a program: it binds free ports, and connects to nobody."""
    binds = {option: ANY for option in of_kind(name, Bind)}
    connects = {option: "tcp://127.0.0.1:9" for option in of_kind(name, Connect)}
    return {**binds, **connects, **given}


@pytest.mark.parametrize("door", DOORS, ids="-".join)
def test_stranger_at_the_door(closed, keys, strangers, raw, door):
    """The peer is refused and gets nothing, and the server logs it once for each address."""
    name, option = door
    kind, message = DOORS[door]

    def come(folder):
        socket, monitor = raw.connected(kind, endpoint, folder)
        if kind == zmq.SUB:
            socket.subscribe(b"")
        if message:
            socket.send_multipart(message)
        return socket, monitor

    server = closed(name, **nowhere(name), **({"interval_ms": 1} if name == "kv_publisher" else {}))
    binds = sorted(of_kind(name, Bind), key=lambda bind: bind != "handshake")  # That comes first
    endpoint = server.endpoint(1 + binds.index(option))
    away = []
    for folder, why in strangers.values():
        for _ in range(3):
            away.append(come(folder))
            assert not wait_handshake(away[-1][1])
        # "somebody": the peer has disconnected before its address was looked up
        server.wait_err(rf"^{name}: refused (127\.0\.0\.1|somebody): {why}$")
    # A client with a key on the list may connect to the same socket
    friend, monitor = come(keys)
    assert wait_handshake(monitor)
    for _ in range(100 if kind == zmq.SUB else 0):
        friend.recv_multipart()
    for socket, monitor in away:
        assert kind == zmq.PUSH or not socket.poll(0)
        assert not was_ever_let_in(monitor)
    assert server.stop() == (name == "mock_frontend")
    assert len(set(server.err)) == len(server.err) <= 7, str(server)


# A program that connects: the socket of its other end. A replay is asked for only if one is missing.
ENDS = {("kv_subscriber", "endpoint"): zmq.XPUB, ("mock_engine", "handshake"): zmq.ROUTER}


def test_every_end_is_here():
    ends = [(name, option) for name in NAMES for option in of_kind(name, Connect)]
    assert sorted(ends) == sorted([*ENDS, ("kv_subscriber", "replay-endpoint")])


@pytest.mark.parametrize("end", ENDS, ids="-".join)
@pytest.mark.parametrize("who", ["no key", "unknown key", "wrong server", "open server", "friend"])
def test_stranger_who_connects(start, keys, strangers, raw, end, who):
    """Our program connects to a pyzmq server. If it is refused it says so. It does not talk to a
    server without CURVE."""
    name, option = end
    server, monitor = raw.bound(ENDS[end], keys if who != "open server" else None)
    endpoint = server.last_endpoint.decode()
    folder = strangers[who][0] if who in strangers else keys
    options = {**nowhere(name), option: endpoint}
    program = start(name, *([f"--curve-dir={folder}"] if folder else []), **options)
    told = {
        "no key": ": the other end wants a key, and we have none",
        "unknown key": " refused us: our key is not on its list$",
        "wrong server": rf" does not finish .*{folder}/server.key its key\?$",
        "open server": " has no CURVE, so we do not talk to it$",
    }
    if who != "open server":
        assert wait_handshake(monitor) == (who == "friend")
    if who != "friend":
        program.wait_err(f"^{name}: {endpoint}{told[who]}")
        assert not server.poll(0)
        assert not was_ever_let_in(monitor)
    if who != "open server":  # There it may also miss the end of the handshake
        assert len([line for line in program.err if endpoint in line]) == (who != "friend")
    program.kill()


def test_two_addresses(closed, raw):
    server = serving(closed)
    port = server.endpoint().rpartition(":")[2]
    for _ in range(3):
        for address in ("127.0.0.2", "127.0.0.3"):
            client, monitor = raw.connected(zmq.REQ, f"tcp://{address}:0;127.0.0.1:{port}", None)
            assert not wait_handshake(monitor)
    server.wait_err("refused")
    assert server.stop() == 0
    assert len(set(server.err)) == len(server.err) <= 6
    for line in server.err:
        assert re.fullmatch(rf"kv_publisher: refused (127\.0\.0\.[23]|somebody): {NO_KEY}", line)


def test_stranger_who_does_not_speak_zeromq(closed):
    server = serving(closed)
    port = int(server.endpoint().rpartition(":")[2])
    greeting = b"\xff" + bytes(8) + b"\x7f\x03" + bytes(60)
    for words in (b"GET / HTTP/1.1\r\n\r\n", greeting, b"\x01\x00"):
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.settimeout(WAIT_S)
            stranger.sendall(words)
            with pytest.raises(ConnectionResetError):
                while stranger.recv(1000):
                    pass
                raise ConnectionResetError  # Both are ways to be turned away
    assert asking(closed, server.endpoint()).wait() == 0
    assert server.stop() == 0


# --- the list


def test_list_is_read_for_each_client(closed, start, keys, strangers):
    """A client added to the list may connect; one removed from it no longer may. Without a list
    nobody may."""
    server = serving(closed)
    folder, _ = strangers["unknown key"]
    options = {"endpoint": server.endpoint(), "curve_dir": folder, "count": 1}

    def check_refused_now():
        client = start("kv_subscriber", **options)
        client.wait_err("not on its list")
        assert client.stop() == 0
        assert client.summary().startswith("0 ")

    check_refused_now()
    shutil.copy(folder / "client.key", keys / "clients" / "second.key")
    assert start("kv_subscriber", **options).wait() == 0
    (keys / "clients" / "second.key").unlink()
    check_refused_now()
    shutil.rmtree(keys / "clients")
    check_refused_now()
    server.wait_err(f"^kv_publisher: cannot read {keys}/clients: No such file")
    assert server.stop() == 0


def test_odd_list(closed, keys):
    """The same key twice, a long certificate, and things that are no certificates."""
    listed = keys / "clients"
    shutil.copy(listed / "client.key", listed / "again.key")
    text = (listed / "client.key").read_text()
    long = text.replace("metadata\n", f'metadata\n    x = "{"x" * 4000}"\n')
    (listed / "long.key").write_text(long)
    (listed / "README").write_text("hello")
    (listed / ".client.key.swp").write_text("hello")
    (listed / "sub").mkdir()
    server = serving(closed)
    assert asking(closed, server.endpoint(), 3).wait() == 0
    # A bad file that appears while the server runs is reported, and no other client notices
    (listed / "bad.key").write_text("nonsense")
    for _ in range(2):
        assert asking(closed, server.endpoint()).wait() == 0
    assert server.stop() == 0
    assert all(f"{listed}/bad.key: want a certificate" in line for line in server.err)
    assert len(server.err) <= 1


# --- folders and files that will not do


def check_refused(program, path):
    assert program.wait() == 1
    assert program.out == []
    assert len(program.err) == 1, str(program)
    assert program.err[0].startswith(f"{program.name}: ")
    assert str(path) in program.err[0]
    return program.err[0]


def rewritten(pattern, new):
    return lambda path: path.write_text(re.sub(pattern, new, path.read_text(), flags=re.M))


SPOILT = {
    "no file": lambda path: path.unlink(),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "fifo": lambda path: (path.unlink(), os.mkfifo(path)),
    "empty": lambda path: path.write_text(""),
    "nonsense": lambda path: path.write_bytes(os.urandom(20000)),
    "cut off": lambda path: path.write_text(path.read_text()[:-6]),
    "short key": rewritten(r'.{5}"$', '"'),
    "long key": rewritten('-key = "', '-key = "xxxxx'),
    "no z85": rewritten('-key = "....', r'-key = "\\~`,'),
}
#: The files that a program reads
READ = {
    "kv_publisher": ["server.key_secret", "clients/client.key", "clients", "."],
    "kv_subscriber": ["client.key_secret", "server.key"],
}
FILES = [(name, file) for name, files in READ.items() for file in files]


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("name, file", [each for each in FILES if ".key" in each[1]])
def test_spoilt_file(closed, keys, ipc, name, file, how):
    SPOILT[how](keys / file)
    if how == "no file" and file == "clients/client.key":
        return  # An empty list is a list
    check_refused(closed(name, endpoint=ipc(), replay_endpoint=ipc()), keys / file)


@pytest.mark.parametrize("name", NAMES)
def test_every_program_wants_its_keys(closed, keys, ipc, name):
    """And only those."""
    wanted = {Bind: "server.key_secret", Connect: "client.key_secret"}
    ends = endpoints(name, ipc)
    for kind, file in wanted.items():
        if of_kind(name, kind):
            (keys / file).rename(keys / "away")
            check_refused(closed(name, **ends), keys / file)
            (keys / "away").rename(keys / file)
        else:
            (keys / file).unlink()
    with test_stop.alone(closed, ipc, name) as program:
        test_stop.stop_and_check(program, signal.SIGTERM)
    assert program.err == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("folder", ["/nowhere/keys", "/etc/passwd", ""])
def test_no_folder(start, name, folder):
    program = start(name, f"--curve-dir={folder}")
    assert (program.wait(), program.out, len(program.err)) == (2, [], 1)
    assert f"--curve-dir: '{folder}'" in program.err[0]


#: Modes with which others can read a secret, or put a key of their own in the place of ours
MODES = {"server.key_secret": [0o640, 0o604, 0o620, 0o602, 0o610, 0o777]}
MODES |= dict.fromkeys(["clients", "."], [0o720, 0o702, 0o777])
MODES |= dict.fromkeys(["clients/client.key", "server.key"], [0o664, 0o646])


@pytest.mark.parametrize(
    "name, file, mode", [(*each, mode) for each in FILES for mode in MODES.get(each[1], [])]
)
def test_what_others_can_read_or_change(closed, keys, ipc, name, file, mode):
    (keys / file).chmod(mode)
    line = check_refused(closed(name, endpoint=ipc(), replay_endpoint=ipc()), keys / file)
    assert f"mode {mode:04o}" in line
    assert file == "server.key_secret" or "lets others write to it" in line


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("name, file", FILES)
def test_what_belongs_to_somebody_else(closed, keys, ipc, name, file):
    """The owner of a key can change it, even if its mode forbids it."""
    os.chown(keys / file, 65534, -1)
    line = check_refused(closed(name, endpoint=ipc(), replay_endpoint=ipc()), keys / file)
    assert "it belongs to user 65534, who can change it (chown)" in line


def test_keys_that_do_not_belong_together(closed, keys, new_keys, ipc):
    public, _ = key_pair(new_keys(), "server")
    ours, _ = key_pair(keys, "server")
    path = keys / "server.key_secret"
    path.write_text(path.read_text().replace(ours.decode(), public.decode()))
    assert "belong together" in check_refused(serving(closed, ipc()), path)


# --- make keys


def make_keys(*args):
    return subprocess.run([MAKE_KEYS, *args], capture_output=True, text=True, timeout=WAIT_S)


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o000, 0o077])
def test_make_keys(tmp_path, umask):
    folder, before = tmp_path / "keys", os.umask(umask)
    try:
        done = make_keys(folder)
    finally:
        os.umask(before)
    assert (done.returncode, done.stderr) == (0, "")
    modes = {
        str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in folder.rglob("*")
    }
    public = {"client.key", "clients/client.key", "server.key"}
    assert modes.keys() - public == {"client.key_secret", "clients", "server.key_secret"}
    assert folder.stat().st_mode & 0o777 == modes["clients"] == 0o700
    assert modes["client.key_secret"] == modes["server.key_secret"] == 0o600
    assert list(tmp_path.iterdir()) == [folder]
    for name in modes.keys() - {"clients", "client.key"}:
        assert f"{folder}/{name} " in done.stdout
    # pyzmq can read them as well
    assert key_pair(folder, "client")[0] in zmq.auth.load_certificates(folder / "clients")

    kept = everything(folder)
    again = make_keys(folder)
    assert again.returncode == 0 and f"{folder}: has keys already; they are kept" in again.stdout
    assert everything(folder) == kept


def test_make_keys_where_something_is(tmp_path):
    (tmp_path / "notes").write_text("mine")
    done = make_keys(tmp_path)
    assert done.returncode == 1 and str(tmp_path) in done.stderr
    assert everything(tmp_path) == {tmp_path / "notes": b"mine"}
    assert not list(tmp_path.parent.glob(f"{tmp_path.name}.*"))


def test_make_keys_where_it_cannot():
    for folder in ("/nowhere/keys", "/proc/keys", "/tmp/" + "x" * 300):
        done = make_keys(folder)
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr.startswith("make_keys: cannot make ")


def test_make_keys_usage():
    for args in ([], ["a", "b"], ["--helpme"], ["-"], [""]):
        done = make_keys(*args)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    done = make_keys("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "Usage: make_keys FOLDER"


# --- the warning


def warnings(program):
    """Its warnings, read after it has stopped, so that none can follow."""
    assert program.stop() in (0, 1)
    return [line for line in program.err if "warning" in line]


@pytest.mark.parametrize(
    "name, about", [("kv_publisher", "token ids of prompts"), ("mock_frontend", "prompts")]
)
def test_warning(start, name, about):
    binds = of_kind(name, Bind)
    program = start(name, **nowhere(name, **{option: "tcp://0.0.0.0:0" for option in binds}))
    listening = [program.endpoint(1 + at) for at in range(len(binds))]
    told = warnings(program)
    assert len(told) == len(binds)
    for line, endpoint in zip(told, listening):
        assert line.startswith(f"{name}: warning: without CURVE")
        assert f"get in at {endpoint}" in line and "0.0.0.0" in endpoint and about in line


@pytest.mark.parametrize(
    "host", ["*", "[::]", "127.0.0.1", "127.1.2.3", "[::1]", "lo", "ipc", "CURVE"]
)
def test_where_a_warning_is_due(start, ipc, keys, host):
    """Not at home, and not with CURVE."""
    endpoint = {"ipc": ipc(), "CURVE": "tcp://0.0.0.0:0"}.get(host, f"tcp://{host}:0")
    program = serving(start, endpoint, *(["--curve-dir", keys] if host == "CURVE" else []))
    program.endpoint(2)
    assert len(warnings(program)) == (host in ("*", "[::]"))


def test_subscriber_that_binds(start, closed, keys, raw):
    """It is a server then, warns as one, and needs a server's keys."""
    subscriber = start("kv_subscriber", "--bind", endpoint="tcp://0.0.0.0:0")
    subscriber.endpoint()
    assert "takes for KV events" in warnings(subscriber)[0]

    (keys / "client.key_secret").rename(keys / "away")
    subscriber = closed("kv_subscriber", "--bind", endpoint=ANY)
    stranger, monitor = raw.connected(zmq.PUB, subscriber.endpoint(), None)
    assert not wait_handshake(monitor)
    subscriber.wait_err(f"refused .*: {NO_KEY}")
    (keys / "away").rename(keys / "client.key_secret")
    friend, monitor = raw.connected(zmq.PUB, subscriber.endpoint(), keys)
    assert wait_handshake(monitor)
    assert subscriber.stop() == 0
    (keys / "server.key_secret").unlink()
    check_refused(closed("kv_subscriber", "--bind", endpoint=ANY), keys / "server.key_secret")
