//  SPDX-License-Identifier: MIT

#include "unit.h"

#include "kv/kv_events.h"
#include "kv/kv_sequence.h"

//  -- Batches. The payload says of which run of the publisher a batch is, and its number there.

typedef struct {
    uint64_t run, seq;
} batch_t;

//  What the bytes of a batch are in while it is handed over
static batch_t handed;

static kv_numbered_t s_hand (batch_t batch, bool replayed)
{
    handed = batch;
    return (kv_numbered_t){batch.seq, {"kv", 2}, {(const char *) &handed, sizeof handed}, replayed};
}

static void s_live_one (kv_sequence_t *self, batch_t batch)
{
    kv_numbered_t numbered = s_hand (batch, false);
    kv_sequence_live (self, &numbered);
    memset (&handed, 0xff, sizeof handed);  //  Ours again: what it needs it has copied
}

static bool s_reply_one (kv_sequence_t *self, batch_t batch)
{
    kv_numbered_t numbered = s_hand (batch, true);
    bool fresh = kv_sequence_reply (self, &numbered);
    memset (&handed, 0xff, sizeof handed);
    return fresh;
}

static batch_t s_read (const kv_numbered_t *numbered)
{
    batch_t batch = {0, 0};
    assert_int_equal (numbered->payload.size, sizeof batch);
    memcpy (&batch, numbered->payload.data, sizeof batch);
    assert_int_equal (numbered->topic.size, 2);
    assert_memory_equal (numbered->topic.data, "kv", 2);
    return batch;
}

//  -- One transition after the other. What came out is told in one line: "0 1 gap(2-3) 2r":
//  batches, with r for replayed ones and the run in front unless it is 0,
//  and notices with their numbers.

static kv_sequence_t *sequence;
static char said[4000];

static void s_say (const char *format, ...) CHECK_PRINTF (1);
static void s_say (const char *format, ...)
{
    size_t size = strlen (said);
    va_list args;
    va_start (args, format);
    vsnprintf (said + size, sizeof said - size, format, args);
    va_end (args);
}

static void s_on_deliver (void *owner, const kv_numbered_t *numbered)
{
    assert_ptr_equal (owner, &sequence);
    batch_t batch = s_read (numbered);
    uint64_t seq = numbered->seq;
    assert_int_equal (batch.seq, seq);
    if (batch.run > 0)
        s_say ("%s%d:", *said ? " " : "", (int) batch.run);
    s_say ("%s%d%s", *said && batch.run == 0 ? " " : "", (int) seq, numbered->replayed ? "r" : "");
}

static void s_on_notice (void *owner, kv_notice_t notice, uint64_t first, uint64_t last)
{
    assert_ptr_equal (owner, &sequence);
    s_say ("%s%s(%d", *said ? " " : "", kv_notice_name (notice), (int) first);
    if (last != first)
        s_say ("-%d", (int) last);
    s_say (")");
}

static void s_begin_with (kv_sequence_limits_t limits)
{
    kv_sequence_handler_t handler = {s_on_deliver, s_on_notice, &sequence};
    *said = 0;
    sequence = kv_sequence_new (&limits, &handler);
    if (limits.from_seq == KV_FROM_LIVE)
        kv_sequence_connected (sequence);  //  There is nothing to ask for yet
}

static void s_begin (uint64_t from_seq, bool can_replay)
{
    s_begin_with ((kv_sequence_limits_t){from_seq, can_replay, 1000, 1 << 20});
}

static int s_teardown (void **state)
{
    (void) state;
    kv_sequence_destroy (&sequence);
    return 0;
}

//  Live batches first to last of a run
static void s_live (uint64_t run, uint64_t first, uint64_t last)
{
    for (uint64_t seq = first; seq <= last; seq++)
        s_live_one (sequence, (batch_t){run, seq});
}

//  Likewise replies. Returns what the last one did.
static bool s_reply (uint64_t run, uint64_t first, uint64_t last)
{
    bool fresh = false;
    for (uint64_t seq = first; seq <= last; seq++)
        fresh = s_reply_one (sequence, (batch_t){run, seq});
    return fresh;
}

//  What has come out since the last time
static void s_out (const char *text)
{
    assert_string_equal (said, text);
    *said = 0;
}

static void s_asks (uint64_t wanted)
{
    uint64_t start = 0;
    assert_int_equal (kv_sequence_replay (sequence, &start), KV_REPLAY_ASK);
    assert_int_equal (start, wanted);
    //  Once a request
    assert_int_equal (kv_sequence_replay (sequence, &start), KV_REPLAY_RUNNING);
}

static void s_is (kv_replay_t replay)
{
    uint64_t start;
    assert_int_equal (kv_sequence_replay (sequence, &start), replay);
}

//  Nothing is asked for, and all that came is told
static void s_rests (uint64_t received, uint64_t duplicates, uint64_t lost)
{
    s_is (KV_REPLAY_NONE);
    const kv_sequence_counts_t *counts = kv_sequence_counts (sequence);
    assert_int_equal (counts->received, received);
    assert_int_equal (counts->duplicates, duplicates);
    assert_int_equal (counts->lost, lost);
}

//  Cut off, and connected again. The sequence asks from `start` on.
static void s_rejoin (uint64_t start)
{
    uint64_t ignored;
    kv_sequence_disconnected (sequence);
    (void) kv_sequence_replay (sequence, &ignored);
    kv_sequence_connected (sequence);
    kv_sequence_drained (sequence);
    s_asks (start);
}

static void test_names (void **state)
{
    (void) state;
    static const char *const names[] = {"gap",          "history_lost",   "replay_hole",
                                        "replay_short", "replay_timeout", "held_full",
                                        "lost",         "restart"};
    for (size_t i = 0; i < COUNT (names); i++) {
        assert_string_equal (kv_notice_name ((kv_notice_t) i), names[i]);
        assert_true (strlen (kv_notice_meaning ((kv_notice_t) i)) > 10);
    };
}

static void test_in_order (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 2);
    s_out ("0 1 2");
    s_rests (3, 0, 0);
}

static void test_from_live_begins_anywhere (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_is (KV_REPLAY_NONE);
    s_live (0, 7, 8);
    s_out ("7 8");
    s_rests (2, 0, 0);
}

static void test_from_a_number_asks_at_once (void **state)
{
    (void) state;
    s_begin (3, true);
    s_is (KV_REPLAY_NONE);
    kv_sequence_connected (sequence);
    s_asks (3);
    s_reply (0, 3, 4);
    s_is (KV_REPLAY_RUNNING);
    kv_sequence_end (sequence);
    s_out ("3r 4r");
    s_rests (2, 0, 0);
    s_live (0, 5, 5);
    s_out ("5");
}

static void test_from_a_number_without_a_replay (void **state)
{
    (void) state;
    s_begin (0, false);
    kv_sequence_connected (sequence);
    s_live (0, 2, 3);
    s_out ("gap(0-1) lost(0-1) 2 3");
    s_rests (2, 0, 2);
}

static void test_gap_without_a_replay_is_lost (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, false);
    s_live (0, 0, 0);
    s_live (0, 3, 3);
    s_out ("0 gap(1-2) lost(1-2) 3");
    s_rests (2, 0, 2);
    assert_int_equal (kv_sequence_counts (sequence)->gaps, 1);
}

static void test_gap_is_filled_by_a_replay (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 1);
    s_live (0, 4, 4);
    s_out ("0 1 gap(2-3)");
    s_asks (2);
    s_reply (0, 2, 3);
    s_out ("2r 3r 4");
    s_rests (5, 0, 0);
    assert_int_equal (kv_sequence_counts (sequence)->replayed, 2);
    assert_int_equal (kv_sequence_counts (sequence)->delivered, 5);
}

static void test_live_ones_wait_for_the_replay (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    s_live (0, 2, 5);
    s_out ("0 gap(1)");
    s_asks (1);
    assert_true (s_reply (0, 1, 1));
    s_out ("1r 2 3 4 5");
    s_rests (6, 0, 0);
}

