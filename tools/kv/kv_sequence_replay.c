//  SPDX-License-Identifier: MIT

#include "kv/kv_sequence_own.h"

void kv_sequence_stop_replay (kv_sequence_t *self)
{
    self->replay = KV_REPLAY_NONE;
    self->progress = false;
}

void kv_sequence_ask (kv_sequence_t *self, kv_state_t why, uint64_t start, int64_t now)
{
    self->state = why;
    self->replay = KV_REPLAY_ASK;
    self->request++;
    self->start = self->due = start;
    self->replied = self->progress = self->told_hole = self->differs = self->beyond = false;
    self->deadline = now + self->limits.replay_ms;
}

kv_replay_t kv_sequence_replay (kv_sequence_t *self, uint64_t *start)
{
    kv_replay_t replay = self->replay;
    if (replay == KV_REPLAY_ASK) {
        self->replay = KV_REPLAY_RUNNING;
        *start = self->start;
    }
    return replay;
}

static bool s_news (kv_sequence_t *self, int64_t now)
{
    self->deadline = now + self->limits.replay_ms;
    return true;
}

//  -- Which run is this?

void kv_sequence_check (kv_sequence_t *self, int64_t now)
{
    self->open = self->whole = false;
    self->unsure = true;
    if (self->state != KV_UNSURE)
        self->failures = 0;
    kv_sequence_ask (self, KV_CHECKING, self->top - 1, now);
}

//  The question is answered: feeds what has waited. `same`: the bytes have proved that the run is
//  the same, so numbers that fall back are wrong. Otherwise what came by an earlier connection may
//  be of another run than what follows.
static void s_feed_queue (kv_sequence_t *self, bool same, int64_t now)
{
    bool accused = self->accused;
    size_t old = same ? 0 : self->queue_old;
    kv_held_t *come;
    kv_store_t queue = self->queue;
    kv_store_init (&self->queue);
    self->unsure = self->accused = false;
    self->queue_old = 0;
    while ((come = kv_store_take (&queue))) {
        if (self->unsure) {  //  One of them has raised the question again
            kv_store_append (&self->queue, come);
        } else if (same && accused &&
                   (kv_sequence_known (self, come->batch.seq, come->print) == KV_OTHER ||
                    (self->heard && come->batch.seq <= self->newest &&
                     kv_sequence_known (self, come->batch.seq, come->print) == KV_NEW))) {
            kv_sequence_stray (self, come->batch.seq);
        } else {
            kv_sequence_take_live (self, come, now);
        }
        free (come);
        if (old > 0 && --old == 0) {
            kv_sequence_forget_fallen (self);
            kv_sequence_finish_run (self);
            kv_sequence_say (self, KV_UNCHECKED, self->next, self->next);
            self->heard = self->known = false;
        }
    }
    kv_store_clear (&queue);
    if (self->queue_dropped && !self->unsure && self->up && self->limits.can_replay) {
        self->open = self->whole = true;  //  Nothing live may show what had no room
        if (self->replay == KV_REPLAY_NONE)
            kv_sequence_ask (self, KV_REPAIRING, self->next, now);
    }
    self->queue_dropped = self->queue_dropped && self->unsure;
}

static void s_same_run (kv_sequence_t *self, int64_t now)
{
    bool goes_on = self->state == KV_CHECKING && self->next == self->top;
    self->failures = 0;
    self->state = KV_REPAIRING;
    self->open = !self->accused;
    self->due = self->next;
    self->replied = true;
    if (!goes_on)
        kv_sequence_ask (self, KV_REPAIRING, self->next, now);
    s_feed_queue (self, true, now);
    kv_sequence_settle (self, now);
}

static void s_other_run (kv_sequence_t *self, uint64_t seq, int64_t now)
{
    const kv_held_t *first = kv_store_first (&self->queue);
    if (self->accused && first)
        seq = first->batch.seq;
    size_t old = self->queue_old;
    kv_sequence_restart (self, seq);
    if (old > 0)
        kv_sequence_say (self, KV_UNCHECKED, 0, 0);
    for (; old > 0; old--)  //  Of either run; those of the new one come again
        free (kv_store_take (&self->queue));
    self->queue_old = 0;
    self->open = true;
    kv_sequence_ask (self, KV_REPAIRING, 0, now);
    s_feed_queue (self, false, now);
    kv_sequence_settle (self, now);
}

