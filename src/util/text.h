// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_UTIL_TEXT_H
#define COI_UTIL_TEXT_H

#include <cstdint>
#include <string>
#include <string_view>

namespace coi::util {

// Unicode's lower case. What is not UTF-8 stays as it is.
std::string LowerCase(std::string_view text);

// "2019-12-31T23:20:50+01:00", with the local time of that offset. Empty where
// its year is not 0 to 9999; an offset of a day or more is taken for UTC.
std::string FormatRfc3339(int64_t seconds_since_1970, int minutes_east);

}  // namespace coi::util

#endif  // COI_UTIL_TEXT_H
