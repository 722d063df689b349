//  SPDX-License-Identifier: MIT

#include "kv/kv_source.h"
#include "lib/log.h"

//  In one go so many live messages are taken, then it is the turn of others
#define SERVE_MAX 1000

//  Messages between two checks for events: a check is a system call, receiving a message is none
#define LOOK_AFTER 64

//  A new connection is tried so long after the last one has ended
#define RETRY_MS 100

struct kv_source {
    kv_setting_t setting;
    bool bind;
    kv_link_t *link;  //  The newest; NULL: a new one is made at `retry`
    kv_link_t *old;   //  Its connection has ended, and it is read to its end first
    int64_t born, retry;
    bool up;              //  The link has begun
    bool refused;         //  Said so, since the last connection
    int64_t full;         //  Since when there is no room; 0: there is
    bool paused;          //  The SUB that is read is not polled, since there is no room
    bool told_strangers;  //  There were too many streams
    kv_frames_t *message;
    kv_stream_t *streams;
    kv_stream_t *last;  //  The one of the last batch: mostly that of the next
    size_t count;
};

static kv_stream_t *s_add_stream (kv_source_t *self)
{
    kv_stream_t *stream = kv_stream_new (&self->setting);
    stream->next = self->streams;
    self->streams = stream;
    self->count++;
    for (kv_stream_t *each = self->streams; each && self->count > 1; each = each->next)
        each->alone = false;
    return stream;
}

static void s_remove_stream (kv_source_t *self, kv_stream_t *stream)
{
    kv_stream_t **at = &self->streams;
    while (*at != stream)
        at = &(*at)->next;
    *at = stream->next;
    if (self->last == stream)
        self->last = NULL;
    kv_report_add (self->setting.report, kv_sequence_counts (stream->sequence));
    kv_stream_destroy (&stream);
    self->count--;
}

//  -- Connections

static bool s_open_link (kv_source_t *self, int64_t now)
{
    self->link = kv_link_new (self->setting.endpoint, self->bind, self->setting.topics,
                              self->setting.topic_count);
    self->born = now;
    self->retry = now + RETRY_MS;
    self->up = false;
    if (!self->link)
        return false;
    zpoller_add (self->setting.poller, kv_link_sub (self->link));
    zpoller_add (self->setting.poller, kv_link_events (self->link));
    return true;
}

//  The link to read; NULL: there is none now
static kv_link_t *s_read_link (const kv_source_t *self)
{
    return self->old ? self->old : self->link;
}

static void s_close_link (kv_source_t *self, kv_link_t **link)
{
    if (!*link)
        return;
    if (!self->paused)
        zpoller_remove (self->setting.poller, kv_link_sub (*link));
    self->paused = false;
    zpoller_remove (self->setting.poller, kv_link_events (*link));
    kv_link_destroy (link);
}

kv_source_t *kv_source_new (const kv_setting_t *setting, bool bind, int64_t now)
{
    kv_source_t *self = zmalloc (sizeof *self);
    self->setting = *setting;
    self->setting.limits.can_replay = setting->replay_endpoint != NULL;
    self->bind = bind;
    self->message = kv_frames_new ();
    s_add_stream (self);
    if (!s_open_link (self, now))
        kv_source_destroy (&self);
    return self;
}

void kv_source_destroy (kv_source_t **self_p)
{
    kv_source_t *self = *self_p;
    if (!self)
        return;
    while (self->streams)
        s_remove_stream (self, self->streams);
    s_close_link (self, &self->link);
    s_close_link (self, &self->old);
    kv_frames_destroy (&self->message);
    free (self);
    *self_p = NULL;
}

static void s_report (kv_source_t *self, const char *notice, const char *why)
{
    kv_report_connection (self->setting.report, self->setting.endpoint, notice, why);
}

static void s_begun (kv_source_t *self, int64_t now)
{
    self->up = true;
    self->refused = false;
    s_report (self, "connected", NULL);
    for (kv_stream_t *each = self->streams; each; each = each->next)
        if (!self->bind || !each->topic.data)
            kv_stream_connected (each, now);
}

//  The link that connects has had its connection
static void s_ended (kv_source_t *self, int64_t now)
{
    for (kv_stream_t *each = self->streams; each; each = each->next)
        kv_stream_disconnected (each, now);
    if (self->up) {
        s_report (self, "disconnected", "the connection has ended");
        self->old = self->link;
        self->link = NULL;
    } else {
        s_close_link (self, &self->link);
    }
    self->up = false;
    if (self->retry < now + RETRY_MS)
        self->retry = now + RETRY_MS;
}

