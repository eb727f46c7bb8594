// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_RELAY_SPOOL_H
#define COI_RELAY_SPOOL_H

#include <dirent.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "push/seal.h"
#include "relay/log.h"

// Hand-offs that mail processes have put into files while the service was away:
// docs/handoff.md. Anybody may make files here, so none is trusted.
namespace coi::relay {

class Spool {
 public:
  // Looks that often, too, should nobody tell; and not more often than that,
  // whatever others do here.
  static constexpr int64_t kRescanMsecs = 30000;
  static constexpr int64_t kPauseMsecs = 100;

  struct File {
    std::string name;
    std::string line;  // opened, without LF
    int64_t written_usecs = 0;
    unsigned int uid = 0;  // its owner
  };

  // `key` must outlive it. Publishes the public key.
  static std::unique_ptr<Spool> Open(const std::string& directory, const push::StorageKey* key,
                                     const Log& log, std::string* error);
  ~Spool();
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  // inotify; readable when files have come. -1 where there is none.
  int fd() const {
    return inotify_;
  }
  // Takes in what fd() has to say.
  void Changed();

  // Reads up to `count` files, in the order in which they were written. What
  // isn't a hand-off is removed. `wall_msecs` are since 1970, as those of files are.
  std::vector<File> Take(size_t count, int64_t now_msecs, int64_t wall_msecs);
  // The file is in the queue.
  void Remove(const std::string& name);
  // What was taken and not removed stays, and all is looked at then again.
  void Postpone(int64_t until_msecs);
  // When Take() has something to do.
  int64_t due() const {
    return std::max(not_before_, names_.empty() ? due_ : 0);
  }

 private:
  Spool(std::string directory, const push::StorageKey* key, const Log& log);
  void Scan(int64_t now_msecs, int64_t wall_msecs);
  std::optional<File> Read(const std::string& name, int64_t now_msecs);
  void Junk(const std::string& name, const char* what, int64_t now_msecs);

  std::string directory_;
  const push::StorageKey* key_;
  Log log_;
  LogLimit limit_;
  int directory_fd_ = -1;
  int inotify_ = -1;
  DIR* list_ = nullptr;  // while it is being looked through
  int64_t due_ = 0;
  int64_t not_before_ = 0;
  bool changed_ = false;
  std::set<std::string> stuck_;     // in the queue, but can't be removed
  std::vector<std::string> names_;  // the oldest last
};

}  // namespace coi::relay

#endif  // COI_RELAY_SPOOL_H
