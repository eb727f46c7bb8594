// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_RELAY_KEYS_H
#define COI_RELAY_KEYS_H

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "push/seal.h"
#include "push/vapid.h"
#include "relay/log.h"

// The service's keys, and the files that they are in: docs/queue.md.
namespace coi::relay {

class Keys {
 public:
  // Makes vapid.pem and storage.pem where they are missing. Nullopt and a text
  // for the admin where a key can't be read or made.
  static std::optional<Keys> Load(const std::string& directory, const Log& log, std::string* error);

  // The one that a subscription was made with; the current one for "" and for
  // one that isn't there any more.
  const push::VapidKey& Vapid(std::string_view id) const;
  const std::string& VapidId(std::string_view id) const;
  // What to sign new subscriptions with.
  const push::VapidKey& vapid() const {
    return vapid_.front();
  }
  const push::StorageKey& storage() const {
    return storage_;
  }

 private:
  Keys(push::StorageKey storage, std::vector<push::VapidKey> vapid);
  push::StorageKey storage_;
  // The current one first, and then those of vapid-*.pem.
  std::vector<push::VapidKey> vapid_;
  std::vector<std::string> ids_;
  size_t Place(std::string_view id) const;
};

// Replaces the file in one step, unless it is so already; what was there is
// replaced, whatever it is.
bool PublishFile(const std::string& directory, const std::string& name, std::string_view text,
                 unsigned int mode, std::string* error);

}  // namespace coi::relay

#endif  // COI_RELAY_KEYS_H
