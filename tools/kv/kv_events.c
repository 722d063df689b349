//  SPDX-License-Identifier: MIT

#include "kv/kv_events.h"

kv_wire_t kv_wire_from_name (const char *name)
{
    static const char *const names[] = {"v0.9", "v0.24", "v0.26"};  //  In the order of kv_wire_t
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (streq (name, names[i]))
            return (kv_wire_t) i;
    return KV_WIRE_V033;
}

static void s_put_seq (uint64_t seq, byte bytes[KV_SEQ_SIZE])
{
    for (int i = KV_SEQ_SIZE - 1; i >= 0; i--, seq >>= 8)
        bytes[i] = (byte) (seq & 0xff);
}

//  A big-endian number of any length; one above 64 bits comes out as UINT64_MAX
static uint64_t s_get_seq (mp_slice_t bytes)
{
    const byte *at = (const byte *) bytes.data;
    if (bytes.size ==
        KV_SEQ_SIZE)  //  As all that publishers send; compilers know this for one load
        return (uint64_t) at[0] << 56 | (uint64_t) at[1] << 48 | (uint64_t) at[2] << 40 |
               (uint64_t) at[3] << 32 | (uint64_t) at[4] << 24 | (uint64_t) at[5] << 16 |
               (uint64_t) at[6] << 8 | at[7];
    uint64_t seq = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        if (seq >> 56)
            return UINT64_MAX;
        seq = seq << 8 | (byte) bytes.data[i];
    }
    return seq;
}

int kv_publish (zsock_t *pub, const char *topic, uint64_t seq, zframe_t *payload)
{
    void *socket = zsock_resolve (pub);
    byte bytes[KV_SEQ_SIZE];
    s_put_seq (seq, bytes);
    if (zmq_send (socket, topic, strlen (topic), ZMQ_SNDMORE) == -1 ||
        zmq_send (socket, bytes, sizeof bytes, ZMQ_SNDMORE) == -1)
        return -1;
    return zframe_send (&payload, pub, ZFRAME_REUSE);  //  Shares the bytes
}

//  Skips a value. Clears `sound` if mp_pass does not take it: mp_skip accepts deeper nesting than
//  mp_check.
static bool s_skip (mp_reader_t *reader, bool *sound)
{
    *sound = *sound && mp_pass (reader);
    return *sound || mp_skip (reader);
}

int64_t kv_payload_rank (kv_numbered_t *batch)
{
    mp_reader_t reader = mp_reader (batch->payload.data, batch->payload.size);
    msgpack_object object;
    uint32_t count;
    bool sound = true;
    if (!mp_read_array (&reader, "batch", 2, &count, NULL) || !s_skip (&reader, &sound))
        return KV_RANK_UNREADABLE;
    sound = sound && mp_is_array (&reader);
    if (!s_skip (&reader, &sound))
        return KV_RANK_UNREADABLE;
    mp_reader_t rank = reader;
    for (uint32_t i = 2; sound && i < count; i++)
        sound = mp_pass (&reader);
    batch->sound = sound && reader.at == reader.end;
    if (count < 3)
        return KV_RANK_NONE;
    if (!mp_read (&rank, &object))
        return KV_RANK_UNREADABLE;
    if (object.type != MSGPACK_OBJECT_POSITIVE_INTEGER || object.via.u64 > INT64_MAX)
        return KV_RANK_NONE;
    return (int64_t) object.via.u64;
}

//  Reads a live message, or a reply, of which these are the first frames
static bool s_read_live (const mp_slice_t *frames, size_t count, kv_numbered_t *batch,
                         mp_error_t *error)
{
    if (count != 3)
        return mp_wrong (error, "message", "want 3 frames (topic, seq and batch), got %zu", count);
    if (frames[1].size != KV_SEQ_SIZE)
        return mp_wrong (error, "message", "a seq has 8 bytes, this has %zu", frames[1].size);
    *batch =
        (kv_numbered_t){.seq = s_get_seq (frames[1]), .topic = frames[0], .payload = frames[2]};
    if (batch->seq == KV_SEQ_END)
        return mp_wrong (error, "message", "its seq is the one that ends a replay");
    return true;
}

