//  SPDX-License-Identifier: MIT
//  kv_link.h - a SUB for one connection to a publisher, or for all that connect to us
//
//  libzmq connects again by itself after most cuts, and what comes by the new connection then lies
//  in the same queue as the rest of the old one. So a link that connects does so once: when its
//  connection has ended, all that is left in its SUB was sent before the cut, and its owner makes a
//  new link. That also covers the cuts after which libzmq never connects again: a peer of the wrong
//  type, a broken handshake, a frame above the limit
//  (https://github.com/zeromq/libzmq/issues/4196).

#pragma once

#include "kv/kv_events.h"

typedef struct kv_link kv_link_t;

//  Connects to `endpoint`, or binds it, and subscribes to these prefixes. NULL when the endpoint
//  cannot be used, which stderr has been told. A link that binds prints where it listens.
kv_link_t *kv_link_new (const char *endpoint, bool bind, const char *const *topics,
                        size_t topic_count);
void kv_link_destroy (kv_link_t **self_p);

//  Both belong to the link: what to poll, the first to receive from without waiting
zsock_t *kv_link_sub (kv_link_t *self);
zsock_t *kv_link_events (kv_link_t *self);

typedef enum {
    KV_LINK_NOTHING,  //  No news is there now
    KV_LINK_OTHER,    //  Nothing that matters
    KV_LINK_BEGUN,    //  A publisher is connected
    KV_LINK_REFUSED,  //  A peer was there, and the handshake with it has failed; `why` is set
    KV_LINK_ENDED     //  The connection has ended, or could not be made
} kv_link_event_t;

typedef struct {
    kv_link_event_t event;
    int peer;         //  BEGUN and ENDED: which connection; as kv_link_peer
    bool begun;       //  ENDED: it had begun before
    const char *why;  //  A constant, or NULL
} kv_link_news_t;

//  Takes the next news. A link that connects has ended with KV_LINK_ENDED; one that binds goes on.
kv_link_news_t kv_link_news (kv_link_t *self);

//  By which connection a message came, for a link that binds; 0 for one that connects
int kv_link_peer (const kv_link_t *self, kv_frames_t *message);

//  True when the connection should have begun by now, so that a new link may have more luck. `age`
//  is that of the link, ms.
bool kv_link_is_stuck (const kv_link_t *self, int64_t age);
