// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#include "relay/intake.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <utility>

#include "push/handoff.h"

namespace coi::relay {
namespace {

constexpr std::string_view kUnavailable = "-\tunavailable\n";

bool Send(int fd, std::string_view text) {
  ssize_t size = -1;
  do {
    size = send(fd, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (size == -1 && errno == EINTR);
  return size == static_cast<ssize_t>(text.size());
}

}  // namespace

Intake::Intake(int epoll, uint64_t first, std::function<void()> closed)
    : epoll_(epoll), next_(first), closed_(std::move(closed)) {}

Intake::~Intake() {
  while (!clients_.empty()) {
    Forget(clients_.begin());
  }
}

void Intake::Add(int fd, int64_t now_msecs) {
  const uint64_t number = next_++;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = number;
  if (clients_.size() >= kClientsMax || epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) {
    Send(fd, kUnavailable);
    close(fd);
    closed_();
    return;
  }
  Client& client = clients_[number];
  client.fd = fd;
  client.deadline = now_msecs + kPatienceMsecs;
  deadlines_.emplace(client.deadline, number);
}

void Intake::Forget(std::map<uint64_t, Client>::iterator client) {
  // This takes it out of the epoll, too.
  close(client->second.fd);
  if (client->second.deadline != 0) {
    deadlines_.erase({client->second.deadline, client->first});
  }
  buffered_ -= client->second.buffer.size();
  clients_.erase(client);
  closed_();
}

void Intake::Ask(std::map<uint64_t, Client>::iterator client, bool bad, size_t size,
                 std::vector<Request>* requests) {
  Client& from = client->second;
  deadlines_.erase({from.deadline, client->first});
  from.deadline = 0;
  buffered_ -= from.buffer.size();
  Request request;
  request.client = client->first;
  request.bad = bad;
  ucred peer{};
  socklen_t size_of_peer = sizeof(peer);
  if (getsockopt(from.fd, SOL_SOCKET, SO_PEERCRED, &peer, &size_of_peer) == 0) {
    request.uid = peer.uid;
  }
  if (!bad) {
    request.line = std::move(from.buffer);
    request.line.resize(size);
  }
  from.buffer = std::string();
  requests->push_back(std::move(request));
}

void Intake::Read(std::map<uint64_t, Client>::iterator client, std::vector<Request>* requests) {
  Client& from = client->second;
  static thread_local char chunk[65536];
  for (;;) {
    const ssize_t size = recv(from.fd, chunk, sizeof(chunk), MSG_DONTWAIT);
    if (size == -1 && errno == EINTR) {
      continue;
    }
    if (size == -1 && errno == EAGAIN) {
      return;
    }
    if (size <= 0) {
      Forget(client);
      return;
    }
    const std::string_view piece(chunk, static_cast<size_t>(size));
    const size_t before = from.buffer.size();
    const size_t end = piece.find('\n');
    if (buffered_ + piece.size() > kBufferedMax) {
      Send(from.fd, kUnavailable);
      Forget(client);
      return;
    }
    from.buffer += piece;
    buffered_ += piece.size();
    if (end != std::string_view::npos) {
      // One line only, and nothing behind it.
      Ask(client, end + 1 != piece.size() || before + end > push::kMaxHandoffSize, before + end,
          requests);
      return;
    }
    if (from.buffer.size() > push::kMaxHandoffSize) {
      Ask(client, true, 0, requests);
      return;
    }
  }
}

void Intake::Ready(uint64_t number, std::vector<Request>* requests) {
  const auto client = clients_.find(number);
  if (client == clients_.end()) {
    return;
  }
  if (client->second.deadline != 0) {
    Read(client, requests);
  } else {
    IsThere(number);
  }
}

std::optional<int64_t> Intake::Expire(int64_t now_msecs) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_msecs) {
    Forget(clients_.find(deadlines_.begin()->second));
  }
  if (deadlines_.empty()) {
    return std::nullopt;
  }
  return deadlines_.begin()->first;
}

bool Intake::IsThere(uint64_t number) {
  const auto client = clients_.find(number);
  if (client == clients_.end()) {
    return false;
  }
  char byte = 0;
  const ssize_t size = recv(client->second.fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
  // Nothing may follow a request, or who sends on and goes away would look alive.
  if (size != -1 || (errno != EAGAIN && errno != EINTR)) {
    Forget(client);
    return false;
  }
  return true;
}

void Intake::Watch(uint64_t number) {
  const auto client = clients_.find(number);
  if (client != clients_.end()) {
    epoll_event event{};
    event.events = EPOLLRDHUP;
    event.data.u64 = number;
    epoll_ctl(epoll_, EPOLL_CTL_MOD, client->second.fd, &event);
  }
}

bool Intake::Answer(uint64_t number, const std::string& line) {
  const auto client = clients_.find(number);
  if (client == clients_.end()) {
    return false;
  }
  const bool sent = Send(client->second.fd, line);
  Forget(client);
  return sent;
}

void Intake::Drop(uint64_t number) {
  const auto client = clients_.find(number);
  if (client != clients_.end()) {
    Forget(client);
  }
}

}  // namespace coi::relay
