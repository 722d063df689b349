//  SPDX-License-Identifier: MIT

#include "kv/kv_link.h"
#include "lib/curve.h"
#include "lib/keepalive.h"
#include "lib/log.h"
#include "lib/monitor.h"

//  What exceeds this waits in the publisher, whose PUB keeps 100,000 batches by default. So a burst
//  takes a few MB of our memory.
#define SUB_HWM 500

//  A host that does not answer is given up, and tried again
#define CONNECT_TIMEOUT_MS 10000

//  libzmq itself does not connect again before this. With -1 it would not at all, but drop what has
//  come and is not read yet.
#define NEVER_MS 86400000

//  A host name that cannot be resolved gives no event at all
#define RESOLVE_MS 2000

//  Connections that a link can tell apart when it binds
#define PEERS 1024

struct kv_link {
    bool bind;
    zsock_t *sub, *events;
    bool dialled;      //  libzmq has tried to connect
    bool begun;        //  One that connects: it has
    const char *why;   //  The handshake has failed for this reason; NULL: it has not
    int accepted;      //  One that binds: the newest TCP connection
    int peers[PEERS];  //  Those whose handshake is done
    size_t peer_count;
};

static bool s_connect (kv_link_t *self, const char *endpoint)
{
    zsock_set_reconnect_ivl (self->sub, NEVER_MS);
    zmq_setsockopt (zsock_resolve (self->sub), ZMQ_CONNECT_TIMEOUT, &(int){CONNECT_TIMEOUT_MS},
                    sizeof (int));
    return log_connected (endpoint, zsock_connect (self->sub, "%s", endpoint));
}

kv_link_t *kv_link_new (const char *endpoint, bool bind, const char *const *topics,
                        size_t topic_count)
{
    kv_link_t *self = zmalloc (sizeof *self);
    self->bind = bind;
    self->sub = zsock_new (ZMQ_SUB);
    if (bind)
        curve_server (self->sub);
    else
        curve_client (self->sub);
    zsock_set_rcvtimeo (self->sub, 0);  //  A receive does not wait: the poller does
    zsock_set_maxmsgsize (self->sub, MP_MAX_FRAME);
    zsock_set_rcvhwm (self->sub, SUB_HWM);
    keepalive_probe (self->sub);  //  A publisher whose machine is gone is detected after 12 s
    for (size_t i = 0; i < topic_count; i++)
        zsock_set_subscribe (self->sub, topics[i]);

    self->events =
        monitor_new (self->sub, ZMQ_EVENT_CONNECTED | ZMQ_EVENT_CONNECT_DELAYED | ZMQ_EVENT_CLOSED);
    zsock_set_rcvtimeo (self->events, 0);
    bool ok = bind ? log_bound (self->sub, endpoint, zsock_bind (self->sub, "%s", endpoint))
                   : s_connect (self, endpoint);
    if (!ok)
        kv_link_destroy (&self);
    return self;
}

void kv_link_destroy (kv_link_t **self_p)
{
    kv_link_t *self = *self_p;
    if (!self)
        return;
    monitor_stop (self->sub);
    zsock_destroy (&self->events);
    zsock_destroy (&self->sub);
    free (self);
    *self_p = NULL;
}

zsock_t *kv_link_sub (kv_link_t *self)
{
    return self->sub;
}

zsock_t *kv_link_events (kv_link_t *self)
{
    return self->events;
}

int kv_link_peer (const kv_link_t *self, kv_frames_t *message)
{
    return self->bind && message->count > 0 ? zmq_msg_get (&message->frames[0], ZMQ_SRCFD) : 0;
}

bool kv_link_is_stuck (const kv_link_t *self, int64_t age)
{
    return !self->bind && !self->dialled && age >= RESOLVE_MS;
}

//  Takes a connection off the list. True: it was there.
static bool s_forget_peer (kv_link_t *self, int peer)
{
    for (size_t i = 0; i < self->peer_count; i++) {
        if (self->peers[i] != peer)
            continue;
        self->peers[i] = self->peers[--self->peer_count];
        return true;
    }
    return false;
}

static kv_link_news_t s_begun (kv_link_t *self)
{
    self->begun = true;
    if (self->bind && self->peer_count < PEERS)
        self->peers[self->peer_count++] = self->accepted;
    return (kv_link_news_t){.event = KV_LINK_BEGUN, .peer = self->bind ? self->accepted : 0};
}

kv_link_news_t kv_link_news (kv_link_t *self)
{
    int32_t value;
    kv_link_news_t news = {.event = KV_LINK_OTHER};
    switch (monitor_recv (self->sub, self->events, &value)) {
    case 0:
        news.event = KV_LINK_NOTHING;
        break;
    case ZMQ_EVENT_CONNECT_DELAYED:
    case ZMQ_EVENT_CONNECTED:
        self->dialled = true;
        break;
    case ZMQ_EVENT_ACCEPTED:
        self->accepted = value;
        break;
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        return s_begun (self);
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        self->why = "it wants a key, or does not accept ours";
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        self->why = "it is not a publisher";
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        self->why = "the handshake has failed";
        break;
    case ZMQ_EVENT_DISCONNECTED:
        news.event = KV_LINK_ENDED;
        news.peer = self->bind ? value : 0;
        news.begun = self->bind ? s_forget_peer (self, value) : self->begun;
        if (!news.begun && !self->bind) {
            news.event = KV_LINK_REFUSED;
            news.why = self->why ? self->why : "it has hung up in the handshake";
        }
        break;
    case ZMQ_EVENT_CLOSED:
        if (!self->bind)
            news.event = KV_LINK_ENDED;
        break;
    default:
        break;
    }
    return news;
}
