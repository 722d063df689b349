//  SPDX-License-Identifier: MIT
//  engine.c - a toy EngineCore: takes requests from a DEALER, streams tokens out of a PUSH
//
//  Connects to a front-end's ROUTER (requests) and PULL (outputs). A ROUTER can only send to an
//  identity that it has met, so the engine speaks first: it registers.
//  Run:   build/router_dealer/engine --index 0      (beside one of the front-ends)
//  vLLM:  vllm/v1/engine/core.py EngineCoreProc.process_input_sockets
//         vllm/v1/engine/core.py EngineCoreProc.run_busy_loop
//         vllm/v1/engine/core.py EngineCoreProc.process_output_sockets
//         vllm/v1/engine/core.py EngineCoreProc._send_engine_dead
//         There they are three threads, here one poller.

#include "lib/curve.h"
#include "lib/keepalive.h"
#include "lib/options.h"
#include "lib/log.h"
#include "engine/toy_engine.h"

//  After so many messages a step is due, whatever else there is
#define DRAIN_MAX 1000

//  Sends one frame, which it takes over; nothing for NULL
static void s_send (zsock_t *socket, zframe_t *payload)
{
    if (!payload)
        return;
    zmsg_t *message = zmsg_new ();
    zmsg_append (message, &payload);
    log_send ("front-end", socket, message);
    zmsg_send (&message, socket);  //  Never blocks: there is no high-water mark
    zmsg_destroy (&message);       //  NULL by now, unless a signal came, or the peer is gone
}

//  What the engine has for the front-end; `owner` is where the PUSH is. NULL: nobody is there.
static void s_send_outputs (void *owner, uint32_t client_index, zframe_t *payload)
{
    (void) client_index;  //  There is but one front-end
    zsock_t **push_p = owner;
    if (*push_p)
        s_send (*push_p, payload);
    else
        zframe_destroy (&payload);
}

//  A PUSH to the front-end's PULL. As vLLM's make_zmq_socket: no high-water mark, so nothing blocks
//  and nothing is dropped; and as vLLM's engine: last words get 4000 ms to leave when we exit. With
//  CZMQ's default of 0 they would hardly ever arrive. NULL when the endpoint is no good.
static zsock_t *s_new_push (const char *output)
{
    zsock_t *push = zsock_new (ZMQ_PUSH);
    curve_client (push);
    zsock_set_maxmsgsize (push, MP_MAX_FRAME);
    zsock_set_sndhwm (push, 0);
    //  Not in vLLM: a front-end whose machine has vanished is missed after 12 s
    keepalive_ping (push);
    zsock_set_linger (push, 4000);
    if (!log_connected (output, zsock_connect (push, "%s", output)))
        zsock_destroy (&push);
    return push;
}