static void test_second_copies_from_the_live_side (void **state)
{
    (void) state;
    s_begin (0, true);
    kv_sequence_connected (sequence);
    s_asks (0);
    s_reply (0, 0, 3);
    s_live (0, 2, 4);
    s_out ("0r 1r 2r 3r 4");
    s_rests (7, 2, 0);
}

static void test_second_copies_from_the_replay (void **state)
{
    (void) state;
    s_begin (0, true);
    kv_sequence_connected (sequence);
    s_asks (0);
    s_live (0, 3, 3);
    s_live (0, 5, 5);
    s_reply (0, 0, 2);
    s_out ("gap(4) 0r 1r 2r 3");
    assert_false (s_reply (0, 3, 3));
    assert_true (s_reply (0, 4, 4));
    s_out ("4r 5");
    s_rests (7, 1, 0);
}

static void test_whole_history_whatever_was_asked (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 2);
    s_live (0, 4, 4);
    s_out ("0 1 2 gap(3)");
    s_asks (3);
    assert_false (s_reply (0, 0, 2));
    assert_true (s_reply (0, 3, 3));
    s_out ("3r 4");
    s_rests (8, 3, 0);
}

static void test_nothing_but_copies_is_given_up (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 1);
    s_live (0, 3, 3);
    s_out ("0 1 gap(2)");
    s_asks (2);
    assert_false (s_reply (0, 0, 1));
    kv_sequence_end (sequence);
    s_out ("replay_short(2)");
    s_asks (2);
    assert_false (s_reply (0, 0, 1));
    kv_sequence_end (sequence);
    s_out ("replay_short(2) lost(2) 3");
    s_rests (7, 4, 1);
}

static void test_late_replay_loses_history (void **state)
{
    (void) state;
    s_begin (0, true);
    kv_sequence_connected (sequence);
    s_asks (0);
    s_reply (0, 4, 5);
    s_out ("history_lost(0-3) 4r 5r");
    kv_sequence_end (sequence);
    s_rests (2, 0, 4);
}

static void test_late_replay_delivers_what_is_held (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    s_live (0, 2, 2);
    s_live (0, 5, 5);
    s_out ("0 gap(1) gap(3-4)");
    s_asks (1);
    s_reply (0, 4, 4);
    s_out ("history_lost(1) 2 history_lost(3) 4r 5");
    s_rests (4, 0, 2);
}

//  The same when the first one that is kept has come live
static void test_late_replay_that_begins_with_what_is_held (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    s_live (0, 5, 6);
    s_asks (1);
    assert_false (s_reply (0, 5, 5));
    s_out ("0 gap(1-4) history_lost(1-4) 5 6");
    s_rests (4, 1, 4);
}

static void test_hole_is_asked_for_again (void **state)
{
    (void) state;
    s_begin (0, true);
    kv_sequence_connected (sequence);
    s_asks (0);
    s_reply (0, 0, 0);
    s_reply (0, 3, 4);
    s_out ("0r replay_hole(1-2)");
    kv_sequence_end (sequence);
    s_out ("replay_short(1-2)");
    s_asks (1);
    s_reply (0, 1, 2);
    s_out ("1r 2r 3r 4r");
    s_rests (5, 0, 0);
}

//  The first of the replays brought something, so it does not count as an attempt
static void test_hole_that_stays_is_lost (void **state)
{
    (void) state;
    s_begin (0, true);
    kv_sequence_connected (sequence);
    s_asks (0);
    s_reply (0, 0, 0);
    s_reply (0, 2, 2);
    kv_sequence_end (sequence);
    s_out ("0r replay_hole(1) replay_short(1)");
    s_asks (1);
    kv_sequence_end (sequence);
    s_out ("replay_short(1)");
    s_asks (1);
    kv_sequence_end (sequence);
    s_out ("replay_short(1) lost(1) 2r");
    s_rests (2, 0, 1);
}

static void test_early_end_is_asked_for_again_then_lost (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    s_live (0, 3, 3);
    s_out ("0 gap(1-2)");
    s_asks (1);
    s_reply (0, 1, 1);
    kv_sequence_end (sequence);
    s_out ("1r replay_short(2)");
    s_asks (2);
    kv_sequence_end (sequence);
    s_asks (2);
    kv_sequence_end (sequence);
    s_out ("replay_short(2) replay_short(2) lost(2) 3");
    s_rests (3, 0, 1);
}

static void test_timeout_resumes_where_it_stopped (void **state)
{
    (void) state;
    s_begin (0, true);
    kv_sequence_connected (sequence);
    s_asks (0);
    s_reply (0, 0, 2);
    kv_sequence_timeout (sequence);
    s_out ("0r 1r 2r replay_timeout(3)");
    s_asks (3);
}

static void test_timeout_without_progress_gives_up (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    s_live (0, 2, 2);
    s_live (0, 4, 4);
    s_out ("0 gap(1) gap(3)");
    for (int i = 0; i < KV_REPLAY_ATTEMPTS; i++) {
        s_asks (1);
        kv_sequence_timeout (sequence);
    }
    s_out ("replay_timeout(1) replay_timeout(1) lost(1) 2");
    for (int i = 0; i < KV_REPLAY_ATTEMPTS; i++) {
        s_asks (3);
        kv_sequence_timeout (sequence);
    }
    s_out ("replay_timeout(3) replay_timeout(3) lost(3) 4");
    s_rests (3, 0, 2);
}

static void test_dead_server_of_the_past_is_left_alone (void **state)
{
    (void) state;
    s_begin (0, true);
    kv_sequence_connected (sequence);
    s_asks (0);
    kv_sequence_timeout (sequence);
    s_asks (0);
    kv_sequence_timeout (sequence);
    s_out ("replay_timeout(0) replay_timeout(0)");
    s_rests (0, 0, 0);
}

static void test_progress_counts_attempts_anew (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    s_live (0, 4, 4);
    s_out ("0 gap(1-3)");
    s_asks (1);
    kv_sequence_timeout (sequence);
    s_asks (1);
    s_reply (0, 1, 1);
    kv_sequence_timeout (sequence);
    s_asks (2);
    kv_sequence_timeout (sequence);
    s_asks (2);
    s_reply (0, 2, 3);
    s_out ("replay_timeout(1) 1r replay_timeout(2) replay_timeout(2) 2r 3r 4");
    s_rests (5, 0, 0);
}

//  What was dropped is asked for: here the replay that is under way brings it
static void test_success_counts_attempts_anew (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    s_live (0, 2, 2);
    s_asks (1);
    kv_sequence_timeout (sequence);
    s_asks (1);
    s_reply (0, 1, 1);
    s_out ("0 gap(1) replay_timeout(1) 1r 2");
    s_live (0, 4, 4);
    s_asks (3);
    kv_sequence_timeout (sequence);
    s_out ("gap(3) replay_timeout(3)");
    s_asks (3);
}

static void test_bound_of_messages (void **state)
{
    (void) state;
    s_begin_with ((kv_sequence_limits_t){KV_FROM_LIVE, true, 2, 1 << 20});
    s_live (0, 0, 0);
    s_live (0, 2, 5);
    s_out ("0 gap(1) held_full(4)");
    s_asks (1);
    s_reply (0, 1, 1);
    s_out ("1r 2 3");
    s_is (KV_REPLAY_RUNNING);
    s_reply (0, 2, 5);
    s_out ("4r 5r");
    s_rests (10, 2, 0);
}

//  What was dropped of the old run cannot be asked for any more
static void test_restart_loses_what_was_dropped (void **state)
{
    (void) state;
    s_begin_with ((kv_sequence_limits_t){KV_FROM_LIVE, true, 1, 1 << 20});
    s_live (0, 0, 0);
    s_live (0, 2, 3);
    s_out ("0 gap(1) held_full(3)");
    s_asks (1);
    s_rejoin (0);
    s_live (1, 0, 0);
    s_out ("lost(1) 2 lost(3) restart(0) 1:0");
}

