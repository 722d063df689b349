//  SPDX-License-Identifier: MIT
//  mock_engine.c - joins an unmodified vLLM front-end, v0.26 to v0.33, as its EngineCore
//
//  The handshake tells an engine where its front-ends are. For each it has a DEALER, on which it
//  registers and gets requests, and a PUSH for the outputs of that front-end's requests. With
//  several engines there may be a coordinator too: an XSUB to hear from it, a PUSH to tell it how
//  busy we are. The tokens are made up: see toy_scheduler.h.
//  Run:   build/tools/mock_engine   (beside build/tools/mock_frontend --handshake ..., or
//         vllm serve MODEL --data-parallel-address 127.0.0.1 --data-parallel-rpc-port 29550
//         --data-parallel-size 1 --data-parallel-size-local 0)
//  vLLM:  vllm/v1/engine/core.py EngineCoreProc._perform_handshake
//         vllm/v1/engine/core.py EngineCoreProc.process_input_sockets
//         vllm/v1/engine/core.py EngineCoreProc.process_output_sockets
//         vllm/v1/executor/multiproc_executor.py WorkerProc.monitor_death_pipe
//         rust/src/mock-engine/src/lib.rs Opt, whose options these are
//         rust/src/engine-core-client/src/mock_engine.rs connect_to_frontend

#include "lib/curve.h"
#include "lib/keepalive.h"
#include "lib/monitor.h"
#include "lib/options.h"
#include "lib/log.h"
#include "engine/handshake.h"
#include "engine/mock_options.h"

//  An engine takes at most so many messages from a socket, for at most so long. Then it is the turn
//  of the next socket, and of a step.
#define SERVE_MAX 1000
#define SERVE_MS 20

//  When a front-end is gone, what it had sent is read for so long
#define LAST_MS 1000

//  How far an engine has come. It goes back to GREETING when its last front-end is gone, or one
//  before all have met.
typedef enum {
    GREETING,  //  Until it gets INIT
    JOINING,   //  Registered; until all is connected, and the coordinator says READY
    SERVING,
    FAILED
} state_t;

//  A front-end; all is NULL when it has left
typedef struct {
    zsock_t *dealer, *push;
    zsock_t *events;  //  Connections of the dealer,
    bool greeted;     //  and whether it has completed ZMTP's handshake
} client_t;

typedef struct {
    mock_shared_t *shared;
    uint16_t index;
    state_t state;
    zsock_t *greeter, *greeter_events;  //  The DEALER of the handshake, and its connections
    client_t *clients;                  //  Front-ends: the i-th has client_index i
    size_t count, connected,
        gone;               //  All; greeted ones; those that have left while others have not
    zsock_t *xsub, *stats;  //  From and to the coordinator; NULL: there is none
    bool start;             //  It has said READY
    toy_engine_t *engine;   //  From JOINING on
    int64_t next_step;
} mock_engine_t;

//  -- Sockets

//  What a front-end takes: a DEALER, its monitor and the PAIR that hears it, a PUSH; with CURVE the
//  PUSH is monitored as well. The handshake or a coordinator takes no more than that.
#define SOCKETS_EACH (curve_dir ? 6U : 4U)

//  Sends one frame, which it takes over
static void s_send (zsock_t *socket, zframe_t *payload)
{
    zframe_send (&payload, socket, 0);  //  Never blocks: it is connected, with no high-water mark
    zframe_destroy (&payload);          //  NULL by now, unless a signal came or the peer is gone
}

//  What the engine has for a front-end
static void s_send_outputs (void *owner, uint32_t client_index, zframe_t *payload)
{
    mock_engine_t *self = owner;
    if (self->clients[client_index].push)
        s_send (self->clients[client_index].push, payload);
    else  //  It is gone
        zframe_destroy (&payload);
}

