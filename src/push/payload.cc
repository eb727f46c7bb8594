// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "push/payload.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <utility>
#include <vector>

#include "chat/detect.h"
#include "util/ascii.h"
#include "util/text.h"
#include "util/utf8.h"

namespace coi::push {
namespace {

using std::string;
using std::string_view;

constexpr string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD
constexpr string_view kEllipsis = "\xe2\x80\xa6";     // U+2026

// The longest that can't be divided: \u0000.
constexpr size_t kUnitMax = 6;
// Of a text that is cut off, this much is kept (MSG-5).
constexpr size_t kKeep = 100;
constexpr size_t kKeepContentType = 200;
// Longer ones are omitted (MSG-4).
constexpr size_t kFolderMax = 200;

// -- JSON strings, without the quotes --

constexpr char LetterOf(uint32_t code) noexcept {
  switch (code) {
    case '"':
    case '\\':
      return static_cast<char>(code);
    case '\b':
      return 'b';
    case '\f':
      return 'f';
    case '\n':
      return 'n';
    case '\r':
      return 'r';
    case '\t':
      return 't';
    default:
      return '\0';
  }
}

// How many octets in front stand for themselves in JSON, and are ASCII.
size_t PlainSize(string_view text) noexcept {
  const auto* end = std::ranges::find_if(text, [](char c) {
    const auto octet = static_cast<unsigned char>(c);
    return octet < 0x20 || octet >= 0x80 || c == '"' || c == '\\';
  });
  return static_cast<size_t>(end - text.begin());
}

// Escapes what JSON demands. What isn't UTF-8, and NUL, which many a reader
// does not take, is replaced. Ends early where it is longer than any payload.
string Escape(string_view text) {
  string json;
  json.reserve(std::min(text.size() + text.size() / 16, kMaxPayload + kUnitMax));
  while (!text.empty() && json.size() <= kMaxPayload) {
    const size_t plain = PlainSize(text.substr(0, kMaxPayload));
    json += text.substr(0, plain);
    text.remove_prefix(plain);
    if (text.empty()) {
      break;
    }
    const string_view before = text;
    const auto code = util::TakeCodePoint(&text);
    if (!code) {
      text.remove_prefix(1);
    }
    const char letter = code ? LetterOf(*code) : '\0';
    if (!code || *code == 0) {
      json += kReplacement;
    } else if (letter != '\0') {
      json += '\\';
      json += letter;
    } else if (*code < 0x20) {
      std::array<char, 16> buf = {};
      std::snprintf(buf.data(), buf.size(), "\\u%04x", static_cast<unsigned int>(*code));
      json += buf.data();
    } else {
      json += before.substr(0, before.size() - text.size());
    }
  }
  return json;
}

// How much of it to keep where there is room for `size` of it, besides the
// ellipsis: no part of a character, nor of an escape.
size_t KeptSize(string_view json, size_t size) noexcept {
  if (json.size() <= size + kEllipsis.size()) {
    return json.size();
  }
  while (size > 0 && (static_cast<unsigned char>(json[size]) & 0xc0U) == 0x80U) {
    --size;
  }
  const size_t last = json.substr(0, size).find_last_of('\\');
  if (last == string_view::npos) {
    return size;
  }
  // Where backslashes follow each other, every second one begins an escape.
  const size_t other = json.find_last_not_of('\\', last);
  if ((last - other) % 2 == 0) {
    return size;
  }
  const size_t end = last + (json[last + 1] == 'u' ? kUnitMax : 2);
  return end > size ? last : size;
}

// -- Members of the object --

struct Member {
  string_view name;
  // A number, or a JSON string without its quotes.
  string json;
  bool is_text = true;
  // At least so much is kept where it has to be cut off; 0: it never is.
  size_t keep = 0;

  size_t KeptAt(size_t level) const noexcept {
    // The last unit may not fit into what is to be kept at least.
    return keep == 0 ? json.size() : KeptSize(json, std::max(level, keep + kUnitMax - 1));
  }

