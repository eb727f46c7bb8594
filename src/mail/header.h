// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_MAIL_HEADER_H
#define COI_MAIL_HEADER_H

#include <span>
#include <string_view>

#include "coi.h"

namespace coi::mail {

// Finds, by their names, the first header of each in the top header block that
// mail begins with. Of a name that is there n times it finds the first n. A value is a piece of
// mail, from its first byte that is no white space to the end of its last line, still folded.
//
//   block   = *field line-end
//   field   = line *( (SP / HTAB) line )
//   line    = *( any byte but LF ) line-end
//   line-end = [CR] LF
//
// The first line of a field up to the first ':' is its name, without the white
// space before the ':'. A field without one is skipped.
//
// Returns false where the block goes on beyond mail and may have more of the
// headers. What has been found by then must not be used.
bool FindHeaders(std::string_view mail, std::span<struct coi_header> headers) noexcept;

}  // namespace coi::mail

#endif  // COI_MAIL_HEADER_H
