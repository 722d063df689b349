//  SPDX-License-Identifier: MIT
//  slow_server.c - Demos 1.1 and 1.2: a REP socket that delays its first answers
//
//  It is basic_server with a delay. While one request is delayed the next ones wait in libzmq's
//  queue: a REP serves one at a time. If a client has closed its socket, its answer is dropped.
//
//  Run:   build/req_rep/slow_server --delay-s 1.5 --delay-first-n 2 in one terminal,
//         build/req_rep/timeout_retry_client in another

#include "args.h"
#include "mp.h"

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5555";
    double delay_s = 1.5;
    int delay_first_n = 2, count = 0, answered = 0, bad = 0;
    args_read (argc, argv, "REP: delays its first answers",
               (arg_t[]){{"endpoint", "where clients connect", .text = &endpoint},
                         {"delay-s", "delay of an answer, s", .decimal = &delay_s, .max = 3600},
                         {"delay-first-n", "answers to delay", .number = &delay_first_n},
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
            if (answered + bad < delay_first_n) {
                printf ("got: %s, answering in %g s\n", mp_printable (text), delay_s);
                zmq_poll (NULL, 0, (long) (delay_s * 1000));  //  Simulates work; Ctrl-C ends it
            } else
                printf ("got: %s, answering now\n", mp_printable (text));
            answered++;
        } else {
            mp_put (&out, "{ss", 1, "error", "not one frame with a msgpack str");
            fprintf (stderr, "slow_server: bad request: not one frame with a msgpack str\n");
            bad++;
        }
        zframe_t *reply = mp_frame (&out);
        zframe_send (&reply, server, 0);  //  The reply is libzmq's now, and `reply` NULL
        zstr_free (&text);
        msgpack_unpacked_destroy (&doc);
        zmsg_destroy (&request);
    }
    printf ("slow_server: %d answered, %d bad\n", answered, bad);
    zsock_destroy (&server);
    return EXIT_SUCCESS;
}