void kv_sequence_unknown (kv_sequence_t *self, int64_t now)
{
    bool accused = self->accused;
    kv_sequence_stop_replay (self);
    self->failures = 0;
    if (!accused) {
        kv_sequence_finish_run (self);
        kv_sequence_say (self, KV_UNCHECKED, self->next, self->next);
        self->known = false;
        self->cautious = true;
    } else {
        kv_held_t *first = kv_store_take (&self->queue);
        kv_sequence_suspect (self, first);  //  So the next message will tell
        free (first);
    }
    self->state = self->up ? KV_WAITING : KV_DOWN;
    self->open = self->up && self->limits.can_replay && !accused;
    s_feed_queue (self, false, now);
    kv_sequence_settle (self, now);
}

//  A reply while the run is not known
static bool s_compare (kv_sequence_t *self, const kv_held_t *reply, int64_t now)
{
    uint64_t seq = reply->batch.seq, top = self->top - 1;
    kv_known_t known = kv_sequence_known (self, seq, reply->print);
    if (seq == top)
        known = reply->print == self->top_print ? KV_SAME : KV_OTHER;
    if (known == KV_SAME) {
        s_same_run (self, now);
        return s_news (self, now);
    }
    if (self->differs && seq != self->other) {  //  Two replies agree that this is not our run
        s_other_run (self, self->other, now);
        return s_news (self, now);
    }
    if (known == KV_OTHER) {
        self->differs = true;
        self->other = seq;
    } else if (self->state == KV_CHECKING && seq > top && self->replied) {
        kv_sequence_unknown (self, now);  //  So `top` is no longer kept
        return s_news (self, now);
    } else if (!self->replied) {
        self->other = seq;
    }
    self->beyond = self->beyond || seq > top;
    self->replied = self->replied || self->state == KV_SEARCHING || seq > top;
    return false;
}

//  The replay has ended and has not told which run this is
static void s_compared (kv_sequence_t *self, int64_t now)
{
    if (self->differs || (self->replied && !self->beyond)) {
        s_other_run (self, self->other, now);
    } else if (self->replied) {
        kv_sequence_unknown (self, now);  //  It goes beyond `top`, which is no longer kept
    } else if (self->state == KV_CHECKING) {
        kv_sequence_ask (self, KV_SEARCHING, 0, now);
    } else {
        kv_sequence_stop_replay (self);
        if (kv_store_size (&self->queue) == 0)
            self->state = KV_UNSURE;  //  Nothing that could be mixed up
        else if (++self->failures >= KV_REPLAY_ATTEMPTS)
            kv_sequence_unknown (self, now);
        else
            kv_sequence_ask (self, KV_CHECKING, self->top - 1, now);
    }
}

//  -- Repairs

//  The replay is at `seq`, whose bytes are believed: what it has skipped it does not have
static void s_arrive (kv_sequence_t *self, uint64_t seq)
{
    uint64_t from = self->due > self->next ? self->due : self->next;
    if (seq > from) {
        if (!self->replied) {
            if (seq > self->gone)
                self->gone = seq;
            self->gone_why = KV_HISTORY_LOST;
        } else if (!self->told_hole) {
            self->told_hole = true;
            kv_sequence_say (self, KV_REPLAY_HOLE, from, seq - 1);
        }
    }
    self->replied = true;
    if (seq >= self->due)
        self->due = seq + 1;
    for (size_t i = self->late.count; i-- > 0;) {
        if (self->late.of[i]->batch.seq < self->due || self->late.of[i]->since != self->request)
            continue;  //  One of an earlier replay is not contradicted
        kv_sequence_drop (self, &self->late, i);
    }
}