//  As vLLM's make_zmq_socket: no high-water mark, and the engine's index as the identity. An
//  identity may have zero bytes, as 00 00 of engine 0 does, so it is set by libzmq's own call:
//  zsock_set_identity takes a C string.
static zsock_t *s_new_socket (const mock_engine_t *self, int type, int linger)
{
    byte identity[ENGINE_CORE_IDENTITY_SIZE];
    engine_core_identity (self->index, identity);
    zsock_t *socket = zsock_new (type);
    curve_client (socket);
    zsock_set_maxmsgsize (socket, MP_MAX_TENSOR_FRAME);
    zmq_setsockopt (zsock_resolve (socket), ZMQ_ROUTING_ID, identity, sizeof identity);
    zsock_set_sndhwm (socket, 0);
    zsock_set_rcvhwm (socket, 0);
    //  Not in vLLM: a front-end whose machine is gone is detected after 12 s. TCP asks, not ZMTP:
    //  vLLM's front-end in Rust ends a connection on which a PING arrives.
    keepalive_kernel (socket);
    zsock_set_linger (socket, linger);
    return socket;
}

//  False when the endpoint is wrong. As vLLM's make_zmq_socket: to an IPv6 address with IPv6 on.
static bool s_connect (zsock_t *socket, const char *endpoint)
{
    if (strchr (endpoint, '['))
        zsock_set_ipv6 (socket, 1);
    return log_connected (endpoint, zsock_connect (socket, "%s", endpoint));
}

//  Closes a socket that is polled; nothing for NULL
static void s_close (const mock_engine_t *self, zsock_t **socket_p)
{
    if (*socket_p)
        zpoller_remove (self->shared->poller, *socket_p);
    zsock_destroy (socket_p);
}

//  Closes a socket and the PAIR of its events
static void s_close_with_events (const mock_engine_t *self, zsock_t **socket_p, zsock_t **events_p)
{
    if (*socket_p)
        monitor_stop (*socket_p);
    s_close (self, events_p);
    s_close (self, socket_p);
}

static bool s_has_input (zsock_t *socket)
{
    return !zsys_interrupted && (zsock_events (socket) & ZMQ_POLLIN);
}

//  -- Handshake

static void s_greet (mock_engine_t *self)
{
    self->state = GREETING;
    self->greeter = s_new_socket (self, ZMQ_DEALER, 5000);  //  vLLM's linger for READY, ms
    //  What a front-end has not received when it leaves is not for the next one: HELLO or READY
    //  would come twice. IMMEDIATE also drops what was received and not read; on this socket that
    //  can only be the INIT of a front-end that has left. The DEALERs for requests are without it.
    zsock_set_immediate (self->greeter, 1);
    zsock_set_sndtimeo (self->greeter, 0);
    self->greeter_events = monitor_new (self->greeter, 0);
    zpoller_add (self->shared->poller, self->greeter);
    zpoller_add (self->shared->poller, self->greeter_events);
    if (!s_connect (self->greeter, self->shared->handshake))
        self->state = FAILED;
    else  //  That it is not there yet is no error
        print_line ("engine %u: waiting for a front-end at %s", self->index,
                    self->shared->handshake);
}

//  Tells the front-end how far we are: HELLO or READY
static void s_send_status (mock_engine_t *self, const char *name)
{
    print_line ("engine %u: %s", self->index, name);
    handshake_status_t status = {.status = name, .headless = true};
    if (streq (name, "READY"))
        status.parallel_config_hash = self->shared->parallel_config_hash;
    s_send (self->greeter, handshake_status_encode (&status));
}

//  Says READY when that is true
static void s_become_ready (mock_engine_t *self)
{
    if (self->connected < self->count || (self->xsub && !self->start))
        return;
    self->state = SERVING;
    s_send_status (self, "READY");
    s_close_with_events (self, &self->greeter, &self->greeter_events);
    //  READY goes on leaving for as long as it lingers
}

