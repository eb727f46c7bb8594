// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include <gtest/gtest.h>

#include <optional>
#include <ostream>
#include <string>
#include <string_view>

#include "coi.h"
#include "test_util.h"

namespace coi::test {
namespace {

using std::nullopt;
using std::string;
using std::string_view;
using namespace std::string_view_literals;

// The bytes of one mail's headers, alive as long as the object is.
class Mail {
 public:
  Mail(const OptionalText& chat_version, const OptionalText& message_id,
       const OptionalText& references)
      : chat_version_(chat_version), message_id_(message_id), references_(references) {}

  enum coi_chat_rule Detect() const {
    const auto hdr = Headers();
    return Core().chat_detect(&hdr, COI_CHAT_RULES_DEFAULT);
  }

  // Checks on the way that the result is a piece of the caller's bytes.
  std::optional<string> GroupId() const {
    const auto hdr = Headers();
    struct coi_bytes group = {.data = "untouched", .size = 9};
    if (!Core().chat_group_id(&hdr, &group)) {
      EXPECT_EQ(string_view(group.data, group.size), "untouched");
      return nullopt;
    }
    EXPECT_TRUE(message_id_.Holds(group) || references_.Holds(group));
    return string(group.data, group.size);
  }

 private:
  struct coi_chat_headers Headers() const {
    return {.chat_version = chat_version_.get(),
            .message_id = message_id_.get(),
            .references = references_.get(),
            .content_type = {},
            .subject = {}};
  }