//  A reply that follows, or that another one has proved. False: no room to hold it.
static bool s_take_reply (kv_sequence_t *self, const kv_held_t *reply)
{
    s_arrive (self, reply->batch.seq);
    bool taken = kv_sequence_accept (self, reply);
    self->fresh = taken;
    self->progress = self->progress || taken;
    return taken;
}

//  A reply proves the doubted ones below it: those of an earlier replay, which do not say how far
//  this one has come, and the highest of this one. False: no room for that.
static bool s_prove_late (kv_sequence_t *self, uint64_t seq)
{
    kv_doubts_t *late = &self->late;
    bool taken = true;
    if (!kv_sequence_is_near (self, seq))
        return true;
    for (size_t i = late->count; i-- > 0;) {
        if (late->of[i]->since == self->request || late->of[i]->batch.seq >= seq)
            continue;
        kv_held_t *proven = kv_doubts_take (late, i);
        if (kv_sequence_known (self, proven->batch.seq, proven->print) == KV_NEW &&
            proven->batch.seq >= self->next)
            taken = kv_sequence_accept (self, proven) && taken;
        free (proven);
    }
    size_t best = late->count;
    for (size_t i = 0; i < late->count; i++)
        if (late->of[i]->batch.seq < seq &&
            (best == late->count || late->of[i]->batch.seq > late->of[best]->batch.seq))
            best = i;
    if (best < late->count) {
        kv_held_t *proven = kv_doubts_take (late, best);
        taken = s_take_reply (self, proven) && taken;
        free (proven);
    }
    return taken;
}

//  A reply that jumps. False: no room.
static bool s_reply_jumps (kv_sequence_t *self, const kv_held_t *reply)
{
    uint64_t seq = reply->batch.seq;
    kv_doubts_t *late = &self->late;
    for (size_t i = 0; i < late->count; i++)
        if (late->of[i]->batch.seq == seq && late->of[i]->print == reply->print) {
            kv_held_t *proven = kv_doubts_take (late, i);  //  It comes a second time
            self->counts.duplicates++;
            bool taken = s_prove_late (self, seq) && s_take_reply (self, proven);
            free (proven);
            return taken;
        }
    if (!s_prove_late (self, seq))
        return false;
    if (seq == self->due || seq == self->next)
        return s_take_reply (self, reply);
    kv_sequence_doubt (self, late, reply);
    return true;
}

//  A live number that is doubted has come again by the replay. True: with the same bytes, so it is
//  believed. Other bytes: the live one is dropped if the reply follows what the replay has brought.
static bool s_confirm_live (kv_sequence_t *self, const kv_held_t *reply)
{
    for (size_t i = 0; i < self->ahead.count; i++) {
        const kv_held_t *doubted = self->ahead.of[i];
        if (doubted->batch.seq != reply->batch.seq)
            continue;
        if (doubted->print == reply->print) {
            kv_held_t *proven = kv_doubts_take (&self->ahead, i);
            s_prove_late (self, reply->batch.seq);
            if (!self->heard || proven->batch.seq > self->newest)
                self->newest = proven->batch.seq;
            self->heard = true;
            self->open = self->open && self->whole;
            kv_sequence_accept (self, proven);
            free (proven);
            return true;
        }
        if (reply->batch.seq == self->due)
            kv_sequence_drop (self, &self->ahead, i);
    }
    return false;
}

//  Doubted replies that the stream has reached meanwhile
static void s_late_reached (kv_sequence_t *self)
{
    for (size_t i = 0; i < self->late.count;) {
        uint64_t seq = self->late.of[i]->batch.seq;
        if (seq > self->next && seq != self->top) {
            i++;
            continue;
        }
        kv_held_t *doubted = kv_doubts_take (&self->late, i);
        kv_known_t known = kv_sequence_known (self, seq, doubted->print);
        if (known == KV_NEW && seq >= self->next)
            s_take_reply (self, doubted);
        else if (known == KV_OTHER)
            kv_sequence_stray (self, seq);
        else
            self->counts.duplicates++;
        free (doubted);
        i = 0;
    }
}