//  The sockets to one front-end. False when one of the endpoints is not valid.
static bool s_join_client (mock_engine_t *self, client_t *client, const char *input,
                           const char *output)
{
    client->push = s_new_socket (self, ZMQ_PUSH, 4000);  //  As vLLM: for ENGINE_CORE_DEAD
    client->dealer = s_new_socket (self, ZMQ_DEALER, 0);
    client->events = monitor_new (client->dealer, 0);
    zpoller_add (self->shared->poller, client->dealer);
    zpoller_add (self->shared->poller, client->events);
    if (!s_connect (client->push, output) || !s_connect (client->dealer, input))
        return false;
    //  A ROUTER can only send to an identity that it has met: so we speak first
    s_send (client->dealer, toy_engine_registration (self->engine));
    return true;
}

//  The sockets to the coordinator. False when one of the endpoints is not valid.
static bool s_join_coordinator (mock_engine_t *self, const char *input, const char *output)
{
    self->xsub = s_new_socket (self, ZMQ_XSUB, 0);
    self->stats = s_new_socket (self, ZMQ_PUSH, 4000);
    zpoller_add (self->shared->poller, self->xsub);
    if (!s_connect (self->xsub, input) || !s_connect (self->stats, output))
        return false;
    //  An XSUB subscribes with a message of its own: 01 and the topic, which is empty. The
    //  coordinator counts these, and says READY to all when all engines are there.
    s_send (self->xsub, zframe_new ("\x01", 1));
    return true;
}

//  Connects to everything that INIT names, and registers
static void s_join (mock_engine_t *self, const handshake_init_t *init)
{
    toy_engine_config_t config = self->shared->config;
    config.index = self->index;
    config.clients = (uint32_t) init->count;
    config.ready.dp_stats_address = init->frontend_stats_publish_address;
    config.ready.data_parallel_rank = self->index;
    char instance[32];
    snprintf (instance, sizeof instance, "mock_engine-%u", self->index);
    config.ready.instance_id = instance;
    self->engine = toy_engine_new (&config, s_send_outputs, self);
    self->count = init->count;
    self->clients = zmalloc (init->count * sizeof *self->clients);
    size_t sockets = (init->count + 1) * SOCKETS_EACH;
    bool ok = self->shared->sockets + sockets <= self->shared->socket_limit;
    if (ok)
        self->shared->sockets += sockets;
    else
        warn_line ("engine %u: too many sockets: %zu, for %zu front-ends", self->index,
                   self->shared->sockets + sockets, init->count);
    for (size_t i = 0; ok && i < init->count; i++)
        ok = s_join_client (self, &self->clients[i], init->inputs[i], init->outputs[i]);
    if (ok && init->coordinator_input)
        ok = s_join_coordinator (self, init->coordinator_input, init->coordinator_output);
    if (!ok) {
        self->state = FAILED;
        return;
    }
    print_line ("engine %u: registered with %zu front-end%s", self->index, init->count,
                init->count == 1 ? "" : "s");
    self->state = JOINING;
}

//  `gone`: nobody is there to take its last outputs
static void s_leave_client (mock_engine_t *self, client_t *client, bool gone)
{
    if (gone && client->push)
        zsock_set_linger (client->push, 0);
    s_close_with_events (self, &client->dealer, &client->events);
    zsock_destroy (&client->push);
}

//  Lets go of everything that INIT named
static void s_leave (mock_engine_t *self, bool gone)
{
    for (size_t i = 0; i < self->count; i++)
        s_leave_client (self, &self->clients[i], gone);
    free (self->clients);
    self->clients = NULL;
    self->shared->sockets -= self->count > 0 ? (self->count + 1) * SOCKETS_EACH : 0;
    self->count = self->connected = self->gone = 0;
    self->start = false;
    s_close (self, &self->xsub);
    zsock_destroy (&self->stats);
    s_close_with_events (self, &self->greeter, &self->greeter_events);
    if (self->engine)
        toy_engine_add_counts (self->engine, &self->shared->counts);
    toy_engine_destroy (&self->engine);
}

static void s_serve_init (mock_engine_t *self, zmsg_t *message)
{
    mp_error_t error;
    handshake_init_t *init = NULL;
    if (self->state != GREETING) {
        warn_line ("engine %u: another INIT, ignored", self->index);
        return;
    }
    if (zmsg_size (message) != 1)
        mp_error_set (&error, "message", "want one frame, got %zu", zmsg_size (message));
    else
        init = handshake_init_decode (zmsg_first (message), &error);
    if (init) {
        s_join (self, init);
    } else {
        warn_line ("engine %u: bad INIT: %s", self->index, error.text);
        self->state = FAILED;
    }
    handshake_init_destroy (&init);
}

