//  SPDX-License-Identifier: MIT

#include "kv/kv_sequence.h"

//  A batch that has come. Of one that waits for its turn, the bytes are in memory behind this.
typedef struct {
    kv_numbered_t batch;
    uint64_t print;  //  See s_fingerprint
    unsigned link;   //  Of which connection of the SUB,
    bool backlog;    //  or perhaps of the one before
} s_held_t;

//  So many of the last batches that came are remembered, to know them again
#define REMEMBERED 256

//  NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): grouped by what belongs together
struct kv_sequence {
    kv_sequence_limits_t limits;
    kv_sequence_handler_t handler;
    kv_sequence_counts_t counts;

    //  This run of the publisher
    bool started;     //  `next` is known
    uint64_t next;    //  Number that is due
    uint64_t end;     //  One above the highest number that has come, live or replayed; 0: none yet
    bool seen;        //  A live batch has come, and `newest` was the highest
    uint64_t newest;  //  Rises with each: a PUB never repeats itself
    uint64_t newest_print;
    unsigned newest_link;
    bool any;                   //  A batch has been delivered,
    uint64_t last, last_print;  //  the last one being this

    //  The SUB's connection
    bool joined;        //  It has been there
    bool down;          //  It is not there now. What is asked now may be answered by either run.
    unsigned link;      //  Counts them
    unsigned run_link;  //  Up to this one, they were to this run
    bool backlog;       //  The SUB may still have what came by the one before
    bool unsure;        //  It is a new one: is this still the same run?
    uint64_t cut_end;   //  What `end` was before it

    kv_replay_t replay;
    bool open;      //  Wanted to its end, since no live batch has shown yet how far it must go
    bool checking;  //  Asked from s_check's number on, and that has not come yet
    bool by_held;   //  That is one that is held, since the last one delivered is kept no more
    bool whole;     //  The same from 0 on, as there was nothing from that number on
    bool replied;   //  There was a reply
    bool progress;  //  It brought something new
    bool told_hole;
    int failures;  //  Replays in a row that brought nothing new

    zlistx_t *held;  //  By number, each above `next`, unless `unsure`
    size_t held_bytes;
    bool told_full;
    struct {
        bool set;
        uint64_t seq, print;
    } remembered[REMEMBERED];  //  That of seq is at [seq % REMEMBERED]
};

//  By kv_notice_t
static const struct {
    const char *name, *meaning;
} notices[] = {{"gap", "the live stream has skipped these"},
               {"history_lost", "the publisher has not kept these"},
               {"replay_hole", "the replay has skipped these"},
               {"replay_short", "the replay has ended before these"},
               {"replay_timeout", "the replay has stopped before this one, without an end"},
               {"held_full", "no room for this one, it will be asked for"},
               {"lost", "these are not to be had"},
               {"restart", "the publisher has started anew"},
               {"unchecked", "whether the publisher has started anew cannot be told"}};

const char *kv_notice_name (kv_notice_t notice)
{
    return notices[notice].name;
}

const char *kv_notice_meaning (kv_notice_t notice)
{
    return notices[notice].meaning;
}

//  -- Batches that are held or remembered

static void s_held_destroy (void **item)
{
    free (*item);
    *item = NULL;
}

static int s_held_compare (const void *a, const void *b)
{
    uint64_t left = ((const s_held_t *) a)->batch.seq, right = ((const s_held_t *) b)->batch.seq;
    return left < right ? -1 : left > right;
}

kv_sequence_t *kv_sequence_new (const kv_sequence_limits_t *limits,
                                const kv_sequence_handler_t *handler)
{
    kv_sequence_t *self = zmalloc (sizeof *self);
    self->limits = *limits;
    self->handler = *handler;
    self->started = limits->from_seq != KV_FROM_LIVE;
    self->next = self->started ? limits->from_seq : 0;
    self->held = zlistx_new ();
    zlistx_set_destructor (self->held, s_held_destroy);
    zlistx_set_comparator (self->held, s_held_compare);
    return self;
}

void kv_sequence_destroy (kv_sequence_t **self_p)
{
    kv_sequence_t *self = *self_p;
    if (!self)
        return;
    zlistx_destroy (&self->held);
    free (self);
    *self_p = NULL;
}

//  Of a payload so many bytes at either end are looked at
#define PRINTED 128

#define PRIME 0x100000001b3u

