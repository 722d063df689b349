//  SPDX-License-Identifier: MIT
//  kv_sequence.c - plays every schedule up to a depth against tools/kv/kv_sequence.c
//
//  A world in which a publisher publishes, drops, is cut off and restarts; a reader may be slow;
//  replays that are late, cut, holed, short or without an end; and stray messages. An oracle knows
//  the truth and checks the invariants of kv_sequence.h after each step. It also demands that where
//  nothing goes wrong no notice comes, that what a publisher keeps is not lost while its replays
//  arrive whole, and that the counts are right. After each schedule the world becomes fair (all is
//  read, replays are served), and then all must be accounted for.
//
//  Two schedules that lead to the same world and the same sequence have the same future, so the
//  second one is not continued. The program prints what it has played, and which transitions of the
//  state machine no schedule has taken; record.py does not allow any.
//
//  Run:  build/tests/tools/explore/kv_sequence DEPTH          schedules of up to DEPTH steps
//        build/tests/tools/explore/kv_sequence DEPTH PART PARTS  only every PARTS-th setting
//        build/tests/tools/explore/kv_sequence random STEPS SEED COUNT
//        build/tests/tools/explore/kv_sequence play SETTING SCHEDULE   one again, step by step

#include "kv/kv_sequence_own.h"

#define RUNS 4      //  Lives of the publisher
#define NUMBERS 60  //  Batches of a run
#define WIRE 60     //  Messages on their way
#define STRAYS 3
#define FAR_AWAY 5000u
#define JUMP 1000u  //  max_jump

//  What a payload holds. A stray is of no run.
typedef struct {
    uint32_t run, number;
} truth_t;
#define NO_RUN 99u

//  One setting of the world
typedef struct {
    const char *name;
    uint64_t from_seq;
    bool can_replay;
    unsigned history;  //  Batches that the publisher keeps
    size_t max_held;
    bool early;          //  The first batches may come before the news of the connection
    bool hidden;         //  The publisher restarts behind a proxy, which hides the cut
    const char *strays;  //  What may be sent by mistake: a number far ahead, near, or back
} setting_t;

static const setting_t settings[] = {
    {"from 0, long history", 0, true, 100, 100, false, false, "f"},
    {"from 0, short history", 0, true, 2, 100, false, false, "b"},
    {"from 2, long history", 2, true, 100, 100, false, false, ""},
    {"live, long history", KV_FROM_LIVE, true, 100, 100, false, false, "nb"},
    {"live, short history", KV_FROM_LIVE, true, 2, 100, true, false, "f"},
    {"live, room for one", KV_FROM_LIVE, true, 100, 1, false, false, ""},
    {"no replay", KV_FROM_LIVE, false, 0, 100, true, false, "fb"},
    {"no replay, a hidden restart", KV_FROM_LIVE, false, 0, 100, false, true, "f"},
};
#define SETTINGS (sizeof settings / sizeof settings[0])

typedef struct {
    uint64_t seq;
    truth_t truth;
} message_t;

//  The world, and what the oracle knows
static struct {
    const setting_t *setting;
    kv_sequence_t *sequence;
    int64_t now;

    unsigned run, published[RUNS];  //  Of each run
    bool linked;
    message_t wire[WIRE];
    unsigned sent;
    bool asked, served;  //  A replay is waiting for its answer; has one
    uint64_t ask;
    message_t replies[NUMBERS + 2];
    unsigned reply_count;
    bool reply_end;
    unsigned strays, stray_link, links;
    bool lossy;  //  A replay that compares runs has lost a reply, which may happen once
    uint64_t stray[STRAYS];
    bool fed[STRAYS], named[STRAYS];