//  How much of what is there was taken
typedef enum { SERVED_ALL, SERVED_SOME, SERVED_LATER } s_served_t;
static s_served_t s_serve_live (kv_source_t *self, int limit, int64_t now);

//  One of those who have connected to us has gone. All that it has sent is read before it is
//  believed to be gone; others may go on sending, so at most as much as a SUB can hold.
static void s_peer_ended (kv_source_t *self, const kv_link_news_t *news, int64_t now)
{
    if (news->begun)
        s_report (self, "disconnected", "the connection has ended");
    for (int rounds = 100; rounds > 0 && s_serve_live (self, SERVE_MAX, now) == SERVED_SOME;
         rounds--)
        ;
    for (kv_stream_t *each = self->streams; each; each = each->next)
        if (each->topic.data && each->peer == news->peer)
            kv_stream_disconnected (each, now);
}

//  Takes the news of the link. False: there is none any more, or the link has ended.
static bool s_serve_news (kv_source_t *self, int64_t now)
{
    if (!self->link)
        return false;
    kv_link_news_t news = kv_link_news (self->link);
    switch (news.event) {
    case KV_LINK_NOTHING:
        return false;
    case KV_LINK_BEGUN:
        s_begun (self, now);
        break;
    case KV_LINK_REFUSED:
        if (!self->refused)
            s_report (self, "handshake_failed", news.why);
        self->refused = true;
        s_ended (self, now);
        return false;
    case KV_LINK_ENDED:
        if (self->bind) {
            s_peer_ended (self, &news, now);
            break;
        }
        s_ended (self, now);
        return false;
    case KV_LINK_OTHER:
        break;
    }
    return true;
}

//  -- Batches

//  The stream that has been silent longest makes room
static void s_make_room (kv_source_t *self)
{
    kv_stream_t *oldest = self->streams;
    for (kv_stream_t *each = self->streams; each; each = each->next)
        if (each->used < oldest->used)
            oldest = each;
    if (!oldest)
        return;
    if (!self->told_strangers)
        warn_line ("%s: more than %d streams: the one that has been silent longest ends",
                   self->setting.endpoint, KV_STREAMS_MAX);
    self->told_strangers = true;
    kv_sequence_flush (oldest->sequence, INT64_MAX);
    s_remove_stream (self, oldest);
}

static bool s_fits (const kv_stream_t *stream, mp_slice_t topic, int64_t rank)
{
    return kv_stream_has_topic (stream, topic) && (stream->rank < 0 || stream->rank == rank);
}

//  The stream of a batch; a new one when there is none. NULL: nobody can tell.
static kv_stream_t *s_find_stream (kv_source_t *self, mp_slice_t topic, int64_t rank, int peer,
                                   int64_t now)
{
    kv_stream_t *free_one = NULL, *last = self->last;
    if (rank < 0) {  //  Belongs to the only stream of its topic
        kv_stream_t *only = NULL;
        size_t count = 0;
        for (kv_stream_t *each = self->streams; each; each = each->next)
            if (each->topic.data && kv_stream_has_topic (each, topic)) {
                only = each;
                count++;
            }
        if (count == 1)
            return only;
        if (count > 1 && rank == KV_RANK_UNREADABLE)
            return NULL;
    }
    if (last && last->topic.data && last->peer == peer && s_fits (last, topic, rank) && last->up)
        return last;
    for (kv_stream_t *each = self->streams; each; each = each->next) {
        if (!s_fits (each, topic, rank))
            continue;
        if (each->topic.data && each->peer == peer)
            return each;
        if (!each->topic.data || !each->up)
            free_one = each;  //  Its publisher has gone, or has not come yet
    }
    if (!free_one) {
        if (self->count >= KV_STREAMS_MAX)
            s_make_room (self);
        free_one = s_add_stream (self);
    }
    free_one->peer = peer;
    if (!free_one->up && (self->bind || self->up))
        kv_stream_connected (free_one, now);
    return free_one;
}

