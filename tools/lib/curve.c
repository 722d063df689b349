//  SPDX-License-Identifier: MIT

#include "lib/curve.h"
#include "lib/keys.h"
#include "lib/log.h"

#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>

//  How many refusals are logged: a peer that makes up addresses must not fill the disk
#define TOLD_MAX 1000

//  A connection that ends in its handshake need not be refused: the server may have been stopped.
//  After this many in a row it counts as refused.
#define BROKEN_MAX 3

//  The peer of an ipc socket has no address
#define LOCAL "a local process"

//  In a stable release zmq.h hides this option. libzmq has had it since 4.3.
#ifndef ZMQ_ZAP_ENFORCE_DOMAIN
#define ZMQ_ZAP_ENFORCE_DOMAIN 93
#endif

const char *curve_dir = NULL;

//  The main thread's. Each is NULL as long as nobody needs it.
static zcert_t *server_cert, *client_cert;
static byte server_key[KEY_SIZE];  //  The public one, when there is a client_cert
static zsock_t *doorbell;          //  The pipe to the thread below
static pthread_t zap_thread;

static char *s_load (curve_role_t role)
{
    bool server = role == CURVE_SERVER, found;
    char *path = zsys_sprintf ("%s/server.key%s", curve_dir, server ? "_secret" : "");
    char *why =
        server ? keys_read_secret (path, &server_cert) : keys_read_public (path, server_key);
    zstr_free (&path);
    path = zsys_sprintf ("%s/client.key_secret", curve_dir);
    if (!why)
        why = server ? keys_search_list (curve_dir, NULL, &found)
                     : keys_read_secret (path, &client_cert);
    zstr_free (&path);
    return why;
}

//  -- The ZAP thread: a thread of its own, since the main thread waits for messages
//
//  Not a zactor: of that one cannot know when its thread has closed its last socket, and CZMQ's
//  exit waits 200 ms if that is late

//  A socket whose connections are watched
typedef struct {
    zsock_t *events;      //  NULL in door_t.passed_on
    bool server;          //  It is bound, so strangers come to it
    const char *failure;  //  What went wrong in the connection that ends next; NULL: nothing
    int broken;           //  Handshakes that ended without a word, since one succeeded
} watch_t;

typedef struct {
    zsock_t *zap;  //  libzmq asks here
    zpoller_t *poller;
    zlist_t *watches;
    watch_t passed_on[2];  //  Those that programs watch themselves: clients, servers
    zhash_t *peers;        //  File descriptor of a connection -> who is at its other end
    zhash_t *told;         //  What was said, so that it is not said again
} door_t;

//  One line on stderr, once for each pair of the first two
static void s_tell (door_t *self, const char *who, const char *what, const char *format, ...)
    CHECK_PRINTF (4);

static void s_tell (door_t *self, const char *who, const char *what, const char *format, ...)
{
    char *key = zsys_sprintf ("%s %s", who, what);
    size_t told = zhash_size (self->told);
    if (told <= TOLD_MAX && zhash_insert (self->told, key, self) == 0) {
        va_list args;
        va_start (args, format);
        if (told < TOLD_MAX)
            log_line (stderr, true, format, args);
        else
            warn_line ("%d refusals were told, others are not", TOLD_MAX);
        va_end (args);
    }
    zstr_free (&key);
}

//  libzmq has met a client with a key, and asks whether it may come in. As CZMQ's zauth would do,
//  but that keeps to itself whom it refuses, and ends the program when two files of the list hold
//  the same key (an assertion of zcertstore_insert).
static void s_serve_zap (door_t *self)
{
    //  [version][request id][domain][address][identity][mechanism][key]
    zframe_t *frames[7] = {NULL};
    zmsg_t *request = zmsg_recv (self->zap);
    if (!request)
        return;
    size_t count = 0;
    for (zframe_t *at = zmsg_first (request); at && count < 7; at = zmsg_next (request))
        frames[count++] = at;
    bool allowed = false;
    if (count == 7 && zframe_streq (frames[0], "1.0") && zframe_streq (frames[5], "CURVE") &&
        zframe_size (frames[6]) == KEY_SIZE) {
        char text[KEY_TEXT_SIZE + 1], *address = zframe_strdup (frames[3]);
        //  Of an ipc socket's peer libzmq makes ":uid:gid:pid"
        const char *who = *address == ':' ? LOCAL : address;
        zmq_z85_encode (text, zframe_data (frames[6]), KEY_SIZE);
        char *bad = keys_search_list (curve_dir, zframe_data (frames[6]), &allowed);
        if (bad)
            s_tell (self, "the list", bad, "%s", bad);
        if (!allowed)
            s_tell (self, who, "key", "refused %s: %s/clients does not have %s", who, curve_dir,
                    text);
        zstr_free (&bad);
        zstr_free (&address);
    }
    //  Reason, user id and metadata are empty: the client gets the number only
    char *id = count > 1 ? zframe_strdup (frames[1]) : strdup ("");
    zstr_sendx (self->zap, "1.0", id, allowed ? "200" : "400", "", "", "", NULL);
    zstr_free (&id);
    zmsg_destroy (&request);
}