    int current;       //  The run whose batches are delivered; -1: not known
    uint64_t account;  //  The number that is due
    bool begun;        //  `account` means something
    bool parted;       //  A notice has said that another run may follow
    bool unchecked;    //  It has said that nobody knows
    bool guessed;      //  and no restart has been told since: the next one begins from 0
    bool excused;      //  A stray was believed because nothing else came for KV_DOUBT_MS
    bool unfair;       //  Batches were dropped for want of room, or on a link that was not known
    uint64_t received[RUNS], delivered[RUNS];  //  A bit for each number
    unsigned restarts;
    bool faulty;                  //  Something went wrong: notices are expected
    bool unkept;                  //  A replay may not bring all: losses are expected
    message_t heard;              //  The last live one that was no stray
    kv_sequence_counts_t counts;  //  What the sequence should have counted
    const char *wrong;
} world;

static unsigned seen[KV_STATES][KV_EVENTS];  //  Transitions: bits of the states that they led to
static bool verbose;

static void s_wrong (const char *what)
{
    if (!world.wrong)
        world.wrong = what;
}

#define PRINT(...) (verbose ? printf (__VA_ARGS__) : 0)

//  -- The oracle

//  A near stray was the last thing that a connection has brought: nothing can contradict it
static bool s_is_last_word (void)
{
    if (world.strays > 0 && world.fed[0] && !world.named[0] && world.stray[0] < JUMP &&
        (world.links > world.stray_link || !world.linked))
        world.excused = true;
    return world.excused;
}

static void s_on_deliver (void *owner, const kv_numbered_t *batch)
{
    (void) owner;
    truth_t truth;
    memcpy (&truth, batch->payload.data, sizeof truth);
    PRINT ("      deliver %u of run %u\n", truth.number, truth.run);
    world.counts.delivered++;
    world.counts.replayed += batch->replayed;
    if (truth.run == NO_RUN)
        s_is_last_word ();
    if (world.excused)
        return;
    if (truth.run == NO_RUN) {
        s_wrong ("6: a stray message was delivered");
        return;
    }
    if (truth.number != batch->seq)
        s_wrong ("1: the number is not that of the batch");
    int run = (int) truth.run;
    if (world.current >= 0 && run < world.current)
        s_wrong ("4: a batch of an older run");
    if (world.current >= 0 && run > world.current && !world.parted)
        s_wrong ("4: two runs are mixed");
    if (world.delivered[run] >> batch->seq & 1)
        s_wrong ("1: delivered twice");
    if (world.begun && batch->seq != world.account)
        s_wrong (batch->seq > world.account ? "2: lost in silence" : "1: the numbers fall");
    world.delivered[run] |= (uint64_t) 1 << batch->seq;
    if (world.current != run)
        world.unchecked = false;
    world.current = run;
    world.parted = false;
    world.begun = true;
    world.account = batch->seq + 1;
}

static void s_on_lost (uint64_t first, uint64_t last)
{
    if (!world.unkept && world.setting->can_replay && world.setting->history >= NUMBERS)
        s_wrong ("3: the publisher keeps it, and it is reported lost");
    if (world.begun && first != world.account)
        s_wrong ("2: a loss that is not what is due");
    world.begun = true;
    world.account = last + 1;
    if (last - first >= NUMBERS) {
        s_wrong ("6: more is reported lost than there ever was");
        return;
    }
    bool later = world.parted && world.current < (int) world.run;  //  It may be of a later run
    if (world.current < 0 || world.unchecked || later || world.unfair)
        return;
    for (uint64_t seq = first; seq <= last; seq++)
        if (world.received[world.current] >> seq & 1 && !s_is_last_word ())
            s_wrong ("3: it was received, and is reported lost");
    if (last >= world.published[world.current] && !s_is_last_word ())
        s_wrong ("6: lost, but never published");
}