static void s_repair_failed (kv_sequence_t *self, int64_t now)
{
    uint64_t end = kv_sequence_missing_end (self);
    bool missing = self->next < end && self->gone <= self->next;
    bool again = self->open || missing || self->late.count > 0;
    self->failures = self->progress ? 0 : self->failures + 1;
    self->replay = KV_REPLAY_NONE;
    if (self->failures >= KV_REPLAY_ATTEMPTS) {
        self->failures = 0;
        self->open = self->whole = self->progress = false;
        kv_sequence_believe (self, &self->late);
        if (missing) {
            self->gone = end;
            self->gone_why = KV_LOST;
        }
    } else if (again) {
        kv_sequence_ask (self, KV_REPAIRING, self->next, now);
    }
    kv_sequence_settle (self, now);
}

static bool s_repair (kv_sequence_t *self, const kv_held_t *reply, int64_t now)
{
    uint64_t seq = reply->batch.seq;
    self->counts.received++;
    if (s_confirm_live (self, reply)) {
        self->counts.duplicates++;
        s_arrive (self, seq);
        self->progress = true;
        kv_sequence_settle (self, now);
        return s_news (self, now);
    }
    kv_known_t known = kv_sequence_known (self, seq, reply->print);
    if (known == KV_OTHER) {  //  The one that follows what the replay has brought is the right one
        kv_sequence_stray (self, seq);
        if (seq != self->due || !kv_store_replace (&self->held, reply))
            return false;
        kv_memory_add (&self->memory, seq, reply->print);
        if (seq == self->top - 1)
            self->top_print = reply->print;
        s_arrive (self, seq);
        kv_sequence_settle (self, now);
        return s_news (self, now);
    }
    if (known == KV_SAME || seq < self->next) {
        self->counts.duplicates++;
        if (known == KV_SAME && seq >= self->due) {
            s_prove_late (self, seq);
            s_arrive (self, seq);
        }
        kv_sequence_settle (self, now);
        return false;
    }
    self->fresh = false;
    bool taken = seq == self->due || seq == self->next ? s_take_reply (self, reply)
                                                       : s_reply_jumps (self, reply);
    s_late_reached (self);
    bool news = self->fresh && s_news (self, now);
    if (!taken)
        s_repair_failed (self, now);  //  No room for what comes behind a hole
    else
        kv_sequence_settle (self, now);
    return news;
}

//  -- Events

bool kv_sequence_reply (kv_sequence_t *self, const kv_numbered_t *batch, int64_t now)
{
    if (self->replay != KV_REPLAY_RUNNING)
        return false;
    kv_held_t reply = {*batch, kv_fingerprint (batch->payload), self->request, 0};
    return self->state == KV_REPAIRING ? s_repair (self, &reply, now)
                                       : s_compare (self, &reply, now);
}

void kv_sequence_end (kv_sequence_t *self, int64_t now)
{
    if (self->replay != KV_REPLAY_RUNNING)
        return;
    if (self->state != KV_REPAIRING) {
        s_compared (self, now);
    } else {
        uint64_t end = kv_sequence_missing_end (self);
        self->open = self->whole = false;
        if (end > self->next && self->gone <= self->next && kv_sequence_passed (self, now)) {
            kv_sequence_say (self, KV_REPLAY_SHORT, self->next, end - 1);
            s_repair_failed (self, now);
        } else if (self->late.count > 0) {
            s_repair_failed (self, now);
        } else {
            self->replay = KV_REPLAY_NONE;
            self->failures = 0;
            kv_sequence_settle (self, now);
        }
    }
}

void kv_sequence_timeout (kv_sequence_t *self, int64_t now)
{
    kv_sequence_say (self, KV_REPLAY_TIMEOUT, self->next, self->next);
    if (self->state == KV_REPAIRING)
        s_repair_failed (self, now);
    else if (self->differs)
        s_other_run (self, self->other, now);
    else if (self->failures + 1 >= KV_REPLAY_ATTEMPTS)
        kv_sequence_unknown (self, now);
    else {
        self->failures++;
        kv_sequence_ask (self, self->state, self->state == KV_CHECKING ? self->top - 1 : 0, now);
    }
}
