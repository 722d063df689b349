//  SPDX-License-Identifier: MIT

#include "kv/kv_sequence_own.h"

//  By kv_notice_t
static const struct {
    const char *name, *meaning;
} notices[] = {{"gap", "the live stream has skipped these"},
               {"history_lost", "the publisher has not kept these"},
               {"replay_hole", "the replay has skipped these"},
               {"replay_short", "the replay has ended before these"},
               {"replay_timeout", "the replay has stopped before this one, without an end"},
               {"held_full", "no room behind this one: the live stream waits for the replay"},
               {"lost", "these are not recoverable"},
               {"restart", "the publisher has restarted"},
               {"unchecked", "whether the publisher has restarted cannot be told"},
               {"stray", "a number that does not fit the others: dropped"}};

const char *kv_notice_name (kv_notice_t notice)
{
    return notices[notice].name;
}

const char *kv_notice_meaning (kv_notice_t notice)
{
    return notices[notice].meaning;
}

//  -- The state machine

static const char *const state_names[] = {"down",     "following", "waiting", "repairing",
                                          "checking", "searching", "unsure"};
static const char *const event_names[] = {"connected", "disconnected", "live", "reply",
                                          "end",       "tick",         "flush"};

const char *kv_state_name (kv_state_t state)
{
    return state_names[state];
}

const char *kv_event_name (kv_event_name_t event)
{
    return event_names[event];
}

#define D (1u << KV_DOWN)
#define F (1u << KV_FOLLOWING)
#define W (1u << KV_WAITING)
#define R (1u << KV_REPAIRING)
#define C (1u << KV_CHECKING)
#define S (1u << KV_SEARCHING)
#define U (1u << KV_UNSURE)

//  Where an event may lead, beside the state where it was. Rows: from; columns: connected,
//  disconnected, live, reply, end, tick, flush.
static const unsigned transitions[KV_STATES][KV_EVENTS] = {
    [KV_DOWN] = {F | W | R | C, 0, 0, 0, 0, 0, 0},
    [KV_FOLLOWING] = {0, D, W | R | C, 0, 0, 0, D},
    [KV_WAITING] = {0, D, F | R | C, 0, 0, F | R, D},
    [KV_REPAIRING] = {0, D, F | W | C, F | W, F | W, F | W, D},
    [KV_CHECKING] = {0, D, 0, F | W | R, F | W | R | S, F | W | R, D},
    [KV_SEARCHING] = {0, D, 0, F | W | R | C, F | W | R | C | U, F | W | R | C, D},
    [KV_UNSURE] = {0, D, C, 0, 0, 0, D},
};

bool kv_sequence_may (kv_state_t from, kv_event_name_t event, kv_state_t to)
{
    return from == to || transitions[from][event] & 1u << to;
}

kv_state_t kv_sequence_state (const kv_sequence_t *self)
{
    return self->state;
}

//  -- A sequence

kv_sequence_t *kv_sequence_new (const kv_sequence_limits_t *limits,
                                const kv_sequence_handler_t *handler)
{
    kv_sequence_t *self = zmalloc (sizeof *self);
    self->limits = *limits;
    if (self->limits.max_jump == 0)
        self->limits.max_jump = KV_MAX_JUMP;
    self->handler = *handler;
    self->started = limits->from_seq != KV_FROM_LIVE;
    self->next = self->top = self->started ? limits->from_seq : 0;
    self->drained = -1;
    self->gone_why = KV_LOST;
    kv_store_init (&self->held);
    kv_store_init (&self->queue);
    return self;
}

void kv_sequence_destroy (kv_sequence_t **self_p)
{
    kv_sequence_t *self = *self_p;
    if (!self)
        return;
    kv_store_clear (&self->held);
    kv_store_clear (&self->queue);
    kv_doubts_clear (&self->ahead);
    kv_doubts_clear (&self->late);
    free (self->fallen);
    free (self);
    *self_p = NULL;
}

const kv_sequence_counts_t *kv_sequence_counts (const kv_sequence_t *self)
{
    return &self->counts;
}

void kv_sequence_say (kv_sequence_t *self, kv_notice_t notice, uint64_t first, uint64_t last)
{
    self->handler.notice (self->handler.owner, notice, first, last);
}

