// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// The relay without Dovecot, for benches and for tests that kill it: listens on
// a unix socket, as coi-push does. SIGTERM ends it as Dovecot would; on SIGUSR1
// it prints its counters.
//
//   coi-relay-run [--name=value ...] SOCKET KEY_DIR QUEUE_DIR SPOOL_DIR
//
// Names are those of struct coi_relay_settings. Directories are made. More:
//   --events=1   prints a line for each attempt
//   --log=0..3   the least level that is printed; 4 for none

#include <poll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cinttypes>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "coi-relay.h"

namespace {

struct Shell {
  bool events = false;
  int log = COI_RELAY_LOG_INFO;
};

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "coi-relay-run: %s\n", what.c_str());
  std::exit(1);
}

void OnLog(void* context, enum coi_relay_log level, const char* text) {
  static constexpr const char* kNames[] = {"debug", "info", "warning", "error"};
  if (level >= static_cast<Shell*>(context)->log) {
    std::fprintf(stderr, "%s: %s\n", kNames[level], text);
  }
}

void OnEvent(void* context, const struct coi_relay_event* event) {
  static constexpr const char* kNames[] = {"delivered", "deferred", "dropped", "gone"};
  if (static_cast<Shell*>(context)->events) {
    std::printf("event %s user=%s subscription=%s origin=%s status=%u attempt=%u age=%" PRIu64
                " validation=%d error=%s\n",
                kNames[event->outcome], event->user, event->subscription, event->origin,
                event->status, event->attempt, event->age_usecs, event->validation ? 1 : 0,
                event->error);
  }
}

void PrintStatus(const struct coi_relay* relay) {
  struct coi_relay_status status {};
  coi_relay_get_status(relay, &status);
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  std::printf("status queued=%" PRIu64 " in_flight=%" PRIu64 " clients=%" PRIu64
              " delivered=%" PRIu64 " deferred=%" PRIu64 " dropped=%" PRIu64 " gone=%" PRIu64
              " max_rss_kib=%ld\n",
              status.queued, status.in_flight, status.clients, status.delivered, status.deferred,
              status.dropped, status.gone, usage.ru_maxrss);
}

unsigned int Number(std::string_view name, const char* value) {
  char* end = nullptr;
  const unsigned long number = std::strtoul(value, &end, 10);
  if (*value == '\0' || *end != '\0') {
    Die(std::string(name) + " must be a number");
  }
  return static_cast<unsigned int>(number);
}

void SetOption(struct coi_relay_settings* set, Shell* shell, char* option) {
  char* value = std::strchr(option, '=');
  if (value == nullptr) {
    Die(std::string("--") + option + " needs a value");
  }
  const std::string_view name(option, static_cast<size_t>(value - option));
  ++value;
  const struct {
    std::string_view name;
    const char** value;
  } texts[] = {
      {"vapid_subject", &set->vapid_subject},       {"hosts_allowed", &set->hosts_allowed},
      {"hosts_denied", &set->hosts_denied},         {"hosts_http", &set->hosts_http},
      {"networks_allowed", &set->networks_allowed}, {"ssl_ca_file", &set->ssl_ca_file},
  };
  const struct {
    std::string_view name;
    unsigned int* value;
  } numbers[] = {
      {"ttl_chat_secs", &set->ttl_chat_secs},
      {"ttl_mail_secs", &set->ttl_mail_secs},
      {"queue_limit", &set->queue_limit},
      {"queue_user_limit", &set->queue_user_limit},
      {"in_flight_limit", &set->in_flight_limit},
      {"in_flight_origin_limit", &set->in_flight_origin_limit},
      {"connections_origin_limit", &set->connections_origin_limit},
      {"request_timeout_msecs", &set->request_timeout_msecs},
      {"connect_timeout_msecs", &set->connect_timeout_msecs},
      {"register_timeout_msecs", &set->register_timeout_msecs},
      {"register_limit", &set->register_limit},
  };
  for (const auto& text : texts) {
    if (text.name == name) {
      *text.value = value;
      return;
    }
  }
  for (const auto& number : numbers) {
    if (number.name == name) {
      *number.value = Number(name, value);
      return;
    }
  }
  if (name == "events") {
    shell->events = Number(name, value) != 0;
  } else if (name == "log") {
    shell->log = static_cast<int>(Number(name, value));
  } else {
    Die("unknown option --" + std::string(name));
  }
}

int Listen(const char* path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (std::strlen(path) >= sizeof(address.sun_path)) {
    Die("the socket's path is too long");
  }
  std::strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  unlink(path);
  if (fd == -1 || bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      chmod(path, 0666) != 0 || listen(fd, 1024) != 0) {
    Die(std::string("can't listen on ") + path + ": " + std::strerror(errno));
  }
  return fd;
}

}  // namespace

int main(int argc, char** argv) {
  struct coi_relay_settings set {};
  coi_relay_settings_defaults(&set);
  set.vapid_subject = "mailto:admin@example.org";
  Shell shell;
  std::vector<char*> names;
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "--", 2) == 0) {
      SetOption(&set, &shell, argv[i] + 2);
    } else {
      names.push_back(argv[i]);
    }
  }
  if (names.size() != 4) {
    Die("arguments: [--name=value ...] SOCKET KEY_DIR QUEUE_DIR SPOOL_DIR");
  }
  set.key_dir = names[1];
  set.queue_dir = names[2];
  set.spool_dir = names[3];
  mkdir(set.key_dir, 0700);
  mkdir(set.queue_dir, 0700);
  if (mkdir(set.spool_dir, 0700) == 0) {
    chmod(set.spool_dir, 01733);
  }
  std::setvbuf(stdout, nullptr, _IOLBF, 0);

  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGTERM, SIGINT, SIGUSR1}) {
    sigaddset(&signals, number);
  }
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  const int signal_fd = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
  std::signal(SIGPIPE, SIG_IGN);

  const struct coi_relay_callbacks callbacks = {OnLog, OnEvent, nullptr, &shell};
  char* error = nullptr;
  struct coi_relay* relay = coi_relay_open(&set, &callbacks, &error);
  if (relay == nullptr) {
    Die(error);
  }
  const int listener = Listen(names[0]);
  std::printf("ready\n");

  pollfd fds[] = {{listener, POLLIN, 0}, {coi_relay_fd(relay), POLLIN, 0}, {signal_fd, POLLIN, 0}};
  for (bool going = true; going;) {
    if (poll(fds, 3, -1) < 0 && errno != EINTR) {
      Die(std::string("poll(): ") + std::strerror(errno));
    }
    if ((fds[0].revents & POLLIN) != 0) {
      int client = -1;
      for (int i = 0; i < 256 && (client = accept4(listener, nullptr, nullptr,
                                                   SOCK_NONBLOCK | SOCK_CLOEXEC)) != -1;
           ++i) {
        coi_relay_add_client(relay, client);
      }
    }
    if ((fds[1].revents & POLLIN) != 0) {
      coi_relay_run(relay);
    }
    signalfd_siginfo info{};
    while (read(signal_fd, &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
      if (info.ssi_signo == SIGUSR1) {
        PrintStatus(relay);
      } else {
        going = false;
      }
    }
  }
  close(listener);
  PrintStatus(relay);
  coi_relay_close(&relay);
  return 0;
}
