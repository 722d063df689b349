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
    msgpack_unpacked doc;
    if (mp_decode (&doc, zframe_data (frame), zframe_size (frame), "message", error) == -1)
        return NULL;

    char *text = NULL;
    mp_slice_t why;
    const msgpack_object *told =
        doc.data.type == MSGPACK_OBJECT_MAP ? mp_find (&doc.data.via.map, "error") : NULL;
    if (told && mp_get_str (told, "error", &why, error))
        mp_error_set (error, "the peer says", "%.*s", (int) why.size, why.data);
    else if (!told)
        mp_get_cstr (&doc.data, "message", &text, error);
    msgpack_unpacked_destroy (&doc);
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
