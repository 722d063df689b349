//  SPDX-License-Identifier: MIT
//  keys.h - the files of a folder of keys: certificates as CZMQ and pyzmq write them
//
//  Each function returns NULL when all is well, or else why not: a text to be freed with zstr_free.

#pragma once

#include <czmq.h>
#include <sys/stat.h>

//  A key is 32 bytes, or 40 characters of Z85 (RFC 32)
#define KEY_SIZE 32
#define KEY_TEXT_SIZE 40

//  `status` is that of `path`, `forbidden` what others must not be allowed. It must belong to us,
//  or to root.
char *keys_check_mode (const char *path, const struct stat *status, mode_t forbidden);

//  Reads the public key of a certificate into key[KEY_SIZE]. Others must not be able to write it.
char *keys_read_public (const char *path, byte *key);

//  Reads both keys, which must belong together, into a certificate for the caller. Others must not
//  be able to read it.
char *keys_read_secret (const char *path, zcert_t **cert_p);

//  Looks for a client's key in <dir>/clients; with `wanted` NULL it reads them all. A file that
//  cannot be used is reported, and does not keep the others from being read.
char *keys_search_list (const char *dir, const byte *wanted, bool *found);
