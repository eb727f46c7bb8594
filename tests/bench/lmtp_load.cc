// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Delivers mail over several LMTP connections at once, as an MTA does: MAIL,
// RCPT and DATA go out together, and the connections stay open. Prints the
// nanoseconds from the first MAIL to the last 250, and the time of that one by
// CLOCK_MONOTONIC. Connecting isn't counted. Mails go out as fast as they are
// taken, or a given number a second. A file gets a line for each mail: the
// number of its user, and the times of its end being sent and of its 250.
//
// Each connection has users of its own, so none waits for another one's lock.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
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
  // May be empty.
  std::string stamps_file;
  // Mails a second; 0: one behind the other.
  int rate;
};

struct Stamp {
  int user;
  long long sent;
  long long done;
};

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "lmtp-load: %s\n", what.c_str());
  std::exit(1);
}

long long Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
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
  // Of the last mail.
  const Stamp& stamp() const {
    return stamp_;
  }

  void StartMail() {
    const int own_users = options_.users / options_.connections;
    stamp_.user = number_ + options_.connections * (sent_++ % own_users);
    Send("MAIL FROM:<sender@example.org>\r\nRCPT TO:<" + options_.user_prefix +
         std::to_string(stamp_.user) + options_.user_suffix + ">\r\nDATA\r\n");
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
        stamp_.sent = Now();
      }
      if (++replies_ == 4) {
        stamp_.done = Now();
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
  Stamp stamp_{};
  std::string input_;
};

class Run {
 public:
  explicit Run(const Options& options) : options_(options) {
    for (int i = 0; i < options.connections; ++i) {
      connections_.push_back(new Connection(options, i));
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.ptr = connections_.back();
      epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, connections_.back()->fd(), &event);
    }
    // The first one comes first.
    idle_.assign(connections_.rbegin(), connections_.rend());
  }
  ~Run() {
    for (Connection* connection : connections_) {
      delete connection;
    }
    close(epoll_fd_);
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  void Do() {
    start_ = Now();
    Start();
    while (static_cast<int>(stamps_.size()) < options_.mails) {
      epoll_event events[64];
      const timespec timeout = Timeout();
      const int count = epoll_pwait2(epoll_fd_, events, 64, &timeout, nullptr);
      if (count < 0 || (count == 0 && timeout.tv_sec > 0)) {
        Die("no answer for a minute");
      }
      for (int i = 0; i < count; ++i) {
        auto* connection = static_cast<Connection*>(events[i].data.ptr);
        if (connection->OnReadable()) {
          stamps_.push_back(connection->stamp());
          idle_.push_back(connection);
          // At once: the server may go on with this one.
          Start();
        }
      }
      Start();
    }
    end_ = Now();
  }

  void Tell() const {
    std::printf("%lld %lld\n", end_ - start_, end_);
    if (options_.stamps_file.empty()) {
      return;
    }
    std::ofstream file(options_.stamps_file);
    for (const Stamp& stamp : stamps_) {
      file << stamp.user << ' ' << stamp.sent << ' ' << stamp.done << '\n';
    }
    if (!file.flush()) {
      Die("can't write to " + options_.stamps_file);
    }
  }

 private:
  // When the next mail is due.
  long long Due() const {
    return options_.rate == 0 ? 0 : start_ + 1000000000LL / options_.rate * started_;
  }

  void Start() {
    while (started_ < options_.mails && !idle_.empty() && Due() <= Now()) {
      Connection* connection = idle_.back();
      idle_.pop_back();
      connection->StartMail();
      ++started_;
    }
  }

  timespec Timeout() const {
    if (started_ == options_.mails || idle_.empty() || options_.rate == 0) {
      return {60, 0};
    }
    const long long left = Due() - Now();
    return {0, left < 0 ? 0 : left < 999999999 ? left : 999999999};
  }

  const Options& options_;
  const int epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
  std::vector<Connection*> connections_;
  std::vector<Connection*> idle_;
  std::vector<Stamp> stamps_;
  int started_ = 0;
  long long start_ = 0;
  long long end_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 8 || argc > 10) {
    Die("usage: lmtp-load PORT CONNECTIONS MAILS USER-PREFIX USERS USER-SUFFIX FILE"
        " [STAMPS-FILE [MAILS-A-SECOND]]");
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
      .stamps_file = argc > 8 ? argv[8] : "",
      .rate = argc > 9 ? std::atoi(argv[9]) : 0,
  };
  if (!file || options.connections < 1 || options.users < options.connections) {
    Die("no mail, no connection or too few users");
  }
  Run run(options);
  run.Do();
  run.Tell();
  return 0;
}
