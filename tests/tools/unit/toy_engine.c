//  SPDX-License-Identifier: MIT
//
//  Most tests are scenarios (scenario.h). Their commands:
//
//      with FIELD [VALUE]             sets a field of the configuration; also: lines, metrics
//      add ID [MAX_TOKENS [CLIENT]]   a request with 3 prompt tokens, for 9 of front-end 0
//      request ID PROMPT PARAMS REST  a request; REST is its client_index and all behind it
//      call METHOD ARGS [CLIENT]      a utility call
//      abort IDS
//      send TYPE PAYLOAD              any message: the bytes of the type in hex, a payload as
//                                     unit_pack takes it, further frames behind " + "
//      step, abort-all, abort-client CLIENT, load
//                                     the function of that name; a load goes to front-end 0
//      state, summary [START]         print what runs, and the summary; START: of engines before it
//
//  What comes of them, besides lines:
//
//      1: r0 2 length, r1 0 abort     to front-end 1: outputs with 2 tokens, and with none
//      1: r0 1 running first of 3     with the events and the prefill_stats of a first output
//      1: {6 running, 1.0 full, 5 new of 15}
//                                     scheduler_stats: 5 new requests with 15 prompt tokens in all
//      1: = true                      the answer to a call; "1: ! WHY" when it failed

#include "scenario.h"

#include "engine/toy_engine.h"

#define CALL_ID "9223372036854775813"

typedef struct {
    const char *name, *script;
} scenario_t;

//  What the engine has sent and nobody has looked at yet, oldest first
static struct {
    uint32_t client_index;
    zframe_t *payload;
} sent[100];
static size_t sent_count;

//  The engine under test, and when it began. The first command that is not "with" begins it.
static toy_engine_config_t config;
static toy_engine_t *engine;
static double began;

static int s_setup (void **state)
{
    log_program = "engine";
    log_level = LOG_LINES;
    return 0;
}

//  No assertions in here: the engine's lines are caught while it runs
static void s_send (void *owner, uint32_t client_index, zframe_t *payload)
{
    if (owner != sent || sent_count == COUNT (sent))
        abort ();
    sent[sent_count].client_index = client_index;
    sent[sent_count++].payload = payload;
}

static double s_now (void)
{
    return (double) zclock_usecs () / 1e6;
}

static int s_begin (void **state)
{
    config = (toy_engine_config_t){.clients = 1, .quiet = true, .plain = true};
    return 0;
}

static int s_end (void **state)
{
    while (sent_count > 0)
        zframe_destroy (&sent[--sent_count].payload);
    toy_engine_destroy (&engine);
    return engine ? -1 : 0;
}

//  -- What comes

static const msgpack_object *s_at (const msgpack_object *array, uint32_t i)
{
    assert_int_equal (array->type, MSGPACK_OBJECT_ARRAY);
    assert_true (i < array->via.array.size);
    return &array->via.array.ptr[i];
}

static const msgpack_object *s_key (const msgpack_object *map, const char *key)
{
    assert_int_equal (map->type, MSGPACK_OBJECT_MAP);
    assert_non_null (mp_find (&map->via.map, key));
    return mp_find (&map->via.map, key);
}

static void s_print_value (FILE *out, const char *mark, const msgpack_object *object)
{
    char *text = unit_print (object);
    fprintf (out, "%s%s", mark, text);
    free (text);
}

//  An EngineCoreOutput; `now` is the timestamp of the message
static void s_print_output (FILE *out, const msgpack_object *output, double now)
{
    const msgpack_object_str *id = &s_at (output, 0)->via.str;
    const msgpack_object *reason = s_at (output, 5), *events = s_at (output, 7);
    int number = mp_is_nil (reason) ? ENGINE_CORE_RUNNING : (int) reason->via.u64;
    fprintf (out, "%.*s %u %s", (int) id->size, id->ptr, s_at (output, 1)->via.array.size,
             engine_core_finish_name (number));
    if (!mp_is_nil (events)) {
        double queued = s_key (s_at (events, 0), "timestamp")->via.f64;
        double scheduled = s_key (s_at (events, 1), "timestamp")->via.f64;
        assert_int_equal (s_key (s_at (events, 0), "type")->via.u64, 1);
        assert_int_equal (s_key (s_at (events, 1), "type")->via.u64, 2);
        assert_true (began <= queued && queued <= scheduled && scheduled <= now);
        s_print_value (out, " first of ", s_key (s_at (output, 11), "num_prompt_tokens"));
    }
    if (!mp_is_nil (s_at (output, 18)))
        s_print_value (out, " ", s_at (output, 18));
}

