// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
// Input: 16 octets for the numbers, and how often each text is repeated; then
// the texts, separated by 0xfe, which is in no UTF-8.

#include <jansson.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "fuzz_util.h"
#include "push/payload.h"

namespace coi::fuzz {
namespace {

using push::BuildPayload;
using push::kMaxPayload;
using push::MailInfo;
using std::string;
using std::string_view;

constexpr size_t kHeadSize = 16;
// Six of these are too long by far.
constexpr size_t kTextMax = 1000;
constexpr size_t kAroundContent = string_view(R"(,"content":"")").size();
constexpr char kSeparator = '\xfe';
constexpr string_view kEllipsis = "\xe2\x80\xa6";
constexpr string_view kReplacement = "\xef\xbf\xbd";
// What may be left free where something is cut off: each of six texts might
// have grown by one unit less one octet, and by what the ellipsis takes.
constexpr size_t kSlack = 6 * (5 + 3);

struct FreeJson {
  void operator()(json_t* json) const {
    json_decref(json);
  }
  void operator()(char* text) const {
    std::free(text);
  }
};
using Json = std::unique_ptr<json_t, FreeJson>;

struct TextMember {
  const char* name;
  string MailInfo::*text;
  size_t keep;
};
constexpr TextMember kTexts[] = {{"from-name", &MailInfo::from_name, 100},
                                 {"subject", &MailInfo::subject, 100},
                                 {"msg-id", &MailInfo::msg_id, 100}};

// Size of the character that the text begins with, or 0: the table of Unicode's
// well-formed sequences. (IsValidUtf8() is too slow for long texts.)
size_t CharacterSize(string_view text) {
  const auto is_between = [text](size_t at, unsigned int low, unsigned int high) {
    const unsigned int byte = at < text.size() ? static_cast<unsigned char>(text[at]) : 0;
    return byte >= low && byte <= high;
  };
  const auto tail = [&](size_t at) { return is_between(at, 0x80, 0xbf); };
  if (is_between(0, 0x01, 0x7f)) {
    return 1;
  }
  if (is_between(0, 0xc2, 0xdf)) {
    return tail(1) ? 2 : 0;
  }
  if (is_between(0, 0xe0, 0xef)) {
    const bool second = is_between(0, 0xe0, 0xe0)   ? is_between(1, 0xa0, 0xbf)
                        : is_between(0, 0xed, 0xed) ? is_between(1, 0x80, 0x9f)
                                                    : tail(1);
    return second && tail(2) ? 3 : 0;
  }
  const bool second = is_between(0, 0xf0, 0xf0)   ? is_between(1, 0x90, 0xbf)
                      : is_between(0, 0xf4, 0xf4) ? is_between(1, 0x80, 0x8f)
                                                  : is_between(0, 0xf1, 0xf3) && tail(1);
  return second && tail(2) && tail(3) ? 4 : 0;
}

string Cleaned(string_view text) {
  string result;
  result.reserve(text.size() * kReplacement.size());
  while (!text.empty()) {
    const size_t size = CharacterSize(text);
    result += size == 0 ? kReplacement : text.substr(0, size);
    text.remove_prefix(size == 0 ? 1 : size);
  }
  return result;
}

Json Read(string_view payload) {
  FUZZ_CHECK(payload.size() <= kMaxPayload);
  const Bytes bytes(payload);
  // It checks that it is UTF-8, too.
  Json json(json_loadb(bytes.get().data, payload.size(), JSON_REJECT_DUPLICATES, nullptr));
  FUZZ_CHECK(json_is_object(json.get()));
  return json;
}

string_view TextOf(const Json& json, const char* name) {
  const json_t* value = json_object_get(json.get(), name);
  FUZZ_CHECK(value == nullptr || json_is_string(value));
  return {json_string_value(value), json_string_length(value)};
}

size_t JsonSize(string_view text) {
  const Json json(json_stringn(text.data(), text.size()));
  const std::unique_ptr<char, FreeJson> dump(json_dumps(json.get(), JSON_ENCODE_ANY));
  return std::strlen(dump.get()) - 2;
}

void CheckTexts(const MailInfo& mail, const string& payload, const Json& json) {
  for (const auto& member : kTexts) {
    string_view text = TextOf(json, member.name);
    const string whole = Cleaned(mail.*member.text);
    if (text == whole) {
      continue;
    }
    FUZZ_CHECK(text.ends_with(kEllipsis) && payload.size() > kMaxPayload - kSlack);
    text.remove_suffix(kEllipsis.size());
    FUZZ_CHECK(whole.starts_with(text) && JsonSize(text) >= member.keep);
  }
  const string_view folder = TextOf(json, "folder");
  FUZZ_CHECK(folder.empty() ? mail.folder.empty() || JsonSize(Cleaned(mail.folder)) > 200
                            : folder == Cleaned(mail.folder));
  const string_view type = TextOf(json, "content-type");
  FUZZ_CHECK(!type.ends_with(kEllipsis) || type.size() <= mail.content_type.size() * 3);
}

void CheckContent(const MailInfo& mail, const string& payload, const Json& json) {
  const string without = BuildPayload(mail, false);
  Read(without);
  FUZZ_CHECK(without.find(R"("content":)") == string::npos);
  if (json_object_get(json.get(), "content") == nullptr) {
    FUZZ_CHECK(payload == without);
    // Where texts had to be cut off there was no room for it, though some is left.
    const bool is_cut_off = without.find(string(kEllipsis) + '"') != string::npos;
    const bool is_good = !is_cut_off && mail.body && Cleaned(*mail.body) == *mail.body;
    FUZZ_CHECK(!is_good || without.size() + JsonSize(*mail.body) + kAroundContent > kMaxPayload);
    return;
  }
  FUZZ_CHECK(mail.body && TextOf(json, "content") == *mail.body);
  FUZZ_CHECK(payload.starts_with(without.substr(0, without.size() - 1)));
}

template <typename Number>
Number NumberAt(string_view head, size_t at) {
  Number number = 0;
  std::memcpy(&number, head.data() + at, sizeof(number));
  return number;
}

// Takes one text, repeated.
string Take(string_view* texts, size_t times) {
  const size_t end = std::min(texts->find(kSeparator), texts->size());
  string text;
  for (size_t n = 0; n < times && text.size() < kTextMax; ++n) {
    text += texts->substr(0, end);
  }
  texts->remove_prefix(std::min(end + 1, texts->size()));
  return text;
}

void Check(string_view head, string_view texts) {
  const auto flags = static_cast<unsigned char>(head[15]);
  // Long texts take long, so not every time.
  const size_t times = (flags & 8U) != 0 ? 1 + static_cast<unsigned char>(head[14]) % 100 : 1;
  MailInfo mail;
  mail.uid = NumberAt<uint16_t>(head, 0);
  mail.uidvalidity = NumberAt<uint16_t>(head, 2);
  if ((flags & 1U) != 0) {
    mail.date = NumberAt<int64_t>(head, 4) >> (flags >> 4U) * 4;
  }
  mail.date_offset = NumberAt<int16_t>(head, 12);
  for (string* text : {&mail.subject, &mail.from_name, &mail.from_email, &mail.msg_id,
                       &mail.content_type, &mail.content_encoding}) {
    *text = Take(&texts, times);
  }
  mail.folder = Take(&texts, 1);
  mail.group_id = Take(&texts, 1);
  if ((flags & 2U) != 0) {
    mail.body = Take(&texts, (flags & 4U) != 0 ? times : 1);
  }

  const string payload = BuildPayload(mail, true);
  const Json json = Read(payload);
  CheckTexts(mail, payload, json);
  CheckContent(mail, payload, json);
  if (mail.subject.size() <= 1000) {
    const Json validation = Read(push::BuildValidation(mail.subject));
    const string whole = Cleaned(mail.subject);
    FUZZ_CHECK(JsonSize(whole) > kMaxPayload - 20 || TextOf(validation, "validation") == whole);
  }
}

}  // namespace
}  // namespace coi::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < coi::fuzz::kHeadSize) {
    return 0;
  }
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  coi::fuzz::Check(input.substr(0, coi::fuzz::kHeadSize), input.substr(coi::fuzz::kHeadSize));
  return 0;
}
