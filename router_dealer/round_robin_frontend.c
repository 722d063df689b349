//  SPDX-License-Identifier: MIT
//  round_robin_frontend.c - Demo 2.2: one ROUTER, many engines, and who gets what
//
//  A ROUTER sends each message to the identity in its first frame. So the front-end decides which
//  engine gets which request: it collects the identities, then deals out r0, r1, ... in turn. The
//  PULL gathers all outputs but does not say who sent them; engine_index in the payload does.
//  Run:   build/router_dealer/round_robin_frontend  (beside engine --index 0, engine --index 1)
//  vLLM:  vllm/v1/engine/core_client.py MPClient.__init__: core_engines, identities
//         vllm/v1/engine/core_client.py DPLBAsyncMPClient.get_core_engine_for_request
//         That one deals by load instead of in turn.

#include "options.h"
#include "show.h"
#include "progress.h"

static int s_compare (const void *a, const void *b)
{
    return *(const int *) a - *(const int *) b;
}

//  Receives registrations until `count` different engines have come; fills `engines`, sorted.
//  False when a signal came first.
static bool s_collect (zsock_t *router, int *engines, int count)
{
    for (int known = 0; known < count;) {
        zmsg_t *message = zmsg_recv (router);
        if (!message)
            return false;
        show_recv ("engine", router, message);
        engine_core_ready_t ready;
        mp_error_t error;
        int index = engine_core_registration (message, &ready, &error);
        zmsg_destroy (&message);
        bool again = false;
        for (int i = 0; i < known; i++)
            again = again || engines[i] == index;
        if (index == -1) {
            complain ("%s", error.text);
        } else if (!again) {
            engines[known++] = index;
            say ("engine %d registered", index);
        }
    }
    qsort (engines, (size_t) count, sizeof *engines, s_compare);
    return true;
}

int main (int argc, char **argv)
{
    const char *input = "tcp://127.0.0.1:5570", *output = "tcp://127.0.0.1:5571";
    int engine_count = 2, requests = 10, in_flight = 0, max_tokens = 4;
    const option_t options[] = {
        OPTION_BIND ("input", &input, "where the engines' DEALERs connect"),
        OPTION_BIND ("output", &output, "where the engines' PUSHes connect"),
        OPTION_INT ("engines", &engine_count, 1, UINT16_MAX, "engines to wait for"),
        OPTION_INT ("requests", &requests, 1, 1000000, "requests to send"),
        OPTION_INT ("in-flight", &in_flight, 0, 1000000,
                    "requests open at a time, the next when one has finished; 0: all"),
        OPTION_INT ("max-tokens", &max_tokens, 1, INT_MAX, "tokens to ask for, each"),
        OPTION_END,
    };
    const about_t about = {
        .name = "round_robin_frontend",
        .purpose = "ROUTER + PULL: deals requests out to N engines in turn, gathers all outputs",
        .example = "  build/router_dealer/round_robin_frontend\n"
                   "  build/router_dealer/engine --index 0\n"
                   "  build/router_dealer/engine --index 1",
    };
    options_read (argc, argv, &about, options);

    zsock_t *router = zsock_new (ZMQ_ROUTER), *pull = zsock_new (ZMQ_PULL);
    zsock_set_rcvhwm (router, 0);
    zsock_set_sndhwm (router, 0);
    zsock_set_rcvhwm (pull, 0);
    zsock_set_router_mandatory (router, 1);
    zsock_set_linger (router, 250);  //  An ABORT gets so many ms to leave when we exit
    bool alive = say_listening (router, input, zsock_bind (router, "%s", input)) &&
                 say_listening (pull, output, zsock_bind (pull, "%s", output));

    int *engines = zmalloc ((size_t) engine_count * sizeof *engines);
    bool ready = alive && s_collect (router, engines, engine_count);

    progress_t *progress = progress_new (requests, max_tokens, false);
    int sent = 0;
    while (ready && alive && progress_open (progress) > 0) {
        //  Open are those that were sent and those that still have to be
        int flying = progress_open (progress) - (requests - sent);
        if (sent < requests && (in_flight == 0 || flying < in_flight)) {
            int engine = engines[sent % engine_count];
            zmsg_t *message = progress_request (progress, sent++, engine);
            show_send ("engine", router, message);
            alive = zmsg_send (&message, router) == 0;
            if (!alive)
                complain ("engine %d: %s", engine, zmq_strerror (zmq_errno ()));
            zmsg_destroy (&message);  //  NULL by now, unless it could not be sent
            continue;
        }
        zmsg_t *message = zmsg_recv (pull);
        if (!message)
            break;  //  A signal came
        show_recv ("engine", pull, message);
        if (zmsg_size (message) == 1 && zframe_streq (zmsg_first (message), ENGINE_CORE_DEAD)) {
            complain ("an engine is dead, %d requests are open", progress_open (progress));
            alive = false;
        } else {
            progress_take (progress, message);
        }
        zmsg_destroy (&message);
    }

    for (int i = 0; ready && i < engine_count; i++) {
        progress_say_engine (progress, engines[i]);
        zmsg_t *abort = progress_abort (progress, engines[i]);
        if (abort) {
            show_send ("engine", router, abort);
            zmsg_send (&abort, router);  //  Fails for the engine that is dead: no matter
            zmsg_destroy (&abort);
        }
    }
    int status = progress_complete (progress) ? EXIT_SUCCESS : EXIT_FAILURE;
    progress_say_summary (progress);
    progress_destroy (&progress);
    free (engines);
    zsock_destroy (&router);
    zsock_destroy (&pull);
    return status;
}