static void s_mix (uint64_t lanes[4], const char *at)
{
    uint64_t words[4];
    memcpy (words, at, sizeof words);
    for (size_t i = 0; i < 4; i++)
        lanes[i] = (lanes[i] ^ words[i]) * PRIME;
}

//  FNV-1a, in four lanes and 8 bytes at a time, as each step waits for the one before
static uint64_t s_hash (uint64_t print, const char *at, size_t size)
{
    const char *end = at + size;
    uint64_t lanes[4] = {print, 1, 2, 3};
    for (; end - at > (ptrdiff_t) sizeof lanes; at += sizeof lanes)
        s_mix (lanes, at);
    if (size >= sizeof lanes)
        s_mix (lanes, end - sizeof lanes);  //  The last ones; some of them again
    print = lanes[0];
    for (size_t i = 1; i < 4; i++)
        print = (print ^ lanes[i]) * PRIME ^ print >> 32;
    for (; size < sizeof lanes && at < end; at++)
        print = (print ^ (byte) *at) * PRIME;
    return print;
}

//  By which a payload is known again. Two batches of one number and different runs differ at least
//  in their ts, which is in the first 10 bytes; so of a large one the middle is left out.
static uint64_t s_fingerprint (mp_slice_t payload)
{
    uint64_t print = 0xcbf29ce484222325u ^ payload.size;
    if (payload.size <= (size_t) 2 * PRINTED)
        return s_hash (print, payload.data, payload.size);
    print = s_hash (print, payload.data, PRINTED);
    return s_hash (print, payload.data + payload.size - PRINTED, PRINTED);
}

static bool s_is_remembered (const kv_sequence_t *self, uint64_t seq)
{
    return self->remembered[seq % REMEMBERED].set && self->remembered[seq % REMEMBERED].seq == seq;
}

static void s_remember (kv_sequence_t *self, const s_held_t *come)
{
    uint64_t seq = come->batch.seq;
    self->remembered[seq % REMEMBERED].set = true;
    self->remembered[seq % REMEMBERED].seq = seq;
    self->remembered[seq % REMEMBERED].print = come->print;
}

//  True for a batch that has come before, with these very bytes
static bool s_is_the_same (const kv_sequence_t *self, uint64_t seq, uint64_t print)
{
    return s_is_remembered (self, seq) && self->remembered[seq % REMEMBERED].print == print;
}

static s_held_t *s_find_held (kv_sequence_t *self, uint64_t seq)
{
    s_held_t *held = zlistx_first (self->held);
    if (!held || seq < held->batch.seq)
        return NULL;  //  As with most, so it is not worth the way from the end
    held = zlistx_last (self->held);
    while (held && held->batch.seq > seq)
        held = zlistx_prev (self->held);
    return held && held->batch.seq == seq ? held : NULL;
}

//  -- What comes out

static void s_notice (kv_sequence_t *self, kv_notice_t notice, uint64_t first, uint64_t last)
{
    self->handler.notice (self->handler.owner, notice, first, last);
}

static void s_deliver (kv_sequence_t *self, const s_held_t *come)
{
    self->next = come->batch.seq + 1;
    self->any = true;
    self->last = come->batch.seq;
    self->last_print = come->print;
    s_remember (self, come);
    self->counts.delivered++;
    self->counts.replayed += come->batch.replayed;
    self->handler.deliver (self->handler.owner, &come->batch);
}

//  What a batch takes up
static size_t s_size (const s_held_t *come)
{
    return come->batch.topic.size + come->batch.payload.size;
}

//  Takes out the one that zlistx has its cursor at, and delivers it if it is `due`
static void s_take_held (kv_sequence_t *self, bool due)
{
    s_held_t *held = zlistx_detach (self->held, zlistx_cursor (self->held));
    self->held_bytes -= s_size (held);
    if (due)
        s_deliver (self, held);
    free (held);
}

//  Of which run those held are, as far as their connections tell. All are of this one as long as
//  there is no doubt.
typedef enum { RUN_THIS, RUN_EITHER, RUN_NEXT } s_run_t;

static s_run_t s_run (const kv_sequence_t *self, const s_held_t *held)
{
    return held->link <= self->run_link ? RUN_THIS : held->backlog ? RUN_EITHER : RUN_NEXT;
}