static void s_on_notice (void *owner, kv_notice_t notice, uint64_t first, uint64_t last)
{
    (void) owner;
    PRINT ("      %s %" PRIu64 "-%" PRIu64 "\n", kv_notice_name (notice), first, last);
    world.counts.gaps += notice == KV_GAP;
    world.counts.restarts += notice == KV_RESTART;
    world.counts.strays += notice == KV_STRAY;
    world.counts.lost += notice == KV_LOST || notice == KV_HISTORY_LOST ? last - first + 1 : 0;
    if (!world.faulty)
        s_wrong ("all went well, and a notice says that it did not");
    if (notice == KV_STRAY)
        for (unsigned i = 0; i < world.strays; i++)
            if (world.stray[i] == first)
                world.named[i] = true;
    if (world.excused)
        return;
    switch (notice) {
    case KV_LOST:
    case KV_HISTORY_LOST:
        s_on_lost (first, last);
        break;
    case KV_RESTART:
        world.restarts++;
        if (world.current >= 0 && !world.guessed && world.current == (int) world.run)
            s_wrong ("5: a restart is reported, and it is the same run");
        if (world.restarts > world.run)
            s_wrong ("5: more restarts than there were");
        world.parted = true;
        world.account = 0;
        world.begun = true;
        if (world.guessed) {  //  All of the new run comes again, from 0 on
            memset (world.delivered, 0, sizeof world.delivered);
            memset (world.received, 0, sizeof world.received);
        } else if (world.current >= 0)
            world.current++;  //  It is of a later run, at least
        world.guessed = false;
        break;
    case KV_UNCHECKED:
        world.guessed = true;
        world.parted = world.unchecked = true;
        if (first == 0)
            world.unfair = true;
        break;
    case KV_HELD_FULL:
        world.unfair = true;
        break;
    default:
        break;
    }
}

//  A stray message reaches the sequence, which has to name it
static void s_feed (const message_t *message)
{
    for (unsigned i = 0; i < world.strays; i++)
        if (message->truth.run == NO_RUN && world.stray[i] == message->seq)
            world.fed[i] = true;
    const kv_sequence_t *self = world.sequence;
    if (message->truth.run == NO_RUN && (message->seq == self->next || message->seq == self->top ||
                                         (self->heard && message->seq == self->newest + 1)))
        world.excused = true;  //  It has the number that is due: a batch like any other
}

//  -- Steps of the world. Each returns false when it is not possible now.

static kv_numbered_t s_numbered (const message_t *message, bool replayed)
{
    return (kv_numbered_t){.seq = message->seq,
                           .topic = {"kv", 2},
                           .payload = {(const char *) &message->truth, sizeof message->truth},
                           .replayed = replayed};
}

//  What is counted is what was told, and no queue is longer than it may be
static void s_check_counts (void)
{
    const kv_sequence_t *self = world.sequence;
    const kv_sequence_counts_t *is = kv_sequence_counts (self);
    kv_sequence_counts_t should = world.counts;
    should.received = is->received;
    should.duplicates = is->duplicates;
    if (memcmp (is, &should, sizeof should) != 0)
        s_wrong ("the counts are wrong");
    if (kv_store_size (&self->held) > self->limits.max_held ||
        kv_store_size (&self->queue) > self->limits.max_held)
        s_wrong ("more is held than there is room for");
}

//  After each event: its transition, and whether it wants a replay
static void s_after (kv_state_t from, kv_event_name_t event)
{
    s_check_counts ();
    kv_state_t to = kv_sequence_state (world.sequence);
    seen[from][event] |= 1u << to;
    if (!kv_sequence_may (from, event, to))
        s_wrong ("this transition is not in the table");
    uint64_t start;
    kv_replay_t replay = kv_sequence_replay (world.sequence, &start);
    if (replay != KV_REPLAY_RUNNING)
        world.asked = world.served = false;
    if (replay == KV_REPLAY_ASK) {
        world.asked = true;
        world.ask = start;
        PRINT ("      ask from %" PRIu64 "\n", start);
    }
}

#define EVENT(name, call)                                                                          \
    do {                                                                                           \
        kv_state_t before = kv_sequence_state (world.sequence);                                    \
        call;                                                                                      \
        s_after (before, name);                                                                    \
    } while (0)

//  The publisher knows of us, and we have not heard yet that we are connected
static bool s_is_early (void)
{
    return world.setting->early && world.links == 0;
}

static bool s_publish (bool live)
{
    unsigned number = world.published[world.run];
    if (number >= NUMBERS || world.sent >= WIRE || (live && !world.linked && !s_is_early ()))
        return false;
    world.published[world.run]++;
    if (!live && world.strays > 0 && world.stray[0] == number && !world.named[0])
        world.excused =
            true;  //  The next number will agree with the stray that has taken its place
    if (live)
        world.wire[world.sent++] = (message_t){number, {world.run, number}};
    return true;
}

