//  SPDX-License-Identifier: MIT
//  What a reader should know of the sequence, one situation each. All orders of events: see
//  tests/tools/explore/kv_sequence.c.

#include "unit.h"

#include "kv/kv_sequence.h"

//  The payload says of which run of the publisher a batch is, and its number there
typedef struct {
    uint64_t run, seq;
} batch_t;

static kv_sequence_t *sequence;
static int64_t now;
static char said[4000];

static void s_say (const char *format, ...) CHECK_PRINTF (1);
static void s_say (const char *format, ...)
{
    size_t size = strlen (said);
    va_list args;
    va_start (args, format);
    if (size > 0)
        said[size++] = ' ';
    vsnprintf (said + size, sizeof said - size, format, args);
    va_end (args);
}

//  "5" or, of another run than the first, "1:5"; "r" behind a replayed one
static void s_on_deliver (void *owner, const kv_numbered_t *numbered)
{
    assert_ptr_equal (owner, &sequence);
    batch_t batch;
    assert_int_equal (numbered->payload.size, sizeof batch);
    memcpy (&batch, numbered->payload.data, sizeof batch);
    assert_int_equal (batch.seq, numbered->seq);
    assert_memory_equal (numbered->topic.data, "kv", 2);
    char run[8] = "";
    if (batch.run > 0)
        snprintf (run, sizeof run, "%d:", (int) batch.run);
    s_say ("%s%d%s", run, (int) batch.seq, numbered->replayed ? "r" : "");
}

static void s_on_notice (void *owner, kv_notice_t notice, uint64_t first, uint64_t last)
{
    assert_ptr_equal (owner, &sequence);
    if (first == last)
        s_say ("%s(%" PRIu64 ")", kv_notice_name (notice), first);
    else
        s_say ("%s(%" PRIu64 "-%" PRIu64 ")", kv_notice_name (notice), first, last);
}

static void s_begin (uint64_t from_seq, bool can_replay)
{
    kv_sequence_limits_t limits = {.from_seq = from_seq,
                                   .can_replay = can_replay,
                                   .max_held = 5,
                                   .max_bytes = 1 << 20,
                                   .replay_ms = 300};
    kv_sequence_handler_t handler = {s_on_deliver, s_on_notice, &sequence};
    now = 1000;
    *said = 0;
    sequence = kv_sequence_new (&limits, &handler);
    kv_sequence_connected (sequence, now);
}

static int s_teardown (void **state)
{
    kv_sequence_destroy (&sequence);
    kv_sequence_destroy (&sequence);
    return 0;
}

static void s_feed (uint64_t run, uint64_t seq, bool replayed)
{
    batch_t batch = {run, seq};
    kv_numbered_t numbered = {.seq = seq,
                              .topic = {"kv", 2},
                              .payload = {(const char *) &batch, sizeof batch},
                              .replayed = replayed};
    if (replayed)
        kv_sequence_reply (sequence, &numbered, now);
    else
        kv_sequence_live (sequence, &numbered, now);
    memset (&batch, 0xff, sizeof batch);  //  Ours again: what it needs it has copied
}

static void s_live (uint64_t run, uint64_t first, uint64_t last)
{
    for (uint64_t seq = first; seq <= last; seq++)
        s_feed (run, seq, false);
}

//  Expects a request from `start` on, and answers it
static void s_replay (uint64_t start, uint64_t run, uint64_t first, uint64_t last)
{
    uint64_t asked = UINT64_MAX;
    assert_int_equal (kv_sequence_replay (sequence, &asked), KV_REPLAY_ASK);
    assert_int_equal (asked, start);
    assert_int_equal (kv_sequence_replay (sequence, &asked), KV_REPLAY_RUNNING);
    for (uint64_t seq = first; seq <= last && last != UINT64_MAX; seq++)
        s_feed (run, seq, true);
    kv_sequence_end (sequence, now);
}

#define NOTHING 1, UINT64_MAX

static void s_cut (void)
{
    kv_sequence_disconnected (sequence, now);
    kv_sequence_connected (sequence, now);
}

static void s_wait (int64_t ms)
{
    now += ms;
    kv_sequence_tick (sequence, now);
}

//  What came out since the last time
static void s_is (const char *expected)
{
    assert_string_equal (said, expected);
    *said = 0;
}

static void s_asks_nothing (void)
{
    uint64_t start;
    assert_int_equal (kv_sequence_replay (sequence, &start), KV_REPLAY_NONE);
}

static void test_in_order (void **state)
{
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 3);
    s_is ("0 1 2 3");
    s_asks_nothing ();
    assert_int_equal (kv_sequence_state (sequence), KV_FOLLOWING);
    assert_int_equal (kv_sequence_deadline (sequence), INT64_MAX);
}