//  Behind a hole and without room a replay can bring nothing any more: the next one can
static void test_no_room_behind_a_hole (void **state)
{
    (void) state;
    s_begin_with ((kv_sequence_limits_t){KV_FROM_LIVE, true, 2, 1 << 20});
    s_live (0, 0, 0);
    s_live (0, 9, 9);
    s_asks (1);
    assert_true (s_reply (0, 1, 1));
    assert_true (s_reply (0, 4, 4));
    s_is (KV_REPLAY_RUNNING);
    assert_false (s_reply (0, 5, 5));
    s_out ("0 gap(1-8) 1r replay_hole(2-3) held_full(5)");
    s_asks (2);
    s_reply (0, 2, 8);
    s_out ("2r 3r 4r 5r 6r 7r 8r 9");
    s_rests (12, 1, 0);
}

//  Each message has a topic of 2 bytes and 16 of payload
static void test_bound_of_bytes (void **state)
{
    (void) state;
    s_begin_with ((kv_sequence_limits_t){KV_FROM_LIVE, true, 1000, 2 * (2 + 16)});
    s_live (0, 0, 0);
    s_live (0, 2, 5);
    s_out ("0 gap(1) held_full(4)");
    s_asks (1);
    s_reply (0, 1, 1);
    kv_sequence_end (sequence);
    s_out ("1r 2 3 replay_short(4-5)");
    s_asks (4);
    s_reply (0, 4, 5);
    s_out ("4r 5r");
    s_rests (8, 0, 0);
}

static void test_restart_at_zero_with_a_replay (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 2);
    s_rejoin (2);
    s_live (1, 0, 1);
    s_out ("0 1 2 restart(0) 1:0 1:1");
    s_rests (5, 0, 0);
    assert_int_equal (kv_sequence_counts (sequence)->restarts, 1);
}

static void test_restart_at_zero_without_a_replay (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, false);
    s_live (0, 0, 2);
    kv_sequence_disconnected (sequence);
    kv_sequence_connected (sequence);
    kv_sequence_drained (sequence);
    s_live (1, 0, 1);
    s_out ("0 1 2 restart(0) 1:0 1:1");
    s_rests (5, 0, 0);
}

//  The SUB may be read before its monitor
//  0 begins a run, though its bytes are those of the last one's
static void test_restart_with_the_same_bytes (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 2);
    s_live (0, 0, 2);
    s_out ("0 1 2 restart(0) 0 1 2");
    s_rests (6, 0, 0);
}

static void test_restart_at_zero_without_a_cut (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, false);
    s_live (0, 0, 2);
    s_live (1, 0, 0);
    s_out ("0 1 2 restart(0) 1:0");
}

static void test_restart_further_on_with_a_replay (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 5);
    s_rejoin (5);
    s_live (1, 2, 2);
    s_out ("0 1 2 3 4 5 restart(2) gap(0-1)");
    s_asks (0);
    s_reply (1, 0, 1);
    s_out ("1:0r 1:1r 1:2");
    s_rests (9, 0, 0);
}

static void test_restart_further_on_without_a_replay (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, false);
    s_live (0, 0, 5);
    kv_sequence_disconnected (sequence);
    kv_sequence_connected (sequence);
    kv_sequence_drained (sequence);
    s_live (1, 2, 2);
    s_out ("0 1 2 3 4 5 restart(2) gap(0-1) lost(0-1) 1:2");
    s_rests (7, 0, 2);
}

static void test_restart_loses_what_the_old_run_owed (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    s_live (0, 3, 3);
    s_out ("0 gap(1-2)");
    s_asks (1);
    s_rejoin (0);
    s_live (1, 0, 0);
    s_out ("lost(1-2) 3 restart(0) 1:0");
    s_rests (3, 0, 2);
}

static void test_check_after_a_cut_shows_a_restart (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 2);
    s_rejoin (2);
    assert_true (s_reply (1, 2, 2));
    s_out ("0 1 2 restart(2)");
    s_asks (0);
    s_reply (1, 0, 3);
    kv_sequence_end (sequence);
    s_out ("1:0r 1:1r 1:2r 1:3r");
    s_rests (7, 0, 0);
}

//  A live batch of the new run waits, since its number could be the old one's
static void test_check_shows_a_run_that_is_further (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 2);
    s_rejoin (2);
    s_live (1, 6, 6);
    s_out ("0 1 2");
    s_reply (1, 2, 2);
    s_out ("restart(2)");
    s_asks (0);
    s_reply (1, 0, 5);
    s_out ("1:0r 1:1r 1:2r 1:3r 1:4r 1:5r 1:6");
    kv_sequence_end (sequence);
    s_rests (10, 0, 0);
}

//  The last batch delivered is not there any more, and what is there has other bytes
static void test_check_shows_a_run_that_is_behind (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 9);
    s_rejoin (9);
    kv_sequence_end (sequence);
    s_asks (0);
    assert_true (s_reply (1, 0, 0));
    s_out ("0 1 2 3 4 5 6 7 8 9 restart(0)");
    s_asks (0);
    s_reply (1, 0, 2);
    s_out ("1:0r 1:1r 1:2r");
    kv_sequence_end (sequence);
    s_rests (13, 0, 0);
    s_live (1, 3, 3);
    s_out ("1:3");
}

//  Nobody remembers so many bytes: that the last one is not there has to do
static void test_check_shows_a_run_that_is_far_behind (void **state)
{
    (void) state;
    s_begin (0, true);
    kv_sequence_connected (sequence);
    s_asks (0);
    s_reply (0, 0, 999);
    kv_sequence_end (sequence);
    s_rejoin (999);
    kv_sequence_end (sequence);
    s_asks (0);
    *said = 0;
    s_reply (1, 0, 1);
    kv_sequence_end (sequence);
    s_out ("restart(999)");
    s_asks (0);
    s_reply (1, 0, 1);
    kv_sequence_end (sequence);
    s_out ("1:0r 1:1r");
    s_rests (1004, 2, 0);
}

//  A new run that has nothing yet: its first live batch shows it, whatever came before was replayed
static void test_check_shows_no_run_yet (void **state)
{
    (void) state;
    s_begin (0, true);
    kv_sequence_connected (sequence);
    s_asks (0);
    s_reply (0, 0, 999);
    kv_sequence_end (sequence);
    s_rejoin (999);
    kv_sequence_end (sequence);
    s_asks (0);
    kv_sequence_end (sequence);
    s_is (KV_REPLAY_NONE);
    *said = 0;
    s_live (1, 0, 1);
    s_out ("restart(0) 1:0 1:1");
    s_rests (1002, 0, 0);
}

//  A replay that ends at once is no proof
static void test_check_that_fails_once (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 2);
    s_rejoin (2);
    kv_sequence_end (sequence);
    s_asks (0);
    s_reply (0, 0, 4);
    kv_sequence_end (sequence);
    s_out ("0 1 2 3r 4r");
    s_rests (7, 2, 0);
}

static void test_cut_without_a_restart_fetches_the_tail (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 2);
    s_rejoin (2);
    assert_true (s_reply (0, 2, 2));
    s_reply (0, 3, 4);
    kv_sequence_end (sequence);
    s_out ("0 1 2 3r 4r");
    s_rests (5, 0, 0);
    s_live (0, 5, 5);
    s_out ("5");
}

static void test_cut_without_a_restart_and_live_ones (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 2);
    s_rejoin (2);
    s_live (0, 5, 5);
    s_out ("0 1 2");
    s_reply (0, 2, 4);
    s_out ("gap(3-4) 3r 4r 5");
    s_rests (6, 0, 0);
}

static void test_check_that_is_not_kept_tells_nothing (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 2);
    s_rejoin (2);
    s_reply (0, 5, 5);
    s_out ("0 1 2 unchecked(3) history_lost(3-4) 5r");
    kv_sequence_end (sequence);
    s_rests (4, 0, 2);
}

