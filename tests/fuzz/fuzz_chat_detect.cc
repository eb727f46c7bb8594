// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
// Input: the values of Message-ID, References, Chat-Version, Content-Type and
// Subject in this order, with an empty line between them, which no header value
// contains. A part that is missing or is "!" stands for a header that is absent.
// All of it is taken for the setting coi_chat_rules, too.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "coi.h"
#include "fuzz_util.h"

namespace coi::fuzz {
namespace {

using std::string;
using std::string_view;
using Text = std::optional<string_view>;

struct Result {
  enum coi_chat_rule rule;
  std::optional<string> group;

  bool operator==(const Result&) const = default;
};

bool IsGroupIdChar(char c) {
  return string_view("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-").find(c) !=
         string_view::npos;
}

Result Run(const Text& message_id, const Text& references, const Text& chat_version) {
  const Bytes message_id_bytes(message_id);
  const Bytes references_bytes(references);
  const Bytes chat_version_bytes(chat_version);
  const struct coi_chat_headers hdr = {.chat_version = chat_version_bytes.get(),
                                       .message_id = message_id_bytes.get(),
                                       .references = references_bytes.get(),
                                       .content_type = {},
                                       .subject = {}};

  Result result = {.rule = Core().chat_detect(&hdr, COI_CHAT_RULES_DEFAULT), .group = std::nullopt};
  FUZZ_CHECK(result.rule >= COI_CHAT_RULE_NONE && result.rule <= COI_CHAT_RULE_REFERENCES);
  FUZZ_CHECK((result.rule == COI_CHAT_RULE_VERSION) == chat_version.has_value());

  struct coi_bytes group = {.data = nullptr, .size = 0};
  if (Core().chat_group_id(&hdr, &group)) {
    FUZZ_CHECK(result.rule != COI_CHAT_RULE_NONE);
    FUZZ_CHECK(message_id_bytes.Holds(group) || references_bytes.Holds(group));
    FUZZ_CHECK(group.size >= 12 && group.size <= 128);
    result.group.emplace(group.data, group.size);
    for (const char c : *result.group) {
      FUZZ_CHECK(IsGroupIdChar(c));
    }
  } else {
    FUZZ_CHECK(group.data == nullptr && group.size == 0);
  }

  struct coi_bytes id = {.data = nullptr, .size = 0};
  if (Core().message_id_find(message_id_bytes.get(), &id)) {
    FUZZ_CHECK(message_id_bytes.Holds(id) && id.size > 2);
    FUZZ_CHECK(id.data[0] == '<' && id.data[id.size - 1] == '>');
  } else {
    FUZZ_CHECK(id.data == nullptr && id.size == 0);
  }
  return result;
}

std::optional<string> Prefixed(string_view prefix, const Text& value) {
  if (!value) {
    return std::nullopt;
  }
  return string(prefix) + string(*value);
}

void CheckMail(const Text& message_id, const Text& references, const Text& chat_version) {
  const Result result = Run(message_id, references, chat_version);

  for (const string_view prefix :
       {"(c)", "(a (b\\)) \"<chat$x@y>) ", " \r\n\t", "\"<chat$x@y> (\\\"\"", "phrase) ", "\\"}) {
    FUZZ_CHECK(Run(Prefixed(prefix, message_id), Prefixed(prefix, references), chat_version) ==
               result);
  }
  // An id before it decides alone.
  FUZZ_CHECK(Run(Prefixed("<chat$group.abcdefghijkl.1@b>", message_id ? message_id : ""),
                 references, std::nullopt) ==
             (Result{.rule = COI_CHAT_RULE_MESSAGE_ID, .group = "abcdefghijkl"}));
  FUZZ_CHECK(Run(Prefixed("<a@b>", message_id), Prefixed("<c@d>", references), std::nullopt) ==
             (Result{.rule = COI_CHAT_RULE_NONE, .group = std::nullopt}));

  // The Chat-Version changes the rule, never the group.
  const Result plain = Run(message_id, references, std::nullopt);
  FUZZ_CHECK(plain.group == result.group);
  FUZZ_CHECK(Run(message_id, references, "").rule == COI_CHAT_RULE_VERSION);

  // Message-ID and References are read by the same rules.
  const Result of_id = Run(message_id, std::nullopt, std::nullopt);
  const Result as_references = Run(std::nullopt, message_id, std::nullopt);
  FUZZ_CHECK((of_id.rule == COI_CHAT_RULE_MESSAGE_ID) ==
             (as_references.rule == COI_CHAT_RULE_REFERENCES));
  FUZZ_CHECK(of_id.group == as_references.group);
  if (of_id.rule != COI_CHAT_RULE_NONE) {
    FUZZ_CHECK(plain.rule == COI_CHAT_RULE_MESSAGE_ID);
  } else {
    FUZZ_CHECK(plain == Run(std::nullopt, references, std::nullopt));
  }
}

bool IsEncrypted(const Text& content_type, const Text& subject) {
  const Bytes content_type_bytes(content_type);
  const Bytes subject_bytes(subject);
  struct coi_chat_headers hdr {};
  hdr.content_type = content_type_bytes.get();
  hdr.subject = subject_bytes.get();
  const auto rule = Core().chat_detect(&hdr, 1U << COI_CHAT_RULE_ENCRYPTED);
  FUZZ_CHECK(rule == COI_CHAT_RULE_NONE || rule == COI_CHAT_RULE_ENCRYPTED);
  FUZZ_CHECK(Core().chat_detect(&hdr, COI_CHAT_RULES_DEFAULT) == COI_CHAT_RULE_NONE);
  return rule == COI_CHAT_RULE_ENCRYPTED;
}

void CheckEncrypted(const Text& content_type, const Text& subject) {
  const bool is_encrypted = IsEncrypted(content_type, subject);
  FUZZ_CHECK(!is_encrypted || subject->find("...") != string_view::npos);
  for (const string_view prefix : {"(c)", "(a (b\\)) multipart/mixed) ", " \r\n\t"}) {
    FUZZ_CHECK(IsEncrypted(Prefixed(prefix, content_type), Prefixed("\r\n ", subject)) ==
               is_encrypted);
  }
  FUZZ_CHECK(!IsEncrypted(Prefixed("x", content_type), subject));
  FUZZ_CHECK(!IsEncrypted(content_type, Prefixed("x", subject)));
}

void CheckRules(string_view text) {
  const Bytes bytes(text);
  unsigned int rules = 0;
  const char* error = Core().config_chat_rules_parse(bytes.get(), &rules);
  FUZZ_CHECK((error == nullptr) == (rules != 0));
  FUZZ_CHECK((rules & ~(COI_CHAT_RULES_DEFAULT | 1U << COI_CHAT_RULE_ENCRYPTED)) == 0);
}

}  // namespace
}  // namespace coi::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr std::string_view kSeparator = "\n\n";
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  coi::fuzz::CheckRules(rest);
  std::array<coi::fuzz::Text, 5> parts;
  for (auto& part : parts) {
    const size_t end = rest.find(kSeparator);
    const std::string_view text = rest.substr(0, end);
    if (text != "!") {
      part = text;
    }
    if (end == std::string_view::npos) {
      break;
    }
    rest.remove_prefix(end + kSeparator.size());
  }
  coi::fuzz::CheckMail(parts[0], parts[1], parts[2]);
  coi::fuzz::CheckEncrypted(parts[3], parts[4]);
  return 0;
}