//  Keeps the address of the peer of a connection that has just been accepted. If the peer has
//  disconnected by now, it stays unknown: only libzmq's draft API would tell.
static void s_remember_peer (door_t *self, const char *connection, int fd)
{
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    socklen_t size = sizeof address;
    char name[NI_MAXHOST] = "somebody";
    bool known = getpeername (fd, (struct sockaddr *) &address, &size) == 0;
    if (known && address.ss_family == AF_UNIX)
        snprintf (name, sizeof name, LOCAL);
    else if (known)
        getnameinfo ((struct sockaddr *) &address, size, name, sizeof name, NULL, 0,
                     NI_NUMERICHOST);
    zhash_update (self->peers, connection, name);
}

//  What a server can know of a handshake that has failed. Of two that do not speak the same, the
//  first to notice hangs up: so who has no key may be gone before it has told us that.
static const char *s_server_failure (int event, uint32_t reason)
{
    if (event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL)
        return "it does not finish the handshake; perhaps it has no key";
    switch (reason) {
    case ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
        return "it comes without a key";
    case ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC:
        return "it has another server's key than ours";
    default:
        return "it breaks the rules of the handshake";
    }
}

//  An event of a bound socket. A client without a key, or with another server's key, is refused
//  before ZAP is asked. One event says so, but not which client it was; the next event is the
//  end of the same connection, and names it. So the two are joined there.
static void s_server_event (door_t *self, watch_t *watch, int event, uint32_t value)
{
    char connection[16];
    snprintf (connection, sizeof connection, "%u", value);
    if (event == ZMQ_EVENT_ACCEPTED) {
        s_remember_peer (self, connection, (int) value);
    } else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL ||
               event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL) {
        watch->failure = s_server_failure (event, value);
    } else if (event == ZMQ_EVENT_DISCONNECTED) {
        const char *known = zhash_lookup (self->peers, connection);
        const char *who = known ? known : "somebody";
        if (watch->failure)
            s_tell (self, who, watch->failure, "refused %s: %s", who, watch->failure);
        watch->failure = NULL;
        zhash_delete (self->peers, connection);
    }
}

//  Of a socket that connects. It is told the reason only when its key is not on the list; and, as a
//  server that has refused it for that is not tried again by libzmq, it has to be told.
static void s_client_event (door_t *self, watch_t *watch, int event, uint32_t value,
                            const char *endpoint)
{
    if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
        watch->broken = 0;
    } else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) {
        s_tell (self, endpoint, "key", "%s refused us: our key is not on its list", endpoint);
    } else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL &&
               value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH) {
        s_tell (self, endpoint, "open", "%s has no CURVE, so we do not talk to it", endpoint);
    } else if (event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL ||
               (event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL && ++watch->broken == BROKEN_MAX)) {
        s_tell (self, endpoint, "broken",
                "%s does not finish the handshake: is %s/server.key its key?", endpoint, curve_dir);
    }
}

//  Two frames: event and value, and the endpoint; see zmq_socket_monitor(3). Returns the event.
static uint16_t s_read_event (zmsg_t *message, uint32_t *value)
{
    uint16_t event;
    const byte *data = zframe_data (zmsg_first (message));
    memcpy (&event, data, sizeof event);
    memcpy (value, data + sizeof event, sizeof *value);
    return event;
}