void kv_sequence_stray (kv_sequence_t *self, uint64_t seq)
{
    self->counts.strays++;
    kv_sequence_say (self, KV_STRAY, seq, seq);
}

void kv_sequence_drop (kv_sequence_t *self, kv_doubts_t *doubts, size_t place)
{
    kv_held_t *wrong = kv_doubts_take (doubts, place);
    kv_sequence_stray (self, wrong->batch.seq);
    free (wrong);
}

kv_known_t kv_sequence_known (const kv_sequence_t *self, uint64_t seq, uint64_t print)
{
    uint64_t known;
    if (seq >= self->top)
        return KV_NEW;
    if (!kv_memory_find (&self->memory, seq, &known)) {
        const kv_held_t *held = kv_store_find (&self->held, seq);
        if (!held)
            return KV_NEW;
        known = held->print;
    }
    return known == print ? KV_SAME : KV_OTHER;
}

bool kv_sequence_is_near (const kv_sequence_t *self, uint64_t seq)
{
    return seq < self->top || seq - self->top <= self->limits.max_jump;
}

//  -- The order

static void s_deliver (kv_sequence_t *self, const kv_numbered_t *batch)
{
    self->next = batch->seq + 1;
    self->counts.delivered++;
    self->counts.replayed += batch->replayed;
    self->handler.deliver (self->handler.owner, batch);
}

static bool s_has_room (const kv_sequence_t *self, const kv_store_t *store)
{
    return kv_store_size (store) < self->limits.max_held && store->bytes < self->limits.max_bytes;
}

//  After a batch was held, or found no room
static void s_say_full (kv_sequence_t *self, const kv_store_t *store, uint64_t seq)
{
    if (s_has_room (self, store) || self->told_full)
        return;
    self->told_full = true;
    kv_sequence_say (self, KV_HELD_FULL, seq, seq);
}

bool kv_sequence_has_room (const kv_sequence_t *self)
{
    return self->replay == KV_REPLAY_NONE ||
           (s_has_room (self, &self->held) && s_has_room (self, &self->queue));
}

bool kv_sequence_accept (kv_sequence_t *self, const kv_held_t *come)
{
    uint64_t seq = come->batch.seq;
    if (seq >= self->top) {
        self->top = seq + 1;
        self->top_print = come->print;
        self->known = true;
    }
    if (seq == self->next) {
        kv_memory_add (&self->memory, seq, come->print);
        s_deliver (self, &come->batch);
        return true;
    }
    bool room = s_has_room (self, &self->held);
    if (room) {
        kv_memory_add (&self->memory, seq, come->print);
        kv_store_insert (&self->held, come);
    }
    s_say_full (self, &self->held, seq);
    return room;
}

//  Delivers of those held what is due
static void s_deliver_held (kv_sequence_t *self)
{
    const kv_held_t *first;
    while ((first = kv_store_first (&self->held)) && first->batch.seq <= self->next) {
        kv_held_t *held = kv_store_take (&self->held);
        if (held->batch.seq == self->next)
            s_deliver (self, &held->batch);
        free (held);
    }
    if (!first)
        self->told_full = false;
}

//  The numbers before `end` are not recoverable
static void s_lose (kv_sequence_t *self, kv_notice_t why, uint64_t end)
{
    if (self->next >= end)
        return;
    self->counts.lost += end - self->next;
    kv_sequence_say (self, why, self->next, end - 1);
    self->next = end;
}

//  The end of the first numbers that are missing and below `top`
static uint64_t s_hole_end (const kv_sequence_t *self)
{
    const kv_held_t *held = kv_store_first (&self->held);
    return held ? held->batch.seq : self->top;
}

//  The lowest number from `from` on that is doubted and near; UINT64_MAX: there is none
static uint64_t s_lowest_doubt (const kv_sequence_t *self, uint64_t from)
{
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < self->ahead.count; i++) {
        uint64_t seq = self->ahead.of[i]->batch.seq;
        if (seq >= from && seq < least && kv_sequence_is_near (self, seq))
            least = seq;
    }
    return least;
}

