//  SPDX-License-Identifier: MIT
//  basic_client.c - Demo 1: a REQ socket that sends a request and waits for the reply
//
//  A REQ must receive the reply before it can send again. If no reply comes it waits until Ctrl-C:
//  timeout_retry_client.c does better.
//
//  Run:   build/req_rep/basic_server in one terminal, build/req_rep/basic_client in another
//  vLLM:  vllm/distributed/kv_transfer/kv_connector/v1/mooncake/store/worker.py
//         LookupKeyClient._lookup

#include "args.h"
#include "mp.h"

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5555", *message = "ping";
    int count = 1, answered = 0;
    args_read (argc, argv, "REQ: sends a message and prints the reply",
               (arg_t[]){{"endpoint", "where the server listens", .text = &endpoint},
                         {"message", "what to send", .text = &message},
                         {"count", "requests to send; 0: until Ctrl-C", .number = &count},
                         {0}});

    zsock_t *client = zsock_new (ZMQ_REQ);
    if (zsock_connect (client, "%s", endpoint) == -1)
        args_fail (1, "cannot connect to %s: %s", endpoint, zmq_strerror (zmq_errno ()));

    while (!zsys_interrupted && (count == 0 || answered < count)) {
        msgpack_sbuffer out = {0};
        mp_put (&out, "s", message);
        zframe_t *request = mp_frame (&out);
        zframe_send (&request, client, 0);
        zframe_destroy (&request);

        zmsg_t *reply = zmsg_recv (client);
        if (!reply)
            break;  //  Ctrl-C
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
    printf ("basic_client: %d answered\n", answered);
    zsock_destroy (&client);
    return answered > 0 && answered >= count ? EXIT_SUCCESS : EXIT_FAILURE;
}
