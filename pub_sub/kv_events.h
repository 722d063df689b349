//  SPDX-License-Identifier: MIT
//  kv_events.h - vLLM's KV cache events on the wire, as v0.33.0 writes them
//
//      PUB              [topic][seq][batch]     seq: 8 bytes, big-endian, from 0
//      REQ    ->        [seq]                   "every batch from this number on"
//             ROUTER -> [topic][seq][batch]     one message a batch, and at the end
//                       []     [ff x 8][]       the number KV_SEQ_END
//
//  A REQ sends an empty frame first and takes it off the reply; a DEALER has to do both itself.
//  A batch is the msgpack array [ts, events, data_parallel_rank], an event a map with a "type".
//
//  vLLM:  vllm/distributed/kv_events.py KVEventBatch, BlockStored, BlockRemoved, ZmqEventPublisher

#pragma once

#include "mp.h"

//  END_SEQ: -1 as a signed number
#define KV_SEQ_END UINT64_MAX

//  A made-up batch: one block of 16 tokens is stored, and in every fifth batch an old one removed.
//  The caller owns the frame.
zframe_t *kv_batch_new (uint64_t seq);

//  "BlockStored 1 block 16 tokens, BlockRemoved 1 block", for printing. An event of another type is
//  named. NULL if the frame holds no batch. The caller frees the text with zstr_free.
char *kv_batch_describe (zframe_t *batch);

//  The message [topic][seq][batch]. It takes the batch over; NULL stands for an empty frame.
zmsg_t *kv_message (const char *topic, uint64_t seq, zframe_t **batch_p);

//  The last frame of such a message, which keeps it, and the number in the frame before. What comes
//  first is not looked at: a DEALER gets an empty frame in addition, and vLLM before v0.26 sends
//  replies without a topic. NULL if the message is NULL or has other frames.
zframe_t *kv_message_read (zmsg_t *message, uint64_t *seq);

//  A number as a frame, which the caller owns
zframe_t *kv_seq_frame (uint64_t seq);

//  Reads such a frame. False if it is NULL or has not 8 bytes.
bool kv_seq_read (zframe_t *frame, uint64_t *seq);
