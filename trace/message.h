//  SPDX-License-Identifier: MIT
//  message.h - what the tracer remembers of one message until its last frame has passed
//
//  The message itself is never copied, kept or held up. These are the first bytes of its frames,
//  read when they pass.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MESSAGE_FRAMES 64          //  Frames that are remembered
#define MESSAGE_FRAME_BYTES 16384  //  First bytes of one frame
#define MESSAGE_BYTES 65536        //  All of them together

typedef struct {
    size_t size;    //  As it was sent
    size_t kept;    //  Bytes that are in message_t.bytes
    size_t offset;  //  Where they begin there
} frame_t;

typedef struct {
    size_t count;  //  Frames; only the first MESSAGE_FRAMES of them are in `frames`
    size_t used;   //  Bytes of `bytes`
    frame_t frames[MESSAGE_FRAMES];
    unsigned char bytes[MESSAGE_BYTES];
} message_t;

//  Forgets all frames
void message_clear (message_t *self);

//  Remembers a frame of `size` bytes, of which data[0..there) can be read
void message_add (message_t *self, const void *data, size_t size, size_t there);

//  Forgets the frame that was added last: the socket has not taken it
void message_remove (message_t *self);

//  The number of frames that are remembered
size_t message_frames (const message_t *self);

//  A frame, and those of its bytes that are there: data[0..kept)
typedef struct {
    const unsigned char *data;
    size_t kept, size;
} kept_t;

kept_t message_frame (const message_t *self, size_t index);
