//  SPDX-License-Identifier: MIT
//  secure_server.c - Demo 1.3: basic_server with CURVE: encrypted, and only listed clients get in
//
//  CURVE encrypts with the keys of both sides. For each new connection libzmq asks CZMQ's zauth, a
//  thread of this program, whether the client's public key is in the folder keys/clients.
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
    const char *endpoint = "tcp://127.0.0.1:5555", *keys = "keys";
    int count = 0, answered = 0, bad = 0;
    args_read (argc, argv, "REP: as basic_server, for listed clients only",
               (arg_t[]){{"endpoint", "where clients connect", .text = &endpoint},
                         {"keys", "folder made by make keys", .text = &keys},
                         {"count", "requests to answer; 0: until Ctrl-C", .number = &count},
                         {0}});

    zcert_t *own = s_load (keys, "server.key_secret");
    char *clients = zsys_sprintf ("%s/clients", keys);
    if (access (clients, R_OK) == -1)
        args_fail (1, "cannot read %s: %s", clients, strerror (errno));
    zactor_t *auth = zactor_new (zauth, NULL);
    zstr_sendx (auth, "CURVE", clients, NULL);
    zsock_wait (auth);  //  It must know the clients before the socket binds

    zsock_t *server = zsock_new (ZMQ_REP);
    zcert_apply (own, server);
    zsock_set_curve_server (server, 1);
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
            fprintf (stderr, "secure_server: bad request: not one frame with a msgpack str\n");
            bad++;
        }
        zframe_t *reply = mp_frame (&out);
        zframe_send (&reply, server, 0);  //  The reply is libzmq's now, and `reply` NULL
        zstr_free (&text);
        msgpack_unpacked_destroy (&doc);
        zmsg_destroy (&request);
    }
    printf ("secure_server: %d answered, %d bad\n", answered, bad);
    zsock_destroy (&server);
    zactor_destroy (&auth);
    zcert_destroy (&own);
    zstr_free (&clients);
    return EXIT_SUCCESS;
}