uint64_t kv_sequence_missing_end (const kv_sequence_t *self)
{
    if (self->next < self->top)
        return s_hole_end (self);
    uint64_t doubt = self->started ? s_lowest_doubt (self, self->next + 1) : UINT64_MAX;
    return doubt == UINT64_MAX ? self->next : doubt;
}

static bool s_is_quiet (const kv_sequence_t *self, int64_t now)
{
    return self->drained >= 0 && now - self->drained >= KV_QUIET_MS;
}

bool kv_sequence_passed (const kv_sequence_t *self, int64_t now)
{
    return s_is_quiet (self, now) || (self->heard && self->newest > self->next) ||
           s_lowest_doubt (self, self->next + 1) != UINT64_MAX;
}

//  A doubted number below `end` is better than none
static bool s_settle_for_doubted (kv_sequence_t *self, kv_doubts_t *doubts, uint64_t end)
{
    for (size_t i = 0; i < doubts->count; i++) {
        uint64_t seq = doubts->of[i]->batch.seq;
        if (seq < self->next || seq >= end)
            continue;
        kv_held_t *doubted = kv_doubts_take (doubts, i);
        bool taken = kv_sequence_accept (self, doubted);
        free (doubted);
        return taken;
    }
    return false;
}

//  Gives up what neither source will bring
static void s_lose_passed (kv_sequence_t *self, int64_t now)
{
    s_deliver_held (self);
    while (self->next < self->top) {
        uint64_t end = s_hole_end (self);
        if (self->limits.can_replay) {
            if (self->gone < end)
                end = self->gone;
            if (!s_is_quiet (self, now) && end > self->newest)
                end = self->heard ? self->newest : 0;
        }
        if (end <= self->next)
            return;
        if (s_settle_for_doubted (self, &self->ahead, end) ||
            s_settle_for_doubted (self, &self->late, end)) {
            s_deliver_held (self);
            continue;
        }
        s_lose (self, self->limits.can_replay ? self->gone_why : KV_LOST, end);
        s_deliver_held (self);
    }
}

void kv_sequence_settle (kv_sequence_t *self, int64_t now)
{
    if (self->unsure)
        return;
    s_lose_passed (self, now);
    kv_sequence_reached (self);
    bool missing = self->next < kv_sequence_missing_end (self);
    if (self->replay != KV_REPLAY_NONE) {
        if (self->open || missing || self->late.count > 0 ||
            s_lowest_doubt (self, self->due) != UINT64_MAX)
            return;
        kv_sequence_stop_replay (self);  //  It has brought all that was wanted
        self->failures = 0;
    }
    self->cautious = self->cautious && !s_is_quiet (self, now);
    if (!self->up)
        self->state = KV_DOWN;
    else if (self->limits.can_replay && !self->fallen && !self->cautious &&
             (self->open ||
              (missing && self->gone <= self->next && kv_sequence_passed (self, now))))
        kv_sequence_ask (self, KV_REPAIRING, self->next, now);
    else if (missing || self->ahead.count > 0 || self->fallen || self->cautious)
        self->state = KV_WAITING;
    else
        self->state = KV_FOLLOWING;
}

void kv_sequence_believe (kv_sequence_t *self, kv_doubts_t *doubts)
{
    while (doubts->count > 0) {
        kv_held_t *doubted = kv_doubts_take (doubts, doubts->count - 1);  //  The lowest first
        uint64_t seq = doubted->batch.seq;
        kv_known_t known = kv_sequence_known (self, seq, doubted->print);
        if (known == KV_NEW && seq >= self->next && kv_sequence_is_near (self, seq))
            kv_sequence_accept (self, doubted);
        else if (known == KV_SAME)
            self->counts.duplicates++;
        else
            kv_sequence_stray (self, seq);
        free (doubted);
    }
}

void kv_sequence_finish_run (kv_sequence_t *self)
{
    kv_sequence_believe (self, &self->ahead);
    kv_sequence_believe (self, &self->late);
    s_deliver_held (self);
    while (self->next < self->top) {
        s_lose (self, KV_LOST, s_hole_end (self));
        s_deliver_held (self);
    }
}

