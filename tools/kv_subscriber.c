//  SPDX-License-Identifier: MIT
//  kv_subscriber.c - follows the KV events of real vLLMs: every batch once, in order, or reported
//
//  A source for each endpoint (kv/kv_source.h): a SUB for what is published, and for each topic and
//  rank behind it a sequence (kv/kv_sequence.h) with a DEALER for what was missed. What is
//  delivered and what went wrong is printed by kv/kv_report.h.
//  Run:   build/tools/kv_subscriber --replay-endpoint tcp://127.0.0.1:5657 --from-seq 0
//         (beside a vLLM, or build/tools/kv_publisher)
//  vLLM:  vllm/distributed/kv_events.py ZmqEventPublisher, which is at the other end
//         vllm/config/kv_events.py KVEventsConfig, which has its defaults

#include "lib/curve.h"
#include "lib/log.h"
#include "lib/options.h"
#include "kv/kv_source.h"

typedef struct {
    option_list_t endpoints, replay_endpoints, topics;
    bool bind;
    const char *hashes;
    int count, max_held, max_held_mb, replay_timeout_ms;
    kv_report_t report;
    kv_setting_t setting;
} subscriber_t;

//  False when one of the first `max` endpoints is wrong, or there are more, which stderr has been
//  told
static bool s_check (const option_list_t *endpoints, const char *option, size_t max, bool bind)
{
    for (size_t i = 0; i < endpoints->count; i++) {
        const char *why =
            i < max ? options_endpoint_error (endpoints->items[i], bind) : "it has no --endpoint";
        if (why) {
            warn_line ("--%s: '%s': %s", option, endpoints->items[i], why);
            return false;
        }
    }
    return true;
}

static bool s_load_keys (const subscriber_t *self)
{
    bool connects = !self->bind || self->replay_endpoints.count > 0;
    return (!self->bind || curve_load (CURVE_SERVER)) && (!connects || curve_load (CURVE_CLIENT));
}

static void s_read_options (int argc, char **argv, subscriber_t *self)
{
    const option_t options[] = {
        OPTION_ENDPOINTS ("endpoint", &self->endpoints, "a vLLM's PUB, one for each rank"),
        OPTION_ENDPOINTS ("replay-endpoint", &self->replay_endpoints,
                          "their ROUTERs, in the same order"),
        OPTION_FLAG ("bind", &self->bind, "bind --endpoint, for PUBs that connect"),
        OPTION_LIST ("topic", &self->topics, "prefix of the topics to follow; \"\": all"),
        OPTION_FLAG ("exact-topic", &self->setting.exact_topic,
                     "take exactly these topics, none that only begin with them"),
        OPTION_FROM ("from-seq", &self->setting.limits.from_seq,
                     "first number to deliver; live: the first one that arrives"),
        OPTION_INT ("replay-timeout-ms", &self->replay_timeout_ms, 1, 3600000,
                    "time without a message after which a replay is asked for again, ms"),
        OPTION_INT ("max-held", &self->max_held, 1, 10000000, "batches held back during a replay"),
        OPTION_INT ("max-held-mb", &self->max_held_mb, 1, 100000, "and their size, MiB"),
        OPTION_FLAG ("json", &self->report.json,
                     "one JSON object a line on stdout, the rest on stderr"),
        OPTION_CHOICE ("hashes", &self->hashes, "number|string",
                       "integer hashes in JSON; string: for readers that round 64-bit integers"),
        OPTION_INT ("count", &self->count, 0, INT_MAX, "batches to deliver; 0: until stopped"),
        OPTION_END,
    };
    const about_t about = {
        .name = "kv_subscriber",
        .purpose = "SUB + DEALER: follows vLLM's KV events, every batch once and in order",
        .example = "  build/tools/kv_publisher\n"
                   "  build/tools/kv_subscriber --replay-endpoint tcp://127.0.0.1:5657 "
                   "--from-seq 0",
        .at_risk = "what it takes for KV events",
    };
    options_read (argc, argv, &about, options);
}

