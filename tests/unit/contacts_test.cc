// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <ostream>
#include <random>
#include <string>
#include <string_view>
#include <tuple>
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

constexpr size_t kHashSize = COI_CONTACT_HASH_SIZE;
using Hash = std::array<unsigned char, kHashSize>;

// The examples of the protocol.
constexpr string_view kCoiDevHash =
    "74b3c446c189580045a942b90b7461128bc334b3b67e9f63c0c06189248c9bb0";
constexpr string_view kExampleHash =
    "834d1654133366cef4d81e81a7099f413b1b85b9fc9dd62140491303dec56532";

string ToHex(string_view bytes) {
  string hex;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 0xf];
  }
  return hex;
}

string ToHex(const Hash& hash) {
  return ToHex(string_view(reinterpret_cast<const char*>(hash.data()), hash.size()));
}

// White space in `hex` is there for the eye.
string FromHex(string_view hex) {
  string bytes;
  string digits;
  for (const char c : hex) {
    if (c != ' ') {
      digits += c;
    }
    if (digits.size() == 2) {
      bytes += static_cast<char>(std::strtoul(digits.c_str(), nullptr, 16));
      digits.clear();
    }
  }
  return bytes;
}

// For code points from 0x80 on.
string Utf8(uint32_t code) {
  const auto byte = [](uint32_t value) { return string(1, static_cast<char>(value)); };
  const auto more = [&](uint32_t shift) { return byte(0x80 | (code >> shift & 0x3f)); };
  if (code < 0x800) {
    return byte(0xc0 | code >> 6) + more(0);
  }
  if (code < 0x10000) {
    return byte(0xe0 | code >> 12) + more(6) + more(0);
  }
  return byte(0xf0 | code >> 18) + more(12) + more(6) + more(0);
}

// nullopt where there is no address.
std::optional<string> Normalize(const OptionalText& local_part, const OptionalText& domain,
                                size_t buf_size = 1000) {
  const Bytes local_part_bytes(local_part);
  const Bytes domain_bytes(domain);
  const auto buf = std::make_unique<char[]>(buf_size);
  const size_t size =
      Core().address_normalize(local_part_bytes.get(), domain_bytes.get(), buf.get(), buf_size);
  EXPECT_LE(size, buf_size);
  return size == 0 ? nullopt : std::optional<string>(string(buf.get(), size));
}

struct AddressCase {
  string_view name;
  OptionalText local_part;
  OptionalText domain;
  OptionalText result;
};

void PrintTo(const AddressCase& c, std::ostream* os) {
  *os << c.name;
}

class Address : public testing::TestWithParam<AddressCase> {};

TEST_P(Address, Normalize) {
  const AddressCase& c = GetParam();
  const auto result = Normalize(c.local_part, c.domain);
  EXPECT_EQ(result, c.result ? std::optional<string>(*c.result) : nullopt);
  if (!result) {
    return;
  }
  const size_t at = result->rfind('@');
  EXPECT_EQ(Normalize(result->substr(0, at), result->substr(at + 1)), result);
  for (size_t size = 0; size < result->size(); ++size) {
    EXPECT_EQ(Normalize(c.local_part, c.domain, size), nullopt) << size;
  }
  EXPECT_EQ(Normalize(c.local_part, c.domain, result->size()), result);
}

constexpr AddressCase kCaseCases[] = {
    {"BLK_2_plain", "john.doe", "coi-dev.org", "john.doe@coi-dev.org"},
    {"BLK_2_upper_case", "JOHN.DOE", "COI-DEV.ORG", "john.doe@coi-dev.org"},
    {"BLK_2_mixed_case", "John.Doe", "Example.Com", "john.doe@example.com"},
    {"BLK_2_around_the_letters", "@[`{AZaz", "x", "@[`{azaz@x"},
    {"BLK_2_tag_is_kept", "John+Tag", "x", "john+tag@x"},
    {"BLK_2_two_bytes", "J\xc3\x96RG", "B\xc3\x9cRO.example", "j\xc3\xb6rg@b\xc3\xbcro.example"},
    {"BLK_2_two_bytes_become_three", "\xc8\xba", "x", "\xe2\xb1\xa5@x"},
    {"BLK_2_three_bytes_become_one", "\xe2\x84\xaa", "x", "k@x"},
    {"BLK_2_three_bytes", "\xef\xbc\xa1", "x", "\xef\xbd\x81@x"},
    {"BLK_2_four_bytes", "\xf0\x90\x90\x80", "x", "\xf0\x90\x90\xa8@x"},
    {"BLK_2_no_case", "\xe6\xbc\xa2\xf0\x9f\x92\xac", "x", "\xe6\xbc\xa2\xf0\x9f\x92\xac@x"},
    {"BLK_2_last_code_point", "\xf4\x8f\xbf\xbf", "x", "\xf4\x8f\xbf\xbf@x"},
    {"BLK_2_domain_literal", "a", "[IPv6:::1]", "a@[ipv6:::1]"},
    {"BLK_2_dot_at_the_end", "a.", "x.Example.", "a.@x.example"},
    {"BLK_2_dots_at_the_end", "a", ".x..", "a@.x"},
    {"BLK_2_quoted_dot_at_the_end", "a", "\"x.\"", "a@x"},
};
INSTANTIATE_TEST_SUITE_P(Case, Address, testing::ValuesIn(kCaseCases), CaseName);

