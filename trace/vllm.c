//  SPDX-License-Identifier: MIT

#include "vllm.h"
#include "pack.h"

#include <string.h>
#include <zmq.h>

//  More ids, events or fields than this are not read: the rest is "..."
#define LISTED_MAX 64

//  The frames of a message without what the socket adds or takes off: the identity that a ROUTER
//  has in front, and the empty frame that a REQ puts before its message
typedef struct {
    const message_t *message;
    size_t first, count;
} body_t;

static body_t s_body (int socket_type, const message_t *message)
{
    body_t body = {.message = message, .count = message_frames (message)};
    if (socket_type == ZMQ_ROUTER && body.count > 0) {
        body.first++;
        body.count--;
    }
    bool may_have_empty = socket_type == ZMQ_ROUTER || socket_type == ZMQ_DEALER;
    if (may_have_empty && body.count > 1 && message->frames[body.first].size == 0) {
        body.first++;
        body.count--;
    }
    return body;
}

static kept_t s_part (const body_t *body, size_t index)
{
    return message_frame (body->message, body->first + index);
}

static pack_t s_unpack (kept_t part)
{
    return pack_on (part.data, part.kept, part.kept < part.size);
}

//  True when a frame has this length, and all of it is there
static bool s_is (kept_t part, size_t size)
{
    return part.size == size && part.kept == size;
}

//  The next value as a person reads it: a string without its quotation marks. False: it is not all
//  there.
static bool s_add_value (text_t *out, pack_t *in)
{
    pack_item_t item;
    pack_t ahead = *in;
    if (pack_read (&ahead, &item) != PACK_OK || item.type != PACK_STR)
        return pack_print (in, out) == PACK_OK;
    *in = ahead;
    text_escaped (out, item.data, item.size, false);
    return !item.missing;
}

//  Adds `count` values, each with `add`, and what stands between them. "..." stands for those that
//  cannot be read, or are too many.
static void s_add_list (text_t *out, pack_t *in, uint64_t count, const char *between,
                        bool (*add) (text_t *, pack_t *))
{
    for (uint64_t i = 0; i < count; i++) {
        text_add (out, i ? between : " ");
        if (i == LISTED_MAX || !add (out, in)) {
            text_add (out, "...");
            return;
        }
    }
}

//  Reads over so many values. False: they are not all there.
static bool s_skip (pack_t *in, uint64_t count)
{
    while (count > 0 && pack_skip (in) == PACK_OK)
        count--;
    return count == 0;
}

//  Reads the head of an array. False: it has fewer than `least` entries, or is something else.
static bool s_array (pack_t *in, uint64_t *count, uint64_t least)
{
    return pack_entries (in, PACK_ARRAY, count) && *count >= least;
}

//  EngineCoreRequest: [request_id, prompt_token_ids, ...]
static void s_add_request (text_t *out, pack_t in)
{
    uint64_t count;
    text_add (out, "ADD");
    if (!s_array (&in, &count, 2))
        return;
    text_char (out, ' ');
    if (s_add_value (out, &in) && s_array (&in, &count, 0)) {
        text_add (out, ", ");
        text_plural (out, count, "token");
    }
}

//  ABORT: the ids of requests
static void s_add_ids (text_t *out, pack_t in)
{
    uint64_t count;
    text_add (out, "ABORT");
    if (s_array (&in, &count, 0))
        s_add_list (out, &in, count, " ", s_add_value);
}

//  UTILITY: [client_index, call_id, method_name, args]
static void s_add_call (text_t *out, pack_t in)
{
    uint64_t count;
    text_add (out, "UTILITY");
    if (!s_array (&in, &count, 3) || !s_skip (&in, 2))
        return;
    text_char (out, ' ');
    s_add_value (out, &in);
}

//  A message to an engine: EngineCoreRequestType in one byte, then what belongs to it
static bool s_add_to_engine (text_t *out, const body_t *body)
{
    kept_t type = s_part (body, 0);
    if (body->count < 2 || !s_is (type, 1) || type.data[0] > 3)
        return false;
    pack_t in = s_unpack (s_part (body, 1));
    if (type.data[0] == 0)
        s_add_request (out, in);
    else if (type.data[0] == 1)
        s_add_ids (out, in);
    else if (type.data[0] == 2)
        text_add (out, "START_DP_WAVE");
    else
        s_add_call (out, in);
    return true;
}

//  EngineCoreOutput: [request_id, new_token_ids, logprobs, prompt_logprobs, pooling_output,
//  finish_reason, ...]. Adds "r3 +1 token, length". False: it is none, or was cut.
static bool s_add_output (text_t *out, pack_t *in)
{
    static const char *const reasons[] = {"stop", "length", "abort", "error", "repetition"};
    uint64_t fields, tokens;
    if (!s_array (in, &fields, 2) || !s_add_value (out, in) || !s_array (in, &tokens, 0))
        return false;
    if (tokens > 0) {
        text_add (out, " +");
        text_plural (out, tokens, "token");
    }
    if (!s_skip (in, tokens))
        return false;
    for (uint64_t field = 2; field < fields; field++) {
        pack_item_t item;
        pack_t ahead = *in;
        if (pack_skip (in) != PACK_OK)
            return false;
        if (field == 5 && pack_read (&ahead, &item) == PACK_OK && item.type == PACK_UINT &&
            item.number < sizeof reasons / sizeof *reasons)
            TEXT (out, tokens > 0 ? ", " : " ", reasons[item.number]);
    }
    return true;
}

//  The rest of EngineCoreOutputs: scheduler_stats, timestamp, utility_output [call_id, failure,
//  result]
static void s_add_utility_output (text_t *out, pack_t *in)
{
    uint64_t fields;
    if (!s_skip (in, 2) || !s_array (in, &fields, 0))
        return;
    text_add (out, " answer to UTILITY call ");
    s_add_value (out, in);
}

