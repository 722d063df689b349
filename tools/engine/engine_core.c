//  SPDX-License-Identifier: MIT

#include "engine/engine_core.h"
#include "lib/mp_put.h"

void engine_core_identity (uint16_t index, byte identity[ENGINE_CORE_IDENTITY_SIZE])
{
    identity[0] = (byte) (index & 0xff);
    identity[1] = (byte) (index >> 8);
}

int engine_core_index (zframe_t *identity)
{
    if (zframe_size (identity) != ENGINE_CORE_IDENTITY_SIZE)
        return -1;
    const byte *data = zframe_data (identity);
    return data[0] | data[1] << 8;
}

zmsg_t *engine_core_message (uint16_t index, byte type, zframe_t **payload)
{
    byte identity[ENGINE_CORE_IDENTITY_SIZE];
    engine_core_identity (index, identity);
    zmsg_t *message = zmsg_new ();
    zmsg_addmem (message, identity, sizeof identity);
    zmsg_addmem (message, &type, 1);
    zmsg_append (message, payload);
    return message;
}

//  -- EngineCoreReadyResponse

zframe_t *engine_core_ready_encode (const engine_core_ready_t *ready)
{
    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    msgpack_pack_map (packer, 28);
    mp_pack_counter (packer, "max_model_len", ready->max_model_len);
    mp_pack_counter (packer, "num_gpu_blocks", ready->num_gpu_blocks);
    mp_pack_counter (packer, "block_size", ready->block_size);
    mp_pack_text (packer, "dp_stats_address", ready->dp_stats_address);
    mp_pack_text (packer, "dtype", ready->dtype);
    mp_pack_text (packer, "vllm_version", ready->vllm_version);
    mp_pack_counter (packer, "world_size", ready->world_size);
    mp_pack_counter (packer, "data_parallel_size", ready->data_parallel_size);
    mp_pack_counter (packer, "tensor_parallel_size", 1);
    mp_pack_counter (packer, "pipeline_parallel_size", 1);
    mp_pack_counter (packer, "decode_context_parallel_size", 1);
    mp_pack_counter (packer, "data_parallel_rank", ready->data_parallel_rank);
    mp_pack_counter (packer, "max_num_seqs", ready->max_num_seqs);
    mp_pack_counter (packer, "max_num_batched_tokens", ready->max_num_batched_tokens);
    mp_pack_text (packer, "instance_id", ready->instance_id ? ready->instance_id : "");
    mp_pack_flag (packer, "supports_lora", ready->max_loras > 0);
    mp_pack_counter (packer, "max_loras", ready->max_loras);
    mp_pack_text (packer, "mamba_block_size", NULL);
    mp_pack_counter (packer, "kv_cache_size_tokens",
                     (uint64_t) ready->num_gpu_blocks * ready->block_size);
    mp_pack_str (packer, "kv_cache_max_concurrency");
    msgpack_pack_double (packer, (double) ready->num_gpu_blocks * ready->block_size /
                                     (ready->max_model_len ? ready->max_model_len : 1));
    mp_pack_text (packer, "kv_events_config", NULL);
    mp_pack_text (packer, "weight_transfer_backend", NULL);
    mp_pack_flag (packer, "enable_sleep_mode", true);
    mp_pack_flag (packer, "supports_draft_weight_updates", false);
    mp_pack_counter (packer, "effective_attention_block_size", ready->block_size);
    mp_pack_counter (packer, "coord_store_port", 0);
    mp_pack_text (packer, "coordinator_input_address", NULL);
    mp_pack_text (packer, "coordinator_output_address", NULL);
    return mp_end (&writer);
}

int engine_core_ready_decode (zframe_t *frame, engine_core_ready_t *ready, mp_error_t *error)
{
    static const char what[] = "EngineCoreReadyResponse";
    mp_entry_t entries[] = {MP_ENTRY ("max_model_len"), MP_ENTRY ("num_gpu_blocks"),
                            MP_ENTRY ("block_size"), MP_ENTRY ("world_size"),
                            MP_ENTRY ("data_parallel_size")};
    uint32_t *const values[] = {&ready->max_model_len, &ready->num_gpu_blocks, &ready->block_size,
                                &ready->world_size, &ready->data_parallel_size};
    *ready = (engine_core_ready_t){0};
    if (zframe_size (frame) == 0)
        return 0;
    if (!mp_read_map (zframe_data (frame), zframe_size (frame), what, entries, 5, error))
        return -1;
    for (size_t i = 0; i < 5; i++)
        if ((i < 3 || !mp_is_nil (entries[i].value)) &&  //  v0.20.0 had only the first three
            !mp_entry_uint32 (&entries[i], what, values[i], error))
            return -1;
    return 0;
}

