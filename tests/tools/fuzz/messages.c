//  SPDX-License-Identifier: MIT
//  messages.c - fuzzes what is done with whole messages, of any number of frames
//
//  The first byte says what receives it.

#include "fuzz.h"
#include "lib/log.h"
#include "kv/kv_events.h"
#include "engine/handshake.h"
#include "engine/requests.h"

int LLVMFuzzerInitialize (int *argc, char ***argv);

static zsock_t *socket_here, *socket_there;

static void s_close (void)
{
    zsock_destroy (&socket_there);
    zsock_destroy (&socket_here);
}

int LLVMFuzzerInitialize (int *argc, char ***argv)
{
    (void) argc;
    (void) argv;
    socket_there = zsys_create_pipe (&socket_here);
    atexit (s_close);  //  Before CZMQ's own, which misses no socket
    log_program = "messages";
    return 0;
}

//  A live message, or a reply
static void s_batch (zmsg_t *message, bool replayed, mp_error_t *error)
{
    if (zmsg_size (message) == 0)
        return;  //  Is none on the wire
    zmsg_t *sent = zmsg_dup (message);
    zmsg_send (&sent, socket_there);
    kv_frames_t *frames = kv_frames_new ();
    DEMAND (kv_frames_recv (frames, socket_here) && frames->count == zmsg_size (message));
    kv_numbered_t batch;
    if (kv_frames_read (frames, replayed, &batch, error)) {
        zframe_t *payload = zmsg_last (message);
        DEMAND (batch.payload.size == zframe_size (payload));
        DEMAND (memcmp (batch.payload.data, zframe_data (payload), batch.payload.size) == 0);
        DEMAND (batch.replayed == replayed);
        if (replayed)
            DEMAND ((batch.topic.data != NULL) == (frames->count == 4));
        DEMAND (replayed ? batch.payload.size > 0 || batch.seq == KV_SEQ_END
                         : batch.seq != KV_SEQ_END);
        //  Written again it is the same message
        char *name = replayed || batch.topic.size >= 64
                         ? NULL
                         : strndup (batch.topic.data, batch.topic.size);
        if (name && strlen (name) == batch.topic.size) {
            DEMAND (kv_publish (socket_there, name, batch.seq, payload) == 0);
            zmsg_t *again = zmsg_recv (socket_here);
            DEMAND (zmsg_eq (again, message));
            zmsg_destroy (&again);
        }
        free (name);
    } else {
        fuzz_is_told (error);
    }
    kv_frames_destroy (&frames);
}

static void s_live (zmsg_t *message, mp_error_t *error)
{
    s_batch (message, false, error);
}

static void s_reply (zmsg_t *message, mp_error_t *error)
{
    s_batch (message, true, error);
}

static void s_replay_request (zmsg_t *message, mp_error_t *error)
{
    (void) error;
    zframe_t *client;
    uint64_t start;
    if (kv_replay_request_read (message, &client, &start))
        DEMAND (client == zmsg_first (message));
}

static void s_startup (zmsg_t *message, mp_error_t *error)
{
    const char *input = "tcp://127.0.0.1:1", *output = "tcp://127.0.0.1:2";
    handshake_init_t init = {.inputs = &input, .outputs = &output, .count = 1};
    startup_t *startup = startup_new (2, &init);
    zmsg_t *reply;
    int engine = startup_handle (startup, message, &reply, error);
    DEMAND (engine >= STARTUP_FAILED && engine < 2);
    if (engine < 0)
        fuzz_is_told (error);
    //  A first message that is good can only be HELLO
    DEMAND ((engine >= 0) == (reply != NULL));
    DEMAND (!startup_done (startup));
    zmsg_destroy (&reply);
    startup_destroy (&startup);
}

static void s_requests (zmsg_t *message, mp_error_t *error)
{
    engine_core_ready_t ready;
    if (engine_core_registration (message, &ready, error) == -1)
        fuzz_is_told (error);
    requests_t *requests = requests_new (3, 2, 0);
    for (int i = 0; i < 2; i++) {
        zmsg_t *request = requests_message (requests, i, i);
        zmsg_destroy (&request);
    }
    requests_take (requests, message);
    int open = requests_open (requests);
    //  The third was sent to nobody: no output can be of it
    DEMAND (open >= 1 && open <= 3 && !requests_complete (requests));
    requests_take (requests, message);  //  What has ended does not end again
    DEMAND (requests_open (requests) == open);
    requests_destroy (&requests);
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    static void (*const receive[]) (zmsg_t *, mp_error_t *) = {s_live, s_reply, s_replay_request,
                                                               s_startup, s_requests};
    if (size < 2)
        return 0;
    log_level = LOG_QUIET;
    zmsg_t *message = fuzz_message (data + 1, size - 1);
    mp_error_t error = {.text = ""};
    receive[data[0] % (sizeof receive / sizeof receive[0])](message, &error);
    zmsg_destroy (&message);
    return 0;
}
