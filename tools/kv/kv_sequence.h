//  SPDX-License-Identifier: MIT
//  kv_sequence.h - every batch of one publisher once and in order, or reported lost
//
//  A vLLM numbers its batches from 0. Its PUB drops what a subscriber is too late or too slow for,
//  its ROUTER repeats what it still keeps, and when it starts anew so do the numbers. This takes
//  batches as they come, live and replayed, and hands them on in order. It has no socket and no
//  clock: who owns those tells it what happened, and asks whether a replay is wanted.
//
//      live 0 1 2    6 7       what the SUB got
//      replay    3 4 5 6 7     what the ROUTER repeated
//      out  0 1 2 3 4 5 6 7    6 and 7 were held until their turn; their second copies are dropped
//
//  Did the publisher start anew while the SUB was cut off? Its numbers alone may not show it, when
//  the new run has already passed the old one. So after a cut a replay begins one number early,
//  with the last batch delivered: if that comes back with other bytes, this is another run. If
//  nothing comes back, all is asked for: a run that has batches, but not that one, is another, too.
//  If it is kept no more, the last of those held that came before the cut stands in for it. And if
//  that is neither, nobody can tell (KV_UNCHECKED); what is surely of the old run has come before.
//  vLLM:  vllm/distributed/kv_events.py ZmqEventPublisher, the other side of this

#pragma once

#include "kv/kv_events.h"

//  What went wrong with the stream; first and last are the numbers it is about
typedef enum {
    KV_GAP,             //  The live stream has skipped these
    KV_HISTORY_LOST,    //  A replay began later than asked: these are kept no more, and lost
    KV_REPLAY_HOLE,     //  A replay has skipped these; they will be asked for again
    KV_REPLAY_SHORT,    //  A replay has ended before these
    KV_REPLAY_TIMEOUT,  //  A replay has stopped without its end, before `first`
    KV_HELD_FULL,       //  No room to hold back batch `first`; it will be asked for
    KV_LOST,            //  Not to be had: given up
    KV_RESTART,         //  The publisher has started anew; `first` is the number that shows it
    KV_UNCHECKED        //  After a cut it could not be told whether it has; `first` is due next
} kv_notice_t;

//  "gap", "history_lost", ..., and what that means in a few words. Constants.
const char *kv_notice_name (kv_notice_t notice);
const char *kv_notice_meaning (kv_notice_t notice);

//  Who gets what comes out; called from within the functions below
typedef struct {
    //  The batch whose turn it is. Its bytes are there until the callee returns.
    void (*deliver) (void *owner, const kv_numbered_t *batch);
    void (*notice) (void *owner, kv_notice_t notice, uint64_t first, uint64_t last);
    void *owner;
} kv_sequence_handler_t;

//  For from_seq: begin with whatever comes first
#define KV_FROM_LIVE UINT64_MAX

//  A replay that brings nothing new is asked for so often before its batches are given up
#define KV_REPLAY_ATTEMPTS 2

typedef struct {
    uint64_t from_seq;  //  First number wanted, or KV_FROM_LIVE
    bool can_replay;    //  There is somebody to ask
    size_t max_held;    //  Batches that are held while a replay runs; further ones are dropped,
    size_t max_bytes;   //  to be asked for later. Bytes: of their topics and payloads
} kv_sequence_limits_t;

typedef struct {
    uint64_t received;    //  Batches that came, live or replayed
    uint64_t delivered;   //  Of these, handed on
    uint64_t replayed;    //  Of the delivered, those that a replay brought
    uint64_t duplicates;  //  Of the received, dropped because they had come before
    uint64_t gaps;        //  Times that the live stream skipped numbers
    uint64_t lost;        //  Numbers that nobody can be asked for any more
    uint64_t restarts;
} kv_sequence_counts_t;

typedef struct kv_sequence kv_sequence_t;

kv_sequence_t *kv_sequence_new (const kv_sequence_limits_t *limits,
                                const kv_sequence_handler_t *handler);
void kv_sequence_destroy (kv_sequence_t **self_p);

//  The SUB has a connection, the first or a new one. From here on it misses nothing but what it is
//  too slow for, so this is the time to ask for what was before.
void kv_sequence_connected (kv_sequence_t *self);

//  The SUB's connection is gone: what comes before the next one was on its way already. A replay is
//  given up, and none is asked for before the connection is back.
void kv_sequence_disconnected (kv_sequence_t *self);

//  The SUB has been read empty. What comes after a new connection may else still be of the old one,
//  and nothing is asked for.
void kv_sequence_drained (kv_sequence_t *self);

//  A live batch has come. Its bytes stay the caller's: when it has to wait for its turn, they are
//  copied.
void kv_sequence_live (kv_sequence_t *self, const kv_numbered_t *batch);

//  A reply of the replay has come; likewise. True: it brought something new. False: it did not, so
//  it is no sign that the replay goes on.
bool kv_sequence_reply (kv_sequence_t *self, const kv_numbered_t *reply);

//  The end of the replay has come
void kv_sequence_end (kv_sequence_t *self);

//  The replay has brought nothing new for too long
void kv_sequence_timeout (kv_sequence_t *self);

//  No more replays: gives up what is missing and delivers what is held. For the end of a program.
void kv_sequence_flush (kv_sequence_t *self);

//  To be asked after each of the above
typedef enum {
    KV_REPLAY_NONE,    //  None is under way: close its socket
    KV_REPLAY_ASK,     //  Ask for all from *start on, with a new socket; returned once a request
    KV_REPLAY_RUNNING  //  Go on with the one that is under way
} kv_replay_t;
kv_replay_t kv_sequence_replay (kv_sequence_t *self, uint64_t *start);

//  The sequence's own, up to date at any time
const kv_sequence_counts_t *kv_sequence_counts (const kv_sequence_t *self);
