// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_RELAY_RETRY_H
#define COI_RELAY_RETRY_H

#include <cstdint>
#include <optional>
#include <string>

#include "relay/clock.h"
#include "relay/sender.h"

// What follows from a push service's answer: PROTOCOL MSG-9.
namespace coi::relay {

enum class Verdict {
  kDelivered,
  kGone,
  kRetry,           // the service is overloaded, broken or away
  kWithoutContent,  // too large: at once again, without `content`
  kDrop,            // too large even so
  kKeep,            // our fault, or the service's: slowly again
};

Verdict Judge(const SendResult& result, bool without_content) noexcept;
// What was wrong with it, for logs.
std::string Problem(const SendResult& result);

// No delay is longer; what is further away can only come from a clock that was
// set.
constexpr int64_t kMaxDelayMsecs = 6 * kHour;

// Google's service (FCM) refuses a larger TTL, and so others that hand on to it.
constexpr int64_t kServiceTtlMaxSecs = int64_t{28} * 24 * 3600;

// Milliseconds until the next attempt; `attempts` were made (1 or more).
// `random` spreads them, so that those which failed together don't come back
// together. Retry-After is obeyed where it is positive, up to the maximum.
int64_t RetryDelay(unsigned int attempts, std::optional<int64_t> retry_after_secs,
                   uint32_t random) noexcept;
// Likewise, for kKeep.
int64_t KeepDelay(unsigned int attempts, uint32_t random) noexcept;
// How long an origin is left alone that has failed so many times in a row.
int64_t OriginPause(unsigned int failures, uint32_t random) noexcept;

}  // namespace coi::relay

#endif  // COI_RELAY_RETRY_H