static void test_a_gap_is_repaired (void **state)
{
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 1);
    s_live (0, 5, 6);
    s_is ("0 1 gap(2-4)");
    s_replay (2, 0, 2, 6);
    s_is ("2r 3r 4r 5 6");
    s_live (0, 7, 7);
    s_is ("7");
    const kv_sequence_counts_t *counts = kv_sequence_counts (sequence);
    assert_int_equal (counts->received, 8);  //  5 and 6 were not needed any more
    assert_int_equal (counts->delivered, 8);
    assert_int_equal (counts->replayed, 3);
    assert_int_equal (counts->gaps, 1);
}

static void test_joining_late (void **state)
{
    s_begin (0, true);
    s_replay (0, 0, 0, 2);
    s_is ("0r 1r 2r");
    s_live (0, 3, 3);
    s_is ("3");
}

//  A publisher that repeats more than was asked for
static void test_a_replay_of_everything (void **state)
{
    s_begin (5, true);
    s_replay (5, 0, 0, 6);
    s_is ("5r 6r");
    assert_int_equal (kv_sequence_counts (sequence)->duplicates, 5);
}

//  Without a second message, a jump is believed after a while; without a replay it is a loss
static void test_a_gap_without_replays (void **state)
{
    s_begin (KV_FROM_LIVE, false);
    s_live (0, 0, 0);
    s_live (0, 3, 3);
    s_is ("0 gap(1-2)");
    assert_int_equal (kv_sequence_state (sequence), KV_WAITING);
    assert_int_equal (kv_sequence_deadline (sequence), now + KV_DOUBT_MS);
    s_wait (KV_DOUBT_MS - 1);
    s_is ("");
    s_wait (1);
    s_is ("lost(1-2) 3");
    s_live (0, 7, 8);
    s_is ("gap(4-6) lost(4-6) 7 8");
}

static void test_the_first_number (void **state)
{
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 1000, 1000);
    s_is ("");
    s_live (0, 1001, 1001);
    s_is ("1000 1001");
}

static void test_a_number_far_ahead (void **state)
{
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 1);
    s_feed (9, UINT64_MAX - 255, false);
    s_asks_nothing ();
    s_live (0, 2, 3);
    s_is ("0 1 stray(18446744073709551360) 2 3");
    s_feed (9, UINT64_MAX - 255, false);
    s_wait (KV_DOUBT_MS);
    s_is ("stray(18446744073709551360)");
    assert_int_equal (kv_sequence_counts (sequence)->strays, 2);
}

//  A number that falls back: the replay begins at the last one known, and shows the same bytes
static void test_a_number_behind (void **state)
{
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 5);
    s_feed (9, 2, false);
    assert_int_equal (kv_sequence_state (sequence), KV_CHECKING);
    s_live (0, 6, 6);
    s_is ("0 1 2 3 4 5");
    s_replay (5, 0, 5, 6);
    s_is ("stray(2) 6");
}

static void test_a_restart (void **state)
{
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 2);
    s_live (1, 0, 1);
    s_is ("0 1 2");
    s_replay (2, 1, NOTHING);  //  The new run has not come so far,
    s_replay (0, 1, 0, 1);     //  but it has something
    s_is ("restart(0) 1:0 1:1");
    assert_int_equal (kv_sequence_counts (sequence)->restarts, 1);
}

static void test_a_restart_without_replays (void **state)
{
    s_begin (KV_FROM_LIVE, false);
    s_live (0, 0, 4);
    s_live (1, 0, 0);
    s_is ("0 1 2 3 4");
    s_live (1, 1, 1);
    s_is ("restart(0) 1:0 1:1");
    s_live (2, 0, 0);
    s_wait (KV_DOUBT_MS);
    s_is ("restart(0) 2:0");
}

static void test_a_cut (void **state)
{
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 2);
    s_cut ();
    s_live (0, 5, 5);
    s_is ("0 1 2");
    s_replay (2, 0, 2, 5);
    s_is ("gap(3-4) 3r 4r 5");
    s_cut ();
    s_replay (5, 0, 5, 7);  //  Nothing live has shown that 6 and 7 are there
    s_is ("6r 7r");
}

static void test_another_run_after_a_cut (void **state)
{
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 2);
    s_cut ();
    s_live (1, 5, 5);
    s_replay (2, 1, 2, 3);
    s_is ("0 1 2 restart(2)");
    s_replay (0, 1, 0, 5);
    s_is ("1:0r 1:1r 1:2r 1:3r 1:4r 1:5");
}

