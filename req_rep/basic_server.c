//  SPDX-License-Identifier: MIT
//  basic_server.c - Demo 1: a REP socket that answers each request
//
//  A REP must send one reply for each request before it can receive the next. So a request that
//  cannot be read gets a reply too: the map {"error": why}.
//
//  Run:   build/req_rep/basic_server in one terminal, build/req_rep/basic_client in another
//  vLLM:  vllm/distributed/kv_transfer/kv_connector/v1/mooncake/store/worker.py LookupKeyServer

#include "args.h"
#include "mp.h"

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5555";
    int count = 0, answered = 0, bad = 0;
    args_read (argc, argv, "REP: answers each request with \"pong: <message>\"",
               (arg_t[]){{"endpoint", "where clients connect", .text = &endpoint},
                         {"count", "requests to answer; 0: until Ctrl-C", .number = &count},
                         {0}});

    zsock_t *server = zsock_new (ZMQ_REP);
    if (zsock_bind (server, "%s", endpoint) == -1)
        args_fail (1, "cannot listen on %s: %s", endpoint, zmq_strerror (zmq_errno ()));
    args_print_listening (server);
    zsock_set_linger (server, 500);  //  ms for the last reply to leave; CZMQ's default is none

    while (!zsys_interrupted && (count == 0 || answered + bad < count)) {
        zmsg_t *request = zmsg_recv (server);
        if (!request)
            break;  //  Ctrl-C
        msgpack_unpacked doc;
        char *text =
            mp_text (mp_open (&doc, zmsg_size (request) == 1 ? zmsg_first (request) : NULL));
        msgpack_sbuffer out = {0};
        if (text) {
            char *pong = zsys_sprintf ("pong: %s", text);
            mp_put (&out, "s", pong);
            zstr_free (&pong);
            printf ("got: %s\n", mp_printable (text));
            answered++;
        } else {
            mp_put (&out, "{ss", 1, "error", "not one frame with a msgpack str");
            fprintf (stderr, "basic_server: bad request: not one frame with a msgpack str\n");
            bad++;
        }
        zframe_t *reply = mp_frame (&out);
        zframe_send (&reply, server, 0);  //  The reply is libzmq's now, and `reply` NULL
        zstr_free (&text);
        msgpack_unpacked_destroy (&doc);
        zmsg_destroy (&request);
    }
    printf ("basic_server: %d answered, %d bad\n", answered, bad);
    zsock_destroy (&server);
    return EXIT_SUCCESS;
}
