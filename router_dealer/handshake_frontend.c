//  SPDX-License-Identifier: MIT
//  handshake_frontend.c - Demo 2.3: engines that know one address learn the others: HELLO, INIT,
//  READY
//
//  Until now each engine was told on its command line where to connect. Here it knows the address
//  of one ROUTER. It says HELLO there, INIT tells it where requests come from and outputs go, and
//  READY tells us that it has connected. Then the ROUTER is closed, and all goes on as in Demo 2.2.
//  An engine may die before it is ready, and who is dead sends nothing. So what waits for messages
//  waits for the deaths of our children too (--spawn).
//  Run:   build/router_dealer/handshake_frontend    (beside build/tools/mock_engine)
//  vLLM:  vllm/v1/engine/utils.py launch_core_engines
//         vllm/v1/engine/utils.py wait_for_engine_startup
//         vllm/v1/engine/utils.py CoreEngineState

#include "lib/curve.h"
#include "lib/keepalive.h"
#include "lib/options.h"
#include "lib/log.h"
#include "lib/trace.h"
#include "engine/spawned.h"
#include "engine/handshake.h"
#include "engine/requests.h"

#include <libgen.h>

//  So often we look after engines that are not our children: who is dead says nothing
#define PROBE_MS 1000

//  A socket that is waited for, and the sentinels of the engines that we have started
typedef struct {
    zmq_pollitem_t *items;  //  The first is the socket's
    int count;
    spawned_t *spawned;
    int64_t deadline;  //  By zclock_mono
    bool late;         //  It has passed
} watch_t;

//  Waits for a message. NULL when there will be none: a signal came, an engine has died, or it is
//  too late; then *why says so, the caller's to free, unless it was the signal.
static zmsg_t *s_wait (watch_t *self, zsock_t *socket, char **why)
{
    //  zmq_poll itself, since it takes file descriptors as well as sockets
    self->items[0].socket = zsock_resolve (socket);
    int64_t left = self->deadline - zclock_mono ();
    int ready = left < 0 ? 0 : zmq_poll (self->items, self->count, (long) left);
    self->late = ready == 0;
    if (self->late)
        *why = strdup ("it has not come in time (--timeout-s)");
    if (ready <= 0)
        return NULL;
    for (int i = 1; i < self->count; i++)
        if (self->items[i].revents) {
            char *ending = spawned_ending (self->spawned, (size_t) i - 1);
            *why = zsys_sprintf ("engine %d is dead: %s", i - 1, ending);
            zstr_free (&ending);
            return NULL;
        }
    return zmsg_recv (socket);
}

//  Starts an engine, which is in the folder tools/ beside ours. False when that fails.
static bool s_spawn (watch_t *watch, const char *own_path, int index, const char *handshake)
{
    char *copy = strdup (own_path);
    char *path = zsys_sprintf ("%s/../tools/mock_engine", dirname (copy));
    char *number = zsys_sprintf ("%d", index);
    char *pipe = zsys_sprintf ("%d", SPAWNED_DEATH_PIPE);
    char *argv[] = {path,      "--quiet", "--handshake",  (char *) handshake,
                    "--index", number,    "--death-pipe", pipe,
                    NULL,      NULL,      NULL,           NULL,
                    NULL};
    char **more = &argv[8];  //  What it shares with us
    if (trace_path) {
        *more++ = "--trace";
        *more++ = (char *) trace_path;
    }
    if (curve_dir) {
        *more++ = "--curve-dir";
        *more++ = (char *) curve_dir;
    }
    int sentinel = spawned_start (watch->spawned, argv);
    if (sentinel == -1)
        warn_line ("cannot start %s: %s", path, strerror (errno));
    else
        watch->items[watch->count++] = (zmq_pollitem_t){.fd = sentinel, .events = ZMQ_POLLIN};
    zstr_free (&pipe);
    zstr_free (&number);
    zstr_free (&path);
    free (copy);
    return sentinel != -1;
}

//  Complains of what has made us wait in vain. What is still missing, the caller's, goes with it.
static bool s_give_up (char *why, char *missing)
{
    if (why)
        warn_line ("%s%s%s", missing ? missing : "", missing ? ": " : "", why);
    zstr_free (&why);
    zstr_free (&missing);
    return false;
}