//  Nothing is missing, so there is no notice either
static void test_check_without_an_answer_gives_up (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 2);
    s_rejoin (2);
    s_live (0, 3, 3);
    s_out ("0 1 2");
    kv_sequence_end (sequence);
    s_asks (0);
    kv_sequence_end (sequence);
    s_out ("unchecked(3) 3");
    s_rests (4, 0, 0);
}

static void test_cut_while_a_replay_runs (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 1);
    s_live (0, 4, 4);
    s_asks (2);
    s_reply (0, 2, 2);
    s_out ("0 1 gap(2-3) 2r");
    s_rejoin (2);
    s_reply (0, 2, 3);
    s_out ("gap(3) 3r 4");
    kv_sequence_end (sequence);
    s_rests (5, 0, 0);
}

static void test_restart_while_a_replay_runs (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 1);
    s_live (0, 4, 4);
    s_asks (2);
    s_reply (0, 2, 2);
    s_out ("0 1 gap(2-3) 2r");
    s_rejoin (2);
    s_reply (1, 2, 2);
    s_out ("lost(3) 4 restart(2)");
    s_asks (0);
}

//  The batch to know the run by is kept no more. What is held is surely of the old run, and goes
//  out before anybody is told that another may follow.
static void test_held_before_it_cannot_be_told (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 1);
    s_live (0, 4, 4);
    s_rejoin (1);
    s_reply (1, 7, 7);
    s_out ("0 1 gap(2-3) history_lost(2-3) 4 unchecked(5) history_lost(5-6) 1:7r");
    kv_sequence_end (sequence);
    s_rests (4, 0, 4);
}

//  Unless it is kept: then the run is known by that
static void s_ask_about_held (void)
{
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 1);
    s_live (0, 4, 4);
    s_rejoin (1);
    s_reply (1, 3, 3);
    s_out ("0 1 gap(2-3)");
    s_asks (4);
}

static void test_restart_known_by_what_is_held (void **state)
{
    (void) state;
    s_ask_about_held ();
    s_reply (1, 4, 4);
    s_out ("lost(2-3) 4 restart(4)");
    s_asks (0);
}

static void test_no_restart_known_by_what_is_held (void **state)
{
    (void) state;
    s_ask_about_held ();
    s_reply (0, 4, 4);
    s_out ("gap(2-3)");
    s_asks (2);
}

//  Each connection is a new chance for another run
static void test_restart_while_away_after_the_check (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 2);
    kv_sequence_disconnected (sequence);
    kv_sequence_connected (sequence);
    kv_sequence_drained (sequence);
    s_asks (2);
    s_reply (0, 2, 2);
    kv_sequence_end (sequence);
    s_rejoin (2);
    s_reply (1, 2, 2);
    s_out ("0 1 2 restart(2)");
}

//  and one that nothing but its number tells
static void test_restart_before_the_check_without_a_cut (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    s_rejoin (0);
    s_live (1, 5, 6);
    s_live (2, 0, 0);
    s_out ("0 unchecked(1) lost(1-4) 1:5 1:6 restart(0) 2:0");
}

static void test_cut_before_anything_came_out (void **state)
{
    (void) state;
    s_begin (0, true);
    kv_sequence_connected (sequence);
    s_asks (0);
    s_live (0, 5, 5);
    kv_sequence_disconnected (sequence);
    kv_sequence_connected (sequence);
    kv_sequence_drained (sequence);
    s_live (1, 3, 3);
    assert_non_null (strstr (said, "restart(3)"));
    assert_null (strstr (said, " 3"));
}

//  What came between the cuts may be of either run
static void test_two_cuts_before_the_check (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    s_rejoin (0);
    s_live (1, 1, 1);
    s_rejoin (0);
    s_reply (1, 0, 0);
    s_out ("0 restart(0)");
    s_asks (0);
    s_reply (1, 0, 1);
    s_out ("1:0r 1:1r");
}

//  and so of a run that nobody answers for any more
static void test_two_cuts_forget_what_came_between (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 2);
    s_rejoin (2);
    s_live (1, 50, 50);
    s_rejoin (2);
    kv_sequence_end (sequence);
    s_asks (0);
    kv_sequence_end (sequence);
    s_out ("0 1 2");
    s_rests (4, 0, 0);
}

//  What is read between two connections is of the first. What is read after the second may be of
//  either, until there was nothing to read.
static void s_begin_backlog (void)
{
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 1);
    kv_sequence_disconnected (sequence);
    s_live (0, 2, 2);
    s_out ("0 1 2");
    kv_sequence_connected (sequence);
    s_live (0, 3, 4);
    s_is (KV_REPLAY_NONE);
    s_live (0, 6, 6);
    s_out ("");
}

static void test_backlog_of_the_same_run (void **state)
{
    (void) state;
    s_begin_backlog ();
    kv_sequence_drained (sequence);
    s_asks (2);
    s_reply (0, 2, 2);
    s_out ("3 4 gap(5)");
    s_reply (0, 3, 7);
    kv_sequence_end (sequence);
    s_out ("5r 6 7r");
    s_rests (11, 3, 0);
}

static void test_backlog_of_the_old_run (void **state)
{
    (void) state;
    s_begin_backlog ();
    s_live (1, 0, 0);
    s_out ("");
    kv_sequence_drained (sequence);
    s_asks (2);
    s_live (1, 4, 4);
    s_out ("lost(3-4) lost(6) restart(4) gap(0-3)");
    s_asks (0);
    s_reply (1, 0, 3);
    s_out ("1:0r 1:1r 1:2r 1:3r 1:4");
}

static void test_no_backlog (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 1);
    kv_sequence_disconnected (sequence);
    s_live (0, 2, 2);
    kv_sequence_drained (sequence);
    kv_sequence_connected (sequence);
    s_asks (2);
    s_live (1, 9, 9);
    s_reply (1, 2, 2);
    s_out ("0 1 2 restart(2)");
}

static void test_backlog_then_cut_again (void **state)
{
    (void) state;
    s_begin_backlog ();
    kv_sequence_disconnected (sequence);
    kv_sequence_drained (sequence);
    s_is (KV_REPLAY_NONE);
    kv_sequence_connected (sequence);
    kv_sequence_drained (sequence);
    s_asks (2);
    s_reply (0, 2, 6);
    kv_sequence_end (sequence);
    s_out ("3r 4r 5r 6r");
}

static void test_sent_twice_on_the_live_side (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    s_live (0, 0, 0);
    s_live (0, 1, 1);
    s_live (0, 1, 1);
    s_out ("0 1");
    s_rests (4, 2, 0);
}

static void test_sent_twice_while_held (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    s_live (0, 2, 2);
    s_live (0, 2, 2);
    s_asks (1);
    s_reply (0, 1, 1);
    s_out ("0 gap(1) 1r 2");
    s_rests (4, 1, 0);
}

static void test_sent_twice_after_a_cut (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    s_rejoin (0);
    s_live (0, 1, 1);
    s_live (0, 1, 1);
    s_reply (0, 0, 0);
    s_out ("0 1");
    s_rests (3, 1, 0);
}

static void test_sent_twice_below_the_start (void **state)
{
    (void) state;
    s_begin (3, true);
    kv_sequence_connected (sequence);
    s_asks (3);
    s_reply (0, 3, 3);
    s_live (0, 1, 1);
    s_live (0, 1, 1);
    s_out ("3r");
    s_rests (3, 2, 0);
}

//  The SUB is behind the replay
static void test_below_the_start_and_behind (void **state)
{
    (void) state;
    s_begin (3, true);
    kv_sequence_connected (sequence);
    s_asks (3);
    s_reply (0, 2, 2);
    s_reply (0, 5, 5);
    s_live (0, 1, 5);
    s_out ("replay_hole(3-4) 3 4 5r");
}

static void test_late_one_fills_its_gap (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    s_live (0, 2, 2);
    s_asks (1);
    s_live (0, 1, 1);
    s_out ("0 gap(1) 1 2");
    s_rests (3, 0, 0);
}