static void test_a_run_that_cannot_be_told (void **state)
{
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 2);
    s_cut ();
    s_replay (2, 0, 7, 8);  //  2 is no longer kept
    s_is ("0 1 2 unchecked(3)");
    kv_sequence_drained (sequence, now);
    s_wait (KV_QUIET_MS - 1);
    s_asks_nothing ();  //  A live batch that tells more may still be on its way
    s_wait (1);
    s_replay (3, 0, 7, 8);
    s_wait (KV_QUIET_MS);
    s_is ("history_lost(3-6) 7r 8r");
}

static void test_a_new_run_without_batches (void **state)
{
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 2);
    s_cut ();
    s_replay (2, 0, NOTHING);
    s_replay (0, 0, NOTHING);
    assert_int_equal (kv_sequence_state (sequence), KV_UNSURE);
    s_live (0, 3, 3);
    s_replay (2, 0, 2, 3);
    s_is ("0 1 2 3");
}

//  What is in our own queue is not lost because a replay begins behind it
static void test_a_short_history (void **state)
{
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    kv_sequence_drained (sequence, now);  //  It was empty for a long time, and is not any more
    now += KV_QUIET_MS;
    s_live (0, 2, 3);
    s_replay (1, 0, 8, 9);
    s_is ("0 gap(1) history_lost(1) 2 3");
    s_live (0, 4, 7);
    s_is ("4 5 6 7 8r 9r");
}

static void test_a_replay_that_fails (void **state)
{
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    s_live (0, 2, 3);
    s_replay (1, 0, NOTHING);
    s_is ("0 gap(1) replay_short(1)");
    uint64_t start;
    assert_int_equal (kv_sequence_replay (sequence, &start), KV_REPLAY_ASK);
    s_wait (299);
    s_is ("");
    s_wait (1);
    s_is ("replay_timeout(1) lost(1) 2 3");
    s_asks_nothing ();
}

static void test_no_room (void **state)
{
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    s_live (0, 2, 5);
    assert_true (kv_sequence_has_room (sequence));
    s_live (0, 6, 6);
    assert_false (kv_sequence_has_room (sequence));
    s_is ("0 gap(1) held_full(6)");
    s_live (0, 7, 7);  //  Dropped, and asked for
    s_replay (1, 0, 1, 7);
    s_is ("1r 2 3 4 5 6 7r");
    assert_true (kv_sequence_has_room (sequence));
}

static void test_flush (void **state)
{
    s_begin (KV_FROM_LIVE, true);
    s_live (0, 0, 0);
    s_live (0, 3, 3);
    kv_sequence_flush (sequence, now);
    s_is ("0 gap(1-2) lost(1-2) 3");
    s_asks_nothing ();
}

//  The diagram in docs/reliability.md says what the table says
static void test_the_diagram (void **state)
{
    FILE *file = fopen ("docs/reliability.md", "r");
    if (!file)
        skip ();
    static char text[200000];
    size_t size = fread (text, 1, sizeof text - 1, file);
    text[size] = 0;
    fclose (file);
    size_t arrows = 0;
    for (const char *at = text; (at = strstr (at, " --> ")); at++)
        arrows++;
    for (kv_state_t from = 0; from < KV_STATES; from++)
        for (kv_state_t to = 0; to < KV_STATES; to++) {
            char line[200];
            snprintf (line, sizeof line, "    %s --> %s:", kv_state_name (from),
                      kv_state_name (to));
            size_t length = strlen (line);
            size_t end = length;
            for (kv_event_name_t event = 0; event < KV_FLUSH; event++)
                if (from != to && kv_sequence_may (from, event, to))
                    end += (size_t) snprintf (line + end, sizeof line - end, " %s",
                                              kv_event_name (event));
            if (end == length)
                continue;
            snprintf (line + end, sizeof line - end, "\n");
            if (!strstr (text, line))
                fail_msg ("docs/reliability.md lacks:%s", line);
            arrows--;
        }
    assert_int_equal (arrows, 1);  //  The one to where it begins
}

int main (void)
{
#define TEST(test) cmocka_unit_test_teardown (test, s_teardown)
    const struct CMUnitTest tests[] = {
        TEST (test_in_order),
        TEST (test_a_gap_is_repaired),
        TEST (test_joining_late),
        TEST (test_a_replay_of_everything),
        TEST (test_a_gap_without_replays),
        TEST (test_the_first_number),
        TEST (test_a_number_far_ahead),
        TEST (test_a_number_behind),
        TEST (test_a_restart),
        TEST (test_a_restart_without_replays),
        TEST (test_a_cut),
        TEST (test_another_run_after_a_cut),
        TEST (test_a_run_that_cannot_be_told),
        TEST (test_a_new_run_without_batches),
        TEST (test_a_short_history),
        TEST (test_a_replay_that_fails),
        TEST (test_no_room),
        TEST (test_flush),
        TEST (test_the_diagram),
    };
    return cmocka_run_group_tests (tests, NULL, NULL);
}