static void s_print_stats (FILE *out, const msgpack_object *stats)
{
    const msgpack_object *cache = s_key (stats, "prefix_cache_stats");
    assert_int_equal (s_key (stats, "num_waiting_reqs")->via.u64, 0);
    assert_int_equal (s_key (cache, "hits")->via.u64, 0);
    s_print_value (out, " {", s_key (stats, "num_running_reqs"));
    s_print_value (out, " running, ", s_key (stats, "kv_cache_usage"));
    s_print_value (out, " full, ", s_key (cache, "requests"));
    s_print_value (out, " new of ", s_key (cache, "queries"));
    fputc ('}', out);
}

static void s_print_answer (FILE *out, const msgpack_object *answer)
{
    const msgpack_object_str *failure = &s_at (answer, 1)->via.str;
    assert_true (s_at (answer, 0)->via.u64 == strtoull (CALL_ID, NULL, 10));
    if (!mp_is_nil (s_at (answer, 1))) {
        assert_true (mp_is_nil (s_at (answer, 2)));
        fprintf (out, " ! %.*s", (int) failure->size, failure->ptr);
        return;
    }
    assert_true (mp_is_nil (s_at (s_at (answer, 2), 0)));
    s_print_value (out, " = ", s_at (s_at (answer, 2), 1));
}

static void s_print_payload (FILE *out, zframe_t *frame)
{
    msgpack_unpacked doc;
    assert_int_equal (mp_decode (&doc, zframe_data (frame), zframe_size (frame), "payload", NULL),
                      0);
    const msgpack_object *outputs = s_at (&doc.data, 1);
    double timestamp = s_at (&doc.data, 3)->via.f64;
    assert_int_equal (s_at (&doc.data, 0)->via.u64, config.index);
    assert_true (began <= timestamp && timestamp <= s_now ());
    assert_int_equal (doc.data.via.array.size, config.release ? 8 : 9);
    for (uint32_t i = 0; i < outputs->via.array.size; i++) {
        fputs (i ? ", " : " ", out);
        s_print_output (out, s_at (outputs, i), timestamp);
    }
    if (!mp_is_nil (s_at (&doc.data, 2)))
        s_print_stats (out, s_at (&doc.data, 2));
    if (!mp_is_nil (s_at (&doc.data, 4)))
        s_print_answer (out, s_at (&doc.data, 4));
    msgpack_unpacked_destroy (&doc);
}

static void s_print (FILE *out)
{
    for (size_t i = 0; i < sent_count; i++) {
        fprintf (out, " | %u:", sent[i].client_index);
        s_print_payload (out, sent[i].payload);
        zframe_destroy (&sent[i].payload);
    }
    sent_count = 0;
}

//  -- What the engine is told

static void s_message (const char *type, const char *payload)
{
    zmsg_t *message = zmsg_new ();
    byte bytes[4];
    unsigned value;
    size_t size = 0, frames = 1;
    for (; sscanf (type + 2 * size, "%2x", &value) == 1; size++)
        bytes[size] = (byte) value;
    zmsg_addmem (message, bytes, size);
    for (; payload && *payload; frames++) {
        const char *end = strstr (payload, " + ");
        zframe_t *frame = unit_frame (payload);
        zmsg_append (message, &frame);
        payload = end ? end + 3 : "";
    }
    toy_engine_handle (engine, message);
    if (zmsg_size (message) != frames)  //  It stays the caller's
        abort ();
    zmsg_destroy (&message);
}

//  The next word of a command as a number
static uint32_t s_number (char **rest, uint32_t otherwise)
{
    const char *word = strtok_r (NULL, " ", rest);
    return word ? (uint32_t) strtoul (word, NULL, 10) : otherwise;
}

//  What differs from s_begin
static void s_with (const char *field, uint32_t value)
{
    if (streq (field, "clients"))
        config.clients = value;
    else if (streq (field, "index"))
        config.index = (uint16_t) value;
    else if (streq (field, "chunk_size"))
        config.chunk_size = value;
    else if (streq (field, "release"))
        config.release = (int) value;
    else if (streq (field, "max_model_len"))
        config.ready = (engine_core_ready_t){value, .num_gpu_blocks = 4, .block_size = 4};
    else if (streq (field, "metrics"))
        config.plain = false;
    else
        config.quiet = false;
}

static void s_start (void)
{
    began = s_now ();
    engine = toy_engine_new (&config, s_send, sent);
}

static void s_request (const char *id, const char *prompt, const char *params, const char *rest)
{
    char *text = zsys_sprintf ("['%s',%s,null,%s,null,1.0,null,null,null,null,null,%s]", id, prompt,
                               params, rest);
    s_message ("00", text);
    zstr_free (&text);
}