//  Until all engines are ready
static bool s_shake_hands (watch_t *watch, zsock_t *router, startup_t *startup)
{
    while (!startup_done (startup)) {
        char *why = NULL;
        zmsg_t *message = s_wait (watch, router, &why);
        if (!message)
            return s_give_up (why, startup_pending (startup));
        log_recv ("engine", router, message);
        mp_error_t error;
        zmsg_t *init;
        int engine = startup_handle (startup, message, &init, &error);
        zmsg_destroy (&message);
        if (engine == -1) {
            warn_line ("%s", error.text);
            return false;
        }
        print_line ("engine %d: %s", engine, init ? "HELLO" : "READY");
        if (init) {
            log_send ("engine", router, init);
            zmsg_send (&init, router);
            zmsg_destroy (&init);  //  NULL by now, unless the engine is gone
        }
    }
    return true;
}

//  Until all engines have registered with the ROUTER of the requests too
static bool s_register (watch_t *watch, zsock_t *router, int count)
{
    bool *registered = zmalloc ((size_t) count * sizeof *registered);
    int left = count;
    while (left > 0) {
        char *why = NULL;
        zmsg_t *message = s_wait (watch, router, &why);
        if (!message) {
            int missing = 0;
            while (registered[missing])
                missing++;
            s_give_up (why, zsys_sprintf ("engine %d: no registration", missing));
            break;
        }
        log_recv ("engine", router, message);
        engine_core_ready_t ready;
        mp_error_t error;
        int engine = engine_core_registration (message, &ready, &error);
        zmsg_destroy (&message);
        if (engine == -1 || engine >= count || registered[engine]) {
            warn_line ("%s", engine == -1 ? error.text : "registration: not one that is expected");
            break;
        }
        registered[engine] = true;
        print_line ("engine %d registered", engine);
        left--;
    }
    free (registered);
    return left == 0;
}

//  Sends each engine a message that wants nothing. The ROUTER refuses that for one whose connection
//  is gone. False, and told, when there is one.
static bool s_probe (zsock_t *router, int count)
{
    for (int i = 0; i < count; i++) {
        zmsg_t *probe = requests_probe (i);
        log_send ("engine", router, probe);
        bool dead = zmsg_send (&probe, router) == -1 && zmq_errno () == EHOSTUNREACH;
        zmsg_destroy (&probe);  //  NULL by now, unless it could not be sent
        if (dead) {
            warn_line ("engine %d is dead", i);
            return false;
        }
    }
    return true;
}

