// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// Sends requests with the sender of coi-push, and prints their outcomes, a JSON
// object a line; at the end one with the processor time that it took.

#include <poll.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "relay/endpoint.h"
#include "relay/sender.h"

namespace {

using coi::relay::EndpointPolicy;
using coi::relay::PushRequest;
using coi::relay::Sender;
using coi::relay::SendResult;
using coi::relay::SendStatus;
using std::string;

constexpr char kUsage[] =
    "usage: coi-sender-run [NAME=VALUE...] URL...\n"
    "  count=1           requests to each URL\n"
    "  in-flight=100     of them at once, altogether\n"
    "  size=3000         octets of each body\n"
    "  connections=100 origin-connections=4 timeout=5000 connect-timeout=2000\n"
    "  ca=FILE           certificates to trust, besides the system's\n"
    "  networks=LIST     that may be connected to (127.0.0.0/8 ::1)\n"
    "  http=LIST         hosts that may be http (127.0.0.1)\n"
    "  quiet=0           1: only the summary\n";

[[noreturn]] void Die(const string& what) {
  std::fprintf(stderr, "coi-sender-run: %s\n", what.c_str());
  std::exit(2);
}

const char* Name(SendStatus status) {
  switch (status) {
    case SendStatus::kAnswered:
      return "answered";
    case SendStatus::kUnreachable:
      return "unreachable";
    case SendStatus::kNotAllowed:
      return "not-allowed";
  }
  return "";
}

double CpuUsecs() {
  struct rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto usecs = [](const struct timeval& time) {
    return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
  };
  return usecs(usage.ru_utime) + usecs(usage.ru_stime);
}

}  // namespace

int main(int argc, char** argv) {
  std::map<string, string, std::less<>> options = {
      {"count", "1"},
      {"in-flight", "100"},
      {"size", "3000"},
      {"connections", "100"},
      {"origin-connections", "4"},
      {"timeout", "5000"},
      {"connect-timeout", "2000"},
      {"ca", ""},
      {"networks", "127.0.0.0/8 ::1"},
      {"http", "127.0.0.1"},
      {"quiet", "0"},
  };
  std::vector<string> urls;
  for (int n = 1; n < argc; ++n) {
    const string word = argv[n];
    const auto option = options.find(word.substr(0, word.find('=')));
    if (option != options.end() && option->first.size() < word.size()) {
      option->second = word.substr(option->first.size() + 1);
    } else {
      urls.push_back(word);
    }
  }
  if (urls.empty()) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  const auto number = [&](const char* name) {
    return static_cast<unsigned int>(std::strtoul(options[name].c_str(), nullptr, 10));
  };

  string error;
  EndpointPolicy policy;
  if (!policy.Set("", "", options["http"], options["networks"], &error)) {
    Die(error);
  }
  const bool is_quiet = number("quiet") != 0;
  size_t answered = 0;
  const auto done = [&](const SendResult& result) {
    answered += result.status == SendStatus::kAnswered ? 1 : 0;
    if (is_quiet) {
      return;
    }
    // The error is one of libcurl's texts, which need no escapes.
    std::printf("{\"id\": %llu, \"status\": \"%s\", \"http\": %d, \"error\": \"%s\"",
                static_cast<unsigned long long>(result.id), Name(result.status), result.http_status,
                result.error.c_str());
    if (result.retry_after_secs) {
      std::printf(", \"retry_after\": %lld", static_cast<long long>(*result.retry_after_secs));
    }
    std::puts("}");
  };
  const auto sender = Sender::Create({.connections = number("connections"),
                                      .connections_origin = number("origin-connections"),
                                      .request_timeout_msecs = number("timeout"),
                                      .connect_timeout_msecs = number("connect-timeout"),
                                      .ca_file = options["ca"]},
                                     policy, done, &error);
  if (!sender) {
    Die(error);
  }

  std::vector<PushRequest> requests;
  for (const auto& url : urls) {
    const auto endpoint = policy.Check(url);
    if (!endpoint) {
      Die("not allowed: " + url);
    }
    PushRequest request;
    request.endpoint = *endpoint;
    request.body.assign(number("size"), 'b');
    request.authorization = "vapid t=" + string(250, 't') + ", k=" + string(87, 'k');
    request.ttl_secs = 86400;
    requests.push_back(request);
  }
  const size_t total = requests.size() * number("count");
  const size_t in_flight = number("in-flight");
  const double cpu_before = CpuUsecs();
  const auto before = std::chrono::steady_clock::now();
  size_t runs = 0;
  for (size_t started = 0; started < total || sender->in_flight() > 0;) {
    bool needs_run = false;
    for (; started < total && sender->in_flight() < in_flight; ++started) {
      PushRequest request = requests[started % requests.size()];
      request.id = started;
      sender->Start(std::move(request));
      needs_run = true;
    }
    if (!needs_run) {
      struct pollfd pollfd = {.fd = sender->fd(), .events = POLLIN, .revents = 0};
      poll(&pollfd, 1, -1);
    }
    sender->Run();
    ++runs;
  }
  const auto usecs =
      std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - before);
  std::printf(
      "{\"requests\": %zu, \"answered\": %zu, \"usecs\": %.0f, \"cpu_usecs\": %.0f, "
      "\"runs\": %zu}\n",
      total, answered, usecs.count(), CpuUsecs() - cpu_before, runs);
  return 0;
}
