//  SPDX-License-Identifier: MIT
//  mock_frontend.c - drives engines, ours and vLLM's: handshake or fixed addresses, load, failures
//
//  Binds a ROUTER for requests and a PULL for outputs, and with --handshake a second ROUTER where
//  engines say HELLO, are told the other two addresses in INIT, and say READY. Requests go to the
//  engines in turn. An engine may die at any time: the others go on, and its requests fail or are
//  sent to another one (--on-dead).
//  Run:   build/tools/mock_frontend --handshake tcp://127.0.0.1:29550
//         (beside build/tools/mock_engine, or a vLLM engine)
//  vLLM:  vllm/v1/engine/utils.py launch_core_engines
//         vllm/v1/engine/utils.py wait_for_engine_startup
//         vllm/v1/engine/core_client.py MPClient.start_engine_core_monitor
//         vllm/v1/engine/core_client.py DPLBAsyncMPClient.get_core_engine_for_request

#include "lib/curve.h"
#include "lib/keepalive.h"
#include "lib/log.h"
#include "lib/options.h"
#include "engine/engine_set.h"
#include "engine/handshake.h"
#include "engine/probe.h"
#include "engine/requests.h"
#include "engine/spawned.h"

#include <libgen.h>
#include <poll.h>

//  How often to look for what a socket that always has input would hide, ms
#define LOOK_MS 1000

//  In one look so many registrations are taken
#define LOOK_MAX 1000

typedef struct {
    //  Options
    const char *handshake, *input, *output, *on_dead, *release;
    int engines, request_count, in_flight, max_tokens, timeout_s;
    bool spawn;

    zsock_t *greeter, *router, *pull;  //  The greeter is NULL without a handshake
    engine_set_t *set;
    requests_t *requests;
    probe_t probe;
    spawned_t *spawned;  //  The i-th is engine i
    int *sentinels;      //  Its file descriptor, readable from its end on
    int spawned_count;
    int64_t deadline;  //  For all engines to be there, by zclock_mono
    int64_t look_at;   //  When to look for spawned engines that have ended, whatever comes
} frontend_t;

//  -- Sockets

//  No ZMTP PING: the engine may be one that does not know it
static zsock_t *s_new_socket (int type, int max_size)
{
    zsock_t *socket = zsock_new (type);
    curve_server (socket);
    zsock_set_maxmsgsize (socket, max_size);
    keepalive_probe (socket);
    return socket;
}

static bool s_bind (zsock_t *socket, const char *endpoint)
{
    return log_bound (socket, endpoint, zsock_bind (socket, "%s", endpoint));
}

//  True when all are bound
static bool s_listen (frontend_t *self)
{
    if (self->handshake)
        self->greeter = s_new_socket (ZMQ_ROUTER, MP_MAX_SMALL_FRAME);
    self->router = s_new_socket (ZMQ_ROUTER, MP_MAX_SMALL_FRAME);  //  Engines only register here
    self->pull = s_new_socket (ZMQ_PULL, MP_MAX_FRAME);
    zsock_set_sndhwm (self->router, 0);
    zsock_set_rcvhwm (self->pull, REQUESTS_HWM);
    zsock_set_rcvtimeo (self->pull, 1);  //  See s_receive
    zsock_set_router_mandatory (self->router, 1);
    zsock_set_linger (self->router, 250);  //  On exit, wait up to 250 ms for an ABORT to be sent
    return (!self->greeter || s_bind (self->greeter, self->handshake)) &&
           s_bind (self->router, self->input) && s_bind (self->pull, self->output);
}

//  Polls the first socket before the second, and the sentinels after both. `second` may be NULL.
static zpoller_t *s_poller (frontend_t *self, zsock_t *first, zsock_t *second)
{
    zpoller_t *poller = zpoller_new (first, second, NULL);
    for (int i = 0; i < self->spawned_count; i++)
        zpoller_add (poller, &self->sentinels[i]);
    return poller;
}

//  Sends a message to an engine, and takes it over. False when the ROUTER has no connection to that
//  engine.
static bool s_send (frontend_t *self, zmsg_t *message)
{
    bool there = zmsg_send (&message, self->router) == 0 || zmq_errno () != EHOSTUNREACH;
    zmsg_destroy (&message);
    return there;
}

//  -- Before all engines are there. If one of them dies now, that is the end.

