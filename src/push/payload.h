// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_PUSH_PAYLOAD_H
#define COI_PUSH_PAYLOAD_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

// The plaintext of a push: PROTOCOL MSG-3..5, SUB-6.
namespace coi::push {

constexpr size_t kMaxPayload = 3993;

// What the payload tells of a mail. Text is what the header said, decoded; it
// need not be valid UTF-8 (what isn't becomes U+FFFD). Nullopt and empty mean
// the same: the field is omitted.
struct MailInfo {
  std::string from_email;
  std::string from_name;
  std::string subject;
  std::optional<int64_t> date;  // seconds since 1970
  int date_offset = 0;          // minutes east of UTC, of the Date header
  std::string msg_id;
  uint32_t uid = 0;
  uint32_t uidvalidity = 0;
  std::string folder;  // UTF-8
  std::string group_id;
  std::string content_type;      // the header's value, unfolded
  std::string content_encoding;  // likewise
  // The whole body as it stands in the mail; nullopt where it is too large.
  std::optional<std::string> body;

  bool operator==(const MailInfo&) const = default;
};

// The JSON object, at most kMaxPayload octets whatever the mail holds. Without
// content for a service that has answered 413 (MSG-9).
std::string BuildPayload(const MailInfo& mail, bool with_content);

// SUB-6.
std::string BuildValidation(std::string_view text);

}  // namespace coi::push

#endif  // COI_PUSH_PAYLOAD_H
