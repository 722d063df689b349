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
from programs import OPTIONS, Bind, Connect, of_kind

pack = msgspec.msgpack.encode


@pytest.fixture
def closed(start, keys):
    """Starts a program with CURVE."""
    return lambda name, /, *args, **options: start(name, "--curve-dir", keys, *args, **options)


# --- everything works: the pairs of the other tests, once more


def test_handshake_pair(closed, ipc):
    wire = {"handshake": ipc(), "input": ipc(), "output": ipc()}
    test_handshake.test_pair(closed, wire, 3)


def test_spawned_engines(closed):
    frontend = closed(
        "mock_frontend",
        "--spawn",
        handshake="tcp://127.0.0.1:0",
        input="tcp://127.0.0.1:0",
        output="tcp://127.0.0.1:0",
        engines=2,
    )
    assert frontend.wait() == 0
    assert "10 of 10 requests complete, 40 tokens" in "\n".join(frontend.out)
    assert frontend.err == []


def test_kv_subscriber(closed, ipc):
    live, replay = ipc(), ipc()
    publisher = closed(
        "kv_publisher", endpoint=live, replay_endpoint=replay, interval_ms=5, drop="12-14"
    )
    publisher.wait_line("^seq 5:")
    subscriber = closed(
        "kv_subscriber", "--json", endpoint=live, replay_endpoint=replay, from_seq=0, count=40
    )
    assert subscriber.wait() == publisher.stop() == 0
    lines = [msgspec.json.decode(line) for line in subscriber.out]
    # A notice of the gap is among them if it has joined early enough
    assert [line["seq"] for line in lines if "notice" not in line] == list(range(40))


@pytest.mark.parametrize("name", NAMES)
def test_stop_at_once(closed, ipc, name):
    test_stop.test_stop_at_once(closed, ipc, name, signal.SIGTERM)


def serving(closed, endpoint="tcp://127.0.0.1:0", *args):
    """A server with CURVE; its replays are not used here."""
    options = {"replay_endpoint": "tcp://127.0.0.1:0", "interval_ms": 5}
    return closed("kv_publisher", *args, endpoint=endpoint, **options)


def asking(closed, endpoint, count=1, **options):
    """A client that ends when it has got something."""
    return closed("kv_subscriber", endpoint=endpoint, count=count, **options)


def test_no_secret_is_shown(closed, keys, ipc):
    endpoint = ipc()
    server = serving(closed, endpoint)
    client = asking(closed, endpoint)
    assert client.wait() == server.stop() == 0
    shown = "\n".join(server.out + server.err + client.out + client.err)
    for name in ("server", "client"):
        _, secret = zmq.auth.load_certificate(keys / f"{name}.key_secret")
        assert secret.decode() not in shown


# --- strangers


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
    """Raw sockets with keys. What happened to their connections is in `events`."""

    def __init__(self, peer):
        self.peer, self.doormen = peer, []

    def connected(self, kind, endpoint, folder, **options):
        socket = self.peer(kind, **options)
        if folder:
            socket.curve_publickey, socket.curve_secretkey = key_pair(folder, "client")
            socket.curve_serverkey, _ = zmq.auth.load_certificate(folder / "server.key")
        monitor = socket.get_monitor_socket()
        socket.connect(endpoint)
        return socket, monitor

    def bound(self, kind, endpoint, folder, **options):
        socket = self.peer(kind, **options)
        if folder:
            if not self.doormen:
                doorman = ThreadAuthenticator(socket.context)
                doorman.start()
                doorman.configure_curve(location=folder / "clients")
                self.doormen.append(doorman)
            socket.curve_publickey, socket.curve_secretkey = key_pair(folder, "server")
            socket.curve_server = True
        monitor = socket.get_monitor_socket()
        socket.bind(endpoint)
        return socket, monitor


@pytest.fixture
def raw(peer):
    raw = Raw(peer)
    yield raw
    for doorman in raw.doormen:
        doorman.stop()


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


REGISTRATION = pack(structs.toy_ready())
HELLO = pack(structs.EngineStatus("HELLO", local=False, headless=True))

# program, option: the socket for its other end, and what that says there
DOORS = {
    ("kv_publisher", "endpoint"): (zmq.SUB, None),
    ("kv_publisher", "replay-endpoint"): (zmq.DEALER, [b"", bytes(8)]),
    ("mock_frontend", "input"): (zmq.DEALER, [REGISTRATION]),
    ("mock_frontend", "output"): (zmq.PUSH, [b"ENGINE_CORE_DEAD"]),
    ("mock_frontend", "handshake"): (zmq.DEALER, [HELLO]),
}
IDENTITY = {zmq.DEALER: {"routing_id": bytes(2)}}
FAST = {
    "kv_publisher": {"interval_ms": 5},
}


