//  SPDX-License-Identifier: MIT

#include "engine/handshake.h"
#include "engine/engine_core.h"

zframe_t *handshake_status_encode (const handshake_status_t *status)
{
    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    msgpack_pack_map (packer, status->parallel_config_hash ? 4 : 3);
    mp_pack_text (packer, "status", status->status);
    mp_pack_flag (packer, "local", status->local);
    mp_pack_flag (packer, "headless", status->headless);
    if (status->parallel_config_hash)
        mp_pack_text (packer, "parallel_config_hash", status->parallel_config_hash);
    return mp_end (&writer);
}

static bool s_get_flag (const mp_entry_t *entry, bool *value, mp_error_t *error)
{
    if (!entry->value || entry->object.type != MSGPACK_OBJECT_BOOLEAN)
        return mp_wrong (error, "handshake", "want a boolean %s", entry->key);
    *value = entry->object.via.boolean;
    return true;
}

int handshake_status_decode (zframe_t *frame, handshake_status_t *status, mp_error_t *error)
{
    static const char *const known[] = {"HELLO", "READY", "FAILED"};
    mp_entry_t entries[] = {MP_ENTRY ("status"), MP_ENTRY ("local"), MP_ENTRY ("headless")};
    char *text = NULL;
    *status = (handshake_status_t){.status = NULL};
    if (!mp_read_map (zframe_data (frame), zframe_size (frame), "handshake", entries, 3, error) ||
        !mp_get_cstr (entries[0].value, "handshake.status", &text, error))
        return -1;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (streq (text, known[i]))
            status->status = known[i];
    bool ok =
        status->status || mp_wrong (error, "handshake.status", "want HELLO or READY, got %s", text);
    if (ok && !streq (text, "FAILED"))
        ok = s_get_flag (&entries[1], &status->local, error) &&
             s_get_flag (&entries[2], &status->headless, error);
    zstr_free (&text);
    return ok ? 0 : -1;
}

static void s_pack_addresses (msgpack_packer *packer, const char *name, const char *const *list,
                              size_t count)
{
    mp_pack_str (packer, name);
    msgpack_pack_array (packer, count);
    for (size_t i = 0; i < count; i++)
        mp_pack_str (packer, list[i]);
}

zframe_t *handshake_init_encode (const handshake_init_t *init)
{
    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    msgpack_pack_map (packer, 2);
    mp_pack_str (packer, "addresses");
    msgpack_pack_map (packer, 5);
    s_pack_addresses (packer, "inputs", init->inputs, init->count);
    s_pack_addresses (packer, "outputs", init->outputs, init->count);
    mp_pack_text (packer, "coordinator_input", init->coordinator_input);
    mp_pack_text (packer, "coordinator_output", init->coordinator_output);
    mp_pack_text (packer, "frontend_stats_publish_address", init->frontend_stats_publish_address);
    mp_pack_str (packer, "parallel_config");
    msgpack_pack_map (packer, 0);  //  Has something in it for models with experts only
    return mp_end (&writer);
}

//  A list of addresses; what it holds by then is the init's, whatever happens
static bool s_get_addresses (const msgpack_object_map *map, const char *name, const char ***list,
                             size_t *count, mp_error_t *error)
{
    const msgpack_object_array *array;
    *count = 0;
    if (!mp_get_array (mp_find (map, name), name, 1, &array, error))
        return false;
    if (array->size > HANDSHAKE_CLIENTS_MAX)
        return mp_wrong (error, name, "%" PRIu32 " are more than %d", array->size,
                         HANDSHAKE_CLIENTS_MAX);
    *list = zmalloc (array->size * sizeof **list);
    for (uint32_t i = 0; i < array->size; i++) {
        char *address;
        if (!mp_get_cstr (&array->ptr[i], name, &address, error))
            return false;
        (*list)[(*count)++] = address;
    }
    return true;
}

static bool s_get_address (const msgpack_object_map *map, const char *name, const char **address,
                           mp_error_t *error)
{
    char *text = NULL;
    bool ok =
        mp_is_nil (mp_find (map, name)) || mp_get_cstr (mp_find (map, name), name, &text, error);
    *address = text;
    return ok;
}

static void s_free_addresses (const char **list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free ((char *) list[i]);
    free (list);
}

