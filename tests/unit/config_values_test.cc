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

bool EnabledParse(const OptionalText& value) {
  const Bytes bytes(value);
  return Core().config_enabled_parse(bytes.get());
}

std::optional<enum coi_filter> FilterParse(const OptionalText& value) {
  const Bytes bytes(value);
  std::optional<enum coi_filter> result;
  // Once from each side, so that an untouched variable shows.
  for (const auto before : {COI_FILTER_NONE, COI_FILTER_SEEN}) {
    enum coi_filter filter = before;
    if (Core().config_filter_parse(bytes.get(), &filter)) {
      result = filter;
    } else {
      EXPECT_EQ(filter, before);
      result = nullopt;
    }
  }
  return result;
}

// nullopt where the root is good.
std::optional<string> RootProblem(const OptionalText& root, char separator) {
  const Bytes bytes(root);
  const char* problem = Core().config_mailbox_root_check(bytes.get(), separator);
  return problem == nullptr ? nullopt : std::optional<string>(problem);
}

struct ValueCase {
  string_view name;
  OptionalText value;
};

constexpr ValueCase kBadValues[] = {
    {"absent", nullopt},
    {"empty", ""},
    {"true", "true"},
    {"one", "1"},
    {"no", "no"},
    {"Yes", "Yes"},
    {"YES", "YES"},
    {"ye", "ye"},
    {"yess", "yess"},
    {"space before", " yes"},
    {"space after", "yes "},
    {"newline after", "yes\n"},
    {"quoted", "\"yes\""},
    {"NUL", "\0"sv},
    {"NUL after", "yes\0"sv},
    {"NUL inside", "y\0es"sv},
    {"NUL before", "\0yes"sv},
    {"invalid UTF-8", "\xff\xfe"},
    {"invalid UTF-8 after", "yes\xff"},
    {"full-width letters", "\xef\xbd\x99\xef\xbd\x85\xef\xbd\x93"},
    {"None", "None"},
    {"ACTIVE", "ACTIVE"},
    {"Seen", "Seen"},
    {"activ", "activ"},
    {"actives", "actives"},
    {"two filters", "none active"},
    {"filter and NUL", "seen\0"sv},
    {"filter and space", " seen"},
    {"NIL", "NIL"},
};

TEST(ConfigEnabled, CFG_3_yes) {
  EXPECT_TRUE(EnabledParse("yes"));
}

TEST(ConfigEnabled, CFG_3_absent) {
  EXPECT_FALSE(EnabledParse(nullopt));
}

TEST(ConfigEnabled, CFG_4_any_other_value) {
  for (const auto& c : kBadValues) {
    SCOPED_TRACE(c.name);
    EXPECT_FALSE(EnabledParse(c.value));
  }
}

TEST(ConfigEnabled, CFG_4_one_mebibyte) {
  EXPECT_FALSE(EnabledParse(string(1U << 20U, 'y')));
  EXPECT_FALSE(EnabledParse("yes" + string(1U << 20U, '\0')));
}

TEST(ConfigEnabled, CFG_6_filter_names_do_not_enable) {
  for (const auto value : {"none", "active", "seen"}) {
    SCOPED_TRACE(value);
    EXPECT_FALSE(EnabledParse(value));
  }
}

TEST(ConfigFilter, CFG_5_values) {
  EXPECT_EQ(FilterParse("none"), COI_FILTER_NONE);
  EXPECT_EQ(FilterParse("active"), COI_FILTER_ACTIVE);
  EXPECT_EQ(FilterParse("seen"), COI_FILTER_SEEN);
}

TEST(ConfigFilter, CFG_5_any_other_value) {
  EXPECT_EQ(FilterParse("yes"), nullopt);
  EXPECT_EQ(FilterParse(string(1U << 20U, 'n')), nullopt);
  for (const auto& c : kBadValues) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(FilterParse(c.value), nullopt);
  }
}