//  The number is of an older run, then
static void test_start_above_what_there_is (void **state)
{
    (void) state;
    s_begin (9, true);
    kv_sequence_connected (sequence);
    s_asks (9);
    kv_sequence_end (sequence);
    s_live (0, 4, 4);
    s_out ("restart(4) gap(0-3)");
    s_asks (0);
    s_reply (0, 0, 3);
    s_out ("0r 1r 2r 3r 4");
    s_rests (5, 0, 0);
}

static void test_flush_gives_up_and_delivers (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    s_live (0, 2, 2);
    s_live (0, 4, 4);
    s_asks (1);
    kv_sequence_flush (sequence);
    s_out ("0 gap(1) gap(3) lost(1) 2 lost(3) 4");
    s_rests (3, 0, 2);
}

static void test_flush_while_unsure (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    s_rejoin (0);
    s_live (0, 1, 1);
    kv_sequence_flush (sequence);
    s_out ("0 1");
    s_rests (2, 0, 0);
}

//  Not even a publisher whose numbers make no sense brings batches out of their order
static void test_disorder_before_a_restart (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    s_live (0, 8, 8);
    s_asks (1);
    kv_sequence_disconnected (sequence);
    s_live (1, 20, 20);
    s_live (1, 5, 5);
    s_live (1, 0, 0);
    s_out ("0 gap(1-7) gap(9-19) lost(1-4) 1:5 lost(6-7) 8 lost(9-19) 1:20 restart(0) 1:0");
    s_rests (5, 0, 4 + 2 + 11);
}

//  Nor do batches that came by a connection after which the run was never known for sure
static void test_disorder_of_an_unsure_run (void **state)
{
    (void) state;
    s_begin (1, true);
    kv_sequence_connected (sequence);
    s_live (0, 1, 1);
    s_live (1, 1, 1);
    s_asks (0);
    kv_sequence_connected (sequence);
    s_live (2, 0, 0);
    kv_sequence_disconnected (sequence);
    s_live (2, 9, 9);
    s_live (3, 0, 0);
    s_out ("1 restart(1) gap(0) lost(0) 1:1 unchecked(2) lost(2-8) 2:9 restart(0) 3:0");
}

//  The message is taken all the same
static void test_reply_after_the_replay_is_dropped (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    assert_false (s_reply (0, 1, 1));
    kv_sequence_end (sequence);
    kv_sequence_timeout (sequence);
    s_out ("0");
    s_rests (1, 0, 0);
}

//  A sanitizer or valgrind sees what would leak
static void test_destroy_in_the_middle (void **state)
{
    (void) state;
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    s_live (0, 2, 5);
    s_asks (1);
    kv_sequence_destroy (&sequence);
    assert_null (sequence);
    kv_sequence_destroy (&sequence);
    s_out ("0 gap(1)");
}

static void test_highest_number (void **state)
{
    (void) state;
    s_begin (UINT64_MAX - 1, false);
    s_live_one (sequence, (batch_t){0, UINT64_MAX - 1});
    assert_int_equal (kv_sequence_counts (sequence)->delivered, 1);
}

//  -- A random publisher, the links to it, and what may and may not come out

#define RUNS_MAX 8
#define BATCHES_MAX 400
#define QUEUE_MAX 4000
#define SCHEDULES 20000

//  What is on a link. Each link keeps its order, but the two are read as it happens.
typedef struct {
    enum { LIVE, JOIN, CUT, REPLY, END } kind;
    batch_t batch;       //  Of LIVE and REPLY; of END only the run
    uint64_t published;  //  Of JOIN: how many there were by then
    unsigned link;       //  Of LIVE: which connection it came by
} event_t;

typedef struct {
    event_t items[QUEUE_MAX];
    size_t head, tail;
} queue_t;

//  How a replay server may fail, in percent of its answers, or of the replies in one
typedef struct {
    unsigned dead, stalls, ends_early, whole, drops, repeats;
} faults_t;

//  One above the highest number, by run
typedef struct {
    uint64_t seen[RUNS_MAX], live[RUNS_MAX];
} ends_t;

typedef struct {
    uint64_t random;
    bool aloud;
    const char *failure;

    //  The publisher. A honest one keeps all and answers all, so that more can be demanded.
    bool honest, up;
    uint64_t run, published, keeps;
    faults_t faults;
    unsigned live_drops, live_repeats, link;
    bool lags;  //  The subscriber is slow: it hears of a connection before it has read the old one.
                //  Not before something has come out: until then nothing tells two runs apart.
    queue_t live, replay;
    bool pending;  //  A request is on its way
    uint64_t start;

    //  What the sequence has been told
    kv_sequence_t *sequence;
    kv_replay_t state;
    uint64_t from_seq;
    bool checking;    //  The replay was asked for to see the batch of number `check` again,
    uint64_t check;   //  from there on,
    bool whole;       //  or from 0 on, since there was nothing from there on
    bool check_gone;  //  It has come to later ones: the next question is about one that is held
    batch_t cause;    //  In the call that is going on
    bool from_live;   //  It is a live one,
    bool from_end;    //  or the end of a replay
    bool restarting;  //  It has shown a restart
    bool fresh;       //  Nothing had been delivered before it
    uint64_t received;
    uint64_t came_run[BATCHES_MAX];  //  Of the last batch of a number, if that was not a check
    ends_t ends, sure_ends;  //  The latter without what came between two cuts and was not delivered
    bool sure;               //  Something was delivered since the last cut
    size_t asked;
    bool tail_known;  //  All that was published before the last JOIN is to come
    uint64_t tail_run, tail_end;
    unsigned cuts;  //  That it has not been told of yet

    //  What came out of it. A stretch ends with each restart that is reported.
    bool begun, any, mixed[RUNS_MAX], came[RUNS_MAX][BATCHES_MAX];
    uint64_t came_of[BATCHES_MAX];  //  In this stretch: of which run, plus 1; 0: not yet
    uint64_t next, run_first;       //  Of this stretch: no batch of an older run may come any more
    uint64_t stretch_lost;
    bool stretch_mixed, full, restarted;
    bool doubtful;  //  A batch may have been dropped since a cut hid of which run it was
    bool misled;    //  Replays of this run have looked like those of another: all is open then
    batch_t last;
    kv_sequence_counts_t counts;
} model_t;

static unsigned s_random (model_t *self, unsigned below)
{
    self->random = self->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned) ((self->random >> 33) % below);
}

static bool s_chance (model_t *self, unsigned percent)
{
    return s_random (self, 100) < percent;
}

//  The first thing that is wrong counts
static void s_demand (model_t *self, bool right, const char *what)
{
    if (right || self->failure || self->misled)
        return;
    self->failure = what;
    if (self->aloud)
        print_message ("  *** %s\n", what);
}

static void s_push (model_t *self, queue_t *queue, event_t event)
{
    s_demand (self, queue->tail < QUEUE_MAX, "the model's queue is full");
    if (queue->tail < QUEUE_MAX)
        queue->items[queue->tail++] = event;
}

static void s_take (queue_t *queue, size_t at, event_t *event)
{
    *event = queue->items[at];
    memmove (&queue->items[queue->head + 1], &queue->items[queue->head],
             (at - queue->head) * sizeof *event);
    queue->head++;
}

static bool s_pop (queue_t *queue, event_t *event)
{
    if (queue->head == queue->tail) {
        queue->head = queue->tail = 0;
        return false;
    }
    s_take (queue, queue->head, event);
    return true;
}

//  What the subscriber reads next of SUB and monitor, in order. If it lags: all news first, then
//  what came first by one connection or the other.
static bool s_pop_live (model_t *self, event_t *event)
{
    queue_t *queue = &self->live;
    if (!self->lags || !self->any)
        return s_pop (queue, event);
    size_t second = queue->head;
    for (size_t i = queue->head; i < queue->tail; i++) {
        if (queue->items[i].kind != LIVE) {
            s_take (queue, i, event);
            return true;
        }
        if (second == queue->head && queue->items[i].link != queue->items[queue->head].link)
            second = i;
    }
    if (second == queue->head || s_chance (self, 50))
        return s_pop (queue, event);
    s_take (queue, second, event);
    return true;
}

