//  SPDX-License-Identifier: MIT

#include "unit.h"

#include "engine/engine_set.h"

static void test_join (void **state)
{
    engine_set_t *self = engine_set_new (3);
    assert_int_equal (engine_set_size (self), 0);
    assert_int_equal (engine_set_next (self), -1);
    assert_true (engine_set_join (self, 256));
    assert_true (engine_set_join (self, 0));
    assert_false (engine_set_join (self, 256));  //  It was here
    assert_true (engine_set_join (self, 1));
    assert_false (engine_set_join (self, 2));  //  No room
    assert_int_equal (engine_set_size (self), 3);
    assert_int_equal (engine_set_living (self), 3);
    static const int by_index[] = {0, 1, 256};
    for (int i = 0; i < 3; i++) {
        assert_int_equal (engine_set_at (self, i), by_index[i]);
        assert_true (engine_set_lives (self, engine_set_at (self, i)));
        assert_true (engine_set_knows (self, by_index[i]));
    }
    assert_false (engine_set_knows (self, 2));
    assert_false (engine_set_knows (self, -1));
    engine_set_destroy (&self);
    assert_null (self);
    engine_set_destroy (&self);
}

static void test_turns (void **state)
{
    engine_set_t *self = engine_set_new (3);
    for (int i = 2; i >= 0; i--)
        engine_set_join (self, i);
    for (int i = 0; i < 7; i++)
        assert_int_equal (engine_set_next (self), i % 3);
    engine_set_mark_dead (self, 7);  //  Nobody
    assert_int_equal (engine_set_living (self), 3);
    assert_int_equal (engine_set_deaths (self), 0);
    engine_set_mark_dead (self, 1);
    engine_set_mark_dead (self, 1);
    assert_int_equal (engine_set_living (self), 2);
    assert_int_equal (engine_set_deaths (self), 1);
    assert_int_equal (engine_set_size (self), 3);
    assert_false (engine_set_lives (self, engine_set_at (self, 1)));
    assert_true (engine_set_knows (self, 1));
    assert_false (engine_set_lives (self, 1));
    assert_true (engine_set_lives (self, 2));
    assert_false (engine_set_lives (self, 7));
    for (int i = 0; i < 4; i++)
        assert_int_equal (engine_set_next (self), i % 2 ? 0 : 2);
    assert_false (engine_set_join (self, 1));  //  Back again
    assert_int_equal (engine_set_living (self), 3);
    assert_int_equal (engine_set_next (self), 1);
    for (int i = 0; i < 3; i++)
        engine_set_mark_dead (self, i);
    assert_int_equal (engine_set_next (self), -1);
    assert_int_equal (engine_set_living (self), 0);
    assert_int_equal (engine_set_deaths (self), 4);
    engine_set_destroy (&self);
}

int main (void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test (test_join), cmocka_unit_test (test_turns)};
    return cmocka_run_group_tests_name ("engine_set", tests, NULL, NULL);
}