//  Puts the cursor at the first of those held from run `first` to `last`. NULL when there is none.
static const s_held_t *s_find_run (kv_sequence_t *self, s_run_t first, s_run_t last)
{
    const s_held_t *held = zlistx_first (self->held);
    while (held && (s_run (self, held) < first || s_run (self, held) > last))
        held = zlistx_next (self->held);
    return held;
}

//  Delivers of those held what is due, and drops what would have been before: s_deliver_run may
//  have gone on without it, as nobody knew then of which run it was
static void s_deliver_held (kv_sequence_t *self)
{
    const s_held_t *held;
    while ((held = zlistx_first (self->held)) && held->batch.seq <= self->next) {
        bool due = held->batch.seq == self->next;
        self->counts.duplicates += !due;
        s_take_held (self, due);
    }
    if (!held)
        self->told_full = false;
}

//  Keeps a batch until its turn. False: there is no room, and it is gone. One has room always: it
//  is by that one that the run may have to be known again.
static bool s_hold (kv_sequence_t *self, const s_held_t *come)
{
    size_t size = s_size (come);
    if (zlistx_size (self->held) > 0 && (zlistx_size (self->held) >= self->limits.max_held ||
                                         self->held_bytes + size > self->limits.max_bytes)) {
        if (!self->told_full)
            s_notice (self, KV_HELD_FULL, come->batch.seq, come->batch.seq);
        self->told_full = true;
        return false;
    }
    s_held_t *held = zmalloc (sizeof *held + size);
    *held = *come;
    char *bytes = (char *) (held + 1);
    if (come->batch.topic.data)
        held->batch.topic.data = memcpy (bytes, come->batch.topic.data, come->batch.topic.size);
    held->batch.payload.data =
        memcpy (bytes + come->batch.topic.size, come->batch.payload.data, come->batch.payload.size);
    zlistx_insert (self->held, held, false);  //  From the end: that is where most belong
    self->held_bytes += size;
    return true;
}

//  The batches before `end` are not to be had
static void s_lose (kv_sequence_t *self, kv_notice_t notice, uint64_t end)
{
    if (self->next >= end)
        return;
    self->counts.lost += end - self->next;
    s_notice (self, notice, self->next, end - 1);
    self->next = end;
}

//  Delivers of those held the ones of this run that are before `end`. What is missing in between is
//  not to be had, since the run is over, or may be.
static void s_deliver_run (kv_sequence_t *self, kv_notice_t notice, uint64_t end)
{
    const s_held_t *held;
    while ((held = s_find_run (self, RUN_THIS, RUN_THIS)) && held->batch.seq < end) {
        s_lose (self, notice, held->batch.seq);
        s_take_held (self, true);
    }
}

//  True when there is more than was delivered
static bool s_is_missing (const kv_sequence_t *self)
{
    return self->next < self->end;
}

//  One above the first numbers that are missing: the first that is held, or `limit`
static uint64_t s_missing_end (kv_sequence_t *self, uint64_t limit)
{
    const s_held_t *held = zlistx_first (self->held);
    return held && held->batch.seq < limit ? held->batch.seq : limit;
}

//  Gives up all that is missing before `end`, and delivers what is held between
static void s_lose_all (kv_sequence_t *self, kv_notice_t notice, uint64_t end)
{
    s_deliver_held (self);
    while (self->next < end) {
        s_lose (self, notice, s_missing_end (self, end));
        s_deliver_held (self);
    }
}

//  The batch by which this run is known again: the last one delivered, or else the last of those
//  held that is surely of this run. False when there is none.
static bool s_check (kv_sequence_t *self, uint64_t *seq, uint64_t *print)
{
    const s_held_t *held = zlistx_last (self->held);
    while (held && s_run (self, held) != RUN_THIS)
        held = zlistx_prev (self->held);
    if (self->any && !(self->by_held && held)) {
        *seq = self->last;
        *print = self->last_print;
    } else if (held) {
        *seq = held->batch.seq;
        *print = held->print;
    } else {
        return false;
    }
    return true;
}

//  True when nothing may be delivered before that batch has been seen again
static bool s_must_check (kv_sequence_t *self)
{
    uint64_t seq, print;
    return self->unsure && self->limits.can_replay && s_check (self, &seq, &print);
}

//  It is the same run; or nobody can tell, which is taken for the same
static void s_be_sure (kv_sequence_t *self)
{
    self->unsure = self->checking = self->by_held = false;
    self->run_link = self->link;
}

