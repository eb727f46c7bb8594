// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "push/payload.h"

#include <gtest/gtest.h>
#include <jansson.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>

#include "test_util.h"

namespace coi::test {
namespace {

using push::BuildPayload;
using push::kMaxPayload;
using push::MailInfo;
using std::nullopt;
using std::string;
using std::string_view;
using namespace std::string_literals;
using namespace std::string_view_literals;

constexpr string_view kEllipsis = "\xe2\x80\xa6";
constexpr string_view kReplacement = "\xef\xbf\xbd";

using Json = std::unique_ptr<json_t, decltype([](json_t* json) { json_decref(json); })>;

// What a strict reader sees.
Json Read(string_view payload) {
  EXPECT_LE(payload.size(), kMaxPayload);
  Json json(json_loadb(payload.data(), payload.size(), JSON_REJECT_DUPLICATES, nullptr));
  EXPECT_TRUE(json_is_object(json.get())) << payload;
  return json;
}

// Of a text that may be absent.
OptionalText TextOf(const Json& json, const char* key) {
  const json_t* value = json_object_get(json.get(), key);
  if (value == nullptr) {
    return nullopt;
  }
  EXPECT_TRUE(json_is_string(value)) << key;
  return string_view(json_string_value(value), json_string_length(value));
}

// What stands between the quotes.
string RawOf(string_view payload, string_view key) {
  const string start = "\"" + string(key) + "\":\"";
  const size_t at = payload.find(start);
  if (at == string_view::npos) {
    ADD_FAILURE() << "no " << key << " in " << payload;
    return {};
  }
  size_t end = at + start.size();
  while (payload[end] != '"') {
    end += payload[end] == '\\' ? 2 : 1;
  }
  return string(payload.substr(at + start.size(), end - at - start.size()));
}

MailInfo Golden() {
  MailInfo mail;
  mail.from_email = "Alice@Example.org";
  mail.from_name = "Alice \"\xc3\x84\"";
  mail.subject = "Chat: Hello \xf0\x9f\x92\xac";
  mail.date = 1577834450;
  mail.date_offset = 60;
  mail.msg_id = "<chat$group.abcdefghijkl.1@example.org>";
  mail.uid = 2398293;
  mail.uidvalidity = 123287;
  mail.folder = "COI/Chats";
  mail.group_id = "abcdefghijkl";
  mail.content_type = "multipart/encrypted; boundary=\"b\"";
  mail.content_encoding = "binary";
  mail.body = "--b\nContent-Type: text/plain\n\n\x1b\t\\\n--b--\n";
  return mail;
}

// -- MSG-3, MSG-4 --

TEST(Payload, MSG_4_golden) {
  EXPECT_EQ(
      BuildPayload(Golden(), true),
      R"({"from-email":"alice@example.org","from-name":"Alice \")"
      "\xc3\x84"
      R"(\"","subject":"Chat: Hello )"
      "\xf0\x9f\x92\xac"
      R"(","date":"2020-01-01T00:20:50+01:00","msg-id":"<chat$group.abcdefghijkl.1@example.org>",)"
      R"("uid":2398293,"uidvalidity":123287,"folder":"COI/Chats","group-id":"abcdefghijkl",)"
      R"("content-type":"multipart/encrypted; boundary=\"b\"","content-encoding":"binary",)"
      R"("content":"--b\nContent-Type: text/plain\n\n\u001b\t\\\n--b--\n"})");
}

TEST(Payload, MSG_9_without_content) {
  const Json json = Read(BuildPayload(Golden(), false));
  EXPECT_EQ(TextOf(json, "content"), nullopt);
  EXPECT_EQ(TextOf(json, "subject"), "Chat: Hello \xf0\x9f\x92\xac");
  EXPECT_EQ(TextOf(json, "content-type"), R"(multipart/encrypted; boundary="b")");
}

TEST(Payload, MSG_4_nothing_known) {
  EXPECT_EQ(BuildPayload({}, true), "{}");
  MailInfo mail;
  mail.uid = 4294967295;
  EXPECT_EQ(BuildPayload(mail, true), R"({"uid":4294967295})");
}

