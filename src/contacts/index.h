// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_CONTACTS_INDEX_H
#define COI_CONTACTS_INDEX_H

#include <cstddef>
#include <optional>
#include <span>

#include "coi.h"

namespace coi::contacts {

// Size in bytes of the index of that many contacts, or 0 for more than 2^24.
size_t IndexSize(size_t count) noexcept;

// Writes an index into buf, which must be IndexSize(contacts.size()) large and
// may have any alignment. Sorts the contacts. The same contacts give the same
// bytes on every machine, in whatever order they come.
void WriteIndex(const struct coi_contacts_state& state, std::span<struct coi_contact> contacts,
                char* buf) noexcept;

// A view of an index, whose source must outlive it and stay as it is. The
// records are not trusted: whatever is in them, nothing is read beyond the end.
class Index {
 public:
  // Returns nullopt where the head is not one of ours or the size is not what
  // it says, or it can't be read.
  static std::optional<Index> Read(const struct coi_contacts_source& source) noexcept;

  const struct coi_contacts_state& state() const noexcept {
    return state_;
  }

  size_t count() const noexcept;

  // n must be less than count(). Returns nullopt where it can't be read.
  std::optional<struct coi_contact> Get(size_t n) const noexcept;

  // BLK-4. Reads about log2(count()) records. What can't be read isn't blocked.
  bool IsBlocked(std::span<const unsigned char, COI_CONTACT_HASH_SIZE> hash) const noexcept;

 private:
  Index(const struct coi_contacts_state& state, const struct coi_contacts_source& source) noexcept
      : state_(state), source_(&source) {}

  struct coi_contacts_state state_;
  const struct coi_contacts_source* source_;
};

}  // namespace coi::contacts

#endif  // COI_CONTACTS_INDEX_H