def test_every_door_is_here():
    doors = [(name, option) for name in NAMES for option in of_kind(name, Bind)]
    assert sorted(doors) == sorted(DOORS)


def nowhere(name, **given):
    """Endpoints of its own for a program: it binds free ports, and connects to nobody."""
    binds = {option: "tcp://127.0.0.1:0" for option in of_kind(name, Bind)}
    connects = {option: "tcp://127.0.0.1:9" for option in of_kind(name, Connect)}
    return {**binds, **connects, **given}


def come(raw, door, endpoint, folder):
    kind, message = DOORS[door]
    socket, monitor = raw.connected(kind, endpoint, folder, **IDENTITY.get(kind, {}))
    if kind == zmq.SUB:
        socket.subscribe(b"")
    if message:
        socket.send_multipart(message)
    return socket, monitor


@pytest.mark.parametrize("door", DOORS, ids="-".join)
def test_stranger_at_the_door(closed, keys, strangers, raw, door):
    """The peer is refused, and the server logs it once for each address."""
    name, option = door
    server = closed(name, **nowhere(name), **FAST.get(name, {}))
    binds = sorted(of_kind(name, Bind), key=lambda bind: bind != "handshake")  # That comes first
    endpoint = server.endpoint(1 + binds.index(option))
    for folder, why in strangers.values():
        for _ in range(3):
            socket, monitor = come(raw, door, endpoint, folder)
            assert not wait_handshake(monitor)
        # "somebody": the peer has disconnected before its address was looked up
        server.wait_err(rf"^{name}: refused (127\.0\.0\.1|somebody): {why}$")
        if socket.type != zmq.PUSH:
            assert not socket.poll(0)
        assert not was_ever_let_in(monitor)
    assert len(set(server.err)) == len(server.err) <= 7, str(server)
    assert not server.lines("got|registered|task|HELLO|dead"), str(server)
    # A client with a key on the list may connect to the same socket
    _, monitor = come(raw, door, endpoint, keys)
    assert wait_handshake(monitor)
    server.kill()


@pytest.mark.parametrize("door", list(DOORS)[:1], ids="-".join)
def test_nothing_leaks_to_whom_is_refused(closed, strangers, keys, raw, door):
    """For each socket type that sends: the listed client gets everything, the refused ones nothing."""
    publisher = closed("kv_publisher", **nowhere("kv_publisher"), interval_ms=1)
    endpoint = publisher.endpoint()
    away = [come(raw, door, endpoint, folder)[0] for folder, _ in strangers.values()]
    friend, _ = raw.connected(zmq.SUB, endpoint, keys)
    friend.subscribe(b"")
    for _ in range(100):
        friend.recv_multipart()
    assert not any(socket.poll(0) for socket in away)
    assert publisher.stop() == 0


def other_ends():
    """Programs that connect, with the options for that."""
    for name in NAMES:
        for option in of_kind(name, Connect):
            if (name, option) != ("kv_subscriber", "replay-endpoint"):  # Only for what is missing
                yield name, option


SERVER_KINDS = {
    "kv_subscriber": zmq.XPUB,
    "mock_engine": zmq.ROUTER,
}
ENDS = list(other_ends())
# Without keys nobody watches the others' connections
WATCHED = [("kv_subscriber", "endpoint"), ("mock_engine", "handshake")]


@pytest.mark.parametrize("end", ENDS, ids="-".join)
@pytest.mark.parametrize("who", ["no key", "unknown key", "wrong server", "friend"])
def test_stranger_who_connects(start, keys, strangers, raw, end, who):
    """Our program connects to a pyzmq server. If it is refused and can know it, it says so."""
    name, option = end
    kind = SERVER_KINDS[name]
    server, monitor = raw.bound(kind, "tcp://127.0.0.1:0", keys)
    endpoint = server.last_endpoint.decode()
    folder = strangers[who][0] if who != "friend" else keys
    options = {**nowhere(name), option: endpoint}
    options.pop("handshake-address", None)
    program = start(name, *([f"--curve-dir={folder}"] if folder else []), **options)
    assert wait_handshake(monitor) == (who == "friend")
    if who == "unknown key":
        program.wait_err(rf"^{name}: {endpoint} refused us: our key is not on its list$")
    elif who == "wrong server":
        program.wait_err(rf"^{name}: {endpoint} does not finish .*{folder}/server.key its key\?$")
    if who != "friend":
        assert kind == zmq.PUSH or not server.poll(0)
        assert not was_ever_let_in(monitor)
        if who == "no key" and end in WATCHED:
            program.wait_err(rf"^{name}: {endpoint}: the other end wants a key, and we have none")
        told = folder is not None or end in WATCHED
        assert len([line for line in program.err if endpoint in line]) == told
    program.kill()


