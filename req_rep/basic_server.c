//  SPDX-License-Identifier: MIT
//  basic_server.c - REP socket: receives a request, answers it, waits for the next
//
//  Binds tcp://127.0.0.1:5555 for any number of basic_client. A REP must answer each request before
//  it can receive another, so a request that makes no sense is answered as well.
//  Run:   build/req_rep/basic_server
//  vLLM:  vllm/distributed/kv_transfer/kv_connector/v1/mooncake/store/worker.py LookupKeyServer
//         It answers like this, unknown requests included.

#include "lib/curve.h"
#include "lib/keepalive.h"
#include "lib/options.h"
#include "lib/log.h"
#include "pingpong.h"

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5555";
    int count = 0;
    const option_t options[] = {
        OPTION_BIND ("endpoint", &endpoint, "where to listen"),
        OPTION_INT ("count", &count, 0, INT_MAX, "requests to answer; 0: until stopped"),
        OPTION_END,
    };
    const about_t about = {
        .name = "basic_server",
        .purpose = "REP: prints what it gets, answers \"pong: <message>\"",
        .example = "  build/req_rep/basic_server\n  build/req_rep/basic_client --message hello",
        .at_risk = "requests, and their answers",
    };
    options_read (argc, argv, &about, options);

    zsock_t *rep = zsock_new (ZMQ_REP);
    curve_server (rep);
    zsock_set_maxmsgsize (rep, MP_MAX_FRAME);
    keepalive_probe (rep);  //  A client whose machine has vanished is missed after 12 s
    if (!log_bound (rep, endpoint, zsock_bind (rep, "%s", endpoint))) {
        zsock_destroy (&rep);
        return EXIT_STOPPED_OR_FAILED;
    }
    zsock_set_linger (rep, 250);  //  The last answer gets so many ms to leave when we exit

    int served = 0, bad = 0;
    while (!zsys_interrupted && (count == 0 || served < count)) {
        zmsg_t *request = zmsg_recv (rep);
        if (!request)
            break;  //  A signal came
        log_recv ("client", rep, request);

        mp_error_t why;
        char *text = pingpong_text (request, &why);
        if (text) {
            print_line ("got: %s", text);
        } else {
            warn_line ("bad request: %s", why.text);
            bad++;
        }
        zmsg_t *reply = pingpong_reply (text, &why);
        log_send ("client", rep, reply);
        zmsg_send (&reply, rep);  //  Destroys the reply. Of a client that is gone we hear nothing:
                                  //  libzmq drops the reply to it
        zstr_free (&text);
        zmsg_destroy (&request);
        served++;
    }
    print_summary ("%d answered, %d bad", served - bad, bad);
    zsock_destroy (&rep);
    return EXIT_SUCCESS;
}