int main (int argc, char **argv)
{
    const char *handshake = "tcp://127.0.0.1:29550";
    const char *input = "tcp://127.0.0.1:5570", *output = "tcp://127.0.0.1:5571";
    int engines = 1, requests = 10, max_tokens = 4, timeout_s = 60;
    bool spawn = false;
    const option_t options[] = {
        OPTION_BIND ("handshake", &handshake, "where engines say HELLO"),
        OPTION_BIND ("input", &input, "where the engines' DEALERs connect"),
        OPTION_BIND ("output", &output, "where the engines' PUSHes connect"),
        OPTION_INT ("engines", &engines, 1, UINT16_MAX, "engines to wait for, 0 to N - 1"),
        OPTION_INT ("requests", &requests, 1, 1000000, "requests to send"),
        OPTION_INT ("max-tokens", &max_tokens, 1, INT_MAX, "tokens to ask for, each"),
        OPTION_INT ("timeout-s", &timeout_s, 1, 86400, "how long to wait for the engines, s"),
        OPTION_FLAG ("spawn", &spawn, "start the engines too"),
        OPTION_END,
    };
    const about_t about = {
        .name = "handshake_frontend",
        .purpose = "ROUTER: HELLO, INIT, READY with each engine; then deals requests out",
        .example = "  build/router_dealer/handshake_frontend\n  build/tools/mock_engine",
        .at_risk = "requests, which carry prompts, and what engines answer",
    };
    options_read (argc, argv, &about, options);

    zsock_t *greeter = zsock_new (ZMQ_ROUTER), *router = zsock_new (ZMQ_ROUTER);
    zsock_t *pull = zsock_new (ZMQ_PULL);
    curve_server (greeter);
    curve_server (router);
    curve_server (pull);
    zsock_set_maxmsgsize (greeter, MP_MAX_SMALL_FRAME);
    zsock_set_maxmsgsize (router, MP_MAX_SMALL_FRAME);  //  Engines only register here
    zsock_set_maxmsgsize (pull, MP_MAX_FRAME);
    zsock_set_sndhwm (router, 0);
    zsock_set_rcvhwm (pull, REQUESTS_HWM);
    zsock_set_router_mandatory (router, 1);
    zsock_set_linger (router, 250);  //  An ABORT gets so many ms to leave when we exit
    //  Not in vLLM: an engine whose machine has vanished is missed after 12 s
    keepalive_ping (greeter);
    keepalive_ping (router);
    keepalive_probe (pull);
    bool alive = log_bound (greeter, handshake, zsock_bind (greeter, "%s", handshake)) &&
                 log_bound (router, input, zsock_bind (router, "%s", input)) &&
                 log_bound (pull, output, zsock_bind (pull, "%s", output));
    //  INIT has the addresses as bound: a port * has become a number
    char *greeter_at = zsock_last_endpoint (greeter);
    char *router_at = zsock_last_endpoint (router), *pull_at = zsock_last_endpoint (pull);
    handshake_init_t init = {
        .inputs = (const char *[]){router_at}, .outputs = (const char *[]){pull_at}, .count = 1};
    startup_t *startup = startup_new (engines, &init);

    watch_t watch = {.spawned = spawned_new ((size_t) engines), .count = 1};
    watch.items = zmalloc (((size_t) engines + 1) * sizeof *watch.items);
    watch.items[0].events = ZMQ_POLLIN;
    watch.deadline = zclock_mono () + timeout_s * INT64_C (1000);
    for (int i = 0; spawn && alive && i < engines; i++)
        alive = s_spawn (&watch, argv[0], i, greeter_at);

    bool ready =
        alive && s_shake_hands (&watch, greeter, startup) && s_register (&watch, router, engines);
    zsock_destroy (&greeter);  //  The handshake is for the start only

    requests_t *progress = requests_new (requests, max_tokens, false);
    for (int i = 0; ready && alive && i < requests; i++) {
        int engine = i % engines;
        zmsg_t *message = requests_message (progress, i, engine);
        log_send ("engine", router, message);
        alive = zmsg_send (&message, router) == 0;
        if (!alive)
            warn_line ("engine %d: %s", engine, zmq_strerror (zmq_errno ()));
        zmsg_destroy (&message);  //  NULL by now, unless it could not be sent
    }
    while (ready && alive && requests_open (progress) > 0) {
        char *why = NULL;
        watch.deadline = zclock_mono () + PROBE_MS;
        zmsg_t *message = s_wait (&watch, pull, &why);
        if (!message && watch.late) {
            zstr_free (&why);
            alive = s_probe (router, engines);
            continue;
        }
        if (!message) {
            s_give_up (why, NULL);
            break;
        }
        log_recv ("engine", pull, message);
        if (zmsg_size (message) == 1 && zframe_streq (zmsg_first (message), ENGINE_CORE_DEAD)) {
            warn_line ("an engine is dead, %d requests are open", requests_open (progress));
            alive = false;
        } else {
            requests_take (progress, message);
        }
        zmsg_destroy (&message);
    }

    for (int i = 0; ready && i < engines; i++) {
        requests_print_engine (progress, i);
        zmsg_t *abort = requests_abort (progress, i);
        if (abort) {
            log_send ("engine", router, abort);
            zmsg_send (&abort, router);  //  Fails for the engine that is dead: no matter
            zmsg_destroy (&abort);
        }
    }
    int status = requests_complete (progress) ? EXIT_SUCCESS : EXIT_FAILURE;
    requests_print_summary (progress);
    requests_destroy (&progress);
    startup_destroy (&startup);
    zsock_destroy (&router);
    zsock_destroy (&pull);
    spawned_destroy (&watch.spawned);
    free (watch.items);
    zstr_free (&greeter_at);
    zstr_free (&router_at);
    zstr_free (&pull_at);
    return status;
}
