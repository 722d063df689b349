//  SPDX-License-Identifier: MIT

#include "handshake.h"

void handshake_set_identity (zsock_t *dealer, int engine)
{
    //  zsock_set_identity takes a C string, which cannot hold 00 00, the identity of engine 0
    byte identity[2] = {(byte) engine, (byte) (engine >> 8)};
    zmq_setsockopt (zsock_resolve (dealer), ZMQ_ROUTING_ID, identity, sizeof identity);
}

zsock_t *handshake_watch_new (zsock_t *dealer, int events)
{
    static int number = 0;  //  Each needs an endpoint of its own
    char *endpoint = zsys_sprintf ("inproc://events-%d", number++);
    zmq_socket_monitor (zsock_resolve (dealer), endpoint, events);
    zsock_t *self = zsock_new (ZMQ_PAIR);
    zsock_connect (self, "%s", endpoint);
    zstr_free (&endpoint);
    return self;
}

void handshake_watch_destroy (zsock_t **self_p, zsock_t *dealer)
{
    zmq_socket_monitor (zsock_resolve (dealer), NULL, 0);
    zsock_destroy (self_p);
}

zframe_t *handshake_registration (int engine)
{
    msgpack_sbuffer out = {0};
    mp_put (&out, "{sisisisisisisisisisisisisfsssssssn", 17, "max_model_len", 4096,
            "num_gpu_blocks", 1024, "block_size", 16, "max_num_seqs", 256, "max_num_batched_tokens",
            4096, "world_size", 1, "data_parallel_size", 1, "tensor_parallel_size", 1,
            "pipeline_parallel_size", 1, "decode_context_parallel_size", 1, "data_parallel_rank",
            engine, "max_loras", 0, "supports_lora", "dtype", "bfloat16", "vllm_version", "0.33.0",
            "instance_id", "toy", "dp_stats_address");
    return mp_frame (&out);
}

int handshake_engine (zmsg_t *message, int engines)
{
    msgpack_unpacked doc;
    zframe_t *identity = zmsg_first (message), *ready = zmsg_next (message);
    const msgpack_object *map = mp_open (&doc, ready);
    bool good = zmsg_size (message) == 2 && zframe_size (identity) == 2 &&
                ((map && map->type == MSGPACK_OBJECT_MAP) || zframe_size (ready) == 0);
    msgpack_unpacked_destroy (&doc);
    int engine = good ? zframe_data (identity)[0] | zframe_data (identity)[1] << 8 : -1;
    return engine < engines ? engine : -1;
}

zframe_t *handshake_status (const char *status)
{
    //  local: the front-end has started this engine. headless: it has no front-end of its own.
    msgpack_sbuffer out = {0};
    mp_put (&out, "{sssfst", 3, "status", status, "local", "headless");
    return mp_frame (&out);
}

zmsg_t *handshake_init (int engine, zsock_t *router, zsock_t *pull)
{
    byte identity[2] = {(byte) engine, (byte) (engine >> 8)};
    char *input = zsock_last_endpoint (router), *output = zsock_last_endpoint (pull);
    msgpack_sbuffer out = {0};
    mp_put (&out, "{s{s[ss[ssnsnsns{", 2, "addresses", 5, "inputs", 1, input, "outputs", 1, output,
            "coordinator_input", "coordinator_output", "frontend_stats_publish_address",
            "parallel_config", 0);
    zframe_t *init = mp_frame (&out);
    zmsg_t *message = zmsg_new ();
    zmsg_addmem (message, identity, sizeof identity);
    zmsg_append (message, &init);
    zstr_free (&input);
    zstr_free (&output);
    return message;
}

bool handshake_is (zframe_t *frame, const char *status)
{
    msgpack_unpacked doc;
    bool is = mp_is (mp_get (mp_open (&doc, frame), "status"), status);
    msgpack_unpacked_destroy (&doc);
    return is;
}

bool handshake_read_init (zframe_t *frame, char **input, char **output)
{
    msgpack_unpacked doc;
    const msgpack_object *addresses = mp_get (mp_open (&doc, frame), "addresses");
    *input = mp_text (mp_at (mp_get (addresses, "inputs"), 0));
    *output = mp_text (mp_at (mp_get (addresses, "outputs"), 0));
    msgpack_unpacked_destroy (&doc);
    if (*input && *output)
        return true;
    zstr_free (input);
    zstr_free (output);
    return false;
}