static bool s_read (void)
{
    if (world.sent == 0)
        return false;
    message_t message = world.wire[0];
    world.sent--;
    memmove (world.wire, world.wire + 1, world.sent * sizeof world.wire[0]);
    PRINT ("      live %" PRIu64 "\n", message.seq);
    //  What waits while its run is not known is not counted as received when that link is cut
    if (message.truth.run != NO_RUN) {
        world.received[message.truth.run] |= (uint64_t) 1 << message.seq;
        if (world.setting->hidden && message.truth.run > world.heard.truth.run &&
            message.seq > world.sequence->newest)
            world.excused = true;  //  The numbers do not fall, and no cut was seen: nobody can tell
        world.heard = message;
    }
    s_feed (&message);
    if (!world.linked && world.sequence->unsure)
        world.unfair = true;
    kv_numbered_t batch = s_numbered (&message, false);
    EVENT (KV_LIVE, kv_sequence_live (world.sequence, &batch, world.now));
    return true;
}

//  Reads all, and finds the SUB empty
static bool s_drain (void)
{
    if (world.sent == 0 && world.sequence->drained >= 0)
        return false;
    while (s_read ())
        ;
    kv_sequence_drained (world.sequence, world.now);
    return true;
}

static bool s_cut (void)
{
    if (!world.linked)
        return false;
    world.linked = false;
    if (world.sequence->unsure && kv_store_size (&world.sequence->queue) > 0)
        world.unfair = true;  //  Of which run those are will never be known
    EVENT (KV_DISCONNECTED, kv_sequence_disconnected (world.sequence, world.now));
    return true;
}

//  A stray that nothing has contradicted is about to be believed
static void s_excuse (void)
{
    const kv_sequence_t *self = world.sequence;
    for (size_t i = 0; i < self->ahead.count + 1; i++) {
        const kv_held_t *held = i < self->ahead.count ? self->ahead.of[i] : self->fallen;
        truth_t truth;
        if (!held || held->batch.seq >= JUMP)
            continue;
        memcpy (&truth, held->batch.payload.data, sizeof truth);
        world.excused = world.excused || truth.run == NO_RUN;
    }
}

static bool s_link (void)
{
    if (world.linked || (world.sent > 0 && !s_is_early ()))
        return false;
    world.linked = true;
    world.links++;
    if (!world.sequence->known || !world.setting->can_replay)
        s_excuse ();
    EVENT (KV_CONNECTED, kv_sequence_connected (world.sequence, world.now));
    return true;
}

static bool s_restart (void)
{
    if (world.run + 1 >= (world.setting->hidden ? 2 : RUNS) || world.published[world.run] == 0)
        return false;
    if (s_is_early () || (world.begun && world.setting->from_seq > 0 && world.current < 0))
        return false;  //  The reader resumes, and has nothing to compare with: it cannot tell
    if (!world.setting->hidden)
        s_cut ();
    world.run++;
    return true;
}

//  One message that is wrong
static bool s_stray (char kind)
{
    if (!strchr (world.setting->strays, kind) || world.strays > 0 || !world.linked ||
        world.sent >= WIRE)
        return false;
    uint64_t seq = kind == 'f' ? FAR_AWAY : kind == 'n' ? world.published[world.run] + 2 : 0;
    if (kind == 'b' && (world.delivered[world.run] & 3) != 3)
        return false;  //  Where 0 or 1 is due, nobody could tell it from another run
    if (kind == 'n' && !world.delivered[world.run])
        return false;  //  Of three numbers, none of which follows, nobody can tell which is wrong
    world.stray_link = world.links;
    world.stray[world.strays++] = seq;
    world.wire[world.sent++] = (message_t){seq, {NO_RUN, 0}};
    return true;
}

