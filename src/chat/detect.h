// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_CHAT_DETECT_H
#define COI_CHAT_DETECT_H

#include <cstddef>
#include <optional>
#include <string_view>

#include "coi.h"

namespace coi::chat {

// DET-5: of a group id, in octets.
constexpr size_t kGroupIdMax = 128;

// Values of the mail's own headers as they stand in it: raw, folded, with any
// byte in them. nullopt means that the mail has no such header.
struct Headers {
  std::optional<std::string_view> chat_version;
  std::optional<std::string_view> message_id;
  std::optional<std::string_view> references;
  std::optional<std::string_view> content_type;
  std::optional<std::string_view> subject;
};

// DET-1..4, DET-7. The first of these rules that matches, in the order of the enum.
//
// A msg-id begins at the first '<' that is in no comment and no quoted string;
// whatever stands before it (a phrase, as obsolete syntax has it) is skipped.
// A comment or a quoted string that never ends hides the rest of the value.
enum coi_chat_rule Detect(const Headers& headers, unsigned int rules) noexcept;

// CLI-3. Names of rules, separated by white space or commas, at least one. Returns
// what is wrong, or nullptr and the set.
const char* ParseRules(std::string_view text, unsigned int* rules) noexcept;

// DET-5. The group id is taken from the Message-ID or, where that holds none,
// from the first id in References. A mail with a group id is a chat mail.
//
//   msg-id   = "<chat$group." id "." unique "@" domain ">"
//   id       = 12*128( ALPHA / DIGIT / "-" / "_" )
//   unique   = 1*text
//   domain   = 1*text
//   text     = any byte but controls, SP, DEL, "<", ">", "@", "(", ")",
//              DQUOTE and "\"
//
// The result is a piece of the header's own bytes.
std::optional<std::string_view> GroupId(const Headers& headers) noexcept;

// MSG-4. The first msg-id, with its angle brackets, whatever is within them. It
// begins where it does for Detect(), and ends at the first '>' that isn't in quotes,
// or at the first one where quotes never end. nullopt where it is empty or has no end.
std::optional<std::string_view> FindMessageId(std::string_view value) noexcept;

// Lower-case name for logs; "none" for a value that is no rule.
const char* RuleName(enum coi_chat_rule rule) noexcept;

}  // namespace coi::chat

#endif  // COI_CHAT_DETECT_H
