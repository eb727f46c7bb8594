// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_RELAY_THROTTLE_H
#define COI_RELAY_THROTTLE_H

#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include "relay/clock.h"

// How often a user may register: PROTOCOL END-5.
namespace coi::relay {

class Throttle {
 public:
  // So many failures in a row lock, for that long, and then each further one
  // for twice as long.
  static constexpr unsigned int kFailures = 5;
  static constexpr int64_t kLockMsecs = int64_t{1000} * 60 * 5;
  static constexpr int64_t kMaxLockMsecs = 4 * kHour;

  explicit Throttle(unsigned int per_hour) : per_hour_(per_hour) {}

  // Times are of a clock that nobody sets.
  // May the user begin one more? If so, it is counted.
  bool Take(int64_t user, int64_t now_msecs);
  // Returns for how long the user is locked now, or 0.
  int64_t Failed(int64_t user, int64_t now_msecs);
  void Succeeded(int64_t user);

 private:
  struct User {
    double tokens = 0;
    int64_t at = 0;
    int64_t locked_until = 0;
    unsigned int failures = 0;
  };
  void MakeRoom(int64_t now_msecs);

  unsigned int per_hour_;
  std::unordered_map<int64_t, User> users_;
};

}  // namespace coi::relay

#endif  // COI_RELAY_THROTTLE_H
