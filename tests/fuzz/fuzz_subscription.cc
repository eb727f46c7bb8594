// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
// Input: one byte that says what the rest is: the JSON that a client sets, a
// stored object, or the value of one member of either; and a text that is also
// taken for base64, an id, a sender and a validation text.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>

#include "coi-push.h"
#include "fuzz_util.h"
#include "push/subscription.h"
#include "util/base64.h"

namespace coi::fuzz {
namespace {

using push::Subscription;
using std::string;
using std::string_view;

constexpr int64_t kCreated = 1571242457;
constexpr int64_t kExpires = kCreated + 300;
constexpr string_view kText = "validation";

#define KEYS                                                                                     \
  R"({"p256dh":"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRp)" \
  R"(kNtoIAiw4","auth":"BTBZMqHH6r4Tts7J_aSIgg"})"
#define RESOURCE R"("resource":{"endpoint":"https://a","keys":)" KEYS "}"
#define NAMES R"({"client":"","device":"","msgtype":"any",)"

struct Place {
  string_view before;
  string_view after;
};
// Where the text stands; the first is the whole.
constexpr Place kPlaces[] = {
    {"", ""},
    {R"({"device":"","msgtype":"all",)" RESOURCE R"(,"client":)", "}"},
    {R"({"client":"","msgtype":"chat",)" RESOURCE R"(,"device":)", "}"},
    {R"({"client":"","device":"",)" RESOURCE R"(,"msgtype":)", "}"},
    {NAMES R"("resource":)", "}"},
    {NAMES R"("resource":{"keys":)" KEYS R"(,"endpoint":)", "}}"},
    {NAMES R"("resource":{"endpoint":"https://a","keys":)", "}}"},
    {NAMES RESOURCE R"(,"created":1,"validated":true,"exclude_from":)", "}"},
    {NAMES RESOURCE R"(,"created":1,"validated":true,"vapid":)", "}"},
    {NAMES RESOURCE R"(,"created":1,"validated":false,"validation":)", "}"},
    {NAMES RESOURCE R"(,"validated":true,"created":)", "}"},
    {R"({"token":)", R"(,"created":1,"validated":true})"},
};

bool IsPrintable(string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c <= 0x7e; });
}

// CLI-4
void CheckDeviceToken(const Subscription& s) {
  FUZZ_CHECK(s.token.size() <= 4096 && IsPrintable(s.token) && s.token.find(' ') == string::npos);
  FUZZ_CHECK(s.validated && s == push::MakeDeviceToken(s.token, s.created));
  const string stored = push::WriteStored(s);
  FUZZ_CHECK(IsPrintable(stored) && stored.size() < COI_SUBSCRIPTION_MAX_SIZE);
  FUZZ_CHECK(push::IsDeviceTokenStored(stored) && push::ReadStored(stored) == s);
  FUZZ_CHECK(push::Show(s) == push::Show(*push::MakeDeviceToken("x", s.created)));
}

void CheckLimits(const Subscription& s) {
  FUZZ_CHECK(s.client.size() <= 128 && s.device.size() <= 128);
  FUZZ_CHECK(s.p256dh.size() == 65 && s.p256dh.front() == '\x04' && s.auth.size() == 16);
  FUZZ_CHECK(s.endpoint.size() <= 1000 && IsPrintable(s.endpoint));
  FUZZ_CHECK(s.endpoint.find(' ') == string::npos && s.endpoint.find("://") != string::npos);
  FUZZ_CHECK(s.exclude_from.size() <= 100);
  for (const auto& address : s.exclude_from) {
    FUZZ_CHECK(!address.empty() && address.size() <= 254 && IsValidUtf8(address));
  }
  FUZZ_CHECK(IsValidUtf8(s.client) && IsValidUtf8(s.device));
  FUZZ_CHECK(IsPrintable(s.validation) && IsPrintable(s.vapid));
  FUZZ_CHECK(s.validated == s.validation.empty());
}

// Nothing that is shown depends on a secret.
void CheckShow(const Subscription& subscription) {
  const string shown = push::Show(subscription);
  FUZZ_CHECK(!shown.empty() && IsPrintable(shown));
  Subscription other = subscription;
  other.auth = string(16, 'x');
  other.validation = "something else";
  other.expires = 0;
  other.vapid = "x";
  FUZZ_CHECK(push::Show(other) == shown);
}

void CheckWants(const Subscription& subscription, string_view from) {
  const Bytes bytes(from);
  const bool chat = push::Wants(subscription, {.chat = true, .from_email = bytes.get()});
  const bool mail = push::Wants(subscription, {.chat = false, .from_email = bytes.get()});
  FUZZ_CHECK(subscription.validated || (!chat && !mail));
  if (subscription.exclude_from.empty() && subscription.validated) {
    FUZZ_CHECK(chat == (subscription.msgtype != push::MsgType::kMail));
    FUZZ_CHECK(mail == (subscription.msgtype != push::MsgType::kChat));
  }
  for (const auto& address : subscription.exclude_from) {
    FUZZ_CHECK(!push::Wants(
        subscription,
        {.chat = true, .from_email = {.data = address.data(), .size = address.size()}}));
  }
}

void CheckGlance(const Subscription& subscription, string_view stored) {
  const auto glance = push::GlanceAtStored(stored);
  FUZZ_CHECK(glance.has_value() == subscription.validated);
  if (glance) {
    const auto wishes = push::WishesOf(subscription);
    FUZZ_CHECK(glance->chat == wishes.chat && glance->mail == wishes.mail &&
               glance->excludes == wishes.excludes);
  }
}

void CheckSubscription(Subscription subscription, string_view text) {
  CheckLimits(subscription);
  CheckShow(subscription);
  CheckWants(subscription, text);
  const string stored = push::WriteStored(subscription);
  FUZZ_CHECK(IsPrintable(stored));
  if (stored.size() < COI_SUBSCRIPTION_MAX_SIZE) {
    FUZZ_CHECK(push::ReadStored(stored) == subscription);
  }
  CheckGlance(subscription, stored);

  Subscription tried = subscription;
  if (push::Validate(&tried, text, kCreated)) {
    FUZZ_CHECK(text == subscription.validation && kCreated < subscription.expires);
  } else {
    FUZZ_CHECK(tried == subscription);
  }
  if (!subscription.validated) {
    const string secret = subscription.validation;
    FUZZ_CHECK(!push::IsLive(subscription, subscription.expires));
    FUZZ_CHECK(!push::Validate(&subscription, secret, subscription.expires));
    if (subscription.expires > 0) {
      FUZZ_CHECK(push::Validate(&subscription, secret, 0));
      CheckLimits(subscription);
      FUZZ_CHECK(push::ReadStored(push::WriteStored(subscription)) == subscription);
      CheckGlance(subscription, push::WriteStored(subscription));
    }
  }
}

// Through the door, so that it is seen if more is written than there is room.
void CheckInput(string_view json, string_view text) {
  const auto buf = std::make_unique<char[]>(COI_SUBSCRIPTION_MAX_SIZE);
  const auto& door = *coi_push(COI_PUSH_VERSION);
  size_t size = 0;
  const char* problem = door.subscription_parse(Bytes(json).get(), kCreated, kExpires,
                                                Bytes(kText).get(), buf.get(), &size);
  FUZZ_CHECK((problem == nullptr) == (size > 0));
  FUZZ_CHECK(problem == nullptr || *problem != '\0');
  if (problem != nullptr) {
    return;
  }
  FUZZ_CHECK(json.size() <= COI_SUBSCRIPTION_INPUT_MAX_SIZE && IsValidUtf8(json));
  FUZZ_CHECK(size < COI_SUBSCRIPTION_MAX_SIZE);
  const auto stored = push::ReadStored({buf.get(), size});
  FUZZ_CHECK(stored && stored->created == kCreated && stored->vapid.empty());
  FUZZ_CHECK(stored->validation == kText && !stored->validated);
  CheckSubscription(*stored, text);

  const Bytes bytes({{buf.get(), size}});
  const auto info = std::make_unique<coi_subscription_info>();
  FUZZ_CHECK(door.subscription_get_info(bytes.get(), info.get()));
  FUZZ_CHECK(info->client == stored->client.substr(0, stored->client.find('\0')));
  FUZZ_CHECK(string_view(info->push_service).find_first_of("/?#@") == string_view::npos);
  FUZZ_CHECK(door.subscription_show(bytes.get(), buf.get(), &size));
  FUZZ_CHECK(
      door.subscription_set_vapid(bytes.get(), Bytes(string(64, 'x')).get(), buf.get(), &size));
  const Bytes with_vapid({{buf.get(), size}});
  FUZZ_CHECK(door.subscription_validate(with_vapid.get(), Bytes(kText).get(), kCreated, buf.get(),
                                        &size) == COI_VALIDATE_OK);
  FUZZ_CHECK(size < COI_SUBSCRIPTION_MAX_SIZE);
}

void CheckText(string_view text) {
  if (push::IsSubscriptionId(text)) {
    FUZZ_CHECK(text.size() >= 10 && text.size() <= 36 && IsPrintable(text));
    FUZZ_CHECK(text.find_first_of("/.%* \"\\=") == string_view::npos);
  }
  if (const auto bytes = util::DecodeBase64(text)) {
    const string again = util::EncodeBase64Url(*bytes);
    FUZZ_CHECK(again.size() <= text.size() && util::DecodeBase64(again) == bytes);
    string url(text.substr(0, text.find('=')));
    std::replace(url.begin(), url.end(), '+', '-');
    std::replace(url.begin(), url.end(), '/', '_');
    FUZZ_CHECK(url == again);
  }
}

void Check(uint8_t place, string_view text) {
  const Place& around = kPlaces[place % std::size(kPlaces)];
  const string json = string(around.before) + string(text) + string(around.after);
  CheckText(text);
  CheckInput(json, text);
  if (const auto stored = push::ReadStored(json)) {
    if (stored->token.empty()) {
      CheckSubscription(*stored, text);
    } else {
      CheckDeviceToken(*stored);
    }
  }
}

}  // namespace
}  // namespace coi::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) {
    return 0;
  }
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  coi::fuzz::Check(data[0], input.substr(1));
  return 0;
}
