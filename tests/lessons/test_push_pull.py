# SPDX-License-Identifier: MIT
"""PUSH/PULL: ventilator, workers and sink, in C and in Python, and how they behave."""

import signal

import msgspec
import pytest
import zmq

pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode
ANY = "tcp://127.0.0.1:*"
RESULT_LINE = r"^task (\d+) <- (\w+): (\d+)$"
PIPELINES = [
    ("c", "c", "c"),
    ("py", "c", "c"),
    ("c", "py", "c"),
    ("c", "c", "py"),
    ("py", "py", "py"),
]


def check_all_tasks_once(sink, count):
    results = sink.lines(RESULT_LINE)
    assert sorted(int(task) for task, _, _ in results) == list(range(count))
    assert all(int(square) == int(task) ** 2 for task, _, square in results)


@pytest.mark.parametrize("ventilator, worker, sink", PIPELINES, ids=map("-".join, PIPELINES))
def test_pipeline(start, ipc, ventilator, worker, sink):
    tasks, results = ipc(), ipc()
    gathering = start("sink", lang=sink, endpoint=results, count=12)
    gathering.endpoint()
    giving = start("ventilator", lang=ventilator, endpoint=tasks, sink=results, workers=2, count=12)
    working = [
        start("worker", lang=worker, source=tasks, sink=results, name=name, count=6)
        for name in ("w1", "w2")
    ]
    assert gathering.wait() == giving.wait() == 0
    assert [each.wait() for each in working] == [0, 0]
    check_all_tasks_once(gathering, 12)
    assert gathering.out[-3:] == ["w1: 6 tasks", "w2: 6 tasks", "sink: 12 results from 2 workers, 0 bad"]
    assert "the ventilator announces 12 tasks" in gathering.out
    assert giving.summary() == "12 tasks handed out"
    assert [each.summary() for each in working] == ["w1 did 6 tasks, 0 bad", "w2 did 6 tasks, 0 bad"]
    assert giving.err == gathering.err == []


@pytest.mark.parametrize(
    "slow_ms, count", [(0, 100), pytest.param(20, 24, marks=pytest.mark.valgrind)]
)
def test_four_workers_share(start, ipc, slow_ms, count):
    """A PUSH gives tasks in turn, to fast and slow workers: each gets a quarter, and nothing is lost."""
    tasks, results = ipc(), ipc()
    sink = start("sink", endpoint=results, count=count)
    sink.endpoint()
    ventilator = start("ventilator", endpoint=tasks, sink=results, workers=4, count=count)
    names = ["w1", "w2", "w3", "w4"]
    workers = [
        start("worker", source=tasks, sink=results, name=name, work_ms=slow_ms * (name == "w3"))
        for name in names
    ]
    assert sink.wait() == ventilator.wait() == 0
    check_all_tasks_once(sink, count)
    assert sink.out[-5:-1] == [f"{name}: {count // 4} tasks" for name in names]
    for name, worker in zip(names, workers):
        assert worker.stop() == 0
        assert worker.summary() == f"{name} did {count // 4} tasks, 0 bad"
        assert worker.err == []


def test_sink_comes_last(start, ipc):
    """The results wait for it, though the workers are done by then."""
    tasks, results = ipc(), ipc()
    workers = [
        start("worker", source=tasks, sink=results, name=name, count=5) for name in ("w1", "w2")
    ]
    ventilator = start("ventilator", endpoint=tasks, sink=results, workers=2, count=10)
    for worker in workers:
        worker.wait_line("did 5 tasks, 0 bad$")
    sink = start("sink", endpoint=results, count=10)
    assert sink.wait() == ventilator.wait() == 0
    assert [worker.wait() for worker in workers] == [0, 0]
    check_all_tasks_once(sink, 10)


def test_tasks_outlive_the_ventilator(start):
    """Over TCP, tasks that were sent to a worker arrive even if the ventilator has ended before the
    worker reads them."""
    count = 3000  # More than a PULL takes of itself: 1000
    sink = start("sink", endpoint=ANY, count=count)
    ventilator = start("ventilator", endpoint=ANY, sink=sink.endpoint(), count=count)
    worker = start("worker", source=ventilator.endpoint(), sink=sink.endpoint(), name="w1")
    ventilator.wait_line("^1 of 1 workers connected$")
    worker.send_signal(signal.SIGSTOP)
    assert ventilator.wait() == 0
    worker.send_signal(signal.SIGCONT)
    assert sink.wait() == worker.stop() == 0
    assert sink.summary() == f"{count} results from 1 worker, 0 bad"


