//  SPDX-License-Identifier: MIT
//  keepalive.h - detects a peer whose machine has vanished
//
//  A process that ends closes its connections, so its peers notice at once. A machine that is gone,
//  or a cable that is cut, closes nothing, and a program that only waits for messages would not
//  notice. So TCP has to probe. The kernel of the other machine answers, even if its programs are
//  busy; if it does not, the connection ends after about 12 s. A shorter cut has no effect.
//
//  ZMTP has heartbeats too (ZMQ_HEARTBEAT_IVL), which we do not use. vLLM's front-end in Rust
//  ends a connection on which a PING arrives. And libzmq reads nothing, not even a PONG, from a
//  connection whose queue is at its high-water mark: a peer that is only busy would count as dead,
//  and libzmq 4.3 may then abort (https://github.com/zeromq/libzmq/issues/3596).
//  vLLM:  uses neither, but for the heartbeats in
//         vllm/v1/kv_offload/tiering/p2p/control/zmq.py _apply_heartbeat

#pragma once

#include <czmq.h>

//  Both are called before the socket is bound or connected. A connection that is silent for 2 s is
//  probed each 2 s, and ends after five probes without an answer. TCP does not probe while sent
//  data is unacknowledged: then the connection ends after 10 s (ZMQ_TCP_MAXRT).

//  For a socket whose peers may be busy. On a PUSH, unacknowledged data may wait as long as the
//  kernel allows, about 15 minutes: its peer may have stopped reading.
void keepalive_probe (zsock_t *socket);

//  For a socket whose peer takes all that comes, such as vLLM's front-end: 10 s on a PUSH, too
void keepalive_kernel (zsock_t *socket);
