//  SPDX-License-Identifier: MIT
//  vllm.h - names the messages of vLLM's wires: --decode vllm
//
//  It goes by the frames alone, so it also finds them in other programs. docs/vllm-map.md says
//  where each of them comes from in vLLM.

#pragma once

#include "message.h"
#include "text.h"

//  Adds what a message on a socket of this type (ZMQ_DEALER, ...) is, in a few words: "ADD r3, 5
//  tokens", "seq 7 BlockStored". Returns false, and adds nothing, when it is none of vLLM's.
bool vllm_add (text_t *out, int socket_type, const message_t *message);

//  The index that vLLM gives an engine by its identity: 2 bytes, little-endian. -1: it is no such
//  identity.
int vllm_engine_index (const unsigned char *identity, size_t size);
