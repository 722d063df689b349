//  SPDX-License-Identifier: MIT

#include "unit.h"

#include "engine/probe.h"

static void test_once_a_second (void **state)
{
    probe_t self;
    probe_start (&self, 500);
    assert_int_equal (probe_left (&self, 500), 1000);
    assert_int_equal (probe_left (&self, 1499), 1);
    assert_false (probe_due (&self, 1499, false));
    assert_true (probe_due (&self, 1500, false));
    assert_int_equal (probe_left (&self, 1500), 0);
    assert_int_equal (probe_left (&self, 9999), 0);
    assert_false (probe_gives_up (&self, 0));
    probe_done (&self, 1700, 0);
    assert_int_equal (probe_left (&self, 1700), 1000);
}

//  While messages come, it is due a second later
static void test_a_stream_is_taken_first (void **state)
{
    probe_t self;
    probe_start (&self, 0);
    assert_false (probe_due (&self, 1999, true));
    assert_true (probe_due (&self, 1000, false));
    assert_true (probe_due (&self, 2000, true));
    probe_done (&self, 2000, 0);
    assert_false (probe_due (&self, 3999, true));
    assert_true (probe_due (&self, 4000, true));
}

//  Last words make it quick until as many engines were found dead
static void test_last_words (void **state)
{
    probe_t self;
    probe_start (&self, 0);
    probe_last_words (&self, 300);
    assert_true (probe_due (&self, 300, false));
    assert_false (probe_gives_up (&self, 0));
    probe_done (&self, 300, 0);
    assert_int_equal (probe_left (&self, 300), 50);
    assert_true (probe_due (&self, 350, false));
    probe_done (&self, 350, 1);
    assert_int_equal (probe_left (&self, 350), 1000);
    assert_false (probe_gives_up (&self, 1));
}

//  After 200 probes in vain it gives up. When other engines stream, each comes 50 ms later.
static void test_last_words_in_vain (void **state)
{
    for (int stream = 0; stream < 2; stream++) {
        probe_t self;
        int64_t now = 700;
        probe_start (&self, 0);
        probe_last_words (&self, now);
        for (int i = 0; i < 200; i++) {
            now += 50 * stream;
            assert_false (probe_due (&self, now - 1, stream));
            assert_true (probe_due (&self, now, stream));
            assert_int_equal (probe_gives_up (&self, 0), i == 199);
            if (i < 199)
                probe_done (&self, now, 0);
            now += 50;
        }
        assert_false (probe_gives_up (&self, 1));
        probe_done (&self, now, 2);  //  Both count as dead
        assert_int_equal (probe_left (&self, now), 1000);
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_once_a_second),
        cmocka_unit_test (test_a_stream_is_taken_first),
        cmocka_unit_test (test_last_words),
        cmocka_unit_test (test_last_words_in_vain),
    };
    return cmocka_run_group_tests_name ("probe", tests, NULL, NULL);
}
