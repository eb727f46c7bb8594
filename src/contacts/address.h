// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_CONTACTS_ADDRESS_H
#define COI_CONTACTS_ADDRESS_H

#include <cstddef>
#include <optional>
#include <span>
#include <string_view>

namespace coi::contacts {

// BLK-2: writes the address in the form that its hash is made of. Returns the
// size written, or 0 where there is none: a part that is empty without its
// quotes, bytes that aren't UTF-8, control characters, '@' in the domain, or
// a buffer that is too small. Then the buffer's contents mean nothing.
//
// What it writes never changes when it is split at the last '@' and normalised
// again. Where libc has no locale "C.UTF-8", only ASCII gets lower case.
size_t NormalizeAddress(std::string_view local_part, std::string_view domain,
                        std::span<char> buf) noexcept;

struct AddressParts {
  std::string_view local_part;
  std::string_view domain;
};

// The last address in angle brackets in a header like From, whatever is around them, but
// not in quotes or a comment unless these never end; without such brackets, all of the
// value. nullopt where that is no address.
std::optional<AddressParts> FindLastAddress(std::string_view value) noexcept;

}  // namespace coi::contacts

#endif  // COI_CONTACTS_ADDRESS_H