TEST(Payload, MSG_4_from_email_in_lower_case) {
  MailInfo mail;
  mail.from_email = "J\xc3\x96rg@\xc3\x9c.Example";
  EXPECT_EQ(TextOf(Read(BuildPayload(mail, true)), "from-email"), "j\xc3\xb6rg@\xc3\xbc.example");
}

TEST(Payload, MSG_4_date) {
  MailInfo mail;
  EXPECT_EQ(TextOf(Read(BuildPayload(mail, true)), "date"), nullopt);
  mail.date = 0;
  EXPECT_EQ(TextOf(Read(BuildPayload(mail, true)), "date"), "1970-01-01T00:00:00+00:00");
  mail.date = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(TextOf(Read(BuildPayload(mail, true)), "date"), nullopt);
  mail.date = std::numeric_limits<int64_t>::min();
  EXPECT_EQ(TextOf(Read(BuildPayload(mail, true)), "date"), nullopt);
}

TEST(Payload, MSG_4_folder_up_to_200_bytes) {
  MailInfo mail;
  const auto folder = [&](const string& name) {
    mail.folder = name;
    return TextOf(Read(BuildPayload(mail, true)), "folder").has_value();
  };
  EXPECT_TRUE(folder(string(200, 'a')));
  EXPECT_FALSE(folder(string(201, 'a')));
  // Of the JSON string.
  EXPECT_TRUE(folder(string(100, '"')));
  EXPECT_FALSE(folder(string(101, '"')));
  EXPECT_TRUE(folder(Repeat("\xc3\xa4", 100)));
  EXPECT_FALSE(folder(Repeat("\xc3\xa4", 100) + "a"));
}

TEST(Payload, MSG_4_group_id_up_to_128_bytes) {
  MailInfo mail;
  mail.group_id = string(128, 'a');
  EXPECT_EQ(TextOf(Read(BuildPayload(mail, true)), "group-id"), mail.group_id);
  mail.group_id += 'a';
  EXPECT_EQ(TextOf(Read(BuildPayload(mail, true)), "group-id"), nullopt);
}

struct HeaderCase {
  string_view name;
  string_view value;
  OptionalText shown;
};

void PrintTo(const HeaderCase& c, std::ostream* os) {
  *os << c.name;
}

class PayloadContentType : public testing::TestWithParam<HeaderCase> {};

TEST_P(PayloadContentType, Check) {
  MailInfo mail;
  mail.content_type = GetParam().value;
  EXPECT_EQ(TextOf(Read(BuildPayload(mail, true)), "content-type"), GetParam().shown);
}

constexpr HeaderCase kContentTypes[] = {
    {"MSG_4_none", "", nullopt},
    {"MSG_4_blank", " \t", nullopt},
    {"MSG_4_text_plain", "text/plain", nullopt},
    {"MSG_4_text_plain_any_case", "Text/PLAIN", nullopt},
    {"MSG_4_text_plain_blanks", " text/plain ", nullopt},
    {"MSG_4_semicolon_after", "text/plain;", nullopt},
    {"MSG_4_utf8", "text/plain; charset=utf-8", nullopt},
    {"MSG_4_utf8_quoted", "text/plain;charset=\"UTF-8\"", nullopt},
    {"MSG_4_us_ascii", "text/plain; CHARSET = us-ascii ;", nullopt},
    {"MSG_4_latin1", "text/plain; charset=iso-8859-1", "text/plain; charset=iso-8859-1"},
    {"MSG_4_charset_empty", "text/plain; charset=", "text/plain; charset="},
    {"MSG_4_charset_no_value", "text/plain; charset", "text/plain; charset"},
    {"MSG_4_charset_half_quoted", "text/plain; charset=\"utf-8", "text/plain; charset=\"utf-8"},
    {"MSG_4_charset_one_quote", "text/plain; charset=\"", "text/plain; charset=\""},
    {"MSG_4_charset_longer", "text/plain; charset=utf-8x", "text/plain; charset=utf-8x"},
    {"MSG_4_flowed", "text/plain; charset=utf-8; format=flowed",
     "text/plain; charset=utf-8; format=flowed"},
    {"MSG_4_comment", "text/plain (x)", "text/plain (x)"},
    {"MSG_4_html", "text/html", "text/html"},
    {"MSG_4_text_alone", "text", "text"},
    {"MSG_4_text_plainer", "text/plainer", "text/plainer"},
    {"MSG_4_quoted_semicolon", "text/plain; charset=\"utf-8;\"", "text/plain; charset=\"utf-8;\""},
};
INSTANTIATE_TEST_SUITE_P(Payload, PayloadContentType, testing::ValuesIn(kContentTypes), CaseName);

