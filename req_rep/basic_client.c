//  SPDX-License-Identifier: MIT
//  basic_client.c - REQ socket: sends a request, waits for the reply
//
//  Connects to basic_server. A REQ must send, then receive, then send: any other order is an error
//  (EFSM). Nothing here bounds the wait: with no server it waits for ever. Demo 1.1 cures that.
//  Run:   build/req_rep/basic_client
//  vLLM:  vllm/distributed/kv_transfer/kv_connector/v1/mooncake/store/worker.py
//         LookupKeyClient._lookup

#include "lib/curve.h"
#include "lib/keepalive.h"
#include "lib/options.h"
#include "lib/log.h"
#include "pingpong.h"

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5555";
    const char *message = "ping";
    int count = 1;
    const option_t options[] = {
        OPTION_CONNECT ("endpoint", &endpoint, "where the server listens"),
        OPTION_TEXT ("message", &message, "what to send"),
        OPTION_INT ("count", &count, 0, INT_MAX, "requests to send; 0: until stopped"),
        OPTION_END,
    };
    const about_t about = {
        .name = "basic_client",
        .purpose = "REQ: sends a message, prints the reply",
        .example = "  build/req_rep/basic_server\n  build/req_rep/basic_client --message hello",
    };
    options_read (argc, argv, &about, options);

    //  Connecting to nobody is no error: libzmq goes on trying, and keeps our request meanwhile
    zsock_t *req = zsock_new (ZMQ_REQ);
    curve_client (req);
    zsock_set_maxmsgsize (req, MP_MAX_FRAME);
    keepalive_ping (req);  //  Misses a server whose machine has vanished, but its reply no less
    if (!log_connected (endpoint, zsock_connect (req, "%s", endpoint))) {
        zsock_destroy (&req);
        return EXIT_FAILURE;
    }

    int answered = 0;
    bool failed = false;
    while (!zsys_interrupted && (count == 0 || answered < count)) {
        zmsg_t *request = pingpong_new (message);
        log_send ("server", req, request);
        zmsg_send (&request, req);
        zmsg_destroy (&request);  //  NULL by now, unless a signal came

        zmsg_t *reply = zmsg_recv (req);
        if (!reply)
            break;  //  A signal came
        log_recv ("server", req, reply);

        mp_error_t why;
        char *text = pingpong_text (reply, &why);
        zmsg_destroy (&reply);
        if (!text) {
            warn_line ("bad reply: %s", why.text);
            failed = true;
            break;
        }
        print_line ("%s", text);
        zstr_free (&text);
        answered++;
    }
    print_summary ("%d answered", answered);
    zsock_destroy (&req);
    return !failed && answered > 0 && answered >= count ? EXIT_SUCCESS : EXIT_FAILURE;
}
