//  SPDX-License-Identifier: MIT
//  keepalive.h - finds the peer whose machine has vanished
//
//  A process that ends closes its connections, and is missed at once. A machine that vanishes, or a
//  cable that is cut, closes nothing: to who only waits for messages from there all looks well, for
//  ever. Somebody has to ask. Each socket of ours asks in one of two ways, of which its set-up says
//  which; either ends the connection in about 12 s. A cut that is over before then nobody notices.
//
//  keepalive_ping is ZMTP's: the other libzmq has to answer a PING. But libzmq reads nothing more
//  from a connection while the queue behind it is at its high-water mark, neither PING nor PONG. So
//  who is only busy would count as dead; and if it is he who pings, libzmq 4.3 ends his process
//  when he goes on ("Assertion failed: _input_stopped",
//  https://github.com/zeromq/libzmq/issues/3596).
//  keepalive_probe is TCP's: the other kernel has to answer, which it does whatever its programs
//  do. It is for a peer that may be busy, and must not lose its connection for that.
//  keepalive_kernel is keepalive_probe with a limit of 10 s on each socket, a PUSH too.
//  vLLM:  neither, but for the pings in
//         vllm/v1/kv_offload/tiering/p2p/control/zmq.py _apply_heartbeat

#pragma once

#include <czmq.h>

//  Both are to be called before the socket is bound or connected.

//  For a socket that takes all that comes: with no high-water mark, with few messages to come, or
//  never read again; and whose peers do so too. Pings each 2 s. A connection ends 10 s after a PING
//  that nothing has followed, or when what was sent was not taken for 10 s. (A PING may be behind
//  it.)
void keepalive_ping (zsock_t *socket);

//  For the others: what may have a full queue, also because a stranger fills it. A connection that
//  is silent for 2 s is probed each 2 s, and ends with the fifth probe that is not answered. TCP
//  does not probe while it waits for what was sent to be taken. A PUSH may wait for a peer that is
//  busy, and gives that as long as the kernel, about 15 minutes; the others 10 s.
void keepalive_probe (zsock_t *socket);

//  For a socket whose peer may be a vLLM: its front-end in Rust ends a connection on which a PING
//  arrives, and its front-ends take all that comes. A silent connection is probed as above. TCP
//  does not probe while it waits for what was sent to be taken: a connection ends when that takes
//  10 s.
void keepalive_kernel (zsock_t *socket);
