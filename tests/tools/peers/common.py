# SPDX-License-Identifier: MIT
"""What every peer shares: options, a stop flag, lines for people. It knows nothing of vLLM."""

import argparse
import re
import signal
import sys
from pathlib import Path

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

PROGRAM = Path(sys.argv[0]).stem
SLICE_MS = 250  # the longest wait in which a signal may go unnoticed
KNOCK_MS = 1000  # so often a front-end looks after its engines: who is dead says nothing
KNOCK_SOON_MS, KNOCK_SOON_TIMES = 50, 20  # after last words, which name nobody
LINGER_MS = 500  # what a program that is stopped still grants its last messages;
PATIENCE_MS = 10000  # one that has come to its end

_quiet = False


class Stop:
    """False until SIGINT or SIGTERM asks the program to end."""

    def __init__(self):
        self._asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, *_):
        self._asked = True

    def __bool__(self):
        return self._asked


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    pass


class Options(argparse.ArgumentParser):
    """Long options; a wrong one ends the program with 2 and a line that names it."""

    def __init__(self, doc):
        super().__init__(PROGRAM, description=doc, formatter_class=_Help, allow_abbrev=False)
        self.add_argument("--quiet", action="store_true", help="print only the summary")
        self.add_argument("--curve-dir", type=Path, metavar="DIR", help="keys (make keys)")

    def error(self, message):
        self.exit(2, f"{PROGRAM}: {message}\n")

    def text(self, name, default, help, **more):
        self.add_argument(name, default=default, help=help, **more)

    def matching(self, name, default, pattern, metavar, help):
        def matching(value):
            if not re.fullmatch(pattern, value):
                raise argparse.ArgumentTypeError(f"not {metavar}: {value!r}")
            return value

        self.add_argument(name, type=matching, default=default, metavar=metavar, help=help)

    def number(self, name, default, help, least=0, most=2**31 - 1):
        def number(value):
            if not re.fullmatch("[0-9]{1,10}", value) or not least <= int(value) <= most:
                raise argparse.ArgumentTypeError(f"not from {least} to {most}: {value!r}")
            return int(value)

        self.add_argument(name, type=number, default=default, metavar="N", help=help)

    def bind(self, name, default, help):
        self._endpoint(name, default, help, r"tcp://([^:/]+):(\*|[0-9]{1,5})|ipc://(.{1,107})")

    def connect(self, name, default, help):
        self._endpoint(
            name, default, help, r"tcp://([^:/*]+):([1-9][0-9]{0,4})|ipc://([^*]{1,107})"
        )

    def _endpoint(self, name, default, help, pattern):
        def endpoint(value):
            found = re.fullmatch(pattern, value)
            if not found or found[2] not in (None, "*") and int(found[2]) > 65535:
                raise argparse.ArgumentTypeError(f"not an endpoint: {value!r}")
            return value

        self.add_argument(name, type=endpoint, default=default, metavar="URL", help=help)

    def parse(self):
        global _quiet
        args = self.parse_args()
        _quiet = args.quiet
        if args.curve_dir:
            _close_doors(args.curve_dir)
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
        sys.stderr.reconfigure(errors="backslashreplace")
        return args


def _clean(line):
    """Control characters that a peer may have put into a line do not reach the terminal."""
    return re.sub("[\\x00-\\x1f\\x7f-\\x9f]", "?", str(line))


def say(line):
    """A line about something that happened."""
    if not _quiet:
        print(_clean(line))


def complain(line):
    print(f"{PROGRAM}: {_clean(line)}", file=sys.stderr)


def fail(line):
    complain(line)
    sys.exit(1)


def summary(line):
    """Printed even with --quiet."""
    print(f"{PROGRAM}: {_clean(line)}")


def bind(socket, endpoint):
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        fail(f"cannot listen on {endpoint}: {error.strerror}")
    summary(f"listening on {socket.getsockopt_string(zmq.LAST_ENDPOINT)}")


def answers(router, identity, abort_of_nothing):
    """False when the ROUTER has lost that peer: it refuses to send (ROUTER_MANDATORY)."""
    try:
        router.send_multipart([identity, *abort_of_nothing])
        return True
    except zmq.ZMQError as error:
        if error.errno != zmq.EHOSTUNREACH:
            raise
        return False


def run(main):
    """Ends the program with what main returns, 0 for None."""
    try:
        sys.exit(main())
    except zmq.ZMQError as error:
        fail(error.strerror)


def _close_doors(folder):
    """--curve-dir: what binds is a CURVE server, what connects its client, and who is not on the
    list does not get in. A context has one doorman, who goes before it does."""

    def key_pair(name):
        return zmq.auth.load_certificate(folder / f"{name}.key_secret")

    def bind(self, endpoint):
        if not endpoint.startswith("inproc:"):
            if self.context not in doormen:
                doorman = doormen[self.context] = ThreadAuthenticator(self.context)
                doorman.start()
                doorman.configure_curve(location=folder / "clients")
            self.curve_publickey, self.curve_secretkey = key_pair("server")
            self.curve_server = True
        return zmq_bind(self, endpoint)

    def connect(self, endpoint):
        if not endpoint.startswith("inproc:"):
            self.curve_publickey, self.curve_secretkey = key_pair("client")
            self.curve_serverkey, _ = zmq.auth.load_certificate(folder / "server.key")
        return zmq_connect(self, endpoint)

    def goes_first(end):
        def wrapped(self, *args, **named):
            if self in doormen:
                doormen.pop(self).stop()
            return end(self, *args, **named)

        return wrapped

    doormen = {}
    zmq_bind, zmq_connect = zmq.Socket.bind, zmq.Socket.connect
    zmq.Socket.bind, zmq.Socket.connect = bind, connect
    zmq.Context.term = goes_first(zmq.Context.term)
    zmq.Context.destroy = goes_first(zmq.Context.destroy)
