// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_RELAY_LOG_H
#define COI_RELAY_LOG_H

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "coi-relay.h"

// What the relay tells the admin.
namespace coi::relay {

using Log = std::function<void(enum coi_relay_log level, const std::string& text)>;

// For a log: what is not printable UTF-8 becomes '?', what is over the limit is
// cut off.
std::string Printable(std::string_view text, size_t limit = 255);

// Keeps a line that would repeat itself to one in a while.
class LogLimit {
 public:
  // May a line of this name be logged now? If so, *left_out is how many were
  // not since the last one.
  bool Allows(const std::string& name, int64_t now_msecs, int64_t interval_msecs,
              uint64_t* left_out);

 private:
  struct Line {
    int64_t last = 0;
    uint64_t left_out = 0;
  };
  std::unordered_map<std::string, Line> lines_;
};

}  // namespace coi::relay

#endif  // COI_RELAY_LOG_H