//  Starts engine `index`, with the program beside this one. False when that fails.
static bool s_spawn (frontend_t *self, const char *own_path, int index, const char *handshake)
{
    char *copy = strdup (own_path);
    char *path = zsys_sprintf ("%s/mock_engine", dirname (copy));
    char *number = zsys_sprintf ("%d", index);
    char *pipe = zsys_sprintf ("%d", SPAWNED_DEATH_PIPE);
    char *argv[] = {
        path, "--quiet", "--handshake", (char *) handshake, "--index", number, "--death-pipe", pipe,
        NULL, NULL,      NULL};
    char **more = &argv[8];  //  Options that it shares with us
    if (curve_dir) {
        *more++ = "--curve-dir";
        *more++ = (char *) curve_dir;
    }
    int sentinel = spawned_start (self->spawned, argv);
    if (sentinel == -1)
        warn_line ("cannot start %s: %s", path, strerror (errno));
    else
        self->sentinels[self->spawned_count++] = sentinel;
    zstr_free (&pipe);
    zstr_free (&number);
    zstr_free (&path);
    free (copy);
    return sentinel != -1;
}

//  The sentinel of a spawned engine that has ended, or NULL
static int *s_find_ended (frontend_t *self)
{
    for (int i = 0; i < self->spawned_count; i++) {
        struct pollfd sentinel = {.fd = self->sentinels[i], .events = POLLIN};
        if (self->sentinels[i] != -1 && poll (&sentinel, 1, 0) == 1)
            return &self->sentinels[i];
    }
    return NULL;
}

//  The next message of `socket`. NULL when there will be none: a signal came, an engine has died,
//  or it is too late. Unless it was a signal, *why then says so; the caller frees it.
static zmsg_t *s_wait (frontend_t *self, zpoller_t *poller, zsock_t *socket, char **why)
{
    int64_t now = zclock_mono (), left = self->deadline - now;
    void *ready = NULL;
    if (now >= self->look_at) {
        self->look_at = now + LOOK_MS;
        ready = s_find_ended (self);
    }
    if (!ready && left > 0)
        ready = zpoller_wait (poller, (int) left);
    if (ready == socket)
        return zmsg_recv (socket);
    if (ready) {
        int engine = (int) ((int *) ready - self->sentinels);
        char *ending = spawned_ending (self->spawned, (size_t) engine);
        *why = zsys_sprintf ("engine %d is dead: %s", engine, ending);
        zstr_free (&ending);
    } else if (!zsys_interrupted) {
        *why = strdup ("it has not come in time (--timeout-s)");
    }
    return NULL;
}

//  Prints why we gave up, and what is still missing. Frees both. Always false.
static bool s_give_up (char *why, char *missing)
{
    if (why)
        warn_line ("%s: %s", missing, why);
    zstr_free (&why);
    zstr_free (&missing);
    return false;
}

//  HELLO, INIT, READY with each engine
static bool s_shake_hands (frontend_t *self, startup_t *startup)
{
    zpoller_t *poller = s_poller (self, self->greeter, NULL);
    bool good = true;
    while (good && !startup_done (startup)) {
        char *why = NULL;
        zmsg_t *message = s_wait (self, poller, self->greeter, &why), *init;
        if (!message) {
            good = s_give_up (why, startup_pending (startup));
            break;
        }
        mp_error_t error;
        int engine = startup_handle (startup, message, &init, &error);
        zmsg_destroy (&message);
        good = engine != STARTUP_FAILED;
        if (engine < 0)
            warn_line ("%s", error.text);
        else
            print_line ("engine %d: %s", engine, init ? "HELLO" : "READY");
        if (init) {
            zmsg_send (&init, self->greeter);
            zmsg_destroy (&init);
        }
    }
    zpoller_destroy (&poller);
    return good;
}

//  Binds, starts engines if it has to, and meets them all at the greeter, which is closed then. Its
//  addresses are told as bound: a port * has become a number.
static bool s_start_engines (frontend_t *self, const char *own_path)
{
    char *greeter_at = zsock_last_endpoint (self->greeter);
    char *router_at = zsock_last_endpoint (self->router);
    char *pull_at = zsock_last_endpoint (self->pull);
    handshake_init_t init = {
        .inputs = (const char *[]){router_at}, .outputs = (const char *[]){pull_at}, .count = 1};
    startup_t *startup = startup_new (self->engines, &init);
    bool good = true;
    for (int i = 0; self->spawn && good && i < self->engines; i++)
        good = s_spawn (self, own_path, i, greeter_at);
    good = good && s_shake_hands (self, startup);
    startup_destroy (&startup);
    zsock_destroy (&self->greeter);
    zstr_free (&greeter_at);
    zstr_free (&router_at);
    zstr_free (&pull_at);
    return good;
}

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

//  "engine 1: no registration", to be freed
static char *s_unregistered (frontend_t *self)
{
    int missing = 0;
    while (self->handshake && engine_set_knows (self->set, missing))
        missing++;
    return self->handshake ? zsys_sprintf ("engine %d: no registration", missing)
                           : zsys_sprintf ("%d of %d engines have registered",
                                           engine_set_size (self->set), self->engines);
}

