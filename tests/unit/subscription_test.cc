// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "push/subscription.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "push_util.h"
#include "util/base64.h"

namespace coi::test {
namespace {

using push::MsgType;
using push::Subscription;
using std::string;
using std::string_view;
using namespace std::string_literals;
using namespace std::string_view_literals;

constexpr int64_t kCreated = 1571242457;  // 2019-10-16T16:14:17Z
constexpr int64_t kExpires = kCreated + 300;

// Both forms are read by other versions, so they don't change by chance.
constexpr string_view kStored =
    R"({"client":"App","device":"Phone","msgtype":"chat","resource":{)"
    R"("endpoint":"https://push.example.org/x","keys":{)"
    R"("p256dh":"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkN)"
    R"(toIAiw4","auth":"BTBZMqHH6r4Tts7J_aSIgg"}},"exclude_from":["j\u00F6rg@x.org"],)"
    R"("created":1571242457,"validated":false,)"
    R"("validation":{"text":"secret","expires":1571242757},"vapid":"0123456789abcdef"})";

constexpr string_view kStoredValidated =
    R"({"client":"App","device":"Phone","msgtype":"chat","resource":{)"
    R"("endpoint":"https://push.example.org/x","keys":{)"
    R"("p256dh":"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkN)"
    R"(toIAiw4","auth":"BTBZMqHH6r4Tts7J_aSIgg"}},"created":1571242457,"validated":true})";

constexpr string_view kShown =
    R"({"client":"App","device":"Phone","msgtype":"chat","resource":{)"
    R"("endpoint":"https://push.example.org/x","keys":{)"
    R"("p256dh":"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkN)"
    R"(toIAiw4","auth":""}},"exclude_from":["j\u00F6rg@x.org"],)"
    R"("created":"2019-10-16T16:14:17+00:00","validated":false})";

Subscription Parsed(string_view json) {
  Subscription subscription;
  const char* problem = push::ParseInput(json, &subscription);
  EXPECT_EQ(problem, nullptr) << problem << "\n" << json;
  return subscription;
}

Subscription Created() {
  Subscription subscription = Parsed(kSubscription);
  subscription.created = kCreated;
  subscription.validation = "secret";
  subscription.expires = kExpires;
  return subscription;
}

Subscription Validated(MsgType type = MsgType::kAll) {
  Subscription subscription = Created();
  subscription.msgtype = type;
  EXPECT_TRUE(push::Validate(&subscription, "secret", kCreated));
  return subscription;
}

string WithExcluded(string_view json) {
  return With(kSubscription, "}}}", "}},\"exclude_from\":"s + string(json) + "}");
}

// -- SUB-2 --

TEST(Subscription, SUB_2_id) {
  EXPECT_TRUE(push::IsSubscriptionId("31754ee7-d3ee-4226-b112-6895ed26fcf8"));
  EXPECT_TRUE(push::IsSubscriptionId("09azAZ_-__"));
  EXPECT_TRUE(push::IsSubscriptionId(string(10, 'a')));
  EXPECT_TRUE(push::IsSubscriptionId(string(36, 'a')));
  EXPECT_FALSE(push::IsSubscriptionId(""));
  EXPECT_FALSE(push::IsSubscriptionId(string(9, 'a')));
  EXPECT_FALSE(push::IsSubscriptionId(string(37, 'a')));
  for (const char c : "/.%*+:@[`{ \t\r\n\x7f\x80\xff\0"sv) {
    EXPECT_FALSE(push::IsSubscriptionId("aaaaaaaaa"s + c)) << static_cast<int>(c);
  }
}

TEST(Subscription, SUB_11_the_push_service_of_an_endpoint) {
  struct {
    string_view endpoint;
    string_view service;
  } constexpr kCases[] = {
      {"https://push.example.org/secret", "push.example.org"},
      {"https://push.example.org:8443?secret", "push.example.org:8443"},
      {"https://push.example.org#secret", "push.example.org"},
      {"https://push.example.org\\secret", "push.example.org"},
      {"https://push.example.org", "push.example.org"},
      {"https://secret@push.example.org/@", "push.example.org"},
      {"https://a@secret@[2001:db8::1]:443/", "[2001:db8::1]:443"},
      {"push.example.org/secret", "push.example.org"},
      {"https://", ""},
      {"", ""},
  };
  for (const auto& [endpoint, service] : kCases) {
    EXPECT_EQ(push::PushServiceOf(endpoint), service) << endpoint;
  }
}

// -- SUB-3 --

TEST(Subscription, SUB_3_what_a_client_sets) {
  const Subscription subscription = Parsed(kSubscription);
  EXPECT_EQ(subscription.client, "App");
  EXPECT_EQ(subscription.device, "Phone");
  EXPECT_EQ(subscription.msgtype, MsgType::kChat);
  EXPECT_EQ(subscription.endpoint, "https://push.example.org/x");
  EXPECT_EQ(subscription.p256dh, util::DecodeBase64(kP256dh));
  EXPECT_EQ(subscription.auth, util::DecodeBase64(kAuth));
  EXPECT_TRUE(subscription.exclude_from.empty());
  EXPECT_FALSE(subscription.validated);
}