// A reader of stored values starts from the default and ignores the answer.
TEST(ConfigFilter, CFG_6_default_survives_a_bad_value) {
  for (const auto& c : kBadValues) {
    SCOPED_TRACE(c.name);
    const Bytes bytes(c.value);
    enum coi_filter filter = COI_FILTER_NONE;
    (void)Core().config_filter_parse(bytes.get(), &filter);
    EXPECT_EQ(filter, COI_FILTER_NONE);
  }
}

struct RootCase {
  string_view name;
  OptionalText root;
  char separator;
  // A piece of the message, or nullopt where the root is good.
  OptionalText problem;
};

void PrintTo(const RootCase& c, std::ostream* os) {
  *os << c.name;
}

class ConfigMailboxRoot : public testing::TestWithParam<RootCase> {};

TEST_P(ConfigMailboxRoot, Check) {
  const RootCase& c = GetParam();
  const auto problem = RootProblem(c.root, c.separator);
  ASSERT_EQ(problem.has_value(), c.problem.has_value()) << problem.value_or("no problem");
  if (problem) {
    EXPECT_NE(problem->find(*c.problem), string::npos) << *problem;
  }
}

constexpr RootCase kRootCases[] = {
    {"CFG_1_default", "COI", '/', nullopt},
    {"CFG_1_one_byte", "c", '/', nullopt},
    {"CFG_1_two_levels", "Apps/COI", '/', nullopt},
    {"CFG_1_two_levels_dot", "Apps.COI", '.', nullopt},
    {"CFG_1_other_separator_is_text", "a..b", '/', nullopt},
    {"CFG_1_other_separator_at_the_ends", ".a.", '/', nullopt},
    {"CFG_1_slash_is_text_where_dot_separates", "/a//b/", '.', nullopt},
    {"CFG_1_no_hierarchy", "a/b", '\0', nullopt},
    {"CFG_1_space", "My Chats", '/', nullopt},
    {"CFG_1_ampersand", "A & B", '/', nullopt},
    {"CFG_1_absent", nullopt, '/', "empty"},
    {"CFG_1_empty", "", '/', "empty"},
    {"CFG_1_separator_alone", "/", '/', "path element"},
    {"CFG_1_separator_first", "/COI", '/', "path element"},
    {"CFG_1_separator_last", "COI/", '/', "path element"},
    {"CFG_1_separator_doubled", "a//b", '/', "path element"},
    {"CFG_1_separator_doubled_dot", "a..b", '.', "path element"},
    {"CFG_1_inbox", "INBOX", '/', "INBOX"},
    {"CFG_1_inbox_lower_case", "inbox", '/', "INBOX"},
    {"CFG_1_inbox_mixed_case", "InBoX", '/', "INBOX"},
    {"CFG_1_below_inbox", "INBOX/COI", '/', nullopt},
    {"CFG_1_below_inbox_lower_case", "inbox/COI", '/', "capital"},
    {"CFG_1_below_inbox_mixed_case", "Inbox/COI/x", '/', "capital"},
    {"CFG_1_below_inbox_dot_is_text", "inbox.COI", '/', nullopt},
    {"CFG_1_inbox_lower_case_below", "COI/inbox", '/', nullopt},
    {"CFG_1_inbox_lower_case_is_only_a_prefix", "inboxes/COI", '/', nullopt},
    {"CFG_1_inbox_is_only_a_prefix", "INBOXES", '/', nullopt},
    {"CFG_1_inbox_below", "COI/INBOX", '/', nullopt},
    {"CFG_1_inbox_cut_short", "INBO", '/', nullopt},
    {"CFG_1_star", "CO*I", '/', "wildcard"},
    {"CFG_1_percent", "CO%I", '/', "wildcard"},
    {"CFG_1_nul", "CO\0I"sv, '/', "control"},
    {"CFG_1_nul_where_there_is_no_hierarchy", "\0"sv, '\0', "control"},
    {"CFG_1_newline", "CO\nI", '/', "control"},
    {"CFG_1_tab", "CO\tI", '/', "control"},
    {"CFG_1_escape", "\x1b[1m", '/', "control"},
    {"CFG_1_delete", "CO\x7fI", '/', "control"},
    {"CFG_1_c1_first", "\xc2\x80", '/', "control"},
    {"CFG_1_c1_last", "\xc2\x9f", '/', "control"},
    {"CFG_1_after_c1", "\xc2\xa0", '/', nullopt},
    {"CFG_1_utf8_two_bytes_last", "\xdf\xbf", '/', nullopt},
    {"CFG_1_utf8_three_bytes_first", "\xe0\xa0\x80", '/', nullopt},
    {"CFG_1_utf8_before_surrogates", "\xed\x9f\xbf", '/', nullopt},
    {"CFG_1_utf8_after_surrogates", "\xee\x80\x80", '/', nullopt},
    {"CFG_1_utf8_three_bytes_last", "\xef\xbf\xbf", '/', nullopt},
    {"CFG_1_utf8_four_bytes_first", "\xf0\x90\x80\x80", '/', nullopt},
    {"CFG_1_utf8_last_of_all", "\xf4\x8f\xbf\xbf", '/', nullopt},
    {"CFG_1_utf8_mixed",
     "Gespr\xc3\xa4"
     "che \xf0\x9f\x92\xac",
     '/', nullopt},
    {"CFG_1_utf8_beyond_last", "\xf4\x90\x80\x80", '/', "UTF-8"},
    {"CFG_1_utf8_f5", "\xf5\x80\x80\x80", '/', "UTF-8"},
    {"CFG_1_utf8_five_bytes", "\xf8\x88\x80\x80\x80", '/', "UTF-8"},
    {"CFG_1_utf8_fe", "\xfe", '/', "UTF-8"},
    {"CFG_1_utf8_ff", "\xff", '/', "UTF-8"},
    {"CFG_1_utf8_surrogate_first", "\xed\xa0\x80", '/', "UTF-8"},
    {"CFG_1_utf8_surrogate_last", "\xed\xbf\xbf", '/', "UTF-8"},
    {"CFG_1_utf8_overlong_slash",
     "a\xc0\xaf"
     "b",
     '/', "UTF-8"},
    {"CFG_1_utf8_overlong_nul", "\xc0\x80", '/', "UTF-8"},
    {"CFG_1_utf8_overlong_two_bytes_last", "\xc1\xbf", '/', "UTF-8"},
    {"CFG_1_utf8_overlong_three_bytes", "\xe0\x9f\xbf", '/', "UTF-8"},
    {"CFG_1_utf8_overlong_four_bytes", "\xf0\x8f\xbf\xbf", '/', "UTF-8"},
    {"CFG_1_utf8_lone_continuation", "\x80", '/', "UTF-8"},
    {"CFG_1_utf8_one_continuation_too_many", "\xc3\xa4\xa4", '/', "UTF-8"},
    {"CFG_1_utf8_cut_after_one_of_two", "\xc3", '/', "UTF-8"},
    {"CFG_1_utf8_cut_after_two_of_three", "\xe2\x82", '/', "UTF-8"},
    {"CFG_1_utf8_cut_after_three_of_four", "\xf0\x9f\x92", '/', "UTF-8"},
    {"CFG_1_utf8_text_for_continuation",
     "\xe2\x82"
     "a",
     '/', "UTF-8"},
    {"CFG_1_latin1",
     "Gespr\xe4"
     "che",
     '/', "UTF-8"},
};
INSTANTIATE_TEST_SUITE_P(Root, ConfigMailboxRoot, testing::ValuesIn(kRootCases), CaseName);

TEST(ConfigMailboxRootSize, CFG_1_at_most_200_bytes) {
  EXPECT_EQ(RootProblem(string(200, 'a'), '/'), nullopt);
  EXPECT_NE(RootProblem(string(201, 'a'), '/'), nullopt);
  // Bytes are what counts, not characters.
  EXPECT_EQ(RootProblem(Repeat("\xf0\x9f\x92\xac", 50), '/'), nullopt);
  EXPECT_NE(RootProblem(Repeat("\xf0\x9f\x92\xac", 51), '/'), nullopt);
}

}  // namespace
}  // namespace coi::test
