//  SPDX-License-Identifier: MIT
//  What a reader should know of the sequence, one situation each. All orders of events: see
//  tests/tools/explore/kv_sequence.c.

#include "unit.h"

#include "kv/kv_sequence.h"

#include <inttypes.h>

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

//  Batches as a step names them: "5", "2-4" or, of another run than the first, "1:0-1"
static void s_feed_all (const char *batches, bool replayed)
{
    const char *colon = strchr (batches, ':');
    uint64_t run = colon ? strtoull (batches, NULL, 10) : 0;
    char *end;
    uint64_t first = strtoull (colon ? colon + 1 : batches, &end, 10);
    uint64_t last = *end == '-' ? strtoull (end + 1, &end, 10) : first;
    assert_int_equal (*end, 0);
    for (uint64_t seq = first; seq <= last; seq++)
        s_feed (run, seq, replayed);
}

//  What kv_sequence_replay answers, and from where on it asks
static void s_asks (kv_replay_t want, uint64_t want_start)
{
    uint64_t start = 0;
    assert_int_equal (kv_sequence_replay (sequence, &start), want);
    if (want == KV_REPLAY_ASK)
        assert_int_equal (start, want_start);
}

//  Does what a step says
static void s_step (const char *step)
{
    char batches[40];
    uint64_t number;
    if (sscanf (step, "live %39s", batches) == 1) {
        s_feed_all (batches, false);
    } else if (sscanf (step, "replay %" SCNu64 " brings %39s", &number, batches) == 2) {
        //  Expects a request from this number on, and answers it
        s_asks (KV_REPLAY_ASK, number);
        s_asks (KV_REPLAY_RUNNING, 0);
        if (strcmp (batches, "nothing") != 0)
            s_feed_all (batches, true);
        kv_sequence_end (sequence, now);
    } else if (sscanf (step, "asks for %" SCNu64, &number) == 1) {
        s_asks (KV_REPLAY_ASK, number);
    } else if (strcmp (step, "asks nothing") == 0) {
        s_asks (KV_REPLAY_NONE, 0);
    } else if (strcmp (step, "cut") == 0) {
        kv_sequence_disconnected (sequence, now);
        kv_sequence_connected (sequence, now);
    } else if (sscanf (step, "wait %" SCNu64, &number) == 1) {
        now += (int64_t) number;
        kv_sequence_tick (sequence, now);
    } else if (sscanf (step, "pass %" SCNu64, &number) == 1) {
        now += (int64_t) number;  //  Without a tick
    } else if (strcmp (step, "drained") == 0) {
        kv_sequence_drained (sequence, now);
    } else if (strcmp (step, "flush") == 0) {
        kv_sequence_flush (sequence, now);
    } else if (strcmp (step, "is") == 0) {
        s_say ("%s%s", kv_state_name (kv_sequence_state (sequence)),
               kv_sequence_has_room (sequence) ? "" : ", full");
        if (kv_sequence_deadline (sequence) != INT64_MAX)
            s_say ("until %d", (int) (kv_sequence_deadline (sequence) - now));
    } else {
        const kv_sequence_counts_t *counts = kv_sequence_counts (sequence);
        assert_string_equal (step, "counts");
        s_say ("%d received, %d delivered, %d replayed, %d duplicates, %d gaps, %d lost, "
               "%d restarts, %d strays",
               (int) counts->received, (int) counts->delivered, (int) counts->replayed,
               (int) counts->duplicates, (int) counts->gaps, (int) counts->lost,
               (int) counts->restarts, (int) counts->strays);
    }
}

