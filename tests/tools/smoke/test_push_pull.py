# SPDX-License-Identifier: MIT
"""PUSH/PULL: ventilator, workers, sink."""

import signal

import msgspec
import pytest
import zmq

pack = msgspec.msgpack.encode

ANY = "tcp://127.0.0.1:*"
RESULT_LINE = r"^task (\d+) <- (\w+): (\d+)$"


def check_all_tasks_once(sink, count):
    results = sink.lines(RESULT_LINE)
    assert sorted(int(task) for task, _, _ in results) == list(range(count))
    assert all(int(square) == int(task) ** 2 for task, _, square in results)


@pytest.mark.parametrize(
    "slow_ms, count", [(0, 100), pytest.param(20, 24, marks=pytest.mark.valgrind)]
)
def test_four_workers_share(start, ipc, slow_ms, count):
    """A PUSH deals out in turn, fast worker or slow: each gets its quarter, and nothing is lost."""
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
    assert sink.summary() == f"{count} results from 4 workers, 0 bad"
    assert f"the ventilator announces {count} tasks" in sink.out
    assert ventilator.summary() == f"{count} tasks handed out"
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
    assert sink.out[-3:-1] == ["w1: 5 tasks", "w2: 5 tasks"]


def test_tasks_outlive_the_ventilator(start):
    """Over TCP, what has left for a worker that does not read yet arrives, though nobody is there to
    send it any more."""
    count = 3000  # More than a PULL takes of itself: 1000
    sink = start("sink", endpoint=ANY, count=count, timeout_s=5)
    ventilator = start("ventilator", endpoint=ANY, sink=sink.endpoint(), count=count)
    worker = start("worker", source=ventilator.endpoint(), sink=sink.endpoint(), name="w1")
    ventilator.wait_line("^1 of 1 workers connected$")
    worker.send_signal(signal.SIGSTOP)
    assert ventilator.wait() == 0
    worker.send_signal(signal.SIGCONT)
    assert sink.wait() == worker.stop() == 0
    assert sink.summary() == f"{count} results from 1 workers, 0 bad"


def test_no_worker_to_wait_for(start, ipc):
    """With --workers 0 the PUSH itself blocks until somebody is there."""
    tasks, results = ipc(), ipc()
    sink = start("sink", endpoint=results, count=5)
    ventilator = start("ventilator", endpoint=tasks, sink=results, workers=0, count=5)
    ventilator.endpoint()
    worker = start("worker", source=tasks, sink=results, name="w1")
    assert sink.wait() == ventilator.wait() == worker.stop() == 0
    check_all_tasks_once(sink, 5)


def test_ventilator_is_stopped_while_it_waits(start, ipc):
    tasks, results = ipc(), ipc()
    ventilator = start("ventilator", endpoint=tasks, sink=results, workers=2)
    worker = start("worker", source=tasks, sink=results, name="w1")
    ventilator.wait_line("^1 of 2 workers connected$")
    assert worker.stop() == 0
    ventilator.wait_line("^0 of 2 workers connected$")
    assert ventilator.stop() == 0
    assert ventilator.summary() == "0 tasks handed out"
    assert worker.summary() == "w1 did 0 tasks, 0 bad"


def test_a_name_of_a_worker_has_a_bound(start):
    worker = start("worker", name="w" * 256)
    assert (worker.wait(), worker.out) == (2, [])
    assert worker.err == ["worker: --name: want at most 255 bytes"]


def test_names_that_somebody_makes_up(start, ipc, peer):
    """A thousand of them are counted, and all results are."""
    results = ipc()
    sink = start("sink", endpoint=results, count=1502)
    stranger = peer(zmq.PUSH, connect=results)
    for number in range(1500):
        stranger.send(pack({"task": number, "worker": f"w{number}", "value": 1}))
    for name in ("w0", "w1499"):  # Who is in the table stays in it
        stranger.send(pack({"task": 0, "worker": name, "value": 1}))
    assert sink.wait() == 0
    assert sink.err == ["sink: more than 1000 workers: the others are not counted by name"]
    assert len(sink.lines(r"^w\d+: \d+ tasks$")) == 1000
    assert "w0: 2 tasks" in sink.out
    assert sink.out[-2] == "other workers: 501 tasks"
    assert sink.summary() == "1502 results from 1000 workers, 0 bad"