TEST(Subscription, SUB_3_unknown_keys_are_dropped) {
  const string json = With(With(kSubscription, "{",
                                R"({"created":"2001-01-01","validated":true,"vapid":"0123456789",)"
                                R"("validation":{"text":"x","expires":1},"x":[{"y":null},1.5e3],)"),
                           R"("endpoint")", R"("expirationTime":null,"endpoint")");
  EXPECT_EQ(Parsed(json), Parsed(kSubscription));
}

TEST(Subscription, SUB_3_white_space_and_order_do_not_matter) {
  const string json = " \r\n{\t\"resource\" : {\"keys\":{\"auth\":\"" + string(kAuth) +
                      "\",\"p256dh\":\"" + string(kP256dh) +
                      "\"},\"endpoint\":\"https://push.example.org/x\"},\n\"msgtype\":\"chat\","
                      "\"device\":\"Ph\\u006fne\",\"client\":\"App\"}\r\n";
  EXPECT_EQ(Parsed(json), Parsed(kSubscription));
}

TEST(Subscription, SUB_3_msgtype) {
  const struct {
    string_view name;
    MsgType type;
  } cases[] = {{"chat", MsgType::kChat},
               {"mail", MsgType::kMail},
               {"all", MsgType::kAll},
               {"email", MsgType::kMail},
               {"any", MsgType::kAll}};
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(Parsed(With(kSubscription, "chat", c.name)).msgtype, c.type);
  }
}

TEST(Subscription, SUB_3_keys_in_every_form_of_base64) {
  const Subscription wanted = Parsed(kSubscription);
  string p256dh(kP256dh);
  string auth(kAuth);
  EXPECT_EQ(Parsed(With(With(kSubscription, p256dh, p256dh + "="), auth, auth + "==")), wanted);
  string plain_p256dh = p256dh;
  string plain_auth = auth;
  for (string* text : {&plain_p256dh, &plain_auth}) {
    std::ranges::replace(*text, '-', '+');
    std::ranges::replace(*text, '_', '/');
  }
  const string json = With(With(kSubscription, p256dh, plain_p256dh), auth, plain_auth);
  EXPECT_EQ(Parsed(json), wanted);
  EXPECT_EQ(
      Parsed(With(With(json, plain_p256dh, plain_p256dh + "="), plain_auth, plain_auth + "==")),
      wanted);
  // JSON allows to escape the slash.
  EXPECT_EQ(Parsed(With(json, "/", "\\/")), wanted);
}

TEST(Subscription, SUB_3_limits) {
  Parsed(With(kSubscription, "App", string(128, 'a')));
  Parsed(With(kSubscription, "App", ""));
  Parsed(With(kSubscription, "Phone", Repeat("\xc3\xa4", 64)));
  Parsed(With(kSubscription, "App", Repeat("\\u0001", 128)));
  Parsed(With(kSubscription, "https://push.example.org/x", "https://" + string(992, 'a')));
  Parsed(With(kSubscription, "https://push.example.org/x", "http://[::1]:8080/~x?a=%20&b#c"));
  Parsed(With(kSubscription, "https://", "HTTPS://"));
  Parsed(string(kSubscription) +
         string(COI_SUBSCRIPTION_INPUT_MAX_SIZE - kSubscription.size(), ' '));
}

struct BadCase {
  string_view name;
  // What is replaced in kSubscription, and with what.
  string from;
  string to;
  string_view problem;
};

void PrintTo(const BadCase& c, std::ostream* os) {
  *os << c.name;
}

class SubscriptionBad : public testing::TestWithParam<BadCase> {};

TEST_P(SubscriptionBad, Check) {
  const BadCase& c = GetParam();
  const string json = With(kSubscription, c.from, c.to);
  Subscription subscription;
  EXPECT_STREQ(push::ParseInput(json, &subscription), string(c.problem).c_str());
  // Nor would it be read from where it is stored.
  const string stored = With(kStoredValidated, c.from, c.to);
  EXPECT_EQ(push::ReadStored(stored), std::nullopt);
}

string WithByte(string_view point, char first, size_t size) {
  string bytes = util::DecodeBase64(point).value_or("");
  bytes.resize(size, 'x');
  bytes.front() = first;
  return util::EncodeBase64Url(bytes);
}

