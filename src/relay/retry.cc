// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "relay/retry.h"

#include <algorithm>

namespace coi::relay {
namespace {

constexpr int64_t kPatience = 5 * kMinute;
// As long may a phone sleep on once its push service is back.
constexpr int64_t kLongestRetry = 15 * kMinute;

// first, 2 * first, 4 * first ... most; each of them up to a quarter shorter or
// longer.
int64_t BackOff(int64_t first, int64_t most, unsigned int times, uint32_t random) noexcept {
  int64_t delay = first;
  for (unsigned int i = 1; i < times && delay < most; ++i) {
    delay *= 2;
  }
  delay = std::min(delay, most);
  return delay * 3 / 4 + delay / 2 * (random & 0xffffU) / 0xffff;
}

}  // namespace

std::string Problem(const SendResult& result) {
  if (result.status == SendStatus::kAnswered) {
    return "HTTP " + std::to_string(result.http_status);
  }
  return result.error.empty() ? "unreachable" : result.error;
}

Verdict Judge(const SendResult& result, bool without_content) noexcept {
  if (result.status == SendStatus::kNotAllowed) {
    return Verdict::kKeep;
  }
  if (result.status != SendStatus::kAnswered) {
    return Verdict::kRetry;
  }
  // A code that isn't known counts as the first of its class (RFC 9110, 15).
  if (result.http_status >= 200 && result.http_status <= 299) {
    return Verdict::kDelivered;
  }
  switch (result.http_status) {
    case 404:
    case 410:
      return Verdict::kGone;
    case 413:
      return without_content ? Verdict::kDrop : Verdict::kWithoutContent;
    case 408:
    case 429:
      return Verdict::kRetry;
    default:
      return result.http_status >= 500 && result.http_status <= 599 ? Verdict::kRetry
                                                                    : Verdict::kKeep;
  }
}

int64_t RetryDelay(unsigned int attempts, std::optional<int64_t> retry_after_secs,
                   uint32_t random) noexcept {
  if (retry_after_secs && *retry_after_secs > 0) {
    // As asked for, and longer each time: who always says 1 isn't asked each second.
    int64_t delay = std::min(*retry_after_secs, kMaxDelayMsecs / kSecond) * kSecond;
    for (unsigned int i = 1; i < attempts && delay < kPatience; ++i) {
      delay = std::min(2 * delay, kPatience);
    }
    return std::min(delay + delay / 10 * (random & 0xffffU) / 0xffff, kMaxDelayMsecs);
  }
  return BackOff(5 * kSecond, kLongestRetry, attempts, random);
}

int64_t KeepDelay(unsigned int attempts, uint32_t random) noexcept {
  return BackOff(10 * kMinute, 4 * kHour, attempts, random);
}

int64_t OriginPause(unsigned int failures, uint32_t random) noexcept {
  return BackOff(5 * kSecond, 5 * kMinute, failures, random);
}

}  // namespace coi::relay
