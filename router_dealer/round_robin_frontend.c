//  SPDX-License-Identifier: MIT
//  round_robin_frontend.c - Demo 2.2: one ROUTER, many engines, and who gets what
//
//  A ROUTER sends each message to the identity in its first frame. So the front-end decides which
//  engine gets which request: it collects the identities, then deals out r0, r1, ... in turn. The
//  PULL gathers all outputs but does not say who sent them; engine_index in the payload does.
//  When one engine dies, the others go on. Its requests have failed, or go to them (--on-dead).
//  Run:   build/router_dealer/round_robin_frontend  (beside engine --index 0, engine --index 1)
//  vLLM:  vllm/v1/engine/core_client.py MPClient.__init__: core_engines, identities
//         vllm/v1/engine/core_client.py DPLBAsyncMPClient.get_core_engine_for_request
//         That one deals by load instead of in turn.
//         vllm/v1/engine/core_client.py BackgroundResources.validate_alive
//         That one gives up all engines when one is dead.

#include "lib/curve.h"
#include "lib/keepalive.h"
#include "lib/options.h"
#include "lib/log.h"
#include "engine/requests.h"
#include "engine/engine_set.h"

//  So often we look after the engines: who is dead says nothing. After last words, which name
//  nobody, more often, unless they can be those of one that is known to be dead; if so many times
//  nobody is missing, all count as dead.
#define PROBE_MS 1000
#define PROBE_SOON_MS 50
#define PROBE_SOON_TIMES 20

//  When it is time to look after them, so many outputs may still be taken first: what a dead engine
//  had to say counts
#define DRAIN_MAX 1000

//  The index in a registration, or -1
static int s_read_registration (zmsg_t *message)
{
    engine_core_ready_t ready;
    mp_error_t error;
    int engine = engine_core_registration (message, &ready, &error);
    if (engine == -1)
        warn_line ("%s", error.text);
    return engine;
}

//  Receives registrations until `count` different engines have come. False when a signal came.
static bool s_collect (zsock_t *router, engine_set_t *set, int count)
{
    while (engine_set_size (set) < count) {
        zmsg_t *message = zmsg_recv (router);
        if (!message)
            return false;
        log_recv ("engine", router, message);
        int engine = s_read_registration (message);
        if (engine != -1 && engine_set_join (set, engine))
            print_line ("engine %d registered", engine);
        zmsg_destroy (&message);
    }
    return true;
}

//  Sends a message to an engine, and takes it over. False when the ROUTER has lost that engine.
static bool s_send (zsock_t *router, zmsg_t *message)
{
    log_send ("engine", router, message);
    bool there = zmsg_send (&message, router) == 0 || zmq_errno () != EHOSTUNREACH;
    zmsg_destroy (&message);  //  NULL by now, unless it could not be sent
    return there;
}

static void s_mark_dead (engine_set_t *set, requests_t *progress, int engine, bool reroute)
{
    engine_set_mark_dead (set, engine);
    int lost = requests_engine_died (progress, engine, reroute);
    warn_line ("engine %d is dead, %d requests were open", engine, lost);
}

