// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_CONFIG_VALUES_H
#define COI_CONFIG_VALUES_H

#include <optional>
#include <string_view>

#include "coi.h"

namespace coi::config {

// CFG-3, CFG-4, CFG-6: true for the bytes "yes" and nothing else.
bool IsEnabled(std::string_view value) noexcept;

// CFG-5: nullopt for any other value than the three that the protocol names.
std::optional<enum coi_filter> ParseFilter(std::string_view value) noexcept;

// What keeps `root` from being the root folder's name, or nullptr for nothing.
// A separator of NUL means that there is no hierarchy.
const char* MailboxRootProblem(std::string_view root, char separator) noexcept;

}  // namespace coi::config

#endif  // COI_CONFIG_VALUES_H