//  -- Replays

static void s_ask (kv_sequence_t *self)
{
    self->replay = KV_REPLAY_ASK;
    self->replied = self->progress = self->told_hole = self->whole = false;
    self->checking = s_must_check (self);
    if (!self->checking)
        s_be_sure (self);
}

//  Does what is due after anything has happened
static void s_settle (kv_sequence_t *self)
{
    if (!s_must_check (self))
        s_deliver_held (self);
    if (self->replay != KV_REPLAY_NONE && !self->open && !self->unsure && !s_is_missing (self)) {
        self->replay = KV_REPLAY_NONE;  //  It has brought all that was wanted
        self->failures = 0;
    }
    if (self->replay == KV_REPLAY_NONE && s_is_missing (self)) {
        if (!self->limits.can_replay)
            s_lose_all (self, KV_LOST, self->end);
        else if (!self->down && !self->backlog)
            s_ask (self);
    }
}

//  A replay is over, and has not brought all
static void s_replay_failed (kv_sequence_t *self)
{
    self->replay = KV_REPLAY_NONE;
    self->failures = self->progress ? 0 : self->failures + 1;
    if (self->failures >= KV_REPLAY_ATTEMPTS) {
        self->failures = 0;
        self->open = false;
        if (self->unsure) {
            s_deliver_run (self, KV_LOST, UINT64_MAX);
            s_notice (self, KV_UNCHECKED, self->next, self->next);
        }
        s_be_sure (self);
        s_deliver_held (self);
        s_lose (self, KV_LOST, s_missing_end (self, self->end));
    } else if (self->open) {
        s_ask (self);
    }
    s_settle (self);
}

//  The publisher has started anew, as a batch of number `seq` shows. Of those held, the ones up to
//  run `old` are of the old run and go out first.
static void s_restart (kv_sequence_t *self, uint64_t seq, s_run_t old)
{
    uint64_t old_end = self->unsure ? self->cut_end : self->end;
    s_deliver_run (self, KV_LOST, UINT64_MAX);
    const s_held_t *held;
    if (old != RUN_THIS && zlistx_size (self->held) > 0)
        s_notice (self, KV_UNCHECKED, self->next, self->next);
    while ((held = s_find_run (self, RUN_THIS, old))) {
        if (held->batch.seq < self->next) {
            s_take_held (self, false);  //  It has missed its turn, and was lost or had its double
            continue;
        }
        s_lose (self, KV_LOST, held->batch.seq);
        s_take_held (self, true);
    }
    //  Those of either run will come again if they are the new one's, and else are lost
    uint64_t end = old_end > self->next ? old_end : self->next;
    while ((held = s_find_run (self, RUN_EITHER, RUN_EITHER))) {
        uint64_t seq_held = held->batch.seq;
        if (seq_held > end) {
            s_lose (self, KV_LOST, end);
            self->next = seq_held;
        }
        if (seq_held >= end)
            end = seq_held + 1;
        s_take_held (self, false);
    }
    s_lose (self, KV_LOST, end);
    self->counts.restarts++;
    s_notice (self, KV_RESTART, seq, seq);

    held = zlistx_last (self->held);
    self->seen = held;
    if (held) {
        self->newest = held->batch.seq;
        self->newest_print = held->print;
        self->newest_link = held->link;
    }
    self->end = held ? held->batch.seq + 1 : 0;
    self->next = 0;
    self->any = self->open = false;
    s_be_sure (self);
    self->replay = KV_REPLAY_NONE;
    self->failures = 0;
    memset (self->remembered, 0, sizeof self->remembered);
}

//  A replay has shown another run, which is asked for all that it has
static void s_join_run (kv_sequence_t *self, uint64_t seq)
{
    s_restart (self, seq, RUN_THIS);
    self->open = true;
    s_ask (self);
}

kv_replay_t kv_sequence_replay (kv_sequence_t *self, uint64_t *start)
{
    kv_replay_t replay = self->replay;
    if (replay == KV_REPLAY_ASK) {
        self->replay = KV_REPLAY_RUNNING;
        uint64_t print;
        *start = self->next;
        if (self->checking && !self->whole)
            s_check (self, start, &print);
        else if (self->checking)
            *start = 0;
    }
    return replay;
}