int main (int argc, char **argv)
{
    const char *input = "tcp://127.0.0.1:5570", *output = "tcp://127.0.0.1:5571";
    const char *on_dead = "fail";
    int engine_count = 2, requests = 10, in_flight = 0, max_tokens = 4;
    const option_t options[] = {
        OPTION_BIND ("input", &input, "where the engines' DEALERs connect"),
        OPTION_BIND ("output", &output, "where the engines' PUSHes connect"),
        OPTION_INT ("engines", &engine_count, 1, UINT16_MAX, "engines to wait for"),
        OPTION_INT ("requests", &requests, 1, 1000000, "requests to send"),
        OPTION_INT ("in-flight", &in_flight, 0, 1000000,
                    "requests open at a time, the next when one has finished; 0: all"),
        OPTION_INT ("max-tokens", &max_tokens, 1, INT_MAX, "tokens to ask for, each"),
        OPTION_CHOICE ("on-dead", &on_dead, "fail|reroute",
                       "what becomes of a dead engine's requests"),
        OPTION_END,
    };
    const about_t about = {
        .name = "round_robin_frontend",
        .purpose = "ROUTER + PULL: deals requests out to N engines in turn, gathers all outputs",
        .example = "  build/router_dealer/round_robin_frontend\n"
                   "  build/router_dealer/engine --index 0\n"
                   "  build/router_dealer/engine --index 1",
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
    zsock_set_rcvtimeo (pull, 1);  //  See below
    zsock_set_router_mandatory (router, 1);
    zsock_set_linger (router, 250);  //  An ABORT gets so many ms to leave when we exit
    //  Not in vLLM: an engine whose machine has vanished is missed after 12 s
    keepalive_ping (router);
    keepalive_probe (pull);
    bool alive = log_bound (router, input, zsock_bind (router, "%s", input)) &&
                 log_bound (pull, output, zsock_bind (pull, "%s", output));

    bool reroute = streq (on_dead, "reroute");
    engine_set_t *set = engine_set_new (engine_count);
    requests_t *progress = requests_new (requests, max_tokens, false);
    bool ready = alive && s_collect (router, set, engine_count);
    //  Outputs first: what a dead engine had to say still counts
    zpoller_t *poller = zpoller_new (pull, router, NULL);
    int64_t probe_at = zclock_mono () + PROBE_MS;
    int last_words = 0, soon = 0;  //  So many have come; so many probes are left after them
    int overdue = 0;               //  Outputs that were taken since the last probe was due
    int64_t looked = 0;
    while (ready && !zsys_interrupted && engine_set_living (set) > 0 &&
           requests_open (progress) > 0) {
        //  What is to be sent, for the first time or again, goes to the living in turn
        int number, engine;
        while ((in_flight == 0 || requests_in_flight (progress) < in_flight) &&
               (number = requests_unsent (progress)) != -1 &&
               (engine = engine_set_next (set)) != -1)
            if (!s_send (router, requests_message (progress, number, engine)))
                s_mark_dead (set, progress, engine, reroute);

        //  The poller asks each of its sockets, which takes several system calls. So it is asked
        //  once a millisecond, or when nothing has come; in between, we wait for outputs only.
        int64_t now = zclock_mono (), left = probe_at - now;
        zsock_t *socket = pull;
        zmsg_t *message = now == looked ? zmsg_recv (pull) : NULL;
        if (!message) {
            socket = zpoller_wait (poller, left > 0 ? (int) left : 0);
            message = socket ? zmsg_recv (socket) : NULL;
            looked = zclock_mono ();
        }
        bool any = message;
        if (any)
            log_recv ("engine", socket, message);
        if (any && socket == router) {
            engine = s_read_registration (message);
            if (engine_set_knows (set, engine)) {
                //  It has started anew, and knows nothing of what was open
                s_mark_dead (set, progress, engine, reroute);
                engine_set_join (set, engine);
                print_line ("engine %d registered", engine);
            }
        } else if (any && zmsg_size (message) == 1 &&
                   zframe_streq (zmsg_first (message), ENGINE_CORE_DEAD)) {
            last_words++;
            soon = PROBE_SOON_TIMES;
            probe_at = zclock_mono ();
        } else if (any) {
            requests_take (progress, message);
        }
        zmsg_destroy (&message);

        if (zclock_mono () < probe_at || (any && ++overdue < DRAIN_MAX))
            continue;
        overdue = 0;
        bool all = soon == 1 && last_words > engine_set_deaths (set);
        for (int i = 0; i < engine_set_size (set); i++)
            if (engine_set_lives_at (set, i) &&
                (all || !s_send (router, requests_probe (engine_set_at (set, i)))))
                s_mark_dead (set, progress, engine_set_at (set, i), reroute);
        soon = last_words > engine_set_deaths (set) ? soon - 1 : 0;
        probe_at = zclock_mono () + (soon > 0 ? PROBE_SOON_MS : PROBE_MS);
    }
    if (engine_set_living (set) == 0)
        requests_engine_died (progress, -1,
                              false);  //  Nobody is left for what was to be sent again

    for (int i = 0; ready && i < engine_set_size (set); i++) {
        requests_print_engine (progress, engine_set_at (set, i));
        zmsg_t *abort = requests_abort (progress, engine_set_at (set, i));
        if (abort)
            s_send (router, abort);  //  It may have died just now: no matter
    }
    int status = requests_complete (progress) ? EXIT_SUCCESS : EXIT_FAILURE;
    requests_print_summary (progress);
    requests_destroy (&progress);
    engine_set_destroy (&set);
    zpoller_destroy (&poller);
    zsock_destroy (&router);
    zsock_destroy (&pull);
    return status;
}
