//  SPDX-License-Identifier: MIT
//  poller_frontend.c - Demo 2.1: the same front-end as one event loop over both of its sockets
//
//  frontend.c waits for the ROUTER first and for the PULL later. Here one poller watches both, and
//  whatever comes first is served: an engine that registers, or its outputs. So nothing is assumed
//  about the order of things, and a third socket would be one line more.
//  Run:   build/router_dealer/poller_frontend       (beside build/router_dealer/engine)
//  vLLM:  vllm/v1/engine/core_client.py SyncMPClient.__init__
//         vllm/v1/engine/core.py EngineCoreProc.process_input_sockets
//         Each has one zmq.Poller over several sockets.

#include "lib/curve.h"
#include "lib/keepalive.h"
#include "lib/options.h"
#include "lib/log.h"
#include "engine/requests.h"

//  So often we look after the engine: who is dead says nothing
#define PROBE_MS 1000

int main (int argc, char **argv)
{
    const char *input = "tcp://127.0.0.1:5570", *output = "tcp://127.0.0.1:5571";
    int requests = 3, max_tokens = 4;
    const option_t options[] = {
        OPTION_BIND ("input", &input, "where the engine's DEALER connects"),
        OPTION_BIND ("output", &output, "where the engine's PUSH connects"),
        OPTION_INT ("requests", &requests, 1, 1000000, "requests to send"),
        OPTION_INT ("max-tokens", &max_tokens, 1, INT_MAX, "tokens to ask for, each"),
        OPTION_END,
    };
    const about_t about = {
        .name = "poller_frontend",
        .purpose = "ROUTER + PULL under one poller: requests out, tokens in",
        .example = "  build/router_dealer/poller_frontend\n  build/router_dealer/engine",
        .at_risk = "requests, which carry prompts, and what engines answer",
    };
    options_read (argc, argv, &about, options);

    zsock_t *router = zsock_new (ZMQ_ROUTER), *pull = zsock_new (ZMQ_PULL);
    curve_server (router);
    curve_server (pull);
    zsock_set_maxmsgsize (router, MP_MAX_SMALL_FRAME);  //  Engines only register here
    zsock_set_maxmsgsize (pull, MP_MAX_FRAME);
    zsock_set_sndhwm (router, 0);
    zsock_set_rcvhwm (pull, REQUESTS_HWM);
    zsock_set_router_mandatory (router, 1);
    zsock_set_linger (router, 250);  //  An ABORT gets so many ms to leave when we exit
    //  Not in vLLM: an engine whose machine has vanished is missed after 12 s
    keepalive_ping (router);
    keepalive_probe (pull);
    bool alive = log_bound (router, input, zsock_bind (router, "%s", input)) &&
                 log_bound (pull, output, zsock_bind (pull, "%s", output));

    //  The first socket of the list is served first when both are ready: outputs before newcomers
    zpoller_t *poller = zpoller_new (pull, router, NULL);
    requests_t *progress = requests_new (requests, max_tokens, true);
    int engine = -1;
    bool dead = false;
    while (alive && !dead && requests_open (progress) > 0 && !zsys_interrupted) {
        //  With requests still to send it only looks, otherwise it waits
        bool to_send = engine != -1 && requests_unsent (progress) != -1;
        zsock_t *ready = zpoller_wait (poller, to_send ? 0 : PROBE_MS);
        zmsg_t *message = ready ? zmsg_recv (ready) : NULL;
        if (message)
            log_recv ("engine", ready, message);
        if (message && ready == router) {
            engine_core_ready_t response;
            mp_error_t error;
            int index = engine_core_registration (message, &response, &error);
            if (index == -1)
                warn_line ("%s", error.text);
            else
                print_line ("engine %d registered", index);
            //  Again? It has started anew, and knows nothing of our requests
            dead = engine != -1 && index == engine;
            if (engine == -1)
                engine = index;  //  A later one is only greeted: Demo 2.2 is for more
        } else if (message && zmsg_size (message) == 1 &&
                   zframe_streq (zmsg_first (message), ENGINE_CORE_DEAD)) {
            dead = true;
        } else if (message) {
            requests_take (progress, message);
        } else if (engine != -1 && !zsys_interrupted) {
            //  Nothing to receive, so there is time to send one more request; or, after a silence,
            //  to see whether the engine is still there: if not, the ROUTER refuses to send
            message = to_send ? requests_message (progress, requests_unsent (progress), engine)
                              : requests_probe (engine);
            log_send ("engine", router, message);
            dead = zmsg_send (&message, router) == -1 && zmq_errno () == EHOSTUNREACH;
        }
        zmsg_destroy (&message);  //  NULL by now, if it was one that we have sent
    }
    if (dead) {
        int lost = requests_engine_died (progress, engine, false);
        warn_line ("the engine is dead, %d requests are lost", lost);
        alive = false;
    }

    zmsg_t *abort = alive ? requests_abort (progress, engine) : NULL;
    if (abort) {
        log_send ("engine", router, abort);
        zmsg_send (&abort, router);
        zmsg_destroy (&abort);
    }
    int status = requests_complete (progress) ? EXIT_SUCCESS : EXIT_FAILURE;
    requests_print_summary (progress);
    requests_destroy (&progress);
    zpoller_destroy (&poller);
    zsock_destroy (&router);
    zsock_destroy (&pull);
    return status;
}
