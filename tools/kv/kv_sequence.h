//  SPDX-License-Identifier: MIT
//  kv_sequence.h - every batch of one publisher once and in order, or reported lost
//
//  A vLLM numbers its batches from 0. Its PUB drops what a subscriber is too late or too slow for,
//  its ROUTER repeats the batches that it still keeps, and a restarted vLLM numbers from 0 again.
//  This module takes batches as they come, live and replayed, and hands them on in order. It has no
//  socket and no clock: its owner tells it what happened and what time it is, and asks it whether a
//  replay is wanted.
//
//      live 0 1 2    6 7       what the SUB received
//      replay    3 4 5 6 7     what the ROUTER repeated
//      out  0 1 2 3 4 5 6 7    6 and 7 wait for their turn; their second copies are dropped
//
//  What always holds (a run is one life of a publisher):
//    1. Within a run the numbers that are delivered rise, and each comes once.
//    2. Up to the highest number that a run has shown, each batch is delivered, or in a loss that a
//       notice has named.
//    3. Nothing that was received is reported lost.
//    4. Two runs never mix: a notice comes before the first batch of the new one. When nobody can
//       tell whether the publisher has restarted, KV_UNCHECKED says so, once.
//    5. No restart is reported where the bytes prove that the run is the same.
//    6. One bad message changes nothing but its own fate.
//    7. The stream goes on: each wait ends by the clock.
//
//  How they are kept:
//    - A number that does not follow the one before needs a second witness: the next message of the
//      same source, or the same bytes from the other source. Until then it raises no claim (6).
//      After KV_DOUBT_MS without a second message it is taken as it is, unless it jumps by more
//      than `max_jump`: then it is dropped, and named by KV_STRAY (7).
//    - A loss is declared when both sources have passed the number: the replay has skipped it or
//      has failed KV_REPLAY_ATTEMPTS times, and the live stream has delivered a higher number, or
//      has been empty for KV_QUIET_MS. Batches in our own queues are therefore never lost (3).
//    - Runs are compared by bytes. After a cut, or when a live number falls, a replay begins at the
//      highest number whose bytes are known. The same bytes prove the same run (5); other bytes, or
//      a history that does not reach that number, show another one (4). Meanwhile live batches wait
//      in a queue, so none of them can be taken for one of the old run.
//
//  Exceptions, each with its notice: batches for which there is no room (KV_HELD_FULL), if they are
//  fed all the same, are dropped and asked for again; batches of a connection that was cut before
//  their run was known are dropped when another run follows (KV_UNCHECKED), and come again by its
//  replay. A publisher that restarts behind a proxy, which hides the cut, can answer a request that
//  was meant for its predecessor; the numbers alone cannot show that.
//
//  `tests/tools/explore/kv_sequence.c` checks all of this against every schedule up to a depth.
//  vLLM:  vllm/distributed/kv_events.py ZmqEventPublisher, the other side of this

#pragma once

#include "kv/kv_events.h"

//  What went wrong with the stream; first and last are the numbers it is about
typedef enum {
    KV_GAP,             //  The live stream has skipped these
    KV_HISTORY_LOST,    //  The replay began later than asked: these are no longer kept, and lost
    KV_REPLAY_HOLE,     //  A replay has skipped these; they will be asked for again
    KV_REPLAY_SHORT,    //  A replay has ended before these
    KV_REPLAY_TIMEOUT,  //  A replay has stopped without its end, before `first`
    KV_HELD_FULL,       //  Batch `first` was the last that there was room for: see has_room
    KV_LOST,            //  Not recoverable: given up
    KV_RESTART,         //  The publisher has restarted; `first` is the number that shows it
    KV_UNCHECKED,       //  Nobody can tell whether it has; `first` is the number that is due
    KV_STRAY            //  Batch `first` fits neither what came before nor what came after: dropped
} kv_notice_t;

//  "gap", "history_lost", ..., and what that means in a few words. Constants.
const char *kv_notice_name (kv_notice_t notice);
const char *kv_notice_meaning (kv_notice_t notice);

//  Receives the results; called from within the functions below
typedef struct {
    //  The batch whose turn it is. Its bytes are there until the callee returns.
    void (*deliver) (void *owner, const kv_numbered_t *batch);
    void (*notice) (void *owner, kv_notice_t notice, uint64_t first, uint64_t last);
    void *owner;
} kv_sequence_handler_t;

//  For from_seq: begin with the first batch that comes
#define KV_FROM_LIVE UINT64_MAX

//  A replay that brings nothing new is repeated this often before its batches are given up
#define KV_REPLAY_ATTEMPTS 2

//  How long a number that does not follow waits for a second message, ms
#define KV_DOUBT_MS 1000

//  A SUB that has been empty for so long has nothing on its way, ms
#define KV_QUIET_MS 200

//  A jump by more is never believed without a second message: 11 days at 1,000 batches a second
#define KV_MAX_JUMP 1000000000u

