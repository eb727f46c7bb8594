// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Delivers mail over several LMTP connections at once, as an MTA does: MAIL,
// RCPT and DATA go out together, and the connections stay open. Prints the
// nanoseconds from the first MAIL to the last 250. Connecting isn't counted.
//
// Each connection has users of its own, so none waits for another one's lock.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace {

struct Options {
  int port;
  int connections;
  int mails;
  std::string user_prefix;
  // Behind the number: +folder.
  std::string user_suffix;
  int users;
  std::string mail;
};

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "lmtp-load: %s\n", what.c_str());
  std::exit(1);
}

// One connection, and what it waits for.
class Connection {
 public:
  Connection(const Options& options, int number) : options_(options), number_(number) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(options.port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd_ == -1 || connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
      Die("can't connect");
    }
    const int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    Expect("220");
    Send("LHLO localhost\r\n");
    Expect("250");
  }
  ~Connection() {
    close(fd_);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int fd() const {
    return fd_;
  }

  void StartMail() {
    const int own_users = options_.users / options_.connections;
    const int user = number_ + options_.connections * (sent_++ % own_users);
    Send("MAIL FROM:<sender@example.org>\r\nRCPT TO:<" + options_.user_prefix +
         std::to_string(user) + options_.user_suffix + ">\r\nDATA\r\n");
    replies_ = 0;
  }

  // Reads what is there. Returns true once the mail is delivered.
  bool OnReadable() {
    Fill();
    std::string line;
    while (TakeReply(&line)) {
      static const char* const kExpected[] = {"250", "250", "354", "250"};
      if (!line.starts_with(kExpected[replies_])) {
        Die("unexpected reply: " + line);
      }
      if (replies_ == 2) {
        Send(options_.mail);
      }
      if (++replies_ == 4) {
        return true;
      }
    }
    return false;
  }

 private:
  void Send(const std::string& data) {
    size_t done = 0;
    while (done < data.size()) {
      const ssize_t size = write(fd_, data.data() + done, data.size() - done);
      if (size <= 0) {
        Die("can't write");
      }
      done += static_cast<size_t>(size);
    }
  }

  void Fill() {
    char buffer[8192];
    const ssize_t size = read(fd_, buffer, sizeof(buffer));
    if (size <= 0) {
      Die("the server closed the connection");
    }
    input_.append(buffer, static_cast<size_t>(size));
  }

  // Takes the last line of a complete reply out of the input.
  bool TakeReply(std::string* line) {
    size_t end;
    while ((end = input_.find('\n')) != std::string::npos) {
      *line = input_.substr(0, end);
      input_.erase(0, end + 1);
      if (line->size() < 4 || (*line)[3] != '-') {
        return true;
      }
    }
    return false;
  }

  void Expect(const char* code) {
    std::string line;
    while (!TakeReply(&line)) {
      Fill();
    }
    if (!line.starts_with(code)) {
      Die("unexpected reply: " + line);
    }
  }

  const Options& options_;
  const int number_;
  int fd_ = -1;
  int sent_ = 0;
  int replies_ = 0;
  std::string input_;
};

long long Run(const Options& options) {
  std::vector<Connection*> connections;
  const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  for (int i = 0; i < options.connections; ++i) {
    connections.push_back(new Connection(options, i));
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = connections.back();
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, connections.back()->fd(), &event);
  }

  const auto start = std::chrono::steady_clock::now();
  int started = 0;
  int finished = 0;
  for (Connection* connection : connections) {
    if (started < options.mails) {
      connection->StartMail();
      ++started;
    }
  }
  while (finished < options.mails) {
    epoll_event events[64];
    const int count = epoll_wait(epoll_fd, events, 64, 60000);
    if (count <= 0) {
      Die("no answer for a minute");
    }
    for (int i = 0; i < count; ++i) {
      auto* connection = static_cast<Connection*>(events[i].data.ptr);
      if (connection->OnReadable()) {
        ++finished;
        if (started < options.mails) {
          connection->StartMail();
          ++started;
        }
      }
    }
  }
  const auto time = std::chrono::steady_clock::now() - start;

  for (Connection* connection : connections) {
    delete connection;
  }
  close(epoll_fd);
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) {
    Die("usage: lmtp-load PORT CONNECTIONS MAILS USER-PREFIX USERS USER-SUFFIX FILE");
  }
  std::ifstream file(argv[7], std::ios::binary);
  const Options options = {
      .port = std::atoi(argv[1]),
      .connections = std::atoi(argv[2]),
      .mails = std::atoi(argv[3]),
      .user_prefix = argv[4],
      .user_suffix = argv[6],
      .users = std::atoi(argv[5]),
      .mail = std::string(std::istreambuf_iterator<char>(file), {}),
  };
  if (!file || options.connections < 1 || options.users < options.connections) {
    Die("no mail, no connection or too few users");
  }
  std::printf("%lld\n", Run(options));
  return 0;
}