//  Each step, and behind a '>' what comes of it
static void test_situations (void **state)
{
    struct {
        const char *what;
        uint64_t from;
        bool can_replay;
        const char *steps;
    } cases[] = {
        {"in order", KV_FROM_LIVE, true, "live 0-3>0 1 2 3|asks nothing|is>following"},
        {"a gap is repaired", KV_FROM_LIVE, true,
         "live 0-1>0 1|live 5-6>gap(2-4)|replay 2 brings 2-6>2r 3r 4r 5 6|live 7>7|"
         //  5 and 6 of the replay were not needed any more
         "counts>8 received, 8 delivered, 3 replayed, 0 duplicates, 1 gaps, 0 lost, 0 restarts, "
         "0 strays"},
        //  A live number that jumps is believed when the replay brings it, too
        {"one batch shows a gap", KV_FROM_LIVE, true,
         "live 0-1>0 1|live 5>gap(2-4)|replay 2 brings 2-5>2r 3r 4r 5|is>following"},
        {"a doubted reply comes again in its place", KV_FROM_LIVE, true,
         "live 0>0|live 4-5>gap(1-3)|replay 1 brings 3>replay_short(1-3)|"
         "replay 1 brings 1-3>1r 2r 3r 4 5|asks nothing"},
        {"a doubted reply comes twice", KV_FROM_LIVE, true,
         "live 0>0|live 4-5>gap(1-3)|replay 1 brings 3>replay_short(1-3)|"
         "replay 1 brings 3>history_lost(1-2) 3r 4 5|asks nothing"},
        {"joining late", 0, true, "replay 0 brings 0-2>0r 1r 2r|live 3>3"},
        {"a publisher that repeats more than was asked for", 5, true,
         "replay 5 brings 0-6>5r 6r|"
         "counts>7 received, 2 delivered, 2 replayed, 5 duplicates, 0 gaps, 0 lost, 0 restarts, "
         "0 strays"},
        //  A jump is believed after a while without a second message. Without a replay it is lost.
        {"a gap without replays", KV_FROM_LIVE, false,
         "live 0>0|live 3>gap(1-2)|is>waiting until 1000|wait 999|wait 1>lost(1-2) 3|"
         "live 7-8>gap(4-6) lost(4-6) 7 8"},
        {"the first number", KV_FROM_LIVE, true, "live 1000|live 1001>1000 1001"},
        {"a number far ahead", KV_FROM_LIVE, true,
         "live 0-1>0 1|live 9:18446744073709551360|asks nothing|"
         "live 2-3>stray(18446744073709551360) 2 3|live 9:18446744073709551360|"
         "wait 1000>stray(18446744073709551360)|"
         "counts>6 received, 4 delivered, 0 replayed, 0 duplicates, 0 gaps, 0 lost, 0 restarts, "
         "2 strays"},
        //  The replay begins at the last one known, and shows the same bytes
        {"a number behind", KV_FROM_LIVE, true,
         "live 0-5>0 1 2 3 4 5|live 9:2|is>checking until 300|live 6|replay 5 brings 5-6>stray(2) "
         "6"},
        {"a restart", KV_FROM_LIVE, true,
         "live 0-2>0 1 2|live 1:0-1|"
         //  The new run has not come so far, but it has something
         "replay 2 brings nothing|replay 0 brings 1:0-1>restart(0) 1:0 1:1"},
        {"a restart without replays", KV_FROM_LIVE, false,
         "live 0-4>0 1 2 3 4|live 1:0|live 1:1>restart(0) 1:0 1:1|live 2:0|wait 1000>restart(0) "
         "2:0"},
        //  The second replay brings 6 and 7 though nothing live has shown that they are there
        {"a cut", KV_FROM_LIVE, true,
         "live 0-2>0 1 2|cut|live 5|replay 2 brings 2-5>gap(3-4) 3r 4r 5|cut|"
         "replay 5 brings 5-7>6r 7r"},
        {"another run after a cut", KV_FROM_LIVE, true,
         "live 0-2>0 1 2|cut|live 1:5|replay 2 brings 1:2-3>restart(2)|"
         "replay 0 brings 1:0-5>1:0r 1:1r 1:2r 1:3r 1:4r 1:5"},
        //  2 is no longer kept; then a live batch that tells more may still be on its way
        {"a run that cannot be told", KV_FROM_LIVE, true,
         "live 0-2>0 1 2|cut|replay 2 brings 7-8>unchecked(3)|drained|wait 199|asks nothing|"
         "wait 1|replay 3 brings 7-8>history_lost(3-6) 7r 8r|wait 200"},
        //  It has told more, although the SUB is never empty
        {"a run that cannot be told, and a live batch", KV_FROM_LIVE, true,
         "live 0-2>0 1 2|cut|replay 2 brings 7-8>unchecked(3)|live 9-10|"
         "replay 3 brings 7-10>history_lost(3-6) 7r 8r 9 10"},
        //  1:0 came by the connection that was cut before its run was known
        {"another run after two cuts", KV_FROM_LIVE, true,
         "live 0-2>0 1 2|cut|live 1:0|cut|replay 2 brings 1:2-3>restart(2) unchecked(0)|"
         "replay 0 brings 1:0-3>1:0r 1:1r 1:2r 1:3r"},
        {"two numbers behind, and no replay", KV_FROM_LIVE, true,
         "live 0-5>0 1 2 3 4 5|live 1:2|replay 5 brings nothing|replay 0 brings nothing|"
         "replay 5 brings nothing|replay 0 brings nothing|live 1:1>stray(2)|is>waiting until 1000|"
         "live 1:2>restart(1)|replay 0 brings 1:0-2>1:0r 1:1 1:2"},
        {"a new run without batches", KV_FROM_LIVE, true,
         "live 0-2>0 1 2|cut|replay 2 brings nothing|replay 0 brings nothing|is>unsure|live 3|"
         "replay 2 brings 2-3>3"},
        //  The queue was empty for a long time, and is not any more. What is in it is not lost
        //  because a replay begins behind it.
        {"a short history", KV_FROM_LIVE, true,
         "live 0>0|drained|pass 200|live 2-3>gap(1)|replay 1 brings 8-9>history_lost(1) 2 3|"
         "live 4-7>4 5 6 7 8r 9r"},
        {"a replay that fails", KV_FROM_LIVE, true,
         "live 0>0|live 2-3>gap(1)|replay 1 brings nothing>replay_short(1)|asks for 1|wait 299|"
         "wait 1>replay_timeout(1) lost(1) 2 3|asks nothing"},
        //  7 is dropped, and asked for
        {"no room", KV_FROM_LIVE, true,
         "live 0>0|live 2-5>gap(1)|is>repairing until 300|live 6>held_full(6)|is>repairing, full "
         "until 300|live 7|"
         "replay 1 brings 1-7>1r 2 3 4 5 6 7r|is>following"},
        {"flush", KV_FROM_LIVE, true, "live 0>0|live 3>gap(1-2)|flush>lost(1-2) 3|asks nothing"},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        kv_sequence_limits_t limits = {.from_seq = cases[i].from,
                                       .can_replay = cases[i].can_replay,
                                       .max_held = 5,
                                       .max_bytes = 1 << 20,
                                       .replay_ms = 300};
        kv_sequence_handler_t handler = {s_on_deliver, s_on_notice, &sequence};
        now = 1000;
        sequence = kv_sequence_new (&limits, &handler);
        kv_sequence_connected (sequence, now);
        for (char step[200], *want; unit_word (&cases[i].steps, step);) {
            *said = 0;
            want = strchr (step, '>');
            if (want)
                *want++ = 0;
            s_step (step);
            if (strcmp (said, want ? want : "") != 0)
                fail_msg ("%s: %s: \"%s\"", cases[i].what, step, said);
        }
        kv_sequence_destroy (&sequence);
        kv_sequence_destroy (&sequence);
    }
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_situations),
        cmocka_unit_test (test_the_diagram),
    };
    return cmocka_run_group_tests_name ("kv_sequence", tests, NULL, NULL);
}
