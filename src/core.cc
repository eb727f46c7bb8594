// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

#include "chat/detect.h"
#include "coi.h"
#include "config/values.h"
#include "contacts/address.h"
#include "contacts/hash.h"
#include "contacts/index.h"
#include "mail/header.h"

namespace {

std::optional<std::string_view> ToOptional(const struct coi_bytes& bytes) noexcept {
  if (bytes.data == nullptr) {
    return std::nullopt;
  }
  return std::string_view(bytes.data, bytes.size);
}

std::string_view ToText(const struct coi_bytes& bytes) noexcept {
  return ToOptional(bytes).value_or(std::string_view());
}

coi::chat::Headers ToHeaders(const struct coi_chat_headers& hdr) noexcept {
  return {
      .chat_version = ToOptional(hdr.chat_version),
      .message_id = ToOptional(hdr.message_id),
      .references = ToOptional(hdr.references),
      .content_type = ToOptional(hdr.content_type),
      .subject = ToOptional(hdr.subject),
  };
}

}  // namespace

// What the table points to is called from C, so it has C's language linkage.
extern "C" {

static enum coi_chat_rule ChatDetect(const struct coi_chat_headers* hdr,
                                     unsigned int rules) noexcept {
  return coi::chat::Detect(ToHeaders(*hdr), rules);
}

static const char* ConfigChatRulesParse(struct coi_bytes text, unsigned int* rules_r) noexcept {
  return coi::chat::ParseRules(ToText(text), rules_r);
}

static const char* ChatRuleName(enum coi_chat_rule rule) noexcept {
  return coi::chat::RuleName(rule);
}

static bool ChatGroupId(const struct coi_chat_headers* hdr, struct coi_bytes* group_id_r) noexcept {
  const auto group = coi::chat::GroupId(ToHeaders(*hdr));
  if (!group) {
    return false;
  }
  *group_id_r = {.data = group->data(), .size = group->size()};
  return true;
}

static bool MessageIdFind(struct coi_bytes value, struct coi_bytes* message_id_r) noexcept {
  const auto id = coi::chat::FindMessageId(ToText(value));
  if (!id) {
    return false;
  }
  *message_id_r = {.data = id->data(), .size = id->size()};
  return true;
}

static bool ConfigEnabledParse(struct coi_bytes value) noexcept {
  const auto text = ToOptional(value);
  return text && coi::config::IsEnabled(*text);
}

static bool ConfigFilterParse(struct coi_bytes value, enum coi_filter* filter_r) noexcept {
  const auto text = ToOptional(value);
  const auto filter = text ? coi::config::ParseFilter(*text) : std::nullopt;
  if (!filter) {
    return false;
  }
  *filter_r = *filter;
  return true;
}

static const char* ConfigMailboxRootCheck(struct coi_bytes root, char separator) noexcept {
  return coi::config::MailboxRootProblem(ToText(root), separator);
}

static size_t AddressNormalize(struct coi_bytes local_part, struct coi_bytes domain, char* buf,
                               size_t buf_size) noexcept {
  return coi::contacts::NormalizeAddress(ToText(local_part), ToText(domain), {buf, buf_size});
}

static bool AddressFindLast(struct coi_bytes value, struct coi_bytes* local_part_r,
                            struct coi_bytes* domain_r) noexcept {
  const auto parts = coi::contacts::FindLastAddress(ToText(value));
  if (!parts) {
    return false;
  }
  *local_part_r = {parts->local_part.data(), parts->local_part.size()};
  *domain_r = {parts->domain.data(), parts->domain.size()};
  return true;
}

static bool ContactHashParse(struct coi_bytes value,
                             unsigned char hash_r[COI_CONTACT_HASH_SIZE]) noexcept {
  const auto hash = coi::contacts::ParseHash(ToText(value));
  if (!hash) {
    return false;
  }
  std::ranges::copy(*hash, hash_r);
  return true;
}

static size_t ContactsIndexSize(size_t count) noexcept {
  return coi::contacts::IndexSize(count);
}

static void ContactsIndexWrite(const struct coi_contacts_state* state, struct coi_contact* contacts,
                               size_t count, void* buf) noexcept {
  coi::contacts::WriteIndex(*state, {contacts, count}, static_cast<char*>(buf));
}

static bool ContactsIndexRead(const struct coi_contacts_source* index,
                              struct coi_contacts_state* state_r, size_t* count_r) noexcept {
  const auto view = coi::contacts::Index::Read(*index);
  if (!view) {
    return false;
  }
  *state_r = view->state();
  *count_r = view->count();
  return true;
}

// These two read the head again. That is cheap, and a caller's mistake can't
// make them read beyond the end.
static bool ContactsIndexGet(const struct coi_contacts_source* index, size_t n,
                             struct coi_contact* contact_r) noexcept {
  const auto view = coi::contacts::Index::Read(*index);
  const auto contact = view && n < view->count() ? view->Get(n) : std::nullopt;
  *contact_r = contact.value_or(coi_contact{});
  return contact.has_value();
}

static bool ContactsIndexIsBlocked(const struct coi_contacts_source* index,
                                   const unsigned char hash[COI_CONTACT_HASH_SIZE]) noexcept {
  const auto view = coi::contacts::Index::Read(*index);
  return view && view->IsBlocked(std::span<const unsigned char, COI_CONTACT_HASH_SIZE>(
                     hash, COI_CONTACT_HASH_SIZE));
}

static bool HeadersFind(struct coi_bytes mail, struct coi_header* headers, size_t count) noexcept {
  return coi::mail::FindHeaders(ToText(mail), {headers, count});
}

const struct coi_core* coi_core(unsigned int version) {
  static constexpr struct coi_core kCore = {
      .version = COI_CORE_VERSION,
      .chat_detect = ChatDetect,
      .chat_rule_name = ChatRuleName,
      .chat_group_id = ChatGroupId,
      .config_chat_rules_parse = ConfigChatRulesParse,
      .config_enabled_parse = ConfigEnabledParse,
      .config_filter_parse = ConfigFilterParse,
      .config_mailbox_root_check = ConfigMailboxRootCheck,
      .address_normalize = AddressNormalize,
      .contact_hash_parse = ContactHashParse,
      .contacts_index_size = ContactsIndexSize,
      .contacts_index_write = ContactsIndexWrite,
      .contacts_index_read = ContactsIndexRead,
      .contacts_index_get = ContactsIndexGet,
      .contacts_index_is_blocked = ContactsIndexIsBlocked,
      .headers_find = HeadersFind,
      .address_find_last = AddressFindLast,
      .message_id_find = MessageIdFind,
  };
  return version == COI_CORE_VERSION ? &kCore : nullptr;
}

}  // extern "C"