const BadCase kBadCases[] = {
    {"SUB_3_no_client", R"("client":"App",)", "", "client is missing"},
    {"SUB_3_no_device", R"("device":"Phone",)", "", "device is missing"},
    {"SUB_3_no_msgtype", R"("msgtype":"chat",)", "", "msgtype is missing"},
    {"SUB_3_no_resource", "resource", "resourc", "resource is missing"},
    {"SUB_3_no_endpoint", "endpoint", "endpoint ", "endpoint is missing"},
    {"SUB_3_no_keys", "keys", "Keys", "keys is missing"},
    {"SUB_3_no_p256dh", "p256dh", "p256DH", "p256dh is missing"},
    {"SUB_3_no_auth", "auth", "oauth", "auth is missing"},
    {"SUB_3_client_number", R"("App")", "1", "client is not a string"},
    {"SUB_3_client_null", R"("App")", "null", "client is not a string"},
    {"SUB_3_device_list", R"("Phone")", R"(["Phone"])", "device is not a string"},
    {"SUB_3_msgtype_true", R"("chat")", "true", "msgtype is not a string"},
    {"SUB_3_resource_text", R"({"endpoint")", R"("{","x":{"endpoint")",
     "resource is not an object"},
    {"SUB_3_endpoint_object", R"("https://push.example.org/x")", "{}", "endpoint is not a string"},
    {"SUB_3_keys_list", R"({"p256dh")", R"([],"x":{"p256dh")", "keys is not an object"},
    {"SUB_3_p256dh_real", "\"" + string(kP256dh) + "\"", "1.0", "p256dh is not a string"},
    {"SUB_3_auth_false", "\"" + string(kAuth) + "\"", "false", "auth is not a string"},
    {"SUB_3_client_long", "App", string(129, 'a'), "client is longer than 128 octets"},
    {"SUB_3_client_long_in_octets", "App", Repeat("\xc3\xa4", 65),
     "client is longer than 128 octets"},
    {"SUB_3_device_long", "Phone", string(129, 'a'), "device is longer than 128 octets"},
    {"SUB_3_msgtype_upper_case", "chat", "Chat", "msgtype is not chat, mail or all"},
    {"SUB_3_msgtype_empty", "chat", "", "msgtype is not chat, mail or all"},
    {"SUB_3_msgtype_other", "chat", "none", "msgtype is not chat, mail or all"},
    {"SUB_3_endpoint_long", "/x", "/" + string(1000, 'x'), "endpoint is longer than 1000 octets"},
    {"SUB_3_endpoint_empty", "https://push.example.org/x", "", "endpoint is not an https URL"},
    {"SUB_3_endpoint_scheme_alone", "https://push.example.org/x", "https://",
     "endpoint is not an https URL"},
    {"SUB_3_endpoint_ftp", "https:", "ftp:", "endpoint is not an https URL"},
    {"SUB_3_endpoint_file", "https:", "file:", "endpoint is not an https URL"},
    {"SUB_3_endpoint_no_slashes", "https://", "https:/", "endpoint is not an https URL"},
    {"SUB_3_endpoint_relative", "https:", "", "endpoint is not an https URL"},
    {"SUB_12_endpoint_crlf", "/x", "/x\\r\\nX: y",
     "endpoint has a character in it that no URL has"},
    {"SUB_12_endpoint_blank", "/x", "/ x", "endpoint has a character in it that no URL has"},
    {"SUB_12_endpoint_blank_first",
     "https:", " https:", "endpoint has a character in it that no URL has"},
    {"SUB_12_endpoint_delete", "/x", "/\x7f", "endpoint has a character in it that no URL has"},
    {"SUB_12_endpoint_8_bit", "/x", "/\xc3\xa4", "endpoint has a character in it that no URL has"},
    {"SUB_3_p256dh_empty", string(kP256dh), "", "p256dh is not an uncompressed point of P-256"},
    {"SUB_3_p256dh_short", string(kP256dh), WithByte(kP256dh, '\x04', 64),
     "p256dh is not an uncompressed point of P-256"},
    {"SUB_3_p256dh_long", string(kP256dh), WithByte(kP256dh, '\x04', 66),
     "p256dh is not an uncompressed point of P-256"},
    {"SUB_3_p256dh_compressed", string(kP256dh), WithByte(kP256dh, '\x02', 33),
     "p256dh is not an uncompressed point of P-256"},
    {"SUB_3_p256dh_first_octet", string(kP256dh), WithByte(kP256dh, '\x03', 65),
     "p256dh is not an uncompressed point of P-256"},
    {"SUB_3_p256dh_mixed", "CVxs", "C+xs", "p256dh is not base64"},
    {"SUB_3_p256dh_blank", "BCVx", "BCV x", "p256dh is not base64"},
    {"SUB_3_auth_short", string(kAuth), WithByte(kAuth, 'x', 15), "auth is not 16 octets"},
    {"SUB_3_auth_long", string(kAuth), WithByte(kAuth, 'x', 17), "auth is not 16 octets"},
    {"SUB_3_auth_empty", string(kAuth), "", "auth is not 16 octets"},
    {"SUB_3_auth_padded_badly", string(kAuth), string(kAuth) + "=", "auth is not base64"},
    {"SUB_3_json_cut_off", "}}", "", "it is not valid JSON"},
    {"SUB_3_json_more_after", "}}", "}}}", "it is not valid JSON"},
    {"SUB_3_json_two", "{\"client\"", "{} {\"client\"", "it is not valid JSON"},
    {"SUB_3_json_comma", "\"App\",", "\"App\",,", "it is not valid JSON"},
    {"SUB_3_json_comment", "{", "{/**/", "it is not valid JSON"},
    {"SUB_3_json_newline_in_string", "App", "A\npp", "it is not valid JSON"},
    {"SUB_3_json_byte_order_mark", "{", "\xef\xbb\xbf{", "it is not valid JSON"},
    {"SUB_3_json_single_quotes", "\"App\"", "'App'", "it is not valid JSON"},
    {"SUB_3_json_surrogate_alone", "App", "\\ud83d", "it is not valid JSON"},
    {"SUB_3_json_list", "{", "[{", "it is not valid JSON"},
    {"SUB_3_twice_client", "{", R"({"client":"x",)", "a key is there twice"},
    {"SUB_3_twice_below", R"("endpoint")", R"("endpoint":"","endpoint")", "a key is there twice"},
    {"SUB_3_twice_unknown", "{", R"({"x":1,"x":1,)", "a key is there twice"},
    {"SUB_3_twice_escaped", "{", R"({"\u0063lient":"x",)", "a key is there twice"},
    {"SUB_3_nul_escaped", "App", "A\\u0000", "it has a NUL in it"},
    {"SUB_3_nul_in_key", "{", "{\"x\\u0000\":1,", "it has a NUL in it"},
    {"SUB_3_nul", "App", "A\0p"s, "it is not valid JSON"},
    {"SUB_3_nul_after", "}}", "}}\0"s, "it is not valid JSON"},
    {"SUB_3_utf8_bad", "App", "\xff", "it is not valid UTF-8"},
    {"SUB_3_utf8_bad_in_unknown", "{", "{\"x\":\"\xc3\",", "it is not valid UTF-8"},
    {"SUB_3_utf8_overlong", "App", "\xc0\xaf", "it is not valid UTF-8"},
    {"SUB_3_utf8_surrogate", "App", "\xed\xa0\x80", "it is not valid UTF-8"},
    {"SUB_3_number_huge", "{", "{\"x\":1" + string(400, '0') + ",", "a number is too large"},
    {"SUB_3_number_huge_real", "{", "{\"x\":1e999,", "a number is too large"},
    {"SUB_3_nested_deep", "{", "{\"x\":" + string(3000, '[') + string(3000, ']') + ",",
     "it is nested too deep"},
    {"SUB_10_number", "}}", R"(}},"exclude_from":1)", "exclude_from is not a list of strings"},
    {"SUB_10_object", "}}", R"(}},"exclude_from":{})", "exclude_from is not a list of strings"},
    {"SUB_10_null_inside", "}}", R"(}},"exclude_from":["a@b",null])",
     "exclude_from is not a list of strings"},
    {"SUB_10_list_inside", "}}", R"(}},"exclude_from":[["a@b"]])",
     "exclude_from is not a list of strings"},
    {"SUB_10_address_long", "}}", R"(}},"exclude_from":[")" + string(255, 'a') + "\"]",
     "exclude_from has an address longer than 254 octets"},
    {"SUB_10_address_alone_long", "}}", R"(}},"exclude_from":")" + string(255, 'a') + "\"",
     "exclude_from has an address longer than 254 octets"},
    {"SUB_10_address_grows", "}}", R"(}},"exclude_from":[")" + Repeat("\xc8\xba", 127) + "\"]",
     "exclude_from has an address longer than 254 octets"},
    {"SUB_10_too_many", "}}", R"(}},"exclude_from":[)" + Repeat(R"("a@b",)", 100) + R"("a@b"])",
     "exclude_from has more than 100 addresses"},
};
INSTANTIATE_TEST_SUITE_P(Subscription, SubscriptionBad, testing::ValuesIn(kBadCases), CaseName);

