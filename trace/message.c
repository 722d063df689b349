//  SPDX-License-Identifier: MIT

#include "message.h"

#include <string.h>

void message_clear (message_t *self)
{
    self->count = 0;
    self->used = 0;
}

//  Each reads a field once: a program that uses a socket in two threads at a time gets a wrong
//  trace, not a crash
void message_add (message_t *self, const void *data, size_t size, size_t there)
{
    size_t index = self->count, used = self->used;
    self->count = index + 1;
    if (index >= MESSAGE_FRAMES || used > MESSAGE_BYTES)
        return;
    size_t kept = there < MESSAGE_FRAME_BYTES ? there : MESSAGE_FRAME_BYTES;
    if (kept > MESSAGE_BYTES - used)
        kept = MESSAGE_BYTES - used;
    self->frames[index] = (frame_t){.size = size, .kept = kept, .offset = used};
    if (kept > 0)
        memcpy (self->bytes + used, data, kept);
    self->used = used + kept;
}

void message_remove (message_t *self)
{
    size_t count = self->count;
    if (count == 0)
        return;
    self->count = count - 1;
    if (count <= MESSAGE_FRAMES)
        self->used = self->frames[count - 1].offset;
}

size_t message_frames (const message_t *self)
{
    size_t count = self->count;
    return count < MESSAGE_FRAMES ? count : MESSAGE_FRAMES;
}

kept_t message_frame (const message_t *self, size_t index)
{
    frame_t frame = self->frames[index];
    if (frame.offset > MESSAGE_BYTES || frame.kept > MESSAGE_BYTES - frame.offset)
        frame = (frame_t){.size = frame.size};
    return (kept_t){.data = self->bytes + frame.offset, .kept = frame.kept, .size = frame.size};
}