//  Looks whether a reply shows which run it is. True: it does, by being a batch that has come
//  before, and is needed no more.
static bool s_check_by (kv_sequence_t *self, const s_held_t *reply)
{
    uint64_t check, print;
    if (!s_check (self, &check, &print))
        return false;
    bool found = reply->batch.seq == check;
    bool same = found && reply->print == print;
    if (reply->batch.seq < check) {
        found = self->whole && s_is_remembered (self, reply->batch.seq);
        if (!found)
            return false;
        same = s_is_the_same (self, reply->batch.seq, reply->print);
    }
    if (found && !same) {
        s_join_run (self, reply->batch.seq);
        return true;
    }
    if (!found) {  //  It is kept no more, nor what is before this reply
        s_deliver_run (self, KV_HISTORY_LOST, reply->batch.seq);
        if (s_find_run (self, RUN_THIS, RUN_THIS)) {
            self->by_held = true;  //  But this may be, if it is the same run
            s_ask (self);
            return false;
        }
        s_notice (self, KV_UNCHECKED, self->next, self->next);
    }
    s_be_sure (self);
    s_deliver_held (self);
    if (s_is_missing (self)) {
        self->counts.gaps++;
        s_notice (self, KV_GAP, self->next, s_missing_end (self, self->end) - 1);
    }
    if (found && check > self->next)
        s_ask (self);  //  The same run: now for what was before
    return found;
}

bool kv_sequence_reply (kv_sequence_t *self, const kv_numbered_t *reply)
{
    if (self->replay != KV_REPLAY_RUNNING)
        return false;
    uint64_t seq = reply->seq;
    s_held_t come = {*reply, s_fingerprint (reply->payload), self->link, false};
    bool first = !self->replied;
    self->replied = true;
    if (self->checking && s_check_by (self, &come)) {
        s_settle (self);
        return true;
    }

    self->counts.received++;
    if (first && !self->checking)
        s_lose_all (self, KV_HISTORY_LOST, seq);
    if (self->checking || seq < self->next || s_find_held (self, seq)) {
        self->counts.duplicates++;
        s_settle (self);
        return false;
    }
    s_remember (self, &come);
    if (seq >= self->end)
        self->end = seq + 1;
    bool taken = true;
    if (seq == self->next) {
        s_deliver (self, &come);
    } else {
        if (!self->told_hole)
            s_notice (self, KV_REPLAY_HOLE, self->next, s_missing_end (self, seq) - 1);
        self->told_hole = true;
        taken = s_hold (self, &come);
    }
    self->progress = self->progress || taken;
    s_settle (self);
    if (!taken && self->replay == KV_REPLAY_RUNNING)
        s_replay_failed (self);  //  There is a hole, and no room for what comes behind it
    return taken;
}

void kv_sequence_end (kv_sequence_t *self)
{
    uint64_t check, print;
    if (self->replay != KV_REPLAY_RUNNING)
        return;
    if (self->checking && s_check (self, &check, &print)) {
        //  This run has one batch at least to repeat, the one that was asked for. So there is a new
        //  run that has not come so far: if it has anything, that shows it.
        if (!self->whole) {
            s_ask (self);
            self->whole = true;
            return;
        }
        if (self->replied) {
            s_join_run (self, check);
            return;
        }
        self->failures = KV_REPLAY_ATTEMPTS;  //  Asked twice, and got nothing
    }
    self->open = false;
    if (s_is_missing (self)) {
        if (s_missing_end (self, self->end) > self->next)
            s_notice (self, KV_REPLAY_SHORT, self->next, s_missing_end (self, self->end) - 1);
        s_replay_failed (self);
    } else {
        //  A new run that has nothing yet will be known by its first live batch
        self->replay = KV_REPLAY_NONE;
        self->failures = 0;
    }
}

void kv_sequence_timeout (kv_sequence_t *self)
{
    if (self->replay != KV_REPLAY_RUNNING)
        return;
    s_notice (self, KV_REPLAY_TIMEOUT, self->next, self->next);
    s_replay_failed (self);
}

//  -- The live stream

//  True when there is something that another run could be mixed up with
static bool s_knows_run (kv_sequence_t *self)
{
    return self->any || zlistx_size (self->held) > 0;
}

//  All that comes from here on is of the newest connection
static void s_begin_link (kv_sequence_t *self)
{
    if (!self->unsure)
        s_be_sure (self);
    if (self->open)
        s_ask (self);
    s_settle (self);
}