constexpr AddressCase kQuoteCases[] = {
    {"BLK_2_quoted", "\"John.Doe\"", "x", "john.doe@x"},
    {"BLK_2_quoted_space", "\"John Doe\"", "x", "john doe@x"},
    {"BLK_2_quoted_at", "\"a@b\"", "x", "a@b@x"},
    {"BLK_2_quoted_pair", "\"a\\B\"", "x", "ab@x"},
    {"BLK_2_quoted_backslash", "\"a\\\\b\"", "x", "a\\b@x"},
    {"BLK_2_two_quoted_backslashes", "\"a\\\\\\\\b\"", "x", "a\\\\b@x"},
    {"BLK_2_quoted_quote", "\"a\\\"b\"", "x", "ab@x"},
    {"BLK_2_quoted_pair_of_two_bytes", "\"\\\xc3\x96\"", "x", "\xc3\xb6@x"},
    {"BLK_2_quoted_quote_at_the_end", "\"a\\\"", "x", "a@x"},
    {"BLK_2_quoted_backslash_at_the_end", "\"a\\", "x", "a\\@x"},
    {"BLK_2_several_quoted_words", "\"a\".\"b\"", "x", "a.b@x"},
    {"BLK_2_quoted_pair_in_one_of_the_words", "a\\b.\"c\\D\".e\\f", "x", "a\\b.cd.e\\f@x"},
    {"BLK_2_quoted_pair_in_the_last_word", "a.\"b\\\"c\"", "x", "a.bc@x"},
    {"BLK_2_backslash_between_quoted_words", "\"a\"\\\"b\"", "x", "a\\b@x"},
    {"BLK_2_quotes_inside", "a\"b\"c", "x", "abc@x"},
    {"BLK_2_quote_at_the_start", "\"ab", "x", "ab@x"},
    {"BLK_2_quote_at_the_end", "ab\"", "x", "ab@x"},
    {"BLK_2_backslash_without_quotes", "a\\b", "x", "a\\b@x"},
    {"BLK_2_quotes_in_the_domain", "a", "\"x\"", "a@x"},
};
INSTANTIATE_TEST_SUITE_P(Quotes, Address, testing::ValuesIn(kQuoteCases), CaseName);

constexpr AddressCase kNoAddressCases[] = {
    {"BLK_2_nothing", nullopt, nullopt, nullopt},
    {"BLK_2_no_local_part", nullopt, "x", nullopt},
    {"BLK_2_no_domain", "a", nullopt, nullopt},
    {"BLK_2_empty_local_part", "", "x", nullopt},
    {"BLK_2_empty_domain", "a", "", nullopt},
    {"BLK_2_one_quote", "\"", "x", nullopt},
    {"BLK_2_only_quotes", "\"\"", "x", nullopt},
    {"BLK_2_only_quoted_quotes", "\"\\\"\\\"\"", "x", nullopt},
    {"BLK_2_only_quotes_in_the_domain", "a", "\"\"", nullopt},
    {"BLK_2_dot_for_a_domain", "a", ".", nullopt},
    {"BLK_2_at_in_the_domain", "a", "b@c", nullopt},
    {"BLK_2_nul", "a\0b"sv, "x", nullopt},
    {"BLK_2_nul_in_the_domain", "a", "x\0"sv, nullopt},
    {"BLK_2_line_end", "a\r\nb", "x", nullopt},
    {"BLK_2_tab", "\"a\tb\"", "x", nullopt},
    {"BLK_2_quoted_control", "\"a\\\x01\"", "x", nullopt},
    {"BLK_2_delete", "a\x7f", "x", nullopt},
    {"BLK_2_c1_control", "a\xc2\x85", "x", nullopt},
    {"BLK_2_latin_1", "J\xf6rg", "x", nullopt},
    {"BLK_2_latin_1_domain", "a", "b\xfc", nullopt},
    {"BLK_2_cut_off", "a\xe2\x82", "x", nullopt},
    {"BLK_2_cut_off_by_the_quote", "\"a\xe2\x82\"", "x", nullopt},
    {"BLK_2_cut_off_after_backslash", "\"a\\\xe2\x82\"", "x", nullopt},
    {"BLK_2_lone_continuation", "\x80", "x", nullopt},
    {"BLK_2_overlong_two", "\xc0\xa2", "x", nullopt},
    {"BLK_2_overlong_three", "\xe0\x80\xa2", "x", nullopt},
    {"BLK_2_overlong_four", "\xf0\x80\x80\xa2", "x", nullopt},
    {"BLK_2_surrogate", "\xed\xa0\x80", "x", nullopt},
    {"BLK_2_beyond_unicode", "\xf4\x90\x80\x80", "x", nullopt},
};
INSTANTIATE_TEST_SUITE_P(NoAddress, Address, testing::ValuesIn(kNoAddressCases), CaseName);

