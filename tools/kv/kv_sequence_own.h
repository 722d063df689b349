//  SPDX-License-Identifier: MIT
//  kv_sequence_own.h - what the three files of kv_sequence share; nobody else includes it
//
//  kv_sequence.c has the state machine and the order, kv_sequence_live.c the live stream,
//  kv_sequence_replay.c the replays.

#pragma once

#include "kv/kv_held.h"
#include "kv/kv_sequence.h"

//  NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): grouped by what belongs together
struct kv_sequence {
    kv_sequence_limits_t limits;
    kv_sequence_handler_t handler;
    kv_sequence_counts_t counts;
    kv_state_t state;

    //  The run
    bool started;        //  `next` is known
    uint64_t next;       //  Number that is due
    uint64_t top;        //  One above the highest number that is believed; `next` or more
    bool known;          //  The bytes of number `top` - 1 are known, by which a run is recognised,
    uint64_t top_print;  //  and this is their fingerprint
    kv_memory_t memory;  //  Of what was believed
    kv_store_t held;     //  Believed, above `next`; by number
    bool told_full;      //  KV_HELD_FULL was said, since the queues were last empty
    uint64_t gone;       //  Below this number a replay cannot help any more
    kv_notice_t gone_why;  //  KV_HISTORY_LOST or KV_LOST

    //  The SUB and its connection
    bool up, joined;    //  There is one; there has been one
    bool heard;         //  A live batch of this connection and run was believed,
    uint64_t newest;    //  the highest having this number
    int64_t drained;    //  Since when the SUB is empty; -1: it may not be
    kv_doubts_t ahead;  //  Live numbers that do not follow
    kv_held_t *fallen;  //  A live number that falls back, when no replay can tell why; or NULL
    bool unchecked;     //  There was a cut, and no replay to check by: to be said with the next

    bool cautious;  //  Nobody knows the run: the live stream has to speak first, or be quiet

    //  Which run is this? While that is open, live batches wait here in the order they came.
    bool unsure;
    bool accused;  //  Because of the first of them, whose number falls back
    kv_store_t queue;
    bool queue_dropped;  //  There was no room for some
    size_t queue_old;    //  How many of them are of an earlier connection

    //  The replay
    kv_replay_t replay;
    int64_t request;      //  Counts them; of a doubted reply, `since` says to which it came
    uint64_t start, due;  //  Asked from; the number that follows what it has brought
    bool open;            //  Wanted to its end: no live batch has shown yet how far it must go
    bool whole;           //  The same, whatever a live batch shows: some had no room
    bool replied;         //  It has brought a batch that counts
    bool progress;        //  It has brought something new,
    bool fresh;           //  with this reply
    bool told_hole;
    bool differs;      //  A number had other bytes than we know: another run, or one bad reply
    uint64_t other;    //  That number
    bool beyond;       //  While that is open: it has brought a number above `top`
    kv_doubts_t late;  //  Replies that do not follow
    int failures;      //  Replays in a row that brought nothing new
    int64_t deadline;
};

//  -- kv_sequence.c

void kv_sequence_say (kv_sequence_t *self, kv_notice_t notice, uint64_t first, uint64_t last);

//  Drops a batch whose number does not fit: not kept, or doubt number `place`
void kv_sequence_stray (kv_sequence_t *self, uint64_t seq);
void kv_sequence_drop (kv_sequence_t *self, kv_doubts_t *doubts, size_t place);

//  What is known of number `seq`: nothing, these bytes, or others
typedef enum { KV_NEW, KV_SAME, KV_OTHER } kv_known_t;
kv_known_t kv_sequence_known (const kv_sequence_t *self, uint64_t seq, uint64_t print);

//  A batch is believed: it is delivered, or held until its turn. False: there was no room.
bool kv_sequence_accept (kv_sequence_t *self, const kv_held_t *come);

//  True when a jump to `seq` may be believed without a second message
bool kv_sequence_is_near (const kv_sequence_t *self, uint64_t seq);

//  Keeps `come` until a second message agrees with it. When there is no room, one is dropped as a
//  stray: one that is not near, or else the oldest.
void kv_sequence_doubt (kv_sequence_t *self, kv_doubts_t *doubts, const kv_held_t *come);

//  The end of the first numbers that are missing, also of those before a number that is doubted.
//  `next` when nothing is.
uint64_t kv_sequence_missing_end (const kv_sequence_t *self);

//  Nothing more can come about these numbers: believes those that are plausible, and drops the
//  others
void kv_sequence_believe (kv_sequence_t *self, kv_doubts_t *doubts);

//  True when the live stream has passed `next`, even if by a number that is doubted: enough to ask,
//  and not to give up
bool kv_sequence_passed (const kv_sequence_t *self, int64_t now);

//  Delivers, gives up and asks what is due by now, and moves to the state that follows from it
void kv_sequence_settle (kv_sequence_t *self, int64_t now);

//  The publisher has restarted, which `seq` shows: ends the old run, and begins the new one
void kv_sequence_restart (kv_sequence_t *self, uint64_t seq);

//  Delivers all that is held, and gives up what is missing between
void kv_sequence_finish_run (kv_sequence_t *self);

//  -- kv_sequence_live.c

//  A live batch, when it is clear to which run it belongs
void kv_sequence_take_live (kv_sequence_t *self, const kv_held_t *come, int64_t now);

//  A number that falls back and that nothing explains: the next message tells, or the clock
void kv_sequence_suspect (kv_sequence_t *self, const kv_held_t *come);

//  Drops that number, if there is one
void kv_sequence_forget_fallen (kv_sequence_t *self);

//  Lets the clock decide about doubts
void kv_sequence_expire (kv_sequence_t *self, int64_t now);

//  Drops doubted numbers that the stream has passed
void kv_sequence_reached (kv_sequence_t *self);

//  -- kv_sequence_replay.c

void kv_sequence_ask (kv_sequence_t *self, kv_state_t why, uint64_t start, int64_t now);
void kv_sequence_stop_replay (kv_sequence_t *self);

//  Asks which run this is
void kv_sequence_check (kv_sequence_t *self, int64_t now);

//  No replay can tell which run this is
void kv_sequence_unknown (kv_sequence_t *self, int64_t now);

//  The replay has brought nothing new for too long
void kv_sequence_timeout (kv_sequence_t *self, int64_t now);