static uint16_t s_serve_event (door_t *self, watch_t *watch, zmsg_t *message)
{
    uint32_t value;
    uint16_t event = s_read_event (message, &value);
    char *endpoint = zframe_strdup (zmsg_last (message));
    if (watch->server)
        s_server_event (self, watch, event, value);
    else
        s_client_event (self, watch, event, value, endpoint);
    zstr_free (&endpoint);
    return event;
}

static void s_serve_watch (door_t *self, zsock_t *events)
{
    zmsg_t *message = zmsg_recv (events);
    watch_t *watch = zlist_first (self->watches);
    while (watch->events != events)
        watch = zlist_next (self->watches);
    if (message && s_serve_event (self, watch, message) == ZMQ_EVENT_MONITOR_STOPPED) {
        zpoller_remove (self->poller, events);
        zlist_remove (self->watches, watch);
        zsock_destroy (&watch->events);
        free (watch);
    }
    zmsg_destroy (&message);
}

//  [role][where its events are], or [role] and an event's two frames. False: the end.
static bool s_serve_pipe (door_t *self, zsock_t *pipe)
{
    zmsg_t *message = zmsg_recv (pipe);
    char *role = message ? zmsg_popstr (message) : NULL;
    bool server = role && streq (role, "server"), more = role && !streq (role, "$TERM");
    zstr_free (&role);
    if (more && zmsg_size (message) == 1) {
        watch_t *watch = zmalloc (sizeof *watch);
        char *where = zmsg_popstr (message);
        watch->server = server;
        watch->events = zsock_new (ZMQ_PAIR);
        zsock_connect (watch->events, "%s", where);
        zlist_append (self->watches, watch);
        zpoller_add (self->poller, watch->events);
        zstr_free (&where);
    } else if (more) {
        s_serve_event (self, &self->passed_on[server], message);
    }
    zmsg_destroy (&message);
    return more;
}

static void *s_zap_thread (void *args)
{
    zsock_t *pipe = args;
    door_t self = {.zap = zsock_new (ZMQ_REP),
                   .watches = zlist_new (),
                   .passed_on = {{.server = false}, {.server = true}},
                   .peers = zhash_new (),
                   .told = zhash_new ()};
    zhash_autofree (self.peers);
    //  This is where libzmq looks for somebody to ask. Nobody can be there before us, and from the
    //  signal on no client gets past us.
    int bound = zsock_bind (self.zap, "inproc://zeromq.zap.01");
    if (bound == -1)
        warn_line ("cannot ask for keys: %s", zmq_strerror (zmq_errno ()));
    self.poller = zpoller_new (pipe, self.zap, NULL);
    zpoller_set_nonstop (self.poller, true);  //  Also while the program says goodbye
    zsock_signal (pipe, 0);

    for (bool more = true; more;) {
        void *ready = zpoller_wait (self.poller, -1);
        if (ready == pipe)
            more = s_serve_pipe (&self, pipe);
        else if (ready == self.zap)
            s_serve_zap (&self);
        else if (ready)
            s_serve_watch (&self, ready);
    }
    zpoller_destroy (&self.poller);
    for (watch_t *watch; (watch = zlist_pop (self.watches));) {
        zsock_destroy (&watch->events);
        free (watch);
    }
    zlist_destroy (&self.watches);
    zhash_destroy (&self.peers);
    zhash_destroy (&self.told);
    zsock_destroy (&self.zap);
    zsock_destroy (&pipe);
    return NULL;
}

//  Ctrl-C is the main thread's business, and that must not be interrupted where it deals with the
//  ZAP thread. The thread inherits the mask.
static void s_block_signals (sigset_t *before)
{
    sigset_t set;
    sigemptyset (&set);
    sigaddset (&set, SIGINT);
    sigaddset (&set, SIGTERM);
    sigaddset (&set, SIGALRM);
    pthread_sigmask (SIG_BLOCK, &set, before);
}

//  The program has closed its sockets by now
static void s_on_exit (void)
{
    sigset_t before;
    s_block_signals (&before);
    if (doorbell && zstr_send (doorbell, "$TERM") == 0)
        pthread_join (zap_thread, NULL);
    zsock_destroy (&doorbell);
    pthread_sigmask (SIG_SETMASK, &before, NULL);
    zcert_destroy (&server_cert);
    zcert_destroy (&client_cert);
}

//  -- What programs call

