//  SPDX-License-Identifier: MIT

#include "unit.h"

#include "engine/token_set.h"

//  Against a search from the first to the last
static void s_check (const uint32_t *given, size_t count)
{
    uint32_t set[16];
    for (size_t i = 0; i < count; i++)
        set[i] = given[i];
    size_t kept = token_set_sort (set, count);
    for (size_t i = 1; i < kept; i++)
        assert_true (set[i - 1] < set[i]);
    for (uint32_t token = 0; token < 10; token++) {
        bool there = false;
        for (size_t i = 0; i < count; i++)
            there = there || given[i] == token;
        const uint32_t *found = token_set_find (set, kept, token);
        assert_int_equal (found != NULL, there);
        if (!found)
            continue;
        assert_int_equal (*found, token);
        uint32_t last = token_set_last_of_row (set, kept, found);
        for (uint32_t next = token; next <= last; next++)
            assert_non_null (token_set_find (set, kept, next));
        assert_null (token_set_find (set, kept, last + 1));
    }
}

//  Every array of up to six numbers below seven
static void test_small (void **state)
{
    s_check (NULL, 0);
    for (size_t count = 1, all = 7; count <= 6; count++, all *= 7)
        for (size_t number = 0; number < all; number++) {
            uint32_t given[6];
            size_t rest = number;
            for (size_t i = 0; i < count; i++, rest /= 7)
                given[i] = (uint32_t) (rest % 7);
            s_check (given, count);
        }
}

//  Each byte of a number counts
static void test_large_numbers (void **state)
{
    uint32_t set[] = {UINT32_MAX, 1u << 24, 1u << 16, 256, 255, 0, UINT32_MAX, 1u << 31, 256};
    const uint32_t want[] = {0, 255, 256, 1u << 16, 1u << 24, 1u << 31, UINT32_MAX};
    assert_int_equal (token_set_sort (set, COUNT (set)), COUNT (want));
    assert_memory_equal (set, want, sizeof want);
    assert_int_equal (token_set_last_of_row (set, COUNT (want), set + 1), 256);
    assert_int_equal (token_set_last_of_row (set, COUNT (want), set + 6), UINT32_MAX);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_small),
        cmocka_unit_test (test_large_numbers),
    };
    return cmocka_run_group_tests_name ("token_set", tests, NULL, NULL);
}