static void s_do (char *command)
{
    char text[200], *rest;
    const char *word = strtok_r (command, " ", &rest);
    const char *next = strtok_r (NULL, " ", &rest);
    if (!engine && !streq (word, "with"))
        s_start ();
    if (streq (word, "with")) {
        s_with (next, s_number (&rest, 0));
    } else if (streq (word, "add")) {
        snprintf (text, sizeof text, "{'max_tokens':%" PRIu32 "}", s_number (&rest, 9));
        const char *client = strtok_r (NULL, " ", &rest);
        s_request (next, "[1,2,3]", text, client ? client : "0");
    } else if (streq (word, "request")) {
        const char *prompt = strtok_r (NULL, " ", &rest), *params = strtok_r (NULL, " ", &rest);
        s_request (next, prompt, params, rest);
    } else if (streq (word, "call")) {
        const char *args = strtok_r (NULL, " ", &rest);
        snprintf (text, sizeof text, "[%" PRIu32 "," CALL_ID ",'%s',%s]", s_number (&rest, 0), next,
                  args);
        s_message ("03", text);
    } else if (streq (word, "abort")) {
        s_message ("01", next);
    } else if (streq (word, "send")) {
        s_message (next, rest);
    } else if (streq (word, "step")) {
        toy_engine_step (engine);
    } else if (streq (word, "load")) {
        zframe_t *load = toy_engine_load (engine);
        if (load)
            s_send (sent, 0, load);
    } else if (streq (word, "abort-all")) {
        toy_engine_abort_all (engine);
    } else if (streq (word, "abort-client")) {
        toy_engine_abort_client (engine, (uint32_t) strtoul (next, NULL, 10));
    } else if (streq (word, "state")) {
        printf ("%s, %zu running\n", toy_engine_busy (engine) ? "busy" : "idle",
                toy_engine_running (engine));
    } else if (streq (word, "summary")) {
        int start = next ? (int) strtol (next, NULL, 10) : 0;
        toy_engine_counts_t counts = {start, start, start};
        toy_engine_add_counts (engine, &counts);
        toy_engine_say_summary (&counts);
    } else {
        abort ();
    }
}

static void s_play (const char *script)
{
    scenario_play (script, s_do, s_print);
}

static void s_playf (const char *format, ...) CHECK_PRINTF (1);
static void s_playf (const char *format, ...)
{
    va_list args;
    va_start (args, format);
    char *script = zsys_vprintf (format, args);
    va_end (args);
    s_play (script);
    zstr_free (&script);
}

//  -- Scenarios

