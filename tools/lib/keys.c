//  SPDX-License-Identifier: MIT

#include "lib/keys.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

//  A certificate is a short text. What is longer is something else.
#define FILE_MAX 8192

char *keys_check_mode (const char *path, const struct stat *status, mode_t forbidden)
{
    mode_t mode = status->st_mode;
    if (status->st_uid != geteuid () && status->st_uid != 0)
        return zsys_sprintf ("%s: it belongs to user %u, who can change it (chown)", path,
                             (unsigned) status->st_uid);
    if (!(mode & forbidden))
        return NULL;
    return zsys_sprintf ("%s: mode %04o lets others %s (chmod go-%s)", path,
                         (unsigned) (mode & 07777), forbidden & S_IROTH ? "read it" : "write to it",
                         forbidden & S_IROTH ? "rwx" : "w");
}

//  Reads a certificate into text[FILE_MAX]. zcert_load would do that, but for a malformed file it
//  prints to stdout, of a long path it drops the end, and a key that is none it takes for zeros.
static char *s_read_file (const char *path, mode_t forbidden, char *text)
{
    //  O_NONBLOCK, so that a FIFO does not hold us up
    int file = open (path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat status;
    if (file == -1 || fstat (file, &status) == -1) {
        char *why = zsys_sprintf ("cannot read %s: %s", path, strerror (errno));
        if (file != -1)
            close (file);
        return why;
    }
    ssize_t size = S_ISREG (status.st_mode) ? read (file, text, FILE_MAX - 1) : -1;
    close (file);
    if (size == -1)
        return zsys_sprintf ("cannot read %s: it is not a file", path);
    text[size] = 0;
    return keys_check_mode (path, &status, forbidden);
}

//  The key behind `name` in a certificate, as bytes and, with its NUL, as text
static char *s_find_key (const char *path, const char *text, const char *name, byte *key,
                         char *key_text)
{
    for (const char *line = text; line; line = strchr (line, '\n')) {
        line += strspn (line, "\n \t");
        size_t size = strlen (name);
        if (strncmp (line, name, size) != 0)
            continue;
        line += size + strspn (line + size, " \t=");
        if (*line != '"' || strcspn (line + 1, "\"\n") != KEY_TEXT_SIZE)
            break;
        memcpy (key_text, line + 1, KEY_TEXT_SIZE);
        key_text[KEY_TEXT_SIZE] = 0;
        if (!zmq_z85_decode (key, key_text))
            break;
        return NULL;
    }
    return zsys_sprintf ("%s: want a certificate with a %s of %d characters", path, name,
                         KEY_TEXT_SIZE);
}

char *keys_read_public (const char *path, byte *key)
{
    char text[FILE_MAX], key_text[KEY_TEXT_SIZE + 1];
    char *why = s_read_file (path, S_IWGRP | S_IWOTH, text);
    return why ? why : s_find_key (path, text, "public-key", key, key_text);
}

char *keys_read_secret (const char *path, zcert_t **cert_p)
{
    char text[FILE_MAX], public_text[KEY_TEXT_SIZE + 1], secret_text[KEY_TEXT_SIZE + 1];
    char derived_text[KEY_TEXT_SIZE + 1];
    byte public_key[KEY_SIZE], secret_key[KEY_SIZE];
    char *why = s_read_file (path, S_IRWXG | S_IRWXO, text);
    if (!why)
        why = s_find_key (path, text, "public-key", public_key, public_text);
    if (!why)
        why = s_find_key (path, text, "secret-key", secret_key, secret_text);
    if (!why &&
        (zmq_curve_public (derived_text, secret_text) == -1 || !streq (derived_text, public_text)))
        why = zsys_sprintf ("%s: its two keys do not belong together", path);
    if (!why)
        *cert_p = zcert_new_from (public_key, secret_key);
    return why;
}

char *keys_search_list (const char *dir, const byte *wanted, bool *found)
{
    *found = false;
    char *folder = zsys_sprintf ("%s/clients", dir);
    struct stat status;
    DIR *list = opendir (folder);
    char *why = list && stat (folder, &status) == 0
                    ? keys_check_mode (folder, &status, S_IWGRP | S_IWOTH)
                    : zsys_sprintf ("cannot read %s: %s", folder, strerror (errno));
    bool trusted = list && !why;
    for (struct dirent *entry; trusted && !*found && (entry = readdir (list));) {
        size_t size = strlen (entry->d_name);
        if (entry->d_name[0] == '.' || size < 4 || !streq (entry->d_name + size - 4, ".key"))
            continue;
        byte key[KEY_SIZE];
        char *path = zsys_sprintf ("%s/%s", folder, entry->d_name);
        char *bad = keys_read_public (path, key);
        *found = !bad && wanted && memcmp (key, wanted, KEY_SIZE) == 0;
        if (bad) {
            zstr_free (&why);  //  One of them is told
            why = bad;
        }
        zstr_free (&path);
    }
    if (list)
        closedir (list);
    zstr_free (&folder);
    return why;
}
