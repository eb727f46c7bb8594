// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_RELAY_INTAKE_H
#define COI_RELAY_INTAKE_H

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

// The connections over which mail processes hand mail off: docs/handoff.md.
namespace coi::relay {

class Intake {
 public:
  static constexpr size_t kClientsMax = 1000;
  // Of all requests that are being read.
  static constexpr size_t kBufferedMax = size_t{32} << 20U;
  static constexpr int64_t kPatienceMsecs = 10000;

  // A client that has been read to the end of its line. The line has no LF.
  struct Request {
    uint64_t client = 0;
    bool bad = false;  // it is not a line
    std::string line;
    // Of the process at the other end, when it connected; nobody's if that isn't known.
    unsigned int uid = static_cast<unsigned int>(-1);
  };

  // Clients are put into this epoll, with their numbers, which are `first` and
  // up. `closed` is called for each that is gone.
  Intake(int epoll, uint64_t first, std::function<void()> closed);
  ~Intake();
  Intake(const Intake&) = delete;
  Intake& operator=(const Intake&) = delete;

  // Takes the descriptor over.
  void Add(int fd, int64_t now_msecs);
  // epoll says that there is something of it. Requests are appended.
  void Ready(uint64_t client, std::vector<Request>* requests);
  // Drops those that have kept us waiting. Returns when to come again.
  std::optional<int64_t> Expire(int64_t now_msecs);

  // A client that waits for its answer: is it still there? If not, it has been
  // dropped.
  bool IsThere(uint64_t client);
  // Will be told by Ready(), and asked by IsThere(), while it waits for long.
  void Watch(uint64_t client);
  // Writes the answer and closes. False where the client didn't get it.
  bool Answer(uint64_t client, const std::string& line);
  void Drop(uint64_t client);

  size_t size() const {
    return clients_.size();
  }

 private:
  struct Client {
    int fd = -1;
    int64_t deadline = 0;  // 0 once it has asked
    std::string buffer;
  };
  void Forget(std::map<uint64_t, Client>::iterator client);
  void Read(std::map<uint64_t, Client>::iterator client, std::vector<Request>* requests);
  void Ask(std::map<uint64_t, Client>::iterator client, bool bad, size_t size,
           std::vector<Request>* requests);

  int epoll_;
  uint64_t next_;
  std::function<void()> closed_;
  std::map<uint64_t, Client> clients_;
  std::set<std::pair<int64_t, uint64_t>> deadlines_;
  size_t buffered_ = 0;
};

}  // namespace coi::relay

#endif  // COI_RELAY_INTAKE_H