//  Until all engines have registered. Behind a handshake we know which ones; without one, any
//  engine is welcome. What is no registration, or of no engine that is expected, is reported and
//  ignored.
static bool s_register (frontend_t *self)
{
    zpoller_t *poller = s_poller (self, self->router, NULL);
    bool good = true;
    while (good && engine_set_size (self->set) < self->engines) {
        char *why = NULL;
        zmsg_t *message = s_wait (self, poller, self->router, &why);
        if (!message) {
            good = s_give_up (why, s_unregistered (self));
            break;
        }
        int engine = s_read_registration (message);
        zmsg_destroy (&message);
        bool wanted = engine != -1 && !engine_set_knows (self->set, engine) &&
                      (!self->handshake || engine < self->engines);
        if (wanted) {
            engine_set_join (self->set, engine);
            print_line ("engine %d registered", engine);
        } else if (engine != -1 && self->handshake) {
            warn_line ("registration: engine %d is not one that is expected", engine);
        }
    }
    zpoller_destroy (&poller);
    return good;
}

//  -- When all engines are there

//  `how` is how its process has ended, or NULL
static void s_mark_dead (frontend_t *self, int engine, const char *how)
{
    engine_set_mark_dead (self->set, engine);
    int lost = requests_engine_died (self->requests, engine, streq (self->on_dead, "reroute"));
    warn_line ("engine %d is dead%s%s, %d request%s open", engine, how ? ": " : "", how ? how : "",
               lost, lost == 1 ? " was" : "s were");
}

//  Sends what has not been sent yet, and what has to be sent again, to the living engines in turn
static void s_send_requests (frontend_t *self)
{
    int number, engine;
    while (!zsys_interrupted &&
           (self->in_flight == 0 || requests_in_flight (self->requests) < self->in_flight) &&
           (number = requests_unsent (self->requests)) != -1 &&
           (engine = engine_set_next (self->set)) != -1)
        if (!s_send (self, requests_message (self->requests, number, engine)))
            s_mark_dead (self, engine, NULL);
}

//  Waits for a message or for the end of a spawned engine, until the next probe is due. Returns
//  what is ready, with the message if it is a socket, or NULL.
//  Asking a poller takes a system call for each socket. So it is asked once a millisecond, or when
//  nothing has come; in between we only receive from the PULL, which waits 1 ms.
static void *s_receive (frontend_t *self, zpoller_t *poller, int64_t *looked, zmsg_t **message)
{
    int64_t now = zclock_mono ();
    *message = now == *looked ? zmsg_recv (self->pull) : NULL;
    if (*message)
        return self->pull;
    void *ready = zpoller_wait (poller, probe_left (&self->probe, now));
    if (ready == self->pull || ready == self->router)
        *message = zmsg_recv (ready);
    *looked = zclock_mono ();
    return ready;
}

static void s_take_registration (frontend_t *self, zmsg_t *message)
{
    int engine = s_read_registration (message);
    if (!engine_set_knows (self->set, engine))
        return;
    //  It has restarted, and does not know the requests that were open
    s_mark_dead (self, engine, NULL);
    engine_set_join (self->set, engine);
    print_line ("engine %d registered", engine);
}

static void s_take_outputs (frontend_t *self, zmsg_t *message)
{
    if (zmsg_size (message) == 1 && zframe_streq (zmsg_first (message), ENGINE_CORE_DEAD))
        probe_last_words (&self->probe, zclock_mono ());
    else
        requests_take (self->requests, message);
}

//  The process of a spawned engine has ended
static void s_take_ending (frontend_t *self, zpoller_t *poller, int *sentinel)
{
    int engine = (int) (sentinel - self->sentinels);
    char *ending = spawned_ending (self->spawned, (size_t) engine);
    zpoller_remove (poller, sentinel);
    *sentinel = -1;
    if (engine_set_lives (self->set, engine))
        s_mark_dead (self, engine, ending);
    zstr_free (&ending);
}

//  The engines are probed. Before, what a PULL that always has input would hide is looked at.
static void s_look (frontend_t *self, zpoller_t *poller)
{
    for (int *ended; (ended = s_find_ended (self));)
        s_take_ending (self, poller, ended);
    for (int i = 0; i < LOOK_MAX && zsock_events (self->router) & ZMQ_POLLIN; i++) {
        zmsg_t *message = zmsg_recv (self->router);
        if (message)
            s_take_registration (self, message);
        zmsg_destroy (&message);
    }
    bool all = probe_gives_up (&self->probe, engine_set_deaths (self->set));
    for (int i = 0; i < engine_set_size (self->set); i++) {
        int engine = engine_set_at (self->set, i);
        if (engine_set_lives (self->set, engine) &&
            (all || !s_send (self, requests_probe (engine))))
            s_mark_dead (self, engine, NULL);
    }
    probe_done (&self->probe, zclock_mono (), engine_set_deaths (self->set));
}