TEST(AddressLimits, BLK_2_longest_of_the_RFCs) {
  const string local_part = "\"" + Repeat("\\A", 31) + "\"";
  const string domain = Repeat("A", 255);
  EXPECT_EQ(Normalize(local_part, domain), Repeat("a", 31) + "@" + Repeat("a", 255));
  // What grows the most: three bytes for two.
  EXPECT_TRUE(Normalize(Repeat("\xc8\xba", 32), Repeat("\xc8\xba", 127)).has_value());
}

TEST(AddressLimits, BLK_2_too_long) {
  EXPECT_TRUE(Normalize(Repeat("a", 998), "x", 1000).has_value());
  EXPECT_EQ(Normalize(Repeat("a", 999), "x", 1000), nullopt);
  EXPECT_EQ(Normalize(Repeat("a", 1000), "x", 1000), nullopt);
  EXPECT_EQ(Normalize("a", Repeat("x", 100000), 1000), nullopt);
}

TEST(AddressLimits, BLK_2_every_letter_is_lowered_once) {
  // Beyond these two planes nothing has case. They are many, so this is without
  // Normalize() and its copies.
  for (uint32_t code = 0xa0; code <= 0x1ffff; ++code) {
    if (code >= 0xd800 && code <= 0xdfff) {
      continue;
    }
    const string text = Utf8(code);
    char once[8];
    char twice[8];
    const size_t size = Core().address_normalize({text.data(), text.size()}, {"x", 1}, once, 8);
    if (size < 3 || Core().address_normalize({once, size - 2}, {"x", 1}, twice, 8) != size ||
        std::memcmp(once, twice, size) != 0) {
      ADD_FAILURE() << code;
    }
  }
}

// Its parts with a blank between them, or nullopt where there is none.
std::optional<string> FindLast(const OptionalText& value) {
  const Bytes bytes(value);
  struct coi_bytes local_part = {};
  struct coi_bytes domain = {};
  if (!Core().address_find_last(bytes.get(), &local_part, &domain)) {
    EXPECT_EQ(local_part.data, nullptr);
    EXPECT_EQ(domain.data, nullptr);
    return nullopt;
  }
  return string(local_part.data, local_part.size) + " " + string(domain.data, domain.size);
}

struct FromCase {
  string_view name;
  OptionalText value;
  OptionalText result;
};

void PrintTo(const FromCase& c, std::ostream* os) {
  *os << c.name;
}

class AddressFindLast : public testing::TestWithParam<FromCase> {};

TEST_P(AddressFindLast, From) {
  const auto& expected = GetParam().result;
  EXPECT_EQ(FindLast(GetParam().value), expected ? std::optional<string>(*expected) : nullopt);
}

