//  SPDX-License-Identifier: MIT
//  req_correlate.c - the option that lets a REQ ask again also puts a frame into its requests
//
//  Run:   build/traps/req_correlate
//  vLLM:  vllm/distributed/kv_events.py ZmqEventPublisher._service_replay
//         It wants three frames, and only warns when there are more.

#include "trap.h"

//  How many frames the server sees of a REQ's request of one frame
static size_t s_frames (bool correlate)
{
    zsock_t *router = zsock_new_router ("@tcp://127.0.0.1:!");
    zsock_t *req = zsock_new (ZMQ_REQ);
    zsock_set_req_relaxed (req, 1);
    zsock_set_req_correlate (req, correlate);
    zsock_connect (req, "%s", zsock_endpoint (router));
    zstr_send (req, "question");
    zmsg_t *request = zmsg_recv (router);
    size_t frames = request ? zmsg_size (request) : 0;
    zmsg_destroy (&request);
    zsock_destroy (&req);
    zsock_destroy (&router);
    return frames;
}

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "req_correlate", "ZMQ_REQ_CORRELATE changes what is on the wire");

    size_t with = s_frames (true);
    trap_shown (with == 4, "REQ_CORRELATE: the server gets [identity][number][empty][question]");

    size_t without = s_frames (false);
    trap_cured (without == 3, "without it: [identity][empty][question], %zu frames", without);

    return trap_end (
        "The number tells a late reply from the one that is waited for. A REP gives it",
        "back and is fine; a server that counts frames is not. Take a new REQ instead.");
}