//  What the options mean for the sources
static void s_set_up (subscriber_t *self)
{
    if (self->report.json) {
        log_out = stderr;
        setvbuf (stdout, NULL, _IONBF, 0);  //  kv_report_flush writes many lines at once
    }
    self->report.how.string_hashes = streq (self->hashes, "string");
    self->report.wanted = (uint64_t) self->count;
    self->report.many = self->endpoints.count > 1;
    self->setting.report = &self->report;
    self->setting.poller = zpoller_new (NULL, NULL);
    self->setting.topics = self->topics.items;
    self->setting.topic_count = self->topics.count;
    self->setting.limits.max_held = (size_t) self->max_held;
    self->setting.limits.max_bytes = (size_t) self->max_held_mb << 20;
    self->setting.limits.replay_ms = self->replay_timeout_ms;
}

//  How long to wait for the sockets, ms; -1: until one has something
static int s_patience (kv_source_t *const *sources, size_t count)
{
    int64_t least = INT64_MAX;
    for (size_t i = 0; i < count; i++) {
        int64_t due = kv_source_deadline (sources[i]);
        least = due < least ? due : least;
    }
    int64_t left = least - zclock_mono ();
    return least == INT64_MAX ? -1 : left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int) left;
}

static void s_run (subscriber_t *self, kv_source_t *const *sources)
{
    while (!kv_report_is_done (&self->report)) {
        kv_report_flush (&self->report);
        zpoller_wait (self->setting.poller, s_patience (sources, self->endpoints.count));
        for (size_t i = 0; i < self->endpoints.count && !kv_report_is_done (&self->report); i++)
            kv_source_serve (sources[i], zclock_mono ());
    }
    for (size_t i = 0; i < self->endpoints.count && zsys_interrupted; i++)
        kv_source_flush (sources[i], zclock_mono ());
    kv_report_flush (&self->report);
}

int main (int argc, char **argv)
{
    subscriber_t self = {.endpoints.fallback = "tcp://127.0.0.1:5557",
                         .topics.fallback = "",
                         .hashes = "number",
                         .max_held = 100000,
                         .max_held_mb = 64,
                         //  An idle vLLM answers one request each 100 ms, and thirty may have asked
                         .replay_timeout_ms = 3000,
                         .setting.limits.from_seq = KV_FROM_LIVE};
    s_read_options (argc, argv, &self);
    if (!s_check (&self.endpoints, "endpoint", self.endpoints.count, self.bind) ||
        !s_check (&self.replay_endpoints, "replay-endpoint", self.endpoints.count, false))
        return OPTIONS_WRONG;
    if (!s_load_keys (&self))
        return EXIT_FAILURE;
    //  A closed socket counts until libzmq's reaper has it, and each replay has a new one. With
    //  CZMQ's limit of 1024 a publisher that makes us ask again and again could end the program.
    zsys_set_max_sockets (0);
    s_set_up (&self);

    kv_source_t *sources[OPTION_LIST_MAX] = {NULL};
    bool ok = true;
    for (size_t i = 0; i < self.endpoints.count && ok; i++) {
        self.setting.endpoint = self.endpoints.items[i];
        self.setting.replay_endpoint =
            i < self.replay_endpoints.count ? self.replay_endpoints.items[i] : NULL;
        sources[i] = kv_source_new (&self.setting, self.bind, zclock_mono ());
        ok = sources[i] != NULL;
        if (ok && !self.bind)
            print_line ("kv_subscriber: waiting for %s", self.setting.endpoint);
    }
    if (ok)
        s_run (&self, sources);
    for (size_t i = 0; i < self.endpoints.count; i++)
        kv_source_destroy (&sources[i]);
    if (ok)
        kv_report_summary (&self.report);
    zpoller_destroy (&self.setting.poller);
    text_destroy (&self.report.lines);
    return ok ? EXIT_SUCCESS : EXIT_STOPPED_OR_FAILED;
}
