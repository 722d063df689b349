//  SPDX-License-Identifier: MIT
//  poller_client.c - Demo 1.2: the same as timeout_retry_client, and a poller does the waiting
//
//  A receive timeout belongs to one socket. A poller waits for any number of sockets and returns
//  one that can be read; so this is how a program with several sockets waits.
//
//  Run:   build/req_rep/slow_server in one terminal, build/req_rep/poller_client in another
//  vLLM:  vllm/v1/engine/core_client.py SyncMPClient.__init__

#include "args.h"
#include "mp.h"

//  A new REQ socket
static zsock_t *s_connect (const char *endpoint)
{
    zsock_t *client = zsock_new (ZMQ_REQ);
    if (zsock_connect (client, "%s", endpoint) == -1)
        args_fail (1, "cannot connect to %s: %s", endpoint, zmq_strerror (zmq_errno ()));
    return client;
}

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5555", *message = "ping";
    int timeout_ms = 1000, retries = 5, retry = 0, answered = 0;
    args_read (argc, argv, "REQ: waits with a poller, and asks again over a new socket",
               (arg_t[]){{"endpoint", "where the server listens", .text = &endpoint},
                         {"message", "what to send", .text = &message},
                         {"timeout-ms", "wait for a reply, ms", .number = &timeout_ms, .min = 1},
                         {"retries", "how often to ask again", .number = &retries},
                         {0}});

    zsock_t *client = s_connect (endpoint);
    zpoller_t *poller = zpoller_new (client, NULL);
    while (!zsys_interrupted && answered == 0) {
        msgpack_sbuffer out = {0};
        mp_put (&out, "s", message);
        zframe_t *request = mp_frame (&out);
        zframe_send (&request, client, 0);
        zframe_destroy (&request);

        zmsg_t *reply = zpoller_wait (poller, timeout_ms) == client ? zmsg_recv (client) : NULL;
        if (!reply && zsys_interrupted)
            break;  //  Ctrl-C
        if (!reply && retry == retries) {
            fprintf (stderr, "poller_client: no reply from %s: gave up after %d retries\n",
                     endpoint, retries);
            break;
        }
        if (!reply) {
            printf ("poll timeout after %d ms, retrying... (%d of %d)\n", timeout_ms, ++retry,
                    retries);
            zpoller_remove (poller, client);
            zsock_destroy (&client);
            client = s_connect (endpoint);
            zpoller_add (poller, client);
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
    printf ("poller_client: %d answered\n", answered);
    zpoller_destroy (&poller);
    zsock_destroy (&client);
    return answered > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