static bool s_read_reply (const mp_slice_t *frames, size_t count, kv_numbered_t *batch,
                          mp_error_t *error)
{
    //  Counted from the end: ... [seq][batch]. Four have the delimiter and the topic in front.
    if (count < 2 || count > KV_FRAMES_MAX || frames[count - 2].size != KV_SEQ_SIZE)
        return mp_wrong (error, "replay",
                         "want a seq of 8 bytes and a batch at the end, frames: %zu", count);
    *batch = (kv_numbered_t){.seq = KV_SEQ_END, .payload = frames[count - 1], .replayed = true};
    if (batch->payload.size > 0)  //  Every batch has bytes
        batch->seq = s_get_seq (frames[count - 2]);
    if (count == KV_FRAMES_MAX)
        batch->topic = frames[1];
    return true;
}

zmsg_t *kv_replay_request (uint64_t start)
{
    byte bytes[KV_SEQ_SIZE];
    s_put_seq (start, bytes);
    zmsg_t *message = zmsg_new ();
    zmsg_addmem (message, bytes, sizeof bytes);
    return message;
}

bool kv_replay_request_read (zmsg_t *message, zframe_t **client, uint64_t *start)
{
    if (zmsg_size (message) != 3)
        return false;
    *client = zmsg_first (message);
    zframe_t *seq = zmsg_last (message);
    *start = s_get_seq ((mp_slice_t){(const char *) zframe_data (seq), zframe_size (seq)});
    return true;
}

int kv_replay_send (zsock_t *router, zframe_t *client, const char *topic, uint64_t seq,
                    zframe_t *payload, kv_wire_t wire)
{
    void *socket = zsock_resolve (router);
    byte bytes[KV_SEQ_SIZE];
    s_put_seq (payload ? seq : KV_SEQ_END, bytes);
    size_t topic_size = payload ? strlen (topic) : 0;
    if (zframe_send (&client, router, ZFRAME_MORE + ZFRAME_REUSE) == -1 ||
        zmq_send (socket, NULL, 0, ZMQ_SNDMORE) == -1 ||
        (wire >= KV_WIRE_V026 && zmq_send (socket, topic, topic_size, ZMQ_SNDMORE) == -1) ||
        zmq_send (socket, bytes, sizeof bytes, ZMQ_SNDMORE) == -1)
        return -1;
    return payload ? zframe_send (&payload, router, ZFRAME_REUSE)  //  Shares the bytes
                   : zmq_send (socket, NULL, 0, 0);
}

kv_frames_t *kv_frames_new (void)
{
    kv_frames_t *self = zmalloc (sizeof *self);
    for (size_t i = 0; i < KV_FRAMES_MAX; i++)
        zmq_msg_init (&self->frames[i]);
    return self;
}

void kv_frames_clear (kv_frames_t *self)
{
    for (size_t i = 0; i < KV_FRAMES_MAX; i++) {
        zmq_msg_close (&self->frames[i]);
        zmq_msg_init (&self->frames[i]);
    }
    self->count = 0;
}

void kv_frames_destroy (kv_frames_t **self_p)
{
    if (*self_p)
        kv_frames_clear (*self_p);
    free (*self_p);
    *self_p = NULL;
}

bool kv_frames_recv (kv_frames_t *self, zsock_t *socket)
{
    void *handle = zsock_resolve (socket);
    size_t count = 0;
    zmq_msg_t *frame;
    do {
        //  Surplus frames overwrite the last one: the message is malformed anyway
        frame = &self->frames[count < KV_FRAMES_MAX ? count : KV_FRAMES_MAX - 1];
        if (zmq_msg_recv (frame, handle, 0) == -1) {
            kv_frames_clear (self);
            return false;  //  The first: the others of a message are there with it
        }
        count++;
    } while (zmq_msg_more (frame));
    self->count = count;
    return true;
}

bool kv_frames_read (kv_frames_t *self, bool replayed, kv_numbered_t *batch, mp_error_t *error)
{
    mp_slice_t frames[KV_FRAMES_MAX];
    for (size_t i = 0; i < KV_FRAMES_MAX && i < self->count; i++)
        frames[i] = (mp_slice_t){zmq_msg_data (&self->frames[i]), zmq_msg_size (&self->frames[i])};
    return replayed ? s_read_reply (frames, self->count, batch, error)
                    : s_read_live (frames, self->count, batch, error);
}
