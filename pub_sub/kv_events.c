//  SPDX-License-Identifier: MIT

#include "kv_events.h"

#define BLOCK_SIZE 16

//  The hash of a made-up block. Real ones are the low 64 bits of a SHA-256.
static uint64_t s_hash (uint64_t block)
{
    return (block + 1) * 0x9e3779b97f4a7c15u;
}

//  vLLM leaves fields out that are nil and have that as their default: locality, for example
static void s_put_stored (msgpack_sbuffer *out, uint64_t block)
{
    mp_put (out, "{ss", 11, "type", "BlockStored");
    mp_put (out, "s[u", "block_hashes", 1, s_hash (block));
    mp_put (out, block > 0 ? "su" : "sn", "parent_block_hash", s_hash (block - 1));
    mp_put (out, "s[", "token_ids", BLOCK_SIZE);
    for (uint64_t i = 0; i < BLOCK_SIZE; i++)
        mp_put (out, "u", (block * BLOCK_SIZE + i) % 32000);
    mp_put (out, "sisnsssn", "block_size", BLOCK_SIZE, "lora_id", "medium", "GPU", "lora_name");
    mp_put (out, "s[n", "extra_keys", 1);
    mp_put (out, "siss", "group_idx", 0, "kv_cache_spec_kind", "full_attention");
}

static void s_put_removed (msgpack_sbuffer *out, uint64_t block)
{
    mp_put (out, "{ss", 4, "type", "BlockRemoved");
    mp_put (out, "s[u", "block_hashes", 1, s_hash (block));
    mp_put (out, "sssi", "medium", "GPU", "group_idx", 0);
}

zframe_t *kv_batch_new (uint64_t seq)
{
    msgpack_sbuffer out = {0};
    bool remove = seq % 5 == 4;
    mp_put (&out, "[d[", 3, (double) zclock_time () / 1000, remove ? 2 : 1);
    s_put_stored (&out, seq);
    if (remove)
        s_put_removed (&out, seq / 5);
    mp_put (&out, "i", 0);  //  data_parallel_rank
    return mp_frame (&out);
}

//  Prints " 2 blocks". False if the field is there and is no array.
static bool s_print_count (FILE *to, const msgpack_object *field, const char *noun)
{
    if (!field)
        return true;
    uint32_t count = mp_count (field);
    fprintf (to, " %" PRIu32 " %s%s", count, noun, count == 1 ? "" : "s");
    return field->type == MSGPACK_OBJECT_ARRAY;
}

//  Prints one event. False if it is no event.
static bool s_print_event (FILE *to, const msgpack_object *event)
{
    char *type = mp_text (mp_get (event, "type"));
    if (type)
        fprintf (to, "%s", mp_printable (type));
    bool ok = type && s_print_count (to, mp_get (event, "block_hashes"), "block") &&
              s_print_count (to, mp_get (event, "token_ids"), "token");
    zstr_free (&type);
    return ok;
}

char *kv_batch_describe (zframe_t *batch)
{
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream (&text, &size);
    msgpack_unpacked doc;
    const msgpack_object *events = mp_at (mp_open (&doc, batch), 1);
    bool ok = events && events->type == MSGPACK_OBJECT_ARRAY;
    for (uint32_t i = 0; ok && i < mp_count (events); i++) {
        fprintf (to, "%s", i > 0 ? ", " : "");
        ok = s_print_event (to, mp_at (events, i));
    }
    if (mp_count (events) == 0)
        fprintf (to, "no events");
    msgpack_unpacked_destroy (&doc);
    fclose (to);
    if (!ok)
        zstr_free (&text);
    return text;
}

zmsg_t *kv_message (const char *topic, uint64_t seq, zframe_t **batch_p)
{
    zmsg_t *message = zmsg_new ();
    zframe_t *number = kv_seq_frame (seq);
    zmsg_addstr (message, topic);
    zmsg_append (message, &number);
    if (batch_p)
        zmsg_append (message, batch_p);
    else
        zmsg_addmem (message, NULL, 0);
    return message;
}

zframe_t *kv_message_read (zmsg_t *message, uint64_t *seq)
{
    size_t frames = message ? zmsg_size (message) : 0;
    zframe_t *number = NULL, *batch = frames > 0 ? zmsg_first (message) : NULL;
    for (zframe_t *next; batch && (next = zmsg_next (message)); batch = next)
        number = batch;
    return frames <= 4 && kv_seq_read (number, seq) ? batch : NULL;
}

zframe_t *kv_seq_frame (uint64_t seq)
{
    byte bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (byte) (seq >> (56 - 8 * i));
    return zframe_new (bytes, sizeof bytes);
}

bool kv_seq_read (zframe_t *frame, uint64_t *seq)
{
    if (!frame || zframe_size (frame) != 8)
        return false;
    *seq = 0;
    for (int i = 0; i < 8; i++)
        *seq = *seq << 8 | zframe_data (frame)[i];
    return true;
}
