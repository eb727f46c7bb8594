// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
// Input: a line; and texts, separated by LF, that a hand-off is made of.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz_util.h"
#include "push/handoff.h"
#include "push/subscription.h"

namespace coi::fuzz {
namespace {

using push::Handoff;
using push::HandoffKind;
using std::string;
using std::string_view;

void CheckWritten(const Handoff& handoff) {
  const string line = push::WriteHandoff(handoff);
  FUZZ_CHECK(line.find_first_of(string_view("\r\n\0", 3)) == string::npos);
  const Bytes bytes(line);
  Handoff again;
  const char* error = "";
  FUZZ_CHECK(push::ParseHandoff({bytes.get().data, bytes.get().size}, &again, &error));
  FUZZ_CHECK(error == nullptr && again == handoff);
}

void CheckLine(string_view text) {
  const Bytes bytes(text);
  Handoff handoff;
  const char* error = nullptr;
  if (!push::ParseHandoff({bytes.get().data, bytes.get().size}, &handoff, &error)) {
    FUZZ_CHECK(error != nullptr && *error != '\0');
    return;
  }
  FUZZ_CHECK(error == nullptr && text.starts_with("1\t"));
  FUZZ_CHECK(text.find('\n') == string_view::npos);
  const bool has_mail = handoff.kind == HandoffKind::kDeliver;
  FUZZ_CHECK(has_mail || (handoff.mail == push::MailInfo() && !handoff.chat));
  if (handoff.kind == HandoffKind::kVapid || handoff.kind == HandoffKind::kStatus) {
    FUZZ_CHECK(handoff.user.empty() && handoff.subscriptions.empty());
  } else {
    FUZZ_CHECK(!handoff.user.empty() && !handoff.subscriptions.empty());
    FUZZ_CHECK(handoff.id.size() == 32 || (handoff.id.empty() && !has_mail));
    FUZZ_CHECK(handoff.subscriptions.size() <= 100);
    FUZZ_CHECK(handoff.kind != HandoffKind::kRegister || handoff.subscriptions.size() == 1);
  }
  for (const auto& [id, stored] : handoff.subscriptions) {
    FUZZ_CHECK(push::IsSubscriptionId(id) && !stored.empty());
  }
  CheckWritten(handoff);
}

// Takes what stands before the next LF.
string Take(string_view* text) {
  const size_t end = std::min(text->find('\n'), text->size());
  const string piece(text->substr(0, end));
  text->remove_prefix(std::min(end + 1, text->size()));
  return piece;
}

void CheckPieces(string_view text) {
  Handoff handoff;
  // Its size is as good as any choice.
  handoff.kind = static_cast<HandoffKind>(text.size() % 4);
  if (handoff.kind != HandoffKind::kVapid) {
    handoff.id = "0123456789abcdef0123456789abcdef";
    handoff.user = "u" + Take(&text).substr(0, 1023);
    handoff.subscriptions.emplace_back("0123456789", "{" + Take(&text).substr(0, 16000));
  }
  if (handoff.kind == HandoffKind::kDeliver) {
    push::MailInfo& mail = handoff.mail;
    for (string* field : {&mail.from_email, &mail.from_name, &mail.subject, &mail.folder,
                          &mail.msg_id, &mail.content_type, &mail.content_encoding}) {
      *field = Take(&text);
    }
    mail.uid = static_cast<uint32_t>(text.size());
    if (!text.empty()) {
      handoff.chat = text.size() % 2 == 0;
      mail.date = static_cast<int64_t>(text.size()) * text.front();
      mail.date_offset = text.front();
      mail.body = text;
    }
  }
  CheckWritten(handoff);
}

void CheckReply(string_view text) {
  const string reply = push::WriteReply(text.size() % 2 == 0, {string(text), "x=" + string(text)});
  FUZZ_CHECK(reply.find('\n') == reply.size() - 1);
  FUZZ_CHECK(std::count(reply.begin(), reply.end(), '\t') == 2);
  FUZZ_CHECK(reply.find_first_of(string_view("\r\0", 2)) == string::npos);
}

}  // namespace
}  // namespace coi::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  coi::fuzz::CheckLine(input);
  coi::fuzz::CheckPieces(input);
  coi::fuzz::CheckReply(input);
  return 0;
}