static bool s_is_drained (const model_t *self)
{
    for (size_t i = self->live.head; i < self->live.tail && self->lags && self->any; i++)
        if (self->live.items[i].kind == LIVE)
            return false;
    return true;
}

static void s_model_deliver (void *owner, const kv_numbered_t *numbered)
{
    model_t *self = owner;
    batch_t batch = s_read (numbered);
    uint64_t seq = numbered->seq;
    bool replayed = numbered->replayed;
    if (self->aloud)
        print_message ("      deliver %d:%d%s\n", (int) batch.run, (int) seq,
                       replayed ? " replayed" : "");
    s_demand (self, batch.seq == seq, "a batch came out under another's number");
    s_demand (self, seq == self->next, "a number was skipped, or came again");
    s_demand (self, batch.run >= self->run_first, "a batch of an older run came after the restart");
    if (self->any && batch.run != self->last.run) {
        s_demand (self, !self->honest || batch.run > self->last.run,
                  "a batch of an older run came after one of a newer");
        self->stretch_mixed = self->mixed[self->last.run] = true;
    }
    self->mixed[batch.run] = self->mixed[batch.run] || self->stretch_mixed;
    //  Where a restart could not be known at first, what it brought comes again once it is
    s_demand (self,
              !self->came[batch.run][seq] ||
                  (self->mixed[batch.run] && (!self->honest || self->counts.lost > 0)),
              "a batch came twice");
    self->came[batch.run][seq] = true;
    self->came_of[seq] = batch.run + 1;
    self->any = true;
    self->sure = self->sure || !self->check_gone;  //  Then the run is not known yet
    self->last = batch;
    self->next = seq + 1;
    self->counts.delivered++;
    self->counts.replayed += replayed;
}

//  What was seen since the last cut and not delivered: nobody knows of which run that is, and
//  it may be forgotten
static void s_close_link (model_t *self)
{
    if (self->sure)
        self->sure_ends = self->ends;
    self->ends = self->sure_ends;
    self->sure = false;
}

static void s_model_restart (model_t *self)
{
    //  Twice in a row a faulty server has ended before the batch that was asked for
    bool same =
        self->cause.run == self->run_first || (self->any && self->cause.run == self->last.run);
    self->misled = self->misled || (!self->honest && self->from_end && same);
    //  Less than where we are to start counts as a restart, too
    bool below_start =
        self->from_live && !self->restarted && self->fresh && self->cause.seq < self->from_seq;
    s_demand (self, self->cause.run > self->run_first || below_start, "there was no restart");
    for (uint64_t run = self->run_first; run < self->cause.run && !self->full; run++)
        s_demand (self, self->ends.seen[run] <= self->next,
                  "the old run's last ones neither came nor were reported lost");
    self->counts.restarts++;
    self->restarted = self->restarting = true;
    self->next = 0;
    self->run_first = self->cause.run;
    if (self->sure)
        self->sure_ends = self->ends;
    for (uint64_t run = self->cause.run; run < RUNS_MAX; run++)
        self->sure_ends.seen[run] = 0;
    //  What came as the old run's, or was less than the start, is forgotten
    if (self->mixed[self->cause.run] || below_start || self->lags)
        self->ends.seen[self->cause.run] = 0;
    self->any = self->sure = self->stretch_mixed = false;
    self->stretch_lost = 0;
    memset (self->came_of, 0, sizeof self->came_of);
}

static void s_model_notice (void *owner, kv_notice_t notice, uint64_t first, uint64_t last)
{
    model_t *self = owner;
    if (self->aloud)
        print_message ("      %s %d-%d\n", kv_notice_name (notice), (int) first, (int) last);
    s_demand (self, first <= last, "a notice about nothing");
    if (notice == KV_LOST || notice == KV_HISTORY_LOST) {
        s_demand (self, self->lags ? first >= self->next : first == self->next,
                  "lost is not what was due");
        self->next = last + 1;
        self->counts.lost += last - first + 1;
        self->stretch_lost += last - first + 1;
    } else if (notice == KV_GAP) {
        self->counts.gaps++;
    } else if (notice == KV_HELD_FULL) {
        self->full = true;
    } else if (notice == KV_RESTART) {
        s_model_restart (self);
    }
}

//  What is to hold after each call
static void s_called (model_t *self)
{
    const kv_sequence_counts_t *counts = kv_sequence_counts (self->sequence);
    s_demand (self, counts->received == self->received, "counts.received");
    s_demand (self, counts->delivered == self->counts.delivered, "counts.delivered");
    s_demand (self, counts->replayed == self->counts.replayed, "counts.replayed");
    s_demand (self, counts->gaps == self->counts.gaps, "counts.gaps");
    s_demand (self, counts->lost == self->counts.lost, "counts.lost");
    s_demand (self, counts->restarts == self->counts.restarts, "counts.restarts");
    s_demand (self, counts->delivered + counts->duplicates <= counts->received,
              "more came out than came in");

    uint64_t start = 0;
    self->state = kv_sequence_replay (self->sequence, &start);
    if (self->state != KV_REPLAY_RUNNING) {
        self->replay.head = self->replay.tail = 0;  //  They die with their socket
        self->pending = false;
    }
    if (self->state == KV_REPLAY_ASK) {
        if (self->aloud)
            print_message ("      ask %d\n", (int) start);
        //  From the last one delivered on, or from one that it holds, to see whether the run is the
        //  same. When that brings nothing, from 0 on.
        self->whole = self->from_end && !self->restarting && start == 0 && self->check > 0 &&
                      (self->checking || self->next > 0);
        s_demand (self, self->whole || start >= self->next || start == self->last.seq,
                  "asked for what has come");
        s_demand (self,
                  start <= self->next || !self->any || self->check_gone || start == self->check,
                  "asked for less than is missing");
        self->checking = self->whole || start != self->next;
        if (!self->whole)
            self->check = start;
        self->pending = true;
        self->start = start;
        self->state = KV_REPLAY_RUNNING;
        self->asked++;
    }
    self->from_end = self->restarting = self->check_gone = false;
}

//  The next of the SUB and its monitor
static void s_step_live (model_t *self)
{
    event_t event;
    if (!s_pop_live (self, &event))
        return;
    if (event.kind == JOIN) {
        if (self->aloud)
            print_message ("connected\n");
        s_close_link (self);
        self->tail_known = self->any || (self->from_seq != KV_FROM_LIVE && !self->restarted);
        self->tail_run = self->run;
        self->tail_end = event.published;
        kv_sequence_connected (self->sequence);
    } else if (event.kind == CUT) {
        if (self->aloud)
            print_message ("disconnected\n");
        self->tail_known = false;
        self->doubtful = true;
        s_close_link (self);
        self->cuts--;
        kv_sequence_disconnected (self->sequence);
    } else {
        batch_t batch = self->cause = event.batch;
        if (self->aloud)
            print_message ("live %d:%d\n", (int) batch.run, (int) batch.seq);
        if (!self->begun) {
            self->begun = true;
            self->run_first = batch.run;
            self->next = self->from_seq == KV_FROM_LIVE ? batch.seq : self->from_seq;
        }
        //  A PUB counts up: another run, when an older one has been as far as this. Unless a replay
        //  has brought it before, when nobody could tell.
        bool shown = false, came = self->came[batch.run][batch.seq];
        for (uint64_t run = self->run_first; run < batch.run; run++)
            shown = shown || self->ends.live[run] > batch.seq;
        uint64_t restarts = self->counts.restarts;
        self->from_live = true;
        self->fresh = !self->any;
        self->received++;
        self->came_run[batch.seq] = batch.run;
        s_live_one (self->sequence, batch);
        s_demand (self,
                  !shown || came || self->full || self->lags ||
                      self->counts.restarts == restarts + 1,
                  "a live batch shows a restart, which was not seen");
        if (batch.seq >= self->ends.seen[batch.run])
            self->ends.seen[batch.run] = batch.seq + 1;
        if (batch.seq >= self->ends.live[batch.run])
            self->ends.live[batch.run] = batch.seq + 1;
    }
    if (s_is_drained (self))
        kv_sequence_drained (self->sequence);
    s_called (self);
}

