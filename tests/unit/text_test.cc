// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "util/text.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <ostream>
#include <string>
#include <string_view>

#include "test_util.h"

namespace coi::test {
namespace {

using std::string_view;
using namespace std::string_view_literals;

struct DateCase {
  string_view name;
  int64_t seconds;
  int offset;
  string_view text;
};

void PrintTo(const DateCase& c, std::ostream* os) {
  *os << c.name;
}

class Rfc3339 : public testing::TestWithParam<DateCase> {};

TEST_P(Rfc3339, Check) {
  EXPECT_EQ(util::FormatRfc3339(GetParam().seconds, GetParam().offset), GetParam().text);
}

constexpr int64_t kYear0 = -62167219200;
constexpr int64_t kYear10000 = 253402300800;

constexpr DateCase kDateCases[] = {
    {"MSG_4_epoch", 0, 0, "1970-01-01T00:00:00+00:00"},
    {"MSG_4_before_epoch", -1, 0, "1969-12-31T23:59:59+00:00"},
    {"MSG_4_example", 1577834450, 0, "2019-12-31T23:20:50+00:00"},
    {"MSG_4_east", 1577834450, 330, "2020-01-01T04:50:50+05:30"},
    {"MSG_4_west", 1577834450, -570, "2019-12-31T13:50:50-09:30"},
    {"MSG_4_leap_day", 1709164800, 0, "2024-02-29T00:00:00+00:00"},
    {"MSG_4_no_leap_year", 4107542400, 0, "2100-03-01T00:00:00+00:00"},
    {"MSG_4_after_2038", int64_t{1} << 32, 0, "2106-02-07T06:28:16+00:00"},
    {"MSG_4_first", kYear0, 0, "0000-01-01T00:00:00+00:00"},
    {"MSG_4_before_first", kYear0 - 1, 0, ""},
    {"MSG_4_first_by_offset", kYear0 - 60, 1, "0000-01-01T00:00:00+00:01"},
    {"MSG_4_before_first_by_offset", kYear0, -1, ""},
    {"MSG_4_last", kYear10000 - 1, 0, "9999-12-31T23:59:59+00:00"},
    {"MSG_4_after_last", kYear10000, 0, ""},
    {"MSG_4_last_by_offset", kYear10000, -1, "9999-12-31T23:59:00-00:01"},
    {"MSG_4_after_last_by_offset", kYear10000 - 1, 1, ""},
    {"MSG_4_least_of_all", std::numeric_limits<int64_t>::min(), -1439, ""},
    {"MSG_4_greatest_of_all", std::numeric_limits<int64_t>::max(), 1439, ""},
    {"MSG_4_offset_largest", 0, 1439, "1970-01-01T23:59:00+23:59"},
    {"MSG_4_offset_least", 0, -1439, "1969-12-31T00:01:00-23:59"},
    {"MSG_4_offset_of_a_day", 0, 1440, "1970-01-01T00:00:00+00:00"},
    {"MSG_4_offset_of_a_day_west", 0, -1440, "1970-01-01T00:00:00+00:00"},
    {"MSG_4_offset_least_of_all", 0, std::numeric_limits<int>::min(), "1970-01-01T00:00:00+00:00"},
    {"MSG_4_offset_greatest_of_all", 0, std::numeric_limits<int>::max(),
     "1970-01-01T00:00:00+00:00"},
};
INSTANTIATE_TEST_SUITE_P(Text, Rfc3339, testing::ValuesIn(kDateCases), CaseName);

TEST(LowerCase, SUB_10_of_unicode) {
  EXPECT_EQ(util::LowerCase(""), "");
  EXPECT_EQ(util::LowerCase("AZaz[@`{019"), "azaz[@`{019");
  EXPECT_EQ(util::LowerCase("J\xc3\x96RG@\xd0\x9f.EXAMPLE"), "j\xc3\xb6rg@\xd0\xbf.example");
  // From three bytes to one, from two to three.
  EXPECT_EQ(util::LowerCase("\xe2\x84\xaa\xc8\xba"), "k\xe2\xb1\xa5");
}

TEST(LowerCase, SUB_10_leaves_alone_what_is_not_utf8) {
  EXPECT_EQ(util::LowerCase("A\xff"
                            "B\xc3"
                            "C\0D\xf0\x9f"sv),
            "a\xff"
            "b\xc3"
            "c\0d\xf0\x9f"sv);
}

}  // namespace
}  // namespace coi::test