@pytest.mark.parametrize("end", ENDS, ids="-".join)
def test_open_server(start, keys, raw, end):
    """A client with --curve-dir does not talk to a server without CURVE."""
    name, option = end
    kind = SERVER_KINDS[name]
    server, monitor = raw.bound(kind, "tcp://127.0.0.1:0", None)
    endpoint = server.last_endpoint.decode()
    options = {**nowhere(name), option: endpoint}
    options.pop("handshake-address", None)
    program = start(name, f"--curve-dir={keys}", **options)
    program.wait_err(f"^{name}: {endpoint} has no CURVE, so we do not talk to it$")
    assert kind == zmq.PUSH or not server.poll(0)
    assert not was_ever_let_in(monitor)
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
        assert re.fullmatch(
            rf"kv_publisher: refused (127\.0\.0\.[23]|somebody): {NO_KEY}", line
        )


def test_stranger_who_does_not_speak_zeromq(closed, keys):
    server = serving(closed)
    port = int(server.endpoint().rpartition(":")[2])
    for words in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" + bytes(8) + b"\x7f\x03" + bytes(60), b"\x01\x00"):
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
    """A client added to the list may connect; one removed from it no longer may."""
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
    assert server.stop() == 0


def test_list_that_is_gone_lets_nobody_in(closed, start, keys):
    server = serving(closed)
    endpoint = server.endpoint()
    shutil.rmtree(keys / "clients")
    client = asking(closed, endpoint)
    server.wait_err(f"^kv_publisher: cannot read {keys}/clients: No such file")
    client.wait_err("not on its list")
    assert client.stop() == server.stop() == 0


def test_odd_list(closed, keys):
    """The same key twice, a long certificate, and things that are no certificates."""
    listed = keys / "clients"
    shutil.copy(listed / "client.key", listed / "again.key")
    text = (listed / "client.key").read_text()
    (listed / "long.key").write_text(text.replace("metadata\n", f'metadata\n    x = "{"x" * 4000}"\n'))
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

SPOILT = {
    "no file": lambda path: path.unlink(),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "fifo": lambda path: (path.unlink(), os.mkfifo(path)),
    "empty": lambda path: path.write_text(""),
    "nonsense": lambda path: path.write_bytes(os.urandom(20000)),
    "cut off": lambda path: path.write_text(path.read_text()[:-6]),
    "short key": lambda path: path.write_text(re.sub(r'.{5}"$', '"', path.read_text(), flags=re.M)),
    "long key": lambda path: path.write_text(path.read_text().replace('-key = "', '-key = "xxxxx')),
    "no z85": lambda path: path.write_text(
        re.sub(r'-key = "....', '-key = "\\\\~`,', path.read_text())
    ),
}


def check_refused(program, path):
    assert program.wait() == 1
    assert program.out == []
    assert len(program.err) == 1, str(program)
    assert program.err[0].startswith(f"{program.name}: ")
    assert str(path) in program.err[0]
    return program.err[0]


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize(
    "name, file",
    [
        ("kv_publisher", "server.key_secret"),
        ("kv_publisher", "clients/client.key"),
        ("kv_subscriber", "client.key_secret"),
        ("kv_subscriber", "server.key"),
    ],
)
def test_spoilt_file(closed, keys, ipc, name, file, how):
    SPOILT[how](keys / file)
    if how == "no file" and file == "clients/client.key":
        return  # An empty list is a list
    check_refused(closed(name, endpoint=ipc(), replay_endpoint=ipc()), keys / file)


@pytest.mark.parametrize("name", NAMES)
def test_every_program_wants_its_keys(closed, keys, ipc, name):
    """And only those."""
    wanted = {Bind: "server.key_secret", Connect: "client.key_secret"}
    endpoints = {option: ipc() for option in of_kind(name, Bind, Connect)}
    for kind, file in wanted.items():
        if of_kind(name, kind):
            (keys / file).rename(keys / "away")
            check_refused(closed(name, **endpoints), keys / file)
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


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o777])
def test_secret_that_others_can_read(closed, keys, ipc, mode):
    (keys / "server.key_secret").chmod(mode)
    line = check_refused(serving(closed, ipc()), keys / "server.key_secret")
    assert f"mode {mode:04o}" in line


@pytest.mark.parametrize("folder", [".", "clients"])
@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_list_that_others_can_write(closed, keys, ipc, folder, mode):
    (keys / folder).chmod(mode)
    line = check_refused(serving(closed, ipc()), (keys / folder))
    assert f"mode {mode:04o}" in line


