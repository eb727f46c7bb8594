// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "util/base64.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>
#include <string>
#include <string_view>

#include "test_util.h"

namespace coi::test {
namespace {

using std::nullopt;
using std::string;
using std::string_view;
using namespace std::string_view_literals;
using util::DecodeBase64;
using util::EncodeBase64Url;

struct Base64Case {
  string_view name;
  string_view text;
  OptionalText bytes;
};

void PrintTo(const Base64Case& c, std::ostream* os) {
  *os << c.name;
}

class Base64Decode : public testing::TestWithParam<Base64Case> {};

TEST_P(Base64Decode, Check) {
  const auto bytes = DecodeBase64(GetParam().text);
  ASSERT_EQ(bytes.has_value(), GetParam().bytes.has_value());
  EXPECT_EQ(bytes.value_or(""), GetParam().bytes.value_or(""));
}

constexpr Base64Case kBase64Cases[] = {
    // RFC 4648, 10
    {"SUB_3_rfc4648_0", "", ""},
    {"SUB_3_rfc4648_1", "Zg==", "f"},
    {"SUB_3_rfc4648_2", "Zm8=", "fo"},
    {"SUB_3_rfc4648_3", "Zm9v", "foo"},
    {"SUB_3_rfc4648_4", "Zm9vYg==", "foob"},
    {"SUB_3_rfc4648_5", "Zm9vYmE=", "fooba"},
    {"SUB_3_rfc4648_6", "Zm9vYmFy", "foobar"},
    {"SUB_3_unpadded_1", "Zg", "f"},
    {"SUB_3_unpadded_2", "Zm8", "fo"},
    {"SUB_3_plain", "+/+/", "\xfb\xff\xbf"},
    {"SUB_3_url", "-_-_", "\xfb\xff\xbf"},
    {"SUB_3_plain_unpadded", "+/8", "\xfb\xff"},
    {"SUB_3_url_padded", "-_8=", "\xfb\xff"},
    {"SUB_3_nul_bytes", "AAAA", "\0\0\0"sv},
    {"SUB_3_mixed", "+/-_", nullopt},
    {"SUB_3_mixed_plus_and_underline", "+_AA", nullopt},
    {"SUB_3_mixed_slash_and_minus", "/-AA", nullopt},
    {"SUB_3_one_character", "Z", nullopt},
    {"SUB_3_five_characters", "Zm9vZ", nullopt},
    {"SUB_3_padding_alone", "=", nullopt},
    {"SUB_3_padding_alone_twice", "==", nullopt},
    {"SUB_3_padding_alone_4", "====", nullopt},
    {"SUB_3_padding_short", "Zg=", nullopt},
    {"SUB_3_padding_long", "Zm8==", nullopt},
    {"SUB_3_padding_needless", "Zm9v=", nullopt},
    {"SUB_3_padding_needless_4", "Zm9v====", nullopt},
    {"SUB_3_padding_of_three", "Z===", nullopt},
    {"SUB_3_padding_inside", "Zg==Zg==", nullopt},
    {"SUB_3_padding_first", "=Zg=", nullopt},
    {"SUB_3_bits_beyond_1", "Zh==", nullopt},
    {"SUB_3_bits_beyond_1_unpadded", "Zh", nullopt},
    {"SUB_3_bits_beyond_2", "Zm9=", nullopt},
    {"SUB_3_bits_beyond_2_unpadded", "Zm9", nullopt},
    {"SUB_3_space_before", " Zm9v", nullopt},
    {"SUB_3_space_inside", "Zm 9v", nullopt},
    {"SUB_3_newline_after", "Zm9v\n", nullopt},
    {"SUB_3_nul", "Zm9\0"sv, nullopt},
    {"SUB_3_high", "Zm9\xff", nullopt},
    {"SUB_3_other_character", "Zm9.", nullopt},
};
INSTANTIATE_TEST_SUITE_P(Base64, Base64Decode, testing::ValuesIn(kBase64Cases), CaseName);

TEST(Base64, SUB_3_encodes_as_url_unpadded) {
  EXPECT_EQ(EncodeBase64Url(""), "");
  EXPECT_EQ(EncodeBase64Url("f"), "Zg");
  EXPECT_EQ(EncodeBase64Url("fo"), "Zm8");
  EXPECT_EQ(EncodeBase64Url("foobar"), "Zm9vYmFy");
  EXPECT_EQ(EncodeBase64Url("\xfb\xff\xbf\0"sv), "-_-_AA");
}

TEST(Base64, SUB_3_every_byte_at_every_place_survives) {
  for (size_t size = 1; size <= 4; ++size) {
    for (size_t place = 0; place < size; ++place) {
      for (int byte = 0; byte < 256; ++byte) {
        string bytes(size, '\xa5');
        bytes[place] = static_cast<char>(byte);
        string text = EncodeBase64Url(bytes);
        ASSERT_EQ(DecodeBase64(text), bytes);
        std::ranges::replace(text, '-', '+');
        std::ranges::replace(text, '_', '/');
        text.append((4 - text.size() % 4) % 4, '=');
        ASSERT_EQ(DecodeBase64(text), bytes);
      }
    }
  }
}

}  // namespace
}  // namespace coi::test