//  The publisher answers a replay: from here on its replies are on their way
static bool s_serve (void)
{
    if (!world.asked || world.served)
        return false;
    unsigned published = world.published[world.run], keeps = world.setting->history;
    unsigned first = published > keeps ? published - keeps : 0;
    world.served = true;
    world.reply_count = 0;
    world.reply_end = true;
    for (unsigned number = first; number < published; number++)
        if (number >= world.ask)
            world.replies[world.reply_count++] = (message_t){number, {world.run, number}};
    return true;
}

static message_t s_take_reply (void)
{
    message_t reply = world.replies[0];
    world.reply_count--;
    memmove (world.replies, world.replies + 1, world.reply_count * sizeof world.replies[0]);
    return reply;
}

//  A second one in a row could not be told from another run
static bool s_may_lose (void)
{
    if (kv_sequence_state (world.sequence) == KV_REPAIRING)
        return true;
    bool may = !world.lossy;
    world.lossy = true;
    return may;
}

static bool s_drop_reply (void)
{
    if (!world.served || world.reply_count == 0 || !s_may_lose ())
        return false;
    s_take_reply ();
    return true;
}

static bool s_reply (void)
{
    if (!world.asked || !world.served)
        return false;
    if (world.reply_count > 0) {
        message_t message = s_take_reply ();
        PRINT ("      reply %" PRIu64 "\n", message.seq);
        if (kv_sequence_state (world.sequence) == KV_REPAIRING) {
            s_feed (&message);
            if (message.truth.run != NO_RUN)
                world.received[message.truth.run] |= (uint64_t) 1 << message.seq;
        }
        kv_numbered_t batch = s_numbered (&message, true);
        EVENT (KV_REPLY, kv_sequence_reply (world.sequence, &batch, world.now));
    } else if (world.reply_end) {
        PRINT ("      end\n");
        world.served = world.asked = false;
        EVENT (KV_END, kv_sequence_end (world.sequence, world.now));
    } else {
        return false;
    }
    return true;
}

static bool s_replies (void)
{
    if (!s_serve () && !world.served)
        return false;
    uint64_t ask = world.ask;
    while (world.asked && world.served && world.ask == ask && s_reply ())
        ;
    return true;
}

//  The rest is lost on the way; with its end, or without
static bool s_lose_replies (bool end)
{
    if (!world.served || (world.reply_count == 0 && (end || !world.reply_end)) || !s_may_lose ())
        return false;
    world.reply_count = 0;
    world.reply_end = end;
    return true;
}

static bool s_stray_reply (void)
{
    if (!world.served || world.strays > 0 || !strchr (world.setting->strays, 'f'))
        return false;
    memmove (world.replies + 1, world.replies, world.reply_count * sizeof world.replies[0]);
    world.replies[0] = (message_t){FAR_AWAY, {NO_RUN, 0}};
    world.reply_count++;
    world.stray[world.strays++] = FAR_AWAY;
    return true;
}

//  Nothing happens until the sequence wants to hear of the time
static bool s_tick (void)
{
    int64_t deadline = kv_sequence_deadline (world.sequence);
    if (deadline == INT64_MAX || (world.sent > 0 && !world.asked))
        return false;
    s_read ();  //  Whoever looks at the clock has looked at the SUB before
    deadline = kv_sequence_deadline (world.sequence);
    if (deadline == INT64_MAX || (world.sent > 0 && !world.asked))
        return true;
    if (!world.asked)
        s_excuse ();
    if (deadline > world.now)
        world.now = deadline;
    PRINT ("      tick at %" PRId64 "\n", world.now);
    EVENT (KV_TICK, kv_sequence_tick (world.sequence, world.now));
    return true;
}

static bool s_step (char step)
{
    if (strchr ("pd", step) && world.published[world.run] + 4 > NUMBERS)
        return false;                        //  Some are left for the end
    bool late = step == 't' && world.asked;  //  The publisher does not answer
    world.faulty = world.faulty || late || strchr ("dclxfnbhewS", step);
    world.unkept = world.unkept || late || strchr ("xfnbhewS", step);
    return step == 'p'   ? s_publish (true)
           : step == 'd' ? s_publish (false)
           : step == 'r' ? s_read ()
           : step == 'R' ? s_drain ()
           : step == 'c' ? s_cut ()
           : step == 'l' ? s_link ()
           : step == 'x' ? s_restart ()
           : step == 's' ? s_serve ()
           : step == 'y' ? s_reply ()
           : step == 'Y' ? s_replies ()
           : step == 'h' ? s_drop_reply ()
           : step == 'e' ? s_lose_replies (true)
           : step == 'w' ? s_lose_replies (false)
           : step == 'S' ? s_stray_reply ()
           : step == 't' ? s_tick ()
                         : s_stray (step);
}