void kv_sequence_connected (kv_sequence_t *self)
{
    if (self->unsure) {
        //  Cut again before we knew. What has come in between may be of either run: it is dropped,
        //  and will come again with a replay.
        while (s_find_run (self, RUN_EITHER, RUN_NEXT))
            s_take_held (self, false);
        self->end = self->cut_end;
    } else if (self->joined) {
        //  It may have started anew while we were away
        self->unsure = s_knows_run (self);
        self->cut_end = self->end;
    }
    self->link++;
    self->by_held = false;
    self->replay = KV_REPLAY_NONE;
    self->open = self->limits.can_replay && self->started;
    self->backlog = self->backlog || (self->joined && !self->down);
    self->joined = true;
    self->down = false;
    if (!self->backlog)
        s_begin_link (self);
}

void kv_sequence_disconnected (kv_sequence_t *self)
{
    self->down = self->backlog = true;
    self->replay = KV_REPLAY_NONE;  //  Another run might go on with it
}

void kv_sequence_drained (kv_sequence_t *self)
{
    bool backlog = self->backlog;
    self->backlog = false;
    if (backlog && !self->down)
        s_begin_link (self);
}

//  True when a live batch can only be of a new run. A PUB counts up: one that is not above `newest`
//  is of another run, unless somebody in between has sent it twice, or late.
static bool s_is_restart (kv_sequence_t *self, const s_held_t *come)
{
    uint64_t seq = come->batch.seq;
    if (come->backlog && self->unsure && self->limits.can_replay)
        return false;  //  A replay will tell
    const s_held_t *held = s_find_held (self, seq);
    bool known = held || s_is_remembered (self, seq);
    bool same = (held && held->print == come->print) || s_is_the_same (self, seq, come->print);
    if (!self->seen || seq > self->newest) {
        //  What a replay has brought already, unless that was before the cut; or less than where we
        //  start
        return seq < self->next && (known ? !same : self->unsure || !s_knows_run (self));
    }
    if (seq == self->newest && come->print == self->newest_print)
        return false;
    if (seq == 0)
        return true;  //  That is how a run begins
    if (known)
        return !same;
    return seq < self->next || come->link != self->newest_link;
}

void kv_sequence_live (kv_sequence_t *self, const kv_numbered_t *batch)
{
    uint64_t seq = batch->seq;
    s_held_t come = {*batch, s_fingerprint (batch->payload), self->link,
                     self->backlog && !self->down};
    self->counts.received++;
    if (!self->started) {
        self->started = true;
        self->next = seq;
    }
    if (s_is_restart (self, &come)) {
        //  A PUB counts up: what came by this connection and is not below is of an older run, too
        const s_held_t *held = s_find_run (self, RUN_NEXT, RUN_NEXT);
        s_restart (self, seq, held && seq <= held->batch.seq ? RUN_NEXT : RUN_THIS);
    }
    if (!self->limits.can_replay) {
        if (self->unsure)
            s_notice (self, KV_UNCHECKED, self->next, self->next);
        s_be_sure (self);
    }
    if (!self->unsure)
        s_remember (self, &come);

    if (!self->seen || seq > self->newest) {
        uint64_t due = self->seen && self->newest + 1 > self->next ? self->newest + 1 : self->next;
        bool joining = self->open && !self->seen;
        if (seq > due && !joining && !s_must_check (self)) {
            self->counts.gaps++;
            s_notice (self, KV_GAP, due, seq - 1);
        }
        self->seen = true;
        self->newest = seq;
        self->newest_print = come.print;
        self->newest_link = come.link;
        self->open = self->open && come.backlog;
    }
    if (seq >= self->end)
        self->end = seq + 1;
    if (seq < self->next || s_find_held (self, seq))
        self->counts.duplicates++;
    else if (seq == self->next && !s_must_check (self))
        s_deliver (self, &come);
    else
        s_hold (self, &come);
    s_settle (self);
}

void kv_sequence_flush (kv_sequence_t *self)
{
    self->limits.can_replay = false;
    self->replay = KV_REPLAY_NONE;
    s_be_sure (self);
    s_settle (self);
}

const kv_sequence_counts_t *kv_sequence_counts (const kv_sequence_t *self)
{
    return &self->counts;
}
