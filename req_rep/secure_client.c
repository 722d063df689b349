//  SPDX-License-Identifier: MIT
//  secure_client.c - Demo 1.3: basic_client with CURVE: it knows the server by its public key
//
//  The client needs three keys: both of its own, and the server's public one. If a server has other
//  keys, or does not list our key, the connection is closed and libzmq tries again, without a word.
//
//  Run:   make keys; build/req_rep/secure_server in one terminal, build/req_rep/secure_client in
//         another
//  vLLM:  nothing: it does not encrypt its sockets, they belong on a network of their own

#include "args.h"
#include "mp.h"

//  Loads a key file, or ends the program
static zcert_t *s_load (const char *folder, const char *name)
{
    char *path = zsys_sprintf ("%s/%s", folder, name);
    const char *why = access (path, R_OK) == -1 ? strerror (errno) : "not a file of make keys";
    zcert_t *cert = zcert_load (path);
    if (!cert)
        args_fail (1, "cannot load %s: %s", path, why);
    zstr_free (&path);
    return cert;
}

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5555", *message = "ping", *keys = "keys";
    int count = 1, answered = 0;
    args_read (argc, argv, "REQ: as basic_client, to a server whose key it knows",
               (arg_t[]){{"endpoint", "where the server listens", .text = &endpoint},
                         {"keys", "folder made by make keys", .text = &keys},
                         {"message", "what to send", .text = &message},
                         {"count", "requests to send; 0: until Ctrl-C", .number = &count},
                         {0}});

    zcert_t *own = s_load (keys, "client.key_secret"), *server = s_load (keys, "server.key");
    zsock_t *client = zsock_new (ZMQ_REQ);
    zcert_apply (own, client);
    zsock_set_curve_serverkey (client, zcert_public_txt (server));
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
    printf ("secure_client: %d answered\n", answered);
    zsock_destroy (&client);
    zcert_destroy (&server);
    zcert_destroy (&own);
    return answered > 0 && answered >= count ? EXIT_SUCCESS : EXIT_FAILURE;
}
