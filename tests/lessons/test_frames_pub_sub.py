# SPDX-License-Identifier: MIT
"""Every frame that pub_sub's programs send, decoded with vLLM v0.33.0's structs."""

import time

import msgspec
import pytest
import zmq

import wire

unpack = msgspec.msgpack.decode
END = [b"", b"\xff" * 8, b""]


def strictly(payload):
    """Decodes a batch. Fails on a field that vLLM's struct does not have, or of another type."""
    batch = unpack(payload, type=wire.KVEventBatch)
    ts, events, *rank = unpack(payload)
    assert len(rank) == 1
    for struct, event in zip(batch.events, events, strict=True):
        assert list(event)[0] == "type"
        assert set(event) <= {"type", *struct.__struct_fields__}
        # Fields in vLLM's order, those that vLLM would leave out left out
        assert list(event.items()) == list(unpack(msgspec.msgpack.encode(struct)).items())
    return batch


def live_and_replayed(start, ipc, peer, name, lang="c", count=10, **options):
    """Messages of a publisher: the first `count` of a replay from 0, those heard live, the end."""
    live, replay = ipc(), ipc()
    options = {"endpoint": live, "replay_endpoint": replay, "interval_ms": 5, **options}
    publisher = start(name, lang=lang, **options)
    subscriber = peer(zmq.SUB, connect=live)
    subscriber.subscribe(b"kv-")
    heard = {}
    while len(heard) < count:
        message = subscriber.recv_multipart()
        heard[int.from_bytes(message[1], "big")] = message
    client = peer(zmq.DEALER, connect=replay)
    client.send_multipart([b"", bytes(8)])
    replayed = []
    while (frames := client.recv_multipart())[-2] != b"\xff" * 8:
        assert frames.pop(0) == b""
        replayed.append(frames)
    assert publisher.stop() == 0
    return heard, replayed, frames[1:]


@pytest.mark.parametrize("lang", ["c", "py"])
def test_messages(start, ipc, peer, lang):
    before = time.time()
    heard, replayed, end = live_and_replayed(start, ipc, peer, "replay_publisher", lang)
    assert end == END
    assert list(heard) == list(range(min(heard), max(heard) + 1))
    for seq, message in heard.items():
        assert message == replayed[seq]  # Byte by byte the same
    for seq, (topic, number, payload) in enumerate(replayed):
        assert (topic, number) == (b"kv-events", seq.to_bytes(8, "big"))
        batch = strictly(payload)
        assert before - 1 < batch.ts < time.time() + 1
        assert batch.data_parallel_rank == 0
        stored, *removed = batch.events
        assert stored == wire.BlockStored(
            block_hashes=stored.block_hashes,
            parent_block_hash=stored.parent_block_hash,
            token_ids=list(range(16 * seq, 16 * seq + 16)),
            block_size=16,
            lora_id=None,
            medium="GPU",
            lora_name=None,
            extra_keys=[None],
            group_idx=0,
            kv_cache_spec_kind="full_attention",
        )
        assert removed == (
            [wire.BlockRemoved(hashes(replayed[seq // 5]), "GPU", group_idx=0)]
            if seq % 5 == 4
            else []
        )
        assert len(stored.block_hashes) == 1
        assert [stored.parent_block_hash] == (hashes(replayed[seq - 1]) if seq else [None])
    assert any(hashes(message)[0] >= 2**63 for message in replayed)  # As half of the real ones are
    assert len({hashes(message)[0] for message in replayed}) == len(replayed)


def hashes(message):
    return unpack(message[2], type=wire.KVEventBatch).events[0].block_hashes


def test_the_tool_says_the_same(start, ipc, peer):
    """kv_publisher's frames have the same fields and values, except for times, hashes and extra_keys."""

    def plain(message, known):
        topic, seq, payload = message
        batch = strictly(payload)
        # Hashes by the order in which they come: the same blocks, whatever their hashes are
        events = []
        for event in batch.events:
            fields = msgspec.structs.asdict(event)
            name = lambda block: block if block is None else known.setdefault(block, len(known))
            fields["block_hashes"] = [name(block) for block in event.block_hashes]
            if isinstance(event, wire.BlockStored):
                assert fields.pop("extra_keys") in (None, [None])
                fields["parent_block_hash"] = name(event.parent_block_hash)
            events.append((type(event), fields))
        return topic, seq, events, batch.data_parallel_rank

    ours, theirs = (
        live_and_replayed(start, ipc, peer, name) for name in ("replay_publisher", "kv_publisher")
    )
    assert ours[2] == theirs[2] == END
    ours_known, theirs_known = {}, {}
    for ours_message, theirs_message in zip(ours[1][:10], theirs[1][:10], strict=True):
        assert plain(ours_message, ours_known) == plain(theirs_message, theirs_known)


@pytest.mark.parametrize("topic", ["", "kv@pod-1@model", "Grüße"])
def test_topic(start, ipc, peer, topic):
    live, replay = ipc(), ipc()
    options = {"endpoint": live, "replay_endpoint": replay, "topic": topic, "interval_ms": 5}
    publisher = start("replay_publisher", **options)
    subscriber = peer(zmq.SUB, connect=live)
    subscriber.subscribe(b"")
    assert subscriber.recv_multipart()[0] == topic.encode()
    client = peer(zmq.DEALER, connect=replay)
    client.send_multipart([b"", bytes(8)])
    assert client.recv_multipart()[1] == topic.encode()
    assert publisher.stop() == 0


@pytest.mark.parametrize("lang", ["c", "py"])
@pytest.mark.parametrize("name", ["replay_subscriber", "replay_dealer_subscriber"])
def test_replay_request(start, ipc, peer, name, lang):
    """The requests of a REQ and of a DEALER are the same to the ROUTER: [client][empty][start]."""
    live, replay = ipc(), ipc()
    publisher, router = peer(zmq.XPUB, bind=live), peer(zmq.ROUTER, bind=replay)
    subscriber = start(name, lang=lang, endpoint=live, replay_endpoint=replay)
    assert publisher.recv() == b"\x01kv-events"
    batch = msgspec.msgpack.encode(wire.KVEventBatch(0.0, [wire.AllBlocksCleared()]))
    publisher.send_multipart([b"kv-events", (2**40).to_bytes(8, "big"), batch])
    client, *request = router.recv_multipart()
    assert request == [b"", bytes(8)]
    # What begins far behind 0 says that the numbers before it are lost; the next request goes on
    seq = (2**39).to_bytes(8, "big")
    router.send_multipart([client, b"", b"kv-events", seq, batch])
    subscriber.wait_line(f"^seq {2**39} replayed: AllBlocksCleared$")
    subscriber.wait_err(rf"lost 0-{2**39 - 1}: ")
    if name == "replay_subscriber":
        assert router.recv_multipart()[1:] == [b"", (2**39 + 1).to_bytes(8, "big")]
    assert subscriber.stop() == 0


def test_topic_message(start, ipc, peer):
    publisher = start("topic_publisher", topics="a,b", interval_ms=5, endpoint=(at := ipc()))
    subscriber = peer(zmq.SUB, connect=at)
    subscriber.subscribe(b"b")
    topic, payload = subscriber.recv_multipart()
    assert topic == b"b"
    assert list(unpack(payload)) == ["seq"]
    assert type(unpack(payload)["seq"]) is int
    assert publisher.stop() == 0