  size_t SizeAt(size_t level) const noexcept {
    const size_t kept = KeptAt(level);
    return kept == json.size() ? kept : kept + kEllipsis.size();
  }
};
using Members = std::vector<Member>;

void Append(const Member& member, size_t kept, string* out) {
  *out += out->empty() ? '{' : ',';
  *out += '"';
  *out += member.name;
  *out += member.is_text ? "\":\"" : "\":";
  out->append(member.json, 0, kept);
  if (kept < member.json.size()) {
    *out += kEllipsis;
  }
  if (member.is_text) {
    *out += '"';
  }
}

// No text is kept beyond the level.
string Print(const Members& members, size_t level) {
  string out;
  for (const Member& member : members) {
    Append(member, member.KeptAt(level), &out);
  }
  return out.empty() ? "{}" : out + '}';
}

// Cuts the longest texts off, and no more of them than must be.
string PrintCutOff(const Members& members) {
  // What does not depend on the level.
  size_t fixed = Print(members, 0).size();
  for (const Member& member : members) {
    fixed -= member.SizeAt(0);
  }
  size_t level = 0;
  size_t too_high = kMaxPayload;
  while (too_high - level > 1) {
    const size_t middle = level + (too_high - level) / 2;
    size_t size = fixed;
    for (const Member& member : members) {
      size += member.SizeAt(middle);
    }
    (size <= kMaxPayload ? level : too_high) = middle;
  }
  return Print(members, level);
}

void AddText(string_view name, string_view text, size_t keep, Members* members) {
  if (!text.empty()) {
    members->push_back({.name = name, .json = Escape(text), .keep = keep});
  }
}

void AddWhole(string_view name, string_view text, size_t size_max, Members* members) {
  string json = Escape(text);
  if (!json.empty() && json.size() <= size_max) {
    members->push_back({.name = name, .json = std::move(json)});
  }
}

void AddNumber(string_view name, uint32_t number, Members* members) {
  if (number != 0) {
    members->push_back({.name = name, .json = std::to_string(number), .is_text = false});
  }
}

// -- What is omitted --

// A charset that needn't be told to the reader of a JSON text.
bool IsDefaultCharset(string_view parameter) noexcept {
  const size_t equals = std::min(parameter.find('='), parameter.size());
  if (!util::EqualsIgnoringCase(util::Trim(parameter.substr(0, equals)), "charset")) {
    return false;
  }
  string_view value = util::Trim(parameter.substr(std::min(equals + 1, parameter.size())));
  if (value.size() >= 2 && value.starts_with('"') && value.ends_with('"')) {
    value = value.substr(1, value.size() - 2);
  }
  return util::EqualsIgnoringCase(value, "utf-8") || util::EqualsIgnoringCase(value, "us-ascii");
}

// Is it all that a reader takes for granted? What is not understood isn't.
bool IsPlainText(string_view content_type) noexcept {
  size_t end = std::min(content_type.find(';'), content_type.size());
  if (!util::EqualsIgnoringCase(util::Trim(content_type.substr(0, end)), "text/plain")) {
    return false;
  }
  while (end < content_type.size()) {
    content_type.remove_prefix(end + 1);
    end = std::min(content_type.find(';'), content_type.size());
    const string_view parameter = util::Trim(content_type.substr(0, end));
    if (!parameter.empty() && !IsDefaultCharset(parameter)) {
      return false;
    }
  }
  return true;
}

bool IsPlainEncoding(string_view encoding) noexcept {
  return util::EqualsIgnoringCase(encoding, "7bit") || util::EqualsIgnoringCase(encoding, "8bit");
}

// Can JSON carry it unchanged?
bool IsText(string_view body) noexcept {
  for (;;) {
    const auto* other = std::ranges::find_if(
        body, [](char c) { return c == 0 || static_cast<unsigned char>(c) >= 0x80; });
    body.remove_prefix(static_cast<size_t>(other - body.begin()));
    if (body.empty()) {
      return true;
    }
    if (util::TakeCodePoint(&body).value_or(0) == 0) {
      return false;
    }
  }
}

Members MembersOf(const MailInfo& mail) {
  Members members;
  AddText("from-email", util::LowerCase(mail.from_email), kKeep, &members);
  AddText("from-name", mail.from_name, kKeep, &members);
  AddText("subject", mail.subject, kKeep, &members);
  if (mail.date) {
    AddText("date", util::FormatRfc3339(*mail.date, mail.date_offset), 0, &members);
  }
  AddText("msg-id", mail.msg_id, kKeep, &members);
  AddNumber("uid", mail.uid, &members);
  AddNumber("uidvalidity", mail.uidvalidity, &members);
  AddWhole("folder", mail.folder, kFolderMax, &members);
  AddWhole("group-id", mail.group_id, chat::kGroupIdMax, &members);
  const string_view type = util::Trim(mail.content_type);
  if (!IsPlainText(type)) {
    AddText("content-type", type, kKeepContentType, &members);
  }
  const string_view encoding = util::Trim(mail.content_encoding);
  if (!IsPlainEncoding(encoding)) {
    AddText("content-encoding", encoding, kKeep, &members);
  }
  return members;
}

}  // namespace

string BuildPayload(const MailInfo& mail, bool with_content) {
  Members members = MembersOf(mail);
  if (with_content && mail.body && mail.body->size() <= kMaxPayload && IsText(*mail.body)) {
    members.push_back({.name = "content", .json = Escape(*mail.body)});
    string payload = Print(members, kMaxPayload);
    if (payload.size() <= kMaxPayload) {
      return payload;
    }
    members.pop_back();
  }
  string payload = Print(members, kMaxPayload);
  return payload.size() <= kMaxPayload ? payload : PrintCutOff(members);
}

string BuildValidation(string_view text) {
  Members members;
  // All that the server makes does fit.
  AddText("validation", text, kKeep, &members);
  return PrintCutOff(members);
}

}  // namespace coi::push