static void s_take (kv_source_t *self, kv_link_t *link, int64_t now)
{
    kv_numbered_t batch;
    mp_error_t error;
    kv_origin_t origin = {.endpoint = self->setting.endpoint, .rank = KV_RANK_NONE};
    if (!kv_frames_read (self->message, false, &batch, &error)) {
        kv_report_malformed (self->setting.report, &origin, "message", KV_SEQ_END, &error);
    } else if (kv_setting_wants (&self->setting, batch.topic)) {
        int64_t rank = kv_payload_rank (&batch);
        int peer = kv_link_peer (link, self->message);
        kv_stream_t *stream = s_find_stream (self, batch.topic, rank, peer, now);
        if (stream) {
            if (!stream->up && self->bind)
                kv_stream_connected (stream, now);
            kv_stream_live (stream, &batch, rank, now);
            self->last = stream;
        } else {
            origin.topic = batch.topic;
            mp_error_set (&error, "batch", "cannot be read, so nobody can tell its rank");
            kv_report_malformed (self->setting.report, &origin, "batch", batch.seq, &error);
        }
    }
}

static int64_t s_full_end (const kv_source_t *self)
{
    return self->full + self->setting.limits.replay_ms / 2;
}

static bool s_have_room (const kv_source_t *self)
{
    for (const kv_stream_t *each = self->streams; each; each = each->next)
        if (!kv_sequence_has_room (each->sequence))
            return false;
    return true;
}

//  False: a stream has to wait for its replay before it can take more. Half of the replay's time
//  limit is waited, then the live stream goes on, and what has no room is dropped.
static bool s_has_room (kv_source_t *self, int64_t now)
{
    bool room = s_have_room (self);
    if (room || self->full == 0)
        self->full = room ? 0 : now;
    return room || now >= s_full_end (self);
}

//  Takes up to `limit` live messages
static s_served_t s_serve_live (kv_source_t *self, int limit, int64_t now)
{
    kv_link_t *link = s_read_link (self);
    if (!link)
        return SERVED_ALL;
    if (!s_has_room (self, now))
        return SERVED_LATER;
    while (limit-- > 0 && !kv_report_is_done (self->setting.report)) {
        if (!kv_frames_recv (self->message, kv_link_sub (link)))
            return SERVED_ALL;
        s_take (self, link, now);
        if (self->last && !kv_sequence_has_room (self->last->sequence) && !s_has_room (self, now))
            return SERVED_LATER;
    }
    return SERVED_SOME;
}

static void s_drained (kv_source_t *self, int64_t now)
{
    for (kv_stream_t *each = self->streams; each; each = each->next)
        kv_sequence_drained (each->sequence, now);
}

//  A SUB that is not read must not wake us up
static void s_pause (kv_source_t *self, bool pause)
{
    kv_link_t *link = s_read_link (self);
    if (!link || pause == self->paused)
        return;
    self->paused = pause;
    if (pause)
        zpoller_remove (self->setting.poller, kv_link_sub (link));
    else
        zpoller_add (self->setting.poller, kv_link_sub (link));
}

void kv_source_serve (kv_source_t *self, int64_t now)
{
    s_served_t served = SERVED_SOME;
    for (int rounds = SERVE_MAX / LOOK_AFTER; served == SERVED_SOME && rounds > 0; rounds--) {
        while (!self->old && s_serve_news (self, now))
            ;
        served = s_serve_live (self, LOOK_AFTER, now);
    }
    s_pause (self, served == SERVED_LATER);
    if (served == SERVED_ALL) {
        s_drained (self, now);
        if (self->old && now >= self->retry - RETRY_MS / 2)
            s_close_link (self, &self->old);
    }
    if (!self->link && now >= self->retry)
        s_open_link (self, now);
    else if (self->link && !self->up && kv_link_is_stuck (self->link, now - self->born))
        s_ended (self, now);
    for (kv_stream_t *each = self->streams; each; each = each->next)
        if (!kv_report_is_done (self->setting.report))
            kv_stream_serve (each, now);
    if (self->paused && s_has_room (self, now)) {
        s_pause (self, false);
        //  If the SUB is empty by now, nothing else would wake us up to see it
        if (s_serve_live (self, LOOK_AFTER, now) == SERVED_ALL)
            s_drained (self, now);
    }
}

int64_t kv_source_deadline (const kv_source_t *self)
{
    int64_t least = INT64_MAX;
    if (!self->link || self->old)
        least = self->retry;
    else if (!self->bind && !self->up)
        least = self->born + 1000;  //  To see whether it is stuck
    if (self->paused && s_full_end (self) < least)
        least = s_full_end (self);
    for (const kv_stream_t *each = self->streams; each; each = each->next) {
        int64_t due = kv_sequence_deadline (each->sequence);
        least = due < least ? due : least;
    }
    return least;
}

void kv_source_flush (kv_source_t *self, int64_t now)
{
    for (kv_stream_t *each = self->streams; each; each = each->next)
        kv_sequence_flush (each->sequence, now);
}
