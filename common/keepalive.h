//  SPDX-License-Identifier: MIT
//  keepalive.h - finds the peer whose machine has vanished, when its queue may be full
//
//  A process that ends closes its connections, and is missed at once. A machine that vanishes, or a
//  cable that is cut, closes nothing: who only waits for messages there would wait for ever. ZMTP
//  has heartbeats for that (zsock_set_heartbeat_ivl): a PING, and the other libzmq has to answer.
//
//  But libzmq reads nothing more from a connection while a queue is at its high-water mark, neither
//  PING nor PONG. So with heartbeats somebody who is only busy counts as dead; and if it is he who
//  pings, libzmq 4.3 ends his process when he goes on ("Assertion failed: _input_stopped",
//  https://github.com/zeromq/libzmq/issues/3596). So heartbeats are for sockets whose peers never
//  keep each other waiting: requests, replies, and all that has no high-water mark. For the others,
//  SUB and PULL and what PUSHes to them, this asks the other machine's kernel instead, which answers
//  whatever its programs do.
//  vLLM:  neither of the two, but for heartbeats in
//         vllm/v1/kv_offload/tiering/p2p/control/zmq.py _apply_heartbeat

#pragma once

#include <czmq.h>

//  To be called before the socket is bound or connected. A connection that has been silent for 2 s
//  is probed each 2 s, and ends when five probes were not answered: after 12 s. Who has sent
//  something that never arrived has to wait for TCP to give that up, in about 15 minutes: TCP asks
//  nothing else meanwhile. But for a SUB and a PULL that are 10 s: they have nothing to say that a
//  peer could be too busy to take.
void keepalive_set (zsock_t *socket);