TEST(Subscription, SUB_3_no_object) {
  for (const auto json : {"null", "1", "\"x\"", "[]", "true"}) {
    Subscription subscription;
    const char* problem = push::ParseInput(json, &subscription);
    // Older versions of JSON have only objects and lists.
    EXPECT_TRUE(problem == "it is not a JSON object"sv || problem == "it is not valid JSON"sv);
  }
  Subscription subscription;
  EXPECT_STREQ(push::ParseInput("", &subscription), "it is not valid JSON");
  EXPECT_STREQ(push::ParseInput("{}", &subscription), "client is missing");
  EXPECT_STREQ(push::ParseInput("[]", &subscription), "it is not a JSON object");
}

TEST(Subscription, SUB_3_at_most_8192_octets) {
  Subscription subscription;
  EXPECT_STREQ(
      push::ParseInput(string(kSubscription) +
                           string(COI_SUBSCRIPTION_INPUT_MAX_SIZE + 1 - kSubscription.size(), ' '),
                       &subscription),
      "it is longer than 8192 octets");
}

// -- SUB-4, SUB-11: what is stored and shown --

Subscription Golden() {
  Subscription subscription = Parsed(WithExcluded("[\"J\xc3\x96rg@X.org\"]"));
  subscription.created = kCreated;
  subscription.validation = "secret";
  subscription.expires = kExpires;
  subscription.vapid = "0123456789abcdef";
  return subscription;
}