static const char steps[] = "pdrRclxfnbsyYhewSt";

//  -- Schedules

static void s_begin (const setting_t *setting)
{
    kv_sequence_destroy (&world.sequence);
    memset (&world, 0, sizeof world);
    world.setting = setting;
    world.current = -1;
    world.begun = setting->from_seq != KV_FROM_LIVE;
    if (world.begun)  //  The reader has what is before
        world.account = world.published[0] = (unsigned) setting->from_seq;
    kv_sequence_limits_t limits = {.from_seq = setting->from_seq,
                                   .can_replay = setting->can_replay,
                                   .max_held = setting->max_held,
                                   .max_bytes = 1 << 20,
                                   .max_jump = JUMP,
                                   .replay_ms = 300};
    kv_sequence_handler_t handler = {s_on_deliver, s_on_notice, NULL};
    world.sequence = kv_sequence_new (&limits, &handler);
    if (!setting->early)
        s_link ();
}

//  Now all goes well: then all must be accounted for, and nobody waits any more
static void s_end_well (void)
{
    PRINT ("    all goes well\n");
    for (int round = 0; round < 2; round++) {
        while (world.sent > 0)
            s_read ();
        while (!world.linked && !s_link ())
            s_read ();
        for (int i = 0; i < 60 && (world.asked || world.sent > 0 ||
                                   kv_sequence_deadline (world.sequence) != INT64_MAX);
             i++) {
            s_drain ();
            if (world.asked && (!world.served || world.reply_count > 0 || world.reply_end))
                s_replies ();
            else
                s_tick ();
        }
        if (kv_sequence_deadline (world.sequence) != INT64_MAX)
            s_wrong ("7: a wait without an end");
        for (int i = 0; round == 0 && i < 2; i++) {
            s_publish (true);
            s_drain ();
        }
    }
    if (world.excused)
        return;
    if (world.account != world.published[world.run] ||
        !(world.delivered[world.run] >> (world.account - 1) & 1))
        s_wrong ("2: in the end not all is accounted for");
    for (unsigned i = 0; i < world.strays; i++)
        if (world.fed[i] && !world.named[i] && !world.unfair && world.stray[i] >= JUMP)
            s_wrong ("6: a stray message was not named");
}

//  Plays one schedule. False when its last step is not possible.
static bool s_play (const setting_t *setting, const char *schedule)
{
    s_begin (setting);
    for (const char *step = schedule; *step && !world.wrong; step++) {
        PRINT ("    step %c (%s)\n", *step, kv_state_name (kv_sequence_state (world.sequence)));
        if (!s_step (*step))
            return false;
    }
    return true;
}

//  -- Worlds that were seen. A world is known by a hash of all that decides its future.

typedef struct {
    uint64_t *of;
    size_t size, used;
} set_t;

//  Where the key is, or would be
static uint64_t *s_set_find (const set_t *self, uint64_t key)
{
    size_t at = key & (self->size - 1);
    while (self->of[at] && self->of[at] != key)
        at = (at + 1) & (self->size - 1);
    return &self->of[at];
}

static void s_set_grow (set_t *self)
{
    set_t bigger = {.size = self->size ? self->size * 2 : 1 << 16, .used = self->used};
    bigger.of = calloc (bigger.size, sizeof *bigger.of);
    assert (bigger.of);
    for (size_t i = 0; i < self->size; i++)
        if (self->of[i])
            *s_set_find (&bigger, self->of[i]) = self->of[i];
    free (self->of);
    *self = bigger;
}

