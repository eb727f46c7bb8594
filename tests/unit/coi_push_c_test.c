/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#include "coi_push_c_test.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "coi-push.h"
/* It is linked, not loaded; here it need only be C. */
#include "coi-relay.h"

/* The first check that fails ends the run. */
#define CHECK(expr)                                                  \
  do {                                                               \
    if (!(expr)) {                                                   \
      snprintf(error_r, error_size, "line %d: %s", __LINE__, #expr); \
      return -1;                                                     \
    }                                                                \
  } while (0)

static const char subscription[] =
    "{\"client\":\"a\",\"device\":\"b\",\"msgtype\":\"mail\",\"exclude_from\":[\"x@y\"],"
    "\"resource\":{\"endpoint\":\"https://c/\",\"keys\":{\"auth\":\"BTBZMqHH6r4Tts7J_aSIgg\","
    "\"p256dh\":\"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkN"
    "toIAiw4\"}}}";

static struct coi_bytes bytes(const char* text) {
  return (struct coi_bytes){.data = text, .size = text == NULL ? 0 : strlen(text)};
}

static bool is_in(const char* text, struct coi_bytes whole) {
  const size_t size = strlen(text);
  for (size_t i = 0; i + size <= whole.size; i++) {
    if (memcmp(whole.data + i, text, size) == 0) {
      return true;
    }
  }
  return false;
}

static int check_table(const struct coi_push* push, char* error_r, size_t error_size) {
  static char stored_buf[COI_SUBSCRIPTION_MAX_SIZE], buf[COI_SUBSCRIPTION_MAX_SIZE];
  struct coi_bytes stored = {.data = stored_buf}, shown = {.data = buf};
  struct coi_push_mail mail = {.chat = false};

  CHECK(push->version == COI_PUSH_VERSION);

  CHECK(push->subscription_id_check(bytes("0123456789")));
  CHECK(!push->subscription_id_check(bytes("012345678")));
  CHECK(!push->subscription_id_check(bytes(NULL)));

  CHECK(push->subscription_parse(bytes(NULL), 1, 2, bytes("text"), stored_buf, &stored.size) !=
        NULL);
  CHECK(push->subscription_parse(bytes(subscription), 1, 100, bytes("text"), stored_buf,
                                 &stored.size) == NULL);
  CHECK(is_in("\"created\":1,", stored));

  CHECK(push->subscription_is_live(stored, 99));
  CHECK(!push->subscription_is_live(stored, 100));
  CHECK(!push->subscription_wants(stored, &mail));

  CHECK(push->subscription_set_vapid(stored, bytes("0123456789abcdef"), buf, &shown.size));
  CHECK(is_in("\"vapid\":\"0123456789abcdef\"", shown));
  memcpy(stored_buf, buf, shown.size);
  stored.size = shown.size;

  CHECK(push->subscription_validate(stored, bytes("texT"), 99, buf, &shown.size) ==
        COI_VALIDATE_REFUSED);
  CHECK(push->subscription_validate(stored, bytes("text"), 99, buf, &shown.size) ==
        COI_VALIDATE_OK);
  memcpy(stored_buf, buf, shown.size);
  stored.size = shown.size;

  CHECK(push->subscription_is_live(stored, 100));
  CHECK(push->subscription_wants(stored, &mail));
  mail.from_email = bytes("X@Y");
  CHECK(!push->subscription_wants(stored, &mail));

  CHECK(push->subscription_show(stored, buf, &shown.size));
  CHECK(is_in("\"auth\":\"\"", shown));
  CHECK(is_in("\"validated\":true", shown));
  CHECK(!push->subscription_show(bytes("{}"), buf, &shown.size));

  int64_t set = 0;
  CHECK(!push->device_token_check(stored, &set));
  CHECK(!push->device_token_store(bytes("a b"), 5, stored_buf, &stored.size));
  CHECK(push->device_token_store(bytes("openpgp:x"), 5, stored_buf, &stored.size));
  CHECK(push->device_token_check(stored, &set) && set == 5);
  CHECK(push->device_token_check(stored, NULL));
  CHECK(push->subscription_is_live(stored, 6));
  CHECK(!push->subscription_is_live(stored, 5 + 90 * 86400));
  CHECK(push->subscription_wants(stored, &mail));
  CHECK(push->subscription_show(stored, buf, &shown.size));
  CHECK(is_in("\"token\":\"\"", shown));
  CHECK(!push->subscription_set_vapid(stored, bytes("0123456789abcdef"), buf, &shown.size));
  CHECK(push->subscription_validate(stored, bytes("x"), 6, buf, &shown.size) ==
        COI_VALIDATE_REFUSED);
  return 0;
}

int coi_push_c_test_run(const char* path, char* error_r, size_t error_size) {
  void* handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (handle == NULL) {
    snprintf(error_r, error_size, "%s", dlerror());
    return -1;
  }

  int ret = -1;
  coi_push_func_t* get_push = (coi_push_func_t*)dlsym(handle, COI_PUSH_SYMBOL);
  const struct coi_push* push = get_push == NULL ? NULL : get_push(COI_PUSH_VERSION);
  if (push == NULL) {
    snprintf(error_r, error_size, "no %s of version %d", COI_PUSH_SYMBOL, COI_PUSH_VERSION);
  } else if (get_push(COI_PUSH_VERSION + 1) != NULL) {
    snprintf(error_r, error_size, "a table for a version that does not exist");
  } else {
    ret = check_table(push, error_r, error_size);
  }
  dlclose(handle);
  return ret;
}
