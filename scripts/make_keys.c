//  SPDX-License-Identifier: MIT
//  make_keys.c - makes a folder for --curve-dir: a server's keys, a client's, and the list with the
//  client on it
//
//  Run:   build/scripts/make_keys keys      (or make keys)

#include "lib/curve.h"
#include "lib/log.h"

#include <sys/stat.h>

//  zcert_save_secret cuts off the names of files that are longer
#define PATH_SIZE 256

//  folder/name.key and folder/name.key_secret, which nobody else can read
static bool s_save (zcert_t *cert, const char *folder, const char *name)
{
    char path[PATH_SIZE];
    int size = snprintf (path, sizeof path, "%s/%s.key", folder, name);
    zcert_set_meta (cert, "name", "%s", name);
    return size + (int) strlen ("_secret") < (int) sizeof path && zcert_save (cert, path) == 0;
}

//  folder/clients/name.key
static bool s_save_listed (zcert_t *cert, const char *folder, const char *name)
{
    char path[PATH_SIZE];
    int size = snprintf (path, sizeof path, "%s/clients", folder);
    if (size >= (int) sizeof path || mkdir (path, S_IRWXU) == -1)
        return false;
    size = snprintf (path, sizeof path, "%s/clients/%s.key", folder, name);
    return size < (int) sizeof path && zcert_save_public (cert, path) == 0;
}

//  All keys in an empty folder
static bool s_fill (const char *folder)
{
    zcert_t *server = zcert_new (), *client = zcert_new ();
    bool ok = s_save (server, folder, "server") && s_save (client, folder, "client") &&
              s_save_listed (client, folder, "client");
    if (!ok)
        warn_line ("cannot write to %s: %s", folder, strerror (errno));
    zcert_destroy (&server);
    zcert_destroy (&client);
    //  A full disk shows only when one reads
    curve_dir = folder;
    ok = ok && curve_load (CURVE_SERVER) && curve_load (CURVE_CLIENT);
    curve_dir = NULL;
    return ok;
}

int main (int argc, char **argv)
{
    log_program = "make_keys";
    if (argc == 2 && streq (argv[1], "--help")) {
        puts ("make_keys - makes keys for the programs' --curve-dir\n\nUsage: make_keys FOLDER");
        return EXIT_SUCCESS;
    }
    if (argc != 2 || argv[1][0] == '-' || !argv[1][0]) {
        warn_line ("want the name of a folder to make");
        return 2;
    }
    if (!zsys_has_curve ()) {
        warn_line ("this libzmq was built without CURVE");
        return EXIT_FAILURE;
    }
    const char *folder = argv[1];
    char secret[PATH_SIZE], making[PATH_SIZE];
    int size = snprintf (secret, sizeof secret, "%s/server.key_secret", folder);
    snprintf (making, sizeof making, "%s.XXXXXX", folder);
    struct stat status;
    if (stat (secret, &status) == 0) {
        print_line ("%s: has keys already; they are kept", folder);
        return EXIT_SUCCESS;
    }
    umask (umask (0) | S_IWGRP | S_IWOTH);  //  A key that others can write is refused
    //  Made beside it (mkdtemp: nobody else can look in), and renamed when all is there. So nothing
    //  that exists is overwritten, and there are all keys or none.
    if (size >= PATH_SIZE || !mkdtemp (making)) {
        warn_line ("cannot make %s: %s", making,
                   strerror (size >= PATH_SIZE ? ENAMETOOLONG : errno));
        return EXIT_FAILURE;
    }
    bool ok = s_fill (making);
    if (ok && rename (making, folder) == -1) {
        warn_line ("cannot make %s: %s", folder, strerror (errno));
        ok = false;
    }
    if (ok) {
        print_line ("%s/server.key_secret       for programs that bind; keep it secret", folder);
        print_line ("%s/server.key              its public key, for programs that connect", folder);
        print_line ("%s/client.key_secret       for programs that connect; keep it secret", folder);
        print_line (
            "%s/clients/client.key      its public key, on the list of clients that may connect",
            folder);
    } else {
        zdir_t *left = zdir_new (making, NULL);
        if (left)
            zdir_remove (left, true);
        zdir_destroy (&left);
    }
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
