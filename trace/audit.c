//  SPDX-License-Identifier: MIT
//
//  The tracer's library. The dynamic linker loads it into a program for LD_AUDIT (see
//  rtld-audit(7)), and asks it about each object that it loads and each function that it binds. For
//  functions of libzmq it gets the address of a wrapper.
//
//  An audit library lives in a namespace of its own, with its own copy of the C library. That copy
//  knows nothing of the program's threads and forks. So nothing here uses malloc, stdio, pthread
//  locks, or what looks at the locale (in a thread of the program strtod crashes). What is called
//  of libzmq is called by the addresses that the watched copy has.

//  The linker has to find these, and nothing else (-fvisibility=hidden)
#pragma GCC visibility push(default)
#include <link.h>
#pragma GCC visibility pop

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "calls.h"
#include "elf.h"
#include "process.h"
#include "record.h"
#include "watch.h"

//  Objects that call libzmq through tables that la_symbind64 is not asked about (-fno-plt, Rust),
//  until the addresses in these are there
#define UNPATCHED_MAX 64
static const struct link_map *_Atomic unpatched[UNPATCHED_MAX];

static const struct link_map *first_map;  //  The program itself

//  The program's C library. Sanitizers have functions of the same names, which call these.
static void (*real_exit) (int);
static pid_t (*real_fork) (void);
static bool is_audited;
static atomic_bool has_zmq;

//  The functions have the types that <link.h> gives them
//  NOLINTBEGIN(readability-non-const-parameter)

//  Before version 2.35 glibc has an older interface (1), and fails when a library does not want to
//  stay: then it stays, and looks at nothing
unsigned la_version (unsigned version)
{
    is_audited = process_start ();
    elf_patches_plt = version < 2;
    if (!is_audited && version >= 2)
        return 0;
    return version < LAV_CURRENT ? version : LAV_CURRENT;
}

static function_t *s_function (uintptr_t address)
{
    function_t *function;
    memcpy (&function, &address, sizeof function);
    return function;
}

//  Takes a libzmq into the table of copies. NULL: there are too many.
static zmq_copy_t *s_add_copy (const struct link_map *map)
{
    size_t n = 0;
    while (n < COPIES_MAX && copies[n].used)
        n++;
    if (n == COPIES_MAX) {
        SAY (map->l_name, ": one copy of libzmq too many, it is not watched");
        return NULL;
    }
    for (call_t call = (call_t) 0; call < CALLS; call++)
        copies[n].real[call] = s_function (elf_symbol (map, call_name (call)));
    copies[n].used = true;
    atomic_store (&has_zmq, true);
    return &copies[n];
}

static bool s_is_zmq (const struct link_map *map)
{
    for (call_t call = WATCHED; call < CALLS; call++)
        if (!elf_symbol (map, call_name (call)))
            return false;
    return elf_symbol (map, call_name (CALL_msg_send));
}

//  Set when an object calls libzmq through a table of addresses
static bool refers_to_zmq;

static bool s_note (uintptr_t *address, const char *name)
{
    (void) address;
    refers_to_zmq = refers_to_zmq || call_find (name) < WATCHED;
    return false;
}

//  False: its tables need not be looked at
static bool s_watch_tables (const struct link_map *map)
{
    refers_to_zmq = false;
    if (!elf_needs (map, "zmq") || elf_patch (map, s_note) > 0 || !refers_to_zmq)
        return false;
    const struct link_map *none = NULL;
    for (size_t i = 0; i < UNPATCHED_MAX; i++, none = NULL)
        if (atomic_compare_exchange_strong (&unpatched[i], &none, map))
            return true;
    return false;
}

unsigned la_objopen (struct link_map *map, Lmid_t lmid, uintptr_t *cookie)
{
    if (!is_audited)
        return 0;
    if (!first_map && lmid == LM_ID_BASE)
        first_map = map;
    zmq_copy_t *copy = s_is_zmq (map) ? s_add_copy (map) : NULL;
    //  An older libpthread has the first of these names as well
    if (!real_exit && elf_symbol (map, "__errno_location") && elf_symbol (map, "_exit")) {
        watch_errno_location = (int *(*) (void) ) s_function (elf_symbol (map, "__errno_location"));
        real_exit = (void (*) (int)) s_function (elf_symbol (map, "_exit"));
        real_fork = (pid_t (*) (void)) s_function (elf_symbol (map, "fork"));
    }
    //  Of a libzmq the cookie is its copy; of what has tables to patch the object, and 1 added
    *cookie = (uintptr_t) copy;
    if (!copy && s_watch_tables (map))
        *cookie = (uintptr_t) map + 1;
    return LA_FLG_BINDTO | LA_FLG_BINDFROM;
}