//  Until all requests have ended, no engine lives, or a signal comes
static void s_serve (frontend_t *self)
{
    //  Outputs first: what a dead engine had sent still counts
    zpoller_t *poller = s_poller (self, self->pull, self->router);
    int64_t looked = 0;
    probe_start (&self->probe, zclock_mono ());
    while (!zsys_interrupted && engine_set_living (self->set) > 0 &&
           requests_open (self->requests) > 0) {
        s_send_requests (self);
        zmsg_t *message;
        void *ready = s_receive (self, poller, &looked, &message);
        bool received = message;
        if (ready && ready != self->pull && ready != self->router)
            s_take_ending (self, poller, ready);
        else if (received && ready == self->router)
            s_take_registration (self, message);
        else if (received)
            s_take_outputs (self, message);
        zmsg_destroy (&message);
        if (probe_due (&self->probe, zclock_mono (), received))
            s_look (self, poller);
    }
    zpoller_destroy (&poller);
    if (engine_set_living (self->set) == 0)
        requests_engine_died (self->requests, -1, false);  //  No engine is left to send them to
}

//  Which engine got what. What is still open is aborted, or the engines would go on computing it.
static void s_say_goodbye (frontend_t *self)
{
    for (int i = 0; i < engine_set_size (self->set); i++) {
        int engine = engine_set_at (self->set, i);
        requests_print_engine (self->requests, engine);
        zmsg_t *abort = requests_abort (self->requests, engine);
        if (abort)
            s_send (self, abort);
    }
}

static void s_read_options (frontend_t *self, int argc, char **argv)
{
    const option_t options[] = {
        OPTION_BIND ("handshake", &self->handshake, "where engines say HELLO"),
        OPTION_BIND ("input", &self->input, "where the engines' DEALERs connect"),
        OPTION_BIND ("output", &self->output, "where the engines' PUSHes connect"),
        OPTION_INT ("engines", &self->engines, 1, UINT16_MAX,
                    "engines to wait for; with a handshake these are 0 to N - 1"),
        OPTION_INT ("requests", &self->request_count, 1, 1000000, "requests to send"),
        OPTION_INT ("max-tokens", &self->max_tokens, 1, INT_MAX, "tokens to ask for, each"),
        OPTION_INT ("in-flight", &self->in_flight, 0, 1000000,
                    "requests open at a time, the next when one has finished; 0: all"),
        OPTION_CHOICE ("vllm", &self->release, ENGINE_CORE_RELEASES, "release of the engines"),
        OPTION_CHOICE ("on-dead", &self->on_dead, "fail|reroute",
                       "what becomes of a dead engine's requests"),
        OPTION_FLAG ("spawn", &self->spawn,
                     "start mock_engine --index 0 to N - 1; without --handshake at a free port"),
        OPTION_INT ("timeout-s", &self->timeout_s, 1, 86400, "how long to wait for the engines, s"),
        OPTION_END,
    };
    const about_t about = {
        .name = "mock_frontend",
        .purpose = "ROUTER + PULL: a vLLM front-end without a model, for engines of any kind",
        .example = "  build/tools/mock_frontend --handshake tcp://127.0.0.1:29550 --engines 2\n"
                   "  build/tools/mock_engine --engine-count 2",
        .at_risk = "requests, which carry prompts, and what engines answer",
    };
    options_read (argc, argv, &about, options);
    if (self->spawn && !self->handshake)
        self->handshake = "tcp://127.0.0.1:*";
}

int main (int argc, char **argv)
{
    frontend_t self = {
        .input = "tcp://127.0.0.1:5570",
        .output = "tcp://127.0.0.1:5571",
        .on_dead = "fail",
        .release = "0.33",
        .engines = 1,
        .request_count = 10,
        .max_tokens = 4,
        .timeout_s = 60,
    };
    s_read_options (&self, argc, argv);
    self.deadline = zclock_mono () + self.timeout_s * INT64_C (1000);
    self.set = engine_set_new (self.engines);
    self.requests = requests_new (self.request_count, self.max_tokens,
                                  (int) strtol (self.release + 2, NULL, 10));
    self.spawned = spawned_new ((size_t) self.engines);
    self.sentinels = zmalloc ((size_t) self.engines * sizeof *self.sentinels);

    bool ready = s_listen (&self) && (!self.handshake || s_start_engines (&self, argv[0])) &&
                 s_register (&self);
    if (ready) {
        s_serve (&self);
        s_say_goodbye (&self);
    }
    int status = requests_complete (self.requests) ? EXIT_SUCCESS : EXIT_FAILURE;
    requests_print_summary (self.requests);
    requests_destroy (&self.requests);
    engine_set_destroy (&self.set);
    zsock_destroy (&self.greeter);
    zsock_destroy (&self.router);
    zsock_destroy (&self.pull);
    spawned_destroy (&self.spawned);
    free (self.sentinels);
    return status;
}
