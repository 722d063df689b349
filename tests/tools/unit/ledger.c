//  SPDX-License-Identifier: MIT

#include "unit.h"

#include "push_pull/ledger.h"

static void s_misses (const ledger_t *self, uint32_t count, const char *tasks)
{
    char *text = ledger_describe (self);
    assert_string_equal (text, tasks);
    assert_int_equal (ledger_missing (self), count);
    free (text);
}

static void test_mark (void **state)
{
    (void) state;
    ledger_t *self = ledger_new ();
    s_misses (self, 0, "");  //  Nothing was announced
    ledger_expect (self, 9);
    s_misses (self, 9, "0-8");
    ledger_mark (self, 8);
    s_misses (self, 8, "0-7");
    ledger_mark (self, 8);  //  Twice
    ledger_mark (self, 9);  //  There is none such
    ledger_mark (self, UINT32_MAX);
    ledger_mark (self, 4);
    s_misses (self, 7, "0-3 5-7");
    ledger_mark (self, 0);
    ledger_mark (self, 2);
    s_misses (self, 5, "1 3 5-7");
    static const uint32_t rest[] = {1, 3, 5, 6, 7};
    for (size_t i = 0; i < COUNT (rest); i++)
        ledger_mark (self, rest[i]);
    s_misses (self, 0, "");
    ledger_destroy (&self);
    assert_null (self);
    ledger_destroy (&self);
}

//  Results take another way than the announcement
static void test_late_announcements (void **state)
{
    (void) state;
    ledger_t *self = ledger_new ();
    ledger_mark (self, 3);
    ledger_mark (self, 0);
    s_misses (self, 0, "");
    ledger_expect (self, 5);
    s_misses (self, 3, "1-2 4");
    ledger_mark (self, 1);
    ledger_mark (self, 4);
    //  The next batch begins to come back before its announcement, and before the end of this one
    ledger_mark (self, 0);
    ledger_mark (self, 2);
    s_misses (self, 0, "");
    ledger_expect (self, 2);
    s_misses (self, 1, "1");
    ledger_mark (self, 1);
    s_misses (self, 0, "");
    ledger_expect (self, 3);
    s_misses (self, 3, "0-2");
    ledger_destroy (&self);
}

static void test_sizes (void **state)
{
    (void) state;
    ledger_t *self = ledger_new ();
    ledger_expect (self, 0);
    s_misses (self, 0, "");
    ledger_mark (self, LEDGER_MAX - 1);
    ledger_expect (self, LEDGER_MAX);
    s_misses (self, LEDGER_MAX, "0-3999999");
    ledger_mark (self, LEDGER_MAX - 1);
    s_misses (self, LEDGER_MAX - 1, "0-3999998");
    //  Too many to keep a ledger of
    ledger_expect (self, LEDGER_MAX + 1);
    s_misses (self, 0, "");
    ledger_expect (self, UINT32_MAX);
    s_misses (self, 0, "");
    ledger_destroy (&self);
}

//  Of many runs the first ten are told
static void test_many_runs (void **state)
{
    (void) state;
    ledger_t *self = ledger_new ();
    ledger_expect (self, 22);
    for (uint32_t task = 1; task < 22; task += 2)
        ledger_mark (self, task);
    s_misses (self, 11, "0 2 4 6 8 10 12 14 16 18 ...");
    ledger_mark (self, 20);
    s_misses (self, 10, "0 2 4 6 8 10 12 14 16 18");
    ledger_destroy (&self);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_mark),
        cmocka_unit_test (test_late_announcements),
        cmocka_unit_test (test_sizes),
        cmocka_unit_test (test_many_runs),
    };
    return cmocka_run_group_tests_name ("ledger", tests, NULL, NULL);
}
