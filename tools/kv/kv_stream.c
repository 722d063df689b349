//  SPDX-License-Identifier: MIT

#include "kv/kv_stream.h"
#include "lib/curve.h"
#include "lib/log.h"

//  Ten times what vLLM keeps for a replay by default. A high-water mark that is reached loses
//  replies: of what has to wait in the publisher, its ROUTER drops all beyond 1000. No mark at all
//  would cost our memory, if somebody sends without end.
#define REPLAY_HWM 100000

//  In one go so many replies are taken, then it is the turn of others
#define SERVE_MAX 1000

bool kv_setting_wants (const kv_setting_t *setting, mp_slice_t topic)
{
    if (!topic.data)
        return true;
    for (size_t i = 0; i < setting->topic_count; i++) {
        size_t size = strlen (setting->topics[i]);
        bool fits = setting->exact_topic ? size == topic.size : size <= topic.size;
        if (fits && (size == 0 || memcmp (setting->topics[i], topic.data, size) == 0))
            return true;
    }
    return false;
}

//  -- What the sequence has to say

static kv_origin_t s_origin (const kv_stream_t *self)
{
    kv_origin_t origin = {.endpoint = self->setting->endpoint, .rank = KV_RANK_NONE};
    if (!self->alone && self->topic.data) {
        origin.topic = self->topic;
        origin.rank = self->rank;
    }
    return origin;
}

static void s_deliver (void *owner, const kv_numbered_t *batch)
{
    const kv_stream_t *self = owner;
    kv_numbered_t named = *batch;
    //  A replay of before v0.26 has no topic: then it is the one that live batches have, or the
    //  one that we subscribe to
    const char *wanted = self->setting->topics[0];
    if (!named.topic.data)
        named.topic = self->topic;
    if (!named.topic.data && *wanted)
        named.topic = (mp_slice_t){wanted, strlen (wanted)};
    kv_origin_t origin = s_origin (self);
    kv_report_batch (self->setting->report, &origin, &named);
}

static void s_notice (void *owner, kv_notice_t notice, uint64_t first, uint64_t last)
{
    const kv_stream_t *self = owner;
    kv_origin_t origin = s_origin (self);
    kv_report_notice (self->setting->report, &origin, notice, first, last);
}

kv_stream_t *kv_stream_new (const kv_setting_t *setting)
{
    kv_stream_t *self = zmalloc (sizeof *self);
    kv_sequence_handler_t handler = {.deliver = s_deliver, .notice = s_notice, .owner = self};
    self->setting = setting;
    self->rank = KV_RANK_NONE;
    self->alone = true;
    self->sequence = kv_sequence_new (&setting->limits, &handler);
    self->reply = kv_frames_new ();
    return self;
}

static void s_close_replay (kv_stream_t *self)
{
    if (!self->dealer)
        return;
    zpoller_remove (self->setting->poller, self->dealer);
    zsock_destroy (&self->dealer);
    kv_frames_clear (self->reply);
    print_progress (NULL);
}

void kv_stream_destroy (kv_stream_t **self_p)
{
    kv_stream_t *self = *self_p;
    if (!self)
        return;
    s_close_replay (self);
    kv_sequence_destroy (&self->sequence);
    kv_frames_destroy (&self->reply);
    free ((char *) self->topic.data);
    free (self);
    *self_p = NULL;
}

//  -- Replays

static void s_ask (kv_stream_t *self, uint64_t start)
{
    const char *endpoint = self->setting->replay_endpoint;
    self->dealer = zsock_new (ZMQ_DEALER);
    curve_client (self->dealer);
    zsock_set_maxmsgsize (self->dealer, MP_MAX_FRAME);
    zsock_set_rcvtimeo (self->dealer, 0);
    zsock_set_rcvhwm (self->dealer, REPLAY_HWM);
    zsock_set_linger (self->dealer, 0);
    if (!log_connected (endpoint, zsock_connect (self->dealer, "%s", endpoint))) {
        zsock_destroy (&self->dealer);
        return;  //  Comes to a timeout
    }
    zpoller_add (self->setting->poller, self->dealer);
    zmsg_t *request = kv_replay_request (start);
    zmsg_pushmem (request, NULL, 0);  //  The empty frame that vLLM's ROUTER wants
    zmsg_send (&request, self->dealer);
    zmsg_destroy (&request);
}

//  Does about replays what the sequence wants done
static void s_follow (kv_stream_t *self)
{
    uint64_t start;
    kv_replay_t replay = kv_sequence_replay (self->sequence, &start);
    if (replay != KV_REPLAY_RUNNING)
        s_close_replay (self);
    if (replay == KV_REPLAY_ASK)
        s_ask (self, start);
}

bool kv_stream_has_topic (const kv_stream_t *self, mp_slice_t topic)
{
    return !self->topic.data || !topic.data ||
           (topic.size == self->topic.size &&
            memcmp (topic.data, self->topic.data, topic.size) == 0);
}

//  The first batch tells to which topic and rank the stream belongs. False: this one is another's.
static bool s_claim (kv_stream_t *self, const kv_numbered_t *batch, int64_t rank)
{
    if (!kv_stream_has_topic (self, batch->topic) ||
        (self->rank >= 0 && rank >= 0 && rank != self->rank))
        return false;
    if (!self->topic.data && batch->topic.data) {
        char *topic = malloc (batch->topic.size + 1);
        assert (topic);
        memcpy (topic, batch->topic.data, batch->topic.size);
        self->topic.data = topic;
        self->topic.size = batch->topic.size;
    }
    if (rank > self->rank)
        self->rank = rank;
    return true;
}

void kv_stream_live (kv_stream_t *self, const kv_numbered_t *batch, int64_t rank, int64_t now)
{
    s_claim (self, batch, rank);
    self->used = now;
    kv_sequence_live (self->sequence, batch, now);
    if (self->dealer || kv_sequence_state (self->sequence) >= KV_REPAIRING)
        s_follow (self);
}

//  False when no reply is there
static bool s_serve_reply (kv_stream_t *self, int64_t now)
{
    kv_frames_t *reply = self->reply;
    kv_numbered_t batch;
    mp_error_t error;
    if (!kv_frames_recv (reply, self->dealer))
        return false;
    kv_origin_t origin = s_origin (self);
    if (!kv_frames_read (reply, true, &batch, &error))
        kv_report_malformed (self->setting->report, &origin, "reply", KV_SEQ_END, &error);
    else if (batch.seq == KV_SEQ_END)
        kv_sequence_end (self->sequence, now);
    else if (kv_setting_wants (self->setting, batch.topic) &&
             s_claim (self, &batch, kv_payload_rank (&batch)) &&
             kv_sequence_reply (self->sequence, &batch, now))
        print_progress ("replay: at seq %" PRIu64, batch.seq);
    s_follow (self);
    return true;
}

void kv_stream_serve (kv_stream_t *self, int64_t now)
{
    for (int left = SERVE_MAX; left > 0 && self->dealer; left--)
        if (kv_report_is_done (self->setting->report) || !s_serve_reply (self, now))
            break;
    if (kv_sequence_deadline (self->sequence) <= now) {
        kv_sequence_tick (self->sequence, now);
        s_follow (self);
    }
}

void kv_stream_connected (kv_stream_t *self, int64_t now)
{
    self->up = true;
    kv_sequence_connected (self->sequence, now);
    s_follow (self);
}

void kv_stream_disconnected (kv_stream_t *self, int64_t now)
{
    self->up = false;
    kv_sequence_disconnected (self->sequence, now);
    s_follow (self);
}