int engine_core_registration (zmsg_t *message, engine_core_ready_t *ready, mp_error_t *error)
{
    if (zmsg_size (message) != 2) {
        mp_error_set (error, "registration", "want 2 frames (identity and ready response), got %zu",
                      zmsg_size (message));
        return -1;
    }
    zframe_t *identity = zmsg_first (message);
    int index = engine_core_index (identity);
    if (index == -1) {
        mp_error_set (error, "registration", "an engine's identity has 2 bytes, this has %zu",
                      zframe_size (identity));
        return -1;
    }
    return engine_core_ready_decode (zmsg_next (message), ready, error) == 0 ? index : -1;
}

//  -- Abort

zframe_t *engine_core_abort_encode (const engine_core_abort_t *abort)
{
    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    msgpack_pack_array (packer, abort->count);
    for (size_t i = 0; i < abort->count; i++)
        mp_pack_str (packer, abort->request_ids[i]);
    return mp_end (&writer);
}

engine_core_abort_t *engine_core_abort_decode (zframe_t *frame, mp_error_t *error)
{
    msgpack_unpacked doc;
    const msgpack_object_array *array;
    if (mp_decode_array (&doc, frame, "abort", 0, &array, error) == -1)
        return NULL;

    engine_core_abort_t *self = zmalloc (sizeof *self);
    self->request_ids = zmalloc ((array->size + 1) * sizeof *self->request_ids);
    for (uint32_t i = 0; self && i < array->size; i++) {
        char *request_id;
        if (mp_get_cstr (&array->ptr[i], "abort[]", &request_id, error))
            self->request_ids[self->count++] = request_id;
        else
            engine_core_abort_destroy (&self);
    }
    msgpack_unpacked_destroy (&doc);
    return self;
}

void engine_core_abort_destroy (engine_core_abort_t **self_p)
{
    engine_core_abort_t *self = *self_p;
    if (!self)
        return;
    for (size_t i = 0; i < self->count; i++)
        free ((char *) self->request_ids[i]);
    free (self->request_ids);
    free (self);
    *self_p = NULL;
}

//  -- Utility

static bool s_is_str (const msgpack_object *object, const char *text)
{
    return object->type == MSGPACK_OBJECT_STR && object->via.str.size == strlen (text) &&
           memcmp (object->via.str.ptr, text, strlen (text)) == 0;
}

//  The fields of engine_core_utility_t that come from the arguments
static void s_read_args (engine_core_utility_t *self, const msgpack_object_array *args)
{
    const msgpack_object *first = mp_item (args, 0), *number = first;
    self->number = -1;
    self->tagged = first && first->type == MSGPACK_OBJECT_ARRAY;
    if (self->tagged)
        number = mp_item (&first->via.array, 1);  //  LoRARequest: lora_name, lora_int_id, ...
    if (number && number->type == MSGPACK_OBJECT_POSITIVE_INTEGER && number->via.u64 <= INT64_MAX)
        self->number = (int64_t) number->via.u64;
    //  What is no C string is none
    char *word = NULL;
    for (uint32_t i = 0; i < args->size && !word; i++)
        mp_get_cstr (&args->ptr[i], "args[]", &word, NULL);
    self->word = word;
    for (uint32_t i = 0; self->tagged && i < first->via.array.size; i++) {
        const msgpack_object *tag = &first->via.array.ptr[i];
        if (s_is_str (tag, "weights"))
            self->tags |= ENGINE_CORE_TAG_WEIGHTS;
        else if (s_is_str (tag, "kv_cache"))
            self->tags |= ENGINE_CORE_TAG_KV_CACHE;
        else if (!s_is_str (tag, "scheduling"))
            self->tags |= ENGINE_CORE_TAG_UNKNOWN;
    }
}

engine_core_utility_t *engine_core_utility_decode (zframe_t *frame, mp_error_t *error)
{
    msgpack_unpacked doc;
    const msgpack_object_array *array;
    if (mp_decode_array (&doc, frame, "utility call", 4, &array, error) == -1)
        return NULL;

    engine_core_utility_t *self = zmalloc (sizeof *self);
    char *method = NULL;
    bool ok =
        mp_get_uint32 (&array->ptr[0], "utility call.client_index", &self->client_index, error) &&
        mp_get_uint (&array->ptr[1], "utility call.call_id", UINT64_MAX, &self->call_id, error) &&
        mp_get_cstr (&array->ptr[2], "utility call.method", &method, error);
    static const msgpack_object_array none = {.size = 0};
    s_read_args (self,
                 array->ptr[3].type == MSGPACK_OBJECT_ARRAY ? &array->ptr[3].via.array : &none);
    msgpack_unpacked_destroy (&doc);
    self->method = method;
    if (!ok)
        engine_core_utility_destroy (&self);
    return self;
}

void engine_core_utility_destroy (engine_core_utility_t **self_p)
{
    engine_core_utility_t *self = *self_p;
    if (!self)
        return;
    free ((char *) self->method);
    free ((char *) self->word);
    free (self);
    *self_p = NULL;
}
