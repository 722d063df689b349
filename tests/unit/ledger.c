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
    ledger_t *self = ledger_new (9);
    s_misses (self, 9, "0-8");
    assert_true (ledger_mark (self, 8));
    s_misses (self, 8, "0-7");
    assert_false (ledger_mark (self, 8));  //  Twice
    assert_false (ledger_mark (self, 9));  //  There is none such
    assert_false (ledger_mark (self, UINT32_MAX));
    assert_true (ledger_mark (self, 4));
    s_misses (self, 7, "0-3 5-7");
    assert_true (ledger_mark (self, 0));
    assert_true (ledger_mark (self, 2));
    s_misses (self, 5, "1 3 5-7");
    static const uint32_t rest[] = {1, 3, 5, 6, 7};
    for (size_t i = 0; i < COUNT (rest); i++)
        assert_true (ledger_mark (self, rest[i]));
    s_misses (self, 0, "");
    ledger_destroy (&self);
    assert_null (self);
    ledger_destroy (&self);
}

static void test_sizes (void **state)
{
    (void) state;
    ledger_t *self = ledger_new (0);
    s_misses (self, 0, "");
    assert_false (ledger_mark (self, 0));
    ledger_destroy (&self);
    self = ledger_new (LEDGER_MAX);
    assert_true (ledger_mark (self, LEDGER_MAX - 1));
    s_misses (self, LEDGER_MAX - 1, "0-3999998");
    ledger_destroy (&self);
    assert_null (ledger_new (LEDGER_MAX + 1));
    assert_null (ledger_new (UINT32_MAX));
}

//  Of many runs the first ten are told
static void test_many_runs (void **state)
{
    (void) state;
    ledger_t *self = ledger_new (22);
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
        cmocka_unit_test (test_sizes),
        cmocka_unit_test (test_many_runs),
    };
    return cmocka_run_group_tests_name ("ledger", tests, NULL, NULL);
}