//  False when the front-end is gone
static bool s_serve_greeter (mock_engine_t *self)
{
    bool connected = false, lost = false;
    while (s_has_input (self->greeter_events)) {
        uint16_t event = monitor_recv (self->greeter, self->greeter_events, NULL);
        if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED || event == ZMQ_EVENT_DISCONNECTED)
            connected = event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
        lost = lost || event == ZMQ_EVENT_DISCONNECTED;
    }
    if (lost && self->state == JOINING)
        return false;
    if (connected && self->state == GREETING)
        s_send_status (self, "HELLO");  //  To each front-end that comes, until one says INIT
    if (s_has_input (self->greeter)) {
        zmsg_t *message = zmsg_recv (self->greeter);
        if (message)
            s_serve_init (self, message);
        zmsg_destroy (&message);
    }
    return true;
}

//  -- Service

static void s_serve_coordinator (mock_engine_t *self)
{
    zmsg_t *message = zmsg_recv (self->xsub);
    if (!message)
        return;
    if (zframe_streq (zmsg_first (message), "READY"))
        self->start = true;  //  A second one is meant for an engine that has come later
    else
        toy_engine_handle (self->engine, message);  //  START_DP_WAVE
    zmsg_destroy (&message);
}

//  False when the front-end is gone. The events are read first: libzmq hands over what a peer has
//  sent before it reports that the connection has ended, so an ABORT that came just before the end
//  is in the DEALER when we see the event.
static bool s_serve_client (mock_engine_t *self, client_t *client)
{
    bool gone = false;
    while (s_has_input (client->events)) {
        uint16_t event = monitor_recv (client->dealer, client->events, NULL);
        //  Connected is not greeted: the parent of vLLM's API servers listens before one of them
        //  takes the listener over and speaks ZMTP. After 30 s libzmq ends such a connection
        //  (ZMQ_HANDSHAKE_IVL) and makes another; the registration is still queued. vLLM's own
        //  engine does the same.
        if (event == ZMQ_EVENT_DISCONNECTED && client->greeted)
            gone = true;
        if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED && !client->greeted) {
            client->greeted = true;
            self->connected++;
        }
    }
    int64_t until = zclock_mono () + (gone ? LAST_MS : SERVE_MS);
    for (int i = 0;
         (gone || i < SERVE_MAX) && s_has_input (client->dealer) && zclock_mono () < until; i++) {
        zmsg_t *message = zmsg_recv (client->dealer);
        if (!message)
            break;
        if (!toy_engine_busy (self->engine))
            self->next_step = zclock_mono () + self->shared->step_ms;
        toy_engine_handle (self->engine, message);
        zmsg_destroy (&message);
    }
    return !gone;
}

//  Forgets the front-end that is gone, and waits for the next
static void s_start_over (mock_engine_t *self)
{
    print_line ("engine %u: the front-end is gone", self->index);
    toy_engine_abort_all (self->engine);
    s_leave (self, true);
    s_greet (self);
}

//  One of several front-ends is gone, and its requests with it; the others are served as before.
//  It is not connected to again: another one at its place says so in the handshake.
static void s_lose_client (mock_engine_t *self, size_t client)
{
    print_line ("engine %u: front-end %zu of %zu is gone", self->index, client, self->count);
    s_leave_client (self, &self->clients[client], true);
    toy_engine_abort_client (self->engine, (uint32_t) client);
    self->gone++;
}

