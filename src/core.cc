// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include <optional>
#include <string_view>

#include "chat/detect.h"
#include "coi.h"
#include "config/values.h"

namespace {

std::optional<std::string_view> ToOptional(const struct coi_bytes& bytes) noexcept {
  if (bytes.data == nullptr) {
    return std::nullopt;
  }
  return std::string_view(bytes.data, bytes.size);
}

coi::chat::Headers ToHeaders(const struct coi_chat_headers& hdr) noexcept {
  return {
      .chat_version = ToOptional(hdr.chat_version),
      .message_id = ToOptional(hdr.message_id),
      .references = ToOptional(hdr.references),
  };
}

}  // namespace

// What the table points to is called from C, so it has C's language linkage.
extern "C" {

static enum coi_chat_rule ChatDetect(const struct coi_chat_headers* hdr) noexcept {
  return coi::chat::Detect(ToHeaders(*hdr));
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
  return coi::config::MailboxRootProblem(ToOptional(root).value_or(std::string_view()), separator);
}

const struct coi_core* coi_core(unsigned int version) {
  static constexpr struct coi_core kCore = {
      .version = COI_CORE_VERSION,
      .chat_detect = ChatDetect,
      .chat_rule_name = ChatRuleName,
      .chat_group_id = ChatGroupId,
      .config_enabled_parse = ConfigEnabledParse,
      .config_filter_parse = ConfigFilterParse,
      .config_mailbox_root_check = ConfigMailboxRootCheck,
  };
  return version == COI_CORE_VERSION ? &kCore : nullptr;
}

}  // extern "C"
