//  SPDX-License-Identifier: MIT
//  kv_events.h - the messages that carry vLLM's KV-cache events, in the four shapes they have had
//
//      PUB     [topic][seq, 8 bytes big-endian][batch]
//      ROUTER  gets    [client][empty][start seq]
//              sends   [client][empty][topic][seq][batch]  for each batch from there on, then
//                      [client][empty][empty topic][FF x 8][empty]    the end
//
//  A batch is a msgpack array [ts, events, data_parallel_rank]. What changed over the releases:
//                  events                     rank        topic in a replay
//      v0.9.0      arrays, tag first          not there   no
//      v0.24.0     maps with a key "type"     there       no
//      v0.26.0     maps, may say locality     there       yes
//      v0.33.0     maps, may say 3 more       there       yes
//  kv_json.h reads all of them, and what lies between.
//  vLLM:  vllm/distributed/kv_events.py ZmqEventPublisher._service_replay

#pragma once

#include "lib/mp.h"

typedef enum { KV_WIRE_V09, KV_WIRE_V024, KV_WIRE_V026, KV_WIRE_V033 } kv_wire_t;

//  "v0.9", "v0.24", "v0.26" or "v0.33", as an option gives it
kv_wire_t kv_wire_from_name (const char *name);

//  What a sequence number takes up
#define KV_SEQ_SIZE 8

//  END_SEQ: the number that ends a replay, -1 as vLLM writes it
#define KV_SEQ_END UINT64_MAX

//  Sends [topic][seq][batch] to a PUB: the payload as it is, no copy of it. It stays the caller's,
//  but its bytes are libzmq's as well from here on: do not change them. 0, or -1 when a signal
//  came.
int kv_publish (zsock_t *pub, const char *topic, uint64_t seq, zframe_t *payload);

//  A batch as it comes, not read yet. Its slices point into the message that brought it.
typedef struct {
    uint64_t seq;
    mp_slice_t topic;  //  data is NULL when there is none: replays had no topic before v0.26
    mp_slice_t payload;
    bool replayed;
    bool sound;  //  kv_payload_rank has found that the payload is [ts, [events], ...]
} kv_numbered_t;

//  The rank of a batch, or why it has none
#define KV_RANK_NONE (-1)        //  nil, or not there
#define KV_RANK_UNREADABLE (-2)  //  The payload is no batch

//  The data_parallel_rank of a batch. Sets `sound` if the whole payload is valid, unless that is
//  nested deeply; so kv_payload_check need not look at it again.
int64_t kv_payload_rank (kv_numbered_t *batch);

//  What a REQ sends to ask for all batches from a number on: [seq]
zmsg_t *kv_replay_request (uint64_t start);

//  Reads a request as a ROUTER gets it, [client][empty][seq], as lenient with the number as vLLM
//  (int.from_bytes of any length). True: sets *start, and *client, which is the message's.
bool kv_replay_request_read (zmsg_t *message, zframe_t **client, uint64_t *start);

//  Sends one reply of a replay to a ROUTER: the payload as it is, as kv_publish does; NULL makes
//  the end. Client and payload stay the caller's. 0, or -1 when a signal came.
int kv_replay_send (zsock_t *router, zframe_t *client, const char *topic, uint64_t seq,
                    zframe_t *payload, kv_wire_t wire);

//  -- Reading without a zmsg_t, which is a list, and memory for each frame: for messages that come
//  in thousands. The frames stay where libzmq has them, and what they are received into is used
//  again.

//  No message from a publisher has more
#define KV_FRAMES_MAX 4

typedef struct {
    zmq_msg_t frames[KV_FRAMES_MAX];
    size_t count;  //  Of the message: those that are too many are not kept
} kv_frames_t;

kv_frames_t *kv_frames_new (void);
void kv_frames_destroy (kv_frames_t **self_p);

//  Lets libzmq free the frames. What was read points nowhere then.
void kv_frames_clear (kv_frames_t *self);

//  Clears, and receives a message. False: there is none, or a signal came.
bool kv_frames_recv (kv_frames_t *self, zsock_t *socket);

//  Reads a live message or, when it is `replayed`, a reply: with or without the empty frame in
//  front (a REQ takes it off, a DEALER does not) and with or without the topic. The end of a replay
//  has the number KV_SEQ_END. False: `error` is set.
bool kv_frames_read (kv_frames_t *self, bool replayed, kv_numbered_t *batch, mp_error_t *error);
