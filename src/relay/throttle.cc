// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "relay/throttle.h"

#include <algorithm>

namespace coi::relay {
namespace {

constexpr size_t kUsersMax = 65536;

}  // namespace

bool Throttle::Take(int64_t name, int64_t now_msecs) {
  if (users_.size() >= kUsersMax && !users_.contains(name)) {
    MakeRoom(now_msecs);
  }
  const auto [found, fresh] = users_.try_emplace(name);
  User& user = found->second;
  if (fresh) {
    user.tokens = per_hour_;
    user.at = now_msecs;
  }
  const auto elapsed = static_cast<double>(std::max<int64_t>(now_msecs - user.at, 0));
  user.tokens =
      std::min<double>(per_hour_, user.tokens + elapsed * per_hour_ / static_cast<double>(kHour));
  user.at = now_msecs;
  if (now_msecs < user.locked_until || user.tokens < 1) {
    return false;
  }
  user.tokens -= 1;
  return true;
}

int64_t Throttle::Failed(int64_t name, int64_t now_msecs) {
  const auto found = users_.find(name);
  if (found == users_.end()) {
    return 0;
  }
  User& user = found->second;
  if (++user.failures < kFailures) {
    return 0;
  }
  int64_t lock = kLockMsecs;
  for (unsigned int i = kFailures; i < user.failures && lock < kMaxLockMsecs; ++i) {
    lock *= 2;
  }
  lock = std::min(lock, kMaxLockMsecs);
  user.locked_until = now_msecs + lock;
  return lock;
}

void Throttle::Succeeded(int64_t name) {
  const auto found = users_.find(name);
  if (found != users_.end()) {
    found->second.failures = 0;
    found->second.locked_until = 0;
  }
}

void Throttle::MakeRoom(int64_t now_msecs) {
  std::erase_if(users_, [now_msecs](const auto& entry) {
    return now_msecs >= entry.second.locked_until && now_msecs - entry.second.at >= kHour;
  });
  // Many users in one hour: those without failures begin anew.
  if (users_.size() >= kUsersMax) {
    std::erase_if(users_, [](const auto& entry) { return entry.second.failures == 0; });
  }
  if (users_.size() >= kUsersMax) {
    users_.clear();
  }
}

}  // namespace coi::relay