handshake_init_t *handshake_init_decode (zframe_t *frame, mp_error_t *error)
{
    msgpack_unpacked doc;
    if (mp_decode (&doc, zframe_data (frame), zframe_size (frame), "INIT", error) == -1)
        return NULL;
    handshake_init_t *self = zmalloc (sizeof *self);
    const msgpack_object_map *map, *addresses;
    size_t inputs = 0, outputs = 0;
    bool ok = mp_get_map (&doc.data, "INIT", &map, error) &&
              mp_get_map (mp_find (map, "addresses"), "INIT.addresses", &addresses, error);
    ok = ok && s_get_addresses (addresses, "inputs", &self->inputs, &inputs, error);
    self->count = inputs;
    ok = ok && s_get_addresses (addresses, "outputs", &self->outputs, &outputs, error);
    if (ok && inputs != outputs)
        ok = mp_wrong (error, "INIT.addresses", "%zu inputs, but %zu outputs", inputs, outputs);
    ok = ok && s_get_address (addresses, "coordinator_input", &self->coordinator_input, error) &&
         s_get_address (addresses, "coordinator_output", &self->coordinator_output, error) &&
         s_get_address (addresses, "frontend_stats_publish_address",
                        &self->frontend_stats_publish_address, error);
    if (ok && !self->coordinator_input != !self->coordinator_output)
        ok = mp_wrong (error, "INIT.addresses", "a coordinator has an input and an output");
    msgpack_unpacked_destroy (&doc);
    if (!ok) {
        s_free_addresses (self->outputs, outputs);
        self->outputs = NULL;
        handshake_init_destroy (&self);
    }
    return self;
}

void handshake_init_destroy (handshake_init_t **self_p)
{
    handshake_init_t *self = *self_p;
    if (!self)
        return;
    s_free_addresses (self->inputs, self->count);
    s_free_addresses (self->outputs, self->outputs ? self->count : 0);
    free ((char *) self->coordinator_input);
    free ((char *) self->coordinator_output);
    free ((char *) self->frontend_stats_publish_address);
    free (self);
    *self_p = NULL;
}

//  -- The front-end's side

typedef enum { STATE_NEW, STATE_CONNECTED, STATE_READY } s_state_t;
static const char *const state_names[] = {"new", "connected", "ready"};

struct startup {
    int count;
    const handshake_init_t *init;
    s_state_t *states;
};

startup_t *startup_new (int count, const handshake_init_t *init)
{
    startup_t *self = zmalloc (sizeof *self);
    self->count = count;
    self->init = init;
    self->states = zmalloc ((size_t) count * sizeof *self->states);
    return self;
}

void startup_destroy (startup_t **self_p)
{
    if (!*self_p)
        return;
    free ((*self_p)->states);
    free (*self_p);
    *self_p = NULL;
}

int startup_handle (startup_t *self, zmsg_t *message, zmsg_t **reply, mp_error_t *error)
{
    *reply = NULL;
    zframe_t *identity = zmsg_first (message);
    int engine = zmsg_size (message) == 2 ? engine_core_index (identity) : -1;
    char name[32];
    snprintf (name, sizeof name, "engine %d", engine);
    handshake_status_t status;
    mp_error_t wrong;
    if (zmsg_size (message) != 2) {
        mp_error_set (error, "handshake", "want 2 frames (identity and status), got %zu",
                      zmsg_size (message));
        return STARTUP_NONE;
    }
    if (engine == -1 || engine >= self->count) {
        char *hex = zframe_strhex (identity);
        mp_error_set (error, "handshake", "identity %.40s is of no engine that is expected", hex);
        zstr_free (&hex);
        return STARTUP_NONE;
    }
    if (handshake_status_decode (zmsg_next (message), &status, &wrong) == -1) {
        mp_error_set (error, name, "%s", wrong.text);
        return STARTUP_NONE;
    }
    s_state_t *state = &self->states[engine];
    s_state_t turn = streq (status.status, "HELLO") ? STATE_NEW : STATE_CONNECTED;
    bool ok = true;
    if (streq (status.status, "FAILED"))
        ok = mp_wrong (error, name, "it has reported FAILED, its own log says why");
    else if (status.local || !status.headless)
        ok = mp_wrong (error, name, "%s says local %d, headless %d; want a remote, headless engine",
                       status.status, status.local, status.headless);
    else if (*state != turn)
        ok = mp_wrong (error, name, "%s in state %s", status.status, state_names[*state]);
    if (!ok)
        return STARTUP_FAILED;
    *state = turn + 1;
    if (turn == STATE_NEW) {
        zframe_t *init = handshake_init_encode (self->init);
        *reply = zmsg_new ();
        zmsg_addmem (*reply, zframe_data (identity), zframe_size (identity));
        zmsg_append (*reply, &init);
    }
    return engine;
}

//  The first engine that is not ready, or `count`
static int s_first_pending (const startup_t *self)
{
    int i = 0;
    while (i < self->count && self->states[i] == STATE_READY)
        i++;
    return i;
}

bool startup_done (const startup_t *self)
{
    return s_first_pending (self) == self->count;
}

char *startup_pending (const startup_t *self)
{
    int i = s_first_pending (self);
    return i == self->count ? NULL
                            : zsys_sprintf ("engine %d: no %s", i,
                                            self->states[i] == STATE_NEW ? "HELLO" : "READY");
}

const char *startup_state (const startup_t *self, int engine)
{
    return state_names[self->states[engine]];
}
