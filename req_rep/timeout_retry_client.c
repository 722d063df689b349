//  SPDX-License-Identifier: MIT
//  timeout_retry_client.c - Demo 1.1: a REQ socket with a receive timeout, rebuilt for each retry
//
//  A REQ that has sent must receive before it can send again; until then libzmq refuses to send
//  (EFSM). So after a timeout we close the socket and ask again over a new one. Closing also drops
//  a late reply, so it cannot be taken for the reply to a later request.
//
//  Run:   build/req_rep/slow_server in one terminal, build/req_rep/timeout_retry_client in another
//  vLLM:  vllm/distributed/kv_transfer/kv_connector/v1/nixl/base_worker.py
//         NixlBaseConnectorWorker._nixl_handshake

#include "args.h"
#include "mp.h"

//  A new REQ socket, whose receive call waits at most timeout_ms
static zsock_t *s_connect (const char *endpoint, int timeout_ms)
{
    zsock_t *client = zsock_new (ZMQ_REQ);
    zsock_set_rcvtimeo (client, timeout_ms);
    if (zsock_connect (client, "%s", endpoint) == -1)
        args_fail (1, "cannot connect to %s: %s", endpoint, zmq_strerror (zmq_errno ()));
    return client;
}

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5555", *message = "ping";
    int timeout_ms = 1000, retries = 5, retry = 0, answered = 0;
    args_read (argc, argv, "REQ: after a timeout, asks again over a new socket",
               (arg_t[]){{"endpoint", "where the server listens", .text = &endpoint},
                         {"message", "what to send", .text = &message},
                         {"timeout-ms", "wait for a reply, ms", .number = &timeout_ms, .min = 1},
                         {"retries", "how often to ask again", .number = &retries},
                         {0}});

    zsock_t *client = s_connect (endpoint, timeout_ms);
    while (!zsys_interrupted && answered == 0) {
        msgpack_sbuffer out = {0};
        mp_put (&out, "s", message);
        zframe_t *request = mp_frame (&out);
        zframe_send (&request, client, 0);
        zframe_destroy (&request);

        zmsg_t *reply = zmsg_recv (client);
        if (!reply && zsys_interrupted)
            break;  //  Ctrl-C
        if (!reply && retry == retries) {
            fprintf (stderr, "timeout_retry_client: no reply from %s: gave up after %d retries\n",
                     endpoint, retries);
            break;
        }
        if (!reply) {
            printf ("timeout after %d ms, rebuilding the REQ socket, retry %d of %d\n", timeout_ms,
                    ++retry, retries);
            zsock_destroy (&client);
            client = s_connect (endpoint, timeout_ms);
            continue;
        }
        msgpack_unpacked doc;
        char *text = mp_text (mp_open (&doc, zmsg_size (reply) == 1 ? zmsg_first (reply) : NULL));
        if (!text)
            args_fail (1, "bad reply: not one frame with a msgpack str");
        printf ("%s\n", mp_printable (text));
        answered++;
        zstr_free (&text);
        msgpack_unpacked_destroy (&doc);
        zmsg_destroy (&reply);
    }
    printf ("timeout_retry_client: %d answered\n", answered);
    zsock_destroy (&client);
    return answered > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