class PayloadContentEncoding : public testing::TestWithParam<HeaderCase> {};

TEST_P(PayloadContentEncoding, Check) {
  MailInfo mail;
  mail.content_encoding = GetParam().value;
  EXPECT_EQ(TextOf(Read(BuildPayload(mail, true)), "content-encoding"), GetParam().shown);
}

constexpr HeaderCase kContentEncodings[] = {
    {"MSG_4_none", "", nullopt},
    {"MSG_4_7bit", "7bit", nullopt},
    {"MSG_4_8bit", "8BIT", nullopt},
    {"MSG_4_7bit_blanks", " 7Bit ", nullopt},
    {"MSG_4_base64", "base64", "base64"},
    {"MSG_4_quoted_printable", " Quoted-Printable", "Quoted-Printable"},
    {"MSG_4_binary", "binary", "binary"},
};
INSTANTIATE_TEST_SUITE_P(Payload, PayloadContentEncoding, testing::ValuesIn(kContentEncodings),
                         CaseName);

// -- content --

string WithBody(MailInfo mail, const string& body) {
  mail.body = body;
  return BuildPayload(mail, true);
}

TEST(PayloadContent, MSG_4_empty_body_is_told) {
  EXPECT_EQ(TextOf(Read(WithBody({}, "")), "content"), "");
}

TEST(PayloadContent, MSG_4_all_or_nothing) {
  const size_t room = kMaxPayload - WithBody(Golden(), "").size();
  for (const auto letter :
       {"a"sv, "\""sv, "\n"sv, "\x01"sv, "\x7f"sv, "\xc3\xa4"sv, "\xf0\x9f\x92\xac"sv}) {
    const size_t size = letter == "\x01" ? 6 : letter == "\"" || letter == "\n" ? 2 : letter.size();
    const string full = Repeat(letter, room / size) + string(room % size, 'a');
    EXPECT_EQ(WithBody(Golden(), full).size(), kMaxPayload);
    EXPECT_EQ(TextOf(Read(WithBody(Golden(), full)), "content"), full);
    const string less = full.substr(letter.size());
    EXPECT_EQ(TextOf(Read(WithBody(Golden(), less)), "content"), less);
    // Nothing else is cut off for it.
    EXPECT_EQ(WithBody(Golden(), full + 'a'), BuildPayload(Golden(), false));
  }
}

TEST(PayloadContent, MSG_4_only_what_json_carries_unchanged) {
  const string good = "a\r\n\x01\x1f\x7f\xc2\x80\xe2\x80\xa8\xef\xbf\xbd\xf4\x8f\xbf\xbf";
  EXPECT_EQ(TextOf(Read(WithBody({}, good)), "content"), good);
  for (const auto bad : {"a\0b"sv, "\0"sv, "\xff"sv, "Gr\xfc\xdf"sv, "\xc3"sv, "\xc0\x80"sv,
                         "\xed\xa0\x80"sv, "\xf4\x90\x80\x80"sv, "\xf0\x9f\x92"sv}) {
    EXPECT_EQ(WithBody({}, string(bad)), "{}");
  }
  EXPECT_EQ(WithBody({}, string(1U << 20U, 'a')), "{}");
}

// -- MSG-5: truncation --

struct TextMember {
  const char* name;
  string MailInfo::*text;
  size_t keep;
};
constexpr TextMember kTexts[] = {{"from-email", &MailInfo::from_email, 100},
                                 {"from-name", &MailInfo::from_name, 100},
                                 {"subject", &MailInfo::subject, 100},
                                 {"msg-id", &MailInfo::msg_id, 100},
                                 {"content-type", &MailInfo::content_type, 200},
                                 {"content-encoding", &MailInfo::content_encoding, 100}};