TEST(SubscriptionStored, SUB_4_golden) {
  EXPECT_EQ(push::WriteStored(Golden()), kStored);
  EXPECT_EQ(push::ReadStored(kStored), Golden());

  Subscription subscription = Created();
  ASSERT_TRUE(push::Validate(&subscription, "secret", kCreated));
  EXPECT_EQ(push::WriteStored(subscription), kStoredValidated);
  EXPECT_EQ(push::ReadStored(kStoredValidated), subscription);
}

TEST(SubscriptionShow, SUB_11_golden) {
  EXPECT_EQ(push::Show(Golden()), kShown);
}

TEST(SubscriptionShow, SUB_4_validated) {
  EXPECT_TRUE(push::Show(Validated()).ends_with(R"(,"validated":true})"));
}

TEST(SubscriptionShow, SUB_11_tells_no_secret) {
  Subscription other = Golden();
  other.auth = string(16, '!');
  other.validation = "another one";
  other.expires = 1;
  other.vapid = "fedcba9876543210";
  EXPECT_EQ(push::Show(other), push::Show(Golden()));
}

TEST(SubscriptionStored, SUB_12_is_printable_ascii) {
  const string json = With(With(kSubscription, "App", "\\r\\n\\t\\u0001\x7f\xc2\x9f\xe2\x82\xac"),
                           "Phone", "\xf0\x9f\x92\xac\\\"\\\\");
  Subscription subscription = Parsed(json);
  subscription.validation = "x";
  for (const string& text : {push::WriteStored(subscription), push::Show(subscription)}) {
    EXPECT_TRUE(std::ranges::all_of(text, [](char c) { return c >= 0x20 && c < 0x7f; })) << text;
    EXPECT_NE(text.find(R"("client":"\r\n\t\u0001\u007f\u009F\u20AC","device":"\uD83D\uDCAC\"\\")"),
              string::npos)
        << text;
  }
  EXPECT_EQ(push::ReadStored(push::WriteStored(subscription)), subscription);
}

TEST(SubscriptionStored, SUB_3_what_is_taken_can_be_stored) {
  // As long as it can be.
  const string base = WithExcluded("[]");
  const auto filled = [&](string_view letter, size_t letters) {
    string list = "[";
    for (size_t n = 0; n < letters;) {
      const size_t count = std::min(letters - n, 254 / letter.size());
      list += (n == 0 ? "\"" : ",\"") + Repeat(letter, count) + "\"";
      n += count;
    }
    return WithExcluded(list + "]");
  };
  const auto longest = [](Subscription subscription) {
    subscription.created = kCreated;
    subscription.validation.assign(COI_VALIDATION_MAX_SIZE, '\\');
    subscription.expires = std::numeric_limits<int64_t>::max();
    subscription.vapid.assign(64, '_');
    return subscription;
  };

  const Subscription ascii = longest(Parsed(filled("a", 7700)));
  EXPECT_LT(push::WriteStored(ascii).size(), size_t{COI_SUBSCRIPTION_MAX_SIZE});
  EXPECT_EQ(push::ReadStored(push::WriteStored(ascii)), ascii);

  size_t taken = 0;
  for (size_t letters = 1800; letters < 2600; letters += 17) {
    Subscription subscription;
    const char* problem = push::ParseInput(filled("\xd0\xb0", letters), &subscription);
    if (problem != nullptr) {
      EXPECT_STREQ(problem, "exclude_from is too long");
      continue;
    }
    taken = letters;
    subscription = longest(subscription);
    ASSERT_LT(push::WriteStored(subscription).size(), size_t{COI_SUBSCRIPTION_MAX_SIZE});
    ASSERT_LT(push::Show(subscription).size(), size_t{COI_SUBSCRIPTION_MAX_SIZE});
    ASSERT_EQ(push::ReadStored(push::WriteStored(subscription)), subscription);
  }
  EXPECT_GT(taken, 2000U);
  EXPECT_LT(taken, 2500U);
}

TEST(SubscriptionStored, SUB_4_later_keys_are_ignored) {
  EXPECT_EQ(push::ReadStored(With(kStored, "{", R"({"later":{"x":[1]},)")), Golden());
  EXPECT_EQ(push::ReadStored(With(kStored, R"("text")", R"("later":1,"text")")), Golden());
}

struct DamageCase {
  string_view name;
  string from;
  string to;
};

