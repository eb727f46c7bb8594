// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "relay/keys.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <system_error>
#include <utility>

#include "util/base64.h"

namespace coi::relay {
namespace {

using std::optional;
using std::string;
using std::string_view;

constexpr size_t kMaxSize = 65536;

string Errno(const string& what) {
  return what + ": " + std::strerror(errno);
}

bool WriteAll(int fd, string_view text) {
  while (!text.empty()) {
    const ssize_t size = write(fd, text.data(), text.size());
    if (size < 0 && errno == EINTR) {
      continue;
    }
    if (size <= 0) {
      return false;
    }
    text.remove_prefix(static_cast<size_t>(size));
  }
  return true;
}

void SyncDirectory(const string& directory) {
  const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd != -1) {
    fsync(fd);
    close(fd);
  }
}

// A new file, on the disk, under a name that nobody can guess: in the spool
// anybody may make files. Returns "" where it can't be made.
string WriteTemporary(const string& directory, string_view text, unsigned int mode, string* error) {
  char random[12];
  if (getrandom(random, sizeof(random), 0) != static_cast<ssize_t>(sizeof(random))) {
    *error = Errno("getrandom()");
    return {};
  }
  string path =
      directory + "/." + util::EncodeBase64Url(string_view(random, sizeof(random))) + ".new";
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd == -1) {
    *error = Errno("Can't make a file in " + directory);
    return {};
  }
  const bool good = WriteAll(fd, text) && fchmod(fd, mode) == 0 && fsync(fd) == 0;
  if (!good) {
    *error = Errno("Can't write " + path);
  }
  close(fd);
  if (!good) {
    unlink(path.c_str());
    return {};
  }
  return path;
}

// Is there such a file of ours already? Then a full disk does no harm.
bool IsPublished(const string& path, string_view text, unsigned int mode) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
  if (fd == -1) {
    return false;
  }
  struct stat status {};
  string found(text.size() + 1, '\0');
  const bool same = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
                    status.st_uid == geteuid() && (status.st_mode & 07777U) == mode &&
                    read(fd, found.data(), found.size()) == static_cast<ssize_t>(text.size()) &&
                    string_view(found).substr(0, text.size()) == text;
  close(fd);
  return same;
}

// Nullopt and no error where there is no file.
optional<string> ReadFile(const string& path, const Log& log, string* error) {
  error->clear();
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd == -1) {
    if (errno != ENOENT) {
      *error = Errno("Can't open " + path);
    }
    return std::nullopt;
  }
  struct stat status {};
  string text(kMaxSize, '\0');
  ssize_t size = -1;
  if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
    size = read(fd, text.data(), text.size());
  } else {
    errno = EINVAL;
  }
  if (size < 0) {
    *error = Errno("Can't read " + path);
  }
  close(fd);
  if (size < 0) {
    return std::nullopt;
  }
  if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    log(COI_RELAY_LOG_WARNING, path +
                                   " holds a secret, but others than its owner may open it. "
                                   "Its mode should be 0600.");
  }
  text.resize(static_cast<size_t>(size));
  return text;
}

template <typename Key>
optional<Key> LoadFile(const string& path, const char* kind, const Log& log, string* error) {
  const optional<string> pem = ReadFile(path, log, error);
  if (!pem) {
    return std::nullopt;
  }
  auto key = Key::FromPem(*pem);
  if (!key) {
    *error = path + " is not a private key (" + kind + ", PEM)";
  }
  return key;
}

template <typename Key>
optional<Key> LoadOrMake(const string& directory, const string& name, const char* kind,
                         const Log& log, string* error) {
  const string path = directory + "/" + name;
  optional<Key> key = LoadFile<Key>(path, kind, log, error);
  if (key || !error->empty()) {
    return key;
  }
  key = Key::Generate();
  if (!key) {
    *error = "Can't make a key for " + path;
    return std::nullopt;
  }
  const string temporary = WriteTemporary(directory, key->PrivatePem(), 0600, error);
  if (temporary.empty()) {
    return std::nullopt;
  }
  // Unlike rename() this doesn't replace what somebody else has just made.
  const int linked = link(temporary.c_str(), path.c_str());
  const int why = errno;
  unlink(temporary.c_str());
  SyncDirectory(directory);
  if (linked == 0) {
    log(COI_RELAY_LOG_INFO, "Made a new key: " + path);
    return key;
  }
  if (why == EEXIST) {
    key = LoadFile<Key>(path, kind, log, error);
    if (!key && error->empty()) {
      *error = "Can't open " + path + ": it is a link to a file that isn't there";
    }
    return key;
  }
  errno = why;
  *error = Errno("Can't make " + path);
  return std::nullopt;
}

// Names of vapid-*.pem.
bool ListOlder(const string& directory, std::vector<string>* names, string* error) {
  std::error_code code;
  std::filesystem::directory_iterator entry(directory, code);
  const std::filesystem::directory_iterator end;
  for (; !code && entry != end; entry.increment(code)) {
    string name = entry->path().filename();
    if (name.starts_with("vapid-") && name.ends_with(".pem")) {
      names->push_back(std::move(name));
    }
  }
  if (code) {
    *error = "Can't read " + directory + ": " + code.message();
    return false;
  }
  std::sort(names->begin(), names->end());
  return true;
}

}  // namespace

Keys::Keys(push::StorageKey storage, std::vector<push::VapidKey> vapid)
    : storage_(std::move(storage)), vapid_(std::move(vapid)) {
  for (const push::VapidKey& key : vapid_) {
    ids_.push_back(key.id());
  }
}

optional<Keys> Keys::Load(const string& directory, const Log& log, string* error) {
  std::vector<push::VapidKey> vapid;
  std::vector<string> names;
  auto current = LoadOrMake<push::VapidKey>(directory, "vapid.pem", "P-256", log, error);
  if (!current || !ListOlder(directory, &names, error)) {
    return std::nullopt;
  }
  vapid.push_back(std::move(*current));
  for (const string& name : names) {
    string path = directory;
    path.append("/").append(name);
    auto older = LoadFile<push::VapidKey>(path, "P-256", log, error);
    if (!older) {
      if (error->empty()) {
        continue;  // removed just now
      }
      return std::nullopt;
    }
    vapid.push_back(std::move(*older));
  }
  auto storage = LoadOrMake<push::StorageKey>(directory, "storage.pem", "X25519", log, error);
  if (!storage) {
    return std::nullopt;
  }
  return Keys(std::move(*storage), std::move(vapid));
}

size_t Keys::Place(string_view id) const {
  const auto found = std::find(ids_.begin(), ids_.end(), id);
  return found == ids_.end() ? 0 : static_cast<size_t>(found - ids_.begin());
}

const push::VapidKey& Keys::Vapid(string_view id) const {
  return vapid_[Place(id)];
}

const string& Keys::VapidId(string_view id) const {
  return ids_[Place(id)];
}

bool PublishFile(const string& directory, const string& name, string_view text, unsigned int mode,
                 string* error) {
  const string path = directory + "/" + name;
  if (IsPublished(path, text, mode)) {
    return true;
  }
  const string temporary = WriteTemporary(directory, text, mode, error);
  if (temporary.empty()) {
    return false;
  }
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    *error = Errno("Can't make " + path);
    unlink(temporary.c_str());
    return false;
  }
  SyncDirectory(directory);
  return true;
}

}  // namespace coi::relay