static const scenario_t scenarios[] = {
    {"nothing to do",
     "with clients 2; with metrics\n"
     "state; step; abort-all; load; summary -> > idle, 0 running | > 0 finished, 0 aborted, 0 bad"},

    {"a request ends when it has its max_tokens",
     "with index 70; with lines\n"
     "add r0 1 -> > r0: 3 prompt tokens\n"
     "add r1 2; add r2 1; state -> > r1: 3 prompt tokens | > r2: 3 prompt tokens | "
     "> busy, 3 running\n"
     "step -> 0: r0 1 length, r1 1 running, r2 1 length | > r0: 1 token, length | "
     "> r2: 1 token, length\n"
     "summary -> > 2 finished, 0 aborted, 0 bad\n"
     "step -> 0: r1 1 length | > r1: 2 tokens, length\n"
     "step; state; summary -> > idle, 0 running | > 3 finished, 0 aborted, 0 bad"},

    {"the configuration goes to the scheduler: tokens in a step, and in a request with its prompt",
     "with chunk_size 5; with max_model_len 10\n"
     "add r0 100; step -> 0: r0 5 running\n"
     "step -> 0: r0 2 length"},  //  10 - 3 - 5

    {"each front-end gets the outputs of its own requests",
     "with clients 4\n"
     "add r0 2 3; add r1 9 1; add r2 9 3; step -> 1: r1 1 running | 3: r0 1 running, r2 1 running\n"
     //  An abort goes to the front-end that asked for the request
     "abort ['r2','r1'] -> 1: r1 0 abort | 3: r2 0 abort\n"
     "step -> 3: r0 1 length\n"
     "add r3 9 2; add r4 9 0; abort-client 0 -> 0: r4 0 abort\n"
     "step -> 2: r3 1 running\n"
     "call is_sleeping [] 2 -> 2: = false\n"
     "summary -> > 1 finished, 3 aborted, 0 bad"},

    {"a client_index that no front-end has",
     "with clients 2\n"
     "add r0 9 2 -> ! bad message: EngineCoreRequest.client_index: 2, but there are 2 front-ends\n"
     "add r0 9 4294967295 -> ! bad message: EngineCoreRequest.client_index: 4294967295, "
     "but there are 2 front-ends\n"
     "call is_sleeping [] 2 -> ! bad message: utility call.client_index: 2, "
     "but there are 2 front-ends\n"
     "state -> > idle, 0 running"},

    {"stats go with the first payload of a step, events with the first output of a request",
     "with clients 3; with max_model_len 100; with metrics\n"
     //  r0 has finished by the end of the step. r1 has 4 of 16 tokens.
     "add r0 1 2; add r1 9 1; step -> "
     "1: r1 1 running first of 3 {1 running, 0.25 full, 2 new of 6} | 2: r0 1 length first of 3\n"
     "add r2 9 2; add r3 9 2; add r4 9 2; step -> "
     "1: r1 1 running {4 running, 1.0 full, 3 new of 9} | "
     "2: r2 1 running first of 3, r3 1 running first of 3, r4 1 running first of 3\n"
     //  An abort tells how many still run. That it is none is told to all.
     "abort ['r3','r1'] -> 1: r1 0 abort {2 running, 0.5 full, 0 new of 0} | 2: r3 0 abort\n"
     "abort-all -> 0: {0 running, 0.0 full, 0 new of 0} | 1: {0 running, 0.0 full, 0 new of 0} | "
     "2: r2 0 abort, r4 0 abort {0 running, 0.0 full, 0 new of 0}\n"
     //  An abort that ends nothing tells nothing, and what has come is still to be told
     "add r5 1 1; abort ['r3']\n"
     "step -> 0: {0 running, 0.0 full, 1 new of 3} | "
     "1: r5 1 length first of 3 {0 running, 0.0 full, 0 new of 0} | "
     "2: {0 running, 0.0 full, 0 new of 0}"},

    {"the load is told when it has changed",
     "with index 7\n"
     "load; add r0 2; add r1 1; load; load -> 0: {2 running, 0.0 full, 0 new of 0}\n"
     "step; load -> 0: r0 1 running, r1 1 length | 0: {1 running, 0.0 full, 0 new of 0}\n"
     "add r2; abort ['r2']; load -> 0: r2 0 abort\n"
     "step; load -> 0: r0 1 length | 0: {0 running, 0.0 full, 0 new of 0}"},

    {"frames behind the payload are not looked at",
     "send 00 ['r0',[1],null,{},null,1.0,null,null,null] + x'c1' + x''\n"
     "step -> 0: r0 1 running"},

    {"a second request of an id is refused; the id is free again when the first has ended",
     "with clients 2\n"
     "add r0 2; add r0 1 1 -> 1: r0 0 error | ! r0: a request of that id is running\n"
     "step; step; state -> 0: r0 1 running | 0: r0 1 length | > idle, 0 running\n"
     "add r0; step; abort ['r0'] -> 0: r0 1 running | 0: r0 0 abort\n"
     "add r0 1; step; abort ['r0'] -> 0: r0 1 length"},

    {"no tokens, and no limit", "add none 0; request all [1] {'max_tokens':null} 0; step; step -> "
                                "0: none 0 length, all 1 running | 0: all 1 running"},

    {"a pooling request wants no tokens: it gets an end",
     "request r3 [1] null 0\n"
     "step; state -> 0: r3 0 error | > idle, 0 running"},

    {"a broken request gets an end at the front-end that it names, or else at front-end 0",
     "with clients 2\n"
     "request r3 [1] 'x' 0 -> 0: r3 0 error | "
     "! bad message: EngineCoreRequest.sampling_params: want a map, got str\n"
     "request r4 'x' {} 1 -> 1: r4 0 error | "
     "! bad message: EngineCoreRequest.prompt_token_ids: want an array, got str\n"
     "request r5 [1] {} 'x' -> 0: r5 0 error | "
     "! bad message: EngineCoreRequest.client_index: want an unsigned integer, got str\n"
     "send 00 ['r6'] -> 0: r6 0 error | "
     "! bad message: EngineCoreRequest: want an array of 9 or more, got 1\n"
     //  There is no such front-end; there is no id
     "request r7 'x' {} 2 -> "
     "! bad message: EngineCoreRequest.prompt_token_ids: want an array, got str\n"
     "send 00 [7,[1],null,{},null,1.0,null,null,null] -> "
     "! bad message: EngineCoreRequest.request_id: want a str, got integer\n"
     "state; summary -> > idle, 0 running | > 0 finished, 0 aborted, 6 bad"},

    {"an abort names requests; that one of them does not run is no error",
     "add r0; add r1; add r2; step -> 0: r0 1 running, r1 1 running, r2 1 running\n"
     "abort ['r1','r9','r0','r1'] -> 0: r1 0 abort, r0 0 abort\n"
     "abort []\n"
     "add r4 1; step -> 0: r2 1 running, r4 1 length\n"
     //  r4 has ended already
     "add r3; abort-all; abort-all; state; summary -> 0: r2 0 abort, r3 0 abort | "
     "> idle, 0 running | > 1 finished, 4 aborted, 0 bad"},

    {"a request that is to end at once is served by no step",
     "with lines\n"
     "add r0; request r3 [1,2] {} 0,0,0,null,false,null,null,null,true -> 0: r3 0 abort | "
     "> r0: 3 prompt tokens | > r3: 2 prompt tokens | > r3: aborted\n"
     "step; state; summary -> 0: r0 1 running | > busy, 1 running | "
     "> 0 finished, 1 aborted, 0 bad"},

    {"a quiet engine tells what is wrong, and nothing else",
     "add r0 1; add r1; call is_sleeping []; step -> 0: = false | 0: r0 1 length, r1 1 running\n"
     "abort ['r1']; add r2; abort-all -> 0: r1 0 abort | 0: r2 0 abort\n"
     "call fly [] -> 0: ! fly: this toy has no such method | > fly: this toy has no such method\n"
     "abort {} -> ! bad message: abort: want an array, got map\n"
     "summary; summary 100 -> > 1 finished, 2 aborted, 1 bad | "
     "> 101 finished, 102 aborted, 101 bad"},

    {"START_DP_WAVE is ignored",
     "send 02 [0,1]; state; summary -> > START_DP_WAVE ignored: this toy works alone | "
     "> idle, 0 running | > 0 finished, 0 aborted, 0 bad"},

    {"bad messages are told, counted and not answered, and the engine goes on",
     "add r0\n"
     "send 00 -> ! bad message: message: want 2 frames (a type byte and a payload), got 1; "
     "size of the first: 1\n"
     "send - [] -> ! bad message: message: want 2 frames (a type byte and a payload), got 2; "
     "size of the first: 0\n"
     "send 0000 [] -> ! bad message: message: want 2 frames (a type byte and a payload), got 2; "
     "size of the first: 2\n"
     "send 04 [] -> ! bad message: message: unknown type byte 04\n"
     "send ff [] -> ! bad message: message: unknown type byte ff\n"
     "send 00 x'' -> ! bad message: EngineCoreRequest: empty\n"
     "send 01 'r0' -> ! bad message: abort: want an array, got str\n"
     "send 01 ['r0',1] -> ! bad message: abort[]: want a str, got integer\n"
     "send 03 [0,1,2,3] -> ! bad message: utility call.method: want a str, got integer\n"
     "state; summary -> > busy, 1 running | > 0 finished, 0 aborted, 9 bad"},

    {"sleep ends what runs, and what comes later waits",
     "with clients 2\n"
     "add r0 9 1; call sleep [] -> 1: r0 0 abort | 0: = null\n"
     "call is_sleeping []; call is_scheduler_paused [] -> 0: = true | 0: = true\n"
     "add r1 9 1; add r2 9 1; state -> > idle, 2 running\n"
     "abort ['r2'] -> 1: r2 0 abort\n"
     "call wake_up []; call is_sleeping []; call is_scheduler_paused [] -> "
     "0: = true | 0: = false | 0: = false\n"
     "state; step -> 1: r1 1 running | > busy, 1 running"},

    {"a pause does the same, as a light sleep; that nothing runs any more is told to all",
     "with clients 2; with metrics\n"
     "add r0 9 1; call pause_scheduler [] -> 0: {0 running, 0.0 full, 1 new of 3} | "
     "1: r0 0 abort {0 running, 0.0 full, 0 new of 0} | 0: = null\n"
     "call is_sleeping []; call is_scheduler_paused [] -> 0: = true | 0: = true\n"
     "add r1 9 1; state -> > idle, 1 running\n"
     "call resume_scheduler []; call is_sleeping []; call is_scheduler_paused []; state -> "
     "0: = null | 0: = false | 0: = false | > busy, 1 running"},

    {"wake_up by tags: the engine goes on when nothing sleeps any more",
     "call sleep [2,'abort']; add r0 1 -> 0: = null\n"
     "call wake_up [['scheduling']]; call wake_up [[]]; call is_sleeping [] -> "
     "0: = false | 0: = false | 0: = true\n"
     //  These do not wake the weights
     "call wake_up [['lights']]; call wake_up [['weights','lights']]; call is_sleeping [] -> "
     "0: = false | 0: = false | 0: = true\n"
     "call wake_up [['weights']]; call is_sleeping [] -> 0: = false | 0: = true\n"
     //  Not both of them sleep
     "call wake_up [['weights','kv_cache']]; state -> 0: = false | > idle, 1 running\n"
     "call wake_up [['kv_cache','scheduling']]; call is_sleeping []; state -> "
     "0: = true | 0: = false | > busy, 1 running\n"
     "call wake_up [['weights']]; step -> 0: = true | 0: r0 1 length\n"
     //  A second sleep has no effect on an engine that is half awake; nil wakes what is left
     "call sleep [1,'abort']; call wake_up [['kv_cache']] -> 0: = null | 0: = false\n"
     "call sleep [1,'abort']; call wake_up [['weights']] -> 0: = null | 0: = true\n"
     "call sleep [1,'abort']; call wake_up [['kv_cache']] -> 0: = null | 0: = false\n"
     "call wake_up [null]; call is_sleeping [] -> 0: = true | 0: = false\n"
     //  Level 0 is but a pause
     "call sleep [0,'abort']; call wake_up [['scheduling']] -> 0: = null | 0: = true\n"
     "call is_sleeping [] -> 0: = false"},

    {"before v0.31 wake_up returned nothing, and the front-end in Rust refuses a bool",
     "with release 30\n"
     "call sleep [1]; call wake_up [['weights']]; call wake_up [null]; call is_sleeping [] -> "
     "0: = null | 0: = null | 0: = null | 0: = false"},

    {"v0.31 is the first whose wake_up tells whether all is awake",
     "with release 31\n"
     "call sleep [1]; call wake_up [['weights']] -> 0: = null | 0: = false"},

    {"a pause that keeps requests as they are",
     "add r0 2; step -> 0: r0 1 running\n"
     "call pause_scheduler ['keep',true]; add r1 2; state -> 0: = null | > idle, 2 running\n"
     "call release_kv_cache_memory [] -> "
     "0: ! release_kv_cache_memory: requires a completed pause first | "
     "> release_kv_cache_memory: requires a completed pause first\n"
     "call resume_scheduler []; state -> 0: = null | > busy, 2 running\n"
     "step -> 0: r0 1 length, r1 1 running\n"
     "call sleep [1,'keep']; add r2 2; state -> 0: = null | > idle, 2 running\n"
     "call wake_up []; step -> 0: = true | 0: r1 1 length, r2 1 running\n"
     "call sleep [0,'keep']; state -> 0: = null | > idle, 1 running\n"
     "call resume_scheduler []; call is_sleeping [] -> 0: = null | 0: = false\n"
     "step -> 0: r2 1 length"},

    {"a pause that waits is answered when all that runs has ended",
     "call pause_scheduler ['wait',true]; call resume_scheduler [] -> 0: = null | 0: = null\n"
     "add r0 3; add r1 2; call pause_scheduler ['wait',true]\n"
     "call is_scheduler_paused []; add r2 1; state -> 0: = true | > busy, 3 running\n"
     "add r9; abort ['r9'] -> 0: r9 0 abort\n"
     "step -> 0: r0 1 running, r1 1 running\n"
     "step -> 0: r0 1 running, r1 1 length\n"
     "step; state -> 0: r0 1 length | 0: = null | > idle, 1 running\n"
     "call resume_scheduler []; step -> 0: = null | 0: r2 1 length\n"
     //  The last one is aborted
     "add r3; call sleep [1,'wait']\n"
     "abort ['r3'] -> 0: r3 0 abort | 0: = null\n"
     //  The pause is over before
     "call wake_up [null]; add r4; call pause_scheduler ['wait',true] -> 0: = true\n"
     "call resume_scheduler []; state -> 0: = null | 0: = null | > busy, 1 running\n"
     //  It becomes one that ends all
     "call pause_scheduler ['wait',true]\n"
     "call pause_scheduler ['abort',true]; state -> "
     "0: r4 0 abort | 0: = null | 0: = null | > idle, 0 running"},

    {"while a user's pause lasts, what is new is refused, but not what is to end at once anyway",
     "call pause_generation ['wait',true]; call is_scheduler_paused [] -> 0: = null | 0: = true\n"
     "add r0 -> 0: r0 0 error {\"code\":\"engine_paused\",\"message\":\"Generation is paused. "
     "Please retry after it resumes.\",\"retryable\":true}\n"
     "request r3 [1] {} 0,0,0,null,false,null,null,null,true -> 0: r3 0 abort\n"
     //  One more pause changes nothing of that, the end of all of them does
     "call pause_scheduler ['keep',true]; add r1 -> 0: = null | 0: r1 0 error "
     "{\"code\":\"engine_paused\",\"message\":\"Generation is paused. Please retry after it "
     "resumes.\",\"retryable\":true}\n"
     "call resume_scheduler []; add r2; state -> 0: = null | > busy, 1 running"},

    {"a user's pause that keeps refuses nothing, nor does one of a mode that there is not",
     "call pause_generation ['doze',true] -> 0: ! pause_generation: there is no such mode | "
     "> pause_generation: there is no such mode\n"
     "add r0; call pause_generation ['keep',true]; add r1; state -> 0: = null | > idle, 2 running"},

    {"adapters are known by their numbers",
     "with clients 2\n"
     "call add_lora [['sql',5,'/a',null,null,true,false]] 1; call list_loras [] -> "
     "1: = true | 0: = [5]\n"
     "call pin_lora [5]; call pin_lora [6] -> 0: = true | 0: = false\n"
     //  Once more is no other
     "call add_lora [['sql',5,'/a']]; call list_loras [] -> 0: = true | 0: = [5]\n"
     "call add_lora [['b',4294967296,'/b']]; call add_lora [['c',7,'/c']] -> "
     "0: = true | 0: = true\n"
     "call remove_lora [6]; call remove_lora [5]; call list_loras [] -> "
     "0: = false | 0: = true | 0: = [7,4294967296]\n"
     "call remove_lora [5]; call remove_lora [4294967296]; call list_loras [] -> "
     "0: = false | 0: = true | 0: = [7]"},
};

