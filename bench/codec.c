//  SPDX-License-Identifier: MIT
//  codec.c - packs or unpacks one kind of message again and again, and does nothing else
//
//  Run under `valgrind --tool=callgrind` with two counts, the difference is the instructions that a
//  message takes. They are the same on a busy machine and on an idle one.
//  Run:   build/bench/codec encode|decode SCHEMA SIZE COUNT
//         SIZE: blocks of a KV batch, tokens of a request's prompt, outputs of one step

#include "kv/kv_events.h"
#include "kv/toy_cache.h"
#include "engine/engine_core.h"

//  How many different messages: enough that the branch predictor cannot learn them
#define MESSAGES 16

#define MAX_SIZE 4096

typedef struct {
    const char *schema;
    uint32_t size;
    kv_wire_t wire;
    toy_cache_t caches[MESSAGES];
    uint32_t tokens[MAX_SIZE];
    engine_core_output_t outputs[MAX_SIZE];
} codec_t;

//  The payload of message number i, the caller's
static zframe_t *s_encode (const codec_t *self, uint32_t i)
{
    if (strncmp (self->schema, "kv-", 3) == 0) {
        return kv_batch_encode (&self->caches[i % MESSAGES].batch, self->wire);
    }
    if (streq (self->schema, "request")) {
        engine_core_request_t request = {.request_id = "r1000",
                                         .prompt_token_ids = self->tokens,
                                         .prompt_token_count = self->size,
                                         .arrival_time = 1.5,
                                         .max_tokens = 4};
        return engine_core_request_encode (&request);
    }
    engine_core_outputs_t step = {
        .outputs = self->outputs, .output_count = self->size, .timestamp = 1.5};
    return engine_core_outputs_encode (&step);
}

//  False when the message is not what it is meant to be. It stays the caller's.
static bool s_decode (const codec_t *self, zframe_t *frame, mp_error_t *error)
{
    if (strncmp (self->schema, "kv-", 3) == 0) {
        mp_slice_t payload = {(const char *) zframe_data (frame), zframe_size (frame)};
        kv_batch_t *batch = kv_batch_decode (payload, error);
        bool ok = batch;
        kv_batch_destroy (&batch);
        return ok;
    }
    if (streq (self->schema, "request")) {
        engine_core_request_t *request = engine_core_request_decode (frame, error);
        bool ok = request;
        engine_core_request_destroy (&request);
        return ok;
    }
    engine_core_outputs_t *outputs = engine_core_outputs_decode (frame, error);
    bool ok = outputs;
    engine_core_outputs_destroy (&outputs);
    return ok;
}

static bool s_is_one_of (const char *word, const char *const *words)
{
    while (*words && !streq (*words, word))
        words++;
    return *words;
}

int main (int argc, char **argv)
{
    static const char *const whats[] = {"encode", "decode", NULL};
    static const char *const schemas[] = {"kv-v0.26", "kv-v0.9", "request", "outputs", NULL};
    long size = argc == 5 ? strtol (argv[3], NULL, 10) : 0;
    long count = argc == 5 ? strtol (argv[4], NULL, 10) : 0;
    if (argc != 5 || !s_is_one_of (argv[1], whats) || !s_is_one_of (argv[2], schemas) || size < 1 ||
        size > MAX_SIZE || (argv[2][0] == 'k' && size > TOY_CACHE_MAX_BLOCKS) || count < 0) {
        fprintf (stderr, "usage: codec encode|decode SCHEMA SIZE COUNT; SCHEMA is one of");
        for (const char *const *schema = schemas; *schema; schema++)
            fprintf (stderr, " %s", *schema);
        fputc ('\n', stderr);
        return 2;
    }
    codec_t *self = zmalloc (sizeof *self);
    self->schema = argv[2];
    self->size = (uint32_t) size;
    self->wire = streq (self->schema, "kv-v0.9") ? KV_WIRE_V09 : KV_WIRE_V026;
    for (uint32_t i = 0; i < MESSAGES; i++)
        toy_cache_fill (&self->caches[i], 0, 1000 + 100 * i, argv[2][0] == 'k' ? self->size : 1,
                        1.5);
    for (uint32_t i = 0; i < MAX_SIZE; i++) {
        self->tokens[i] = i * 7919 % 32000;
        self->outputs[i] = (engine_core_output_t){.request_id = "r1000",
                                                  .new_token_ids = &self->tokens[i],
                                                  .new_token_count = 1,
                                                  .finish_reason = ENGINE_CORE_RUNNING};
    }
    zframe_t *payloads[MESSAGES];
    for (uint32_t i = 0; i < MESSAGES; i++)
        payloads[i] = s_encode (self, i);
    bool ok = true, encode = streq (argv[1], "encode");
    mp_error_t error = {.text = ""};
    for (long i = 0; ok && i < count; i++) {
        if (encode) {
            zframe_t *payload = s_encode (self, (uint32_t) (i % MESSAGES));
            zframe_destroy (&payload);
        } else {
            ok = s_decode (self, payloads[i % MESSAGES], &error);
        }
    }
    if (!ok)
        fprintf (stderr, "codec: %s\n", error.text);
    for (uint32_t i = 0; i < MESSAGES; i++)
        zframe_destroy (&payloads[i]);
    free (self);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
