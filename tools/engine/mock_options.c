//  SPDX-License-Identifier: MIT

#include "engine/mock_options.h"
#include "lib/log.h"
#include "lib/options.h"

#include <sys/resource.h>
#include <sys/socket.h>

//  What the engines say of themselves: room for anything, as vllm-mock-engine does
#define MAX_MODEL_LEN (1 << 20)
#define NUM_GPU_BLOCKS 65536
#define BLOCK_SIZE 16
#define MAX_NUM_SEQS 1024
#define MAX_NUM_BATCHED_TOKENS 8192
#define MAX_LORAS 8

//  A poller takes a file descriptor when it is that of a socket
static bool s_is_socket (int fd)
{
    int type;
    socklen_t size = sizeof type;
    return getsockopt (fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;
}

//  Of the options together
static void s_check (const mock_shared_t *shared)
{
    if (shared->index + shared->count - 1 > UINT16_MAX)
        warn_line ("--engine-count: '%d': there is no engine beyond %d", shared->count, UINT16_MAX);
    else if (shared->death_pipe > 0 && !s_is_socket (shared->death_pipe))
        warn_line ("--death-pipe: '%d': not an open socket", shared->death_pipe);
    else
        return;
    exit (OPTIONS_WRONG);
}

//  How many sockets this process may have: each takes a file descriptor, of which some are needed
//  otherwise
static size_t s_socket_limit (void)
{
    struct rlimit files;
    if (getrlimit (RLIMIT_NOFILE, &files) == -1)
        return 0;
    zsys_set_max_sockets (0);  //  libzmq's own limit is 1023 otherwise
    return files.rlim_cur < 65000 ? (size_t) files.rlim_cur * 9 / 10 : 60000;
}

void mock_options_read (mock_shared_t *shared, int argc, char **argv)
{
    int chunk_size = 1, vocab_size = 32000, max_model_len = MAX_MODEL_LEN;
    const char *release = "0.33";
    uint64_t seed = 0;
    bool log_requests = false, no_stats = false;
    const option_t options[] = {
        OPTION_CONNECT ("handshake", &shared->handshake, "the front-end's ROUTER for the start"),
        OPTION_CONNECT ("handshake-address", &shared->handshake, "the same, as vLLM calls it"),
        OPTION_INT ("index", &shared->index, 0, UINT16_MAX,
                    "which engine this is; the first of several"),
        OPTION_INT ("engine-count", &shared->count, 1, 1024, "engines in this process"),
        OPTION_INT ("output-token-chunk-size", &chunk_size, 1, 65536, "tokens in one output"),
        OPTION_INT ("vocab-size", &vocab_size, 1, INT_MAX, "token ids are below this"),
        OPTION_UINT64 ("seed", &seed, "seed of the tokens"),
        OPTION_INT ("step-ms", &shared->step_ms, 0, 60000, "time that a step takes, ms"),
        OPTION_CHOICE ("vllm", &release, ENGINE_CORE_RELEASES, "release of the front-end"),
        OPTION_INT ("max-model-len", &max_model_len, 1, INT_MAX,
                    "tokens of prompt and output; vllm-rs shows it as the model's"),
        OPTION_TEXT ("parallel-config-hash", &shared->parallel_config_hash,
                     "hash that a front-end for a model with experts expects"),
        OPTION_INT ("death-pipe", &shared->death_pipe, 0, INT_MAX,
                    "descriptor of a socket; end when its other end is closed; 0: none"),
        OPTION_FLAG ("log-requests", &log_requests, "print the start and the end of each request"),
        OPTION_FLAG ("disable-log-stats", &no_stats, "no statistics in the outputs, as in vLLM"),
        OPTION_END,
    };
    const about_t about = {
        .name = "mock_engine",
        .purpose = "joins a vLLM front-end as its EngineCore, and makes tokens up",
        .example = "  build/tools/mock_frontend --handshake tcp://127.0.0.1:29550\n"
                   "  build/tools/mock_engine --log-requests",
    };
    options_read (argc, argv, &about, options);
    s_check (shared);
    shared->socket_limit = s_socket_limit ();
    snprintf (shared->version, sizeof shared->version, "%s.0", release);
    shared->config = (toy_engine_config_t){
        .plain = no_stats,
        .quiet = !log_requests,
        .vocab_size = (uint32_t) vocab_size,
        .chunk_size = (uint32_t) chunk_size,
        .seed = seed,
        .release = (int) strtol (release + 2, NULL, 10),
        .ready = {.max_model_len = (uint32_t) max_model_len,
                  .num_gpu_blocks = NUM_GPU_BLOCKS,
                  .block_size = BLOCK_SIZE,
                  .dtype = "bfloat16",
                  .vllm_version = shared->version,
                  .world_size = 1,
                  .data_parallel_size = (uint32_t) shared->count,
                  .max_num_seqs = MAX_NUM_SEQS,
                  .max_num_batched_tokens = MAX_NUM_BATCHED_TOKENS,
                  .max_loras = MAX_LORAS},
    };
}