static void test_scenario (void **state)
{
    const scenario_t *scenario = *state;
    s_play (scenario->script);
}

//  -- What takes more than a scenario

static void test_registration (void **state)
{
    s_start ();
    zframe_t *frame = toy_engine_registration (engine);
    engine_core_ready_t ready;
    assert_int_equal (engine_core_ready_decode (frame, &ready, NULL), 0);
    assert_true (ready.max_model_len > 0 && ready.num_gpu_blocks > 0 && ready.block_size > 0);
    assert_int_equal (ready.world_size, 1);
    assert_int_equal (ready.data_parallel_size, 1);
    zframe_destroy (&frame);
    toy_engine_destroy (&engine);

    //  What it was told to say
    config.ready = (engine_core_ready_t){.max_model_len = 4096, .dtype = "bfloat16"};
    s_start ();
    frame = engine_core_ready_encode (&config.ready);
    unit_is_vector (toy_engine_registration (engine),
                    (vector_t){"ready", zframe_data (frame), zframe_size (frame)});
    zframe_destroy (&frame);
}

//  The first token of the same request
static uint32_t s_first_token (uint32_t vocab_size, uint64_t seed)
{
    config.vocab_size = vocab_size;
    config.seed = seed;
    char add[] = "add r0";
    s_do (add);
    toy_engine_step (engine);
    engine_core_outputs_t *outputs = engine_core_outputs_decode (sent[0].payload, NULL);
    assert_non_null (outputs);
    uint32_t token = outputs->outputs[0].new_token_ids[0];
    engine_core_outputs_destroy (&outputs);
    s_end (NULL);
    return token;
}

