//  SPDX-License-Identifier: MIT

#include "kv/kv_sequence_own.h"

void kv_sequence_doubt (kv_sequence_t *self, kv_doubts_t *doubts, const kv_held_t *come)
{
    if (doubts->count == KV_DOUBTS) {
        size_t worst = 0;
        while (worst < KV_DOUBTS && kv_sequence_is_near (self, doubts->of[worst]->batch.seq))
            worst++;
        if (worst == KV_DOUBTS && !kv_sequence_is_near (self, come->batch.seq)) {
            kv_sequence_stray (self, come->batch.seq);
            return;
        }
        kv_sequence_drop (self, doubts, worst % KV_DOUBTS);  //  Or the oldest
    }
    kv_doubts_add (doubts, come);
}

//  A live batch was believed: what is doubted and above it came before it, and is wrong
static void s_hear (kv_sequence_t *self, uint64_t seq)
{
    if (self->heard && seq <= self->newest)
        return;
    self->heard = true;
    self->cautious = false;
    self->newest = seq;
    self->open = self->open && self->whole;
    for (size_t i = self->ahead.count; i-- > 0;)
        if (self->ahead.of[i]->batch.seq > seq)
            kv_sequence_drop (self, &self->ahead, i);
}

//  The number that follows what the live stream has brought
static uint64_t s_due (const kv_sequence_t *self)
{
    return self->heard ? self->newest + 1 : self->next;
}

static bool s_follows (const kv_sequence_t *self, uint64_t seq)
{
    if (!self->started)
        return seq == 0;  //  Where every run begins
    return seq == s_due (self) || seq == self->next || seq == self->top;
}

static void s_accept (kv_sequence_t *self, const kv_held_t *come)
{
    uint64_t seq = come->batch.seq;
    if (!self->started) {
        self->started = true;
        self->next = self->top = seq;
    }
    if (self->unchecked && seq >= self->next)
        kv_sequence_say (self, KV_UNCHECKED, self->next, self->next);
    self->unchecked = false;
    s_hear (self, seq);
    kv_sequence_accept (self, come);
}

//  NOLINTBEGIN(misc-no-recursion): each level takes one of at most KV_DOUBTS messages that were
//  doubted

//  The publisher has restarted, as `self->fallen` and another message show, or the clock
static void s_begin_run (kv_sequence_t *self)
{
    kv_held_t *first = self->fallen, *later[KV_DOUBTS];
    size_t count = 0;
    self->fallen = NULL;
    while (self->ahead.count > 0 && self->ahead.of[self->ahead.count - 1]->order > first->order)
        later[count++] = kv_doubts_take (&self->ahead, self->ahead.count - 1);
    kv_sequence_restart (self, first->batch.seq);
    s_accept (self, first);
    free (first);
    while (count > 0) {  //  These came after it
        kv_sequence_take_live (self, later[count - 1], later[count - 1]->since);
        free (later[--count]);
    }
}

void kv_sequence_suspect (kv_sequence_t *self, const kv_held_t *come)
{
    uint64_t seq = come->batch.seq;
    if (self->fallen && seq > self->fallen->batch.seq) {
        s_begin_run (self);
        kv_sequence_take_live (self, come, come->since);
        return;
    }
    if (self->fallen && seq == self->fallen->batch.seq && come->print == self->fallen->print) {
        self->counts.duplicates++;
        return;
    }
    kv_sequence_forget_fallen (self);
    self->fallen = kv_held_copy (come);
}

void kv_sequence_forget_fallen (kv_sequence_t *self)
{
    if (!self->fallen)
        return;
    kv_sequence_stray (self, self->fallen->batch.seq);
    free (self->fallen);
    self->fallen = NULL;
}

//  The stream goes on, so the number that fell back was wrong; unless the publisher has restarted
//  and most of its first batches were dropped
static void s_acquit (kv_sequence_t *self)
{
    if (self->fallen) {
        kv_sequence_forget_fallen (self);
        if (!self->limits.can_replay) {
            kv_sequence_finish_run (self);
            if (self->heard && self->top > self->newest)
                self->newest = self->top - 1;
        }
        kv_sequence_say (self, KV_UNCHECKED, self->next, self->next);
    }
}

//  A live number that falls back: the publisher has restarted, or this is one bad message
static void s_fall_back (kv_sequence_t *self, const kv_held_t *come, int64_t now)
{
    if (!self->limits.can_replay || !self->up || !self->known || self->fallen) {
        kv_sequence_suspect (self, come);
        return;
    }
    kv_store_append (&self->queue, come);
    self->queue_old = 0;
    self->accused = true;
    kv_sequence_check (self, now);
}