constexpr FromCase kFromCases[] = {
    {"BLK_3_with_a_name", "Bob <a@x>", "a x"},
    {"BLK_3_bare", "a@x", "a x"},
    {"BLK_3_bare_quoted_words", " \"a\".\"b\"@x\r\n", "\"a\".\"b\" x"},
    {"BLK_3_bare_with_several_at", "a@b@x", "a@b x"},
    {"BLK_3_white_space_inside", "Bob <\r\n a @ x\t>", "a x"},
    {"BLK_3_an_address_for_a_name", "evil@x.y <a@x>", "a x"},
    {"BLK_3_at_in_the_name", "Bob @ work <a@x>", "a x"},
    {"BLK_3_brackets_in_the_name", "[list] Bob <a@x>", "a x"},
    {"BLK_3_semicolon_in_the_name", "Bob; Builder <a@x>", "a x"},
    {"BLK_3_quote_never_closed", "Bob \"the builder <a@x>", "a x"},
    {"BLK_3_comment_never_closed", "Bob (at work <a@x>", "a x"},
    {"BLK_3_in_a_comment", "Bob <a@x> (was <b@y>)", "a x"},
    {"BLK_3_in_a_comment_of_a_comment", "Bob (is (was <b@y>) <b@y>) <a@x>", "a x"},
    {"BLK_3_in_a_comment_with_a_quote", "<a@x> (\" <b@y>)", "a x"},
    {"BLK_3_in_a_comment_with_a_parenthesis", "<a@x> (\\) <b@y>)", "a x"},
    {"BLK_3_behind_a_parenthesis_alone", "Bob ) <a@x>", "a x"},
    {"BLK_3_in_quotes", "\"<b@y>\": <a@x>, \"<b@y>\"", "a x"},
    {"BLK_3_in_quotes_with_a_quote", "<a@x> \"\\\"<b@y>\"", "a x"},
    {"BLK_3_in_quotes_with_a_parenthesis", "\"(\" <a@x>", "a x"},
    {"BLK_3_in_quotes_alone", "\"<b@y>\" a@x", "\"<b@y>\" a x"},
    {"BLK_3_backslash_at_the_end", "<a@x> \"\\", "a x"},
    {"BLK_3_doubled_brackets", "<<a@x>>", "a x"},
    {"BLK_3_bracket_never_closed", "evil@x.y <a@x", "a x"},
    {"BLK_3_the_last_one", "<a@x>, <b@y> c@z", "b y"},
    {"BLK_3_the_last_one_with_an_address", "<a@x> <b> <@> <@y> <c@ > <>", "a x"},
    {"BLK_3_dot_at_the_end", "<a@x.>", "a x."},
    {"BLK_3_no_address", "Bob <a>", nullopt},
    {"BLK_3_no_address_in_brackets", "a@x <>", nullopt},
    {"BLK_3_a_name", "Bob", nullopt},
    {"BLK_3_no_local_part", " @x", nullopt},
    {"BLK_3_no_domain", "a@", nullopt},
    {"BLK_3_bracket_alone", "<", nullopt},
    {"BLK_3_empty", "", nullopt},
    {"BLK_3_absent", nullopt, nullopt},
};
INSTANTIATE_TEST_SUITE_P(From, AddressFindLast, testing::ValuesIn(kFromCases), CaseName);

TEST(AddressLimits, BLK_3_a_megabyte_of_brackets) {
  EXPECT_EQ(FindLast(Repeat("<", 1U << 20U)), nullopt);
  EXPECT_EQ(FindLast("<a@x>" + Repeat("<>", 1U << 19U)), "a x");
}

// nullopt where it is not a hash.
std::optional<string> HashParse(const OptionalText& value) {
  const Bytes bytes(value);
  Hash hash;
  hash.fill(0x5a);
  if (Core().contact_hash_parse(bytes.get(), hash.data())) {
    return ToHex(hash);
  }
  EXPECT_EQ(ToHex(hash), Repeat("5a", kHashSize));
  return nullopt;
}

TEST(ContactHash, BLK_2_good) {
  const string digits(kCoiDevHash);
  string upper = digits;
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](char c) { return c >= 'a' && c <= 'f' ? static_cast<char>(c - 0x20) : c; });

  EXPECT_EQ(HashParse(digits), digits);
  EXPECT_EQ(HashParse(kExampleHash), kExampleHash);
  EXPECT_EQ(HashParse(upper), digits);
  EXPECT_EQ(HashParse(" " + digits), digits);
  EXPECT_EQ(HashParse(digits + "\r\n"), digits);
  EXPECT_EQ(HashParse("\r\n\t " + digits + " \t"), digits);
  EXPECT_EQ(HashParse(Repeat("0", 64)), Repeat("0", 64));
  EXPECT_EQ(HashParse(Repeat("F", 64)), Repeat("f", 64));
}

TEST(ContactHash, BLK_2_bad) {
  const string digits(kCoiDevHash);
  EXPECT_EQ(HashParse(nullopt), nullopt);
  EXPECT_EQ(HashParse(""), nullopt);
  EXPECT_EQ(HashParse(" \t\r\n"), nullopt);
  EXPECT_EQ(HashParse(Repeat(" ", 64)), nullopt);
  EXPECT_EQ(HashParse(digits.substr(1)), nullopt);
  EXPECT_EQ(HashParse(digits.substr(2)), nullopt);
  EXPECT_EQ(HashParse(" " + digits.substr(1)), nullopt);
  EXPECT_EQ(HashParse(digits + "0"), nullopt);
  EXPECT_EQ(HashParse(digits + "00"), nullopt);
  EXPECT_EQ(HashParse(digits + digits), nullopt);
  EXPECT_EQ(HashParse("\"" + digits + "\""), nullopt);
  EXPECT_EQ(HashParse(digits + " (comment)"), nullopt);
  EXPECT_EQ(HashParse(digits.substr(0, 32) + " " + digits.substr(32)), nullopt);
  EXPECT_EQ(HashParse(digits.substr(0, 32) + " " + digits.substr(33)), nullopt);
  EXPECT_EQ(HashParse("\v" + digits), nullopt);
  EXPECT_EQ(HashParse(digits + "\0"s), nullopt);
}