static void test_tokens (void **state)
{
    uint32_t token = s_first_token (0, 0);
    assert_true (token >= 1 && token <= 31999);
    assert_int_not_equal (s_first_token (0, 1), token);
    assert_int_not_equal (s_first_token (0, 1), s_first_token (0, 2));
    assert_int_equal (s_first_token (1, 0), 0);
}

//  A prompt of 50,000 tokens is 50 kB; a hundred logprobs of each of them would be 40 MB
static void test_no_room (void **state)
{
    char *prompt = calloc (1, 100001);
    assert_non_null (prompt);
    for (size_t i = 0; i < 50000; i++)
        memcpy (prompt + 2 * i, "1,", 2);
    s_playf ("request r0 [%s] {'prompt_logprobs':99} 0 -> "
             "0: r0 0 error | ! r0: no room for one more request",
             prompt);
    s_play ("add r0; state -> > busy, 1 running");
    free (prompt);
}

static void test_methods (void **state)
{
    static const struct {
        const char *call;
        const char *answer, *why;  //  Why it failed; NULL: it did not
    } cases[] = {
        {"get_supported_tasks []", "[\"generate\"]", NULL},
        {"is_sleeping []", "false", NULL},
        {"is_scheduler_paused []", "false", NULL},
        {"sleep [1,'abort']", "null", NULL},
        {"release_kv_cache_memory []", NULL, "requires all memory to be resident"},
        {"wake_up [null]", "true", NULL},
        {"release_kv_cache_memory []", NULL, "requires a completed pause first"},
        {"pause_scheduler ['doze',true]", NULL, "there is no such mode"},
        {"is_scheduler_paused []", "false", NULL},
        {"pause_scheduler ['abort',true]", "null", NULL},
        {"release_kv_cache_memory []", "null", NULL},
        {"resume_scheduler []", "null", NULL},
        {"is_sleeping []", "true", NULL},
        {"wake_up [['kv_cache']]", "true", NULL},
        {"pause_generation ['abort',true]", "null", NULL},
        {"get_weight_version []", "\"default\"", NULL},
        {"set_weight_version ['v7']", "null", NULL},
        {"set_weight_version [7]", NULL, "a version is a string of up to 256 bytes"},
        {"get_weight_version []", "\"v7\"", NULL},
        {"compute_weight_checksums []", "[{}]", NULL},
        {"commit_prepared_elastic_ep []", NULL, "this toy does not change its size"},
        {"resume_scheduler []", "null", NULL},
        {"list_loras []", "[]", NULL},
        {"reset_prefix_cache [false,false]", "true", NULL},
        {"get_kv_cache_group_metadata []", "[]", NULL},
        {"reset_mm_cache []", "null", NULL},
        {"reset_encoder_cache []", "null", NULL},
        {"profile [true,null]", "null", NULL},
        {"execute_dummy_batch []", "null", NULL},
        {"collective_rpc ['f',null,[],null]", NULL, "this toy has no workers"},
        {"save_sharded_state ['/tmp',null,null]", NULL, "this toy has no workers"},
        {"eep_scale []", NULL, "this toy has no such method"},
        {"Sleep []", NULL, "this toy has no such method"},
    };
    s_play ("with lines");
    for (size_t i = 0; i < COUNT (cases); i++) {
        const char *call = cases[i].call, *why = cases[i].why;
        int size = (int) strcspn (call, " ");
        if (why)
            s_playf ("call %s -> 0: ! %.*s: %s | > %.*s: %s", call, size, call, why, size, call,
                     why);
        else
            s_playf ("call %s -> 0: = %s | > %.*s: answered", call, cases[i].answer, size, call);
    }
    s_play ("summary -> > 0 finished, 0 aborted, 0 bad");
}

