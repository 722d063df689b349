//  SPDX-License-Identifier: MIT
//
//  One function for each watched call and each copy of libzmq. They have the signatures of
//  libzmq's, and do nothing but say which copy is meant.

#include "calls.h"
#include "watch.h"

#include <string.h>

zmq_copy_t copies[COPIES_MAX];

const char *call_name (call_t call)
{
#define CALL_STRING(n, name, ...) "zmq_" #name,
    static const char *const names[] = {ALL_CALLS (CALL_STRING, )};
    return names[call];
}

call_t call_find (const char *name)
{
    if (strncmp (name, "zmq_", 4) != 0)
        return WATCHED;
    size_t call = 0;
    while (call < WATCHED && strcmp (name, call_name ((call_t) call)) != 0)
        call++;
    return (call_t) call;
}

//  The wrappers of copy `n`: s_socket_0 and so on
#define BARE(...) __VA_ARGS__
#define SEEN_WRAPPER(n, name, result, parameters, arguments, watch)                                \
    static result s_##name##_##n parameters                                                        \
    {                                                                                              \
        return watch (&copies[n], CALL_##name, BARE arguments);                                    \
    }
#define UNSEEN_WRAPPER(n, name, result, parameters, arguments)                                     \
    static result s_##name##_##n parameters                                                        \
    {                                                                                              \
        watch_unseen (CALL_##name);                                                                \
        return copies[n].zmq_##name arguments;                                                     \
    }
#define WRAPPERS(n) SEEN_CALLS (SEEN_WRAPPER, n) UNSEEN_CALLS (UNSEEN_WRAPPER, n)
WRAPPERS (0)
WRAPPERS (1)
WRAPPERS (2)
WRAPPERS (3)

function_t *call_wrapper (size_t copy, call_t call)
{
#define WRAPPER(n, name, ...) (function_t *) s_##name##_##n,
#define ROW(n) SEEN_CALLS (WRAPPER, n) UNSEEN_CALLS (WRAPPER, n)
    static function_t *const wrappers[COPIES_MAX][WATCHED] = {
        {ROW (0)}, {ROW (1)}, {ROW (2)}, {ROW (3)}};
    return wrappers[copy][call];
}