//  False: it was there already
static bool s_set_add (set_t *self, uint64_t key)
{
    if (self->used * 2 >= self->size)
        s_set_grow (self);
    key |= 1;
    uint64_t *place = s_set_find (self, key);
    if (*place)
        return false;
    *place = key;
    self->used++;
    return true;
}

static uint64_t hash;

static void s_mix (const uint64_t *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        hash = (hash ^ values[i]) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 29;
    }
}

#define MIX(...)                                                                                   \
    do {                                                                                           \
        const uint64_t values[] = {__VA_ARGS__};                                                   \
        s_mix (values, sizeof values / sizeof values[0]);                                          \
    } while (0)

static void s_mix_held (const kv_held_t *held)
{
    if (held)
        MIX (1, held->batch.seq, held->print, held->batch.replayed,
             (uint64_t) (world.now - held->since));
    else
        MIX (0);
}

static void s_mix_store (const kv_store_t *store)
{
    MIX (kv_store_size (store));
    for (kv_held_t *held = zlistx_first (store->list); held; held = zlistx_next (store->list))
        MIX (held->batch.seq, held->print);
}

static void s_mix_doubts (const kv_doubts_t *doubts)
{
    MIX (doubts->count);
    for (size_t i = 0; i < doubts->count; i++)
        s_mix_held (doubts->of[i]);
}

static void s_mix_messages (const message_t *messages, unsigned count)
{
    MIX (count);
    for (unsigned i = 0; i < count; i++)
        MIX (messages[i].seq, messages[i].truth.run);
}

static void s_mix_sequence (const kv_sequence_t *self)
{
    MIX (self->started, self->known, self->told_full, self->up, self->joined, self->heard,
         self->unchecked, self->unsure, self->accused, self->open, self->replied, self->progress,
         self->told_hole, self->differs, self->queue_dropped, self->beyond, self->cautious,
         self->whole, self->state, self->next, self->top, self->top_print, self->gone,
         self->gone_why, self->newest, self->queue_old, self->replay, self->start, self->due,
         self->other, (uint64_t) self->failures, self->drained >= 0,
         self->drained >= 0 ? (uint64_t) (world.now - self->drained) : 0,
         self->replay != KV_REPLAY_NONE ? (uint64_t) (self->deadline - world.now) : 0);
    for (size_t i = 0; i < NUMBERS; i++)
        MIX (self->memory.of[i].set ? self->memory.of[i].print : 0);
    s_mix_store (&self->held);
    s_mix_store (&self->queue);
    s_mix_doubts (&self->ahead);
    s_mix_doubts (&self->late);
    s_mix_held (self->fallen);
}

static uint64_t s_hash_world (void)
{
    hash = 0;
    s_mix_sequence (world.sequence);
    for (unsigned i = 0; i < RUNS; i++)
        MIX (world.published[i], world.received[i], world.delivered[i]);
    s_mix_messages (world.wire, world.sent);
    s_mix_messages (world.replies, world.served ? world.reply_count : 0);
    MIX (world.run, world.linked, world.asked, world.served, world.reply_end, world.begun,
         world.parted, world.unchecked, world.excused, world.unfair, world.named[0], world.fed[0],
         world.lossy, world.guessed, world.faulty, world.unkept, world.asked ? world.ask : 0,
         world.strays, world.links > world.stray_link, (uint64_t) world.current, world.account,
         world.restarts);
    return hash;
}

//  -- The search: level by level, so that each world is met on a shortest way

static void s_fail (const setting_t *setting, const char *schedule)
{
    printf ("FAILED: %s\n  setting \"%s\", schedule %s\n", world.wrong, setting->name, schedule);
    verbose = true;
    s_play (setting, schedule);
    if (!world.wrong)
        s_end_well ();
    exit (EXIT_FAILURE);
}

static uint64_t played, worlds;