void PrintTo(const DamageCase& c, std::ostream* os) {
  *os << c.name;
}

class SubscriptionDamaged : public testing::TestWithParam<DamageCase> {};

TEST_P(SubscriptionDamaged, Check) {
  EXPECT_EQ(push::ReadStored(With(kStored, GetParam().from, GetParam().to)), std::nullopt);
}

const DamageCase kDamageCases[] = {
    {"SUB_4_no_created", "created", "creates"},
    {"SUB_4_created_text", "1571242457", "\"2019-10-16T16:14:17Z\""},
    {"SUB_4_created_real", "1571242457", "1571242457.0"},
    {"SUB_4_created_huge", "1571242457", "9223372036854775807"},
    {"SUB_4_created_overflow", "1571242457", "9223372036854775808"},
    {"SUB_4_no_validated", "validated", "Validated"},
    {"SUB_4_validated_text", "false", "\"false\""},
    {"SUB_4_validated_number", "false", "0"},
    {"SUB_4_validated_with_text", "false", "true"},
    {"SUB_7_no_validation", "validation", "Validation"},
    {"SUB_7_validation_text", R"({"text":"secret","expires":1571242757})", R"("secret")"},
    {"SUB_7_validation_null", R"({"text":"secret","expires":1571242757})", "null"},
    {"SUB_7_no_text", "text", "Text"},
    {"SUB_7_empty_text", "secret", ""},
    {"SUB_7_long_text", "secret", string(1001, 'x')},
    {"SUB_7_text_control", "secret", "\\n"},
    {"SUB_7_text_8_bit", "secret", "\xc3\xa4"},
    {"SUB_7_text_number", "\"secret\"", "1"},
    {"SUB_7_no_expires", "expires", "Expires"},
    {"SUB_7_expires_text", "1571242757", "\"1571242757\""},
    {"MSG_7_vapid_empty", "0123456789abcdef", ""},
    {"MSG_7_vapid_long", "0123456789abcdef", string(65, 'a')},
    {"MSG_7_vapid_dot", "0123456789abcdef", "0.1"},
    {"MSG_7_vapid_number", "\"0123456789abcdef\"", "1"},
    {"MSG_7_vapid_null", "\"0123456789abcdef\"", "null"},
    {"SUB_4_too_long", "}", "}" + string(COI_SUBSCRIPTION_MAX_SIZE, ' ')},
};
INSTANTIATE_TEST_SUITE_P(Subscription, SubscriptionDamaged, testing::ValuesIn(kDamageCases),
                         CaseName);

TEST(SubscriptionStored, SUB_11_cut_off_anywhere) {
  for (size_t size = 0; size < kStored.size(); ++size) {
    ASSERT_EQ(push::ReadStored(kStored.substr(0, size)), std::nullopt) << size;
  }
}

TEST(SubscriptionStored, SUB_4_what_is_not_utf8_is_not_written) {
  Subscription subscription = Golden();
  subscription.client = "\xff";
  EXPECT_EQ(push::WriteStored(subscription), "");
  EXPECT_EQ(push::Show(subscription), "");
  subscription = Golden();
  subscription.exclude_from.emplace_back("\xff");
  EXPECT_EQ(push::WriteStored(subscription), "");
  subscription = Golden();
  subscription.validation = "\xff";
  EXPECT_EQ(push::WriteStored(subscription), "");
}

// -- SUB-7..9 --

TEST(SubscriptionValidate, SUB_7_right_text_in_time) {
  Subscription subscription = Created();
  EXPECT_TRUE(push::Validate(&subscription, "secret", kExpires - 1));
  EXPECT_TRUE(subscription.validated);
  EXPECT_EQ(subscription.validation, "");
  EXPECT_EQ(push::WriteStored(subscription).find("secret"), string::npos);
}

TEST(SubscriptionValidate, SUB_7_wrong_text) {
  const auto wrong = {""sv,        "s"sv,      "secre"sv,        "secret "sv,
                      "Secret"sv,  "secreT"sv, "secretsecret"sv, "secret\0"sv,
                      "\0secret"sv};
  for (const auto text : wrong) {
    Subscription subscription = Created();
    EXPECT_FALSE(push::Validate(&subscription, text, kCreated)) << text;
    EXPECT_EQ(subscription, Created());
  }
}

TEST(SubscriptionValidate, SUB_7_too_late) {
  Subscription subscription = Created();
  EXPECT_FALSE(push::Validate(&subscription, "secret", kExpires));
  EXPECT_EQ(subscription, Created());
}

TEST(SubscriptionValidate, SUB_9_only_once) {
  Subscription subscription = Validated();
  const Subscription before = subscription;
  EXPECT_FALSE(push::Validate(&subscription, "secret", kCreated));
  EXPECT_FALSE(push::Validate(&subscription, "", kCreated));
  EXPECT_EQ(subscription, before);
}

