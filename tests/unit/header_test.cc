// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "coi.h"
#include "test_util.h"

namespace coi::test {
namespace {

using std::nullopt;
using std::string;
using std::string_view;
using namespace std::string_literals;
using namespace std::string_view_literals;

struct coi_bytes ToBytes(string_view text) {
  return {.data = text.data(), .size = text.size()};
}

using Values = std::vector<std::optional<string>>;

// The values of "One" and "Two-Two", or nullopt where more of the mail is needed.
std::optional<Values> Find(string_view mail) {
  const Bytes bytes(mail);
  constexpr struct coi_bytes kUntouched = {.data = "untouched", .size = 9};
  std::array<struct coi_header, 2> headers = {{{.name = ToBytes("One"), .value = kUntouched},
                                               {.name = ToBytes("two-TWO"), .value = kUntouched}}};
  if (!Core().headers_find(bytes.get(), headers.data(), headers.size())) {
    return nullopt;
  }
  Values values;
  for (const struct coi_header& header : headers) {
    if (header.value.data == nullptr) {
      values.emplace_back(nullopt);
    } else {
      EXPECT_TRUE(bytes.Holds(header.value));
      values.emplace_back(string(header.value.data, header.value.size));
    }
  }
  return values;
}

struct HeaderCase {
  string_view name;
  string_view mail;
  OptionalText one;
  OptionalText two;
};

void PrintTo(const HeaderCase& c, std::ostream* os) {
  *os << c.name;
}

const HeaderCase kHeaderCases[] = {
    {"none", "\n", nullopt, nullopt},
    {"none_crlf", "\r\n", nullopt, nullopt},
    {"both", "One: 1\nTwo-Two: 2\n\n", "1", "2"},
    {"both_crlf", "One: 1\r\nTwo-Two: 2\r\n\r\n", "1", "2"},
    {"other_order", "Two-Two: 2\nThree: 3\nOne: 1\n\n", "1", "2"},
    {"only_others", "Three: 3\nFour: 4\n\n", nullopt, nullopt},
    {"case_of_the_name", "oNE: 1\nTWO-two: 2\n\n", "1", "2"},
    {"no_space", "One:1\n\n", "1", nullopt},
    {"much_space", "One: \t  1 \t\n\n", "1 \t", nullopt},
    {"space_before_the_colon", "One \t : 1\n\n", "1", nullopt},
    {"empty", "One:\n\n", "", nullopt},
    {"empty_crlf", "One:\r\n\r\n", "", nullopt},
    {"blank", "One: \t \n\n", "", nullopt},
    {"colons_in_the_value", "One: a: b: c\n\n", "a: b: c", nullopt},
    {"first_wins", "One: 1\nOne: 2\none: 3\n\n", "1", nullopt},
    {"first_wins_though_empty", "One:\nOne: 2\n\n", "", nullopt},
    {"folded", "One: 1\n 2\n\t3\nTwo-Two: 4\n\n", "1\n 2\n\t3", "4"},
    {"folded_crlf", "One: 1\r\n 2\r\n\t3\r\n\r\n", "1\r\n 2\r\n\t3", nullopt},
    {"folded_before_the_value", "One:\n 1\n\n", "\n 1", nullopt},
    {"folded_blank_line", "One: 1\n \n 2\n\n", "1\n \n 2", nullopt},
    {"folded_blank_line_crlf", "One: 1\r\n \r\n 2\r\n\r\n", "1\r\n \r\n 2", nullopt},
    {"name_in_a_folded_line", "Three: 3\n One: 1\n\n", nullopt, nullopt},
    {"folded_first_line", " One: 1\nTwo-Two: 2\n\n", nullopt, "2"},
    {"colon_in_a_folded_line", "One\n : 1\n\n", nullopt, nullopt},
    {"name_is_longer", "Ones: 1\n\n", nullopt, nullopt},
    {"name_is_shorter", "On: 1\n\n", nullopt, nullopt},
    {"name_has_another_before", "x One: 1\n\n", nullopt, nullopt},
    {"name_with_a_nul", "One\0: 1\n\n"sv, nullopt, nullopt},
    {"no_name", ": 1\n: 2\n\n", nullopt, nullopt},
    {"line_without_a_colon", "One\nTwo-Two: 2\n\n", nullopt, "2"},
    {"From_line", "From one@example.org Sat Jan  4 10:00:00 2025\nOne: 1\n\n", "1", nullopt},
    {"nul_in_the_value", "One: a\0b\n\n"sv, "a\0b"sv, nullopt},
    {"8_bit", "One: \xc3\x96\xff\n\n", "\xc3\x96\xff", nullopt},
    {"cr_alone", "One: 1\rTwo-Two: 2\n\n", "1\rTwo-Two: 2", nullopt},
    {"cr_cr_lf", "One: 1\r\r\n\r\nTwo-Two: 2\n\n", "1\r", nullopt},
    {"cr_line_does_not_end_it", "Three: 3\n\r\r\nOne: 1\n\n", "1", nullopt},
    {"lf_cr", "One: 1\n\rTwo-Two: 2\n\n", "1", nullopt},
    {"ends_with_crlf_among_lf", "One: 1\n\r\nTwo-Two: 2\n\n", "1", nullopt},
    {"in_the_body", "Three: 3\n\nOne: 1\nTwo-Two: 2\n", nullopt, nullopt},
    {"in_the_body_crlf", "Three: 3\r\n\r\nOne: 1\r\n", nullopt, nullopt},
    {"body_first", "\nOne: 1\n\n", nullopt, nullopt},
};

class Header : public testing::TestWithParam<HeaderCase> {};

TEST_P(Header, DET_4_found) {
  const HeaderCase& c = GetParam();
  const auto values = Find(c.mail);
  ASSERT_TRUE(values.has_value());
  EXPECT_EQ((*values)[0], c.one);
  EXPECT_EQ((*values)[1], c.two);
}

// Of less than the mail the same is said, or nothing.
TEST_P(Header, DET_4_cut_off_anywhere) {
  const HeaderCase& c = GetParam();
  for (size_t size = 0; size < c.mail.size(); ++size) {
    const auto values = Find(c.mail.substr(0, size));
    if (values) {
      EXPECT_EQ((*values)[0], c.one) << size;
      EXPECT_EQ((*values)[1], c.two) << size;
    }
  }
}

TEST_P(Header, DET_4_behind_many_others) {
  const HeaderCase& c = GetParam();
  if (c.mail.starts_with(' ')) {
    GTEST_SKIP() << "would be folded";
  }
  const string others = Repeat("Received: by a\n\tfor b;\n c\nX: y\n", 2000);
  const auto values = Find(others + string(c.mail));
  ASSERT_TRUE(values.has_value());
  EXPECT_EQ((*values)[0], c.one);
  EXPECT_EQ((*values)[1], c.two);
}

INSTANTIATE_TEST_SUITE_P(Mail, Header, testing::ValuesIn(kHeaderCases), CaseName);

TEST(HeadersFind, BLK_3_several_of_a_name) {
  const struct coi_bytes one = ToBytes("One");
  std::array<struct coi_header, 4> headers = {{{.name = one, .value = {}},
                                               {.name = ToBytes("Two"), .value = {}},
                                               {.name = ToBytes("oNE"), .value = {}},
                                               {.name = one, .value = {}}}};
  const auto find = [&](string_view mail) {
    const Bytes bytes(mail);
    EXPECT_TRUE(Core().headers_find(bytes.get(), headers.data(), headers.size()));
    string found;
    for (const struct coi_header& header : headers) {
      found += header.value.data == nullptr ? "-" : string(header.value.data, header.value.size);
      found += '|';
    }
    return found;
  };
  EXPECT_EQ(find("One: 1\n\n"), "1|-|-|-|");
  EXPECT_EQ(find("One: 1\nTwo: 2\nTwo: 3\none: 4\n\nOne: 5\n"), "1|2|4|-|");
  EXPECT_EQ(find("One:\nONE: 2\n\n"), "|-|2|-|");
  // All are found: what is behind them isn't looked at.
  EXPECT_EQ(find("One: 1\nOne: 2\nOne: 3\nOne: 4\nTwo: 5\nx"), "1|5|2|3|");
}

TEST(HeadersFind, MoreIsNeeded) {
  for (const string_view mail : {"", "O", "One: 1", "One: 1\n", "One: 1\r\n", "One: 1\n\r",
                                 "One: 1\n ", "One: 1\n 2\n", "\r", "One: 1\nTwo-Two: 2\n"}) {
    EXPECT_FALSE(Find(mail).has_value()) << mail;
  }
  struct coi_header header = {.name = ToBytes("One"), .value = {}};
  EXPECT_FALSE(Core().headers_find({.data = nullptr, .size = 0}, &header, 1));
}

TEST(HeadersFind, EnoughWhenAllAreFound) {
  EXPECT_TRUE(Find("One: 1\nTwo-Two: 2\nx").has_value());
  EXPECT_TRUE(Core().headers_find({.data = nullptr, .size = 0}, nullptr, 0));
}

}  // namespace
}  // namespace coi::test