//  Goes on from each world that was met; the queue has those to go on from, by a shortest way
static void s_explore (const setting_t *setting, size_t depth)
{
    typedef char schedule_t[32];
    set_t met = {NULL, 0, 0};
    size_t room = 1024, queued = 1;
    schedule_t *queue = calloc (room, sizeof *queue);
    assert (queue);
    for (size_t i = 0; i < queued; i++) {
        size_t length = strlen (queue[i]) + 1;
        for (const char *step = steps; *step; step++) {
            schedule_t schedule;
            snprintf (schedule, sizeof schedule, "%s%c", queue[i], *step);
            if (!s_play (setting, schedule))
                continue;
            played++;
            if (world.wrong)
                s_fail (setting, schedule);
            if (!s_set_add (&met, s_hash_world ()))
                continue;
            worlds++;
            s_end_well ();
            if (world.wrong)
                s_fail (setting, schedule);
            if (length >= depth)
                continue;
            if (queued == room) {
                room *= 2;
                queue = realloc (queue, room * sizeof *queue);
                assert (queue);
            }
            memcpy (queue[queued++], schedule, sizeof schedule);
        }
    }
    free (queue);
    free (met.of);
}

static uint64_t s_random (uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

//  Random schedules, longer than a search can go
static void s_wander (uint64_t seed, uint64_t count, size_t length)
{
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
    char *schedule = malloc (length + 1);
    assert (schedule);
    for (uint64_t n = 0; n < count; n++) {
        const setting_t *setting = &settings[s_random (&state) % SETTINGS];
        s_begin (setting);
        size_t at = 0;
        for (size_t tries = 0; at < length && tries < 20 * length && !world.wrong; tries++) {
            char step = s_random (&state) % 3 ? "pdrRsyY"[s_random (&state) % 7]
                                              : steps[s_random (&state) % strlen (steps)];
            schedule[at] = step;
            if (s_step (step))
                at++;
        }
        schedule[at] = 0;
        played++;
        if (!world.wrong)
            s_end_well ();
        if (world.wrong)
            s_fail (setting, schedule);
    }
    free (schedule);
}

//  Transitions of the table that were never taken
static void s_print_unseen (void)
{
    for (kv_state_t from = 0; from < KV_STATES; from++)
        for (kv_event_name_t event = 0; event < KV_FLUSH; event++)
            for (kv_state_t to = 0; to < KV_STATES; to++)
                if (from != to && kv_sequence_may (from, event, to) &&
                    !(seen[from][event] & 1u << to))
                    printf ("never taken: %s --%s--> %s\n", kv_state_name (from),
                            kv_event_name (event), kv_state_name (to));
}

static int s_play_again (const char *name, const char *schedule)
{
    verbose = true;
    for (size_t i = 0; i < SETTINGS; i++)
        if (streq (settings[i].name, name) && s_play (&settings[i], schedule) && !world.wrong)
            s_end_well ();
    printf ("%s\n", world.wrong ? world.wrong : "all invariants hold");
    return world.wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main (int argc, char **argv)
{
    if (argc == 4 && streq (argv[1], "play"))
        return s_play_again (argv[2], argv[3]);
    if (argc == 5 && streq (argv[1], "random")) {
        size_t length = (size_t) strtoul (argv[2], NULL, 10);
        s_wander (strtoull (argv[3], NULL, 10), strtoull (argv[4], NULL, 10), length);
        printf ("%" PRIu64 " random schedules of %zu steps: all invariants hold\n", played, length);
        return EXIT_SUCCESS;
    }
    size_t depth = argc > 1 ? (size_t) strtoul (argv[1], NULL, 10) : 7;
    size_t part = argc == 4 ? (size_t) strtoul (argv[2], NULL, 10) : 0;
    size_t parts = argc == 4 ? (size_t) strtoul (argv[3], NULL, 10) : 1;
    for (size_t i = part; i < SETTINGS; i += parts) {
        uint64_t before = played, worlds_before = worlds;
        s_explore (&settings[i], depth);
        printf ("%s: %" PRIu64 " schedules, %" PRIu64 " worlds\n", settings[i].name,
                played - before, worlds - worlds_before);
        fflush (stdout);
    }
    printf ("depth %zu: %" PRIu64 " schedules, %" PRIu64 " worlds: all invariants hold\n", depth,
            played, worlds);
    s_print_unseen ();
    return EXIT_SUCCESS;
}
