//  SPDX-License-Identifier: MIT

#include "elf.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined __x86_64__
#define IS_ADDRESS(type) ((type) == R_X86_64_GLOB_DAT || (type) == R_X86_64_64)
#define IS_PLT(type) ((type) == R_X86_64_JUMP_SLOT)
#elif defined __aarch64__
#define IS_ADDRESS(type) ((type) == R_AARCH64_GLOB_DAT || (type) == R_AARCH64_ABS64)
#define IS_PLT(type) ((type) == R_AARCH64_JUMP_SLOT)
#else
#define IS_ADDRESS(type) false  //  There la_symbind64 alone has to do
#define IS_PLT(type) false
#endif

bool elf_patches_plt = false;

static const Elf64_Dyn *s_entry (const struct link_map *map, Elf64_Sxword tag)
{
    const Elf64_Dyn *entry = map->l_ld;
    while (entry && entry->d_tag != DT_NULL && entry->d_tag != tag)
        entry++;
    return entry && entry->d_tag == tag ? entry : NULL;
}

//  The address in an entry, which glibc has relocated in most objects, and not in read-only ones
static const void *s_address (const struct link_map *map, Elf64_Sxword tag)
{
    const Elf64_Dyn *entry = s_entry (map, tag);
    if (!entry)
        return NULL;
    uintptr_t address = entry->d_un.d_ptr;
    if (address < map->l_addr)
        address += map->l_addr;
    return (const void *) address;  //  NOLINT(performance-no-int-to-ptr)
}

static size_t s_size (const struct link_map *map, Elf64_Sxword tag)
{
    const Elf64_Dyn *entry = s_entry (map, tag);
    return entry ? entry->d_un.d_val : 0;
}

static uintptr_t s_defined (const struct link_map *map, const Elf64_Sym *symbol,
                            const char *strings, const char *name)
{
    bool is_it = symbol->st_shndx != SHN_UNDEF && strcmp (strings + symbol->st_name, name) == 0;
    return is_it ? map->l_addr + symbol->st_value : 0;
}

static uint32_t s_gnu_hash (const char *name)
{
    uint32_t hash = 5381;
    for (const unsigned char *c = (const unsigned char *) name; *c; c++)
        hash = hash * 33 + *c;
    return hash;
}

//  DT_GNU_HASH: 4 numbers, a Bloom filter, the buckets, and a chain of hashes for each bucket, the
//  last of which has its lowest bit set
static uintptr_t s_find_gnu (const struct link_map *map, const uint32_t *table,
                             const Elf64_Sym *symbols, const char *strings, const char *name)
{
    uint32_t bucket_count = table[0], first = table[1], bloom_size = table[2];
    const uint32_t *buckets = table + 4 + bloom_size * (sizeof (Elf64_Addr) / sizeof *table);
    const uint32_t *chains = buckets + bucket_count;
    uint32_t hash = s_gnu_hash (name);
    uint32_t index = bucket_count ? buckets[hash % bucket_count] : 0;
    if (index < first)
        return 0;
    uint32_t link;
    do {
        link = chains[index - first];
        uintptr_t found =
            (link | 1) == (hash | 1) ? s_defined (map, &symbols[index], strings, name) : 0;
        if (found)
            return found;
        index++;
    } while (!(link & 1));
    return 0;
}

uintptr_t elf_symbol (const struct link_map *map, const char *name)
{
    const Elf64_Sym *symbols = s_address (map, DT_SYMTAB);
    const char *strings = s_address (map, DT_STRTAB);
    const uint32_t *gnu = s_address (map, DT_GNU_HASH);
    const uint32_t *hash = s_address (map, DT_HASH);
    if (!symbols || !strings)
        return 0;
    if (gnu)
        return s_find_gnu (map, gnu, symbols, strings, name);
    //  DT_HASH: its second number is that of the symbols
    for (uint32_t i = 0; hash && i < hash[1]; i++) {
        uintptr_t found = s_defined (map, &symbols[i], strings, name);
        if (found)
            return found;
    }
    return 0;
}

bool elf_needs (const struct link_map *map, const char *part)
{
    const char *strings = s_address (map, DT_STRTAB);
    const Elf64_Dyn *entry = map->l_ld;
    for (; strings && entry && entry->d_tag != DT_NULL; entry++)
        if (entry->d_tag == DT_NEEDED && strstr (strings + entry->d_un.d_val, part))
            return true;
    return false;
}

//  A place that was made read-only after relocation is made writable, and stays so
static bool s_patch_place (uintptr_t *place, const char *name, elf_patch_t *patch)
{
    uintptr_t address = *place;
    if (!patch (&address, name))
        return false;
    uintptr_t page = (uintptr_t) place & ~((uintptr_t) sysconf (_SC_PAGESIZE) - 1);
    //  NOLINTNEXTLINE(performance-no-int-to-ptr)
    if (mprotect ((void *) page, sizeof *place, PROT_READ | PROT_WRITE) == -1)
        return false;
    *place = address;
    return true;
}

static size_t s_patch_table (const struct link_map *map, const Elf64_Rela *table, size_t size,
                             elf_patch_t *patch)
{
    const Elf64_Sym *symbols = s_address (map, DT_SYMTAB);
    const char *strings = s_address (map, DT_STRTAB);
    size_t patched = 0;
    for (size_t i = 0; table && i < size / sizeof *table; i++) {
        uint64_t type = ELF64_R_TYPE (table[i].r_info);
        if (!IS_ADDRESS (type) && !(elf_patches_plt && IS_PLT (type)))
            continue;
        const Elf64_Sym *symbol = &symbols[ELF64_R_SYM (table[i].r_info)];
        //  NOLINTNEXTLINE(performance-no-int-to-ptr)
        uintptr_t *place = (uintptr_t *) (map->l_addr + table[i].r_offset);
        patched += s_patch_place (place, strings + symbol->st_name, patch);
    }
    return patched;
}

size_t elf_patch (const struct link_map *map, elf_patch_t *patch)
{
    return s_patch_table (map, s_address (map, DT_RELA), s_size (map, DT_RELASZ), patch) +
           s_patch_table (map, s_address (map, DT_JMPREL), s_size (map, DT_PLTRELSZ), patch);
}

bool elf_has_bytes (const char *path, const void *bytes, size_t size)
{
    int fd = open (path, O_RDONLY | O_CLOEXEC);
    struct stat file;
    if (fd == -1)
        return false;
    void *data = MAP_FAILED;
    if (fstat (fd, &file) == 0 && file.st_size > 0)
        data = mmap (NULL, (size_t) file.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close (fd);
    if (data == MAP_FAILED)
        return false;
    bool found = memmem (data, (size_t) file.st_size, bytes, size);
    munmap (data, (size_t) file.st_size);
    return found;
}
