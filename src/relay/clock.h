// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_RELAY_CLOCK_H
#define COI_RELAY_CLOCK_H

#include <cstdint>

// The time, so that tests can set it.
namespace coi::relay {

// Milliseconds.
constexpr int64_t kSecond = 1000;
constexpr int64_t kMinute = 60 * kSecond;
constexpr int64_t kHour = 60 * kMinute;

class Clock {
 public:
  virtual ~Clock() = default;
  // Microseconds since 1970, and of a clock that nobody sets and that goes on while
  // the machine sleeps.
  virtual int64_t WallUsecs() = 0;
  virtual int64_t SteadyUsecs() = 0;
};

// The system's.
Clock* SystemClock();

}  // namespace coi::relay

#endif  // COI_RELAY_CLOCK_H
