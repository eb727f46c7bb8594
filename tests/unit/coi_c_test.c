/* This Source Code Form is subject to the terms of the Mozilla Public
 * License, v. 2.0. If a copy of the MPL was not distributed with this
 * file, You can obtain one at https://mozilla.org/MPL/2.0/. */
#include "coi_c_test.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "coi.h"

/* The first check that fails ends the run. */
#define CHECK(expr)                                                  \
  do {                                                               \
    if (!(expr)) {                                                   \
      snprintf(error_r, error_size, "line %d: %s", __LINE__, #expr); \
      return -1;                                                     \
    }                                                                \
  } while (0)

static struct coi_bytes bytes(const char* text) {
  return (struct coi_bytes){.data = text, .size = text == NULL ? 0 : strlen(text)};
}

static bool read_from(void* context, size_t offset, void* buf, size_t size) {
  memcpy(buf, (const char*)context + offset, size);
  return true;
}

static int check_table(const struct coi_core* core, char* error_r, size_t error_size) {
  const struct coi_chat_headers none = {0};
  const struct coi_chat_headers version = {.chat_version = bytes("")};
  const struct coi_chat_headers references = {
      .message_id = bytes("<a@b>"),
      .references = bytes("(c)\r\n <chat$group.abcdefghijkl.1@b>"),
  };
  struct coi_bytes group = {0};
  enum coi_filter filter = COI_FILTER_NONE;

  CHECK(core->version == COI_CORE_VERSION);

  CHECK(core->chat_detect(&none, COI_CHAT_RULES_DEFAULT) == COI_CHAT_RULE_NONE);
  CHECK(core->chat_detect(&version, COI_CHAT_RULES_DEFAULT) == COI_CHAT_RULE_VERSION);
  CHECK(core->chat_detect(&references, COI_CHAT_RULES_DEFAULT) == COI_CHAT_RULE_REFERENCES);
  CHECK(strcmp(core->chat_rule_name(COI_CHAT_RULE_REFERENCES), "references") == 0);

  CHECK(!core->chat_group_id(&none, &group));
  CHECK(core->chat_group_id(&references, &group));
  CHECK(group.size == 12 && memcmp(group.data, "abcdefghijkl", 12) == 0);
  CHECK(!core->message_id_find(bytes(NULL), &group));
  CHECK(core->message_id_find(references.message_id, &group));
  CHECK(group.size == 5 && memcmp(group.data, "<a@b>", 5) == 0);

  CHECK(core->config_enabled_parse(bytes("yes")));
  CHECK(!core->config_enabled_parse(bytes("no")));
  CHECK(!core->config_enabled_parse(bytes(NULL)));

  CHECK(core->config_filter_parse(bytes("seen"), &filter) && filter == COI_FILTER_SEEN);
  CHECK(!core->config_filter_parse(bytes("Active"), &filter) && filter == COI_FILTER_SEEN);

  CHECK(core->config_mailbox_root_check(bytes("COI"), '/') == NULL);
  CHECK(core->config_mailbox_root_check(bytes("INBOX"), '/') != NULL);

  struct coi_contact contact = {.date = 5, .uid = 1, .blocked = true};
  const struct coi_contacts_state state = {
      .uidvalidity = 1, .uidnext = 2, .messages = 1, .log_changed = -1};
  struct coi_contacts_state state2 = {0};
  char buf[120];
  size_t count = 0;

  CHECK(core->address_normalize(bytes("\"J\xc3\x96\""), bytes("X"), buf, sizeof(buf)) == 5);
  CHECK(memcmp(buf, "j\xc3\xb6@x", 5) == 0);
  CHECK(core->address_normalize(bytes("a"), bytes(NULL), buf, sizeof(buf)) == 0);

  struct coi_bytes local_part, domain;
  CHECK(core->address_find_last(bytes("Bob <a@xy>"), &local_part, &domain));
  CHECK(local_part.size == 1 && domain.size == 2 && memcmp(domain.data, "xy", 2) == 0);

  CHECK(!core->contact_hash_parse(bytes("74b3"), contact.hash));
  CHECK(core->contact_hash_parse(
      bytes("74b3c446c189580045a942b90b7461128bc334b3b67e9f63c0c06189248c9bb0"), contact.hash));

  const struct coi_contacts_source index = {
      .read = read_from, .context = buf, .size = core->contacts_index_size(1)};
  CHECK(index.size <= sizeof(buf));
  core->contacts_index_write(&state, &contact, 1, buf);
  CHECK(core->contacts_index_read(&index, &state2, &count) && count == 1);
  CHECK(state2.uidnext == state.uidnext && state2.log_changed == state.log_changed);
  CHECK(core->contacts_index_is_blocked(&index, contact.hash));
  CHECK(core->contacts_index_get(&index, 0, &contact));
  CHECK(contact.date == 5 && contact.uid == 1 && contact.blocked);
  return 0;
}

int coi_c_test_run(const char* path, char* error_r, size_t error_size) {
  void* handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (handle == NULL) {
    snprintf(error_r, error_size, "%s", dlerror());
    return -1;
  }

  int ret = -1;
  coi_core_func_t* get_core = (coi_core_func_t*)dlsym(handle, COI_CORE_SYMBOL);
  const struct coi_core* core = get_core == NULL ? NULL : get_core(COI_CORE_VERSION);
  if (core == NULL) {
    snprintf(error_r, error_size, "no %s of version %d", COI_CORE_SYMBOL, COI_CORE_VERSION);
  } else if (get_core(COI_CORE_VERSION + 1) != NULL) {
    snprintf(error_r, error_size, "a table for a version that does not exist");
  } else {
    ret = check_table(core, error_r, error_size);
  }
  dlclose(handle);
  return ret;
}
