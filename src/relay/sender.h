// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.
#ifndef COI_RELAY_SENDER_H
#define COI_RELAY_SENDER_H

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "relay/endpoint.h"

// HTTP requests to push services, by libcurl (RFC 8030; END-2, END-4).
namespace coi::relay {

enum class Urgency { kNormal, kHigh };

struct PushRequest {
  uint64_t id = 0;  // the caller's
  Endpoint endpoint;
  std::string body;  // encrypted, but for a device token
  // The body is a device token (CLI-4): it is sent as it is, and all below is unused.
  bool is_device_token = false;
  std::string authorization;  // of VAPID
  unsigned int ttl_secs = 0;
  Urgency urgency = Urgency::kNormal;
  std::string topic;       // RFC 8030, 5.4; "" for none
  std::string validation;  // value of WebPush-Validation (SUB-6); "" for none
};

enum class SendStatus {
  kAnswered,     // there is an HTTP status
  kUnreachable,  // no connection, TLS or name failure, time out, protocol error
  kNotAllowed,   // resolves to an address that may not be connected to
};

struct SendResult {
  uint64_t id = 0;
  SendStatus status = SendStatus::kUnreachable;
  int http_status = 0;
  // Seconds from now; from a number or a date (RFC 9110, 10.2.3). Not bounded.
  std::optional<int64_t> retry_after_secs;
  // For the log: ours or libcurl's words, never the service's.
  std::string error;
  // It was not tried: it failed with another one, which waited for the same
  // connection and has a result of its own.
  bool is_bystander = false;
};

struct SenderLimits {
  unsigned int connections = 0;  // altogether
  // To one host, at least 2: the last one is for registrations, if that speaks HTTP/1.1.
  unsigned int connections_origin = 0;
  unsigned int request_timeout_msecs = 0;
  unsigned int connect_timeout_msecs = 0;
  std::string ca_file;  // "" for the system's
};

// One thread. Uses curl_multi_socket_action with an epoll and a timer of its
// own, which are readable through fd().
class Sender {
 public:
  using Done = std::function<void(const SendResult&)>;

  static std::unique_ptr<Sender> Create(const SenderLimits& limits, const EndpointPolicy& policy,
                                        Done done, std::string* error);
  virtual ~Sender() = default;

  // Needs a Run() after it, which fd() doesn't tell of: it would take three
  // system calls for each request. Done is called for each exactly once, from
  // within Run() and never from within Start(); not after the sender is
  // destroyed. Where Done calls Start(), fd() does tell.
  virtual void Start(PushRequest request) = 0;
  virtual size_t in_flight() const = 0;

  virtual int fd() const = 0;
  virtual void Run() = 0;
};

}  // namespace coi::relay

#endif  // COI_RELAY_SENDER_H
