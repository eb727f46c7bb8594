// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
// The library as the mail processes load it.

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "coi-push.h"
#include "coi_push_c_test.h"
#include "push/subscription.h"
#include "push_util.h"

namespace coi::test {
namespace {

using std::optional;
using std::string;
using std::string_view;
using namespace std::string_view_literals;

const struct coi_push& Push() {
  static const struct coi_push* const push = [] {
    void* handle = dlopen(COI_PUSH_PATH, RTLD_NOW | RTLD_LOCAL);
    EXPECT_NE(handle, nullptr) << dlerror();
    auto* get = reinterpret_cast<coi_push_func_t*>(dlsym(handle, COI_PUSH_SYMBOL));
    EXPECT_EQ(get(0), nullptr);
    EXPECT_EQ(get(COI_PUSH_VERSION + 1), nullptr);
    return get(COI_PUSH_VERSION);
  }();
  return *push;
}

// What a function has written into a buffer that is just as large as it must be.
template <typename Call>
string Written(Call call) {
  const auto buf = std::make_unique<char[]>(COI_SUBSCRIPTION_MAX_SIZE);
  size_t size = 0;
  return call(buf.get(), &size) ? string(buf.get(), size) : string();
}

string Stored(string_view json = kSubscription, int64_t created = 1, int64_t expires = 100,
              OptionalText validation = "text") {
  return Written([&](char* buf, size_t* size) {
    return Push().subscription_parse(Bytes(json).get(), created, expires, Bytes(validation).get(),
                                     buf, size) == nullptr;
  });
}

string Validated(OptionalText stored, OptionalText text, int64_t now) {
  return Written([&](char* buf, size_t* size) {
    return Push().subscription_validate(Bytes(stored).get(), Bytes(text).get(), now, buf, size) ==
           COI_VALIDATE_OK;
  });
}

string WithVapid(OptionalText stored, OptionalText vapid) {
  return Written([&](char* buf, size_t* size) {
    return Push().subscription_set_vapid(Bytes(stored).get(), Bytes(vapid).get(), buf, size);
  });
}

string Shown(OptionalText stored) {
  return Written([&](char* buf, size_t* size) {
    return Push().subscription_show(Bytes(stored).get(), buf, size);
  });
}

bool Wants(OptionalText stored, bool chat, OptionalText from) {
  const Bytes from_bytes(from);
  const struct coi_push_mail mail = {.chat = chat, .from_email = from_bytes.get()};
  return Push().subscription_wants(Bytes(stored).get(), &mail);
}

TEST(PushLibrary, LoadedFromC) {
  std::array<char, 512> error = {};
  EXPECT_EQ(coi_push_c_test_run(COI_PUSH_PATH, error.data(), error.size()), 0) << error.data();
}

TEST(PushLibrary, ExportsOneSymbol) {
#ifdef COI_SANITIZED
  GTEST_SKIP() << "a sanitizer exports symbols of its own";
#endif
  const auto close = [](FILE* file) { EXPECT_EQ(pclose(file), 0); };
  const std::unique_ptr<FILE, decltype(close)> nm(
      popen("'" COI_NM "' -D --defined-only --format=posix '" COI_PUSH_PATH "'", "r"), close);
  ASSERT_NE(nm, nullptr);

  string symbols;
  std::array<char, 512> line = {};
  while (fgets(line.data(), line.size(), nm.get()) != nullptr) {
    const string text = line.data();
    symbols += text.substr(0, text.find(' ')) + "\n";
  }
  EXPECT_EQ(symbols, COI_PUSH_SYMBOL "\n");
}

TEST(PushLibrary, SUB_4_parse_writes_what_is_stored) {
  const auto stored = push::ReadStored(Stored());
  ASSERT_TRUE(stored);
  push::Subscription wanted;
  ASSERT_EQ(push::ParseInput(kSubscription, &wanted), nullptr);
  wanted.created = 1;
  wanted.expires = 100;
  wanted.validation = "text";
  EXPECT_EQ(*stored, wanted);
}

TEST(PushLibrary, SUB_3_parse_says_what_is_wrong) {
  const auto problem = [](OptionalText json) {
    std::array<char, COI_SUBSCRIPTION_MAX_SIZE> buf = {};
    size_t size = 0;
    return Push().subscription_parse(Bytes(json).get(), 1, 100, Bytes("text").get(), buf.data(),
                                     &size);
  };
  EXPECT_STREQ(problem(std::nullopt), "it is not valid JSON");
  EXPECT_STREQ(problem(""), "it is not valid JSON");
  EXPECT_STREQ(problem(With(kSubscription, "client", "clien")), "client is missing");
  EXPECT_STREQ(problem(string(1U << 20U, '[')), "it is longer than 8192 octets");
}

TEST(PushLibrary, SUB_7_parse_refuses_what_can_not_be_stored) {
  EXPECT_EQ(Stored(kSubscription, 1, 100, ""), "");
  EXPECT_EQ(Stored(kSubscription, 1, 100, std::nullopt), "");
  EXPECT_EQ(Stored(kSubscription, 1, 100, "a\nb"), "");
  EXPECT_EQ(Stored(kSubscription, 1, 100, "\xff"), "");
  EXPECT_EQ(Stored(kSubscription, 1, 100, string(1001, 'x')), "");
  EXPECT_NE(Stored(kSubscription, 1, 100, string(1000, '"')), "");
  EXPECT_EQ(Stored(kSubscription, std::numeric_limits<int64_t>::max()), "");
  EXPECT_NE(Stored(kSubscription, 1, std::numeric_limits<int64_t>::max()), "");
}

TEST(PushLibrary, MSG_1_wishes) {
  const auto wishes = [](OptionalText stored, int64_t now, struct coi_push_wishes* wishes_r) {
    return Push().subscription_wishes(Bytes(stored).get(), now, wishes_r);
  };
  struct coi_push_wishes found = {};
  EXPECT_TRUE(wishes(Validated(Stored(), "text", 99), 100, &found));
  EXPECT_TRUE(found.chat);
  // One that waits for its validation wants nothing, and counts until it expires.
  EXPECT_TRUE(wishes(Stored(), 99, &found));
  EXPECT_FALSE(found.chat || found.mail);
  EXPECT_FALSE(wishes(Stored(), 100, &found));
  // Somebody else has written it, in another form.
  EXPECT_TRUE(wishes(" " + Validated(Stored(), "text", 99), 100, &found));
  EXPECT_TRUE(found.chat);
  EXPECT_FALSE(wishes("{}", 1, &found));
  EXPECT_FALSE(wishes(std::nullopt, 1, &found));
}

TEST(PushLibrary, SUB_8_is_live) {
  const auto is_live = [](OptionalText stored, int64_t now) {
    return Push().subscription_is_live(Bytes(stored).get(), now);
  };
  EXPECT_TRUE(is_live(Stored(), 99));
  EXPECT_FALSE(is_live(Stored(), 100));
  EXPECT_TRUE(is_live(Validated(Stored(), "text", 99), 100));
  EXPECT_FALSE(is_live(std::nullopt, 1));
  EXPECT_FALSE(is_live("", 1));
  EXPECT_FALSE(is_live("{}", 1));
}

TEST(PushLibrary, SUB_7_validate) {
  const string stored = Validated(Stored(), "text", 99);
  ASSERT_TRUE(push::ReadStored(stored));
  EXPECT_TRUE(push::ReadStored(stored)->validated);
  EXPECT_EQ(stored.find("text"), string::npos);

  EXPECT_EQ(Validated(Stored(), "text", 100), "");
  EXPECT_EQ(Validated(Stored(), "Text", 99), "");
  EXPECT_EQ(Validated(Stored(), "", 99), "");
  EXPECT_EQ(Validated(Stored(), std::nullopt, 99), "");
  EXPECT_EQ(Validated(stored, "text", 99), "");
  EXPECT_EQ(Validated("{}", "text", 99), "");
  EXPECT_EQ(Validated(std::nullopt, std::nullopt, 99), "");
}

TEST(PushLibrary, SUB_11_show) {
  const string shown = Shown(Stored());
  EXPECT_NE(shown.find(R"("created":"1970-01-01T00:00:01+00:00","validated":false)"), string::npos);
  EXPECT_EQ(shown.find(kAuth), string::npos);
  EXPECT_EQ(shown.find("text"), string::npos);
  EXPECT_EQ(Shown(std::nullopt), "");
  EXPECT_EQ(Shown("{}"), "");
  EXPECT_EQ(Shown(shown), "");
}

TEST(PushLibrary, SUB_11_what_an_admin_sees) {
  struct coi_subscription_info info;
  const string stored = Validated(
      Stored(With(kSubscription, "push.example.org/x", "user:secret@push.example.org:8443/x?y")),
      "text", 1);
  ASSERT_TRUE(Push().subscription_get_info(Bytes(stored).get(), &info));
  EXPECT_FALSE(info.is_device_token);
  EXPECT_TRUE(info.validated);
  EXPECT_EQ(info.created, 1);
  EXPECT_STREQ(info.msgtype, "chat");
  EXPECT_STREQ(info.push_service, "push.example.org:8443");
  EXPECT_STREQ(info.client, "App");
  EXPECT_STREQ(info.device, "Phone");

  const string host(600, 'h');
  const string name(128, 'n');
  string longest = With(kSubscription, "push.example.org", host);
  longest = With(With(longest, R"("App")", '"' + name + '"'), R"("Phone")", '"' + name + '"');
  ASSERT_TRUE(Push().subscription_get_info(Bytes(Stored(longest)).get(), &info));
  EXPECT_FALSE(info.validated);
  EXPECT_EQ(info.push_service, host.substr(0, COI_PUSH_SERVICE_MAX_SIZE));
  EXPECT_EQ(info.client, name);
  EXPECT_EQ(info.device, name);

  const string token = Written([](char* buf, size_t* size) {
    return Push().device_token_store(Bytes("secret").get(), 7, buf, size);
  });
  ASSERT_TRUE(Push().subscription_get_info(Bytes(token).get(), &info));
  EXPECT_TRUE(info.is_device_token);
  EXPECT_TRUE(info.validated);
  EXPECT_EQ(info.created, 7);
  EXPECT_STREQ(info.push_service, "");
  EXPECT_STREQ(info.client, "");

  EXPECT_FALSE(Push().subscription_get_info(Bytes("{}").get(), &info));
  EXPECT_FALSE(Push().subscription_get_info(Bytes(std::nullopt).get(), &info));
}

TEST(PushLibrary, MSG_1_wants) {
  const string stored =
      Validated(Stored(With(kSubscription, "}}}", R"(}},"exclude_from":"A@b"})")), "text", 1);
  EXPECT_TRUE(Wants(stored, true, std::nullopt));
  EXPECT_TRUE(Wants(stored, true, ""));
  EXPECT_TRUE(Wants(stored, true, "b@b"));
  EXPECT_FALSE(Wants(stored, true, "a@B"));
  EXPECT_FALSE(Wants(stored, false, "b@b"));
  EXPECT_FALSE(Wants(Stored(), true, "b@b"));
  EXPECT_FALSE(Wants("{}", true, "b@b"));
  EXPECT_FALSE(Wants(std::nullopt, true, "b@b"));
}

TEST(PushLibrary, MSG_7_set_vapid) {
  const string stored = WithVapid(Stored(), "0123456789ABCD-_");
  ASSERT_TRUE(push::ReadStored(stored));
  EXPECT_EQ(push::ReadStored(stored)->vapid, "0123456789ABCD-_");
  EXPECT_EQ(push::ReadStored(WithVapid(stored, "other"))->vapid, "other");
  // It stays when validated.
  EXPECT_EQ(push::ReadStored(Validated(stored, "text", 1))->vapid, "0123456789ABCD-_");
  // None means the current one.
  EXPECT_EQ(WithVapid(stored, ""), Stored());
  EXPECT_EQ(WithVapid(stored, "a b"), "");
  EXPECT_EQ(WithVapid(stored, "\xff"), "");
  EXPECT_EQ(WithVapid(stored, string(65, 'a')), "");
  EXPECT_EQ(WithVapid("{}", "0123456789ABCD-_"), "");
}

// The largest there can be leaves room for all that is added later.
TEST(PushLibrary, SUB_3_largest) {
  string list = "[";
  for (int n = 0; n < 29; ++n) {
    list += (n == 0 ? "\"" : ",\"") + string(254, 'a') + "\"";
  }
  string json = With(kSubscription, "}}}", "}},\"exclude_from\":" + list + ",\"\"]}");
  json = With(json, "push.example.org/x", string(200, '"'));
  json = With(json, string(200, '"'), Repeat("\\\"", 200));
  ASSERT_LE(json.size(), size_t{COI_SUBSCRIPTION_INPUT_MAX_SIZE});
  const string stored = Stored(json, 1, 100, string(1000, '\\'));
  ASSERT_NE(stored, "");
  EXPECT_NE(Shown(stored), "");
  EXPECT_NE(Validated(WithVapid(stored, string(64, 'a')), string(1000, '\\'), 1), "");
}

}  // namespace
}  // namespace coi::test
