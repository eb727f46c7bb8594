// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "chat/detect.h"

#include <algorithm>
#include <cstddef>
#include <iterator>

#include "util/ascii.h"

namespace coi::chat {
namespace {

using std::string_view;

constexpr string_view kChatPrefix = "chat$";
constexpr string_view kGroupPrefix = "chat$group.";
constexpr size_t kGroupIdMin = 12;

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

// Where the msg-id ends whose '<' is in front of this, or npos.
size_t FindIdEnd(string_view id) noexcept {
  bool quoted = false;

  for (size_t i = 0; i < id.size(); ++i) {
    if (id[i] == '"') {
      quoted = !quoted;
    } else if (quoted && id[i] == '\\') {
      ++i;
    } else if (!quoted && id[i] == '>') {
      return i;
    }
  }
  return id.find('>');
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

// Without white space and comments in front.
string_view SkipComments(string_view text) noexcept {
  size_t depth = 0;
  size_t i = 0;
  for (; i < text.size() && (depth > 0 || text[i] == '(' || util::IsWhiteSpace(text[i])); ++i) {
    if (text[i] == '(') {
      ++depth;
    } else if (text[i] == ')') {
      --depth;
    } else if (text[i] == '\\') {
      ++i;
    }
  }
  text.remove_prefix(std::min(i, text.size()));
  return text;
}

// Takes a word, in any case, and what may be behind it.
bool TakeWord(string_view word, string_view* text) noexcept {
  if (!util::EqualsIgnoringCase(text->substr(0, word.size()), word)) {
    return false;
  }
  *text = SkipComments(text->substr(word.size()));
  return true;
}

// What clients write that hide even the headers which say that it is chat.
bool IsEncryptedChat(const Headers& headers) noexcept {
  if (!headers.content_type || !headers.subject) {
    return false;
  }
  string_view type = SkipComments(*headers.content_type);
  if (!TakeWord("multipart", &type) || !TakeWord("/", &type) || !TakeWord("encrypted", &type) ||
      !(type.empty() || type.front() == ';')) {
    return false;
  }
  const string_view subject = util::Trim(*headers.subject);
  return subject == "[...]" || subject == "...";
}

bool Matches(enum coi_chat_rule rule, const Headers& headers) noexcept {
  switch (rule) {
    case COI_CHAT_RULE_NONE:
      break;
    case COI_CHAT_RULE_VERSION:
      return headers.chat_version.has_value();
    case COI_CHAT_RULE_MESSAGE_ID:
      return HasChatId(headers.message_id);
    case COI_CHAT_RULE_REFERENCES:
      return HasChatId(headers.references);
    case COI_CHAT_RULE_ENCRYPTED:
      return IsEncryptedChat(headers);
  }
  return false;
}

constexpr enum coi_chat_rule kRules[] = {COI_CHAT_RULE_VERSION, COI_CHAT_RULE_MESSAGE_ID,
                                         COI_CHAT_RULE_REFERENCES, COI_CHAT_RULE_ENCRYPTED};

}  // namespace

enum coi_chat_rule Detect(const Headers& headers, unsigned int rules) noexcept {
  for (const auto rule : kRules) {
    if ((rules & 1U << rule) != 0 && Matches(rule, headers)) {
      return rule;
    }
  }
  return COI_CHAT_RULE_NONE;
}

const char* ParseRules(string_view text, unsigned int* rules) noexcept {
  const auto is_separator = [](char c) { return util::IsWhiteSpace(c) || c == ','; };
  unsigned int found = 0;
  while (!text.empty()) {
    if (is_separator(text.front())) {
      text.remove_prefix(1);
      continue;
    }
    const auto* end = std::ranges::find_if(text, is_separator);
    const string_view name = text.substr(0, static_cast<size_t>(end - text.begin()));
    const auto* rule =
        std::ranges::find_if(kRules, [name](auto one) { return name == RuleName(one); });
    if (rule == std::end(kRules)) {
      return "has a rule other than chat-version, message-id, references and encrypted";
    }
    found |= 1U << *rule;
    text.remove_prefix(name.size());
  }
  if (found == 0) {
    return "names no rule";
  }
  *rules = found;
  return nullptr;
}

std::optional<string_view> GroupId(const Headers& headers) noexcept {
  const auto group = GroupIdOf(headers.message_id);
  return group ? group : GroupIdOf(headers.references);
}

std::optional<string_view> FindMessageId(string_view value) noexcept {
  const auto id = AfterFirstAngle(value);
  const size_t end = id ? FindIdEnd(*id) : string_view::npos;
  if (end == string_view::npos || end == 0) {
    return std::nullopt;
  }
  return string_view(id->data() - 1, end + 2);
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
    case COI_CHAT_RULE_ENCRYPTED:
      return "encrypted";
  }
  return "none";
}

}  // namespace coi::chat