static void s_step_reply (model_t *self, batch_t batch)
{
    if (self->aloud)
        print_message ("reply %d:%d\n", (int) batch.run, (int) batch.seq);
    if (!self->begun) {
        self->begun = true;
        self->run_first = batch.run;
    }
    bool by_last = self->any && self->check == self->last.seq;
    uint64_t run = by_last ? self->last.run : self->came_run[batch.seq];
    bool known = self->came_of[batch.seq] > 0;
    if (known && batch.seq != self->check)
        run = self->came_of[batch.seq] - 1;
    uint64_t restarts = self->counts.restarts;
    uint64_t duplicates = kv_sequence_counts (self->sequence)->duplicates;
    self->cause = batch;
    self->from_live = false;
    self->check_gone = self->checking && batch.seq > self->check;
    bool fresh = s_reply_one (self->sequence, batch);
    //  A batch that the run is known by is looked at, and not counted
    bool check = kv_sequence_counts (self->sequence)->received == self->received;
    bool earlier = self->whole && batch.seq < self->check;
    bool must = self->checking && (batch.seq == self->check || (earlier && known));
    s_demand (self, check ? earlier || batch.seq == self->check : !must, "counts.received");
    bool shown = check && batch.run != run;
    s_demand (self,
              (self->counts.restarts > restarts) == shown ||
                  (check && batch.seq < self->check && !known),
              "the check shows a restart, which was not seen; or it does not, and one was");
    self->received += !check;
    bool later = self->check_gone && !fresh;  //  It will be asked about another
    self->checking = self->checking && !check && (batch.seq < self->check || later);
    if (!check && !self->checking)
        self->came_run[batch.seq] = batch.run;
    //  What comes before the check is of a run that is not known yet
    if (!check && !self->checking && batch.seq >= self->ends.seen[batch.run])
        self->ends.seen[batch.run] = batch.seq + 1;
    s_demand (self,
              fresh == (kv_sequence_counts (self->sequence)->duplicates == duplicates) ||
                  self->full,
              "new or not?");
}

//  The next of the DEALER
static void s_step_replay (model_t *self)
{
    event_t event;
    if (self->state != KV_REPLAY_RUNNING || !s_pop (&self->replay, &event))
        return;
    if (event.kind == END) {
        if (self->aloud)
            print_message ("end\n");
        self->cause = event.batch;
        self->from_live = false;
        self->from_end = true;
        kv_sequence_end (self->sequence);
    } else {
        s_step_reply (self, event.batch);
    }
    s_called (self);
}

static void s_time_out (model_t *self)
{
    if (self->state != KV_REPLAY_RUNNING)
        return;
    if (self->aloud)
        print_message ("timeout\n");
    kv_sequence_timeout (self->sequence);
    s_called (self);
}

static void s_publish (model_t *self)
{
    if (self->published == BATCHES_MAX)
        return;
    event_t event = {.kind = LIVE, .batch = {self->run, self->published++}, .link = self->link};
    if (!self->up || s_chance (self, self->live_drops))
        return;
    s_push (self, &self->live, event);
    if (s_chance (self, self->live_repeats))
        s_push (self, &self->live, event);
}

//  What of the connection has not been read may get lost with it
static void s_cut (model_t *self)
{
    //  One that lags is not two connections behind
    for (size_t i = self->live.head; i < self->live.tail && self->lags; i++)
        if (self->live.items[i].kind != LIVE || self->live.items[i].link != self->link)
            return;
    if (!self->up)
        return;
    self->up = false;
    while (self->live.tail > self->live.head &&
           self->live.items[self->live.tail - 1].kind == LIVE && s_chance (self, 70))
        self->live.tail--;
    s_push (self, &self->live, (event_t){.kind = CUT});
    self->cuts++;
}

static void s_join (model_t *self)
{
    if (self->up)
        return;
    self->up = true;
    self->link++;
    s_push (self, &self->live, (event_t){.kind = JOIN, .published = self->published});
}

//  Replies that are on their way already may come yet
static void s_start_anew (model_t *self)
{
    if (self->run + 1 == RUNS_MAX)
        return;
    s_cut (self);
    if (self->up)
        return;
    self->run++;
    self->published = 0;
    if (self->honest)
        return;
    while (self->replay.tail > self->replay.head && s_chance (self, 50))
        self->replay.tail--;
    self->pending = self->pending && s_chance (self, 50);
}

//  The replay server answers, in its way
static void s_answer (model_t *self)
{
    //  Were a new run to answer while the SUB still has unread batches of the old one, nothing
    //  could show that these are the older
    if (!self->pending || self->cuts > 0)
        return;
    //  Nor does a run that has nothing yet tell who waits for it of which run the held ones are
    if (self->lags && self->published == 0)
        s_publish (self);
    self->pending = false;
    const faults_t *faults = &self->faults;
    if (s_chance (self, faults->dead))
        return;
    uint64_t kept = self->published > self->keeps ? self->published - self->keeps : 0;
    bool stalls = s_chance (self, faults->stalls), early = s_chance (self, faults->ends_early);
    bool whole = s_chance (self, faults->whole);
    for (uint64_t seq = whole || kept > self->start ? kept : self->start; seq < self->published;
         seq++) {
        event_t event = {.kind = REPLY, .batch = {self->run, seq}};
        if ((stalls || early) && s_chance (self, 20))
            break;
        if (s_chance (self, faults->drops))
            continue;
        s_push (self, &self->replay, event);
        if (s_chance (self, faults->repeats))
            s_push (self, &self->replay, event);
    }
    if (!stalls)
        s_push (self, &self->replay, (event_t){.kind = END, .batch = {self->run, 0}});
}

//  Lets all come that is on its way, until the sequence wants nothing more
static void s_drain (model_t *self)
{
    size_t asked = self->asked;
    while (!self->failure && (self->live.head < self->live.tail || self->state != KV_REPLAY_NONE)) {
        if (s_chance (self, 50))
            s_step_live (self);
        if (s_chance (self, 50))
            s_answer (self);
        if (s_chance (self, 50))
            s_step_replay (self);
        if (!self->pending && self->replay.head == self->replay.tail)
            s_time_out (self);
        //  Each two of them bring or give up one number at least; and each cut takes some
        s_demand (self, self->asked - asked < 2 * BATCHES_MAX, "it asks without an end");
    }
    if (!self->honest || self->failure || !self->up)
        return;
    s_demand (self, self->ends.seen[self->run] <= self->next || self->run < self->run_first,
              "at rest, but something is missing");
    bool tail = self->tail_known && self->tail_run == self->run;
    s_demand (self, !tail || self->tail_end == 0 || !self->any || self->last.run == self->run,
              "what a new run published before the SUB joined has not been fetched");
    if (!self->any || self->last.run != self->run)
        return;
    //  After giving up, the number before the next one has no bytes that could be compared
    if (self->stretch_mixed && self->stretch_lost > 0)
        return;
    s_demand (self, !self->stretch_mixed, "two runs were taken for one");
    s_demand (self, self->stretch_lost == 0, "lost, though the publisher has it");
    s_demand (self, !tail || self->next >= self->tail_end,
              "what was published before the SUB joined has not been fetched");
}