TEST(SubscriptionValidate, SUB_9_without_a_text) {
  Subscription subscription = Created();
  subscription.validation.clear();
  EXPECT_FALSE(push::Validate(&subscription, "", kCreated));
}

TEST(SubscriptionLive, SUB_8_until_it_expires) {
  EXPECT_TRUE(push::IsLive(Created(), kExpires - 1));
  EXPECT_FALSE(push::IsLive(Created(), kExpires));
  EXPECT_TRUE(push::IsLive(Validated(), kExpires + 1));
}

// -- CLI-4 --

constexpr char kToken[] = R"({"token":"openpgp:a/+=","created":1571242457,"validated":true})";

TEST(DeviceToken, CLI_4_golden) {
  const auto token = push::MakeDeviceToken("openpgp:a/+=", kCreated);
  ASSERT_TRUE(token);
  EXPECT_EQ(push::WriteStored(*token), kToken);
  EXPECT_EQ(push::ReadStored(kToken), token);
  EXPECT_TRUE(push::IsDeviceTokenStored(kToken));
  EXPECT_FALSE(push::IsDeviceTokenStored(kStoredValidated));
  EXPECT_EQ(push::Show(*token),
            R"({"token":"","created":"2019-10-16T16:14:17+00:00","validated":true})");
}

TEST(DeviceToken, CLI_4_what_can_be_one) {
  EXPECT_FALSE(push::MakeDeviceToken("", kCreated));
  EXPECT_TRUE(push::MakeDeviceToken("x", kCreated));
  EXPECT_FALSE(push::MakeDeviceToken(string(4097, 'x'), kCreated));
  for (const char c : " \t\r\n\x7f\x80\xff\0"sv) {
    EXPECT_FALSE(push::MakeDeviceToken("openpgp:"s + c, kCreated)) << static_cast<int>(c);
  }
  // escaped, they take twice the room
  const auto longest = push::MakeDeviceToken(string(4096, '"'), kCreated);
  ASSERT_TRUE(longest);
  EXPECT_EQ(push::ReadStored(push::WriteStored(*longest)), longest);
}

TEST(DeviceToken, CLI_4_expires_after_90_days) {
  const auto token = push::MakeDeviceToken("x", kCreated);
  constexpr int64_t kDays = int64_t{90} * 86400;
  EXPECT_TRUE(push::IsLive(*token, kCreated));
  EXPECT_TRUE(push::IsLive(*token, kCreated - 1));
  EXPECT_TRUE(push::IsLive(*token, kCreated + kDays - 1));
  EXPECT_FALSE(push::IsLive(*token, kCreated + kDays));
}

TEST(DeviceToken, CLI_4_wants_every_mail) {
  const auto token = push::MakeDeviceToken("x", kCreated);
  for (const bool chat : {false, true}) {
    EXPECT_TRUE(push::Wants(*token, {.chat = chat, .from_email = {}}));
  }
  const auto wishes = push::WishesOf(*token);
  EXPECT_TRUE(wishes.chat && wishes.mail && !wishes.excludes);
  // It has a time, which is looked at.
  EXPECT_FALSE(push::GlanceAtStored(kToken));
}

TEST(DeviceToken, CLI_4_damaged) {
  const std::pair<string, string> cases[] = {
      {"openpgp:a/+=", ""},
      {"openpgp:a/+=", "a b"},
      {"openpgp:a/+=", "\\u0000"},
      {R"("openpgp:a/+=")", "1"},
      {"1571242457", R"("1571242457")"},
      {"created", "Created"},
      {"true", "false"},
      {"true", R"(false,"validation":{"text":"secret","expires":1571242757})"},
      {"true", R"(true,"vapid":"0123456789abcdef")"},
      {"}", ""},
  };
  for (const auto& [from, to] : cases) {
    EXPECT_EQ(push::ReadStored(With(kToken, from, to)), std::nullopt) << from << ' ' << to;
  }
}

TEST(DeviceToken, CLI_4_no_client_can_set_one_as_a_subscription) {
  Subscription subscription;
  EXPECT_NE(push::ParseInput(kToken, &subscription), nullptr);
  const string json = With(kSubscription, "{", R"({"token":"openpgp:x",)");
  ASSERT_EQ(push::ParseInput(json, &subscription), nullptr);
  EXPECT_EQ(subscription.token, "");
}

// -- MSG-1, SUB-10 --

bool Wants(const Subscription& subscription, bool chat, OptionalText from = "a@b.org") {
  const Bytes bytes(from);
  return push::Wants(subscription, {.chat = chat, .from_email = bytes.get()});
}

TEST(SubscriptionWants, MSG_1_type) {
  EXPECT_TRUE(Wants(Validated(MsgType::kChat), true));
  EXPECT_FALSE(Wants(Validated(MsgType::kChat), false));
  EXPECT_FALSE(Wants(Validated(MsgType::kMail), true));
  EXPECT_TRUE(Wants(Validated(MsgType::kMail), false));
  EXPECT_TRUE(Wants(Validated(MsgType::kAll), true));
  EXPECT_TRUE(Wants(Validated(MsgType::kAll), false));
}

