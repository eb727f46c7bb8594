// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "chat/detect.h"

#include <cstddef>

namespace coi::chat {
namespace {

using std::string_view;

constexpr string_view kChatPrefix = "chat$";
constexpr string_view kGroupPrefix = "chat$group.";
constexpr size_t kGroupIdMin = 12;
constexpr size_t kGroupIdMax = 128;

constexpr bool IsGroupIdChar(char c) noexcept {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
         c == '_';
}

// 8-bit bytes are allowed for the sake of internationalized mail (RFC 6532).
constexpr bool IsMsgIdChar(char c) noexcept {
  const auto byte = static_cast<unsigned char>(c);
  return byte > 0x20 && byte != 0x7f && string_view("<>@()\"\\").find(c) == string_view::npos;
}

template <typename Predicate>
constexpr size_t CountLeading(string_view text, Predicate matches) noexcept {
  size_t count = 0;
  while (count < text.size() && matches(text[count])) {
    ++count;
  }
  return count;
}

// Returns what follows the '<' of the first msg-id, up to the end of the value.
std::optional<string_view> AfterFirstAngle(const std::optional<string_view>& value) noexcept {
  if (!value) {
    return std::nullopt;
  }
  // A counter instead of recursion: the sender decides how deep comments nest.
  size_t comment_depth = 0;
  bool quoted = false;

  for (size_t i = 0; i < value->size(); ++i) {
    const char c = (*value)[i];
    if (comment_depth > 0 || quoted) {
      if (c == '\\') {
        ++i;
      } else if (quoted) {
        quoted = c != '"';
      } else if (c == '(') {
        ++comment_depth;
      } else if (c == ')') {
        --comment_depth;
      }
    } else if (c == '<') {
      string_view rest = *value;
      rest.remove_prefix(i + 1);
      return rest;
    } else if (c == '(') {
      comment_depth = 1;
    } else if (c == '"') {
      quoted = true;
    }
  }
  return std::nullopt;
}

bool HasChatId(const std::optional<string_view>& value) noexcept {
  const auto id = AfterFirstAngle(value);
  return id && id->starts_with(kChatPrefix);
}

std::optional<string_view> GroupIdOf(const std::optional<string_view>& value) noexcept {
  const auto id = AfterFirstAngle(value);
  if (!id || !id->starts_with(kGroupPrefix)) {
    return std::nullopt;
  }
  string_view rest = *id;
  rest.remove_prefix(kGroupPrefix.size());

  const size_t group_size = CountLeading(rest, IsGroupIdChar);
  if (group_size < kGroupIdMin || group_size > kGroupIdMax) {
    return std::nullopt;
  }
  const string_view group(rest.data(), group_size);
  rest.remove_prefix(group_size);

  // ".<unique>", "@<domain>" and ">" are all that may follow.
  for (const char lead : {'.', '@'}) {
    if (!rest.starts_with(lead)) {
      return std::nullopt;
    }
    rest.remove_prefix(1);
    const size_t size = CountLeading(rest, IsMsgIdChar);
    if (size == 0) {
      return std::nullopt;
    }
    rest.remove_prefix(size);
  }
  if (!rest.starts_with('>')) {
    return std::nullopt;
  }
  return group;
}

}  // namespace

enum coi_chat_rule Detect(const Headers& headers) noexcept {
  if (headers.chat_version) {
    return COI_CHAT_RULE_VERSION;
  }
  if (HasChatId(headers.message_id)) {
    return COI_CHAT_RULE_MESSAGE_ID;
  }
  if (HasChatId(headers.references)) {
    return COI_CHAT_RULE_REFERENCES;
  }
  return COI_CHAT_RULE_NONE;
}

std::optional<string_view> GroupId(const Headers& headers) noexcept {
  const auto group = GroupIdOf(headers.message_id);
  return group ? group : GroupIdOf(headers.references);
}

const char* RuleName(enum coi_chat_rule rule) noexcept {
  switch (rule) {
    case COI_CHAT_RULE_NONE:
      break;
    case COI_CHAT_RULE_VERSION:
      return "chat-version";
    case COI_CHAT_RULE_MESSAGE_ID:
      return "message-id";
    case COI_CHAT_RULE_REFERENCES:
      return "references";
  }
  return "none";
}

}  // namespace coi::chat
