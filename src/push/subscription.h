// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_PUSH_SUBSCRIPTION_H
#define COI_PUSH_SUBSCRIPTION_H

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coi-push.h"

// Push subscriptions: PROTOCOL SUB-1..12.
namespace coi::push {

// SUB-3: of an endpoint, in octets.
constexpr size_t kEndpointMaxSize = 1000;

enum class MsgType { kChat, kMail, kAll };

struct Subscription {
  std::string client;
  std::string device;
  MsgType msgtype = MsgType::kAll;
  std::string endpoint;
  std::string p256dh;  // 65 octets, decoded
  std::string auth;    // 16 octets, decoded
  // In lower case.
  std::vector<std::string> exclude_from;
  int64_t created = 0;  // seconds since 1970
  bool validated = false;
  // Only while not validated.
  std::string validation;
  int64_t expires = 0;
  // Id of the VAPID key (VapidKey::id()); "" for the current one.
  std::string vapid;
  // Not a Web Push subscription, but a device token of Delta Chat (CLI-4): nothing
  // else counts but `validated`, which is true, and `created`, which is when the
  // device has last set it.
  std::string token;

  bool operator==(const Subscription&) const = default;
};

bool IsSubscriptionId(std::string_view id) noexcept;

// SUB-3 and SUB-10, for what a client sets. Returns nullptr, or what is wrong
// with it (static, for the client).
const char* ParseInput(std::string_view json, Subscription* out);

// What is stored: ASCII, less than COI_SUBSCRIPTION_MAX_SIZE of what ParseInput()
// takes. "" where a text is not UTF-8. Read() checks it again as thoroughly as
// ParseInput() does; keys of a later version are ignored.
std::string WriteStored(const Subscription& subscription);
std::optional<Subscription> ReadStored(std::string_view json);

// CLI-4: the stored form of a device token. Nullopt where it can't be one.
std::optional<Subscription> MakeDeviceToken(std::string_view token, int64_t now);
// Whether it is one, if it is anything, without parsing it.
bool IsDeviceTokenStored(std::string_view json) noexcept;

// What a client reads (SUB-4, SUB-11).
std::string Show(const Subscription& subscription);

std::string_view NameOf(MsgType msgtype) noexcept;
// Host and port of an endpoint, which tell nothing of what is secret in it.
std::string_view PushServiceOf(std::string_view endpoint) noexcept;

bool IsLive(const Subscription& subscription, int64_t now) noexcept;
bool Wants(const Subscription& subscription, const struct coi_push_mail& mail);
struct coi_push_wishes WishesOf(const Subscription& subscription);
// The same of a validated subscription in the form that WriteStored() writes, without
// parsing it. Nullopt for any other value, for which ReadStored() tells.
std::optional<struct coi_push_wishes> GlanceAtStored(std::string_view json) noexcept;
// SUB-7, SUB-9. On true it is validated, and its text is gone.
bool Validate(Subscription* subscription, std::string_view text, int64_t now);

}  // namespace coi::push

#endif  // COI_PUSH_SUBSCRIPTION_H
