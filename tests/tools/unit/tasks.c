//  SPDX-License-Identifier: MIT

#include "unit.h"
#include "vectors.h"

#include "push_pull/tasks.h"

//  -- Readers, as unit.h wants them

static bool s_task (zframe_t *frame, mp_error_t *error)
{
    task_t task;
    bool ok = task_read (frame, &task, error);
    return ok;
}

static bool s_result (zframe_t *frame, mp_error_t *error)
{
    task_result_t result;
    bool ok = task_result_read (frame, &result, error);
    if (ok)
        zstr_free (&result.worker);
    return ok;
}

//  This one has no error to set
static bool s_batch (zframe_t *frame, mp_error_t *error)
{
    uint32_t tasks;
    bool ok = task_batch_read (frame, &tasks);
    if (!ok)
        mp_error_set (error, "message", "no batch, or has bytes after its end");
    return ok;
}

static void test_encode (void **state)
{
    (void) state;
    task_t task = {7, 7};
    unit_is_vector (task_new (&task), VECTOR (TASK));
    task_result_t result = {7, "w1", 49};
    unit_is_vector (task_result_new (&result), VECTOR (RESULT));
    unit_is_vector (task_batch_new (100), VECTOR (BATCH_START));

    task = (task_t){UINT32_MAX, UINT32_MAX};
    unit_is_text (task_new (&task), "{\"task\":4294967295,\"value\":4294967295}");
    result = (task_result_t){0, "", 18446744065119617025u};
    unit_is_text (task_result_new (&result),
                  "{\"task\":0,\"worker\":\"\",\"value\":18446744065119617025}");
}

static void test_decode (void **state)
{
    (void) state;
    mp_error_t error;
    task_t task = {0};
    zframe_t *frame = task_new (&(task_t){UINT32_MAX, 70000});
    assert_true (task_read (frame, &task, &error));
    assert_int_equal (task.id, UINT32_MAX);
    assert_int_equal (task.value, 70000);
    //  The frame is still whole
    assert_true (task_read (frame, &task, NULL));
    uint32_t tasks = 77;
    assert_false (task_batch_read (frame, &tasks));
    assert_int_equal (tasks, 77);
    zframe_destroy (&frame);

    task_result_t result = {0};
    frame = task_result_new (&(task_result_t){3, "w1", UINT64_MAX});
    assert_true (task_result_read (frame, &result, &error));
    zframe_destroy (&frame);
    assert_int_equal (result.id, 3);
    assert_string_equal (result.worker, "w1");
    assert_true (result.value == UINT64_MAX);
    zstr_free (&result.worker);

    frame = task_batch_new (UINT32_MAX);
    assert_true (task_batch_read (frame, &tasks));
    assert_int_equal (tasks, UINT32_MAX);
    assert_false (task_result_read (frame, &result, &error));
    assert_string_equal (error.text, "task: want an unsigned integer, got nothing");
    zframe_destroy (&frame);

    //  Another order, keys that are not known, the last of equal keys
    frame = unit_frame ("{'value':1,'newer':[{}],'value':9,1:2,'task':4}");
    assert_true (task_read (frame, &task, &error));
    assert_int_equal (task.id, 4);
    assert_int_equal (task.value, 9);
    zframe_destroy (&frame);
}

