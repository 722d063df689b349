//  SPDX-License-Identifier: MIT
//  rank.h - which endpoint a data-parallel rank has
//
//  Each rank of a vLLM publishes its KV events at an endpoint of its own.
//  vLLM:  vllm/distributed/kv_events.py ZmqEventPublisher.offset_endpoint_port

#pragma once

//  The endpoint of a rank: rank 0 has `endpoint` itself. Rank n adds n to the port of a tcp
//  endpoint, and "_dp<n>" to an ipc or inproc one (vLLM does so for inproc, and refuses ipc). A
//  port that is * or 0, a free one, stays so. NULL when the port would be above 65535. The caller's
//  to free with zstr_free.
char *kv_rank_endpoint (const char *endpoint, int rank);
