// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "push/handoff.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <iterator>
#include <span>
#include <system_error>

#include "push/subscription.h"

namespace coi::push {
namespace {

using std::string;
using std::string_view;
using namespace std::string_view_literals;

constexpr string_view kVersion = COI_HANDOFF_VERSION;
constexpr size_t kIdSize = 32;
constexpr size_t kUserMax = 1024;
constexpr string_view kSubscriptionPrefix = "sub.";

struct KindName {
  string_view name;
  HandoffKind kind;
};
constexpr KindName kKinds[] = {
    {"deliver", HandoffKind::kDeliver}, {"register", HandoffKind::kRegister},
    {"gone", HandoffKind::kGone},       {"forget", HandoffKind::kForget},
    {"vapid", HandoffKind::kVapid},     {"status", HandoffKind::kStatus}};

// These have no fields.
constexpr bool IsBare(HandoffKind kind) noexcept {
  return kind == HandoffKind::kVapid || kind == HandoffKind::kStatus;
}

// Fields that are what they are.
struct TextField {
  string_view name;
  string MailInfo::*text;
};
constexpr TextField kTexts[] = {{"folder", &MailInfo::folder},
                                {"from-email", &MailInfo::from_email},
                                {"from-name", &MailInfo::from_name},
                                {"subject", &MailInfo::subject},
                                {"msg-id", &MailInfo::msg_id},
                                {"group-id", &MailInfo::group_id},
                                {"content-type", &MailInfo::content_type},
                                {"content-encoding", &MailInfo::content_encoding}};
constexpr auto kBeforeDate = std::span(kTexts).first<4>();
constexpr auto kAfterDate = std::span(kTexts).subspan<kBeforeDate.size()>();

// -- Tab-escaping --

struct Escape {
  char byte;
  char letter;
};
constexpr char kEscape = '\x01';
constexpr Escape kEscapes[] = {{kEscape, '1'}, {'\t', 't'}, {'\n', 'n'}, {'\r', 'r'}, {'\0', '0'}};

void AppendEscaped(string_view text, string* out) {
  for (const char c : text) {
    const auto* escape = std::ranges::find(kEscapes, c, &Escape::byte);
    if (escape == std::end(kEscapes)) {
      *out += c;
    } else {
      *out += kEscape;
      *out += escape->letter;
    }
  }
}

bool IsEscaped(string_view text) noexcept {
  return std::ranges::none_of("\n\r\0"sv, [&](char c) { return text.find(c) != text.npos; });
}

// Of what is free of raw control characters. False where AppendEscaped() would
// not have written it.
bool Unescape(string_view text, string* out) {
  out->clear();
  out->reserve(text.size());
  for (;;) {
    const size_t plain = std::min(text.find(kEscape), text.size());
    *out += text.substr(0, plain);
    text.remove_prefix(plain);
    if (text.empty()) {
      return true;
    }
    const auto* escape = text.size() > 1 ? std::ranges::find(kEscapes, text[1], &Escape::letter)
                                         : std::end(kEscapes);
    if (escape == std::end(kEscapes)) {
      return false;
    }
    *out += escape->byte;
    text.remove_prefix(2);
  }
}

// -- Reading --

// Takes what stands before the next separator, or all that is left.
string_view TakeUpTo(char separator, string_view* text) noexcept {
  const size_t end = std::min(text->find(separator), text->size());
  const string_view piece = text->substr(0, end);
  text->remove_prefix(std::min(end + 1, text->size()));
  return piece;
}

template <typename Number>
bool ParseNumber(string_view text, Number* out) noexcept {
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, *out);
  return result.ec == std::errc() && result.ptr == end;
}

bool ParseDate(string_view text, MailInfo* mail) noexcept {
  const string_view seconds = TakeUpTo(' ', &text);
  int64_t date = 0;
  if (!ParseNumber(seconds, &date) || !ParseNumber(text, &mail->date_offset)) {
    return false;
  }
  mail->date = date;
  return true;
}

enum class FieldResult { kTaken, kUnknown, kBad };

constexpr FieldResult Taken(bool is_good) noexcept {
  return is_good ? FieldResult::kTaken : FieldResult::kBad;
}

FieldResult TakeMailField(string_view name, string* value, Handoff* out) {
  const auto* text = std::ranges::find(kTexts, name, &TextField::name);
  if (text != std::end(kTexts)) {
    out->mail.*text->text = std::move(*value);
    return FieldResult::kTaken;
  }
  if (name == "body") {
    out->mail.body = std::move(*value);
    return FieldResult::kTaken;
  }
  if (name == "chat") {
    out->chat = true;
    return Taken(*value == "1");
  }
  if (name == "uid") {
    return Taken(ParseNumber(*value, &out->mail.uid));
  }
  if (name == "uidvalidity") {
    return Taken(ParseNumber(*value, &out->mail.uidvalidity));
  }
  if (name == "date") {
    return Taken(ParseDate(*value, &out->mail));
  }
  return FieldResult::kUnknown;
}

FieldResult TakeField(string_view name, string* value, Handoff* out) {
  if (IsBare(out->kind)) {
    return FieldResult::kUnknown;
  }
  if (name == "id") {
    out->id = std::move(*value);
    return Taken(IsHandoffId(out->id));
  }
  if (name == "user") {
    out->user = std::move(*value);
    return Taken(!out->user.empty() && out->user.size() <= kUserMax);
  }
  if (name.starts_with(kSubscriptionPrefix)) {
    name.remove_prefix(kSubscriptionPrefix.size());
    const bool is_good = IsSubscriptionId(name) && !value->empty() &&
                         value->size() < COI_SUBSCRIPTION_MAX_SIZE &&
                         out->subscriptions.size() < COI_HANDOFF_MAX_SUBSCRIPTIONS;
    out->subscriptions.emplace_back(name, std::move(*value));
    return Taken(is_good);
  }
  return out->kind == HandoffKind::kDeliver ? TakeMailField(name, value, out)
                                            : FieldResult::kUnknown;
}

const char* WhatIsMissing(const Handoff& handoff) noexcept {
  const size_t count = handoff.subscriptions.size();
  if (IsBare(handoff.kind)) {
    return nullptr;
  }
  if (handoff.kind == HandoffKind::kDeliver && handoff.id.empty()) {
    return "it has no id";
  }
  if (handoff.user.empty()) {
    return "it has no user";
  }
  if (count == 0) {
    return "it has no subscription";
  }
  return handoff.kind == HandoffKind::kRegister && count > 1 ? "it has more than one subscription"
                                                             : nullptr;
}

const char* ParseFields(string_view line, Handoff* out) {
  std::vector<string_view> seen;
  string value;
  while (!line.empty()) {
    string_view escaped = TakeUpTo('\t', &line);
    if (escaped.find('=') == string_view::npos) {
      return "a field has no value";
    }
    const string_view name = TakeUpTo('=', &escaped);
    if (!Unescape(escaped, &value)) {
      return "a value is not escaped";
    }
    const FieldResult result = TakeField(name, &value, out);
    if (result == FieldResult::kBad) {
      return "a field's value is bad";
    }
    if (result == FieldResult::kTaken) {
      if (std::ranges::find(seen, name) != seen.end()) {
        return "a field is there twice";
      }
      seen.push_back(name);
    }
  }
  return WhatIsMissing(*out);
}

const char* Parse(string_view line, Handoff* out) {
  if (line.size() >= kMaxHandoffSize) {
    return "it is too long";
  }
  const bool ends_with_separator = line.ends_with('\t');
  if (TakeUpTo('\t', &line) != kVersion) {
    return "its version is not known";
  }
  const auto* kind = std::ranges::find(kKinds, TakeUpTo('\t', &line), &KindName::name);
  if (kind == std::end(kKinds)) {
    return "its kind is not known";
  }
  if (!IsEscaped(line)) {
    return "a value is not escaped";
  }
  if (ends_with_separator) {
    return "a field has no value";
  }
  out->kind = kind->kind;
  return ParseFields(line, out);
}

// -- Writing --

void AppendField(string_view name, string_view value, string* out) {
  *out += '\t';
  *out += name;
  *out += '=';
  AppendEscaped(value, out);
}

void AppendText(string_view name, string_view value, string* out) {
  if (!value.empty()) {
    AppendField(name, value, out);
  }
}

void AppendNumber(string_view name, uint32_t value, string* out) {
  if (value != 0) {
    AppendField(name, std::to_string(value), out);
  }
}

void AppendMail(const Handoff& handoff, string* out) {
  const MailInfo& mail = handoff.mail;
  AppendText("chat", handoff.chat ? "1" : "", out);
  AppendNumber("uid", mail.uid, out);
  AppendNumber("uidvalidity", mail.uidvalidity, out);
  for (const auto& field : kBeforeDate) {
    AppendText(field.name, mail.*field.text, out);
  }
  if (mail.date) {
    AppendField("date", std::to_string(*mail.date) + ' ' + std::to_string(mail.date_offset), out);
  }
  for (const auto& field : kAfterDate) {
    AppendText(field.name, mail.*field.text, out);
  }
  if (mail.body) {
    AppendField("body", *mail.body, out);
  }
}

}  // namespace

bool IsHandoffId(string_view id) noexcept {
  return id.size() == kIdSize && id.find_first_not_of("0123456789abcdef") == string_view::npos;
}

bool ParseHandoff(string_view line, Handoff* out, const char** error) {
  *out = {};
  *error = Parse(line, out);
  return *error == nullptr;
}

string WriteHandoff(const Handoff& handoff) {
  string line(kVersion);
  line += '\t';
  line += std::ranges::find(kKinds, handoff.kind, &KindName::kind)->name;
  if (IsBare(handoff.kind)) {
    return line;
  }
  AppendText("id", handoff.id, &line);
  AppendText("user", handoff.user, &line);
  for (const auto& [id, stored] : handoff.subscriptions) {
    AppendField(string(kSubscriptionPrefix) + id, stored, &line);
  }
  if (handoff.kind == HandoffKind::kDeliver) {
    AppendMail(handoff, &line);
  }
  return line;
}

string WriteReply(bool ok, const std::vector<string>& fields) {
  string line(ok ? "+" : "-");
  for (const string& field : fields) {
    line += '\t';
    AppendEscaped(field, &line);
  }
  line += '\n';
  return line;
}

}  // namespace coi::push
