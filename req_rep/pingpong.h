//  SPDX-License-Identifier: MIT
//  pingpong.h - what the programs of this room say to each other
//
//  A request is one frame that holds a msgpack str; so is its reply. A request that cannot be read
//  is answered too, with the map {"error": why}: a REP that skips a reply is stuck for ever.

#pragma once

#include "lib/mp.h"

//  A message that holds the str `text`, the caller's
zmsg_t *pingpong_new (const char *text);

//  The str of a message, the caller's to free with zstr_free; or NULL, and `error` says what is
//  wrong, in the peer's own words when the message is {"error": why}.
char *pingpong_text (zmsg_t *message, mp_error_t *error);

//  The reply to a request of which pingpong_text made `text`: "pong: <text>", or, for NULL, the map
//  {"error": why}
zmsg_t *pingpong_reply (const char *text, const mp_error_t *why);
