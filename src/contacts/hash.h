// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_CONTACTS_HASH_H
#define COI_CONTACTS_HASH_H

#include <array>
#include <optional>
#include <string_view>

#include "coi.h"

namespace coi::contacts {

using Hash = std::array<unsigned char, COI_CONTACT_HASH_SIZE>;

// BLK-2: the value of a COI-From-Hash header, with white space around it.
std::optional<Hash> ParseHash(std::string_view value) noexcept;

}  // namespace coi::contacts

#endif  // COI_CONTACTS_HASH_H