typedef struct {
    uint64_t from_seq;  //  First number wanted, or KV_FROM_LIVE
    bool can_replay;    //  There is a ROUTER to ask
    size_t max_held;    //  Batches that wait in each of the two queues, and their topics and
    size_t max_bytes;   //  payloads in bytes: see kv_sequence_has_room
    uint64_t max_jump;  //  0: KV_MAX_JUMP
    int replay_ms;      //  A replay that brings nothing new for so long has failed
} kv_sequence_limits_t;

typedef struct {
    uint64_t received;    //  Batches that came, live or replayed
    uint64_t delivered;   //  Of these, handed on
    uint64_t replayed;    //  Of the delivered, those that a replay brought
    uint64_t duplicates;  //  Of the received, dropped because they had come before
    uint64_t gaps;        //  Times that the live stream skipped numbers
    uint64_t lost;        //  Numbers that are not recoverable
    uint64_t restarts;
    uint64_t strays;  //  Of the received, dropped because their number did not fit
} kv_sequence_counts_t;

typedef struct kv_sequence kv_sequence_t;

kv_sequence_t *kv_sequence_new (const kv_sequence_limits_t *limits,
                                const kv_sequence_handler_t *handler);
void kv_sequence_destroy (kv_sequence_t **self_p);

//  -- What happened. `now` is a monotonic clock in ms, and never falls.

//  The SUB has a connection, the first or a new one. All batches of the one before have been fed.
void kv_sequence_connected (kv_sequence_t *self, int64_t now);

//  The SUB's connection has ended: what still comes before the next one was on its way already.
//  A replay is given up, and none is asked for before there is a new connection.
void kv_sequence_disconnected (kv_sequence_t *self, int64_t now);

//  A live batch has come. Its bytes stay the caller's: they are copied when it has to wait.
void kv_sequence_live (kv_sequence_t *self, const kv_numbered_t *batch, int64_t now);

//  False: a replay runs, and there is no room to hold what is behind it. The owner leaves live
//  batches in the SUB until it is true again, which the replay's time limit bounds. One that is fed
//  all the same is dropped, and asked for later.
bool kv_sequence_has_room (const kv_sequence_t *self);

//  The SUB has been read until it was empty
void kv_sequence_drained (kv_sequence_t *self, int64_t now);

//  A reply of the replay has come; its bytes stay the caller's. True: it brought something new.
bool kv_sequence_reply (kv_sequence_t *self, const kv_numbered_t *reply, int64_t now);

//  The end of the replay has come
void kv_sequence_end (kv_sequence_t *self, int64_t now);

//  Time has passed. To be called at kv_sequence_deadline, or at any other time.
void kv_sequence_tick (kv_sequence_t *self, int64_t now);

//  When kv_sequence_tick is due; INT64_MAX: no need
int64_t kv_sequence_deadline (const kv_sequence_t *self);

//  No more replays: gives up what is missing and delivers what is held. For the end of a program.
void kv_sequence_flush (kv_sequence_t *self, int64_t now);

//  -- To be asked after each of the above

typedef enum {
    KV_REPLAY_NONE,    //  None is under way: close its socket
    KV_REPLAY_ASK,     //  Ask for all from *start on, with a new socket; returned once a request
    KV_REPLAY_RUNNING  //  Go on with the one that is under way
} kv_replay_t;
kv_replay_t kv_sequence_replay (kv_sequence_t *self, uint64_t *start);

//  The sequence's own, up to date at any time
const kv_sequence_counts_t *kv_sequence_counts (const kv_sequence_t *self);

//  -- The state machine. docs/reliability.md draws it; a test compares the two.

typedef enum {
    KV_DOWN,       //  No connection
    KV_FOLLOWING,  //  Nothing is missing
    KV_WAITING,    //  Something is missing or doubted; a message or the clock decides
    KV_REPAIRING,  //  A replay runs, from the first number that is missing
    KV_CHECKING,   //  A replay runs from the highest known number: is this the same run?
    KV_SEARCHING,  //  That had nothing, so a replay runs from 0: is there another run?
    KV_UNSURE,     //  That had nothing either: the next live batch will tell
    KV_STATES
} kv_state_t;

typedef enum {
    KV_CONNECTED,
    KV_DISCONNECTED,
    KV_LIVE,
    KV_REPLY,
    KV_END,
    KV_TICK,
    KV_FLUSH,
    KV_EVENTS
} kv_event_name_t;

kv_state_t kv_sequence_state (const kv_sequence_t *self);
const char *kv_state_name (kv_state_t state);
const char *kv_event_name (kv_event_name_t event);

//  True when `event` may lead from one state to the other, or leave it: the table. The explorer
//  demands that nothing else happens, and that all of it does.
bool kv_sequence_may (kv_state_t from, kv_event_name_t event, kv_state_t to);
