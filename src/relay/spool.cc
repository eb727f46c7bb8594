// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "relay/spool.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "coi-push.h"
#include "push/handoff.h"
#include "relay/clock.h"
#include "relay/keys.h"

namespace coi::relay {
namespace {

using std::optional;
using std::string;
using std::string_view;

constexpr string_view kSuffix = COI_SPOOL_SUFFIX;
// Names looked at in one go.
constexpr size_t kNamesMax = 2048;
constexpr int64_t kStaleSecs = int64_t{24} * 3600;
constexpr int64_t kLogMsecs = kMinute;

// Its owner may have set it to anything.
int64_t WrittenUsecs(const struct stat& status) {
  const auto secs = std::clamp<int64_t>(status.st_mtim.tv_sec, 0, int64_t{1} << 40U);
  return secs * 1000000 + status.st_mtim.tv_nsec / 1000;
}

bool IsHandoffName(string_view name) {
  return name.ends_with(kSuffix) && push::IsHandoffId(name.substr(0, name.size() - kSuffix.size()));
}

}  // namespace

Spool::Spool(string directory, const push::StorageKey* key, const Log& log)
    : directory_(std::move(directory)), key_(key), log_(log) {}

Spool::~Spool() {
  if (list_ != nullptr) {
    closedir(list_);
  }
  if (inotify_ != -1) {
    close(inotify_);
  }
  if (directory_fd_ != -1) {
    close(directory_fd_);
  }
}

std::unique_ptr<Spool> Spool::Open(const string& directory, const push::StorageKey* key,
                                   const Log& log, string* error) {
  // The constructor is private.
  std::unique_ptr<Spool> spool(new Spool(directory, key, log));  // NOLINT(modernize-make-unique)
  spool->directory_fd_ = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (spool->directory_fd_ == -1) {
    *error = "Can't open " + directory + ": " + std::strerror(errno);
    return nullptr;
  }
  if (!PublishFile(directory, COI_SPOOL_KEY_NAME, key->PublicPem(), 0644, error)) {
    return nullptr;
  }
  spool->inotify_ = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (spool->inotify_ == -1 || inotify_add_watch(spool->inotify_, directory.c_str(),
                                                 IN_MOVED_TO | IN_CREATE | IN_ONLYDIR) == -1) {
    log(COI_RELAY_LOG_WARNING,
        "Can't watch " + directory + ", so it is looked at now and then: " + std::strerror(errno));
  }
  return spool;
}

void Spool::Changed() {
  alignas(inotify_event) char events[16384];
  ssize_t size = 0;
  while ((size = read(inotify_, events, sizeof(events))) > 0) {
    for (ssize_t at = 0; at < size;) {
      inotify_event head{};
      std::memcpy(&head, events + at, sizeof(head));
      // Whoever makes many other files here doesn't make us look.
      const char* name = events + at + sizeof(head);
      if ((head.mask & IN_Q_OVERFLOW) != 0 ||
          (head.len > 0 && IsHandoffName(string_view(name, strnlen(name, head.len))))) {
        changed_ = true;
        due_ = 0;
      }
      at += static_cast<ssize_t>(sizeof(head) + head.len);
    }
  }
}

// Looks at some of the names; what is missing is looked at the next time.
void Spool::Scan(int64_t now_msecs, int64_t wall_msecs) {
  if (list_ == nullptr) {
    changed_ = false;
    // A description of its own, because the position is shared otherwise.
    const int fd = openat(directory_fd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    list_ = fd == -1 ? nullptr : fdopendir(fd);
    if (list_ == nullptr) {
      if (fd != -1) {
        close(fd);
      }
      due_ = now_msecs + kRescanMsecs;
      return;
    }
  }
  std::vector<std::pair<int64_t, string>> found;
  const dirent* entry = nullptr;
  for (size_t i = 0; i < kNamesMax && (entry = readdir(list_)) != nullptr; ++i) {
    const string_view name = entry->d_name;
    struct stat status {};
    if (name == "." || name == ".." || name == COI_SPOOL_KEY_NAME ||
        stuck_.contains(string(name)) ||
        fstatat(directory_fd_, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
      continue;
    }
    if (IsHandoffName(name)) {
      found.emplace_back(WrittenUsecs(status), name);
    } else if (static_cast<int64_t>(status.st_ctim.tv_sec) < wall_msecs / 1000 - kStaleSecs) {
      // Left behind by a process that was killed while it wrote.
      unlinkat(directory_fd_, entry->d_name, S_ISDIR(status.st_mode) ? AT_REMOVEDIR : 0);
    }
  }
  due_ = now_msecs + kPauseMsecs;
  if (entry == nullptr) {
    closedir(list_);
    list_ = nullptr;
    due_ = now_msecs + (changed_ ? kPauseMsecs : kRescanMsecs);
  }
  std::sort(found.rbegin(), found.rend());
  for (auto& [time, name] : found) {
    names_.push_back(std::move(name));
  }
}

void Spool::Junk(const string& name, const char* what, int64_t now_msecs) {
  if (unlinkat(directory_fd_, name.c_str(), 0) != 0) {
    unlinkat(directory_fd_, name.c_str(), AT_REMOVEDIR);
  }
  uint64_t left_out = 0;
  if (limit_.Allows("junk", now_msecs, kLogMsecs, &left_out)) {
    log_(COI_RELAY_LOG_WARNING,
         directory_ + "/" + Printable(name) + " is removed: " + what +
             (left_out > 0 ? " (and " + std::to_string(left_out) + " others)" : ""));
  }
}

optional<Spool::File> Spool::Read(const string& name, int64_t now_msecs) {
  // Neither waits for the other end of a FIFO.
  const int fd = openat(directory_fd_, name.c_str(),
                        O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd == -1) {
    const int why = errno;
    struct stat status {};
    if (why == ENOENT) {
      return std::nullopt;
    }
    if (fstatat(directory_fd_, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        !S_ISREG(status.st_mode)) {
      Junk(name, "it isn't a file", now_msecs);
      return std::nullopt;
    }
    uint64_t left_out = 0;
    if (limit_.Allows("open", now_msecs, 60 * kLogMsecs, &left_out)) {
      log_(COI_RELAY_LOG_ERROR,
           "Can't open " + directory_ + "/" + name + ": " + std::strerror(why));
    }
    return std::nullopt;
  }
  constexpr size_t kSizeMax = push::kMaxHandoffSize + COI_SEAL_OVERHEAD;
  struct stat status {};
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size <= 0 ||
      static_cast<uint64_t>(status.st_size) > kSizeMax) {
    close(fd);
    Junk(name, "it isn't a hand-off", now_msecs);
    return std::nullopt;
  }
  string sealed(static_cast<size_t>(status.st_size), '\0');
  size_t have = 0;
  ssize_t size = 0;
  while (have < sealed.size() &&
         (size = read(fd, sealed.data() + have, sealed.size() - have)) != 0) {
    if (size < 0 && errno != EINTR) {
      break;
    }
    have += static_cast<size_t>(std::max<ssize_t>(size, 0));
  }
  close(fd);
  if (size < 0) {
    return std::nullopt;
  }
  sealed.resize(have);
  optional<string> line = key_->Open(sealed);
  if (!line) {
    Junk(name, "it isn't sealed for this service", now_msecs);
    return std::nullopt;
  }
  if (line->ends_with('\n')) {
    line->pop_back();
  }
  return File{name, std::move(*line), WrittenUsecs(status), status.st_uid};
}

std::vector<Spool::File> Spool::Take(size_t count, int64_t now_msecs, int64_t wall_msecs) {
  std::vector<File> files;
  if (not_before_ > now_msecs) {
    return files;
  }
  if (names_.empty() && due_ <= now_msecs) {
    Scan(now_msecs, wall_msecs);
    not_before_ = names_.empty() ? now_msecs + kPauseMsecs : 0;
  }
  for (size_t i = 0; i < count && !names_.empty(); ++i) {
    const string name = std::move(names_.back());
    names_.pop_back();
    optional<File> file = Read(name, now_msecs);
    if (file) {
      files.push_back(std::move(*file));
    }
  }
  return files;
}

void Spool::Remove(const string& name) {
  if (unlinkat(directory_fd_, name.c_str(), 0) != 0 && errno != ENOENT) {
    if (stuck_.empty()) {
      log_(COI_RELAY_LOG_ERROR,
           "Can't remove " + directory_ + "/" + name + ": " + std::strerror(errno));
    }
    if (stuck_.size() < kNamesMax) {
      stuck_.insert(name);
    }
  }
}

void Spool::Postpone(int64_t until_msecs) {
  names_.clear();
  due_ = 0;
  not_before_ = until_msecs;
}

}  // namespace coi::relay