// Every other byte, in both halves of a pair.
TEST(ContactHash, BLK_2_nothing_but_hexadecimal_digits) {
  for (unsigned int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const bool is_digit = "0123456789abcdefABCDEF"sv.find(c) != string_view::npos;
    for (const size_t at : {30, 31}) {
      string digits(kCoiDevHash);
      digits[at] = c;
      EXPECT_EQ(HashParse(digits).has_value(), is_digit) << byte;
    }
  }
}

TEST(ContactHash, BLK_2_hash_of_the_normalised_address) {
  const auto sha3 = [](const string& text) {
    Hash hash = {};
    unsigned int size = 0;
    EXPECT_EQ(EVP_Digest(text.data(), text.size(), hash.data(), &size, EVP_sha3_256(), nullptr), 1);
    EXPECT_EQ(size, hash.size());
    return ToHex(hash);
  };
  EXPECT_EQ(sha3(Normalize("john.doe", "coi-dev.org").value_or("")), kCoiDevHash);
  EXPECT_EQ(sha3(Normalize("\"John.Doe\"", "COI-dev.org").value_or("")), kCoiDevHash);
  EXPECT_EQ(sha3(Normalize("john.doe", "example.com").value_or("")), kExampleHash);
}

// The hash of equal bytes.
Hash HashOf(unsigned char byte) {
  Hash hash;
  hash.fill(byte);
  return hash;
}

struct coi_contact Contact(const Hash& hash, int64_t date, uint32_t uid, bool blocked) {
  struct coi_contact contact = {};
  std::copy(hash.begin(), hash.end(), contact.hash);
  contact.date = date;
  contact.uid = uid;
  contact.blocked = blocked;
  return contact;
}

using Contacts = std::vector<struct coi_contact>;

constexpr struct coi_contacts_state kState = {.uidvalidity = 0x01020304,
                                              .uidnext = 0x05060708,
                                              .messages = 0xfffefdfc,
                                              .log_inode = 0xf1f2f3f4f5f6f7f8,
                                              .log_size = 0x0807060504030201,
                                              .log_changed = -3};

auto Tied(const struct coi_contacts_state& s) {
  return std::tie(s.uidvalidity, s.uidnext, s.messages, s.log_inode, s.log_size, s.log_changed);
}

string WriteIndex(Contacts contacts, const struct coi_contacts_state& state = kState) {
  // On the heap at exactly its size, and at an odd address.
  const size_t size = Core().contacts_index_size(contacts.size());
  const auto buf = std::make_unique<char[]>(size + 1);
  Core().contacts_index_write(&state, contacts.data(), contacts.size(), buf.get() + 1);
  return {buf.get() + 1, size};
}

struct Head {
  struct coi_contacts_state state;
  size_t count;
};

std::optional<Head> ReadIndex(const OptionalText& index) {
  const IndexSource source(index);
  Head head = {.state = kState, .count = 4};
  const bool is_good = Core().contacts_index_read(source.get(), &head.state, &head.count);
  EXPECT_FALSE(source.went_beyond());
  if (is_good) {
    return head;
  }
  EXPECT_EQ(Tied(head.state), Tied(kState));
  EXPECT_EQ(head.count, 4U);
  return nullopt;
}

bool IsBlocked(string_view index, const Hash& hash) {
  const IndexSource source(index);
  const bool is_blocked = Core().contacts_index_is_blocked(source.get(), hash.data());
  EXPECT_FALSE(source.went_beyond());
  return is_blocked;
}

auto Tied(const struct coi_contact& c) {
  return std::make_tuple(string(c.hash, c.hash + kHashSize), c.date, c.uid, c.blocked);
}

Contacts ReadContacts(string_view index) {
  const IndexSource source(index);
  const auto head = ReadIndex(index);
  Contacts contacts(head ? head->count : 0);
  for (size_t n = 0; n < contacts.size(); ++n) {
    EXPECT_TRUE(Core().contacts_index_get(source.get(), n, &contacts[n]));
  }
  return contacts;
}

TEST(ContactsIndex, Size) {
  EXPECT_EQ(Core().contacts_index_size(0), 48U);
  EXPECT_EQ(Core().contacts_index_size(1), 96U);
  EXPECT_EQ(Core().contacts_index_size(size_t{1} << 24), 48 + 48 * (size_t{1} << 24));
  EXPECT_EQ(Core().contacts_index_size((size_t{1} << 24) + 1), 0U);
  EXPECT_EQ(Core().contacts_index_size(std::numeric_limits<size_t>::max()), 0U);
}

