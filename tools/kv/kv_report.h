//  SPDX-License-Identifier: MIT
//  kv_report.h - what a reader of kv_subscriber gets to see: JSON objects, or lines for people
//
//  With --json each goes to stdout as one object; without, as one line. Once stdout takes no more,
//  nothing is printed.

#pragma once

#include "kv/kv_json.h"
#include "kv/kv_sequence.h"

typedef struct {
    bool json;
    kv_json_t how;    //  Its endpoint is set for each line
    bool many;        //  More than one endpoint, so each line says of which
    uint64_t wanted;  //  Stop after so many batches; 0: go on
    uint64_t delivered;
    uint64_t malformed;
    uint64_t unreadable;       //  Of the malformed, batches in their turn
    kv_sequence_counts_t sum;  //  Of streams that are no more
    text_t lines;              //  JSON that is not written yet
} kv_report_t;

//  Writes the JSON lines that are not written yet. To be called before waiting for messages, and at
//  the end.
void kv_report_flush (kv_report_t *self);

//  True when there is nothing more to do: Ctrl-C, enough batches, or nobody who reads them
bool kv_report_is_done (const kv_report_t *self);

//  A batch whose turn it is
void kv_report_batch (kv_report_t *self, const kv_origin_t *origin, const kv_numbered_t *batch);

void kv_report_notice (kv_report_t *self, const kv_origin_t *origin, kv_notice_t notice,
                       uint64_t first, uint64_t last);

//  Counts and reports what cannot be read: batch `seq`, or a message without a number, KV_SEQ_END
void kv_report_malformed (kv_report_t *self, const kv_origin_t *origin, const char *what,
                          uint64_t seq, const mp_error_t *error);

//  A connection to `endpoint` has begun ("connected"), has ended ("disconnected"), or was refused
//  ("handshake_failed"); `why` may be NULL
void kv_report_connection (kv_report_t *self, const char *endpoint, const char *notice,
                           const char *why);

//  Adds what a stream has counted
void kv_report_add (kv_report_t *self, const kv_sequence_counts_t *counts);

//  The last line, when all streams have been added
void kv_report_summary (const kv_report_t *self);