static void s_say_gap (kv_sequence_t *self, uint64_t seq)
{
    uint64_t due = s_due (self) > self->next ? s_due (self) : self->next;
    bool joining = self->open && !self->heard && !self->known;
    if (!self->started || joining || seq <= due || seq < self->top ||
        !kv_sequence_is_near (self, seq))
        return;
    self->counts.gaps++;
    kv_sequence_say (self, KV_GAP, due, seq - 1);
}

//  A live number that jumps. The one before it that is doubted and lower is proven by it.
static void s_jump (kv_sequence_t *self, const kv_held_t *come, int64_t now)
{
    uint64_t seq = come->batch.seq;
    kv_doubts_t *ahead = &self->ahead;
    size_t best = ahead->count;
    for (size_t i = 0; i < ahead->count; i++) {
        uint64_t other = ahead->of[i]->batch.seq;
        if (other == seq && ahead->of[i]->print == come->print) {
            self->counts.duplicates++;
            return;
        }
        if (other < seq && (best == ahead->count || other >= ahead->of[best]->batch.seq))
            best = i;
    }
    if (best < ahead->count) {
        kv_held_t *proven = kv_doubts_take (ahead, best);
        while (ahead->count > 0)
            kv_sequence_drop (self, ahead, 0);
        if (self->fallen && self->fallen->order < proven->order)
            s_acquit (self);
        s_accept (self, proven);
        s_acquit (self);
        free (proven);
        kv_sequence_take_live (self, come, now);
        return;
    }
    s_say_gap (self, seq);
    kv_sequence_doubt (self, ahead, come);
}

void kv_sequence_take_live (kv_sequence_t *self, const kv_held_t *come, int64_t now)
{
    uint64_t seq = come->batch.seq;
    kv_known_t known = kv_sequence_known (self, seq, come->print);
    if (known == KV_SAME) {
        self->counts.duplicates++;
        self->unchecked = false;  //  The bytes prove that the run is the same
        kv_sequence_forget_fallen (self);
        s_hear (self, seq);
        return;
    }
    bool falls =
        self->heard ? seq <= self->newest : seq < self->next && (self->unchecked || !self->known);
    //  Both runs may go on with it; on one connection a restart is less likely, unless it was 0
    bool both = self->heard && seq == s_due (self) && seq != 1;
    bool proves = self->fallen && seq == self->fallen->batch.seq + 1 && !both;
    if (self->started && (falls || known == KV_OTHER || proves)) {
        s_fall_back (self, come, now);
        return;
    }
    if (self->started && seq < self->next) {  //  Delivered or lost some time ago
        self->counts.duplicates++;
        if (seq == s_due (self))
            s_hear (self, seq);
        return;
    }
    if (s_follows (self, seq) && self->fallen) {
        s_acquit (self);
        kv_sequence_take_live (self, come, now);
    } else if (s_follows (self, seq)) {
        s_accept (self, come);
    } else {
        s_jump (self, come, now);
    }
}

//  NOLINTEND(misc-no-recursion)

void kv_sequence_reached (kv_sequence_t *self)
{
    for (size_t i = 0; self->started && i < self->ahead.count;) {
        const kv_held_t *doubted = self->ahead.of[i];
        if (doubted->batch.seq >= self->next) {
            i++;
        } else if (kv_sequence_known (self, doubted->batch.seq, doubted->print) == KV_OTHER) {
            kv_sequence_drop (self, &self->ahead, i);
        } else {
            self->counts.duplicates++;
            free (kv_doubts_take (&self->ahead, i));
        }
    }
}

void kv_sequence_expire (kv_sequence_t *self, int64_t now)
{
    if (self->fallen && now - KV_DOUBT_MS >= self->fallen->since)
        s_begin_run (self);
    for (size_t i = self->ahead.count; i-- > 0;) {  //  The lowest first
        if (i >= self->ahead.count || now - KV_DOUBT_MS < self->ahead.of[i]->since)
            continue;
        kv_held_t *doubted = kv_doubts_take (&self->ahead, i);
        if (kv_sequence_is_near (self, doubted->batch.seq))
            s_accept (self, doubted);
        else
            kv_sequence_stray (self, doubted->batch.seq);
        free (doubted);
    }
}