def test_no_worker_to_wait_for(start, ipc):
    """With --workers 0 the PUSH itself blocks until a worker connects."""
    tasks, results = ipc(), ipc()
    sink = start("sink", endpoint=results, count=5)
    ventilator = start("ventilator", endpoint=tasks, sink=results, workers=0, count=5)
    ventilator.endpoint()
    worker = start("worker", source=tasks, sink=results, name="w1")
    assert sink.wait() == ventilator.wait() == worker.stop() == 0
    check_all_tasks_once(sink, 5)


def test_peers_of_the_wrong_type_are_no_workers(start, ipc, peer):
    tasks, results = ipc(), ipc()
    sink = peer(zmq.PULL, bind=results)
    ventilator = start("ventilator", endpoint=tasks, sink=results, workers=1, count=3)
    ventilator.endpoint()
    for kind in (zmq.SUB, zmq.DEALER, zmq.PUSH):
        stranger = peer(kind)
        monitor = stranger.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        stranger.connect(tasks)
        assert monitor.poll(10000)  # libzmq has closed the connection
        stranger.close()
    worker = peer(zmq.PULL, connect=tasks)
    assert [unpack(worker.recv())["task"] for _ in range(3)] == [0, 1, 2]
    assert ventilator.wait() == 0
    assert ventilator.lines("workers connected") == ["workers connected"]
    assert unpack(sink.recv()) == {"tasks": 3}


def test_a_killed_worker_takes_its_tasks_along(start, ipc):
    tasks, results = ipc(), ipc()
    sink = start("sink", endpoint=results, count=8)
    sink.endpoint()
    dying = start("worker", source=tasks, sink=results, name="w2", work_ms=3600_000)
    dying.wait_line("^worker w2: pulling")
    working = start("worker", source=tasks, sink=results, name="w1")
    ventilator = start("ventilator", endpoint=tasks, sink=results, workers=2, count=8)
    assert ventilator.wait() == 0
    dying.kill()
    for nth in range(1, 5):
        sink.wait_line("<- w1:", nth=nth)
    sink.wait_line("^the ventilator announces 8 tasks$")
    assert sink.stop() == working.stop() == 0
    assert sink.out[-3:] == ["w1: 4 tasks", "missing: 4 of 8", "sink: 4 results from 1 worker, 0 bad"]


def test_wire(start, ipc, peer):
    """The maps, to the letter."""
    tasks, results = ipc(), ipc()
    sink = peer(zmq.PULL, bind=results)
    ventilator = start("ventilator", endpoint=tasks, sink=results, workers=1, count=2)
    assert unpack(sink.recv()) == {"tasks": 2}
    worker = peer(zmq.PULL, connect=tasks)
    assert [unpack(worker.recv()) for _ in range(2)] == [{"task": n, "value": n} for n in (0, 1)]
    assert ventilator.wait() == 0
    source = peer(zmq.PUSH, bind=(at := ipc()))
    program = start("worker", source=at, sink=results, name="Ü", count=1)
    source.send(pack({"more": [1, {}], "task": 3, "value": 2**32 - 1}))
    assert unpack(sink.recv()) == {"task": 3, "worker": "Ü", "value": (2**32 - 1) ** 2}
    assert program.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped(start, ipc, peer, number):
    """Each program is stopped while it waits for a message that does not come."""
    tasks, results = ipc(), ipc()
    waiting = start("ventilator", endpoint=tasks, sink=results, workers=2)
    worker = start("worker", source=tasks, sink=results, name="w1")
    waiting.wait_line("^1 of 2 workers connected$")
    blocked = start("ventilator", endpoint=ipc(), sink=ipc(), workers=0)
    blocked.endpoint()
    sources = [ipc(), ipc()]
    at_work = start("worker", source=sources[0], sink=ipc(), name="w", work_ms=3600_000)
    unsent = start("worker", source=sources[1], sink=ipc(), name="w3", count=1)
    for source in sources:
        peer(zmq.PUSH, bind=source).send(pack({"task": 0, "value": 0}))
    unsent.wait_line("did 1 task, 0 bad$")  # Waits to send its result to a sink that is not there
    sink = start("sink", endpoint=results, count=0)
    sink.wait_line("announces 100 tasks")
    programs = [waiting, worker, blocked, at_work, unsent, sink]
    assert [program.stop(number) for program in programs] == [0] * 6
    assert waiting.summary() == blocked.summary() == "0 tasks handed out"
    assert at_work.summary() == "w did 0 tasks, 0 bad"