static void s_begin_schedule (model_t *self, uint64_t seed, bool aloud)
{
    memset (self, 0, sizeof *self);
    self->random = seed * 0x9e3779b97f4a7c15u + 1;
    self->aloud = aloud;
    kv_sequence_limits_t limits = {.from_seq = KV_FROM_LIVE,
                                   .can_replay = s_chance (self, 85),
                                   .max_held = BATCHES_MAX,
                                   .max_bytes = 1 << 20};
    if (s_chance (self, 60))
        limits.from_seq = s_random (self, 3) ? 0 : s_random (self, 6);
    self->live_drops = s_chance (self, 50) ? s_random (self, 50) : 0;
    self->live_repeats = s_chance (self, 30) ? s_random (self, 50) : 0;
    self->honest = limits.can_replay && s_chance (self, 50);
    //  Where a replay may fail nothing tells the two apart
    self->lags = self->honest && s_chance (self, 50);
    self->keeps = BATCHES_MAX;
    if (!self->honest) {
        if (s_chance (self, 50))
            self->keeps = s_random (self, 12);
        if (s_chance (self, 25))
            limits.max_held = 1 + s_random (self, 4);
        if (s_chance (self, 10))
            limits.max_bytes = s_random (self, 200);
        unsigned *const percents[] = {&self->faults.dead,       &self->faults.stalls,
                                      &self->faults.ends_early, &self->faults.whole,
                                      &self->faults.drops,      &self->faults.repeats};
        for (size_t i = 0; i < COUNT (percents); i++)
            *percents[i] = s_chance (self, 40) ? s_random (self, 101) : 0;
    }
    self->from_seq = limits.from_seq;
    self->next = limits.from_seq == KV_FROM_LIVE ? 0 : limits.from_seq;
    kv_sequence_handler_t handler = {s_model_deliver, s_model_notice, self};
    self->sequence = kv_sequence_new (&limits, &handler);
    if (aloud)
        print_message ("from %d, replay %d, honest %d, keeps %d, held %zu, bytes %zu\n",
                       (int) limits.from_seq, limits.can_replay, self->honest, (int) self->keeps,
                       limits.max_held, limits.max_bytes);
}

//  Plays one schedule. NULL, or what was wrong.
static const char *s_play (uint64_t seed, bool aloud)
{
    static model_t model;
    model_t *self = &model;
    s_begin_schedule (self, seed, aloud);
    unsigned steps = 4 + s_random (self, 100);
    unsigned unrest = s_random (self, 12);  //  How often the connection and the publisher break
    for (unsigned i = 0; i < steps && !self->failure; i++) {
        unsigned what = s_random (self, 100);
        if (what < unrest)
            s_cut (self);
        else if (what < unrest + unrest / 2)
            s_start_anew (self);
        else if (what < 30)
            s_join (self);
        else if (what < 32 && !self->honest)
            s_time_out (self);
        else if (what < 55)
            s_publish (self);
        else if (what < 70)
            s_step_live (self);
        else if (what < 80)
            s_answer (self);
        else if (what < 97)
            s_step_replay (self);
        else if (self->up)
            s_drain (self);
    }
    s_join (self);
    s_drain (self);
    //  One last batch for all to see, and then all comes to rest
    self->live_drops = 0;
    s_publish (self);
    s_drain (self);
    kv_sequence_flush (self->sequence);
    s_called (self);
    s_demand (self, self->state == KV_REPLAY_NONE, "it asks after a flush");
    const kv_sequence_counts_t *counts = kv_sequence_counts (self->sequence);
    s_demand (self,
              self->full || self->doubtful ||
                  counts->received == counts->delivered + counts->duplicates,
              "a batch has vanished");
    for (uint64_t run = self->run_first; run < RUNS_MAX && !(self->full && self->restarted); run++)
        s_demand (self, self->ends.seen[run] <= self->next,
                  "the last ones neither came nor were reported lost");
    kv_sequence_destroy (&self->sequence);
    return self->failure;
}

//  KV_SEED=n plays that one alone, and tells all of it
static void test_random_schedules (void **state)
{
    (void) state;
    const char *wanted = getenv ("KV_SEED");
    uint64_t first = wanted ? strtoull (wanted, NULL, 10) : 1;
    uint64_t last = wanted ? first : SCHEDULES;
    for (uint64_t seed = first; seed <= last; seed++) {
        const char *failure = s_play (seed, wanted != NULL);
        if (failure && !wanted)
            (void) s_play (seed, true);
        if (failure)
            fail_msg ("KV_SEED=%" PRIu64 ": %s", seed, failure);
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_teardown (name, s_teardown)
        TEST (test_names),
        TEST (test_in_order),
        TEST (test_from_live_begins_anywhere),
        TEST (test_from_a_number_asks_at_once),
        TEST (test_from_a_number_without_a_replay),
        TEST (test_gap_without_a_replay_is_lost),
        TEST (test_gap_is_filled_by_a_replay),
        TEST (test_live_ones_wait_for_the_replay),
        TEST (test_second_copies_from_the_live_side),
        TEST (test_second_copies_from_the_replay),
        TEST (test_whole_history_whatever_was_asked),
        TEST (test_nothing_but_copies_is_given_up),
        TEST (test_late_replay_loses_history),
        TEST (test_late_replay_delivers_what_is_held),
        TEST (test_late_replay_that_begins_with_what_is_held),
        TEST (test_hole_is_asked_for_again),
        TEST (test_hole_that_stays_is_lost),
        TEST (test_early_end_is_asked_for_again_then_lost),
        TEST (test_timeout_resumes_where_it_stopped),
        TEST (test_timeout_without_progress_gives_up),
        TEST (test_dead_server_of_the_past_is_left_alone),
        TEST (test_progress_counts_attempts_anew),
        TEST (test_success_counts_attempts_anew),
        TEST (test_bound_of_messages),
        TEST (test_restart_loses_what_was_dropped),
        TEST (test_no_room_behind_a_hole),
        TEST (test_bound_of_bytes),
        TEST (test_restart_at_zero_with_a_replay),
        TEST (test_restart_at_zero_without_a_replay),
        TEST (test_restart_with_the_same_bytes),
        TEST (test_restart_at_zero_without_a_cut),
        TEST (test_restart_further_on_with_a_replay),
        TEST (test_restart_further_on_without_a_replay),
        TEST (test_restart_loses_what_the_old_run_owed),
        TEST (test_check_after_a_cut_shows_a_restart),
        TEST (test_check_shows_a_run_that_is_further),
        TEST (test_check_shows_a_run_that_is_behind),
        TEST (test_check_shows_a_run_that_is_far_behind),
        TEST (test_check_shows_no_run_yet),
        TEST (test_check_that_fails_once),
        TEST (test_cut_without_a_restart_fetches_the_tail),
        TEST (test_cut_without_a_restart_and_live_ones),
        TEST (test_check_that_is_not_kept_tells_nothing),
        TEST (test_check_without_an_answer_gives_up),
        TEST (test_cut_while_a_replay_runs),
        TEST (test_restart_while_a_replay_runs),
        TEST (test_held_before_it_cannot_be_told),
        TEST (test_restart_known_by_what_is_held),
        TEST (test_no_restart_known_by_what_is_held),
        TEST (test_restart_while_away_after_the_check),
        TEST (test_restart_before_the_check_without_a_cut),
        TEST (test_cut_before_anything_came_out),
        TEST (test_two_cuts_before_the_check),
        TEST (test_two_cuts_forget_what_came_between),
        TEST (test_backlog_of_the_same_run),
        TEST (test_backlog_of_the_old_run),
        TEST (test_no_backlog),
        TEST (test_backlog_then_cut_again),
        TEST (test_sent_twice_on_the_live_side),
        TEST (test_sent_twice_while_held),
        TEST (test_sent_twice_after_a_cut),
        TEST (test_sent_twice_below_the_start),
        TEST (test_below_the_start_and_behind),
        TEST (test_late_one_fills_its_gap),
        TEST (test_start_above_what_there_is),
        TEST (test_flush_gives_up_and_delivers),
        TEST (test_flush_while_unsure),
        TEST (test_disorder_before_a_restart),
        TEST (test_disorder_of_an_unsure_run),
        TEST (test_reply_after_the_replay_is_dropped),
        TEST (test_destroy_in_the_middle),
        TEST (test_highest_number),
#undef TEST
        cmocka_unit_test (test_random_schedules),
    };
    return cmocka_run_group_tests_name ("kv_sequence", tests, NULL, NULL);
}