bool curve_load (curve_role_t role)
{
    if (!curve_dir)
        return true;
    static bool first = true;
    if (first) {
        zsys_init ();  //  Has an exit handler too, which closes all sockets: ours must come before
        atexit (s_on_exit);
    }
    first = false;
    char *why = NULL;
    struct stat status;
    if (!zsys_has_curve ())
        why = strdup ("--curve-dir: this libzmq was built without CURVE");
    else if (stat (curve_dir, &status) == -1)
        why = zsys_sprintf ("cannot read %s: %s", curve_dir, strerror (errno));
    else
        why = keys_check_mode (curve_dir, &status, S_IWGRP | S_IWOTH);
    if (!why && !(role == CURVE_SERVER ? server_cert : client_cert))
        why = s_load (role);
    if (why)
        warn_line ("%s", why);
    bool ok = !why;
    zstr_free (&why);
    return ok;
}

static const char *s_role (zsock_t *socket)
{
    return zsock_curve_server (socket) ? "server" : "client";
}

static void s_start_zap_thread (void)
{
    zsock_t *pipe;
    doorbell = zsys_create_pipe (&pipe);
    int error = pthread_create (&zap_thread, NULL, s_zap_thread, pipe);
    if (error == 0) {
        zsock_wait (doorbell);
        return;
    }
    warn_line ("cannot start the thread that asks for keys: %s", strerror (error));
    zsock_destroy (&pipe);
    zsock_destroy (&doorbell);
}

//  Lets the ZAP thread know where to hear of the connections
static void s_watch (zsock_t *socket)
{
    static int number = 0;  //  A name is free again only some time after its socket was closed
    sigset_t before;
    s_block_signals (&before);
    if (!doorbell)
        s_start_zap_thread ();
    if (doorbell) {
        char *where = zsys_sprintf ("inproc://curve-%d", number++);
        int events = CURVE_EVENTS | ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED |
                     ZMQ_EVENT_MONITOR_STOPPED;
        if (zmq_socket_monitor (zsock_resolve (socket), where, events) == -1 ||
            zstr_sendx (doorbell, s_role (socket), where, NULL) == -1)
            warn_line ("who is refused will not be told: %s", zmq_strerror (zmq_errno ()));
        zstr_free (&where);
    }
    pthread_sigmask (SIG_SETMASK, &before, NULL);
}

void curve_server (zsock_t *socket)
{
    if (!curve_dir)
        return;
    zcert_apply (server_cert, socket);
    zsock_set_curve_server (socket, 1);
    //  In its domain nobody gets in unless the ZAP thread says so. Without the second option libzmq
    //  would let in who knows the server's key, were there no ZAP thread.
    zsock_set_zap_domain (socket, "curve");
    int enforce = 1;
    if (zmq_setsockopt (zsock_resolve (socket), ZMQ_ZAP_ENFORCE_DOMAIN, &enforce, sizeof enforce) ==
        -1)
        warn_line ("ZAP cannot be made mandatory: %s", zmq_strerror (zmq_errno ()));
    s_watch (socket);
}

void curve_client (zsock_t *socket)
{
    if (!curve_dir)
        return;
    zcert_apply (client_cert, socket);
    zsock_set_curve_serverkey_bin (socket, server_key);
    s_watch (socket);
}

//  We have no keys, and connect to somebody who wants them. libzmq does not try there again, so
//  this would be silence. Told once: a program may ask with socket after socket.
static void s_open_event (zmsg_t *event)
{
    static bool told = false;
    uint32_t reason;
    if (told || s_read_event (event, &reason) != ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL ||
        reason != ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
        return;
    told = true;
    char *endpoint = zframe_strdup (zmsg_last (event));
    warn_line ("%s: the other end wants a key, and we have none (--curve-dir)", endpoint);
    zstr_free (&endpoint);
}

void curve_event (zsock_t *socket, zmsg_t *event)
{
    if (!curve_dir && !zsock_endpoint (socket))  //  Only who binds has that
        s_open_event (event);
    if (!doorbell)
        return;
    zmsg_t *copy = zmsg_dup (event);
    zmsg_pushstr (copy, s_role (socket));
    zmsg_send (&copy, doorbell);
    zmsg_destroy (&copy);  //  NULL by now, unless a signal came
}