static zmq_copy_t *s_copy_of (uintptr_t cookie)
{
    return cookie % 2 ? NULL : (zmq_copy_t *) cookie;  //  NOLINT(performance-no-int-to-ptr)
}

unsigned la_objclose (uintptr_t *cookie)
{
    zmq_copy_t *copy = is_audited ? s_copy_of (*cookie) : NULL;
    if (copy)
        copy->used = false;
    for (size_t i = 0; i < UNPATCHED_MAX; i++)
        if ((uintptr_t) unpatched[i] + 1 == *cookie)
            unpatched[i] = NULL;
    return 0;
}

//  Puts a wrapper where the address of a watched call stands
static bool s_patch (uintptr_t *address, const char *name)
{
    call_t call = call_find (name);
    for (size_t n = 0; call < WATCHED && n < COPIES_MAX; n++)
        if (copies[n].used && *address && *address == (uintptr_t) copies[n].real[call]) {
            *address = (uintptr_t) call_wrapper (n, call);
            return true;
        }
    return false;
}

static void s_patch_all (void)
{
    for (size_t i = 0; i < UNPATCHED_MAX; i++) {
        const struct link_map *map = unpatched[i];
        if (map && elf_patch (map, s_patch) > 0)
            unpatched[i] = NULL;
    }
}

void la_preinit (uintptr_t *cookie)
{
    (void) cookie;
    s_patch_all ();
}

//  True when an object that is loaded has a libzmq inside: a message that only libzmq has
static bool s_has_static_zmq (void)
{
    static const char efsm[] = "Operation cannot be accomplished in current state";
    for (const struct link_map *map = first_map; map; map = map->l_next)
        if (elf_has_bytes (map == first_map ? "/proc/self/exe" : map->l_name, efsm, sizeof efsm))
            return true;
    return false;
}

static void s_end (void)
{
    //  A child after vfork has its parent's memory, and is not the one that ends
    if (!process_is_traced () || (long) getpid () != process.pid)
        return;
    record_end ();
    if (process.told_start || !process.is_root)
        return;
    process.is_root = false;
    process_read_name ();
    const char *why = process.has_sockets      ? " has used inproc:// only; see --inproc"
                      : atomic_load (&has_zmq) ? " has opened no socket of libzmq"
                      : s_has_static_zmq ()
                          ? " has libzmq linked in statically: its calls cannot be seen"
                          : " has loaded no libzmq";
    SAY (process.program, why);
}

//  A program that ends so runs no destructors
static void s_exit (int status)
{
    s_end ();
    real_exit (status);
}

//  A child forgets what it has from its parent now, while it has but one thread
static pid_t s_fork (void)
{
    pid_t child = real_fork ();
    if (child == 0)
        process_is_traced ();
    return child;
}

//  NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name)
uintptr_t la_symbind64 (Elf64_Sym *symbol, unsigned index, uintptr_t *from, uintptr_t *to,
                        unsigned *flags, const char *name)
{
    (void) index, (void) from;
    if (*flags & LA_SYMB_DLSYM)  //  Whatever was loaded is complete now
        s_patch_all ();
    const zmq_copy_t *copy = s_copy_of (*to);
    if (copy && call_find (name) < WATCHED)
        return (uintptr_t) call_wrapper ((size_t) (copy - copies), call_find (name));
    if (real_exit && symbol->st_value == (uintptr_t) real_exit)  //  Also called _Exit
        return (uintptr_t) s_exit;
    if (real_fork && symbol->st_value == (uintptr_t) real_fork)
        return (uintptr_t) s_fork;
    return symbol->st_value;
}

//  NOLINTEND(readability-non-const-parameter)

//  Runs when the program has ended in an orderly way, after its own destructors
__attribute__ ((destructor)) static void s_at_exit (void)
{
    if (is_audited)
        s_end ();
}
