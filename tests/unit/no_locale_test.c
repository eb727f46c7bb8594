/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
/* BLK-2 where libc has no Unicode, as in a chroot without the files of the
 * locale: ASCII still gets lower case, everything else stays as it is. */

#include <dlfcn.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "coi.h"

static int calls;

__attribute__((visibility("default"))) locale_t newlocale(int mask, const char* name,
                                                          locale_t base) {
  (void)mask;
  (void)name;
  (void)base;
  ++calls;
  return (locale_t)0;
}

static int check(const struct coi_core* core) {
  const struct coi_bytes local_part = {.data = "J\xc3\x96RG", .size = 5};
  const struct coi_bytes domain = {.data = "X", .size = 1};
  const char wanted[] = "j\xc3\x96rg@x";
  char buf[100];

  /* Twice, because the core asks once only. */
  for (int i = 0; i < 2; ++i) {
    const size_t size = core->address_normalize(local_part, domain, buf, sizeof(buf));
    if (size != strlen(wanted) || memcmp(buf, wanted, size) != 0) {
      fprintf(stderr, "got \"%.*s\"\n", (int)size, buf);
      return 1;
    }
  }
  if (calls != 1) {
    fprintf(stderr, "newlocale() called %d times\n", calls);
    return 1;
  }
  return 0;
}

int main(void) {
  void* handle = dlopen(COI_CORE_PATH, RTLD_NOW | RTLD_LOCAL);
  if (handle == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  coi_core_func_t* get_core = (coi_core_func_t*)dlsym(handle, COI_CORE_SYMBOL);
  const struct coi_core* core = get_core == NULL ? NULL : get_core(COI_CORE_VERSION);
  const int ret = core == NULL ? 1 : check(core);
  dlclose(handle);
  return ret;
}
