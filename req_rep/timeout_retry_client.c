//  SPDX-License-Identifier: MIT
//  timeout_retry_client.c - REQ socket with a receive timeout, thrown away and rebuilt to try again
//
//  After a timeout a REQ is stuck: it has sent, so it must receive, and a second send is refused
//  (EFSM). The cure is a new socket. Whatever the server still answers to the old one is dropped
//  with it, so a late reply cannot be taken for the reply to a later request.
//  Run:   build/req_rep/timeout_retry_client        (beside build/req_rep/slow_server)
//  vLLM:  vllm/distributed/kv_transfer/kv_connector/v1/nixl/base_worker.py NixlBaseConnectorWorker
//         Its _nixl_handshake sets RCVTIMEO on a REQ that lives for one handshake.

#include "lib/curve.h"
#include "lib/options.h"
#include "lib/log.h"
#include "pingpong.h"

//  A new REQ that gives up receiving after timeout_ms; NULL when it cannot be made
static zsock_t *s_new_req (const char *endpoint, int timeout_ms)
{
    zsock_t *req = zsock_new (ZMQ_REQ);
    curve_client (req);
    zsock_set_maxmsgsize (req, MP_MAX_FRAME);
    zsock_set_rcvtimeo (req, timeout_ms);
    if (!log_connected (endpoint, zsock_connect (req, "%s", endpoint)))
        zsock_destroy (&req);
    //  CZMQ's linger is 0: zsock_destroy forgets a request that has not left yet
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
        OPTION_INT ("timeout-ms", &timeout_ms, 1, INT_MAX, "how long to wait for each reply, ms"),
        OPTION_INT ("retries", &retries, 0, INT_MAX, "how often to try again"),
        OPTION_END,
    };
    const about_t about = {
        .name = "timeout_retry_client",
        .purpose = "REQ with a receive timeout; rebuilds the socket and retries",
        .example = "  build/req_rep/slow_server --delay-s 1.5 --delay-first-n 2\n"
                   "  build/req_rep/timeout_retry_client",
    };
    options_read (argc, argv, &about, options);

    bool answered = false;
    zsock_t *req = s_new_req (endpoint, timeout_ms);
    for (int tries = 0; req && !answered && !zsys_interrupted; tries++) {
        zmsg_t *request = pingpong_new (message);
        log_send ("server", req, request);
        zmsg_send (&request, req);
        zmsg_destroy (&request);  //  NULL by now, unless a signal came

        zmsg_t *reply = zmsg_recv (req);  //  NULL after timeout_ms, or when a signal came
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
            print_note ("timeout after %d ms, rebuilding the REQ socket, retry %d of %d",
                        timeout_ms, tries + 1, retries);
            zsock_destroy (&req);
            req = s_new_req (endpoint, timeout_ms);
        }
    }
    print_summary ("%d answered", answered ? 1 : 0);
    zsock_destroy (&req);
    return answered ? EXIT_SUCCESS : EXIT_FAILURE;
}
