// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

#include "coi-push.h"
#include "push/subscription.h"

namespace {

std::string_view ToText(const struct coi_bytes& bytes) noexcept {
  return bytes.data == nullptr ? std::string_view() : std::string_view(bytes.data, bytes.size);
}

// False where there is nothing to write, or too much.
bool Put(const std::string& text, char* buf, size_t* size_r) noexcept {
  if (text.empty() || text.size() >= COI_SUBSCRIPTION_MAX_SIZE) {
    return false;
  }
  std::ranges::copy(text, buf);
  *size_r = text.size();
  return true;
}

// Cut where it is too long.
template <size_t kSize>
void CopyText(std::string_view text, char (&dest)[kSize]) noexcept {
  text = text.substr(0, kSize - 1);
  dest[text.copy(dest, text.size())] = '\0';
}

}  // namespace

// What the table points to is called from C, so it has C's language linkage.
extern "C" {

static bool SubscriptionIdCheck(struct coi_bytes id) noexcept {
  return coi::push::IsSubscriptionId(ToText(id));
}

static const char* SubscriptionParse(struct coi_bytes json, int64_t created, int64_t expires,
                                     struct coi_bytes validation, char* buf,
                                     size_t* size_r) noexcept {
  coi::push::Subscription subscription;
  if (const char* problem = coi::push::ParseInput(ToText(json), &subscription)) {
    return problem;
  }
  subscription.created = created;
  subscription.validation = ToText(validation);
  subscription.expires = expires;
  const std::string stored = coi::push::WriteStored(subscription);
  // The caller's time or text may be what can't be stored.
  if (!coi::push::ReadStored(stored) || !Put(stored, buf, size_r)) {
    return "it can't be stored";
  }
  return nullptr;
}

static bool SubscriptionShow(struct coi_bytes stored, char* buf, size_t* size_r) noexcept {
  const auto subscription = coi::push::ReadStored(ToText(stored));
  return subscription && Put(coi::push::Show(*subscription), buf, size_r);
}

static bool SubscriptionIsLive(struct coi_bytes stored, int64_t now) noexcept {
  const auto subscription = coi::push::ReadStored(ToText(stored));
  return subscription && coi::push::IsLive(*subscription, now);
}

static bool SubscriptionWishes(struct coi_bytes stored, int64_t now,
                               struct coi_push_wishes* wishes_r) noexcept {
  if (const auto wishes = coi::push::GlanceAtStored(ToText(stored))) {
    *wishes_r = *wishes;
    return true;
  }
  const auto subscription = coi::push::ReadStored(ToText(stored));
  if (!subscription || !coi::push::IsLive(*subscription, now)) {
    return false;
  }
  *wishes_r = coi::push::WishesOf(*subscription);
  return true;
}

static enum coi_validate_result SubscriptionValidate(struct coi_bytes stored, struct coi_bytes text,
                                                     int64_t now, char* buf,
                                                     size_t* size_r) noexcept {
  auto subscription = coi::push::ReadStored(ToText(stored));
  return subscription && coi::push::Validate(&*subscription, ToText(text), now) &&
                 Put(coi::push::WriteStored(*subscription), buf, size_r)
             ? COI_VALIDATE_OK
             : COI_VALIDATE_REFUSED;
}

static bool SubscriptionWants(struct coi_bytes stored, const struct coi_push_mail* mail) noexcept {
  const auto subscription = coi::push::ReadStored(ToText(stored));
  return subscription && coi::push::Wants(*subscription, *mail);
}

static bool SubscriptionSetVapid(struct coi_bytes stored, struct coi_bytes vapid, char* buf,
                                 size_t* size_r) noexcept {
  auto subscription = coi::push::ReadStored(ToText(stored));
  if (!subscription) {
    return false;
  }
  subscription->vapid = ToText(vapid);
  const std::string changed = coi::push::WriteStored(*subscription);
  // It refuses what is no key id.
  return coi::push::ReadStored(changed) && Put(changed, buf, size_r);
}

static bool DeviceTokenStore(struct coi_bytes token, int64_t now, char* buf,
                             size_t* size_r) noexcept {
  const auto subscription = coi::push::MakeDeviceToken(ToText(token), now);
  return subscription && Put(coi::push::WriteStored(*subscription), buf, size_r);
}

static bool DeviceTokenCheck(struct coi_bytes stored, int64_t* set_r) noexcept {
  if (!coi::push::IsDeviceTokenStored(ToText(stored))) {
    return false;
  }
  if (set_r == nullptr) {
    return true;
  }
  const auto subscription = coi::push::ReadStored(ToText(stored));
  if (!subscription) {
    return false;
  }
  *set_r = subscription->created;
  return true;
}

static bool SubscriptionGetInfo(struct coi_bytes stored,
                                struct coi_subscription_info* info_r) noexcept {
  const auto subscription = coi::push::ReadStored(ToText(stored));
  if (!subscription) {
    return false;
  }
  *info_r = {};
  info_r->is_device_token = !subscription->token.empty();
  info_r->validated = subscription->validated;
  info_r->created = subscription->created;
  CopyText(coi::push::NameOf(subscription->msgtype), info_r->msgtype);
  CopyText(coi::push::PushServiceOf(subscription->endpoint), info_r->push_service);
  CopyText(subscription->client, info_r->client);
  CopyText(subscription->device, info_r->device);
  return true;
}

const struct coi_push* coi_push(unsigned int version) {
  static constexpr struct coi_push kPush = {
      .version = COI_PUSH_VERSION,
      .subscription_id_check = SubscriptionIdCheck,
      .subscription_parse = SubscriptionParse,
      .subscription_show = SubscriptionShow,
      .subscription_is_live = SubscriptionIsLive,
      .subscription_wishes = SubscriptionWishes,
      .subscription_validate = SubscriptionValidate,
      .subscription_wants = SubscriptionWants,
      .subscription_set_vapid = SubscriptionSetVapid,
      .device_token_store = DeviceTokenStore,
      .device_token_check = DeviceTokenCheck,
      .subscription_get_info = SubscriptionGetInfo,
  };
  return version == COI_PUSH_VERSION ? &kPush : nullptr;
}

}  // extern "C"
