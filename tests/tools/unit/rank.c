//  SPDX-License-Identifier: MIT

#include "unit.h"

#include "kv/rank.h"

static void test_endpoints (void **state)
{
    static const struct {
        const char *endpoint;
        int rank;
        const char *own;
    } cases[] = {
        {"tcp://127.0.0.1:5557", 0, "tcp://127.0.0.1:5557"},
        {"tcp://127.0.0.1:5557", 1, "tcp://127.0.0.1:5558"},
        {"tcp://*:5557", 999, "tcp://*:6556"},
        {"tcp://[::1]:5557", 2, "tcp://[::1]:5559"},
        {"tcp://127.0.0.1:65535", 0, "tcp://127.0.0.1:65535"},
        {"tcp://127.0.0.1:65534", 1, "tcp://127.0.0.1:65535"},
        {"tcp://127.0.0.1:65535", 1, NULL},
        {"tcp://127.0.0.1:*", 3, "tcp://127.0.0.1:*"},
        {"tcp://127.0.0.1:0", 3, "tcp://127.0.0.1:0"},
        {"ipc:///tmp/kv", 0, "ipc:///tmp/kv"},
        {"ipc:///tmp/kv", 1, "ipc:///tmp/kv_dp1"},
        {"inproc://kv", 12, "inproc://kv_dp12"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *own = kv_rank_endpoint (cases[i].endpoint, cases[i].rank);
        if (cases[i].own)
            assert_string_equal (own, cases[i].own);
        else
            assert_null (own);
        zstr_free (&own);
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test (test_endpoints)};
    return cmocka_run_group_tests_name ("rank", tests, NULL, NULL);
}