//  Arguments that name no adapter
static void test_no_lora (void **state)
{
    static const char *const args[] = {"[]",    "['sql']",       "[null]", "[['sql']]",
                                       "[-1]",  "[1.5]",         "{}",     "[['sql',-1,'/a']]",
                                       "['5']", "[['sql',null]]"};
    for (size_t i = 0; i < COUNT (args); i++)
        s_playf ("call add_lora %s; call pin_lora %s; call remove_lora %s; call list_loras [] -> "
                 "0: = false | 0: = false | 0: = false | 0: = []",
                 args[i], args[i], args[i]);
}

//  A thousand adapters are known, and a thousand calls may wait for a pause
static void test_bounds (void **state)
{
    for (int i = 1; i <= 1000; i++)
        s_playf ("call add_lora [['a',%d,'/a']] -> 0: = true", i);
    s_play ("call add_lora [['a',1001,'/a']]; call add_lora [['a',1,'/a']] -> "
            "0: = false | 0: = true\n"
            "call remove_lora [1]; call add_lora [['a',1001,'/a']] -> 0: = true | 0: = true\n"
            "add r0");
    for (int i = 0; i < 1000; i++)
        s_play ("call pause_scheduler ['wait',true]");
    s_play ("call pause_scheduler ['wait',true] -> "
            "0: ! pause_scheduler: too many wait for that already | "
            "> pause_scheduler: too many wait for that already");
}