constexpr string_view kEmptyIndex =
    "434f4943 03000000 04030201 08070605 fcfdfeff"
    "f8f7f6f5f4f3f2f1 0102030405060708 fdffffffffffffff 00000000";
constexpr string_view kSmallIndex =
    "434f4943 03000000 04030201 08070605 fcfdfeff"
    "f8f7f6f5f4f3f2f1 0102030405060708 fdffffffffffffff 04000000"
    "1111111111111111111111111111111111111111111111111111111111111111"
    "feffffffffffffff 09000000 00000000"
    "1111111111111111111111111111111111111111111111111111111111111111"
    "8877665544332211 04030201 01000000"
    "1111111111111111111111111111111111111111111111111111111111111111"
    "8877665544332211 05030201 00000000"
    "ff22222222222222222222222222222222222222222222222222222222222222"
    "0000000000000000 ffffffff 01000000";

// The format of docs/contacts-index.md, byte by byte.
TEST(ContactsIndex, Golden) {
  Hash high = HashOf(0x22);
  high[0] = 0xff;
  const Contacts contacts = {Contact(high, 0, 0xffffffff, true),
                             Contact(HashOf(0x11), 0x1122334455667788, 0x01020305, false),
                             Contact(HashOf(0x11), 0x1122334455667788, 0x01020304, true),
                             Contact(HashOf(0x11), -2, 9, false)};

  EXPECT_EQ(ToHex(WriteIndex({})), ToHex(FromHex(kEmptyIndex)));
  EXPECT_EQ(ToHex(WriteIndex(contacts)), ToHex(FromHex(kSmallIndex)));
}

TEST(ContactsIndex, ReadGolden) {
  const auto empty = ReadIndex(FromHex(kEmptyIndex));
  ASSERT_TRUE(empty.has_value());
  EXPECT_EQ(empty->count, 0U);

  const string index = FromHex(kSmallIndex);
  const auto head = ReadIndex(index);
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(Tied(head->state), Tied(kState));
  ASSERT_EQ(head->count, 4U);

  const Contacts contacts = ReadContacts(index);
  EXPECT_EQ(Tied(contacts[0]), Tied(Contact(HashOf(0x11), -2, 9, false)));
  EXPECT_EQ(Tied(contacts[1]), Tied(Contact(HashOf(0x11), 0x1122334455667788, 0x01020304, true)));
  EXPECT_EQ(Tied(contacts[2]), Tied(Contact(HashOf(0x11), 0x1122334455667788, 0x01020305, false)));
  EXPECT_EQ(contacts[3].uid, 0xffffffffU);
  EXPECT_TRUE(contacts[3].blocked);
}

// The same contacts give the same bytes, whatever order they come in.
TEST(ContactsIndex, OrderDoesNotMatter) {
  Contacts contacts;
  for (uint32_t i = 0; i < 5; ++i) {
    contacts.push_back(Contact(HashOf(i / 2), i % 3, i / 2, i % 2 == 0));
  }
  const auto less = [](const auto& a, const auto& b) { return Tied(a) < Tied(b); };
  std::sort(contacts.begin(), contacts.end(), less);
  const string index = WriteIndex(contacts);
  while (std::next_permutation(contacts.begin(), contacts.end(), less)) {
    ASSERT_EQ(WriteIndex(contacts), index);
  }
}

struct DecisionCase {
  string_view name;
  Contacts contacts;
  bool is_blocked;
};

void PrintTo(const DecisionCase& c, std::ostream* os) {
  *os << c.name;
}

class Decision : public testing::TestWithParam<DecisionCase> {};

TEST_P(Decision, IsBlocked) {
  Contacts contacts = GetParam().contacts;
  EXPECT_EQ(IsBlocked(WriteIndex(contacts), HashOf(0x11)), GetParam().is_blocked);
  // Nor do others around it change that.
  for (const unsigned char other : {0x00, 0x10, 0x12, 0xff}) {
    contacts.push_back(Contact(HashOf(other), 100, 100, !GetParam().is_blocked));
    EXPECT_EQ(IsBlocked(WriteIndex(contacts), HashOf(0x11)), GetParam().is_blocked);
  }
}

constexpr int64_t kDateMin = std::numeric_limits<int64_t>::min();
constexpr int64_t kDateMax = std::numeric_limits<int64_t>::max();

