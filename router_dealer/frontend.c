//  SPDX-License-Identifier: MIT
//  frontend.c - Demo 2: ROUTER for the requests, PULL for the outputs, plain blocking receives
//
//  Binds both; an engine connects to both. The ROUTER addresses the engine by its identity of two
//  bytes. The outputs come back on a socket of their own, so that a long answer never stands in the
//  way of the next request.
//  Run:   build/router_dealer/frontend              (beside build/router_dealer/engine)
//  vLLM:  vllm/v1/engine/core_client.py MPClient.__init__
//         vllm/v1/engine/core_client.py SyncMPClient.__init__
//         vllm/v1/engine/core_client.py SyncMPClient._send_input
//         vllm/v1/engine/core_client.py BackgroundResources.validate_alive

#include "lib/curve.h"
#include "lib/keepalive.h"
#include "lib/options.h"
#include "lib/log.h"
#include "engine/requests.h"

//  After so long without outputs we look after the engine
#define SILENCE_MS 1000

//  Who is dead says nothing, so this is asked when there is silence. Either the ROUTER has lost the
//  engine, and refuses to send. Or the engine registers again: it has started anew, and knows
//  nothing of our requests.
static bool s_is_dead (zsock_t *router, int engine)
{
    while (zsock_events (router) & ZMQ_POLLIN) {
        zmsg_t *message = zmsg_recv (router);
        if (!message)
            return false;  //  A signal came
        log_recv ("engine", router, message);
        engine_core_ready_t ready;
        mp_error_t error;
        bool again = engine_core_registration (message, &ready, &error) == engine;
        zmsg_destroy (&message);
        if (again)
            return true;
    }
    zmsg_t *probe = requests_probe (engine);
    log_send ("engine", router, probe);
    bool dead = zmsg_send (&probe, router) == -1 && zmq_errno () == EHOSTUNREACH;
    zmsg_destroy (&probe);  //  NULL by now, unless it could not be sent
    return dead;
}

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
        .name = "frontend",
        .purpose = "ROUTER + PULL: sends requests to one engine, gathers its tokens",
        .example = "  build/router_dealer/frontend\n  build/router_dealer/engine",
        .at_risk = "requests, which carry prompts, and what engines answer",
    };
    options_read (argc, argv, &about, options);

    //  1. Bind (MPClient.__init__). As in vLLM's make_zmq_socket, what we send has no high-water
    //     mark, so nothing blocks. What we receive has none there either. Here it has one, or who
    //     sends faster than we read would fill our memory, and not their own.
    zsock_t *router = zsock_new (ZMQ_ROUTER), *pull = zsock_new (ZMQ_PULL);
    curve_server (router);
    curve_server (pull);
    zsock_set_maxmsgsize (router, MP_MAX_SMALL_FRAME);  //  Engines only register here
    zsock_set_maxmsgsize (pull, MP_MAX_FRAME);
    zsock_set_sndhwm (router, 0);
    zsock_set_rcvhwm (pull, REQUESTS_HWM);
    zsock_set_router_mandatory (router, 1);  //  Not in vLLM: sending to an engine that is not there
                                             //  is an error then, otherwise it is silence
    zsock_set_linger (router, 250);          //  An ABORT gets so many ms to leave when we exit
    //  Not in vLLM: an engine whose machine has vanished is missed after 12 s
    keepalive_ping (router);
    keepalive_probe (pull);
    zsock_set_rcvtimeo (pull, SILENCE_MS);
    bool alive = log_bound (router, input, zsock_bind (router, "%s", input)) &&
                 log_bound (pull, output, zsock_bind (pull, "%s", output));

    //  2. Wait for an engine to register (MPClient.__init__, identities): that is how the ROUTER
    //     learns where it can send
    int engine = -1;
    while (alive && engine == -1) {
        zmsg_t *message = zmsg_recv (router);
        if (!message)
            break;  //  A signal came
        log_recv ("engine", router, message);
        engine_core_ready_t ready;
        mp_error_t error;
        engine = engine_core_registration (message, &ready, &error);
        if (engine == -1)
            warn_line ("%s", error.text);
        else
            print_line ("engine %d registered", engine);
        zmsg_destroy (&message);
    }

    //  3. Send all requests (SyncMPClient._send_input), waiting for nothing in between
    requests_t *progress = requests_new (requests, max_tokens, true);
    for (int i = 0; engine != -1 && alive && i < requests; i++) {
        zmsg_t *message = requests_message (progress, i, engine);
        log_send ("engine", router, message);
        alive = zmsg_send (&message, router) == 0;
        if (!alive)
            warn_line ("engine %d: %s", engine, zmq_strerror (zmq_errno ()));
        zmsg_destroy (&message);  //  NULL by now, unless it could not be sent
    }

    //  4. Gather the outputs (SyncMPClient.__init__, process_outputs_socket), and notice last words
    //     (BackgroundResources.validate_alive), or that there were none
    bool dead = false;
    while (engine != -1 && alive && !dead && requests_open (progress) > 0 && !zsys_interrupted) {
        zmsg_t *message = zmsg_recv (pull);
        if (message)
            log_recv ("engine", pull, message);
        if (!message)
            dead = !zsys_interrupted && s_is_dead (router, engine);
        else if (zmsg_size (message) == 1 && zframe_streq (zmsg_first (message), ENGINE_CORE_DEAD))
            dead = true;
        else
            requests_take (progress, message);
        zmsg_destroy (&message);
    }
    if (dead) {
        int lost = requests_engine_died (progress, engine, false);
        warn_line ("the engine is dead, %d requests are lost", lost);
        alive = false;
    }

    //  5. Who leaves early says so (SyncMPClient.abort_requests), or the engine would go on
    //  computing for nobody
    zmsg_t *abort = alive ? requests_abort (progress, engine) : NULL;
    if (abort) {
        log_send ("engine", router, abort);
        zmsg_send (&abort, router);
        zmsg_destroy (&abort);
    }
    int status = requests_complete (progress) ? EXIT_SUCCESS : EXIT_FAILURE;
    requests_print_summary (progress);
    requests_destroy (&progress);
    zsock_destroy (&router);
    zsock_destroy (&pull);
    return status;
}
