//  SPDX-License-Identifier: MIT

#include "pingpong.h"

//  A message of the one frame that `writer` has packed
static zmsg_t *s_message (mp_writer_t *writer)
{
    zframe_t *frame = mp_end (writer);
    zmsg_t *message = zmsg_new ();
    zmsg_append (message, &frame);  //  Takes the frame over
    return message;
}

zmsg_t *pingpong_new (const char *text)
{
    mp_writer_t writer;
    mp_pack_str (mp_begin (&writer), text);
    return s_message (&writer);
}

char *pingpong_text (zmsg_t *message, mp_error_t *error)
{
    if (zmsg_size (message) != 1) {
        mp_error_set (error, "message", "want 1 frame, got %zu", zmsg_size (message));
        return NULL;
    }
    zframe_t *frame = zmsg_first (message);
    const byte *data = zframe_data (frame);
    size_t size = zframe_size (frame);
    mp_reader_t reader = mp_reader (data, size);
    msgpack_object object;
    char *text = NULL;
    bool whole = mp_read (&reader, &object) && reader.at == reader.end;
    if (!whole && mp_check (data, size, "message", error) == -1)
        return NULL;
    if (object.type == MSGPACK_OBJECT_MAP) {
        mp_entry_t told = MP_ENTRY ("error");
        mp_slice_t why;
        if (mp_read_map (data, size, "message", &told, 1, error) && told.value) {
            if (mp_get_str (told.value, "error", &why, error))
                mp_error_set (error, "the peer says", "%.*s", (int) why.size, why.data);
            return NULL;
        }
    }
    mp_get_cstr (&object, "message", &text, error);
    return text;
}

zmsg_t *pingpong_reply (const char *text, const mp_error_t *why)
{
    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    if (text) {
        char *pong = zsys_sprintf ("pong: %s", text);
        mp_pack_str (packer, pong);
        zstr_free (&pong);
    } else {
        msgpack_pack_map (packer, 1);
        mp_pack_str (packer, "error");
        mp_pack_str (packer, why->text);
    }
    return s_message (&writer);
}