//  Handles all that has come
static void s_look (mock_engine_t *self)
{
    bool there = !self->greeter || s_serve_greeter (self);
    if (self->state == FAILED)
        return;
    for (int i = 0; i < SERVE_MAX && self->xsub && s_has_input (self->xsub); i++)
        s_serve_coordinator (self);
    for (size_t i = 0; i < self->count; i++) {
        if (!self->clients[i].dealer || s_serve_client (self, &self->clients[i]))
            continue;
        if (self->state == SERVING && self->gone + 1 < self->count)
            s_lose_client (self, i);
        else
            there = false;
    }
    if (!there)
        s_start_over (self);
    else if (self->state == JOINING)
        s_become_ready (self);
}

//  Makes a step if one is due
static void s_step (mock_engine_t *self)
{
    bool serves = self->state == SERVING;
    if (serves && toy_engine_busy (self->engine) && zclock_mono () >= self->next_step) {
        toy_engine_step (self->engine);
        self->next_step = zclock_mono () + self->shared->step_ms;
    }
    zframe_t *load = serves && self->stats ? toy_engine_load (self->engine) : NULL;
    if (load)
        s_send (self->stats, load);
}

//  Going while front-ends count on us: their requests end, and they are told
static void s_die (mock_engine_t *self)
{
    if (self->state == SERVING) {
        toy_engine_abort_all (self->engine);
        for (uint32_t i = 0; i < self->count; i++)
            s_send_outputs (self, i, zframe_new (ENGINE_CORE_DEAD, strlen (ENGINE_CORE_DEAD)));
    }
    s_leave (self, false);
}

//  How long to wait for messages, in ms: until a step is due, or without a limit (-1)
static int s_wait_ms (const mock_engine_t *engines, int count)
{
    int64_t least = -1;
    for (int i = 0; i < count; i++) {
        if (engines[i].state != SERVING || !toy_engine_busy (engines[i].engine))
            continue;
        int64_t left = engines[i].next_step - zclock_mono ();
        if (least == -1 || left < least)
            least = left > 0 ? left : 0;
    }
    return (int) least;
}

//  Until a signal comes, our parent ends or an engine fails: then it is false
static bool s_run (mock_shared_t *shared, mock_engine_t *engines)
{
    bool failed = false;
    for (int i = 0; i < shared->count; i++) {
        engines[i] = (mock_engine_t){.shared = shared, .index = (uint16_t) (shared->index + i)};
        s_greet (&engines[i]);
        failed = failed || engines[i].state == FAILED;
    }
    int64_t looked = 0;  //  When the sockets were last looked at, ms
    while (!zsys_interrupted && !failed) {
        int wait_ms = s_wait_ms (engines, shared->count);
        //  While steps are due, look once a millisecond: a look takes longer than a small step
        bool look = wait_ms != 0 || zclock_mono () > looked;
        if (look && zpoller_wait (shared->poller, wait_ms) == &shared->death_pipe) {
            print_line ("who started this engine is gone");
            raise (SIGTERM);  //  It could not say so itself
        }
        looked = look ? zclock_mono () : looked;
        for (int i = 0; i < shared->count && !zsys_interrupted; i++) {
            if (look)
                s_look (&engines[i]);
            s_step (&engines[i]);
            failed = failed || engines[i].state == FAILED;
        }
    }
    return !failed;
}

int main (int argc, char **argv)
{
    mock_shared_t shared = {.handshake = "tcp://127.0.0.1:29550", .count = 1};
    mock_options_read (&shared, argc, argv);
    shared.sockets = (size_t) shared.count * SOCKETS_EACH;
    if (shared.sockets > shared.socket_limit) {
        warn_line ("too many sockets: %zu, for %d engines", shared.sockets, shared.count);
        return EXIT_FAILURE;
    }
    shared.poller = zpoller_new (NULL, NULL);
    if (shared.death_pipe > 0)
        zpoller_add (shared.poller, &shared.death_pipe);  //  First: told before anything else
    mock_engine_t *engines = zmalloc ((size_t) shared.count * sizeof *engines);
    bool well = s_run (&shared, engines);
    for (int i = 0; i < shared.count; i++)
        s_die (&engines[i]);
    toy_engine_say_summary (&shared.counts);
    free (engines);
    zpoller_destroy (&shared.poller);
    return well ? EXIT_SUCCESS : EXIT_STOPPED_OR_FAILED;
}
