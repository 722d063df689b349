//  SPDX-License-Identifier: MIT
//  kv_events.h - vLLM's KV-cache events on the wire, in the four shapes they have had
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
//  Reading takes all of them, and what lies between.
//  vLLM:  vllm/distributed/kv_events.py EventBatch
//         vllm/distributed/kv_events.py BlockStored
//         vllm/distributed/kv_events.py BlockRemoved
//         vllm/distributed/kv_events.py AllBlocksCleared
//         vllm/distributed/kv_events.py ZmqEventPublisher._service_replay

#pragma once

#include "lib/mp.h"

typedef enum { KV_WIRE_V09, KV_WIRE_V024, KV_WIRE_V026, KV_WIRE_V033 } kv_wire_t;

//  "v0.9", "v0.24", "v0.26" or "v0.33", as an option gives it
kv_wire_t kv_wire_from_name (const char *name);

//  ExternalBlockHash: bytes | int, or nothing
typedef struct {
    enum {
        KV_HASH_NONE,  //  nil, or not there
        KV_HASH_UINT,
        KV_HASH_INT,  //  Below zero; before v0.10.2 a hash was Python's own, which may be
        KV_HASH_BYTES
    } kind;
    union {
        uint64_t u;
        int64_t i;
        mp_slice_t bytes;
    } value;
} kv_hash_t;

typedef enum {
    KV_BLOCK_STORED,
    KV_BLOCK_REMOVED,
    KV_ALL_BLOCKS_CLEARED,
    KV_UNKNOWN  //  A tag that this reader does not know; only `tag` is set
} kv_event_kind_t;

//  The names of an event's fields in the order of vLLM's struct, ended by NULL: the places behind
//  the tag in an array, so without what came when events were maps. Those of KV_UNKNOWN are none.
const char *const *kv_event_fields (kv_event_kind_t kind);

//  For a number that is nil, or not there
#define KV_NONE (-1)

//  One event. Of BlockRemoved only block_hashes, medium, group_idx, locality and ownership are
//  used, of AllBlocksCleared nothing. A slice with data NULL is nil, or not there.
typedef struct {
    kv_event_kind_t kind;
    mp_slice_t tag;  //  "BlockStored"; not looked at in encoding
    const kv_hash_t *block_hashes;
    size_t block_hash_count;
    kv_hash_t parent_block_hash;
    const uint32_t *token_ids;
    size_t token_id_count;
    uint32_t block_size;  //  Tokens a block
    int64_t lora_id;      //  0 or more, or KV_NONE
    mp_slice_t medium;    //  "GPU", "CPU", ...
    mp_slice_t lora_name;
    mp_slice_t extra_keys;  //  The msgpack bytes of the field's value, whatever that is
    int64_t group_idx;
    mp_slice_t kv_cache_spec_kind;
    int64_t kv_cache_spec_sliding_window;
    mp_slice_t locality;             //  "LOCAL" or "REMOTE"
    mp_slice_t ownership;            //  Which secondary tier
    mp_slice_t session_id;           //  Of the request that stored it
    mp_slice_t lookahead_token_ids;  //  As msgpack: for each block the tokens beyond it that its
                                     //  hash takes in
} kv_event_t;

//  Of one batch, so many events are read and no more: vLLM sends those of one scheduler step, and
//  each takes 250 bytes of memory for as little as 4 on the wire
#define KV_MAX_EVENTS 65536u

//  KVEventBatch
typedef struct {
    double ts;  //  Seconds since 1970
    const kv_event_t *events;
    size_t event_count;
    int64_t data_parallel_rank;  //  Or KV_NONE
} kv_batch_t;

//  The payload frame of a batch, the caller's. Events of a kind that is not known are left out.
zframe_t *kv_batch_encode (const kv_batch_t *batch, kv_wire_t wire);

//  Reads a payload of any shape. The batch is to be destroyed with kv_batch_destroy, and its slices
//  point into the payload: keep that as long. NULL, and `error` names the field, when it is no
//  batch.
kv_batch_t *kv_batch_decode (mp_slice_t payload, mp_error_t *error);
void kv_batch_destroy (kv_batch_t **self_p);

//  "BlockStored 1 block 16 tokens, BlockRemoved 1 block": for a line on the screen. The caller's to
//  free with zstr_free.
char *kv_batch_describe (const kv_batch_t *batch);

//  -- Messages

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