  Bytes chat_version_;
  Bytes message_id_;
  Bytes references_;
};

struct DetectCase {
  string_view name;
  OptionalText chat_version;
  OptionalText message_id;
  OptionalText references;
  enum coi_chat_rule rule;
};

void PrintTo(const DetectCase& c, std::ostream* os) {
  *os << c.name;
}

class ChatDetect : public testing::TestWithParam<DetectCase> {};

TEST_P(ChatDetect, Rule) {
  const DetectCase& c = GetParam();
  EXPECT_EQ(Mail(c.chat_version, c.message_id, c.references).Detect(), c.rule);
}

constexpr auto kNone = COI_CHAT_RULE_NONE;
constexpr auto kVersion = COI_CHAT_RULE_VERSION;
constexpr auto kMessageId = COI_CHAT_RULE_MESSAGE_ID;
constexpr auto kReferences = COI_CHAT_RULE_REFERENCES;

constexpr DetectCase kVersionCases[] = {
    {"DET_1_no_headers_at_all", nullopt, nullopt, nullopt, kNone},
    {"DET_1_version", "1.0", nullopt, nullopt, kVersion},
    {"DET_1_empty_version", "", nullopt, nullopt, kVersion},
    {"DET_1_blank_version", " \t", nullopt, nullopt, kVersion},
    {"DET_1_version_of_any_value", "\0\xff none"sv, nullopt, nullopt, kVersion},
    {"DET_1_version_wins_over_message_id", "1.0", "<chat$a@b>", nullopt, kVersion},
    {"DET_1_version_wins_over_references", "1.0", "<a@b>", "<chat$a@b>", kVersion},
    {"DET_1_version_beside_plain_ids", "1.0", "<a@b>", "<c@d>", kVersion},
};
INSTANTIATE_TEST_SUITE_P(Version, ChatDetect, testing::ValuesIn(kVersionCases), CaseName);

constexpr DetectCase kMessageIdCases[] = {
    {"DET_2_plain", nullopt, "<chat$abc@example.org>", nullopt, kMessageId},
    {"DET_2_group", nullopt, "<chat$group.abcdefghijkl.x@example.org>", nullopt, kMessageId},
    {"DET_2_nothing_after_prefix", nullopt, "<chat$", nullopt, kMessageId},
    {"DET_2_prefix_only", nullopt, "<chat$>", nullopt, kMessageId},
    {"DET_2_never_closed", nullopt, "<chat$abc@example.org", nullopt, kMessageId},
    {"DET_2_wins_over_references", nullopt, "<chat$a@b>", "<chat$c@d>", kMessageId},
    {"DET_2_first_of_two_ids", nullopt, "<chat$a@b> <c@d>", nullopt, kMessageId},
    {"DET_2_second_of_two_ids", nullopt, "<a@b> <chat$c@d>", nullopt, kNone},
    {"DET_2_ordinary_id", nullopt, "<abc@example.org>", nullopt, kNone},
    {"DET_2_upper_case", nullopt, "<CHAT$abc@example.org>", nullopt, kNone},
    {"DET_2_mixed_case", nullopt, "<Chat$abc@example.org>", nullopt, kNone},
    {"DET_2_no_angle_brackets", nullopt, "chat$abc@example.org", nullopt, kNone},
    {"DET_2_closing_bracket_only", nullopt, "chat$abc@example.org>", nullopt, kNone},
    {"DET_2_not_at_the_start", nullopt, "<xchat$abc@example.org>", nullopt, kNone},
    {"DET_2_in_the_domain", nullopt, "<abc@chat$example.org>", nullopt, kNone},
    {"DET_2_without_dollar", nullopt, "<chat.abc@example.org>", nullopt, kNone},
    {"DET_2_cut_short", nullopt, "<chat", nullopt, kNone},
    {"DET_2_bracket_at_the_end", nullopt, "<", nullopt, kNone},
    {"DET_2_empty", nullopt, "", nullopt, kNone},
    {"DET_2_empty_id", nullopt, "<>", nullopt, kNone},
    {"DET_2_empty_id_comes_first", nullopt, "<><chat$a@b>", nullopt, kNone},
    {"DET_2_doubled_bracket", nullopt, "<<chat$a@b>>", nullopt, kNone},
    {"DET_2_space_after_bracket", nullopt, "< chat$a@b>", nullopt, kNone},
    {"DET_2_fold_after_bracket", nullopt, "<\r\n chat$a@b>", nullopt, kNone},
    {"DET_2_comment_after_bracket", nullopt, "<(c)chat$a@b>", nullopt, kNone},
    {"DET_2_quoted_local_part", nullopt, "<\"chat$a\"@b>", nullopt, kNone},
    {"DET_2_fold_inside_prefix", nullopt, "<ch\r\n at$a@b>", nullopt, kNone},
    {"DET_2_nul_after_bracket", nullopt, "<\0chat$a@b>"sv, nullopt, kNone},
    {"DET_2_full_width_dollar", nullopt,
     "<chat\xef\xbc\x84"
     "a@b>",
     nullopt, kNone},
};
INSTANTIATE_TEST_SUITE_P(MessageId, ChatDetect, testing::ValuesIn(kMessageIdCases), CaseName);

constexpr DetectCase kReferencesCases[] = {
    {"DET_3_only_id", nullopt, nullopt, "<chat$a@b>", kReferences},
    {"DET_3_first_of_several", nullopt, "<x@y>", "<chat$a@b> <c@d> <e@f>", kReferences},
    {"DET_3_beside_ordinary_message_id", nullopt, "<x@y>", "<chat$a@b>", kReferences},
    {"DET_3_beside_bare_message_id", nullopt, "chat$x@y", "<chat$a@b>", kReferences},
    {"DET_3_beside_empty_message_id", nullopt, "", "<chat$a@b>", kReferences},
    {"DET_3_second_id", nullopt, "<x@y>", "<c@d> <chat$a@b>", kNone},
    {"DET_3_last_id", nullopt, "<x@y>", "<c@d>\r\n <e@f>\r\n <chat$a@b>", kNone},
    {"DET_3_no_space_between_ids", nullopt, "<x@y>", "<c@d><chat$a@b>", kNone},
    {"DET_3_comma_between_ids", nullopt, "<x@y>", "<chat$a@b>, <c@d>", kReferences},
    {"DET_3_phrase_first", nullopt, "<x@y>", "Your message of today <chat$a@b>", kReferences},
    {"DET_3_quoted_phrase_first", nullopt, "<x@y>", "\"A. U. Thor\" <chat$a@b>", kReferences},
    {"DET_3_phrase_names_chat", nullopt, "<x@y>", "chat$a@b <c@d>", kNone},
    {"DET_3_bare_id", nullopt, "<x@y>", "chat$a@b", kNone},
    {"DET_3_upper_case", nullopt, "<x@y>", "<CHAT$a@b>", kNone},
    {"DET_3_empty", nullopt, "<x@y>", "", kNone},
};
INSTANTIATE_TEST_SUITE_P(References, ChatDetect, testing::ValuesIn(kReferencesCases), CaseName);

// Of DET-4, what is about the value. The header's name and its place in the
// mail are the modules' business.
constexpr DetectCase kValueCases[] = {
    {"DET_4_leading_space", nullopt, "   <chat$a@b>", nullopt, kMessageId},
    {"DET_4_leading_tab", nullopt, "\t<chat$a@b>", nullopt, kMessageId},
    {"DET_4_fold_crlf_space", nullopt, "\r\n <chat$a@b>", nullopt, kMessageId},
    {"DET_4_fold_crlf_tab", nullopt, "\r\n\t<chat$a@b>", nullopt, kMessageId},
    {"DET_4_fold_bare_lf", nullopt, "\n <chat$a@b>", nullopt, kMessageId},
    {"DET_4_several_folds", nullopt, " \r\n \r\n\t \n <chat$a@b>\r\n", nullopt, kMessageId},
    {"DET_4_folded_references", nullopt, "<x@y>", "\r\n <chat$a@b>\r\n <c@d>", kReferences},
    {"DET_4_comment", nullopt, "(c) <chat$a@b>", nullopt, kMessageId},
    {"DET_4_empty_comment", nullopt, "()<chat$a@b>", nullopt, kMessageId},
    {"DET_4_two_comments", nullopt, "(one)(two) (three)<chat$a@b>", nullopt, kMessageId},
    {"DET_4_nested_comment", nullopt, "(a (b (c) d) e) <chat$a@b>", nullopt, kMessageId},
    {"DET_4_folded_comment", nullopt, "(a\r\n b)\r\n <chat$a@b>", nullopt, kMessageId},
    {"DET_4_comment_in_references", nullopt, "<x@y>", "(re: <c@d>) <chat$a@b>", kReferences},
    {"DET_4_id_in_comment", nullopt, "(<chat$a@b>)", nullopt, kNone},
    {"DET_4_chat_id_in_comment_first", nullopt, "(<chat$a@b>) <c@d>", nullopt, kNone},
    {"DET_4_other_id_in_comment_first", nullopt, "(<c@d>) <chat$a@b>", nullopt, kMessageId},
    {"DET_4_id_in_nested_comment", nullopt, "((a) <chat$a@b>) <c@d>", nullopt, kNone},
    {"DET_4_escaped_close_in_comment", nullopt, "(\\) <chat$a@b>) <c@d>", nullopt, kNone},
    {"DET_4_escaped_open_in_comment", nullopt, "(\\() <chat$a@b>", nullopt, kMessageId},
    {"DET_4_escaped_backslash_in_comment", nullopt, "(\\\\) <chat$a@b>", nullopt, kMessageId},
    {"DET_4_quote_in_comment", nullopt, "(\") <chat$a@b>", nullopt, kMessageId},
    {"DET_4_comment_never_closed", nullopt, "(a <chat$a@b>", nullopt, kNone},
    {"DET_4_nested_comment_never_closed", nullopt, "(a (b) <chat$a@b>", nullopt, kNone},
    {"DET_4_comment_ends_in_backslash", nullopt, "(a\\", nullopt, kNone},
    {"DET_4_stray_close", nullopt, ") <chat$a@b>", nullopt, kMessageId},
    {"DET_4_stray_closes_then_comment", nullopt, ")) (<c@d>) <chat$a@b>", nullopt, kMessageId},
    {"DET_4_id_in_quoted_string", nullopt, "\"<chat$a@b>\"", nullopt, kNone},
    {"DET_4_other_id_in_quoted_string", nullopt, "\"<c@d>\" <chat$a@b>", nullopt, kMessageId},
    {"DET_4_chat_id_in_quoted_string", nullopt, "<x@y>", "\"<chat$a@b>\" <c@d>", kNone},
    {"DET_4_escaped_quote", nullopt, "\"\\\" <chat$a@b>\" <c@d>", nullopt, kNone},
    {"DET_4_escaped_backslash_in_quotes", nullopt, "\"\\\\\" <chat$a@b>", nullopt, kMessageId},
    {"DET_4_paren_in_quotes", nullopt, "\"(\" <chat$a@b>", nullopt, kMessageId},
    {"DET_4_quote_never_closed", nullopt, "\"a <chat$a@b>", nullopt, kNone},
    {"DET_4_quote_ends_in_backslash", nullopt, "\"\\", nullopt, kNone},
    {"DET_4_empty_quoted_string", nullopt, "\"\" <chat$a@b>", nullopt, kMessageId},
    {"DET_4_backslash_outside_is_text", nullopt, "\\<chat$a@b>", nullopt, kMessageId},
    {"DET_4_nul_before_id", nullopt, "\0 <chat$a@b>"sv, nullopt, kMessageId},
    {"DET_4_nul_in_comment", nullopt, "(\0) <chat$a@b>"sv, nullopt, kMessageId},
    {"DET_4_nul_escaped_in_comment", nullopt, "(\\\0) <chat$a@b>"sv, nullopt, kMessageId},
    {"DET_4_8bit_before_id", nullopt, "\xff\xfe <chat$a@b>", nullopt, kMessageId},
    {"DET_4_utf8_phrase", nullopt, "<x@y>",
     "Gr\xc3\xbc\xc3\x9f"
     "e <chat$a@b>",
     kReferences},
    {"DET_4_nul_after_prefix", nullopt, "<chat$\0@b>"sv, nullopt, kMessageId},
};
INSTANTIATE_TEST_SUITE_P(Value, ChatDetect, testing::ValuesIn(kValueCases), CaseName);

// Sizes that would take long in quadratic time, and fail in recursion.
TEST(ChatDetectSize, DET_4_comment_nested_a_million_deep) {
  constexpr size_t kDepth = 1'000'000;
  const string balanced = Repeat("(", kDepth) + Repeat(")", kDepth) + "<chat$a@b>";
  EXPECT_EQ(Mail(nullopt, balanced, nullopt).Detect(), kMessageId);

  const string one_short = Repeat("(", kDepth) + Repeat(")", kDepth - 1) + "<chat$a@b>";
  EXPECT_EQ(Mail(nullopt, one_short, nullopt).Detect(), kNone);
}

TEST(ChatDetectSize, DET_4_megabytes_of_one_byte) {
  for (const auto piece : {" ", "(", ")", "\"", "\\", "<", ">", "\r\n ", "(\\", "()", "\"\"",
                           "\xff", "<chat", "chat$"}) {
    SCOPED_TRACE(piece);
    const string text = Repeat(piece, 1'000'000);
    EXPECT_EQ(Mail(nullopt, text, text).Detect(), kNone);
    EXPECT_EQ(Mail(nullopt, text, text).GroupId(), nullopt);
  }
}

TEST(ChatDetectSize, DET_4_every_cut_of_a_value) {
  constexpr auto kWhole = "(a (\\) b)) \"c\\\"\"\r\n <chat$group.abcdefghijkl.x@y>"sv;
  const size_t prefix_end = kWhole.find('$') + 1;
  for (size_t size = 0; size <= kWhole.size(); ++size) {
    SCOPED_TRACE(size);
    const Mail mail(nullopt, kWhole.substr(0, size), nullopt);
    EXPECT_EQ(mail.Detect(), size < prefix_end ? kNone : kMessageId);
    EXPECT_EQ(mail.GroupId().has_value(), size == kWhole.size());
  }
}

struct GroupCase {
  string_view name;
  OptionalText message_id;
  OptionalText references;
  OptionalText group_id;
};

void PrintTo(const GroupCase& c, std::ostream* os) {
  *os << c.name;
}

class ChatGroupId : public testing::TestWithParam<GroupCase> {};

TEST_P(ChatGroupId, Is) {
  const GroupCase& c = GetParam();
  const Mail mail(nullopt, c.message_id, c.references);
  EXPECT_EQ(mail.GroupId(), c.group_id);
  if (c.group_id) {
    EXPECT_NE(mail.Detect(), kNone);
  }
  // Whether Chat-Version made it a chat mail does not matter.
  EXPECT_EQ(Mail("1.0", c.message_id, c.references).GroupId(), c.group_id);
}

constexpr GroupCase kGroupCases[] = {
    {"DET_5_message_id", "<chat$group.abcdefghijkl.1@example.org>", nullopt, "abcdefghijkl"},
    {"DET_5_references", "<x@y>", "<chat$group.abcdefghijkl.1@example.org>", "abcdefghijkl"},
    {"DET_5_references_alone", nullopt, "<chat$group.abcdefghijkl.1@example.org>", "abcdefghijkl"},
    {"DET_5_message_id_wins", "<chat$group.aaaaaaaaaaaa.1@b>", "<chat$group.bbbbbbbbbbbb.1@b>",
     "aaaaaaaaaaaa"},
    {"DET_5_references_where_message_id_is_single", "<chat$single.1@b>",
     "<chat$group.bbbbbbbbbbbb.1@b>", "bbbbbbbbbbbb"},
    {"DET_5_references_where_message_id_is_malformed", "<chat$group.short.1@b>",
     "<chat$group.bbbbbbbbbbbb.1@b>", "bbbbbbbbbbbb"},
    {"DET_5_second_reference", "<x@y>", "<c@d> <chat$group.abcdefghijkl.1@b>", nullopt},
    {"DET_5_all_kinds_of_characters", "<chat$group.AZaz09_-AZaz.1@b>", nullopt, "AZaz09_-AZaz"},
    {"DET_5_case_is_kept", "<chat$group.AbCdEfGhIjKl.1@b>", nullopt, "AbCdEfGhIjKl"},
    {"DET_5_eleven_characters", "<chat$group.abcdefghijk.1@b>", nullopt, nullopt},
    {"DET_5_empty_id", "<chat$group..1@b>", nullopt, nullopt},
    {"DET_5_plus_in_id", "<chat$group.abcdef+ghijkl.1@b>", nullopt, nullopt},
    {"DET_5_dollar_in_id", "<chat$group.abcdefghijkl$.1@b>", nullopt, nullopt},
    {"DET_5_8bit_in_id", "<chat$group.abcdefghijkl\xc3\xbc.1@b>", nullopt, nullopt},
    {"DET_5_nul_in_id", "<chat$group.abcdef\0ghijkl.1@b>"sv, nullopt, nullopt},
    {"DET_5_space_in_id", "<chat$group.abcdefghijkl .1@b>", nullopt, nullopt},
    {"DET_5_fold_in_id", "<chat$group.abcdef\r\n ghijklmnopqr.1@b>", nullopt, nullopt},
    {"DET_5_group_upper_case", "<chat$GROUP.abcdefghijkl.1@b>", nullopt, nullopt},
    {"DET_5_chat_upper_case", "<CHAT$group.abcdefghijkl.1@b>", nullopt, nullopt},
    {"DET_5_groups", "<chat$groups.abcdefghijkl.1@b>", nullopt, nullopt},
    {"DET_5_no_unique", "<chat$group.abcdefghijkl@b>", nullopt, nullopt},
    {"DET_5_empty_unique", "<chat$group.abcdefghijkl.@b>", nullopt, nullopt},
    {"DET_5_dots_in_unique", "<chat$group.abcdefghijkl.1.2.3@b>", nullopt, "abcdefghijkl"},
    {"DET_5_8bit_in_unique", "<chat$group.abcdefghijkl.\xc3\xbc@b>", nullopt, "abcdefghijkl"},
    {"DET_5_nul_in_unique", "<chat$group.abcdefghijkl.1\0@b>"sv, nullopt, nullopt},
    {"DET_5_fold_in_unique", "<chat$group.abcdefghijkl.1\r\n 2@b>", nullopt, nullopt},
    {"DET_5_comment_in_unique", "<chat$group.abcdefghijkl.1(c)@b>", nullopt, nullopt},
    {"DET_5_no_domain", "<chat$group.abcdefghijkl.1>", nullopt, nullopt},
    {"DET_5_empty_domain", "<chat$group.abcdefghijkl.1@>", nullopt, nullopt},
    {"DET_5_address_literal", "<chat$group.abcdefghijkl.1@[192.0.2.1]>", nullopt, "abcdefghijkl"},
    {"DET_5_two_at_signs", "<chat$group.abcdefghijkl.1@b@c>", nullopt, nullopt},
    {"DET_5_space_in_domain", "<chat$group.abcdefghijkl.1@b >", nullopt, nullopt},
    {"DET_5_delete_in_domain", "<chat$group.abcdefghijkl.1@b\x7f>", nullopt, nullopt},
    {"DET_5_opened_again", "<chat$group.abcdefghijkl.1@b<c>", nullopt, nullopt},
    {"DET_5_never_closed", "<chat$group.abcdefghijkl.1@b", nullopt, nullopt},
    {"DET_5_no_brackets", "chat$group.abcdefghijkl.1@b", nullopt, nullopt},
    {"DET_5_text_after_it", "<chat$group.abcdefghijkl.1@b> (c) <d@e>", nullopt, "abcdefghijkl"},
    {"DET_5_comment_before_it", "(c)\r\n <chat$group.abcdefghijkl.1@b>", nullopt, "abcdefghijkl"},
    {"DET_5_in_a_comment", "(<chat$group.abcdefghijkl.1@b>)", nullopt, nullopt},
    {"DET_5_in_a_quoted_string", "\"<chat$group.abcdefghijkl.1@b>\"", nullopt, nullopt},
    {"DET_5_no_headers_at_all", nullopt, nullopt, nullopt},
    {"DET_5_empty_headers", "", "", nullopt},
};
INSTANTIATE_TEST_SUITE_P(Form, ChatGroupId, testing::ValuesIn(kGroupCases), CaseName);

TEST(ChatGroupIdSize, DET_5_at_most_128_characters) {
  for (const size_t size : {12U, 127U, 128U, 129U, 1'000'000U}) {
    SCOPED_TRACE(size);
    const string group = Repeat("g", size);
    const string message_id = "<chat$group." + group + ".1@b>";
    const auto expected = size <= 128 ? std::optional(group) : nullopt;
    EXPECT_EQ(Mail(nullopt, message_id, nullopt).GroupId(), expected);
    EXPECT_EQ(Mail(nullopt, message_id, nullopt).Detect(), kMessageId);
  }
}

TEST(ChatGroupIdSize, DET_5_every_byte_in_the_id) {
  for (int byte = 0; byte < 256; ++byte) {
    SCOPED_TRACE(byte);
    const string group = string("abcdefghijkl") + static_cast<char>(byte);
    const bool allowed = string_view(
                             "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                             "abcdefghijklmnopqrstuvwxyz_-")
                             .find(static_cast<char>(byte)) != string_view::npos;
    // A dot is the end of the id, with twelve characters before it.
    const auto expected = byte == '.' ? std::optional<string>("abcdefghijkl")
                                      : (allowed ? std::optional(group) : nullopt);
    EXPECT_EQ(Mail(nullopt, "<chat$group." + group + ".1@b>", nullopt).GroupId(), expected);
  }
}

struct MessageIdCase {
  string_view name;
  OptionalText value;
  OptionalText id;
};

void PrintTo(const MessageIdCase& c, std::ostream* os) {
  *os << c.name;
}

class MessageId : public testing::TestWithParam<MessageIdCase> {};

TEST_P(MessageId, Is) {
  const Bytes value(GetParam().value);
  struct coi_bytes id = {.data = "untouched", .size = 9};
  if (Core().message_id_find(value.get(), &id)) {
    EXPECT_TRUE(value.Holds(id));
    EXPECT_EQ(OptionalText(string_view(id.data, id.size)), GetParam().id);
  } else {
    EXPECT_EQ(string_view(id.data, id.size), "untouched");
    EXPECT_EQ(GetParam().id, nullopt);
  }
}

constexpr MessageIdCase kFindCases[] = {
    {"MSG_4_plain", "<a@b>", "<a@b>"},
    {"MSG_4_first_of_two", "<a@b> <c@d>", "<a@b>"},
    {"MSG_4_no_domain", "<a>", "<a>"},
    {"MSG_4_one_octet", "x<a", nullopt},
    {"MSG_4_phrase_before", "phrase <a@b>", "<a@b>"},
    {"MSG_4_comment_before", "(<x@y> \\) (n)) <a@b>", "<a@b>"},
    {"MSG_4_comment_within", "<a(b@c>", "<a(b@c>"},
    {"MSG_4_comment_without_end", "(<a@b>", nullopt},
    {"MSG_4_quotes_before", "\"<x@y>\" <a@b>", "<a@b>"},
    {"MSG_4_quotes_within", "<\"x>y\"@b>", "<\"x>y\"@b>"},
    {"MSG_4_quoted_pair_within", "<\"x\\\">y\"@b>", "<\"x\\\">y\"@b>"},
    {"MSG_4_backslash_outside_quotes", "<a\\>b>", "<a\\>"},
    {"MSG_4_quotes_without_end", "<a\"b@c> d", "<a\"b@c>"},
    {"MSG_4_backslash_at_the_end", "<a\"b>\\", "<a\"b>"},
    {"MSG_4_folded", "\r\n <a\r\n b@c>", "<a\r\n b@c>"},
    {"MSG_4_second_angle", "<a <b@c>", "<a <b@c>"},
    {"MSG_4_empty_brackets", "<> <a@b>", nullopt},
    {"MSG_4_no_brackets", "a@b", nullopt},
    {"MSG_4_no_end", "<a@b", nullopt},
    {"MSG_4_empty", "", nullopt},
    {"MSG_4_absent", nullopt, nullopt},
};

INSTANTIATE_TEST_SUITE_P(Find, MessageId, testing::ValuesIn(kFindCases), CaseName);

TEST(ChatRuleName, DET_1_to_3_names) {
  EXPECT_STREQ(Core().chat_rule_name(kNone), "none");
  EXPECT_STREQ(Core().chat_rule_name(kVersion), "chat-version");
  EXPECT_STREQ(Core().chat_rule_name(kMessageId), "message-id");
  EXPECT_STREQ(Core().chat_rule_name(kReferences), "references");
  EXPECT_STREQ(Core().chat_rule_name(COI_CHAT_RULE_ENCRYPTED), "encrypted");
}

struct EncryptedCase {
  string_view name;
  OptionalText content_type;
  OptionalText subject;
  bool is_chat;
};
class ChatEncrypted : public testing::TestWithParam<EncryptedCase> {};
TEST_P(ChatEncrypted, DET_7_CLI_3) {
  const Bytes type(GetParam().content_type);
  const Bytes subject(GetParam().subject);
  struct coi_chat_headers hdr {};
  hdr.content_type = type.get();
  hdr.subject = subject.get();
  EXPECT_EQ(Core().chat_detect(&hdr, COI_CHAT_RULES_DEFAULT), kNone);
  EXPECT_EQ(Core().chat_detect(&hdr, 1U << COI_CHAT_RULE_ENCRYPTED),
            GetParam().is_chat ? COI_CHAT_RULE_ENCRYPTED : kNone);
}
const EncryptedCase kEncryptedCases[] = {
    {"as_written", "multipart/encrypted; protocol=\"application/pgp-encrypted\"", "[...]", true},
    {"the_older_subject", "multipart/encrypted; boundary=x", "...", true},
    {"no_parameters", "multipart/encrypted", "[...]", true},
    {"any_case", "MultiPart/ENCRYPTED;x=y", "[...]", true},
    {"comments", "(a (b) \\) c) multipart (d) / (e) encrypted (f) ; x=y", " [...] \r\n", true},
    {"folded", "\r\n multipart/encrypted\r\n\t; x=y", "\r\n [...]", true},
    {"another_subject", "multipart/encrypted", "Re: [...]", false},
    {"more_subject", "multipart/encrypted", "[...] x", false},
    {"an_ellipsis", "multipart/encrypted", "\xe2\x80\xa6", false},
    {"no_subject", "multipart/encrypted", nullopt, false},
    {"empty_subject", "multipart/encrypted", "", false},
    {"no_type", nullopt, "[...]", false},
    {"empty_type", "", "[...]", false},
    {"another_type", "multipart/mixed", "[...]", false},
    {"longer_type", "multipart/encryptedx", "[...]", false},
    {"cut_type", "multipart/encrypte", "[...]", false},
    {"cut_at_the_slash", "multipart/", "[...]", false},
    {"endless_comment", "((((multipart/encrypted", "[...]", false},
    {"escape_at_the_end", "multipart/encrypted (\\", "[...]", true},
};
INSTANTIATE_TEST_SUITE_P(Mail, ChatEncrypted, testing::ValuesIn(kEncryptedCases), CaseName);

TEST(ChatRules, CLI_3_parsing) {
  const auto parse = [](string_view text) {
    unsigned int rules = 0;
    const char* error = Core().config_chat_rules_parse(Bytes(text).get(), &rules);
    EXPECT_EQ(error == nullptr, rules != 0);
    return rules;
  };
  EXPECT_EQ(parse("chat-version message-id references"), COI_CHAT_RULES_DEFAULT);
  EXPECT_EQ(parse(" references,chat-version, message-id\t"), COI_CHAT_RULES_DEFAULT);
  EXPECT_EQ(parse("encrypted"), 1U << COI_CHAT_RULE_ENCRYPTED);
  for (const auto* text : {"", " ", ",", "none", "Encrypted", "encrypted;", "encrypted x"}) {
    EXPECT_EQ(parse(text), 0U) << text;
  }
}

TEST(ChatRules, CLI_3_only_those_that_are_wanted) {
  struct coi_chat_headers hdr {};
  const Bytes version("1.0");
  const Bytes id("<chat$x@y>");
  hdr.chat_version = version.get();
  hdr.message_id = hdr.references = id.get();
  for (const auto rule : {kVersion, kMessageId, kReferences}) {
    EXPECT_EQ(Core().chat_detect(&hdr, 1U << rule), rule);
  }
  EXPECT_EQ(Core().chat_detect(&hdr, 1U << kMessageId | 1U << kReferences), kMessageId);
  EXPECT_EQ(Core().chat_detect(&hdr, 0), kNone);
}

}  // namespace
}  // namespace coi::test