int main (int argc, char **argv)
{
    const char *input = "tcp://127.0.0.1:5570", *output = "tcp://127.0.0.1:5571";
    int index = 0, step_ms = 10, count = 0;
    const option_t options[] = {
        OPTION_INT ("index", &index, 0, UINT16_MAX, "which engine this is; its identity"),
        OPTION_CONNECT ("input", &input, "the front-end's ROUTER"),
        OPTION_CONNECT ("output", &output, "the front-end's PULL"),
        OPTION_INT ("step-ms", &step_ms, 0, 60000, "time that a step takes, ms"),
        OPTION_INT ("count", &count, 0, INT_MAX, "requests to serve; 0: until stopped"),
        OPTION_END,
    };
    const about_t about = {
        .name = "engine",
        .purpose = "DEALER + PUSH: a toy EngineCore that streams tokens",
        .example = "  build/router_dealer/frontend\n  build/router_dealer/engine --index 0",
        .instance = "index",
    };
    options_read (argc, argv, &about, options);

    zsock_t *push = s_new_push (output), *dealer = zsock_new (ZMQ_DEALER);
    curve_client (dealer);
    zsock_set_maxmsgsize (dealer, MP_MAX_FRAME);
    //  The identity may hold zero bytes, as 00 00 of engine 0 does. zsock_set_identity takes a C
    //  string and would cut it short: so this one call goes to libzmq itself.
    byte identity[ENGINE_CORE_IDENTITY_SIZE];
    engine_core_identity ((uint16_t) index, identity);
    zmq_setsockopt (zsock_resolve (dealer), ZMQ_ROUTING_ID, identity, sizeof identity);
    zsock_set_rcvhwm (dealer, 0);
    zsock_set_sndhwm (dealer, 0);
    keepalive_ping (dealer);  //  As above
    zsock_set_sndtimeo (dealer, 0);
    zsock_set_rcvtimeo (dealer, 0);  //  A receive does not wait: the poller does

    //  The DEALER's connections show up on a PAIR socket as events
    zmq_socket_monitor (zsock_resolve (dealer), "inproc://dealer-events",
                        ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED | CURVE_EVENTS);
    zsock_t *events = zsock_new_pair (">inproc://dealer-events");
    //  Served in this order: what a front-end said before it left, then that it left
    zpoller_t *poller = zpoller_new (dealer, events, NULL);
    toy_engine_config_t config = {.index = (uint16_t) index, .clients = 1, .plain = true};
    toy_engine_t *engine = toy_engine_new (&config, s_send_outputs, &push);
    bool connected = push && log_connected (input, zsock_connect (dealer, "%s", input));
    if (connected)
        print_line ("waiting for a front-end at %s",
                    input);  //  That it is not there yet is no error

    bool registered = false;
    int64_t next_step = 0, looked = 0;
    toy_engine_counts_t counts = {.finished = 0};
    while (connected && !zsys_interrupted &&
           (count == 0 || counts.finished + counts.aborted < count)) {
        int wait_ms = -1;  //  With nothing to compute for ever, otherwise until the step is due
        if (toy_engine_busy (engine))
            wait_ms = next_step > zclock_mono () ? (int) (next_step - zclock_mono ()) : 0;
        //  The poller asks each of its sockets, which takes several system calls. With a step due
        //  it is asked once a millisecond; in between, we only look for requests.
        void *ready = dealer;
        if (wait_ms != 0 || zclock_mono () != looked) {
            ready = zpoller_wait (poller, wait_ms);
            looked = zclock_mono ();
        }
        zmsg_t *message = ready ? zmsg_recv (ready) : NULL;
        if (message && ready == events) {
            uint16_t event;  //  The first two bytes; see zmq_socket_monitor(3)
            memcpy (&event, zframe_data (zmsg_first (message)), sizeof event);
            curve_event (dealer, message);
            zmsg_destroy (&message);
            if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
                registered = true;
                print_line ("registering as engine %d", index);
                s_send (dealer, toy_engine_registration (engine));
            } else if (event == ZMQ_EVENT_DISCONNECTED && registered) {
                registered = false;
                print_note ("the front-end is gone");
                //  What it has not taken is not for the next one, whose requests may have the same
                //  ids, and with whom this PUSH may be connected by now: so it goes first
                zsock_set_linger (push, 0);
                zsock_destroy (&push);
                toy_engine_abort_all (engine);
                push = s_new_push (output);
            }
        }
        if (message && !toy_engine_busy (engine))
            next_step = zclock_mono () + step_ms;
        //  All that has come, then a step for all: that is what makes it a batch
        for (int left = DRAIN_MAX; message && left > 0; left--) {
            log_recv ("front-end", dealer, message);
            toy_engine_handle (engine, message);
            zmsg_destroy (&message);
            message = left > 1 ? zmsg_recv (dealer) : NULL;
        }

        if (toy_engine_busy (engine) && zclock_mono () >= next_step) {
            toy_engine_step (engine);
            next_step = zclock_mono () + step_ms;
        }
        counts = (toy_engine_counts_t){.finished = 0};
        toy_engine_add_counts (engine, &counts);
    }

    //  Going while a front-end counts on us: its requests end, and it is told
    bool wanted = registered && (toy_engine_running (engine) > 0 || zsys_interrupted);
    if (wanted) {
        toy_engine_abort_all (engine);
        s_send (push, zframe_new (ENGINE_CORE_DEAD, strlen (ENGINE_CORE_DEAD)));
    }
    counts = (toy_engine_counts_t){.finished = 0};
    toy_engine_add_counts (engine, &counts);
    toy_engine_say_summary (&counts);
    toy_engine_destroy (&engine);
    zpoller_destroy (&poller);
    zmq_socket_monitor (zsock_resolve (dealer), NULL,
                        0);  //  Before nobody takes its events any more
    zsock_destroy (&events);
    zsock_destroy (&dealer);
    zsock_destroy (&push);
    return connected ? EXIT_SUCCESS : EXIT_STOPPED_OR_FAILED;
}
