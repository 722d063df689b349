//  SPDX-License-Identifier: MIT
//  kv_events.c - fuzzes tools/kv/kv_json: batches as a publisher's payload

#include "mutate.h"
#include "kv/kv_json.h"

size_t LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max, unsigned seed)
{
    return mutate_msgpack (data, size, max, seed);
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    zframe_t *payload = zframe_new (data, size);
    kv_numbered_t numbered = {.seq = 7,
                              .topic = {"kv@\"\xff\n", 6},
                              .payload = {(const char *) zframe_data (payload), size},
                              .replayed = size % 3 == 0};
    text_t line = {NULL, 0, 0}, again = {NULL, 0, 0};
    //  The endpoint is one that a shell would not like
    kv_json_t how = {.endpoint = size % 2 ? "ipc:///\"" : NULL, .string_hashes = size % 4 > 1};
    mp_error_t why = {.text = ""};
    bool printed = kv_batch_print_json (&line, &numbered, &how, &why);
    text_put_char (&line, 0);
    const char *text = line.data;
    line.size--;
    DEMAND (!printed || mp_check (data, size, "", NULL) == 0);
    //  What was found sound is not checked again, and prints the same
    kv_payload_rank (&numbered);
    DEMAND (!numbered.sound || printed);
    DEMAND (kv_payload_check (&numbered, NULL) == printed);
    DEMAND (kv_batch_print_json (&again, &numbered, &how, NULL) == printed);
    DEMAND (!printed || fuzz_same_text (&line, &again));
    text_destroy (&again);
    char *described = kv_payload_describe (&numbered, NULL);
    DEMAND ((described != NULL) == printed);
    zstr_free (&described);
    if (printed) {
        DEMAND (line.size > 0 && text[line.size - 1] == '\n');
        DEMAND (fuzz_is_clean (text, line.size - 1));
        DEMAND (fuzz_json_value (text, text + line.size) == text + line.size - 1);
    } else {
        DEMAND (line.size == 0);
        fuzz_is_told (&why);
    }
    text_destroy (&line);
    zframe_destroy (&payload);
    return 0;
}