TEST(SubscriptionWants, SUB_8_nothing_while_not_validated) {
  Subscription subscription = Created();
  for (const auto type : {MsgType::kChat, MsgType::kMail, MsgType::kAll}) {
    subscription.msgtype = type;
    EXPECT_FALSE(Wants(subscription, true));
    EXPECT_FALSE(Wants(subscription, false));
  }
}

TEST(SubscriptionWants, SUB_10_not_from_these) {
  Subscription subscription = Validated();
  subscription.exclude_from =
      Parsed(WithExcluded("[\"A@B.org\",\"j\xc3\x96rg@x.org\",\"\"]")).exclude_from;
  EXPECT_FALSE(Wants(subscription, true, "a@b.org"));
  EXPECT_FALSE(Wants(subscription, false, "A@b.ORG"));
  EXPECT_FALSE(Wants(subscription, false, "J\xc3\xb6RG@x.org"));
  EXPECT_TRUE(Wants(subscription, true, "a@b.orga"));
  EXPECT_TRUE(Wants(subscription, true, "aa@b.org"));
  EXPECT_TRUE(Wants(subscription, true, "a@b.org\0"sv));
  EXPECT_TRUE(Wants(subscription, true, "\xff@b.org"));
  // Without a sender there is no one whose mail raises none.
  EXPECT_TRUE(Wants(subscription, true, ""));
  EXPECT_TRUE(Wants(subscription, true, std::nullopt));
}

// From is handed over without its quotes, and a client may have it from a mail with them.
TEST(SubscriptionWants, SUB_10_however_they_are_written) {
  Subscription subscription = Validated();
  subscription.exclude_from =
      Parsed(WithExcluded(R"(["\"Q q\"@x.org","\"plain\"@x.org","dot@x.org.","\"a\\\"b\"@x.org"])"))
          .exclude_from;
  EXPECT_FALSE(Wants(subscription, true, "q q@x.org"));
  EXPECT_FALSE(Wants(subscription, true, "Plain@x.org"));
  EXPECT_FALSE(Wants(subscription, true, "\"plain\"@x.org"));
  EXPECT_FALSE(Wants(subscription, true, "dot@X.org"));
  EXPECT_FALSE(Wants(subscription, true, "a\"b@x.org"));
  EXPECT_TRUE(Wants(subscription, true, "q@x.org"));
  EXPECT_TRUE(Wants(subscription, true, "plain@x.orga"));
  EXPECT_TRUE(Wants(subscription, true, "plain"));
}

TEST(SubscriptionWants, MSG_1_at_a_glance) {
  for (const auto type : {MsgType::kChat, MsgType::kMail, MsgType::kAll}) {
    Subscription subscription = Validated(type);
    // What looks like a member, but is in a text.
    subscription.client = ",\"msgtype\":\"mail\"";
    subscription.device = ",\"validated\":true,\"exclude_from\":[";
    for (const bool excludes : {false, true}) {
      if (excludes) {
        subscription.exclude_from = {"a@b"};
      }
      const auto glance = push::GlanceAtStored(push::WriteStored(subscription));
      ASSERT_TRUE(glance);
      EXPECT_EQ(glance->chat, type != MsgType::kMail);
      EXPECT_EQ(glance->mail, type != MsgType::kChat);
      EXPECT_EQ(glance->excludes, excludes);
    }
    subscription.validated = false;
    subscription.validation = "text";
    EXPECT_FALSE(push::GlanceAtStored(push::WriteStored(subscription)));
  }
  const string stored = push::WriteStored(Validated());
  for (const string& other : {string(), string("{}"), " " + stored, stored.substr(1),
                              stored.substr(0, stored.size() - 1)}) {
    EXPECT_FALSE(push::GlanceAtStored(other)) << other;
  }
}

TEST(Subscription, SUB_10_forms) {
  using List = std::vector<string>;
  EXPECT_EQ(Parsed(WithExcluded("[]")).exclude_from, List());
  EXPECT_EQ(Parsed(WithExcluded("null")).exclude_from, List());
  EXPECT_EQ(Parsed(WithExcluded("\"\"")).exclude_from, List());
  EXPECT_EQ(Parsed(WithExcluded("\"A@b\"")).exclude_from, List({"a@b"}));
  EXPECT_EQ(Parsed(WithExcluded("[\"A@b\",\"c\"]")).exclude_from, List({"a@b", "c"}));
  EXPECT_EQ(Parsed(WithExcluded("[\"" + string(254, 'A') + "\"]")).exclude_from,
            List({string(254, 'a')}));
  EXPECT_EQ(Parsed(WithExcluded("[" + Repeat("\"a\",", 99) + "\"a\"]")).exclude_from.size(), 100U);
}

}  // namespace
}  // namespace coi::test