const DecisionCase kDecisionCases[] = {
    {"BLK_4_no_contacts", {}, false},
    {"BLK_4_blocked", {Contact(HashOf(0x11), 5, 1, true)}, true},
    {"BLK_4_not_blocked", {Contact(HashOf(0x11), 5, 1, false)}, false},
    {"BLK_4_newest_blocks",
     {Contact(HashOf(0x11), 5, 2, false), Contact(HashOf(0x11), 6, 1, true)},
     true},
    {"BLK_4_newest_unblocks",
     {Contact(HashOf(0x11), 6, 1, false), Contact(HashOf(0x11), 5, 2, true)},
     false},
    {"BLK_4_highest_uid_blocks",
     {Contact(HashOf(0x11), 5, 1, false), Contact(HashOf(0x11), 5, 2, true)},
     true},
    {"BLK_4_highest_uid_unblocks",
     {Contact(HashOf(0x11), 5, 2, false), Contact(HashOf(0x11), 5, 1, true)},
     false},
    {"BLK_4_uid_is_unsigned",
     {Contact(HashOf(0x11), 5, 0x80000000, true), Contact(HashOf(0x11), 5, 0x7fffffff, false)},
     true},
    {"BLK_4_no_date_is_oldest",
     {Contact(HashOf(0x11), 0, 2, true), Contact(HashOf(0x11), 1, 1, false)},
     false},
    {"BLK_4_before_1970",
     {Contact(HashOf(0x11), -1, 2, true), Contact(HashOf(0x11), 0, 1, false)},
     false},
    {"BLK_4_beyond_32_bits",
     {Contact(HashOf(0x11), int64_t{1} << 32, 1, true), Contact(HashOf(0x11), 5, 2, false)},
     true},
    {"BLK_4_first_and_last_date",
     {Contact(HashOf(0x11), kDateMin, 2, false), Contact(HashOf(0x11), kDateMax, 1, true)},
     true},
    {"BLK_4_three",
     {Contact(HashOf(0x11), 7, 3, true), Contact(HashOf(0x11), 8, 1, false),
      Contact(HashOf(0x11), 6, 2, true)},
     false},
};
INSTANTIATE_TEST_SUITE_P(Contacts, Decision, testing::ValuesIn(kDecisionCases), CaseName);

// A hash that differs in one bit, in any of its bytes, is somebody else's.
TEST(ContactsIndex, BLK_4_whole_hash_counts) {
  const string index = WriteIndex({Contact(HashOf(0x11), 5, 1, true)});
  for (size_t bit = 0; bit < 8 * kHashSize; ++bit) {
    Hash hash = HashOf(0x11);
    hash[bit / 8] ^= static_cast<unsigned char>(1U << (bit % 8));
    EXPECT_FALSE(IsBlocked(index, hash)) << bit;
  }
}

bool NaiveIsBlocked(const Contacts& contacts, const Hash& hash) {
  const struct coi_contact* newest = nullptr;
  for (const auto& c : contacts) {
    if (std::memcmp(c.hash, hash.data(), kHashSize) == 0 &&
        (newest == nullptr || c.date > newest->date ||
         (c.date == newest->date && c.uid > newest->uid))) {
      newest = &c;
    }
  }
  return newest != nullptr && newest->blocked;
}

// The seed is fixed, so that a failure comes back.
TEST(ContactsIndex, BLK_4_like_a_naive_model) {
  std::mt19937 random(20190401);
  const auto below = [&random](uint32_t end) { return static_cast<uint32_t>(random() % end); };

  for (int round = 0; round < 400; ++round) {
    // Few hashes and dates, so that many are equal.
    const uint32_t count = below(round % 20 == 0 ? 500 : 30);
    const uint32_t hashes = 1 + below(40);
    const auto random_hash = [&] {
      Hash hash = HashOf(0x77);
      hash[below(2) == 0 ? 0 : kHashSize - 1] = static_cast<unsigned char>(5 * below(hashes));
      return hash;
    };
    Contacts contacts;
    for (uint32_t uid = 1; uid <= count; ++uid) {
      contacts.push_back(Contact(random_hash(), int64_t{below(8)} - 2, uid, below(2) == 0));
    }
    std::shuffle(contacts.begin(), contacts.end(), random);

    const string index = WriteIndex(contacts);
    const Contacts sorted = ReadContacts(index);
    ASSERT_EQ(sorted.size(), contacts.size());
    for (size_t i = 1; i < sorted.size(); ++i) {
      ASSERT_LT(Tied(sorted[i - 1]), Tied(sorted[i]));
    }
    std::vector<Hash> wanted = {HashOf(0x00), HashOf(0x77), HashOf(0xff)};
    for (int i = 0; i < 30; ++i) {
      wanted.push_back(random_hash());
    }
    for (const Hash& hash : wanted) {
      ASSERT_EQ(IsBlocked(index, hash), NaiveIsBlocked(contacts, hash)) << ToHex(hash);
    }
  }
}

