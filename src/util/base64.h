// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_UTIL_BASE64_H
#define COI_UTIL_BASE64_H

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace coi::util {

// base64url without padding (RFC 4648, 5), the form of RFC 7515, 8291 and 8292.
std::string EncodeBase64Url(std::string_view bytes);

// Decodes base64 or base64url, padded or not, but not a mixture of the two
// alphabets (SUB-3). Nullopt for anything else, white space and set bits beyond
// the last byte included.
std::optional<std::string> DecodeBase64(std::string_view text);

}  // namespace coi::util

#endif  // COI_UTIL_BASE64_H