void kv_sequence_restart (kv_sequence_t *self, uint64_t seq)
{
    kv_sequence_finish_run (self);
    self->counts.restarts++;
    kv_sequence_say (self, KV_RESTART, seq, seq);
    kv_sequence_stop_replay (self);
    self->started = true;
    self->next = self->top = self->gone = 0;
    self->known = self->heard = self->unchecked = false;
    self->failures = 0;
    memset (&self->memory, 0, sizeof self->memory);
}

//  -- Events

void kv_sequence_connected (kv_sequence_t *self, int64_t now)
{
    if (self->up)
        return;
    bool again = self->joined;
    if (again && !(self->known && self->limits.can_replay)) {
        kv_sequence_expire (self, INT64_MAX);  //  Later, they would mix with those of another run
        kv_sequence_believe (self, &self->late);
        kv_sequence_settle (self, now);
    }
    kv_sequence_forget_fallen (self);  //  The check will show whose it was, and bring it again
    self->up = self->joined = true;
    self->heard = false;
    self->drained = -1;
    if (self->queue_old > 0) {  //  Cut a second time before their run was known
        kv_sequence_say (self, KV_UNCHECKED, self->next, self->next);
        while (kv_store_size (&self->queue) > 0)
            free (kv_store_take (&self->queue));
        self->queue_dropped = true;
    }
    self->queue_old = kv_store_size (&self->queue);
    if (again && self->known && self->limits.can_replay) {
        kv_sequence_check (self, now);
    } else {
        self->unchecked = again && self->known;
        self->state = KV_FOLLOWING;
        self->open = self->started && self->limits.can_replay;
        if (self->open)
            kv_sequence_ask (self, KV_REPAIRING, self->next, now);
        kv_sequence_settle (self, now);
    }
}

void kv_sequence_disconnected (kv_sequence_t *self, int64_t now)
{
    if (!self->up)
        return;
    self->up = false;
    kv_sequence_stop_replay (self);  //  Another run might go on with it
    self->open = self->whole = false;
    if (self->unsure && self->accused)
        kv_sequence_unknown (self, now);
    self->state = KV_DOWN;
    kv_sequence_settle (self, now);
}

void kv_sequence_live (kv_sequence_t *self, const kv_numbered_t *batch, int64_t now)
{
    kv_held_t come = {*batch, kv_fingerprint (batch->payload), now, ++self->counts.received};
    self->drained = -1;
    if (self->unsure) {
        if (s_has_room (self, &self->queue))
            kv_store_append (&self->queue, &come);
        else
            self->queue_dropped = true;
        s_say_full (self, &self->queue, come.batch.seq);
        if (self->state == KV_UNSURE)
            kv_sequence_check (self, now);
    } else {
        kv_sequence_take_live (self, &come, now);
        kv_sequence_settle (self, now);
    }
}

void kv_sequence_drained (kv_sequence_t *self, int64_t now)
{
    if (self->drained < 0)
        self->drained = now;
}

void kv_sequence_tick (kv_sequence_t *self, int64_t now)
{
    if (self->replay != KV_REPLAY_NONE) {
        if (now >= self->deadline)
            kv_sequence_timeout (self, now);
    } else {
        kv_sequence_expire (self, now);
    }
    kv_sequence_settle (self, now);
}

int64_t kv_sequence_deadline (const kv_sequence_t *self)
{
    if (self->replay != KV_REPLAY_NONE)
        return self->deadline;
    int64_t oldest = self->fallen ? self->fallen->since : INT64_MAX - KV_DOUBT_MS;
    for (size_t i = 0; i < self->ahead.count; i++)
        if (self->ahead.of[i]->since < oldest)
            oldest = self->ahead.of[i]->since;
    int64_t least = oldest + KV_DOUBT_MS;
    bool waits = self->next < self->top || self->cautious;
    if (self->state == KV_WAITING && !self->fallen && waits && self->drained >= 0 &&
        self->drained + KV_QUIET_MS < least)
        least = self->drained + KV_QUIET_MS;
    return least;
}

void kv_sequence_flush (kv_sequence_t *self, int64_t now)
{
    self->limits.can_replay = self->open = self->up = false;
    kv_sequence_stop_replay (self);
    if (self->unsure)
        kv_sequence_unknown (self, now);
    kv_sequence_expire (self, INT64_MAX);
    kv_sequence_finish_run (self);
    self->state = KV_DOWN;
}