@pytest.mark.parametrize(
    "name, file", [("kv_publisher", "clients/client.key"), ("kv_subscriber", "server.key")]
)
@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_key_that_others_can_write(closed, keys, ipc, name, file, mode):
    """Other users could put their own key there, as a client's or as the server's."""
    (keys / file).chmod(mode)
    line = check_refused(closed(name, endpoint=ipc(), replay_endpoint=ipc()), keys / file)
    assert f"mode {mode:04o} lets others write to it" in line


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize(
    "name, file",
    [("kv_publisher", file) for file in (".", "server.key_secret", "clients", "clients/client.key")]
    + [("kv_subscriber", file) for file in ("server.key", "client.key_secret")],
)
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
    assert sorted(modes) == [
        "client.key",
        "client.key_secret",
        "clients",
        "clients/client.key",
        "server.key",
        "server.key_secret",
    ]
    assert folder.stat().st_mode & 0o777 == modes["clients"] == 0o700
    assert modes["client.key_secret"] == modes["server.key_secret"] == 0o600
    assert list(tmp_path.iterdir()) == [folder]
    for name in modes:
        assert name == "clients" or name == "client.key" or f"{folder}/{name} " in done.stdout
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


@pytest.mark.parametrize("folder", ["/nowhere/keys", "/proc/keys", "/tmp/" + "x" * 300])
def test_make_keys_where_it_cannot(folder):
    done = make_keys(folder)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("make_keys: cannot make ")


@pytest.mark.parametrize("args", [[], ["a", "b"], ["--helpme"], ["-"], [""]])
def test_make_keys_wrong_usage(args):
    done = make_keys(*args)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_make_keys_help():
    done = make_keys("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "Usage: make_keys FOLDER"


# --- the warning

BINDERS = [name for name in NAMES if of_kind(name, Bind)]


def warnings(program):
    """Its warnings, read after it has stopped, so that none can follow."""
    assert program.stop() in (0, 1)
    return [line for line in program.err if "warning" in line]


@pytest.mark.parametrize("name", BINDERS)
def test_warning(start, name):
    binds = of_kind(name, Bind)
    program = start(name, **nowhere(name, **{option: "tcp://0.0.0.0:0" for option in binds}))
    endpoints = [program.endpoint(1 + at) for at in range(len(binds))]
    assert all("0.0.0.0" in endpoint for endpoint in endpoints)
    told = warnings(program)
    assert len(told) == len(binds)
    for line, endpoint in zip(told, endpoints):
        assert line.startswith(f"{name}: warning: without CURVE")
        assert endpoint in line and "get in at" in line
        if name == "kv_publisher":
            assert "token ids of prompts" in line
        if name.endswith("frontend"):
            assert "prompts" in line


@pytest.mark.parametrize("host", ["*", "[::]", "0.0.0.0"])
def test_warning_hosts(start, host):
    assert len(warnings(started(start, f"tcp://{host}:0"))) == 1


def started(start, endpoint, *args):
    program = serving(start, endpoint, "--quiet", *args)
    program.endpoint(2)
    return program


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "[::1]", "lo"])
def test_no_warning_at_home(start, host):
    assert warnings(started(start, f"tcp://{host}:0")) == []


def test_no_warning_for_ipc_or_with_curve(start, keys, ipc):
    assert warnings(started(start, ipc())) == []
    assert warnings(started(start, "tcp://0.0.0.0:0", "--curve-dir", keys)) == []


def test_warning_of_a_subscriber_that_binds(start):
    subscriber = start("kv_subscriber", "--bind", endpoint="tcp://0.0.0.0:0")
    subscriber.endpoint()
    assert "takes for KV events" in warnings(subscriber)[0]


def test_subscriber_that_binds(closed, keys, raw):
    """It is a server then, and needs a server's keys."""
    (keys / "client.key_secret").rename(keys / "away")
    subscriber = closed("kv_subscriber", "--bind", endpoint="tcp://127.0.0.1:0")
    stranger, monitor = raw.connected(zmq.PUB, subscriber.endpoint(), None)
    assert not wait_handshake(monitor)
    subscriber.wait_err(f"refused .*: {NO_KEY}")
    (keys / "away").rename(keys / "client.key_secret")
    friend, monitor = raw.connected(zmq.PUB, subscriber.endpoint(), keys)
    assert wait_handshake(monitor)
    assert subscriber.stop() == 0
    (keys / "server.key_secret").unlink()
    check_refused(
        closed("kv_subscriber", "--bind", endpoint="tcp://127.0.0.1:0"), keys / "server.key_secret"
    )


def test_options_of_every_program_have_it():
    assert all("curve-dir" not in options for options in OPTIONS.values())  # It is a common one
