// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include <algorithm>
#include <string_view>

#include "coi-push.h"
#include "push/seal.h"

namespace {

std::string_view ToText(const struct coi_bytes& bytes) noexcept {
  return bytes.data == nullptr ? std::string_view() : std::string_view(bytes.data, bytes.size);
}

}  // namespace

// What the table points to is called from C, so it has C's language linkage.
extern "C" {

static size_t Seal(struct coi_bytes public_key, struct coi_bytes text, char* buf) noexcept {
  const auto sealed = coi::push::SealFor(ToText(public_key), ToText(text));
  if (!sealed) {
    return 0;
  }
  std::ranges::copy(*sealed, buf);
  return sealed->size();
}

const struct coi_seal* coi_seal(unsigned int version) {
  static constexpr struct coi_seal kSeal = {
      .version = COI_SEAL_VERSION,
      .seal = Seal,
  };
  return version == COI_SEAL_VERSION ? &kSeal : nullptr;
}

}  // extern "C"
