// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_PUSH_HANDOFF_H
#define COI_PUSH_HANDOFF_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coi-push.h"
#include "push/payload.h"

// The hand-off line, docs/handoff.md: what a mail process asks of the service.
namespace coi::push {

constexpr size_t kMaxHandoffSize = COI_HANDOFF_MAX_SIZE;

enum class HandoffKind { kDeliver, kRegister, kGone, kForget, kVapid, kStatus };

struct Handoff {
  HandoffKind kind = HandoffKind::kDeliver;
  std::string id;
  std::string user;
  MailInfo mail;                                                   // of kDeliver
  bool chat = false;                                               // of kDeliver
  std::vector<std::pair<std::string, std::string>> subscriptions;  // id, stored JSON

  bool operator==(const Handoff&) const = default;
};

// 32 hexadecimal digits in lower case; a file of the spool has it for its name, too.
bool IsHandoffId(std::string_view id) noexcept;

// Line is without its LF. Returns false, and a static text, where it is not
// one. Fields that are not known are ignored.
bool ParseHandoff(std::string_view line, Handoff* out, const char** error);

// The line, without LF. For the tests, and golden: Parse(Write(x)) == x.
std::string WriteHandoff(const Handoff& handoff);

// A reply line with its LF: "+" or "-", words and name=value fields, escaped.
std::string WriteReply(bool ok, const std::vector<std::string>& fields);

}  // namespace coi::push

#endif  // COI_PUSH_HANDOFF_H
