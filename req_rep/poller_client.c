//  SPDX-License-Identifier: MIT
//  poller_client.c - the same patience, but the wait is a poller's
//
//  A poller asks "is a reply there?" and leaves the receiving to us. It can watch many sockets at
//  once, which is why vLLM's front-end and engines wait like this. RCVTIMEO is for one socket.
//  Run:   build/req_rep/poller_client               (beside build/req_rep/slow_server)
//  vLLM:  vllm/v1/engine/core_client.py SyncMPClient.__init__: one zmq.Poller over two sockets

#include "lib/curve.h"
#include "lib/options.h"
#include "lib/log.h"
#include "pingpong.h"

//  A new REQ; NULL when it cannot be made
static zsock_t *s_new_req (const char *endpoint)
{
    zsock_t *req = zsock_new (ZMQ_REQ);
    curve_client (req);
    zsock_set_maxmsgsize (req, MP_MAX_FRAME);
    if (!log_connected (endpoint, zsock_connect (req, "%s", endpoint)))
        zsock_destroy (&req);
    return req;
}

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5555";
    const char *message = "ping";
    int timeout_ms = 1000, retries = 5;
    const option_t options[] = {
        OPTION_CONNECT ("endpoint", &endpoint, "where the server listens"),
        OPTION_TEXT ("message", &message, "what to send"),
        OPTION_INT ("timeout-ms", &timeout_ms, 1, INT_MAX, "how long to poll for each reply, ms"),
        OPTION_INT ("retries", &retries, 0, INT_MAX, "how often to try again"),
        OPTION_END,
    };
    const about_t about = {
        .name = "poller_client",
        .purpose = "REQ with a poller's timeout; rebuilds the socket and retries",
        .example = "  build/req_rep/slow_server --delay-s 1.5 --delay-first-n 2\n"
                   "  build/req_rep/poller_client",
    };
    options_read (argc, argv, &about, options);

    bool answered = false;
    zsock_t *req = s_new_req (endpoint);
    for (int tries = 0; req && !answered && !zsys_interrupted; tries++) {
        zmsg_t *request = pingpong_new (message);
        log_send ("server", req, request);
        zmsg_send (&request, req);
        zmsg_destroy (&request);  //  NULL by now, unless a signal came

        zpoller_t *poller = zpoller_new (req, NULL);
        void *ready = poller ? zpoller_wait (poller, timeout_ms) : NULL;
        zpoller_destroy (&poller);  //  It must not outlive the socket that it watches

        zmsg_t *reply = ready == req ? zmsg_recv (req) : NULL;
        if (reply) {
            log_recv ("server", req, reply);
            mp_error_t why;
            char *text = pingpong_text (reply, &why);
            zmsg_destroy (&reply);
            if (!text) {
                warn_line ("bad reply: %s", why.text);
                break;
            }
            print_line ("%s", text);
            zstr_free (&text);
            answered = true;
        } else if (!zsys_interrupted) {
            if (tries == retries) {
                warn_line ("no reply from %s: gave up after %d retries", endpoint, retries);
                break;
            }
            print_note ("poll timeout after %d ms, retrying... (%d of %d)", timeout_ms, tries + 1,
                        retries);
            zsock_destroy (&req);  //  Stuck as in Demo 1.1: a poller does not change that
            req = s_new_req (endpoint);
        }
    }
    print_summary ("%d answered", answered ? 1 : 0);
    zsock_destroy (&req);
    return answered ? EXIT_SUCCESS : EXIT_FAILURE;
}