// What is refused is not blocked either.
void ExpectDamaged(const OptionalText& index) {
  EXPECT_FALSE(ReadIndex(index).has_value());
  const IndexSource source(index);
  EXPECT_FALSE(Core().contacts_index_is_blocked(source.get(), HashOf(0x11).data()));
  struct coi_contact contact = Contact(HashOf(0x33), 1, 1, true);
  EXPECT_FALSE(Core().contacts_index_get(source.get(), 0, &contact));
  EXPECT_EQ(Tied(contact), Tied(coi_contact{}));
  EXPECT_FALSE(source.went_beyond());
}

TEST(DamagedIndex, UnreadableFromAnywhereOn) {
  const Contacts contacts = {Contact(HashOf(0x11), 1, 1, true), Contact(HashOf(0x22), 1, 2, true),
                             Contact(HashOf(0x33), 1, 3, true)};
  const string index = WriteIndex(contacts);
  // The head, and two of the three records.
  for (size_t reads = 0; reads < 4; ++reads) {
    IndexSource source(index);
    source.BreakAfter(reads);
    EXPECT_EQ(Core().contacts_index_is_blocked(source.get(), HashOf(0x33).data()), reads == 3);
  }
  IndexSource source(index);
  source.BreakAfter(1);
  struct coi_contact contact = Contact(HashOf(0x33), 1, 1, true);
  EXPECT_FALSE(Core().contacts_index_get(source.get(), 0, &contact));
  EXPECT_EQ(Tied(contact), Tied(coi_contact{}));
}

TEST(DamagedIndex, CutOffAnywhere) {
  const string index = FromHex(kSmallIndex);
  ExpectDamaged(nullopt);
  for (size_t size = 0; size < index.size(); ++size) {
    SCOPED_TRACE(size);
    ExpectDamaged(index.substr(0, size));
  }
}

TEST(DamagedIndex, TooLong) {
  const string index = FromHex(kSmallIndex);
  ExpectDamaged(index + "\0"s);
  ExpectDamaged(index + index);
  ExpectDamaged(index + index.substr(index.size() - 48));
}

TEST(DamagedIndex, MagicVersionOrCount) {
  for (const size_t at : {0, 1, 2, 3, 4, 5, 6, 7, 44, 45, 46, 47}) {
    for (unsigned int bit = 0; bit < 8; ++bit) {
      SCOPED_TRACE(testing::Message() << "byte " << at << " bit " << bit);
      string index = FromHex(kSmallIndex);
      index[at] = static_cast<char>(static_cast<unsigned char>(index[at]) ^ 1U << bit);
      ExpectDamaged(index);
    }
  }
}

// Some of these make 48 * count a small number in 32 bits.
TEST(DamagedIndex, CountThatWrapsAround) {
  string index = FromHex(kEmptyIndex);
  for (const string_view count : {"00000010", "00000050", "56555505", "ffffffff", "01000001"}) {
    SCOPED_TRACE(count);
    index.replace(44, 4, FromHex(count));
    ExpectDamaged(index);
  }
}

// A later version may use the other flags; a record is what it is.
TEST(DamagedIndex, OtherFlagsAreIgnored) {
  string index = WriteIndex({Contact(HashOf(0x11), 5, 1, false)});
  index.replace(index.size() - 4, 4, FromHex("feffffff"));
  EXPECT_FALSE(IsBlocked(index, HashOf(0x11)));
  index.replace(index.size() - 4, 4, FromHex("ffffffff"));
  EXPECT_TRUE(IsBlocked(index, HashOf(0x11)));
}

// The answers are then wrong; what counts is that there is one.
TEST(DamagedIndex, UnsortedRecords) {
  Contacts contacts;
  for (uint32_t i = 0; i < 100; ++i) {
    contacts.push_back(Contact(HashOf(static_cast<unsigned char>(i)), 1, i, true));
  }
  const string index = WriteIndex(contacts);
  std::mt19937 random(4);
  for (int round = 0; round < 100; ++round) {
    std::array<size_t, 100> order = {};
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    string shuffled = index.substr(0, 48);
    for (const size_t n : order) {
      shuffled += index.substr(48 + 48 * n, 48);
    }
    for (unsigned int byte = 0; byte < 256; ++byte) {
      const bool is_blocked = IsBlocked(shuffled, HashOf(static_cast<unsigned char>(byte)));
      // Nobody is blocked who isn't in it.
      ASSERT_TRUE(!is_blocked || byte < 100);
    }
  }
}

}  // namespace
}  // namespace coi::test