struct Letter {
  string_view name;
  string_view bytes;
  // As it stands in JSON.
  string_view json;
};
constexpr Letter kLetters[] = {
    {"ascii", "a", "a"},
    {"quote", "\"", "\\\""},
    {"backslash", "\\", "\\\\"},
    {"newline", "\n", "\\n"},
    {"control", "\x01", "\\u0001"},
    {"escape", "\x1b", "\\u001b"},
    {"delete", "\x7f", "\x7f"},
    {"nul", "\0"sv, kReplacement},
    {"invalid", "\xff", kReplacement},
    {"lone continuation", "\x80", kReplacement},
    {"two", "\xc3\xa4", "\xc3\xa4"},
    {"three", "\xe2\x82\xac", "\xe2\x82\xac"},
    {"four", "\xf0\x9f\x92\xac", "\xf0\x9f\x92\xac"},
    {"ellipsis", kEllipsis, kEllipsis},
    {"u escape as text", "\\u0041", "\\\\u0041"},
};

TEST(Payload, MSG_4_text_is_escaped_and_nothing_else) {
  for (const auto& letter : kLetters) {
    SCOPED_TRACE(letter.name);
    MailInfo mail;
    mail.subject = "<" + string(letter.bytes) + ">";
    const string payload = BuildPayload(mail, true);
    EXPECT_EQ(payload, R"({"subject":"<)" + string(letter.json) + R"(>"})");
    Read(payload);
  }
}

TEST(Payload, MSG_4_invalid_bytes_one_by_one) {
  const struct {
    string_view bytes;
    string shown;
  } cases[] = {
      {"a\xc3", "a" + string(kReplacement)},
      {"\xc3\x28", string(kReplacement) + "("},
      {"\xe2\x82\x61", Repeat(kReplacement, 2) + "a"},
      {"\xf0\x9f\x92", Repeat(kReplacement, 3)},
      {"\xed\xa0\x80", Repeat(kReplacement, 3)},
      {"\xc0\xaf", Repeat(kReplacement, 2)},
      {"\xf4\x90\x80\x80", Repeat(kReplacement, 4)},
      {"Gr\xfc\xdf", "Gr" + Repeat(kReplacement, 2)},
  };
  for (const auto& c : cases) {
    MailInfo mail;
    for (const auto& member : kTexts) {
      mail.*member.text = c.bytes;
    }
    const Json json = Read(BuildPayload(mail, true));
    EXPECT_EQ(TextOf(json, "subject"), c.shown);
    EXPECT_EQ(TextOf(json, "msg-id"), c.shown);
    EXPECT_EQ(TextOf(json, "content-type"), c.shown);
  }
}

// Does it hold whole units of the letter, after `shift` letters a?
void CheckCut(string_view raw, size_t shift, const Letter& letter, size_t keep) {
  ASSERT_TRUE(raw.ends_with(kEllipsis)) << raw;
  raw.remove_suffix(kEllipsis.size());
  ASSERT_GE(raw.size(), keep);
  ASSERT_EQ((raw.size() - shift) % letter.json.size(), 0U) << raw;
  ASSERT_EQ(raw,
            string(shift, 'a') + Repeat(letter.json, (raw.size() - shift) / letter.json.size()));
}

TEST(Payload, MSG_5_never_cuts_inside_an_escape_or_a_character) {
  for (const auto& letter : kLetters) {
    SCOPED_TRACE(letter.name);
    if (letter.name == "u escape as text") {
      continue;  // it is several units
    }
    for (size_t shift = 0; shift < 12; ++shift) {
      MailInfo mail;
      mail.subject = string(shift, 'a') + Repeat(letter.bytes, 5000);
      const string payload = BuildPayload(mail, true);
      Read(payload);
      CheckCut(RawOf(payload, "subject"), shift, letter, 100);
      // As much as fits.
      EXPECT_GT(payload.size() + letter.json.size(), kMaxPayload);
    }
  }
}