static void test_wrong_types (void **state)
{
    (void) state;
    unit_types (s_task, VECTOR (TASK), (field_t){"task", "task", "u"});
    unit_types (s_task, VECTOR (TASK), (field_t){"value", "value", "u"});
    unit_types (s_result, VECTOR (RESULT), (field_t){"task", "task", "u"});
    unit_types (s_result, VECTOR (RESULT), (field_t){"worker", "worker", "s"});
    unit_types (s_result, VECTOR (RESULT), (field_t){"value", "value", "u"});
    unit_types (s_batch, VECTOR (BATCH_START), (field_t){"tasks", "message", "u"});

    static const struct {
        unit_decode_fn *decode;
        const char *text;
        const char *why;
    } cases[] = {
        {s_task, "[1,2]", "message: want a map, got array"},
        {s_task, "{}", "task: want an unsigned integer, got nothing"},
        {s_task, "{'task':1}", "value: want an unsigned integer, got nothing"},
        {s_task, "{'task':4294967296,'value':1}", "task: 4294967296 is more than 4294967295"},
        {s_task, "{'task':1,'value':4294967296}", "value: 4294967296 is more than 4294967295"},
        {s_result, "'x'", "message: want a map, got str"},
        {s_result, "{'task':1,'value':1}", "worker: want a str, got nothing"},
        {s_result, "{'task':1,'worker':'w'}", "value: want an unsigned integer, got nothing"},
        {s_result, "{'task':4294967296,'worker':'w','value':1}", "task: 4294967296 is more"},
        {s_result, "{'task':1,'worker':x'a3770031','value':1}", "worker: has a NUL byte in it"},
        {s_batch, "{'task':1}", "message"},
        {s_batch, "{'tasks':4294967296}", "message"},
        {s_batch, "[1]", "message"},
    };
    for (size_t i = 0; i < COUNT (cases); i++)
        unit_refuses (cases[i].decode, unit_frame (cases[i].text), cases[i].why);
}

static void test_long_names (void **state)
{
    (void) state;
    char name[TASK_WORKER_MAX + 2] = "";
    memset (name, 'w', TASK_WORKER_MAX);
    zframe_t *frame = task_result_new (&(task_result_t){1, name, 1});
    assert_true (s_result (frame, NULL));
    zframe_destroy (&frame);
    name[TASK_WORKER_MAX] = 'w';
    unit_refuses (s_result, task_result_new (&(task_result_t){1, name, 1}),
                  "worker: want at most 255 bytes");
}

//  Of a message with more frames, the first is not enough
static void test_more_frames (void **state)
{
    (void) state;
    zframe_t *frame = zframe_new (RESULT, sizeof RESULT);
    for (int more = 0; more <= 1; more++) {
        mp_error_t error = {.text = ""};
        task_t task;
        task_result_t result = {0};
        uint32_t tasks;
        zframe_set_more (frame, more);
        assert_int_equal (task_read (frame, &task, &error), !more);
        assert_string_equal (error.text, more ? "message: want 1 frame, got more" : "");
        assert_int_equal (task_result_read (frame, &result, &error), !more);
        zstr_free (&result.worker);
        assert_false (task_batch_read (frame, &tasks));
    }
    zframe_destroy (&frame);
    frame = zframe_new_empty ();
    mp_error_t error;
    task_t task;
    assert_false (task_read (frame, &task, &error));
    assert_string_equal (error.text, "message: empty");
    zframe_destroy (&frame);
}

static void test_hostile (void **state)
{
    (void) state;
    unit_hostile (s_task, VECTOR (TASK));
    unit_hostile (s_result, VECTOR (RESULT));
    unit_hostile (s_batch, VECTOR (BATCH_START));
    static const char *const bytes[] = {"x''",           "x'c1'",         "x'dd01000000'",
                                        "x'dfffffffff'", "x'dbffffffff'", "x'81a4'"};
    for (size_t i = 0; i < COUNT (bytes); i++) {
        unit_refuses (s_task, unit_frame (bytes[i]), "message: ");
        unit_refuses (s_result, unit_frame (bytes[i]), "message: ");
        unit_refuses (s_batch, unit_frame (bytes[i]), "message: ");
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_encode),      cmocka_unit_test (test_decode),
        cmocka_unit_test (test_wrong_types), cmocka_unit_test (test_long_names),
        cmocka_unit_test (test_more_frames), cmocka_unit_test (test_hostile),
    };
    return cmocka_run_group_tests_name ("tasks", tests, NULL, NULL);
}
