// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "relay/clock.h"

#include <ctime>

namespace coi::relay {
namespace {

int64_t Now(clockid_t id) {
  timespec now{};
  clock_gettime(id, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000000 + now.tv_nsec / 1000;
}

class System : public Clock {
 public:
  int64_t WallUsecs() override {
    return Now(CLOCK_REALTIME);
  }
  int64_t SteadyUsecs() override {
    return Now(CLOCK_BOOTTIME);
  }
};

}  // namespace

Clock* SystemClock() {
  static System clock;
  return &clock;
}

}  // namespace coi::relay