TEST(Payload, MSG_5_cut_at_every_byte_position) {
  const string unit = "\\\"\x01\xc3\xa4\xe2\x82\xac\xf0\x9f\x92\xac";
  const string json = "\\\\\\\"\\u0001\xc3\xa4\xe2\x82\xac\xf0\x9f\x92\xac";
  for (size_t shift = 0; shift < 2 * json.size(); ++shift) {
    MailInfo mail;
    mail.msg_id = string(shift, 'm');
    mail.subject = Repeat(unit, 1000);
    const string payload = BuildPayload(mail, true);
    const Json read = Read(payload);
    const auto subject = TextOf(read, "subject");
    ASSERT_TRUE(subject && subject->ends_with(kEllipsis));
    const string_view kept = subject->substr(0, subject->size() - kEllipsis.size());
    ASSERT_TRUE(mail.subject.starts_with(kept));
    string raw = RawOf(payload, "subject");
    raw.resize(raw.size() - kEllipsis.size());
    ASSERT_TRUE(Repeat(json, 1000).starts_with(raw));
    ASSERT_GT(payload.size() + 6, kMaxPayload);
  }
}

TEST(Payload, MSG_5_keeps_at_least_100_bytes_of_each) {
  for (const auto& letter : kLetters) {
    SCOPED_TRACE(letter.name);
    MailInfo mail;
    for (const auto& member : kTexts) {
      mail.*member.text = "x" + Repeat(letter.bytes, 10000) + "x";
    }
    mail.folder = string(200, 'a');
    mail.group_id = string(128, 'a');
    mail.uid = mail.uidvalidity = 4294967295;
    mail.date = 0;
    mail.body = "x";
    const string payload = BuildPayload(mail, true);
    const Json json = Read(payload);
    EXPECT_GT(payload.size(), kMaxPayload - 70);
    EXPECT_EQ(TextOf(json, "content"), nullopt);
    EXPECT_EQ(TextOf(json, "folder"), mail.folder);
    EXPECT_EQ(TextOf(json, "group-id"), mail.group_id);
    for (const auto& member : kTexts) {
      SCOPED_TRACE(member.name);
      EXPECT_GE(RawOf(payload, member.name).size(), member.keep + kEllipsis.size());
      EXPECT_TRUE(TextOf(json, member.name).value_or("").ends_with(kEllipsis));
    }
  }
}

TEST(Payload, MSG_5_cuts_off_the_longest_only) {
  MailInfo mail = Golden();
  mail.content_type = "text/html; x=" + string(300, 'x');
  mail.subject = string(5000, 's');
  mail.from_name = string(4000, 'n');
  const string payload = BuildPayload(mail, true);
  const Json json = Read(payload);
  EXPECT_GE(payload.size(), kMaxPayload - 1);  // two can't share a single byte
  EXPECT_EQ(TextOf(json, "content-type"), mail.content_type);
  EXPECT_EQ(TextOf(json, "msg-id"), mail.msg_id);
  EXPECT_EQ(TextOf(json, "subject")->size(), TextOf(json, "from-name")->size());
}

TEST(Payload, MSG_5_nothing_is_cut_off_that_fits) {
  MailInfo mail;
  for (size_t size = 3900; size < 4000; ++size) {
    mail.subject = string(size, 's');
    const string payload = BuildPayload(mail, true);
    const size_t whole = size + R"({"subject":""})"sv.size();
    EXPECT_EQ(payload.size(), std::min(whole, kMaxPayload));
    EXPECT_EQ(TextOf(Read(payload), "subject") == mail.subject, whole <= kMaxPayload);
  }
}

// -- SUB-6 --

TEST(PayloadValidation, SUB_6_golden) {
  EXPECT_EQ(push::BuildValidation("abc$123$..."), R"({"validation":"abc$123$..."})");
  EXPECT_EQ(push::BuildValidation("\"\\"), R"({"validation":"\"\\"})");
}

TEST(PayloadValidation, SUB_6_whole_up_to_1000_bytes) {
  for (const char c : {'a', '"'}) {
    const string text(1000, c);
    EXPECT_EQ(TextOf(Read(push::BuildValidation(text)), "validation"), text);
  }
}

TEST(PayloadValidation, SUB_6_is_a_payload_whatever_it_is_given) {
  EXPECT_EQ(push::BuildValidation(""), "{}");
  Read(push::BuildValidation(string(100000, '\x01')));
  Read(push::BuildValidation("\xff\0"sv));
}

}  // namespace
}  // namespace coi::test