//  An id with control bytes in it can neither forge a line nor command the terminal
static void test_id_with_control_bytes (void **state)
{
    config.quiet = false;
    scenario_line ("request r0\nr1:\x1b[2J [1,2] {} 0 -> > r0?r1:?[2J: 2 prompt tokens", s_do,
                   s_print);
    scenario_line ("call a\nb [] -> 0: ! a\nb: this toy has no such method | "
                   "> a?b: this toy has no such method",
                   s_do, s_print);
}

int main (void)
{
    static const struct CMUnitTest others[] = {cmocka_unit_test (test_registration),
                                               cmocka_unit_test (test_tokens),
                                               cmocka_unit_test (test_no_room),
                                               cmocka_unit_test (test_methods),
                                               cmocka_unit_test (test_no_lora),
                                               cmocka_unit_test (test_bounds),
                                               cmocka_unit_test (test_id_with_control_bytes)};
    struct CMUnitTest tests[COUNT (scenarios) + COUNT (others)];
    memcpy (tests + COUNT (scenarios), others, sizeof others);
    for (size_t i = 0; i < COUNT (tests); i++) {
        if (i < COUNT (scenarios))
            tests[i] = (struct CMUnitTest){.name = scenarios[i].name,
                                           .test_func = test_scenario,
                                           .initial_state = (void *) &scenarios[i]};
        tests[i].setup_func = s_begin;
        tests[i].teardown_func = s_end;
    }
    return cmocka_run_group_tests_name ("toy_engine", tests, s_setup, hear_teardown);
}
