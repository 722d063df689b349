//  SPDX-License-Identifier: MIT

#include "kv/kv_report.h"
#include "lib/log.h"

bool kv_report_is_done (const kv_report_t *self)
{
    return zsys_interrupted || (self->wanted > 0 && self->delivered >= self->wanted) ||
           (log_level != LOG_QUIET && ferror (stdout));
}

static bool s_prints (void)
{
    return log_level != LOG_QUIET && !ferror (stdout);
}

//  Lines are written at this size even if more messages wait
#define LINES_MAX 65536

void kv_report_flush (kv_report_t *self)
{
    if (self->lines.size > 0 && !ferror (stdout)) {
        fwrite (self->lines.data, 1, self->lines.size, stdout);
        fflush (stdout);
    }
    self->lines.size = 0;
}

static void s_print_json (kv_report_t *self, const kv_origin_t *origin, const char *name,
                          uint64_t first, uint64_t last, const char *what)
{
    kv_origin_t shown = *origin;
    if (!self->many)
        shown.endpoint = NULL;
    kv_notice_print_json (&self->lines, name, &shown, first, last, what);
}

void kv_report_batch (kv_report_t *self, const kv_origin_t *origin, const kv_numbered_t *batch)
{
    if (self->wanted > 0 && self->delivered >= self->wanted)
        return;  //  More came at once than was wanted
    mp_error_t error;
    bool readable;
    if (log_level == LOG_QUIET) {
        readable = kv_payload_check (batch, &error);
    } else if (ferror (stdout)) {
        return;
    } else if (self->json) {
        self->how.endpoint = self->many ? origin->endpoint : NULL;
        readable = kv_batch_print_json (&self->lines, batch, &self->how, &error);
        if (self->lines.size >= LINES_MAX)
            kv_report_flush (self);
    } else {
        char *text = kv_payload_describe (batch, &error);
        readable = text != NULL;
        if (readable)
            print_line ("%s%sseq %" PRIu64 "%s: %s", self->many ? origin->endpoint : "",
                        self->many ? " " : "", batch->seq, batch->replayed ? " replayed" : "",
                        text);
        zstr_free (&text);
    }
    if (readable) {
        self->delivered++;
    } else {
        self->unreadable++;
        kv_report_malformed (self, origin, "batch", batch->seq, &error);
    }
}

void kv_report_notice (kv_report_t *self, const kv_origin_t *origin, kv_notice_t notice,
                       uint64_t first, uint64_t last)
{
    const char *name = kv_notice_name (notice), *meaning = kv_notice_meaning (notice);
    if (!s_prints ())
        return;
    if (self->json)
        s_print_json (self, origin, name, first, last, meaning);
    else if (first == last)
        print_line ("%s %" PRIu64 ": %s", name, first, meaning);
    else
        print_line ("%s %" PRIu64 "-%" PRIu64 ": %s", name, first, last, meaning);
}

void kv_report_malformed (kv_report_t *self, const kv_origin_t *origin, const char *what,
                          uint64_t seq, const mp_error_t *error)
{
    uint64_t last = seq == KV_SEQ_END ? 0 : seq;  //  Below `seq`: about no batch
    self->malformed++;
    warn_line ("bad %s from %s: %s", what, origin->endpoint, error->text);
    if (self->json && s_prints ())
        s_print_json (self, origin, "malformed", seq, last, error->text);
}

void kv_report_connection (kv_report_t *self, const char *endpoint, const char *notice,
                           const char *why)
{
    kv_origin_t origin = {.endpoint = endpoint, .rank = KV_RANK_NONE};
    if (!s_prints ())
        return;
    if (self->json)
        kv_notice_print_json (&self->lines, notice, &origin, 1, 0,
                              why ? why : "a publisher is there");
    else
        print_line ("%s %s%s%s", notice, endpoint, why ? ": " : "", why ? why : "");
}

void kv_report_add (kv_report_t *self, const kv_sequence_counts_t *counts)
{
    kv_sequence_counts_t *sum = &self->sum;
    sum->received += counts->received;
    sum->replayed += counts->replayed;
    sum->duplicates += counts->duplicates;
    sum->gaps += counts->gaps;
    sum->lost += counts->lost;
    sum->restarts += counts->restarts;
    sum->strays += counts->strays;
}

void kv_report_summary (const kv_report_t *self)
{
    const kv_sequence_counts_t *sum = &self->sum;
    print_summary ("%" PRIu64 " received, %" PRIu64 " delivered, %" PRIu64 " replayed, %" PRIu64
                   " duplicates, %" PRIu64 " gaps, %" PRIu64 " lost, %" PRIu64
                   " malformed, %" PRIu64 " restarts",
                   sum->received - self->unreadable, self->delivered, sum->replayed,
                   sum->duplicates, sum->gaps, sum->lost, self->malformed, sum->restarts);
}