//  EngineCoreOutputs: [engine_index, outputs, scheduler_stats, timestamp, utility_output, ...]
static bool s_add_outputs (text_t *out, pack_t in)
{
    uint64_t fields, count, ignored;
    pack_item_t index;
    if (!s_array (&in, &fields, 2) || pack_read (&in, &index) != PACK_OK ||
        index.type != PACK_UINT || !s_array (&in, &count, 0))
        return false;
    pack_t ahead = in;
    if (count > 0 && !s_array (&ahead, &ignored, 0))
        return false;
    if (count == 0 && fields < 5)  //  [0, []] alone could be anything
        return false;
    text_add (out, "EngineCoreOutputs");
    s_add_list (out, &in, count, "; ", s_add_output);
    if (count == 0)
        s_add_utility_output (out, &in);
    return true;
}

//  The handshake's maps, and the registration: which of them is told by their keys
static bool s_add_handshake (text_t *out, pack_t in)
{
    uint64_t pairs;
    if (!pack_entries (&in, PACK_MAP, &pairs))
        return false;
    for (uint64_t i = 0; i < pairs && i < LISTED_MAX; i++) {
        pack_item_t key, value;
        pack_t ahead;
        if (pack_read (&in, &key) != PACK_OK)
            return false;
        ahead = in;
        if (pack_is (&key, "status") && pack_read (&ahead, &value) == PACK_OK &&
            (pack_is (&value, "HELLO") || pack_is (&value, "READY"))) {
            text_bytes (out, value.data, value.size);
            return true;
        }
        if (pack_is (&key, "addresses") || pack_is (&key, "max_model_len")) {
            text_add (out, pack_is (&key, "addresses") ? "INIT" : "registration");
            return true;
        }
        if (pack_skip (&in) != PACK_OK)
            return false;
    }
    return false;
}

//  One event of a batch: a map with its "type", or before v0.24 an array with the type in front
static bool s_add_event (text_t *out, pack_t *in)
{
    pack_item_t head, key;
    if (pack_read (in, &head) != PACK_OK)
        return false;
    if (head.type == PACK_ARRAY && head.number > 0)
        return s_add_value (out, in) && s_skip (in, head.number - 1);
    bool known = false;
    for (uint64_t i = 0; head.type == PACK_MAP && i < head.number; i++) {
        if (pack_read (in, &key) != PACK_OK)
            return false;
        bool is_type = pack_is (&key, "type") && !known;
        if (!(is_type ? s_add_value (out, in) : s_skip (in, 1)))
            return false;
        known = known || is_type;
    }
    return known;
}

//  KVEventBatch: [timestamp, events, data_parallel_rank]
static bool s_add_batch (text_t *out, pack_t in)
{
    uint64_t fields, count;
    if (!s_array (&in, &fields, 2) || !s_skip (&in, 1) || !s_array (&in, &count, 0))
        return false;
    if (count == 0)
        text_add (out, " no events");
    s_add_list (out, &in, count, ", ", s_add_event);
    return true;
}

static uint64_t s_seq (kept_t part)
{
    uint64_t seq = 0;
    for (size_t i = 0; i < 8; i++)
        seq = seq << 8 | part.data[i];
    return seq;
}

//  KV events: [topic, seq, batch], in an old replay without the topic; and the request for a replay
static bool s_add_kv (text_t *out, int socket_type, const body_t *body)
{
    bool is_replay =
        socket_type == ZMQ_REQ || socket_type == ZMQ_DEALER || socket_type == ZMQ_ROUTER;
    kept_t last = s_part (body, body->count - 1);
    if (body->count == 1 && s_is (last, 8) && is_replay) {
        text_add (out, "replay request from ");
        text_number (out, s_seq (last));
        return true;
    }
    if (body->count < 2 || body->count > 4 || !s_is (s_part (body, body->count - 2), 8))
        return false;
    uint64_t seq = s_seq (s_part (body, body->count - 2));
    if (seq == UINT64_MAX && last.size == 0) {
        text_add (out, "end of replay");
        return true;
    }
    text_add (out, "seq ");
    text_number (out, seq);
    return s_add_batch (out, s_unpack (last));
}

static bool s_add (text_t *out, int socket_type, const body_t *body)
{
    static const char dead[] = "ENGINE_CORE_DEAD";
    if (body->count == 0)
        return false;
    kept_t first = s_part (body, 0);
    if (s_is (first, sizeof dead - 1) && memcmp (first.data, dead, sizeof dead - 1) == 0) {
        text_add (out, dead);
        return true;
    }
    text_t empty = *out;
    if (s_add_to_engine (out, body) || s_add_kv (out, socket_type, body))
        return true;
    *out = empty;
    //  Raw tensors may follow the outputs
    return s_add_outputs (out, s_unpack (first)) ||
           (body->count == 1 && s_add_handshake (out, s_unpack (first)));
}

bool vllm_add (text_t *out, int socket_type, const message_t *message)
{
    static const char dots[] = "...";
    if (out->cut || out->max - out->size < sizeof dots)
        return false;
    body_t body = s_body (socket_type, message);
    text_t inner = text_on (out->data + out->size, out->max - out->size - (sizeof dots - 1));
    if (!s_add (&inner, socket_type, &body))
        return false;
    out->size += inner.size;
    if (inner.cut)
        text_add (out, dots);
    return true;
}

int vllm_engine_index (const unsigned char *identity, size_t size)
{
    return size == 2 ? identity[0] | identity[1] << 8 : -1;
}
